//! Panics of foreign code.

use std::mem;
use std::panic::{self, AssertUnwindSafe};

/// Runs foreign code. The panic hook has reported a panic by then, and the caller goes on.
pub(crate) fn catch(foreign: impl FnOnce()) {
    if let Err(payload) = panic::catch_unwind(AssertUnwindSafe(foreign)) {
        // The payload may panic when it is dropped. The payload of that panic is leaked, because
        // there would be no end to it.
        if let Err(another) = panic::catch_unwind(AssertUnwindSafe(|| drop(payload))) {
            mem::forget(another);
        }
    }
}
