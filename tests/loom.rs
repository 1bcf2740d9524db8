//! The shipped code under every interleaving, and every reordering that the memory model permits.
//!
//! loom replaces the atomics and mutexes of the crate, and the thread parking of event-listener. What
//! stays std's is trusted: `Arc`, `Weak` and `OnceLock`. loom does not see what they order, so the last
//! handle of a shutdown, and of a child, is dropped where no other thread runs.
//!
//! Each model names mutations under which it fails, by their names in `mutations.toml`. `./ci.sh loom`
//! runs the models, `./ci.sh mutations` shows that they fail.
#![cfg(loom)]

mod support;

use std::sync::Arc;
use std::task::{Poll, Wake, Waker};
use std::time::Duration;

use loom::future::block_on;
use loom::sync::Mutex;
use loom::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use loom::thread;
use support::model::model;
use support::{Call, Counter, poll};
use winddown::{Shutdown, Stage};

const FOR_EVER: Duration = Duration::MAX;

/// Spawns a model thread.
fn run<T: 'static>(what: impl FnOnce() -> T + 'static) -> thread::JoinHandle<T> {
    thread::spawn(what)
}

/// Mutation: `wake_all` does not set `closed`.
/// Mutation: `Node::poll` is `Pending` whatever `register` says.
/// Mutation: `Node::announce_asked` does not wake the node itself.
#[test]
fn g1_task_races_the_request() {
    model(None, || {
        let shutdown = Shutdown::new();
        let waiter = shutdown.waiter();
        let task = run(move || block_on(waiter));
        assert!(shutdown.request_shutdown());
        task.join().unwrap();
    });
}

/// Mutation: `Node::block` listens after it has checked.
/// Mutation: `Node::block` has no fence between the two.
/// Mutation: `Node::announce_asked` has no fence.
/// Mutation: `Node::announce_asked` does not wake the threads.
#[test]
fn g1_thread_races_the_request() {
    model(None, || {
        let shutdown = Shutdown::new();
        let waiter = shutdown.waiter();
        let blocked = run(move || waiter.wait_blocking());
        assert!(shutdown.request_shutdown());
        blocked.join().unwrap();
    });
}

/// A waiter for the force, beside one for the request.
///
/// Mutation: `Node::wake` does not wake `forced`.
/// Mutation: `Node::register` has no fence (S6).
/// Mutation: `Node::register` does not look again (S6).
#[test]
fn g1_waiter_for_the_force_is_woken() {
    model(2, || {
        let shutdown = Shutdown::new();
        let (first, second) = (shutdown.waiter(), shutdown.forced());
        let task = run(move || {
            block_on(first);
            block_on(second);
        });
        let other = shutdown.clone();
        let asks = run(move || other.request_shutdown());
        assert!(shutdown.request_shutdown());
        assert!(asks.join().unwrap());
        task.join().unwrap();
    });
}

/// Mutation: `Node::change` stores the word, with `REQUESTED`, before it takes the lock.
/// Mutation: `Node::change` stores the word with `Relaxed`.
/// Mutation: `Node::has_reached` loads the word with `Relaxed`.
#[test]
fn g2_cause_is_visible_before_the_flag() {
    model(None, || {
        let shutdown = Shutdown::new();
        let before = Arc::new(AtomicUsize::new(0));
        let (seer, seen) = (shutdown.clone(), before.clone());
        let sees = run(move || {
            if seer.is_requested() {
                assert_eq!(seen.load(Ordering::Relaxed), 1, "what was done before");
                assert!(seer.cause().is_some());
            }
        });
        before.store(1, Ordering::Relaxed);
        assert!(shutdown.request_shutdown());
        assert!(shutdown.is_requested() && shutdown.cause().is_some());
        sees.join().unwrap();
    });
}

/// Mutation: `Node::stage` loads the word with `Relaxed`.
#[test]
fn g2_stage_shows_what_was_done_before() {
    model(None, || {
        let shutdown = Shutdown::new();
        let before = Arc::new(AtomicUsize::new(0));
        let (seer, seen) = (shutdown.clone(), before.clone());
        let sees = run(move || {
            if seer.stage() != Stage::Running {
                assert_eq!(seen.load(Ordering::Relaxed), 1);
            }
        });
        before.store(1, Ordering::Relaxed);
        assert!(shutdown.request_shutdown());
        sees.join().unwrap();
    });
}

/// The cause names the trigger that returned `true`.
///
/// Mutation: `Node::change` loads the word before it takes the lock.
#[test]
fn g2_one_of_two_triggers_begins() {
    model(None, || {
        let shutdown = Shutdown::new();
        let other = shutdown.clone();
        let task = run(move || other.trigger("one"));
        let two = shutdown.trigger("two");
        let one = task.join().unwrap();
        assert!(one != two);
        let name = if one { "one" } else { "two" };
        assert_eq!(shutdown.cause().unwrap().to_string(), name);
    });
}

/// Mutation: `Node::change` loads the word before it takes the lock.
/// Mutation: `Node::request` gives the second slot to a caller that finds it taken.
#[test]
fn g3_three_senders_two_slots() {
    model(4, || {
        let shutdown = Shutdown::new();
        let senders: Vec<_> = (0..2)
            .map(|_| {
                let shutdown = shutdown.clone();
                run(move || shutdown.request_shutdown())
            })
            .collect();
        let mut accepted = usize::from(shutdown.request_shutdown());
        for sender in senders {
            accepted += usize::from(sender.join().unwrap());
        }
        assert_eq!(accepted, 2);
        assert!(shutdown.is_forced());
    });
}

