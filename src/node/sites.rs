//! Joins call sites to nodes: which lines of code hold how many guards.
//!
//! Every line that takes guards has a [`CallSite`], and every guard is a clone of its `Arc`. The
//! strong count, less the one in the table, is the number of guards. So recording the line costs no
//! more than keeping the node alive would. Invariant, cited in the code as L2:
//!
//! - **L2** A guard is named at its call site only after the node and its ancestors have counted it, and
//!   is named until it was counted no more. So a report names no guard that was refused. A drain that
//!   is late may find a count without a name, while another thread is between the two; it looks again,
//!   until it finds a name or no count. No ordering is needed for that.

use std::panic::Location;
use std::sync::{Arc, OnceLock};

use crate::model::drain_error::{DrainError, DrainErrorKind};
use crate::model::report::{Report, Tally};
use crate::node::Node;
use crate::util::ancestor_count::AncestorCount;
use crate::util::shard;
use crate::util::site_table::{Origin, SiteTable};
use crate::util::sync::atomic::{AtomicUsize, Ordering};
use crate::util::sync::yield_now;
use crate::util::task_counter::TryClose;

/// What every handle to a shutdown holds.
pub(crate) struct Shared {
    pub(crate) node: Arc<Node>,
    /// Not in the node, because a call site holds the node. Made by the first guard or the first
    /// clone, whichever comes first: so all clones share one, and a child that needs none costs less.
    sites: OnceLock<Arc<Sites>>,
}

struct Sites {
    table: SiteTable<CallSite>,
    /// One less than the number of shards, a power of two.
    shard_mask: usize,
}

/// A line of code that takes guards of one node, and one shard of the threads that do so.
///
/// It has a cache line of its own, because the strong count in front of it changes with every guard.
#[repr(align(64))]
pub(crate) struct CallSite {
    node: Arc<Node>,
    /// The index of the thread that made it, which says in which shard the node counts the guards.
    thread: usize,
    /// The count of the same line in the parent.
    above: Option<Arc<AncestorCount<Option<&'static str>>>>,
    origin: Origin,
    /// The guards that were dropped while their thread panicked.
    panicked: AtomicUsize,
}

impl Shared {
    pub(crate) fn new(node: Arc<Node>) -> Self {
        Self {
            node,
            sites: OnceLock::new(),
        }
    }

    #[inline]
    fn sites(&self) -> &Arc<Sites> {
        self.sites.get_or_init(|| {
            Arc::new(Sites {
                table: SiteTable::new(),
                // Few threads share a child.
                shard_mask: match self.node.is_child() {
                    true => 0,
                    false => shard::count() - 1,
                },
            })
        })
    }

    /// Takes a guard at this origin: returns its call site, in which it is counted.
    #[inline]
    pub(crate) fn take_guard(&self, origin: Origin) -> Option<Arc<CallSite>> {
        let sites = self.sites();
        let shard = shard::thread_index() & sites.shard_mask;
        let Origin { location, name } = origin;
        let site = match sites.table.first(origin, shard) {
            Some(site) => site,
            None => self.site(location, name, shard),
        };
        site.take_guard()
    }

    /// Takes the parts of an origin, so that these stay in registers when it is not called.
    #[cold]
    fn site(
        &self,
        location: &'static Location<'static>,
        name: Option<&'static str>,
        shard: usize,
    ) -> &Arc<CallSite> {
        let origin = Origin { location, name };
        let make = || CallSite::new(&self.node, origin);
        self.sites().table.find(origin, shard, make)
    }

    pub(crate) fn report(&self) -> Report {
        let mut counts = Vec::new();
        if let Some(sites) = self.sites.get() {
            let count = |origin, site: &Arc<CallSite>| counts.push((None, origin, site.tally()));
            sites.table.for_each(count);
        }
        if let Some(below) = self.node.below.get() {
            below.counts.for_each(|origin, count| {
                let (guards, panicked) = (count.guards(), count.panicked());
                counts.push((*count.label(), origin, Tally { guards, panicked }));
            });
        }
        Report::new(counts, &self.node.late_phases())
    }

