//! An HTTP server on tokio that stops well.
//!
//! `cargo run --example tokio -- [ADDRESS] [DEADLINE] [LAME_DUCK]`

mod common;

use std::process::ExitCode;
use std::time::Duration;

use http_body_util::Full;
use hyper::body::{Bytes, Incoming};
use hyper::server::conn::http1::{Builder, Connection};
use hyper::service::service_fn;
use hyper::{Request, Response};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::sleep;
use winddown::{Shutdown, ShutdownExt};

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

    let mut stop = shutdown.waiter();
    loop {
        let accepted = tokio::select! {
            biased; // a busy listener always has a connection
            () = &mut stop => break,
            accepted = listener.accept() => accepted,
        };
        match accepted {
            Ok((stream, _)) => {
                let connection = connection(stream, shutdown.clone());
                tokio::spawn(shutdown.track(connection));
            }
            Err(error) => {
                // Out of descriptors, most likely: give the connections time to end.
                eprintln!("can't accept: {error}");
                sleep(Duration::from_millis(100)).await;
            }
        }
    }

    // From here on, new connections are refused.
    drop(listener);
    if let Some(cause) = shutdown.cause() {
        common::say(format_args!("stopping: {cause}"));
    }
    shutdown
        .drained()
        .await
        .map_err(|error| common::late(&options, &error))?;
    common::say("stopped: every request was answered");
    Ok(())
}

async fn connection(stream: TcpStream, shutdown: Shutdown) {
    let service = service_fn(|request| answer(request, &shutdown));
    let connection = Builder::new()
        .timer(TokioTimer::new())
        .serve_connection(TokioIo::new(stream), service)
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
