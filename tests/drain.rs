//! Work in flight: guards, drains, reports, progress.

mod support;

use std::collections::HashSet;
use std::hint::black_box;
use std::panic::{AssertUnwindSafe, Location, catch_unwind};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Barrier, LazyLock, Mutex};
use std::task::{Context, Poll, Waker};
use std::thread;
use std::time::Duration;

use allocation_counter::measure;
use futures_lite::{StreamExt, future};
use support::{Call, Counter, drained, in_time, poll, until};
use winddown::{DrainErrorKind, Guard, Shutdown};

const CHECK: Duration = Duration::ZERO;

#[test]
fn guard_and_drain_are_send_sync_static() {
    fn holds(_: impl Clone + Send + Sync + Unpin + 'static) {}
    fn awaits(_: impl Future + Send + Sync + Unpin + 'static) {}
    let shutdown = Shutdown::new();
    holds(shutdown.guard().unwrap());
    awaits(shutdown.drain(CHECK));
}

#[test]
fn g8_drain_waits_for_every_guard() {
    let shutdown = Shutdown::new();
    let (counter, waker) = Counter::new();
    let first = shutdown.guard().unwrap();
    let second = first.clone();
    assert_eq!(shutdown.in_flight(), 2);
    let mut drain = shutdown.drain(Duration::MAX);
    assert!(poll(&mut drain, &waker).is_pending());
    drop(first);
    assert_eq!(counter.count(), 0, "only the last one matters");
    assert!(poll(&mut drain, &waker).is_pending());
    drop(second);
    assert_eq!(counter.count(), 1);
    assert_eq!(poll(&mut drain, &waker), Poll::Ready(Ok(())));
    assert_eq!(poll(&mut drain, &waker), Poll::Ready(Ok(())));
    assert_eq!(shutdown.in_flight(), 0);
}

#[test]
fn g8_no_guard_after_a_drain_completed() {
    let shutdown = Shutdown::new();
    let child = shutdown.child();
    assert!(drained(&shutdown));
    assert!(shutdown.guard().is_none());
    assert!(shutdown.guard_named("x").is_none());
    assert!(child.guard().is_none());
    assert!(shutdown.child().guard().is_none());
    assert!(drained(&shutdown));
    assert!(drained(&child));
    assert_eq!(shutdown.report().guards(), 0);
    assert_eq!(shutdown.in_flight(), 0);
}

#[test]
fn g8_guard_taken_before_the_repoll_keeps_the_drain_pending() {
    let shutdown = Shutdown::new();
    let (counter, waker) = Counter::new();
    let first = shutdown.guard().unwrap();
    let mut drain = shutdown.drain(Duration::MAX);
    assert!(poll(&mut drain, &waker).is_pending());
    drop(first);
    assert_eq!(counter.count(), 1);
    let second = shutdown.guard().unwrap();
    assert!(poll(&mut drain, &waker).is_pending());
    drop(second);
    assert_eq!(counter.count(), 2);
    assert!(poll(&mut drain, &waker).is_ready());
}

#[test]
fn drain_neither_awaits_nor_makes_a_request() {
    let shutdown = Shutdown::new();
    assert!(drained(&shutdown));
    assert!(!shutdown.is_requested());
    let shutdown = Shutdown::new();
    shutdown.request_shutdown();
    let guard = shutdown.guard();
    assert!(guard.is_some(), "a request refuses no guard");
    assert!(!drained(&shutdown));
}

#[cfg(not(target_family = "wasm"))]
#[test]
fn concurrent_drains_end_together() {
    let shutdown = Shutdown::new();
    let guard = shutdown.guard().unwrap();
    thread::scope(|scope| {
        let threads: Vec<_> = (0..6)
            .map(|number| {
                let shutdown = &shutdown;
                scope.spawn(move || match number % 2 {
                    0 => shutdown.drain_blocking(Duration::MAX),
                    _ => future::block_on(shutdown.drain(Duration::from_secs(3600))),
                })
            })
            .collect();
        let (counter, waker) = Counter::new();
        let mut drains: Vec<_> = (0..6).map(|_| shutdown.drain(Duration::MAX)).collect();
        for drain in &mut drains {
            assert!(poll(drain, &waker).is_pending());
        }
        drop(guard);
        // A thread that begins to drain just now may be the one that notifies them.
        until("every drain is woken", || counter.count() == 6);
        // And one of them may close a shard at this moment.
        for drain in &mut drains {
            until("it is ready", || poll(drain, &waker).is_ready());
        }
        for thread in threads {
            assert_eq!(thread.join().unwrap(), Ok(()));
        }
    });
}

#[test]
fn dropped_drain_closes_nothing() {
    let shutdown = Shutdown::new();
    let guard = shutdown.guard().unwrap();
    let (counter, waker) = Counter::new();
    let mut drain = shutdown.drain(Duration::MAX);
    assert!(poll(&mut drain, &waker).is_pending());
    drop(drain);
    assert_eq!(Arc::strong_count(&counter), 2);
    drop(guard);
    assert_eq!(counter.count(), 0);
    assert!(shutdown.guard().is_some());
}

#[test]
fn g9_every_handle_reports_guards_of_its_clones() {
    let parent = Shutdown::new();
    for shutdown in [Shutdown::new(), parent.child(), parent.child()] {
        let clone = shutdown.clone();
        let guard = clone.guard();
        drop(clone);
        assert_eq!(shutdown.report().guards(), 1);
        let another = shutdown.clone();
        let more = shutdown.guard();
        drop(shutdown);
        assert_eq!(another.report().guards(), 2);
        drop((guard, more));
        assert_eq!(another.report().guards(), 0);
    }
}

#[cfg(not(target_family = "wasm"))]
#[test]
fn g9_time_out_reports_count_and_call_sites() {
    let shutdown = Shutdown::new();
    let line = Location::caller().line();
    let one = shutdown.guard().unwrap(); // line + 1
    let mail: Vec<_> = (0..3).map(|_| shutdown.guard_named("mail")).collect(); // line + 2
    let two = [one.clone(), one.clone()]; // they keep the line they came from
    drop(one);
    let error = shutdown.drain_blocking(CHECK).unwrap_err();
    assert_eq!(error.report.guards(), 5);
    assert_eq!(error.kind, DrainErrorKind::TimedOut);
    assert_eq!(error.report, shutdown.report());
    let file = file!();
    assert_eq!(
        error.to_string(),
        format!(
            "timed out; 5 guards are held:\n  3 'mail' at {file}:{}\n  2 at {file}:{}",
            line + 2,
            line + 1
        )
    );
    let lines: Vec<_> = error
        .report
        .into_iter()
        .map(|line| (line.guards, line.name, line.location.line()))
        .collect();
    assert_eq!(lines, [(3, Some("mail"), line + 2), (2, None, line + 1)]);
    drop((mail, two));
    assert_eq!(shutdown.report().to_string(), "no guards are held");
}

#[cfg(feature = "signals")]
#[test]
fn g9_task_drain_times_out_and_can_be_polled_again() {
    let shutdown = Shutdown::new();
    let guard = shutdown.guard().unwrap();
    let mut drain = shutdown.drain(Duration::from_millis(1));
    let error = future::block_on(&mut drain).unwrap_err();
    assert_eq!(error.report.guards(), 1);
    assert_eq!(future::block_on(&mut drain).unwrap_err(), error);
    drop(guard);
    assert_eq!(future::block_on(&mut drain), Ok(()));
    assert!(shutdown.guard().is_none());
}

#[cfg(not(target_family = "wasm"))]
#[test]
fn g9_thread_drain_times_out() {
    let shutdown = Shutdown::new();
    let _guard = shutdown.guard();
    let error = shutdown.drain_blocking(Duration::from_millis(1));
    assert_eq!(error.unwrap_err().report.guards(), 1);
}

/// A guard is counted in the shard of its thread, and has to be found there again. In a process of its own,
/// this thread and the first others have the indices at which a mistake in the shard of the line shows.
///
/// Mutation: `TaskCounter::shard` returns the shard of `thread ^ 1`.
#[test]
#[cfg_attr(target_family = "wasm", ignore = "starts threads")]
fn g8_threads_take_turns_at_one_line() {
    let shutdown = Shutdown::new();
    let take = || shutdown.guard().unwrap();
    for _ in 0..20 {
        drop(take());
        thread::scope(|scope| {
            scope.spawn(|| drop(take()));
        });
    }
    assert_eq!(shutdown.in_flight(), 0);
    assert!(drained(&shutdown));
}

#[test]
#[cfg_attr(target_family = "wasm", ignore = "starts threads")]
fn g9_one_call_site_of_many_threads_is_one_line() {
    let shutdown = Shutdown::new();
    let guards: Vec<_> = thread::scope(|scope| {
        let threads: Vec<_> = (0..20)
            .map(|_| scope.spawn(|| shutdown.guard().unwrap()))
            .collect();
        threads
            .into_iter()
            .map(|thread| thread.join().unwrap())
            .collect()
    });
    let report = shutdown.report();
    assert_eq!(report.iter().len(), 1, "{report}");
    assert_eq!(report.guards(), 20);
    drop(guards);
    assert_eq!(shutdown.report().guards(), 0);
}

#[test]
fn g9_many_call_sites_are_counted_apart() {
    // More names than the first chunks of the table have places.
    static NAMES: LazyLock<Vec<String>> =
        LazyLock::new(|| (0..500).map(|number| format!("name {number}")).collect());
    // A guard of a child knows its line by an index.
    for shutdown in [Shutdown::new(), Shutdown::new().child()] {
        let mut guards: Vec<_> = (0..3)
            .flat_map(|_| NAMES.iter())
            .map(|name| shutdown.guard_named(name))
            .collect();
        for held in [3, 2, 1] {
            let report = shutdown.report();
            let found: HashSet<_> = report.iter().filter_map(|line| line.name).collect();
            assert_eq!(found.len(), 500);
            assert!(report.iter().all(|line| line.guards == held));
            drop(guards.split_off(500 * (held - 1)));
        }
        assert_eq!(shutdown.in_flight(), 0);
    }
}

#[test]
fn panic_releases_the_guard() {
    let shutdown = Shutdown::new();
    for _ in 0..10 {
        let result = catch_unwind(AssertUnwindSafe(|| {
            let _guard = shutdown.guard();
            let _clone = shutdown.child().guard();
            assert_eq!(shutdown.in_flight(), 2);
            panic!("on purpose");
        }));
        assert!(result.is_err());
    }
    assert_eq!(shutdown.in_flight(), 0);
    assert!(drained(&shutdown));
}

#[test]
fn guard_outlives_its_handles() {
    let shutdown = Shutdown::new();
    let guard = shutdown.child().guard().unwrap();
    assert_eq!(shutdown.in_flight(), 1);
    assert_eq!(shutdown.report().guards(), 1);
    let mut drain = shutdown.drain(Duration::MAX);
    drop(shutdown);
    assert!(poll(&mut drain, Waker::noop()).is_pending());
    drop(guard);
    assert!(poll(&mut drain, Waker::noop()).is_ready());
}

#[cfg(not(target_family = "wasm"))]
#[test]
fn force_ends_a_drain_early() {
    let shutdown = Shutdown::new();
    let child = shutdown.child();
    let guard = child.guard().unwrap();
    let (counter, waker) = Counter::new();
    let mut drain = shutdown.drain(Duration::MAX);
    let mut childs = child.drain(Duration::MAX);
    shutdown.request_shutdown();
    assert!(poll(&mut drain, &waker).is_pending());
    assert!(poll(&mut childs, &waker).is_pending());
    thread::scope(|scope| {
        let blocked = scope.spawn(|| shutdown.drain_blocking(Duration::MAX));
        shutdown.request_shutdown();
        assert_eq!(blocked.join().unwrap().unwrap_err().report.guards(), 1);
    });
    assert_eq!(counter.count(), 2);
    let Poll::Ready(Err(error)) = poll(&mut drain, &waker) else {
        panic!("it is forced");
    };
    assert_eq!(error.report.guards(), 1);
    assert!(matches!(poll(&mut childs, &waker), Poll::Ready(Err(_))));
    drop(guard);
    assert_eq!(counter.count(), 2, "they have ended");
    assert!(matches!(poll(&mut drain, &waker), Poll::Ready(Ok(()))));
}

#[test]
fn g5_waker_that_drops_another_drain() {
    let shutdown = Shutdown::new();
    let guard = shutdown.guard().unwrap();
    let (counter, waker) = Counter::new();
    let mut victim = shutdown.drain(Duration::MAX);
    assert!(poll(&mut victim, Waker::noop()).is_pending());
    let victim = Arc::new(Mutex::new(Some(victim)));
    let dropper = {
        let victim = victim.clone();
        Call::waker(move || drop(victim.lock().unwrap().take()))
    };
    let panicked = Arc::new(AtomicBool::new(false));
    let panics = {
        let panicked = panicked.clone();
        Call::waker(move || {
            panicked.store(true, Ordering::SeqCst);
            panic!("a waker's own fault")
        })
    };
    let mut drains: Vec<_> = (0..3).map(|_| shutdown.drain(Duration::MAX)).collect();
    assert!(poll(&mut drains[0], &dropper).is_pending());
    assert!(poll(&mut drains[1], &panics).is_pending());
    assert!(poll(&mut drains[2], &waker).is_pending());
    in_time(|| drop(guard));
    assert!(victim.lock().unwrap().is_none() && panicked.load(Ordering::SeqCst));
    assert_eq!(counter.count(), 1);
}

#[test]
fn progress_counts_down_and_ends_with_the_drain() {
    let shutdown = Shutdown::new();
    let mut guards: Vec<_> = (0..4).map(|_| shutdown.guard()).collect();
    let (counter, waker) = Counter::new();
    let mut cx = Context::from_waker(&waker);
    let mut drain = shutdown.drain(Duration::MAX);
    let mut progress = drain.progress();
    assert_eq!(progress.poll_next(&mut cx), Poll::Ready(Some(4)));
    assert_eq!(progress.poll_next(&mut cx), Poll::Pending);
    guards.pop();
    assert_eq!(counter.count(), 1);
    assert_eq!(progress.poll_next(&mut cx), Poll::Ready(Some(3)));
    assert_eq!(progress.poll_next(&mut cx), Poll::Pending);
    guards.truncate(1); // two at once are one item
    assert_eq!(counter.count(), 2);
    assert_eq!(progress.poll_next(&mut cx), Poll::Ready(Some(1)));
    assert_eq!(progress.poll_next(&mut cx), Poll::Pending);
    guards.clear();
    assert_eq!(counter.count(), 3);
    assert_eq!(progress.poll_next(&mut cx), Poll::Ready(None));
    assert_eq!(progress.poll_next(&mut cx), Poll::Ready(None));
    assert_eq!(future::block_on(drain), Ok(()));
}

#[test]
fn progress_ends_with_the_force() {
    let shutdown = Shutdown::new();
    let _guard = shutdown.guard();
    shutdown.request_shutdown();
    let mut drain = shutdown.drain(Duration::MAX);
    let mut progress = drain.progress();
    assert_eq!(future::block_on(progress.next()), Some(1));
    shutdown.request_shutdown();
    assert_eq!(future::block_on(progress.next()), None);
    assert!(future::block_on(drain).is_err());
}

#[test]
fn g10_guards_allocate_nothing_after_the_first_of_a_call_site() {
    let shutdown = Shutdown::new();
    let child = shutdown.child();
    // Called through a pointer: where the optimizer copies the line, each copy is a call site of its own.
    let take: fn(&Shutdown) -> Option<Guard> = black_box(|shutdown| shutdown.guard());
    drop((take(&shutdown), take(&child)));
    let info = measure(|| {
        for _ in 0..1_000 {
            let guard = take(&shutdown).unwrap();
            drop((guard.clone(), guard, take(&child)));
        }
    });
    assert_eq!(info.count_total, 0);
}

#[test]
fn g10_drains_at_once_leave_no_memory() {
    let shutdown = Shutdown::new();
    let _guard = shutdown.guard();
    let (_, waker) = Counter::new();
    let info = measure(|| {
        let mut crowd: Vec<_> = (0..10_000).map(|_| shutdown.drain(Duration::MAX)).collect();
        for drain in &mut crowd {
            assert!(poll(drain, &waker).is_pending());
        }
    });
    assert!(info.bytes_current < 4096, "{} bytes", info.bytes_current);
}

/// Threads take and release guards of a parent and its children while it is drained. When a drain
/// returns `Ok`, no thread holds a guard, and none gets one later.
#[cfg(not(target_family = "wasm"))]
#[test]
fn g8_stress_of_parent_and_children() {
    const THREADS: usize = 3;
    const PAIRS: usize = 2_000_000;
    let pairs = AtomicUsize::new(0);
    let mut round = 0;
    while round < 300 || pairs.load(Ordering::Relaxed) < PAIRS {
        round += 1;
        let parent = Shutdown::new();
        let shared = parent.child();
        let held = AtomicUsize::new(0);
        let barrier = Barrier::new(THREADS + 1);
        thread::scope(|scope| {
            for number in 0..THREADS {
                let (parent, shared, held) = (&parent, &shared, &held);
                let (barrier, pairs) = (&barrier, &pairs);
                scope.spawn(move || {
                    let own = parent.child().child();
                    // Most of the time there is a guard, so that a drain has to wait for the gap; in
                    // every third round from the start, so that it cannot end before we begin.
                    let mut overlap = (round % 3 == 0).then(|| own.guard().unwrap());
                    let mut count = usize::from(overlap.is_some());
                    held.fetch_add(count, Ordering::SeqCst);
                    barrier.wait();
                    loop {
                        let shutdown = match (count + number) % 3 {
                            0 => parent,
                            1 => shared,
                            _ => &own,
                        };
                        let Some(guard) = shutdown.guard() else { break };
                        held.fetch_add(1, Ordering::SeqCst);
                        let old = overlap.replace(guard);
                        if let Some(old) = old {
                            held.fetch_sub(1, Ordering::SeqCst);
                            drop(old);
                        }
                        count += 1;
                        if count % 50 == round % 50 {
                            held.fetch_sub(1, Ordering::SeqCst);
                            overlap = None;
                        }
                        if count == 20_000 {
                            break;
                        }
                    }
                    if let Some(last) = overlap {
                        held.fetch_sub(1, Ordering::SeqCst);
                        drop(last);
                    }
                    pairs.fetch_add(count, Ordering::Relaxed);
                });
            }
            barrier.wait();
            let result = match round % 2 {
                0 => parent.drain_blocking(Duration::MAX),
                _ => future::block_on(parent.drain(Duration::MAX)),
            };
            assert_eq!(result, Ok(()));
            assert_eq!(held.load(Ordering::SeqCst), 0);
            assert!(parent.guard().is_none() && shared.guard().is_none());
            assert_eq!(parent.in_flight(), 0);
        });
        assert_eq!(parent.report().guards(), 0);
    }
    println!("{pairs:?} pairs in {round} rounds");
}

/// What a thread did before it dropped its guard is done after the drain.
///
/// That it is also visible, whatever the memory model permits, no processor of ours can show: with
/// `Relaxed` in place of `Release` this would pass on x86. `g8_task_drain_sees_what_was_written`
/// and `g8_thread_drain_sees_what_was_written` in `tests/loom.rs` prove it.
#[cfg(not(target_family = "wasm"))]
#[test]
fn g8_work_of_every_guard_is_done_after_the_drain() {
    for _ in 0..2_000 {
        let shutdown = Shutdown::new();
        let guards: Vec<_> = (0..3).map(|_| shutdown.guard().unwrap()).collect();
        let written = AtomicUsize::new(0);
        thread::scope(|scope| {
            for guard in guards {
                let written = &written;
                scope.spawn(move || {
                    written.fetch_add(1, Ordering::Relaxed);
                    drop(guard);
                });
            }
            assert_eq!(shutdown.drain_blocking(Duration::MAX), Ok(()));
            assert_eq!(written.load(Ordering::Relaxed), 3);
        });
    }
}
