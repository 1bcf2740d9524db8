//! Callbacks and drop guards, and what callbacks bridge to.

mod support;

use std::panic::{AssertUnwindSafe, Location, catch_unwind};
use std::pin::Pin;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Barrier, Mutex};
use std::thread;

use allocation_counter::measure;
use support::{Call, Counter, HOUR, in_time, poll};
use tokio_util::sync::{CancellationToken, WaitForCancellationFutureOwned};
use winddown::{Callback, Cause, Outcome, Shutdown, Stage};

/// How often a function was called, and a function that counts.
#[derive(Clone, Default)]
struct Calls(Arc<AtomicUsize>);

impl Calls {
    fn function(&self) -> impl FnOnce() + Send + use<> {
        let calls = self.clone();
        move || {
            calls.0.fetch_add(1, Ordering::SeqCst);
        }
    }

    fn count(&self) -> usize {
        self.0.load(Ordering::SeqCst)
    }

    /// Whether every function is gone.
    fn alone(&self) -> bool {
        Arc::strong_count(&self.0) == 1
    }
}

#[test]
fn callback_is_called_once_before_the_request_returns() {
    for begin in [
        (|shutdown| shutdown.request_shutdown()) as fn(&Shutdown) -> bool,
        |shutdown| shutdown.trigger("enough"),
        |shutdown| shutdown.fail("disk full"),
    ] {
        let shutdown = Shutdown::new();
        let calls = Calls::default();
        let callback = shutdown.call_on_shutdown(calls.function());
        assert_eq!(calls.count(), 0);
        assert!(begin(&shutdown));
        assert_eq!(calls.count(), 1);
        assert!(
            calls.alone(),
            "the function is gone, though the callback is kept"
        );
        shutdown.request_shutdown();
        shutdown.request_shutdown();
        drop(callback);
        assert_eq!(calls.count(), 1);
    }
}

/// As a waiter: when it stops, and not when it is requested.
#[test]
fn callback_waits_for_the_end_of_the_lame_duck() {
    let shutdown = Shutdown::builder().lame_duck(HOUR).build();
    let calls = Calls::default();
    let _callback = shutdown.call_on_shutdown(calls.function());
    shutdown.request_shutdown();
    assert_eq!((shutdown.stage(), calls.count()), (Stage::Requested, 0));
    shutdown.request_shutdown();
    assert_eq!(calls.count(), 1);
}

#[test]
fn callback_of_a_child_is_called_by_the_request_of_its_parent() {
    let parent = Shutdown::new();
    let calls = Calls::default();
    // The callback keeps the child.
    let _callback = parent.child().call_on_shutdown(calls.function());
    parent.request_shutdown();
    assert_eq!(calls.count(), 1);
}

#[test]
fn callback_made_after_the_request_is_called_at_once() {
    let shutdown = Shutdown::new();
    shutdown.request_shutdown();
    let thread = Arc::new(Mutex::new(None));
    let called_by = thread.clone();
    let callback = shutdown.call_on_shutdown(move || {
        *called_by.lock().unwrap() = Some(thread::current().id());
    });
    assert_eq!(thread.lock().unwrap().take(), Some(thread::current().id()));
    shutdown.request_shutdown();
    drop(callback);
    assert_eq!(*thread.lock().unwrap(), None);
    // That it panics is for its caller to see.
    let panics = || shutdown.call_on_shutdown(|| panic!("on purpose"));
    assert!(catch_unwind(AssertUnwindSafe(panics)).is_err());
}

#[test]
fn dropped_callback_is_not_called() {
    let shutdown = Shutdown::new();
    let calls = Calls::default();
    let kept = shutdown.call_on_shutdown(calls.function());
    let dropped = Calls::default();
    drop(shutdown.call_on_shutdown(dropped.function()));
    assert!(dropped.alone(), "its function is dropped");
    shutdown.request_shutdown();
    assert_eq!((calls.count(), dropped.count()), (1, 0));
    drop(kept);
}

