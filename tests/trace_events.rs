//! The events that the feature `tracing` emits.

mod support;

use std::fmt::Write;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, LazyLock, Mutex, mpsc};
use std::task::Waker;
use std::thread;
use std::time::Duration;

use futures_lite::{StreamExt, future};
use support::subscriber::OnEvent;
use support::{Counter, HOUR, PATIENCE, poll, until};
use tracing::field::{Field, Visit};
use tracing::span::{Attributes, Id, Record};
use tracing::{Dispatch, Event, Level, Metadata, Subscriber};
use winddown::{Shutdown, Stage};

/// Keeps the events of one thread, as lines.
#[derive(Clone, Default)]
struct Lines(Arc<Mutex<Vec<String>>>);

impl Visit for Line {
    fn record_debug(&mut self, field: &Field, value: &dyn std::fmt::Debug) {
        match field.name() {
            // Each run has its own, once it was requested.
            "elapsed" => self.0.push_str(" elapsed"),
            name => write!(self.0, " {name}={value:?}").unwrap(),
        }
    }
}

struct Line(String);

impl Lines {
    /// Without the lines of the code.
    fn so_far(&self) -> Vec<String> {
        let lines = self.0.lock().unwrap();
        let short = |line: &String| line.split(" at ").next().unwrap().to_owned();
        lines.iter().map(short).collect()
    }

    fn subscriber(&self) -> impl Subscriber + use<> {
        let lines = self.clone();
        OnEvent(move |event: &Event<'_>| {
            let mut line = Line(event.metadata().level().to_string());
            if event.metadata().target() != "winddown" {
                line.0.push_str(" of another target");
            }
            event.record(&mut line);
            lines.0.lock().unwrap().push(line.0);
        })
    }
}

/// A subscriber that fails.
struct Panics;

