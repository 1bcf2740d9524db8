//! `drained`: waits for the request, and then until no guard is held or the deadline has passed.

mod support;

use std::pin::pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Barrier};
use std::task::{Context, Poll, Waker};
use std::thread;
use std::time::Duration;

use futures_lite::{Stream, future};
use support::{Counter, HOUR, poll, until};
use winddown::{Builder, DrainError, DrainErrorKind, Shutdown, Signal, Stage};

const MOMENT: Duration = Duration::from_millis(1);

fn lame_duck() -> Builder {
    Shutdown::builder().lame_duck(HOUR)
}

/// Polls it every millisecond until it is ready. Without the feature `signals` no timer wakes it.
fn ready<F: Future>(future: F) -> F::Output {
    let (mut future, mut output) = (pin!(future), None);
    until("it is ready", || {
        match future
            .as_mut()
            .poll(&mut Context::from_waker(Waker::noop()))
        {
            Poll::Ready(ready) => output = Some(ready),
            Poll::Pending => {}
        }
        output.is_some()
    });
    output.expect("it is ready")
}

#[test]
fn g8_drained_closes_nothing_before_the_request() {
    let shutdown = Shutdown::new();
    let (counter, waker) = Counter::new();
    let mut drained = shutdown.drained();
    for _ in 0..3 {
        assert!(poll(&mut drained, &waker).is_pending());
        drop(shutdown.guard().expect("it is open"));
    }
    // Nor does it close when the last guard goes.
    assert!(poll(&mut drained, &waker).is_pending());
    assert!(shutdown.guard().is_some());
    let wakes = counter.count();
    shutdown.request_shutdown();
    assert!(counter.count() > wakes, "the request wakes it");
    assert!(shutdown.guard().is_some(), "it closes when it is polled");
    assert_eq!(poll(&mut drained, &waker), Poll::Ready(Ok(())));
    assert!(shutdown.guard().is_none());
    assert_eq!(poll(&mut drained, &waker), Poll::Ready(Ok(())));
}

#[test]
fn g8_drained_waits_for_every_guard() {
    let shutdown = Shutdown::new();
    let child = shutdown.child();
    let guards = [shutdown.guard(), child.guard()];
    let (counter, waker) = Counter::new();
    let mut drained = shutdown.drained();
    assert!(poll(&mut drained, &waker).is_pending());
    shutdown.trigger("enough");
    assert!(poll(&mut drained, &waker).is_pending());
    let wakes = counter.count();
    drop(guards);
    assert!(counter.count() > wakes);
    assert_eq!(poll(&mut drained, &waker), Poll::Ready(Ok(())));
    assert_eq!(future::block_on(child.drained()), Ok(()));
    assert_eq!(
        future::block_on(shutdown.drained()),
        Ok(()),
        "made after the request"
    );
}

#[test]
fn drained_without_a_grace_period_waits_without_limit() {
    for shutdown in [
        Shutdown::new(),
        Shutdown::builder().grace_period(Duration::MAX).build(),
        Shutdown::builder().grace_period(HOUR).build(),
    ] {
        let guard = shutdown.guard().unwrap();
        let mut drained = shutdown.drained();
        shutdown.trigger("enough");
        assert!(poll(&mut drained, Waker::noop()).is_pending());
        drop(guard);
        assert_eq!(poll(&mut drained, Waker::noop()), Poll::Ready(Ok(())));
    }
}

/// Work is still accepted then, whether or not some is in flight.
#[test]
fn g8_drained_takes_guards_during_the_lame_duck() {
    let shutdown = lame_duck().build();
    let child = shutdown.child();
    let (counter, waker) = Counter::new();
    let mut draining = [shutdown.drained(), child.drained()];
    for drained in &mut draining {
        assert!(poll(drained, &waker).is_pending());
    }
    shutdown.request_shutdown();
    assert_eq!(shutdown.stage(), Stage::Requested);
    for drained in &mut draining {
        assert!(poll(drained, &waker).is_pending());
    }
    drop(child.guard().expect("it is open"));
    let guard = child.guard().expect("it is open");
    for drained in &mut draining {
        assert!(poll(drained, &waker).is_pending());
    }
    let wakes = counter.count();
    shutdown.send(Signal::INT); // forces, and so ends the lame duck
    assert_eq!(counter.count(), wakes + 2);
    for drained in &mut draining {
        let Poll::Ready(Err(error)) = poll(drained, &waker) else {
            panic!("it is forced");
        };
        assert_eq!(
            (error.kind, error.report.guards()),
            (DrainErrorKind::Forced, 1)
        );
    }
    drop(guard);
}

