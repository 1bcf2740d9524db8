//! The operating system's part of an installed shutdown: which thread reads signals, and how the force
//! ends the process.
//!
//! On Unix the handler of a signal does this, in this order:
//!
//! 1. if `STARTING`, it does what the system would have done: what follows may not be registered yet;
//! 2. if `ARMED`, it ends the process (if the policy lets this signal force);
//! 3. if `IDLE`, it does what the system would have done;
//! 4. it sets `ARMED` (if nothing is to come between the first signal and the second);
//! 5. it sets the flag of this signal, and writes the number to a socket, which the thread `winddown`
//!    reads.
//!
//! So the second signal needs no thread: not `winddown`, which may be inside a waker that hangs, and no
//! thread of the program. A signal that the program sends itself arms the handler by `Process::first`.
//!
//! With a debounce, an abort timeout or a deadline that forces, the end of the process depends on a
//! thread: on `winddown`, which then keeps these times too (`timekeeper`), and calls no wakers. Those
//! are left to the background thread.
//!
//! Windows starts a thread for each console event, which runs the handler of this crate. That calls no
//! wakers either, because the next event waits for it. When no handle is left, it passes the event on,
//! and Windows does what it would have done. There `winddown` keeps times only.

mod deliver;
pub(crate) mod error;
mod exit;
mod flags;
pub(crate) mod install;
#[cfg(unix)]
mod native;
mod process;
pub(crate) mod settings;
#[cfg(all(unix, feature = "systemd"))]
mod systemd;
mod timekeeper;
#[cfg(unix)]
mod unix;
#[cfg(windows)]
mod windows;
