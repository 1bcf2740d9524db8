//! [`Shutdown`]: the handle with every public verb.
//!
//! Long because the documentation of each verb stands here; none has more than a few lines of code.

use std::error::Error;
use std::fmt;
use std::hash::{Hash, Hasher};
use std::panic::Location;
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::callback::Callback;
use crate::drain::{Drain, DrainUntil};
use crate::drop_guard::DropGuard;
use crate::guard::Guard;
use crate::model::cause::Cause;
#[cfg(not(target_family = "wasm"))]
use crate::model::drain_error::DrainError;
use crate::model::failure::{Failure, Outcome};
use crate::model::policy::Policy;
use crate::model::report::Report;
use crate::model::signal::Signal;
use crate::model::stage::Stage;
use crate::node::Node;
use crate::node::sites::Shared;
#[cfg(feature = "signals")]
use crate::os::install::installed;
use crate::reached::{Reached, WholeRequested};
use crate::task::{Alarm, Critical, Supervise, Track};
#[cfg(not(target_family = "wasm"))]
use crate::util::deadline::deadline_after;
use crate::util::deadline::remaining;
use crate::util::site_table::Origin;
use crate::waiter::Waiter;

/// A handle to one shutdown: requests it, and hands out [`Waiter`]s for it.
///
/// Clones are handles to the same shutdown, and equal. Dropping a handle, even the last, never begins
/// a shutdown. (Once the whole is stopping, the last handle of a [phase](Shutdown::phase) may have kept others
/// waiting: its drop asks them.)
///
/// | state | [`request_shutdown`] | a real signal | [`trigger`], [`fail`] |
/// |---|---|---|---|
/// | running | `true`; wakers are called before it returns, or when the [lame duck] is over, if there is one | same | `true`, same, but takes no slot |
/// | begun by `trigger`, by `fail`, or by its parent | `true`; takes the first slot, forces nothing yet | same | `false`; a failure is recorded |
/// | one slot taken | `true`; forces: an installed one ends the process, a `new()` one becomes *forced* | forces | `false`; a failure is recorded |
/// | forced | `false` | dropped | `false`; a failure is recorded |
///
/// A [`ForcePolicy`](crate::ForcePolicy) and a [`debounce`] say which signals count as the second. With
/// an [`abort_timeout`], a forced shutdown that is installed ends the process on another real signal that
/// may force.
///
/// [`abort_timeout`]: crate::Builder::abort_timeout
/// [`debounce`]: crate::Builder::debounce
/// [`fail`]: Shutdown::fail
/// [`request_shutdown`]: Shutdown::request_shutdown
/// [`trigger`]: Shutdown::trigger
/// [lame duck]: crate::Builder::lame_duck
#[derive(Clone)]
pub struct Shutdown {
    shared: Shared,
}

impl Shutdown {
    /// Makes a shutdown that only the program drives, for tests and for servers inside another program.
    ///
    /// It knows nothing of signals and never ends the process. There can be as many as you like.
    ///
    /// ```
    /// use winddown::Shutdown;
    ///
    /// let shutdown = Shutdown::new();
    /// assert!(shutdown.request_shutdown()); // requests
    /// assert!(shutdown.request_shutdown()); // forces
    /// assert!(shutdown.is_forced());
    /// assert!(!shutdown.request_shutdown()); // refused
    /// ```
    pub fn new() -> Self {
        Self::root(Node::new(None, Policy::DEFAULT))
    }

    pub(crate) fn root(node: Arc<Node>) -> Self {
        let shared = Shared::root(node);
        Self { shared }
    }

    /// Makes a handle to a child or a phase.
    #[inline]
    pub(crate) fn below(node: Arc<Node>) -> Self {
        let shared = Shared::child(node);
        Self { shared }
    }

    pub(crate) fn node(&self) -> &Arc<Node> {
        &self.shared.node
    }

    /// Returns a future that is ready when the program is to finish its work: when a shutdown was requested, and
    /// its [`lame_duck`](crate::Builder::lame_duck), if it has one, is over. Cheap; make one wherever
    /// one is needed.
    ///
    /// ```
    /// use futures_lite::future;
    /// use winddown::Shutdown;
    ///
    /// let shutdown = Shutdown::new();
    /// let waiter = shutdown.waiter();
    /// shutdown.request_shutdown();
    /// future::block_on(waiter);
    /// ```
    #[inline]
    #[doc(alias = "cancelled")]
    pub fn waiter(&self) -> Waiter {
        Waiter::new(self.shared.node.clone())
    }

