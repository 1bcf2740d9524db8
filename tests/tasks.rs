//! Tasks: `track`, `critical` and `supervise`.

mod support;

use std::cell::Cell;
use std::error::Error;
use std::future::{Ready, ready};
use std::panic::{AssertUnwindSafe, Location, catch_unwind};
use std::pin::pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, Waker};

use futures_lite::future;
use support::{HOUR, drained};
use winddown::{Failure, Outcome, ReportLine, Shutdown, Stage};

#[test]
fn track_holds_a_guard_until_the_future_ends() {
    let shutdown = Shutdown::new();
    let done = AtomicBool::new(false);
    let mut tracked = pin!(shutdown.track(future::poll_fn(|_| {
        if done.load(Ordering::SeqCst) {
            Poll::Ready("output")
        } else {
            Poll::Pending
        }
    })));
    let mut cx = Context::from_waker(Waker::noop());
    assert_eq!(shutdown.in_flight(), 1);
    assert!(tracked.as_mut().poll(&mut cx).is_pending());
    assert_eq!(
        shutdown.report().iter().next().unwrap().location.file(),
        file!()
    );
    done.store(true, Ordering::SeqCst);
    assert_eq!(tracked.as_mut().poll(&mut cx), Poll::Ready("output"));
    assert_eq!(shutdown.in_flight(), 0, "released before it is dropped");

    drop(shutdown.track(future::pending::<()>()));
    assert!(drained(&shutdown));
    assert_eq!(future::block_on(shutdown.track(async { 1 })), 1);
}

/// One line starts both.
#[test]
fn report_names_a_tracked_future() {
    let shutdown = Shutdown::new();
    let start = |name| shutdown.track_named(name, future::pending::<()>());
    let tasks = ["import", "mail"].map(start);
    let named = |line: &ReportLine| (line.name, line.guards, line.location.file());
    let lines: Vec<_> = shutdown.report().iter().map(named).collect();
    assert_eq!(
        lines,
        ["import", "mail"].map(|name| (Some(name), 1, file!()))
    );
    drop(tasks);
    assert!(drained(&shutdown));
}

/// Says how many guards are held when it is dropped, as a buffer writes its rest then.
struct Owned<'a>(&'a Shutdown, &'a Cell<Option<usize>>);

impl Drop for Owned<'_> {
    fn drop(&mut self) {
        self.1.set(Some(self.0.in_flight()));
    }
}

/// An executor may drop a future that has ended much later, and the process may be gone by then.
///
/// Mutation: `Track::poll` releases the guard first.
#[test]
fn g8_track_drops_the_future_before_it_releases_the_guard() {
    let shutdown = Shutdown::new();
    let held = Cell::new(None);
    let owned = Owned(&shutdown, &held);
    let work = future::poll_fn(move |_| {
        let _owned = &owned;
        Poll::Ready(())
    });
    let mut tracked = pin!(shutdown.track(work));
    let mut cx = Context::from_waker(Waker::noop());
    assert!(tracked.as_mut().poll(&mut cx).is_ready());
    assert_eq!(held.get(), Some(1));
    assert_eq!(shutdown.in_flight(), 0);
}

/// Only a future that is written by hand can go on after a panic.
#[test]
fn panic_counts_though_the_future_is_polled_to_its_end() {
    let shutdown = Shutdown::new();
    let mut panics = true;
    let work = future::poll_fn(move |_| {
        assert!(!std::mem::take(&mut panics), "on purpose");
        Poll::Ready(Ok::<_, String>(7))
    });
    let mut task = pin!(shutdown.track(shutdown.supervise("mail", work)));
    let mut poll = || {
        let mut cx = Context::from_waker(Waker::noop());
        catch_unwind(AssertUnwindSafe(|| task.as_mut().poll(&mut cx)))
    };
    assert!(poll().is_err());
    assert!(matches!(poll(), Ok(Poll::Ready(Ok(7)))));
    assert_eq!(failure(&shutdown).to_string(), "task 'mail' panicked");
    let report = shutdown.report();
    assert_eq!((report.guards(), report.panicked()), (0, 1));
}

