//! [`InstallError`].

use std::error::Error;
use std::fmt;
use std::io;

use async_signal::Signal;

use crate::model::signal::name;

/// Why [`Shutdown::install`](crate::Shutdown::install) failed. Nothing is left registered; unless a
/// shutdown is installed already, another attempt may succeed.
#[derive(Debug)]
#[non_exhaustive]
pub enum InstallError {
    /// A shutdown was installed before; there can be one in a process. Clone its handle instead.
    AlreadyInstalled,
    /// The set of signals is empty.
    NoSignals,
    /// This signal cannot request a shutdown: it can't be caught on this system, or it reports a fault
    /// of the program.
    Unusable(Signal),
    /// The operating system refused to register the signals.
    Register(io::Error),
    /// The operating system refused to start the thread that reads the signals.
    Thread(io::Error),
}

impl fmt::Display for InstallError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::AlreadyInstalled => f.write_str(
                "a shutdown is installed in this process already; clone its handle instead",
            ),
            Self::NoSignals => f.write_str(
                "no signals given; pass at least one, or use Shutdown::new() to handle none",
            ),
            Self::Unusable(signal) => write!(
                f,
                "{} can't be used to request a shutdown on this system",
                name(*signal)
            ),
            Self::Register(error) => write!(f, "can't register the signal handlers: {error}"),
            Self::Thread(error) => write!(f, "can't start the thread that reads signals: {error}"),
        }
    }
}

impl Error for InstallError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        match self {
            Self::Register(error) | Self::Thread(error) => Some(error),
            Self::AlreadyInstalled | Self::NoSignals | Self::Unusable(_) => None,
        }
    }
}