    /// Sends a fake signal: as if the operating system had sent one. Returns whether it was taken. A second
    /// call ends the process, or forces: to cancel from several places, use [`trigger`](Shutdown::trigger).
    ///
    /// The first requests the shutdown. The waiters are ready and their wakers were called when it returns;
    /// but a [`lame_duck`](crate::Builder::lame_duck) comes first, and wakers that another thread is calling
    /// at that moment, or that come behind the callback or waker which makes this call, may be called a
    /// little later. The second forces: an installed shutdown ends the process at once, so this does not
    /// return, unless there is an [`abort_timeout`](crate::Builder::abort_timeout); one made by
    /// [`new`](Shutdown::new) becomes forced. A third is not taken.
    ///
    /// The cause names the line of the call. For a call through a function that was handed on, such as
    /// `then(Shutdown::request_shutdown)`, that is a line of the standard library: hand on a closure.
    ///
    /// ```
    /// use winddown::Shutdown;
    ///
    /// let shutdown = Shutdown::new();
    /// let worker = shutdown.clone();
    /// std::thread::spawn(move || worker.request_shutdown());
    /// shutdown.waiter().wait_blocking();
    /// ```
    ///
    /// # Blocking
    ///
    /// Waits for no task to finish. It calls wakers and [callbacks](Shutdown::call_on_shutdown), so it
    /// takes as long as they do. The panic of one is left to the panic hook, and the others are called
    /// all the same.
    #[track_caller]
    pub fn request_shutdown(&self) -> bool {
        self.node().request(Cause::Requested(Location::caller()))
    }

    /// Sends a signal to this shutdown, as if the operating system had sent it. Returns whether it was
    /// taken.
    ///
    /// It has every effect of a real one: the cause names it, the [`ForcePolicy`](crate::ForcePolicy)
    /// asks for its number, and an interrupt skips the [lame duck](crate::Builder::lame_duck). It does
    /// not matter which [`signals`](crate::Builder::signals) are handled.
    ///
    /// ```
    /// use winddown::{Cause, Shutdown, Signal};
    ///
    /// let shutdown = Shutdown::new();
    /// assert!(shutdown.send(Signal::TERM));
    /// assert_eq!(shutdown.cause(), Some(Cause::Signal(Signal::TERM)));
    /// ```
    ///
    /// # Blocking
    ///
    /// As [`request_shutdown`](Shutdown::request_shutdown).
    pub fn send(&self, signal: Signal) -> bool {
        self.node().request(Cause::Signal(signal))
    }

    /// Begins the shutdown for a reason of the program's own: an administrator asked, the work is done.
    /// Returns whether this call began it.
    ///
    /// Any number of parts may call it: it takes no slot and never forces. So the first signal from
    /// outside still leaves work the time to finish. A child that is in the lame duck of its parent has
    /// begun already, and stops at once. The end of the program is a success; for a failure
    /// there is [`fail`](Shutdown::fail).
    ///
    /// ```
    /// use winddown::Shutdown;
    ///
    /// let shutdown = Shutdown::new();
    /// assert!(shutdown.trigger("an administrator asked"));
    /// assert!(!shutdown.trigger("another administrator asked"));
    /// assert_eq!(shutdown.cause().unwrap().to_string(), "an administrator asked");
    /// ```
    ///
    /// # Blocking
    ///
    /// As [`request_shutdown`](Shutdown::request_shutdown).
    #[track_caller]
    #[doc(alias = "cancel")]
    pub fn trigger(&self, reason: impl Into<Arc<str>>) -> bool {
        self.node().trigger(Cause::Triggered {
            reason: reason.into(),
            at: Location::caller(),
        })
    }

    /// Begins the shutdown because of an error. Returns whether this call began it.
    ///
    /// As [`trigger`](Shutdown::trigger), but the end of the program is a failure, also if the shutdown
    /// has begun already: then the first failure takes the place of the [`cause`](Shutdown::cause),
    /// here and in every ancestor that has begun. On a child or a phase, it is the shutdown of that part
    /// alone that begins: one that comes before the whole has begun is no cause of the whole. Where the
    /// program is to end as failed, call it on the whole.
    ///
    /// ```
    /// use std::io;
    /// use winddown::Shutdown;
    ///
    /// let shutdown = Shutdown::new();
    /// assert!(shutdown.fail(io::Error::other("disk full")));
    /// assert_eq!(shutdown.cause().unwrap().to_string(), "failed: disk full");
    /// ```
    ///
    /// # Blocking
    ///
    /// As [`request_shutdown`](Shutdown::request_shutdown).
    #[track_caller]
    pub fn fail(&self, error: impl Into<Box<dyn Error + Send + Sync>>) -> bool {
        let outcome = Outcome::Error(error.into().into());
        let failure = Failure::new(None, outcome, Location::caller());
        self.node().fail(failure)
    }

    /// Returns whether a shutdown was requested, also during its
    /// [`lame_duck`](crate::Builder::lame_duck). For a readiness probe; a loop asks
    /// [`is_stopping`](Shutdown::is_stopping). One atomic load.
    ///
    /// ```
    /// use winddown::Shutdown;
    ///
    /// fn readyz(shutdown: &Shutdown) -> u16 {
    ///     if shutdown.is_requested() { 503 } else { 200 }
    /// }
    ///
    /// let shutdown = Shutdown::new();
    /// assert_eq!(readyz(&shutdown), 200);
    /// shutdown.request_shutdown();
    /// assert_eq!(readyz(&shutdown), 503);
    /// ```
    #[inline]
    pub fn is_requested(&self) -> bool {
        self.node().has_reached(Stage::Requested)
    }

