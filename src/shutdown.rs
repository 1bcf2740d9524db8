//! [`Shutdown`]: the handle with every public verb.
//!
//! Long because the documentation of each verb stands here; none has more than a few lines of code.

use std::fmt;
use std::panic::Location;
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::drain::Drain;
use crate::guard::Guard;
use crate::model::cause::Cause;
use crate::model::report::Stragglers;
use crate::model::stage::Stage;
use crate::node::Node;
use crate::node::sites::Shared;
#[cfg(feature = "signals")]
use crate::os::install::installed;
use crate::task::{Critical, Track};
use crate::util::deadline::{deadline_after, remaining};
use crate::util::site_table::Origin;
use crate::waiter::{Reached, Waiter};

/// A handle to one shutdown: asks for it, and hands out [`Waiter`]s for it.
///
/// Clones are handles to the same shutdown. Dropping a handle, even the last, never starts one.
///
/// | state | [`request_shutdown`] | a real signal | [`trigger`] |
/// |---|---|---|---|
/// | running | `true`; waiters are woken before it returns (after the [lame duck], if there is one) | same | `true`, same, but takes no slot |
/// | begun by `trigger` | `true`; takes the first slot, forces nothing yet | same | `false`, nothing changes |
/// | one slot taken | `true`; forces: an installed one ends the process, a `new()` one becomes *forced* | forces | `false`, nothing changes |
/// | forced | `false` | dropped | `false` |
///
/// A [`ForcePolicy`](crate::ForcePolicy) and a [`debounce`] say which signals count as the second. With [`last_words`], a
/// forced shutdown that is installed ends the process on another real signal.
///
/// [`debounce`]: crate::Builder::debounce
/// [`last_words`]: crate::Builder::last_words
/// [`request_shutdown`]: crate::Shutdown::request_shutdown
/// [`trigger`]: crate::Shutdown::trigger
/// [lame duck]: crate::Builder::lame_duck
#[derive(Clone)]
pub struct Shutdown {
    shared: Shared,
}

impl Shutdown {
    /// A shutdown of the program's own making, for tests and for servers inside another program.
    ///
    /// It knows nothing of signals and never ends the process. There can be as many as you like.
    ///
    /// ```
    /// use winddown::Shutdown;
    ///
    /// let shutdown = Shutdown::new();
    /// assert!(shutdown.request_shutdown()); // asks
    /// assert!(shutdown.request_shutdown()); // forces
    /// assert!(shutdown.is_forced());
    /// assert!(!shutdown.request_shutdown()); // nothing left to ask for
    /// ```
    pub fn new() -> Self {
        Self::with(Node::new(None, None))
    }

    pub(crate) fn with(node: Arc<Node>) -> Self {
        Self {
            shared: Shared::new(node),
        }
    }

    /// A future that is ready once everybody is to finish: when a shutdown was requested, and its
    /// [`lame_duck`](crate::Builder::lame_duck), if it has one, is over. Cheap; make one wherever one is
    /// needed.
    #[inline]
    pub fn waiter(&self) -> Waiter {
        Waiter::new(self.shared.node.clone())
    }

    /// Sends a fake signal: as if the operating system had sent one. Returns whether it was taken.
    ///
    /// The first asks everybody to finish; they have been woken when it returns (but for those whom
    /// another thread is waking that very moment, and a [`lame_duck`](crate::Builder::lame_duck), which wakes
    /// them later). The second forces: an installed
    /// shutdown ends the process at once, so this does not return, unless there is time for
    /// [`last_words`](crate::Builder::last_words); one made by [`new`](crate::Shutdown::new) becomes forced. A third
    /// is not taken.
    ///
    /// For a reason of the program's own that several parts may have, use
    /// [`trigger`](crate::Shutdown::trigger), which never forces.
    ///
    /// # Blocking
    ///
    /// Never waits for anybody to finish. It calls the wakers of those who wait, so it takes as long
    /// as they do; one that panics is left to the panic hook, and the others are woken all the same.
    #[track_caller]
    pub fn request_shutdown(&self) -> bool {
        self.shared
            .node
            .request(Cause::Requested(Location::caller()))
    }

    /// Begins the shutdown for a reason of the program's own: a task failed, an administrator
    /// asked. Returns whether this call began it.
    ///
    /// Any number of parts may call it: it takes no slot and never forces. So the first signal from
    /// outside still leaves everybody the time to finish.
    ///
    /// ```
    /// use winddown::Shutdown;
    ///
    /// let shutdown = Shutdown::new();
    /// assert!(shutdown.trigger("worker 'mail' failed"));
    /// assert!(!shutdown.trigger("worker 'index' failed"));
    /// assert_eq!(shutdown.cause().unwrap().to_string(), "worker 'mail' failed");
    /// ```
    ///
    /// # Blocking
    ///
    /// As [`request_shutdown`](crate::Shutdown::request_shutdown).
    #[track_caller]
    pub fn trigger(&self, reason: impl Into<Arc<str>>) -> bool {
        self.shared.node.trigger(Cause::Triggered {
            reason: reason.into(),
            at: Location::caller(),
        })
    }

