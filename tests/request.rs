//! Asking for a shutdown: the queue, the flag, the cause.

mod support;

use std::panic::Location;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Barrier};
use std::thread;

use support::{Counter, HOUR, poll};
use winddown::{Cause, ForcePolicy, Shutdown};

/// Together the races start fewer threads than Linux has ids for, 32,768: LeakSanitizer takes a thread for one
/// that has ended and had the same id, and what it owns for leaked.
const ROUNDS: usize = 1_000;

/// Starts that many threads at once, and returns what each returned.
fn at_once<T: Send>(count: usize, run: impl Fn(usize) -> T + Sync) -> Vec<T> {
    let barrier = Barrier::new(count);
    thread::scope(|scope| {
        let threads: Vec<_> = (0..count)
            .map(|number| {
                let (barrier, run) = (&barrier, &run);
                scope.spawn(move || {
                    barrier.wait();
                    run(number)
                })
            })
            .collect();
        threads
            .into_iter()
            .map(|thread| thread.join().unwrap())
            .collect()
    })
}

fn trues(results: &[bool]) -> usize {
    results.iter().filter(|result| **result).count()
}

#[test]
fn new_shutdown_is_running() {
    let shutdown = Shutdown::new();
    assert!(!shutdown.is_requested());
    assert!(!shutdown.is_forced());
    assert_eq!(shutdown.cause(), None);
}

#[test]
fn request_begins_then_forces_then_is_refused() {
    let shutdown = Shutdown::new();
    assert!(shutdown.request_shutdown());
    assert!(shutdown.is_requested() && !shutdown.is_forced());
    assert!(shutdown.request_shutdown());
    assert!(shutdown.is_forced());
    assert!(!shutdown.request_shutdown());
    assert!(!shutdown.request_shutdown());
}

#[test]
fn trigger_takes_no_slot_and_never_forces() {
    let shutdown = Shutdown::new();
    assert!(shutdown.trigger("first"));
    assert!(shutdown.is_requested());
    assert!(!shutdown.trigger("second"));
    assert!(shutdown.request_shutdown()); // the first slot
    assert!(!shutdown.trigger("third"));
    assert!(!shutdown.is_forced());
    assert!(shutdown.request_shutdown()); // the second
    assert!(shutdown.is_forced());
    assert!(!shutdown.request_shutdown());
    assert!(!shutdown.trigger("fourth"));
    assert_eq!(shutdown.cause().unwrap().to_string(), "first");
}

#[test]
fn second_request_keeps_the_cause() {
    let shutdown = Shutdown::new();
    assert!(shutdown.request_shutdown());
    let cause = shutdown.cause();
    assert!(shutdown.request_shutdown());
    assert!(!shutdown.trigger("later"));
    assert_eq!(shutdown.cause(), cause);
}

#[test]
fn cause_names_the_call_site() {
    let shutdown = Shutdown::new();
    let line = Location::caller().line() + 1;
    shutdown.request_shutdown();
    let cause = shutdown.cause().unwrap();
    assert_eq!(
        cause.to_string(),
        format!("requested at {}:{line}", file!())
    );
    assert!(matches!(cause, Cause::Requested(at) if at.line() == line));

    let shutdown = Shutdown::new();
    let line = Location::caller().line() + 1;
    shutdown.trigger(String::from("task 'mail' failed"));
    let cause = shutdown.waiter().cause().unwrap();
    assert_eq!(cause.to_string(), "task 'mail' failed");
    assert!(matches!(cause, Cause::Triggered { at, .. } if at.line() == line));
}

#[test]
fn clones_share_one_shutdown() {
    let shutdown = Shutdown::new();
    let other = shutdown.clone();
    assert!(other.request_shutdown());
    assert!(shutdown.is_requested());
    assert_eq!(shutdown.cause(), other.cause());
}

#[test]
fn shutdowns_are_independent() {
    let (one, other) = (Shutdown::new(), Shutdown::default());
    one.request_shutdown();
    assert!(!other.is_requested());
}

#[test]
#[cfg_attr(target_family = "wasm", ignore = "starts threads")]
fn g2_request_returns_after_flag_and_cause_are_visible() {
    for _ in 0..ROUNDS {
        let shutdown = Shutdown::new();
        at_once(4, |number| {
            let told = match number {
                0 => shutdown.trigger("x"),
                _ => shutdown.request_shutdown(),
            };
            // A refused call comes after an accepted one, so every thread sees it.
            assert!(shutdown.is_requested());
            assert!(shutdown.cause().is_some());
            told
        });
    }
}

