//! [`Reached`] and [`WholeRequested`]: futures of stages.

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Instant;

use crate::model::stage::Stage;
use crate::node::Node;
use crate::util::waker_queue::Slot;

/// A future that is ready once a shutdown has reached a [`Stage`]. Made by
/// [`Shutdown::requested`](crate::Shutdown::requested) and
/// [`Shutdown::forced`](crate::Shutdown::forced).
///
/// It is fused, as a [`Waiter`](crate::Waiter) is.
///
/// # Cancel safety
///
/// Dropping it loses nothing: stages are never left again.
#[must_use = "futures do nothing unless polled"]
pub struct Reached {
    node: Arc<Node>,
    stage: Stage,
    slot: Slot,
}

impl Reached {
    pub(crate) fn new(node: Arc<Node>, stage: Stage) -> Self {
        Self {
            node,
            stage,
            slot: Slot::vacant(),
        }
    }
}

impl Future for Reached {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let Self { node, stage, slot } = &mut *self;
        node.poll(*stage, slot, cx)
    }
}

impl Clone for Reached {
    /// Makes a future for the same stage, which takes no place in the registry of wakers yet.
    fn clone(&self) -> Self {
        Self::new(self.node.clone(), self.stage)
    }
}

impl Drop for Reached {
    fn drop(&mut self) {
        self.node.forget(self.stage, &mut self.slot);
    }
}

impl fmt::Debug for Reached {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Reached")
            .field("stage", &self.stage)
            .finish_non_exhaustive()
    }
}

/// A future that is ready once a shutdown was requested, or one above it. Made by
/// [`Shutdown::whole_requested`](crate::Shutdown::whole_requested).
///
/// It is fused, as a [`Waiter`](crate::Waiter) is.
///
/// # Cancel safety
///
/// Dropping it loses nothing: a request stays.
#[must_use = "futures do nothing unless polled"]
pub struct WholeRequested {
    requested: Reached,
    /// The same of the parent of each phase among this node and its ancestors, because a phase is asked
    /// later than its parent.
    above: Vec<Reached>,
}

impl WholeRequested {
    pub(crate) fn new(node: Arc<Node>) -> Self {
        let requested = |node| Reached::new(node, Stage::Requested);
        Self {
            above: node.parents_of_phases().map(requested).collect(),
            requested: requested(node),
        }
    }

    /// Returns when the grace period of the shutdown is over.
    pub(crate) fn deadline(&self) -> Option<Instant> {
        self.requested.node.deadline()
    }
}

impl Future for WholeRequested {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let Self { requested, above } = &mut *self;
        let mut poll = Pin::new(requested).poll(cx);
        for above in above {
            // Each, so that each wakes the task.
            if Pin::new(above).poll(cx).is_ready() {
                poll = Poll::Ready(());
            }
        }
        poll
    }
}

impl Clone for WholeRequested {
    /// Makes a future for the same request, which takes no place in the registry of wakers yet.
    fn clone(&self) -> Self {
        Self::new(self.requested.node.clone())
    }
}

impl fmt::Debug for WholeRequested {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("WholeRequested")
            .field("requested", &self.requested.node.is_whole_requested())
            .finish()
    }
}
