//! The request: how the word of a node changes, and what follows from that.

use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::model::cause::Cause;
use crate::model::stage::Stage;
use crate::node::order::Asked;
#[cfg(feature = "tracing")]
use crate::node::trace;
use crate::node::{Begun, FIRST, FORCED, Node, Place, REQUESTED, STOPPING};
use crate::util::deadline::deadline_after;
use crate::util::sync::atomic::{Ordering, fence};
use crate::util::sync::lock;

/// The stages that a task can wait for.
const STAGES: [Stage; 3] = [Stage::Requested, Stage::Stopping, Stage::Forced];

#[inline]
fn flag(stage: Stage) -> u8 {
    match stage {
        Stage::Running => 0,
        Stage::Requested => REQUESTED,
        Stage::Stopping => STOPPING,
        Stage::Forced => FORCED,
    }
}

/// Returns the flags that a first request raises.
fn begins(lame_duck: Duration) -> u8 {
    if lame_duck.is_zero() {
        REQUESTED | STOPPING
    } else {
        REQUESTED
    }
}

/// Notes when a slot was taken, if anything depends on it.
fn note_slot(begun: &mut Option<Box<Begun>>, now: Option<Instant>) {
    if now.is_some() {
        begun.get_or_insert_default().slot = now;
    }
}

/// What a signal has done to the queue.
#[must_use]
enum Transition {
    /// It took the first slot and began the shutdown.
    Began,
    /// It took the first slot of a shutdown that a trigger had begun.
    Counted,
    /// It took the second slot.
    Forced,
    /// It took no slot: both were taken, or it may not force, or not yet.
    Refused,
    /// It took no slot, but it is real, came after the second, and may force.
    Third,
}

/// Which flags a change has raised, for which wakers are to be called.
#[must_use]
#[derive(Clone, Copy)]
pub(crate) struct Raised(u8);

impl Raised {
    pub(super) fn is_empty(self) -> bool {
        self.0 == 0
    }

    pub(super) fn has(self, stage: Stage) -> bool {
        self.0 & flag(stage) != 0
    }
}

/// What is left to do after a change. It takes memory, and calls wakers, so it may hang.
#[must_use]
pub(crate) struct FollowUp {
    /// If the change has begun the shutdown.
    pub(super) begun: Option<LameDuck>,
    pub(super) raised: Raised,
}

/// When the lame duck ends of a shutdown that has begun; `None` if there is none, or no end.
pub(super) struct LameDuck(pub(super) Option<Instant>);

impl LameDuck {
    fn begin(time: Duration) -> Self {
        let end = (!time.is_zero()).then(|| deadline_after(time));
        Self(end.flatten())
    }
}

impl FollowUp {
    /// Adds what a later change of the same node has left.
    #[cfg(feature = "signals")]
    pub(crate) fn append(&mut self, later: Self) {
        self.begun = self.begun.take().or(later.begun);
        self.raised.0 |= later.raised.0;
    }
}

impl From<Raised> for FollowUp {
    fn from(raised: Raised) -> Self {
        let begun = None;
        Self { begun, raised }
    }
}

impl Node {
    pub(crate) fn stage(&self) -> Stage {
        // Acquire: as in `has_reached`.
        let word = self.word.load(Ordering::Acquire);
        STAGES
            .into_iter()
            .rfind(|stage| word & flag(*stage) != 0)
            .unwrap_or(Stage::Running)
    }

    #[inline]
    pub(crate) fn has_reached(&self, stage: Stage) -> bool {
        // Acquire: pairs with the Release store in `change`, so that what the requesting thread did
        // before is visible to a thread that reads "yes" here.
        self.word.load(Ordering::Acquire) & flag(stage) == flag(stage)
    }

    /// Returns whether this node or an ancestor was requested.
    pub(crate) fn is_whole_requested(&self) -> bool {
        let mut nodes = self.and_ancestors();
        nodes.any(|node| node.has_reached(Stage::Requested))
    }

    /// Returns whether this node was requested, or hears of a request above as soon as the thread that made
    /// it comes here: waiters above may be ready already.
    pub(crate) fn is_being_requested(&self) -> bool {
        let mut node = self;
        loop {
            if node.has_reached(Stage::Requested) {
                return true;
            }
            match &node.place {
                Place::Child { parent, .. } => node = parent,
                // It hears of the force alone.
                Place::Phase(link) => return link.parent.and_ancestors().any(Self::is_forced),
                Place::Root(_) | Place::Unlinked => return false,
            }
        }
    }

