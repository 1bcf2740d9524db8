//! [`WakerQueue`]: wakers that are woken once.
//!
//! Long because the loom models of its calls stand below the code.
//!
//! Invariants of this file and of `waker_set`, cited in the code as W1..W4:
//!
//! - **W1** No foreign code runs under a lock. Wakers are cloned before the lock is taken, and are
//!   woken or dropped after it was released: a waker may drop a task, and with it other waiters.
//! - **W2** A shard that is closed stays closed and empty. So a key is valid exactly as long as its
//!   shard is open, and needs no generation.
//! - **W3** `wake_all` closes a shard and takes its wakers in one critical section. A waker is either
//!   taken by it, or its owner is told that the shard is closed.
//! - **W4** A slot describes a waker whose data the queue keeps alive, so that the address cannot be
//!   reused for another task: the one that the task polls with, if the clone in the queue has the same
//!   data, or else that clone. The two may have vtables at different addresses, where the code that
//!   clones was compiled in another unit.

use std::mem;
use std::task::Waker;

use slab::Slab;

use crate::util::panic;
use crate::util::shard::{self, Padded};
use crate::util::slab::take_unused;
use crate::util::sync::{Mutex, lock};

/// The wakers of tasks that wait for one event. Once woken, the queue is closed for good.
pub(crate) struct WakerQueue {
    /// The only shard, if there are no `shards`. It is unused otherwise: every thread reads `shards`, and
    /// must not be disturbed by a lock beside it that other threads take.
    only: Shard,
    /// None, or a power of two, so that threads do not contend for one lock.
    shards: Box<[Padded<Shard>]>,
}

type Shard = Mutex<Entries>;

struct Entries {
    closed: bool,
    /// Whether there was a call among the wakers, and `wake_all` is not done with them.
    calls: bool,
    wakers: Slab<Waker>,
}

/// The place of a waiter in the queue.
pub(crate) struct Slot {
    /// The index in the slab of a shard, then the index of the shard in the lowest bits.
    key: usize,
    /// `Waker::data` and `Waker::vtable` of the waker, as addresses (W4).
    data: usize,
    vtable: usize,
}

impl Slot {
    const VACANT: usize = usize::MAX;

    #[inline]
    pub(crate) const fn vacant() -> Self {
        Self {
            key: Self::VACANT,
            data: 0,
            vtable: 0,
        }
    }

    #[inline]
    pub(crate) fn is_vacant(&self) -> bool {
        self.key == Self::VACANT
    }

    /// Returns whether `waker` is the one registered. Takes no lock; this is the path of every
    /// re-poll.
    #[inline]
    pub(crate) fn holds(&self, waker: &Waker) -> bool {
        // A vacant slot holds none: no vtable is at address zero.
        (self.data, self.vtable) == identity(waker)
    }
}

#[inline]
fn identity(waker: &Waker) -> (usize, usize) {
    (waker.data().addr(), (&raw const *waker.vtable()).addr())
}

impl WakerQueue {
    /// Makes a queue with one shard.
    #[inline]
    pub(crate) fn new() -> Self {
        Self {
            only: Mutex::new(Entries::new()),
            shards: Box::default(),
        }
    }

    /// Makes a queue with one shard for each of the threads that are likely to run at once.
    pub(crate) fn sharded() -> Self {
        Self {
            shards: (0..shard::count())
                .map(|_| Padded(Mutex::new(Entries::new())))
                .collect(),
            ..Self::new()
        }
    }

