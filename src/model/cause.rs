//! [`Cause`]: why a shutdown began, or failed.

use std::fmt;
use std::panic::Location;
use std::process::ExitCode;
use std::sync::Arc;

use crate::model::failure::Failure;
use crate::model::signal::Signal;

/// Why a shutdown began: a signal, a request from the program, a reason of its own, or a failure.
///
/// A failure that comes after the shutdown has begun takes the place of the earlier cause, because the
/// end of the program is a failure then.
///
/// Cheap to clone. Its `Display` is meant for people: `SIGTERM`, `requested at src/admin.rs:41`,
/// `task 'mail' failed: connection refused`.
///
/// ```
/// use winddown::{Cause, Shutdown};
///
/// let shutdown = Shutdown::new();
/// shutdown.trigger("an administrator asked");
/// let cause = shutdown.cause().expect("a shutdown that began has a cause");
/// assert_eq!(cause.to_string(), "an administrator asked");
/// assert!(matches!(cause, Cause::Triggered { at, .. } if at.file() == file!()));
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Cause {
    /// The operating system delivered this signal, or [`send`](crate::Shutdown::send) simulated it. On
    /// Windows, a console event that stands for it.
    Signal(Signal),

    /// `request_shutdown` was called on this line.
    Requested(&'static Location<'static>),

    /// [`trigger`](crate::Shutdown::trigger) was called, or a [`DropGuard`](crate::DropGuard) was dropped.
    #[non_exhaustive]
    Triggered {
        /// The reason given.
        reason: Arc<str>,
        /// The line of the call.
        at: &'static Location<'static>,
    },

    /// A task failed, or [`fail`](crate::Shutdown::fail) was called. The exit code is a failure.
    Failed(Failure),
}

impl Cause {
    /// Returns the signal, if it was one.
    pub(crate) fn signal(&self) -> Option<Signal> {
        match self {
            Self::Signal(signal) => Some(*signal),
            Self::Requested(_) | Self::Triggered { .. } | Self::Failed(_) => None,
        }
    }

    /// Returns the failure, for `main` to print or to return; `None` if nothing failed.
    ///
    /// ```
    /// use std::error::Error;
    /// use futures_lite::future;
    /// use winddown::Shutdown;
    ///
    /// let shutdown = Shutdown::new();
    /// let mail = async { Err::<(), _>("connection refused") };
    /// let _ = future::block_on(shutdown.supervise("mail", mail));
    /// let cause = shutdown.cause().unwrap();
    /// let failure = cause.error().unwrap();
    /// assert_eq!(failure.to_string(), "task 'mail' failed: connection refused");
    /// assert_eq!(failure.source().unwrap().to_string(), "connection refused");
    /// ```
    pub fn error(&self) -> Option<&Failure> {
        match self {
            Self::Failed(failure) => Some(failure),
            Self::Signal(_) | Self::Requested(_) | Self::Triggered { .. } => None,
        }
    }
}

impl From<&Cause> for ExitCode {
    /// Returns 128 + n after a signal, as shells report it (143 for SIGTERM), or 255 for a number that no system
    /// has, failure (1) after a failure, and success after any other cause.
    fn from(cause: &Cause) -> Self {
        match cause {
            Cause::Signal(signal) => Self::from(signal.exit_code()),
            Cause::Requested(_) | Cause::Triggered { .. } => Self::SUCCESS,
            Cause::Failed(_) => Self::FAILURE,
        }
    }
}

impl From<Cause> for ExitCode {
    /// Returns the same as from `&Cause`.
    fn from(cause: Cause) -> Self {
        Self::from(&cause)
    }
}

impl fmt::Display for Cause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Signal(signal) => fmt::Display::fmt(signal, f),
            Self::Requested(at) => write!(f, "requested at {}:{}", at.file(), at.line()),
            Self::Triggered { reason, .. } => f.write_str(reason),
            Self::Failed(failure) => fmt::Display::fmt(failure, f),
        }
    }
}
