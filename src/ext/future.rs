//! Futures that end when a shutdown comes.

use std::borrow::BorrowMut;
use std::fmt;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use pin_project_lite::pin_project;

use crate::model::stage::Stage;
use crate::reached::{Reached, WholeRequested};
use crate::util::deadline::{Deadline, prepare};
use crate::waiter::Waiter;

/// The message of the panic when a future that was stopped, or has ended, is polled again.
const POLLED_AGAIN: &str = "polled after it was ready";

pin_project! {
    /// A future that is dropped when an event comes first.
    #[derive(Debug)]
    struct Stoppable<F> {
        #[pin]
        future: Option<F>,
        // Whether the event was checked before the first poll.
        checked: bool,
    }
}

impl<F> Stoppable<F> {
    fn new(future: F) -> Self {
        Self {
            future: Some(future),
            checked: false,
        }
    }
}

impl<F: Future> Stoppable<F> {
    /// Polls the future, and drops it when it has ended or `stop` is ready. `stop` is polled before the
    /// first poll of the future, and then only when that is pending.
    #[inline]
    fn poll(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        mut stop: impl FnMut(&mut Context<'_>) -> Poll<()>,
    ) -> Poll<Option<F::Output>> {
        let mut this = self.project();
        let first = !std::mem::replace(this.checked, true);
        let running = this.future.as_mut().as_pin_mut().expect(POLLED_AGAIN);
        let output = if first && stop(cx).is_ready() {
            None
        } else {
            match running.poll(cx) {
                Poll::Ready(output) => Some(output),
                Poll::Pending if first => return Poll::Pending,
                Poll::Pending => {
                    ready!(stop(cx));
                    None
                }
            }
        };
        this.future.set(None);
        Poll::Ready(output)
    }
}

pin_project! {
    /// Made by [`ShutdownExt::cancel_on_shutdown`](crate::ShutdownExt::cancel_on_shutdown).
    ///
    /// # Panics
    ///
    /// When it is polled after it was ready.
    ///
    /// # Cancel safety
    ///
    /// That of the future inside: being stopped, it is dropped where it waits.
    #[must_use = "futures do nothing unless polled"]
    #[derive(Debug)]
    pub struct CancelOnShutdown<F, W = Waiter> {
        #[pin]
        inner: Stoppable<F>,
        waiter: W,
    }
}

impl<F, W> CancelOnShutdown<F, W> {
    pub(crate) fn new(future: F, waiter: W) -> Self {
        let inner = Stoppable::new(future);
        Self { inner, waiter }
    }
}

impl<F: Future, W: BorrowMut<Waiter>> Future for CancelOnShutdown<F, W> {
    type Output = Option<F::Output>;

    #[inline]
    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.project();
        let stop = |cx: &mut Context<'_>| Pin::new(this.waiter.borrow_mut()).poll(cx);
        this.inner.poll(cx, stop)
    }
}

pin_project! {
    /// Made by [`ShutdownExt::abort_on_force`](crate::ShutdownExt::abort_on_force).
    ///
    /// # Panics
    ///
    /// When it is polled after it was ready.
    ///
    /// # Cancel safety
    ///
    /// That of the future inside: being stopped, it is dropped where it waits.
    #[must_use = "futures do nothing unless polled"]
    #[derive(Debug)]
    pub struct AbortOnForce<F> {
        #[pin]
        inner: Stoppable<F>,
        forced: Reached,
    }
}

impl<F> AbortOnForce<F> {
    pub(crate) fn new(future: F, forced: Reached) -> Self {
        let inner = Stoppable::new(future);
        Self { inner, forced }
    }
}

impl<F: Future> Future for AbortOnForce<F> {
    type Output = Option<F::Output>;

    #[inline]
    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.project();
        let stop = |cx: &mut Context<'_>| Pin::new(&mut *this.forced).poll(cx);
        this.inner.poll(cx, stop)
    }
}

pin_project! {
    /// Made by [`ShutdownExt::until_deadline`](crate::ShutdownExt::until_deadline).
    ///
    /// # Panics
    ///
    /// When it is polled after it was ready.
    ///
    /// # Cancel safety
    ///
    /// That of the future inside: being stopped, it is dropped where it waits.
    #[must_use = "futures do nothing unless polled"]
    pub struct UntilDeadline<F> {
        #[pin]
        inner: Stoppable<F>,
        requested: WholeRequested,
        forced: Reached,
        // `None` until the deadline is known.
        deadline: Option<Deadline>,
    }
}

impl<F> UntilDeadline<F> {
    pub(crate) fn new(future: F, waiter: &Waiter) -> Self {
        prepare();
        Self {
            inner: Stoppable::new(future),
            requested: waiter.whole_requested(),
            forced: waiter.reached(Stage::Forced),
            deadline: None,
        }
    }
}

