//! [`Line`]: a line of code that takes guards of a child. It knows no node.

use std::sync::Arc;

use crate::model::report::Tally;
use crate::util::ancestor_count::AncestorCount;
use crate::util::site_table::Origin;
use crate::util::sync::atomic::{AtomicUsize, Ordering};

/// A line of code that takes guards of a child.
pub(crate) struct Line {
    guards: AtomicUsize,
    /// The guards that were released by a panic.
    panicked: AtomicUsize,
    /// The count of the same line in the parent.
    above: Arc<LineAbove>,
}

/// The guards of one line that descendants hold, and the innermost phase below that they belong to.
pub(crate) type LineAbove = AncestorCount<Option<&'static str>>;

impl Line {
    pub(crate) fn new(above: Arc<LineAbove>) -> Self {
        Self {
            guards: AtomicUsize::new(0),
            panicked: AtomicUsize::new(0),
            above,
        }
    }

    #[inline]
    pub(crate) fn origin(&self) -> Origin {
        self.above.origin()
    }

    #[inline]
    pub(crate) fn increment(&self) {
        // Relaxed: as in `AncestorCount::increment`.
        self.guards.fetch_add(1, Ordering::Relaxed);
        self.above.increment();
    }

    #[inline]
    pub(crate) fn decrement(&self) {
        // Relaxed: as in `AncestorCount::decrement`.
        self.guards.fetch_sub(1, Ordering::Relaxed);
        self.above.decrement();
    }

    pub(crate) fn record_panic(&self) -> Origin {
        // Relaxed: as in `AncestorCount::increment_panicked`.
        self.panicked.fetch_add(1, Ordering::Relaxed);
        self.above.increment_panicked();
        self.origin()
    }

    pub(crate) fn tally(&self) -> Tally {
        Tally {
            // Relaxed: as in `increment` and `record_panic`.
            guards: self.guards.load(Ordering::Relaxed),
            panicked: self.panicked.load(Ordering::Relaxed),
        }
    }
}
