//! Waiting for the request: check, register, check.

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
#[cfg(not(target_family = "wasm"))]
use std::time::{Duration, Instant};

use crate::Cause;
#[cfg(not(target_family = "wasm"))]
use crate::guard::deadline_after;
use crate::state::State;
use crate::wakers::Slot;

/// A future that is ready once a shutdown was requested.
///
/// Made by [`Shutdown::waiter`](crate::Shutdown::waiter), cloned at will, awaited on any runtime or
/// on none. Its output is `()`, so it can be handed to whoever takes a shutdown future:
/// `.with_graceful_shutdown(shutdown.waiter())`. Ask [`cause`](Waiter::cause) for the reason.
///
/// It is fused: polled again after it was ready, it is ready again. By `&mut` it can be awaited
/// many times, as in a loop:
///
/// ```
/// use futures_lite::future;
/// use winddown::Shutdown;
///
/// # future::block_on(async {
/// let shutdown = Shutdown::new();
/// let mut waiter = shutdown.waiter();
/// let mut rounds = 0;
/// loop {
///     let round = async {
///         future::yield_now().await; // the work of one round
///         false
///     };
///     let stop = async {
///         (&mut waiter).await;
///         true
///     };
///     if future::or(stop, round).await {
///         break;
///     }
///     rounds += 1;
///     if rounds == 3 {
///         shutdown.request_shutdown();
///     }
/// }
/// assert_eq!(rounds, 3);
/// # });
/// ```
///
/// # Cancel safety
///
/// Dropping a waiter loses nothing: the request stays, and any other waiter sees it. A clone starts
/// afresh and waits for the same request.
///
/// # Cost
///
/// Polling a pending waiter again from the same task takes no lock and allocates nothing.
#[must_use = "futures do nothing unless polled"]
pub struct Waiter {
    state: Arc<State>,
    slot: Slot,
}

impl Waiter {
    pub(crate) fn new(state: Arc<State>) -> Self {
        Self {
            state,
            slot: Slot::vacant(),
        }
    }

    /// Whether a shutdown was requested. One atomic load.
    pub fn is_requested(&self) -> bool {
        self.state.is_requested()
    }

    /// Why the shutdown was requested; `None` while it was not.
    pub fn cause(&self) -> Option<Cause> {
        self.state.cause()
    }

    /// Blocks this thread until a shutdown is requested.
    ///
    /// ```
    /// use winddown::Shutdown;
    ///
    /// let shutdown = Shutdown::new();
    /// let waiter = shutdown.waiter();
    /// let worker = std::thread::spawn(move || waiter.wait_blocking());
    /// shutdown.request_shutdown();
    /// worker.join().unwrap();
    /// ```
    ///
    /// # Blocking
    ///
    /// For plain threads. In a task, await the waiter instead: a blocked executor runs nobody else.
    #[cfg(not(target_family = "wasm"))]
    pub fn wait_blocking(&self) {
        self.block(None);
    }

    /// Blocks this thread until a shutdown is requested, or the timeout has passed. Returns whether
    /// a shutdown was requested.
    ///
    /// A timeout of zero is a check; one too long for the clock never ends.
    ///
    /// # Blocking
    ///
    /// As [`wait_blocking`](Waiter::wait_blocking).
    #[cfg(not(target_family = "wasm"))]
    pub fn wait_blocking_timeout(&self, timeout: Duration) -> bool {
        self.block(deadline_after(timeout))
    }

    #[cfg(not(target_family = "wasm"))]
    fn block(&self, deadline: Option<Instant>) -> bool {
        let requested = || self.is_requested().then_some(());
        self.state.block(deadline, requested).is_some()
    }
}

impl Future for Waiter {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let Self { state, slot } = &mut *self;
        if state.is_requested() {
            return Poll::Ready(());
        }
        // No wake-up is lost. The requester raises the flag first and then closes the registry. If
        // our waker is in by then, it is woken. If it comes too late, `register` says so, and that
        // is the second check. And a waker that is in already is woken all the same if the flag
        // rises right after the check above.
        if slot.holds(cx.waker()) || state.register(slot, cx.waker()) {
            Poll::Pending
        } else {
            Poll::Ready(())
        }
    }
}

impl Clone for Waiter {
    /// A waiter of the same shutdown, which nobody has polled yet.
    fn clone(&self) -> Self {
        Self::new(self.state.clone())
    }
}

impl Drop for Waiter {
    fn drop(&mut self) {
        // After the request there is nothing to take back, and no lock to take: the wakers are
        // with whoever is waking them.
        if !self.slot.is_vacant() && !self.state.is_requested() {
            self.state.deregister(&mut self.slot);
        }
    }
}

impl fmt::Debug for Waiter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Waiter")
            .field("requested", &self.is_requested())
            .finish_non_exhaustive()
    }
}
