//! [`Drain`]: waits until no guard is held.

use std::fmt;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use futures_lite::Stream;

use crate::model::report::Stragglers;
use crate::node::sites::Shared;
use crate::util::deadline::Deadline;

/// A future that is ready when no guard is held any more, or when its time is up.
///
/// Made by [`Shutdown::drain`](crate::Shutdown::drain) and
/// [`Shutdown::drain_gracefully`](crate::Shutdown::drain_gracefully).
///
/// # Errors
///
/// [`Stragglers`], the guards that are left, when the time is up, or at once when the shutdown is
/// forced.
///
/// # Cancel safety
///
/// Dropping a drain changes nothing: what was in flight still is, and another drain can wait for it.
/// Polled again after it was ready, it looks again: `Ok` stays `Ok`, and after a time-out it says
/// what is left now.
#[must_use = "futures do nothing unless polled"]
pub struct Drain {
    shared: Shared,
    /// `None` until it is known: that of the shutdown, which begins with the request.
    deadline: Option<Deadline>,
    key: Option<usize>,
    /// Whether its end was traced.
    traced: bool,
}

impl Drain {
    pub(crate) fn new(shared: Shared, timeout: Duration) -> Self {
        Self {
            shared,
            deadline: Some(Deadline::after(timeout)),
            key: None,
            traced: false,
        }
    }

    pub(crate) fn to_deadline(shared: Shared) -> Self {
        Self {
            shared,
            deadline: None,
            key: None,
            traced: false,
        }
    }

    /// Waits as the drain does, and says meanwhile how many guards are left.
    ///
    /// The stream's first item is the count when it is first polled. Then it is woken whenever a guard
    /// is dropped, and gives the count if that is another; several at once may be one item. It ends
    /// when the drain is ready; await the drain then to learn how it ended.
    ///
    /// ```
    /// use futures_lite::{StreamExt, future};
    /// use std::time::Duration;
    /// use winddown::Shutdown;
    ///
    /// # future::block_on(async {
    /// let shutdown = Shutdown::new();
    /// let mut guards = vec![shutdown.guard(), shutdown.guard()];
    /// let mut drain = shutdown.drain(Duration::from_secs(10));
    /// let mut progress = drain.progress();
    /// let mut seen = vec![];
    /// while let Some(left) = progress.next().await {
    ///     seen.push(left); // or tell whoever waits
    ///     guards.pop();
    /// }
    /// assert_eq!(seen, [2, 1]);
    /// assert_eq!(drain.await, Ok(()));
    /// # });
    /// ```
    pub fn progress(&mut self) -> Progress<'_> {
        Progress {
            drain: self,
            last: None,
        }
    }

    fn poll_with(&mut self, cx: &mut Context<'_>, counting: bool) -> Poll<Result<(), Stragglers>> {
        // Registered first and then asked, so that no guard is dropped unseen between the two.
        self.shared.node.watch(&mut self.key, cx.waker());
        if self.deadline.is_none() {
            self.deadline = self.shared.node.deadline().map(Deadline::at);
        }
        let late = match &mut self.deadline {
            Some(deadline) => deadline.poll(cx).is_ready(),
            // Watchers are told of the request too.
            None => false,
        };
        match self.shared.settled(counting, late) {
            Some(result) => {
                self.shared.node.unwatch(&mut self.key);
                if !std::mem::replace(&mut self.traced, true) {
                    self.shared.node.trace_drained(&result);
                }
                Poll::Ready(result)
            }
            None => Poll::Pending,
        }
    }
}

impl Future for Drain {
    type Output = Result<(), Stragglers>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        self.poll_with(cx, false)
    }
}

impl Drop for Drain {
    fn drop(&mut self) {
        self.shared.node.unwatch(&mut self.key);
    }
}

impl fmt::Debug for Drain {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Drain")
            .field("in_flight", &self.shared.node.in_flight())
            .finish_non_exhaustive()
    }
}

/// How many guards are left, as they are dropped: a stream, made by [`Drain::progress`].
///
/// # Cancel safety
///
/// Dropping it loses nothing; the drain goes on.
#[must_use = "streams do nothing unless polled"]
#[derive(Debug)]
pub struct Progress<'a> {
    drain: &'a mut Drain,
    last: Option<usize>,
}

impl Stream for Progress<'_> {
    type Item = usize;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<usize>> {
        if self.drain.poll_with(cx, true).is_ready() {
            return Poll::Ready(None);
        }
        let left = self.drain.shared.node.in_flight();
        // Zero is for the end to say: the drain is woken for it.
        if left == 0 || self.last.replace(left) == Some(left) {
            return Poll::Pending;
        }
        Poll::Ready(Some(left))
    }
}
