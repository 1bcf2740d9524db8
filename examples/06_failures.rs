//! A task that fails begins the shutdown, and the exit code says so.
//!
//! `cargo run --example 06_failures` ends by itself, with exit code 1.

use std::error::Error;
use std::process::ExitCode;
use std::time::Duration;

use smol::Timer;
use winddown::Shutdown;

fn main() -> Result<ExitCode, Box<dyn Error>> {
    let shutdown = Shutdown::builder()
        .grace_period(Duration::from_secs(10))
        .install()?;
    smol::block_on(async {
        // May end with `Ok`. An `Err`, a panic or a drop begins the shutdown.
        let mail = shutdown.supervise("mail", async {
            Timer::after(Duration::from_millis(200)).await;
            Err::<(), _>("connection refused")
        });
        smol::spawn(shutdown.track_named("mail", mail)).detach();

        // Must not end at all before the shutdown.
        let waiter = shutdown.waiter();
        let cache = shutdown.critical("cache", async {
            waiter.await;
            println!("cache: saved"); // what has not failed ends in good order
        });
        smol::spawn(shutdown.track_named("cache", cache)).detach();

        println!("ready: press Ctrl-C, or wait for the failure");
        shutdown.drained().await?;
        let cause = shutdown.cause().expect("it was requested");
        println!("stopped: {cause}");
        Ok(ExitCode::from(&cause))
    })
}
