//! Failures: how they become the cause, and what a report says of tasks that panicked.

mod support;

use std::collections::HashSet;
use std::error::Error;
use std::io;
use std::panic::{AssertUnwindSafe, Location, catch_unwind};
use std::pin::Pin;
use std::process::ExitCode;
use std::sync::Arc;
use std::task::Context;
use std::thread;

use futures_lite::future;
use support::{HOUR, PanicsWhenDropped, drained, in_time, poll};
use winddown::{Cause, Failure, Outcome, Report, Shutdown, Signal, Stage};

fn exit_code(shutdown: &Shutdown) -> String {
    let cause = shutdown.cause().expect("it has begun");
    format!("{:?}", ExitCode::from(&cause))
}

fn code(code: ExitCode) -> String {
    format!("{code:?}")
}

/// The text of the cause, if that is a failure.
fn failed(shutdown: &Shutdown) -> Option<String> {
    let cause = shutdown.cause()?;
    let text = cause.error().map(ToString::to_string);
    assert_eq!(
        text.is_some(),
        exit_code(shutdown) == code(ExitCode::FAILURE)
    );
    assert!(text.as_ref().is_none_or(|text| *text == cause.to_string()));
    text
}

#[test]
fn fail_begins_the_shutdown_with_its_error() {
    let shutdown = Shutdown::new();
    let waiter = shutdown.waiter();
    let line = Location::caller().line() + 1;
    assert!(shutdown.fail(io::Error::new(io::ErrorKind::StorageFull, "disk full")));
    assert_eq!(shutdown.stage(), Stage::Stopping);
    waiter.wait_blocking();

    let cause = waiter.cause().unwrap();
    assert_eq!(cause.to_string(), "failed: disk full");
    let failure = cause.error().unwrap();
    assert_eq!(failure.to_string(), "failed: disk full");
    assert_eq!(
        format!("{failure:?}"),
        "failed: disk full",
        "as `main` prints it"
    );
    assert_eq!(failure.task(), None);
    assert_eq!(
        (failure.location().file(), failure.location().line()),
        (file!(), line)
    );
    let source = failure
        .source()
        .unwrap()
        .downcast_ref::<io::Error>()
        .unwrap();
    assert_eq!(source.kind(), io::ErrorKind::StorageFull);
    assert!(matches!(failure.outcome(), Outcome::Error(_)));
    assert_eq!(exit_code(&shutdown), code(ExitCode::FAILURE));
    assert_eq!(exit_code(&shutdown), code(ExitCode::from(1)));
    assert!(matches!(cause, Cause::Failed(_)));
}

#[test]
fn failure_without_an_error_has_no_source() {
    let shutdown = Shutdown::new();
    future::block_on(shutdown.critical("mail", async {}));
    let cause = shutdown.cause().unwrap();
    assert!(cause.error().unwrap().source().is_none());
}

#[test]
fn only_a_failure_has_an_error() {
    let shutdown = Shutdown::new();
    shutdown.request_shutdown();
    assert!(shutdown.cause().unwrap().error().is_none());
    assert_eq!(exit_code(&shutdown), code(ExitCode::SUCCESS));

    let shutdown = Shutdown::new();
    shutdown.trigger("an administrator asked");
    assert!(shutdown.cause().unwrap().error().is_none());
    assert_eq!(exit_code(&shutdown), code(ExitCode::SUCCESS));

    let shutdown = Shutdown::new();
    shutdown.send(Signal::TERM);
    assert!(shutdown.cause().unwrap().error().is_none());
    assert_eq!(exit_code(&shutdown), code(ExitCode::from(143)));
}

#[test]
fn failure_of_the_whole_is_the_cause_of_what_it_has_told() {
    let shutdown = Shutdown::new();
    let child = shutdown.child();
    let below = child.phase("below").build();
    let alone = shutdown.child();
    assert!(alone.trigger("not needed"));
    assert!(shutdown.send(Signal::TERM));
    for told in [&child, &below] {
        assert_eq!(told.cause(), Some(Cause::Signal(Signal::TERM)));
    }
    assert!(!shutdown.fail("disk full"), "it had begun");
    for told in [&child, &below, &shutdown.child()] {
        assert_eq!(failed(told).unwrap(), "failed: disk full");
    }
    assert_eq!(alone.cause().unwrap().to_string(), "not needed");
}

