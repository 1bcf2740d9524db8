//! [`WakerSet`]: wakers that are woken as often as something happens.

use std::mem;
use std::task::Waker;

use slab::Slab;

use crate::util::panic;
use crate::util::slab::take_unused;
use crate::util::sync::{Mutex, lock};

/// The wakers of the few tasks that watch something. Tasks come and go, each under one lock.
///
/// Not an `event_listener::Event`, which calls wakers under its lock. A waker that drops another
/// entry, as an executor does whose queue is gone, would wait for itself (W1).
pub(crate) struct WakerSet(Mutex<Slab<Option<Waker>>>);

impl WakerSet {
    pub(crate) fn new() -> Self {
        Self(Mutex::new(Slab::new()))
    }

    /// Stores `waker` at `key`, in place of the waker there, or at a new key.
    pub(crate) fn register(&self, key: &mut Option<usize>, waker: &Waker) {
        let waker = waker.clone(); // W1
        let mut wakers = lock(&self.0);
        let old = match *key {
            Some(key) => wakers[key].replace(waker),
            None => {
                *key = Some(wakers.insert(Some(waker)));
                None
            }
        };
        drop(wakers);
        drop(old); // W1
    }

    /// Removes the entry at `key`.
    pub(crate) fn remove(&self, key: &mut Option<usize>) {
        let Some(key) = key.take() else { return };
        let mut wakers = lock(&self.0);
        let waker = wakers.remove(key);
        let unused = take_unused(&mut wakers);
        drop(wakers);
        drop(unused);
        // W1. Caught, because a drain that ends has others to notify.
        panic::catch(|| drop(waker));
    }

    /// Wakes each task that has registered since the last time.
    pub(crate) fn wake_all(&self) {
        let mut wakers = lock(&self.0);
        let taken: Vec<_> = wakers
            .iter_mut()
            .filter_map(|(_, slot)| mem::take(slot))
            .collect();
        drop(wakers);
        for waker in taken {
            panic::catch(|| waker.wake()); // W1
        }
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

    use super::*;
    use crate::util::hooked_waker::hooked;

    /// A drain that ends removes its waker, and then notifies others.
    #[test]
    fn g5_waker_that_panics_when_it_is_dropped_can_be_removed() {
        let panics = Arc::new(AtomicBool::new(false));
        let hook = panics.clone();
        let waker = hooked(move || assert!(!hook.load(Ordering::Relaxed), "expected"));
        let (set, mut key) = (WakerSet::new(), None);
        set.register(&mut key, &waker);
        panics.store(true, Ordering::Relaxed);
        set.remove(&mut key);
        panics.store(false, Ordering::Relaxed);
        assert_eq!(key, None);
    }

    #[test]
    fn w1_wakers_of_a_set_are_cloned_woken_and_dropped_without_its_lock() {
        let set = Arc::new(WakerSet::new());
        let calls: Arc<[AtomicUsize; 2]> = Arc::default();
        let waker = || {
            let (set, calls) = (set.clone(), calls.clone());
            hooked(move || {
                let locked = set.0.try_lock().is_err();
                calls[usize::from(locked)].fetch_add(1, Ordering::Relaxed);
            })
        };
        let mut key = None;
        for _ in 0..2 {
            set.register(&mut key, &waker()); // a new entry, then the first waker is replaced
        }
        set.wake_all();
        set.register(&mut key, &waker());
        set.remove(&mut key);
        // Each of the three is cloned and dropped twice, and one is woken.
        let calls = Arc::into_inner(calls).expect("no waker is left");
        assert_eq!(calls.map(AtomicUsize::into_inner), [10, 0]);
    }
}
