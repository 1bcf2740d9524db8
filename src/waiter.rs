//! Waiting for the request, and for the other stages of a shutdown.

use std::fmt;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use crate::model::cause::Cause;
use crate::model::stage::Stage;
use crate::node::Node;
use crate::reached::{Reached, WholeRequested};
use crate::util::deadline;
use crate::util::waker_queue::Slot;

/// A future that is ready when the program is to begin no new work, and to finish what it has: when a shutdown
/// was requested, and its [`lame_duck`](crate::Builder::lame_duck), if it has one, is over.
///
/// Made by [`Shutdown::waiter`](crate::Shutdown::waiter), cloned at will, awaited on any runtime or
/// on none. Its output is `()`, so it goes wherever a server takes a shutdown future:
/// `.with_graceful_shutdown(shutdown.waiter())`. (Such a server may reset what is in its listen queue;
/// [winddown-http](https://docs.rs/winddown-http) answers it.) [`cause`](Waiter::cause) says why.
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
/// With `tokio::select!` its branch is `() = &mut waiter => break`; a clone in each round would register
/// anew.
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
    node: Arc<Node>,
    slot: Slot,
}

impl Waiter {
    #[inline]
    pub(crate) fn new(node: Arc<Node>) -> Self {
        Self {
            node,
            slot: Slot::vacant(),
        }
    }

    /// Returns a future for another stage of the same shutdown.
    pub(crate) fn reached(&self, stage: Stage) -> Reached {
        Reached::new(self.node.clone(), stage)
    }

    /// Returns whether every [`Callback`](crate::Callback) of a shutdown that is stopping was called.
    pub(crate) fn calls_made(&self) -> bool {
        self.node.calls_made()
    }

    pub(crate) fn whole_requested(&self) -> WholeRequested {
        WholeRequested::new(self.node.clone())
    }

    /// Returns whether the waiter is ready: whether the program is to finish its work. One atomic load.
    ///
    /// ```
    /// use winddown::Shutdown;
    ///
    /// let shutdown = Shutdown::new();
    /// let waiter = shutdown.waiter();
    /// let mut rounds = 0;
    /// while !waiter.is_stopping() {
    ///     rounds += 1;
    ///     if rounds == 3 {
    ///         shutdown.request_shutdown();
    ///     }
    /// }
    /// assert_eq!(rounds, 3);
    /// ```
    #[inline]
    pub fn is_stopping(&self) -> bool {
        self.node.has_reached(Stage::Stopping)
    }

    /// Returns whether a shutdown was requested, also during its
    /// [`lame_duck`](crate::Builder::lame_duck), when the waiter is not ready yet. One atomic load.
    ///
    /// ```
    /// use std::time::Duration;
    /// use winddown::Shutdown;
    ///
    /// let lame_duck = Duration::from_secs(60);
    /// let shutdown = Shutdown::builder().lame_duck(lame_duck).build();
    /// let waiter = shutdown.waiter();
    /// shutdown.request_shutdown();
    /// assert!(waiter.is_requested() && !waiter.is_stopping());
    /// ```
    #[inline]
    pub fn is_requested(&self) -> bool {
        self.node.has_reached(Stage::Requested)
    }

    /// Returns whether a shutdown was requested, here or above: a [phase](crate::Shutdown::phase) hears of
    /// the request of the whole later. One atomic load for each level, up to the first that was
    /// requested.
    ///
    /// ```
    /// use winddown::Shutdown;
    ///
    /// let shutdown = Shutdown::new();
    /// let first = shutdown.phase("first").build();
    /// let working = first.guard();
    /// let second = shutdown.phase("second").after(&first).build();
    /// let waiter = second.waiter();
    /// assert!(!waiter.is_whole_requested());
    /// shutdown.request_shutdown();
    /// assert!(waiter.is_whole_requested() && !waiter.is_requested());
    /// # drop(working);
    /// ```
    pub fn is_whole_requested(&self) -> bool {
        self.node.is_whole_requested()
    }

    /// Returns how far the shutdown has come. One atomic load.
    ///
    /// ```
    /// use winddown::{Shutdown, Stage};
    ///
    /// let shutdown = Shutdown::new();
    /// let waiter = shutdown.waiter();
    /// shutdown.request_shutdown();
    /// assert_eq!(waiter.stage(), Stage::Stopping);
    /// ```
    pub fn stage(&self) -> Stage {
        self.node.stage()
    }