#[test]
fn failure_after_the_request_takes_the_place_of_the_cause() {
    for begin in [
        (|shutdown| shutdown.trigger("enough")) as fn(&Shutdown) -> bool,
        |shutdown| shutdown.request_shutdown(),
        |shutdown| shutdown.send(Signal::TERM),
    ] {
        let shutdown = Shutdown::builder()
            .lame_duck(HOUR)
            .grace_period(HOUR)
            .build();
        assert!(begin(&shutdown));
        let deadline = shutdown.deadline();
        assert_eq!(failed(&shutdown), None);
        assert!(!shutdown.fail("disk full"), "it had begun");
        assert_eq!(failed(&shutdown).unwrap(), "failed: disk full");
        assert_eq!(
            shutdown.stage(),
            Stage::Requested,
            "it ends no lame duck, and never forces"
        );
        assert_eq!(shutdown.deadline(), deadline);
    }
}

#[test]
fn first_failure_stays() {
    let shutdown = Shutdown::new();
    assert!(shutdown.fail("first"));
    assert!(!shutdown.fail("second"));
    assert!(!shutdown.trigger("third"));
    assert_eq!(failed(&shutdown).unwrap(), "failed: first");
    // It took no slot.
    assert!(shutdown.request_shutdown() && !shutdown.is_forced());
    assert!(shutdown.request_shutdown() && shutdown.is_forced());
    assert!(!shutdown.fail("fourth"));
    assert_eq!(failed(&shutdown).unwrap(), "failed: first");
}

#[test]
fn failure_after_the_force_takes_the_place_of_the_cause() {
    let shutdown = Shutdown::new();
    shutdown.request_shutdown();
    shutdown.request_shutdown();
    assert!(!shutdown.fail("disk full"));
    assert_eq!(failed(&shutdown).unwrap(), "failed: disk full");
}

#[test]
fn failure_of_a_child_begins_the_child_only() {
    let parent = Shutdown::new();
    let (child, sibling) = (parent.child(), parent.child());
    let below = child.child();
    assert!(child.fail("disk full"));
    assert_eq!(failed(&child).unwrap(), "failed: disk full");
    assert_eq!(failed(&below).unwrap(), "failed: disk full");
    assert!(!parent.is_requested() && !sibling.is_requested());
    // What the parent begins with later is its own.
    parent.trigger("enough");
    assert_eq!(failed(&parent), None);
    assert_eq!(failed(&child).unwrap(), "failed: disk full");
}

#[test]
fn failure_of_a_child_is_recorded_in_ancestors_that_have_begun() {
    let root = Shutdown::new();
    let child = root.child();
    let (below, sibling) = (child.child(), child.child());
    assert!(child.trigger("the child alone"));
    assert!(!below.fail("disk full"));
    // The sibling too, because the child has begun it.
    for shutdown in [&below, &child, &sibling] {
        assert_eq!(failed(shutdown).unwrap(), "failed: disk full");
    }
    assert_eq!(root.cause(), None, "it has not begun");

    root.trigger("enough");
    assert!(!sibling.fail("a second failure"));
    for shutdown in [&sibling, &child] {
        assert_eq!(
            failed(shutdown).unwrap(),
            "failed: disk full",
            "the first stays"
        );
    }
    assert_eq!(failed(&root).unwrap(), "failed: a second failure");
}

