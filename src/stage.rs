//! How far a shutdown has come.

/// How far a shutdown has come. Stages only go up, and may be skipped.
///
/// ```
/// use winddown::{Shutdown, Stage};
///
/// let shutdown = Shutdown::new();
/// assert_eq!(shutdown.stage(), Stage::Running);
/// shutdown.request_shutdown();
/// assert_eq!(shutdown.stage(), Stage::Stopping);
/// shutdown.request_shutdown();
/// assert_eq!(shutdown.stage(), Stage::Forced);
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Stage {
    /// Nobody has asked.
    Running,
    /// Somebody has asked.
    Requested,
    /// [`Waiter`](crate::Waiter)s are ready: everybody is to finish.
    Stopping,
    /// Somebody has asked again: everybody is to give up.
    Forced,
}
