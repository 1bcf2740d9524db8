//! What several test files need.
#![allow(
    dead_code,
    unreachable_pub,
    reason = "each test file is a crate that uses a part of it"
)]

use std::mem::forget;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{RecvTimeoutError, channel};
use std::task::{Context, Poll, Wake, Waker};
use std::thread;
use std::time::Duration;

/// How long anything may take before the test is given up. Nothing waits for it to pass.
pub const PATIENCE: Duration = Duration::from_secs(60);

/// Counts how often it was woken.
#[derive(Default)]
pub struct Counter(AtomicUsize);

impl Counter {
    pub fn new() -> (Arc<Self>, Waker) {
        let counter = Arc::new(Self::default());
        (counter.clone(), counter.into())
    }

    pub fn count(&self) -> usize {
        self.0.load(Ordering::SeqCst)
    }
}

impl Wake for Counter {
    fn wake(self: Arc<Self>) {
        self.0.fetch_add(1, Ordering::SeqCst);
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

/// Polls by hand.
pub fn poll<F: Future + Unpin>(future: &mut F, waker: &Waker) -> Poll<F::Output> {
    Pin::new(future).poll(&mut Context::from_waker(waker))
}

/// Runs what would hang if it went wrong, so that the test fails instead.
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
