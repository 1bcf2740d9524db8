//! The signals that can request a shutdown on Unix, as async-signal has them.

use async_signal::Signal as Native;

use crate::model::signal::Signal;

/// The signals that end a program by default on every Unix; but for the ones that no program can handle,
/// and the ones that report a fault, which would happen again when the handler returns.
const ALL: [Native; 15] = [
    Native::Hup,
    Native::Int,
    Native::Quit,
    Native::Trap,
    Native::Abort,
    Native::Usr1,
    Native::Usr2,
    Native::Pipe,
    Native::Alarm,
    Native::Term,
    Native::Xcpu,
    Native::Xfsz,
    Native::Vtalarm,
    Native::Prof,
    Native::Sys,
];

/// Returns the signal as async-signal has it, or `None` if it cannot request a shutdown.
pub(crate) fn native(signal: Signal) -> Option<Native> {
    ALL.into_iter()
        .find(|native| *native as i32 == signal.as_raw())
}
