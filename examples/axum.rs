//! An HTTP server with axum that stops well.
//!
//! `cargo run --example axum -- [ADDRESS] [DEADLINE] [LAME_DUCK]`

mod common;

use std::net::SocketAddr;
use std::process::ExitCode;

use axum::Router;
use axum::extract::{ConnectInfo, State};
use axum::http::{Method, StatusCode, Uri, header};
use axum::response::IntoResponse;
use tokio::net::TcpListener;
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
    let listener = options.listen()?;
    let listener = listener
        .set_nonblocking(true)
        .and_then(|()| TcpListener::from_std(listener))
        .map_err(|error| error.to_string())?;

    // `common::route` knows the routes; a program of its own would say `.route(..)` here.
    let app = Router::new().fallback(answer).with_state(shutdown.clone());
    let app = app.into_make_service_with_connect_info::<SocketAddr>();
    let _said = shutdown.call_on_shutdown({
        let shutdown = shutdown.clone();
        move || {
            common::say(format_args!(
                "stopping: {}",
                shutdown.cause().expect("it has one")
            ))
        }
    });
    let server = axum::serve(listener, app).with_graceful_shutdown(shutdown.waiter());
    match server.into_future().until_deadline(shutdown.waiter()).await {
        Some(served) => served.map_err(|error| error.to_string())?,
        None => return Err("connections were still open".into()),
    }
    common::say("stopped: every request was answered");
    Ok(())
}

async fn answer(
    State(shutdown): State<Shutdown>,
    ConnectInfo(peer): ConnectInfo<SocketAddr>,
    method: Method,
    uri: Uri,
) -> impl IntoResponse {
    // axum waits for its connections itself; this is for the report, should it take too long.
    let _guard = shutdown.guard_named("request");
    let (status, body) = match common::route(
        &shutdown,
        peer.ip(),
        method.as_str(),
        uri.path(),
        uri.query(),
    ) {
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
