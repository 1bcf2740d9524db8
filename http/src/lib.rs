//! A server for HTTP/1 and HTTP/2 that loses no request when it stops, but for [what remains](#what-remains),
//! on any async runtime; and a layer of tower for the servers of others.
//!
//! It is the part of [winddown](winddown) that knows HTTP. The HTTP itself is hyper's.
//!
#![cfg_attr(feature = "tokio", doc = "```no_run")]
#![cfg_attr(not(feature = "tokio"), doc = "```ignore")]
//! use std::error::Error;
//! use std::process::ExitCode;
//! use std::time::Duration;
//! use axum::{Router, routing::get};
//! use tokio::net::TcpListener;
//! use winddown::Shutdown;
//! use winddown_http::{GuardLayer, Server, TokioIncoming};
//!
//! #[tokio::main]
//! async fn main() -> ExitCode {
//!     let Err(error) = run().await else {
//!         return ExitCode::SUCCESS;
//!     };
//!     // Printed here: what `main` returns is printed when the runtime is gone,
//!     // and tokio's waits for threads that block.
//!     eprintln!("error: {error}");
//!     ExitCode::FAILURE
//! }
//!
//! async fn run() -> Result<(), Box<dyn Error>> {
//!     let shutdown = Shutdown::builder()
//!         .grace_period(Duration::from_secs(25))
//!         .force_at_deadline() // whatever the program does, and
//!         .abort_timeout(Duration::from_secs(1)) // a second later: to say why
//!         .install()?;
//!     let app = Router::new()
//!         .route("/", get(async || "hello"))
//!         .layer(GuardLayer::new(&shutdown, "request"));
//!     let listener = TcpListener::bind("127.0.0.1:8000").await?;
//!     let incoming = TokioIncoming::new(listener).refuse_on_shutdown(&shutdown)?;
//!
//!     // Until a signal, and then until the last answer is sent.
//!     Server::tokio(&shutdown).serve(incoming, app).await?;
//!     // And until tasks that hold guards beyond their requests have ended.
//!     shutdown.drained().await?;
//!     shutdown.result()?; // an error if a task has failed
//!     Ok(())
//! }
//! ```
//!
//! # What it serves
//!
//! [`Server::serve`] takes a stream of connections and a service.
//!
//! | you have | pass |
//! |---|---|
//! | an axum app | its `Router` |
//! | tonic's services | their `Routes`, by `Routes::new(..).add_service(..).prepare()`; with a guard for each call `guards.layer(routes)`, of a [`GuardLayer`] and tower's `Layer` |
//! | any tower service of `Request<RequestBody>` | the service |
//! | a function | `hyper::service::service_fn`, or tower's |
//! | tokio's TCP or Unix listener | `TokioIncoming`, with the feature `tokio` |
//! | smol's TCP or Unix listener | `SmolIncoming`, with the feature `smol` |
//! | another listener | any `Stream` of `io::Result` of hyper's [`Read`] and [`Write`]; a `TcpListener` itself is none |
//! | TLS, or the address of the client | [`Server::serve_with`] |
//! | another runtime | [`Server::new`], with hyper's [`Executor`] and [`Timer`] |
//!
//! The request's body is a [`RequestBody`] in place of hyper's `Incoming`, which it can be
//! [turned into](RequestBody::into_incoming).
//!
//! # The course of a shutdown
//!
//! 1. **Requested**, or what it is a [phase](winddown::Shutdown::phase) of. From now on HTTP/1 answers say
//!    `connection: close`. If there is a [lame duck](winddown::Builder::lame_duck), the server accepts all
//!    the same.
//! 2. **Stopping.** With [`refuse_on_shutdown`](TokioIncoming#method.refuse_on_shutdown), on Linux, the
//!    kernel refuses new connections. The server takes those that the kernel has accepted, and closes the
//!    listener. Connections of HTTP/2 that have had a request get a GOAWAY, and go on with the requests that
//!    cross it.
//! 3. **Told**, the [`pause`](Server::pause) later, by a [phase](winddown::Shutdown::phase). The other
//!    connections of HTTP/2 get a GOAWAY. HTTP/1 connections without a request are closed; those that answer one
//!    end by its `connection: close`, or if its head had left before the shutdown, when they have been silent for
//!    the pause. A request whose head has begun to arrive may still arrive.
//! 4. **Drained.** The last connection has ended, and `serve` returns `Ok`. Or it returns a [`ServeError`]
//!    with the [`DrainError`](winddown::DrainError) of the end of the grace period, or of the force.
//!
//! A client that does nothing ends sooner:
//!
//! | the client | its connection ends |
//! |---|---|
//! | has sent nothing | when it is told |
//! | sends half a request head | a [`client_timeout`](Server::client_timeout) after its first byte; on HTTP/2, after it was told |
//! | sends half a TLS handshake | a `client_timeout` after its handshake began |
//! | does not finish a request body | the handler has an error, a `client_timeout` after the last piece |
//! | sends HTTP/2's preface alone, answers no PING, or floods the server with frames | a `client_timeout` after it was told and had its answers; four of them at most, if it goes on to send |
//! | sends its request body slowly | when it is finished, or at the end of the grace period |
//! | answers no PING, and on HTTP/2 always has a request | at the end of the grace period |
//! | reads its answer slowly | when it has all, or at the end of the grace period; on HTTP/2, see [below](#what-remains) |
//!
//! On HTTP/2 the time of a request body begins anew while the server may be what keeps the client from sending:
//! while a handler leaves another upload of the connection unread, or the client an answer, and on a connection that
//! has had an [`into_incoming`](RequestBody::into_incoming). Then it ends with the grace period at the latest.
//!
//! But for the last three and for such uploads, the drain ends within a few seconds, four `client_timeout`s at most. It
//! ends without an error if the grace period is longer than that; in a shorter one, a client that goes on to send may
//! still be open at its end.
//!
//! # Before other parts
//!
//! A server on a [phase](winddown::Shutdown::phase) ends before the phases that come after it. A request
//! that hangs would take their time too, so give the phase a limit: longer than the pause and the
//! `client_timeout` together, and shorter than the grace period. Then the later phases are asked in time, while
//! the server goes on until the grace period is over.
//!
#![cfg_attr(feature = "tokio", doc = "```")]
#![cfg_attr(not(feature = "tokio"), doc = "```ignore")]
//! use std::time::Duration;
//! use winddown::Shutdown;
//! use winddown_http::{GuardLayer, Server};
//!
//! let shutdown = Shutdown::new();
//! let limit = Duration::from_secs(15);
//! let http = shutdown.phase("http").time_limit(limit).build();
//! let storage = shutdown.phase("storage").after(&http).build();
//!
//! let server = Server::tokio(&http);
//! let layer = GuardLayer::new(&http, "request");
//! # let _ = (storage, server, layer);
//! ```
//!
//! # What remains
//!
//! - A TCP handshake that takes longer than 50 ms, and is under way when the server stops, may end after the
//!   listener has closed. The kernel resets it. A listener that a service manager holds has no such moment.
//! - Without [`refuse_on_shutdown`](TokioIncoming#method.refuse_on_shutdown), and where [`refuse_new`] has no
//!   effect, the kernel also resets a connection whose handshake ends between the last look at the queue and
//!   the close. These are next to each other, but the thread may lose the processor there. See the README
//!   for how often that is.
//! - At [`max_connections`](Server::max_connections), and without a free descriptor, the kernel resets what is
//!   still in the queue when the time is over in which other connections make room. `serve` returns an error
//!   then.
//! - The kernel also resets a client of a listener with `TCP_DEFER_ACCEPT` that has sent nothing yet, since it
//!   is not in the queue; and the rest of a queue of more than 4,096, if `net.core.somaxconn` permits one.
//! - A client that keeps its connection alive, and sends nothing within the pause, may send a request at
//!   the moment when the connection is closed. Many clients repeat such a request if it is idempotent, as
//!   HTTP/1.1 has it; node's `http.Agent` and `fetch` do not, and aiohttp not always. Of 48 of them that
//!   pause for up to a second between two requests, in 20 stops, 11 and 39 requests failed, as many as with
//!   other servers. In a lame duck that is longer than such a pause each hears of the stop by an answer; there
//!   none failed. On HTTP/2 such a request is answered.
//! - Clients of HTTP/2 may fail requests by themselves when the GOAWAY comes: Go's net/http, and so Traefik,
//!   node, tonic's channels and hyper-util's client fail some that they have not sent, and Python's h2, and so
//!   httpx, and Java's `HttpClient` all that are in flight. They do so with every server. A lame duck in which a load balancer turns
//!   elsewhere avoids it, and so does HTTP/1.
//! - The end of an answer over HTTP/2 may wait in the kernel's buffer when the connection is over. The server
//!   keeps the connection for a `client_timeout`, and once more for each 256 KiB that it has written since the client
//!   has sent anything, but for seven eighths of the grace period at most: a client may have read all, and be
//!   quiet. Or for three `client_timeout`s at most, as long as the client sends its WINDOW_UPDATEs, or the rest
//!   of an upload that was answered early. One that answers the PING of the stop only behind such an upload, and
//!   takes longer than a `client_timeout` for it, may be reset.
//! - hyper takes no further request from a connection after an answer with `connection: close`. Requests
//!   that a client has pipelined behind it are not answered, as HTTP/1.1 has it. If they are more than hyper
//!   reads ahead, the kernel finds them unread at the close and resets the connection, and a client that
//!   reads slowly may lose the rest of that answer.
//! - A client that closes its side of the connection with its request gets no answer most of the time, in a
//!   running server too: hyper takes it that the client has gone. [`Server::http1`] can set hyper's
//!   `half_close(true)`.
//! - If a client sends the beginning of its next request together with a request, the server does not know
//!   that a head has begun, because it is in hyper's buffer. The client has the pause for the rest, and in a
//!   running server the `idle_timeout`.
//! - If a service drops a body that has not arrived as a whole, hyper closes the connection after the answer,
//!   in a running server too. A client that still sends is reset, and may lose the answer. So read bodies to
//!   their end.
//! - If a service answers first and goes on to read the body, the server takes the rest for a request head
//!   that has begun, and waits one `client_timeout` for its end. Likewise if a client sends an empty line
//!   between two requests.
//! - When a websocket over HTTP/2 has ended, nothing tells the server. From then on its connection has
//!   neither the `idle_timeout` nor the `client_timeout`. Nor has one whose CONNECT was answered by a success
//!   without a body, though no task took the tunnel.
//! - When the grace period is over, a connection that was upgraded is not dropped. The task that has it
//!   is the program's.
//!
//! # What ends by itself, and what has to be ended
//!
//! An answer that never ends holds the drain until the grace period is over. [`StreamingExt::end_with`]
//! ends it at the shutdown with a last item: an event of server-sent events, or the status
//! `unavailable` of gRPC.
//!
//! A websocket belongs to the task of its handler. The connection keeps its guard until that task drops
//! the websocket. With the [`RequestGuard`] of a [`GuardLayer`] the name of the request is in the report too,
//! and the task has a waiter. Its route takes `any` method: on HTTP/2, which browsers speak over TLS, they open a
//! websocket by CONNECT.
//!
//! ```
//! use std::time::Duration;
//! use axum::Extension;
//! use axum::extract::ws::{CloseFrame, Message, WebSocket, WebSocketUpgrade};
//! use axum::extract::ws::close_code;
//! use axum::response::Response;
//! use tokio::time::timeout;
//! use winddown::ShutdownExt;
//! use winddown_http::RequestGuard;
//!
//! async fn upgrade(
//!     Extension(guard): Extension<RequestGuard>,
//!     upgrade: WebSocketUpgrade,
//! ) -> Response {
//!     upgrade.on_upgrade(|socket| talk(socket, guard))
//! }
//!
//! async fn talk(mut socket: WebSocket, guard: RequestGuard) {
//!     let mut stop = guard.waiter();
//!     while let Some(received) =
//!         socket.recv().cancel_on_shutdown(&mut stop).await
//!     {
//!         match received {
//!             // It is answered by itself, and the next `recv` returns `None`.
//!             Some(Ok(Message::Close(_))) => continue,
//!             Some(Ok(message)) => {
//!                 // A client that reads no more must not hold up the stop.
//!                 let sent = socket.send(message);
//!                 let sent = sent.cancel_on_shutdown(&mut stop).await;
//!                 if sent.is_some_and(|sent| sent.is_err()) {
//!                     return;
//!                 }
//!             }
//!             _ => return, // the client has gone
//!         }
//!     }
//!     let close = CloseFrame {
//!         code: close_code::AWAY, // 1001
//!         reason: "restarting".into(),
//!     };
//!     // Until the client's close, which may never come.
//!     let farewell = async {
//!         let _ = socket.send(Message::Close(Some(close))).await;
//!         while let Some(Ok(_)) = socket.recv().await {}
//!     };
//!     let _ = timeout(Duration::from_secs(5), farewell).await;
//! }
//! ```
//!
//! tonic's health service says `NOT_SERVING` during the lame duck, and ends the calls that watch it, by:
//!
//! ```
//! use tonic_health::ServingStatus;
//! use tonic_health::server::HealthReporter;
//! use winddown::Shutdown;
//!
//! async fn report(mut reporter: HealthReporter, shutdown: Shutdown) {
//!     shutdown.requested().await;
//!     let status = ServingStatus::NotServing;
//!     reporter.set_service_status("", status).await;
//!     shutdown.waiter().await;
//!     reporter.clear_service_status("").await;
//! }
//! ```
//!
//! # In the servers of others
//!
//! [`GuardLayer`] works in any server that takes a tower service. What such a server itself loses, the
//! layer can't save:
//!
//! - `axum::serve`, tonic's `serve_with_shutdown`, warp's `graceful` and hyper-util's `GracefulShutdown`
//!   stop accepting and tell all connections at the same moment. Connections in the listen queue are
//!   reset; tonic's listener stays open until its last connection has ended. One that was just accepted, whose request was not read, is closed. Likewise one that is
//!   kept alive, when its next request has arrived and was not read. Two lines help: the kernel refuses, and
//!   the server is told half a second later, so that it reads what has come first.
//! - None of them bounds a client that sends half a request head, or HTTP/2's preface and then nothing, or
//!   answers no PING: their future does not return, though there is no work. tonic has no deadline
//!   for it either; wrap it in [`until_deadline`](winddown::ShutdownExt::until_deadline).
//! - They don't wait for upgraded connections, such as websockets. With a `RequestGuard` in its task, the
//!   drain of the shutdown does.
//!
//! ```
//! use std::time::Duration;
//! use axum::Router;
//! use tokio::net::TcpListener;
//! use winddown::{Shutdown, ShutdownExt};
//! use winddown_http::{GuardLayer, refuse_on_shutdown};
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let shutdown = Shutdown::new();
//! let app = Router::new().layer(GuardLayer::new(&shutdown, "request"));
//! let listener = TcpListener::bind("127.0.0.1:0").await?;
//! let _refusing = refuse_on_shutdown(&listener, &shutdown)?;
//! let pause = Duration::from_millis(500);
//! let told = shutdown.phase("http").delay(pause).build().waiter();
//! # shutdown.request_shutdown();
//! axum::serve(listener, app)
//!     .with_graceful_shutdown(told)
//!     .into_future()
//!     .until_deadline(shutdown.waiter())
//!     .await
//!     .transpose()?;
//! shutdown.drained().await?;
//! # Ok(())
//! # }
//! ```
//!
//! The layer has the answers say `connection: close` meanwhile. The README has the numbers.
//!
//! # Features
//!
//! - `tokio`: `Server::tokio` and `TokioIncoming`.
//! - `smol`: `Server::smol`, `SmolIncoming` and `SmolExecutor`.
//!
//! [`Executor`]: hyper::rt::Executor
//! [`Read`]: hyper::rt::Read
//! [`Timer`]: hyper::rt::Timer
//! [`Write`]: hyper::rt::Write
#![forbid(unsafe_code)]
#![cfg_attr(docsrs, feature(doc_cfg))]

mod accept;
mod answers;
mod body;
mod common;
mod connection;
mod driver;
mod error;
mod hold;
mod incoming;
mod io;
mod layer;
mod lock;
mod monitor;
mod protocol;
mod refuse;
mod request_kind;
mod rt;
mod server;
mod service;
mod slots;
mod timer;
mod unwind;
mod uploads;

pub use body::{Chunk, RequestBody, RequestBodyError, ResponseBody};
pub use error::ServeError;
pub use hold::{EndWith, Hold, StreamingExt};
pub use incoming::Incoming;
pub use layer::{GuardFuture, GuardLayer, GuardService, RequestGuard};
pub use refuse::{refuse_new, refuse_on_shutdown};
#[cfg(feature = "smol")]
pub use rt::smol::{SmolExecutor, SmolIncoming};
#[cfg(feature = "tokio")]
pub use rt::tokio::TokioIncoming;
pub use server::{ConnectionTask, Server};
pub use service::{AnswerFuture, HttpService, Hyper, Tower, TowerFuture};

#[cfg(all(doctest, feature = "tokio"))]
#[doc = include_str!("../README.md")]
struct Readme;
