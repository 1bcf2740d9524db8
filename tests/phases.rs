//! Phases: the order in which they are asked, and what they share with their parent.
//!
//! The races are in `loom.rs`, real signals in `phase_process.rs`.
#![cfg(not(target_family = "wasm"))]

mod support;

use std::cell::RefCell;
use std::hint::black_box;
use std::io;
use std::panic::{AssertUnwindSafe, Location, catch_unwind};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::channel;
use std::sync::{Arc, Barrier, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use allocation_counter::measure;
use futures_lite::future;
use support::{Call, Counter, HOUR, PATIENCE, PanicsWhenDropped, drained, in_time, poll};
use winddown::{Callback, DrainErrorKind, Guard, PhaseBuilder, Shutdown, Stage, Waiter};

const MOMENT: Duration = Duration::from_millis(1);

fn take(shutdown: &Shutdown) -> Guard {
    shutdown.guard().expect("it is open")
}

/// Polls a waiter of a phase once, and returns the counter of its waker.
fn pending(phase: &Shutdown) -> (Arc<Counter>, Waiter) {
    let (counter, waker) = Counter::new();
    let mut waiter = phase.waiter();
    assert!(poll(&mut waiter, &waker).is_pending());
    (counter, waiter)
}

/// Notes the names of phases as they are asked.
#[derive(Default)]
struct Log {
    names: Arc<Mutex<Vec<&'static str>>>,
    callbacks: Mutex<Vec<Callback>>,
}

impl Log {
    /// Notes `name` when the phase is asked, and what else happens then.
    fn on(&self, phase: &Shutdown, name: &'static str, then: impl FnOnce() + Send + 'static) {
        let names = self.names.clone();
        let callback = phase.call_on_shutdown(move || {
            names.lock().unwrap().push(name);
            then();
        });
        self.callbacks.lock().unwrap().push(callback);
    }

    fn add(&self, name: &'static str) {
        self.names.lock().unwrap().push(name);
    }

    fn names(&self) -> Vec<&'static str> {
        self.names.lock().unwrap().clone()
    }
}

// Asked exactly once, when what it comes after is over, and always then.

#[test]
fn g13_phase_is_asked_when_its_predecessors_are_over() {
    let shutdown = Shutdown::new();
    let one = shutdown.phase("one").build();
    let other = shutdown.phase("other").build();
    let last = shutdown.phase("last").after(&one).after(&other).build();
    let guards = [take(&one), take(&other), take(&other)];
    let (counter, mut waiter) = pending(&last);

    shutdown.request_shutdown();
    assert!(one.is_stopping() && other.is_stopping());
    assert_eq!((last.stage(), last.cause()), (Stage::Running, None));
    let [of_one, first, second] = guards;
    drop(first);
    drop(of_one);
    assert_eq!((last.stage(), counter.count()), (Stage::Running, 0));
    drop(second);
    assert_eq!((last.stage(), counter.count()), (Stage::Stopping, 1));
    assert!(poll(&mut waiter, std::task::Waker::noop()).is_ready());
    assert!(drained(&shutdown));
    assert_eq!(counter.count(), 1);
}

#[test]
fn g13_last_guard_is_dropped_on_another_thread() {
    let shutdown = Shutdown::new();
    let first = shutdown.phase("first").build();
    let next = shutdown.phase("next").after(&first).build();
    let guard = take(&first);
    shutdown.request_shutdown();
    let asked_by = Arc::new(Mutex::new(None));
    let by = asked_by.clone();
    let _callback =
        next.call_on_shutdown(move || *by.lock().unwrap() = Some(thread::current().id()));
    let worker = thread::spawn(move || {
        drop(guard);
        thread::current().id()
    });
    assert_eq!(Some(worker.join().unwrap()), *asked_by.lock().unwrap());
}

/// A thread that ends drops the guard, when its other thread-local variables may be gone.
#[test]
fn g13_last_guard_is_dropped_as_a_thread_ends() {
    thread_local!(static HELD: RefCell<Option<Guard>> = const { RefCell::new(None) });

    for calls_before in [false, true] {
        let shutdown = Shutdown::new();
        let first = shutdown.phase("first").build();
        let next = shutdown.phase("next").after(&first).build();
        let last = shutdown.phase("last").after(&next).build();
        let guard = take(&first);
        let next_guard = take(&next);
        let (counter, _waiter) = pending(&last);
        let _callback = next.call_on_shutdown(move || drop(next_guard));
        shutdown.request_shutdown();
        let ends = thread::spawn(move || {
            let use_variables = || {
                let another = Shutdown::new();
                let _phase = another.phase("phase").build();
                another.request_shutdown();
            };
            if calls_before {
                use_variables();
            }
            HELD.set(Some(guard));
            if !calls_before {
                use_variables();
            }
        });
        ends.join().unwrap();
        // A thread may be joined before its variables are dropped.
        support::until("the last is asked", || last.is_stopping());
        support::until("its waker is called", || counter.count() == 1);
    }
}

#[test]
fn g13_predecessor_without_guards_is_over_at_once() {
    let shutdown = Shutdown::new();
    let first = shutdown.phase("first").build();
    let second = shutdown.phase("second").after(&first).build();
    let third = shutdown.phase("third").after(&second).build();
    let (counter, _waiter) = pending(&third);
    shutdown.request_shutdown();
    assert!(second.is_stopping() && third.is_stopping());
    assert_eq!(counter.count(), 1);
}

#[test]
fn g13_predecessor_that_was_asked_alone_before() {
    for guards in 0..2 {
        let shutdown = Shutdown::new();
        let first = shutdown.phase("first").build();
        let next = shutdown.phase("next").after(&first).build();
        let guard = (0..guards).map(|_| take(&first)).next();
        let (counter, _waiter) = pending(&first);
        assert!(first.trigger("alone"));
        assert!(first.is_stopping() && !next.is_requested() && !shutdown.is_requested());
        shutdown.trigger("all");
        assert_eq!(next.is_stopping(), guards == 0);
        drop(guard);
        assert!(next.is_stopping());
        assert_eq!(first.cause().unwrap().to_string(), "alone");
        assert_eq!(counter.count(), 1, "asked once");
    }
}

/// It is over before the parent is requested, and counts as over then.
#[test]
fn g13_phase_asked_alone_is_over_with_its_last_guard() {
    let shutdown = Shutdown::new();
    let first = shutdown.phase("first").build();
    let next = shutdown.phase("next").after(&first).build();
    let guard = take(&first);
    first.trigger("alone");
    drop(guard);
    assert!(first.guard().is_none(), "closed without a drain");
    assert!(!next.is_stopping());
    shutdown.trigger("all");
    assert!(next.is_stopping());
    // Nor does a phase wait that is made only now.
    let late = shutdown.phase("late").after(&first).build();
    assert!(late.is_stopping());
}

#[test]
fn g13_phase_asked_alone_before_its_turn_is_not_asked_again() {
    let shutdown = Shutdown::new();
    let first = shutdown.phase("first").build();
    let second = shutdown.phase("second").after(&first).build();
    let third = shutdown.phase("third").after(&second).build();
    let guard = take(&first);
    let log = Log::default();
    log.on(&second, "second", || ());
    shutdown.request_shutdown();
    second.trigger("alone");
    assert!(third.is_stopping(), "what it comes after is over");
    drop(guard);
    assert_eq!(log.names(), ["second"]);
    assert_eq!(second.cause().unwrap().to_string(), "alone");
}

#[test]
fn g13_predecessor_that_is_dropped_keeps_no_phase_waiting() {
    let requested = Shutdown::new();
    requested.request_shutdown();
    for shutdown in [Shutdown::new(), requested] {
        let first = shutdown.phase("first").by_hand().build();
        let next = shutdown.phase("next").after(&first).build();
        let (counter, _waiter) = pending(&next);
        drop(first);
        shutdown.trigger("all");
        assert!(next.is_stopping());
        assert_eq!(counter.count(), 1);
    }
}