    /// Returns whether the program is to begin no new work, and to finish what it has: whether waiters are
    /// ready. One atomic load.
    ///
    /// ```
    /// use std::time::Duration;
    /// use winddown::Shutdown;
    ///
    /// let lame_duck = Duration::from_secs(60);
    /// let shutdown = Shutdown::builder().lame_duck(lame_duck).build();
    /// shutdown.request_shutdown();
    /// assert!(shutdown.is_requested() && !shutdown.is_stopping());
    /// ```
    #[inline]
    #[doc(alias = "is_cancelled")]
    pub fn is_stopping(&self) -> bool {
        self.node().has_reached(Stage::Stopping)
    }

    /// Returns whether the shutdown was forced. One atomic load.
    ///
    /// An installed shutdown ends the process then, so code hardly ever sees `true`; unless there is an
    /// [`abort_timeout`](crate::Builder::abort_timeout).
    ///
    /// ```
    /// use winddown::Shutdown;
    ///
    /// let shutdown = Shutdown::new();
    /// shutdown.request_shutdown();
    /// assert!(!shutdown.is_forced());
    /// shutdown.request_shutdown();
    /// assert!(shutdown.is_forced());
    /// ```
    pub fn is_forced(&self) -> bool {
        self.node().is_forced()
    }

    /// Returns how far the shutdown has come. One atomic load.
    ///
    /// ```
    /// use winddown::{Shutdown, Stage};
    ///
    /// let shutdown = Shutdown::new();
    /// assert_eq!(shutdown.stage(), Stage::Running);
    /// shutdown.request_shutdown();
    /// assert!(shutdown.stage() >= Stage::Stopping);
    /// ```
    pub fn stage(&self) -> Stage {
        self.node().stage()
    }

    /// Returns a future that is ready once a shutdown was requested; for what has to happen before
    /// [`Waiter`]s are ready.
    ///
    /// ```
    /// use futures_lite::future;
    /// use winddown::Shutdown;
    ///
    /// let shutdown = Shutdown::new();
    /// shutdown.trigger("an administrator asked");
    /// future::block_on(shutdown.requested()); // leave the service registry
    /// ```
    pub fn requested(&self) -> Reached {
        Reached::new(self.node().clone(), Stage::Requested)
    }

    /// Returns a future that is ready once the shutdown was forced.
    ///
    /// ```
    /// use futures_lite::future;
    /// use winddown::Shutdown;
    ///
    /// let shutdown = Shutdown::new();
    /// shutdown.request_shutdown();
    /// shutdown.request_shutdown();
    /// future::block_on(shutdown.forced());
    /// ```
    pub fn forced(&self) -> Reached {
        Reached::new(self.node().clone(), Stage::Forced)
    }

    /// Returns whether a shutdown was requested, here or above; see
    /// [`Waiter::is_whole_requested`].
    ///
    /// ```
    /// use winddown::Shutdown;
    ///
    /// let shutdown = Shutdown::new();
    /// let metrics = shutdown.phase("metrics").by_hand().build();
    /// shutdown.request_shutdown();
    /// assert!(metrics.is_whole_requested() && !metrics.is_requested());
    /// ```
    pub fn is_whole_requested(&self) -> bool {
        self.node().is_whole_requested()
    }

    /// Returns a future that is ready once a shutdown was requested, here or above: when the
    /// [grace period](crate::Builder::grace_period) begins. For code that is given a
    /// [phase](Shutdown::phase), which hears of the request of the whole later, or never if what comes
    /// before it hangs; and that keeps the [`deadline`](Shutdown::deadline) by a timer of its own.
    ///
    /// ```
    /// use futures_lite::future;
    /// use std::time::Duration;
    /// use winddown::Shutdown;
    ///
    /// let grace_period = Duration::from_secs(30);
    /// let shutdown = Shutdown::builder().grace_period(grace_period).build();
    /// let first = shutdown.phase("first").build();
    /// let working = first.guard();
    /// let second = shutdown.phase("second").after(&first).build();
    /// shutdown.request_shutdown();
    /// future::block_on(second.whole_requested());
    /// assert!(!second.is_requested() && second.deadline().is_some());
    /// # drop(working);
    /// ```
    pub fn whole_requested(&self) -> WholeRequested {
        WholeRequested::new(self.node().clone())
    }

    /// Returns the cause of the shutdown, or `None` if none was requested. A failure that came later
    /// takes the place of the earlier cause. A child or a phase that the shutdown above has told shares
    /// its cause, also when that changes.
    ///
    /// ```
    /// use winddown::{Cause, Shutdown, Signal};
    ///
    /// let shutdown = Shutdown::new();
    /// assert_eq!(shutdown.cause(), None);
    /// shutdown.send(Signal::TERM);
    /// assert_eq!(shutdown.cause(), Some(Cause::Signal(Signal::TERM)));
    /// shutdown.fail("the last write failed");
    /// assert!(matches!(shutdown.cause(), Some(Cause::Failed(_))));
    /// ```
    pub fn cause(&self) -> Option<Cause> {
        self.node().cause()
    }

