//! [`Cause`]: why a shutdown began.

use std::fmt;
use std::panic::Location;
use std::process::ExitCode;
use std::sync::Arc;

#[cfg(feature = "signals")]
use async_signal::Signal;

#[cfg(feature = "signals")]
use crate::model::signal;

/// Why a shutdown began: a signal, a request from the program, or a reason of its own.
///
/// Cheap to clone. Its `Display` is meant for people: `SIGTERM`, `requested at
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
    /// Returns whether the operating system sent it, and not the program.
    pub(crate) fn is_signal(&self) -> bool {
        match self {
            #[cfg(feature = "signals")]
            Self::Signal(_) => true,
            Self::Requested(_) | Self::Triggered { .. } => false,
        }
    }
}

impl From<&Cause> for ExitCode {
    /// Returns 128 + n after a signal, as shells report it (143 for SIGTERM), and success after any
    /// other cause.
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
            Self::Signal(signal) => write!(f, "{}", signal::name(*signal)),
            Self::Requested(at) => write!(f, "requested at {}:{}", at.file(), at.line()),
            Self::Triggered { reason, .. } => f.write_str(reason),
        }
    }
}
