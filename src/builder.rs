//! [`Builder`]: the settings of a shutdown.
//!
//! Long because the documentation of each setting stands here; none has more than a few lines of code.

use std::time::Duration;

use crate::model::policy::{ForcePolicy, Policy};
#[cfg(feature = "signals")]
use crate::model::signal::Signal;
use crate::node::Node;
#[cfg(feature = "signals")]
use crate::os::error::InstallError;
#[cfg(feature = "signals")]
use crate::os::install::install;
#[cfg(feature = "signals")]
use crate::os::settings::Settings;
use crate::shutdown::Shutdown;

/// The settings of a shutdown; made by [`Shutdown::builder`].
///
#[cfg_attr(feature = "signals", doc = "```no_run")]
#[cfg_attr(not(feature = "signals"), doc = "```ignore")]
/// use std::time::Duration;
/// use winddown::{ForcePolicy, Shutdown, Signal};
///
/// let shutdown = Shutdown::builder()
///     .signals([Signal::INT, Signal::TERM, Signal::HUP])
///     .lame_duck(Duration::from_secs(5))
///     .grace_period(Duration::from_secs(30))
///     .force_at_deadline()
///     .force_policy(ForcePolicy::OnlyInterrupt)
///     .exit_code(130)
///     .install()?;
/// # Ok::<(), winddown::InstallError>(())
/// ```
#[derive(Clone, Debug)]
#[must_use = "a builder does nothing until `build` or `install`"]
pub struct Builder {
    policy: Policy,
    #[cfg(feature = "signals")]
    settings: Settings,
}

impl Builder {
    fn set(mut self, change: impl FnOnce(&mut Policy)) -> Self {
        change(&mut self.policy);
        self
    }

    /// Sets the time between the request and the moment when [`Waiter`](crate::Waiter)s are ready, so
    /// that load balancers notice first. Defaults to none.
    ///
    /// `is_requested` is true and [`requested`](crate::Shutdown::requested) is ready at once, the
    /// readiness probe turns red, and work is still accepted. Kubernetes' API server calls it the
    /// shutdown delay.
    ///
    /// The force cuts it short. It is skipped for an interrupt (SIGINT, Ctrl-C), which also ends one
    /// that a [`trigger`](crate::Shutdown::trigger) began, because no load balancer watches a program
    /// in a terminal; see [`lame_duck_on_interrupt`](Builder::lame_duck_on_interrupt).
    /// It is real time, kept by a thread of this crate, so it passes whatever the runtime does; there is none
    /// if the system refuses to start that thread. `Duration::MAX` never passes. Children that are requested
    /// alone have none.
    ///
    /// ```
    /// use std::time::Duration;
    /// use winddown::{Shutdown, Stage};
    ///
    /// let lame_duck = Duration::from_secs(60);
    /// let shutdown = Shutdown::builder().lame_duck(lame_duck).build();
    /// shutdown.request_shutdown();
    /// assert_eq!(shutdown.stage(), Stage::Requested);
    /// ```
    #[cfg(not(target_family = "wasm"))]
    pub fn lame_duck(self, time: Duration) -> Self {
        self.set(|policy| policy.lame_duck = time)
    }

    /// Sets whether an interrupt has a lame duck too. Defaults to `false`.
    ///
    /// ```
    /// use std::time::Duration;
    /// use winddown::{Shutdown, Signal, Stage};
    ///
    /// let shutdown = Shutdown::builder()
    ///     .lame_duck(Duration::from_secs(60))
    ///     .lame_duck_on_interrupt(true)
    ///     .build();
    /// shutdown.send(Signal::INT);
    /// assert_eq!(shutdown.stage(), Stage::Requested);
    /// ```
    #[cfg(not(target_family = "wasm"))]
    pub fn lame_duck_on_interrupt(self, on: bool) -> Self {
        self.set(|policy| policy.lame_duck_on_interrupt = on)
    }

