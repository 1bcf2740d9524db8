//! Waiting for the request: polled by hand, with wakers that count or misbehave.

mod support;

use std::panic::UnwindSafe;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Barrier, Mutex};
use std::task::{Poll, Wake, Waker};
use std::thread;
use std::time::Duration;

use allocation_counter::measure;
use cooked_waker::{IntoWaker, WakeRef};
use futures_lite::future;
use support::{Call, Counter, in_time, poll};
use winddown::{Shutdown, Waiter};

#[test]
fn waiter_is_what_servers_take() {
    fn takes(_: impl Future<Output = ()> + Clone + Unpin + Send + Sync + UnwindSafe + 'static) {}
    takes(Shutdown::new().waiter());
}

#[test]
fn g1_waiter_first_polled_after_the_request_is_ready() {
    let shutdown = Shutdown::new();
    let mut waiter = shutdown.waiter();
    shutdown.request_shutdown();
    let (counter, waker) = Counter::new();
    assert!(poll(&mut waiter, &waker).is_ready());
    assert!(poll(&mut shutdown.waiter(), &waker).is_ready());
    assert_eq!(counter.count(), 0);
}

#[test]
fn g1_pending_waiter_is_woken_once_and_stays_ready() {
    let shutdown = Shutdown::new();
    let mut waiter = shutdown.waiter();
    let (counter, waker) = Counter::new();
    for _ in 0..3 {
        assert!(poll(&mut waiter, &waker).is_pending());
    }
    shutdown.request_shutdown();
    assert_eq!(counter.count(), 1);
    for _ in 0..3 {
        assert!(poll(&mut waiter, &waker).is_ready());
    }
}

#[test]
fn g1_latest_waker_is_woken() {
    let shutdown = Shutdown::new();
    let mut waiter = shutdown.waiter();
    let (first, first_waker) = Counter::new();
    let (last, last_waker) = Counter::new();
    assert!(poll(&mut waiter, &first_waker).is_pending());
    assert!(poll(&mut waiter, &last_waker).is_pending());
    shutdown.request_shutdown();
    assert_eq!((first.count(), last.count()), (0, 1));
}

/// Two wakers of one task may do different things: the data of both is the task, and not the vtable.
#[test]
fn g1_waker_with_the_data_of_another_is_woken() {
    #[derive(Default)]
    struct Task([AtomicUsize; 2]);
    impl Wake for Task {
        fn wake(self: Arc<Self>) {
            self.0[0].fetch_add(1, Ordering::Relaxed);
        }
    }
    impl WakeRef for Task {
        fn wake_by_ref(&self) {
            self.0[1].fetch_add(1, Ordering::Relaxed);
        }
    }
    let task: Arc<Task> = Arc::default();
    let (one, other): (Waker, _) = (task.clone().into(), task.clone().into_waker());
    assert_eq!(one.data(), other.data());
    let shutdown = Shutdown::new();
    let mut waiter = shutdown.waiter();
    assert!(poll(&mut waiter, &one).is_pending());
    assert!(poll(&mut waiter, &other).is_pending());
    assert!(shutdown.request_shutdown());
    let woken = task.0.each_ref().map(|count| count.load(Ordering::Relaxed));
    assert_eq!(woken, [0, 1]);
}

#[test]
fn g1_clone_registers_its_own_waker() {
    let shutdown = Shutdown::new();
    let mut waiter = shutdown.waiter();
    let (first, first_waker) = Counter::new();
    assert!(poll(&mut waiter, &first_waker).is_pending());
    let mut clone = waiter.clone();
    let (second, second_waker) = Counter::new();
    assert!(poll(&mut clone, &second_waker).is_pending());
    drop(waiter);
    shutdown.request_shutdown();
    assert_eq!((first.count(), second.count()), (0, 1));
    assert!(poll(&mut clone, &second_waker).is_ready());
}

#[test]
fn g10_dropped_waiter_is_not_woken() {
    let shutdown = Shutdown::new();
    let (counter, waker) = Counter::new();
    let mut dropped = shutdown.waiter();
    let mut kept = shutdown.waiter();
    assert!(poll(&mut dropped, &waker).is_pending());
    assert!(poll(&mut kept, &waker).is_pending());
    drop(dropped);
    shutdown.request_shutdown();
    assert_eq!(counter.count(), 1);
}

/// Waiters are polled while the request is made: each is ready, or is woken.
#[test]
#[cfg_attr(target_family = "wasm", ignore = "starts threads")]
fn g1_polls_race_the_request() {
    for round in 0..3_000 {
        let shutdown = Shutdown::new();
        let barrier = Barrier::new(3);
        thread::scope(|scope| {
            for thread in 0..2 {
                let (barrier, shutdown) = (&barrier, &shutdown);
                scope.spawn(move || {
                    let mut waiters: Vec<_> = (0..8).map(|_| shutdown.waiter()).collect();
                    let counters: Vec<_> = (0..8).map(|_| Counter::new()).collect();
                    barrier.wait();
                    let pending: Vec<_> = waiters
                        .iter_mut()
                        .zip(&counters)
                        .map(|(waiter, (_, waker))| poll(waiter, waker).is_pending())
                        .collect();
                    // Only the request's return says that the wakers were called.
                    barrier.wait();
                    for (waiter, (pending, (counter, waker))) in
                        waiters.iter_mut().zip(pending.iter().zip(&counters))
                    {
                        let woken = counter.count();
                        assert_eq!(woken, usize::from(*pending), "{round} {thread}");
                        assert!(poll(waiter, waker).is_ready());
                    }
                });
            }
            barrier.wait();
            shutdown.request_shutdown();
            barrier.wait();
        });
    }
}

#[cfg(not(target_family = "wasm"))]
#[test]
fn g1_request_wakes_threads_and_tasks() {
    let shutdown = Shutdown::new();
    thread::scope(|scope| {
        for _ in 0..3 {
            scope.spawn(|| shutdown.waiter().wait_blocking());
            scope.spawn(|| future::block_on(shutdown.waiter()));
            scope.spawn(|| {
                assert!(shutdown.waiter().wait_blocking_timeout(Duration::MAX));
            });
        }
        shutdown.request_shutdown();
    });
}

#[cfg(not(target_family = "wasm"))]
#[test]
fn wait_blocking_timeout_tells_request_from_timeout() {
    let shutdown = Shutdown::new();
    let waiter = shutdown.waiter();
    assert!(!waiter.wait_blocking_timeout(Duration::ZERO));
    assert!(!waiter.wait_blocking_timeout(Duration::from_millis(1)));
    shutdown.request_shutdown();
    assert!(waiter.wait_blocking_timeout(Duration::ZERO));
    assert!(waiter.wait_blocking_timeout(Duration::MAX));
    waiter.wait_blocking();
}

#[test]
fn waiter_is_awaited_by_reference() {
    let shutdown = Shutdown::new();
    let mut waiter = shutdown.waiter();
    future::block_on(async {
        for _ in 0..3 {
            assert!(future::poll_once(&mut waiter).await.is_none());
        }
        shutdown.request_shutdown();
        for _ in 0..3 {
            (&mut waiter).await;
        }
    });
}

/// For a job that was handed its guard and nothing else.
#[cfg(not(target_family = "wasm"))]
#[test]
fn waiter_of_a_guard_is_of_its_shutdown() {
    let parent = Shutdown::new();
    let child = parent.child();
    let guard = child.guard().unwrap();
    let mut waiter = guard.waiter();
    let (counter, waker) = Counter::new();
    assert!(poll(&mut waiter, &waker).is_pending());
    let clone = guard.clone();
    let job = thread::spawn(move || {
        clone.waiter().wait_blocking();
        drop(clone);
    });
    child.trigger("the child alone");
    assert_eq!(counter.count(), 1);
    assert!(poll(&mut waiter, &waker).is_ready() && !parent.is_requested());
    job.join().unwrap();
    drop(guard);
    assert_eq!(waiter.cause(), child.cause(), "it outlives the guard");
}

/// One shutdown with 100 waiters, the waker of one of which calls `odd`. The others must be woken
/// exactly once, and `odd` must have been called once.
///
/// Returns what `odd` returned, or `None` if it panicked. Tests assert on that afterwards, because a
/// panic inside a waker is caught.
fn beside_99_others<T, F>(odd: impl FnOnce(&Shutdown) -> F + Send + 'static) -> Option<T>
where
    T: Send + 'static,
    F: Fn() -> T + Send + Sync + 'static,
{
    in_time(|| beside_99_others_in_time(odd))
}

fn beside_99_others_in_time<T, F>(odd: impl FnOnce(&Shutdown) -> F) -> Option<T>
where
    T: Send + 'static,
    F: Fn() -> T + Send + Sync + 'static,
{
    let shutdown = Shutdown::new();
    let counters: Vec<_> = (0..99).map(|_| Counter::new()).collect();
    let mut waiters: Vec<_> = (0..100).map(|_| shutdown.waiter()).collect();
    let calls = Arc::new(AtomicUsize::new(0));
    let returned = Arc::new(Mutex::new(None));
    let odd = {
        let (odd, calls, returned) = (odd(&shutdown), calls.clone(), returned.clone());
        Call::waker(move || {
            calls.fetch_add(1, Ordering::SeqCst);
            let value = odd();
            *returned.lock().unwrap() = Some(value);
        })
    };
    let mut wakers: Vec<_> = counters.iter().map(|(_, waker)| waker).collect();
    wakers.insert(50, &odd);
    for (waiter, waker) in waiters.iter_mut().zip(wakers) {
        assert!(poll(waiter, waker).is_pending());
    }
    assert!(shutdown.request_shutdown());
    for (counter, _) in &counters {
        assert_eq!(counter.count(), 1);
    }
    for waiter in &mut waiters {
        assert!(poll(waiter, Waker::noop()).is_ready());
    }
    assert_eq!(calls.load(Ordering::SeqCst), 1);
    returned.lock().unwrap().take()
}

#[test]
fn g5_panicking_waker_wakes_the_rest() {
    let returned = beside_99_others(|_| || -> () { panic!("a waker's own fault") });
    assert_eq!(returned, None);
}

#[test]
fn g5_waker_whose_panic_panics_again_wakes_the_rest() {
    struct Bomb;
    impl Drop for Bomb {
        fn drop(&mut self) {
            if !thread::panicking() {
                panic!("dropped");
            }
        }
    }
    let returned = beside_99_others(|_| || -> () { std::panic::panic_any(Bomb) });
    assert_eq!(returned, None);
}

#[test]
fn g5_waker_that_drops_another_waiter() {
    let (counter, waker) = Counter::new();
    let others = waker.clone();
    let dropped = beside_99_others(move |shutdown| {
        let mut other = shutdown.waiter();
        assert!(poll(&mut other, &others).is_pending());
        let other = Mutex::new(Some(other));
        move || other.lock().unwrap().take().is_some()
    });
    assert_eq!(dropped, Some(true));
    assert!(counter.count() <= 1);
    assert_eq!(Arc::strong_count(&counter), 2);
}

#[test]
fn g5_waker_that_drops_its_own_waiter() {
    let shutdown = Shutdown::new();
    let (counter, waker) = Counter::new();
    let own = Arc::new(Mutex::new(Some(shutdown.waiter())));
    let mut others: Vec<_> = (0..99).map(|_| shutdown.waiter()).collect();
    for waiter in &mut others[..50] {
        assert!(poll(waiter, &waker).is_pending());
    }
    let dropper = {
        let own = own.clone();
        Call::waker(move || drop(own.lock().unwrap().take()))
    };
    assert!(poll(own.lock().unwrap().as_mut().unwrap(), &dropper).is_pending());
    for waiter in &mut others[50..] {
        assert!(poll(waiter, &waker).is_pending());
    }
    assert!(in_time(move || shutdown.request_shutdown()));
    assert!(own.lock().unwrap().is_none());
    assert_eq!(counter.count(), 99);
}

#[test]
fn g5_waker_that_polls_another_waiter() {
    let other = beside_99_others(|shutdown| {
        let other = Mutex::new(shutdown.waiter());
        move || poll(&mut *other.lock().unwrap(), Waker::noop())
    });
    assert_eq!(other, Some(Poll::Ready(())));
}

#[test]
fn g5_waker_that_clones_a_waiter() {
    let clone = beside_99_others(|shutdown| {
        let other = shutdown.waiter();
        move || poll(&mut other.clone(), Waker::noop())
    });
    assert_eq!(clone, Some(Poll::Ready(())));
}

#[test]
fn g5_waker_that_requests_again() {
    let again = beside_99_others(|shutdown| {
        let shutdown = shutdown.clone();
        move || (shutdown.request_shutdown(), shutdown.is_forced())
    });
    assert_eq!(again, Some((true, true)));
}

/// A chain: each waiter's registered waker owns the next waiter. The last has `waker`.
fn chain(shutdown: &Shutdown, waker: &Waker) -> Waiter {
    let mut next = shutdown.waiter();
    assert!(poll(&mut next, waker).is_pending());
    for _ in 0..10 {
        let mut owner = shutdown.waiter();
        let owned = Mutex::new(next);
        let owns = Call::waker(move || drop(owned.lock()));
        assert!(poll(&mut owner, &owns).is_pending());
        next = owner;
    }
    next
}

/// Executors whose queue is gone drop a task when it is woken, and with it other waiters, whose
/// wakers are then dropped too.
#[test]
fn g5_dropping_a_waker_drops_waiters() {
    let shutdown = Shutdown::new();
    let (counter, waker) = Counter::new();
    let (kept_counter, kept_waker) = Counter::new();
    let mut kept = shutdown.waiter();
    let dropped = chain(&shutdown, &waker);
    assert!(poll(&mut kept, &kept_waker).is_pending());
    in_time(|| drop(dropped));
    assert_eq!(Arc::strong_count(&counter), 2, "the whole chain is gone");
    // Another chain is dropped link by link as its wakers are called.
    let woken = chain(&shutdown, &waker);
    let asks = shutdown.clone();
    assert!(in_time(move || asks.request_shutdown()));
    assert_eq!((counter.count(), kept_counter.count()), (1, 1));
    assert_eq!(Arc::strong_count(&counter), 2);
    drop(woken);
}

/// The same, as a waiter is polled by another task: the waker it had is dropped.
#[test]
fn g5_replacing_a_waker_drops_waiters() {
    let shutdown = Shutdown::new();
    let (counter, waker) = Counter::new();
    let mut moved = chain(&shutdown, &waker);
    assert!(poll(&mut moved, Waker::noop()).is_pending());
    assert_eq!(
        Arc::strong_count(&counter),
        2,
        "the rest of the chain is gone"
    );
}

#[test]
fn g10_repoll_allocates_nothing() {
    let shutdown = Shutdown::new();
    let mut waiter = shutdown.waiter();
    let (_, waker) = Counter::new();
    assert!(poll(&mut waiter, &waker).is_pending());
    let info = measure(|| {
        for _ in 0..1_000 {
            assert!(poll(&mut waiter, &waker).is_pending());
        }
    });
    assert_eq!(info.count_total, 0);
}

/// That it takes no lock either is shown where the lock can be held, in `src/node/tests.rs`, and where
/// locks are counted, in `tests/loom.rs`.
#[test]
fn g10_repoll_keeps_one_waker() {
    let shutdown = Shutdown::new();
    let mut waiter = shutdown.waiter();
    let (counter, waker) = Counter::new();
    assert!(poll(&mut waiter, &waker).is_pending());
    assert_eq!(Arc::strong_count(&counter), 3);
    for _ in 0..10 {
        assert!(poll(&mut waiter, &waker).is_pending());
    }
    assert_eq!(Arc::strong_count(&counter), 3);
    drop(waiter);
    assert_eq!(Arc::strong_count(&counter), 2);
}

#[test]
fn g10_waiters_in_turn_leave_no_memory() {
    let shutdown = Shutdown::new();
    let (counter, waker) = Counter::new();
    let round = || {
        let mut waiter = shutdown.waiter();
        assert_eq!(poll(&mut waiter, &waker), Poll::Pending);
    };
    round();
    let info = measure(|| (0..1_000_000).for_each(|_| round()));
    assert_eq!(info.bytes_current, 0);
    assert_eq!(Arc::strong_count(&counter), 2);
}

#[test]
fn g10_waiters_at_once_leave_no_memory() {
    let shutdown = Shutdown::new();
    let (_, waker) = Counter::new();
    let info = measure(|| {
        let mut crowd: Vec<_> = (0..100_000).map(|_| shutdown.waiter()).collect();
        for waiter in &mut crowd {
            assert!(poll(waiter, &waker).is_pending());
        }
    });
    assert!(info.bytes_current < 4096, "{} bytes", info.bytes_current);
}

#[test]
fn pending_waiter_costs_64_bytes() {
    let shutdown = Shutdown::new();
    let (_, waker) = Counter::new();
    for count in [1_000, 1 << 16, (1 << 16) + 1, 100_000] {
        let mut crowd: Vec<_> = Vec::with_capacity(count);
        let info = measure(|| {
            for _ in 0..count {
                crowd.push(shutdown.waiter());
            }
            for waiter in &mut crowd {
                assert!(poll(waiter, &waker).is_pending());
            }
        });
        let registry = info.bytes_current as f64 / count as f64;
        let all_told = size_of::<Waiter>() as f64 + registry;
        assert!(all_told <= 64.5, "{all_told} bytes with {count} waiters");
        // Amortised, nothing is allocated for one.
        assert!(info.count_total < 64, "{} allocations", info.count_total);
    }
}

#[test]
fn g10_request_frees_every_waker() {
    let shutdown = Shutdown::new();
    let (counter, waker) = Counter::new();
    let info = measure(|| {
        let mut waiters: Vec<_> = (0..1_000).map(|_| shutdown.waiter()).collect();
        for waiter in &mut waiters {
            assert!(poll(waiter, &waker).is_pending());
        }
        assert_eq!(Arc::strong_count(&counter), 1_002);
        shutdown.request_shutdown();
        assert_eq!(Arc::strong_count(&counter), 2);
    });
    // What blocked threads would wait for, once.
    assert!(info.bytes_current < 128, "{} bytes", info.bytes_current);
    assert_eq!(counter.count(), 1_000);
}

/// Threads make, poll, move, clone and drop waiters while the request is made: each pending waiter is
/// woken, and no waker stays behind.
#[test]
#[cfg_attr(target_family = "wasm", ignore = "starts threads")]
fn g1_g10_waiters_churn_during_the_request() {
    for _ in 0..500 {
        let shutdown = Shutdown::new();
        let barrier = Barrier::new(4);
        let churn = || {
            let (shared, waker) = Counter::new();
            barrier.wait();
            let mut first = shutdown.waiter();
            let mut dropped = vec![];
            let mut kept = vec![];
            while poll(&mut first, &waker).is_pending() {
                let (counter, other) = Counter::new();
                let mut waiter = first.clone();
                let _ = poll(&mut waiter, &waker);
                let pending = poll(&mut waiter, &other).is_pending();
                kept.push((waiter, counter, pending));
                if kept.len() > 10 {
                    dropped.push(kept.swap_remove(3).1);
                }
            }
            (first, shared, kept, dropped)
        };
        let threads = thread::scope(|scope| {
            let threads = [(); 3].map(|()| scope.spawn(churn));
            barrier.wait();
            shutdown.request_shutdown();
            threads.map(|thread| thread.join().unwrap())
        });
        // The request has returned, so the wakers were called.
        for (first, shared, kept, dropped) in threads {
            for (mut waiter, counter, pending) in kept {
                assert_eq!(counter.count(), usize::from(pending));
                assert!(poll(&mut waiter, Waker::noop()).is_ready());
                assert_eq!(Arc::strong_count(&counter), 1);
            }
            for counter in dropped {
                assert!(counter.count() <= 1);
                assert_eq!(Arc::strong_count(&counter), 1);
            }
            drop(first);
            assert_eq!(Arc::strong_count(&shared), 1);
        }
    }
}
