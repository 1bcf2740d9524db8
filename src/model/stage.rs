//! [`Stage`]: how far a shutdown has come.

/// How far a shutdown has come. A stage is never left for an earlier one; stages may be skipped.
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
#[non_exhaustive]
pub enum Stage {
    /// No shutdown was requested.
    Running,
    /// A shutdown was requested. Work is still accepted while the
    /// [lame duck](crate::Builder::lame_duck) lasts.
    Requested,
    /// [`Waiter`](crate::Waiter)s are ready: the program is to finish its work.
    Stopping,
    /// The shutdown was forced: work in flight is to be given up.
    Forced,
}
