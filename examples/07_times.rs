//! The three times of a shutdown: the lame duck, the grace period, and the force at its end.
//!
//! `cargo run --example 07_times`, then `kill` with the number that it prints. Ctrl-C skips the lame
//! duck, because no load balancer watches a program in a terminal.

use std::error::Error;
use std::thread;
use std::time::Duration;

use smol::future::block_on;
use winddown::Shutdown;

fn main() -> Result<(), Box<dyn Error>> {
    let shutdown = Shutdown::builder()
        .lame_duck(Duration::from_millis(500)) // load balancers notice
        .grace_period(Duration::from_secs(2)) // all of it
        .force_at_deadline() // the process ends then, whatever it does
        .exit_code(3)
        .install()?;
    println!("ready: kill {}", std::process::id());

    // From the request on, readiness is red. Work is still accepted.
    block_on(shutdown.requested());
    println!("requested: ready is {}", !shutdown.is_requested());

    // When the lame duck is over, waiters are ready, and no more work is accepted.
    shutdown.waiter().wait_blocking();
    let left = shutdown.remaining().expect("there is a grace period");
    println!("stopping: less than {} s left", left.as_secs() + 1);

    // A program that hangs is ended at the deadline, without this thread or any executor.
    loop {
        thread::park();
    }
}
