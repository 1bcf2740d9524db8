//! The course of a shutdown: stages, lame duck, grace period, force policy, debounce, exit codes, and
//! settings that make little sense.
#![cfg(not(target_family = "wasm"))]

mod support;

use std::collections::HashSet;
use std::hash::{BuildHasher, BuildHasherDefault, DefaultHasher};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::process::ExitCode;
use std::thread;
use std::time::{Duration, Instant};

use futures_lite::future;
use support::{Counter, HOUR, PATIENCE, poll, until};
use winddown::{Cause, DrainErrorKind, ForcePolicy, Shutdown, Signal, Stage};

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

/// An interrupt has ended one before its time.
#[test]
fn s1_end_of_a_lame_duck_takes_no_stage_back() {
    let build = || Shutdown::builder().lame_duck(20 * MOMENT).build();
    let [interrupted, patient] = [build(), build()];
    interrupted.trigger("enough");
    interrupted.send(Signal::INT);
    assert!(interrupted.is_stopping());
    patient.trigger("enough");
    // One thread keeps the times, in their order.
    patient.waiter().wait_blocking();
    assert_eq!(interrupted.stage(), Stage::Stopping);
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
fn grace_period_runs_from_the_request() {
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
    let code = ExitCode::from(Cause::Signal(Signal::TERM));
    assert_eq!(format!("{code:?}"), format!("{:?}", ExitCode::from(143)));
    let code = ExitCode::from(Cause::Signal(Signal::from_raw(1_000)));
    assert_eq!(format!("{code:?}"), format!("{:?}", ExitCode::from(255)));
}

#[test]
fn waiter_and_shutdown_show_the_stage() {
    let shutdown = Shutdown::builder().lame_duck(HOUR).build();
    let (waiter, child) = (shutdown.waiter(), shutdown.child());
    let shows = |stage, requested, stopping, forced| {
        for shutdown in [&shutdown, &child] {
            assert_eq!(shutdown.stage(), stage);
            assert_eq!(shutdown.is_requested(), requested);
            assert_eq!(shutdown.is_stopping(), stopping);
            assert_eq!(shutdown.is_forced(), forced);
        }
        assert_eq!(waiter.stage(), stage);
        assert_eq!(
            (waiter.is_requested(), waiter.is_stopping()),
            (requested, stopping)
        );
    };
    shows(Stage::Running, false, false, false);
    shutdown.trigger("enough");
    shows(Stage::Requested, true, false, false);
    assert!(shutdown.send(Signal::INT)); // ends the lame duck
    shows(Stage::Stopping, true, true, false);
    assert!(shutdown.send(Signal::INT));
    shows(Stage::Forced, true, true, true);
}

#[test]
#[allow(
    clippy::mutable_key_type,
    reason = "the hash is that of the identity, which never changes"
)]
fn handles_of_one_shutdown_are_equal() {
    let shutdown = Shutdown::new();
    let (clone, other, child) = (shutdown.clone(), Shutdown::new(), shutdown.child());
    assert_eq!(shutdown, clone);
    assert_ne!(shutdown, other);
    assert_ne!(shutdown, child);
    // What becomes of it changes nothing.
    let mut all = HashSet::from([shutdown.clone(), other]);
    shutdown.request_shutdown();
    assert!(!all.insert(clone) && all.contains(&shutdown));
    assert!(all.insert(child));
    assert_eq!(all.len(), 3);
    let hasher = BuildHasherDefault::<DefaultHasher>::default();
    let hashes: HashSet<_> = all.iter().map(|it| hasher.hash_one(it)).collect();
    assert_eq!(hashes.len(), 3);
}

