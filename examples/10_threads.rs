//! Without a runtime: threads that wait, that repeat, and that work through a list.
//!
//! `cargo run --example 10_threads`, then Ctrl-C. `threads.rs` is an HTTP server on threads.

use std::error::Error;
use std::sync::mpsc::channel;
use std::thread;
use std::time::Duration;

use winddown::{Shutdown, ShutdownExt};

fn main() -> Result<(), Box<dyn Error>> {
    let shutdown = Shutdown::builder()
        .grace_period(Duration::from_secs(10))
        .install()?;
    // The threads end before the scope does. `main` waits for them by that, and needs no drain.
    thread::scope(|scope| {
        // Sleeps between its turns, and is woken by the shutdown.
        let waiter = shutdown.waiter();
        scope.spawn(move || {
            while !waiter.wait_blocking_timeout(Duration::from_millis(50)) {
                // ... its turn ...
            }
            println!("repeated");
        });

        // Looks at the shutdown before each item.
        let items = (1_u64..).stop_on_shutdown(shutdown.waiter());
        scope.spawn(move || {
            for _item in items {
                // ... work ...
            }
            println!("worked");
        });

        // Waits alone.
        let waiter = shutdown.waiter();
        scope.spawn(move || {
            waiter.wait_blocking();
            println!("waited: {}", waiter.cause().expect("it was requested"));
        });

        // A function, called by the thread that reads the signal: it must not block.
        let (sender, calls) = channel();
        let _callback = shutdown.call_on_shutdown(move || {
            let _ = sender.send("called");
        });
        println!("ready: press Ctrl-C");
        println!("{}", calls.recv().expect("it is called")); // and then deregistered
    });
    println!("stopped");
    Ok(())
}
