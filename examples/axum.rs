//! An HTTP server with axum that stops well.
//!
//! `cargo run --example axum -- [ADDRESS] [DEADLINE]`

mod common;

use std::process::ExitCode;

use axum::Router;
use axum::extract::State;
use axum::http::{Method, StatusCode, Uri};
use tokio::net::TcpListener;
use tokio::time::{sleep, timeout};
use winddown::Shutdown;

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
    let shutdown = Shutdown::install().map_err(|error| error.to_string())?;
    let listener = TcpListener::bind(&options.address)
        .await
        .map_err(|error| common::cant_listen(&options.address, &error))?;
    let address = listener.local_addr().map_err(|error| error.to_string())?;
    println!("ready: listening on http://{address}");

    // `common::route` knows the routes; a program of its own would say `.route(..)` here.
    let app = Router::new().fallback(answer).with_state(shutdown.clone());
    // This is all that axum needs. It has no deadline, so it runs in a task that can be left behind.
    let server = tokio::spawn(
        axum::serve(listener, app)
            .with_graceful_shutdown(shutdown.waiter())
            .into_future(),
    );
    shutdown.waiter().await;

    // axum closes the listener: new connections are refused.
    if let Some(cause) = shutdown.cause() {
        println!("stopping: {cause}");
    }
    timeout(options.deadline, server)
        .await
        .map_err(|_| common::late(options.deadline))?
        .map_err(|error| error.to_string())?
        .map_err(|error| error.to_string())?;
    println!("stopped: every request was answered");
    Ok(())
}

async fn answer(
    State(shutdown): State<Shutdown>,
    method: Method,
    uri: Uri,
) -> (StatusCode, String) {
    let (status, body) = match common::route(&shutdown, method.as_str(), uri.path(), uri.query()) {
        Action::Sleep(duration) => {
            sleep(duration).await;
            (200, common::WELCOME.to_owned())
        }
        Action::Answer(status, body) => (status, body),
    };
    let status = StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    (status, body)
}