/// A waiter is cloned, moved to another waker and dropped, each while the wakers are called. None of
/// them stays asleep, and no waker stays behind.
///
/// Mutation: `WakerQueue::remove` does not ask whether the shard is closed.
/// Mutation: `WakerQueue::register` puts a new waker into a closed shard.
/// Mutation: `WakerQueue::register` replaces a waker in a closed shard.
/// Mutation: `wake_all` closes the shard after it has taken the wakers, and released the lock (W3).
#[test]
fn g5_g10_clone_move_and_drop_during_the_broadcast() {
    model(None, || {
        let shutdown = Shutdown::new();
        let (first_counter, first) = Counter::new();
        let (second_counter, second) = Counter::new();
        let (third_counter, third) = Counter::new();
        let mut waiter = shutdown.waiter();
        assert!(poll(&mut waiter, &first).is_pending());

        let task = run(move || {
            let mut clone = waiter.clone();
            let cloned = poll(&mut clone, &third).is_pending();
            let moved = poll(&mut waiter, &second).is_pending();
            drop(waiter);
            (clone, cloned, moved)
        });
        let asks = run(move || shutdown.request_shutdown());
        assert!(asks.join().unwrap());
        let (clone, cloned, moved) = task.join().unwrap();
        assert!(first_counter.count() <= 1 && second_counter.count() <= usize::from(moved));
        assert_eq!(third_counter.count(), usize::from(cloned), "it was woken");
        drop((clone, first));
        for counter in [first_counter, second_counter, third_counter] {
            assert_eq!(Arc::strong_count(&counter), 1, "no waker stays behind");
        }
    });
}

/// Polled again by the same task, a waiter does one atomic load, and takes no lock: loom gives up a
/// model that does more than so many operations. (It counts a load twice: for the thread that runs, and
/// for the value that is read.)
///
/// Mutation: `Node::poll` registers without asking whether the slot holds the waker.
/// Mutation: `Node::poll` takes the lock of `begun`.
#[test]
fn g10_repoll_is_one_load() {
    const POLLS: usize = 1_000;
    let mut builder = loom::model::Builder::new();
    builder.max_branches = 2 * POLLS + 100;
    builder.check(|| {
        let shutdown = Shutdown::new();
        let mut waiter = shutdown.waiter();
        let (_, waker) = Counter::new();
        for _ in 0..POLLS {
            assert!(poll(&mut waiter, &waker).is_pending());
        }
    });
}

/// A waker that drops a waiter when it is dropped, as an executor does whose queue is gone, while the
/// wakers are called.
///
/// Mutation: `WakerQueue::register` drops the old waker under the lock (W1).
#[test]
fn g5_a_waker_that_drops_another_waiter() {
    struct Owner(std::sync::Mutex<Option<winddown::Waiter>>);
    impl Wake for Owner {
        fn wake(self: Arc<Self>) {
            drop(self.0.lock().unwrap().take());
        }
    }
    model(None, || {
        let shutdown = Shutdown::new();
        let (_, waker) = Counter::new();
        let mut owned = shutdown.waiter();
        let mut waiter = shutdown.waiter();
        assert!(poll(&mut owned, &waker).is_pending());
        let owner = Waker::from(Arc::new(Owner(Some(owned).into())));
        assert!(poll(&mut waiter, &owner).is_pending());
        drop(owner);
        let other = shutdown.clone();
        let asks = run(move || other.trigger("x"));
        let (counter, waker) = Counter::new();
        let pending = poll(&mut waiter, &waker).is_pending();
        assert!(asks.join().unwrap());
        assert_eq!(counter.count(), usize::from(pending));
    });
}

/// Two drains, each dropped by the waker of the other.
///
/// Mutation: `WakerSet::wake_all` wakes under the lock (W1).
#[test]
fn g5_wakers_that_drop_drains() {
    struct Dropper(std::sync::Mutex<Option<winddown::Drain>>);
    impl Wake for Dropper {
        fn wake(self: Arc<Self>) {
            let drain = self.0.lock().unwrap().take();
            drop(drain);
        }
    }
    model(5, || {
        let shutdown = Shutdown::new();
        let guard = shutdown.guard();
        let droppers = [(); 2].map(|()| Arc::new(Dropper(None.into())));
        let mut drains = [(); 2].map(|()| shutdown.drain(FOR_EVER));
        for (drain, dropper) in drains.iter_mut().zip(&droppers) {
            assert!(poll(drain, &dropper.clone().into()).is_pending());
        }
        for (drain, dropper) in drains.into_iter().zip(droppers.iter().rev()) {
            *dropper.0.lock().unwrap() = Some(drain);
        }
        let works = run(move || drop(guard));
        assert_eq!(block_on(shutdown.drain(FOR_EVER)), Ok(()));
        works.join().unwrap();
        for dropper in droppers {
            assert!(dropper.0.lock().unwrap().is_none());
        }
    });
}

/// Work that may or may not have been let in, and what it wrote.
struct Work(Arc<AtomicUsize>);

impl Work {
    fn new() -> (Self, Arc<AtomicUsize>) {
        let written = Arc::new(AtomicUsize::new(0));
        (Self(written.clone()), written)
    }

    /// Takes a guard, works and releases it. Returns whether it was let in.
    fn run(&self, shutdown: &Shutdown) -> bool {
        let guard = shutdown.guard();
        if guard.is_some() {
            // Relaxed: it is the guard that makes it visible.
            self.0.store(1, Ordering::Relaxed);
        }
        guard.is_some()
    }
}