#[test]
fn critical_failure_of_a_child_begins_the_child_only() {
    let parent = Shutdown::new();
    let child = parent.child();
    future::block_on(child.critical("mail", async {}));
    assert_eq!(failed(&child).unwrap(), "task 'mail' ended");
    assert!(!parent.is_requested());

    let child = parent.child();
    let task = child.supervise("mail", async { Err::<(), _>("connection refused") });
    parent.trigger("enough");
    assert!(future::block_on(task).is_err());
    for shutdown in [&child, &parent] {
        assert_eq!(
            failed(shutdown).unwrap(),
            "task 'mail' failed: connection refused"
        );
    }
}

/// The earlier cause, or a failure that comes too late, may be all that holds an error of the program.
#[test]
fn g5_error_that_uses_the_shutdown_when_it_is_dropped() {
    #[derive(Debug)]
    struct Uses(Shutdown);
    impl std::fmt::Display for Uses {
        fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
            f.write_str("disk full")
        }
    }
    impl Error for Uses {}
    impl Drop for Uses {
        fn drop(&mut self) {
            assert!(self.0.cause().is_some() && !self.0.trigger("late"));
        }
    }
    let (parent, other) = (Shutdown::new(), Shutdown::new());
    let child = parent.child();
    parent.fail("first");
    other.trigger("enough");
    in_time(move || {
        child.fail(Uses(child.clone()));
        child.fail(Uses(parent.clone()));
        parent.fail(Uses(child.clone()));
    });
}

/// Says how long it lives.
#[derive(Debug)]
struct Lives(#[expect(dead_code, reason = "it is counted")] Arc<()>);

impl std::fmt::Display for Lives {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("disk full")
    }
}

impl Error for Lives {}

/// Otherwise the system's default for Ctrl-C would not come back with the last handle (G7).
#[test]
fn g7_error_that_panics_when_it_is_dropped_leaks_no_ancestor() {
    let root = Shutdown::new();
    let middle = root.child();
    let leaf = middle.child();
    middle.fail(PanicsWhenDropped);
    let lives = Arc::new(());
    root.fail(Lives(lives.clone()));
    drop((root, middle));
    assert!(catch_unwind(AssertUnwindSafe(|| drop(leaf))).is_ok());
    assert_eq!(Arc::strong_count(&lives), 1);
}

/// The last handle of a phase is dropped by a callback of the request that asks it.
#[test]
fn g5_error_of_a_phase_that_panics_when_it_is_dropped_reaches_no_caller() {
    let shutdown = Shutdown::new();
    let phases = ["first", "second"].map(|name| shutdown.phase(name).build());
    for phase in &phases {
        phase.fail(PanicsWhenDropped);
    }
    let _dropped = shutdown.call_on_shutdown(move || drop(phases));
    assert!(shutdown.request_shutdown());
    assert!(shutdown.is_stopping());
}

async fn panic_on_purpose() {
    future::yield_now().await;
    panic!("on purpose");
}

type Way = (&'static str, fn(&Shutdown));

/// The ways in which a task with a guard panics.
fn ways() -> [Way; 5] {
    [
        ("guard in a thread", |shutdown| {
            let guard = shutdown.guard().unwrap();
            let thread = thread::spawn(move || {
                let _guard = guard;
                panic!("on purpose");
            });
            assert!(thread.join().is_err());
        }),
        ("smol executor", |shutdown| {
            let executor = smol::Executor::new();
            let task = executor.spawn(shutdown.track(panic_on_purpose()));
            let run = || smol::block_on(executor.run(task));
            assert!(catch_unwind(AssertUnwindSafe(run)).is_err());
        }),
        ("tokio task", |shutdown| {
            let runtime = tokio::runtime::Builder::new_current_thread();
            let runtime = { runtime }.build().unwrap();
            let task = runtime.spawn(shutdown.track(panic_on_purpose()));
            assert!(runtime.block_on(task).unwrap_err().is_panic());
        }),
        ("block_on in a thread", |shutdown| {
            let task = shutdown.track(panic_on_purpose());
            let thread = thread::spawn(|| future::block_on(task));
            assert!(thread.join().is_err());
        }),
        // As `FutureExt::catch_unwind`; it is dropped while no thread panics.
        ("catch_unwind in a task", |shutdown| {
            let mut tracked = Box::pin(shutdown.track(panic_on_purpose()));
            let poll = |cx: &mut Context<'_>| {
                let poll = AssertUnwindSafe(|| tracked.as_mut().poll(cx));
                catch_unwind(poll).map_or(std::task::Poll::Ready(()), |poll| poll)
            };
            future::block_on(future::poll_fn(poll));
            assert_eq!(shutdown.report().panicked(), 0, "it may be polled again");
            drop(tracked);
        }),
    ]
}