#[test]
fn g5_panicking_callback_leaves_the_others() {
    let shutdown = Shutdown::new();
    let calls = Calls::default();
    let (counter, waker) = Counter::new();
    let mut waiters = [shutdown.waiter(), shutdown.waiter()];
    assert!(poll(&mut waiters[0], &waker).is_pending());
    let callbacks = [
        shutdown.call_on_shutdown(calls.function()),
        shutdown.call_on_shutdown(|| panic!("on purpose")),
        shutdown.call_on_shutdown(calls.function()),
    ];
    assert!(poll(&mut waiters[1], &waker).is_pending());
    assert!(shutdown.request_shutdown());
    assert_eq!((calls.count(), counter.count()), (2, 2));
    drop(callbacks);
}

#[test]
fn g5_callback_that_drops_callbacks() {
    let shutdown = Shutdown::new();
    let calls = Calls::default();
    let owned = Arc::new(Mutex::new(Vec::new()));
    let drops = {
        let owned = owned.clone();
        move || {
            let owned: Vec<Callback> = std::mem::take(&mut *owned.lock().unwrap());
            drop(owned);
        }
    };
    let first = shutdown.call_on_shutdown(calls.function());
    // Its own is among them, and one on each side.
    let own = shutdown.call_on_shutdown(drops);
    let last = shutdown.call_on_shutdown(calls.function());
    let kept = shutdown.call_on_shutdown(calls.function());
    owned.lock().unwrap().extend([first, own, last]);
    let asks = shutdown.clone();
    assert!(in_time(move || asks.request_shutdown()));
    assert!(owned.lock().unwrap().is_empty());
    // Those that were dropped during the call may have been called, and were dropped in any case.
    assert!((1..=3).contains(&calls.count()));
    drop(kept);
    assert!(calls.alone());
}

#[test]
fn g5_callback_that_uses_the_shutdown() {
    let shutdown = Shutdown::new();
    let calls = Calls::default();
    let seen = Arc::new(Mutex::new(None));
    let (inner, shown, again) = (calls.clone(), seen.clone(), shutdown.clone());
    let _uses = shutdown.call_on_shutdown(move || {
        let late = again.call_on_shutdown(inner.function());
        let stages = (again.stage(), again.request_shutdown(), again.stage());
        let failed = again.fail("too late");
        let cause = again.cause().map(|cause| cause.to_string());
        *shown.lock().unwrap() = Some((stages, failed, cause, again.guard().is_some()));
        drop(late);
    });
    let _another = shutdown.call_on_shutdown(calls.function());
    let asks = shutdown.clone();
    assert!(in_time(move || asks.trigger("enough")));
    let stages = (Stage::Stopping, true, Stage::Stopping); // the first slot
    let failed = Some("failed: too late".to_owned());
    assert_eq!(*seen.lock().unwrap(), Some((stages, false, failed, true)));
    assert_eq!(calls.count(), 2);
}

/// A function may own the handles and callbacks of other shutdowns, and of its own.
#[test]
fn g5_function_that_owns_callbacks_is_dropped() {
    let shutdown = Shutdown::new();
    let calls = Calls::default();
    let mut chain = shutdown.call_on_shutdown(calls.function());
    for _ in 0..10 {
        let (owned, handle) = (chain, shutdown.clone());
        chain = shutdown.call_on_shutdown(move || drop((owned, handle)));
    }
    in_time(move || drop(chain));
    assert!(calls.alone());
    assert_eq!(calls.count(), 0);
    assert!(shutdown.request_shutdown());
}

