//! Coordinates graceful shutdown, on any async runtime or on none.
//!
#![cfg_attr(feature = "signals", doc = "```no_run")]
#![cfg_attr(not(feature = "signals"), doc = "```ignore")]
//! use std::time::Duration;
//! use winddown::{Shutdown, Waiter};
//!
//! # fn spawn(_: impl Future) {}
//! # async fn work_until(_: Waiter) {}
//! # async fn example() -> Result<(), Box<dyn std::error::Error>> {
//! let shutdown = Shutdown::install()?; // SIGINT and SIGTERM; once in a program
//!
//! // Work in flight, one for each connection, request or job. Who takes a waiter is told to finish.
//! spawn(shutdown.track(work_until(shutdown.waiter())));
//!
//! shutdown.waiter().await; // until the first signal; the second ends the process with code 1
//! shutdown.drain(Duration::from_secs(10)).await?; // or an error with the lines that are not done
//! # Ok(())
//! # }
//! ```
//!
//! In threads, it is `wait_blocking` and `drain_blocking`.
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
//! # What to use for what
//!
//! Everything takes a [`Waiter`], which [`Shutdown::waiter`] hands out and anybody may clone; or a
//! `&mut` to one, which then does for a whole loop.
//!
//! | you have | use | at shutdown |
//! |---|---|---|
//! | a server that takes a future | `shutdown.waiter()` | the server stops |
//! | a future that may be dropped | [`cancel_on_shutdown`](ShutdownExt::cancel_on_shutdown) | it is dropped; `None` |
//! | a connection that can end well | [`on_shutdown`](ShutdownExt::on_shutdown) | it is told, and finishes |
//! | work that may go on | [`abort_on_force`](ShutdownExt::abort_on_force) | nothing; dropped by the force |
//! | work that may go on for a while | [`limit_on_shutdown`](ShutdownExt::limit_on_shutdown) | dropped when its time is up |
//! | a stream, or an accept loop | [`end_on_shutdown`](ShutdownExt::end_on_shutdown) | it ends |
//! | an iterator, in a thread | [`stop_on_shutdown`](ShutdownExt::stop_on_shutdown) | it ends before the next item |
//! | a reader | `seal_on_shutdown` | the end of the file; writing goes on |
//! | a loop | [`is_requested`](Waiter::is_requested) | true |
//! | a thread that only waits | [`wait_blocking`](Waiter::wait_blocking) | it goes on |
//! | work that must be finished | [`guard`](Shutdown::guard), [`track`](Shutdown::track) | [`drain`](Shutdown::drain) waits for it |
//! | a task that must not end | [`critical`](Shutdown::critical) | nothing; its end begins the shutdown |
//! | a part that may end alone | [`child`](Shutdown::child) | it is asked to finish too |
//!
//! # The course of a shutdown
//!
//! ```
//! # use std::time::Duration;
//! # use winddown::{Shutdown, Stragglers};
//! # async fn accept_until_shutdown(_: &Shutdown) {}
//! # async fn save() -> std::io::Result<()> { Ok(()) }
//! # async fn example() -> Result<(), Stragglers> {
//! let shutdown = Shutdown::builder()
//!     .lame_duck(Duration::from_secs(5)) // load balancers notice; not for Ctrl-C
//!     .grace_period(Duration::from_secs(30)) // for all of it
//!     .build(); // or install()?
//!
//! // Each connection, request or job holds a guard.
//! accept_until_shutdown(&shutdown).await;
//!
//! // The last guard, or the end of the grace: then the lines on which guards are still held.
//! shutdown.drained().await?;
//! # Ok(())
//! # }
//! ```
//!
//! There are no hooks to register for what comes then. It is plain code, in the order in which it
//! stands, which is the reverse of how the program started; nothing has to be shared with a closure,
//! and each step has what is left of the time:
//!
#![cfg_attr(feature = "signals", doc = "```")]
// Without a timer nobody would wake the step whose time is up.
#![cfg_attr(not(feature = "signals"), doc = "```no_run")]
//! use std::time::Duration;
//! use futures_lite::{FutureExt, future};
//! use winddown::{Shutdown, ShutdownExt};
//!
//! # async fn flush_queue() -> Result<(), std::io::Error> { Ok(()) }
//! # async fn close_database() -> Result<(), std::io::Error> { future::pending().await }
//! /// Runs one step, and says so if it fails, panics or takes too long; the others run all the same.
//! async fn step<E: ToString>(
//!     shutdown: &Shutdown,
//!     name: &str,
//!     work: impl Future<Output = Result<(), E>>,
//! ) -> bool {
//!     let time = shutdown.remaining().unwrap_or(Duration::MAX);
//!     let work = std::panic::AssertUnwindSafe(work).catch_unwind();
//!     let fate = match work.limit_on_shutdown(shutdown.waiter(), time).await {
//!         Some(Ok(Ok(()))) => return true,
//!         Some(Ok(Err(error))) => error.to_string(),
//!         Some(Err(_)) => "panicked".to_string(),
//!         None => "took too long".to_string(),
//!     };
//!     eprintln!("{name}: {fate}");
//!     false
//! }
//!
//! # future::block_on(async {
//! # let shutdown = Shutdown::builder().grace_period(Duration::from_millis(20)).build();
//! # shutdown.trigger("enough");
//! let flushed = step(&shutdown, "queue", flush_queue()).await;
//! let closed = step(&shutdown, "database", close_database()).await;
//! # assert!(flushed && !closed);
//! # });
//! ```
//!
//! How the process ends is the last line of `main`: its own exit code, or that of the
//! [`Cause`], or [`Cause::exit`], which dies of the signal as shells and supervisors expect.
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
//! - **G4** The second signal ends the process with the exit code within 50 ms even if every
//!   executor thread is blocked, main is already inside `exit`, a waker hangs or stdout is blocked.
//!   With [`abort_timeout`](Builder::abort_timeout) the third does, or the end of their time.
//! - **G5** No foreign code (a waker) runs under one of our locks; one that panics, drops or polls
//!   or clones waiters, or requests shutdown again keeps no other waiter asleep.
//! - **G6** Installing twice is an `Err` that changes nothing; a failed install leaves nothing
//!   registered and can be retried.
//! - **G7** Dropping a handle never starts a shutdown, and Ctrl-C is never dead: when every handle,
//!   waiter and guard is gone, a signal does what the system does by default. After a first signal
//!   the next is the second all the same, and G4 holds, or the [`ForcePolicy`].
//! - **G8** A drain returns `Ok` only after every guard was dropped, and what was written before each
//!   drop is visible after.
//! - **G9** A drain that runs out of time says how many guards are left and on which lines they were
//!   taken.
//! - **G10** A waiter's re-poll takes no lock and allocates nothing; dropped waiters and guards leave
//!   no memory behind. (The room of waiters that were dropped is used again, and given back when none
//!   is left.)
//! - **G11** `#![forbid(unsafe_code)]`.
//!
//! # Limitations
//!
//! - The kernel merges pending signals of the same number. Two SIGINTs sent before the process ran
//!   at all may arrive as one; a SIGINT and a SIGTERM are always two.
//! - Two signals that two threads handle in the same instant may both be taken for the first. The
//!   thread `winddown` then forces when it reads the second; if a waker hangs on that very thread, it
//!   takes a third.
//! - A waker that hangs, as opposed to one that panics, keeps those behind it asleep. The force does
//!   not wait for it.
//! - Handlers stay registered until the process ends. Whoever sets another handler for the same
//!   signal later, without chaining to ours, takes it from us.
//! - A signal that was ignored when the process started, as a shell does with SIGINT for what it runs
//!   in the background, is handled all the same. Leave it out of [`signals`](Builder::signals) if it
//!   is to be ignored.
//! - After `fork` without `exec`, the child has the handlers but not the thread that reads: a signal
//!   that it is sent is taken for one of the parent's. Set such a child's handlers back first.
//! - Should descriptors run out in the middle of `install`, after it has made sure that there are
//!   enough, a handler stays that does what the system does by default. Should threads run out then, async-io
//!   panics; at the very limit they may, because a thread that has ended still counts for an instant.
//! - With a [`debounce`](Builder::debounce) or [`abort_timeout`](Builder::abort_timeout), a thread of ours
//!   has to run between the first signal and the force.
//! - On Windows, console events stand for signals: Ctrl-C and Ctrl-Break for [`Signal::INT`]; a closed
//!   console, a logoff and the end of the system for [`Signal::TERM`]. After one of the last three,
//!   Windows ends the process in some seconds (5 for a closed console), drained or not, and no other
//!   event arrives. A service is told of every user's logoff. There are no other signals.
//! - As PID 1, the kernel knows no default action. Once every handle is gone, a signal ends the
//!   process with code 128 + n there.
//! - With the feature `systemd`, systemd is reached at a socket with a path, as its own is, and not at one
//!   with an abstract name (`@...`).
//! - Without the feature `signals` there is no timer: deadlines are looked at when somebody polls.
//! - Where std has no clock, as on `wasm32-unknown-unknown`, whatever asks for the time panics:
//!   a [`grace`](Builder::grace), a [`debounce`](Builder::debounce), and timeouts other than zero and
//!   `Duration::MAX`.
//!
//! # Features
//!
//! - `signals` (default): [`Shutdown::install`] and timers, with async-signal, async-io and
//!   signal-hook, and on Windows winddown-console. Without it, the rest builds wherever std does.
//! - `futures-io`, `tokio-io`: `seal_on_shutdown` for the I/O traits of the one or the other.
//! - `tracing`: an event for each stage, with cause, elapsed time and guards in flight, and one for
//!   each drain that ends, with what it waited for in vain.
//! - `systemd`: tells systemd `STOPPING=1` with the cause as status, and asks for 15 s more
//!   (`EXTEND_TIMEOUT_USEC`) as guards are dropped, once a second at the most.
#![forbid(unsafe_code)]
#![cfg_attr(docsrs, feature(doc_cfg))]

