//! # axum
//!
//! [`winddown_http`] serves axum's `Router`. Each connection holds a guard, and with [`GuardLayer`]
//! each request holds one too, so that the report of a drain names it.
//!
//! - **It waits for** every request, until the last byte of its answer is written.
//! - **It loses** [what remains](winddown_http#what-remains): mostly handshakes that take longer than 50 ms.
//!   `axum::serve(..).with_graceful_shutdown(shutdown.waiter())` also waits for its requests. But it
//!   closes the connections in the listen queue, and it waits without limit for a client that sends
//!   half a request; wrap it in `until_deadline`.
//! - **Signals:** axum handles none, so there is nothing to turn off.
//! - **Measured:** SIGTERM while a request of 1 s was in flight: the answer came whole, exit code 0
//!   after 1.0 s. Of connections in the listen queue, 8 of 8 were answered.

use std::error::Error;
use std::process::ExitCode;
use std::time::Duration;

use axum::Router;
use axum::routing::get;
use tokio::net::TcpListener;
use winddown::Shutdown;
use winddown_http::{GuardLayer, Server, TokioIncoming};

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
        .route("/slow", get(slow))
        .layer(GuardLayer::new(&shutdown, "request"));
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    println!("ready: {}", listener.local_addr()?);
    let incoming = TokioIncoming::new(listener).refuse_on_shutdown(&shutdown)?;

    // Until a signal, and then until the last answer is sent.
    Server::tokio(&shutdown).serve(incoming, app).await?;
    shutdown.result()?;
    println!("stopped: every request was answered");
    Ok(())
}

async fn slow() -> &'static str {
    println!("in flight");
    tokio::time::sleep(Duration::from_secs(1)).await;
    "slow, but whole\n"
}
