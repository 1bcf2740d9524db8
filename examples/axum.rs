//! An HTTP server with axum that stops well.
//!
//! `cargo run --example axum -- [ADDRESS] [DEADLINE] [LAME_DUCK]`

mod common;

use std::process::ExitCode;

use axum::Router;
use axum::extract::State;
use axum::http::{Method, StatusCode, Uri, header};
use axum::response::IntoResponse;
use tokio::net::TcpListener;
use tokio::time::sleep;
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
    let shutdown = options.install()?;
    let listener = TcpListener::bind(&options.address)
        .await
        .map_err(|error| common::cant_listen(&options.address, &error))?;
    let address = listener.local_addr().map_err(|error| error.to_string())?;
    common::say(format_args!("ready: listening on http://{address}"));

    // `common::route` knows the routes; a program of its own would say `.route(..)` here.
    let app = Router::new().fallback(answer).with_state(shutdown.clone());
    // This is all that axum needs. It has no deadline, so it runs in a task that can be left behind.
    let server = axum::serve(listener, app)
        .with_graceful_shutdown(shutdown.waiter())
        .into_future();
    let server = tokio::spawn(shutdown.track(server));
    shutdown.waiter().await;

    // axum closes the listener: new connections are refused.
    if let Some(cause) = shutdown.cause() {
        common::say(format_args!("stopping: {cause}"));
    }
    shutdown
        .drained()
        .await
        .map_err(|error| common::late(&options, &error))?;
    server
        .await
        .map_err(|error| error.to_string())?
        .map_err(|error| error.to_string())?;
    common::say("stopped: every request was answered");
    Ok(())
}

async fn answer(State(shutdown): State<Shutdown>, method: Method, uri: Uri) -> impl IntoResponse {
    // axum waits for its connections itself; this is for the report, should it take too long.
    let _guard = shutdown.guard_named("request");
    let (status, body) = match common::route(&shutdown, method.as_str(), uri.path(), uri.query()) {
        Action::Sleep(duration) => {
            sleep(duration).await;
            (200, common::WELCOME.to_owned())
        }
        Action::Answer(status, body) => (status, body),
    };
    let status = StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    // In the lame duck too: on a new connection, the client reaches a server that stays.
    let close = shutdown
        .is_requested()
        .then_some([(header::CONNECTION, "close")]);
    (status, close, body)
}
