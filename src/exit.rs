//! The one place that ends the process.
#![allow(
    clippy::exit,
    clippy::disallowed_methods,
    reason = "the lints send everybody here"
)]

/// Ends the process at once: no destructors, no atexit handlers, no flushing.
///
/// Unix: `_exit`. `std::process::exit` would park for ever if another thread is inside `exit`
/// already, and that is when a second signal is most likely.
/// Windows: `TerminateProcess`. `std::process::exit` would flush standard output, which may be
/// blocked, and run the exit routines of DLLs, which may wait for a lock that nobody gives back.
pub(crate) fn now(code: i32) -> ! {
    #[cfg(unix)]
    signal_hook::low_level::exit(code);
    #[cfg(windows)]
    winddown_console::exit(code);
}

/// Ends the process as the signal would have; or with the code that a shell makes of that.
pub(crate) fn of_signal(signal: async_signal::Signal) -> ! {
    #[cfg(unix)]
    if crate::signals::ends_by_default(signal) {
        as_unhandled(signal);
    }
    now(128 + signal as i32)
}

/// Ends the process as returning from `main` does.
pub(crate) fn well() -> ! {
    std::process::exit(0)
}

/// Does what the operating system would have done with `signal`, had nobody handled it.
///
/// Returns for signals whose default is not to end the process.
#[cfg(unix)]
pub(crate) fn as_unhandled(signal: async_signal::Signal) {
    let number = signal as i32;
    if std::process::id() == 1 {
        // The kernel drops signals at their default for PID 1, and `emulate_default_handler`
        // aborts when the raised signal had no effect. 128 + n is what a shell would report.
        if crate::signals::ends_by_default(signal) {
            now(128 + number);
        }
    } else {
        // An error means "not a signal it knows"; `install` has refused those.
        let _ = signal_hook::low_level::emulate_default_handler(number);
    }
}
