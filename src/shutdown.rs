//! Every public verb.

use std::fmt;
use std::panic::Location;
use std::sync::Arc;

#[cfg(feature = "signals")]
use async_signal::Signal;

#[cfg(feature = "signals")]
use crate::InstallError;
use crate::state::{Force, State};
use crate::{Cause, Waiter};

/// A handle to one shutdown: asks for it, and hands out [`Waiter`]s for it.
///
/// Clones are handles to the same shutdown. Dropping a handle, even the last, never starts one.
///
/// | state | [`request_shutdown`] | a real signal | [`trigger`] |
/// |---|---|---|---|
/// | running | `true`; waiters are woken before it returns | same | `true`, same, but takes no slot |
/// | begun by `trigger` | `true`; takes the first slot, forces nothing yet | same | `false`, nothing changes |
/// | one slot taken | `true`; forces: an installed one ends the process, a `new()` one becomes *forced* | forces | `false`, nothing changes |
/// | forced | `false` | dropped | `false` |
///
/// [`request_shutdown`]: Shutdown::request_shutdown
/// [`trigger`]: Shutdown::trigger
#[derive(Clone)]
pub struct Shutdown {
    state: Arc<State>,
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
        Self {
            state: State::new(Force::Mark),
        }
    }

    /// Installs the process's shutdown: SIGINT and SIGTERM, or Ctrl-C on Windows. The first asks
    /// everybody to finish, the second ends the process with exit code 1.
    ///
    /// The handlers are registered when it returns. A thread named `winddown` reads the signals; it
    /// needs no runtime.
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

    /// For [`install`](Shutdown::install) with other signals or another exit code.
    #[cfg(feature = "signals")]
    #[cfg_attr(docsrs, doc(cfg(feature = "signals")))]
    pub fn builder() -> Builder {
        Builder {
            signals: crate::signals::DEFAULT.to_vec(),
            exit_code: 1,
        }
    }

    /// A future that is ready once a shutdown was requested. Cheap; make one wherever one is needed.
    pub fn waiter(&self) -> Waiter {
        Waiter::new(self.state.clone())
    }

    /// Sends a fake signal: as if the operating system had sent one. Returns whether it was taken.
    ///
    /// The first asks everybody to finish; they have been woken when it returns. The second forces:
    /// an installed shutdown ends the process at once, so this does not return; one made by
    /// [`new`](Shutdown::new) becomes forced. A third is not taken.
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
        self.state.request(Cause::Requested(Location::caller()))
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
        self.state.trigger(Cause::Triggered {
            reason: reason.into(),
            at: Location::caller(),
        })
    }

    /// Whether a shutdown was requested. One atomic load.
    pub fn is_requested(&self) -> bool {
        self.state.is_requested()
    }

    /// Whether the shutdown was forced: asked for a second time. One atomic load.
    ///
    /// Nobody sees this of an installed shutdown, whose process has ended.
    pub fn is_forced(&self) -> bool {
        self.state.is_forced()
    }

    /// Why the shutdown was requested; `None` while it was not.
    pub fn cause(&self) -> Option<Cause> {
        self.state.cause()
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
            .finish_non_exhaustive()
    }
}

/// Says how to [`install`](Builder::install) the process's shutdown.
///
/// ```no_run
/// use winddown::{Shutdown, Signal};
///
/// let shutdown = Shutdown::builder()
///     .signals([Signal::Int, Signal::Term, Signal::Hup])
///     .exit_code(130)
///     .install()?;
/// # Ok::<(), winddown::InstallError>(())
/// ```
#[cfg(feature = "signals")]
#[cfg_attr(docsrs, doc(cfg(feature = "signals")))]
#[derive(Clone, Debug)]
#[must_use = "a builder does nothing until `install`"]
pub struct Builder {
    signals: Vec<Signal>,
    exit_code: i32,
}

#[cfg(feature = "signals")]
impl Builder {
    /// The signals that ask for a shutdown, in place of SIGINT and SIGTERM (Ctrl-C on Windows, which
    /// knows no others).
    pub fn signals(mut self, signals: impl IntoIterator<Item = Signal>) -> Self {
        self.signals = signals.into_iter().collect();
        self
    }

    /// The exit code with which the second signal ends the process; 1 unless said otherwise.
    ///
    /// Unix hands on the lowest eight bits of it.
    pub fn exit_code(mut self, code: i32) -> Self {
        self.exit_code = code;
        self
    }

    /// Installs it; see [`Shutdown::install`].
    ///
    /// # Errors
    ///
    /// [`InstallError`] says which signal could not be used, or what was refused. Nothing is left
    /// registered, and another attempt may succeed.
    pub fn install(self) -> Result<Shutdown, InstallError> {
        let state = crate::signals::install(&self.signals, self.exit_code)?;
        Ok(Shutdown { state })
    }
}

/// Sends a fake signal to the installed shutdown, from anywhere in the program; see
/// [`Shutdown::request_shutdown`]. `false` when none is installed, or every handle to it is gone.
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