    /// Returns how a drain has ended, or `None` if it goes on. `leave` takes the drain out of the
    /// watchers, so that it does not wake itself.
    pub(crate) fn settled(
        &self,
        counting: bool,
        late: bool,
        leave: impl FnOnce(),
    ) -> Option<Result<(), DrainError>> {
        loop {
            // First the counter: a force when the last guard is dropped changes nothing.
            match self.node.try_close(counting) {
                TryClose::Busy => {}
                TryClose::WasClosed => {
                    leave();
                    return Some(Ok(()));
                }
                TryClose::Closed => {
                    leave();
                    self.node.notify_closed();
                    return Some(Ok(()));
                }
            }
            let kind = match (self.node.is_forced(), late) {
                (true, _) => DrainErrorKind::Forced,
                (false, true) => DrainErrorKind::TimedOut,
                (false, false) => return None,
            };
            let report = self.report();
            if report.guards() > 0 {
                leave();
                return Some(Err(DrainError { kind, report }));
            }
            yield_now(); // to the thread that takes or releases a guard (L2)
        }
    }

    /// Reports how a drain has ended.
    #[cfg(feature = "tracing")]
    pub(crate) fn trace_drained(&self, result: &Result<(), DrainError>) {
        crate::node::trace::drained(result, self.report().panicked(), self.node.elapsed());
    }

    /// Does nothing without the feature `tracing`.
    #[cfg(not(feature = "tracing"))]
    pub(crate) fn trace_drained(&self, _: &Result<(), DrainError>) {}
}

impl Clone for Shared {
    fn clone(&self) -> Self {
        Self {
            node: self.node.clone(),
            sites: self.sites().clone().into(),
        }
    }
}

impl CallSite {
    fn new(node: &Arc<Node>, origin: Origin) -> Self {
        // From the highest ancestor down, because each count holds the next one up; and by a loop,
        // because recursion would be as deep as the tree. With each ancestor, the innermost phase below.
        let mut phase = None;
        let mut ancestors = Vec::new();
        for (below, ancestor) in node.and_ancestors().zip(node.and_ancestors().skip(1)) {
            phase = phase.or(below.phase_name());
            ancestors.push((ancestor, phase));
        }
        let above = ancestors
            .into_iter()
            .rev()
            .fold(None, |above, (ancestor, phase)| {
                // The name stands in for the shard, so that equal lines of two phases have two counts.
                let shard = phase.map_or(0, |phase| phase.as_ptr().addr());
                let make = || AncestorCount::new(phase, above);
                Some(ancestor.below().counts.find(origin, shard, make).clone())
            });
        Self {
            node: node.clone(),
            thread: shard::thread_index(),
            above,
            origin,
            panicked: AtomicUsize::new(0),
        }
    }

    pub(crate) fn node(&self) -> &Arc<Node> {
        &self.node
    }

    /// Returns the count of this site, which `this` is one reference to: the one in the table.
    fn tally(self: &Arc<Self>) -> Tally {
        Tally {
            // The reference that the table holds is no guard.
            guards: Arc::strong_count(self) - 1,
            // Relaxed: as in `AncestorCount::increment_panicked`.
            panicked: self.panicked.load(Ordering::Relaxed),
        }
    }

    #[inline]
    pub(crate) fn take_guard(self: &Arc<Self>) -> Option<Arc<Self>> {
        if !self.node.increment(self.thread) {
            return None;
        }
        // L2
        AncestorCount::increment(self.above.as_deref());
        Some(self.clone())
    }

    /// Forgets a guard, but for the clone of the `Arc` that the caller drops next (L2). Returns the
    /// node if its watchers are to be notified after that.
    #[must_use]
    #[inline]
    pub(crate) fn release_guard(&self) -> Option<Arc<Node>> {
        if std::thread::panicking() {
            self.record_panic();
        }
        let watched = self.node.decrement(self.thread);
        AncestorCount::decrement(self.above.as_deref());
        watched.then(|| self.node.clone())
    }

    /// Records that the holder of a guard has panicked, before the guard is released.
    #[cold]
    pub(crate) fn record_panic(&self) {
        // Relaxed: as in `AncestorCount::increment_panicked`.
        self.panicked.fetch_add(1, Ordering::Relaxed);
        AncestorCount::increment_panicked(self.above.as_deref());
        self.node
            .record_panic(self.origin.name, self.origin.location);
    }
}