/// Mutation: `TaskCounter::add` lets a guard in whatever it finds.
/// Mutation: `TaskCounter::subtract` subtracts with `Relaxed`.
/// Mutation: `TaskCounter::try_close` stores `CLOSED` in place of the exchange.
#[test]
fn g8_guard_races_the_close() {
    model(5, || {
        let shutdown = Shutdown::new();
        let (work, written) = Work::new();
        let other = shutdown.clone();
        let task = run(move || work.run(&other));
        assert_eq!(shutdown.drain_blocking(FOR_EVER), Ok(()));
        let seen = written.load(Ordering::Relaxed);
        let taken = task.join().unwrap();
        assert_eq!(seen, usize::from(taken));
        assert_eq!(shutdown.in_flight(), 0);
        assert!(shutdown.guard().is_none());
    });
}

/// Two guards that are held when the drain begins.
///
/// Mutation: `TaskCounter::subtract` subtracts with `Relaxed`.
/// Mutation: `TaskCounter::try_close` does not watch.
/// Mutation: `Node::block` listens after it has checked.
/// Mutation: `Node::notify_watchers` does not wake the threads.
#[test]
fn g8_thread_drain_sees_what_was_written() {
    model(3, || {
        let shutdown = Shutdown::new();
        let written = [(); 2].map(|()| Arc::new(AtomicUsize::new(0)));
        let tasks = written.clone().map(|written| {
            let guard = shutdown.guard().unwrap();
            run(move || {
                written.store(1, Ordering::Relaxed);
                drop(guard);
            })
        });
        assert_eq!(shutdown.drain_blocking(FOR_EVER), Ok(()));
        for written in written {
            assert_eq!(written.load(Ordering::Relaxed), 1);
        }
        for task in tasks {
            task.join().unwrap();
        }
    });
}

/// Mutation: `TaskCounter::subtract` subtracts with `Relaxed`.
/// Mutation: `TaskCounter::try_close` does not watch.
/// Mutation: `Drain::poll_with` registers after it has asked.
/// Mutation: `Node::notify_watchers` does not wake `watchers`.
#[test]
fn g8_task_drain_sees_what_was_written() {
    model(3, || {
        let shutdown = Shutdown::new();
        let written = [(); 2].map(|()| Arc::new(AtomicUsize::new(0)));
        let tasks = written.clone().map(|written| {
            let guard = shutdown.guard().unwrap();
            run(move || {
                written.store(1, Ordering::Relaxed);
                drop(guard);
            })
        });
        assert_eq!(block_on(shutdown.drain(FOR_EVER)), Ok(()));
        for written in written {
            assert_eq!(written.load(Ordering::Relaxed), 1);
        }
        for task in tasks {
            task.join().unwrap();
        }
    });
}

/// Also the drain that finds the work closed by the other sees what was written. (That the exchange in
/// `close` acquires cannot be seen here: `notify`, which follows, has a fence.)
///
/// Mutation: `TaskCounter::close` subtracts from the word with `Relaxed`.
#[test]
fn g8_two_drains_see_what_was_written() {
    model(2, || {
        let shutdown = Shutdown::new();
        let (work, written) = Work::new();
        let (other, guard) = (shutdown.clone(), shutdown.guard());
        let works = run(move || {
            assert!(work.run(&other), "it is open while a guard is held");
            drop(guard);
        });
        let (other, wrote) = (shutdown.clone(), written.clone());
        let drains = run(move || {
            assert_eq!(block_on(other.drain(FOR_EVER)), Ok(()));
            assert_eq!(wrote.load(Ordering::Relaxed), 1);
        });
        assert_eq!(block_on(shutdown.drain(FOR_EVER)), Ok(()));
        assert_eq!(written.load(Ordering::Relaxed), 1);
        drains.join().unwrap();
        works.join().unwrap();
    });
}

/// A guard is taken while the drop of the one before wakes the drain.
///
/// Mutation: `Node::notify_if_watched` clears the bits after it has woken.
#[test]
fn g8_guard_is_taken_while_the_drain_is_woken() {
    model(3, || {
        let shutdown = Shutdown::new();
        let guard = shutdown.guard();
        let first = run(move || drop(guard));
        let (work, written) = Work::new();
        let other = shutdown.clone();
        let second = run(move || work.run(&other));
        assert_eq!(block_on(shutdown.drain(FOR_EVER)), Ok(()));
        let seen = written.load(Ordering::Relaxed);
        first.join().unwrap();
        assert_eq!(seen, usize::from(second.join().unwrap()));
        assert!(shutdown.guard().is_none());
    });
}

/// Takes a guard on the one line of the models below. Each has taken one before, so that the call site is
/// there: loom does not see what a `OnceLock` orders.
fn take(shutdown: &Shutdown) -> Option<winddown::Guard> {
    shutdown.guard()
}

/// Drains without waiting.
fn drain_late(shutdown: &Shutdown) -> Result<(), winddown::DrainError> {
    match poll(&mut shutdown.drain(Duration::ZERO), Waker::noop()) {
        Poll::Ready(result) => result,
        Poll::Pending => panic!("its time is up"),
    }
}

