//! [`ShutdownExt`]: what a shutdown means for a future, a connection, a stream, an iterator, a reader.
//!
//! Long because the documentation of each adapter stands here; none has more than a line of code.

pub(crate) mod future;
mod inner;
#[cfg(any(feature = "futures-io", feature = "tokio-io"))]
pub(crate) mod io;
pub(crate) mod iter;
pub(crate) mod on_shutdown;
pub(crate) mod stream;

use std::borrow::{Borrow, BorrowMut};
use std::pin::Pin;
use std::time::Duration;

use futures_lite::Stream;

use crate::ext::future::{
    AbortOnForce, CancelOnShutdown, LimitOnShutdown, LimitOnShutdownWith, UntilDeadline,
};
#[cfg(any(feature = "futures-io", feature = "tokio-io"))]
use crate::ext::io::SealOnShutdown;
use crate::ext::iter::StopOnShutdown;
use crate::ext::on_shutdown::OnShutdown;
use crate::ext::stream::{EndOnShutdown, FinishOnShutdown};
use crate::model::stage::Stage;
use crate::waiter::Waiter;

/// Says what a shutdown means for a future, a connection, a stream, an iterator or an I/O handle.
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
/// and takes its place in the registry of wakers only once. (`abort_on_force` and `until_deadline` only ask
/// it for its shutdown.)
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
/// But for `abort_on_force`, and `until_deadline` of a phase or below one, none allocates anything of its own
/// before the shutdown; the waiter has a place in the registry of wakers. Times are timers of async-io: that of `limit_on_shutdown` and `until_deadline`, and the few milliseconds
/// of `on_shutdown` and `finish_on_shutdown`. What they are without the feature `signals`, the
/// [limitations](crate::limitations#time) say. Polled again by the same task, each costs an atomic load
/// more than what it wraps, or nothing.
pub trait ShutdownExt: Sized {
    /// Runs the future until shutdown: `Some` of its output, or `None` if it was stopped.
    ///
    /// A stopped future is dropped at once. The shutdown is checked before the first poll, so that a
    /// loop over a queue that always has an item ends. After that a finished output wins: if the future
    /// is ready when it is polled, its output is returned, whatever was requested meanwhile.
    ///
    /// ```
    /// use futures_lite::future;
    /// use winddown::{Shutdown, ShutdownExt};
    ///
    /// let shutdown = Shutdown::new();
    /// let mut waiter = shutdown.waiter();
    /// let mut run = || {
    ///     let ready = future::ready(7);
    ///     future::block_on(ready.cancel_on_shutdown(&mut waiter))
    /// };
    /// assert_eq!(run(), Some(7));
    /// shutdown.request_shutdown();
    /// assert_eq!(run(), None);
    /// ```
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
    /// let stream = FuturesIo::new(stream);
    /// let connection = Builder::new().serve_connection(stream, service_fn(answer));
    /// connection.on_shutdown(shutdown.waiter(), Connection::graceful_shutdown).await
    /// # }
    /// ```
    ///
    /// The future is polled first, and told only if it is still pending about 5 ms later, when the
    /// driver of its runtime has had a turn; then it is polled again. So a connection that was never
    /// polled, or whose next request has arrived already, begins with that before it is told. A future
    /// that has ended is not told any more. Beside tasks that compute, a turn takes up to a second more.
    ///
    /// That holds where each connection has a task of its own. A single task that polls thousands
    /// (`FuturesUnordered`) keeps the driver from its turn, and so may tasks that compute for tens of milliseconds
    /// without a yield, and a tokio runtime with a much larger `event_interval` than its 61.
    ///
    /// A request that arrives later than that is lost with a connection that was told: give clients half a
    /// second first, and have answers say `connection: close` meanwhile, as in [a server that loses
    /// nothing](crate#a-server-that-loses-nothing).
    ///
    /// # Panics
    ///
    /// When async-io can't have its descriptors or its thread: see
    /// [limitations](crate::limitations#threads-and-wakers). `install` makes sure that it can.
    fn on_shutdown<W: BorrowMut<Waiter>, F>(self, waiter: W, tell: F) -> OnShutdown<Self, F, W>
    where
        Self: Future,
        F: FnOnce(Pin<&mut Self>),
    {
        OnShutdown::new(self, waiter, tell)
    }

