//! [`TaskCounter`]: how many guards are held.
//!
//! Long because the loom models of its orderings stand below the code.
//!
//! Threads that take and release guards all day must not contend for one word. So guards are counted
//! in shards, one for each group of threads, and the word counts the shards that are open. A child,
//! which few threads share, has no shards: there the word counts the guards.
//!
//! Invariants, cited in the code as N1..N3:
//!
//! - **N1** Guards are held in open shards alone. The word counts a shard before it is open, and until
//!   it is closed. So while a guard is held, the word is not zero.
//! - **N2** A shard is closed only by a drain, by the exchange of a zero. So while no drain runs, the
//!   word changes only when a shard is opened, and when another thread was faster to open it.
//! - **N3** The word is closed only by the exchange of a zero, and stays closed. A thread that adds to
//!   it afterwards sees that it is closed, and subtracts again.

use std::sync::Arc;

use crate::util::shard::{self, Padded};
use crate::util::sync::atomic::{AtomicUsize, Ordering};

/// Of the word: a drain has completed. Never cleared (N3).
/// Of a shard: the word does not count it (N1).
///
/// Guards are added to what is closed too, and the thread that finds it so opens the shard, or
/// subtracts again. The highest bit, so that one comparison finds whether a guard is to be refused.
const CLOSED: usize = 1 << (usize::BITS - 1);
/// From here on guards are refused. It is far enough from `CLOSED` for every thread to overshoot.
const LIMIT: usize = CLOSED / 2;
/// Of the word and of a shard: a drain waits.
///
/// Set by a drain before it looks at the counts, and taken by the thread that notifies the watchers.
/// While it is set, a `decrement` to zero, of the word or of a shard, returns `true`.
const DRAINING: usize = 0b01;
/// Of the word and of a shard: a task shows the progress of a drain.
///
/// Set and taken as `DRAINING` is. While it is set, every `decrement` returns `true`.
const COUNTING: usize = 0b10;
/// The bits from here on count: the guards, or in the word of a sharded counter the open shards.
const ONE: usize = 0b100;

/// Counts guards, until it is closed while there are none.
pub(crate) struct TaskCounter {
    word: AtomicUsize,
    /// A power of two of them.
    shards: Option<Shards>,
}

type Shards = Arc<[Padded<AtomicUsize>]>;

/// A shard, which a call site holds so that its guards find it without the counter.
pub(crate) struct Shard {
    shards: Shards,
    index: usize,
}

/// What an attempt to close has found.
#[must_use]
#[derive(PartialEq, Eq)]
pub(crate) enum TryClose {
    /// Guards are held, or are being taken.
    Busy,
    /// The counter was closed before.
    WasClosed,
    /// This attempt has closed it.
    Closed,
}

impl TaskCounter {
    /// Makes a counter without shards.
    #[inline]
    pub(crate) fn new() -> Self {
        Self {
            word: AtomicUsize::new(0),
            shards: None,
        }
    }

    /// Makes a counter with a shard for each of the threads that are likely to run at once.
    pub(crate) fn sharded() -> Self {
        // One shard keeps the models of a whole shutdown small. The models below have two.
        Self::with_shards(if cfg!(loom) { 1 } else { shard::count() })
    }

    fn with_shards(shards: usize) -> Self {
        let shard = |_| Padded(AtomicUsize::new(CLOSED));
        Self {
            shards: Some((0..shards).map(shard).collect()),
            ..Self::new()
        }
    }

    /// Returns where the guards of the threads with this index are counted.
    #[inline]
    fn counts(&self, thread: usize) -> &AtomicUsize {
        match &self.shards {
            None => &self.word,
            Some(shards) => &shard::of_thread(shards, thread).0,
        }
    }

    /// Returns the shard of the threads with this index, if there are shards.
    pub(crate) fn shard(&self, thread: usize) -> Option<Shard> {
        let shards = self.shards.as_ref()?;
        Some(Shard {
            shards: shards.clone(),
            index: thread & (shards.len() - 1),
        })
    }

    fn shards(&self) -> impl Iterator<Item = &AtomicUsize> {
        self.shards
            .iter()
            .flat_map(|shards| shards.iter())
            .map(|shard| &shard.0)
    }

    /// Counts one more guard. Returns `false` if the counter is closed, or at its limit.
    #[must_use]
    #[inline]
    pub(crate) fn increment(&self, thread: usize) -> bool {
        self.add(self.counts(thread))
    }

    /// Counts one more guard, as `increment` does, in a shard of this counter.
    #[must_use]
    #[inline]
    pub(crate) fn increment_in(&self, shard: &Shard) -> bool {
        self.add(shard.counts())
    }

    #[inline]
    fn add(&self, counts: &AtomicUsize) -> bool {
        // Relaxed: the thread has written nothing yet that a drain must see; `subtract` releases.
        let old = counts.fetch_add(ONE, Ordering::Relaxed);
        old < LIMIT || self.add_closed(counts, old)
    }

