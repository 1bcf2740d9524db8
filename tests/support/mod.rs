//! Helpers of several test files.
#![allow(
    dead_code,
    unreachable_pub,
    unused_imports,
    unused_macros,
    reason = "each test file is a crate that uses a part of it"
)]

#[cfg(not(any(loom, target_family = "wasm")))]
pub mod child;
pub mod counter;
#[cfg(loom)]
pub mod model;
#[cfg(not(any(loom, target_family = "wasm")))]
pub mod program;
#[cfg(feature = "tracing")]
pub mod subscriber;

use std::error::Error;
use std::fmt;
use std::mem::forget;
use std::sync::Arc;
use std::sync::mpsc::{RecvTimeoutError, channel};
use std::task::{Poll, Wake, Waker};
use std::thread;
use std::time::{Duration, Instant};

pub use counter::{Counter, poll};

/// How long a test waits for one event before it fails. No passing test waits that long.
///
/// Shorter than the 30 seconds after which most servers close the connection of a silent client: a
/// test must not take such an end for the end by a shutdown.
pub const PATIENCE: Duration = Duration::from_secs(20);

/// A time that no test lives to see.
pub const HOUR: Duration = Duration::from_secs(3600);

/// An error that panics when it is dropped, unless its thread does already.
#[derive(Debug)]
pub struct PanicsWhenDropped;

impl fmt::Display for PanicsWhenDropped {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("disk full")
    }
}

impl Error for PanicsWhenDropped {}

impl Drop for PanicsWhenDropped {
    fn drop(&mut self) {
        assert!(thread::panicking(), "an error's own fault");
    }
}

/// Calls a function each time it is woken.
pub struct Call<F>(pub F);

impl<F: Fn() + Send + Sync + 'static> Call<F> {
    pub fn waker(function: F) -> Waker {
        Arc::new(Self(function)).into()
    }
}

impl<F: Fn() + Send + Sync + 'static> Wake for Call<F> {
    fn wake(self: Arc<Self>) {
        (self.0)();
    }
}

/// Drains without waiting, and returns whether no guard was left.
#[cfg(not(target_family = "wasm"))]
pub fn drained(shutdown: &winddown::Shutdown) -> bool {
    shutdown.drain_blocking(Duration::ZERO).is_ok()
}

/// Drains by one poll, where no thread can wait, and returns whether no guard was left.
#[cfg(target_family = "wasm")]
pub fn drained(shutdown: &winddown::Shutdown) -> bool {
    poll(&mut shutdown.drain(Duration::ZERO), Waker::noop()) == Poll::Ready(Ok(()))
}

/// Blocks this thread for good.
pub fn park() -> ! {
    loop {
        thread::park();
    }
}

/// Checks a condition every millisecond until it holds, for events that send no notification.
pub fn until(what: &str, mut happened: impl FnMut() -> bool) {
    let begun = Instant::now();
    while !happened() {
        assert!(begun.elapsed() < PATIENCE, "not in time: {what}");
        thread::sleep(Duration::from_millis(1));
    }
}

/// Runs a function on a thread of its own, and panics if it has not returned in [`PATIENCE`].
#[cfg(not(target_family = "wasm"))]
pub fn in_time<T: Send + 'static>(run: impl FnOnce() -> T + Send + 'static) -> T {
    let (ends, ended) = channel::<()>();
    let thread = thread::spawn(move || {
        let _ends = ends;
        run()
    });
    if ended.recv_timeout(PATIENCE) == Err(RecvTimeoutError::Timeout) {
        panic!("it hangs");
    }
    thread.join().unwrap_or_else(|payload| {
        // A payload may panic when it is dropped.
        forget(payload);
        panic!("it panicked")
    })
}

/// Runs a function. If it hangs, `wasm/run.py` ends the test: there is no thread that could.
#[cfg(target_family = "wasm")]
pub fn in_time<T>(run: impl FnOnce() -> T) -> T {
    run()
}
