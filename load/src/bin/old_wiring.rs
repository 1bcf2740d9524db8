//! The server on tokio as it was wired first: it loses connections.
//!
//! - The listener is closed as soon as the shutdown comes, and the kernel resets what waits in its queue.
//! - A connection is told at once, before it is polled again. hyper then closes it, although a request
//!   may be in its receive buffer.

#[expect(dead_code, reason = "it lacks the pause and the header timeout")]
#[path = "../../../examples/common/mod.rs"]
mod common;

use std::net::IpAddr;
use std::pin::pin;
use std::process::ExitCode;

use http_body_util::Full;
use hyper::body::{Bytes, Incoming};
use hyper::server::conn::http1::Builder;
use hyper::service::service_fn;
use hyper::{Request, Response};
use hyper_util::rt::TokioIo;
use tokio::net::{TcpListener, TcpStream};
use winddown::{Shutdown, Waiter};

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
    // As it was: the queue is lost with the listener.
    let (listener, _) = options.listen(&shutdown)?;
    let listener = listener
        .set_nonblocking(true)
        .and_then(|()| TcpListener::from_std(listener))
        .map_err(|error| error.to_string())?;
    let mut stop = shutdown.waiter();
    loop {
        let accepted = tokio::select! {
            biased;
            () = &mut stop => break,
            accepted = listener.accept() => accepted,
        };
        let (stream, peer) = accepted.map_err(|error| error.to_string())?;
        let connection = connection(stream, peer.ip(), shutdown.clone(), shutdown.waiter());
        tokio::spawn(shutdown.track(connection));
    }
    drop(listener);
    shutdown
        .drain(options.deadline)
        .await
        .map_err(|error| common::late(&options, &error.report))?;
    common::say("stopped: every request was answered");
    Ok(())
}

async fn connection(stream: TcpStream, peer: IpAddr, shutdown: Shutdown, stop: Waiter) {
    let service = service_fn(|request| answer(request, &shutdown, peer));
    let mut connection = pin!(Builder::new().serve_connection(TokioIo::new(stream), service));
    tokio::select! {
        biased;
        () = stop => connection.as_mut().graceful_shutdown(),
        _ = connection.as_mut() => return,
    }
    let _ = connection.await;
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
            tokio::time::sleep(duration).await;
            (200, common::WELCOME.to_owned())
        }
        Action::Answer(status, body) => (status, body),
    };
    Response::builder()
        .status(status)
        .body(Full::new(Bytes::from(body)))
}
