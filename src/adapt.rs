//! Words for what users have: a future, a connection, a stream, a loop.

use std::borrow::BorrowMut;
use std::fmt;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use futures_lite::Stream;
use pin_project_lite::pin_project;

use crate::deadline::Deadline;
use crate::{Reached, Waiter};

/// What shutdown means for a future, a connection, a stream, an iterator or an I/O handle.
///
/// Each method wraps what it is called on, and takes a [`Waiter`]:
///
/// ```
/// use futures_lite::{StreamExt, future, stream};
/// use winddown::{Shutdown, ShutdownExt};
///
/// # future::block_on(async {
/// let shutdown = Shutdown::new();
/// let mut jobs = stream::repeat("job").end_on_shutdown(shutdown.waiter());
/// assert_eq!(jobs.next().await, Some("job"));
///
/// shutdown.request_shutdown();
/// assert_eq!(jobs.next().await, None);
///
/// let never = future::pending::<()>().cancel_on_shutdown(shutdown.waiter());
/// assert_eq!(never.await, None);
/// # });
/// ```
///
/// Instead of a waiter of its own, each also takes a `&mut Waiter`. So one waiter does for a whole loop,
/// and takes its place in the list of those to wake only once (but for `abort_on_force`, which only asks it
/// for its shutdown):
///
/// ```
/// use smol::Timer;
/// use std::time::Duration;
/// use winddown::{Shutdown, ShutdownExt};
///
/// # smol::block_on(async {
/// # let shutdown = Shutdown::new();
/// # let mut saved = 0;
/// # let mut save = || { saved += 1; if saved == 3 { shutdown.request_shutdown(); } };
/// let mut waiter = shutdown.waiter();
/// let pause = Duration::from_millis(10);
/// while Timer::after(pause).cancel_on_shutdown(&mut waiter).await.is_some() {
///     save();
/// }
/// # assert_eq!(saved, 3);
/// # });
/// ```
///
/// None allocates anything of its own; the waiter has a place in the list of those to wake, and the
/// time of `limit_on_shutdown` is one of async-io's timers. Polled again by the same task, each costs
/// an atomic load more than what it wraps, or nothing.
pub trait ShutdownExt: Sized {
    /// Runs the future until shutdown: `Some` of its output, or `None` if it was stopped.
    ///
    /// A stopped future is dropped at once. The finished output wins: if the future is ready when it
    /// is polled, its output is returned, whatever was requested meanwhile; and it is polled at
    /// least once.
    fn cancel_on_shutdown<W: BorrowMut<Waiter>>(self, waiter: W) -> CancelOnShutdown<Self, W>
    where
        Self: Future,
    {
        CancelOnShutdown {
            future: Some(self),
            waiter,
        }
    }

    /// Runs the future to its end, and calls `tell` on it once when there is a shutdown.
    ///
    /// For a connection that knows how to end well:
    ///
    /// ```
    /// use hyper::server::conn::http1::{Builder, Connection};
    /// # use hyper::{Request, Response, body::Incoming, service::service_fn};
    /// # use smol_hyper::rt::FuturesIo;
    /// # use winddown::{Shutdown, ShutdownExt};
    /// # async fn example(shutdown: Shutdown, stream: smol::net::TcpStream) -> hyper::Result<()> {
    /// # async fn answer(_: Request<Incoming>) -> hyper::Result<Response<String>> { todo!() }
    ///
    /// let connection = Builder::new().serve_connection(FuturesIo::new(stream), service_fn(answer));
    /// connection.on_shutdown(shutdown.waiter(), Connection::graceful_shutdown).await
    /// # }
    /// ```
    ///
    /// It is told before it is polled, and so is one that has not been polled at all. One that has
    /// ended when the request comes is not told any more.
    fn on_shutdown<W: BorrowMut<Waiter>, F>(self, waiter: W, tell: F) -> OnShutdown<Self, F, W>
    where
        Self: Future,
        F: FnOnce(Pin<&mut Self>),
    {
        OnShutdown {
            future: self,
            waiter,
            tell: Some(tell),
        }
    }

