//! [`Builder`]: the settings of a shutdown.

use std::time::Duration;

#[cfg(feature = "signals")]
use async_signal::Signal;

use crate::model::policy::{ForcePolicy, Policy};
#[cfg(feature = "signals")]
use crate::model::signal::DEFAULT;
use crate::node::Node;
#[cfg(feature = "signals")]
use crate::os::error::InstallError;
#[cfg(feature = "signals")]
use crate::os::install::install;
use crate::shutdown::Shutdown;

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
    /// `None` until a setting is changed.
    policy: Option<Policy>,
    #[cfg(feature = "signals")]
    signals: Vec<Signal>,
    #[cfg(feature = "signals")]
    exit_code: i32,
}

impl Builder {
    fn set(mut self, change: impl FnOnce(&mut Policy)) -> Self {
        change(self.policy.get_or_insert(Policy::DEFAULT));
        self
    }

    /// Waits between the request and the moment when [`Waiter`](crate::Waiter)s are ready, so that load balancers
    /// notice first: `is_requested` is true and [`requested`](crate::Shutdown::requested) is ready at once,
    /// the readiness probe turns red, and work is still accepted. Kubernetes' API server calls it the
    /// shutdown delay. None unless set.
    ///
    /// The force cuts it short. It is skipped for an interrupt (SIGINT, Ctrl-C), which also ends one
    /// that a [`trigger`](crate::Shutdown::trigger) began, because nobody at a terminal has a load balancer;
    /// see [`lame_duck_on_interrupt`](crate::Builder::lame_duck_on_interrupt).
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
    /// [`deadline`](crate::Shutdown::deadline) and [`remaining`](crate::Shutdown::remaining) tell of it, and
    /// [`drain_gracefully`](crate::Shutdown::drain_gracefully) ends with it. Without one, they know no end.
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
    /// time for [`last_words`](crate::Builder::last_words).
    pub fn debounce(self, time: Duration) -> Self {
        self.set(|policy| policy.debounce = time)
    }

    /// Gives the program time between the force and its end, to abort tasks and flush logs. Zero
    /// unless set: the second signal ends the process at once.
    ///
    /// The shutdown is *forced* then, which [`forced`](crate::Shutdown::forced) tells, and drains end; and
    /// the process ends when the time has passed, or on a third signal from the handler, or when
    /// `main` returns. It is of no use to a shutdown that is not installed, which never ends the
    /// process.
    pub fn last_words(self, time: Duration) -> Self {
        self.set(|policy| policy.last_words = time)
    }

    /// The signals that ask for a shutdown, in place of SIGINT and SIGTERM.
    ///
    /// For [`install`](crate::Builder::install); what is built otherwise listens to none.
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
    /// For [`install`](crate::Builder::install); what is built otherwise ends no process. Unix hands on the
    /// lowest eight bits of it.
    #[cfg(feature = "signals")]
    #[cfg_attr(docsrs, doc(cfg(feature = "signals")))]
    pub fn exit_code(mut self, code: i32) -> Self {
        self.exit_code = code;
        self
    }

    /// Makes a shutdown of the program's own making, as [`Shutdown::new`] does.
    pub fn build(self) -> Shutdown {
        Shutdown::with(Node::new(None, self.policy))
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
        let node = install(&self.signals, self.exit_code, self.policy)?;
        Ok(Shutdown::with(node))
    }
}

/// Here and not beside the other verbs, because a builder makes a `Shutdown`, and so stands above it.
impl Shutdown {
    /// Returns a builder for other settings: signals, a lame duck, a grace period.
    pub fn builder() -> Builder {
        Builder {
            policy: None,
            #[cfg(feature = "signals")]
            signals: DEFAULT.to_vec(),
            #[cfg(feature = "signals")]
            exit_code: 1,
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
}
