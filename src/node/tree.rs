//! The tree of parents and children.

use std::iter::successors;
use std::mem;
use std::sync::Arc;

use crate::node::{Node, Place};
use crate::util::slab::take_unused;
use crate::util::sync::atomic::{Ordering, fence};
use crate::util::sync::lock;
use crate::util::task_counter::TaskCounter;
use crate::util::waker_queue::WakerQueue;

impl Node {
    pub(crate) fn child(parent: &Arc<Self>) -> Arc<Self> {
        // One shard: a child is made for a connection or a job, and few tasks wait for it.
        let place = |parent, key| Place::Child { parent, key };
        let child = Self::child_at(parent, WakerQueue::new, place);
        // SeqCst: pairs with the fence in `publish` (S6).
        fence(Ordering::SeqCst);
        child.inherit(); // S5
        child
    }

    /// Makes a child, and enters it in the list of its parent.
    #[inline(always)]
    pub(super) fn child_at(
        parent: &Arc<Self>,
        stopping: impl FnOnce() -> WakerQueue,
        place: impl FnOnce(Arc<Self>, usize) -> Place,
    ) -> Arc<Self> {
        let extra = parent.extra();
        let mut children = lock(&extra.children);
        let entry = children.vacant_entry();
        let mut weak = None;
        // Cyclic only because that builds the node in place, and has a `Weak` at hand: a third faster. What goes
        // into it is made in place too.
        let child = Arc::new_cyclic(|this| {
            weak = Some(this.clone());
            let place = place(parent.clone(), entry.key());
            Self::with(place, stopping(), TaskCounter::new())
        });
        if extra.requested.is_some() {
            child.separate_requested();
        }
        entry.insert(weak.expect("the closure has run"));
        child
    }

    #[inline]
    pub(super) fn parent(&self) -> Option<&Arc<Self>> {
        match &self.place {
            Place::Root(_) | Place::Unlinked => None,
            Place::Child { parent, .. } => Some(parent),
            Place::Phase(link) => Some(&link.parent),
        }
    }

    #[inline]
    pub(crate) fn is_child(&self) -> bool {
        matches!(self.place, Place::Child { .. } | Place::Phase(_))
    }

    /// Iterates over this node, its parent, and so on to the root.
    #[inline]
    pub(super) fn and_ancestors(&self) -> impl Iterator<Item = &Self> {
        successors(Some(self), |node| node.parent().map(|parent| &**parent))
    }

    pub(super) fn children(&self) -> Vec<Arc<Self>> {
        let Some(extra) = self.extra.get() else {
            return Vec::new();
        };
        let children = lock(&extra.children);
        children
            .iter()
            .filter_map(|(_, child)| child.upgrade())
            .collect()
    }

    /// Iterates over the descendants, parents before children. What `visit` does with a node happens
    /// before its children are listed (S5).
    pub(super) fn visit_descendants(&self, mut visit: impl FnMut(&Self)) -> Vec<Arc<Self>> {
        // A loop, because recursion would be as deep as the tree.
        let mut below = self.children();
        let mut next = 0;
        while let Some(child) = below.get(next) {
            visit(child);
            let further = child.children();
            below.extend(further);
            next += 1;
        }
        below
    }

    /// Takes the link to the parent, and the node out of the parent's lists. Returns the parent.
    fn unlink(&mut self) -> Option<Arc<Self>> {
        match mem::replace(&mut self.place, Place::Unlinked) {
            Place::Child { parent, key } => {
                parent.remove_child(key);
                Some(parent)
            }
            Place::Phase(link) => {
                link.parent.remove_child(link.child);
                link.parent.remove_phase(&link);
                Some(link.parent)
            }
            Place::Root(root) => {
                root.cancel_timers();
                None
            }
            Place::Unlinked => None,
        }
    }

    #[inline]
    fn remove_child(&self, key: usize) {
        let mut children = lock(&self.extra().children);
        children.remove(key);
        let unused = take_unused(&mut children);
        drop(children);
        drop(unused);
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        // A loop, because recursion would be as deep as the tree.
        let mut above = self.unlink();
        while let Some(parent) = above {
            above = Arc::into_inner(parent).and_then(|mut parent| parent.unlink());
        }
    }
}