impl Subscriber for Panics {
    fn enabled(&self, _: &Metadata<'_>) -> bool {
        true
    }
    fn new_span(&self, _: &Attributes<'_>) -> Id {
        Id::from_u64(1)
    }
    fn record(&self, _: &Id, _: &Record<'_>) {}
    fn record_follows_from(&self, _: &Id, _: &Id) {}
    fn event(&self, _: &Event<'_>) {
        panic!("the disk is full");
    }
    fn enter(&self, _: &Id) {}
    fn exit(&self, _: &Id) {}
}

#[test]
fn panicking_subscriber_stops_nothing() {
    tracing::subscriber::with_default(Panics, || {
        let shutdown = Shutdown::new();
        assert!(shutdown.request_shutdown());
        assert!(shutdown.request_shutdown());
        assert_eq!(shutdown.stage(), Stage::Forced);
        assert!(shutdown.drain_blocking(Duration::ZERO).is_ok());
    });
}

/// With one dispatcher alone, the first thread at an event decides for every thread whether the event is
/// enabled, and it may be another test's thread, which has no subscriber.
fn another_dispatcher() -> Dispatch {
    Dispatch::new(Panics)
}

/// Returns the events of this thread.
fn lines_of(run: impl FnOnce()) -> Vec<String> {
    let _another = another_dispatcher();
    let lines = Lines::default();
    tracing::subscriber::with_default(lines.subscriber(), run);
    lines.so_far()
}

#[test]
fn one_event_for_each_stage_and_drain() {
    let lines = lines_of(|| {
        let shutdown = Shutdown::new();
        let guard = shutdown.guard_named("mail");
        shutdown.child().trigger("a child alone is no news");
        shutdown.trigger("enough");
        shutdown.request_shutdown();
        assert!(shutdown.drain_blocking(Duration::ZERO).is_err());
        shutdown.request_shutdown();
        drop(guard);
        assert!(shutdown.drain_blocking(Duration::ZERO).is_ok());
    });
    assert_eq!(
        lines,
        [
            "INFO message=shutdown stage=Requested cause=enough elapsed in_flight=1",
            "INFO message=shutdown stage=Stopping cause=enough elapsed in_flight=1",
            "WARN message=not drained elapsed in_flight=1 panicked=0 error=timed out; 1 guard is held:\n  1 'mail'",
            "INFO message=shutdown stage=Forced cause=enough elapsed in_flight=1",
            "INFO message=drained elapsed panicked=0",
        ]
    );
}

#[test]
fn one_event_for_a_drain_with_progress() {
    let lines = lines_of(|| {
        let shutdown = Shutdown::new();
        let guard = shutdown.guard();
        let mut drain = shutdown.drain(HOUR);
        let mut progress = drain.progress();
        assert_eq!(future::block_on(progress.next()), Some(1));
        drop(guard);
        assert_eq!(future::block_on(progress.next()), None);
        assert_eq!(future::block_on(&mut drain), Ok(()));
        assert_eq!(future::block_on(drain), Ok(()));
    });
    assert_eq!(lines, ["INFO message=drained panicked=0"]);
}

/// A server drains its own phase, while the whole goes on.
#[test]
fn events_of_the_drains_of_a_phase_name_it() {
    let lines = lines_of(|| {
        let shutdown = Shutdown::new();
        let phase = shutdown.phase("HTTP").build();
        let guard = phase.guard_named("request");
        phase.drain_blocking(Duration::ZERO).unwrap_err();
        drop(guard);
        phase.drain_blocking(Duration::ZERO).unwrap();
    });
    assert_eq!(
        lines,
        [
            "WARN message=not drained phase=\"HTTP\" in_flight=1 panicked=0 error=timed out; 1 guard is held:\n  1 'request'",
            "INFO message=drained phase=\"HTTP\" panicked=0",
        ]
    );
}

#[test]
fn drain_that_times_out_and_drains_later_says_both() {
    let lines = lines_of(|| {
        let shutdown = Shutdown::new();
        let guard = shutdown.guard_named("mail");
        let mut drain = shutdown.drain(Duration::ZERO);
        for _ in 0..2 {
            assert!(future::block_on(&mut drain).is_err());
        }
        drop(guard);
        assert_eq!(future::block_on(drain), Ok(()));
    });
    assert_eq!(
        lines,
        [
            "WARN message=not drained in_flight=1 panicked=0 error=timed out; 1 guard is held:\n  1 'mail'",
            "INFO message=drained panicked=0",
        ]
    );
}

/// Whether it begins the shutdown or comes later: who looks at warnings alone sees it.
#[test]
fn one_event_for_a_failure_and_a_warning_for_panics() {
    let lines = lines_of(|| {
        let shutdown = Shutdown::new();
        assert!(shutdown.child().fail("a child alone is no news"));
        assert!(shutdown.fail("disk full"));
        assert!(!shutdown.fail("a second one is no news"));

        let shutdown = Shutdown::new();
        shutdown.trigger("done");
        assert!(!shutdown.fail("mail is lost"));

        let shutdown = Shutdown::new();
        shutdown.trigger("enough");
        let child = shutdown.child();
        let guard = child.guard_named("mail");
        let panics = AssertUnwindSafe(move || {
            let _guard = guard;
            panic!("on purpose");
        });
        assert!(catch_unwind(panics).is_err());
        assert!(!child.fail("nor is that of a child"));
        assert!(shutdown.drain_blocking(Duration::ZERO).is_ok());
    });
    assert_eq!(
        lines,
        [
            "INFO message=shutdown stage=Requested cause=failed: disk full elapsed in_flight=0",
            "INFO message=shutdown stage=Stopping cause=failed: disk full elapsed in_flight=0",
            "ERROR message=failed failure=failed: disk full elapsed",
            "INFO message=shutdown stage=Requested cause=done elapsed in_flight=0",
            "INFO message=shutdown stage=Stopping cause=done elapsed in_flight=0",
            "ERROR message=failed failure=failed: mail is lost elapsed",
            "INFO message=shutdown stage=Requested cause=enough elapsed in_flight=0",
            "INFO message=shutdown stage=Stopping cause=enough elapsed in_flight=0",
            "ERROR message=failed failure=task 'mail' panicked elapsed",
            "WARN message=drained elapsed panicked=1",
        ]
    );
}

#[test]
fn one_event_for_each_phase_that_is_asked() {
    let lines = lines_of(|| {
        let shutdown = Shutdown::new();
        let workers = shutdown.phase("workers").build();
        let storage = shutdown.phase("storage").after(&workers).build();
        let alone = shutdown.phase("alone").after(&workers).build();
        let metrics = shutdown.phase("metrics").by_hand().build();
        let guard = workers.guard();
        alone.trigger("early");
        shutdown.trigger("enough");
        drop(guard);
        metrics.trigger("all else is done");
        metrics.request_shutdown();
        let late = shutdown.phase("late").build();
        assert!([storage, late].iter().all(Shutdown::is_stopping));
        let _ = shutdown.phase("forced").by_hand().build();
        shutdown.request_shutdown();
        shutdown.request_shutdown();
    });
    assert_eq!(
        lines,
        [
            "INFO message=phase phase=\"alone\" elapsed in_flight=0",
            "INFO message=shutdown stage=Requested cause=enough elapsed in_flight=1",
            "INFO message=shutdown stage=Stopping cause=enough elapsed in_flight=1",
            "INFO message=phase phase=\"workers\" elapsed in_flight=1",
            "INFO message=phase phase=\"storage\" elapsed in_flight=0",
            "INFO message=phase phase=\"metrics\" elapsed in_flight=0",
            "INFO message=phase phase=\"late\" elapsed in_flight=0",
            "INFO message=shutdown stage=Forced cause=enough elapsed in_flight=0",
        ]
    );
}

/// Returns the events of the threads that have no subscriber of their own, as those of the crate.
fn lines_of_the_process() -> &'static Lines {
    static LINES: LazyLock<Lines> = LazyLock::new(|| {
        let lines = Lines::default();
        tracing::subscriber::set_global_default(lines.subscriber()).unwrap();
        lines
    });
    &LINES
}

