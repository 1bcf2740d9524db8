//! The course of a shutdown: stages, lame duck, grace, force policy, debounce, exit codes.
#![cfg(not(target_family = "wasm"))]

mod support;

use std::process::ExitCode;
use std::task::Poll;
use std::thread;
use std::time::{Duration, Instant};

use futures_lite::future;
use support::{Counter, HOUR, PATIENCE, poll};
use winddown::{ForcePolicy, Shutdown, Stage};

const MOMENT: Duration = Duration::from_millis(1);

#[test]
fn stages_rise_and_each_has_a_future() {
    let shutdown = Shutdown::builder().lame_duck(HOUR).build();
    let (counter, waker) = Counter::new();
    let mut requested = shutdown.requested();
    let mut stopping = shutdown.waiter();
    let mut forced = shutdown.forced();
    assert!(poll(&mut requested, &waker).is_pending());
    assert!(poll(&mut stopping, &waker).is_pending());
    assert!(poll(&mut forced, &waker).is_pending());
    assert_eq!(shutdown.stage(), Stage::Running);

    shutdown.request_shutdown();
    assert_eq!(shutdown.stage(), Stage::Requested);
    assert_eq!(counter.count(), 1);
    assert!(poll(&mut requested, &waker).is_ready());
    assert!(poll(&mut stopping, &waker).is_pending());
    assert!(poll(&mut forced, &waker).is_pending());

    shutdown.request_shutdown();
    assert_eq!(shutdown.stage(), Stage::Forced);
    assert_eq!(counter.count(), 3);
    assert!(poll(&mut requested, &waker).is_ready());
    assert!(poll(&mut stopping, &waker).is_ready());
    assert!(poll(&mut forced, &waker).is_ready());
    assert!(Stage::Running < Stage::Requested && Stage::Stopping < Stage::Forced);
}

#[test]
fn without_a_lame_duck_waiters_are_ready_at_once() {
    let shutdown = Shutdown::new();
    let (counter, waker) = Counter::new();
    let mut requested = shutdown.requested();
    let mut clone = requested.clone();
    assert!(poll(&mut requested, &waker).is_pending());
    assert!(poll(&mut clone, &waker).is_pending());
    drop(clone);
    shutdown.trigger("enough");
    assert_eq!(shutdown.stage(), Stage::Stopping);
    assert_eq!(counter.count(), 1);
    assert!(poll(&mut requested, &waker).is_ready());
}

#[test]
fn lame_duck_ends_without_a_runtime() {
    let shutdown = Shutdown::builder().lame_duck(MOMENT).build();
    let child = shutdown.child();
    shutdown.trigger("enough");
    assert!(shutdown.is_requested() && child.is_requested());
    assert_eq!(child.cause(), shutdown.cause());
    // This thread blocks, and no thread runs a runtime.
    child.waiter().wait_blocking();
    shutdown.waiter().wait_blocking();
    future::block_on(shutdown.waiter());
    assert_eq!(shutdown.stage(), Stage::Stopping);
}

#[test]
fn force_ends_a_lame_duck() {
    let shutdown = Shutdown::builder().lame_duck(HOUR).build();
    let waiter = shutdown.child().waiter();
    shutdown.request_shutdown();
    assert!(waiter.is_requested());
    assert!(!waiter.wait_blocking_timeout(MOMENT));
    thread::scope(|scope| {
        let blocked = scope.spawn(|| waiter.wait_blocking());
        shutdown.request_shutdown();
        blocked.join().unwrap();
    });
}

#[test]
fn child_of_a_lame_duck_is_requested_before_it_stops() {
    let shutdown = Shutdown::builder().lame_duck(HOUR).build();
    let child = shutdown.child();
    let (counter, waker) = Counter::new();
    let (mut requested, mut waiter) = (child.requested(), child.waiter());
    assert!(poll(&mut requested, &waker).is_pending());
    assert!(poll(&mut waiter, &waker).is_pending());
    shutdown.request_shutdown();
    assert_eq!((counter.count(), child.stage()), (1, Stage::Requested));
    assert!(poll(&mut requested, &waker).is_ready());
    assert!(poll(&mut waiter, &waker).is_pending());
    // A child made now is as far.
    assert_eq!(shutdown.child().stage(), Stage::Requested);
    // One that has a reason of its own does not wait for the others.
    let hasty = shutdown.child();
    assert!(!hasty.trigger("it has begun"));
    assert_eq!(
        (hasty.stage(), shutdown.stage()),
        (Stage::Stopping, Stage::Requested)
    );
    // One that is requested alone has no lame duck.
    let alone = Shutdown::builder().lame_duck(HOUR).build().child();
    alone.request_shutdown();
    assert_eq!(alone.stage(), Stage::Stopping);
}