    /// Runs the future until the force: `Some` of its output, or `None` if it was stopped.
    ///
    /// For work that may use the whole time that is left. Otherwise as
    /// [`cancel_on_shutdown`](crate::ShutdownExt::cancel_on_shutdown).
    ///
    /// The force of an installed shutdown ends the process at once, unless there is an
    /// [`abort_timeout`](crate::Builder::abort_timeout).
    ///
    /// ```
    /// use futures_lite::future;
    /// use winddown::{Shutdown, ShutdownExt};
    ///
    /// let shutdown = Shutdown::new();
    /// shutdown.request_shutdown();
    /// let work = async { "done" };
    /// let done = work.abort_on_force(shutdown.waiter());
    /// assert_eq!(future::block_on(done), Some("done"));
    /// ```
    fn abort_on_force<W: Borrow<Waiter>>(self, waiter: W) -> AbortOnForce<Self>
    where
        Self: Future,
    {
        AbortOnForce::new(self, waiter.borrow().reached(Stage::Forced))
    }

    /// Runs the future until the deadline: `Some` of its output, or `None` once the
    /// [`grace_period`](crate::Builder::grace_period) is over or the shutdown was forced.
    ///
    /// For a server's own future, which stops accepting by itself when it is told, and then may take
    /// until the deadline. What such a server itself loses, [winddown-http](https://docs.rs/winddown-http)
    /// says, and how to lose less. It ends at once if the future does, whether a shutdown was requested or
    /// not: so a server that can't bind its port does not leave `main` waiting. Without a grace period only
    /// the force stops it. Otherwise as [`cancel_on_shutdown`](crate::ShutdownExt::cancel_on_shutdown).
    ///
    /// ```no_run
    /// use std::io;
    /// use winddown::{Shutdown, ShutdownExt};
    ///
    /// # async fn example(shutdown: Shutdown, app: axum::Router) -> io::Result<()> {
    /// let listener = tokio::net::TcpListener::bind("127.0.0.1:8000").await?;
    /// let server = axum::serve(listener, app)
    ///     .with_graceful_shutdown(shutdown.waiter())
    ///     .into_future();
    /// match server.until_deadline(shutdown.waiter()).await {
    ///     Some(result) => result,
    ///     None => Err(io::ErrorKind::TimedOut.into()),
    /// }
    /// # }
    /// ```
    ///
    /// # Panics
    ///
    /// When async-io can't have its descriptors or its thread: see
    /// [limitations](crate::limitations#threads-and-wakers). `install` makes sure that it can.
    ///
    /// # Without the feature `signals`
    ///
    /// There is no timer: the clock is read when the future is polled, but no timer wakes its task.
    fn until_deadline<W: Borrow<Waiter>>(self, waiter: W) -> UntilDeadline<Self>
    where
        Self: Future,
    {
        UntilDeadline::new(self, waiter.borrow())
    }

    /// Runs the future, but from the shutdown on for `time` at most: `Some` of its output, or `None`
    /// when its time was up.
    ///
    /// It is dropped at once then. Its time begins when it is first polled after the shutdown, for which
    /// its task is woken; before, it may take as long as it likes. The shutdown is checked before the
    /// first poll: with a time of zero the future is not polled at all then. After that a finished
    /// output wins.
    ///
    /// It is real time. For the time of another clock, such as the paused one of a test, use
    /// [`limit_on_shutdown_with`](crate::ShutdownExt::limit_on_shutdown_with).
    ///
    /// ```
    /// use std::time::Duration;
    /// use futures_lite::future;
    /// use winddown::{Shutdown, ShutdownExt};
    ///
    /// # #[cfg(feature = "signals")] {
    /// let shutdown = Shutdown::new();
    /// shutdown.request_shutdown();
    /// let stuck = future::pending::<()>();
    /// let limit = Duration::from_millis(10);
    /// let stopped = stuck.limit_on_shutdown(shutdown.waiter(), limit);
    /// assert_eq!(future::block_on(stopped), None);
    /// # }
    /// ```
    ///
    /// # Panics
    ///
    /// When async-io can't have its descriptors or its thread: see
    /// [limitations](crate::limitations#threads-and-wakers). `install` makes sure that it can.
    ///
    /// # Without the feature `signals`
    ///
    /// There is no timer: the clock is read when the future is polled, but no timer wakes its task.
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