    /// Returns the [failure](Cause::Failed) that is the cause of the shutdown, as an error: for the end of
    /// `main`, when all is drained. `Ok` after any other cause, and if none was requested.
    ///
    /// So the exit code of a service is a failure if a task has failed, and a success after a signal. For that
    /// of a tool, see [`Cause::exit`].
    ///
    /// ```
    /// # use std::error::Error;
    /// use winddown::Shutdown;
    ///
    /// async fn serve(shutdown: &Shutdown) -> Result<(), Box<dyn Error>> {
    ///     // ...
    ///     shutdown.drained().await?;
    ///     shutdown.result()?;
    ///     Ok(())
    /// }
    /// # let shutdown = Shutdown::new();
    /// # shutdown.fail("disk full");
    /// # let error = futures_lite::future::block_on(serve(&shutdown)).unwrap_err();
    /// # assert_eq!(error.to_string(), "failed: disk full");
    /// ```
    ///
    /// # Errors
    ///
    /// The [`Failure`], also if it came after the request.
    pub fn result(&self) -> Result<(), Failure> {
        match self.cause() {
            Some(Cause::Failed(failure)) => Err(failure),
            _ => Ok(()),
        }
    }

    /// Returns when the [`grace_period`](crate::Builder::grace_period) is over; `None` if nothing was
    /// requested, here or in an ancestor, or if no grace period was set.
    ///
    /// ```
    /// use std::time::{Duration, Instant};
    /// use winddown::Shutdown;
    ///
    /// let grace = Duration::from_secs(30);
    /// let shutdown = Shutdown::builder().grace_period(grace).build();
    /// assert_eq!(shutdown.deadline(), None);
    /// shutdown.request_shutdown();
    /// assert!(shutdown.deadline().unwrap() <= Instant::now() + grace);
    /// ```
    pub fn deadline(&self) -> Option<Instant> {
        self.node().deadline()
    }

    /// Returns how much is left of the [`grace_period`](crate::Builder::grace_period), zero when it is
    /// over; `None` as [`deadline`](Shutdown::deadline).
    ///
    /// ```
    /// use std::time::Duration;
    /// use winddown::Shutdown;
    ///
    /// let grace = Duration::from_secs(30);
    /// let shutdown = Shutdown::builder().grace_period(grace).build();
    /// shutdown.request_shutdown();
    /// shutdown.waiter().wait_blocking();
    /// let left = shutdown.remaining().unwrap_or(Duration::MAX);
    /// assert!(left <= grace);
    /// shutdown.drain_blocking(left).unwrap();
    /// ```
    pub fn remaining(&self) -> Option<Duration> {
        self.deadline().map(remaining)
    }

    /// Calls `function` once when the shutdown stops, as soon as waiters are ready; at once, on this
    /// thread, if they are. Not during the lame duck.
    ///
    /// It is called by the thread that makes waiters ready: the one that calls
    /// [`request_shutdown`](Shutdown::request_shutdown), before that returns, the one that drops the last
    /// guard of the phase before, or its last handle, or the one that drains it; after a signal, a lame
    /// duck, a delay or a time limit, a thread of this crate. So it must not block: the wakers behind it
    /// wait for it. Dropping the [`Callback`] deregisters it.
    ///
    /// It is a bridge to other notions of shutdown that takes no task:
    ///
    /// ```
    /// use tokio_util::sync::CancellationToken;
    /// use winddown::Shutdown;
    ///
    /// let shutdown = Shutdown::new();
    /// let token = CancellationToken::new();
    /// let cancelled = token.clone();
    /// let _bridge = shutdown.call_on_shutdown(move || cancelled.cancel());
    /// shutdown.request_shutdown();
    /// assert!(token.is_cancelled());
    /// ```
    ///
    /// # Panics
    ///
    /// If the function does and is called at once. Otherwise its panic is left to the panic hook.
    ///
    /// # Cost
    ///
    /// One entry in the registry of wakers, as a waiter that is pending, and one allocation.
    pub fn call_on_shutdown(&self, function: impl FnOnce() + Send + 'static) -> Callback {
        Callback::new(self.node().clone(), function)
    }

    /// Returns a guard that begins the shutdown when it is dropped, as when a scope is left by `?`. It does
    /// so as [`trigger`](Shutdown::trigger); only a drop by a panic is a failure.
    ///
    /// ```
    /// use winddown::Shutdown;
    ///
    /// let shutdown = Shutdown::new();
    /// let guard = shutdown.drop_guard();
    /// drop(guard);
    /// assert!(shutdown.is_requested());
    /// ```
    #[track_caller]
    pub fn drop_guard(&self) -> DropGuard {
        DropGuard::new(self.node().clone(), Location::caller())
    }