#[test]
fn grace_runs_from_the_request() {
    let shutdown = Shutdown::builder().grace_period(HOUR).build();
    assert_eq!((shutdown.deadline(), shutdown.remaining()), (None, None));
    let before = Instant::now();
    shutdown.trigger("enough");
    let after = Instant::now();
    let deadline = shutdown.deadline().unwrap();
    assert!(before + HOUR <= deadline && deadline <= after + HOUR);
    assert!(shutdown.remaining().unwrap() <= HOUR);
    // A child made now has no more time than the others.
    let waiter = shutdown.child().waiter();
    assert!(waiter.remaining().unwrap() <= HOUR);
    assert_eq!(waiter.deadline(), Some(deadline));
    // What comes later moves nothing.
    shutdown.request_shutdown();
    assert_eq!(shutdown.deadline(), Some(deadline));

    let without = Shutdown::new();
    without.trigger("enough");
    assert_eq!(
        (without.deadline(), without.waiter().remaining()),
        (None, None)
    );
    let endless = Shutdown::builder().grace_period(Duration::MAX).build();
    endless.trigger("enough");
    assert_eq!(endless.deadline(), None);
    let none = Shutdown::builder().grace_period(Duration::ZERO).build();
    none.trigger("enough");
    assert_eq!(none.remaining(), Some(Duration::ZERO));
}

#[cfg(feature = "signals")]
#[test]
fn graceful_drain_ends_with_the_grace() {
    let shutdown = Shutdown::builder().grace_period(MOMENT).build();
    let guard = shutdown.guard().unwrap();
    let (counter, waker) = Counter::new();
    let mut drain = shutdown.drained();
    assert!(poll(&mut drain, &waker).is_pending());
    shutdown.trigger("enough");
    assert!(counter.count() >= 1, "it is woken when its time begins");
    assert_eq!(future::block_on(&mut drain).unwrap_err().report.guards(), 1);
    drop(guard);
    assert_eq!(future::block_on(&mut drain), Ok(()));
}

#[test]
fn graceful_drain_ends_with_the_work() {
    for shutdown in [
        Shutdown::new(),
        Shutdown::builder().grace_period(HOUR).build(),
        Shutdown::builder().grace_period(Duration::MAX).build(),
    ] {
        let (_, waker) = Counter::new();
        let guard = shutdown.guard().unwrap();
        shutdown.trigger("enough");
        let mut drain = shutdown.drained();
        assert!(poll(&mut drain, &waker).is_pending());
        drop(guard);
        assert_eq!(poll(&mut drain, &waker), Poll::Ready(Ok(())));
    }
}

#[test]
fn policy_never_is_never_forced() {
    let shutdown = Shutdown::builder().force_policy(ForcePolicy::Never).build();
    assert!(shutdown.request_shutdown());
    for _ in 0..3 {
        assert!(!shutdown.request_shutdown(), "it was not taken");
    }
    assert_eq!(shutdown.stage(), Stage::Stopping);
}

#[test]
fn policy_only_interrupt_is_not_forced_by_a_request() {
    let shutdown = Shutdown::builder()
        .force_policy(ForcePolicy::OnlyInterrupt)
        .build();
    assert!(shutdown.trigger("enough"));
    assert!(shutdown.request_shutdown(), "the first slot");
    assert!(!shutdown.request_shutdown());
    assert!(!shutdown.is_forced());
}

#[test]
fn debounce_refuses_early_repeats() {
    let shutdown = Shutdown::builder().debounce(HOUR).build();
    assert!(shutdown.trigger("takes no slot, so what follows is no repeat"));
    assert!(shutdown.request_shutdown());
    assert!(!shutdown.request_shutdown());
    assert!(!shutdown.is_forced());

    let shutdown = Shutdown::builder().debounce(MOMENT).build();
    let before = Instant::now();
    assert!(shutdown.request_shutdown());
    // However slow this machine, it is the same until the time has passed, and another afterwards.
    while !shutdown.request_shutdown() {
        assert!(before.elapsed() < PATIENCE);
    }
    assert!(before.elapsed() >= MOMENT);
    assert!(shutdown.is_forced());
}

#[test]
fn cause_and_error_are_exit_codes() {
    let shutdown = Shutdown::new();
    shutdown.trigger("enough");
    let code = ExitCode::from(shutdown.cause().unwrap());
    assert_eq!(format!("{code:?}"), format!("{:?}", ExitCode::SUCCESS));
    let _guard = shutdown.guard();
    let error = shutdown.drain_blocking(Duration::ZERO).unwrap_err();
    let code = ExitCode::from(error);
    assert_eq!(format!("{code:?}"), format!("{:?}", ExitCode::FAILURE));
    #[cfg(all(feature = "signals", unix))]
    {
        let code = ExitCode::from(winddown::Cause::Signal(winddown::Signal::TERM));
        assert_eq!(format!("{code:?}"), format!("{:?}", ExitCode::from(143)));
    }
}