/// A drain whose time is up either sees the end of the work or names its line.
///
/// Mutation: `Shared::settled` reports once, whether it names a guard or not (L2).
#[test]
fn g9_l2_late_drain_names_a_call_site_or_is_done() {
    model(3, || {
        let parent = Shutdown::new();
        let child = parent.child();
        drop(take(&child));
        let task = run(move || drop(take(&child)));
        if let Err(late) = drain_late(&parent) {
            assert_eq!(late.report.guards(), 1);
        }
        task.join().unwrap();
        assert_eq!(drain_late(&parent), Ok(()));
        assert_eq!(parent.report().guards(), 0);
    });
}

/// A late drain of a child names no guard that the drained parent refuses.
///
/// Mutation: `take_guard_of_child` names the guard before it counts in the node (L2).
#[test]
fn g9_l2_late_drain_names_no_guard_that_was_refused() {
    model(None, || {
        let parent = Shutdown::new();
        let child = parent.child();
        let below = child.child();
        drop(take(&below));
        assert_eq!(drain_late(&parent), Ok(()));
        let task = run(move || {
            assert!(take(&below).is_none());
            below
        });
        assert_eq!(drain_late(&child), Ok(()));
        assert!(child.report().is_empty() && parent.report().is_empty());
        drop(task.join().unwrap());
    });
}

/// The same, while the parent is drained too: a guard that is named was held.
///
/// Mutation: `Shared::settled` reports once, whether it names a guard or not (L2).
#[test]
fn g9_l2_late_drain_names_a_guard_that_was_held() {
    model(4, || {
        let parent = Shutdown::new();
        let child = parent.child();
        drop(take(&child));
        let other = child.clone();
        let task = run(move || take(&other).is_some());
        let results = [drain_late(&parent), drain_late(&child)];
        let taken = task.join().unwrap();
        for late in results.into_iter().filter_map(Result::err) {
            assert!(taken, "it was refused");
            assert_eq!(late.report.guards(), 1);
        }
    });
}

/// Progress is woken for each guard, and ends.
///
/// Mutation: `TaskCounter::try_close` never sets `COUNTING`.
#[test]
fn progress_counts_each_guard() {
    use futures_lite::StreamExt;

    model(3, || {
        let shutdown = Shutdown::new();
        let guards = [shutdown.guard(), shutdown.guard(), shutdown.guard()];
        let task = run(move || {
            let [one, two, three] = guards;
            drop(one);
            drop(two);
            three
        });
        let mut drain = shutdown.drain(FOR_EVER);
        let mut progress = drain.progress();
        let mut last = 4;
        // Ends only if it is woken for the second guard, while the third is held.
        while last > 1 {
            let left = block_on(progress.next()).expect("a guard is held");
            assert!(left < last);
            last = left;
        }
        drop(task.join().unwrap());
        assert_eq!(block_on(progress.next()), None);
        assert_eq!(block_on(drain), Ok(()));
    });
}

/// A guard of a child against the drain of its parent.
///
/// Mutation: `Node::increment` counts in its own state only.
/// Mutation: `Node::increment`, refused, keeps the first count (S4).
/// Mutation: `TaskCounter::add` lets a guard in whatever it finds.
/// Mutation: `TaskCounter::subtract` subtracts with `Relaxed`.
#[test]
fn g8_s4_guard_of_a_child_races_the_drain_of_its_parent() {
    model(5, || {
        let parent = Shutdown::new();
        let child = parent.child();
        let (work, written) = Work::new();
        let task = run(move || {
            let taken = work.run(&child);
            assert_eq!(child.in_flight(), 0);
            taken
        });
        assert_eq!(parent.drain_blocking(FOR_EVER), Ok(()));
        let seen = written.load(Ordering::Relaxed);
        assert_eq!(seen, usize::from(task.join().unwrap()));
        assert_eq!(parent.in_flight(), 0);
    });
}

/// A guard that the drained parent refuses, against the drain of the child.
///
/// Mutation: `Node::increment`, refused, notifies no drain.
#[test]
fn g8_s4_guard_refused_by_the_parent_keeps_no_drain_waiting() {
    model(None, || {
        let parent = Shutdown::new();
        let child = parent.child();
        assert_eq!(parent.drain_blocking(Duration::ZERO), Ok(()));
        let other = child.clone();
        let task = run(move || assert!(other.guard().is_none()));
        assert_eq!(block_on(child.drain(FOR_EVER)), Ok(()));
        task.join().unwrap();
    });
}

/// The child's drain and its parent's, and a guard of the child.
///
/// Mutation: `Node::decrement` leaves its own state only.
#[test]
fn g8_s4_parent_and_child_are_drained() {
    model(3, || {
        let parent = Shutdown::new();
        let child = parent.child();
        let guard = child.guard();
        let task = run(move || drop(guard));
        let other = child.clone();
        let drains = run(move || block_on(other.drain(FOR_EVER)));
        assert_eq!(block_on(parent.drain(FOR_EVER)), Ok(()));
        assert_eq!(drains.join().unwrap(), Ok(()));
        task.join().unwrap();
    });
}

/// Mutation: `Node::child` does not inherit (S5).
/// Mutation: `Node::child` inherits before the child is in the list (S5).
/// Mutation: `Node::child` has no fence (S6).
/// Mutation: `Node::announce_asked` tells no children.
#[test]
fn s5_child_is_made_during_the_request() {
    model(None, || {
        let parent = Shutdown::new();
        let other = parent.clone();
        let makes = run(move || {
            let child = other.child();
            block_on(child.waiter());
            assert!(child.cause().is_some());
            child
        });
        assert!(parent.request_shutdown());
        makes.join().unwrap();
    });
}

