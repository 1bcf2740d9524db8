//! Tasks: `track` and `critical`.

mod support;

use std::panic::{AssertUnwindSafe, Location, catch_unwind};
use std::pin::pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, Waker};

use futures_lite::future;
use support::{HOUR, drained};
use winddown::{Shutdown, Stage};

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

#[test]
fn critical_end_begins_the_shutdown() {
    let shutdown = Shutdown::new();
    let line = Location::caller().line() + 1;
    let task = shutdown.critical("mail", async { 7 });
    assert!(!shutdown.is_requested());
    assert_eq!(future::block_on(task), 7);
    let cause = shutdown.cause().unwrap();
    assert_eq!(cause.to_string(), "critical task 'mail' ended");
    assert!(matches!(cause, winddown::Cause::Triggered { at, .. } if at.line() == line));
}

#[test]
fn critical_panic_begins_the_shutdown() {
    let shutdown = Shutdown::new();
    let task = shutdown.critical("mail", async { panic!("on purpose") });
    assert!(catch_unwind(AssertUnwindSafe(|| future::block_on(task))).is_err());
    assert_eq!(
        shutdown.cause().unwrap().to_string(),
        "critical task 'mail' panicked"
    );
}

#[test]
fn critical_drop_begins_the_shutdown() {
    let shutdown = Shutdown::new();
    let mut task = Box::pin(shutdown.critical(String::from("mail"), future::pending::<()>()));
    let mut cx = Context::from_waker(Waker::noop());
    assert!(task.as_mut().poll(&mut cx).is_pending());
    drop(task);
    assert_eq!(
        shutdown.cause().unwrap().to_string(),
        "critical task 'mail' was dropped"
    );
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

/// A trigger of the child's own would.
#[test]
fn critical_end_leaves_a_lame_duck() {
    let shutdown = Shutdown::builder().lame_duck(HOUR).build();
    let child = shutdown.child();
    let task = child.critical("mail", async { 7 });
    shutdown.trigger("enough");
    assert_eq!(future::block_on(task), 7);
    assert_eq!(child.stage(), Stage::Requested);
}