    /// Runs the future until the force: `Some` of its output, or `None` if it was stopped.
    ///
    /// For work that may use the whole time that is left. It is the waiter's shutdown that is
    /// watched; otherwise as [`cancel_on_shutdown`](ShutdownExt::cancel_on_shutdown).
    ///
    /// The force of an installed shutdown ends the process at once, unless there is time for
    /// [`last_words`](crate::Builder::last_words).
    fn abort_on_force<W: BorrowMut<Waiter>>(self, waiter: W) -> AbortOnForce<Self>
    where
        Self: Future,
    {
        AbortOnForce {
            future: Some(self),
            forced: waiter.borrow().forced(),
        }
    }

    /// Runs the future, but from the shutdown on for `time` at the most: `Some` of its output, or
    /// `None` when its time was up.
    ///
    /// It is dropped at once then. The time begins when the future is first polled after the shutdown,
    /// for which it is woken. Before, it may take as long as it likes. The finished output wins.
    ///
    /// Without the feature `signals` there is no timer, and the time is looked at when the future is
    /// polled.
    fn limit_on_shutdown<W: BorrowMut<Waiter>>(
        self,
        waiter: W,
        time: Duration,
    ) -> LimitOnShutdown<Self, W>
    where
        Self: Future,
    {
        LimitOnShutdown {
            future: Some(self),
            waiter,
            limit: Limit::Running(time),
        }
    }

    /// Ends the stream at shutdown.
    ///
    /// The shutdown wins, so that a stream that always has an item, as the connections of a busy
    /// listener, ends too. What it has not given out by then stays in it. Fused: once it has ended it
    /// stays ended.
    fn end_on_shutdown<W: BorrowMut<Waiter>>(self, waiter: W) -> EndOnShutdown<Self, W>
    where
        Self: Stream,
    {
        EndOnShutdown {
            stream: self,
            waiter,
            ended: false,
        }
    }

    /// Ends the iterator at shutdown, for threads.
    ///
    /// The shutdown is looked at before every item. An iterator that blocks is not woken: for one
    /// that waits for input, unblock it by its own means. Fused.
    fn stop_on_shutdown<W: BorrowMut<Waiter>>(self, waiter: W) -> StopOnShutdown<Self, W>
    where
        Self: Iterator,
    {
        StopOnShutdown {
            iterator: self,
            waiter,
            ended: false,
        }
    }

    /// Seals an I/O handle at shutdown: reading reports the end of the file, writing goes on.
    ///
    /// The shutdown wins: bytes that have arrived and were not read by then are not read any more. A
    /// reader that is idle is woken. Flushing, writing and closing are passed through, so that the
    /// last answer can be given.
    ///
    /// With feature `futures-io` it is an `AsyncRead`, `AsyncBufRead` and `AsyncWrite` of
    /// futures-io, with `tokio-io` of tokio.
    #[cfg(any(feature = "futures-io", feature = "tokio-io"))]
    #[cfg_attr(docsrs, doc(cfg(any(feature = "futures-io", feature = "tokio-io"))))]
    fn seal_on_shutdown<W: BorrowMut<Waiter>>(self, waiter: W) -> SealOnShutdown<Self, W> {
        SealOnShutdown { io: self, waiter }
    }
}

impl<T> ShutdownExt for T {}

/// What a future that was stopped, or has ended, panics with when it is polled again.
const POLLED_AGAIN: &str = "polled after it was ready";

pin_project! {
    /// Made by [`ShutdownExt::cancel_on_shutdown`].
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
    /// Made by [`ShutdownExt::abort_on_force`].
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

impl<F: Future> Future for AbortOnForce<F> {
    type Output = Option<F::Output>;

    #[inline]
    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.project();
        poll_until(this.future, cx, |cx| Pin::new(this.forced).poll(cx))
    }
}

