//! [`DrainError`]: a drain that ended while guards were held.

use std::error::Error;
use std::fmt;
use std::process::ExitCode;

use crate::model::report::Report;

/// The error of a drain that ended while guards were held.
///
/// ```
/// use std::time::Duration;
/// use winddown::{DrainErrorKind, Shutdown};
///
/// let shutdown = Shutdown::new();
/// let _guard = shutdown.guard_named("mail");
/// let error = shutdown.drain_blocking(Duration::ZERO).unwrap_err();
/// assert_eq!(error.kind, DrainErrorKind::TimedOut);
/// assert_eq!(error.report.guards(), 1);
/// println!("{error}");
/// // timed out; 1 guard is held:
/// //   1 'mail' at src/main.rs:5
/// # assert!(error.to_string().starts_with("timed out; 1 guard is held:\n  1 'mail' at "));
/// ```
///
/// Its `Debug` is as readable, because that is what a `main` prints that returns it.
#[derive(Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct DrainError {
    /// Why the drain ended.
    pub kind: DrainErrorKind,
    /// The guards that are held. Beside them the lines whose guards were dropped by panics, and the phases whose
    /// time limits ran out.
    pub report: Report,
}

/// Why a drain ended while guards were held.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum DrainErrorKind {
    /// Its time was up; or the grace period was over, where its end forces
    /// ([`force_at_deadline`](crate::Builder::force_at_deadline)).
    TimedOut,
    /// The shutdown was forced by a second signal or request, and the drain has seen it before the grace period
    /// was over.
    Forced,
}

impl fmt::Display for DrainErrorKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::TimedOut => "timed out",
            Self::Forced => "forced",
        })
    }
}

impl fmt::Display for DrainError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}; {}", self.kind, self.report)
    }
}

impl fmt::Debug for DrainError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl Error for DrainError {}

impl From<DrainError> for ExitCode {
    /// Returns failure: not all work was done.
    fn from(_: DrainError) -> Self {
        Self::FAILURE
    }
}