#[test]
fn g8_drained_begins_when_the_lame_duck_ends() {
    let shutdown = lame_duck().build();
    let guard = shutdown.guard();
    let (counter, waker) = Counter::new();
    let mut drained = shutdown.drained();
    shutdown.trigger("enough");
    assert!(poll(&mut drained, &waker).is_pending());
    // The interrupt ends the lame duck. It takes the first slot, and forces nothing.
    shutdown.send(Signal::INT);
    assert_eq!((shutdown.stage(), counter.count()), (Stage::Stopping, 1));
    assert!(poll(&mut drained, &waker).is_pending());
    drop(guard);
    assert_eq!(counter.count(), 2);
    assert_eq!(poll(&mut drained, &waker), Poll::Ready(Ok(())));

    let shutdown = Shutdown::builder().lame_duck(MOMENT).build();
    shutdown.trigger("enough");
    assert_eq!(
        future::block_on(shutdown.drained()),
        Ok(()),
        "the thread wakes it"
    );
}

#[test]
fn drained_ends_at_the_deadline() {
    let shutdown = Shutdown::builder().grace_period(MOMENT).build();
    let guard = shutdown.guard();
    let mut drained = shutdown.drained();
    assert!(poll(&mut drained, Waker::noop()).is_pending());
    shutdown.trigger("enough");
    let error = ready(&mut drained).unwrap_err();
    assert_eq!(
        (error.kind, error.report.guards()),
        (DrainErrorKind::TimedOut, 1)
    );
    drop(guard);
    assert_eq!(ready(&mut drained), Ok(()));
}

#[test]
fn drained_ends_at_a_deadline_before_the_end_of_the_lame_duck() {
    for held in [true, false] {
        let shutdown = lame_duck().grace_period(MOMENT).build();
        let child = shutdown.child();
        let guard = held.then(|| child.guard());
        let draining = [shutdown.drained(), child.drained()];
        shutdown.trigger("enough");
        for drained in draining {
            assert_eq!(ready(drained).is_err(), held);
        }
        assert_eq!(shutdown.stage(), Stage::Requested);
        drop(guard);
    }
}

/// The timer of the feature `signals` wakes the task: no other event does.
#[cfg(feature = "signals")]
#[test]
fn deadline_wakes_a_drained_task() {
    let shutdown = Shutdown::builder().grace_period(MOMENT).build();
    let _guard = shutdown.guard();
    let drained = shutdown.drained();
    let task = thread::spawn(|| future::block_on(drained));
    shutdown.trigger("enough");
    assert!(support::in_time(|| task.join()).unwrap().is_err());
}

#[test]
fn drained_with_a_grace_period_of_zero_ends_at_once() {
    let shutdown = Shutdown::builder().grace_period(Duration::ZERO).build();
    let guard = shutdown.guard();
    let mut drained = shutdown.drained();
    assert!(poll(&mut drained, Waker::noop()).is_pending());
    shutdown.trigger("enough");
    let Poll::Ready(Err(error)) = poll(&mut drained, Waker::noop()) else {
        panic!("its time is up");
    };
    assert_eq!(error.kind, DrainErrorKind::TimedOut);
    drop(guard);
    assert_eq!(poll(&mut drained, Waker::noop()), Poll::Ready(Ok(())));
}

#[test]
fn drained_ends_with_the_force() {
    let shutdown = Shutdown::new();
    let _guard = shutdown.guard();
    let (counter, waker) = Counter::new();
    let mut drained = shutdown.drained();
    shutdown.request_shutdown();
    assert!(poll(&mut drained, &waker).is_pending());
    shutdown.request_shutdown();
    assert_eq!(counter.count(), 1);
    let Poll::Ready(Err(error)) = poll(&mut drained, &waker) else {
        panic!("it is forced");
    };
    assert_eq!(error.kind, DrainErrorKind::Forced);
}

/// A child is requested alone, or with its parent, whose deadline it then has.
#[test]
fn drained_of_a_child_has_the_deadline_of_its_request() {
    let parent = Shutdown::builder().grace_period(MOMENT).build();
    for alone in [true, false] {
        let child = parent.child();
        let _guard = child.guard();
        let drained = child.drained();
        let requested = if alone { &child } else { &parent };
        requested.trigger("enough");
        assert!(ready(drained).is_err());
        assert_eq!(parent.is_requested(), !alone);
    }
}

#[test]
fn progress_of_drained_begins_with_the_drain() {
    let shutdown = lame_duck().build();
    let mut guards = vec![shutdown.guard(), shutdown.guard(), shutdown.guard()];
    let (counter, waker) = Counter::new();
    let mut cx = Context::from_waker(&waker);
    let mut drained = shutdown.drained();
    let mut progress = pin!(drained.progress());
    let mut next = || progress.as_mut().poll_next(&mut cx);
    assert_eq!(next(), Poll::Pending, "nothing is drained yet");
    guards.pop();
    assert_eq!(next(), Poll::Pending);
    shutdown.trigger("enough");
    assert_eq!(next(), Poll::Pending, "the lame duck");
    let wakes = counter.count();
    shutdown.send(Signal::INT);
    assert!(counter.count() > wakes);
    assert_eq!(next(), Poll::Ready(Some(2)));
    assert_eq!(next(), Poll::Pending);
    guards.pop();
    assert_eq!(next(), Poll::Ready(Some(1)));
    guards.pop();
    assert_eq!(next(), Poll::Ready(None));
    assert!(shutdown.guard().is_none());
}