/// Threads make and drop callbacks while the request is made. Each that is kept is called once, by the
/// time that both have returned; each that is dropped is called once at most.
#[test]
fn callbacks_churn_during_the_request() {
    for _ in 0..500 {
        let shutdown = Shutdown::new();
        let barrier = Barrier::new(4);
        let churn = || {
            let (kept, dropped) = (Calls::default(), Calls::default());
            let mut callbacks = Vec::new();
            barrier.wait();
            while !shutdown.is_requested() {
                callbacks.push(shutdown.call_on_shutdown(kept.function()));
                drop(shutdown.call_on_shutdown(dropped.function()));
            }
            callbacks.push(shutdown.call_on_shutdown(kept.function()));
            (kept, dropped, callbacks)
        };
        thread::scope(|scope| {
            let threads = [(); 3].map(|()| scope.spawn(churn));
            barrier.wait();
            shutdown.request_shutdown();
            for thread in threads {
                let (kept, dropped, callbacks) = thread.join().unwrap();
                assert_eq!(kept.count(), callbacks.len());
                assert!(dropped.count() < callbacks.len());
                assert!(kept.alone() && dropped.alone());
            }
        });
    }
}

#[test]
fn g10_dropped_callbacks_leave_no_memory() {
    let shutdown = Shutdown::new();
    let calls = Calls::default();
    let round = || drop(shutdown.call_on_shutdown(calls.function()));
    round();
    let info = measure(|| (0..100_000).for_each(|_| round()));
    assert_eq!(info.bytes_current, 0);

    let info = measure(|| {
        let all: Vec<_> = (0..10_000)
            .map(|_| shutdown.call_on_shutdown(calls.function()))
            .collect();
        drop(all);
    });
    assert!(info.bytes_current < 4096, "{} bytes", info.bytes_current);
    assert!(calls.alone());
    shutdown.request_shutdown();
    assert_eq!(calls.count(), 0);
}

#[test]
fn g10_called_callbacks_leave_no_memory() {
    let shutdown = Shutdown::new();
    let calls = Calls::default();
    let info = measure(|| {
        let all: Vec<_> = (0..10_000)
            .map(|_| shutdown.call_on_shutdown(calls.function()))
            .collect();
        shutdown.request_shutdown();
        assert_eq!(calls.count(), 10_000);
        drop(all);
    });
    assert!(info.bytes_current < 128, "{} bytes", info.bytes_current);
}

#[test]
fn callback_takes_one_allocation() {
    let shutdown = Shutdown::new();
    let calls = Calls::default();
    let kept = shutdown.call_on_shutdown(calls.function()); // the list of wakers
    let function = calls.function();
    let mut callback = None;
    let info = measure(|| callback = Some(shutdown.call_on_shutdown(function)));
    assert_eq!(info.count_total, 1);
    drop((kept, callback));
}

/// Cancels the token when the shutdown stops.
fn cancel_on_shutdown(shutdown: &Shutdown, token: &CancellationToken) -> Callback {
    let token = token.clone();
    shutdown.call_on_shutdown(move || token.cancel())
}

/// Begins the shutdown when the token is cancelled, as long as the future is kept: polled once by hand,
/// it has the waker that does so.
fn trigger_on_cancel(
    token: &CancellationToken,
    shutdown: &Shutdown,
) -> Pin<Box<WaitForCancellationFutureOwned>> {
    let triggers = shutdown.clone();
    let waker = Call::waker(move || {
        triggers.trigger("the token was cancelled");
    });
    let mut cancelled = Box::pin(token.clone().cancelled_owned());
    if poll(&mut cancelled, &waker).is_ready() {
        waker.wake();
    }
    cancelled
}

#[test]
fn token_is_cancelled_when_the_request_has_returned() {
    let (shutdown, token) = (Shutdown::new(), CancellationToken::new());
    let below = token.child_token();
    let _bridge = cancel_on_shutdown(&shutdown, &token);
    assert!(!token.is_cancelled());
    shutdown.request_shutdown();
    assert!(token.is_cancelled() && below.is_cancelled());

    let late = CancellationToken::new();
    let _bridge = cancel_on_shutdown(&shutdown, &late);
    assert!(late.is_cancelled());

    let (shutdown, token) = (Shutdown::new(), CancellationToken::new());
    drop(cancel_on_shutdown(&shutdown, &token));
    shutdown.request_shutdown();
    assert!(!token.is_cancelled(), "the bridge is gone");
}