/// Those that come after a phase that is dropped come after what it came after.
#[test]
fn g13_dropped_phase_leaves_its_order_behind() {
    for dropped_after_request in [false, true] {
        let shutdown = Shutdown::new();
        let firsts = [shutdown.phase("a").build(), shutdown.phase("b").build()];
        let guards = firsts.each_ref().map(take);
        let mut middle = shutdown.phase("middle");
        for first in &firsts {
            middle = middle.after(first);
        }
        let middle = middle.build();
        let another = shutdown.phase("middle").after(&middle).build();
        let lasts = [(); 3].map(|()| shutdown.phase("last").after(&another).build());
        if dropped_after_request {
            shutdown.request_shutdown();
        }
        drop(middle);
        drop(another);
        shutdown.trigger("unless it was requested");
        let [one, other] = guards;
        drop(one);
        assert!(lasts.iter().all(|last| !last.is_stopping()));
        drop(other);
        assert!(lasts.iter().all(Shutdown::is_stopping));
    }
}

#[test]
fn g13_phase_that_is_dropped_while_it_is_delayed() {
    let shutdown = Shutdown::new();
    let first = shutdown.phase("first").delay(HOUR).build();
    let next = shutdown.phase("next").after(&first).build();
    shutdown.request_shutdown();
    assert!(!first.is_stopping() && !next.is_stopping());
    drop(first);
    assert!(next.is_stopping());
}

/// A guard keeps its phase.
#[test]
fn g13_handle_is_dropped_while_a_guard_is_held() {
    for requested_first in [false, true] {
        let shutdown = Shutdown::new();
        let first = shutdown.phase("first").build();
        let next = shutdown.phase("next").after(&first).build();
        let guard = take(&first);
        if requested_first {
            shutdown.request_shutdown();
        }
        drop(first);
        shutdown.trigger("unless it was requested");
        assert!(guard.waiter().is_stopping());
        assert!(!next.is_stopping());
        drop(guard);
        assert!(next.is_stopping());
    }
}

#[test]
fn g13_phase_that_runs_out_of_its_time() {
    let shutdown = Shutdown::new();
    let first = shutdown.phase("first").time_limit(MOMENT).build();
    let next = shutdown.phase("next").after(&first).build();
    let guard = take(&first);
    let begun = Instant::now();
    shutdown.request_shutdown();
    next.waiter().wait_blocking();
    assert!(begun.elapsed() >= MOMENT);
    assert!(!first.is_forced() && !shutdown.is_forced());
    assert!(first.guard().is_some(), "it is late, and not closed");
    assert!(!drained(&shutdown), "its guard still counts");
    drop(guard);
    assert!(drained(&shutdown));
}

/// The limit runs from the moment when the phase is asked.
#[test]
fn time_limit_begins_when_the_phase_is_asked() {
    let shutdown = Shutdown::new();
    let first = shutdown.phase("first").build();
    let second = shutdown
        .phase("second")
        .after(&first)
        .time_limit(MOMENT)
        .build();
    let third = shutdown.phase("third").after(&second).build();
    let guards = [take(&first), take(&second)];
    shutdown.request_shutdown();
    assert!(!third.waiter().wait_blocking_timeout(10 * MOMENT));
    let [first_guard, second_guard] = guards;
    drop(first_guard);
    third.waiter().wait_blocking();
    drop(second_guard);
}

#[test]
fn time_limit_that_does_not_run_out_changes_nothing() {
    for limit in [HOUR, Duration::MAX] {
        let shutdown = Shutdown::new();
        let first = shutdown.phase("first").time_limit(limit).build();
        let next = shutdown.phase("next").after(&first).build();
        let guard = take(&first);
        shutdown.trigger("all");
        assert!(!next.waiter().wait_blocking_timeout(10 * MOMENT));
        drop(guard);
        assert!(next.is_stopping());
    }
}

#[test]
fn g13_time_limit_of_a_phase_asked_alone() {
    let shutdown = Shutdown::new();
    let first = shutdown.phase("first").time_limit(MOMENT).build();
    let next = shutdown.phase("next").after(&first).build();
    let _guard = take(&first);
    first.trigger("alone");
    let late = || shutdown.report().iter().any(|line| line.phase_timed_out);
    support::until("the limit runs out", late);
    assert!(!next.is_stopping());
    shutdown.trigger("all");
    assert!(next.is_stopping());
}

#[test]
fn g13_phase_made_after_the_request() {
    let shutdown = Shutdown::new();
    shutdown.trigger("enough");
    let first = shutdown.phase("first").build();
    assert!(first.is_stopping(), "it was due");
    assert_eq!(first.cause(), shutdown.cause());
    assert!(first.guard().is_none(), "and is over");

    let by_hand = shutdown.phase("by hand").by_hand().build();
    let last = shutdown.phase("last").after(&first).after(&by_hand).build();
    let delayed = shutdown.phase("delayed").delay(HOUR).build();
    for phase in [&by_hand, &last, &delayed] {
        assert_eq!(phase.stage(), Stage::Running);
        assert!(phase.guard().is_some());
    }
    by_hand.trigger("now");
    assert!(last.is_stopping());
}

#[test]
fn g13_lame_duck_comes_before_the_first_phase() {
    let shutdown = Shutdown::builder().lame_duck(HOUR).build();
    let phase = shutdown.phase("phase").build();
    let next = shutdown.phase("next").after(&phase).build();
    assert!(phase.trigger("alone"), "that has no lame duck");
    assert!(phase.is_stopping());
    shutdown.trigger("all");
    let made_then = shutdown.phase("made then").build();
    for phase in [&next, &made_then] {
        assert_eq!(
            (shutdown.stage(), phase.stage()),
            (Stage::Requested, Stage::Running)
        );
    }

    let shutdown = Shutdown::builder().lame_duck(MOMENT).build();
    let first = shutdown.phase("first").build();
    let next = shutdown.phase("next").after(&first).build();
    shutdown.trigger("all");
    next.waiter().wait_blocking();
    assert!(first.is_stopping() && shutdown.is_stopping());
}

#[test]
fn g13_force_reaches_every_phase_at_once() {
    let shutdown = Shutdown::new();
    let first = shutdown.phase("first").build();
    let waiting = shutdown.phase("waiting").after(&first).build();
    let after_that = shutdown.phase("after that").after(&waiting).build();
    let delayed = shutdown.phase("delayed").delay(HOUR).build();
    let by_hand = shutdown.phase("by hand").by_hand().build();
    let guards = [&first, &waiting, &after_that, &delayed, &by_hand].map(take);
    shutdown.request_shutdown();
    let phases = [&waiting, &after_that, &delayed, &by_hand];
    let waiters = phases.map(pending);
    let mut drains = phases.map(|phase| phase.drained());
    let (counter, waker) = Counter::new();
    for drain in &mut drains {
        assert!(poll(drain, &waker).is_pending());
    }
    shutdown.request_shutdown();
    let made_now = shutdown.phase("made now").after(&first).build();
    assert!(made_now.is_forced());
    for (phase, (counter, _)) in phases.into_iter().zip(&waiters) {
        assert_eq!(phase.stage(), Stage::Forced);
        assert_eq!(phase.cause(), shutdown.cause());
        assert_eq!(counter.count(), 1);
    }
    assert!(counter.count() >= phases.len());
    for drain in drains {
        let error = future::block_on(drain).unwrap_err();
        assert_eq!(error.kind, DrainErrorKind::Forced);
    }
    drop(guards);
    for (counter, _) in waiters {
        assert_eq!(counter.count(), 1);
    }
}

#[test]
fn force_of_a_phase_reaches_no_other() {
    let shutdown = Shutdown::new();
    let first = shutdown.phase("first").build();
    let next = shutdown.phase("next").after(&first).build();
    let _guard = take(&first);
    assert!(first.request_shutdown() && first.request_shutdown());
    assert!(first.is_forced() && !next.is_requested() && !shutdown.is_requested());
}

#[test]
fn deadline_forces_every_phase() {
    let shutdown = Shutdown::builder()
        .grace_period(MOMENT)
        .force_at_deadline()
        .build();
    let first = shutdown.phase("first").build();
    let next = shutdown.phase("next").after(&first).build();
    let by_hand = next.phase("by hand").by_hand().build();
    let _guard = take(&first);
    shutdown.request_shutdown();
    for phase in [first, next, by_hand] {
        future::block_on(phase.forced());
    }
}

