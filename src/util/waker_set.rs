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
        drop((waker, unused)); // W1
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
