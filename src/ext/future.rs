//! Futures that end, or are told, when a shutdown comes.

use std::borrow::BorrowMut;
use std::fmt;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use pin_project_lite::pin_project;

use crate::ext::inner::inner;
use crate::util::deadline::Deadline;
use crate::waiter::{Reached, Waiter};

/// What a future that was stopped, or has ended, panics with when it is polled again.
const POLLED_AGAIN: &str = "polled after it was ready";

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
        future: Option<F>,
        waiter: W,
    }
}

impl<F, W> CancelOnShutdown<F, W> {
    pub(crate) fn new(future: F, waiter: W) -> Self {
        let future = Some(future);
        Self { future, waiter }
    }
}

impl<F: Future, W: BorrowMut<Waiter>> Future for CancelOnShutdown<F, W> {
    type Output = Option<F::Output>;

    #[inline]
    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.project();
        poll_until(this.future, cx, |cx| {
            Pin::new(this.waiter.borrow_mut()).poll(cx)
        })
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
        future: Option<F>,
        forced: Reached,
    }
}

impl<F> AbortOnForce<F> {
    pub(crate) fn new(future: F, forced: Reached) -> Self {
        let future = Some(future);
        Self { future, forced }
    }
}

impl<F: Future> Future for AbortOnForce<F> {
    type Output = Option<F::Output>;

    #[inline]
    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.project();
        poll_until(this.future, cx, |cx| Pin::new(this.forced).poll(cx))
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
    /// That of the future inside: being stopped, it is dropped where it waits.
    #[must_use = "futures do nothing unless polled"]
    #[derive(Debug)]
    pub struct LimitOnShutdown<F, W = Waiter> {
        #[pin]
        future: Option<F>,
        waiter: W,
        limit: Limit,
    }
}

/// How long a future may still run.
enum Limit {
    /// As long as it likes, and from the shutdown on for this long.
    Running(Duration),
    Stopping(Deadline),
}

impl<F, W> LimitOnShutdown<F, W> {
    pub(crate) fn new(future: F, waiter: W, time: Duration) -> Self {
        Self {
            future: Some(future),
            waiter,
            limit: Limit::Running(time),
        }
    }
}

impl<F: Future, W: BorrowMut<Waiter>> Future for LimitOnShutdown<F, W> {
    type Output = Option<F::Output>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.project();
        let (waiter, limit) = (this.waiter, this.limit);
        poll_until(this.future, cx, |cx| {
            if let Limit::Running(time) = *limit {
                ready!(Pin::new(waiter.borrow_mut()).poll(cx));
                *limit = Limit::Stopping(Deadline::after(time));
            }
            match limit {
                Limit::Running(_) => Poll::Pending,
                Limit::Stopping(deadline) => deadline.poll(cx),
            }
        })
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

/// Polls the future, and drops it when it has ended or `end` is ready.
#[inline]
fn poll_until<F: Future>(
    mut future: Pin<&mut Option<F>>,
    cx: &mut Context<'_>,
    end: impl FnOnce(&mut Context<'_>) -> Poll<()>,
) -> Poll<Option<F::Output>> {
    let running = future.as_mut().as_pin_mut().expect(POLLED_AGAIN);
    let output = match running.poll(cx) {
        Poll::Ready(output) => Some(output),
        Poll::Pending => {
            ready!(end(cx));
            None
        }
    };
    future.set(None);
    Poll::Ready(output)
}

pin_project! {
    /// Made by [`ShutdownExt::on_shutdown`](crate::ShutdownExt::on_shutdown).
    ///
    /// # Panics
    ///
    /// Polled after it was ready, it does what the future inside does.
    ///
    /// # Cancel safety
    ///
    /// That of the future inside.
    #[must_use = "futures do nothing unless polled"]
    pub struct OnShutdown<F, T, W = Waiter> {
        #[pin]
        future: F,
        waiter: W,
        tell: Option<T>,
    }
}

impl<F, T, W> OnShutdown<F, T, W> {
    pub(crate) fn new(future: F, waiter: W, tell: T) -> Self {
        let tell = Some(tell);
        Self {
            future,
            waiter,
            tell,
        }
    }
}

impl<F: Future, T: FnOnce(Pin<&mut F>), W: BorrowMut<Waiter>> Future for OnShutdown<F, T, W> {
    type Output = F::Output;

    #[inline]
    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<F::Output> {
        let mut this = self.project();
        if this.tell.is_some() && Pin::new(this.waiter.borrow_mut()).poll(cx).is_ready() {
            if let Some(tell) = this.tell.take() {
                tell(this.future.as_mut());
            }
        }
        this.future.poll(cx)
    }
}

inner!(OnShutdown<F, T, W>, future, F);

impl<F: fmt::Debug, T, W: fmt::Debug> fmt::Debug for OnShutdown<F, T, W> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("OnShutdown")
            .field("future", &self.future)
            .field("waiter", &self.waiter)
            .field("told", &self.tell.is_none())
            .finish()
    }
}