mod builder;
mod callback;
mod drain;
mod drop_guard;
mod ext;
mod guard;
mod model;
mod node;
#[cfg(feature = "signals")]
mod os;
mod phase;
mod shutdown;
mod task;
mod util;
mod waiter;

pub use builder::Builder;
pub use callback::Callback;
pub use drain::{Drain, DrainUntil, Progress};
pub use drop_guard::DropGuard;
pub use ext::ShutdownExt;
pub use ext::future::{
    AbortOnForce, CancelOnShutdown, LimitOnShutdown, LimitOnShutdownWith, UntilDeadline,
};
#[cfg(any(feature = "futures-io", feature = "tokio-io"))]
pub use ext::io::SealOnShutdown;
pub use ext::iter::StopOnShutdown;
pub use ext::on_shutdown::OnShutdown;
pub use ext::stream::{EndOnShutdown, FinishOnShutdown};
pub use guard::Guard;
pub use model::cause::Cause;
pub use model::drain_error::{DrainError, DrainErrorKind};
pub use model::failure::{Failure, Outcome};
pub use model::policy::ForcePolicy;
pub use model::report::{Report, ReportLine};
pub use model::signal::Signal;
pub use model::stage::Stage;
#[cfg(feature = "signals")]
pub use os::error::InstallError;
pub use phase::PhaseBuilder;
pub use shutdown::Shutdown;
#[cfg(feature = "signals")]
pub use shutdown::request_shutdown;
pub use task::{Critical, Supervise, Track};
pub use waiter::{Reached, Waiter};

#[cfg(all(doctest, feature = "signals"))]
#[doc = include_str!("../README.md")]
struct Readme;
