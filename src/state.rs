//! The shared state: a queue of two slots that is never emptied, a count of the work in flight, and
//! the tree of parents and children.
//!
//! Invariants, cited in the code as S1..S5:
//!
//! - **S1** The word only gains: slots fill, flags rise, nothing is ever taken back. So one load
//!   answers `is_requested`, and an answer of "yes" stays true.
//! - **S2** Every change of the word is made under the lock of `begun`, so that whoever begins the
//!   shutdown is whoever the cause names. Readers of the word take no lock.
//! - **S3** The cause is stored before the word that says there is one.
//! - **S4** A guard counts in the work of its own state and of every state above, before it is handed
//!   out and until it is dropped. So no parent is drained while a child has a guard.
//! - **S5** A child is in its parent's list before it looks whether the parent has begun; the parent
//!   begins before it looks at its list. So one of them sees the other.

#[cfg(not(target_family = "wasm"))]
use std::ops::Deref;
use std::sync::{Arc, OnceLock, Weak};
use std::task::{Context, Poll, Waker};
#[cfg(not(target_family = "wasm"))]
use std::thread;
use std::time::{Duration, Instant};

use event_listener::Event;
#[cfg(not(target_family = "wasm"))]
use event_listener::Listener;
use slab::Slab;

#[cfg(not(target_family = "wasm"))]
use crate::deadline::deadline_after;
use crate::policy::Policy;
use crate::sites::{Table, Tally};
use crate::sync::atomic::{AtomicU8, Ordering, fence};
use crate::sync::{Mutex, lock};
use crate::trace;
use crate::wakers::{self, Slot, Wakers, Watchers};
use crate::work::{Closed, Work};
use crate::{Cause, Stage};

/// Somebody asked: with the first slot, or before it by a trigger or from above.
const REQUESTED: u8 = 0b0001;
/// The first slot is taken. Never without `REQUESTED`.
const FIRST: u8 = 0b0010;
/// Waiters are ready. Never without `REQUESTED`.
const STOPPING: u8 = 0b0100;
/// The second slot is taken, here or above. Never without `REQUESTED` and `STOPPING`.
const FORCED: u8 = 0b1000;

/// The order of the fields keeps what changes often (the strong count in front, a child's list of
/// wakers, the work) more than a cache line away from what every poll reads (the word).
#[repr(C)]
pub(crate) struct State {
    begun: Mutex<Begun>,
    /// Drains and those who show their progress.
    watchers: Watchers,
    children: Mutex<Slab<Weak<State>>>,
    /// The guards of children, by line.
    pub(crate) tallies: OnceLock<Box<Table<Tally>>>,

    word: AtomicU8,
    parent: Option<Parent>,
    /// Always the default for most, and then a child costs no more for it.
    policy: Option<Arc<Policy>>,
    force: Force,
    /// Only if a lame duck tells this stage from the next.
    requested: Option<Box<Wakers>>,
    /// Threads that block, and never a task: event-listener calls wakers under its lock, and only
    /// of a thread's do we know that they do no more than unpark it.
    threads: Event,
    forced: Wakers,
    stopping: Wakers,

    work: Work,
}

/// What the first who asks brings about.
fn begins(lame_duck: Duration) -> u8 {
    if lame_duck.is_zero() {
        REQUESTED | STOPPING
    } else {
        REQUESTED
    }
}

/// Those that somebody can be told of.
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

/// How it began.
#[derive(Default)]
struct Begun {
    cause: Option<Cause>,
    /// When it was requested, and when the last slot was taken; if somebody wants to know.
    requested: Option<Instant>,
    slot: Option<Instant>,
}

struct Parent {
    state: Arc<State>,
    /// In its list of children.
    key: usize,
}

/// What taking the second slot does, beside marking the state.
pub(crate) enum Force {
    /// Nothing more: the program looks at `is_forced`.
    Mark,
    /// Ends the process, from the signal handler where it can.
    #[cfg(feature = "signals")]
    Exit(crate::signals::Process),
}

/// What became of a signal sent to the queue.
enum Sent {
    /// It took a slot and began the shutdown.
    Began,
    /// It took the first slot, but a trigger had begun the shutdown.
    Counted,
    /// It took the second slot.
    Forced,
    /// It took none: both were taken, or it may not force, or not yet.
    Refused,
    /// It took none, but the system sent it after the second, and it may force.
    Third,
}

