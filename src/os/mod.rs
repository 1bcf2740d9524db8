//! The operating system's part of an installed shutdown: who reads signals, and how the second one
//! ends the process.
//!
//! On Unix the handler of a signal does this, in this order:
//!
//! 1. if `ARMED`, it ends the process with the exit code (if the policy lets this signal force);
//! 2. if `IDLE`, it does what the system would have done;
//! 3. it sets `ARMED` (if nothing is to come between the first signal and the second);
//! 4. it writes the number of the signal to a socket, which the thread `winddown` reads.
//!
//! So the second signal needs no thread: not `winddown`, which may be inside a waker that hangs, and no
//! thread of the program. A signal that the program sends itself arms the handler by `Process::first`.
//!
//! With a debounce, or time for last words, step 3 is left to the thread that takes the slot, or to a
//! thread that does nothing else. Then `winddown` calls no wakers, so that it always reads on.
//!
//! Windows starts a thread for each console event, which runs the handler of this crate. That does what
//! `winddown` does elsewhere, and calls no wakers either, because the next event waits for it. When no
//! handle is left, it passes the event on, and Windows does what it would have done.

mod deliver;
pub(crate) mod error;
mod exit;
pub(crate) mod install;
mod process;
#[cfg(all(unix, feature = "systemd"))]
mod systemd;
#[cfg(unix)]
mod unix;
#[cfg(windows)]
mod windows;
