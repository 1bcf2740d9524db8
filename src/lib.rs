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
//! // SIGINT and SIGTERM; once in a program.
//! let shutdown = Shutdown::builder()
//!     .grace_period(Duration::from_secs(30))
//!     .force_at_deadline()
//!     .install()?;
//!
//! // Work in flight: one for each connection, request or job.
//! // The waiter tells it to stop.
//! spawn(shutdown.track(work_until(shutdown.waiter())));
//!
//! // Until the first signal. The second, or the end of the grace period,
//! // ends the process with code 1, whatever it does.
//! shutdown.waiter().await;
//! // Until all work is done; or for 25 s, and then there is time left to print
//! // the lines that are not done. Print it here: an error that `main` returns is
//! // printed when the runtime is gone, and tokio's waits for stuck threads.
//! if let Err(late) = shutdown.drain(Duration::from_secs(25)).await {
//!     eprintln!("{late}");
//!     std::process::exit(1);
//! }
//! # Ok(())
//! # }
//! ```
//!
//! Threads use [`wait_blocking`](Waiter::wait_blocking) and
//! [`drained_blocking`](Shutdown::drained_blocking). The repository has examples, and recipes for axum, tonic, actix
//! and other frameworks, job queues, command-line tools and tests. The page [`guarantees`] has what is promised, the page
//! [`limitations`] what is not.
//!
//! # The model
//!
//! A [`Shutdown`] is a queue of two slots for signals, real ones or those that the program sends
//! itself with [`request_shutdown`](Shutdown::request_shutdown). The first requests the shutdown: every
//! [`Waiter`] is ready from then on. The second forces it: it ends the process at once. A third is
//! refused. Nothing is ever taken out of the queue, so it is the state: asking whether a shutdown was
//! requested is one atomic load, and the answer never changes back.
//!
//! [`Shutdown::install`] makes the shutdown that listens to the operating system, once in a process.
//! [`Shutdown::new`] makes one that only the program drives, for a test, or for a server inside
//! another program; it never ends the process.
//!
//! A part of a program may have a reason of its own to stop. [`trigger`](Shutdown::trigger) is for such
//! reasons, and [`fail`](Shutdown::fail) for errors: they take no slot, so that the first signal from
//! outside still leaves work its time.
//!
//! The *force* is the second signal, or with [`force_at_deadline`](Builder::force_at_deadline) the end of the
//! grace period. The *whole* is the shutdown that is no part of another; its parts, which are
//! [children](Shutdown::child) and [phases](Shutdown::phase), are *told* when it is requested. A phase is
//! *asked* when its turn has come, and is *over* when its work is done.
//!
//! # What to use for what
//!
//! The methods of [`ShutdownExt`] take a [`Waiter`], which [`Shutdown::waiter`] hands out and which can be
//! cloned; or a `&mut` to one, which then does for a whole loop. (Where nothing waits, a `&` does: for
//! iterators, the force and the deadline.) Streams are those of futures-core: a
//! listener of tokio is one as
//! [`TokioIncoming`](https://docs.rs/winddown-http/latest/winddown_http/struct.TokioIncoming.html).
//!
//! | you have | use | at shutdown |
//! |---|---|---|
//! | a server that takes a future | `shutdown.waiter()` | the server stops |
//! | a server's own future | [`until_deadline`](ShutdownExt::until_deadline) | it runs on; dropped at the deadline |
//! | a listener | [`finish_on_shutdown`](ShutdownExt::finish_on_shutdown) | what is ready is given out, then it ends |
//! | a datagram socket | [`cancel_on_shutdown`](ShutdownExt::cancel_on_shutdown) for each `recv_from`, and then `try_recv_from` until there is nothing | what has arrived is read; what comes later is lost: nothing tells its senders |
//! | a queue of jobs | two loops, as in [`finish_on_shutdown`](ShutdownExt::finish_on_shutdown) | it is closed, and emptied |
//! | stages that channels join | the waiter for the source alone, a guard for each | the source ends, then stage after stage |
//! | another stream | [`end_on_shutdown`](ShutdownExt::end_on_shutdown) | it ends |
//! | a connection that can end well | [`on_shutdown`](ShutdownExt::on_shutdown) | it is told, and finishes |
//! | a future that may be dropped | [`cancel_on_shutdown`](ShutdownExt::cancel_on_shutdown) | it is dropped; `None` |
//! | work that may go on | [`abort_on_force`](ShutdownExt::abort_on_force) | nothing; dropped by the force |
//! | work that may go on for a while | [`limit_on_shutdown`](ShutdownExt::limit_on_shutdown) | dropped when its time is up |
//! | an iterator, in a thread | [`stop_on_shutdown`](ShutdownExt::stop_on_shutdown) | it ends before the next item |
//! | a reader | `seal_on_shutdown`, with the feature `futures-io` or `tokio-io` | the end of the file; writing goes on |
//! | a loop | [`is_stopping`](Waiter::is_stopping) | true |
//! | a readiness probe | [`is_requested`](Shutdown::is_requested) | true, also during the lame duck |
//! | an `accept` that blocks, in a thread | `set_nonblocking(true)`, and [`wait_blocking_timeout`](Waiter::wait_blocking_timeout) when there is none: see [below](#on-plain-threads) | true: the queue is emptied, and the loop ends |
//! | a `read` or `recv` that blocks, in a thread | its timeout, and [`is_stopping`](Waiter::is_stopping) after each; a signal may interrupt it: again on `Interrupted` | true: the loop ends |
//! | a thread that only waits | [`wait_blocking`](Waiter::wait_blocking) | it goes on |
//! | a function | [`call_on_shutdown`](Shutdown::call_on_shutdown) | it is called |
//! | work that must be finished | [`guard`](Shutdown::guard), [`track`](Shutdown::track); with a name in the report [`guard_named`](Shutdown::guard_named), [`track_named`](Shutdown::track_named) | [`drain`](Shutdown::drain) waits for it |
//! | a task that must not fail | [`supervise`](Shutdown::supervise), [`critical`](Shutdown::critical) | nothing; its failure begins the shutdown |
//! | a scope or a thread that must not end | [`drop_guard`](Shutdown::drop_guard) | nothing; its drop begins the shutdown |
//! | a part that may end alone, or a library's own task | [`child`](Shutdown::child), of the handle that its user gives it | it is told too, and waited for |
//! | a part that ends later | [`phase`](Shutdown::phase) | it is asked when its turn has come |
//!
//! # The course of a shutdown
//!
#![cfg_attr(feature = "signals", doc = "```")]
#![cfg_attr(not(feature = "signals"), doc = "```ignore")]
//! # use std::time::Duration;
//! # use winddown::Shutdown;
//! # async fn accept_until_shutdown(_: &Shutdown) {}
//! # async fn example() -> Result<(), Box<dyn std::error::Error>> {
//! let shutdown = Shutdown::builder()
//!     // Load balancers notice; not for Ctrl-C.
//!     .lame_duck(Duration::from_secs(5))
//!     // For all of it.
//!     .grace_period(Duration::from_secs(25))
//!     .install()?; // in a test `build()`, which listens to no signals
//!
//! // Each connection, request or job holds a guard.
//! accept_until_shutdown(&shutdown).await;
//!
//! // The last guard, or the end of the grace period: then an error with the
//! // lines on which guards are still held.
//! shutdown.drained().await?;
//! shutdown.result()?; // an error if a task has failed
//! # Ok(())
//! # }
//! ```
//!
//! Parts that end in an order are [phases](Shutdown::phase): each is asked when the ones before it hold
//! no guard any more. The cause, the deadline, the report and the force are those of the whole.
//!
//! ```
//! use std::time::Duration;
//! use winddown::Shutdown;
//!
//! let shutdown = Shutdown::new();
//! // Half a second after the listener has stopped.
//! let pause = Duration::from_millis(500);
//! let connections = shutdown.phase("connections").delay(pause).build();
//! let workers = shutdown
//!     .phase("workers")
//!     .after(&connections)
//!     .time_limit(Duration::from_secs(5))
//!     .build();
//! let storage = shutdown.phase("storage").after(&workers).build();
//! # let _ = storage;
//! ```
//!
//! # A server that loses nothing
//!
//! An accept loop of one's own has five parts. A stop without one of them loses connections or requests
//! whenever clients are busy. [winddown-http](https://docs.rs/winddown-http) has all of them, also for axum
//! and tonic. Its listeners are for any protocol: this program takes that of the feature `tokio`, beside
//! futures-lite, tokio, and hyper with `http1` and `server`.
//!
//! ```no_run
//! use std::error::Error;
//! use std::time::Duration;
//! use futures_lite::StreamExt;
//! use hyper::server::conn::http1::{Builder, Connection};
//! use hyper::service::service_fn;
//! use hyper::{Request, Response, body::Incoming, header};
//! use tokio::net::TcpListener;
//! use winddown::{Shutdown, ShutdownExt};
//! use winddown_http::TokioIncoming;
//!
//! # #[cfg(feature = "signals")]
//! async fn run(
//!     listener: TcpListener,
//!     shutdown: Shutdown,
//! ) -> Result<(), Box<dyn Error>> {
//!     // 1. The kernel refuses new connections (on Linux), and keeps those it has
//!     // accepted. Not for a listener that another process has too.
//!     let incoming = TokioIncoming::new(listener);
//!     let incoming = incoming.refuse_on_shutdown(&shutdown)?;
//!     // 2. Connections are told half a second later, so that those that were just
//!     // accepted can send their request. The guard is that of the loop.
//!     let pause = Duration::from_millis(500);
//!     let connections = shutdown.phase("connections").delay(pause).build();
//!     let accepting = connections.guard();
//!
//!     // 3. What the kernel has accepted is still given out. tokio's `poll_accept`
//!     // alone may not know of it yet; this stream asks the kernel.
//!     let mut incoming = incoming.finish_on_shutdown(shutdown.waiter());
//!     while let Some(accepted) = incoming.next().await {
//!         let stream = accepted?; // or a pause, without descriptors
//!         let (shutdown, stop) = (shutdown.clone(), connections.waiter());
//!         tokio::spawn(connections.track(async move {
//!             Builder::new()
//!                 .serve_connection(
//!                     stream,
//!                     service_fn(|request| answer(request, &shutdown)),
//!                 )
//!                 .on_shutdown(stop, Connection::graceful_shutdown)
//!                 .await
//!         }));
//!     }
//!     // 5. The listener closes, and only then the drain may end.
//!     drop(incoming);
//!     drop(accepting);
//!     shutdown.drained().await?;
//!     Ok(())
//! }
//!
//! async fn answer(
//!     _: Request<Incoming>,
//!     shutdown: &Shutdown,
//! ) -> hyper::Result<Response<String>> {
//!     let mut response = Response::new("hello".to_owned());
//!     // 4. A client that keeps its connection learns: this answer is the last.
//!     // Otherwise its next request may cross the close.
//!     if shutdown.is_requested() {
//!         let close = header::HeaderValue::from_static("close");
//!         response.headers_mut().insert(header::CONNECTION, close);
//!     }
//!     Ok(response)
//! }
//! ```
//!
//! On smol, the listener is `SmolIncoming`. Both give streams for hyper, whose `into_inner` is the runtime's
//! own: a proxy has `tokio::io::copy_bidirectional` of those. In another protocol than HTTP, the fourth part
//! is its own farewell once the phase is asked, or nothing.
//!
//! ## On plain threads
//!
//! The parts are the same. A connection is told when its `read` has a timeout; the example `threads` has
//! HTTP/1, and wakes the idle ones.
//!
//! ```no_run
//! use std::error::Error;
//! use std::io::{self, ErrorKind, Read, Write};
//! use std::net::{TcpListener, TcpStream};
//! use std::thread;
//! use std::time::Duration;
//! use winddown::{Shutdown, Waiter};
//! use winddown_http::refuse_on_shutdown;
//!
//! # #[cfg(all(feature = "signals", not(target_family = "wasm")))]
//! fn run(
//!     listener: TcpListener,
//!     shutdown: &Shutdown,
//! ) -> Result<(), Box<dyn Error>> {
//!     let refusing = refuse_on_shutdown(&listener, shutdown)?;
//!     let pause = Duration::from_millis(500);
//!     let connections = shutdown.phase("connections").delay(pause).build();
//!     let accepting = connections.guard();
//!     let waiter = shutdown.waiter();
//!     listener.set_nonblocking(true)?;
//!     let mut stopping = false;
//!     loop {
//!         match listener.accept() {
//!             Ok((stream, _)) => {
//!                 stream.set_nonblocking(false)?;
//!                 stream.set_read_timeout(Some(Duration::from_millis(100)))?;
//!                 let (guard, stop) = (connections.guard(), connections.waiter());
//!                 thread::spawn(move || {
//!                     let _guard = guard;
//!                     serve(stream, &stop)
//!                 });
//!             }
//!             Err(error) if error.kind() == ErrorKind::WouldBlock => {
//!                 if stopping {
//!                     break; // after a last look at the queue
//!                 }
//!                 let interval = Duration::from_millis(10);
//!                 stopping = waiter.wait_blocking_timeout(interval);
//!                 if stopping {
//!                     // Handshakes that have begun may end.
//!                     thread::sleep(Duration::from_millis(50));
//!                 }
//!             }
//!             Err(error) => return Err(error.into()), // or a pause
//!         }
//!     }
//!     drop((listener, refusing));
//!     drop(accepting);
//!     shutdown.drained_blocking()?;
//!     Ok(())
//! }
//!
//! /// A protocol in which each line is answered.
//! fn serve(mut stream: TcpStream, stop: &Waiter) -> io::Result<()> {
//!     let mut bytes = [0; 1024];
//!     loop {
//!         // Asked first: what has arrived before the stop is read once more.
//!         let stopping = stop.is_stopping();
//!         match stream.read(&mut bytes) {
//!             Ok(0) => return Ok(()), // the client has gone
//!             Ok(count) => stream.write_all(&bytes[..count])?,
//!             Err(error) => match error.kind() {
//!                 ErrorKind::WouldBlock | ErrorKind::TimedOut => {}
//!                 ErrorKind::Interrupted => continue, // by a signal
//!                 _ => return Err(error),
//!             },
//!         }
//!         if stopping {
//!             return Ok(());
//!         }
//!     }
//! }
//! ```
//!
//! # The end of the program
//!
//! What comes after the drain is plain code in `main`, in the order in which it stands: nothing has to
//! be shared with a closure. What must be done last of all, whatever became of the rest, comes between the
//! drain and the `?` for its result. It is no phase: a phase waits for what comes before it, and is never
//! asked if that hangs until the end of the grace period. How the process ends is its last line. That of a
//! service is [`result`](Shutdown::result), an error if a task has failed; that of a tool is [`Cause::exit`],
//! which dies of the signal, so that a shell stops its script too.
//!
//! ```
//! use std::error::Error;
//! use winddown::Shutdown;
//!
//! # #[cfg(not(target_family = "wasm"))]
//! fn end(shutdown: &Shutdown) -> Result<(), Box<dyn Error>> {
//!     let drained = shutdown.drained_blocking();
//!     flush(); // late work or not
//!     drained?; // what is not done
//!     shutdown.result()?; // what has failed
//!     Ok(())
//! }
//! # fn flush() {}
//! # #[cfg(not(target_family = "wasm"))] {
//! # let shutdown = Shutdown::new();
//! # shutdown.request_shutdown();
//! # end(&shutdown).unwrap();
//! # }
//! ```
//!
//! The force runs none of that, and no destructor: what a buffer has not written is gone. An
//! [`abort_timeout`](Builder::abort_timeout) leaves time to write it.
//!
//! # Features
//!
//! - `signals` (default): [`Shutdown::install`] and timers, with async-signal, async-io, signal-hook and
//!   nix, and on Windows winddown-console. Without it, the rest builds wherever std does. Signals are the
//!   program's, so a library takes a [`Waiter`] or a handle, and sets `default-features = false`. Its timers are
//!   then those of its runtime: see [`drain_until`](Shutdown::drain_until).
//! - `futures-io`, `tokio-io`: `seal_on_shutdown` for the I/O traits of the one or the other.
//! - `tracing`: events of the target `winddown`, with the field `elapsed` once a shutdown was requested;
//!   those of stages, phases and failed drains also with `in_flight`, and those of a phase and of its drains
//!   with its name as `phase`. At INFO each stage of the whole, with its `cause`, each phase that is asked,
//!   and each drain that ends well; at WARN a time limit of a phase that runs out, and a drain that ends
//!   with guards held or after panics; at ERROR the first failure of the whole. While the background thread
//!   has events, a thread of their own emits them: see [limitations](crate::limitations#threads-and-wakers).
//! - `systemd`: tells systemd `STOPPING=1` with the cause and the phases at work as status, and asks for
//!   15 s more (`EXTEND_TIMEOUT_USEC`) as guards are dropped, once a second at most.
#![forbid(unsafe_code)]
#![cfg_attr(docsrs, feature(doc_cfg))]

mod builder;
mod callback;
mod drain;
mod drop_guard;
mod ext;
#[cfg(doc)]
pub mod guarantees;
mod guard;
#[cfg(doc)]
pub mod limitations;
mod model;
mod node;
#[cfg(feature = "signals")]
mod os;
mod phase;
mod reached;
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
pub use reached::{Reached, WholeRequested};
pub use shutdown::Shutdown;
#[cfg(feature = "signals")]
pub use shutdown::request_shutdown;
pub use task::{Critical, Supervise, Track};
pub use waiter::Waiter;

#[cfg(all(doctest, feature = "signals"))]
#[doc = include_str!("../README.md")]
struct Readme;