// Deadline and cause are those of the parent.

#[test]
fn deadline_is_that_of_the_parent_before_and_after_a_phase_is_asked() {
    let shutdown = Shutdown::builder().grace_period(HOUR).build();
    let phase = shutdown.phase("phase").by_hand().build();
    let inner = phase.phase("inner").build();
    let child = phase.child();
    let all = [&phase, &inner, &child];
    for phase in all {
        assert_eq!((phase.deadline(), phase.remaining()), (None, None));
    }
    shutdown.request_shutdown();
    for asked in [false, true] {
        for phase in all {
            assert_eq!(phase.is_stopping(), asked);
            assert_eq!(phase.deadline(), shutdown.deadline());
            assert_eq!(phase.waiter().deadline(), shutdown.deadline());
            assert!(phase.remaining().unwrap() <= HOUR);
        }
        phase.trigger("now");
    }
    // A phase that was asked alone has its own, as a child.
    let shutdown = Shutdown::builder().grace_period(HOUR).build();
    let phase = shutdown.phase("phase").build();
    phase.trigger("alone");
    let deadline = phase.deadline().unwrap();
    shutdown.request_shutdown();
    assert_eq!(phase.deadline(), Some(deadline));
    assert!(shutdown.deadline().unwrap() >= deadline);
}

#[cfg(feature = "signals")]
#[test]
fn drained_of_a_phase_that_is_not_asked_ends_at_the_deadline() {
    let shutdown = Shutdown::builder().grace_period(MOMENT).build();
    let phase = shutdown.phase("phase").by_hand().build();
    let inner = phase.phase("inner").build();
    let child = phase.child();
    let guards = [&phase, &inner, &child].map(take);
    let (counter, waker) = Counter::new();
    let mut drains = [&phase, &inner, &child].map(Shutdown::drained);
    for drain in &mut drains {
        assert!(poll(drain, &waker).is_pending());
    }
    shutdown.request_shutdown();
    assert!(counter.count() >= 3, "woken when their time begins");
    for (drain, guards) in drains.into_iter().zip([3, 1, 1]) {
        let error = future::block_on(drain).unwrap_err();
        assert_eq!(error.kind, DrainErrorKind::TimedOut);
        assert_eq!(error.report.guards(), guards);
    }
    assert!(!phase.is_requested());
    drop(guards);
}

#[cfg(feature = "signals")]
#[test]
fn until_deadline_of_a_phase_that_is_not_asked_ends_at_the_deadline() {
    use winddown::ShutdownExt;

    let shutdown = Shutdown::builder().grace_period(MOMENT).build();
    let phase = shutdown.phase("phase").by_hand().build();
    let inner = phase.phase("inner").build();
    let child = phase.child();
    let (counter, waker) = Counter::new();
    let mut serving = [&phase, &inner, &child]
        .map(|phase| Box::pin(future::pending::<()>().until_deadline(phase.waiter())));
    for serving in &mut serving {
        assert!(poll(serving, &waker).is_pending());
    }
    shutdown.request_shutdown();
    assert_eq!(counter.count(), 3, "woken when their time begins");
    for serving in serving {
        assert_eq!(future::block_on(serving), None);
    }
    assert!(!phase.is_requested());
}

#[test]
fn cause_is_that_of_the_parent() {
    let shutdown = Shutdown::new();
    let first = shutdown.phase("first").build();
    let next = shutdown.phase("next").after(&first).build();
    let guard = take(&first);
    shutdown.send(winddown::Signal::TERM);
    assert_eq!(first.cause(), shutdown.cause());
    assert_eq!(next.cause(), None);
    drop(guard);
    assert_eq!(next.cause(), shutdown.cause());
    assert!(next.cause().is_some());
}

#[test]
fn phases_by_hand_are_asked_by_any_verb() {
    let shutdown = Shutdown::new();
    let make = || shutdown.phase("by hand").by_hand().build();
    let phases = [make(), make(), make(), make()];
    let next = phases
        .iter()
        .fold(shutdown.phase("next"), PhaseBuilder::after);
    let next = next.build();
    shutdown.trigger("all");
    assert!(phases.iter().all(|phase| phase.stage() == Stage::Running));
    assert!(phases[0].trigger("the rest is done"));
    assert!(phases[1].request_shutdown());
    drop(phases[2].drop_guard());
    assert!(!next.is_stopping());
    let guard = take(&phases[3]);
    assert!(phases[3].fail(io::Error::other("disk full")));
    assert!(phases.iter().all(|phase| phase.stage() == Stage::Stopping));
    assert!(!next.is_stopping());
    drop(guard);
    assert!(next.is_stopping());
    let causes = phases.map(|phase| phase.cause().unwrap().to_string());
    assert_eq!(causes[0], "the rest is done");
    assert!(causes[1].starts_with("requested at tests/phases.rs:"));
    assert_eq!(causes[3], "failed: disk full");
    // The end of the whole is a failure too.
    let cause = shutdown.cause().unwrap();
    assert_eq!(cause.to_string(), "failed: disk full");
}

/// The verbs belong to the handle.
#[test]
fn phase_by_hand_without_a_handle_waits_for_the_force() {
    let shutdown = Shutdown::new();
    let by_hand = shutdown.phase("by hand").by_hand().build();
    let next = shutdown.phase("next").after(&by_hand).build();
    let waiter = by_hand.waiter();
    drop(by_hand);
    shutdown.request_shutdown();
    assert!(!waiter.is_stopping() && !next.is_stopping());
    shutdown.request_shutdown();
    assert!(waiter.is_stopping() && next.is_stopping());
}

/// A phase by hand may be asked before the parent is requested; what comes after it waits for both.
#[test]
fn phase_by_hand_is_asked_before_the_parent() {
    let shutdown = Shutdown::new();
    let by_hand = shutdown.phase("by hand").by_hand().build();
    let next = shutdown.phase("next").after(&by_hand).build();
    by_hand.trigger("early");
    assert!(!next.is_stopping());
    shutdown.trigger("all");
    assert!(next.is_stopping());
}

// Delays.

#[test]
fn delay_begins_when_the_predecessors_are_over() {
    let shutdown = Shutdown::new();
    let first = shutdown.phase("first").build();
    let next = shutdown.phase("next").after(&first).delay(MOMENT).build();
    let guard = take(&first);
    shutdown.request_shutdown();
    assert!(!next.waiter().wait_blocking_timeout(10 * MOMENT));
    let (counter, _waiter) = pending(&next);
    let over = Instant::now();
    drop(guard);
    next.waiter().wait_blocking();
    assert!(over.elapsed() >= MOMENT);
    support::until("its wakers are called", || counter.count() == 1);
    assert!(next.guard().is_none() && drained(&shutdown));
}

#[test]
fn delay_keeps_later_phases_and_guards_waiting() {
    let shutdown = Shutdown::new();
    let first = shutdown.phase("first").delay(MOMENT).build();
    let next = shutdown.phase("next").after(&first).build();
    let guard = take(&first);
    shutdown.request_shutdown();
    first.waiter().wait_blocking();
    assert!(!next.is_stopping());
    drop(guard);
    assert!(next.is_stopping());

    let endless = shutdown.phase("endless").delay(Duration::MAX).build();
    assert!(!endless.waiter().wait_blocking_timeout(10 * MOMENT));
    assert!(endless.trigger("alone"));
}

#[test]
fn delayed_phase_that_is_asked_alone() {
    let shutdown = Shutdown::new();
    let first = shutdown.phase("first").delay(HOUR).build();
    let next = shutdown.phase("next").after(&first).build();
    let log = Log::default();
    log.on(&first, "first", || ());
    shutdown.request_shutdown();
    assert!(!next.is_stopping());
    first.trigger("alone");
    assert!(next.is_stopping());
    assert_eq!(log.names(), ["first"]);
}

// Work.

