//! A scope that must not be left begins the shutdown when it is: by `?`, by `return` or by a panic.
//!
//! `cargo run --example 11_drop_guard` ends by itself, with exit code 1.

use std::error::Error;
use std::io;
use std::thread;

use winddown::Shutdown;

fn main() -> Result<(), Box<dyn Error>> {
    let shutdown = Shutdown::install()?;

    // A scope that ends well disarms its guard: nothing begins.
    let good = shutdown.clone();
    let thread = thread::spawn(move || migrate(&good, "1"));
    thread.join().expect("it does not panic")?;
    println!("migrated: stopping is {}", shutdown.is_requested());

    // This one leaves by `?`, in a thread of its own.
    let bad = shutdown.clone();
    let thread = thread::spawn(move || migrate(&bad, "one"));
    shutdown.waiter().wait_blocking();
    println!("stopping: {}", shutdown.cause().expect("it was requested"));
    // Left by a panic, it would be a failure. Left by `?`, the error is at hand.
    if let Err(error) = thread.join().expect("it does not panic") {
        shutdown.fail(error);
    }
    shutdown.result()?;
    Ok(())
}

/// Migrates to a version. The program can't go on with half of a migration.
fn migrate(shutdown: &Shutdown, version: &str) -> io::Result<()> {
    let guard = shutdown.drop_guard();
    let _version: u32 = version
        .parse()
        .map_err(|error| io::Error::other(format!("bad version: {error}")))?;
    guard.disarm();
    Ok(())
}
