//! An HTTP server on tokio that stops well.
//!
//! `cargo run --example tokio -- [ADDRESS] [DEADLINE] [LAME_DUCK]`

mod common;

use std::net::IpAddr;
use std::process::ExitCode;
use std::time::Duration;

use futures_lite::stream::StreamExt;
use http_body_util::Full;
use hyper::body::{Bytes, Incoming};
use hyper::server::conn::http1::{Builder, Connection};
use hyper::service::service_fn;
use hyper::{Request, Response};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::sleep;
use winddown::{Shutdown, ShutdownExt, Waiter};
use winddown_http::TokioIncoming;

use common::{Action, Options};

#[tokio::main]
async fn main() -> ExitCode {
    let served = match Options::from_args() {
        Ok(options) => serve(options).await,
        Err(message) => Err(message),
    };
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
    let listener = listener
        .set_nonblocking(true)
        .and_then(|()| TcpListener::from_std(listener))
        .map_err(|error| error.to_string())?;

    // Connections that the kernel has accepted are served, also those that wait in its queue.
    let accepting = connections.guard();
    let mut left = None;
    let mut incoming = TokioIncoming::new(listener).finish_on_shutdown(shutdown.waiter());
    while let Some(accepted) = incoming.next().await {
        match accepted {
            Ok(stream) => {
                left = None;
                let connection = connection(stream, shutdown.clone(), connections.waiter());
                tokio::spawn(connections.track(connection));
            }
            Err(error) => {
                // Out of descriptors, most likely: give the connections time to end.
                common::say_error(format_args!("can't accept: {error}"));
                left = Some(error);
                if options.gives_up(&shutdown) {
                    break;
                }
                sleep(Duration::from_millis(100)).await;
            }
        }
    }

    // The stream may have ended because its time was over, too.
    let left = left.filter(|_| options.gives_up(&shutdown));

    // From here on, new connections are refused.
    drop(incoming);
    drop(accepting);
    if let Some(cause) = shutdown.cause() {
        common::say(format_args!("stopping: {cause}"));
    }
    let drained = shutdown.drain(options.deadline).await;
    common::stopped(&options, drained, left, refusing)
}

async fn connection(stream: TokioIo<TcpStream>, shutdown: Shutdown, stop: Waiter) {
    let Ok(peer) = stream.inner().peer_addr() else {
        return; // it is closed already
    };
    let service = service_fn(|request| answer(request, &shutdown, peer.ip()));
    let connection = Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(common::HEADER_TIMEOUT)
        .serve_connection(stream, service);
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
            sleep(duration).await;
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