    /// Whether a shutdown was requested. One atomic load.
    #[inline]
    pub fn is_requested(&self) -> bool {
        self.shared.node.has_reached(Stage::Requested)
    }

    /// Whether the shutdown was forced: asked for a second time. One atomic load.
    ///
    /// Of an installed shutdown nobody sees it, because the process has ended; unless there is time
    /// for [`last_words`](crate::Builder::last_words).
    pub fn is_forced(&self) -> bool {
        self.shared.node.has_reached(Stage::Forced)
    }

    /// How far the shutdown has come. One atomic load.
    pub fn stage(&self) -> Stage {
        self.shared.node.stage()
    }

    /// A future that is ready once a shutdown was requested; for what has to happen before
    /// [`Waiter`]s are ready.
    pub fn requested(&self) -> Reached {
        Reached::new(self.shared.node.clone(), Stage::Requested)
    }

    /// A future that is ready once the shutdown was forced.
    pub fn forced(&self) -> Reached {
        Reached::new(self.shared.node.clone(), Stage::Forced)
    }

    /// Why the shutdown was requested; `None` while it was not.
    pub fn cause(&self) -> Option<Cause> {
        self.shared.node.cause()
    }

    /// When the time of [`grace`](crate::Builder::grace) is over; `None` while nothing was requested, or if
    /// none was set.
    pub fn deadline(&self) -> Option<Instant> {
        self.shared.node.deadline()
    }

    /// How much is left of the time of [`grace`](crate::Builder::grace), zero when it is over; `None` as
    /// [`deadline`](crate::Shutdown::deadline).
    pub fn remaining(&self) -> Option<Duration> {
        self.deadline().map(remaining)
    }

    /// A shutdown that ends with this one, or alone: for a connection, a tenant, a subsystem.
    ///
    /// What is requested here is requested of the child, with the same cause, also if the child is
    /// made afterwards; and so is the force. What is requested of the child stays there: it never
    /// ends the process. A guard of the child counts here too. It has the same [`ForcePolicy`](crate::ForcePolicy), and the
    /// same time of [`grace`](crate::Builder::grace): if it is requested alone from then on, otherwise from
    /// the request made here.
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
    pub fn child(&self) -> Self {
        Self::with(Node::child(&self.shared.node))
    }

    /// Takes a guard: work in flight, which a [`drain`](crate::Shutdown::drain) waits for. It is recorded
    /// that it was taken on the line of this call.
    ///
    /// `None` once a drain of this shutdown, or of a parent, has completed: then nobody would wait
    /// for the work, so don't begin it. (And at the limit of the counter, `usize::MAX / 16` guards.)
    ///
    /// # Cost
    ///
    /// No lock, and no allocation but for the first guard of a line; or the first few, where several
    /// threads take guards on one line, because each of up to eight groups of threads has a count of
    /// its own.
    #[track_caller]
    #[must_use = "without the guard, nobody waits for the work"]
    pub fn guard(&self) -> Option<Guard> {
        let location = Location::caller();
        let site = self.shared.take_guard(Origin {
            location,
            name: None,
        })?;
        Some(Guard::new(site))
    }

    /// [`guard`](crate::Shutdown::guard) with a name, for where a line says too little.
    #[track_caller]
    #[must_use = "without the guard, nobody waits for the work"]
    pub fn guard_named(&self, name: &'static str) -> Option<Guard> {
        let location = Location::caller();
        let site = self.shared.take_guard(Origin {
            location,
            name: Some(name),
        })?;
        Some(Guard::new(site))
    }

    /// A future that does what `future` does, and is work in flight until that has ended. The guard
    /// is taken now, on the line of this call.
    ///
    /// Once a drain has completed there is no guard to take, and the future runs without: nobody
    /// waits for it any more. Where that matters, take a [`guard`](crate::Shutdown::guard) yourself.
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
    pub fn track<F: Future>(&self, future: F) -> Track<F> {
        Track::new(future, self.guard())
    }

