//! An HTTP server on smol that stops well.
//!
//! `cargo run --example smol -- [ADDRESS] [DEADLINE] [LAME_DUCK]`

mod common;

use std::fmt::Write;
use std::process::ExitCode;
use std::time::Duration;

use http_body_util::Full;
use hyper::body::{Bytes, Incoming};
use hyper::server::conn::http1::{Builder, Connection};
use hyper::service::service_fn;
use hyper::{Request, Response};
use indicatif::{ProgressBar, ProgressState, ProgressStyle};
use smol::net::{TcpListener, TcpStream};
use smol::stream::StreamExt;
use smol_hyper::rt::{FuturesIo, SmolTimer};
use winddown::{Drain, Shutdown, ShutdownExt};

use common::{Action, Options};

fn main() -> ExitCode {
    let served = Options::from_args().and_then(|options| smol::block_on(serve(options)));
    match served {
        Ok(()) => ExitCode::SUCCESS,
        Err(message) => {
            eprintln!("error: {message}");
            ExitCode::FAILURE
        }
    }
}

async fn serve(options: Options) -> Result<(), String> {
    let shutdown = options.install()?;
    let listener = TcpListener::bind(&options.address)
        .await
        .map_err(|error| common::cant_listen(&options.address, &error))?;
    let address = listener.local_addr().map_err(|error| error.to_string())?;
    common::say(format_args!("ready: listening on http://{address}"));

    let mut incoming = listener.incoming().end_on_shutdown(shutdown.waiter());
    while let Some(accepted) = incoming.next().await {
        match accepted {
            Ok(stream) => {
                let connection = connection(stream, shutdown.clone());
                smol::spawn(shutdown.track(connection)).detach();
            }
            Err(error) => {
                // Out of descriptors, most likely: give the connections time to end.
                eprintln!("can't accept: {error}");
                smol::Timer::after(Duration::from_millis(100)).await;
            }
        }
    }

    // From here on, new connections are refused.
    drop(incoming);
    drop(listener);
    if let Some(cause) = shutdown.cause() {
        common::say(format_args!("stopping: {cause}"));
    }
    let mut drain = shutdown.drained();
    show_progress(&shutdown, &mut drain).await;
    drain
        .await
        .map_err(|error| common::late(&options, &error))?;
    common::say("stopped: every request was answered");
    Ok(())
}

/// Says how many connections are left, and for how long: in a terminal in one line that changes,
/// otherwise in a line for each change.
async fn show_progress(shutdown: &Shutdown, drain: &mut Drain) {
    let seconds = {
        let shutdown = shutdown.clone();
        move || shutdown.remaining().unwrap_or_default().as_secs()
    };
    let countdown = seconds.clone();
    let style = ProgressStyle::with_template("{msg}, {countdown} s")
        .expect("it is well-formed")
        .with_key("countdown", move |_: &ProgressState, f: &mut dyn Write| {
            let _ = write!(f, "{}", countdown()); // fails for no terminal
        });
    let bar = ProgressBar::new_spinner().with_style(style);
    bar.enable_steady_tick(Duration::from_secs(1));
    let mut progress = drain.progress();
    while let Some(left) = progress.next().await {
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

async fn connection(stream: TcpStream, shutdown: Shutdown) {
    let service = service_fn(|request| answer(request, &shutdown));
    let connection = Builder::new()
        .timer(SmolTimer::new())
        .serve_connection(FuturesIo::new(stream), service)
        // Finishes the request in flight, if there is one, and closes.
        .on_shutdown(shutdown.waiter(), Connection::graceful_shutdown);
    if let Err(error) = connection.await {
        eprintln!("connection: {error}");
    }
}

async fn answer(
    request: Request<Incoming>,
    shutdown: &Shutdown,
) -> Result<Response<Full<Bytes>>, hyper::http::Error> {
    let (method, uri) = (request.method(), request.uri());
    let (status, body) = match common::route(shutdown, method.as_str(), uri.path(), uri.query()) {
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
