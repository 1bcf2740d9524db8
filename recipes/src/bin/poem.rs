//! # poem
//!
//! `run_with_graceful_shutdown` takes a time after which connections are dropped, and the waiter of a phase
//! that is asked after a pause, in which no new connection comes.
//!
//! - **It waits for** the requests in flight, for that time at most. Set it below the grace period.
//! - **It loses** requests of kept-alive connections that come as it closes them. Without the refusal and
//!   the pause, it loses connections in the listen queue too, and requests that were not read yet.
//!   When the time is over, it drops the requests that are left and returns `Ok`. To learn of them,
//!   hold a guard in the handler and await `shutdown.drained()`.
//! - **Signals:** poem handles none, so there is nothing to turn off.
//! - **Measured:** SIGTERM while a request of 1 s was in flight: the answer came whole, exit code 0
//!   after 1.0 s. Of connections in the listen queue, 8 of 8 were answered; 0 to 8 without the pause.

use std::error::Error;
use std::process::ExitCode;
use std::time::Duration;

use poem::listener::TcpAcceptor;
use poem::{Route, Server, get, handler};
use tokio::net::TcpListener;
use winddown::Shutdown;
use winddown_http::refuse_on_shutdown;

/// How long the server accepts from the queue, and how long a client has to send its first request.
const PAUSE: Duration = Duration::from_millis(500);

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
        .install()?;
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    println!("ready: {}", listener.local_addr()?);

    // New connections are refused at once, and the server is told when those in the queue have been read.
    let http = shutdown.phase("http").delay(PAUSE).build();
    let _refusing = refuse_on_shutdown(&listener, &shutdown)?;
    let acceptor = TcpAcceptor::from_tokio(listener)?;
    let server = Server::new_with_acceptor(acceptor).run_with_graceful_shutdown(
        Route::new().at("/slow", get(slow)),
        http.waiter(),
        Some(Duration::from_secs(20)),
    );
    http.track(server).await?;
    shutdown.result()?;
    println!("stopped: every request was answered");
    Ok(())
}

#[handler]
async fn slow() -> &'static str {
    println!("in flight");
    tokio::time::sleep(Duration::from_secs(1)).await;
    "slow, but whole\n"
}