impl State {
    pub(crate) fn new(force: Force, policy: Option<Policy>) -> Arc<Self> {
        let policy = policy.map(Arc::new);
        Arc::new(Self::with(
            None,
            force,
            policy,
            Wakers::sharded(),
            Work::sharded(),
        ))
    }

    pub(crate) fn child(parent: &Arc<Self>) -> Arc<Self> {
        let mut children = lock(&parent.children);
        let entry = children.vacant_entry();
        let link = Parent {
            state: parent.clone(),
            key: entry.key(),
        };
        // One shard: a child is made for a connection or a job, and few wait for it.
        let policy = parent.policy.clone();
        let mut weak = None;
        // Cyclic only because that builds it where it stays, and has a `Weak` at hand: a third faster.
        let child = Arc::new_cyclic(|this| {
            weak = Some(this.clone());
            Self::with(Some(link), Force::Mark, policy, Wakers::new(), Work::new())
        });
        entry.insert(weak.expect("it was made"));
        drop(children);
        child.inherit(); // S5
        child
    }

    #[inline(always)]
    fn with(
        parent: Option<Parent>,
        force: Force,
        policy: Option<Arc<Policy>>,
        stopping: Wakers,
        work: Work,
    ) -> Self {
        let lame_duck = policy
            .as_ref()
            .is_some_and(|policy| !policy.lame_duck.is_zero());
        Self {
            begun: Mutex::new(Begun::default()),
            watchers: Watchers::new(),
            children: Mutex::new(Slab::new()),
            tallies: OnceLock::new(),
            word: AtomicU8::new(0),
            parent,
            policy,
            force,
            requested: lame_duck.then(|| Box::new(Wakers::new())),
            threads: Event::new(),
            forced: Wakers::new(),
            stopping,
            work,
        }
    }

    /// Itself, its parent, and so on up.
    #[inline]
    pub(crate) fn and_above(&self) -> impl Iterator<Item = &Self> {
        std::iter::successors(Some(self), |state| {
            state.parent.as_ref().map(|parent| &*parent.state)
        })
    }

    pub(crate) fn is_child(&self) -> bool {
        self.parent.is_some()
    }
}

