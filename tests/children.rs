//! Children: requests and force from above, guards that count above.

mod support;

use std::hint::black_box;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::task::Context;
use std::time::Duration;

use allocation_counter::measure;
use futures_lite::StreamExt;
use support::{Call, Counter, drained, poll};
use winddown::Shutdown;

/// When a waker learns that a guard was dropped, no report counts that guard, here and in the parent.
#[test]
fn g9_notified_drain_no_longer_finds_the_guard() {
    let parent = Shutdown::new();
    let child = parent.child();
    let others = [parent.guard(), child.guard_named("other")];
    let seen = Arc::new(Mutex::new(Vec::new()));
    let waker = {
        let (parent, child, seen) = (parent.clone(), child.clone(), seen.clone());
        Call::waker(move || {
            let counts = [&parent, &child].map(|it| (it.in_flight(), it.report().guards()));
            seen.lock().unwrap().push(counts);
        })
    };
    let guard = child.guard();
    let mut drain = child.drain(Duration::MAX);
    let mut cx = Context::from_waker(&waker);
    assert!(drain.progress().poll_next(&mut cx).is_ready());
    drop(guard);
    assert_eq!(seen.lock().unwrap().as_slice(), [[(2, 2), (1, 1)]]);
    drop(others);
}

#[test]
fn g8_notified_drain_of_a_child_can_drain_the_parent() {
    let parent = Shutdown::new();
    let child = parent.child();
    let guard = child.guard();
    let done = Arc::new(AtomicBool::new(false));
    let waker = {
        let (parent, done) = (parent.clone(), done.clone());
        Call::waker(move || done.store(drained(&parent), Ordering::SeqCst))
    };
    let mut drain = child.drain(Duration::MAX);
    assert!(poll(&mut drain, &waker).is_pending());
    drop(guard);
    assert!(done.load(Ordering::SeqCst));
}

#[test]
fn child_is_requested_with_its_parent_or_alone() {
    let parent = Shutdown::new();
    let child = parent.child();
    let grandchild = child.child();
    let late = parent.child();
    let (counter, waker) = Counter::new();
    let mut waiter = grandchild.waiter();
    let mut others = late.waiter();
    assert!(poll(&mut waiter, &waker).is_pending());
    assert!(poll(&mut others, &waker).is_pending());

    child.trigger("the child alone");
    assert_eq!(counter.count(), 1);
    assert!(grandchild.is_requested() && !parent.is_requested() && !late.is_requested());

    parent.trigger("all of it");
    assert_eq!(counter.count(), 2);
    assert!(poll(&mut waiter, &waker).is_ready());
    assert!(poll(&mut others, &waker).is_ready());
    assert_eq!(child.cause().unwrap().to_string(), "the child alone");
    assert_eq!(grandchild.cause(), child.cause());
    assert_eq!(late.cause(), parent.cause());
}

#[test]
fn child_made_after_the_request_is_requested() {
    let parent = Shutdown::new();
    parent.trigger("enough");
    let child = parent.child();
    assert!(child.is_requested() && !child.is_forced());
    assert_eq!(child.cause(), parent.cause());
    parent.request_shutdown();
    parent.request_shutdown();
    assert!(child.is_forced());
    let late = parent.child();
    assert!(late.is_forced());
    assert!(!late.request_shutdown(), "nothing left to ask for");
}

#[test]
fn request_of_the_parent_takes_no_slot_of_a_child() {
    let parent = Shutdown::new();
    let child = parent.child();
    parent.request_shutdown();
    assert!(!child.trigger("late"));
    assert!(child.request_shutdown());
    assert!(!child.is_forced());
    assert!(child.request_shutdown());
    assert!(child.is_forced() && !parent.is_forced());
}

#[test]
fn force_reaches_descendants_and_no_ancestor() {
    let parent = Shutdown::new();
    let child = parent.child();
    let grandchild = child.child();
    child.request_shutdown();
    child.request_shutdown();
    assert!(grandchild.is_forced() && !parent.is_requested());
}

#[test]
fn guards_of_a_child_count_in_its_ancestors() {
    let parent = Shutdown::new();
    let child = parent.child();
    let grandchild = child.child();
    let take = |shutdown: &Shutdown| shutdown.guard().unwrap();
    let guards = [
        take(&parent),
        take(&child),
        take(&grandchild),
        take(&grandchild),
    ];
    let clone = guards[3].clone();
    let counts = |shutdown: &Shutdown| (shutdown.in_flight(), shutdown.report().guards());
    assert_eq!(counts(&parent), (5, 5));
    assert_eq!(counts(&child), (4, 4));
    assert_eq!(counts(&grandchild), (3, 3));
    assert_eq!(parent.report().iter().len(), 1, "all on one line");

    drop((child, grandchild));
    assert_eq!(counts(&parent), (5, 5));
    drop(guards);
    assert_eq!(counts(&parent), (1, 1));
    assert!(!drained(&parent));
    drop(clone);
    assert_eq!(counts(&parent), (0, 0));
    assert!(drained(&parent));
}