#[test]
fn sent_signal_is_the_cause_and_takes_a_slot() {
    for signal in [Signal::TERM, Signal::INT, Signal::from_raw(63)] {
        let shutdown = Shutdown::new();
        let child = shutdown.child();
        assert!(child.send(signal) && !shutdown.is_requested());
        assert!(shutdown.send(signal));
        assert_eq!(shutdown.cause(), Some(Cause::Signal(signal)));
        assert!(!shutdown.trigger("late"));
        assert!(!shutdown.is_forced());
        assert!(shutdown.send(Signal::TERM) && shutdown.is_forced());
        assert!(child.is_forced());
        assert!(!shutdown.send(Signal::INT), "there is no third");
        assert_eq!(shutdown.cause(), Some(Cause::Signal(signal)));
    }
}

#[test]
fn sent_interrupt_skips_the_lame_duck() {
    for (signal, on_interrupt, stage) in [
        (Signal::INT, false, Stage::Stopping),
        (Signal::INT, true, Stage::Requested),
        (Signal::TERM, false, Stage::Requested),
    ] {
        let builder = Shutdown::builder().lame_duck(HOUR);
        let shutdown = builder.lame_duck_on_interrupt(on_interrupt).build();
        assert!(shutdown.send(signal));
        assert_eq!(shutdown.stage(), stage);
    }
}

#[test]
fn sent_signals_follow_the_force_policy() {
    let with = |policy| Shutdown::builder().force_policy(policy).build();
    let shutdown = with(ForcePolicy::OnlyInterrupt);
    assert!(shutdown.send(Signal::TERM));
    assert!(!shutdown.send(Signal::TERM) && !shutdown.is_forced());
    assert!(shutdown.send(Signal::INT) && shutdown.is_forced());

    let shutdown = with(ForcePolicy::Never);
    assert!(shutdown.send(Signal::INT));
    assert!(!shutdown.send(Signal::INT) && !shutdown.is_forced());

    let shutdown = Shutdown::builder().debounce(HOUR).build();
    assert!(shutdown.send(Signal::INT));
    assert!(!shutdown.send(Signal::INT) && !shutdown.is_forced());
}

/// The thread that forces it has to be seen doing so.
fn is_forced(shutdown: &Shutdown) {
    until("it is forced", || shutdown.is_forced());
}

#[test]
fn deadline_forces_a_shutdown_and_its_children() {
    let builder = Shutdown::builder().grace_period(MOMENT).force_at_deadline();
    for begin in [
        (|shutdown| shutdown.request_shutdown()) as fn(&Shutdown) -> bool,
        |shutdown| shutdown.trigger("enough"),
        |shutdown| shutdown.fail("disk full"),
        |shutdown| shutdown.send(Signal::TERM),
    ] {
        // Longer than the grace period; nor does the policy matter.
        let builder = builder
            .clone()
            .lame_duck(HOUR)
            .force_policy(ForcePolicy::Never);
        let shutdown = builder.build();
        let child = shutdown.child().child();
        let _guard = child.guard();
        let drained = shutdown.drained();
        assert!(begin(&shutdown));
        let cause = shutdown.cause();
        child.waiter().wait_blocking(); // the force ends the lame duck
        is_forced(&shutdown);
        is_forced(&child);
        future::block_on(child.forced());
        assert!(Instant::now() >= shutdown.deadline().unwrap());
        let others = [shutdown.drain(HOUR), child.drain(HOUR), child.drained()];
        for drain in [drained].into_iter().chain(others) {
            // The operator pressed no key.
            let error = future::block_on(drain).unwrap_err();
            assert_eq!(error.kind, DrainErrorKind::TimedOut);
        }
        let drain = shutdown.drain_until(future::pending::<()>());
        let error = future::block_on(drain).unwrap_err();
        assert_eq!(error.kind, DrainErrorKind::TimedOut);
        assert_eq!(shutdown.cause(), cause);
        assert!(!shutdown.request_shutdown(), "as after any force");
    }
}

