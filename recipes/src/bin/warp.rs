//! # warp
//!
//! `graceful` takes the waiter. The server's future has no deadline of its own, so `until_deadline`
//! gives it that of the shutdown.
//!
//! - **It waits for** the requests in flight, and without limit for a client that sends half a request.
//! - **It loses** connections in the listen queue, and requests that were not read yet from connections
//!   that are open. Upgraded connections are not waited for. `winddown_http::Server` loses none of
//!   these; it takes warp's filters as `warp::service(filter)`.
//! - **Signals:** warp handles none, so there is nothing to turn off.
//! - **Measured:** SIGTERM while a request of 1 s was in flight: the answer came whole, exit code 0
//!   after 1.0 s. Of connections in the listen queue, 0 to 8 of 8 were answered.

use std::error::Error;
use std::time::Duration;

use tokio::net::TcpListener;
use warp::Filter;
use winddown::{Shutdown, ShutdownExt};

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let shutdown = Shutdown::builder()
        .grace_period(Duration::from_secs(25))
        .install()?;
    let app = warp::path("slow").then(slow);
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    println!("ready: {}", listener.local_addr()?);

    let server = warp::serve(app)
        .incoming(listener)
        .graceful(shutdown.waiter())
        .run();
    match server.until_deadline(shutdown.waiter()).await {
        Some(()) => println!("stopped: every request was answered"),
        None => return Err("connections were open at the deadline".into()),
    }
    Ok(())
}

async fn slow() -> &'static str {
    println!("in flight");
    tokio::time::sleep(Duration::from_secs(1)).await;
    "slow, but whole\n"
}
