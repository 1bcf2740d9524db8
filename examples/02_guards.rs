//! Work in flight holds guards, and a drain waits until the last is dropped.
//!
//! `cargo run --example 02_guards`, then Ctrl-C.

use std::error::Error;
use std::time::Duration;

use smol::Timer;
use winddown::{Shutdown, ShutdownExt};

fn main() -> Result<(), Box<dyn Error>> {
    let shutdown = Shutdown::builder()
        .grace_period(Duration::from_secs(10))
        .install()?;
    smol::block_on(async {
        // Three jobs a second, each of which takes a second.
        let mut waiter = shutdown.waiter();
        let mut number = 0;
        let pause = || Timer::after(Duration::from_millis(300));
        while pause().cancel_on_shutdown(&mut waiter).await.is_some() {
            number += 1;
            // The guard is taken here, and not when the task first runs.
            let job = shutdown.track(job(number));
            smol::spawn(job).detach();
        }
        println!("stopping: {} in flight", shutdown.in_flight());

        // `Err` at the end of the grace period, with the lines that hold guards.
        shutdown.drained().await?;
        println!("stopped: {number} jobs, all done");
        // A job that comes now is refused, because no drain would wait for it.
        assert!(shutdown.guard().is_none());
        Ok(())
    })
}

async fn job(number: u32) {
    println!("begun: job {number}");
    Timer::after(Duration::from_secs(1)).await;
    println!("done: job {number}");
}
