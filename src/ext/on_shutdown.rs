//! Futures that are told of a shutdown.

use std::borrow::BorrowMut;
use std::fmt;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use pin_project_lite::pin_project;

use crate::ext::inner::inner;
use crate::util::deadline::prepare;
#[cfg(not(feature = "signals"))]
use crate::util::driver_turn::DriverTurn as Turn;
#[cfg(feature = "signals")]
use crate::util::shared_turn::SharedTurn as Turn;
use crate::waiter::Waiter;

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
        // How long it may be pending after the shutdown before it is told.
        turn: Turn,
    }
}

impl<F, T, W> OnShutdown<F, T, W> {
    pub(crate) fn new(future: F, waiter: W, tell: T) -> Self {
        prepare();
        let tell = Some(tell);
        Self {
            future,
            waiter,
            tell,
            turn: Turn::short(),
        }
    }
}

impl<F: Future, T: FnOnce(Pin<&mut F>), W: BorrowMut<Waiter>> Future for OnShutdown<F, T, W> {
    type Output = F::Output;

    #[inline]
    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<F::Output> {
        let mut this = self.project();
        let poll = this.future.as_mut().poll(cx);
        if poll.is_ready() || this.tell.is_none() {
            return poll;
        }
        ready!(Pin::new(this.waiter.borrow_mut()).poll(cx));
        ready!(this.turn.poll(cx));
        if let Some(tell) = this.tell.take() {
            tell(this.future.as_mut());
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