    /// Sets the time that the whole shutdown may take, from the request on, the lame duck included.
    /// Defaults to no limit.
    ///
    /// [`deadline`](crate::Shutdown::deadline) and [`remaining`](crate::Shutdown::remaining) tell of it,
    /// and [`drained`](crate::Shutdown::drained) and
    /// [`until_deadline`](crate::ShutdownExt::until_deadline) end with it. It bounds those; for a bound
    /// on the process, add [`force_at_deadline`](Builder::force_at_deadline).
    ///
    /// It is real time. Zero means that the deadline has passed when the request comes. With
    /// `Duration::MAX`, or any time too long for the clock, there is no deadline.
    ///
    /// ```
    /// use std::time::Duration;
    /// use futures_lite::future;
    /// use winddown::{DrainErrorKind, Shutdown};
    ///
    /// let grace = Duration::from_millis(10);
    /// let shutdown = Shutdown::builder().grace_period(grace).build();
    /// let _guard = shutdown.guard();
    /// shutdown.request_shutdown();
    /// # std::thread::sleep(grace);
    /// let error = future::block_on(shutdown.drained()).unwrap_err();
    /// assert_eq!(error.kind, DrainErrorKind::TimedOut);
    /// ```
    pub fn grace_period(self, time: Duration) -> Self {
        self.set(|policy| policy.grace_period = Some(time))
    }

    /// Forces the shutdown when the [`grace_period`](Builder::grace_period) is over. Defaults to off: the
    /// end of the grace period ends drains, and not the process.
    ///
    /// The installed shutdown ends its process then as the second signal does: with the
    /// [`exit_code`](Builder::exit_code), after the [`abort_timeout`](Builder::abort_timeout) if there
    /// is one, whether the shutdown was begun by a signal, by the program or by a failure. It does so
    /// within 50 ms, whatever executors, `main`, destructors or wakers do, because the thread that
    /// keeps this time runs no code but this crate's. So set a grace period somewhat longer than drains
    /// need, or a program that is done at the last moment has no time to say so. A drain that waits for
    /// the whole grace period, as `drained` does, ends at the same instant, and the process is most
    /// likely gone before its error is printed: use a `drain` with a shorter time for that, as
    /// `remaining.saturating_sub(Duration::from_millis(500))`, or set an `abort_timeout`. A shutdown that is
    /// not installed becomes forced then. The [`ForcePolicy`] does not matter for that. Without a `grace_period`
    /// there is no deadline: `install` returns an error, and `build` panics.
    ///
    /// Only the shutdown that was built forces itself. A [child](crate::Shutdown::child) that is requested
    /// alone is not forced at its own deadline, which only ends its drains.
    ///
    #[cfg_attr(feature = "signals", doc = "```no_run")]
    #[cfg_attr(not(feature = "signals"), doc = "```ignore")]
    /// use std::time::Duration;
    ///
    /// let shutdown = winddown::Shutdown::builder()
    ///     .grace_period(Duration::from_secs(25))
    ///     .force_at_deadline()
    ///     .install()?;
    /// # Ok::<(), winddown::InstallError>(())
    /// ```
    #[cfg(not(target_family = "wasm"))]
    pub fn force_at_deadline(self) -> Self {
        self.set(|policy| policy.force_at_deadline = true)
    }

    /// Sets which second signal forces. Defaults to [`ForcePolicy::SecondSignal`]: any.
    ///
    /// ```
    /// use winddown::{ForcePolicy, Shutdown, Signal};
    ///
    /// let shutdown = Shutdown::builder()
    ///     .force_policy(ForcePolicy::OnlyInterrupt)
    ///     .build();
    /// assert!(shutdown.send(Signal::TERM));
    /// assert!(!shutdown.send(Signal::TERM)); // dropped
    /// assert!(shutdown.send(Signal::INT));
    /// assert!(shutdown.is_forced());
    /// ```
    pub fn force_policy(self, force: ForcePolicy) -> Self {
        self.set(|policy| policy.force = force)
    }

    /// Drops a second signal, of any number, that comes within this time of the first; `request_shutdown`
    /// then returns `false`. Defaults to zero. With `Duration::MAX` no second signal ever forces.
    ///
    /// A terminal sends Ctrl-C to a whole group of processes, and a wrapper among them that forwards the
    /// signal makes two of it within milliseconds. With an [`abort_timeout`](Builder::abort_timeout), a third
    /// signal that comes within this time of the second is dropped too.
    ///
    /// ```
    /// use std::time::Duration;
    /// use winddown::{Shutdown, Signal};
    ///
    /// let debounce = Duration::from_secs(60);
    /// let shutdown = Shutdown::builder().debounce(debounce).build();
    /// assert!(shutdown.send(Signal::INT));
    /// assert!(!shutdown.send(Signal::INT)); // an echo
    /// assert!(!shutdown.is_forced());
    /// ```
    pub fn debounce(self, time: Duration) -> Self {
        self.set(|policy| policy.debounce = time)
    }

