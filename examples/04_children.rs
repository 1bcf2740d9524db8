//! Parts that may end alone are children: a tenant, a connection, a subsystem.
//!
//! `cargo run --example 04_children`, then Ctrl-C.

use std::error::Error;
use std::time::Duration;

use smol::Timer;
use winddown::Shutdown;

fn main() -> Result<(), Box<dyn Error>> {
    let shutdown = Shutdown::builder()
        .grace_period(Duration::from_secs(10))
        .install()?;
    smol::block_on(async {
        let (red, blue) = (shutdown.child(), shutdown.child());
        for (tenant, name) in [(&red, "red"), (&blue, "blue")] {
            smol::spawn(tenant.track(serve(tenant.clone(), name))).detach();
        }

        // One tenant moves away: its guards are drained, and the other goes on.
        red.trigger("the tenant moves away");
        red.drained().await?;
        println!("red is gone, blue runs: {}", !blue.is_requested());

        // Ctrl-C tells every child that runs, with the same cause. The drain waits for the guards of all.
        println!("ready: press Ctrl-C");
        shutdown.drained().await?;
        println!("stopped");
        Ok(())
    })
}

async fn serve(tenant: Shutdown, name: &str) {
    println!("{name}: serving");
    tenant.waiter().await;
    println!("{name}: {}", tenant.cause().expect("it was requested"));
    Timer::after(Duration::from_millis(100)).await; // the rest of its work
}