#[test]
fn drained_child_leaves_its_parent_open() {
    let parent = Shutdown::new();
    let child = parent.child();
    assert!(drained(&child));
    assert!(child.guard().is_none());
    assert_eq!((parent.in_flight(), parent.report().guards()), (0, 0));
    assert!(parent.guard().is_some());
    assert!(parent.child().guard().is_some());
}

#[test]
fn waiter_of_a_dropped_child_is_woken() {
    let parent = Shutdown::new();
    let mut waiter = parent.child().waiter();
    let (counter, waker) = Counter::new();
    assert!(poll(&mut waiter, &waker).is_pending());
    parent.request_shutdown();
    assert_eq!(counter.count(), 1);
}

#[test]
fn g10_dropped_children_leave_no_memory() {
    let parent = Shutdown::new();
    // Called through a pointer: where the optimizer copies the line, each copy is a call site of its own.
    let round = || {
        let child = parent.child();
        drop(child.guard());
        drop(child.waiter());
    };
    let round: &dyn Fn() = black_box(&round);
    round();
    let info = measure(|| (0..1_000_000).for_each(|_| round()));
    assert_eq!(info.bytes_current, 0);
}

/// As a server has for each connection. In it are the parent's list, and what the allocator was asked for
/// in place of what it gives.
#[test]
fn child_with_a_guard_takes_240_bytes() {
    const CHILDREN: usize = 100_000;
    let parent = Shutdown::new();
    drop(parent.child().guard());
    let mut held = Vec::with_capacity(CHILDREN);
    let info = measure(|| {
        held.extend((0..CHILDREN).map(|_| {
            let child = parent.child();
            (child.guard(), child)
        }));
    });
    let each = info.bytes_current.unsigned_abs() / CHILDREN as u64;
    assert!(each <= 240, "{each} bytes");
}

/// Mutation: `take_guard_of_child` makes `CallSite::ChildAt` for each line.
#[test]
fn guards_on_the_first_line_of_a_child_allocate_nothing() {
    let child = Shutdown::new().child();
    let first = || child.guard();
    let other = || child.guard();
    drop((first(), other()));
    assert_eq!(measure(|| drop(first())).count_total, 0);
    assert_eq!(measure(|| drop(other())).count_total, 1);
}

/// No thread has waited for them.
#[test]
fn request_allocates_nothing_in_a_child() {
    const CHILDREN: usize = 1000;
    let parent = Shutdown::new();
    let children: Vec<_> = (0..CHILDREN).map(|_| parent.child()).collect();
    let info = measure(|| assert!(parent.request_shutdown()));
    assert!(children.iter().all(Shutdown::is_stopping));
    // Their list grows.
    assert!(info.count_total < CHILDREN as u64 / 10, "{info:?}");
}

#[test]
fn hundred_thousand_children_are_requested_and_drained() {
    let parent = Shutdown::new();
    let (counter, waker) = Counter::new();
    let info = measure(|| {
        let children: Vec<_> = (0..100_000).map(|_| parent.child()).collect();
        let mut waiters: Vec<_> = children.iter().map(Shutdown::waiter).collect();
        for waiter in &mut waiters {
            assert!(poll(waiter, &waker).is_pending());
        }
        let guards: Vec<_> = children.iter().map(Shutdown::guard).collect();
        assert_eq!(parent.in_flight(), 100_000);
        parent.request_shutdown();
        assert_eq!(counter.count(), 100_000);
        assert!(children.iter().all(Shutdown::is_requested));
        drop(guards);
        assert!(drained(&parent));
    });
    // The cause, and the tally of the one line.
    assert!(info.bytes_current < 4096, "{} bytes", info.bytes_current);
}

#[test]
fn long_chain_of_children_needs_no_deep_stack() {
    let first = Shutdown::new();
    let mut last = first.child();
    for _ in 0..100_000 {
        last = last.child();
    }
    let guard = last.guard();
    assert_eq!((first.in_flight(), first.report().guards()), (1, 1));
    first.request_shutdown();
    assert!(last.is_requested());
    drop(guard);
    drop(last);
    assert!(drained(&first));
}
