//! How much work is in flight: the count of the guards.
//!
//! Threads that take and release guards all day must not meet at one word. So guards are counted in
//! lanes, one for each group of threads, and the word counts the lanes that are open. A child, which
//! few threads share, has no lanes: there the word counts the guards.
//!
//! Invariants, cited in the code as N1..N3:
//!
//! - **N1** Only an open lane has guards. The word counts it before it is open, and until it is shut.
//!   So while there is a guard, the word is not zero.
//! - **N2** A lane is shut only by a drain, by the exchange of a zero. So while nobody drains, the word
//!   is left alone.
//! - **N3** The word is closed only by the exchange of a zero, and stays closed. Whoever adds to it
//!   afterwards sees that it is closed, and takes it back.

use crate::sync::atomic::{AtomicUsize, Ordering};
use crate::wakers::{self, Padded};

/// Of the word: a drain has completed; no guards any more.
const CLOSED: usize = 0b001;
/// Of a lane: the word counts it.
const OPEN: usize = 0b001;
/// Of both: a drain waits; whoever drops the last guard, of the lane perhaps, tells the watchers.
const DRAINING: usize = 0b010;
/// Of both: somebody shows the progress; whoever drops any guard tells the watchers.
const COUNTING: usize = 0b100;
/// The bits above count: the guards, or the open lanes.
const ONE: usize = 0b1000;
/// From here on guards are refused. Far enough from the end for every thread to overshoot.
const LIMIT: usize = usize::MAX / 2;

pub(crate) struct Work {
    word: AtomicUsize,
    /// None, or a power of two.
    lanes: Box<[Padded<AtomicUsize>]>,
}

/// What became of an attempt to close.
pub(crate) enum Closed {
    /// There is work.
    No,
    /// It was, before.
    Before,
    /// It is now.
    Now,
}

impl Work {
    /// Without lanes.
    #[inline]
    pub(crate) fn new() -> Self {
        Self {
            word: AtomicUsize::new(0),
            lanes: Box::default(),
        }
    }

    /// With a lane for each of the threads that are likely to run at once.
    pub(crate) fn sharded() -> Self {
        // The models of a whole shutdown are large enough with one; those below have two.
        Self::with_lanes(if cfg!(loom) { 1 } else { wakers::shards() })
    }

    fn with_lanes(lanes: usize) -> Self {
        Self {
            lanes: (0..lanes).map(|_| Padded(AtomicUsize::new(0))).collect(),
            ..Self::new()
        }
    }

    /// The lane of the threads with this number.
    #[inline]
    fn lane(&self, thread: usize) -> Option<&AtomicUsize> {
        // Of none, whatever the number: there is none to get.
        let mask = self.lanes.len().wrapping_sub(1);
        self.lanes.get(thread & mask).map(|lane| &lane.0)
    }

    /// Counts one more guard. `false` if it is closed, or at the limit.
    #[must_use]
    #[inline]
    pub(crate) fn enter(&self, thread: usize) -> bool {
        match self.lane(thread) {
            Some(lane) => self.enter_lane(lane),
            None => self.enter_word(),
        }
    }

    #[inline]
    fn enter_lane(&self, lane: &AtomicUsize) -> bool {
        // Relaxed: the exchange looks again.
        let mut now = lane.load(Ordering::Relaxed);
        loop {
            if now & OPEN == 0 {
                match self.open(lane) {
                    Ok(entered) => return entered,
                    Err(opened) => now = opened,
                }
            }
            if now >= LIMIT {
                return false;
            }
            // Release: pairs with the Acquire of `count`, so that whoever sees the guard counted here
            // sees it counted at its line (L2). Relaxed: as above.
            match lane.compare_exchange_weak(now, now + ONE, Ordering::Release, Ordering::Relaxed) {
                Ok(_) => return true,
                Err(other) => now = other,
            }
        }
    }

    /// Opens a lane for its first guard. `Err` if another thread has just done so.
    #[cold]
    fn open(&self, lane: &AtomicUsize) -> Result<bool, usize> {
        if !self.enter_word() {
            return Ok(false);
        }
        // Relaxed: the exchange looks again.
        let mut now = lane.load(Ordering::Relaxed);
        while now & OPEN == 0 {
            // Release: as in `enter_lane`; and pairs with the Acquire of `shut`, so that the word is
            // counted up before it is counted down (N1).
            match lane.compare_exchange_weak(
                now,
                (now | OPEN) + ONE,
                Ordering::Release,
                Ordering::Relaxed,
            ) {
                Ok(_) => return Ok(true),
                Err(other) => now = other,
            }
        }
        // The other has counted the lane too. If it was shut since, ours may have been all that the word
        // counted, and nobody is told that it goes; but then we come back and count again, or find it
        // closed. Relaxed: it stands for nothing.
        self.word.fetch_sub(ONE, Ordering::Relaxed);
        Err(now)
    }