#[test]
#[cfg_attr(target_family = "wasm", ignore = "starts threads")]
fn g2_visible_flag_means_visible_cause() {
    for _ in 0..ROUNDS {
        let shutdown = Shutdown::new();
        at_once(3, |number| {
            if number == 0 {
                shutdown.request_shutdown();
            } else {
                while !shutdown.is_requested() {
                    thread::yield_now();
                }
                assert!(shutdown.cause().is_some());
            }
        });
    }
}

#[test]
#[cfg_attr(target_family = "wasm", ignore = "starts threads")]
fn g2_cause_is_that_of_the_accepted_trigger() {
    for _ in 0..ROUNDS {
        let shutdown = Shutdown::new();
        let began = at_once(4, |number| shutdown.trigger(number.to_string()));
        assert_eq!(trues(&began), 1);
        let winner = began.iter().position(|began| *began).unwrap();
        assert_eq!(shutdown.cause().unwrap().to_string(), winner.to_string());
    }
}

#[test]
#[cfg_attr(target_family = "wasm", ignore = "starts threads")]
fn g3_two_of_many_requests_are_accepted() {
    for _ in 0..ROUNDS {
        let shutdown = Shutdown::new();
        let accepted = at_once(4, |_| shutdown.request_shutdown());
        assert_eq!(trues(&accepted), 2);
        assert!(shutdown.is_forced());
    }
}

#[test]
#[cfg_attr(target_family = "wasm", ignore = "starts threads")]
fn g3_triggers_beside_requests_take_no_slot() {
    for _ in 0..ROUNDS {
        let shutdown = Shutdown::new();
        let accepted = at_once(4, |number| match number {
            0 | 1 => shutdown.request_shutdown(),
            _ => {
                shutdown.trigger("x");
                false
            }
        });
        assert_eq!(trues(&accepted), 2);
        // Whether a trigger came before, between or after them, two sends fill both slots.
        assert!(shutdown.is_forced());
        assert!(!shutdown.request_shutdown());
    }
}

#[test]
fn g1_request_wakes_every_waiter_before_it_returns() {
    let shutdown = Shutdown::new();
    let (counter, waker) = Counter::new();
    let mut waiters: Vec<_> = (0..100).map(|_| shutdown.waiter()).collect();
    for waiter in &mut waiters {
        assert!(poll(waiter, &waker).is_pending());
    }
    shutdown.request_shutdown();
    assert_eq!(counter.count(), 100);
    shutdown.request_shutdown();
    assert_eq!(counter.count(), 100);
}

#[test]
fn refused_request_and_trigger_wake_nothing() {
    let shutdown = Shutdown::builder().force_policy(ForcePolicy::Never).build();
    assert!(shutdown.request_shutdown());
    let _guard = shutdown.guard();
    let mut drain = shutdown.drain(HOUR);
    let (counter, waker) = Counter::new();
    assert!(poll(&mut drain, &waker).is_pending());
    assert!(!shutdown.request_shutdown());
    assert!(!shutdown.trigger("late"));
    assert_eq!(counter.count(), 0);
}

#[test]
fn g7_dropped_handles_request_nothing() {
    let shutdown = Shutdown::new();
    let mut waiter = shutdown.waiter();
    let (counter, waker) = Counter::new();
    assert!(poll(&mut waiter, &waker).is_pending());
    drop(shutdown.clone());
    drop(shutdown);
    assert_eq!(counter.count(), 0);
    assert!(poll(&mut waiter, &waker).is_pending());
    assert!(!waiter.is_requested());
}

#[cfg(not(target_family = "wasm"))]
#[test]
fn trigger_wakes_every_blocked_thread() {
    let shutdown = Shutdown::new();
    let woken = Arc::new(AtomicUsize::new(0));
    let threads: Vec<_> = (0..4)
        .map(|_| {
            let (waiter, woken) = (shutdown.waiter(), woken.clone());
            thread::spawn(move || {
                waiter.wait_blocking();
                woken.fetch_add(1, Ordering::SeqCst);
            })
        })
        .collect();
    shutdown.trigger("enough");
    for thread in threads {
        thread.join().unwrap();
    }
    assert_eq!(woken.load(Ordering::SeqCst), 4);
}

/// The compiler does the rest: nothing below may allow what the crate forbids.
#[test]
fn g11_unsafe_code_is_forbidden() {
    let root = include_str!("../src/lib.rs");
    assert!(root.lines().any(|line| line == "#![forbid(unsafe_code)]"));
}

#[cfg(feature = "signals")]
#[test]
fn free_request_is_refused_without_an_install() {
    assert!(!winddown::request_shutdown());
}
