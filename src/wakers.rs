//! The registries of wakers: [`Wakers`] for the many who wait for the request, [`Watchers`] for the
//! few who watch what comes after it.
//!
//! Invariants, cited in the code as W1..W4:
//!
//! - **W1** No foreign code runs under a lock. Wakers are cloned before it is taken, and
//!   woken or dropped after it was released: a waker may drop a task, and with it other waiters.
//! - **W2** A shard that is closed stays closed and empty. So a key is valid exactly as long as its
//!   shard is open, and needs no generation.
//! - **W3** `wake_all` closes a shard and takes its wakers in one critical section: a waker is either
//!   taken by it, or its owner is told that the shard is closed.
//! - **W4** A slot describes the waker that the registry holds for it, not the one it was cloned
//!   from. The registry keeps that one alive, so its address cannot be reused for another.

use std::cell::Cell;
use std::mem;
use std::panic::{self, AssertUnwindSafe};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::Waker;

use slab::Slab;

use crate::sync::{Mutex, lock};

/// One-shot: once woken, it is closed for ever.
pub(crate) struct Wakers {
    /// The only one, or unused: beside a lock that threads take, nobody could read `shards` in peace.
    only: Shard,
    /// None, or a power of two, so that threads don't meet at one lock.
    shards: Box<[Padded<Shard>]>,
}

/// Two cache lines apart, because the hardware prefetches in pairs.
#[repr(align(128))]
pub(crate) struct Padded<T>(pub(crate) T);

type Shard = Mutex<Entries>;

struct Entries {
    closed: bool,
    wakers: Slab<Waker>,
}

/// A waiter's place in the registry.
pub(crate) struct Slot {
    /// The index in the shard's slab, then the shard's number in the lowest bits.
    key: usize,
    /// `Waker::data` and `Waker::vtable` of the registered waker, as addresses (W4).
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

    /// Whether `waker` is the one registered. Takes no lock; this is the path of every re-poll.
    #[inline]
    pub(crate) fn holds(&self, waker: &Waker) -> bool {
        // A vacant slot holds nobody: no vtable is at address zero.
        (self.data, self.vtable) == identity(waker)
    }
}

#[inline]
fn identity(waker: &Waker) -> (usize, usize) {
    (waker.data().addr(), (&raw const *waker.vtable()).addr())
}

impl Wakers {
    /// With one shard.
    #[inline]
    pub(crate) fn new() -> Self {
        Self {
            only: Mutex::new(Entries::new()),
            shards: Box::default(),
        }
    }

    /// With one for each of the threads that are likely to run at once.
    pub(crate) fn sharded() -> Self {
        Self {
            shards: (0..shards())
                .map(|_| Padded(Mutex::new(Entries::new())))
                .collect(),
            ..Self::new()
        }
    }

    /// Puts `waker` into the slot, in place of the one there. `false`, and the slot is vacant, if
    /// everybody has been woken already.
    #[must_use]
    pub(crate) fn register(&self, slot: &mut Slot, waker: &Waker) -> bool {
        let waker = waker.clone(); // W1
        let (data, vtable) = identity(&waker);
        let old = if slot.is_vacant() {
            let number = match self.shards.len() {
                0 => 0,
                shards => thread_number() & (shards - 1),
            };
            let mut entries = lock(self.shard(number));
            if entries.closed {
                drop(entries); // before the waker: W1
                return false;
            }
            if entries.wakers.capacity() == 0 && !self.shards.is_empty() {
                // Four cache lines, or the allocator might put two shards' first wakers into one.
                entries.wakers.reserve(256 / size_of::<Waker>());
            }
            slot.key = (entries.wakers.insert(waker) << self.shard_bits()) | number;
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
        // Before the old one goes, which may panic: W4.
        (slot.data, slot.vtable) = (data, vtable);
        drop(old); // W1
        true
    }

    /// Takes the slot's waker out, if it is still there.
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
        let unused = is_deserted(&entries.wakers).then(|| mem::take(&mut entries.wakers));
        drop(entries);
        drop(waker); // W1
        drop(unused);
    }

    /// Wakes everybody, once.
    pub(crate) fn wake_all(&self) {
        for shard in self.all() {
            let mut entries = lock(shard);
            entries.closed = true;
            let wakers = mem::take(&mut entries.wakers); // W3
            drop(entries);
            for (_, waker) in wakers {
                wake(waker); // W1
            }
        }
    }

    /// The shard that a key, or a thread's number, names in its lowest bits.
    #[inline]
    fn shard(&self, key: usize) -> &Shard {
        match self.shards.len() {
            0 => &self.only,
            shards => &self.shards[key & (shards - 1)].0,
        }
    }

    /// Those in use.
    fn all(&self) -> impl Iterator<Item = &Shard> {
        let only = self.shards.is_empty().then_some(&self.only);
        only.into_iter()
            .chain(self.shards.iter().map(|shard| &shard.0))
    }

    #[inline]
    fn shard_bits(&self) -> u32 {
        // Of none, 0; and of one, too.
        self.shards.len().checked_ilog2().unwrap_or(0)
    }

