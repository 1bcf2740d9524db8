//! What the handler of a signal reads.

#[cfg(unix)]
use std::sync::atomic::{AtomicBool, Ordering};

/// The next signal that may force ends the process.
#[cfg(unix)]
pub(crate) static ARMED: AtomicBool = AtomicBool::new(false);

/// The handlers are not all registered.
#[cfg(unix)]
pub(crate) static STARTING: AtomicBool = AtomicBool::new(true);

/// No shutdown listens, because none is installed or every handle is gone.
#[cfg(unix)]
pub(crate) static IDLE: AtomicBool = AtomicBool::new(true);

/// Arms the handler: from now on it forces.
pub(crate) fn arm() {
    // SeqCst: as signal-hook accesses it in the handler.
    #[cfg(unix)]
    ARMED.store(true, Ordering::SeqCst);
}