    /// Stores `waker` in the slot, in place of the waker there. Returns `false`, and leaves the slot
    /// vacant, if the queue was woken already.
    #[must_use]
    pub(crate) fn register(&self, slot: &mut Slot, waker: &Waker) -> bool {
        let polled = waker;
        let waker = waker.clone(); // W1
        let (data, mut vtable) = identity(&waker);
        if data == polled.data().addr() {
            vtable = identity(polled).1;
        }
        let old = if slot.is_vacant() {
            let index = match self.shards.len() {
                0 => 0,
                shards => shard::thread_index() & (shards - 1),
            };
            let mut entries = lock(self.shard(index));
            if entries.closed {
                drop(entries); // before the waker: W1
                return false;
            }
            if entries.wakers.capacity() == 0 && !self.shards.is_empty() {
                // Four cache lines, or the allocator might put the first wakers of two shards into
                // one line.
                entries.wakers.reserve(256 / size_of::<Waker>());
            }
            slot.key = (entries.wakers.insert(waker) << self.shard_bits()) | index;
            None
        } else {
            let mut entries = lock(self.shard(slot.key));
            if entries.closed {
                drop(entries); // before the waker: W1
                *slot = Slot::vacant();
                return false;
            }
            let old = &mut entries.wakers[slot.key >> self.shard_bits()];
            Some(mem::replace(old, waker))
        };
        // Before the old one is dropped, which may panic: W4.
        (slot.data, slot.vtable) = (data, vtable);
        drop(old); // W1
        true
    }

    /// Stores a waker that is a call of a function, as `register` does.
    #[must_use]
    pub(crate) fn register_call(&self, slot: &mut Slot, call: &Waker) -> bool {
        // First, so that it is not called before. It comes into the same shard.
        let mut entries = lock(self.shard(shard::thread_index()));
        entries.calls |= !entries.closed;
        drop(entries);
        self.register(slot, call)
    }

    /// Removes the waker of the slot, if it is still there.
    pub(crate) fn remove(&self, slot: &mut Slot) {
        let key = slot.key;
        if key == Slot::VACANT {
            return;
        }
        *slot = Slot::vacant();
        let mut entries = lock(self.shard(key));
        if entries.closed {
            return; // W2
        }
        let waker = entries.wakers.remove(key >> self.shard_bits());
        let unused = take_unused(&mut entries.wakers);
        drop(entries);
        drop(waker); // W1
        drop(unused);
    }

    /// Wakes every task, once.
    pub(crate) fn wake_all(&self) {
        for shard in self.all() {
            let mut entries = lock(shard);
            // Not those that another thread is calling.
            let calls = entries.calls && !entries.closed;
            entries.closed = true;
            let wakers = mem::take(&mut entries.wakers); // W3
            drop(entries);
            for (_, waker) in wakers {
                panic::catch(|| waker.wake()); // W1
            }
            if calls {
                lock(shard).calls = false;
            }
        }
    }

    /// Returns whether `wake_all` is done with every call that was registered.
    pub(crate) fn calls_made(&self) -> bool {
        self.all().all(|shard| !lock(shard).calls)
    }

    /// Returns the shard that a key, or the index of a thread, names in its lowest bits.
    #[inline]
    fn shard(&self, key: usize) -> &Shard {
        match self.shards.len() {
            0 => &self.only,
            shards => &self.shards[key & (shards - 1)].0,
        }
    }

    /// Iterates over the shards in use.
    fn all(&self) -> impl Iterator<Item = &Shard> {
        let only = self.shards.is_empty().then_some(&self.only);
        only.into_iter()
            .chain(self.shards.iter().map(|shard| &shard.0))
    }

    #[inline]
    fn shard_bits(&self) -> u32 {
        // 0 for no shards, and for one.
        self.shards.len().checked_ilog2().unwrap_or(0)
    }

    /// Takes every lock there is.
    #[cfg(all(test, not(any(loom, target_family = "wasm"))))]
    pub(crate) fn hold(&self) -> impl Sized {
        self.all().map(lock).collect::<Vec<_>>()
    }
}

