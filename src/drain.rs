//! [`Drain`] and [`DrainUntil`]: wait until no guard is held.

use std::fmt;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use futures_lite::Stream;
use pin_project_lite::pin_project;

use crate::model::drain_error::DrainError;
use crate::model::report::Report;
use crate::model::stage::Stage;
use crate::node::sites::Shared;
use crate::util::deadline::Deadline;

/// A drain's place among the watchers of the node.
struct Watch {
    shared: Shared,
    key: Option<usize>,
    /// Whether the end of the drain was traced: that it is drained, or that it was not, so far.
    traced: Option<bool>,
}

impl Watch {
    fn new(shared: Shared) -> Self {
        Self {
            shared,
            key: None,
            traced: None,
        }
    }

    /// Registers the task. Before anything is checked, so that no change is missed between the two.
    fn register(&mut self, cx: &Context<'_>) {
        self.shared.node.watch(&mut self.key, cx.waker());
    }

    fn settle(&mut self, counting: bool, late: bool) -> Poll<Result<(), DrainError>> {
        let leave = || self.shared.node.unwatch(&mut self.key);
        match self.shared.settled(counting, late, leave) {
            Some(result) => {
                // Polled again after a time-out, it may have drained since.
                if self.traced != Some(result.is_ok()) {
                    self.traced = Some(result.is_ok());
                    self.shared.trace_drained(&result);
                }
                Poll::Ready(result)
            }
            None => Poll::Pending,
        }
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        self.shared.node.unwatch(&mut self.key);
    }
}

impl fmt::Debug for Watch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Drain")
            .field("in_flight", &self.shared.node.in_flight())
            .finish_non_exhaustive()
    }
}

/// A future that is ready when no guard is held any more, or when its time is up.
///
/// Made by [`Shutdown::drain`](crate::Shutdown::drain) and
/// [`Shutdown::drained`](crate::Shutdown::drained).
///
/// # Errors
///
/// [`DrainError`], with the guards that are left, when the time is up, or at once when the shutdown is
/// forced.
///
/// # Cancel safety
///
/// Dropping a drain changes nothing: what was in flight still is, and another drain can wait for it.
/// Polled again after it was ready, it checks again: `Ok` stays `Ok`, and after a time-out the error
/// says what is left now.
#[must_use = "futures do nothing unless polled"]
pub struct Drain {
    watch: Watch,
    /// `None` until it is known: the request sets that of the shutdown.
    deadline: Option<Deadline>,
    /// Whether it waits until the shutdown is stopping, or late, before it drains.
    for_request: bool,
}

impl Drain {
    pub(crate) fn new(shared: Shared, timeout: Duration) -> Self {
        Self {
            watch: Watch::new(shared),
            deadline: Some(Deadline::after(timeout)),
            for_request: false,
        }
    }

    pub(crate) fn for_request(shared: Shared) -> Self {
        Self {
            watch: Watch::new(shared),
            deadline: None,
            for_request: true,
        }
    }

    /// Waits as the drain does, and shows meanwhile how many guards are left.
    ///
    /// The first item of the stream is the count when the drain begins. Then the stream is woken
    /// when a guard is dropped, and gives the count if that has changed. It is woken once between two
    /// polls, so several drops may be one item: a task that does something else between two items is
    /// woken less often. The stream ends when the drain is ready; await the drain then to learn how it
    /// ended.
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
    ///     seen.push(left); // or print it
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

    fn poll_with(&mut self, cx: &mut Context<'_>, counting: bool) -> Poll<Result<(), DrainError>> {
        self.watch.register(cx);
        let node = &self.watch.shared.node;
        if self.deadline.is_none() {
            self.deadline = node.deadline().map(Deadline::at);
        }
        let late = match &mut self.deadline {
            Some(deadline) => deadline.poll(cx).is_ready(),
            // A request wakes watchers, also one above.
            None => false,
        };
        if self.is_waiting() && !late {
            return Poll::Pending;
        }
        self.watch.settle(counting, late)
    }

    /// Returns whether the drain has not begun because the shutdown is not stopping.
    fn is_waiting(&self) -> bool {
        self.for_request && !self.watch.shared.node.has_reached(Stage::Stopping)
    }
}

impl Future for Drain {
    type Output = Result<(), DrainError>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        self.poll_with(cx, false)
    }
}

impl fmt::Debug for Drain {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.watch, f)
    }
}

/// A stream of how many guards are left, made by [`Drain::progress`].
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

impl Progress<'_> {
    /// Returns which lines hold the guards that are left, phase by phase.
    ///
    /// ```
    /// use std::time::Duration;
    /// use winddown::Shutdown;
    ///
    /// let shutdown = Shutdown::new();
    /// let storage = shutdown.phase("storage").build();
    /// let _guard = storage.guard();
    /// let mut drain = shutdown.drain(Duration::from_secs(10));
    /// let report = drain.progress().report();
    /// assert!(report.to_string().contains("\n  storage: 1 guard: 1 at "));
    /// ```
    pub fn report(&self) -> Report {
        self.drain.watch.shared.report()
    }
}

impl Stream for Progress<'_> {
    type Item = usize;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<usize>> {
        if self.drain.poll_with(cx, true).is_ready() {
            return Poll::Ready(None);
        }
        if self.drain.is_waiting() {
            return Poll::Pending;
        }
        let left = self.drain.watch.shared.node.in_flight();
        // Zero is for the end to say: the drain is woken for it.
        if left == 0 || self.last.replace(left) == Some(left) {
            return Poll::Pending;
        }
        Poll::Ready(Some(left))
    }
}

pin_project! {
    /// A [`Drain`] whose time is up when another future is ready. Made by
    /// [`Shutdown::drain_until`](crate::Shutdown::drain_until).
    ///
    /// # Errors
    ///
    /// As a `Drain`.
    ///
    /// # Panics
    ///
    /// Polled after it was ready, it polls the other future again unless that was ready.
    ///
    /// # Cancel safety
    ///
    /// That of a `Drain`, and of the other future.
    #[must_use = "futures do nothing unless polled"]
    #[derive(Debug)]
    pub struct DrainUntil<F> {
        watch: Watch,
        #[pin]
        until: F,
        late: bool,
    }
}

impl<F> DrainUntil<F> {
    pub(crate) fn new(shared: Shared, until: F) -> Self {
        Self {
            watch: Watch::new(shared),
            until,
            late: false,
        }
    }
}

impl<F: Future> Future for DrainUntil<F> {
    type Output = Result<(), DrainError>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.project();
        this.watch.register(cx);
        if !*this.late {
            *this.late = this.until.poll(cx).is_ready();
        }
        this.watch.settle(false, *this.late)
    }
}
