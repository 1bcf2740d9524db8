//! # salvo
//!
//! salvo is told by a handle. `call_on_shutdown` calls that handle, and takes no task: after a pause, in
//! which no new connection comes.
//!
//! - **It waits for** the requests in flight, for the time that `stop_graceful` is given. With `None`
//!   it waits without limit.
//! - **It loses** requests of kept-alive connections that come as it closes them. Without the refusal and
//!   the pause, it loses connections in the listen queue too, and requests that were not read yet.
//!   When the time is over, it drops the requests that are left.
//! - **Signals:** salvo handles none, so there is nothing to turn off.
//! - **Measured:** SIGTERM while a request of 1 s was in flight: the answer came whole, exit code 0
//!   after 1.0 s. Of connections in the listen queue, 8 of 8 were answered; 0 to 8 without the pause.

use std::error::Error;
use std::process::ExitCode;
use std::time::Duration;

use salvo::conn::{Listener, TcpListener};
use salvo::{Router, Server, handler};
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
    let acceptor = TcpListener::new("127.0.0.1:0").try_bind().await?;
    println!("ready: {}", acceptor.local_addr()?);
    // New connections are refused at once, and the server is told when those in the queue have been read.
    let http = shutdown.phase("http").delay(PAUSE).build();
    let _refusing = refuse_on_shutdown(acceptor.inner(), &shutdown)?;
    let server = Server::new(acceptor);
    let handle = server.handle();
    // The callback is deregistered when this is dropped.
    let _stop = http.call_on_shutdown(move || {
        handle.stop_graceful(Duration::from_secs(20));
    });
    let served = server.try_serve(Router::with_path("slow").get(slow));
    http.track(served).await?;
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
