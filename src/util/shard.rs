//! Shards: parts of a structure, so that threads do not contend for one cache line.

use std::cell::Cell;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicUsize, Ordering};

/// A value two cache lines away from its neighbours, because the hardware prefetches in pairs.
#[repr(align(128))]
pub(crate) struct Padded<T>(pub(crate) T);

/// How many shards there are at most: an announcement visits them all.
pub(crate) const MOST: usize = 8;

/// Returns how many shards to use: a power of two, as many as there are processors, but at most `MOST`.
pub(crate) fn count() -> usize {
    if cfg!(loom) {
        return 2;
    }
    static COUNT: OnceLock<usize> = OnceLock::new();
    *COUNT.get_or_init(|| {
        std::thread::available_parallelism()
            .map_or(1, usize::from)
            .next_power_of_two()
            .min(MOST)
    })
}

/// Returns what the threads with this index have of `shards`, a power of two of them.
#[inline]
pub(crate) fn of_thread<T>(shards: &[T], thread: usize) -> &T {
    &shards[thread & (shards.len() - 1)]
}

/// Returns a small number of this thread, so that each thread keeps to its own shard.
#[inline]
pub(crate) fn thread_index() -> usize {
    #[cfg(not(loom))]
    thread_local!(static INDEX: Cell<usize> = const { Cell::new(usize::MAX) });
    // The threads of a model share one of the system's. loom's macro takes no `const`.
    #[cfg(loom)]
    loom::thread_local!(static INDEX: Cell<usize> = Cell::new(usize::MAX));
    INDEX.with(|index| match index.get() {
        usize::MAX => new_thread_index(index),
        known => known,
    })
}

#[cold]
fn new_thread_index(index: &Cell<usize>) -> usize {
    #[cfg(not(loom))]
    static NEXT: AtomicUsize = AtomicUsize::new(0);
    // Each execution of a model counts from zero again.
    #[cfg(loom)]
    loom::lazy_static!(static ref NEXT: AtomicUsize = AtomicUsize::new(0););
    // Relaxed: the read-modify-write makes the number unique, and no other data depends on it.
    index.set(NEXT.fetch_add(1, Ordering::Relaxed));
    index.get()
}
