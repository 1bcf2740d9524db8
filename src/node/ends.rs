//! How a shutdown ends: its cause, its deadline, its failures, and the force at the deadline.

use std::mem;
use std::sync::Arc;
#[cfg(feature = "tracing")]
use std::time::Duration;
use std::time::Instant;

use crate::model::cause::Cause;
use crate::model::failure::{Failure, Outcome};
use crate::model::stage::Stage;
use crate::node::request::FollowUp;
#[cfg(feature = "tracing")]
use crate::node::trace;
use crate::node::{FORCED, Node, STOPPING};
use crate::util::site_table::Origin;
use crate::util::sync::lock;

impl Node {
    /// Returns the cause, which a node that was begun by its parent shares with it.
    pub(crate) fn cause(&self) -> Option<Cause> {
        let mut node = self;
        loop {
            // First: a node that has begun, and then has no cause of its own, never gets one.
            let begun = node.has_reached(Stage::Requested);
            let own = lock(&node.begun)
                .as_ref()
                .and_then(|begun| begun.cause.clone());
            if own.is_some() || !begun {
                return own;
            }
            node = node.parent()?;
        }
    }

    /// Returns when the grace period is over, if there is one and it has begun. It begins with the
    /// first request here or above, whether a phase was asked since, later, by hand or not at all.
    pub(crate) fn deadline(&self) -> Option<Instant> {
        let grace = self.policy().grace_period?;
        self.requested()?.checked_add(grace)
    }

    fn requested(&self) -> Option<Instant> {
        self.and_ancestors()
            .filter_map(|node| lock(&node.begun).as_ref()?.requested)
            .min()
    }

    /// Returns the parent of each phase among this node and its ancestors: its request begins the grace
    /// period, although the phase may not be asked yet.
    pub(crate) fn parents_of_phases(&self) -> impl Iterator<Item = Arc<Self>> {
        let phases = self
            .and_ancestors()
            .filter(|node| node.phase_name().is_some());
        phases.filter_map(|phase| phase.parent().cloned())
    }

    /// Returns how long ago the first request here or above was.
    #[cfg(feature = "tracing")]
    pub(crate) fn elapsed(&self) -> Option<Duration> {
        self.requested().map(|at| at.elapsed())
    }

    /// Begins the shutdown because of a failure, without taking a slot. Records the failure in every
    /// ancestor that has begun, and here if this node had begun before: their end is a failure too.
    pub(crate) fn fail(self: &Arc<Self>, failure: Failure) -> bool {
        // First: an ancestor that has begun may not have told this node yet, and one that has not may
        // be begun by what this node is about to wake.
        let above = self.parent().is_some_and(|parent| parent.record(&failure));
        let began = self.trigger(Cause::Failed(failure.clone()));
        let here = !began && self.record(&failure);
        if above || here || began && !self.is_child() {
            self.trace_failure(&failure);
        }
        began
    }

    /// Emits an event of the whole, last of all, because a subscriber may block.
    fn trace_failure(&self, failure: &Failure) {
        #[cfg(feature = "tracing")]
        trace::failed(failure, self.and_ancestors().last().and_then(Self::elapsed));
        let _ = failure;
    }

    /// Records the panic of a task that held a guard. It is a failure of every shutdown that has begun
    /// and waits for that guard. `release` releases it.
    #[cold]
    pub(super) fn record_panic(&self, origin: Origin, release: impl FnOnce()) {
        let task = origin.name.map(Arc::from);
        let failure = Failure::new(task, Outcome::Panicked, origin.location);
        let recorded = self.record(&failure);
        release();
        if recorded {
            self.trace_failure(&failure);
        }
    }

    /// Records a failure here and in every ancestor, where one has begun and has not failed. Returns
    /// whether that changes the cause of the whole.
    fn record(&self, failure: &Failure) -> bool {
        let mut recorded = false;
        for node in self.and_ancestors() {
            let mut begun = lock(&node.begun);
            match begun.as_mut().and_then(|begun| begun.cause.as_mut()) {
                None | Some(Cause::Failed(_)) => {}
                Some(cause) => {
                    let before = mem::replace(cause, Cause::Failed(failure.clone()));
                    // Not under the lock: the thread that ends the process in time takes it, and a thread that
                    // gives memory back may wait for good.
                    drop(begun);
                    drop(before);
                    recorded |= !node.is_child();
                }
            }
        }
        recorded
    }

    /// Returns whether the grace period is over, and its end forces. A task may be told of the force before its own
    /// timer for the same moment.
    pub(crate) fn is_past_forcing_deadline(&self) -> bool {
        let root = self.and_ancestors().last();
        root.is_some_and(|root| {
            let late = |deadline| Instant::now() >= deadline;
            self.policy().force_at_deadline && root.deadline().is_some_and(late)
        })
    }

    /// Forces the shutdown because its deadline has passed. Takes no memory.
    pub(crate) fn force_late(&self) -> Option<FollowUp> {
        let raised = self.raise(STOPPING | FORCED);
        if !raised.has(Stage::Forced) {
            return None;
        }
        if let Some(host) = self.host() {
            host.forced(self.policy(), None);
        }
        Some(raised.into())
    }
}