    /// Sets the time between the force and the end of the process, to abort tasks and flush logs.
    /// Defaults to zero: the second signal ends the process at once.
    ///
    /// The shutdown is *forced* then, which [`forced`](crate::Shutdown::forced) tells, and drains end, in
    /// threads too; and the process ends when the time has passed, or when `main` returns, or by the handler
    /// on another signal, if the [`ForcePolicy`] lets that one force. `Duration::MAX` never passes. A
    /// shutdown that is not installed ignores the time, because it never ends the process.
    ///
    #[cfg_attr(feature = "signals", doc = "```no_run")]
    #[cfg_attr(not(feature = "signals"), doc = "```ignore")]
    /// use std::time::Duration;
    /// use winddown::Shutdown;
    ///
    /// # async fn example() -> Result<(), winddown::InstallError> {
    /// let shutdown = Shutdown::builder()
    ///     .abort_timeout(Duration::from_secs(2))
    ///     .install()?;
    /// shutdown.forced().await; // then there are two seconds
    /// eprintln!("giving up: {}", shutdown.report());
    /// # Ok(())
    /// # }
    /// ```
    pub fn abort_timeout(self, time: Duration) -> Self {
        self.set(|policy| policy.abort_timeout = time)
    }

    /// Sets the signals that request a shutdown. Defaults to [`Signal::INT`] and [`Signal::TERM`].
    ///
    /// Each must be one that ends a program by default: SIGINT, SIGTERM, SIGHUP, SIGQUIT, SIGUSR1, SIGUSR2,
    /// SIGPIPE, SIGALRM, SIGVTALRM, SIGPROF, SIGXCPU, SIGXFSZ, SIGSYS, SIGTRAP or SIGABRT; no real-time
    /// signal, SIGIO or SIGPWR. On Windows there are only SIGINT and SIGTERM. A shutdown that is not
    /// installed ignores this setting.
    ///
    /// ```no_run
    /// use winddown::{Shutdown, Signal};
    ///
    /// let shutdown = Shutdown::builder()
    ///     .signals([Signal::INT, Signal::TERM, Signal::HUP])
    ///     .install()?;
    /// # Ok::<(), winddown::InstallError>(())
    /// ```
    #[cfg(feature = "signals")]
    #[cfg_attr(docsrs, doc(cfg(feature = "signals")))]
    pub fn signals(mut self, signals: impl IntoIterator<Item = Signal>) -> Self {
        self.settings.signals = signals.into_iter().collect();
        self
    }

    /// Sets the exit code with which the force ends the process. Defaults to 1.
    ///
    /// Unix hands on the lowest eight bits of it. To die of the second signal instead, as shells expect
    /// it, use [`force_by_signal`](Builder::force_by_signal). A shutdown that is not installed ignores
    /// it.
    ///
    /// ```no_run
    /// use winddown::Shutdown;
    ///
    /// let shutdown = Shutdown::builder().exit_code(130).install()?;
    /// # Ok::<(), winddown::InstallError>(())
    /// ```
    #[cfg(feature = "signals")]
    #[cfg_attr(docsrs, doc(cfg(feature = "signals")))]
    pub fn exit_code(mut self, code: i32) -> Self {
        self.settings.exit_code = code;
        self
    }