#[test]
fn guards_of_phases_count_in_the_parent() {
    let shutdown = Shutdown::new();
    let first = shutdown.phase("first").build();
    let next = shutdown.phase("next").after(&first).build();
    let guards = [take(&first), take(&next), take(&next)];
    assert_eq!((shutdown.in_flight(), shutdown.report().guards()), (3, 3));
    assert_eq!((next.in_flight(), next.report().guards()), (2, 2));
    shutdown.request_shutdown();
    let (counter, waker) = Counter::new();
    let mut drain = shutdown.drained();
    assert!(poll(&mut drain, &waker).is_pending());
    drop(guards);
    assert!(counter.count() >= 1);
    assert!(poll(&mut drain, &waker).is_ready());
    assert!(next.is_stopping());
}

#[test]
fn phase_is_closed_when_it_is_over() {
    let shutdown = Shutdown::new();
    let first = shutdown.phase("first").build();
    let next = shutdown.phase("next").after(&first).build();
    let seen = Arc::new(AtomicUsize::new(0));
    let (of_first, count) = (first.clone(), seen.clone());
    let _callback = next.call_on_shutdown(move || {
        count.fetch_add(usize::from(of_first.guard().is_none()), Ordering::SeqCst);
    });
    let guard = take(&first);
    shutdown.request_shutdown();
    // Until then it takes guards, and hands on what it has.
    let another = [take(&first), guard.clone()];
    drop(guard);
    assert!(!next.is_stopping());
    drop(another);
    assert!(first.guard().is_none());
    assert_eq!(seen.load(Ordering::SeqCst), 1, "when the next is asked");
    assert!(shutdown.guard().is_some(), "the parent is open");
    assert!(next.guard().is_none(), "it had none");
}

/// The callback of a phase releases its last guard, and goes on. Threads that wait for the next phase need no
/// other thread to return.
///
/// Mutation: `Asked::wake` leaves the threads of phases to the calls further up the stack.
#[test]
fn threads_of_the_next_phase_are_woken_within_a_callback() {
    for round in 0..20 {
        let first = round % 2 == 0;
        let shutdown = Shutdown::new();
        let zeroth = shutdown.phase("zeroth").build();
        let phase = shutdown.phase("phase");
        let phase = if first { phase } else { phase.after(&zeroth) }.build();
        let next = shutdown.phase("next").after(&phase).build();
        let [before, last, working] = [&zeroth, &phase, &next].map(take);
        let (waiter, begun) = (next.waiter(), Arc::new(Barrier::new(2)));
        let begins = begun.clone();
        let worker = thread::spawn(move || {
            begins.wait();
            waiter.wait_blocking();
            drop(working);
        });
        begun.wait();
        (0..100).for_each(|_| thread::yield_now()); // until it blocks, most likely
        let (says, said) = channel();
        let _callback = phase.call_on_shutdown(move || {
            drop(last);
            says.send(next.drain_blocking(PATIENCE)).unwrap();
        });
        shutdown.request_shutdown();
        drop(before);
        assert_eq!(said.recv().unwrap(), Ok(()));
        worker.join().unwrap();
    }
}

#[test]
fn drain_of_a_phase_closes_it_and_lets_the_next_go_on() {
    let shutdown = Shutdown::new();
    let first = shutdown.phase("first").build();
    let next = shutdown.phase("next").after(&first).build();
    let last = shutdown.phase("last").after(&next).build();
    // Before it is asked.
    assert!(drained(&next));
    assert!(next.guard().is_none() && !last.is_requested());
    let guard = take(&first);
    shutdown.request_shutdown();
    let (counter, waker) = Counter::new();
    let mut drain = first.drain(HOUR);
    assert!(poll(&mut drain, &waker).is_pending());
    drop(guard);
    assert!(counter.count() >= 1);
    assert!(poll(&mut drain, &waker).is_ready());
    assert!(next.is_stopping() && last.is_stopping());
}

#[test]
fn drained_of_a_phase_waits_for_its_turn() {
    let shutdown = Shutdown::new();
    let first = shutdown.phase("first").build();
    let next = shutdown.phase("next").after(&first).build();
    let guards = [take(&first), take(&next)];
    let (counter, waker) = Counter::new();
    let mut drain = next.drained();
    assert!(poll(&mut drain, &waker).is_pending());
    shutdown.request_shutdown();
    let [first_guard, next_guard] = guards;
    drop(next_guard);
    assert!(poll(&mut drain, &waker).is_pending(), "not asked yet");
    assert!(next.guard().is_some(), "and open");
    drop(first_guard);
    assert!(counter.count() >= 1);
    assert_eq!(future::block_on(drain), Ok(()));
}

/// A phase by hand that is closed while it is not asked is not over.
#[test]
fn g13_drained_phase_by_hand_is_over_once_it_is_asked() {
    let shutdown = Shutdown::new();
    let by_hand = shutdown.phase("by hand").by_hand().build();
    let next = shutdown.phase("next").after(&by_hand).build();
    shutdown.request_shutdown();
    assert!(drained(&by_hand));
    assert!(!next.is_stopping());
    by_hand.trigger("now");
    assert!(next.is_stopping());
}

// Trees.

#[test]
fn children_of_phases_are_asked_with_them() {
    let shutdown = Shutdown::new();
    let first = shutdown.phase("first").build();
    let next = shutdown.phase("next").after(&first).build();
    let child = next.child();
    let grandchild = child.child();
    let job = take(&first.child().child());
    let guard = take(&grandchild);
    let (counter, _waiter) = pending(&grandchild);
    shutdown.request_shutdown();
    assert!(!child.is_requested() && !next.child().is_requested());
    drop(job);
    assert!(child.is_stopping() && grandchild.is_stopping());
    assert!(next.child().is_stopping(), "also one that is made now");
    assert_eq!(counter.count(), 1);
    assert_eq!(grandchild.cause(), shutdown.cause());
    assert!(next.guard().is_some(), "a guard below keeps it open");
    drop(guard);
    assert!(next.guard().is_none());
}

#[test]
fn phases_of_children_are_ordered_in_their_child() {
    let shutdown = Shutdown::new();
    let [one, other] = [(); 2].map(|()| {
        let child = shutdown.child();
        let first = child.phase("first").build();
        let next = child.phase("next").after(&first).build();
        let guard = take(&first);
        (child, next, guard)
    });
    one.0.trigger("alone");
    drop(one.2);
    assert!(one.1.is_stopping() && !other.1.is_requested());
    shutdown.trigger("all");
    assert!(!other.1.is_stopping());
    drop(other.2);
    assert!(other.1.is_stopping());
    assert_eq!(other.1.cause(), shutdown.cause());
    assert_eq!(one.1.cause().unwrap().to_string(), "alone");
}

#[test]
fn phases_of_phases_begin_when_their_phase_is_asked() {
    let shutdown = Shutdown::new();
    let first = shutdown.phase("first").build();
    let outer = shutdown.phase("outer").after(&first).build();
    let last = shutdown.phase("last").after(&outer).build();
    let inner = outer.phase("inner").build();
    let innermost = outer.phase("innermost").after(&inner).build();
    let log = Log::default();
    log.on(&outer, "outer", || ());
    log.on(&last, "last", || ());
    let guards = [take(&first), take(&inner), take(&innermost)];
    let [of_first, of_inner, of_innermost] = guards;
    for (phase, name, guard) in [
        (&inner, "inner", of_inner),
        (&innermost, "innermost", of_innermost),
    ] {
        log.on(phase, name, || drop(guard));
    }
    shutdown.request_shutdown();
    assert!(log.names().is_empty());
    drop(of_first);
    assert_eq!(log.names(), ["outer", "inner", "innermost", "last"]);
}

// No recursion, no lock, no memory.

/// Runs on a stack that has no room for a call of each phase of a long chain.
fn on_a_small_stack(run: impl FnOnce() + Send + 'static) {
    let thread = thread::Builder::new().stack_size(256 * 1024).spawn(run);
    thread.unwrap().join().unwrap();
}

