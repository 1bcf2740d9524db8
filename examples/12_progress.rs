//! Says what a drain waits for: how many guards are left, and on which lines they were taken.
//!
//! `cargo run --example 12_progress`, then Ctrl-C.

use std::error::Error;
use std::time::Duration;

use smol::Timer;
use smol::stream::StreamExt;
use winddown::Shutdown;

fn main() -> Result<(), Box<dyn Error>> {
    let shutdown = Shutdown::builder()
        .grace_period(Duration::from_secs(1))
        .install()?;
    smol::block_on(async {
        for number in 1..=3 {
            let work = shutdown.track(upload(shutdown.clone(), number));
            smol::spawn(work).detach();
        }
        // This one is never released.
        let _stuck = shutdown.guard_named("a stuck import");
        println!("ready: press Ctrl-C");

        let mut drain = shutdown.drained();
        let mut progress = drain.progress();
        while let Some(left) = progress.next().await {
            println!("left: {left}");
        }
        // `main` could return it: its `Debug` is the same text, and the exit code is 1.
        if let Err(error) = drain.await {
            println!("gave up: {}", error.kind);
            for line in &error.report {
                println!("held: {} of '{}'", line.guards, line.name.unwrap_or("-"));
            }
        }
        Ok(())
    })
}

async fn upload(shutdown: Shutdown, number: u64) {
    shutdown.waiter().await;
    Timer::after(Duration::from_millis(100 * number)).await;
}
