//! # trillium
//!
//! trillium is told by a `Swansong`, which stands for one shutdown of its own. `call_on_shutdown` tells
//! it, and takes no task.
//!
//! - **It waits for** the requests in flight, without limit. `until_deadline` gives it the deadline of
//!   the shutdown.
//! - **It loses** connections in the listen queue.
//! - **Signals:** by default trillium handles SIGINT, SIGQUIT and SIGTERM itself. `without_signals`
//!   turns that off.
//! - **Measured:** SIGTERM while a request of 1 s was in flight: the answer came whole, exit code 0
//!   after 1.0 s. Of connections in the listen queue, 0 to 8 of 8 were answered.

use std::error::Error;
use std::time::Duration;

use trillium::{Conn, Swansong};
use winddown::{Shutdown, ShutdownExt};

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let shutdown = Shutdown::builder()
        .grace_period(Duration::from_secs(25))
        .force_at_deadline()
        .install()?;
    let swansong = Swansong::new();
    let server = trillium_tokio::config()
        .with_host("127.0.0.1")
        .with_port(0)
        .without_signals()
        .with_swansong(swansong.clone())
        .spawn(slow);
    // The callback is deregistered when this is dropped.
    let _stop = shutdown.call_on_shutdown(move || {
        swansong.shut_down();
    });
    let info = server.info().await;
    println!("ready: {}", info.tcp_socket_addr().ok_or("it is TCP")?);

    match server.into_future().until_deadline(shutdown.waiter()).await {
        Some(()) => println!("stopped: every request was answered"),
        None => return Err("connections were open at the deadline".into()),
    }
    Ok(())
}

async fn slow(conn: Conn) -> Conn {
    println!("in flight");
    tokio::time::sleep(Duration::from_secs(1)).await;
    conn.ok("slow, but whole\n")
}
