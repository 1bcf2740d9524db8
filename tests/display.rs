//! The texts of `Debug` and `Display`.
#![cfg(not(target_family = "wasm"))]

use std::future;
use std::time::Duration;

use winddown::{Shutdown, ShutdownExt};

const SECOND: Duration = Duration::from_secs(1);

#[test]
fn debug_of_handles_shows_the_state() {
    let shutdown = Shutdown::default();
    let (waiter, forced) = (shutdown.waiter(), shutdown.forced());
    assert_eq!(
        format!("{shutdown:?}"),
        "Shutdown { cause: None, forced: false, in_flight: 0, .. }"
    );
    assert_eq!(format!("{waiter:?}"), "Waiter { requested: false, .. }");
    assert_eq!(format!("{forced:?}"), "Reached { stage: Forced, .. }");
    let whole = shutdown.whole_requested();
    assert_eq!(format!("{whole:?}"), "WholeRequested { requested: false }");

    let guard = shutdown.guard();
    let drain = shutdown.drain(SECOND);
    shutdown.request_shutdown();
    shutdown.request_shutdown();
    let text = format!("{shutdown:?}");
    assert!(text.contains("display.rs"), "{text}");
    assert!(text.ends_with("forced: true, in_flight: 1, .. }"), "{text}");
    assert_eq!(format!("{waiter:?}"), "Waiter { requested: true, .. }");
    assert_eq!(format!("{guard:?}"), "Some(Guard { .. })");
    assert_eq!(format!("{drain:?}"), "Drain { in_flight: 1, .. }");
    assert_eq!(
        format!("{:?}", shutdown.drained()),
        "Drain { in_flight: 1, .. }"
    );
    let until = format!("{:?}", shutdown.drain_until(future::ready(7)));
    assert!(
        until.contains("in_flight: 1") && until.contains("late: false"),
        "{until}"
    );
}

#[test]
fn debug_of_callbacks_and_guards_shows_the_state() {
    let shutdown = Shutdown::new();
    let callback = shutdown.call_on_shutdown(|| ());
    assert_eq!(format!("{callback:?}"), "Callback { stopping: false, .. }");
    let guard = shutdown.drop_guard();
    assert_eq!(format!("{guard:?}"), "DropGuard { .. }");
    drop(guard);
    assert_eq!(format!("{callback:?}"), "Callback { stopping: true, .. }");
}

#[test]
fn debug_of_wrappers_shows_the_inner() {
    let shutdown = Shutdown::new();
    let waiter = || shutdown.waiter();
    let ready = || future::ready(7);

    let text = format!("{:?}", ready().on_shutdown(waiter(), |_| ()));
    assert!(text.contains("Ready(Some(7))") && text.contains("told: false"));
    let text = format!("{:?}", shutdown.critical("mail", ready()));
    assert!(text.contains("Ready(Some(7))") && text.contains("mail"));
    let fallible = future::ready(Ok::<_, String>(7));
    let text = format!("{:?}", shutdown.supervise("mail", fallible));
    assert!(text.contains("Ready(Some(Ok(7)))") && text.contains("mail"));
    let text = format!("{:?}", ready().until_deadline(waiter()));
    assert!(text.contains("Ready(Some(7))") && text.contains("deadline: None"));
    let text = format!("{:?}", ready().limit_on_shutdown_with(waiter(), ready));
    assert!(text.contains("Ready(Some(7))") && text.contains("timer: false"));
    let text = format!("{:?}", shutdown.track(ready()));
    assert!(text.contains("Ready(Some(7))") && text.contains("Guard"));
}

/// A `main` that returns them as its error prints their `Debug`.
#[test]
fn debug_of_error_is_their_display() {
    let shutdown = Shutdown::new();
    let _guard = shutdown.guard_named("mail");
    let late = shutdown.drain_blocking(Duration::ZERO).unwrap_err();
    assert!(late.to_string().contains("\n  1 'mail' at "), "{late}");
    assert_eq!(format!("{late:?}"), late.to_string());
}

#[test]
fn failures_display_task_outcome_and_error() {
    let fails = |fail: &dyn Fn(&Shutdown)| {
        let shutdown = Shutdown::new();
        fail(&shutdown);
        let cause = shutdown.cause().expect("it has begun");
        assert_eq!(
            format!("{:?}", cause.error().expect("a failure")),
            cause.to_string()
        );
        cause.to_string()
    };
    assert_eq!(
        fails(&|shutdown| drop(shutdown.critical("mail", future::pending::<()>()))),
        "task 'mail' was dropped"
    );
    assert_eq!(
        fails(&|shutdown| assert!(shutdown.fail("disk full"))),
        "failed: disk full"
    );
}

#[test]
fn signals_display_their_conventional_names() {
    use winddown::Signal;

    let (interrupt, termination) = match cfg!(windows) {
        true => ("Ctrl-C", "termination"),
        false => ("SIGINT", "SIGTERM"),
    };
    for (signal, name) in [
        (Signal::HUP, "SIGHUP"),
        (Signal::INT, interrupt),
        (Signal::QUIT, "SIGQUIT"),
        (Signal::TERM, termination),
        (Signal::from_raw(1000), "signal 1000"),
    ] {
        assert_eq!(signal.to_string(), name);
    }
}

#[test]
fn exit_code_of_a_signal_that_no_system_knows_is_255() {
    use std::process::ExitCode;

    use winddown::{Cause, Signal};

    let code = ExitCode::from(&Cause::Signal(Signal::from_raw(i32::MAX)));
    assert_eq!(format!("{code:?}"), format!("{:?}", ExitCode::from(255)));
}

/// The time of a limit begins with the request.
#[cfg(feature = "signals")]
#[test]
fn debug_of_a_limit_shows_whether_its_time_runs() {
    use futures_lite::future::{block_on, poll_once};

    let shutdown = Shutdown::new();
    let mut limited =
        Box::pin(future::pending::<()>().limit_on_shutdown(shutdown.waiter(), SECOND));
    assert!(format!("{limited:?}").contains("1s after the request"));
    shutdown.request_shutdown();
    assert!(block_on(poll_once(&mut limited)).is_none());
    assert!(format!("{limited:?}").contains("time is running"));
}

#[cfg(feature = "signals")]
#[test]
fn install_errors_display_remedy_and_source() {
    use std::error::Error;
    use std::io;

    use winddown::{InstallError, Signal};

    let refused = || io::Error::other("no more of them");
    let cases = [
        (InstallError::AlreadyInstalled, "clone its handle", false),
        (InstallError::NoSignals, "pass at least one", false),
        (
            InstallError::Unusable(Signal::QUIT),
            "SIGQUIT can't be used",
            false,
        ),
        (InstallError::Forked, "fork first", false),
        (InstallError::NoGracePeriod, "set a grace_period", false),
        (
            InstallError::Register(refused()),
            "can't register the signal handlers",
            true,
        ),
        (
            InstallError::Thread(refused()),
            "can't start a thread",
            true,
        ),
    ];
    for (error, expected, has_source) in cases {
        let text = error.to_string();
        assert!(text.contains(expected), "{text}");
        let source = error.source().map(ToString::to_string);
        // A report of the whole chain says it once.
        assert_eq!(
            source,
            has_source.then(|| "no more of them".into()),
            "{text}"
        );
        assert!(!text.contains("no more of them"), "{text}");
        // What a `main` that returns it prints.
        let debug = format!("{error:?}");
        assert!(debug.starts_with(&text), "{debug}");
        assert_eq!(debug.ends_with(": no more of them"), has_source, "{debug}");
    }
}
