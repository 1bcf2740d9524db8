//! Every public verb.

use std::fmt;
use std::panic::Location;
use std::sync::Arc;
use std::time::{Duration, Instant};

#[cfg(feature = "signals")]
use async_signal::Signal;

#[cfg(feature = "signals")]
use crate::InstallError;
use crate::guard::Handle;
use crate::policy::{ForcePolicy, Policy};
use crate::sites::Origin;
use crate::state::{Force, State};
use crate::{Cause, Critical, Drain, Guard, Reached, Stage, Stragglers, Track, Waiter};

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
/// A [`ForcePolicy`] and a [`debounce`] say which signals count as the second. With [`last_words`], a
/// forced shutdown that is installed ends the process on another real signal.
///
/// [`debounce`]: Builder::debounce
/// [`last_words`]: Builder::last_words
/// [`request_shutdown`]: Shutdown::request_shutdown
/// [`trigger`]: Shutdown::trigger
/// [lame duck]: Builder::lame_duck
#[derive(Clone)]
pub struct Shutdown {
    handle: Handle,
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
        Self::with(State::new(Force::Mark, None))
    }

    fn with(state: Arc<State>) -> Self {
        Self {
            handle: Handle::new(state),
        }
    }

    /// Installs the process's shutdown: SIGINT and SIGTERM, or Windows' console events. The first
    /// asks everybody to finish, the second ends the process with exit code 1.
    ///
    /// The handlers are registered when it returns. A thread named `winddown` reads the signals; it
    /// needs no runtime. On Windows, the system has a thread for each event.
    ///
    /// ```no_run
    /// let shutdown = winddown::Shutdown::install()?;
    /// shutdown.waiter().wait_blocking();
    /// println!("stopping: {}", shutdown.cause().expect("it was requested"));
    /// # Ok::<(), winddown::InstallError>(())
    /// ```
    ///
    /// # Errors
    ///
    /// [`InstallError::AlreadyInstalled`] the second time, even if every handle to the first is
    /// gone. Other errors say what the operating system refused. None leaves anything registered.
    #[cfg(feature = "signals")]
    #[cfg_attr(docsrs, doc(cfg(feature = "signals")))]
    pub fn install() -> Result<Self, InstallError> {
        Self::builder().install()
    }

    /// For a shutdown that takes another course: other signals, a lame duck, a time of grace.
    pub fn builder() -> Builder {
        Builder {
            policy: Policy::DEFAULT,
            own_policy: false,
            #[cfg(feature = "signals")]
            signals: crate::signals::DEFAULT.to_vec(),
            #[cfg(feature = "signals")]
            exit_code: 1,
        }
    }

    /// A future that is ready once everybody is to finish: when a shutdown was requested, and its
    /// [`lame_duck`](Builder::lame_duck), if it has one, is over. Cheap; make one wherever one is
    /// needed.
    #[inline]
    pub fn waiter(&self) -> Waiter {
        Waiter::new(self.handle.state.clone())
    }

    /// Sends a fake signal: as if the operating system had sent one. Returns whether it was taken.
    ///
    /// The first asks everybody to finish; they have been woken when it returns (but for those whom
    /// another thread is waking that very moment, and a [`lame_duck`](Builder::lame_duck), which wakes
    /// them later). The second forces: an installed
    /// shutdown ends the process at once, so this does not return, unless there is time for
    /// [`last_words`](Builder::last_words); one made by [`new`](Shutdown::new) becomes forced. A third
    /// is not taken.
    ///
    /// For a reason of the program's own that several parts may have, use
    /// [`trigger`](Shutdown::trigger), which never forces.
    ///
    /// # Blocking
    ///
    /// Never waits for anybody to finish. It calls the wakers of those who wait, so it takes as long
    /// as they do; one that panics is left to the panic hook, and the others are woken all the same.
    #[track_caller]
    pub fn request_shutdown(&self) -> bool {
        self.handle
            .state
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
    /// As [`request_shutdown`](Shutdown::request_shutdown).
    #[track_caller]
    pub fn trigger(&self, reason: impl Into<Arc<str>>) -> bool {
        self.handle.state.trigger(Cause::Triggered {
            reason: reason.into(),
            at: Location::caller(),
        })
    }

    /// Whether a shutdown was requested. One atomic load.
    #[inline]
    pub fn is_requested(&self) -> bool {
        self.handle.state.has_reached(Stage::Requested)
    }

    /// Whether the shutdown was forced: asked for a second time. One atomic load.
    ///
    /// Of an installed shutdown nobody sees it, because the process has ended; unless there is time
    /// for [`last_words`](Builder::last_words).
    pub fn is_forced(&self) -> bool {
        self.handle.state.has_reached(Stage::Forced)
    }

    /// How far the shutdown has come. One atomic load.
    pub fn stage(&self) -> Stage {
        self.handle.state.stage()
    }

    /// A future that is ready once a shutdown was requested; for what has to happen before
    /// [`Waiter`]s are ready.
    pub fn requested(&self) -> Reached {
        Reached::new(self.handle.state.clone(), Stage::Requested)
    }

    /// A future that is ready once the shutdown was forced.
    pub fn forced(&self) -> Reached {
        Reached::new(self.handle.state.clone(), Stage::Forced)
    }

    /// Why the shutdown was requested; `None` while it was not.
    pub fn cause(&self) -> Option<Cause> {
        self.handle.state.cause()
    }

    /// When the time of [`grace`](Builder::grace) is over; `None` while nothing was requested, or if
    /// none was set.
    pub fn deadline(&self) -> Option<Instant> {
        self.handle.state.deadline()
    }

    /// How much is left of the time of [`grace`](Builder::grace), zero when it is over; `None` as
    /// [`deadline`](Shutdown::deadline).
    pub fn remaining(&self) -> Option<Duration> {
        self.deadline().map(crate::deadline::remaining)
    }

    /// A shutdown that ends with this one, or alone: for a connection, a tenant, a subsystem.
    ///
    /// What is requested here is requested of the child, with the same cause, also if the child is
    /// made afterwards; and so is the force. What is requested of the child stays there: it never
    /// ends the process. A guard of the child counts here too. It has the same [`ForcePolicy`], and the
    /// same time of [`grace`](Builder::grace): if it is requested alone from then on, otherwise from
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
        Self::with(State::child(&self.handle.state))
    }

    /// Takes a guard: work in flight, which a [`drain`](Shutdown::drain) waits for. It is recorded
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
        self.handle.guard(Origin {
            location: Location::caller(),
            name: None,
        })
    }

    /// [`guard`](Shutdown::guard) with a name, for where a line says too little.
    #[track_caller]
    #[must_use = "without the guard, nobody waits for the work"]
    pub fn guard_named(&self, name: &'static str) -> Option<Guard> {
        self.handle.guard(Origin {
            location: Location::caller(),
            name: Some(name),
        })
    }

    /// A future that does what `future` does, and is work in flight until that has ended. The guard
    /// is taken now, on the line of this call.
    ///
    /// Once a drain has completed there is no guard to take, and the future runs without: nobody
    /// waits for it any more. Where that matters, take a [`guard`](Shutdown::guard) yourself.
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
    /// that begins. It holds no guard; see [`track`](Shutdown::track).
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
    /// Where it begins the shutdown, as [`request_shutdown`](Shutdown::request_shutdown).
    #[track_caller]
    pub fn critical<F: Future>(&self, name: impl Into<Arc<str>>, future: F) -> Critical<F> {
        let state = self.handle.state.clone();
        Critical::new(future, state, name.into(), Location::caller())
    }

    /// Waits until no guard is held, here and on every child, but not for longer than `timeout` from
    /// now.
    ///
    /// The first moment without a guard completes it, and closes the shutdown for work in the same
    /// step: no [`guard`](Shutdown::guard) can be taken any more. So a drain does not wait for the
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
        Drain::new(self.handle.clone(), timeout)
    }

    /// [`drain`](Shutdown::drain) until the [`deadline`](Shutdown::deadline): the time of
    /// [`grace`](Builder::grace), from the request on.
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
        Drain::to_deadline(self.handle.clone())
    }

    /// [`drain`](Shutdown::drain) for plain threads.
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
        let deadline = crate::deadline::deadline_after(timeout);
        let settled = |late| self.handle.settled(false, late);
        let result = match self.handle.state.block(deadline, || settled(false)) {
            Some(result) => result,
            None => settled(true).expect("a drain that is late has ended"),
        };
        crate::trace::drained(&self.handle.state, &result);
        result
    }

    /// How many guards are held, here and on every child.
    ///
    /// Each group of threads has a count of its own, and they are read one after the other. So while
    /// guards come and go it may be a number that never was: even zero, though each guard is dropped
    /// only when the next is held. Whether there are none, a [`drain`](Shutdown::drain) says.
    pub fn in_flight(&self) -> usize {
        self.handle.state.in_flight()
    }

    /// Which lines hold how many guards, here and on every child; what a drain would wait for.
    ///
    /// It is put together while guards come and go, so it may name some that [`in_flight`] does not
    /// count, and the other way round.
    ///
    /// [`in_flight`]: Shutdown::in_flight
    pub fn report(&self) -> Stragglers {
        self.handle.report()
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

/// Says how a shutdown takes its course; made by [`Shutdown::builder`].
///
#[cfg_attr(feature = "signals", doc = "```no_run")]
#[cfg_attr(not(feature = "signals"), doc = "```ignore")]
/// use std::time::{Duration, Instant};
/// use winddown::{ForcePolicy, Shutdown, Signal};
///
/// let shutdown = Shutdown::builder()
///     .signals([Signal::Int, Signal::Term, Signal::Hup])
///     .lame_duck(Duration::from_secs(5))
///     .grace(Duration::from_secs(30))
///     .force_policy(ForcePolicy::OnlyInterrupt)
///     .exit_code(130)
///     .install()?;
/// # Ok::<(), winddown::InstallError>(())
/// ```
#[derive(Clone, Debug)]
#[must_use = "a builder does nothing until `build` or `install`"]
pub struct Builder {
    policy: Policy,
    /// Whether `policy` may be other than the default.
    own_policy: bool,
    #[cfg(feature = "signals")]
    signals: Vec<Signal>,
    #[cfg(feature = "signals")]
    exit_code: i32,
}

impl Builder {
    fn set(mut self, change: impl FnOnce(&mut Policy)) -> Self {
        change(&mut self.policy);
        self.own_policy = true;
        self
    }

    /// Waits between the request and the moment when [`Waiter`]s are ready, so that load balancers
    /// notice first: `is_requested` is true and [`requested`](Shutdown::requested) is ready at once,
    /// the readiness probe turns red, and work is still accepted. Kubernetes' API server calls it the
    /// shutdown delay. None unless set.
    ///
    /// The force cuts it short. It is skipped for an interrupt (SIGINT, Ctrl-C), which also ends one
    /// that a [`trigger`](Shutdown::trigger) began, because nobody at a terminal has a load balancer;
    /// see [`lame_duck_on_interrupt`](Builder::lame_duck_on_interrupt).
    /// It is the time of a thread of its own, so it passes whatever the runtime does. Children that
    /// are requested alone have none.
    #[cfg(not(target_family = "wasm"))]
    pub fn lame_duck(self, delay: Duration) -> Self {
        self.set(|policy| policy.lame_duck = delay)
    }

    /// Whether an interrupt has a lame duck too; `false` unless set.
    #[cfg(not(target_family = "wasm"))]
    pub fn lame_duck_on_interrupt(self, on: bool) -> Self {
        self.set(|policy| policy.lame_duck_on_interrupt = on)
    }

    /// The time that the whole shutdown may take, from the request on, the lame duck included.
    ///
    /// [`deadline`](Shutdown::deadline) and [`remaining`](Shutdown::remaining) tell of it, and
    /// [`drain_gracefully`](Shutdown::drain_gracefully) ends with it. Without one, they know no end.
    pub fn grace(self, time: Duration) -> Self {
        self.set(|policy| policy.grace = Some(time))
    }

    /// Which second signal forces; any, unless said otherwise.
    pub fn force_policy(self, force: ForcePolicy) -> Self {
        self.set(|policy| policy.force = force)
    }

    /// Takes a second signal that comes sooner after the first for the same one; it is dropped, and
    /// `request_shutdown` returns `false`. Zero unless set.
    ///
    /// A terminal sends Ctrl-C to a whole group of processes, and a wrapper in it that forwards it
    /// makes two of one within milliseconds. The same goes for the second and the third, where there is
    /// time for [`last_words`](Builder::last_words).
    pub fn debounce(self, time: Duration) -> Self {
        self.set(|policy| policy.debounce = time)
    }

    /// Gives the program time between the force and its end, to abort tasks and flush logs. Zero
    /// unless set: the second signal ends the process at once.
    ///
    /// The shutdown is *forced* then, which [`forced`](Shutdown::forced) tells, and drains end; and
    /// the process ends when the time has passed, or on a third signal from the handler, or when
    /// `main` returns. It is of no use to a shutdown that is not installed, which never ends the
    /// process.
    pub fn last_words(self, time: Duration) -> Self {
        self.set(|policy| policy.last_words = time)
    }

    /// The signals that ask for a shutdown, in place of SIGINT and SIGTERM.
    ///
    /// For [`install`](Builder::install); what is built otherwise listens to none.
    ///
    /// On Windows there are only these two: [`Signal::Int`] is Ctrl-C and Ctrl-Break,
    /// [`Signal::Term`] a closed console, a logoff and the end of the system.
    #[cfg(feature = "signals")]
    #[cfg_attr(docsrs, doc(cfg(feature = "signals")))]
    pub fn signals(mut self, signals: impl IntoIterator<Item = Signal>) -> Self {
        self.signals = signals.into_iter().collect();
        self
    }

    /// The exit code with which the force ends the process; 1 unless said otherwise.
    ///
    /// For [`install`](Builder::install); what is built otherwise ends no process. Unix hands on the
    /// lowest eight bits of it.
    #[cfg(feature = "signals")]
    #[cfg_attr(docsrs, doc(cfg(feature = "signals")))]
    pub fn exit_code(mut self, code: i32) -> Self {
        self.exit_code = code;
        self
    }

    /// Makes a shutdown of the program's own making, as [`Shutdown::new`] does.
    pub fn build(self) -> Shutdown {
        let policy = self.policy();
        Shutdown::with(State::new(Force::Mark, policy))
    }

    /// Installs the process's shutdown, as [`Shutdown::install`] does.
    ///
    /// # Errors
    ///
    /// [`InstallError`] says which signal could not be used, or what was refused. Nothing is left
    /// registered, and another attempt may succeed.
    #[cfg(feature = "signals")]
    #[cfg_attr(docsrs, doc(cfg(feature = "signals")))]
    pub fn install(self) -> Result<Shutdown, InstallError> {
        let policy = self.policy();
        let state = crate::signals::install(&self.signals, self.exit_code, policy)?;
        Ok(Shutdown::with(state))
    }

    fn policy(&self) -> Option<Policy> {
        self.own_policy.then(|| self.policy.clone())
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
    crate::signals::installed().is_some_and(|state| state.request(Cause::Requested(at)))
}
