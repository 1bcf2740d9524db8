//! [`AncestorCount`]: a count that is kept at every level above.

use std::iter::successors;
use std::sync::Arc;

use crate::util::site_table::Origin;
use crate::util::sync::atomic::{AtomicUsize, Ordering};

/// The guards of one line that the descendants of one node hold, and the same of its ancestors.
pub(crate) struct AncestorCount<L> {
    guards: AtomicUsize,
    /// The guards that were released by a panic.
    panicked: AtomicUsize,
    origin: Origin,
    label: L,
    above: Option<Arc<AncestorCount<L>>>,
}

impl<L> AncestorCount<L> {
    pub(crate) fn new(origin: Origin, label: L, above: Option<Arc<Self>>) -> Self {
        Self {
            guards: AtomicUsize::new(0),
            panicked: AtomicUsize::new(0),
            origin,
            label,
            above,
        }
    }

    /// Counts one guard more at this level and at every level above.
    #[inline]
    pub(crate) fn increment(&self) {
        for level in self.and_above() {
            // Relaxed: the count is only shown, and no other data depends on it (L2).
            level.guards.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Counts one guard less at this level and at every level above.
    #[inline]
    pub(crate) fn decrement(&self) {
        for level in self.and_above() {
            // Relaxed: the count is only shown, and no other data depends on it.
            level.guards.fetch_sub(1, Ordering::Relaxed);
        }
    }

    /// Counts a panic at this level and at every level above.
    #[cold]
    pub(crate) fn increment_panicked(&self) {
        for level in self.and_above() {
            // Relaxed: the count is only shown; a drain that ends sees it, because
            // `TaskCounter::subtract`, a Release, comes after it for this guard.
            level.panicked.fetch_add(1, Ordering::Relaxed);
        }
    }

    #[inline]
    pub(crate) fn origin(&self) -> Origin {
        self.origin
    }

    pub(crate) fn label(&self) -> &L {
        &self.label
    }

    pub(crate) fn guards(&self) -> usize {
        // Relaxed: as in `increment`.
        self.guards.load(Ordering::Relaxed)
    }

    pub(crate) fn panicked(&self) -> usize {
        // Relaxed: as in `increment_panicked`.
        self.panicked.load(Ordering::Relaxed)
    }

    #[inline]
    fn and_above(&self) -> impl Iterator<Item = &Self> {
        successors(Some(self), |level| level.above.as_deref())
    }
}

impl<L> Drop for AncestorCount<L> {
    fn drop(&mut self) {
        // A loop, because recursion would be as deep as the tree.
        let mut above = self.above.take();
        while let Some(level) = above {
            above = Arc::into_inner(level).and_then(|mut level| level.above.take());
        }
    }
}
