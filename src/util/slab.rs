//! What slabs of the crate have in common.

use slab::Slab;

/// Takes the memory out of a slab that held a crowd and is empty now.
///
/// The caller frees it after it has released the lock of the slab.
#[inline]
pub(crate) fn take_unused<T>(slab: &mut Slab<T>) -> Option<Slab<T>> {
    (slab.is_empty() && slab.capacity() > 64).then(|| std::mem::take(slab))
}