impl Entries {
    fn new() -> Self {
        Self {
            closed: false,
            calls: false,
            wakers: Slab::new(),
        }
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use std::panic::{AssertUnwindSafe, catch_unwind};
    use std::sync::Arc;
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::task::Wake;
    #[cfg(not(target_family = "wasm"))]
    use std::thread;

    use super::*;
    use crate::util::hooked_waker::hooked;
    #[cfg(not(target_family = "wasm"))]
    use crate::util::wake_counter::WakeCounter;

    /// Panics when it is dropped, if it is to.
    struct Task(bool);

    impl Wake for Task {
        fn wake(self: Arc<Self>) {
            drop(self);
        }
    }

    impl Drop for Task {
        fn drop(&mut self) {
            assert!(!self.0, "a waker's own fault");
        }
    }

    #[test]
    fn w4_waker_that_panics_on_drop_leaves_its_slot_to_the_next() {
        let wakers = WakerQueue::new();
        let mut slot = Slot::vacant();
        assert!(wakers.register(&mut slot, &Arc::new(Task(true)).into()));
        let next = Arc::new(Task(false)).into();
        let moved = catch_unwind(AssertUnwindSafe(|| wakers.register(&mut slot, &next)));
        assert!(moved.is_err());
        assert!(slot.holds(&next));
        wakers.remove(&mut slot);
    }

    #[test]
    fn w1_wakers_of_a_queue_are_cloned_woken_and_dropped_without_its_locks() {
        for queue in [WakerQueue::new(), WakerQueue::sharded()] {
            let queue = Arc::new(queue);
            let calls: Arc<[AtomicUsize; 2]> = Arc::default();
            let waker = || {
                let (queue, calls) = (queue.clone(), calls.clone());
                hooked(move || {
                    let locked = queue.all().any(|shard| shard.try_lock().is_err());
                    calls[usize::from(locked)].fetch_add(1, Ordering::Relaxed);
                })
            };
            let [mut one, mut other] = [Slot::vacant(), Slot::vacant()];
            for _ in 0..2 {
                // A new entry, then the first waker is replaced.
                assert!(queue.register(&mut one, &waker()));
            }
            queue.remove(&mut one);
            assert!(queue.register(&mut other, &waker()));
            queue.wake_all();
            // At its old place, and at a new one, in a shard that is closed.
            assert!(!queue.register(&mut other, &waker()));
            assert!(!queue.register(&mut one, &waker()));
            // Each of the five is cloned and dropped twice, and one is woken.
            let calls = Arc::into_inner(calls).expect("no waker is left");
            assert_eq!(calls.map(AtomicUsize::into_inner), [16, 0]);
        }
    }

    /// Comes to the queue as another thread may while this one calls. Counts how often no call was made yet.
    struct Comes(Arc<WakerQueue>, AtomicUsize);

    impl Wake for Comes {
        fn wake(self: Arc<Self>) {
            self.0.wake_all();
            let early = usize::from(!self.0.calls_made());
            self.1.fetch_add(early, Ordering::Relaxed);
        }
    }

    #[test]
    fn calls_are_made_when_the_thread_that_took_them_is_done() {
        for queue in [WakerQueue::new(), WakerQueue::sharded()] {
            let comes = Arc::new(Comes(Arc::new(queue), AtomicUsize::new(0)));
            let queue = &comes.0;
            assert!(queue.calls_made());
            assert!(queue.register_call(&mut Slot::vacant(), &comes.clone().into()));
            assert!(!queue.calls_made());
            queue.wake_all();
            assert!(queue.calls_made());
            assert_eq!(comes.1.load(Ordering::Relaxed), 1);
        }
    }

    /// More shards than a machine with few processors would have.
    #[cfg(not(target_family = "wasm"))]
    #[test]
    fn each_of_many_shards_finds_its_wakers() {
        const SHARDS: usize = 8;
        let queue = WakerQueue {
            shards: (0..SHARDS)
                .map(|_| Padded(Mutex::new(Entries::new())))
                .collect(),
            ..WakerQueue::new()
        };
        let register = || {
            [(); 3].map(|()| {
                let (task, mut slot) = (Arc::<WakeCounter>::default(), Slot::vacant());
                assert!(queue.register(&mut slot, &task.clone().into()));
                (task, slot)
            })
        };
        // Threads that come one after the other have shards that do.
        let registered: Vec<_> = (0..2 * SHARDS)
            .flat_map(|_| thread::scope(|scope| scope.spawn(register).join().unwrap()))
            .collect();
        let (mut removed, mut kept) = (vec![], vec![]);
        for (number, (task, mut slot)) in registered.into_iter().enumerate() {
            if number % 2 == 0 {
                queue.remove(&mut slot);
                removed.push(task);
            } else {
                kept.push(task);
            }
        }
        queue.wake_all();
        for (tasks, wakes) in [(removed, 0), (kept, 1)] {
            assert!(tasks.iter().all(|task| task.count() == wakes));
            // The queue has dropped its wakers.
            assert!(tasks.iter().all(|task| Arc::strong_count(task) == 1));
        }
    }
}

#[cfg(all(test, loom))]
mod models {
    use std::sync::Arc;
    use std::task::Wake;

