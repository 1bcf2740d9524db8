//! Joins call sites to nodes: which lines of code hold how many guards.
//!
//! Every line that takes guards has a [`CallSite`], and every guard is a clone of its `Arc`. The
//! strong count, less the one in the table, is the number of guards. So recording the line costs no
//! more than keeping the node alive would. Invariant, cited in the code as L2:
//!
//! - **L2** A guard is counted at its call site before it is counted in the node, and forgotten here
//!   after it was forgotten there. The counter publishes it: its increments are Release, and a thread
//!   that finds a count above zero has read it with Acquire. So that thread finds a call site with a
//!   guard here, or the guard has been dropped since.

use std::panic::Location;
use std::sync::{Arc, OnceLock};

use crate::model::report::Stragglers;
use crate::node::Node;
use crate::util::ancestor_count::AncestorCount;
use crate::util::shard;
use crate::util::site_table::{Origin, SiteTable};

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
    above: Option<Arc<AncestorCount>>,
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

    pub(crate) fn report(&self) -> Stragglers {
        let mut counts = Vec::new();
        if let Some(sites) = self.sites.get() {
            // The reference that the table holds is no guard.
            let count = |origin, site: &_| counts.push((origin, Arc::strong_count(site) - 1));
            sites.table.for_each(count);
        }
        if let Some(below) = self.node.descendants.get() {
            below.for_each(|origin, count| counts.push((origin, count.get())));
        }
        Stragglers::new(counts)
    }

    /// Returns how a drain has ended, or `None` if it goes on.
    pub(crate) fn settled(&self, counting: bool, late: bool) -> Option<Result<(), Stragglers>> {
        // First the counter: a force at the moment when the last guard is dropped changes nothing.
        while !self.node.try_close(counting) {
            if !late && !self.node.is_forced() {
                return None;
            }
            let report = self.report();
            // If there is none, the last guard was dropped in between (L2).
            if report.count() > 0 {
                return Some(Err(report));
            }
        }
        Some(Ok(()))
    }
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
        // because recursion would be as deep as the tree.
        let ancestors: Vec<_> = node.and_ancestors().skip(1).collect();
        let above = ancestors.into_iter().rev().fold(None, |above, ancestor| {
            let counts = ancestor
                .descendants
                .get_or_init(|| Box::new(SiteTable::new()));
            let make = || AncestorCount::new(above);
            Some(counts.find(origin, 0, make).clone())
        });
        Self {
            node: node.clone(),
            thread: shard::thread_index(),
            above,
        }
    }

    #[inline]
    pub(crate) fn take_guard(self: &Arc<Self>) -> Option<Arc<Self>> {
        // At the call site first (L2).
        let site = self.clone();
        AncestorCount::increment(self.above.as_deref());
        if self.node.increment(self.thread) {
            Some(site)
        } else {
            AncestorCount::decrement(self.above.as_deref());
            None
        }
    }

    /// Forgets a guard, but for the clone of the `Arc` that the caller drops next (L2). Returns the
    /// node if its watchers are to be notified after that.
    #[must_use]
    #[inline]
    pub(crate) fn release_guard(&self) -> Option<Arc<Node>> {
        let watched = self.node.decrement(self.thread);
        AncestorCount::decrement(self.above.as_deref());
        watched.then(|| self.node.clone())
    }
}
