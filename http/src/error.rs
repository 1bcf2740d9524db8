//! [`ServeError`]: how a server ended that did not end well.

use std::error::Error;
use std::fmt;
use std::io;
use std::process::ExitCode;

use winddown::DrainError;

/// The error of a [`Server`](crate::Server): at least one of the two.
///
/// Its `Debug` is as readable as its `Display`, because that is what a `main` prints that returns it.
#[non_exhaustive]
pub struct ServeError {
    /// The error of a listener that can't go on; or why connections may be left in its queue at the shutdown,
    /// which the kernel has reset if no other process has the listener.
    pub listener: Option<io::Error>,
    /// Why connections were given up. Its report has all guards of the server's shutdown that were held
    /// then: the connections, the requests of a [`GuardLayer`](crate::GuardLayer), and others. If that
    /// shutdown is a phase, the guards of other parts are in the report of the whole.
    pub drain: Option<DrainError>,
}

impl fmt::Display for ServeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { listener, drain } = self;
        if let Some(error) = listener {
            write!(f, "can't accept connections: {error}")?;
        }
        if listener.is_some() && drain.is_some() {
            f.write_str("; ")?;
        }
        if let Some(error) = drain {
            write!(f, "{error}")?;
        }
        Ok(())
    }
}

impl fmt::Debug for ServeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

// No source: the message has both.
impl Error for ServeError {}

impl From<ServeError> for ExitCode {
    /// Returns failure.
    fn from(_: ServeError) -> Self {
        Self::FAILURE
    }
}
