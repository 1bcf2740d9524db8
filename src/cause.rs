//! Why a shutdown began.

use std::fmt;
use std::panic::Location;
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
    /// The operating system delivered this signal.
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

impl fmt::Display for Cause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            #[cfg(feature = "signals")]
            Self::Signal(signal) => f.write_str(crate::signals::name(*signal)),
            Self::Requested(at) => write!(f, "requested at {}:{}", at.file(), at.line()),
            Self::Triggered { reason, .. } => f.write_str(reason),
        }
    }
}