#[test]
fn panic_before_the_request_is_counted_and_no_failure() {
    for (way, panics) in ways() {
        let shutdown = Shutdown::new();
        panics(&shutdown);
        assert_eq!(shutdown.cause(), None, "{way}");
        shutdown.trigger("enough");
        assert!(drained(&shutdown), "{way}");
        assert_eq!(failed(&shutdown), None, "{way}");
        // After `Ok` too.
        let report = shutdown.report();
        assert_eq!((report.guards(), report.panicked()), (0, 1), "{way}");
        assert!(!report.is_empty());
    }
}

#[test]
fn panic_after_the_request_is_a_failure() {
    for (way, panics) in ways() {
        let shutdown = Shutdown::new();
        shutdown.trigger("enough");
        panics(&shutdown);
        assert!(drained(&shutdown), "{way}");
        assert_eq!(shutdown.report().panicked(), 1, "{way}");
        let failure = failed(&shutdown).unwrap();
        assert!(
            failure.starts_with(&format!("panicked at {}:", file!())),
            "{way}: {failure}"
        );
    }
}

/// Without a panic of its own, a guard that is dropped is only dropped.
#[test]
fn tracked_task_that_ends_or_is_dropped_is_no_panic() {
    let shutdown = Shutdown::new();
    shutdown.trigger("enough");
    future::block_on(shutdown.track(future::yield_now()));
    let mut tracked = Box::pin(shutdown.track(future::pending::<()>()));
    assert!(poll(&mut tracked, std::task::Waker::noop()).is_pending());
    drop(tracked);
    assert!(shutdown.report().is_empty());
    assert_eq!(failed(&shutdown), None);
}

#[test]
fn panicked_guard_of_a_child_is_a_failure_of_its_ancestors_that_have_begun() {
    let root = Shutdown::new();
    let child = root.child();
    let below = child.child();
    child.trigger("the child alone");
    let guard = below.guard_named("mail");
    let panics = AssertUnwindSafe(move || {
        let _guard = guard;
        panic!("on purpose");
    });
    assert!(catch_unwind(panics).is_err());
    assert_eq!(failed(&below).unwrap(), "task 'mail' panicked");
    assert_eq!(failed(&child).unwrap(), "task 'mail' panicked");
    assert_eq!(root.cause(), None);
    for shutdown in [&below, &child, &root] {
        assert_eq!(shutdown.report().panicked(), 1);
    }
}

#[test]
fn g10_panicked_guard_is_reported_after_its_child_is_gone() {
    let parent = Shutdown::new();
    for round in 1..=3 {
        let guard = parent.child().child().guard_named("mail");
        let panics = AssertUnwindSafe(move || {
            let _guards = [guard.clone(), guard];
            panic!("on purpose");
        });
        assert!(catch_unwind(panics).is_err());
        let report = parent.report();
        assert_eq!((report.guards(), report.panicked()), (0, 2 * round));
        assert_eq!(
            report.iter().len(),
            1,
            "one line, however many children: {report}"
        );
    }
    assert!(drained(&parent));
    assert_eq!(parent.report().panicked(), 6);
}

/// A report with a held guard, one that was dropped by a panic, and both on one line.
fn mixed(shutdown: &Shutdown) -> (Report, impl Sized + use<>) {
    let take = |name| shutdown.guard_named(name).unwrap();
    let panics = |guard| {
        let _guard = guard;
        panic!("on purpose");
    };
    let both = [(); 3].map(|()| take("both"));
    let held = take("held");
    let [one, two, three] = both;
    for guard in [one, take("lost"), two] {
        assert!(catch_unwind(AssertUnwindSafe(|| panics(guard))).is_err());
    }
    (shutdown.report(), (held, three))
}

