//! Phases: children that are asked later than their parent, in an order.
//!
//! The parent keeps the order. Invariants, cited in the code as P1..P4:
//!
//! - **P1** Every step of a phase is taken under the lock of its parent's order: waiting, delayed,
//!   asked, over. Steps only go forward, so a phase is asked once, and over once.
//! - **P2** A phase is entered in the order before the parent's word is read; the parent changes its
//!   word before it reads the order. The lock orders the two, as in S5; as long as there is no order,
//!   fences do (S6). So a phase that is made while the parent stops is asked by one of them.
//! - **P3** A phase is watched from the moment when it is asked until it is over: its counter is closed,
//!   or the next guard to leave it empty finds a flag there and looks again.
//! - **P4** No foreign code runs under the lock. What was asked is returned, and its wakers are called
//!   after that. A thread that is calling wakers of phases already leaves it to the calls further up its
//!   stack, so that a chain of phases is no chain of calls.

use std::cell::RefCell;
use std::mem;
use std::sync::Arc;
use std::time::Duration;

use crate::model::stage::Stage;
use crate::node::order::{self, Asked, Entry, Order, PhaseLink, Step};
#[cfg(feature = "tracing")]
use crate::node::trace;
use crate::node::{Node, Place, STOPPING_TOO};
use crate::util::background::WAKERS;
use crate::util::deadline::deadline_after;
use crate::util::slab::take_unused;
use crate::util::sync::atomic::{Ordering, fence};
use crate::util::sync::lock;
use crate::util::task_counter::TryClose;
use crate::util::waker_queue::WakerQueue;

/// The settings of a phase.
pub(crate) struct PhaseSettings {
    pub(crate) name: &'static str,
    pub(crate) delay: Duration,
    pub(crate) time_limit: Option<Duration>,
    pub(crate) by_hand: bool,
    /// Phases of the same parent.
    pub(crate) after: Vec<Arc<Node>>,
}

impl Order<Node> {
    /// Takes every step that is due for the phases of `keys`, and for those that wait for them.
    fn advance(&mut self, parent: &Node, mut keys: Vec<usize>, asked: &mut Asked<Node>) {
        let stopping = parent.has_reached(Stage::Stopping);
        // A loop, because recursion would be as deep as the chain.
        while let Some(key) = keys.pop() {
            let entry = &mut self.phases[key];
            // A node that is gone holds no guard, because each guard holds its node.
            let node = entry.node.upgrade();
            if node.is_none() {
                // Acquire: pairs with the Release of the `Arc` whose drop was the last, so that a phase that
                // comes after sees what was written under its guard (G8).
                fence(Ordering::Acquire);
            }
            let ready = stopping && !entry.by_hand && entry.after.is_empty();
            if entry.step == Step::Waiting && ready {
                entry.start(parent, node.as_ref(), asked);
            }
            if entry.step == Step::Asked {
                // P3
                let closed = node.as_ref().map(|node| node.tasks.try_close(false));
                if closed == Some(TryClose::Closed) {
                    asked.closed.extend(node.clone());
                }
                if closed != Some(TryClose::Busy) {
                    entry.step = Step::Over; // P1
                    keys.extend(self.release(key));
                }
            }
            asked.kept.extend(node);
        }
    }
}

impl Entry<Node> {
    /// Starts the timer of the delay, or asks the phase.
    fn start(&mut self, parent: &Node, node: Option<&Arc<Node>>, asked: &mut Asked<Node>) {
        let Some(node) = node else {
            self.step = Step::Asked; // P1
            return;
        };
        if !self.delay.is_zero() && !parent.is_forced() {
            let until = deadline_after(self.delay);
            // A delay too long for the clock never ends. One that no thread can keep is skipped.
            if until.is_none_or(|until| node.run_at(until, Node::on_delay_over)) {
                self.step = Step::Delayed; // P1
                return;
            }
        }
        self.ask(node, asked);
    }

    fn ask(&mut self, node: &Arc<Node>, asked: &mut Asked<Node>) {
        // It has begun already if it was asked alone, or forced.
        let _ = node.raise(STOPPING_TOO);
        self.mark_asked(node);
        asked.nodes.push(node.clone());
    }

    fn mark_asked(&mut self, node: &Arc<Node>) {
        self.step = Step::Asked; // P1
        if let Some(limit) = self.time_limit.and_then(deadline_after) {
            node.run_at(limit, Node::on_time_limit);
        }
    }
}

