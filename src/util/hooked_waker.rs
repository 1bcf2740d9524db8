//! A waker of tests, which notices when code of a waker runs.

use std::task::Waker;

use cooked_waker::{IntoWaker, Wake, WakeRef};

/// Calls a function when it is cloned, woken or dropped.
struct Hooked<F: Fn()>(F);

impl<F: Fn() + Clone> Clone for Hooked<F> {
    fn clone(&self) -> Self {
        (self.0)();
        Self(self.0.clone())
    }
}

impl<F: Fn()> WakeRef for Hooked<F> {
    fn wake_by_ref(&self) {
        (self.0)();
    }
}

impl<F: Fn()> Wake for Hooked<F> {}

impl<F: Fn()> Drop for Hooked<F> {
    fn drop(&mut self) {
        (self.0)();
    }
}

/// Makes a waker that calls `hook` whenever it or a clone is cloned, woken or dropped.
pub(crate) fn hooked(hook: impl Fn() + Clone + Send + Sync + 'static) -> Waker {
    // Not an `Arc`, whose clones call no code of the waker.
    Box::new(Hooked(hook)).into_waker()
}