    /// Ends the process by the signal that forces, in place of the exit code. Defaults to off.
    ///
    /// bash then stops its script after Ctrl-C twice. Otherwise bash goes on with the next line, because a
    /// program that handles SIGINT and ends with a code has, to bash, dealt with it; other shells stop in any
    /// case. With an [`abort_timeout`](Builder::abort_timeout), a `main` that returns in that time still ends
    /// the process with its own code. A force that no signal brought about, by the program or at the deadline, ends with the
    /// [`exit_code`](Builder::exit_code) all the same. As PID 1, and on Windows, where no program can
    /// die of a signal, the exit code is 128 + n. A shutdown that is not installed ignores it.
    ///
    /// ```no_run
    /// use winddown::Shutdown;
    ///
    /// let shutdown = Shutdown::builder().force_by_signal().install()?;
    /// # Ok::<(), winddown::InstallError>(())
    /// ```
    #[cfg(feature = "signals")]
    #[cfg_attr(docsrs, doc(cfg(feature = "signals")))]
    pub fn force_by_signal(mut self) -> Self {
        self.settings.force_by_signal = true;
        self
    }

    /// Makes a shutdown that listens to no signals: only the program drives it, as [`Shutdown::new`] does.
    ///
    /// ```
    /// use std::time::Duration;
    /// use winddown::Shutdown;
    ///
    /// let shutdown = Shutdown::builder()
    ///     .grace_period(Duration::from_secs(30))
    ///     .build();
    /// assert!(!shutdown.is_requested());
    /// ```
    ///
    /// # Panics
    ///
    /// If [`force_at_deadline`](Builder::force_at_deadline) is set and
    /// [`grace_period`](Builder::grace_period) is not.
    #[track_caller]
    pub fn build(self) -> Shutdown {
        assert!(
            !self.policy.lacks_deadline(),
            "force_at_deadline without a deadline; set a grace_period too",
        );
        Shutdown::root(Node::new(None, self.policy))
    }

    /// Installs the process's shutdown, as [`Shutdown::install`] does.
    ///
    /// ```
    /// use winddown::{InstallError, Shutdown, Signal};
    ///
    /// match Shutdown::builder().signals([Signal::from_raw(9)]).install() {
    ///     Err(InstallError::Unusable(signal)) => println!("not {signal}"),
    ///     other => panic!("SIGKILL can't be handled, but: {other:?}"),
    /// }
    /// ```
    ///
    /// # Errors
    ///
    /// [`InstallError`] says which signal or setting could not be used, or what the system refused.
    /// Each signal does what it did before.
    ///
    /// # Panics
    ///
    /// As [`Shutdown::install`].
    #[cfg(feature = "signals")]
    #[cfg_attr(docsrs, doc(cfg(feature = "signals")))]
    pub fn install(self) -> Result<Shutdown, InstallError> {
        install(self.settings, self.policy).map(Shutdown::root)
    }
}

// Here and not beside the other verbs, because a builder makes a `Shutdown`, and so stands above it.
impl Shutdown {
    /// Returns a builder for other settings: signals, a lame duck, a grace period.
    ///
    /// ```
    /// use std::time::Duration;
    /// use winddown::Shutdown;
    ///
    /// let grace = Duration::from_secs(30);
    /// let shutdown = Shutdown::builder().grace_period(grace).build();
    /// ```
    pub fn builder() -> Builder {
        Builder {
            policy: Policy::DEFAULT,
            #[cfg(feature = "signals")]
            settings: Settings::default(),
        }
    }

    /// Installs the process's shutdown for SIGINT and SIGTERM, or Windows' console events. The first
    /// requests the shutdown, the second ends the process with exit code 1.
    ///
    /// The handlers are registered when it returns. A thread named `winddown` reads the signals; it
    /// needs no runtime. On Windows, the system has a thread for each event.
    ///
    /// ```no_run
    /// let shutdown = winddown::Shutdown::install()?;
    /// shutdown.waiter().wait_blocking();
    /// // ... finish what is in flight ...
    /// # Ok::<(), winddown::InstallError>(())
    /// ```
    ///
    /// # Errors
    ///
    /// [`InstallError::AlreadyInstalled`] the second time, even if every handle to the first is
    /// gone; [`InstallError::Forked`] in a forked process. Other errors say what the operating system refused.
    /// After each, signals do what they did before.
    ///
    /// # Panics
    ///
    /// When the system's last thread is taken right after it has made sure that there are enough, and where a
    /// sandbox refuses epoll, by async-io: see [limitations](crate::limitations#threads-and-wakers).
    #[cfg(feature = "signals")]
    #[cfg_attr(docsrs, doc(cfg(feature = "signals")))]
    pub fn install() -> Result<Self, InstallError> {
        Self::builder().install()
    }
}