#[test]
fn report_iterates_by_value_and_by_reference() {
    let shutdown = Shutdown::new();
    let (report, held) = mixed(&shutdown);
    let counts = |line: &winddown::ReportLine| (line.name.unwrap(), line.guards, line.panicked);
    let expected = [("both", 1, 2), ("held", 1, 0), ("lost", 0, 1)];
    let mut by_reference = Vec::new();
    for line in &report {
        by_reference.push(counts(line));
    }
    assert_eq!(by_reference, expected);
    assert_eq!(report.iter().map(counts).collect::<Vec<_>>(), expected);
    assert_eq!((report.guards(), report.panicked()), (2, 3));
    let mut lines = HashSet::new();
    for line in report.clone() {
        assert_eq!(line.location.file(), file!());
        lines.insert(line.name);
    }
    assert_eq!(lines.len(), 3);

    drop(held);
    assert_ne!(shutdown.report(), report);
    assert!(!shutdown.report().is_empty(), "the panics stay");
    assert!(Shutdown::new().report().is_empty());
}

#[test]
fn report_displays_guards_and_panics() {
    let shutdown = Shutdown::new();
    let (report, held) = mixed(&shutdown);
    let text = report.to_string();
    let lines: Vec<_> = text.lines().collect();
    assert_eq!(lines[0], "2 guards are held, 3 were dropped by panics:");
    let at = format!("at {}:", file!());
    for (line, (start, end)) in lines[1..].iter().zip([
        ("  1 'both' ", " (2 dropped by a panic)"),
        ("  1 'held' ", ""),
        ("  0 'lost' ", " (1 dropped by a panic)"),
    ]) {
        assert!(line.starts_with(&format!("{start}{at}")), "{line}");
        assert!(
            line.ends_with(end) && line.contains("panic") != end.is_empty(),
            "{line}"
        );
    }
    assert_eq!(lines.len(), 4);
    assert_eq!(format!("{report:?}"), text);
    drop(held);

    let shutdown = Shutdown::new();
    assert!(
        catch_unwind(AssertUnwindSafe(|| {
            let _guard = shutdown.guard_named("mail");
            panic!("on purpose");
        }))
        .is_err()
    );
    let text = shutdown.report().to_string();
    assert!(
        text.starts_with("no guards are held, 1 was dropped by a panic:\n  0 'mail' "),
        "{text}"
    );
    let _guard = shutdown.guard();
    let late = shutdown
        .drain_blocking(std::time::Duration::ZERO)
        .unwrap_err();
    assert!(
        late.to_string()
            .starts_with("timed out; 1 guard is held, 1 was dropped"),
        "{late}"
    );
}

/// Threads fail while others request, each on a shutdown and its child. Whatever comes first, the end is
/// a failure, and one of those that were reported.
#[test]
fn failure_that_races_a_request_is_the_cause() {
    for round in 0..2_000 {
        let parent = Shutdown::new();
        let child = parent.child();
        let barrier = Arc::new(std::sync::Barrier::new(3));
        thread::scope(|scope| {
            for failing in [&parent, &child] {
                let barrier = &barrier;
                scope.spawn(move || {
                    barrier.wait();
                    failing.fail(round.to_string());
                    assert_eq!(failed(failing).unwrap(), format!("failed: {round}"));
                });
            }
            barrier.wait();
            parent.request_shutdown();
            assert!(parent.cause().is_some());
        });
        for shutdown in [&parent, &child] {
            assert_eq!(failed(shutdown).unwrap(), format!("failed: {round}"));
        }
    }
}

