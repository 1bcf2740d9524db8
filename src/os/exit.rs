//! The one place that ends the process.
#![allow(
    clippy::exit,
    clippy::disallowed_methods,
    reason = "the lints send every other place here"
)]

use crate::model::cause::Cause;
use crate::model::signal::Signal;
#[cfg(unix)]
use crate::os::native::native;

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

/// Ends the process as the signal would have, had the program not handled it; or with the code that a
/// shell makes of that.
pub(crate) fn of_signal(signal: Signal) -> ! {
    // For PID 1 the kernel drops signals at their default, and `emulate_default_handler` aborts when the
    // raised signal had no effect.
    #[cfg(unix)]
    if std::process::id() != 1 && native(signal).is_some() {
        let _ = signal_hook::low_level::emulate_default_handler(signal.as_raw());
    }
    now(signal.exit_code().into())
}

// Here, because it ends the process.
impl Cause {
    /// Ends the process in the way that its parent expects after this cause.
    ///
    /// After a signal the process dies of that signal, as a program does that never handled it: a
    /// shell then stops its script, and a supervisor reads "killed by SIGTERM". Where that can't be,
    /// as PID 1, on Windows, and after a signal that [`signals`](crate::Builder::signals) would not take,
    /// the exit code is 128 + n (143 for SIGTERM), as a shell would report it. After a
    /// [failure](Cause::Failed) the exit code is 1, after any other cause 0.
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
    /// As long as flushing standard output does, and after any cause but a signal what the program has
    /// registered with `atexit`; for good, if another thread is inside `std::process::exit`. A signal that
    /// forces, or [`force_at_deadline`](crate::Builder::force_at_deadline), still ends the process.
    #[cfg_attr(docsrs, doc(cfg(feature = "signals")))]
    pub fn exit(&self) -> ! {
        let _ = std::io::Write::flush(&mut std::io::stdout());
        match self {
            Self::Signal(signal) => of_signal(*signal),
            Self::Requested(_) | Self::Triggered { .. } => std::process::exit(0),
            Self::Failed(_) => std::process::exit(1),
        }
    }
}