fn chain(shutdown: &Shutdown, length: usize) -> Vec<Shutdown> {
    let mut phases = vec![shutdown.phase("of a chain").build()];
    for _ in 1..length {
        let last = phases.last().unwrap();
        phases.push(shutdown.phase("of a chain").after(last).build());
    }
    phases
}

const LONG: usize = 10_000;

#[test]
fn g13_long_chain_needs_no_deep_stack() {
    on_a_small_stack(|| {
        let shutdown = Shutdown::new();
        let phases = chain(&shutdown, LONG);
        let guard = take(&phases[0]);
        let (counter, _waiter) = pending(phases.last().unwrap());
        shutdown.request_shutdown();
        assert!(!phases[1].is_requested());
        drop(guard);
        assert!(phases.iter().all(Shutdown::is_stopping));
        assert_eq!(counter.count(), 1);
        assert!(drained(&shutdown));
    });
}

/// Each phase holds a guard, which a callback of that phase releases.
#[test]
fn g5_g13_long_chain_of_callbacks_needs_no_deep_stack() {
    on_a_small_stack(|| {
        let shutdown = Shutdown::new();
        let phases = chain(&shutdown, LONG);
        let order = Arc::new(Mutex::new(Vec::new()));
        let _callbacks: Vec<Callback> = (0..LONG)
            .map(|number| {
                let (guard, order) = (take(&phases[number]), order.clone());
                phases[number].call_on_shutdown(move || {
                    order.lock().unwrap().push(number);
                    drop(guard);
                })
            })
            .collect();
        shutdown.request_shutdown();
        assert!(order.lock().unwrap().iter().copied().eq(0..LONG));
        assert!(phases.iter().all(Shutdown::is_stopping));
        assert!(drained(&shutdown));
    });
}

#[test]
fn g5_g13_long_chain_of_wakers_needs_no_deep_stack() {
    on_a_small_stack(|| {
        let shutdown = Shutdown::new();
        let phases = chain(&shutdown, LONG);
        let mut waiters: Vec<_> = phases.iter().map(Shutdown::waiter).collect();
        for (waiter, phase) in waiters.iter_mut().zip(&phases) {
            let guard = Mutex::new(Some(take(phase)));
            let waker = Call::waker(move || drop(guard.lock().unwrap().take()));
            assert!(poll(waiter, &waker).is_pending());
        }
        shutdown.request_shutdown();
        assert_eq!(shutdown.in_flight(), 0);
        assert!(phases.iter().all(|phase| phase.guard().is_none()));
    });
}

/// Each handle is dropped by a callback of the phase before, which asks the phase after.
#[test]
fn g5_g13_long_chain_of_drops_needs_no_deep_stack() {
    on_a_small_stack(|| {
        let shutdown = Shutdown::new();
        let phases = chain(&shutdown, LONG);
        let last = phases.last().unwrap().clone();
        let mut callbacks = Vec::new();
        let mut phases = phases.into_iter();
        let first = phases.next().unwrap();
        let mut before = first.clone();
        for phase in phases {
            let (held, guard) = (phase.clone(), take(&phase));
            callbacks.push(before.call_on_shutdown(move || {
                drop(guard);
                drop(held);
            }));
            before = phase;
        }
        drop(before);
        shutdown.request_shutdown();
        assert!(last.is_stopping());
        drop(callbacks);
    });
}

#[test]
fn dropping_a_long_chain_needs_no_deep_stack() {
    on_a_small_stack(|| {
        for forwards in [true, false] {
            let shutdown = Shutdown::new();
            let mut phases = chain(&shutdown, 1_000);
            let last = shutdown.phase("last").after(phases.last().unwrap()).build();
            if !forwards {
                phases.reverse();
            }
            phases.into_iter().for_each(drop);
            shutdown.request_shutdown();
            assert!(last.is_stopping());
        }
        let mut innermost = Shutdown::new();
        for _ in 0..LONG {
            innermost = innermost.phase("inner").build();
        }
        let guard = take(&innermost);
        drop(innermost);
        drop(guard);
    });
}

#[test]
fn g5_g13_panicking_wakers_keep_no_phase_waiting() {
    let shutdown = Shutdown::new();
    let phases = chain(&shutdown, 10);
    let mut waiters: Vec<_> = phases.iter().map(Shutdown::waiter).collect();
    // Without a timer: async-io keeps the waker of one that is dropped until its thread looks again.
    let mut drains: Vec<_> = (phases.iter().map(|phase| phase.drain(Duration::MAX))).collect();
    let guards: Vec<_> = phases.iter().map(take).collect();
    let mut callbacks = Vec::new();
    for ((phase, guard), (waiter, drain)) in
        (phases.iter().zip(guards)).zip(waiters.iter_mut().zip(&mut drains))
    {
        let panics = Call::waker(|| panic!("a waker"));
        assert!(poll(waiter, &panics).is_pending());
        assert!(poll(drain, &panics).is_pending());
        callbacks.push(phase.call_on_shutdown(move || {
            let _guard = guard;
            panic!("a callback");
        }));
    }
    shutdown.request_shutdown();
    assert!(phases.iter().all(Shutdown::is_stopping));
    assert!(drained(&shutdown));
    assert_eq!(shutdown.report().panicked(), phases.len());
    // This thread calls wakers of phases as before.
    let another = Shutdown::new();
    let (counter, _waiter) = pending(&another.phase("phase").build());
    another.request_shutdown();
    assert_eq!(counter.count(), 1);
}

/// One thread hangs in the waker of a phase. Another drops the last guard, so the next phase is its own
/// to ask; and the force reaches all.
#[test]
fn g5_g13_waker_that_hangs_keeps_no_other_thread_from_going_on() {
    let shutdown = Shutdown::new();
    let first = shutdown.phase("first").build();
    let second = shutdown.phase("second").after(&first).build();
    let third = shutdown.phase("third").after(&second).build();
    let last = shutdown.phase("last").after(&third).build();
    let guards = [&first, &second, &third, &last].map(take);
    let [first_guard, second_guard, third_guard, _last_guard] = guards;
    let (hangs, hung) = channel();
    let (finish, finished) = channel::<()>();
    let finished = Mutex::new(finished);
    let waker = Call::waker(move || {
        hangs.send(()).unwrap();
        let _ = finished.lock().unwrap().recv();
    });
    let mut waiter = second.waiter();
    assert!(poll(&mut waiter, &waker).is_pending());
    let (counter, _third_waiter) = pending(&third);
    let (last_counter, _last_waiter) = pending(&last);
    shutdown.request_shutdown();

    let stuck = thread::spawn(move || drop(first_guard));
    hung.recv().unwrap();
    drop(second_guard);
    assert!(third.is_stopping());
    assert_eq!(counter.count(), 1);
    thread::spawn(move || drop(third_guard)).join().unwrap();
    assert_eq!(last_counter.count(), 1);
    in_time({
        let shutdown = shutdown.clone();
        move || shutdown.request_shutdown()
    });
    assert!(last.is_forced());
    drop(finish);
    stuck.join().unwrap();
}

/// The last guard of all asks phases that have none, and a waker of one of them hangs.
#[test]
fn g5_waker_that_hangs_keeps_no_drain_of_the_parent_waiting() {
    let shutdown = Shutdown::new();
    let outer = shutdown.phase("outer").build();
    let first = outer.phase("first").build();
    let next = outer.phase("next").after(&first).build();
    let guard = take(&first);
    let (finish, finished) = channel::<()>();
    let _callback = next.call_on_shutdown(move || finished.recv().unwrap_or_default());
    shutdown.request_shutdown();
    let drains = [&shutdown, &outer, &first].map(|it| {
        let mut drain = it.drain(HOUR);
        let (counter, waker) = Counter::new();
        assert!(poll(&mut drain, &waker).is_pending());
        (counter, drain)
    });
    let stuck = thread::spawn(move || drop(guard));
    for (counter, mut drain) in drains {
        support::until("the drain is notified", || counter.count() > 0);
        assert_eq!(
            poll(&mut drain, std::task::Waker::noop()),
            std::task::Poll::Ready(Ok(()))
        );
    }
    drop(finish);
    stuck.join().unwrap();
}

