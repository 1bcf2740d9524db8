//! The names of signals, and what the system does with them by default.

use std::fmt;

use async_signal::Signal;

/// The signals that request a shutdown unless the program sets others.
pub(crate) const DEFAULT: &[Signal] = &[Signal::Int, Signal::Term];

/// Returns whether the system ends a program that does not handle this signal.
#[cfg(unix)]
pub(crate) fn ends_by_default(signal: Signal) -> bool {
    use Signal::{Child, Cont, Io, Stop, Tstp, Ttin, Ttou, Urg, Winch};

    // `Io` as signal-hook has it, which emulates the default where the process is not PID 1.
    !matches!(
        signal,
        Child | Cont | Io | Stop | Tstp | Ttin | Ttou | Urg | Winch
    )
}

/// Returns the signal's conventional name.
#[cfg(unix)]
pub(crate) fn name(signal: Signal) -> impl fmt::Display {
    signal_hook::low_level::signal_name(signal as i32).unwrap_or("an unknown signal")
}

/// Returns the signal's conventional name. Windows has none but for these two.
#[cfg(windows)]
pub(crate) fn name(signal: Signal) -> impl fmt::Display {
    match signal {
        Signal::Int => "Ctrl-C".to_owned(),
        Signal::Term => "termination".to_owned(),
        other => format!("SIG{other:?}").to_uppercase(),
    }
}
