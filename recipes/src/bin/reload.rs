//! # SIGHUP reloads, SIGTERM stops
//!
//! winddown handles the signals that it is given, SIGINT and SIGTERM by default. SIGHUP is free, and
//! tokio's `signal` handles it beside. Both register with signal-hook-registry, which calls the handlers
//! of each, so neither takes a signal from the other.
//!
//! - **It waits for** the reload that runs: it is plain code, and is not cancelled in its middle.
//! - Leave `Signal::HUP` out of `signals(..)`. A program that has a terminal and no configuration may
//!   add it there instead: a closed terminal then stops it in good order.
//! - **Measured:** SIGHUP twice reloaded twice. SIGTERM: exit code 0 at once.

use std::error::Error;

use tokio::signal::unix::{SignalKind, signal};
use winddown::{Shutdown, ShutdownExt};

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let shutdown = Shutdown::install()?;
    let mut hangups = signal(SignalKind::hangup())?;
    let mut waiter = shutdown.waiter();
    let mut generation = 1;
    println!("ready: generation {generation}");
    while let Some(Some(())) = hangups.recv().cancel_on_shutdown(&mut waiter).await {
        generation += 1;
        println!("reloaded: generation {generation}");
    }
    println!("stopped: {}", shutdown.cause().ok_or("it was requested")?);
    Ok(())
}