    use loom::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
    use loom::thread;

    use super::*;

    #[derive(Default)]
    struct Call(AtomicUsize);
    impl Wake for Call {
        fn wake(self: Arc<Self>) {
            self.0.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Checks a model of a queue with one shard, and of one with several.
    fn check(model: impl Fn(Arc<WakerQueue>, Arc<Call>) + Copy + Send + Sync + 'static) {
        let queues: [fn() -> WakerQueue; 2] = [WakerQueue::new, WakerQueue::sharded];
        for queue in queues {
            let mut builder = loom::model::Builder::new();
            builder.preemption_bound = Some(3);
            builder.check(move || model(Arc::new(queue()), Arc::default()));
        }
    }

    /// Wakes all, as a node does: after a word that says why.
    fn wake(queue: &Arc<WakerQueue>, stopping: &Arc<AtomicBool>) -> thread::JoinHandle<()> {
        let (queue, stopping) = (queue.clone(), stopping.clone());
        thread::spawn(move || {
            stopping.store(true, Ordering::Release);
            queue.wake_all();
        })
    }

    /// One call, taken by either of two threads, while a third asks.
    #[test]
    fn calls_that_are_made_were_called() {
        check(|queue, call| {
            let stopping = Arc::new(AtomicBool::new(false));
            assert!(queue.register_call(&mut Slot::vacant(), &call.clone().into()));
            let wakes = [(); 2].map(|()| wake(&queue, &stopping));
            if stopping.load(Ordering::Acquire) && queue.calls_made() {
                assert_eq!(call.0.load(Ordering::Relaxed), 1);
            }
            for wake in wakes {
                wake.join().unwrap();
            }
            assert!(queue.calls_made());
            assert_eq!(call.0.load(Ordering::Relaxed), 1);
        });
    }

    /// A call that is registered while the queue is woken, and a third thread that asks.
    #[test]
    fn call_that_is_registered_meanwhile() {
        check(|queue, call| {
            let [stopping, registered] = [(); 2].map(|()| Arc::new(AtomicBool::new(false)));
            let registers = {
                let (queue, call, flag) = (queue.clone(), call.clone(), registered.clone());
                thread::spawn(move || {
                    let registered = queue.register_call(&mut Slot::vacant(), &call.into());
                    if registered {
                        flag.store(true, Ordering::Release);
                    }
                    registered
                })
            };
            let wakes = wake(&queue, &stopping);
            // Registered, stopping, and made: then it was called.
            if registered.load(Ordering::Acquire)
                && stopping.load(Ordering::Acquire)
                && queue.calls_made()
            {
                assert_eq!(call.0.load(Ordering::Relaxed), 1);
            }
            let registered = registers.join().unwrap();
            wakes.join().unwrap();
            assert_eq!(call.0.load(Ordering::Relaxed), usize::from(registered));
            assert!(queue.calls_made());
        });
    }
}