pin_project! {
    /// Made by [`ShutdownExt::limit_on_shutdown`].
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
    /// Made by [`ShutdownExt::on_shutdown`].
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

pin_project! {
    /// Made by [`ShutdownExt::end_on_shutdown`].
    ///
    /// # Cancel safety
    ///
    /// Its `next` is cancel safe if that of the stream inside is.
    #[must_use = "streams do nothing unless polled"]
    #[derive(Debug)]
    pub struct EndOnShutdown<S, W = Waiter> {
        #[pin]
        stream: S,
        waiter: W,
        ended: bool,
    }
}

impl<S: Stream, W: BorrowMut<Waiter>> Stream for EndOnShutdown<S, W> {
    type Item = S::Item;

    #[inline]
    fn poll_next(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<S::Item>> {
        let this = self.project();
        if *this.ended || (*this.waiter).borrow().is_stopping() {
            *this.ended = true;
            return Poll::Ready(None);
        }
        match this.stream.poll_next(cx) {
            Poll::Ready(Some(item)) => return Poll::Ready(Some(item)),
            Poll::Ready(None) => {}
            Poll::Pending => ready!(Pin::new(this.waiter.borrow_mut()).poll(cx)),
        }
        *this.ended = true;
        Poll::Ready(None)
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        match self.ended {
            true => (0, Some(0)),
            // It may end at any time.
            false => (0, self.stream.size_hint().1),
        }
    }
}

/// Made by [`ShutdownExt::stop_on_shutdown`].
#[must_use = "iterators do nothing unless consumed"]
#[derive(Debug)]
pub struct StopOnShutdown<I, W = Waiter> {
    iterator: I,
    waiter: W,
    ended: bool,
}

impl<I: Iterator, W: BorrowMut<Waiter>> Iterator for StopOnShutdown<I, W> {
    type Item = I::Item;

    #[inline]
    fn next(&mut self) -> Option<I::Item> {
        if !self.ended && !self.waiter.borrow().is_stopping() {
            if let Some(item) = self.iterator.next() {
                return Some(item);
            }
        }
        self.ended = true;
        None
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        match self.ended {
            true => (0, Some(0)),
            // It may end at any time.
            false => (0, self.iterator.size_hint().1),
        }
    }
}

impl<I: Iterator, W: BorrowMut<Waiter>> std::iter::FusedIterator for StopOnShutdown<I, W> {}

#[cfg(any(feature = "futures-io", feature = "tokio-io"))]
pin_project! {
    /// Made by [`ShutdownExt::seal_on_shutdown`].
    ///
    /// # Cancel safety
    ///
    /// Reading and writing are cancel safe if those of the handle inside are.
    #[must_use = "I/O handles do nothing unless used"]
    #[cfg_attr(docsrs, doc(cfg(any(feature = "futures-io", feature = "tokio-io"))))]
    #[derive(Debug)]
    pub struct SealOnShutdown<T, W = Waiter> {
        #[pin]
        pub(crate) io: T,
        pub(crate) waiter: W,
    }
}

/// Passes through to what is inside.
macro_rules! inner {
    ($type:ident<$($param:ident),+>, $field:ident, $inner:ident) => {
        impl<$($param),+> $type<$($param),+> {
            /// What is inside.
            pub fn get_ref(&self) -> &$inner {
                &self.$field
            }

            /// What is inside.
            pub fn get_mut(&mut self) -> &mut $inner {
                &mut self.$field
            }

            /// Unwraps what is inside.
            pub fn into_inner(self) -> $inner {
                self.$field
            }
        }
    };
}

inner!(EndOnShutdown<S, W>, stream, S);
inner!(StopOnShutdown<I, W>, iterator, I);
#[cfg(any(feature = "futures-io", feature = "tokio-io"))]
inner!(SealOnShutdown<T, W>, io, T);
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