    /// Returns the cause of the shutdown; see [`Shutdown::cause`](crate::Shutdown::cause).
    ///
    /// ```
    /// use winddown::Shutdown;
    ///
    /// let shutdown = Shutdown::new();
    /// let waiter = shutdown.waiter();
    /// let worker = std::thread::spawn(move || {
    ///     waiter.wait_blocking();
    ///     waiter.cause().expect("it was requested").to_string()
    /// });
    /// shutdown.trigger("the queue is empty");
    /// assert_eq!(worker.join().unwrap(), "the queue is empty");
    /// ```
    pub fn cause(&self) -> Option<Cause> {
        self.node.cause()
    }

    /// Returns when the grace period is over; see [`Shutdown::deadline`](crate::Shutdown::deadline).
    ///
    /// ```
    /// use std::time::Duration;
    /// use winddown::Shutdown;
    ///
    /// let grace = Duration::from_secs(30);
    /// let shutdown = Shutdown::builder().grace_period(grace).build();
    /// let waiter = shutdown.waiter();
    /// assert_eq!(waiter.deadline(), None);
    /// shutdown.request_shutdown();
    /// assert_eq!(waiter.deadline(), shutdown.deadline());
    /// ```
    pub fn deadline(&self) -> Option<Instant> {
        self.node.deadline()
    }

    /// Returns how much is left of the grace period; see
    /// [`Shutdown::remaining`](crate::Shutdown::remaining).
    ///
    /// ```
    /// use std::time::Duration;
    /// use winddown::Shutdown;
    ///
    /// let grace = Duration::from_secs(30);
    /// let shutdown = Shutdown::builder().grace_period(grace).build();
    /// let waiter = shutdown.waiter();
    /// shutdown.request_shutdown();
    /// assert!(waiter.remaining().unwrap() <= grace);
    /// ```
    pub fn remaining(&self) -> Option<Duration> {
        self.deadline().map(deadline::remaining)
    }

    /// Blocks this thread until the waiter is ready.
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
    /// For plain threads. In a task, await the waiter instead: a blocked executor runs no other task.
    #[cfg(not(target_family = "wasm"))]
    pub fn wait_blocking(&self) {
        self.block(None);
    }

    /// Blocks this thread until the waiter is ready, or the timeout has passed. Returns whether the
    /// waiter is ready.
    ///
    /// A timeout of zero is a check; one too long for the clock never ends.
    ///
    /// ```
    /// use std::time::Duration;
    /// use winddown::Shutdown;
    ///
    /// let shutdown = Shutdown::new();
    /// let waiter = shutdown.waiter();
    /// let interval = Duration::from_millis(1);
    /// let mut rounds = 0;
    /// while !waiter.wait_blocking_timeout(interval) {
    ///     rounds += 1; // the work of one interval
    ///     if rounds == 3 {
    ///         shutdown.request_shutdown();
    ///     }
    /// }
    /// assert_eq!(rounds, 3);
    /// ```
    ///
    /// # Blocking
    ///
    /// As [`wait_blocking`](crate::Waiter::wait_blocking).
    #[cfg(not(target_family = "wasm"))]
    pub fn wait_blocking_timeout(&self, timeout: Duration) -> bool {
        self.block(deadline::deadline_after(timeout))
    }

    #[cfg(not(target_family = "wasm"))]
    fn block(&self, deadline: Option<Instant>) -> bool {
        let stopping = || self.is_stopping().then_some(());
        self.node.block(deadline, stopping).is_some()
    }
}

impl Future for Waiter {
    type Output = ();

    #[inline]
    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let Self { node, slot } = &mut *self;
        node.poll(Stage::Stopping, slot, cx)
    }
}

impl Clone for Waiter {
    /// Makes a waiter of the same shutdown, which takes no place in the registry of wakers yet.
    fn clone(&self) -> Self {
        Self::new(self.node.clone())
    }
}

impl Drop for Waiter {
    #[inline]
    fn drop(&mut self) {
        self.node.forget(Stage::Stopping, &mut self.slot);
    }
}

impl fmt::Debug for Waiter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Waiter")
            .field("requested", &self.is_requested())
            .finish_non_exhaustive()
    }
}