    /// Makes a shutdown that stops with this one, or alone: for a connection, a tenant, a subsystem.
    ///
    /// What is requested here is requested of the child, with the same cause, also if the child is
    /// made afterwards; and so is the force. What is requested of the child stays there: it never
    /// ends the process. A guard of the child counts here too. The child has the same
    /// [`ForcePolicy`](crate::ForcePolicy), and the same
    /// [`grace_period`](crate::Builder::grace_period): from its own request if it is requested alone,
    /// otherwise from the request made here.
    ///
    /// ```
    /// use winddown::Shutdown;
    ///
    /// let server = Shutdown::new();
    /// let (one, other) = (server.child(), server.child());
    /// one.request_shutdown();
    /// assert!(!server.is_requested() && !other.is_requested());
    /// server.request_shutdown();
    /// assert!(other.is_requested());
    /// assert_eq!(other.cause(), server.cause());
    /// ```
    ///
    /// # Cost
    ///
    /// Making and dropping one takes the same time however many there are, and leaves nothing behind.
    #[must_use = "a child without a handle has no waiters and no guards"]
    #[doc(alias = "child_token")]
    pub fn child(&self) -> Self {
        Self::below(Node::child(self.node()))
    }

    /// Takes a guard: work in flight, which a [`drain`](Shutdown::drain) waits for. The guard records
    /// the line of this call.
    ///
    /// Returns `None` once a drain of this shutdown, or of an ancestor, has returned `Ok`, and once a phase
    /// among them was asked and held no guard, unless its time limit had run out before: nothing would wait
    /// for the work, so don't begin it. (And at
    /// the limit of the counter, `usize::MAX / 16` guards.)
    ///
    /// A drain ends at the first moment without a guard. So the guard of a queue of jobs belongs to the
    /// worker that empties it, or travels with each job from the moment it is sent. A guard that is
    /// taken when a job is *received* leaves a gap between two jobs, in which a drain ends:
    ///
    /// ```
    /// use std::sync::mpsc;
    /// use std::time::Duration;
    /// use winddown::Shutdown;
    ///
    /// let shutdown = Shutdown::new();
    /// let (jobs, queue) = mpsc::channel();
    /// for job in 0..10 {
    ///     jobs.send(job).unwrap();
    /// }
    /// drop(jobs); // no more are taken in, so the queue ends
    /// let guard = shutdown.guard().expect("nothing was drained yet");
    /// let worker = std::thread::spawn(move || {
    ///     let _guard = guard; // the worker's, until the queue is empty
    ///     queue.iter().count()
    /// });
    /// shutdown.request_shutdown();
    /// shutdown.drain_blocking(Duration::from_secs(10)).unwrap();
    /// assert_eq!(worker.join().unwrap(), 10);
    /// ```
    ///
    /// # Cost
    ///
    /// No lock, and no allocation but for the first guard of a line; or the first few, where several
    /// threads take guards on one line, because each of up to eight groups of threads has a count of
    /// its own. A guard of a [`child`](Shutdown::child) on another line than its first is one small
    /// allocation.
    #[track_caller]
    #[must_use = "bind it to a name, such as `_guard`: `let _ =` drops it, and no drain waits for the work"]
    pub fn guard(&self) -> Option<Guard> {
        let location = Location::caller();
        let name = None;
        let origin = Origin { location, name };
        self.shared.take_guard(origin, Guard::new)
    }

    /// Takes a [`guard`](Shutdown::guard) with a name, for where a line says too little.
    ///
    /// Names are of kinds of work, and few: each is counted apart, for good. Which job it is that is late,
    /// only the program can say.
    ///
    /// ```
    /// use winddown::Shutdown;
    ///
    /// let shutdown = Shutdown::new();
    /// let _guard = shutdown.guard_named("export");
    /// let report = shutdown.report().to_string();
    /// assert!(report.starts_with("1 guard is held:\n  1 'export' at "));
    /// ```
    #[track_caller]
    #[must_use = "bind it to a name, such as `_guard`: `let _ =` drops it, and no drain waits for the work"]
    pub fn guard_named(&self, name: &'static str) -> Option<Guard> {
        let location = Location::caller();
        let name = Some(name);
        let origin = Origin { location, name };
        self.shared.take_guard(origin, Guard::new)
    }

    /// Wraps a future that is work in flight until it has ended. The guard is taken now, on the line of
    /// this call. It is released after the future was dropped, which is right after its last poll. So what
    /// the future writes when it is dropped, as a buffer that it owns does, is written before a drain ends.
    ///
    /// Where there is no [`guard`](Shutdown::guard) to take, the future runs without: no drain waits for
    /// it any more. Where that matters, take a [`guard`](Shutdown::guard) yourself. In a report it has
    /// the line of this call.
    ///
    /// A panic of the future is counted in the [`report`](Shutdown::report). Once a shutdown was
    /// requested, it is a [failure](Cause::Failed).
    ///
    /// ```
    /// use futures_lite::future;
    /// use winddown::Shutdown;
    ///
    /// let shutdown = Shutdown::new();
    /// let task = shutdown.track(async { 6 * 7 });
    /// assert_eq!(shutdown.in_flight(), 1);
    /// assert_eq!(future::block_on(task), 42);
    /// assert_eq!(shutdown.in_flight(), 0);
    /// ```
    #[track_caller]
    #[doc(alias = "spawn")]
    pub fn track<F: Future>(&self, future: F) -> Track<F> {
        Track::new(future, self.guard())
    }

