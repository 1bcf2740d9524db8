//! [`InstallError`].

use std::error::Error;
use std::fmt;
use std::io;

use crate::model::signal::Signal;

/// Why [`Shutdown::install`](crate::Shutdown::install) failed. Each signal does what it did before. But for
/// `AlreadyInstalled` and `Forked`, another attempt may succeed.
///
/// Its `Debug` is its `Display` and the error of the system, so that a `main` that returns it prints that.
#[non_exhaustive]
pub enum InstallError {
    /// A shutdown was installed before; there can be one in a process. Clone its handle instead.
    AlreadyInstalled,
    /// A shutdown was installed before this process was forked. Its handlers are here, and the thread
    /// that reads their signals is not. Fork first, and install then.
    Forked,
    /// The set of signals is empty.
    NoSignals,
    /// This signal cannot request a shutdown: the system lets no program handle it, it reports a fault of
    /// the program, it does not end a program by default, or it is not among those that
    /// [`signals`](crate::Builder::signals) lists.
    Unusable(Signal),
    /// [`force_at_deadline`](crate::Builder::force_at_deadline) is set, and no
    /// [`grace_period`](crate::Builder::grace_period).
    NoGracePeriod,
    /// The operating system refused to register the signals.
    Register(io::Error),
    /// The operating system refused to start a thread that the shutdown needs.
    Thread(io::Error),
}

impl fmt::Display for InstallError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::AlreadyInstalled => f.write_str(
                "a shutdown is installed in this process already; clone its handle instead",
            ),
            Self::Forked => f.write_str(
                "a shutdown was installed before this process was forked; fork first, then install",
            ),
            Self::NoSignals => f.write_str(
                "no signals given; pass at least one, or use Shutdown::new() to handle none",
            ),
            Self::Unusable(signal) => write!(
                f,
                "{signal} can't be used to request a shutdown; use SIGTERM, or another of \
                 those that Builder::signals lists"
            ),
            Self::NoGracePeriod => {
                f.write_str("force_at_deadline without a deadline; set a grace_period too")
            }
            Self::Register(_) => f.write_str("can't register the signal handlers"),
            Self::Thread(_) => f.write_str("can't start a thread for the shutdown"),
        }
    }
}

impl fmt::Debug for InstallError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)?;
        match self.source() {
            Some(error) => write!(f, ": {error}"),
            None => Ok(()),
        }
    }
}

impl Error for InstallError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        match self {
            Self::Register(error) | Self::Thread(error) => Some(error),
            _ => None,
        }
    }
}