/// The request.
impl State {
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
        // Acquire: pairs with the Release store in `change`, so that what the requester did before
        // is visible to whoever finds out this way.
        self.word.load(Ordering::Acquire) & flag(stage) == flag(stage)
    }

    pub(crate) fn cause(&self) -> Option<Cause> {
        lock(&self.begun).cause.clone()
    }

    /// When the time of grace is over, if there is one and it has begun.
    pub(crate) fn deadline(&self) -> Option<Instant> {
        let grace = self.policy().grace?;
        lock(&self.begun).requested?.checked_add(grace)
    }

    #[cfg(feature = "tracing")]
    pub(crate) fn elapsed(&self) -> Option<Duration> {
        lock(&self.begun).requested.map(|at| at.elapsed())
    }

    pub(crate) fn policy(&self) -> &Policy {
        self.policy.as_deref().unwrap_or(&Policy::DEFAULT)
    }

    /// A signal, real or fake: takes a slot if one is free, and does what that slot means. Whoever
    /// waits has been woken when it returns.
    pub(crate) fn request(self: &Arc<Self>, cause: Cause) -> bool {
        self.request_with(cause, |state, raised| state.announce(raised))
    }

    /// The same, with another way to announce.
    pub(crate) fn request_with(
        self: &Arc<Self>,
        cause: Cause,
        announce: impl FnOnce(&Arc<Self>, u8),
    ) -> bool {
        let lame_duck = self.lame_duck_for(&cause);
        let (real, may_force) = (cause.is_signal(), self.policy().may_force(&cause));
        let now = self.now();
        let (sent, raised) = self.change(cause, now, |word, begun| {
            // An interrupt ends a lame duck, whatever else becomes of it.
            let asked = word | begins(lame_duck);
            if word & FORCED != 0 {
                let third = real && may_force && !self.bounces(begun);
                (word, if third { Sent::Third } else { Sent::Refused })
            } else if word & FIRST == 0 {
                begun.slot = now;
                match word & REQUESTED {
                    0 => (asked | FIRST, Sent::Began),
                    _ => (asked | FIRST, Sent::Counted),
                }
            } else if may_force && !self.bounces(begun) {
                begun.slot = now;
                (word | STOPPING | FORCED, Sent::Forced)
            } else {
                (asked, Sent::Refused)
            }
        });
        match sent {
            Sent::Refused => {
                if raised != 0 {
                    announce(self, raised);
                }
                return false;
            }
            Sent::Third => {
                // It came before the force had armed the handler, or there is none to arm.
                #[cfg(feature = "signals")]
                if let Force::Exit(process) = &self.force {
                    process.end();
                }
                return false;
            }
            Sent::Counted => {
                self.arm();
                // Also if no stage is new: whoever triggered may not have told everybody yet, and
                // we say that everybody knows (G2).
                announce(self, raised);
            }
            Sent::Began => {
                // Before anybody is woken: a waker may hang.
                self.arm();
                self.begin(lame_duck);
                announce(self, raised);
            }
            Sent::Forced => {
                match &self.force {
                    Force::Mark => {}
                    #[cfg(feature = "signals")]
                    Force::Exit(process) => process.force(self.policy()),
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
        let began = raised & REQUESTED != 0;
        if began {
            self.begin(lame_duck);
        }
        if raised != 0 {
            self.announce(raised);
        }
        began
    }

    /// None for a child that is requested alone: it is no server of its own, for whose end others
    /// would need time.
    fn lame_duck_for(&self, cause: &Cause) -> Duration {
        match self.parent {
            None => self.policy().lame_duck_for(cause),
            Some(_) => Duration::ZERO,
        }
    }

    /// Takes over what the parent has come to.
    fn inherit(&self) {
        let Some(Parent { state: parent, .. }) = &self.parent else {
            return;
        };
        // Acquire: as in `has_reached`.
        let parents = parent.word.load(Ordering::Acquire) & (REQUESTED | STOPPING | FORCED);
        if parents == 0 {
            return;
        }
        // S3. The parent's time of grace, and not one that begins when the child hears of it.
        let begun = lock(&parent.begun);
        let (cause, requested) = (begun.cause.clone(), begun.requested);
        drop(begun);
        if let Some(cause) = cause {
            self.change(cause, requested, |word, _| (word | parents, ()));
        }
    }

    /// The one place where the word changes. Cause and time are stored if this raises the flag. Returns
    /// which flags were raised, too.
    fn change<T>(
        &self,
        cause: Cause,
        requested: Option<Instant>,
        next: impl FnOnce(u8, &mut Begun) -> (u8, T),
    ) -> (T, u8) {
        let mut begun = lock(&self.begun); // S2
        // Relaxed: the lock orders it after every other change.
        let word = self.word.load(Ordering::Relaxed);
        let (next, result) = next(word, &mut begun);
        if word & REQUESTED == 0 && next & REQUESTED != 0 {
            begun.cause = Some(cause); // S3
            begun.requested = requested;
        }
        // Release: pairs with the loads in `has_reached` and `stage`.
        self.word.store(next, Ordering::Release);
        (result, next & !word)
    }

    /// The time, if anything depends on it: the clock costs more than the rest of a request, and some
    /// platforms have none.
    fn now(&self) -> Option<Instant> {
        let policy = self.policy();
        let told = cfg!(all(feature = "tracing", not(target_family = "wasm")));
        (told || policy.grace.is_some() || !policy.debounce.is_zero()).then(Instant::now)
    }

    /// Whether a signal that comes now is the same as the last that took a slot.
    fn bounces(&self, begun: &Begun) -> bool {
        let debounce = self.policy().debounce;
        !debounce.is_zero() && begun.slot.is_some_and(|slot| slot.elapsed() < debounce)
    }

    /// From now on the signal handler itself forces.
    fn arm(self: &Arc<Self>) {
        #[cfg(feature = "signals")]
        if let Force::Exit(process) = &self.force {
            process.arm(self);
        }
    }

    /// What goes on beside a shutdown that has begun, in threads of its own.
    fn begin(self: &Arc<Self>, lame_duck: Duration) {
        #[cfg(not(target_family = "wasm"))]
        if !lame_duck.is_zero() {
            self.wait_as_lame_duck(lame_duck);
        }
        let _ = lame_duck;
        #[cfg(all(unix, feature = "systemd"))]
        if let Force::Exit(_) = self.force {
            crate::systemd::follow(self);
        }
    }

    /// Has waiters made ready when the delay has passed, by a thread, which no runtime can block, and
    /// which ends when every handle is gone.
    #[cfg(not(target_family = "wasm"))]
    fn wait_as_lame_duck(self: &Arc<Self>, delay: Duration) {
        let state = Arc::downgrade(self);
        let wait = move || {
            Self::block_weakly(&state, deadline_after(delay), |state| {
                state.has_reached(Stage::Stopping).then_some(())
            });
            if let Some(state) = state.upgrade() {
                state.stop();
            }
        };
        let name = "winddown-lame-duck".into();
        if thread::Builder::new().name(name).spawn(wait).is_err() {
            // Better no delay than one that never ends.
            self.stop();
        }
    }

    /// The end of the lame duck.
    #[cfg(not(target_family = "wasm"))]
    fn stop(&self) {
        let Some(cause) = self.cause() else { return };
        let ((), raised) = self.change(cause, None, |word, _| (word | STOPPING, ()));
        if raised != 0 {
            self.announce(raised);
        }
    }

    /// Tells everybody below that the word has changed, and then wakes whoever waits for it.
    pub(crate) fn announce(&self, raised: u8) {
        // All are told before anybody is woken: a waker may hang. One that knew is told on as well:
        // another thread may have told it just now, and not yet those below it.
        let mut below = self.children();
        let mut next = 0;
        while let Some(child) = below.get(next) {
            child.inherit();
            let further = child.children();
            below.extend(further);
            next += 1;
        }
        self.wake();
        for child in &below {
            child.wake();
        }
        if !self.is_child() {
            let news = |stage: &Stage| raised & flag(*stage) != 0;
            STAGES
                .into_iter()
                .filter(news)
                .for_each(|stage| trace::reached(self, stage));
        }
    }

    fn children(&self) -> Vec<Arc<Self>> {
        let children = lock(&self.children);
        children
            .iter()
            .filter_map(|(_, child)| child.upgrade())
            .collect()
    }

    /// Wakes whoever waits for what has come.
    fn wake(&self) {
        // First threads, which cannot hang; then drains, of which there are few.
        self.wake_threads();
        self.watchers.wake_all();
        if let Some(requested) = &self.requested {
            requested.wake_all();
        }
        if self.has_reached(Stage::Stopping) {
            self.stopping.wake_all();
        }
        if self.has_reached(Stage::Forced) {
            self.forced.wake_all();
        }
    }

    fn wake_threads(&self) {
        // SeqCst: pairs with that in `block_while`. Either we see the listener, or its check sees what
        // we did before this.
        fence(Ordering::SeqCst);
        self.notify_threads();
    }

    fn notify_threads(&self) {
        // Asked first, because `notify` allocates where nobody has ever listened: in most children.
        if self.threads.total_listeners() > 0 {
            self.threads.notify(usize::MAX);
        }
    }

    /// Waits for a stage: check, register, check.
    #[inline]
    pub(crate) fn poll(&self, stage: Stage, slot: &mut Slot, cx: &mut Context<'_>) -> Poll<()> {
        // No wake-up is lost. The requester raises the flag first and then closes the registry. If
        // our waker is in by then, it is woken. If it comes too late, `register` says so, and that
        // is the second check. And a waker that is in already is woken all the same if the flag
        // rises right after the first.
        if self.has_reached(stage) {
            Poll::Ready(())
        } else if slot.holds(cx.waker()) || self.wakers(stage).register(slot, cx.waker()) {
            Poll::Pending
        } else {
            Poll::Ready(())
        }
    }

    /// Stops waiting for a stage.
    #[inline]
    pub(crate) fn forget(&self, stage: Stage, slot: &mut Slot) {
        // Once it is reached there is nothing to take back, and no lock to take: the wakers are with
        // whoever is waking them.
        if !slot.is_vacant() && !self.has_reached(stage) {
            self.wakers(stage).remove(slot);
        }
    }

    #[inline]
    fn wakers(&self, stage: Stage) -> &Wakers {
        match stage {
            Stage::Running | Stage::Requested => {
                self.requested.as_deref().unwrap_or(&self.stopping)
            }
            Stage::Stopping => &self.stopping,
            Stage::Forced => &self.forced,
        }
    }

    /// Blocks this thread until `check` has an answer, or the deadline, after which it is asked once
    /// more.
    #[cfg(not(target_family = "wasm"))]
    pub(crate) fn block<T>(
        &self,
        deadline: Option<Instant>,
        mut check: impl FnMut() -> Option<T>,
    ) -> Option<T> {
        Self::block_while(|| Some(self), deadline, |_| check())
    }

    /// The same for our own threads, which hold the state only to look at it. `None` also once it is
    /// gone.
    #[cfg(not(target_family = "wasm"))]
    pub(crate) fn block_weakly<T>(
        state: &Weak<Self>,
        deadline: Option<Instant>,
        check: impl FnMut(&Self) -> Option<T>,
    ) -> Option<T> {
        Self::block_while(|| state.upgrade(), deadline, check)
    }

    #[cfg(not(target_family = "wasm"))]
    fn block_while<S: Deref<Target = Self>, T>(
        state: impl Fn() -> Option<S>,
        deadline: Option<Instant>,
        mut check: impl FnMut(&Self) -> Option<T>,
    ) -> Option<T> {
        loop {
            let held = state()?;
            // Listen, then check: what happens between the two notifies the listener. So does the
            // end of the state, which the next line may be.
            let listener = held.threads.listen();
            // SeqCst: pairs with that in `wake_threads`. (`listen` says that it has one. It has not.)
            fence(Ordering::SeqCst);
            if let Some(answer) = check(&held) {
                return Some(answer);
            }
            drop(held);
            match deadline {
                None => listener.wait(),
                Some(deadline) => {
                    if listener.wait_deadline(deadline).is_none() {
                        return check(&*state()?);
                    }
                }
            }
        }
    }
}

/// The work in flight.
impl State {
    /// Counts one more guard, here and above; `false` if one of them is closed. The number is any
    /// thread's, and the same when the guard is dropped.
    #[must_use]
    #[inline]
    pub(crate) fn enter(&self, thread: usize) -> bool {
        // Most have nobody above.
        self.work.enter(thread) && (self.parent.is_none() || self.enter_above(thread))
    }

    fn enter_above(&self, thread: usize) -> bool {
        for (below, state) in self.and_above().enumerate().skip(1) {
            if !state.work.enter(thread) {
                for state in self.and_above().take(below) {
                    if state.work.leave(thread) {
                        state.tell_if_watched();
                    }
                }
                return false;
            }
        }
        true
    }

    /// Counts one guard less, here and above. Returns whether watchers are to be told, here or above,
    /// once the guard is forgotten: they may ask for its line.
    #[must_use]
    #[inline]
    pub(crate) fn leave(&self, thread: usize) -> bool {
        let mut told = self.work.leave(thread);
        if self.parent.is_some() {
            for state in self.and_above().skip(1) {
                told |= state.work.leave(thread);
            }
        }
        told
    }

    /// Tells those who watch the work, here and above. Who is told in vain looks again and waits on.
    #[cold]
    pub(crate) fn tell_of_leaving(&self) {
        self.and_above().for_each(Self::tell_if_watched);
    }

    /// If nobody watches, threads that wait for the request sleep on.
    fn tell_if_watched(&self) {
        if self.work.unwatch() {
            self.tell_watchers();
        }
    }

    fn tell_watchers(&self) {
        self.wake_threads();
        self.watchers.wake_all();
    }

    pub(crate) fn in_flight(&self) -> usize {
        self.work.count()
    }

    /// Closes the work if there is none. Returns whether it is closed.
    ///
    /// If not, the watchers are told when it may be; `counting`, with every guard that is dropped.
    /// So a watcher registers first and then calls this.
    pub(crate) fn close(&self, counting: bool) -> bool {
        match self.work.close(counting) {
            Closed::No => return false,
            Closed::Before => {}
            Closed::Now => self.tell_watchers(), // other drains
        }
        true
    }

    /// How many guards are held; and the threads that block are told when one is dropped.
    #[cfg(all(unix, feature = "systemd"))]
    pub(crate) fn watch_count(&self) -> usize {
        self.work.watch_count();
        self.in_flight()
    }

    /// Whether there will be no more work, or nobody waits for it any more.
    #[cfg(all(unix, feature = "systemd"))]
    pub(crate) fn is_over(&self) -> bool {
        self.work.is_closed() || self.has_reached(Stage::Forced)
    }

    pub(crate) fn watch(&self, key: &mut Option<usize>, waker: &Waker) {
        self.watchers.register(key, waker);
    }

    pub(crate) fn unwatch(&self, key: &mut Option<usize>) {
        self.watchers.remove(key);
    }
}

impl Drop for State {
    fn drop(&mut self) {
        // Our own, which hold no state while they wait.
        self.notify_threads();
        // Not by recursion: a long line of children may end here.
        let mut parent = self.parent.take();
        while let Some(Parent { state, key }) = parent {
            let mut children = lock(&state.children);
            children.remove(key);
            let unused = wakers::is_deserted(&children).then(|| std::mem::take(&mut *children));
            drop(children);
            drop(unused);
            parent = Arc::into_inner(state).and_then(|mut state| state.parent.take());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Asks again and again, because nobody tells.
    fn until(happened: impl Fn() -> bool) {
        let since = Instant::now();
        while !happened() {
            assert!(since.elapsed() < Duration::from_secs(20));
            thread::yield_now();
        }
    }

    /// Every lock that a state has is held.
    #[cfg(not(loom))]
    #[test]
    fn g10_a_repoll_takes_no_lock() {
        use std::pin::Pin;
        use std::sync::mpsc;
        use std::task::Wake;

        // Not `Waker::noop()`: where nothing is optimized, its clone has a vtable at another address.
        struct Nothing;
        impl Wake for Nothing {
            fn wake(self: Arc<Self>) {
                drop(self);
            }
        }
        let state = State::new(Force::Mark, None);
        let mut waiter = crate::Waiter::new(state.clone());
        let waker = Arc::new(Nothing).into();
        let mut poll = || Pin::new(&mut waiter).poll(&mut Context::from_waker(&waker));
        assert!(poll().is_pending());
        let (said, hears) = mpsc::channel();
        thread::scope(|scope| {
            let held = (
                state.stopping.hold(),
                lock(&state.begun),
                lock(&state.children),
            );
            scope.spawn(move || {
                let _ = said.send(poll());
            });
            let answer = hears.recv_timeout(Duration::from_secs(20));
            // Before the assert: the thread ends in any case.
            drop(held);
            assert_eq!(answer, Ok(Poll::Pending), "it waits for a lock");
        });
    }

    /// As every connection's does while `main` waits for the request.
    #[cfg(not(loom))]
    #[test]
    fn a_child_that_drains_alone_wakes_no_thread_above() {
        let parent = State::new(Force::Mark, None);
        let child = State::child(&parent);
        let [above, here] = [&parent, &child].map(|state| state.threads.listen());
        assert!(child.enter(0));
        assert!(!child.close(false));
        assert!(child.leave(0));
        child.tell_of_leaving();
        assert!(here.wait_timeout(Duration::ZERO).is_some());
        assert!(above.wait_timeout(Duration::ZERO).is_none());
    }

    #[cfg(not(loom))]
    #[test]
    fn who_was_told_and_watches_no_more_is_not_told_again() {
        let parent = State::new(Force::Mark, None);
        for state in [State::child(&parent), parent] {
            assert!(state.enter(0));
            assert!(!state.close(true));
            assert!(state.leave(0));
            state.tell_of_leaving();
            assert!(state.enter(0));
            assert!(!state.leave(0));
        }
    }

    #[test]
    fn g8_at_the_limit_guards_are_refused_and_nothing_wraps() {
        let parent = State::new(Force::Mark, None);
        let child = State::child(&parent);
        for full in [&parent, &child] {
            full.work.fill();
            let before = full.in_flight();
            for _ in 0..3 {
                assert!(!full.enter(0));
                assert!(!child.enter(0));
            }
            assert_eq!(full.in_flight(), before);
            assert!(!full.leave(0));
        }
        assert!(child.enter(0));
    }

    #[test]
    fn g2_a_child_that_another_thread_is_telling_hides_nobody_below() {
        for (slots, stage) in [(1, Stage::Stopping), (2, Stage::Forced)] {
            let parent = State::new(Force::Mark, None);
            let child = State::child(&parent);
            let below = State::child(&child);
            // As another thread leaves it, between the flag and those below.
            let cause = Cause::Requested(std::panic::Location::caller());
            let ((), _) = child.change(cause.clone(), None, |word, _| {
                (word | FIRST | REQUESTED | STOPPING | FORCED, ())
            });
            for _ in 0..slots {
                assert!(parent.request(cause.clone()));
            }
            assert!(below.has_reached(stage));
        }
    }

    #[test]
    fn g2_a_signal_after_a_trigger_tells_whom_the_trigger_has_not_told_yet() {
        let parent = State::new(Force::Mark, None);
        let child = State::child(&parent);
        let cause = Cause::Requested(std::panic::Location::caller());
        // As another thread leaves it, between the flag and those below.
        parent.change(cause.clone(), None, |word, _| {
            (word | REQUESTED | STOPPING, ())
        });
        assert!(parent.request(cause));
        assert!(child.has_reached(Stage::Stopping) && child.cause().is_some());
    }

    #[test]
    fn g7_a_lame_duck_keeps_no_state_alive() {
        let policy = Policy {
            lame_duck: Duration::from_secs(3600),
            ..Policy::DEFAULT
        };
        let state = State::new(Force::Mark, Some(policy));
        assert!(state.trigger(Cause::Requested(std::panic::Location::caller())));
        let state = {
            let weak = Arc::downgrade(&state);
            drop(state);
            weak
        };
        // Its thread may be looking just now.
        until(|| state.upgrade().is_none());
    }

    #[test]
    fn our_own_threads_end_with_the_state() {
        let state = State::new(Force::Mark, None);
        let weak = Arc::downgrade(&state);
        let waits = thread::spawn(move || State::block_weakly(&weak, None, |_| None::<()>));
        // By then it has found the state there.
        until(|| state.threads.total_listeners() > 0);
        drop(state);
        until(|| waits.is_finished());
    }

    #[cfg(feature = "signals")]
    mod policies {
        use super::*;
        use crate::{ForcePolicy, Signal};

        fn state(policy: Policy) -> Arc<State> {
            State::new(Force::Mark, Some(policy))
        }

        fn signal(state: &Arc<State>, signal: Signal) -> bool {
            state.request(Cause::Signal(signal))
        }

        #[test]
        fn only_interrupt_is_forced_by_an_interrupt() {
            let policy = Policy {
                force: ForcePolicy::OnlyInterrupt,
                ..Policy::DEFAULT
            };
            let state = state(policy);
            assert!(signal(&state, Signal::Term));
            assert!(!signal(&state, Signal::Term));
            assert!(!signal(&state, Signal::Hup));
            assert_eq!(state.stage(), Stage::Stopping);
            assert!(signal(&state, Signal::Int));
            assert_eq!(state.stage(), Stage::Forced);
            assert!(!signal(&state, Signal::Int));
        }

        #[test]
        fn an_interrupt_ends_the_lame_duck_that_a_trigger_began() {
            for (by, stage) in [
                (Signal::Term, Stage::Requested),
                (Signal::Int, Stage::Stopping),
            ] {
                let state = state(Policy {
                    lame_duck: Duration::from_secs(3600),
                    ..Policy::DEFAULT
                });
                let enough = Cause::Requested(std::panic::Location::caller());
                assert!(state.trigger(enough.clone()));
                let child = State::child(&state);
                assert!(signal(&state, by));
                assert_eq!((state.stage(), child.stage()), (stage, stage));
                assert_eq!(state.cause(), Some(enough));
            }
        }

        #[test]
        fn an_interrupt_that_may_not_force_ends_the_lame_duck() {
            let state = state(Policy {
                lame_duck: Duration::from_secs(3600),
                force: ForcePolicy::Never,
                ..Policy::DEFAULT
            });
            let child = State::child(&state);
            assert!(signal(&state, Signal::Term));
            assert!(!signal(&state, Signal::Term));
            assert_eq!(state.stage(), Stage::Requested);
            assert!(!signal(&state, Signal::Int));
            assert_eq!(
                (state.stage(), child.stage()),
                (Stage::Stopping, Stage::Stopping)
            );
        }

        #[test]
        fn an_interrupt_has_no_lame_duck_unless_asked_for() {
            let policy = Policy {
                lame_duck: Duration::from_secs(3600),
                ..Policy::DEFAULT
            };
            for (interrupted, terminated, on_interrupt) in [
                (Stage::Stopping, Stage::Requested, false),
                (Stage::Requested, Stage::Requested, true),
            ] {
                let policy = || Policy {
                    lame_duck_on_interrupt: on_interrupt,
                    ..policy.clone()
                };
                let (one, other) = (state(policy()), state(policy()));
                assert!(signal(&one, Signal::Int) && signal(&other, Signal::Term));
                assert_eq!((one.stage(), other.stage()), (interrupted, terminated));
                // Ends the threads of the lame ducks.
                assert!(signal(&one, Signal::Int) && signal(&other, Signal::Int));
            }
        }
    }
}