/// The same one step further down.
///
/// Mutation: `Node::announce_asked` does not go below the children.
#[test]
fn s5_grandchild_is_made_during_the_request() {
    model(None, || {
        let root = Shutdown::new();
        let child = root.child();
        let makes = run(move || {
            let grandchild = child.child();
            block_on(grandchild.waiter());
            (child, grandchild)
        });
        assert!(root.request_shutdown());
        makes.join().unwrap();
    });
}

/// Parent and child are requested at once; the child's waiter is woken, and the child's cause stays
/// what it was first.
///
/// Mutation: `Node::announce_asked` does not wake the nodes that it has told.
#[test]
fn s5_parent_and_child_are_requested_at_once() {
    model(3, || {
        let parent = Shutdown::new();
        let child = parent.child();
        let waiter = child.waiter();
        let task = run(move || block_on(waiter));
        let other = parent.clone();
        let asks = run(move || other.trigger("parent"));
        let began = child.trigger("child");
        let cause = child.cause().unwrap().to_string();
        assert_eq!(cause, if began { "child" } else { "parent" });
        assert!(asks.join().unwrap());
        task.join().unwrap();
        assert_eq!(child.cause().unwrap().to_string(), cause);
        assert_eq!(parent.cause().unwrap().to_string(), "parent");
    });
}

/// The force ends a drain that waits, at once.
///
/// Mutation: `Node::wake` does not wake `watchers`.
/// Mutation: `Node::announce_asked` tells no children.
/// Mutation: `Node::watch` has no fence (S6).
#[test]
fn force_ends_a_waiting_drain() {
    model(None, || {
        let parent = Shutdown::new();
        let child = parent.child();
        let guard = child.guard();
        parent.request_shutdown();
        let drains = run(move || block_on(child.drain(FOR_EVER)));
        assert!(parent.request_shutdown());
        assert_eq!(drains.join().unwrap().unwrap_err().report.guards(), 1);
        drop(guard);
    });
}

/// How often a function was called. Not loom's atomics, so what they show is never out of date.
#[derive(Clone, Default)]
struct Calls(Arc<std::sync::atomic::AtomicUsize>);

impl Calls {
    fn function(&self) -> impl FnOnce() + Send + use<> {
        let calls = self.clone();
        move || {
            calls.0.fetch_add(1, Ordering::SeqCst);
        }
    }

    fn count(&self) -> usize {
        self.0.load(Ordering::SeqCst)
    }

    /// Returns whether every function is gone.
    fn alone(&self) -> bool {
        Arc::strong_count(&self.0) == 1
    }
}

/// A callback is registered, or called at once, while the request is made: its function is called once,
/// by the time that both have returned.
///
/// Mutation: `Callback::new` does not call the function if the queue is closed.
/// Mutation: `wake_all` does not set `closed`.
#[test]
fn callback_that_races_the_request_is_called_once() {
    model(None, || {
        let shutdown = Shutdown::new();
        let calls = Calls::default();
        let (other, function) = (shutdown.clone(), calls.function());
        let registers = run(move || other.call_on_shutdown(function));
        assert!(shutdown.request_shutdown());
        let callback = registers.join().unwrap();
        assert_eq!(calls.count(), 1);
        drop(callback);
        assert!(calls.alone());
    });
}

/// A callback is dropped while the request is made: its function is called once at most, and is gone
/// when both have returned. A function that was gone before is not called.
///
/// Mutation: `Callback::drop` forgets nothing.
#[test]
fn g10_callback_dropped_during_the_request_leaves_nothing() {
    model(None, || {
        let shutdown = Shutdown::new();
        let calls = Calls::default();
        let callback = shutdown.call_on_shutdown(calls.function());
        let counts = calls.clone();
        let drops = run(move || {
            drop(callback);
            let gone = Arc::strong_count(&counts.0) == 2;
            (gone, counts.count())
        });
        assert!(shutdown.request_shutdown());
        let (gone, called) = drops.join().unwrap();
        assert!(calls.count() <= 1);
        assert!(!gone || calls.count() == called, "it was gone before");
        assert!(calls.alone());
        assert!(called == 0 || calls.count() == 1);
    });
    // Without a race it is never called.
    model(None, || {
        let shutdown = Shutdown::new();
        let calls = Calls::default();
        drop(shutdown.call_on_shutdown(calls.function()));
        assert!(calls.alone());
        shutdown.request_shutdown();
        assert_eq!(calls.count(), 0);
    });
}

/// A drop guard against a request: one of them begins, and the cause is that of one that has. The guard
/// takes no slot.
///
/// Mutation: `DropGuard::drop` requests in place of a trigger.
#[test]
fn drop_guard_races_a_request() {
    model(None, || {
        let shutdown = Shutdown::new();
        let guard = shutdown.drop_guard();
        let drops = run(move || drop(guard));
        assert!(shutdown.request_shutdown());
        let cause = shutdown.cause().unwrap().to_string();
        drops.join().unwrap();
        assert!(shutdown.is_stopping() && !shutdown.is_forced());
        assert_eq!(
            shutdown.cause().unwrap().to_string(),
            cause,
            "the first stays"
        );
        assert!(shutdown.request_shutdown() && shutdown.is_forced());
    });
}

