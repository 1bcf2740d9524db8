//! An HTTP server with axum that stops well, by `winddown-http`.
//!
//! `cargo run --example axum -- [ADDRESS] [DEADLINE] [LAME_DUCK]`

mod common;

use std::net::SocketAddr;
use std::process::ExitCode;

use axum::extract::State;
use axum::http::{Method, StatusCode, Uri};
use axum::response::IntoResponse;
use axum::{Extension, Router};
use hyper_util::rt::TokioIo;
use tokio::net::{TcpListener, TcpStream};
use tokio::time::sleep;
use winddown::{Shutdown, ShutdownExt};
use winddown_http::{GuardLayer, Server, TokioIncoming};

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
    let (listener, _refusing) = options.listen(&shutdown)?;
    let listener = listener
        .set_nonblocking(true)
        .and_then(|()| TcpListener::from_std(listener))
        .map_err(|error| error.to_string())?;

    // `common::route` knows the routes; a program of its own would say `.route(..)` here.
    let app = Router::new()
        .fallback(answer)
        .with_state(shutdown.clone())
        // The server waits for its connections; this is for the report, should one take too long.
        .layer(GuardLayer::new(&shutdown, "request"));
    let _stopping = shutdown.call_on_shutdown({
        let shutdown = shutdown.clone();
        move || {
            if let Some(cause) = shutdown.cause() {
                common::say(format_args!("stopping: {cause}"));
            }
        }
    });
    // Takes what the kernel has accepted, closes the listener, and tells connections after a pause.
    let server = Server::tokio(&shutdown)
        .pause(common::PAUSE)
        .client_timeout(common::HEADER_TIMEOUT)
        .serve_with(
            TokioIncoming::new(listener),
            move |io: TokioIo<TcpStream>| {
                let peer = io.inner().peer_addr();
                let app = app.clone();
                async move { Ok((io, app.layer(Extension(peer?)))) }
            },
        );
    match server
        .limit_on_shutdown(shutdown.waiter(), options.deadline)
        .await
    {
        Some(served) => served.map_err(|error| error.to_string())?,
        None => return Err(common::late(&options, &shutdown.report())),
    }
    common::say(common::ALL_ANSWERED);
    Ok(())
}

async fn answer(
    State(shutdown): State<Shutdown>,
    Extension(peer): Extension<SocketAddr>,
    method: Method,
    uri: Uri,
) -> impl IntoResponse {
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
    (status, body)
}