    #[inline]
    fn enter_word(&self) -> bool {
        // Release: as in `enter_lane`.
        let old = self.word.fetch_add(ONE, Ordering::Release);
        let entered = old & CLOSED == 0 && old < LIMIT;
        if !entered {
            // Relaxed: it stands for nothing (N3).
            self.word.fetch_sub(ONE, Ordering::Relaxed);
        }
        entered
    }

    /// Counts one guard less. Returns whether the watchers are to be told.
    #[must_use]
    #[inline]
    pub(crate) fn leave(&self, thread: usize) -> bool {
        // Release: pairs with the Acquire of `shut` or `close`, so that a drain sees what was written
        // before the guard was dropped (G8). Later changes are read-modify-writes, which carry it on.
        let counts = self.lane(thread).unwrap_or(&self.word);
        let old = counts.fetch_sub(ONE, Ordering::Release);
        let last = old < 2 * ONE;
        old & COUNTING != 0 || (last && old & DRAINING != 0)
    }

    /// Shuts a lane, unless it has guards.
    fn shut(&self, lane: &AtomicUsize) {
        // Relaxed: the exchange looks again.
        let mut now = lane.load(Ordering::Relaxed);
        while now & OPEN != 0 && now < ONE {
            // Acquire: pairs with the Release of `open` and of `leave`.
            match lane.compare_exchange_weak(now, now & !OPEN, Ordering::Acquire, Ordering::Relaxed)
            {
                Ok(_) => {
                    // Release: pairs with the Acquire of `close`, for another drain (G8).
                    self.word.fetch_sub(ONE, Ordering::Release);
                    return;
                }
                Err(other) => now = other,
            }
        }
    }

    /// How many guards are held.
    pub(crate) fn count(&self) -> usize {
        // Acquire, here and below: pairs with the Release of `enter_lane`, `open` and `enter_word`.
        let word = self.word.load(Ordering::Acquire);
        if word & CLOSED != 0 {
            // Somebody may be about to take back what was refused (N3).
            0
        } else if self.lanes.is_empty() {
            word / ONE
        } else {
            let guards = |lane: &Padded<AtomicUsize>| lane.0.load(Ordering::Acquire) / ONE;
            self.lanes.iter().map(guards).sum()
        }
    }

    /// Closes it if there is none. If there is, the watchers are to be told when that may have
    /// changed; `counting`, with every guard that is dropped.
    pub(crate) fn close(&self, counting: bool) -> Closed {
        self.watch(if counting {
            DRAINING | COUNTING
        } else {
            DRAINING
        });
        for lane in &self.lanes {
            self.shut(&lane.0);
        }
        // Acquire, here and below: pairs with the Release in `leave` and `shut` (G8), also if it was
        // another drain that closed it, because what it wrote continues the releases.
        let mut word = self.word.load(Ordering::Acquire);
        loop {
            if word & CLOSED != 0 {
                return Closed::Before;
            }
            if word >= ONE {
                return Closed::No;
            }
            match self.word.compare_exchange_weak(
                word,
                CLOSED,
                Ordering::Acquire,
                Ordering::Acquire,
            ) {
                Ok(_) => return Closed::Now,
                Err(now) => word = now,
            }
        }
    }

    /// Has the watchers told with every guard that is dropped.
    #[cfg(all(unix, feature = "systemd"))]
    pub(crate) fn watch_count(&self) {
        self.watch(COUNTING);
    }

    fn watch(&self, flags: usize) {
        // Relaxed: whoever drops a guard finds the flags where it counts, or was counted before them.
        self.word.fetch_or(flags, Ordering::Relaxed);
        for lane in &self.lanes {
            lane.0.fetch_or(flags, Ordering::Relaxed);
        }
    }

    /// The watchers are about to be told. Whoever still watches says so again. `false` if there is
    /// nobody to tell.
    ///
    /// Also if `leave` said so: then another has taken the flags since, and tells of this guard too.
    #[must_use]
    pub(crate) fn unwatch(&self) -> bool {
        // Relaxed: who registered before this is told, and the lock of the watchers orders the rest.
        let take = |counts: &AtomicUsize| {
            counts.fetch_and(!(DRAINING | COUNTING), Ordering::Relaxed) & (DRAINING | COUNTING)
        };
        let flags = take(&self.word);
        let lanes = self.lanes.iter().map(|lane| take(&lane.0));
        lanes.fold(flags, |flags, more| flags | more) != 0
    }

    #[cfg(all(unix, feature = "systemd"))]
    pub(crate) fn is_closed(&self) -> bool {
        // Relaxed: nothing is read that the guards have written.
        self.word.load(Ordering::Relaxed) & CLOSED != 0
    }