/// `drained` against the request and the drop of the last guard: it ends only after both.
///
/// Mutation: `Drain::poll_with` registers after it has asked.
/// Mutation: `Drain::poll_with` drains without waiting for the request.
/// Mutation: `Node::wake` does not wake `watchers`.
/// Mutation: `TaskCounter::subtract` subtracts with `Relaxed`.
#[test]
fn g8_drained_races_the_request_and_the_last_guard() {
    model(3, || {
        let shutdown = Shutdown::new();
        let (guard, written) = (shutdown.guard(), Arc::new(AtomicUsize::new(0)));
        let writes = written.clone();
        let works = run(move || {
            writes.store(1, Ordering::Relaxed);
            drop(guard);
        });
        let other = shutdown.clone();
        let drains = run(move || {
            assert_eq!(block_on(other.drained()), Ok(()));
            assert!(other.is_stopping());
            assert_eq!(written.load(Ordering::Relaxed), 1);
        });
        assert!(shutdown.guard().is_some(), "it is open until the request");
        assert!(shutdown.request_shutdown());
        works.join().unwrap();
        drains.join().unwrap();
        assert!(shutdown.guard().is_none());
    });
}

/// A failure against a request: whichever begins, there is a cause as soon as it is requested, and in the
/// end it is the failure.
///
/// Mutation: `Node::fail` records nothing if the shutdown has begun.
#[test]
fn failure_races_a_request() {
    model(None, || {
        let shutdown = Shutdown::new();
        let other = shutdown.clone();
        let fails = run(move || {
            let began = other.fail("disk full");
            assert!(other.cause().unwrap().error().is_some());
            began
        });
        assert!(shutdown.request_shutdown());
        assert!(shutdown.cause().is_some());
        fails.join().unwrap();
        assert!(shutdown.cause().unwrap().error().is_some());
        assert!(!shutdown.is_forced());
    });
}

/// A child fails when its parent has begun, whether the child was told or not.
///
/// Mutation: `Node::fail` records nothing in the ancestors before it begins the node.
#[test]
fn failure_of_a_child_is_recorded_in_a_parent_that_has_begun() {
    model(3, || {
        let parent = Shutdown::new();
        let child = parent.child();
        let other = parent.clone();
        let fails = run(move || {
            let begun = other.is_requested();
            child.fail("disk full");
            (begun, child)
        });
        assert!(parent.request_shutdown());
        let (begun, _child) = fails.join().unwrap();
        assert!(!begun || parent.cause().unwrap().error().is_some());
    });
}

/// What `os` does, without the operating system: async-signal does not compile here, so the
/// handler, the socket and the thread `winddown` are modelled, as that file's head describes them. The
/// slots behind them are the shipped ones.
struct Process {
    shutdown: Shutdown,
    armed: AtomicBool,
    ended: AtomicBool,
    /// The signals in the socket.
    socket: Mutex<usize>,
}

impl Process {
    fn new() -> Arc<Self> {
        Arc::new(Self {
            shutdown: Shutdown::new(),
            armed: AtomicBool::new(false),
            ended: AtomicBool::new(false),
            socket: Mutex::new(0),
        })
    }

    fn ended(&self) -> bool {
        self.ended.load(Ordering::SeqCst)
    }

    /// The handler of one signal. `false` if it has ended the process.
    fn handler(&self) -> bool {
        if self.armed.load(Ordering::SeqCst) {
            self.ended.store(true, Ordering::SeqCst);
            return false;
        }
        self.armed.store(true, Ordering::SeqCst);
        *self.socket.lock().unwrap() += 1;
        true
    }

    /// `Node::request` of an installed shutdown.
    fn request(&self) -> bool {
        let taken = self.shutdown.request_shutdown();
        if taken && self.shutdown.is_forced() {
            self.ended.store(true, Ordering::SeqCst);
        } else if taken {
            self.armed.store(true, Ordering::SeqCst);
        }
        taken
    }

    /// One turn of the thread `winddown`: all that is in the socket.
    fn read(&self) {
        let signals = std::mem::take(&mut *self.socket.lock().unwrap());
        for _ in 0..signals {
            self.request();
        }
    }
}

/// Two signals, handled by two threads at once, or one after the other, while `winddown` reads: the
/// process ends.
///
/// Mutation: `Node::request` does not force with the second slot.
/// Mutation: the handler does not write to the socket.
/// Mutation: `read` takes two signals for one.
#[test]
fn g4_two_signals_end_the_process() {
    model(None, || {
        let process = Process::new();
        let threads = [(); 2].map(|()| {
            let process = process.clone();
            run(move || process.handler())
        });
        process.read();
        for thread in threads {
            thread.join().unwrap();
        }
        process.read(); // at the latest
        assert!(process.ended());
    });
}

/// A signal beside a request of the program's own. Once the request has returned, the handler needs
/// no thread.
///
/// Mutation: `request` does not arm.
#[test]
fn g4_a_signal_beside_a_request() {
    model(5, || {
        let process = Process::new();
        let other = process.clone();
        let asks = run(move || {
            assert!(other.request());
            assert!(!other.handler(), "the second signal ends it at once");
        });
        process.handler();
        process.read();
        asks.join().unwrap();
        assert!(process.ended());
    });
}

/// One signal and a trigger force nothing.
///
/// Mutation: `Node::trigger` takes a slot.
/// Mutation: the handler arms before it looks.
#[test]
fn g4_a_signal_beside_a_trigger() {
    model(None, || {
        let process = Process::new();
        let other = process.clone();
        let triggers = run(move || other.shutdown.trigger("x"));
        assert!(process.handler());
        process.read();
        triggers.join().unwrap();
        assert!(!process.ended() && process.shutdown.is_requested());
        assert!(!process.handler(), "the next ends it");
    });
}

