//! [`Order`]: which phases of a node wait for which. It knows no node.

use std::mem;
use std::sync::{Arc, Weak};
use std::time::Duration;

use slab::Slab;

/// What a phase knows of its place in the order.
pub(crate) struct PhaseLink<N> {
    pub(crate) parent: Arc<N>,
    pub(crate) name: &'static str,
    /// The index in the parent's list of children.
    pub(crate) child: usize,
    /// The index in the parent's order.
    pub(crate) key: usize,
    /// Whether it may set timers.
    pub(crate) timed: bool,
}

impl<N> PhaseLink<N> {
    /// Returns the number under which the background thread keeps jobs of the phase.
    pub(crate) fn owner(&self) -> usize {
        std::ptr::from_ref(self).addr()
    }
}

/// The phases of one node.
pub(crate) struct Order<N> {
    pub(crate) phases: Slab<Entry<N>>,
    /// The names of descendants whose time limit has run out, each once.
    pub(crate) late: Vec<&'static str>,
}

pub(crate) struct Entry<N> {
    pub(crate) node: Weak<N>,
    #[cfg(all(unix, feature = "systemd"))]
    pub(crate) name: &'static str,
    pub(crate) delay: Duration,
    pub(crate) time_limit: Option<Duration>,
    pub(crate) by_hand: bool,
    pub(crate) step: Step,
    /// The phases that are to be over first, as long as they are not; sorted, backwards.
    pub(crate) after: Vec<usize>,
    /// The phases that wait for this one.
    pub(crate) before: Vec<usize>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Step {
    /// For the parent, for other phases, or for the program.
    Waiting,
    /// A timer is running.
    Delayed,
    Asked,
    Over,
}

/// The phases that were asked under the lock of an order. Their wakers are called without it.
#[must_use]
pub(crate) struct Asked<N> {
    pub(crate) nodes: Vec<Arc<N>>,
    /// The phases that were asked by the program. Their wakers are called by the thread that did so.
    pub(crate) alone: Vec<Arc<N>>,
    /// The phases that were closed for work. Their drains are to be notified.
    pub(crate) closed: Vec<Arc<N>>,
    /// Nodes that were only looked at. The last reference to one may be here, and its drop takes the
    /// lock.
    pub(crate) kept: Vec<Arc<N>>,
}

impl<N> Order<N> {
    pub(crate) fn new() -> Self {
        Self {
            phases: Slab::new(),
            late: Vec::new(),
        }
    }

    /// Lets the phases that wait for this one wait no longer. Returns those that wait for no other.
    pub(crate) fn release(&mut self, key: usize) -> Vec<usize> {
        let mut next = mem::take(&mut self.phases[key].before);
        next.retain(|next| {
            let after = &mut self.phases[*next].after;
            // Mostly it is the last, because the phases that were made first are mostly over first.
            if let Ok(place) = after.binary_search_by(|other| key.cmp(other)) {
                after.remove(place);
            }
            after.is_empty()
        });
        next
    }

    /// Notes that the time limit of a descendant with this name has run out.
    pub(crate) fn note_late(&mut self, name: &'static str) {
        if !self.late.contains(&name) {
            self.late.push(name);
        }
    }

    /// Returns the keys of all phases.
    pub(crate) fn keys(&self) -> Vec<usize> {
        // Backwards, because `advance` begins with the last.
        self.phases.iter().rev().map(|(key, _)| key).collect()
    }

    /// Takes a phase out, whose node is gone. Returns the phases that it kept waiting: they wait for
    /// what it waited for.
    pub(crate) fn remove(&mut self, key: usize) -> Vec<usize> {
        let Entry { after, before, .. } = self.phases.remove(key);
        for earlier in &after {
            replace(&mut self.phases[*earlier].before, key, &before);
        }
        for later in &before {
            replace(&mut self.phases[*later].after, key, &after);
        }
        before
    }
}

/// Puts other keys in the place of one, and sorts all, backwards. Each is there once, or the lists would grow with
/// each phase that is ever dropped.
fn replace(keys: &mut Vec<usize>, key: usize, by: &[usize]) {
    keys.retain(|other| *other != key);
    keys.extend(by);
    sort(keys);
}

/// Sorts keys as `Entry::after` has them: backwards, each once.
pub(crate) fn sort(keys: &mut Vec<usize>) {
    keys.sort_unstable_by(|one, other| other.cmp(one));
    keys.dedup();
}

impl<N> Asked<N> {
    pub(crate) fn none() -> Self {
        Self {
            nodes: Vec::new(),
            alone: Vec::new(),
            closed: Vec::new(),
            kept: Vec::new(),
        }
    }

    pub(crate) fn append(&mut self, mut other: Self) {
        self.nodes.append(&mut other.nodes);
        self.alone.append(&mut other.alone);
        self.closed.append(&mut other.closed);
        self.kept.append(&mut other.kept);
    }
}
