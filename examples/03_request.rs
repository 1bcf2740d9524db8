//! The program itself begins the shutdown: as a signal does, or for a reason of its own.
//!
//! `cargo run --example 03_request` ends by itself.

use std::error::Error;
use std::thread;

use winddown::{Cause, Shutdown, Signal};

fn main() -> Result<(), Box<dyn Error>> {
    let shutdown = Shutdown::install()?;

    // From anywhere, without a handle: takes the first of two slots. A second request would force.
    thread::spawn(|| {
        assert!(winddown::request_shutdown());
    });
    shutdown.waiter().wait_blocking();
    let cause = shutdown.cause().expect("it was requested");
    println!("stopping: {}", kind(&cause));

    // A reason of the program's own takes no slot, so several parts may have one.
    let other = Shutdown::new();
    assert!(other.trigger("the work is done"));
    assert!(!other.trigger("so is mine"));
    println!("the first: {}", other.cause().expect("it was triggered"));

    // A signal that never came from outside, for a test.
    let third = Shutdown::new();
    assert!(third.send(Signal::TERM));
    println!("the third: {}", third.cause().expect("it was sent"));
    Ok(())
}

fn kind(cause: &Cause) -> &'static str {
    match cause {
        Cause::Signal(_) => "a signal",
        Cause::Requested(_) => "a request",
        Cause::Triggered { .. } => "a reason of its own",
        _ => "a failure",
    }
}
