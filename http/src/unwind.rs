//! [`poll`]: a poll whose panic is recorded by the guards that it releases.

use std::mem;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;

/// Polls what is inside. If that panics, drops it and then calls `release`, while the thread still panics:
/// a guard that is dropped then records the panic. Some executors, such as smol's, catch the panic first, and
/// drop the task when it is over.
///
/// Returns `None` if it was dropped before.
#[inline]
pub(crate) fn poll<T, P>(
    inner: Pin<&mut Option<T>>,
    poll: impl FnOnce(Pin<&mut T>) -> P,
    release: impl FnMut(),
) -> Option<P> {
    let mut unwinding = Unwinding { inner, release };
    let polled = unwinding.inner.as_mut().as_pin_mut().map(poll);
    // It has only references. Not a look at whether the thread panics, which may have begun before.
    mem::forget(unwinding);
    polled
}

/// Dropped by a panic alone.
struct Unwinding<'a, T, R: FnMut()> {
    inner: Pin<&'a mut Option<T>>,
    release: R,
}

impl<T, R: FnMut()> Drop for Unwinding<'_, T, R> {
    #[cold]
    fn drop(&mut self) {
        // First, because it may hold a clone of the guard, and own what has something left to write.
        // Caught, because a panic that leaves this drop would end the process. Its payload may panic as well.
        let drops = AssertUnwindSafe(|| self.inner.set(None));
        if let Err(payload) = catch_unwind(drops) {
            mem::forget(payload);
        }
        (self.release)();
    }
}