    /// Runs the future as [`limit_on_shutdown`](crate::ShutdownExt::limit_on_shutdown) does, with a
    /// timer of your own: `timer` is called at the shutdown, and the time is up when the future that it
    /// returns is ready.
    ///
    /// ```
    /// use std::future::pending;
    /// use std::time::Duration;
    /// use winddown::{Shutdown, ShutdownExt};
    ///
    /// # #[tokio::main(flavor = "current_thread", start_paused = true)]
    /// # async fn main() {
    /// let shutdown = Shutdown::new();
    /// shutdown.request_shutdown();
    /// let timer = || tokio::time::sleep(Duration::from_secs(30));
    /// let stopped = pending::<()>().limit_on_shutdown_with(shutdown.waiter(), timer);
    /// assert_eq!(stopped.await, None);
    /// # }
    /// ```
    fn limit_on_shutdown_with<W: BorrowMut<Waiter>, M, T>(
        self,
        waiter: W,
        timer: M,
    ) -> LimitOnShutdownWith<Self, M, T, W>
    where
        Self: Future,
        M: FnOnce() -> T,
        T: Future,
    {
        LimitOnShutdownWith::new(self, waiter, timer)
    }

    /// Ends the stream at shutdown.
    ///
    /// The shutdown wins over an item that is ready. What the stream has not given out by then stays in
    /// it. For a listener, whose connections have been accepted already, use
    /// [`finish_on_shutdown`](crate::ShutdownExt::finish_on_shutdown), which also says how a queue of jobs
    /// ends. Fused: once it has ended it stays ended.
    ///
    /// ```
    /// use futures_lite::{StreamExt, future, stream};
    /// use winddown::{Shutdown, ShutdownExt};
    ///
    /// let shutdown = Shutdown::new();
    /// let ticks = stream::iter([1, 2]);
    /// let mut ticks = ticks.end_on_shutdown(shutdown.waiter());
    /// assert_eq!(future::block_on(ticks.next()), Some(1));
    /// shutdown.request_shutdown();
    /// assert_eq!(future::block_on(ticks.next()), None);
    /// assert_eq!(future::block_on(ticks.into_inner().next()), Some(2));
    /// ```
    fn end_on_shutdown<W: BorrowMut<Waiter>>(self, waiter: W) -> EndOnShutdown<Self, W>
    where
        Self: Stream,
    {
        EndOnShutdown::new(self, waiter)
    }

