//! Why a shutdown began.

use std::fmt;
use std::panic::Location;
use std::process::ExitCode;
use std::sync::Arc;

#[cfg(feature = "signals")]
use async_signal::Signal;

/// Why a shutdown began: a signal, a request from the program, or a reason of its own.
///
/// Cheap to clone. Its `Display` is what a person would say: `SIGTERM`, `requested at
/// src/admin.rs:41`, `worker 'mail' failed`.
///
/// ```
/// use winddown::{Cause, Shutdown};
///
/// let shutdown = Shutdown::new();
/// shutdown.trigger("worker 'mail' failed");
/// let cause = shutdown.cause().expect("a shutdown that began has a cause");
/// assert_eq!(cause.to_string(), "worker 'mail' failed");
/// assert!(matches!(cause, Cause::Triggered { at, .. } if at.file() == file!()));
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Cause {
    /// The operating system delivered this signal. On Windows, a console event that stands for it:
    /// Ctrl-C and Ctrl-Break are both shown as `Ctrl-C`, the others as `termination`.
    #[cfg(feature = "signals")]
    #[cfg_attr(docsrs, doc(cfg(feature = "signals")))]
    Signal(Signal),

    /// `request_shutdown` was called on this line.
    Requested(&'static Location<'static>),

    /// [`trigger`](crate::Shutdown::trigger) was called.
    #[non_exhaustive]
    Triggered {
        /// The reason given.
        reason: Arc<str>,
        /// The line of the call.
        at: &'static Location<'static>,
    },
}

impl Cause {
    /// Whether the system sent it, and not the program.
    pub(crate) fn is_signal(&self) -> bool {
        match self {
            #[cfg(feature = "signals")]
            Self::Signal(_) => true,
            Self::Requested(_) | Self::Triggered { .. } => false,
        }
    }

    /// Ends the process in the way that its cause lets others expect, after a shutdown that went
    /// well.
    ///
    /// After a signal the process dies of that signal, as a program does that never handled it: a
    /// shell then stops its script, and a supervisor reads "killed by SIGTERM". Where that can't be,
    /// as PID 1, on Windows, and after a signal that ends nothing by default, the exit code is 128 + n
    /// (143 for SIGTERM), as a shell would report it. After any other cause the exit code is 0.
    ///
    /// Standard output is flushed before. Destructors don't run, and after a signal atexit handlers
    /// don't either.
    ///
    /// ```no_run
    /// # let shutdown = winddown::Shutdown::install()?;
    /// shutdown.waiter().wait_blocking();
    /// // ... drain, save, say goodbye ...
    /// shutdown.cause().expect("it was requested").exit()
    /// # ; Ok::<(), winddown::InstallError>(())
    /// ```
    ///
    /// To return from `main` instead, turn the cause into an [`ExitCode`].
    ///
    /// # Blocking
    ///
    /// As long as flushing standard output does. A signal that forces still ends the process.
    #[cfg(feature = "signals")]
    #[cfg_attr(docsrs, doc(cfg(feature = "signals")))]
    pub fn exit(&self) -> ! {
        let _ = std::io::Write::flush(&mut std::io::stdout());
        match self {
            Self::Signal(signal) => crate::exit::of_signal(*signal),
            Self::Requested(_) | Self::Triggered { .. } => crate::exit::well(),
        }
    }
}

impl From<&Cause> for ExitCode {
    /// 128 + n after a signal, as shells report it (143 for SIGTERM); success after any other cause.
    fn from(cause: &Cause) -> Self {
        match cause {
            // Signals have numbers below 128.
            #[cfg(feature = "signals")]
            Cause::Signal(signal) => Self::from(128 + *signal as u8),
            Cause::Requested(_) | Cause::Triggered { .. } => Self::SUCCESS,
        }
    }
}

impl From<Cause> for ExitCode {
    /// As from `&Cause`.
    fn from(cause: Cause) -> Self {
        Self::from(&cause)
    }
}

impl fmt::Display for Cause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            #[cfg(feature = "signals")]
            Self::Signal(signal) => write!(f, "{}", crate::signals::name(*signal)),
            Self::Requested(at) => write!(f, "requested at {}:{}", at.file(), at.line()),
            Self::Triggered { reason, .. } => f.write_str(reason),
        }
    }
}
