//! An HTTP server on async-std that stops well.
//!
//! `cargo run --example async_std -- [ADDRESS] [DEADLINE] [LAME_DUCK]`

mod common;

use std::process::ExitCode;
use std::time::Duration;

use async_std::net::{TcpListener, TcpStream};
use async_std::stream::StreamExt;
use async_std::task;
use http_body_util::Full;
use hyper::body::{Bytes, Incoming};
use hyper::server::conn::http1::{Builder, Connection};
use hyper::service::service_fn;
use hyper::{Request, Response};
use smol_hyper::rt::{FuturesIo, SmolTimer};
use winddown::{Shutdown, ShutdownExt};

use common::{Action, Options};

fn main() -> ExitCode {
    let served = Options::from_args().and_then(|options| task::block_on(serve(options)));
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
                task::spawn(shutdown.track(connection));
            }
            Err(error) => {
                // Out of descriptors, most likely: give the connections time to end.
                eprintln!("can't accept: {error}");
                task::sleep(Duration::from_millis(100)).await;
            }
        }
    }

    // From here on, new connections are refused.
    drop(incoming);
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
            task::sleep(duration).await;
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
