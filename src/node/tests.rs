//! Tests of a node that reach below the public API.

#[cfg(not(loom))]
mod phases;
mod policies;

use std::panic::Location;
use std::sync::Arc;
#[cfg(not(any(loom, target_family = "wasm")))]
use std::thread;
use std::time::Duration;
#[cfg(not(loom))]
use std::{
    future::{self, Future},
    panic::{AssertUnwindSafe, catch_unwind},
    pin::Pin,
    sync::mpsc,
    task::{Context, Poll, Wake, Waker},
};

#[cfg(not(any(loom, target_family = "wasm")))]
use event_listener::Listener;

use crate::model::cause::Cause;
use crate::model::policy::Policy;
use crate::model::stage::Stage;
use crate::node::{FIRST, FORCED, Node, REQUESTED, STOPPING};
use crate::util::sync::lock;
#[cfg(not(loom))]
use crate::util::task_counter::TryClose;

/// Polls a waiter with this waker, and again while every lock of its node is held.
#[cfg(not(any(loom, target_family = "wasm")))]
fn repoll_takes_no_lock(waker: &Waker) {
    let node = Node::new(None, Policy::DEFAULT);
    let mut waiter = crate::Waiter::new(node.clone());
    let mut poll = || Pin::new(&mut waiter).poll(&mut Context::from_waker(waker));
    assert!(poll().is_pending());
    let (said, hears) = mpsc::channel();
    thread::scope(|scope| {
        let held = (
            node.stopping.hold(),
            lock(&node.begun),
            lock(&node.extra().children),
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

#[cfg(not(any(loom, target_family = "wasm")))]
#[test]
fn g10_repoll_takes_no_lock() {
    // Not `Waker::noop()`: where nothing is optimized, its clone has a vtable at another address.
    struct Nothing;
    impl Wake for Nothing {
        fn wake(self: Arc<Self>) {
            drop(self);
        }
    }
    repoll_takes_no_lock(&Arc::new(Nothing).into());
}

/// Here the vtable of a clone often has another address than that of the waker (W4): the two were made
/// in two codegen units of tokio, as in what its users build.
#[cfg(not(any(loom, target_family = "wasm")))]
#[test]
fn g10_repoll_takes_no_lock_in_block_on_of_tokio() {
    let runtime = tokio::runtime::Builder::new_current_thread().build();
    runtime.unwrap().block_on(future::poll_fn(|cx| {
        repoll_takes_no_lock(cx.waker());
        Poll::Ready(())
    }));
}

/// As every connection's does while `main` waits for the request.
#[cfg(not(any(loom, target_family = "wasm")))]
#[test]
fn draining_child_wakes_no_thread_of_its_parent() {
    let parent = Node::new(None, Policy::DEFAULT);
    let child = Node::child(&parent);
    let [above, here] = [&parent, &child].map(|node| node.threads.listen());
    assert!(child.increment(0));
    assert!(child.try_close(false) == TryClose::Busy);
    assert!(child.decrement(0));
    child.notify_drains();
    assert!(here.wait_timeout(Duration::ZERO).is_some());
    assert!(above.wait_timeout(Duration::ZERO).is_none());
}

#[cfg(not(loom))]
#[test]
fn notified_watcher_is_notified_once() {
    let parent = Node::new(None, Policy::DEFAULT);
    for node in [Node::child(&parent), parent] {
        assert!(node.increment(0));
        assert!(node.try_close(true) == TryClose::Busy);
        assert!(node.decrement(0));
        node.notify_drains();
        assert!(node.increment(0));
        assert!(!node.decrement(0));
    }
}

/// When a waker learns that a guard was refused, that guard counts nowhere: a drain that is late would
/// wait for the thread that calls the waker.
#[cfg(not(loom))]
#[test]
fn refused_guard_is_not_counted_when_wakers_are_called() {
    use std::sync::Mutex;
    use std::task::Wake;

    struct Counts([Arc<Node>; 2], Mutex<Vec<[usize; 2]>>);
    impl Wake for Counts {
        fn wake(self: Arc<Self>) {
            let counts = self.0.each_ref().map(|node| node.in_flight());
            self.1.lock().unwrap().push(counts);
        }
    }
    let parent = Node::new(None, Policy::DEFAULT);
    let child = Node::child(&parent);
    let below = Node::child(&child);
    assert!(parent.try_close(false) != TryClose::Busy);
    // As while another thread takes a guard that is refused: a drain finds a count, and watches.
    assert!(below.tasks.increment(0));
    assert!(below.try_close(false) == TryClose::Busy);
    let _ = below.tasks.decrement(0);
    let counts = Arc::new(Counts([child, below.clone()], Mutex::default()));
    let mut key = None;
    below.watch(&mut key, &counts.clone().into());
    assert!(!below.increment(0));
    assert_eq!(*counts.1.lock().unwrap(), [[0, 0]]);
    below.unwatch(&mut key);
}

#[test]
fn g8_limit_refuses_guards_and_nothing_wraps() {
    let parent = Node::new(None, Policy::DEFAULT);
    let child = Node::child(&parent);
    for full in [&parent, &child] {
        full.tasks.fill();
        let before = full.in_flight();
        for _ in 0..3 {
            assert!(!full.increment(0));
            assert!(!child.increment(0));
        }
        assert_eq!(full.in_flight(), before);
        assert!(!full.decrement(0));
    }
    assert!(child.increment(0));
}

#[cfg(not(any(loom, target_family = "wasm")))]
#[test]
fn g8_clone_of_a_guard_panics_at_the_limit() {
    let shutdown = crate::Shutdown::new().child();
    let guard = shutdown.guard().expect("nothing was drained yet");
    shutdown.node().tasks.fill();
    let full = shutdown.in_flight();
    assert!(catch_unwind(AssertUnwindSafe(|| guard.clone())).is_err());
    assert_eq!(shutdown.in_flight(), full);
}

#[test]
fn g2_request_passes_a_child_that_another_thread_is_telling() {
    for (slots, stage) in [(1, Stage::Stopping), (2, Stage::Forced)] {
        let parent = Node::new(None, Policy::DEFAULT);
        let child = Node::child(&parent);
        let below = Node::child(&child);
        // As another thread leaves it, after the flag, and before the nodes below.
        let cause = Cause::Requested(Location::caller());
        let ((), _) = child.change(Some(cause.clone()), None, |word, _| {
            (word | FIRST | REQUESTED | STOPPING | FORCED, ())
        });
        for _ in 0..slots {
            assert!(parent.request(cause.clone()));
        }
        assert!(below.has_reached(stage));
    }
}

#[test]
fn g2_signal_tells_children_that_a_trigger_has_not_told_yet() {
    let parent = Node::new(None, Policy::DEFAULT);
    let child = Node::child(&parent);
    let cause = Cause::Requested(Location::caller());
    // As another thread leaves it, after the flag, and before the nodes below.
    let ((), _) = parent.change(Some(cause.clone()), None, |word, _| {
        (word | REQUESTED | STOPPING, ())
    });
    assert!(parent.request(cause));
    assert!(child.has_reached(Stage::Stopping) && child.cause().is_some());
}

#[test]
#[cfg_attr(target_family = "wasm", ignore = "starts threads")]
fn g7_lame_duck_keeps_no_node_alive() {
    let policy = Policy {
        lame_duck: Duration::from_secs(3600),
        ..Policy::DEFAULT
    };
    let node = Node::new(None, policy);
    assert!(node.trigger(Cause::Requested(Location::caller())));
    let node = {
        let weak = Arc::downgrade(&node);
        drop(node);
        weak
    };
    assert!(node.upgrade().is_none());
}
