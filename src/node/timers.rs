//! The timers of a node, which the background thread keeps.

use std::sync::Arc;
use std::time::Instant;

use crate::node::request::LameDuck;
use crate::node::{Node, Place, Root, STOPPING};
use crate::util::background::WAKERS;

impl Node {
    /// Sets the times of the process, for a shutdown that has begun.
    pub(super) fn begin(self: &Arc<Self>) {
        if let Some(host) = self.host() {
            host.begun(self);
        }
    }

    /// Sets the timers of a shutdown that has begun, which the background thread keeps.
    pub(super) fn begin_timers(self: &Arc<Self>, lame_duck: LameDuck) {
        match self.host() {
            Some(host) => host.follow(self),
            None if self.policy().force_at_deadline && !self.is_child() => {
                if let Some(deadline) = self.deadline() {
                    self.run_at(deadline, |node| {
                        if let Some(follow_up) = node.force_late() {
                            node.follow_up(follow_up);
                        }
                    });
                }
            }
            None => {}
        }
        // Last, because it may call wakers.
        if let Some(end) = lame_duck.0 {
            if !self.run_at(end, |node| node.stop()) {
                // No delay is better than one that never ends.
                self.stop();
            }
        }
    }

    /// Calls `run` on the background thread when the time has come, unless the node is gone by then.
    /// Returns whether that thread could be started.
    pub(super) fn run_at(self: &Arc<Self>, time: Instant, run: fn(&Arc<Self>)) -> bool {
        let node = Arc::downgrade(self);
        let job = move || {
            if let Some(node) = node.upgrade() {
                run(&node);
            }
        };
        WAKERS.run_at(time, self.owner(), Box::new(job)).is_ok()
    }

    /// Returns the number under which the background thread keeps jobs of this node: a root, or a phase.
    pub(crate) fn owner(&self) -> usize {
        // Something on the heap, because a node that ends is moved.
        match &self.place {
            Place::Phase(link) => link.owner(),
            Place::Root(root) => root.owner(),
            Place::Child { .. } | Place::Unlinked => 0,
        }
    }

    /// Ends the lame duck.
    fn stop(&self) {
        let raised = self.raise(STOPPING);
        if !raised.is_empty() {
            self.announce(raised);
        }
    }
}

impl Root {
    fn owner(&self) -> usize {
        std::ptr::from_ref(self).addr()
    }

    /// Forgets the timers of a root, which sets some only with such a policy.
    #[cold]
    pub(super) fn cancel_timers(&self) {
        if self.policy.sets_timers() {
            WAKERS.cancel(self.owner());
        }
    }
}