/// For tests that keep the subscriber of the process waiting, or the background thread.
static ALONE: Mutex<()> = Mutex::new(());

/// The thread that keeps the limit is the crate's.
#[test]
fn one_event_for_a_time_limit_that_ran_out() {
    let lines = lines_of_the_process();
    let shutdown = Shutdown::new();
    let limit = Duration::from_millis(1);
    let workers = shutdown.phase("workers").time_limit(limit).build();
    let storage = shutdown.phase("storage").after(&workers).build();
    let guards = [workers.guard(), storage.guard()];
    shutdown.trigger("enough");
    // Other tests have subscribers of their own, and this is the only limit.
    let late = "WARN message=time limit of the phase ran out phase=\"workers\" elapsed in_flight=1";
    let asked = "INFO message=phase phase=\"storage\" elapsed in_flight=1";
    for line in [late, asked] {
        until(line, || lines.so_far().iter().any(|said| said == line));
    }
    drop(guards);
}

/// Returns how often the waker was called by the time of each event that is as severe as this level.
fn wakes_at_events(level: Level, run: impl FnOnce(&Waker)) -> Vec<usize> {
    let _another = another_dispatcher();
    let (counter, waker) = Counter::new();
    let seen = Arc::new(Mutex::new(Vec::new()));
    let sees = seen.clone();
    let watches = OnEvent(move |event: &Event<'_>| {
        if *event.metadata().level() <= level {
            sees.lock().unwrap().push(counter.count());
        }
    });
    tracing::subscriber::with_default(watches, || run(&waker));
    Arc::into_inner(seen).unwrap().into_inner().unwrap()
}

/// A subscriber that blocks, as on a full pipe, delays no waker.
#[test]
fn g5_events_of_phases_come_after_the_wakers() {
    let seen = wakes_at_events(Level::TRACE, |waker| {
        let shutdown = Shutdown::new();
        let first = shutdown.phase("first").by_hand().build();
        let guard = first.guard();
        let next = shutdown.phase("next").after(&first).build();
        let inner = next.phase("inner").build();
        let last = shutdown.phase("last").after(&next).build();
        let mut waiters = [&next, &inner, &last].map(Shutdown::waiter);
        for waiter in &mut waiters {
            assert!(poll(waiter, waker).is_pending());
        }
        shutdown.trigger("enough");
        drop(guard);
        first.trigger("by hand");
    });
    // Two stages, then the four phases.
    assert_eq!(seen, [0, 0, 3, 3, 3, 3]);
}

