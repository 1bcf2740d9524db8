//! # axum: websockets
//!
//! A websocket belongs to the task of its handler. The task holds the [`RequestGuard`], so that a drain
//! waits for it. At the shutdown the task sends a close frame with code 1001, "going away".
//!
//! - **It waits for** the task of each websocket: until the client has answered the close frame, or for
//!   5 s.
//! - **On HTTP/2** a browser opens a websocket by CONNECT, so the route takes `any` method.
//! - **It loses** messages that the client sends after the close frame. `axum::serve` does not wait for
//!   websockets at all: with it, the [`RequestGuard`] and `shutdown.drained()` do.
//! - **Signals:** axum handles none, so there is nothing to turn off.
//! - **Measured:** SIGTERM while a websocket was open: it was closed with code 1001, exit code 0 as
//!   soon as the client had answered.

use std::error::Error;
use std::process::ExitCode;
use std::time::Duration;

use axum::extract::ws::{CloseFrame, Message, WebSocket, WebSocketUpgrade, close_code};
use axum::response::Response;
use axum::routing::any;
use axum::{Extension, Router};
use tokio::net::TcpListener;
use tokio::time::timeout;
use winddown::{Shutdown, ShutdownExt};
use winddown_http::{GuardLayer, RequestGuard, Server, TokioIncoming};

#[tokio::main]
async fn main() -> ExitCode {
    let Err(error) = run().await else {
        return ExitCode::SUCCESS;
    };
    // Here: when `main` has returned, tokio waits for threads that block.
    eprintln!("error: {error}");
    ExitCode::FAILURE
}

async fn run() -> Result<(), Box<dyn Error>> {
    let shutdown = Shutdown::builder()
        .grace_period(Duration::from_secs(25))
        .force_at_deadline()
        .abort_timeout(Duration::from_secs(1)) // to say what is not done
        .install()?;
    let app = Router::new()
        .route("/slow", any(upgrade)) // CONNECT on HTTP/2
        .layer(GuardLayer::new(&shutdown, "websocket"));
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    println!("ready: {}", listener.local_addr()?);
    let incoming = TokioIncoming::new(listener).refuse_on_shutdown(&shutdown)?;
    Server::tokio(&shutdown).serve(incoming, app).await?;
    shutdown.result()?;
    println!("stopped: every websocket was closed");
    Ok(())
}

async fn upgrade(Extension(guard): Extension<RequestGuard>, upgrade: WebSocketUpgrade) -> Response {
    upgrade.on_upgrade(|socket| echo(socket, guard))
}

async fn echo(mut socket: WebSocket, guard: RequestGuard) {
    println!("in flight");
    let mut stop = guard.waiter();
    while let Some(received) = socket.recv().cancel_on_shutdown(&mut stop).await {
        match received {
            // It is answered by itself, and the next `recv` returns `None`.
            Some(Ok(Message::Close(_))) => continue,
            Some(Ok(message)) => {
                // A client that reads no more must not hold up the stop.
                let sent = socket.send(message);
                let sent = sent.cancel_on_shutdown(&mut stop).await;
                if sent.is_some_and(|sent| sent.is_err()) {
                    return;
                }
            }
            _ => return, // the client has gone
        }
    }
    let close = CloseFrame {
        code: close_code::AWAY, // 1001
        reason: "restarting".into(),
    };
    // Until the client's own close frame, which may never come.
    let farewell = async {
        let _ = socket.send(Message::Close(Some(close))).await;
        while let Some(Ok(_)) = socket.recv().await {}
    };
    let _ = timeout(Duration::from_secs(5), farewell).await;
}
