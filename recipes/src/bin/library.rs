//! # A library that takes "a shutdown"
//!
//! A library installs no signal handlers: they belong to the program. What it takes depends on what it
//! does at the shutdown.
//!
//! - **`impl Future<Output = ()>`** for a part that only has to end. The library needs no winddown, and
//!   takes a `Waiter`, `token.cancelled_owned()`, or the end of a channel in an `async` block.
//! - **[`Waiter`]** for loops that look at `is_stopping`, and for work that asks how much time
//!   `remaining` gives it.
//! - **[`Shutdown`]** for a part with work that must be finished: it takes guards. Give it a child or a
//!   phase, whose request stays inside the library.
//! - **Measured:** SIGTERM: three rows were written, exit code 0 after 0.3 s.

use std::error::Error;
use std::process::ExitCode;
use std::time::Duration;

use winddown::{Shutdown, Waiter};

/// The library.
mod poller {
    use super::*;
    use std::pin::pin;
    use tokio::time::sleep;

    /// Polls until `stop` is ready.
    pub async fn run_until(stop: impl Future<Output = ()>) -> u32 {
        let mut stop = pin!(stop);
        let mut polls = 0;
        loop {
            tokio::select! {
                () = &mut stop => return polls,
                () = sleep(Duration::from_millis(20)) => polls += 1,
            }
        }
    }

    /// Works in steps until the waiter is ready, and then for as long as the time allows.
    pub async fn run_with(waiter: Waiter) -> &'static str {
        while !waiter.is_stopping() {
            sleep(Duration::from_millis(20)).await;
        }
        match waiter.remaining() {
            Some(time) if time < Duration::from_secs(1) => "left out the last step",
            _ => "did the last step",
        }
    }

    /// Writes each of its rows, whatever comes. Each holds a guard.
    pub fn start(shutdown: &Shutdown) {
        for row in 0..3 {
            let write = async move {
                sleep(Duration::from_millis(300)).await;
                println!("written: row {row}");
            };
            tokio::spawn(shutdown.track(write));
        }
    }
}

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
        .grace_period(Duration::from_secs(10))
        .install()?;
    let by_future = tokio::spawn(poller::run_until(shutdown.waiter()));
    let by_waiter = tokio::spawn(poller::run_with(shutdown.waiter()));
    let library = shutdown.child();
    println!("ready: running");
    shutdown.waiter().await;

    poller::start(&library);
    library.drained().await?;
    by_future.await?;
    println!("the future has ended it");
    println!("the library {}", by_waiter.await?);
    shutdown.result()?;
    println!("stopped");
    Ok(())
}