    /// A future that does what `future` does, and without which the program cannot go on: if it
    /// ends, panics or is dropped before a shutdown was requested, it begins the shutdown.
    ///
    /// The cause says which task it was and what became of it. On a child, it is the child's shutdown
    /// that begins. It holds no guard; see [`track`](crate::Shutdown::track).
    ///
    /// ```
    /// use futures_lite::future;
    /// use winddown::Shutdown;
    ///
    /// let shutdown = Shutdown::new();
    /// let task = shutdown.critical("mail", async { Err::<(), _>("no route to host") });
    /// assert_eq!(future::block_on(task), Err("no route to host"));
    /// assert_eq!(shutdown.cause().unwrap().to_string(), "critical task 'mail' ended");
    /// ```
    ///
    /// # Blocking
    ///
    /// Where it begins the shutdown, as [`request_shutdown`](crate::Shutdown::request_shutdown).
    #[track_caller]
    pub fn critical<F: Future>(&self, name: impl Into<Arc<str>>, future: F) -> Critical<F> {
        let node = self.shared.node.clone();
        Critical::new(future, node, name.into(), Location::caller())
    }

    /// Waits until no guard is held, here and on every child, but not for longer than `timeout` from
    /// now.
    ///
    /// The first moment without a guard completes it, and closes the shutdown for work in the same
    /// step: no [`guard`](crate::Shutdown::guard) can be taken any more. So a drain does not wait for the
    /// request; await a [`Waiter`] first, and stop accepting work.
    ///
    /// Several drains may wait at once, and after a time-out one may try again. A timeout of zero is
    /// a check; `Duration::MAX` never ends.
    ///
    /// ```
    /// # use std::time::{Duration, Instant};
    /// # use winddown::Shutdown;
    /// # async fn example(shutdown: Shutdown) {
    /// shutdown.waiter().await;
    /// // ... stop accepting ...
    /// match shutdown.drain(Duration::from_secs(10)).await {
    ///     Ok(()) => println!("all work is done"),
    ///     Err(stragglers) => println!("giving up; {stragglers}"),
    /// }
    /// # }
    /// ```
    ///
    /// # Errors
    ///
    /// [`Stragglers`], the guards that are left, when the time is up, or at once when the shutdown is
    /// forced.
    ///
    /// # Without the feature `signals`
    ///
    /// There is no timer then: the time is looked at when the drain is polled, but nobody polls it
    /// for that. Race it against a timer of your runtime.
    pub fn drain(&self, timeout: Duration) -> Drain {
        Drain::new(self.shared.clone(), timeout)
    }

    /// [`drain`](crate::Shutdown::drain) until the [`deadline`](crate::Shutdown::deadline): the time of
    /// [`grace`](crate::Builder::grace), from the request on.
    ///
    /// It may be awaited before the request. It never ends by itself if no grace was set.
    ///
    /// For threads, `drain_blocking(shutdown.remaining().unwrap_or(Duration::MAX))` is the same, once
    /// the request has come.
    ///
    /// # Errors
    ///
    /// As `drain`.
    pub fn drain_gracefully(&self) -> Drain {
        Drain::to_deadline(self.shared.clone())
    }

    /// [`drain`](crate::Shutdown::drain) for plain threads.
    ///
    /// # Errors
    ///
    /// As `drain`.
    ///
    /// # Blocking
    ///
    /// Blocks this thread. In a task, await `drain` instead.
    #[cfg(not(target_family = "wasm"))]
    pub fn drain_blocking(&self, timeout: Duration) -> Result<(), Stragglers> {
        let deadline = deadline_after(timeout);
        let settled = |late| self.shared.settled(false, late);
        let result = match self.shared.node.block(deadline, || settled(false)) {
            Some(result) => result,
            None => settled(true).expect("a drain that is late has ended"),
        };
        self.shared.node.trace_drained(&result);
        result
    }

    /// How many guards are held, here and on every child.
    ///
    /// Each group of threads has a count of its own, and they are read one after the other. So while
    /// guards come and go it may be a number that never was: even zero, though each guard is dropped
    /// only when the next is held. Whether there are none, a [`drain`](crate::Shutdown::drain) says.
    pub fn in_flight(&self) -> usize {
        self.shared.node.in_flight()
    }

    /// Which lines hold how many guards, here and on every child; what a drain would wait for.
    ///
    /// It is put together while guards come and go, so it may name some that [`in_flight`] does not
    /// count, and the other way round.
    ///
    /// [`in_flight`]: crate::Shutdown::in_flight
    pub fn report(&self) -> Stragglers {
        self.shared.report()
    }
}

impl Default for Shutdown {
    /// As [`Shutdown::new`].
    fn default() -> Self {
        Self::new()
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
/// [`Shutdown::request_shutdown`]. `false` when none is installed, or every handle to it was gone
/// before the first signal.
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
