//! # salvo
//!
//! salvo is told by a handle. `call_on_shutdown` calls that handle at the shutdown, and takes no task.
//!
//! - **It waits for** the requests in flight, for the time that `stop_graceful` is given. With `None`
//!   it waits without limit.
//! - **It loses** connections in the listen queue, and requests that were not read yet from connections
//!   that are open. When the time is over, it drops the requests that are left.
//! - **Signals:** salvo handles none, so there is nothing to turn off.
//! - **Measured:** SIGTERM while a request of 1 s was in flight: the answer came whole, exit code 0
//!   after 1.0 s. Of connections in the listen queue, 0 to 8 of 8 were answered.

use std::error::Error;
use std::time::Duration;

use salvo::conn::{Listener, TcpListener};
use salvo::{Router, Server, handler};
use winddown::Shutdown;

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let shutdown = Shutdown::builder()
        .grace_period(Duration::from_secs(25))
        .force_at_deadline()
        .install()?;
    let acceptor = TcpListener::new("127.0.0.1:0").try_bind().await?;
    println!("ready: {}", acceptor.local_addr()?);
    let server = Server::new(acceptor);
    let handle = server.handle();
    // The callback is deregistered when this is dropped.
    let _stop = shutdown.call_on_shutdown(move || {
        handle.stop_graceful(Duration::from_secs(20));
    });
    server
        .try_serve(Router::with_path("slow").get(slow))
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