/// Polls a waiter of a phase once, and returns the counter of its waker.
fn pending(phase: &Shutdown) -> (Arc<Counter>, winddown::Waiter) {
    let (counter, waker) = Counter::new();
    let mut waiter = phase.waiter();
    assert!(poll(&mut waiter, &waker).is_pending());
    (counter, waiter)
}

/// Checks that a phase without guards was asked for the cause of its parent, that its waiter was woken
/// once, and that it is over.
fn was_asked(phase: &Shutdown, parent: &Shutdown, counter: &Counter) {
    assert!(phase.is_stopping());
    assert_eq!(phase.cause(), parent.cause());
    assert_eq!(counter.count(), 1, "its waiter is woken once");
    assert!(phase.guard().is_none(), "it is over");
}

/// Registers a waker that notes what it sees: 1 for each thread that has written before it dropped its
/// guard, and 10 for each time that it is called. Returns what it notes.
fn watch(
    phase: &Shutdown,
    written: &[Arc<AtomicUsize>; 2],
) -> (Arc<std::sync::atomic::AtomicUsize>, winddown::Waiter) {
    let seen = Arc::new(std::sync::atomic::AtomicUsize::new(0));
    let (notes, written) = (seen.clone(), written.clone());
    let waker = Call::waker(move || {
        // Relaxed: the guards make it visible.
        let sum: usize = written.iter().map(|it| it.load(Ordering::Relaxed)).sum();
        notes.fetch_add(10 + sum, Ordering::SeqCst);
    });
    let mut waiter = phase.waiter();
    assert!(poll(&mut waiter, &waker).is_pending());
    (seen, waiter)
}

/// The last guards of two phases are dropped by two threads. The phase after both is asked once, when
/// both are over, and the thread that asks it sees what was done before.
///
/// Mutation: `Order::advance` sets no flag in the counter of a phase that it asks (P3).
/// Mutation: `Order::release` lets a phase go that waits for another one too.
#[test]
fn g13_p1_last_guards_of_two_predecessors() {
    model(None, || {
        let parent = Shutdown::new();
        let (one, two) = (parent.phase("one").build(), parent.phase("two").build());
        let last = parent.phase("last").after(&one).after(&two).build();
        let (first_guard, second_guard) = (one.guard(), two.guard());
        let written = [(); 2].map(|()| Arc::new(AtomicUsize::new(0)));
        let [first, second] = written.clone();
        let (seen, _waiter) = watch(&last, &written);
        parent.request_shutdown();
        assert!(one.is_stopping() && two.is_stopping() && !last.is_stopping());
        let works = run(move || {
            first.store(1, Ordering::Relaxed);
            drop(first_guard);
        });
        second.store(1, Ordering::Relaxed);
        drop(second_guard);
        works.join().unwrap();
        assert_eq!(seen.load(Ordering::SeqCst), 12);
        assert!(last.guard().is_none());
    });
}

/// The phase in the middle of three is dropped while the last guard of the first is, and the handle of
/// the first with its guard. The last phase keeps the place of the middle one.
///
/// Mutation: `Order::remove` does not hand on what the phase waited for.
#[test]
fn g13_p1_predecessors_are_dropped_beside_a_last_guard() {
    model(None, || {
        let parent = Shutdown::new();
        let first = parent.phase("first").build();
        let middle = parent.phase("middle").after(&first).build();
        let last = parent.phase("last").after(&middle).build();
        let guard = first.guard();
        let written = [1, 0].map(|written| Arc::new(AtomicUsize::new(written)));
        let work = written[1].clone();
        parent.request_shutdown();
        let (seen, _waiter) = watch(&last, &written);
        let works = run(move || {
            work.store(1, Ordering::Relaxed);
            drop(guard);
            drop(first);
        });
        drop(middle);
        works.join().unwrap();
        assert_eq!(seen.load(Ordering::SeqCst), 12);
        assert!(last.guard().is_none());
    });
}

/// A phase is made that comes after another, while the last guard of that is dropped.
///
/// Mutation: `Node::phase` reads which phases are over before it takes the lock.
#[test]
fn g13_p1_phase_is_made_beside_the_last_guard() {
    model(None, || {
        let parent = Shutdown::new();
        let first = parent.phase("first").build();
        let guard = first.guard();
        parent.request_shutdown();
        let works = run(move || drop(guard));
        let next = parent.phase("next").after(&first).build();
        block_on(next.waiter());
        works.join().unwrap();
        assert_eq!(next.cause(), parent.cause());
        assert!(next.guard().is_none());
    });
}

/// A phase is made that comes after another, whose last guard is dropped while the shutdown is requested.
///
/// Mutation: `Node::announce_asked` lists the children before it asks the phases.
/// Mutation: `Node::note_phase` reads the word before it takes the lock (P3).
#[test]
fn g13_p2_later_phase_is_made_during_the_request() {
    model(4, || {
        let parent = Shutdown::new();
        let first = parent.phase("first").build();
        let guard = first.guard();
        let (other, before) = (parent.clone(), first.clone());
        let makes = run(move || {
            let phase = other.phase("next").after(&before).build();
            drop(guard);
            block_on(phase.waiter());
            phase
        });
        assert!(parent.request_shutdown());
        let next = makes.join().unwrap();
        assert!(first.is_stopping() && next.guard().is_none());
    });
}

