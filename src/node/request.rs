//! The request: how the word of a node changes, and what follows from that.

use std::panic::Location;
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::model::cause::Cause;
use crate::model::failure::{Failure, Outcome};
use crate::model::stage::Stage;
#[cfg(feature = "tracing")]
use crate::node::trace;
use crate::node::{Begun, FIRST, FORCED, Node, REQUESTED, STOPPING};
#[cfg(not(target_family = "wasm"))]
use crate::util::background;
#[cfg(not(target_family = "wasm"))]
use crate::util::deadline::deadline_after;
use crate::util::sync::atomic::Ordering;
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
    fn is_empty(self) -> bool {
        self.0 == 0
    }

    fn has(self, stage: Stage) -> bool {
        self.0 & flag(stage) != 0
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

    pub(crate) fn is_forced(&self) -> bool {
        self.has_reached(Stage::Forced)
    }

    pub(crate) fn cause(&self) -> Option<Cause> {
        lock(&self.begun).cause.clone()
    }

    /// Returns when the grace period is over, if there is one and it has begun.
    pub(crate) fn deadline(&self) -> Option<Instant> {
        let grace = self.policy().grace_period?;
        lock(&self.begun).requested?.checked_add(grace)
    }

    #[cfg(feature = "tracing")]
    pub(crate) fn elapsed(&self) -> Option<Duration> {
        lock(&self.begun).requested.map(|at| at.elapsed())
    }

    /// Takes a slot for a signal, real or fake, if one is free, and does what that slot means. The
    /// wakers have been called when it returns.
    pub(crate) fn request(self: &Arc<Self>, cause: Cause) -> bool {
        self.request_with(cause, |node, raised| node.announce(raised))
    }

    /// Does the same, with another way to call the wakers.
    pub(crate) fn request_with(
        self: &Arc<Self>,
        cause: Cause,
        announce: impl FnOnce(&Arc<Self>, Raised),
    ) -> bool {
        let lame_duck = self.lame_duck_for(&cause);
        let (signal, may_force) = (cause.signal(), self.policy().may_force(&cause));
        let now = self.now();
        let (transition, raised) = self.change(cause, now, |word, begun| {
            // An interrupt ends a lame duck, whatever else becomes of it.
            let asked = word | begins(lame_duck);
            if word & FORCED != 0 {
                let third = signal.is_some() && may_force && !self.bounces(begun);
                let transition = if third {
                    Transition::Third
                } else {
                    Transition::Refused
                };
                (word, transition)
            } else if word & FIRST == 0 {
                begun.slot = now;
                match word & REQUESTED {
                    0 => (asked | FIRST, Transition::Began),
                    _ => (asked | FIRST, Transition::Counted),
                }
            } else if may_force && !self.bounces(begun) {
                begun.slot = now;
                (word | STOPPING | FORCED, Transition::Forced)
            } else {
                (asked, Transition::Refused)
            }
        });
        match transition {
            Transition::Refused => {
                if !raised.is_empty() {
                    announce(self, raised);
                }
                return false;
            }
            Transition::Third => {
                if let Some(host) = self.host() {
                    host.third(signal);
                }
                return false;
            }
            Transition::Counted => {
                self.arm();
                // Also if no flag is new: the thread that triggered may not have told every
                // descendant yet, and `true` says that they all know (G2).
                announce(self, raised);
            }
            Transition::Began => {
                // Before any waker is called: a waker may hang.
                self.arm();
                self.begin(lame_duck);
                announce(self, raised);
            }
            Transition::Forced => {
                if let Some(host) = self.host() {
                    host.forced(self.policy(), signal);
                }
                announce(self, raised);
            }
        }
        true
    }

    /// Begins the shutdown without taking a slot, unless it has begun.
    pub(crate) fn trigger(self: &Arc<Self>, cause: Cause) -> bool {
        let lame_duck = self.lame_duck_for(&cause);
        let ((), raised) = self.change(cause, self.now(), |word, _| (word | begins(lame_duck), ()));
        let began = raised.has(Stage::Requested);
        if began {
            self.begin(lame_duck);
        }
        if !raised.is_empty() {
            self.announce(raised);
        }
        began
    }

    /// Begins the shutdown because of a failure, without taking a slot. If it has begun, records the
    /// failure here and in every ancestor that has begun: their end is a failure too.
    pub(crate) fn fail(self: &Arc<Self>, failure: Failure) -> bool {
        let began = self.trigger(Cause::Failed(failure.clone()));
        if !began {
            self.record(&failure);
        }
        began
    }

    /// Records the panic of a task that held a guard. It is a failure of every shutdown that has begun
    /// and waits for that guard.
    #[cold]
    pub(super) fn record_panic(&self, name: Option<&'static str>, at: &'static Location<'static>) {
        if self.has_reached(Stage::Requested) {
            let name = name.map(Arc::from);
            self.record(&Failure::new(name, Outcome::Panicked, at));
        }
    }

    fn record(&self, failure: &Failure) {
        for node in self.and_ancestors() {
            let mut begun = lock(&node.begun);
            let first = match &mut begun.cause {
                None | Some(Cause::Failed(_)) => None,
                Some(cause) => Some(std::mem::replace(cause, Cause::Failed(failure.clone()))),
            };
            drop(begun); // before the earlier cause, which may own anything
            #[cfg(feature = "tracing")]
            if first.is_some() && !node.is_child() {
                trace::failed(failure, node.elapsed());
            }
            drop(first);
        }
    }

    /// Forces the shutdown because its deadline has passed.
    #[cfg(not(target_family = "wasm"))]
    pub(crate) fn force_late(self: &Arc<Self>, announce: impl FnOnce(&Arc<Self>, Raised)) {
        let Some(cause) = self.cause() else { return };
        let ((), raised) = self.change(cause, None, |word, _| (word | STOPPING | FORCED, ()));
        if raised.has(Stage::Forced) {
            if let Some(host) = self.host() {
                host.forced(self.policy(), None);
            }
            announce(self, raised);
        }
    }

    /// Returns no time for a child that is requested alone: no load balancer watches it.
    fn lame_duck_for(&self, cause: &Cause) -> Duration {
        match self.is_child() {
            true => Duration::ZERO,
            false => self.policy().lame_duck_for(cause),
        }
    }

    /// Takes over the flags and the cause of the parent.
    pub(super) fn inherit(&self) {
        let Some(parent) = self.parent() else {
            return;
        };
        // Acquire: as in `has_reached`.
        let flags = parent.word.load(Ordering::Acquire) & (REQUESTED | STOPPING | FORCED);
        if flags == 0 {
            return;
        }
        // S3. The grace period of the parent, and not one that begins when the child is told.
        let begun = lock(&parent.begun);
        let (cause, requested) = (begun.cause.clone(), begun.requested);
        drop(begun);
        if let Some(cause) = cause {
            let ((), _) = self.change(cause, requested, |word, _| (word | flags, ()));
        }
    }

    /// Changes the word: the one place that does. Cause and time are stored if this raises `REQUESTED`.
    pub(super) fn change<T>(
        &self,
        cause: Cause,
        requested: Option<Instant>,
        next: impl FnOnce(u8, &mut Begun) -> (u8, T),
    ) -> (T, Raised) {
        let mut begun = lock(&self.begun); // S2
        // Relaxed: the lock orders this load after every other change.
        let word = self.word.load(Ordering::Relaxed);
        let (next, result) = next(word, &mut begun);
        if word & REQUESTED == 0 && next & REQUESTED != 0 {
            begun.cause = Some(cause); // S3
            begun.requested = requested;
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
    fn bounces(&self, begun: &Begun) -> bool {
        let debounce = self.policy().debounce;
        !debounce.is_zero() && begun.slot.is_some_and(|slot| slot.elapsed() < debounce)
    }

    /// Lets the process force from its signal handler.
    fn arm(self: &Arc<Self>) {
        if let Some(host) = self.host() {
            host.first(self);
        }
    }

    /// Sets the timers of a shutdown that has begun.
    fn begin(self: &Arc<Self>, lame_duck: Duration) {
        #[cfg(not(target_family = "wasm"))]
        if let (false, Some(end)) = (lame_duck.is_zero(), deadline_after(lame_duck)) {
            if !self.run_at(end, |node| node.stop()) {
                // No delay is better than one that never ends.
                self.stop();
            }
        }
        let _ = lame_duck;
        match self.host() {
            Some(host) => host.begun(self),
            #[cfg(not(target_family = "wasm"))]
            None if self.policy().force_at_deadline && !self.is_child() => {
                if let Some(deadline) = self.deadline() {
                    self.run_at(deadline, |node| {
                        node.force_late(|node, raised| node.announce(raised))
                    });
                }
            }
            None => {}
        }
    }

    /// Calls `run` on the background thread when the time has come, unless the node is gone by then.
    /// Returns whether that thread could be started.
    #[cfg(not(target_family = "wasm"))]
    fn run_at(self: &Arc<Self>, time: Instant, run: fn(&Arc<Self>)) -> bool {
        let node = Arc::downgrade(self);
        let job = move || {
            if let Some(node) = node.upgrade() {
                run(&node);
            }
        };
        background::run_at(time, self.owner(), Box::new(job)).is_ok()
    }

    /// Returns the number under which the background thread keeps jobs of this node.
    #[cfg(not(target_family = "wasm"))]
    pub(crate) fn owner(&self) -> usize {
        std::ptr::from_ref(self).addr()
    }

    /// Ends the lame duck.
    #[cfg(not(target_family = "wasm"))]
    fn stop(&self) {
        let Some(cause) = self.cause() else { return };
        let ((), raised) = self.change(cause, None, |word, _| (word | STOPPING, ()));
        if !raised.is_empty() {
            self.announce(raised);
        }
    }

    /// Tells every descendant that the word has changed, and then calls the wakers.
    pub(crate) fn announce(&self, raised: Raised) {
        // All nodes are told before any waker is called: a waker may hang. A child that knew is visited
        // as well: another thread may have told it just now, and not yet its own children.
        let below = self.visit_descendants(Self::inherit);
        self.wake();
        for child in &below {
            child.wake();
        }
        #[cfg(feature = "tracing")]
        if let (false, Some(cause)) = (self.is_child(), self.cause()) {
            let new = STAGES.into_iter().filter(|stage| raised.has(*stage));
            new.for_each(|stage| trace::reached(stage, &cause, self.elapsed(), self.in_flight()));
        }
        let _ = raised;
    }
}