    /// Leaves room for no guard more, in the lane of thread 0.
    #[cfg(test)]
    pub(crate) fn fill(&self) {
        assert!(self.enter(0));
        let full = self.lane(0).unwrap_or(&self.word);
        full.fetch_add(LIMIT / ONE * ONE, Ordering::Relaxed);
    }
}

#[cfg(all(test, loom))]
mod models {
    use std::sync::Arc;

    use loom::sync::Notify;
    use loom::sync::atomic::AtomicUsize;
    use loom::thread;

    use super::*;

    /// A shutdown, as far as its work goes: who is told looks again.
    struct Counted {
        work: Work,
        told: Notify,
        /// What each guard has written, by thread.
        written: [AtomicUsize; 2],
    }

    impl Counted {
        fn new() -> Arc<Self> {
            Arc::new(Self {
                work: Work::with_lanes(2),
                told: Notify::new(),
                written: Default::default(),
            })
        }

        /// What whoever took a guard does with it.
        fn work(&self, lane: usize, who: usize) {
            // Relaxed: it is the count that makes it visible.
            self.written[who].store(1, Ordering::Relaxed);
            if self.work.leave(lane) && self.work.unwatch() {
                self.told.notify();
            }
        }

        /// Takes a guard and releases it. Returns whether it was let in.
        fn run(&self, lane: usize, who: usize) -> bool {
            let entered = self.work.enter(lane);
            if entered {
                self.work(lane, who);
            }
            entered
        }

        fn drain(&self, counting: bool) {
            while let Closed::No = self.work.close(counting) {
                self.told.wait();
            }
        }

        fn written(&self) -> [bool; 2] {
            [0, 1].map(|thread| self.written[thread].load(Ordering::Relaxed) == 1)
        }
    }

    fn run<T: 'static>(
        counted: &Arc<Counted>,
        what: impl FnOnce(&Counted) -> T + 'static,
    ) -> thread::JoinHandle<T> {
        let counted = counted.clone();
        thread::spawn(move || what(&counted))
    }

    /// Explores a model as far as it is reached with two preemptions.
    fn model(what: &str, model: impl Fn() + Send + Sync + 'static) {
        let executions = Arc::new(std::sync::atomic::AtomicUsize::new(0));
        let counter = executions.clone();
        let mut builder = loom::model::Builder::new();
        builder.preemption_bound = Some(2);
        builder.check(move || {
            counter.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
            model();
        });
        println!("{what}: {executions:?} executions");
    }

    /// Two guards are taken and dropped, each in a lane of its own or both in one, while a drain closes.
    fn guards_race_the_close(what: &str, lanes: [usize; 2]) {
        model(what, move || {
            let counted = Counted::new();
            let guards =
                [0, 1].map(|who| run(&counted, move |counted| counted.run(lanes[who], who)));
            counted.drain(false);
            let seen = counted.written();
            assert!(!counted.work.enter(0));
            assert_eq!(seen, guards.map(|guard| guard.join().unwrap()));
            assert_eq!(counted.work.count(), 0);
        });
    }

    /// Mutation: `open` does not count the lane in the word (N1).
    /// Mutation: `leave` subtracts with `Relaxed`.
    #[test]
    fn g8_guards_of_two_lanes_race_the_close() {
        guards_race_the_close("two lanes", [0, 1]);
    }

    /// Mutation: `open` does not take its count back when another was faster.
    #[test]
    fn g8_guards_of_one_lane_race_the_close() {
        guards_race_the_close("one lane", [0, 0]);
    }

    /// One guard is held when the drain begins, another is taken meanwhile.
    ///
    /// Mutation: `watch` leaves out the lanes.
    #[test]
    fn g8_a_drain_is_told_of_the_last_guard() {
        model("a guard is held", || {
            let counted = Counted::new();
            assert!(counted.work.enter(0));
            let one = run(&counted, |counted| counted.work(0, 0));
            let other = run(&counted, |counted| counted.run(1, 1));
            counted.drain(true);
            let seen = counted.written();
            assert_eq!(seen, [true, other.join().unwrap()]);
            one.join().unwrap();
        });
    }

    /// Two guards are dropped at once, and the flags come back while the second takes them.
    ///
    /// Mutation: `unwatch` looks only at what it took from the word.
    #[test]
    fn g8_who_takes_the_flags_of_a_lane_tells() {
        model("three guards", || {
            let counted = Counted::new();
            assert!([1, 0, 0].iter().all(|lane| counted.work.enter(*lane)));
            let one = run(&counted, |counted| counted.work(1, 0));
            let others = run(&counted, |counted| [1, 1].map(|who| counted.work(0, who)));
            counted.drain(true);
            assert_eq!(counted.written(), [true, true]);
            one.join().unwrap();
            others.join().unwrap();
        });
    }
}