/// A waker uses every part of the API that takes a lock.
#[test]
fn g5_wakers_of_phases_are_called_without_a_lock() {
    in_time(|| {
        let shutdown = Shutdown::builder().grace_period(HOUR).build();
        let first = shutdown.phase("first").build();
        let next = shutdown.phase("next").after(&first).build();
        let last = shutdown.phase("last").after(&next).build();
        let guard = take(&first);
        let calls = Arc::new(AtomicUsize::new(0));
        let waker = || {
            let (shutdown, next, last) = (shutdown.clone(), next.clone(), last.clone());
            let calls = calls.clone();
            Call::waker(move || {
                let made = shutdown.phase("made").after(&next).time_limit(HOUR).build();
                let delayed = shutdown.phase("made").after(&made).delay(HOUR).build();
                let later = shutdown.phase("made").after(&delayed).build();
                drop(made);
                delayed.trigger("now");
                drop((delayed, later));
                drop(next.phase("inner").build());
                drop(shutdown.child());
                last.trigger("by a waker");
                shutdown.trigger("again");
                let _ = last.guard();
                drained(&next);
                drained(&shutdown);
                let _ = (shutdown.report(), shutdown.in_flight(), last.deadline());
                drop(last.waiter());
                shutdown.request_shutdown();
                calls.fetch_add(1, Ordering::SeqCst);
            })
        };
        let mut waiters = [first.waiter(), next.waiter(), last.waiter()];
        for waiter in &mut waiters {
            assert!(poll(waiter, &waker()).is_pending());
        }
        let mut drain = next.drain(HOUR);
        let next_guard = take(&next);
        assert!(poll(&mut drain, &waker()).is_pending());
        shutdown.trigger("all");
        drop(guard);
        drop(next_guard);
        assert!(calls.load(Ordering::SeqCst) >= 4);
        assert!(shutdown.is_forced());
    });
}

#[test]
fn g10_dropped_phases_leave_no_memory() {
    const ROUNDS: i64 = 10_000;
    let shutdown = Shutdown::new();
    let kept = shutdown.phase("kept").build();
    let _guard = take(&kept);
    let round = || {
        let first = shutdown.phase("first").after(&kept).build();
        let second = shutdown
            .phase("second")
            .after(&first)
            .after(&kept)
            .delay(HOUR)
            .time_limit(HOUR)
            .build();
        let by_hand = shutdown.phase("by hand").by_hand().build();
        drop(second.guard());
        drop(second.waiter());
        drop(second.phase("inner").build().child().guard());
        drop(first);
        drop(second);
        by_hand.trigger("alone");
        drop(by_hand);
    };
    for _ in 0..2 {
        round();
        let info = measure(|| (0..ROUNDS).for_each(|_| round()));
        // Not zero: the list of timers is the process's, so other tests pay for parts of it.
        let left = info.bytes_current.abs();
        assert!(left < ROUNDS, "{left} bytes");
        shutdown.trigger("all");
    }
}

/// Each phase comes after the last one and after a phase that stays, and the last one is dropped.
#[test]
fn g10_phases_in_turn_leave_no_memory() {
    let shutdown = Shutdown::new();
    let kept = shutdown.phase("kept").build();
    let mut last = [(); 2].map(|()| shutdown.phase("last").after(&kept).build());
    let mut turn = || {
        let [one, other] = &last;
        last = [(); 2].map(|()| {
            let next = shutdown.phase("last").after(&kept).after(one);
            next.after(other).build()
        });
    };
    turn();
    let info = measure(|| (0..1_000).for_each(|_| turn()));
    assert_eq!(info.bytes_current, 0);
    let guard = take(&kept);
    shutdown.request_shutdown();
    assert!(last.iter().all(|last| !last.is_stopping()));
    drop(guard);
    assert!(last.iter().all(Shutdown::is_stopping));
}

#[test]
fn g10_phases_at_once_leave_no_memory() {
    let shutdown = Shutdown::new();
    drop(shutdown.phase("of a crowd").build().guard());
    let info = measure(|| {
        let phases: Vec<_> = (0..10_000)
            .map(|_| shutdown.phase("of a crowd").build())
            .collect();
        let guards: Vec<_> = phases.iter().map(take).collect();
        drop(guards);
        drop(phases);
    });
    assert!(info.bytes_current < 4096, "{} bytes", info.bytes_current);
}

#[test]
fn g10_report_does_not_grow_with_the_phases_ever_made() {
    let shutdown = Shutdown::new();
    // Called through a pointer: where the optimizer copies the line, each copy is a call site of its own.
    let round = || {
        let phase = shutdown.phase("phase").build();
        drop(phase.phase("inner").build().guard());
        phase.guard()
    };
    let round: &dyn Fn() -> Option<Guard> = black_box(&round);
    let _held = round();
    let info = measure(|| (0..1_000).for_each(|_| drop(round())));
    assert_eq!(info.bytes_current, 0);
    assert_eq!(shutdown.report().iter().len(), 1);
}

// Bad input.

fn panic_of<T>(run: impl FnOnce() -> T) -> String {
    let payload = catch_unwind(AssertUnwindSafe(|| drop(run()))).unwrap_err();
    match payload.downcast::<String>() {
        Ok(message) => *message,
        Err(payload) => (*payload.downcast::<&str>().unwrap()).to_owned(),
    }
}

#[test]
fn phase_comes_only_after_phases_of_the_same_shutdown() {
    let shutdown = Shutdown::new();
    let foreign = Shutdown::new().phase("foreign").build();
    let inner = shutdown.phase("outer").build().phase("inner").build();
    for before in [&shutdown, &shutdown.child(), &foreign, &inner] {
        assert_eq!(
            panic_of(|| shutdown.phase("storage").after(before)),
            "phase 'storage' can only come after phases of the same shutdown"
        );
    }
    let own = shutdown.phase("of its own").build();
    drop(shutdown.phase("storage").after(&own).build());
    assert!(drained(&shutdown), "the shutdown is as it was");
}

#[test]
fn phase_by_hand_takes_no_order() {
    let shutdown = Shutdown::new();
    let first = shutdown.phase("first").build();
    let message = "phase 'metrics' is asked by hand, so it takes neither `after` nor `delay`";
    let metrics = || shutdown.phase("metrics").by_hand();
    assert_eq!(panic_of(|| metrics().after(&first).build()), message);
    assert_eq!(panic_of(|| metrics().delay(MOMENT).build()), message);
    let metrics = metrics().delay(Duration::ZERO).time_limit(HOUR).build();
    shutdown.request_shutdown();
    assert!(first.is_stopping() && !metrics.is_stopping());
}

#[test]
fn builder_has_a_readable_debug() {
    let text = format!("{:?}", Shutdown::new().phase("mail").by_hand());
    assert_eq!(text, "PhaseBuilder { name: \"mail\", .. }");
}

// Reports.

/// Returns `file:line`, so many lines above the call.
#[track_caller]
fn above(lines: u32) -> String {
    let at = Location::caller();
    format!("{}:{}", at.file(), at.line() - lines)
}

#[test]
fn report_names_phases() {
    let shutdown = Shutdown::new();
    let storage = shutdown.phase("storage").build();
    let workers = shutdown.phase("workers").build();
    let two = [(); 2].map(|()| storage.guard());
    let at_two = above(1);
    assert_eq!(
        shutdown.report().to_string(),
        format!("2 guards are held:\n  storage: 2 guards: 2 at {at_two}")
    );
    let of_child = workers.child().guard_named("mail");
    let at_child = above(1);
    let of_workers = [(); 3].map(|()| workers.guard());
    let at_workers = above(1);
    let of_none = shutdown.child().guard();
    let at_none = above(1);
    assert_eq!(
        shutdown.report().to_string(),
        format!(
            "7 guards are held:\n  1 at {at_none}\n  storage: 2 guards: 2 at {at_two}\n  \
             workers: 4 guards: 3 at {at_workers}, 1 'mail' at {at_child}"
        )
    );
    assert_eq!(
        workers.report().to_string(),
        format!("4 guards are held:\n  3 at {at_workers}\n  1 'mail' at {at_child}"),
        "its own name says nothing in its own report"
    );
    let error = shutdown.drain_blocking(Duration::ZERO).unwrap_err();
    assert_eq!(error.report, shutdown.report());
    assert_eq!(
        error.to_string(),
        format!("timed out; {}", shutdown.report())
    );
    let phases: Vec<_> = error.report.iter().map(|line| line.phase).collect();
    assert_eq!(
        phases,
        [None, Some("storage"), Some("workers"), Some("workers")]
    );
    drop((two, of_child, of_workers, of_none));
    assert_eq!(shutdown.report().to_string(), "no guards are held");
}