    pub(crate) fn is_forced(&self) -> bool {
        self.has_reached(Stage::Forced)
    }

    /// Takes a slot for a signal, real or fake, if one is free, and does what that slot means. The
    /// wakers have been called when it returns.
    pub(crate) fn request(self: &Arc<Self>, cause: Cause) -> bool {
        let (taken, follow_up) = self.take_slot(cause);
        if let Some(follow_up) = follow_up {
            self.follow_up(follow_up);
        }
        taken
    }

    /// Takes a slot for a signal, if one is free, and sees to it that the process ends in time. Takes no
    /// memory, and no lock under which a thread does. Returns whether it was taken, and what is left to do.
    pub(crate) fn take_slot(self: &Arc<Self>, cause: Cause) -> (bool, Option<FollowUp>) {
        let lame_duck = self.lame_duck_for(&cause);
        let (signal, may_force) = (cause.signal(), self.policy().may_force(&cause));
        let now = self.now();
        let (transition, raised) = self.change(Some(cause), now, |word, begun| {
            // An interrupt ends a lame duck, whatever else becomes of it.
            let asked = word | begins(lame_duck);
            if word & FORCED != 0 {
                let third = signal.is_some() && may_force && !self.bounces(begun.as_deref());
                let transition = if third {
                    Transition::Third
                } else {
                    Transition::Refused
                };
                (word, transition)
            } else if word & FIRST == 0 {
                note_slot(begun, now);
                match word & REQUESTED {
                    0 => (asked | FIRST, Transition::Began),
                    _ => (asked | FIRST, Transition::Counted),
                }
            } else if may_force && !self.bounces(begun.as_deref()) {
                note_slot(begun, now);
                (word | STOPPING | FORCED, Transition::Forced)
            } else {
                (asked, Transition::Refused)
            }
        });
        match transition {
            Transition::Refused => (false, (!raised.is_empty()).then(|| raised.into())),
            Transition::Third => {
                if let Some(host) = self.host() {
                    host.third(signal);
                }
                (false, None)
            }
            Transition::Counted => {
                self.arm();
                // Also if no flag is new: the thread that triggered may not have told every
                // descendant yet, and `true` says that they all know (G2).
                (true, Some(raised.into()))
            }
            Transition::Began => {
                // Before any waker is called: a waker may hang.
                self.arm();
                self.begin();
                let begun = Some(LameDuck::begin(lame_duck));
                (true, Some(FollowUp { begun, raised }))
            }
            Transition::Forced => {
                if let Some(host) = self.host() {
                    host.forced(self.policy(), signal);
                }
                (true, Some(raised.into()))
            }
        }
    }

    /// Does what is left to do after a change.
    pub(crate) fn follow_up(self: &Arc<Self>, left: FollowUp) {
        let raised = self.set_timers(left);
        self.announce(raised);
    }

    /// Does what is left to do after a change, but for what it returns, which is to be announced.
    pub(crate) fn set_timers(self: &Arc<Self>, left: FollowUp) -> Raised {
        if let Some(lame_duck) = left.begun {
            self.begin_timers(lame_duck);
        }
        left.raised
    }

    /// Begins the shutdown without taking a slot, unless it has begun.
    pub(crate) fn trigger(self: &Arc<Self>, cause: Cause) -> bool {
        let lame_duck = self.lame_duck_for(&cause);
        let ((), raised) = self.change(Some(cause), self.now(), |word, _| {
            (word | begins(lame_duck), ())
        });
        let began = raised.has(Stage::Requested);
        if began {
            self.begin();
        }
        if !raised.is_empty() {
            let begun = began.then(|| LameDuck::begin(lame_duck));
            self.follow_up(FollowUp { begun, raised });
        }
        began
    }

    /// Returns no time for a child that is requested alone: no load balancer watches it.
    fn lame_duck_for(&self, cause: &Cause) -> Duration {
        match self.is_child() {
            true => Duration::ZERO,
            false => self.policy().lame_duck_for(cause),
        }
    }

