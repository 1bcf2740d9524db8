//! Coordinates graceful shutdown, on any async runtime or on none.
//!
#![cfg_attr(feature = "signals", doc = "```no_run")]
#![cfg_attr(not(feature = "signals"), doc = "```ignore")]
//! use futures_lite::future;
//! use winddown::Shutdown;
//!
//! # async fn serve() {}
//! let shutdown = Shutdown::install()?; // SIGINT and SIGTERM; once in a program
//!
//! // Serves until the first signal. The second would end the process with code 1.
//! future::block_on(future::or(shutdown.waiter(), serve()));
//! # Ok::<(), winddown::InstallError>(())
//! ```
//!
//! # The model
//!
//! A [`Shutdown`] is a queue of two slots for signals, real ones or those that the program sends
//! itself with [`request_shutdown`](Shutdown::request_shutdown). The first asks everybody to finish:
//! every [`Waiter`] is ready from then on. The second forces: it ends the process at once. A third is
//! refused. Nothing is ever taken out of the queue, so it is the state: asking whether a shutdown was
//! requested is one atomic load, and the answer never changes back.
//!
//! [`Shutdown::install`] makes the one that listens to the operating system, once in a process.
//! [`Shutdown::new`] makes one that only the program drives, for a test, or for a server inside
//! another program; it never ends the process.
//!
//! Any part of a program may have a reason of its own to stop. [`trigger`](Shutdown::trigger) is for
//! those: it takes no slot, so that the first signal from outside still leaves the others their time.
//!
//! # Guarantees
//!
//! Each has tests that carry its label.
//!
//! - **G1** No lost wake-up: a waiter made before, during or after the request completes, on every
//!   runtime.
//! - **G2** When `request_shutdown` has returned `true`, `is_requested` is true and `cause` is
//!   `Some`, on every thread.
//! - **G3** At most two sends are ever accepted; who fills the second slot owns the force.
//! - **G4** The second signal ends the process with the exit code even if every executor thread is
//!   blocked, main is already inside `exit`, a waker hangs or stdout is blocked. On Unix, that is;
//!   see Limitations.
//! - **G5** No foreign code (a waker) runs under one of our locks; one that panics, drops or polls
//!   or clones waiters, or requests shutdown again keeps no other waiter asleep.
//! - **G6** Installing twice is an `Err` that changes nothing; a failed install leaves nothing
//!   registered and can be retried.
//! - **G7** Dropping a handle never starts a shutdown, and Ctrl-C is never dead: when every handle
//!   and waiter is gone, a signal does what it would have done unhandled.
//! - **G10** A waiter's re-poll takes no lock and allocates nothing; dropped waiters leave no memory
//!   behind.
//! - **G11** `#![forbid(unsafe_code)]`.
//!
//! # Limitations
//!
//! - The kernel merges pending signals of the same number. Two SIGINTs sent before the process ran
//!   at all may arrive as one; a SIGINT and a SIGTERM are always two.
//! - Two signals of the same number that two threads handle in the same instant may both be taken
//!   for the first. The thread `winddown` then forces when it reads the second; if a waker hangs on
//!   that very thread, it takes a third.
//! - Handlers stay registered until the process ends. Whoever sets another handler for the same
//!   signal later, without chaining to ours, takes it from us.
//! - After `fork` without `exec`, the child has the handlers but not the thread that reads.
//! - On Windows, Ctrl-C is the only signal, and the thread `winddown` is what forces: a waker that
//!   hangs can keep it from doing so.
//! - As PID 1, the kernel knows no default action. Once every handle is gone, a signal ends the
//!   process with code 128 + n there.
//!
//! # Features
//!
//! - `signals` (default): [`Shutdown::install`], with async-signal, async-io and signal-hook.
//!   Without it, everything else builds wherever std does.
#![forbid(unsafe_code)]
#![cfg_attr(docsrs, feature(doc_cfg))]

mod adapt;
mod cause;
mod deadline;
#[cfg(feature = "signals")]
mod exit;
mod guard;
mod policy;
#[cfg(any(feature = "futures-io", feature = "tokio-io"))]
mod seal;
mod shutdown;
#[cfg(feature = "signals")]
mod signals;
mod sites;
mod stage;
mod state;
mod sync;
#[cfg(all(unix, feature = "systemd"))]
mod systemd;
mod task;
mod trace;
mod waiter;
mod wakers;

#[cfg(feature = "signals")]
#[cfg_attr(docsrs, doc(cfg(feature = "signals")))]
pub use async_signal::Signal;

#[cfg(any(feature = "futures-io", feature = "tokio-io"))]
pub use adapt::SealOnShutdown;
pub use adapt::{
    AbortOnForce, CancelOnShutdown, EndOnShutdown, LimitOnShutdown, OnShutdown, ShutdownExt,
    StopOnShutdown,
};
pub use cause::Cause;
pub use guard::{Drain, Guard, Progress, Straggler, Stragglers};
pub use policy::ForcePolicy;
#[cfg(feature = "signals")]
pub use shutdown::request_shutdown;
pub use shutdown::{Builder, Shutdown};
#[cfg(feature = "signals")]
pub use signals::InstallError;
pub use stage::Stage;
pub use task::{Critical, Track};
pub use waiter::{Reached, Waiter};

#[cfg(all(doctest, feature = "signals"))]
#[doc = include_str!("../README.md")]
struct Readme;