impl Asked<Node> {
    /// Calls the wakers of the phases that were asked, and of the drains of those that were closed.
    pub(super) fn announce(self) {
        self.wake().trace();
    }

    /// Calls these wakers, and leaves the events to the caller. Returns the phases that have one.
    pub(super) fn wake(self) -> Self {
        #[cfg(not(loom))]
        thread_local!(static LATER: RefCell<Option<Vec<Arc<Node>>>> = const { RefCell::new(None) });
        #[cfg(loom)]
        loom::thread_local!(static LATER: RefCell<Option<Vec<Arc<Node>>>> = RefCell::new(None));

        self.closed.iter().for_each(|node| node.notify_watchers());
        let mut woken = Self {
            alone: self.alone,
            ..Self::none()
        };
        if self.nodes.is_empty() {
            return woken;
        }
        let mut next = self.nodes;
        // P4. While a thread ends, its variables may be gone. Then it calls at once.
        let nested = LATER.try_with(|later| match &mut *later.borrow_mut() {
            Some(later) => {
                // That can't hang, and the caller of this thread may. What is below is told when it returns.
                // SeqCst: as in `notify_watchers`, for the change of these words.
                fence(Ordering::SeqCst);
                next.iter().for_each(|node| node.wake_threads());
                later.append(&mut next);
                true
            }
            none => {
                *none = Some(Vec::new());
                false
            }
        });
        if let Ok(true) = nested {
            return woken;
        }
        while !next.is_empty() {
            for node in next {
                let below = node.announce_asked();
                woken.nodes.push(node);
                woken.append(below);
            }
            let take = |later: &RefCell<Option<_>>| later.borrow_mut().as_mut().map(mem::take);
            next = LATER.try_with(take).ok().flatten().unwrap_or_default();
        }
        let _ = LATER.try_with(|later| later.borrow_mut().take());
        woken
    }

    /// Emits an event for each phase, whose wakers were called.
    pub(super) fn trace(self) {
        #[cfg(feature = "tracing")]
        for node in self.alone.iter().chain(&self.nodes) {
            trace::phase_asked(node.phase_name(), node.elapsed(), node.in_flight());
        }
    }
}

impl Node {
    /// Makes a phase.
    pub(crate) fn phase(parent: &Arc<Self>, settings: PhaseSettings) -> Arc<Self> {
        let below = parent.below();
        // SeqCst: pairs with the fence in `publish`. Either that thread finds the order, or this one reads
        // its change of the word (P2).
        fence(Ordering::SeqCst);
        let mut order = lock(&below.order);
        // Of those that come first, the ones that are not over.
        let mut after: Vec<_> = settings
            .after
            .iter()
            .filter_map(|node| node.phase_key())
            .collect();
        order::sort(&mut after);
        after.retain(|key| order.phases[*key].step != Step::Over);
        let key = order.phases.vacant_key();
        // Shards: many threads may have their work in one phase.
        let node = Self::child_at(parent, WakerQueue::sharded, |parent, child| {
            let PhaseSettings { name, .. } = settings;
            let link = PhaseLink {
                parent,
                name,
                child,
                key,
                timed: settings.time_limit.is_some() || !settings.delay.is_zero(),
            };
            Place::Phase(Box::new(link))
        });
        for earlier in &after {
            order.phases[*earlier].before.push(key);
        }
        order.phases.insert(Entry {
            node: Arc::downgrade(&node),
            #[cfg(all(unix, feature = "systemd"))]
            name: settings.name,
            delay: settings.delay,
            time_limit: settings.time_limit,
            by_hand: settings.by_hand,
            step: Step::Waiting,
            after,
            before: Vec::new(),
        });
        // P2. If it is asked right away, no task waits for it yet.
        let mut asked = Asked::none();
        order.advance(parent, vec![key], &mut asked);
        drop(order);
        drop(settings.after);
        node.inherit(); // the force
        asked.trace();
        node
    }

    /// Returns whether this is a phase of `parent`.
    pub(crate) fn is_phase_of(&self, parent: &Arc<Self>) -> bool {
        self.phase_link()
            .is_some_and(|link| Arc::ptr_eq(&link.parent, parent))
    }

