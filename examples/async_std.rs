//! An HTTP server on async-std that stops well.
//!
//! `cargo run --example async_std -- [ADDRESS] [DEADLINE]`

mod common;

use std::convert::Infallible;
use std::pin::pin;
use std::process::ExitCode;
use std::time::Duration;

use async_std::channel::{Sender, unbounded};
use async_std::future::timeout;
use async_std::net::{TcpListener, TcpStream};
use async_std::task;
use futures_lite::future::or;
use http_body_util::Full;
use hyper::body::{Bytes, Incoming};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Request, Response};
use smol_hyper::rt::{FuturesIo, SmolTimer};
use winddown::Shutdown;

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
    let shutdown = Shutdown::install().map_err(|error| error.to_string())?;
    let listener = TcpListener::bind(&options.address)
        .await
        .map_err(|error| common::cant_listen(&options.address, &error))?;
    let address = listener.local_addr().map_err(|error| error.to_string())?;
    println!("ready: listening on http://{address}");

    // Every connection holds a sender; the channel is closed when the last of them has ended.
    let (alive, ended) = unbounded::<Infallible>();
    let mut stop = shutdown.waiter();
    loop {
        let accepted = async { Some(listener.accept().await) };
        let stopped = async {
            (&mut stop).await;
            None
        };
        match or(stopped, accepted).await {
            None => break,
            Some(Ok((stream, _))) => {
                task::spawn(connection(stream, shutdown.clone(), alive.clone()));
            }
            Some(Err(error)) => {
                // Out of descriptors, most likely: give the connections time to end.
                eprintln!("can't accept: {error}");
                task::sleep(Duration::from_millis(100)).await;
            }
        }
    }

    // From here on, new connections are refused.
    drop(listener);
    if let Some(cause) = shutdown.cause() {
        println!("stopping: {cause}");
    }
    drop(alive);
    if timeout(options.deadline, ended.recv()).await.is_err() {
        return Err(common::late(options.deadline));
    }
    println!("stopped: every request was answered");
    Ok(())
}

async fn connection(stream: TcpStream, shutdown: Shutdown, _alive: Sender<Infallible>) {
    let service = service_fn(|request| answer(request, &shutdown));
    let mut connection = pin!(
        http1::Builder::new()
            .timer(SmolTimer::new())
            .serve_connection(FuturesIo::new(stream), service)
    );
    let served = async { Some(connection.as_mut().await) };
    let stopped = async {
        shutdown.waiter().await;
        None
    };
    let result = match or(served, stopped).await {
        Some(result) => result,
        None => {
            // Finishes the request in flight, if there is one, and closes.
            connection.as_mut().graceful_shutdown();
            connection.await
        }
    };
    if let Err(error) = result {
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
    Response::builder()
        .status(status)
        .header("content-type", "text/plain")
        .body(Full::new(Bytes::from(body)))
}
