//! Words for what users have: a future, a connection, a stream, a loop.

pub(crate) mod future;
mod inner;
#[cfg(any(feature = "futures-io", feature = "tokio-io"))]
pub(crate) mod io;
pub(crate) mod iter;
pub(crate) mod stream;

use std::borrow::BorrowMut;
use std::pin::Pin;
use std::time::Duration;

use futures_lite::Stream;

use crate::ext::future::{AbortOnForce, CancelOnShutdown, LimitOnShutdown, OnShutdown};
#[cfg(any(feature = "futures-io", feature = "tokio-io"))]
use crate::ext::io::SealOnShutdown;
use crate::ext::iter::StopOnShutdown;
use crate::ext::stream::EndOnShutdown;
use crate::waiter::Waiter;

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
        CancelOnShutdown::new(self, waiter)
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
        OnShutdown::new(self, waiter, tell)
    }

    /// Runs the future until the force: `Some` of its output, or `None` if it was stopped.
    ///
    /// For work that may use the whole time that is left. It is the waiter's shutdown that is
    /// watched; otherwise as [`cancel_on_shutdown`](crate::ShutdownExt::cancel_on_shutdown).
    ///
    /// The force of an installed shutdown ends the process at once, unless there is time for
    /// [`last_words`](crate::Builder::last_words).
    fn abort_on_force<W: BorrowMut<Waiter>>(self, waiter: W) -> AbortOnForce<Self>
    where
        Self: Future,
    {
        AbortOnForce::new(self, waiter.borrow().forced())
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
        LimitOnShutdown::new(self, waiter, time)
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
        EndOnShutdown::new(self, waiter)
    }

    /// Ends the iterator at shutdown, for threads.
    ///
    /// The shutdown is looked at before every item. An iterator that blocks is not woken: for one
    /// that waits for input, unblock it by its own means. Fused.
    fn stop_on_shutdown<W: BorrowMut<Waiter>>(self, waiter: W) -> StopOnShutdown<Self, W>
    where
        Self: Iterator,
    {
        StopOnShutdown::new(self, waiter)
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
        SealOnShutdown::new(self, waiter)
    }
}

impl<T> ShutdownExt for T {}