/// Nor does it delay a timer: those of the lame duck, and of the delays and limits of phases. Its events come
/// later, in their order.
#[test]
fn g5_subscriber_that_blocks_keeps_no_timer_waiting() {
    let _alone = ALONE.lock();
    let lines = lines_of_the_process();
    let moment = Duration::from_millis(1);
    // A subscriber of the process can't go on before this is dropped.
    let blocks = lines.0.lock().unwrap();
    // This thread has a subscriber of its own, and does not block.
    lines_of(|| {
        let shutdown = Shutdown::builder().lame_duck(moment).build();
        let slow = shutdown.phase("slow").delay(moment).time_limit(moment);
        let slow = slow.build();
        let last = shutdown.phase("last").after(&slow).delay(moment).build();
        let _busy = slow.guard();
        shutdown.trigger("blocked");
        for told in [&shutdown, &slow, &last] {
            assert!(told.waiter().wait_blocking_timeout(PATIENCE));
        }
    });
    drop(blocks);
    let own = || {
        let mut lines = lines.so_far();
        lines.retain(|line| {
            ["blocked", "slow", "last"]
                .iter()
                .any(|of| line.contains(of))
        });
        lines
    };
    until("every event is emitted", || own().len() == 4);
    assert_eq!(
        own(),
        [
            "INFO message=shutdown stage=Stopping cause=blocked elapsed in_flight=1",
            "INFO message=phase phase=\"slow\" elapsed in_flight=1",
            "WARN message=time limit of the phase ran out phase=\"slow\" elapsed in_flight=1",
            "INFO message=phase phase=\"last\" elapsed in_flight=0",
        ]
    );
}

/// In most runs: it waits 50 ms for that, and no longer.
///
/// Mutation: `trace::drained` does not wait for the job that has woken the drain.
#[test]
fn event_of_a_drain_comes_behind_that_of_the_stage_that_began_it() {
    let _alone = ALONE.lock();
    let lines = lines_of_the_process();
    let moment = Duration::from_millis(1);
    let is_in_order = |_: &i32| {
        let shutdown = Shutdown::builder().lame_duck(moment).build();
        let _guard = shutdown.guard_named("ordered");
        let (tells, told) = mpsc::channel();
        let (drains, draining) = mpsc::channel();
        let _called = shutdown.call_on_shutdown(move || {
            tells.send(()).unwrap();
            draining.recv().unwrap();
            thread::sleep(5 * moment);
        });
        let before = lines.so_far().len();
        shutdown.trigger("ordered");
        told.recv().unwrap();
        drains.send(()).unwrap();
        assert!(shutdown.drain_blocking(Duration::ZERO).is_err());
        let at = |what: &str| {
            let mut since = lines.so_far().into_iter().skip(before);
            since.position(|line| line.contains("ordered") && line.contains(what))
        };
        let (stopping, drained) = ("stage=Stopping", "not drained");
        until("it has stopped", || at(stopping).is_some());
        at(stopping) < at(drained)
    };
    let in_order = (0..20).filter(is_in_order).count();
    assert!(in_order > 10, "{in_order} of 20");
}

/// The same for failures that come late: that of a phase, and of a task that panics.
#[test]
fn g5_events_of_failures_come_after_the_wakers() {
    let seen = wakes_at_events(Level::ERROR, |waker| {
        let shutdown = Shutdown::new();
        let phase = shutdown.phase("by hand").by_hand().build();
        let mut waiter = phase.waiter();
        assert!(poll(&mut waiter, waker).is_pending());
        shutdown.trigger("enough");
        phase.fail("disk full");

        // A thread that panics, and a future whose panic was caught.
        for caught in [false, true] {
            let shutdown = Shutdown::new();
            let mut task = Box::pin(shutdown.track(async { panic!("on purpose") }));
            shutdown.trigger("enough");
            let mut drain = shutdown.drain(HOUR);
            assert!(poll(&mut drain, waker).is_pending());
            if caught {
                let poll = AssertUnwindSafe(|| poll(&mut task, waker));
                assert!(catch_unwind(poll).is_err());
                drop(task);
            } else {
                let poll = AssertUnwindSafe(|| {
                    let mut task = task;
                    poll(&mut task, waker)
                });
                assert!(catch_unwind(poll).is_err());
            }
        }
    });
    assert_eq!(seen, [1, 2, 3]);
}