    /// Takes every lock there is.
    #[cfg(all(test, not(loom)))]
    pub(crate) fn hold(&self) -> impl Sized {
        self.all().map(lock).collect::<Vec<_>>()
    }
}

impl Entries {
    fn new() -> Self {
        Self {
            closed: false,
            wakers: Slab::new(),
        }
    }
}

/// Wakes the few, as often as something happens. Each comes and goes under one lock.
///
/// Not an `event_listener::Event`, which calls wakers under its lock: one that drops another watcher,
/// as an executor does whose queue is gone, would wait for itself (W1).
pub(crate) struct Watchers(Mutex<Slab<Option<Waker>>>);

impl Watchers {
    pub(crate) fn new() -> Self {
        Self(Mutex::new(Slab::new()))
    }

    /// Puts `waker` at the watcher's key, in place of the one there.
    pub(crate) fn register(&self, key: &mut Option<usize>, waker: &Waker) {
        let waker = waker.clone(); // W1
        let mut watchers = lock(&self.0);
        let old = match *key {
            Some(key) => watchers[key].replace(waker),
            None => {
                *key = Some(watchers.insert(Some(waker)));
                None
            }
        };
        drop(watchers);
        drop(old); // W1
    }

    pub(crate) fn remove(&self, key: &mut Option<usize>) {
        let Some(key) = key.take() else { return };
        let mut watchers = lock(&self.0);
        let waker = watchers.remove(key);
        let unused = is_deserted(&watchers).then(|| mem::take(&mut *watchers));
        drop(watchers);
        drop((waker, unused)); // W1
    }

    /// Wakes everybody who has registered since the last time.
    pub(crate) fn wake_all(&self) {
        let mut watchers = lock(&self.0);
        let wakers: Vec<_> = watchers
            .iter_mut()
            .filter_map(|(_, slot)| slot.take())
            .collect();
        drop(watchers);
        for waker in wakers {
            wake(waker); // W1
        }
    }
}

fn wake(waker: Waker) {
    shielded(|| waker.wake());
}

/// Runs foreign code. If it panics, the panic hook has reported that, and nobody else is kept from
/// anything.
pub(crate) fn shielded(foreign: impl FnOnce()) {
    if let Err(payload) = panic::catch_unwind(AssertUnwindSafe(foreign)) {
        // What it carries may panic when it is dropped; and what that carries is better leaked.
        if let Err(another) = panic::catch_unwind(AssertUnwindSafe(|| drop(payload))) {
            mem::forget(another);
        }
    }
}

/// Whether there is room that a crowd needed and nobody does now.
#[inline]
pub(crate) fn is_deserted<T>(slab: &Slab<T>) -> bool {
    slab.is_empty() && slab.capacity() > 64
}

/// How many ways to split what many threads use: as many as there are processors, but not more than
/// a broadcast should have to visit. A power of two.
pub(crate) fn shards() -> usize {
    if cfg!(loom) {
        return 2;
    }
    static COUNT: OnceLock<usize> = OnceLock::new();
    *COUNT.get_or_init(|| {
        std::thread::available_parallelism()
            .map_or(1, usize::from)
            .next_power_of_two()
            .min(8)
    })
}

/// A small number for each thread, so that each keeps to its own shard.
#[inline]
#[allow(
    clippy::missing_const_for_thread_local,
    reason = "it is const; on windows-gnu clippy takes it for what the macro makes of it"
)]
pub(crate) fn thread_number() -> usize {
    #[cfg(not(loom))]
    thread_local!(static NUMBER: Cell<usize> = const { Cell::new(usize::MAX) });
    // The model's threads share one of the system's. Its macro takes no `const`.
    #[cfg(loom)]
    loom::thread_local!(static NUMBER: Cell<usize> = Cell::new(usize::MAX));
    NUMBER.with(|number| match number.get() {
        usize::MAX => new_thread_number(number),
        known => known,
    })
}

#[cold]
fn new_thread_number(number: &Cell<usize>) -> usize {
    #[cfg(not(loom))]
    static NEXT: AtomicUsize = AtomicUsize::new(0);
    // A model's every execution counts from zero again.
    #[cfg(loom)]
    loom::lazy_static!(static ref NEXT: AtomicUsize = AtomicUsize::new(0););
    // Relaxed: only the number itself matters, and the read-modify-write makes it unique.
    number.set(NEXT.fetch_add(1, Ordering::Relaxed));
    number.get()
}

#[cfg(all(test, not(loom)))]
mod tests {
    use std::sync::Arc;
    use std::task::Wake;

    use super::*;

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
    fn w4_a_waker_that_panics_as_it_goes_leaves_its_slot_to_the_next() {
        let wakers = Wakers::new();
        let mut slot = Slot::vacant();
        assert!(wakers.register(&mut slot, &Arc::new(Task(true)).into()));
        let next = Arc::new(Task(false)).into();
        let moved = panic::catch_unwind(AssertUnwindSafe(|| wakers.register(&mut slot, &next)));
        assert!(moved.is_err());
        assert!(slot.holds(&next));
        wakers.remove(&mut slot);
    }
}
