//! [`AncestorCount`]: a count that is kept at every level above.

use std::iter::successors;
use std::sync::Arc;

use crate::util::sync::atomic::{AtomicUsize, Ordering};

/// The guards of one line that the descendants of one node hold, and the same of its ancestors.
pub(crate) struct AncestorCount {
    count: AtomicUsize,
    above: Option<Arc<AncestorCount>>,
}

impl AncestorCount {
    pub(crate) fn new(above: Option<Arc<Self>>) -> Self {
        Self {
            count: AtomicUsize::new(0),
            above,
        }
    }

    /// Counts one guard more at this level, if there is one, and at every level above.
    #[inline]
    pub(crate) fn increment(this: Option<&Self>) {
        for level in Self::and_above(this) {
            // Relaxed: the counter of the node is incremented next, and publishes this (L2).
            level.count.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Counts one guard less at this level, if there is one, and at every level above.
    #[inline]
    pub(crate) fn decrement(this: Option<&Self>) {
        for level in Self::and_above(this) {
            // Relaxed: the count is only shown, and no other data depends on it.
            level.count.fetch_sub(1, Ordering::Relaxed);
        }
    }

    pub(crate) fn get(&self) -> usize {
        // Relaxed: the count is only shown, and no other data depends on it.
        self.count.load(Ordering::Relaxed)
    }

    #[inline]
    fn and_above(this: Option<&Self>) -> impl Iterator<Item = &Self> {
        successors(this, |level| level.above.as_deref())
    }
}

impl Drop for AncestorCount {
    fn drop(&mut self) {
        // A loop, because recursion would be as deep as the tree.
        let mut above = self.above.take();
        while let Some(level) = above {
            above = Arc::into_inner(level).and_then(|mut level| level.above.take());
        }
    }
}