    /// Wraps a future as [`track`](Shutdown::track) does, with a name for the report: where one line starts
    /// several tasks, the line does not tell which of them is stuck.
    ///
    /// ```
    /// use std::time::Duration;
    /// use futures_lite::future;
    /// use winddown::Shutdown;
    ///
    /// let shutdown = Shutdown::new();
    /// let tasks = ["import", "mail"].map(|name| {
    ///     shutdown.track_named(name, future::pending::<()>())
    /// });
    /// let error = shutdown.drain_blocking(Duration::ZERO).unwrap_err();
    /// println!("{error}");
    /// // timed out; 2 guards are held:
    /// //   1 'import' at src/main.rs:7
    /// //   1 'mail' at src/main.rs:7
    /// # assert!(error.to_string().contains("1 'mail' at "));
    /// # drop(tasks);
    /// ```
    #[track_caller]
    pub fn track_named<F: Future>(&self, name: &'static str, future: F) -> Track<F> {
        Track::new(future, self.guard_named(name))
    }

    /// Wraps a future that must not end. If it ends, panics or is dropped before a shutdown was
    /// requested, that is a failure, which begins the shutdown. A panic of a poll is a failure afterwards, too.
    ///
    /// The [`cause`](Shutdown::cause) names the task and says what became of it. The future holds no
    /// guard; see [`track`](Shutdown::track). For a task that may end, use
    /// [`supervise`](Shutdown::supervise).
    ///
    /// On a child or a phase, it is the shutdown of that part alone that begins. The task of a phase ends by
    /// the waiter of that phase: the whole is stopping earlier, when the task is not expected to end yet.
    /// Where the whole has to stop, call it on the whole, and track the future in its phase:
    /// `workers.track(shutdown.critical("mail", mail))`.
    ///
    /// ```
    /// use futures_lite::future;
    /// use winddown::Shutdown;
    ///
    /// let shutdown = Shutdown::new();
    /// future::block_on(shutdown.critical("mail", async {}));
    /// assert_eq!(shutdown.cause().unwrap().to_string(), "task 'mail' ended");
    /// ```
    ///
    /// # Blocking
    ///
    /// Where it begins the shutdown, as [`request_shutdown`](Shutdown::request_shutdown).
    #[track_caller]
    pub fn critical<F: Future>(&self, name: impl Into<Arc<str>>, future: F) -> Critical<F> {
        Critical::new(future, self.alarm(name.into(), Location::caller()))
    }

    /// Wraps a future that may end with `Ok`. If it ends with `Err` or panics, or is dropped before a
    /// shutdown was requested, that is a failure, which begins the shutdown. An error, or a panic of a poll,
    /// is a failure afterwards, too.
    ///
    /// The [`cause`](Shutdown::cause) names the task and has the error. The wrapped future returns the
    /// [`Failure`] in place of the error. A `Box<dyn Error>` won't do as error, because it is neither `Send` nor
    /// `Sync`: use `Box<dyn Error + Send + Sync>`. A task without a result ends with `Ok::<(), Infallible>(())`.
    /// The future holds no guard; see [`track`](Shutdown::track). On a child or a phase, it is the shutdown of
    /// that part alone that begins, as with [`critical`](Shutdown::critical).
    ///
    /// ```
    /// use futures_lite::future;
    /// use winddown::Shutdown;
    ///
    /// let shutdown = Shutdown::new();
    /// let done = shutdown.supervise("import", async { Ok::<_, String>(42) });
    /// assert_eq!(future::block_on(done), Ok(42));
    /// assert!(!shutdown.is_requested());
    ///
    /// let mail = async { Err::<(), _>("connection refused") };
    /// assert!(future::block_on(shutdown.supervise("mail", mail)).is_err());
    /// let cause = shutdown.cause().unwrap().to_string();
    /// assert_eq!(cause, "task 'mail' failed: connection refused");
    /// ```
    ///
    /// # Blocking
    ///
    /// As [`critical`](Shutdown::critical).
    #[track_caller]
    pub fn supervise<F, T, E>(&self, name: impl Into<Arc<str>>, future: F) -> Supervise<F>
    where
        F: Future<Output = Result<T, E>>,
        E: Into<Box<dyn Error + Send + Sync>>,
    {
        Supervise::new(future, self.alarm(name.into(), Location::caller()))
    }

    fn alarm(&self, name: Arc<str>, location: &'static Location<'static>) -> Alarm {
        Alarm::new(self.node().clone(), name, location)
    }

