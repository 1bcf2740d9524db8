//! [`lock`]: the one way to take the locks of this crate.

use std::sync::{Mutex, MutexGuard, PoisonError};

/// Locks a mutex, also one that is poisoned. Under the locks of this crate only the clone of a waker and a
/// look at the timer could panic. At worst a connection then counts a request too many, and is given up at the
/// end of the grace period.
pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
