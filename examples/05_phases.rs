//! Parts that stop in an order are phases: each is asked when the ones before it hold no guard.
//!
//! `cargo run --example 05_phases`, then Ctrl-C. `phases.rs` is a whole program with phases.

use std::error::Error;
use std::time::Duration;

use smol::Timer;
use winddown::Shutdown;

fn main() -> Result<(), Box<dyn Error>> {
    let shutdown = Shutdown::builder()
        .grace_period(Duration::from_secs(10))
        .install()?;
    // The order in which the parts stop: the reverse of that in which they start.
    let http = shutdown.phase("http").build();
    let workers = shutdown
        .phase("workers")
        .after(&http)
        .time_limit(Duration::from_secs(5)) // so that the storage has its time
        .build();
    let storage = shutdown.phase("storage").after(&workers).build();

    smol::block_on(async {
        for (phase, name) in [
            (&storage, "storage"),
            (&workers, "workers"),
            (&http, "http"),
        ] {
            smol::spawn(phase.track(part(phase.clone(), name))).detach();
        }
        println!("ready: press Ctrl-C");
        // The guards of all phases count here.
        shutdown.drained().await?;
        println!("stopped");
        Ok(())
    })
}

async fn part(phase: Shutdown, name: &str) {
    phase.waiter().await;
    println!("{name}: told");
    Timer::after(Duration::from_millis(100)).await; // the rest of its work
    println!("{name}: done");
}