/// A child that fails just as its parent has begun may not have been told yet. The failure is recorded
/// in the parent all the same.
#[test]
fn failure_after_a_request_of_the_parent_is_recorded_there() {
    for _ in 0..2_000 {
        let parent = Shutdown::new();
        // Some, so that telling them takes time.
        let children: Vec<_> = (0..8).map(|_| parent.child()).collect();
        thread::scope(|scope| {
            scope.spawn(|| {
                while !parent.is_requested() {
                    std::hint::spin_loop();
                }
                children[7].fail("disk full");
            });
            parent.request_shutdown();
        });
        assert_eq!(failed(&parent).unwrap(), "failed: disk full");
    }
}

/// A phase that was not asked yet is a part of what has begun.
#[test]
fn failure_in_a_phase_that_was_not_asked_is_recorded_in_its_parent() {
    let panics: Way = ways()[0];
    let fails: Way = ("fail", |phase| assert!(phase.fail("disk full")));
    for (way, fails) in [panics, fails] {
        let shutdown = Shutdown::new();
        let phase = shutdown.phase("storage").by_hand().build();
        shutdown.trigger("enough");
        assert!(!phase.is_requested(), "{way}");
        fails(&phase);
        assert!(failed(&shutdown).is_some(), "{way}");
    }
}

/// What an ancestor is told because a child has failed makes no failure of it.
#[test]
fn parent_that_a_failed_child_triggers_is_a_success() {
    let parent = Shutdown::new();
    let child = parent.child();
    let above = parent.clone();
    let _callback = child.call_on_shutdown(move || {
        above.trigger("a part is missing");
    });
    assert!(child.fail("disk full"));
    assert_eq!(failed(&parent), None);
    assert_eq!(parent.cause().unwrap().to_string(), "a part is missing");
}

/// Shown to compile too: what `main` may do with a failure.
#[test]
fn failure_is_an_error_for_main() {
    fn end(shutdown: &Shutdown) -> Result<(), Box<dyn Error + Send + Sync>> {
        shutdown.result()?;
        Ok(())
    }
    let shutdown = Shutdown::new();
    assert!(end(&shutdown).is_ok());
    let child = shutdown.child();
    shutdown.send(Signal::TERM);
    assert!(end(&shutdown).is_ok());
    shutdown.fail("disk full");
    for failed in [shutdown, child] {
        assert_eq!(end(&failed).unwrap_err().to_string(), "failed: disk full");
    }
}

/// Pinned, as an executor holds it.
#[test]
fn failure_of_a_pinned_task_is_reported_once() {
    let shutdown = Shutdown::new();
    let mut task: Pin<Box<dyn Future<Output = ()>>> = Box::pin(shutdown.critical("mail", async {}));
    future::block_on(&mut task);
    let first = shutdown.cause();
    drop(task);
    assert_eq!(shutdown.cause(), first);
}

/// What a task has done that was to go on: it ends, or its future is dropped.
fn failure_of(task: &'static str, ends: bool) -> Failure {
    let shutdown = Shutdown::new();
    let critical = shutdown.critical(task, future::ready(()));
    match ends {
        true => future::block_on(critical),
        false => drop(critical),
    }
    failure(&shutdown)
}

fn failure(shutdown: &Shutdown) -> Failure {
    let cause = shutdown.cause().expect("it has begun");
    cause.error().expect("it has failed").clone()
}

#[test]
fn failures_are_equal_by_task_outcome_and_line() {
    let ended = failure_of("mail", true);
    assert_eq!(ended, failure_of("mail", true));
    assert_ne!(ended, failure_of("mail", false));
    assert_ne!(ended, failure_of("post", true));

    let elsewhere = Shutdown::new();
    future::block_on(elsewhere.critical("mail", future::ready(())));
    assert_ne!(ended, failure(&elsewhere));
}

/// The text does not say whether it was the same error.
#[test]
fn errors_of_failures_are_equal_by_identity() {
    let [one, another] = [(); 2].map(|()| {
        let shutdown = Shutdown::new();
        shutdown.fail("disk full");
        failure(&shutdown)
    });
    assert_eq!(one.to_string(), another.to_string());
    assert_ne!(one, another);
    assert_eq!(one.outcome(), &one.outcome().clone());
}