/// A phase is asked alone while the shutdown is requested, and another comes after it. It is asked once:
/// its cause is that of the thread that asked it.
///
/// Mutation: `Node::change` stores a cause although the shutdown has begun.
#[test]
fn g13_p1_phase_is_asked_alone_during_the_request() {
    model(4, || {
        let parent = Shutdown::new();
        let first = parent.phase("first").build();
        let next = parent.phase("next").after(&first).build();
        let (counter, _waiter) = pending(&first);
        let (next_counter, _next_waiter) = pending(&next);
        let other = first.clone();
        let asks = run(move || other.trigger("alone"));
        parent.trigger("all");
        let alone = asks.join().unwrap();
        let cause = first.cause().unwrap().to_string();
        assert_eq!(cause, if alone { "alone" } else { "all" });
        assert_eq!(counter.count(), 1, "its waiter is woken once");
        was_asked(&next, &parent, &next_counter);
    });
}

/// A phase is asked by hand while the shutdown is requested, and another comes after it.
///
/// Mutation: `Node::announce` does not note the phase.
/// Mutation: `Node::note_phase` does not advance.
#[test]
fn g13_p1_phase_is_asked_by_hand_during_the_request() {
    model(4, || {
        let parent = Shutdown::new();
        let first = parent.phase("first").by_hand().build();
        let next = parent.phase("next").after(&first).build();
        let (counter, _waiter) = pending(&first);
        let (next_counter, _next_waiter) = pending(&next);
        let other = first.clone();
        let asks = run(move || other.trigger("by hand"));
        parent.trigger("all");
        assert!(asks.join().unwrap());
        assert_eq!(counter.count(), 1, "its waiter is woken once");
        was_asked(&next, &parent, &next_counter);
    });
}

/// Mutation: `Node::note_phase` reads the word before it takes the lock (P3).
/// Mutation: `Order::advance` sets no flag in the counter of a phase that it asks (P3).
#[test]
fn g13_p3_last_guard_races_the_request() {
    model(None, || {
        let parent = Shutdown::new();
        let first = parent.phase("first").build();
        let next = parent.phase("next").after(&first).build();
        let guard = first.guard();
        let (counter, _waiter) = pending(&next);
        let works = run(move || drop(guard));
        parent.request_shutdown();
        works.join().unwrap();
        was_asked(&next, &parent, &counter);
    });
}

/// The first phase of a shutdown is made while that is requested.
///
/// Mutation: `Node::phase` has no fence (P2).
/// Mutation: `Node::announce_asked` has no fence.
/// Mutation: `Node::phase` reads whether the parent is stopping before it takes the lock (P2).
#[test]
fn g13_p2_phase_is_made_during_the_request() {
    model(None, || {
        let parent = Shutdown::new();
        let other = parent.clone();
        let makes = run(move || {
            let phase = other.phase("phase").build();
            block_on(phase.waiter());
            assert_eq!(phase.cause(), other.cause());
            phase
        });
        assert!(parent.request_shutdown());
        assert!(makes.join().unwrap().guard().is_none());
    });
}

/// The force comes while the last guard of a phase is dropped.
///
/// Mutation: `Node::inherit` leaves out phases.
#[test]
fn g13_force_races_the_order() {
    model(3, || {
        let parent = Shutdown::new();
        let first = parent.phase("first").build();
        let next = parent.phase("next").after(&first).build();
        let guard = first.guard();
        parent.request_shutdown();
        let (counter, _waiter) = pending(&next);
        let works = run(move || drop(guard));
        parent.request_shutdown();
        assert!(next.is_forced() && first.is_forced());
        works.join().unwrap();
        was_asked(&next, &parent, &counter);
    });
}

/// A drain waits for a phase whose last guard is dropped, and the next phase is asked for one of them.
///
/// Mutation: `Node::notify_closed` does not note the phase.
#[test]
fn g13_p3_drain_races_the_last_guard() {
    model(4, || {
        let parent = Shutdown::new();
        let first = parent.phase("first").build();
        let next = parent.phase("next").after(&first).build();
        let guard = first.guard();
        parent.request_shutdown();
        let (counter, _waiter) = pending(&next);
        let works = run(move || drop(guard));
        assert_eq!(block_on(first.drain(FOR_EVER)), Ok(()));
        works.join().unwrap();
        was_asked(&next, &parent, &counter);
    });
}

/// Two phases are asked alone. The thread that releases the first looks at the second, too, while a
/// drain waits for that, and another thread drops its last guard.
///
/// Mutation: `Order::advance` does not say which phases it has closed.
#[test]
fn g8_g13_drain_of_a_phase_that_another_thread_finds_idle() {
    model(2, || {
        let parent = Shutdown::new();
        let first = parent.phase("first").build();
        let next = parent.phase("next").after(&first).build();
        let (first_guard, next_guard) = (first.guard(), next.guard());
        first.trigger("alone");
        next.trigger("alone");
        let drains = next.clone();
        let drains = run(move || block_on(drains.drain(FOR_EVER)));
        let works = run(move || drop(next_guard));
        drop(first_guard);
        works.join().unwrap();
        assert_eq!(drains.join().unwrap(), Ok(()));
    });
}

/// A phase is made while its shutdown is forced.
///
/// Mutation: `Node::phase` does not inherit.
#[test]
fn g13_phase_is_made_during_the_force() {
    model(4, || {
        let parent = Shutdown::new();
        let other = parent.clone();
        let makes = run(move || {
            let phase = other.phase("phase").by_hand().build();
            block_on(phase.forced());
            phase
        });
        parent.trigger("all");
        parent.request_shutdown();
        parent.request_shutdown();
        assert!(makes.join().unwrap().is_forced());
    });
}
