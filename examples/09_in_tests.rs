//! A test drives a part of a program through its whole shutdown, without signals.
//!
//! `cargo run --example 09_in_tests` ends by itself. There is one `Shutdown::new()` for each test, and
//! none ends the process.

use std::sync::mpsc::{Receiver, channel};
use std::thread;
use std::time::Duration;

use winddown::{DrainErrorKind, Shutdown};

/// The part: doubles numbers until the shutdown. A number that is at work is finished.
fn double(shutdown: &Shutdown, numbers: Receiver<u32>) -> thread::JoinHandle<u32> {
    let guard = shutdown.guard_named("double").expect("nothing was drained");
    thread::spawn(move || {
        let waiter = guard.waiter();
        let mut sum = 0;
        while !waiter.is_stopping() {
            if let Ok(number) = numbers.recv_timeout(Duration::from_millis(10)) {
                sum += 2 * number;
            }
        }
        sum
    })
}

fn stops_when_it_is_asked() {
    let shutdown = Shutdown::new();
    let (_sender, numbers) = channel();
    let part = double(&shutdown, numbers);
    assert!(shutdown.request_shutdown());
    let time = Duration::from_secs(10);
    shutdown.drain_blocking(time).expect("it ends in time");
    assert_eq!(part.join().expect("it does not panic"), 0);
}

fn is_named_while_it_runs() {
    let shutdown = Shutdown::new();
    let (_sender, numbers) = channel();
    let _part = double(&shutdown, numbers);
    // A time of zero is a check.
    let error = shutdown.drain_blocking(Duration::ZERO).unwrap_err();
    assert_eq!(error.kind, DrainErrorKind::TimedOut);
    assert!(error.to_string().contains("1 'double' at "), "{error}");
    shutdown.request_shutdown();
}

fn second_request_forces() {
    let shutdown = Shutdown::new();
    let _guard = shutdown.guard();
    assert!(shutdown.request_shutdown());
    assert!(shutdown.request_shutdown()); // an installed one would end the process
    let error = shutdown.drain_blocking(Duration::MAX).unwrap_err();
    assert_eq!(error.kind, DrainErrorKind::Forced);
}

fn main() {
    // In a test file, each of these has `#[test]`, and they run side by side.
    stops_when_it_is_asked();
    is_named_while_it_runs();
    second_request_forces();
    println!("passed: 3 tests");
}