impl<F: Future> Future for UntilDeadline<F> {
    type Output = Option<F::Output>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.project();
        let stop = |cx: &mut Context<'_>| {
            if this.deadline.is_none() {
                ready!(Pin::new(&mut *this.requested).poll(cx));
            }
            let of_shutdown = || {
                this.requested
                    .deadline()
                    .map_or(Deadline::Never, Deadline::at)
            };
            let deadline = this.deadline.get_or_insert_with(of_shutdown);
            if deadline.poll(cx).is_ready() {
                return Poll::Ready(());
            }
            Pin::new(&mut *this.forced).poll(cx)
        };
        this.inner.poll(cx, stop)
    }
}

impl<F: fmt::Debug> fmt::Debug for UntilDeadline<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("UntilDeadline")
            .field("inner", &self.inner)
            .field("deadline", &self.requested.deadline())
            .finish()
    }
}

pin_project! {
    /// Made by [`ShutdownExt::limit_on_shutdown`](crate::ShutdownExt::limit_on_shutdown).
    ///
    /// # Panics
    ///
    /// When it is polled after it was ready.
    ///
    /// # Cancel safety
    ///
    /// That of the future inside: when its time is up, it is dropped where it waits.
    #[must_use = "futures do nothing unless polled"]
    #[derive(Debug)]
    pub struct LimitOnShutdown<F, W = Waiter> {
        #[pin]
        inner: Stoppable<F>,
        waiter: W,
        limit: Limit,
    }
}

enum Limit {
    Running(Duration),
    Stopping(Deadline),
}

impl<F, W> LimitOnShutdown<F, W> {
    pub(crate) fn new(future: F, waiter: W, time: Duration) -> Self {
        prepare();
        Self {
            inner: Stoppable::new(future),
            waiter,
            limit: Limit::Running(time),
        }
    }
}

impl<F: Future, W: BorrowMut<Waiter>> Future for LimitOnShutdown<F, W> {
    type Output = Option<F::Output>;

    #[inline]
    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.project();
        let stop = |cx: &mut Context<'_>| {
            if let Limit::Running(time) = *this.limit {
                ready!(Pin::new(this.waiter.borrow_mut()).poll(cx));
                *this.limit = Limit::Stopping(Deadline::after(time));
            }
            match &mut *this.limit {
                Limit::Running(_) => Poll::Pending,
                Limit::Stopping(deadline) => deadline.poll(cx),
            }
        };
        this.inner.poll(cx, stop)
    }
}

impl fmt::Debug for Limit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Running(time) => write!(f, "{time:?} after the request"),
            Self::Stopping(_) => f.write_str("time is running"),
        }
    }
}

pin_project! {
    /// Made by [`ShutdownExt::limit_on_shutdown_with`](crate::ShutdownExt::limit_on_shutdown_with).
    ///
    /// # Panics
    ///
    /// When it is polled after it was ready.
    ///
    /// # Cancel safety
    ///
    /// That of the future inside: when its time is up, it is dropped where it waits.
    #[must_use = "futures do nothing unless polled"]
    pub struct LimitOnShutdownWith<F, M, T, W = Waiter> {
        #[pin]
        inner: Stoppable<F>,
        waiter: W,
        make: Option<M>,
        // What `make` has made.
        #[pin]
        timer: Option<T>,
    }
}

impl<F, M, T, W> LimitOnShutdownWith<F, M, T, W> {
    pub(crate) fn new(future: F, waiter: W, make: M) -> Self {
        Self {
            inner: Stoppable::new(future),
            waiter,
            make: Some(make),
            timer: None,
        }
    }
}

impl<F, M, T, W> Future for LimitOnShutdownWith<F, M, T, W>
where
    F: Future,
    M: FnOnce() -> T,
    T: Future,
    W: BorrowMut<Waiter>,
{
    type Output = Option<F::Output>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let mut this = self.project();
        let stop = |cx: &mut Context<'_>| {
            if this.make.is_some() {
                ready!(Pin::new(this.waiter.borrow_mut()).poll(cx));
            }
            if let Some(make) = this.make.take() {
                this.timer.set(Some(make()));
            }
            match this.timer.as_mut().as_pin_mut() {
                Some(timer) => timer.poll(cx).map(drop),
                None => Poll::Pending,
            }
        };
        this.inner.poll(cx, stop)
    }
}

impl<F: fmt::Debug, M, T, W> fmt::Debug for LimitOnShutdownWith<F, M, T, W> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LimitOnShutdownWith")
            .field("inner", &self.inner)
            .field("timer", &self.timer.is_some())
            .finish_non_exhaustive()
    }
}