    /// Opens the shard that has counted a guard while it was closed, or takes the guard back.
    #[cold]
    fn add_closed(&self, counts: &AtomicUsize, old: usize) -> bool {
        let is_closed_shard = old & CLOSED != 0 && !std::ptr::eq(counts, &self.word);
        let counted = is_closed_shard && self.open(counts);
        if !counted {
            // Relaxed: the caller has no guard and has written nothing that a drain must see (N3).
            counts.fetch_sub(ONE, Ordering::Relaxed);
        }
        counted
    }

    /// Opens a shard that has counted a guard. Returns `false` if the counter is closed.
    fn open(&self, shard: &AtomicUsize) -> bool {
        // Relaxed, here and below: a drain can close the shard only after the `subtract` of this guard,
        // whose Release it acquires. So the word is incremented before it is decremented (N1).
        let closed = self.word.fetch_add(ONE, Ordering::Relaxed) & CLOSED != 0;
        // Another thread that was faster has counted the shard, which this guard keeps open.
        if closed || shard.fetch_and(!CLOSED, Ordering::Relaxed) & CLOSED == 0 {
            self.word.fetch_sub(ONE, Ordering::Relaxed);
        }
        !closed
    }

    /// Counts one guard less. Returns whether the watchers are to be notified.
    #[must_use]
    #[inline]
    pub(crate) fn decrement(&self, thread: usize) -> bool {
        Self::subtract(self.counts(thread))
    }

    #[inline]
    fn subtract(counts: &AtomicUsize) -> bool {
        // Release: pairs with the Acquire in `close` or `try_close`, so that a drain sees what was
        // written before the guard was dropped (G8). Later changes of the word are
        // read-modify-writes, which continue the release sequence.
        let old = counts.fetch_sub(ONE, Ordering::Release);
        let last = old < 2 * ONE;
        old & COUNTING != 0 || (last && old & DRAINING != 0)
    }

    /// Closes a shard, unless it has guards.
    fn close(&self, shard: &AtomicUsize) {
        // Relaxed: the exchange looks again, and a drain that finds guards here reads nothing else.
        let mut now = shard.load(Ordering::Relaxed);
        while now < ONE {
            // Acquire: pairs with the Release in `subtract` (G8, N1).
            match shard.compare_exchange_weak(
                now,
                now | CLOSED,
                Ordering::Acquire,
                Ordering::Relaxed,
            ) {
                Ok(_) => {
                    // Release: pairs with the Acquire in `try_close`, for another drain (G8).
                    self.word.fetch_sub(ONE, Ordering::Release);
                    return;
                }
                Err(other) => now = other,
            }
        }
    }

    /// Returns how many guards are held.
    pub(crate) fn count(&self) -> usize {
        let held = |counts: &AtomicUsize| {
            // Relaxed: the count is only shown, and no other data depends on it.
            match counts.load(Ordering::Relaxed) {
                // What is counted here is about to be taken back, or to open the shard.
                closed if closed & CLOSED != 0 => 0,
                open => open / ONE,
            }
        };
        match self.shards {
            None => held(&self.word),
            Some(_) => self.shards().map(held).sum(),
        }
    }

    /// Closes the counter if no guard is held. If guards are held, `decrement` returns `true` when that
    /// may have changed; if `counting`, for every guard.
    pub(crate) fn try_close(&self, counting: bool) -> TryClose {
        self.watch(if counting {
            DRAINING | COUNTING
        } else {
            DRAINING
        });
        for shard in self.shards() {
            self.close(shard);
        }
        // Acquire, here and below: pairs with the Release in `subtract` and `close` (G8), also if
        // another drain has closed the counter, because its exchange continues the release sequence.
        let mut word = self.word.load(Ordering::Acquire);
        loop {
            if word & CLOSED != 0 {
                return TryClose::WasClosed;
            }
            if word >= ONE {
                return TryClose::Busy;
            }
            match self.word.compare_exchange_weak(
                word,
                CLOSED,
                Ordering::Acquire,
                Ordering::Acquire,
            ) {
                Ok(_) => return TryClose::Closed,
                Err(now) => word = now,
            }
        }
    }

    fn watch(&self, flags: usize) {
        // Relaxed: a `decrement` finds the flags in the word that it changes, or its change comes
        // before them, and the caller finds the guard gone.
        self.word.fetch_or(flags, Ordering::Relaxed);
        for shard in self.shards() {
            shard.fetch_or(flags, Ordering::Relaxed);
        }
    }

    /// Takes the flags of the watchers, because they are about to be notified. A watcher that still
    /// waits sets them again. Returns `false` if there was none.
    ///
    /// `false` is right also after a `decrement` that returned `true`: another thread has taken the
    /// flags since, and notifies the watchers of this guard too.
    #[must_use]
    pub(crate) fn unwatch(&self) -> bool {
        // Relaxed: the SeqCst fences in `Node::watch`, `block` and `notify_watchers` order what registers
        // and the notification.
        let take = |counts: &AtomicUsize| {
            counts.fetch_and(!(DRAINING | COUNTING), Ordering::Relaxed) & (DRAINING | COUNTING)
        };
        let flags = take(&self.word);
        let shards = self.shards().map(take);
        shards.fold(flags, |flags, more| flags | more) != 0
    }

