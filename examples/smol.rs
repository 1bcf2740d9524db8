//! An HTTP server on smol that stops well.
//!
//! `cargo run --example smol -- [ADDRESS] [DEADLINE] [LAME_DUCK]`

mod common;

use std::fmt::Write;
use std::net::IpAddr;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use http_body_util::Full;
use hyper::body::{Bytes, Incoming};
use hyper::server::conn::http1::{Builder, Connection};
use hyper::service::service_fn;
use hyper::{Request, Response};
use indicatif::{ProgressBar, ProgressState, ProgressStyle};
use smol::Async;
use smol::future::FutureExt;
use smol::net::{TcpListener, TcpStream};
use smol::stream::StreamExt;
use smol_hyper::rt::{FuturesIo, SmolTimer};
use winddown::{Drain, Shutdown, ShutdownExt, Waiter};

use common::{Action, Options};

fn main() -> ExitCode {
    let served = Options::from_args().and_then(|options| smol::block_on(serve(options)));
    match served {
        Ok(()) => ExitCode::SUCCESS,
        Err(message) => {
            common::say_error(format_args!("error: {message}"));
            ExitCode::FAILURE
        }
    }
}

async fn serve(options: Options) -> Result<(), String> {
    let shutdown = options.install()?;
    let connections = shutdown.phase("connections").delay(common::PAUSE).build();
    let (listener, refusing) = options.listen(&shutdown)?;
    let listener = Async::new(listener).map_err(|error| error.to_string())?;
    let listener = TcpListener::from(listener);

    // Connections that the kernel has accepted are served, also those that wait in its queue.
    let accepting = connections.guard();
    let mut left = None;
    let mut incoming = listener.incoming().finish_on_shutdown(shutdown.waiter());
    while let Some(accepted) = incoming.next().await {
        match accepted {
            Ok(stream) => {
                left = None;
                let connection = connection(stream, shutdown.clone(), connections.waiter());
                smol::spawn(connections.track(connection)).detach();
            }
            Err(error) => {
                // Out of descriptors, most likely: give the connections time to end.
                common::say_error(format_args!("can't accept: {error}"));
                left = Some(error);
                if options.gives_up(&shutdown) {
                    break;
                }
                smol::Timer::after(Duration::from_millis(100)).await;
            }
        }
    }

    // The stream may have ended because its time was over, too.
    let left = left.filter(|_| options.gives_up(&shutdown));

    // From here on, new connections are refused.
    drop(incoming);
    drop(listener);
    drop(accepting);
    if let Some(cause) = shutdown.cause() {
        common::say(format_args!("stopping: {cause}"));
    }
    let mut drain = shutdown.drain(options.deadline);
    show_progress(&mut drain, Instant::now() + options.deadline).await;
    common::stopped(&options, drain.await, left, refusing)
}

/// Shows how many connections are left, and for how long: in a terminal in one line that changes,
/// otherwise in a line for each change.
async fn show_progress(drain: &mut Drain, deadline: Instant) {
    let seconds = move || deadline.saturating_duration_since(Instant::now()).as_secs();
    let style = ProgressStyle::with_template("{msg}, {countdown} s")
        .expect("it is well-formed")
        .with_key("countdown", move |_: &ProgressState, f: &mut dyn Write| {
            let _ = write!(f, "{}", seconds()); // no terminal makes it fail
        });
    let bar = ProgressBar::new_spinner().with_style(style);
    let mut progress = drain.progress();
    loop {
        // Not by a thread of the bar, which panics if the system starts none.
        let changed = async { Some(progress.next().await) };
        let second = async {
            smol::Timer::after(Duration::from_secs(1)).await;
            None
        };
        let left = match changed.or(second).await {
            Some(Some(left)) => left,
            Some(None) => break,
            None => {
                bar.tick();
                continue;
            }
        };
        let connections = if left == 1 {
            "connection"
        } else {
            "connections"
        };
        let message = format!("{left} {connections} left");
        if bar.is_hidden() {
            common::say(format_args!("{message}, {} s", seconds()));
        } else {
            bar.set_message(message);
        }
    }
    bar.finish_and_clear();
}

async fn connection(stream: TcpStream, shutdown: Shutdown, stop: Waiter) {
    let Ok(peer) = stream.peer_addr() else {
        return; // it is closed already
    };
    let service = service_fn(|request| answer(request, &shutdown, peer.ip()));
    let connection = Builder::new()
        .timer(SmolTimer::new())
        .header_read_timeout(common::HEADER_TIMEOUT)
        .serve_connection(FuturesIo::new(stream), service);
    common::serve(connection, stop, Connection::graceful_shutdown).await;
}

async fn answer(
    request: Request<Incoming>,
    shutdown: &Shutdown,
    peer: IpAddr,
) -> Result<Response<Full<Bytes>>, hyper::http::Error> {
    let (method, uri) = (request.method(), request.uri());
    let (path, query) = (uri.path(), uri.query());
    let (status, body) = match common::route(shutdown, peer, method.as_str(), path, query) {
        Action::Sleep(duration) => {
            smol::Timer::after(duration).await;
            (200, common::WELCOME.to_owned())
        }
        Action::Answer(status, body) => (status, body),
    };
    let mut response = Response::builder()
        .status(status)
        .header("content-type", "text/plain");
    if shutdown.is_requested() {
        // In the lame duck too: on a new connection, the client reaches a server that stays.
        response = response.header("connection", "close");
    }
    response.body(Full::new(Bytes::from(body)))
}
