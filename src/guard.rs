//! [`Guard`]: work in flight.

use std::fmt;

use crate::node::sites::CallSite;
use crate::waiter::Waiter;

/// Work in flight: a [drain](crate::Shutdown::drain) waits until it is dropped.
///
/// Taken by [`Shutdown::guard`](crate::Shutdown::guard), which records the line of the call. A clone
/// is one more guard of the same line. A guard is released when it is dropped, also while its thread
/// panics: then it is counted apart in the [report](crate::Report), and once the shutdown was requested
/// it is a [failure](crate::Cause::Failed). The thread that drops the last one calls the wakers of the
/// drains that wait. So may a thread that drops the last one of its group of threads, while other groups hold
/// guards: a drain then checks the count and waits on.
///
/// `let _ = shutdown.guard();` drops the guard at once; `let _guard = ..` holds it.
///
/// # Blocking
///
/// Where a drain waits, or a phase comes after that of the guard, the drop calls wakers and callbacks: it
/// takes as long as they do.
///
/// ```
/// use std::time::Duration;
/// use winddown::Shutdown;
///
/// let shutdown = Shutdown::new();
/// let guard = shutdown.guard().expect("nothing was drained yet");
/// let late = shutdown.drain_blocking(Duration::ZERO).unwrap_err();
/// assert_eq!(late.report.guards(), 1);
/// drop(guard);
/// assert_eq!(shutdown.drain_blocking(Duration::ZERO), Ok(()));
/// assert!(shutdown.guard().is_none());
/// ```
#[must_use = "the work is in flight only as long as the guard is held"]
pub struct Guard {
    site: CallSite,
}

impl Guard {
    #[inline]
    pub(crate) fn new(site: CallSite) -> Self {
        Self { site }
    }

    /// Releases this guard, whose work has panicked in a thread that goes on.
    pub(crate) fn release_panicked(&mut self) {
        self.site.release_panicked();
    }

    /// Returns a waiter of the shutdown that this guard was taken from: for a job that was handed its
    /// guard and nothing else.
    ///
    /// ```
    /// use winddown::Shutdown;
    ///
    /// let shutdown = Shutdown::new();
    /// let guard = shutdown.guard().expect("nothing was drained yet");
    /// let job = std::thread::spawn(move || {
    ///     guard.waiter().wait_blocking();
    ///     drop(guard);
    /// });
    /// shutdown.request_shutdown();
    /// job.join().unwrap();
    /// ```
    pub fn waiter(&self) -> Waiter {
        Waiter::new(self.site.node().clone())
    }
}

impl Clone for Guard {
    /// Takes one more guard, of the line that this one was taken on.
    ///
    /// # Panics
    ///
    /// At the limit of the counter, `usize::MAX / 16` guards, which takes as many guards forgotten.
    fn clone(&self) -> Self {
        let site = self.site.take_guard();
        Self::new(site.expect("a guard is held, so only the limit can refuse another"))
    }
}

impl Drop for Guard {
    #[inline]
    fn drop(&mut self) {
        self.site.release_guard();
    }
}

impl fmt::Debug for Guard {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Guard").finish_non_exhaustive()
    }
}