    #[cfg(all(unix, feature = "systemd"))]
    pub(crate) fn is_closed(&self) -> bool {
        // Relaxed: the caller reads nothing that the guards have written.
        self.word.load(Ordering::Relaxed) & CLOSED != 0
    }

    /// Leaves room for no guard more, in the shard of thread 0.
    #[cfg(test)]
    pub(crate) fn fill(&self) {
        assert!(self.increment(0));
        self.counts(0).fetch_add(LIMIT - ONE, Ordering::Relaxed);
    }
}

impl Shard {
    #[inline]
    fn counts(&self) -> &AtomicUsize {
        &self.shards[self.index].0
    }

    /// Counts one guard less, as `TaskCounter::decrement` does.
    #[must_use]
    #[inline]
    pub(crate) fn decrement(&self) -> bool {
        TaskCounter::subtract(self.counts())
    }
}

#[cfg(all(test, loom))]
mod models {
    use std::sync::Arc;

    use loom::sync::Notify;
    use loom::sync::atomic::AtomicUsize;
    use loom::thread;

    use super::*;

    /// What a shutdown is to its guards: a counter, and a drain that is notified.
    struct Counted {
        counter: TaskCounter,
        notified: Notify,
        /// What the holder of each guard has written, by thread.
        written: [AtomicUsize; 2],
    }

    impl Counted {
        fn new() -> Arc<Self> {
            Arc::new(Self {
                counter: TaskCounter::with_shards(2),
                notified: Notify::new(),
                written: Default::default(),
            })
        }

        /// Does what the holder of a guard does, and releases the guard.
        fn work(&self, shard: usize, thread: usize) {
            // Relaxed: the counter publishes it (G8).
            self.written[thread].store(1, Ordering::Relaxed);
            if self.counter.decrement(shard) && self.counter.unwatch() {
                self.notified.notify();
            }
        }

        /// Takes a guard and releases it. Returns whether the guard was counted.
        fn run(&self, shard: usize, thread: usize) -> bool {
            let counted = self.counter.increment(shard);
            if counted {
                self.work(shard, thread);
            }
            counted
        }

        fn drain(&self, counting: bool) {
            while self.counter.try_close(counting) == TryClose::Busy {
                self.notified.wait();
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

    /// Two guards are taken and dropped, in two shards or in one, while a drain closes the counter.
    fn guards_race_the_close(what: &str, shards: [usize; 2]) {
        model(what, move || {
            let counted = Counted::new();
            let guards = [0, 1]
                .map(|thread| run(&counted, move |counted| counted.run(shards[thread], thread)));
            counted.drain(false);
            let seen = counted.written();
            assert!(!counted.counter.increment(0));
            assert_eq!(seen, guards.map(|guard| guard.join().unwrap()));
            assert_eq!(counted.counter.count(), 0);
        });
    }

    /// Mutation: `TaskCounter::open` does not count the shard in the word (N1).
    /// Mutation: `TaskCounter::subtract` subtracts with `Relaxed`.
    #[test]
    fn g8_guards_of_two_shards_race_the_close() {
        guards_race_the_close("two shards", [0, 1]);
    }

    /// Mutation: `TaskCounter::open` does not take its count back when another thread was faster.
    #[test]
    fn g8_guards_of_one_shard_race_the_close() {
        guards_race_the_close("one shard", [0, 0]);
    }

    /// One guard is held when the drain begins, another is taken meanwhile.
    ///
    /// Mutation: `TaskCounter::watch` leaves out the shards.
    #[test]
    fn g8_drain_is_notified_of_the_last_guard() {
        model("a guard is held", || {
            let counted = Counted::new();
            assert!(counted.counter.increment(0));
            let one = run(&counted, |counted| counted.work(0, 0));
            let other = run(&counted, |counted| counted.run(1, 1));
            counted.drain(true);
            let seen = counted.written();
            assert_eq!(seen, [true, other.join().unwrap()]);
            one.join().unwrap();
        });
    }

    /// Two guards are dropped at once, and a drain sets the flags again while the second takes them.
    ///
    /// Mutation: `TaskCounter::unwatch` looks only at what it took from the word.
    #[test]
    fn g8_taking_the_flags_of_a_shard_notifies() {
        model("three guards", || {
            let counted = Counted::new();
            assert!(
                [1, 0, 0]
                    .iter()
                    .all(|shard| counted.counter.increment(*shard))
            );
            let one = run(&counted, |counted| counted.work(1, 0));
            let others = run(&counted, |counted| {
                [1, 1].map(|thread| counted.work(0, thread))
            });
            counted.drain(true);
            assert_eq!(counted.written(), [true, true]);
            one.join().unwrap();
            others.join().unwrap();
        });
    }
}