    /// Takes over the flags of the parent; a phase only with the force.
    pub(super) fn inherit(&self) {
        let Some(parent) = self.parent() else {
            return;
        };
        // Acquire: as in `has_reached`.
        let flags = parent.word.load(Ordering::Acquire) & (REQUESTED | STOPPING | FORCED);
        if flags == 0 {
            return;
        }
        if flags & FORCED != 0 || self.phase_name().is_none() {
            let _ = self.raise(flags);
        }
    }

    /// Raises these flags, of a node that has begun or whose parent has. A node that its parent begins has
    /// no cause and no time of its own.
    pub(super) fn raise(&self, flags: u8) -> Raised {
        let ((), raised) = self.change(None, None, |word, _| (word | flags, ()));
        raised
    }

    /// Changes the word: the one place that does. The first change raises `REQUESTED`, and stores cause
    /// and time, but for a node that is begun by its parent.
    pub(super) fn change<T>(
        &self,
        mut cause: Option<Cause>,
        requested: Option<Instant>,
        next: impl FnOnce(u8, &mut Option<Box<Begun>>) -> (u8, T),
    ) -> (T, Raised) {
        let mut begun = lock(&self.begun); // S2
        // Relaxed: the lock orders this load after every other change.
        let word = self.word.load(Ordering::Relaxed);
        let (next, result) = next(word, &mut begun);
        // Only a request changes a word without this flag, and raises it.
        if word & REQUESTED == 0 {
            if let Some(cause) = cause.take() {
                let begun = begun.get_or_insert_default();
                begun.cause = Some(cause); // S3
                begun.requested = requested;
            }
        }
        // Release: pairs with the Acquire loads in `has_reached`, `stage` and `inherit`.
        self.word.store(next, Ordering::Release);
        // `begun` is unlocked before `cause` is dropped, which may own an error of the program.
        drop(begun);
        (result, Raised(next & !word))
    }

    /// Returns the time, if anything depends on it: reading the clock costs more than the rest of a
    /// request, and some platforms have none.
    fn now(&self) -> Option<Instant> {
        let policy = self.policy();
        let traced = cfg!(all(feature = "tracing", not(target_family = "wasm")));
        (traced || policy.grace_period.is_some() || !policy.debounce.is_zero()).then(Instant::now)
    }

    /// Returns whether a signal that comes now is taken for the last one that took a slot.
    fn bounces(&self, begun: Option<&Begun>) -> bool {
        let debounce = self.policy().debounce;
        let slot = begun.and_then(|begun| begun.slot);
        !debounce.is_zero() && slot.is_some_and(|slot| slot.elapsed() < debounce)
    }

    /// Lets the process force from its signal handler.
    fn arm(self: &Arc<Self>) {
        if let Some(host) = self.host() {
            host.first(self);
        }
    }

    /// Tells every descendant that the word has changed, and then calls the wakers.
    pub(crate) fn announce(&self, raised: Raised) {
        let noted = self.note_phase();
        let below = self.announce_asked();
        let after = noted.wake();
        #[cfg(feature = "tracing")]
        if let (false, Some(cause)) = (self.is_child(), self.cause()) {
            let new = STAGES.into_iter().filter(|stage| raised.has(*stage));
            new.for_each(|stage| trace::reached(stage, &cause, self.elapsed(), self.in_flight()));
        }
        let _ = raised;
        below.trace();
        after.trace();
    }

    /// Announces the change of a node. If it is a phase, `note_phase` was called before. Leaves the events
    /// to the caller.
    pub(super) fn announce_asked(&self) -> Asked<Self> {
        // All nodes are told before any waker is called: a waker may hang. A child that knew is visited
        // as well: another thread may have told it just now, and not yet its own children.
        let mut asked = Asked::none();
        self.publish(&mut asked);
        let below = self.visit_descendants(|node| {
            node.inherit();
            node.publish(&mut asked);
        });
        // Threads of all of them first, which can't hang.
        self.wake_threads();
        below.iter().for_each(|child| child.wake_threads());
        self.wake();
        for child in &below {
            child.wake();
        }
        asked
    }

    /// Makes sure that what waits for the word of this node is found from now on, and asks its phases
    /// that are due.
    fn publish(&self, asked: &mut Asked<Self>) {
        // SeqCst: pairs with the fences in `child`, `phase`, `register`, `watch` and `block`. Either
        // this thread finds the child, the order, the queue, the watcher or the listener, or the other
        // thread reads this change of the word (S6, P2).
        fence(Ordering::SeqCst);
        self.ask_phases(asked);
    }
}
