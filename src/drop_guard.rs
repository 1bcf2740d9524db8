//! [`DropGuard`]: begins the shutdown when it is dropped.

use std::fmt;
use std::panic::Location;
use std::sync::Arc;
use std::thread;

use crate::model::cause::Cause;
use crate::model::failure::{Failure, Outcome};
use crate::node::Node;

/// Begins the shutdown when it is dropped, unless it is disarmed. Made by
/// [`Shutdown::drop_guard`](crate::Shutdown::drop_guard).
///
/// Dropped while its thread panics, it is a [failure](crate::Cause::Failed); otherwise it begins the
/// shutdown as [`trigger`](crate::Shutdown::trigger) does.
///
/// # Blocking
///
/// Its drop calls wakers and callbacks, as [`request_shutdown`](crate::Shutdown::request_shutdown) does.
#[must_use = "dropped at once, it begins the shutdown at once"]
pub struct DropGuard {
    node: Option<Arc<Node>>,
    location: &'static Location<'static>,
}

impl DropGuard {
    pub(crate) fn new(node: Arc<Node>, location: &'static Location<'static>) -> Self {
        let node = Some(node);
        Self { node, location }
    }

    /// Drops the guard without beginning the shutdown.
    ///
    /// ```
    /// use winddown::Shutdown;
    ///
    /// fn migrate(shutdown: &Shutdown, works: bool) -> Option<()> {
    ///     let guard = shutdown.drop_guard();
    ///     works.then_some(())?; // or the shutdown begins
    ///     guard.disarm();
    ///     Some(())
    /// }
    ///
    /// let shutdown = Shutdown::new();
    /// migrate(&shutdown, true);
    /// assert!(!shutdown.is_requested());
    /// migrate(&shutdown, false);
    /// assert!(shutdown.is_requested());
    /// ```
    pub fn disarm(mut self) {
        self.node = None;
    }
}

impl Drop for DropGuard {
    fn drop(&mut self) {
        let Some(node) = self.node.take() else { return };
        let at = self.location;
        if thread::panicking() {
            node.fail(Failure::new(None, Outcome::Panicked, at));
        } else {
            let reason = format!("drop guard of {}:{} dropped", at.file(), at.line()).into();
            node.trigger(Cause::Triggered { reason, at });
        }
    }
}

impl fmt::Debug for DropGuard {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("DropGuard").finish_non_exhaustive()
    }
}