    /// Waits until no guard is held, here and on every child, but not for longer than `timeout` from
    /// now.
    ///
    /// It does not wait for the request. When it is polled and finds no guard, it is ready, and closes
    /// the shutdown for work in the same step: from then on [`guard`](Shutdown::guard) returns `None`.
    /// So it closes when it is polled, not when the last guard is dropped. Await a [`Waiter`] first, and
    /// stop accepting work; or use [`drained`](Shutdown::drained), which waits for the request.
    ///
    /// Several drains may wait at once, and after a time-out one may try again. A timeout of zero is a
    /// check, which closes the shutdown if it finds no guard; `Duration::MAX` never ends. The timeout is
    /// real time; for the time of another clock, such as the paused one of a test, see
    /// [`drain_until`](Shutdown::drain_until).
    ///
    /// ```
    /// # use std::time::{Duration, Instant};
    /// # use winddown::Shutdown;
    /// # async fn example(shutdown: Shutdown) {
    /// shutdown.waiter().await;
    /// // ... stop accepting ...
    /// match shutdown.drain(Duration::from_secs(10)).await {
    ///     Ok(()) => println!("all work is done"),
    ///     Err(error) => println!("giving up: {error}"),
    /// }
    /// # }
    /// ```
    ///
    /// On tokio, print the error before `main` returns: see [limitations](crate::limitations#runtimes).
    ///
    /// # Errors
    ///
    /// [`DrainError`](crate::DrainError), with the guards that are left, when the time is up, or at
    /// once when the shutdown is forced.
    ///
    /// # Panics
    ///
    /// When it is polled and async-io can't have its descriptors or its thread for the timer: see
    /// [limitations](crate::limitations#threads-and-wakers). `install` makes sure that it can.
    ///
    /// # Without the feature `signals`
    ///
    /// There is no timer: the clock is read when the drain is polled, but no timer wakes its task. Use
    /// [`drain_until`](Shutdown::drain_until) with a timer of your runtime.
    pub fn drain(&self, timeout: Duration) -> Drain {
        Drain::new(self.shared.clone(), timeout)
    }

    /// Waits as [`drain`](Shutdown::drain) does, but until `until` is ready: a timer of your runtime, or
    /// any other event.
    ///
    /// A paused clock jumps while a thread works, because tokio knows of its tasks alone: where threads hold
    /// guards, call [`drain_blocking`](Shutdown::drain_blocking) in `spawn_blocking`.
    ///
    /// ```
    /// use std::time::Duration;
    /// use winddown::{DrainErrorKind, Shutdown};
    ///
    /// # #[tokio::main(flavor = "current_thread", start_paused = true)]
    /// # async fn main() {
    /// let shutdown = Shutdown::new();
    /// let _guard = shutdown.guard();
    /// // In a test with a paused clock, this takes no time.
    /// let half_a_minute = tokio::time::sleep(Duration::from_secs(30));
    /// let error = shutdown.drain_until(half_a_minute).await.unwrap_err();
    /// assert_eq!(error.kind, DrainErrorKind::TimedOut);
    /// # }
    /// ```
    ///
    /// # Errors
    ///
    /// As `drain`.
    pub fn drain_until<F: Future>(&self, until: F) -> DrainUntil<F> {
        DrainUntil::new(self.shared.clone(), until)
    }

    /// Waits until a shutdown was requested and waiters are ready, and then as
    /// [`drain`](Shutdown::drain) does until the [`deadline`](Shutdown::deadline): the end of the
    /// [`grace_period`](crate::Builder::grace_period).
    ///
    /// It may be awaited before the request. It waits without limit if no grace period was set. At the
    /// deadline it waits for nothing any more: if no guard is held then, it closes the shutdown and is
    /// ready with `Ok`, even in a lame duck, and even if the shutdown is a phase that was never asked.
    ///
    /// With [`force_at_deadline`](crate::Builder::force_at_deadline) the process ends at that same deadline:
    /// either may come first, so the error is printed or not, and the exit code is the one or the other.
    /// So await a waiter in place of it, and then [`drain`](Shutdown::drain) for a shorter time; or set an
    /// [`abort_timeout`](crate::Builder::abort_timeout), which leaves time between the force and the end
    /// of the process.
    ///
    /// On tokio, print the error before `main` returns: see [limitations](crate::limitations#runtimes).
    ///
    /// ```
    /// use futures_lite::future;
    /// use winddown::Shutdown;
    ///
    /// let shutdown = Shutdown::new();
    /// let mut drained = shutdown.drained();
    /// assert_eq!(future::block_on(future::poll_once(&mut drained)), None);
    /// assert!(shutdown.guard().is_some()); // it is not closed for work
    /// shutdown.request_shutdown();
    /// assert_eq!(future::block_on(drained), Ok(()));
    /// ```
    ///
    /// # Errors
    ///
    /// As `drain`.
    ///
    /// # Panics
    ///
    /// As `drain`, where there is a grace period.
    ///
    /// # Without the feature `signals`
    ///
    /// As with `drain`, no timer wakes the task at the deadline. Await a [`Waiter`], and then
    /// [`drain_until`](Shutdown::drain_until) with a timer of your runtime.
    pub fn drained(&self) -> Drain {
        Drain::for_request(self.shared.clone())
    }

    /// Blocks this thread until a [`drain`](Shutdown::drain) would be ready. The timeout ends it also without
    /// the feature `signals`.
    ///
    /// ```
    /// use std::time::Duration;
    /// use winddown::Shutdown;
    ///
    /// let shutdown = Shutdown::new();
    /// shutdown.request_shutdown();
    /// shutdown.drain_blocking(Duration::from_secs(10)).unwrap();
    /// ```
    ///
    /// # Errors
    ///
    /// As `drain`.
    ///
    /// # Blocking
    ///
    /// Blocks this thread. In a task, await `drain` instead.
    #[cfg(not(target_family = "wasm"))]
    pub fn drain_blocking(&self, timeout: Duration) -> Result<(), DrainError> {
        self.drain_blocking_until(deadline_after(timeout))
    }