#[test]
fn report_names_the_innermost_phase() {
    let shutdown = Shutdown::new();
    let child = shutdown.child();
    let outer = child.phase("outer").build();
    let inner = outer.phase("inner").build();
    let _guard = inner.child().guard();
    let at = above(1);
    for above in [&shutdown, &child, &outer] {
        assert_eq!(
            above.report().to_string(),
            format!("1 guard is held:\n  inner: 1 guard: 1 at {at}")
        );
    }
    assert_eq!(
        inner.report().to_string(),
        format!("1 guard is held:\n  1 at {at}")
    );
}

/// An error that panics when it is dropped, by the thread that calls the wakers of a phase.
#[test]
fn g13_panic_of_an_error_that_is_dropped_silences_no_later_phase() {
    for (fails, alone) in [(true, false), (true, true), (false, false)] {
        let shutdown = Shutdown::new();
        let first = shutdown.phase("first");
        let first = if alone { first.by_hand() } else { first }.build();
        let working = (!alone).then(|| first.guard());
        let [second, third] =
            ["second", "third"].map(|name| shutdown.phase(name).after(&first).build());
        // The thread that asks it finds the child.
        let asked = if alone { &first } else { &second };
        let child = asked.child();
        if fails {
            child.fail(PanicsWhenDropped);
        }
        let held = Mutex::new(Some(child));
        let mut drops = asked.waiter();
        let waker = Call::waker(move || drop(held.lock().unwrap().take()));
        assert!(poll(&mut drops, &waker).is_pending());
        let (counter, waker) = Counter::new();
        let mut waiter = third.waiter();
        assert!(poll(&mut waiter, &waker).is_pending());
        shutdown.request_shutdown();
        drop(working);
        if alone {
            assert!(first.trigger("by hand"));
        }
        assert_eq!(counter.count(), 1);
    }
}

/// The timer of a phase that is dropped is forgotten, and no other.
#[test]
fn dropped_phase_leaves_the_timers_of_others() {
    let shutdown = Shutdown::new();
    let delayed = |name, delay| shutdown.phase(name).delay(delay).build();
    let first = delayed("first", HOUR);
    let second = delayed("second", Duration::from_millis(100));
    shutdown.request_shutdown();
    drop(first);
    in_time(move || second.waiter().wait_blocking());
}

#[test]
fn requested_of_a_phase_is_not_ready_in_the_lame_duck_of_the_whole() {
    let shutdown = Shutdown::builder().lame_duck(HOUR).build();
    let phase = shutdown.phase("phase").build();
    let (counter, waker) = Counter::new();
    let mut requested = phase.requested();
    assert!(poll(&mut requested, &waker).is_pending());
    assert!(shutdown.request_shutdown());
    assert_eq!(counter.count(), 0);
    for mut requested in [requested, phase.requested()] {
        assert!(poll(&mut requested, &waker).is_pending());
    }
    assert!(!phase.is_requested());
}

/// One line of code takes guards of two phases, and of none.
#[test]
fn report_tells_phases_of_one_line_apart() {
    let shutdown = Shutdown::new();
    let all = [
        shutdown.clone(),
        shutdown.phase("a").build(),
        shutdown.phase("b").build(),
        shutdown.phase("b").build(),
    ];
    let _guards = all.each_ref().map(Shutdown::guard);
    let lines: Vec<_> = (shutdown.report().iter())
        .map(|line| (line.phase, line.guards))
        .collect();
    assert_eq!(lines, [(None, 1), (Some("a"), 1), (Some("b"), 2)]);
}

/// The name of one phase is a part of the other's.
#[test]
fn report_tells_phases_apart_whose_names_are_at_one_address() {
    const NAME: &str = "storage backup";
    let shutdown = Shutdown::new();
    let phases = [NAME, &NAME[..7]].map(|name| shutdown.phase(name).build());
    let _guards = phases.each_ref().map(Shutdown::guard);
    let lines: Vec<_> = (shutdown.report().iter())
        .map(|line| (line.phase, line.guards))
        .collect();
    assert_eq!(lines, [(Some("storage"), 1), (Some("storage backup"), 1)]);
}

#[test]
fn report_says_which_time_limit_ran_out() {
    let shutdown = Shutdown::builder().grace_period(HOUR).build();
    let child = shutdown.child();
    let workers = child.phase("workers").time_limit(MOMENT).build();
    let storage = child.phase("storage").after(&workers).build();
    let (working, storing) = (workers.guard(), storage.guard());
    let at = above(1);
    shutdown.request_shutdown();
    storage.waiter().wait_blocking();
    let of_workers = format!("workers (its time limit ran out): 1 guard: 1 at {at}");
    let of_storage = format!("storage: 1 guard: 1 at {at}");
    let text = format!("2 guards are held:\n  {of_storage}\n  {of_workers}");
    for above in [&shutdown, &child] {
        support::until("it says so", || above.report().to_string() == text);
    }
    let mut drain = shutdown.drain(HOUR);
    assert_eq!(drain.progress().report().to_string(), text);
    let error = shutdown.drain_blocking(Duration::ZERO).unwrap_err();
    assert_eq!(error.to_string(), format!("timed out; {text}"));
    let late: Vec<_> = (error.report.iter())
        .map(|line| line.phase_timed_out)
        .collect();
    assert_eq!(late, [false, true]);
    assert!(!workers.report().iter().any(|line| line.phase_timed_out));
    drop(storing);
    // Once, where its guards are.
    let text = format!("1 guard is held:\n  {of_workers}");
    assert_eq!(shutdown.report().to_string(), text);
    drop(working);
    assert!(drained(&shutdown));
    // The order was not kept.
    for above in [&shutdown, &child] {
        let report = above.report();
        assert_eq!(report.timed_out_phases(), ["workers"]);
        assert!(!report.is_empty());
        let text = "no guards are held; the time limit of workers ran out";
        assert_eq!(report.to_string(), text);
    }
    assert!(workers.report().is_empty());
}

#[test]
fn report_counts_panics_by_phase() {
    let shutdown = Shutdown::new();
    let workers = shutdown.phase("workers").build();
    let guard = workers.guard();
    let at = above(1);
    thread::spawn(move || {
        let _guard = guard;
        panic!("a job");
    })
    .join()
    .unwrap_err();
    assert_eq!(
        shutdown.report().to_string(),
        format!(
            "no guards are held, 1 was dropped by a panic:\n  \
             workers: no guards: 0 at {at} (1 dropped by a panic)"
        )
    );
}

// The cases of fx, Akka and .NET.

/// Fx and .NET: what started last stops first.
#[test]
fn parts_stop_in_the_reverse_order_of_their_start() {
    let shutdown = Shutdown::new();
    let log = Log::default();
    // Started in this order: each stops after what needs it.
    let http = shutdown.phase("http").build();
    let workers = shutdown.phase("workers").after(&http).build();
    let database = shutdown.phase("database").after(&workers).build();
    for (part, name) in [
        (&database, "database"),
        (&workers, "workers"),
        (&http, "http"),
    ] {
        let guard = take(part);
        log.add(name);
        log.on(part, name, || drop(guard));
    }
    shutdown.request_shutdown();
    assert_eq!(
        log.names(),
        ["database", "workers", "http", "http", "workers", "database"]
    );
}