    fn phase_link(&self) -> Option<&PhaseLink<Self>> {
        match &self.place {
            Place::Phase(link) => Some(link),
            Place::Root(_) | Place::Child { .. } | Place::Unlinked => None,
        }
    }

    pub(crate) fn phase_name(&self) -> Option<&'static str> {
        Some(self.phase_link()?.name)
    }

    fn phase_key(&self) -> Option<usize> {
        Some(self.phase_link()?.key)
    }

    /// Asks the phases of this node that are due. They are children, so a caller that visits these next
    /// calls their wakers.
    pub(super) fn ask_phases(&self, asked: &mut Asked<Node>) {
        if let Some(below) = self.if_below() {
            let mut order = lock(&below.order);
            let keys = order.keys();
            order.advance(self, keys, asked);
        }
    }

    /// Notes that this node, if it is a phase, was asked alone, or holds no guard any more. Returns the
    /// phases that are asked for that.
    pub(super) fn note_phase(&self) -> Asked<Node> {
        let mut asked = Asked::none();
        let Some(link) = self.phase_link() else {
            return asked;
        };
        let parent = &link.parent;
        let mut order = lock(&parent.below().order);
        // P3. Under the lock: the thread that asks this phase holds it, or takes it next and looks for
        // guards after this thread has.
        if !self.has_reached(Stage::Stopping) {
            return asked;
        }
        let entry = &mut order.phases[link.key];
        if let (Step::Waiting | Step::Delayed, Some(node)) = (entry.step, entry.node.upgrade()) {
            entry.mark_asked(&node);
            asked.alone.push(node);
        }
        order.advance(parent, vec![link.key], &mut asked);
        drop(order);
        asked
    }

    /// Asks this phase, whose delay is over.
    fn on_delay_over(self: &Arc<Self>) {
        let Some(link) = self.phase_link() else {
            return;
        };
        let parent = &link.parent;
        let mut asked = Asked::none();
        let mut order = lock(&parent.below().order);
        let entry = &mut order.phases[link.key];
        if entry.step == Step::Delayed {
            entry.ask(self, &mut asked);
            order.advance(parent, vec![link.key], &mut asked);
        }
        drop(order);
        asked.announce();
    }

    /// Goes on without this phase, whose time limit has run out.
    fn on_time_limit(self: &Arc<Self>) {
        let Some(link) = self.phase_link() else {
            return;
        };
        let parent = &link.parent;
        let mut order = lock(&parent.below().order);
        if order.phases[link.key].step != Step::Asked {
            return;
        }
        // First, so that the next phase finds it noted when it is asked. Orders are locked only from a node to
        // its ancestors.
        order.note_late(link.name);
        for node in parent.and_ancestors().skip(1) {
            lock(&node.below().order).note_late(link.name);
        }
        order.phases[link.key].step = Step::Over; // P1
        let next = order.release(link.key);
        let mut asked = Asked::none();
        order.advance(parent, next, &mut asked);
        drop(order);
        asked.announce();
        #[cfg(feature = "tracing")]
        trace::phase_late(link.name, self.elapsed(), self.in_flight());
    }

    /// Returns the names of phases below whose time limit has run out.
    pub(super) fn late_phases(&self) -> Vec<&'static str> {
        self.if_below()
            .map_or_else(Vec::new, |below| lock(&below.order).late.clone())
    }

    /// Returns the names of the phases of this node that were asked and are not over.
    #[cfg(all(unix, feature = "systemd"))]
    pub(crate) fn phases_at_work(&self) -> Vec<&'static str> {
        let Some(below) = self.if_below() else {
            return Vec::new();
        };
        let order = lock(&below.order);
        let phases = order.phases.iter().map(|(_, entry)| entry);
        let at_work = phases.filter(|entry| entry.step == Step::Asked);
        at_work.map(|entry| entry.name).collect()
    }

    /// Takes a phase of this node out of the order, because its node is gone.
    #[cold]
    pub(super) fn remove_phase(&self, link: &PhaseLink<Self>) {
        if link.timed {
            WAKERS.cancel(link.owner());
        }
        let mut asked = Asked::none();
        let mut order = lock(&self.below().order);
        let kept_waiting = order.remove(link.key);
        order.advance(self, kept_waiting, &mut asked);
        let unused = take_unused(&mut order.phases);
        drop(order);
        drop(unused);
        asked.announce();
    }
}