/// The deadline does not force, and has passed; or it forces, and has not.
#[test]
fn second_request_is_no_time_out() {
    for forces in [false, true] {
        let grace = if forces { HOUR } else { Duration::ZERO };
        let builder = Shutdown::builder().grace_period(grace);
        let shutdown = match forces {
            true => builder.force_at_deadline().build(),
            false => builder.build(),
        };
        let _guard = shutdown.guard();
        assert!(shutdown.request_shutdown() && shutdown.request_shutdown());
        let drain = shutdown.drain_until(future::pending::<()>());
        let error = future::block_on(drain).unwrap_err();
        assert_eq!(error.kind, DrainErrorKind::Forced);
    }
}

/// One was forced before its deadline, the other is stopping when its deadline comes.
#[test]
fn s1_deadline_takes_no_stage_back() {
    let build = || {
        let builder = Shutdown::builder().grace_period(MOMENT);
        builder.force_at_deadline().build()
    };
    let [forced, stopping] = [build(), build()];
    forced.request_shutdown();
    forced.request_shutdown();
    is_forced(&forced);
    stopping.trigger("enough");
    // One thread keeps the deadlines, in their order.
    is_forced(&stopping);
    for shutdown in [forced, stopping] {
        assert!(shutdown.is_requested() && shutdown.is_stopping() && shutdown.is_forced());
    }
}

#[test]
fn deadline_forces_nothing_unless_set_and_begun() {
    let builder = Shutdown::builder().grace_period(Duration::ZERO);
    let without = builder.clone().build();
    without.trigger("enough");
    let not_begun = builder.force_at_deadline().build();
    let child = not_begun.child();
    // The child alone is not what was to end.
    child.trigger("the child alone");
    let after = Shutdown::builder()
        .grace_period(MOMENT)
        .force_at_deadline()
        .build();
    after.trigger("enough");
    is_forced(&after);
    assert!(!without.is_forced() && !not_begun.is_forced() && !child.is_forced());
}

#[test]
fn deadline_that_has_passed_forces_at_once() {
    let shutdown = Shutdown::builder()
        .grace_period(Duration::ZERO)
        .force_at_deadline()
        .build();
    shutdown.trigger("enough");
    is_forced(&shutdown);
}

#[test]
fn endless_grace_period_has_no_deadline() {
    for endless in [Duration::MAX, Duration::MAX - MOMENT] {
        let shutdown = Shutdown::builder()
            .grace_period(endless)
            .force_at_deadline()
            .build();
        shutdown.trigger("enough");
        assert_eq!((shutdown.deadline(), shutdown.remaining()), (None, None));
        assert!(!shutdown.is_forced());
    }
}

#[test]
fn endless_lame_duck_has_no_end() {
    let shutdown = Shutdown::builder().lame_duck(Duration::MAX).build();
    shutdown.trigger("enough");
    assert_eq!(shutdown.stage(), Stage::Requested);
    shutdown.send(Signal::INT);
    assert_eq!(shutdown.stage(), Stage::Stopping);
}

#[test]
fn forcing_at_the_deadline_needs_a_grace_period() {
    let build = || Shutdown::builder().force_at_deadline().build();
    let payload = catch_unwind(AssertUnwindSafe(build)).unwrap_err();
    assert_eq!(
        *payload.downcast_ref::<&str>().unwrap(),
        "force_at_deadline without a deadline; set a grace_period too"
    );
    // In either order.
    let _ = Shutdown::builder()
        .force_at_deadline()
        .grace_period(HOUR)
        .build();
}

/// Settings for `install` have no meaning for `build`, which ignores them, as is documented.
#[cfg(feature = "signals")]
#[test]
fn build_ignores_what_is_for_install() {
    let shutdown = Shutdown::builder()
        .signals([])
        .exit_code(-1)
        .force_by_signal()
        .abort_timeout(HOUR)
        .build();
    assert!(shutdown.send(Signal::TERM) && shutdown.send(Signal::TERM));
    assert!(shutdown.is_forced());
    assert!(!shutdown.send(Signal::TERM), "a third ends nothing");
}