/// Fx: a hook that fails keeps no later one from running, and the result names it. .NET: the first of
/// several failures is kept.
#[test]
fn phase_that_fails_keeps_no_later_one_waiting() {
    let shutdown = Shutdown::new();
    let http = shutdown.phase("http").build();
    let workers = shutdown.phase("workers").after(&http).build();
    let database = shutdown.phase("database").after(&workers).build();
    let log = Log::default();
    for (part, name) in [
        (&http, "http"),
        (&workers, "workers"),
        (&database, "database"),
    ] {
        let (guard, failing) = (take(part), part.clone());
        log.on(part, name, move || {
            failing.fail(io::Error::other(name));
            drop(guard);
        });
    }
    shutdown.trigger("all");
    assert_eq!(log.names(), ["http", "workers", "database"]);
    for asked in [&shutdown, &http] {
        assert_eq!(asked.cause().unwrap().to_string(), "failed: http");
    }
    assert!(drained(&shutdown));
}

/// The same by `supervise` and `critical`, which name the task.
#[test]
fn task_of_a_phase_that_fails_keeps_no_later_one_waiting() {
    for panics in [false, true] {
        let shutdown = Shutdown::new();
        let workers = shutdown.phase("workers").build();
        let database = shutdown.phase("database").after(&workers).build();
        let mut waiter = workers.waiter();
        let task = Box::pin(workers.track(workers.supervise("flush", async move {
            (&mut waiter).await;
            assert!(!panics, "no room");
            Err::<(), _>("disk full")
        })));
        let executor = thread::spawn({
            let shutdown = shutdown.clone();
            move || {
                shutdown.waiter().wait_blocking();
                catch_unwind(AssertUnwindSafe(|| future::block_on(task))).is_err()
            }
        });
        shutdown.trigger("all");
        assert_eq!(executor.join().unwrap(), panics);
        assert!(database.is_stopping());
        let cause = shutdown.cause().unwrap().to_string();
        assert!(cause.starts_with("task 'flush' "), "{cause}");
        assert!(drained(&shutdown));
    }
}

/// Akka: the time-out of a phase that hangs lets the next ones begin, each with its own time; and the
/// result names every phase that was late.
#[test]
fn phases_that_hang_keep_no_later_one_from_its_time() {
    let shutdown = Shutdown::new();
    let first = shutdown.phase("first").time_limit(MOMENT).build();
    let second = shutdown.phase("second").after(&first).time_limit(MOMENT);
    let second = second.build();
    let third = shutdown.phase("third").after(&second).time_limit(HOUR);
    let third = third.build();
    let last = shutdown.phase("last").after(&third).build();
    let _hang = [&first, &second].map(take);
    let guard = take(&third);
    shutdown.request_shutdown();
    third.waiter().wait_blocking();
    assert!(!last.is_stopping());
    drop(guard);
    assert!(last.is_stopping());
    let error = shutdown.drain_blocking(Duration::ZERO).unwrap_err();
    let late: Vec<_> = (error.report.iter())
        .map(|line| (line.phase, line.phase_timed_out))
        .collect();
    assert_eq!(late, [(Some("first"), true), (Some("second"), true)]);
}

/// Akka: the tasks of one phase run at once, and the next phase waits for the slowest.
#[test]
fn tasks_of_one_phase_run_at_once() {
    let shutdown = Shutdown::new();
    let workers = shutdown.phase("workers").build();
    let next = shutdown.phase("next").after(&workers).build();
    let together = Arc::new(Barrier::new(3));
    let threads = [(); 3].map(|()| {
        let (guard, together, next) = (take(&workers), together.clone(), next.clone());
        thread::spawn(move || {
            guard.waiter().wait_blocking();
            together.wait();
            assert!(!next.is_stopping());
            together.wait();
            drop(guard);
        })
    });
    shutdown.request_shutdown();
    for thread in threads {
        thread.join().unwrap();
    }
    assert!(next.is_stopping());
}

/// Akka: a graph that is no chain.
#[test]
fn phases_of_a_diamond() {
    let shutdown = Shutdown::new();
    let top = shutdown.phase("top").build();
    let [left, right] = ["left", "right"].map(|name| shutdown.phase(name).after(&top).build());
    let bottom = shutdown.phase("bottom").after(&left).after(&right);
    // Twice the same is once.
    let bottom = bottom.after(&right).build();
    let guards = [&top, &left, &right].map(take);
    shutdown.request_shutdown();
    let [of_top, of_left, of_right] = guards;
    assert!(!left.is_stopping() && !right.is_stopping());
    drop(of_top);
    assert!(left.is_stopping() && right.is_stopping() && !bottom.is_stopping());
    drop(of_right);
    assert!(!bottom.is_stopping());
    drop(of_left);
    assert!(bottom.is_stopping());
}

/// Akka: a task may be added to a later phase while an earlier one is at work.
#[test]
fn work_is_added_to_a_later_phase_during_the_shutdown() {
    let shutdown = Shutdown::new();
    let first = shutdown.phase("first").build();
    let next = shutdown.phase("next").after(&first).build();
    let last = shutdown.phase("last").after(&next).build();
    let guard = take(&first);
    shutdown.request_shutdown();
    let added = take(&next);
    let between = shutdown.phase("between").after(&first).build();
    drop(guard);
    assert!(next.is_stopping() && between.is_stopping() && !last.is_stopping());
    drop(added);
    assert!(last.is_stopping());
}

/// .NET: one time for all of it.
#[cfg(feature = "signals")]
#[test]
fn deadline_bounds_all_phases_together() {
    let shutdown = Shutdown::builder().grace_period(MOMENT).build();
    let first = shutdown.phase("first").build();
    let next = shutdown
        .phase("next")
        .after(&first)
        .time_limit(HOUR)
        .build();
    let _guards = [take(&first), take(&next)];
    shutdown.request_shutdown();
    let error = future::block_on(shutdown.drained()).unwrap_err();
    let phases: Vec<_> = error.report.iter().map(|line| line.phase).collect();
    assert_eq!(phases, [Some("first"), Some("next")]);
    assert!(!next.is_requested());
}

// Threads.

/// What loom can't show: it does not know what the `Arc` of a phase orders.
#[test]
fn g13_predecessors_are_dropped_during_the_request() {
    for round in 0..2_000 {
        let shutdown = Shutdown::new();
        let first = shutdown.phase("first").build();
        let middle = shutdown.phase("middle").after(&first).build();
        let last = shutdown.phase("last").after(&middle).build();
        let guard = (round % 2 == 0).then(|| take(&first));
        let (counter, _waiter) = pending(&last);
        let together = Barrier::new(3);
        thread::scope(|scope| {
            scope.spawn(|| {
                together.wait();
                drop(guard);
                drop(first);
            });
            scope.spawn(|| {
                together.wait();
                drop(middle);
            });
            together.wait();
            shutdown.request_shutdown();
        });
        assert!(last.is_stopping(), "round {round}");
        assert_eq!(counter.count(), 1);
    }
}

/// Threads make, ask and drop phases of a shutdown while it is requested: in the end all are asked.
#[test]
fn g13_phases_come_and_go_during_the_request() {
    for _ in 0..200 {
        let shutdown = Shutdown::new();
        let together = Barrier::new(4);
        let phases = thread::scope(|scope| {
            let threads: Vec<_> = (0..3)
                .map(|thread| {
                    let (shutdown, together) = (&shutdown, &together);
                    scope.spawn(move || {
                        together.wait();
                        let mut phases = vec![shutdown.phase("of a thread").build()];
                        for number in 0..20 {
                            let before = &phases[phases.len() - 1];
                            let phase = shutdown.phase("of a thread").after(before).build();
                            let guard = phase.guard();
                            if number % 3 == thread {
                                drop(phases.pop());
                            }
                            phases.push(phase);
                            drop(guard);
                        }
                        phases
                    })
                })
                .collect();
            together.wait();
            shutdown.request_shutdown();
            let join = |thread: thread::ScopedJoinHandle<'_, _>| thread.join().unwrap();
            threads.into_iter().flat_map(join).collect::<Vec<_>>()
        });
        assert!(phases.iter().all(Shutdown::is_stopping));
        assert!(phases.iter().all(|phase| phase.guard().is_none()));
        assert!(drained(&shutdown));
    }
}
