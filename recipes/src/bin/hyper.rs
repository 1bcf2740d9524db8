//! # hyper
//!
//! [`winddown_http`] serves a function of hyper. To drive hyper's connections yourself, wrap each in
//! `on_shutdown(shutdown.waiter(), Connection::graceful_shutdown)`, as the example `tokio` does.
//!
//! - **It waits for** every request, until the last byte of its answer is written.
//! - **It loses** [what remains](winddown_http#what-remains): mostly handshakes that take longer than 50 ms.
//!   hyper-util's `GracefulShutdown` also loses the connections in the listen queue, and requests that
//!   were not read yet from connections that are open.
//! - **Signals:** hyper handles none, so there is nothing to turn off.
//! - **Measured:** SIGTERM while a request of 1 s was in flight: the answer came whole, exit code 0
//!   after 1.0 s. Of connections in the listen queue, 8 of 8 were answered.

use std::convert::Infallible;
use std::error::Error;
use std::process::ExitCode;
use std::time::Duration;

use hyper::service::service_fn;
use hyper::{Request, Response};
use tokio::net::TcpListener;
use winddown::Shutdown;
use winddown_http::{RequestBody, Server, TokioIncoming};

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
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    println!("ready: {}", listener.local_addr()?);
    let incoming = TokioIncoming::new(listener).refuse_on_shutdown(&shutdown)?;
    Server::tokio(&shutdown)
        .serve(incoming, service_fn(slow))
        .await?;
    shutdown.result()?;
    println!("stopped: every request was answered");
    Ok(())
}

async fn slow(_: Request<RequestBody>) -> Result<Response<String>, Infallible> {
    println!("in flight");
    tokio::time::sleep(Duration::from_secs(1)).await;
    Ok(Response::new("slow, but whole\n".into()))
}
