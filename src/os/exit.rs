//! The one place that ends the process.
#![allow(
    clippy::exit,
    clippy::disallowed_methods,
    reason = "the lints send every other place here"
)]

use async_signal::Signal;

use crate::model::cause::Cause;
#[cfg(unix)]
use crate::model::signal::ends_by_default;

/// Ends the process at once: no destructors, no atexit handlers, no flushing.
///
/// Unix: `_exit`. `std::process::exit` would park for ever if another thread is inside `exit`
/// already, and that is when a second signal is most likely.
/// Windows: `TerminateProcess`. `std::process::exit` would flush standard output, which may be
/// blocked, and run the exit routines of DLLs, which may wait for a lock that is never released.
pub(crate) fn now(code: i32) -> ! {
    #[cfg(unix)]
    signal_hook::low_level::exit(code);
    #[cfg(windows)]
    winddown_console::exit(code);
}

/// Does what the operating system would have done with `signal`, had the program not handled it.
///
/// Returns for signals whose default is not to end the process.
#[cfg(unix)]
pub(crate) fn as_unhandled(signal: Signal) {
    let number = signal as i32;
    if std::process::id() == 1 {
        // The kernel drops signals at their default for PID 1, and `emulate_default_handler` aborts
        // when the raised signal had no effect. 128 + n is what a shell would report.
        if ends_by_default(signal) {
            now(128 + number);
        }
    } else {
        // An error means "not a signal it knows"; `install` has refused those.
        let _ = signal_hook::low_level::emulate_default_handler(number);
    }
}

/// Ends the process as the signal would have; or with the code that a shell makes of that.
fn of_signal(signal: Signal) -> ! {
    #[cfg(unix)]
    if ends_by_default(signal) {
        as_unhandled(signal);
    }
    now(128 + signal as i32)
}

/// Here, because it ends the process.
impl Cause {
    /// Ends the process in the way that its cause lets others expect, after a shutdown that went
    /// well.
    ///
    /// After a signal the process dies of that signal, as a program does that never handled it: a
    /// shell then stops its script, and a supervisor reads "killed by SIGTERM". Where that can't be,
    /// as PID 1, on Windows, and after a signal that ends nothing by default, the exit code is 128 + n
    /// (143 for SIGTERM), as a shell would report it. After any other cause the exit code is 0.
    ///
    /// Standard output is flushed before. Destructors don't run, and after a signal atexit handlers
    /// don't either.
    ///
    /// ```no_run
    /// # let shutdown = winddown::Shutdown::install()?;
    /// shutdown.waiter().wait_blocking();
    /// // ... drain, save, say goodbye ...
    /// shutdown.cause().expect("it was requested").exit()
    /// # ; Ok::<(), winddown::InstallError>(())
    /// ```
    ///
    /// To return from `main` instead, turn the cause into an [`ExitCode`](std::process::ExitCode).
    ///
    /// # Blocking
    ///
    /// As long as flushing standard output does. A signal that forces still ends the process.
    #[cfg_attr(docsrs, doc(cfg(feature = "signals")))]
    pub fn exit(&self) -> ! {
        let _ = std::io::Write::flush(&mut std::io::stdout());
        match self {
            Self::Signal(signal) => of_signal(*signal),
            Self::Requested(_) | Self::Triggered { .. } => std::process::exit(0),
        }
    }
}