    /// Blocks this thread until [`drained`](Shutdown::drained) would be ready. The deadline ends it also
    /// without the feature `signals`.
    ///
    /// ```
    /// use std::time::Duration;
    /// use winddown::Shutdown;
    ///
    /// let grace = Duration::from_secs(10);
    /// let shutdown = Shutdown::builder().grace_period(grace).build();
    /// let guard = shutdown.guard();
    /// std::thread::spawn({
    ///     let shutdown = shutdown.clone();
    ///     move || {
    ///         shutdown.request_shutdown();
    ///         drop(guard); // done
    ///     }
    /// });
    /// shutdown.drained_blocking().unwrap();
    /// ```
    ///
    /// # Errors
    ///
    /// As `drain`.
    ///
    /// # Blocking
    ///
    /// Blocks this thread. In a task, await `drained` instead.
    #[cfg(not(target_family = "wasm"))]
    pub fn drained_blocking(&self) -> Result<(), DrainError> {
        let node = self.node();
        let stopping = || node.has_reached(Stage::Stopping);
        // A request wakes this thread, also one above, and sets the deadline. In this order: what is stopping
        // has its deadline.
        let requested = || match (stopping(), node.deadline()) {
            (false, None) => None,
            (_, deadline) => Some(deadline),
        };
        let deadline = node.block(None, requested).flatten();
        node.block(deadline, || stopping().then_some(()));
        self.drain_blocking_until(deadline)
    }

    #[cfg(not(target_family = "wasm"))]
    fn drain_blocking_until(&self, deadline: Option<Instant>) -> Result<(), DrainError> {
        let settled = |late| self.shared.settled(false, late, || ());
        let result = match self.node().block(deadline, || settled(false)) {
            Some(result) => result,
            None => settled(true).expect("a drain that is late has ended"),
        };
        self.shared.trace_drained(&result);
        result
    }

    /// Returns how many guards are held, here and on every child.
    ///
    /// Each group of threads has a count of its own, and they are read one after the other. So while
    /// guards come and go it may be a number that never was: even zero, though each guard is dropped
    /// only when the next is held. Whether there are none, a [`drain`](Shutdown::drain) says.
    ///
    /// ```
    /// use winddown::Shutdown;
    ///
    /// let shutdown = Shutdown::new();
    /// let tenant = shutdown.child();
    /// let guards = (shutdown.guard(), tenant.guard());
    /// assert_eq!((shutdown.in_flight(), tenant.in_flight()), (2, 1));
    /// drop(guards);
    /// assert_eq!(shutdown.in_flight(), 0);
    /// ```
    pub fn in_flight(&self) -> usize {
        self.node().in_flight()
    }

    /// Returns which lines hold how many guards, here and on every child: what a drain would wait for; and
    /// how many were released by a panic, also after a drain.
    ///
    /// It is put together while guards come and go, so it may name some that
    /// [`in_flight`](Shutdown::in_flight) does not count, and the other way round.
    ///
    /// ```
    /// use winddown::Shutdown;
    ///
    /// let shutdown = Shutdown::new();
    /// let _guard = shutdown.guard_named("mail");
    /// for line in &shutdown.report() {
    ///     println!("{line}"); // 1 'mail' at src/main.rs:4
    /// }
    /// ```
    pub fn report(&self) -> Report {
        self.shared.report()
    }
}

impl Default for Shutdown {
    /// Makes a shutdown as [`Shutdown::new`] does.
    fn default() -> Self {
        Self::new()
    }
}

impl PartialEq for Shutdown {
    /// Returns whether both are handles to the same shutdown.
    fn eq(&self, other: &Self) -> bool {
        Arc::ptr_eq(self.node(), other.node())
    }
}

impl Eq for Shutdown {}

impl Hash for Shutdown {
    fn hash<H: Hasher>(&self, state: &mut H) {
        Arc::as_ptr(self.node()).hash(state);
    }
}

impl fmt::Debug for Shutdown {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Shutdown")
            .field("cause", &self.cause())
            .field("forced", &self.is_forced())
            .field("in_flight", &self.in_flight())
            .finish_non_exhaustive()
    }
}

/// Sends a fake signal to the installed shutdown, from anywhere in the program; see
/// [`Shutdown::request_shutdown`], also for what it returns. Returns `false` also when none is installed, or
/// every handle to it, and all that was made by one, was dropped before the first signal.
///
/// # Blocking
///
/// As [`Shutdown::request_shutdown`].
///
/// ```
/// assert!(!winddown::request_shutdown()); // none is installed here
/// ```
#[cfg(feature = "signals")]
#[cfg_attr(docsrs, doc(cfg(feature = "signals")))]
#[track_caller]
pub fn request_shutdown() -> bool {
    let at = Location::caller();
    installed().is_some_and(|node| node.request(Cause::Requested(at)))
}