/// The failure that has become the cause.
fn failure(shutdown: &Shutdown) -> Failure {
    let cause = shutdown.cause().expect("a failure begins the shutdown");
    cause.error().expect("it is a failure").clone()
}

fn panics(task: impl Future) -> bool {
    catch_unwind(AssertUnwindSafe(|| future::block_on(task))).is_err()
}

fn fallible(result: Result<u32, &'static str>) -> Ready<Result<u32, &'static str>> {
    ready(result)
}

#[test]
fn critical_end_is_a_failure() {
    let shutdown = Shutdown::new();
    let line = Location::caller().line() + 1;
    let task = shutdown.critical("mail", async { 7 });
    assert!(!shutdown.is_requested());
    assert_eq!(future::block_on(task), 7);
    let failure = failure(&shutdown);
    assert_eq!(failure.to_string(), "task 'mail' ended");
    assert_eq!(failure.task(), Some("mail"));
    assert_eq!(failure.outcome(), &Outcome::Ended);
    assert_eq!(failure.location().line(), line);
}

#[test]
fn critical_panic_is_a_failure() {
    let shutdown = Shutdown::new();
    let task = shutdown.critical("mail", async { panic!("on purpose") });
    assert!(panics(task));
    let failure = failure(&shutdown);
    assert_eq!(failure.to_string(), "task 'mail' panicked");
    assert_eq!(failure.outcome(), &Outcome::Panicked);
}

#[test]
fn critical_drop_is_a_failure() {
    let shutdown = Shutdown::new();
    let mut task = Box::pin(shutdown.critical(String::from("mail"), future::pending::<()>()));
    let mut cx = Context::from_waker(Waker::noop());
    assert!(task.as_mut().poll(&mut cx).is_pending());
    drop(task);
    let failure = failure(&shutdown);
    assert_eq!(failure.to_string(), "task 'mail' was dropped");
    assert_eq!(failure.outcome(), &Outcome::Dropped);
}

#[test]
fn critical_may_end_after_the_request() {
    let shutdown = Shutdown::new();
    let task = shutdown.critical("mail", async { 7 });
    shutdown.trigger("enough");
    assert_eq!(future::block_on(task), 7);
    drop(shutdown.critical("index", future::pending::<()>()));
    assert_eq!(shutdown.cause().unwrap().to_string(), "enough");
    assert!(!shutdown.is_forced());
}

#[test]
fn critical_panic_after_the_request_is_a_failure() {
    let shutdown = Shutdown::new();
    let task = shutdown.critical("mail", async { panic!("on purpose") });
    shutdown.trigger("enough");
    assert!(panics(task));
    assert_eq!(failure(&shutdown).to_string(), "task 'mail' panicked");
    assert_eq!(shutdown.stage(), Stage::Stopping);
}

/// A trigger of the child's own would.
#[cfg(not(target_family = "wasm"))]
#[test]
fn critical_end_leaves_a_lame_duck() {
    let shutdown = Shutdown::builder().lame_duck(HOUR).build();
    let child = shutdown.child();
    let task = child.critical("mail", async { 7 });
    shutdown.trigger("enough");
    assert_eq!(future::block_on(task), 7);
    assert_eq!(child.stage(), Stage::Requested);
}

#[test]
fn supervised_task_may_end_with_ok() {
    let shutdown = Shutdown::new();
    let task = shutdown.supervise("mail", fallible(Ok(7)));
    assert_eq!(future::block_on(task), Ok(7));
    assert_eq!(shutdown.cause(), None);
}

#[test]
fn supervised_error_is_a_failure() {
    let shutdown = Shutdown::new();
    let line = Location::caller().line() + 1;
    let task = shutdown.supervise("mail", fallible(Err("connection refused")));
    let error = future::block_on(task).unwrap_err();
    assert_eq!(
        error,
        failure(&shutdown),
        "the task and the cause have one failure"
    );
    assert_eq!(error.to_string(), "task 'mail' failed: connection refused");
    assert_eq!(error.location().line(), line);
    let Outcome::Error(source) = error.outcome() else {
        panic!("it returned an error");
    };
    assert_eq!(source.to_string(), "connection refused");
}

#[test]
fn supervised_panic_and_drop_are_failures() {
    let shutdown = Shutdown::new();
    let task = future::poll_fn(|_| -> Poll<Result<(), String>> { panic!("on purpose") });
    assert!(panics(shutdown.supervise("mail", task)));
    assert_eq!(failure(&shutdown).to_string(), "task 'mail' panicked");

    let shutdown = Shutdown::new();
    drop(shutdown.supervise("mail", future::pending::<Result<(), String>>()));
    assert_eq!(failure(&shutdown).to_string(), "task 'mail' was dropped");
}

#[test]
fn supervised_task_that_has_ended_may_be_dropped() {
    let shutdown = Shutdown::new();
    let mut task = Box::pin(shutdown.supervise("mail", fallible(Ok(7))));
    assert_eq!(future::block_on(task.as_mut()), Ok(7));
    drop(task);
    assert_eq!(shutdown.cause(), None);
}

#[test]
fn supervised_error_or_panic_after_the_request_is_a_failure() {
    let shutdown = Shutdown::new();
    let fails = shutdown.supervise("mail", fallible(Err("connection refused")));
    let ends = shutdown.supervise("index", fallible(Ok(7)));
    shutdown.trigger("enough");
    assert_eq!(future::block_on(ends), Ok(7));
    drop(shutdown.supervise("disk", future::pending::<Result<(), String>>()));
    assert_eq!(shutdown.cause().unwrap().to_string(), "enough");
    let error = future::block_on(fails).unwrap_err();
    assert_eq!(failure(&shutdown), error);
    assert!(!shutdown.is_forced());

    let shutdown = Shutdown::new();
    shutdown.trigger("enough");
    let task = future::poll_fn(|_| -> Poll<Result<(), String>> { panic!("on purpose") });
    assert!(panics(shutdown.supervise("mail", task)));
    assert_eq!(failure(&shutdown).to_string(), "task 'mail' panicked");
}

/// As a panic of the task, before the request and after.
#[test]
fn supervised_error_that_panics_when_it_is_converted_is_a_panic() {
    struct Unspeakable;
    impl From<Unspeakable> for Box<dyn Error + Send + Sync> {
        fn from(_: Unspeakable) -> Self {
            panic!("on purpose")
        }
    }
    for requested in [false, true] {
        let shutdown = Shutdown::new();
        if requested {
            shutdown.trigger("enough");
        }
        let task = async { Err::<(), _>(Unspeakable) };
        assert!(panics(shutdown.supervise("mail", task)));
        assert_eq!(failure(&shutdown).to_string(), "task 'mail' panicked");
    }
}

/// An executor may catch a panic and drop the task later, or poll it again.
#[test]
fn caught_panic_is_reported_when_the_task_is_dropped() {
    let shutdown = Shutdown::new();
    let panics = AtomicBool::new(true);
    let mut task = Box::pin(shutdown.critical(
        "mail",
        future::poll_fn(|_| match panics.swap(false, Ordering::SeqCst) {
            true => panic!("on purpose"),
            false => Poll::<()>::Pending,
        }),
    ));
    let mut cx = Context::from_waker(Waker::noop());
    let polled = catch_unwind(AssertUnwindSafe(|| task.as_mut().poll(&mut cx)));
    assert!(polled.is_err());
    assert_eq!(shutdown.cause(), None, "it lives");
    drop(task);
    assert_eq!(failure(&shutdown).to_string(), "task 'mail' panicked");
}