#[test]
fn g10_dropped_drained_leaves_no_waker() {
    let shutdown = Shutdown::new();
    let (counter, waker) = Counter::new();
    for requested in [false, true] {
        let _guard = shutdown.guard();
        let mut drained = shutdown.drained();
        assert!(poll(&mut drained, &waker).is_pending());
        drop(drained);
        assert_eq!(Arc::strong_count(&counter), 2);
        if !requested {
            shutdown.trigger("enough");
        }
        assert_eq!(counter.count(), 0);
    }
}

/// The last guards are dropped while the request is made, and more are taken: when it is drained, no
/// thread holds one.
#[test]
fn g8_drained_races_the_last_guard_and_the_request() {
    for round in 0..2_000 {
        let shutdown = Shutdown::new();
        let child = shutdown.child();
        let held = AtomicBool::new(true);
        let first = child.guard().unwrap();
        thread::scope(|scope| {
            scope.spawn(|| {
                held.store(false, Ordering::SeqCst);
                drop(first);
                for _ in 0..round % 4 {
                    let Some(_guard) = child.guard() else { break };
                    held.store(true, Ordering::SeqCst);
                    thread::yield_now();
                    held.store(false, Ordering::SeqCst);
                }
            });
            let drains = scope.spawn(|| {
                assert_eq!(future::block_on(shutdown.drained()), Ok(()));
                assert!(!held.load(Ordering::SeqCst));
                assert!(shutdown.is_stopping());
                assert!(child.guard().is_none());
            });
            shutdown.request_shutdown();
            drains.join().unwrap();
        });
    }
}

/// Runs `then` while a thread blocks until the shutdown is drained, or is about to, and returns how that has ended.
fn blocked(shutdown: &Shutdown, then: impl FnOnce()) -> Result<(), DrainError> {
    let (drains, barrier) = (shutdown.clone(), Arc::new(Barrier::new(2)));
    let begun = barrier.clone();
    let thread = thread::spawn(move || {
        begun.wait();
        drains.drained_blocking()
    });
    barrier.wait();
    then();
    support::in_time(|| thread.join()).unwrap()
}

/// How often a thread is to be found blocked, or about to.
const ROUNDS: usize = 50;

/// Mutation: `drained_blocking` does not wait for the stop, but for the request.
#[test]
fn g8_thread_is_drained_after_the_lame_duck() {
    for _ in 0..ROUNDS {
        let shutdown = lame_duck().grace_period(HOUR).build();
        let result = blocked(&shutdown, || {
            shutdown.trigger("enough");
            for _ in 0..10 {
                thread::yield_now();
                drop(shutdown.guard().expect("work is accepted in the lame duck"));
            }
            let guard = shutdown.guard();
            shutdown.send(Signal::INT);
            drop(guard);
        });
        assert_eq!(result, Ok(()));
        assert!(shutdown.is_stopping() && shutdown.guard().is_none());
    }
}

#[test]
fn g8_thread_is_drained_without_a_grace_period() {
    for _ in 0..ROUNDS {
        let shutdown = Shutdown::new();
        let guard = shutdown.guard();
        let result = blocked(&shutdown, || {
            shutdown.trigger("enough");
            drop(guard);
        });
        assert_eq!(result, Ok(()));
    }
}

/// Mutation: `drained_blocking` waits for the stop alone.
#[test]
fn thread_is_drained_at_a_deadline_before_the_stop() {
    for round in 0..ROUNDS {
        let held = round % 2 == 0;
        let shutdown = lame_duck().grace_period(MOMENT).build();
        let phase = shutdown.phase("by hand").by_hand().build();
        for drained in [&shutdown, &phase] {
            let guard = held.then(|| phase.guard());
            let result = blocked(drained, || {
                shutdown.trigger("enough");
            });
            let kind = result.map_err(|error| error.kind);
            let expected = if held {
                Err(DrainErrorKind::TimedOut)
            } else {
                Ok(())
            };
            assert_eq!(kind, expected);
            assert!(!drained.is_stopping());
            drop(guard);
        }
    }
}

#[test]
fn thread_is_drained_with_the_force() {
    for _ in 0..ROUNDS {
        let shutdown = lame_duck().build();
        let _guard = shutdown.guard();
        let error = blocked(&shutdown, || {
            shutdown.request_shutdown();
            shutdown.request_shutdown();
        });
        assert_eq!(error.unwrap_err().kind, DrainErrorKind::Forced);
    }
}
