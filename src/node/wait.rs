//! Waiting for a stage, by tasks and by threads.

use std::task::{Context, Poll, Waker};
#[cfg(not(target_family = "wasm"))]
use std::time::Instant;

#[cfg(not(target_family = "wasm"))]
use event_listener::Listener;

use crate::model::stage::Stage;
use crate::node::Node;
use crate::util::sync::atomic::{Ordering, fence};
use crate::util::waker_queue::{Slot, WakerQueue};

impl Node {
    /// Waits for a stage: checks, registers, and checks again.
    #[inline]
    pub(crate) fn poll(&self, stage: Stage, slot: &mut Slot, cx: &mut Context<'_>) -> Poll<()> {
        // No wake-up is lost. The requesting thread raises the flag first and then closes the queue.
        // A waker that is in the queue by then is woken. If it comes too late, `register` says so,
        // which is the second check. A waker that is in the queue already is woken all the same if
        // the flag rises right after the first check.
        if self.has_reached(stage) {
            Poll::Ready(())
        } else if slot.holds(cx.waker()) || self.register(stage, slot, cx.waker()) {
            Poll::Pending
        } else {
            Poll::Ready(())
        }
    }

    #[inline]
    fn register(&self, stage: Stage, slot: &mut Slot, waker: &Waker) -> bool {
        let wakers = self.wakers(stage);
        if stage == Stage::Forced {
            // SeqCst: pairs with the fence in `publish`. Either that thread finds the queue, which was
            // perhaps made just now, or this one sees the force (S6).
            fence(Ordering::SeqCst);
            if self.is_forced() {
                return false;
            }
        }
        wakers.register(slot, waker)
    }

    /// Registers the call of a function at the stop. Returns `false` if it is stopping already.
    pub(crate) fn register_call(&self, slot: &mut Slot, call: &Waker) -> bool {
        // The check and the registration are in this order for the same reason as in `poll`.
        !self.has_reached(Stage::Stopping) && self.stopping.register_call(slot, call)
    }

    /// Returns whether the functions that were to be called at the stop have returned.
    pub(crate) fn calls_made(&self) -> bool {
        self.stopping.calls_made()
    }

    /// Stops waiting for a stage.
    #[inline]
    pub(crate) fn forget(&self, stage: Stage, slot: &mut Slot) {
        // Once the stage is reached there is nothing to remove, and no lock to take: the thread that
        // wakes has the wakers, or takes them soon.
        if !slot.is_vacant() && !self.has_reached(stage) {
            self.wakers(stage).remove(slot);
        }
    }

    #[inline]
    fn wakers(&self, stage: Stage) -> &WakerQueue {
        match stage {
            Stage::Running | Stage::Requested => {
                let extra = self.extra.get();
                let requested = extra.and_then(|extra| extra.requested.as_ref());
                requested.unwrap_or(&self.stopping)
            }
            Stage::Stopping => &self.stopping,
            Stage::Forced => &self.extra().forced,
        }
    }

    /// Wakes the tasks that wait for a stage that was reached. `publish` was called before, and the threads were woken.
    pub(super) fn wake(&self) {
        // Drains first, of which there are few.
        let extra = self.extra.get();
        if let Some(extra) = extra {
            extra.watchers.wake_all();
        }
        let requested = extra.and_then(|extra| extra.requested.as_ref());
        // A phase is visited when its parent is told, and may not be asked yet.
        if let (Some(requested), true) = (requested, self.has_reached(Stage::Requested)) {
            requested.wake_all();
        }
        if self.has_reached(Stage::Stopping) {
            self.stopping.wake_all();
        }
        if let (Some(extra), true) = (extra, self.has_reached(Stage::Forced)) {
            extra.forced.wake_all();
        }
    }

    /// Notifies threads, drains, and tasks that show their progress.
    pub(super) fn notify_watchers(&self) {
        // SeqCst: pairs with the fences in `block` and `watch`. Either this thread finds what listens,
        // or the check of the listener sees what this thread did before (S6).
        fence(Ordering::SeqCst);
        self.wake_threads();
        if let Some(extra) = self.extra.get() {
            extra.watchers.wake_all();
        }
    }

    /// Wakes the threads that wait for this node, after `publish` or a fence.
    pub(crate) fn wake_threads(&self) {
        // Asked first, because `notify` allocates where no thread has ever listened: in most children.
        if self.threads.total_listeners() > 0 {
            self.threads.notify(usize::MAX);
        }
    }

    pub(crate) fn watch(&self, key: &mut Option<usize>, waker: &Waker) {
        self.extra().watchers.register(key, waker);
        // SeqCst: pairs with the fences in `notify_watchers` and `publish` (S6).
        fence(Ordering::SeqCst);
    }

    pub(crate) fn unwatch(&self, key: &mut Option<usize>) {
        if key.is_some() {
            self.extra().watchers.remove(key);
        }
    }

    /// Blocks this thread until `check` has an answer, or until the deadline, after which `check` is
    /// called once more.
    #[cfg(not(target_family = "wasm"))]
    pub(crate) fn block<T>(
        &self,
        deadline: Option<Instant>,
        mut check: impl FnMut() -> Option<T>,
    ) -> Option<T> {
        loop {
            // Listen, then check: what happens between the two notifies the listener.
            let listener = self.threads.listen();
            // SeqCst: pairs with the fences in `notify_watchers` and `publish`. (The docs of `listen` promise a fence;
            // its code has none.)
            fence(Ordering::SeqCst);
            if let Some(answer) = check() {
                return Some(answer);
            }
            match deadline {
                None => listener.wait(),
                Some(deadline) => {
                    if listener.wait_deadline(deadline).is_none() {
                        return check();
                    }
                }
            }
        }
    }
}
