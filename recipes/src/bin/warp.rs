//! # warp
//!
//! `graceful` takes the waiter of a phase that is asked after a pause, in which no new connection comes.
//! The server's future has no deadline of its own, so `until_deadline` gives it that of the shutdown.
//!
//! - **It waits for** the requests in flight, and without limit for a client that sends half a request.
//! - **It loses** requests of kept-alive connections that come as it closes them. Without the refusal and
//!   the pause, it loses connections in the listen queue too, and requests that were not read yet.
//!   Upgraded connections are not waited for. `winddown_http::Server` loses none of these; it takes
//!   warp's filters as `warp::service(filter)`.
//! - **Signals:** warp handles none, so there is nothing to turn off.
//! - **Measured:** SIGTERM while a request of 1 s was in flight: the answer came whole, exit code 0
//!   after 1.0 s. Of connections in the listen queue, 8 of 8 were answered; 0 to 8 without the pause.

use std::error::Error;
use std::process::ExitCode;
use std::time::Duration;

use tokio::net::TcpListener;
use warp::Filter;
use winddown::{Shutdown, ShutdownExt};
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
        .install()?;
    let app = warp::path("slow").then(slow);
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    println!("ready: {}", listener.local_addr()?);

    // New connections are refused at once, and the server is told when those in the queue have been read.
    let http = shutdown.phase("http").delay(PAUSE).build();
    let _refusing = refuse_on_shutdown(&listener, &shutdown)?;
    let server = warp::serve(app)
        .incoming(listener)
        .graceful(http.waiter())
        .run();
    let ended = http.track(server).until_deadline(shutdown.waiter()).await;
    ended.ok_or("connections were open at the deadline")?;
    shutdown.result()?;
    println!("stopped: every request was answered");
    Ok(())
}

async fn slow() -> &'static str {
    println!("in flight");
    tokio::time::sleep(Duration::from_secs(1)).await;
    "slow, but whole\n"
}