    /// Ends the stream after a shutdown, as soon as it has no item ready.
    ///
    /// For a listener, whose connections the kernel has accepted for the program already: what is ready
    /// at the shutdown is still given out. From when it is first pending after the shutdown, it goes on for
    /// about 50 ms, because the driver of its runtime may not have told it yet what the kernel has; then it
    /// ends when it is pending next. Fused. What comes between that and the close of the listener is reset,
    /// unless the kernel refuses new connections from the shutdown on: see [a server that loses
    /// nothing](crate#a-server-that-loses-nothing). For that it waits until the
    /// [callbacks](crate::Shutdown::call_on_shutdown) of this shutdown were called, but no longer than half a
    /// second more. Tasks of the runtime that compute prolong it: by up to a second, and some seconds if a callback
    /// hangs.
    ///
    /// tokio's `poll_accept` answers from what the runtime has heard, and under load that may be some time
    /// ago. Use the stream
    /// [`TokioIncoming`](https://docs.rs/winddown-http/latest/winddown_http/struct.TokioIncoming.html), which asks
    /// the kernel. smol's and async-std's `incoming` do so too.
    ///
    /// A stream that always has an item ends after 4,096 items more, which is as long as Linux makes the
    /// queue of a listener by default; or when half of the time until the
    /// [`deadline`](crate::Shutdown::deadline) has passed. What is left then stays in the stream; see
    /// `into_inner`.
    ///
    /// An error is an item too. A listener without a free descriptor always has one, whether or not a
    /// connection waits. So a loop that pauses after an error has to give up in time for what it has
    /// accepted.
    ///
    /// ```
    /// use futures_lite::{StreamExt, future, stream};
    /// use winddown::{Shutdown, ShutdownExt};
    ///
    /// let shutdown = Shutdown::new();
    /// let accepted = stream::iter(["one", "two"]).chain(stream::pending());
    /// let jobs = accepted.finish_on_shutdown(shutdown.waiter());
    /// shutdown.request_shutdown();
    /// let done: Vec<_> = future::block_on(jobs.collect());
    /// assert_eq!(done, ["one", "two"]);
    /// ```
    ///
    /// # Queues of jobs
    ///
    /// Not for a channel: its sender may still have something to send when the 50 ms are over, and the
    /// queue may be longer. A stage of a pipeline waits for no shutdown at all. The source alone is told,
    /// ends, and drops its sender; every other stage reads until its channel is closed
    /// (`while let Ok(item) = items.recv().await`), and holds a guard until then.
    ///
    /// Where senders live on, as in the handlers of a server, close the queue, so that nothing is added,
    /// and then empty it. The worker holds a guard meanwhile, and its waiter is that of a
    /// [phase](crate::Shutdown::phase) after that of the senders: otherwise they find the queue closed
    /// before they are done.
    ///
    /// ```
    /// use tokio::sync::mpsc::Receiver;
    /// use winddown::{ShutdownExt, Waiter};
    ///
    /// async fn work(mut jobs: Receiver<u32>, mut waiter: Waiter) {
    ///     while let Some(Some(job)) =
    ///         jobs.recv().cancel_on_shutdown(&mut waiter).await
    ///     {
    ///         finish(job).await;
    ///     }
    ///     jobs.close();
    ///     while let Some(job) = jobs.recv().await {
    ///         finish(job).await;
    ///     }
    /// }
    /// # async fn finish(_: u32) {}
    /// #
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() {
    /// # let shutdown = winddown::Shutdown::new();
    /// # let (sender, jobs) = tokio::sync::mpsc::channel(9);
    /// # sender.try_send(1).unwrap();
    /// # shutdown.request_shutdown();
    /// # work(jobs, shutdown.waiter()).await;
    /// # assert!(sender.try_send(2).is_err());
    /// # }
    /// ```
    ///
    /// # Panics
    ///
    /// When async-io can't have its descriptors or its thread: see
    /// [limitations](crate::limitations#threads-and-wakers). `install` makes sure that it can.
    fn finish_on_shutdown<W: BorrowMut<Waiter>>(self, waiter: W) -> FinishOnShutdown<Self, W>
    where
        Self: Stream,
    {
        FinishOnShutdown::new(self, waiter)
    }

    /// Ends the iterator at shutdown, for threads.
    ///
    /// The shutdown is checked before every item. An iterator that blocks is not woken: for one that
    /// waits for input, unblock it by its own means. Fused.
    ///
    /// ```
    /// use winddown::{Shutdown, ShutdownExt};
    ///
    /// let shutdown = Shutdown::new();
    /// let mut files = (1..).stop_on_shutdown(shutdown.waiter());
    /// assert_eq!(files.next(), Some(1));
    /// shutdown.request_shutdown();
    /// assert_eq!(files.next(), None);
    /// ```
    fn stop_on_shutdown<W: Borrow<Waiter>>(self, waiter: W) -> StopOnShutdown<Self, W>
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
    /// Needs one of two features: with `futures-io` it is an `AsyncRead`, `AsyncBufRead` and `AsyncWrite`
    /// of futures-io, with `tokio-io` of tokio.
    ///
    #[cfg_attr(feature = "futures-io", doc = "```")]
    #[cfg_attr(not(feature = "futures-io"), doc = "```ignore")]
    /// use futures_lite::{AsyncReadExt, future};
    /// use winddown::{Shutdown, ShutdownExt};
    ///
    /// let shutdown = Shutdown::new();
    /// let bytes: &[u8] = b"bytes";
    /// let mut reader = bytes.seal_on_shutdown(shutdown.waiter());
    /// shutdown.request_shutdown();
    /// let mut buffer = [0; 8];
    /// assert_eq!(future::block_on(reader.read(&mut buffer)).unwrap(), 0);
    /// ```
    #[cfg(any(feature = "futures-io", feature = "tokio-io"))]
    #[cfg_attr(docsrs, doc(cfg(any(feature = "futures-io", feature = "tokio-io"))))]
    fn seal_on_shutdown<W: BorrowMut<Waiter>>(self, waiter: W) -> SealOnShutdown<Self, W> {
        SealOnShutdown::new(self, waiter)
    }
}

impl<T> ShutdownExt for T {}