#[test]
fn shutdown_has_begun_when_the_cancel_of_a_token_has_returned() {
    let (shutdown, token) = (Shutdown::new(), CancellationToken::new());
    let bridge = trigger_on_cancel(&token, &shutdown);
    assert!(!shutdown.is_requested());
    token.cancel();
    assert!(shutdown.is_stopping());
    assert_eq!(
        shutdown.cause().unwrap().to_string(),
        "the token was cancelled"
    );
    drop(bridge);

    let late = Shutdown::new();
    let _bridge = trigger_on_cancel(&token, &late);
    assert!(late.is_stopping());

    let (shutdown, token) = (Shutdown::new(), CancellationToken::new());
    drop(trigger_on_cancel(&token, &shutdown));
    token.cancel();
    assert!(!shutdown.is_requested(), "the bridge is gone");
}

#[test]
fn bridges_in_both_directions_end_one_another() {
    for token_first in [false, true] {
        let (shutdown, token) = (Shutdown::new(), CancellationToken::new());
        let bridges = (
            cancel_on_shutdown(&shutdown, &token),
            trigger_on_cancel(&token, &shutdown),
        );
        let (asks, cancels) = (shutdown.clone(), token.clone());
        in_time(move || match token_first {
            true => cancels.cancel(),
            false => assert!(asks.trigger("enough")),
        });
        assert!(token.is_cancelled() && shutdown.is_stopping());
        assert!(!shutdown.is_forced());
        drop(bridges);
    }
}

#[test]
fn drop_guard_begins_the_shutdown() {
    let shutdown = Shutdown::new();
    let line = Location::caller().line() + 1;
    let guard = shutdown.drop_guard();
    let moved = thread::spawn(move || drop(guard));
    moved.join().unwrap();
    assert!(shutdown.is_stopping());
    let cause = shutdown.cause().unwrap();
    assert_eq!(
        cause.to_string(),
        format!("drop guard of {}:{line} dropped", file!())
    );
    assert!(matches!(cause, Cause::Triggered { at, .. } if at.line() == line));
}

#[test]
fn drop_guard_begins_the_shutdown_once_and_never_forces() {
    let shutdown = Shutdown::new();
    let guards = [shutdown.drop_guard(), shutdown.drop_guard()];
    shutdown.trigger("enough");
    drop(guards);
    assert_eq!(shutdown.cause().unwrap().to_string(), "enough");
    assert_eq!(shutdown.stage(), Stage::Stopping);
}

#[test]
fn disarmed_drop_guard_begins_nothing() {
    let shutdown = Shutdown::new();
    shutdown.drop_guard().disarm();
    let disarms = AssertUnwindSafe(|| {
        let guard = shutdown.drop_guard();
        guard.disarm();
        panic!("on purpose");
    });
    assert!(catch_unwind(disarms).is_err());
    assert_eq!(shutdown.cause(), None);
}

#[test]
fn drop_guard_of_a_thread_that_panics_is_a_failure() {
    for requested in [false, true] {
        let shutdown = Shutdown::new();
        if requested {
            shutdown.request_shutdown();
        }
        let line = Location::caller().line() + 2;
        let panics = AssertUnwindSafe(|| {
            let _guard = shutdown.drop_guard();
            panic!("on purpose");
        });
        assert!(catch_unwind(panics).is_err());
        let cause = shutdown.cause().unwrap();
        let failure = cause.error().unwrap();
        assert_eq!(failure.outcome(), &Outcome::Panicked);
        assert_eq!(failure.location().line(), line);
        assert_eq!(cause.to_string(), format!("panicked at {}:{line}", file!()));
        assert_eq!(shutdown.stage(), Stage::Stopping);
    }
}

#[test]
fn drop_guard_of_a_child_begins_the_child_only() {
    let parent = Shutdown::new();
    let child = parent.child();
    drop(child.drop_guard());
    assert!(child.is_stopping() && !parent.is_requested());
}
