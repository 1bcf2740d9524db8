//! [`Server`]: settings, and the course of a server from the first connection to the last.

use std::error::Error;
use std::fmt;
use std::future::{self, Future};
use std::io;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::time::Duration;

use futures_lite::FutureExt;
use hyper::rt::bounds::Http2ServerConnExec;
use hyper::rt::{Executor, Read, Timer, Write};
use hyper::server::conn::{http1, http2};
use winddown::{Guard, Shutdown};

use crate::accept::accept;
use crate::body::ResponseBody;
use crate::common::{Common, Times};
use crate::connection::{Builders, Connection};
use crate::driver::drive;
use crate::error::ServeError;
use crate::incoming::Incoming;
use crate::io::Io;
use crate::monitor::Monitor;
use crate::service::{Adapter, AnswerFuture, HttpService};
use crate::slots::Slots;
use crate::timer::{SETTLE, SharedTimer};

/// The longest time, which no clock here is too short for: about 30 years.
const FOREVER: Duration = Duration::from_secs(1 << 30);

/// The task of a connection, as the [executor](Server::new) gets it.
pub type ConnectionTask = Pin<Box<dyn Future<Output = ()> + Send>>;

/// A server for HTTP/1 and HTTP/2: its settings, until [`serve`](Server::serve) runs it.
#[must_use = "a server does nothing until `serve`"]
pub struct Server<E> {
    shutdown: Shutdown,
    executor: E,
    timer: SharedTimer,
    builders: Builders<E>,
    name: &'static str,
    times: Times,
    max_connections: usize,
    /// Until `serve` has one of the connections' phase. `None` if all is drained.
    starting: Option<Guard>,
}

impl<E: Clone> Server<E> {
    /// Makes a server that stops with `shutdown`, for any runtime.
    ///
    /// `executor` runs the tasks of connections and of HTTP/2 streams. `timer` keeps all times but the one
    /// between the stop and the moment when connections are told: a thread of winddown keeps that one, unless the
    /// grace period shortens it. For tokio and smol, `Server::tokio` and `Server::smol` bring both.
    ///
    /// It holds a guard, so that a shutdown that comes before `serve` finds a listener whose queue is to be
    /// served. Make it before the shutdown can come, above all on a phase: one that is asked and holds no
    /// guard is over, and then the connections in the queue are reset.
    ///
    #[cfg_attr(feature = "tokio", doc = "```")]
    #[cfg_attr(not(feature = "tokio"), doc = "```ignore")]
    /// use hyper_util::rt::{TokioExecutor, TokioTimer};
    /// use winddown::Shutdown;
    /// use winddown_http::Server;
    ///
    /// let shutdown = Shutdown::new();
    /// let executor = TokioExecutor::new();
    /// let server = Server::new(&shutdown, executor, TokioTimer::new());
    /// # let _ = server;
    /// ```
    #[track_caller]
    pub fn new(
        shutdown: &Shutdown,
        executor: E,
        timer: impl Timer + Send + Sync + 'static,
    ) -> Self {
        let timer = SharedTimer::new(timer);
        let mut http1 = http1::Builder::new();
        // The driver of the connection bounds the time of a head.
        http1.timer(timer.clone()).header_read_timeout(None);
        let mut http2 = http2::Builder::new(executor.clone());
        http2
            .timer(timer.clone())
            // For websockets.
            .enable_connect_protocol();
        Self {
            shutdown: shutdown.clone(),
            executor,
            timer,
            builders: Builders { http1, http2 },
            name: "connections",
            times: Times {
                pause: Duration::from_millis(500),
                client: Duration::from_secs(5),
                idle: Duration::from_secs(75),
                latest: None,
            },
            max_connections: usize::MAX,
            starting: shutdown.guard_named("listener"),
        }
    }
}

impl<E> Server<E> {
    /// Sets the name of the phase that the connections belong to, for the report of a shutdown with
    /// several servers. Defaults to "connections".
    ///
    #[cfg_attr(feature = "tokio", doc = "```")]
    #[cfg_attr(not(feature = "tokio"), doc = "```ignore")]
    /// use winddown::Shutdown;
    /// use winddown_http::Server;
    ///
    /// let shutdown = Shutdown::new();
    /// let server = Server::tokio(&shutdown).name("admin");
    /// # let _ = server;
    /// ```
    pub fn name(mut self, name: &'static str) -> Self {
        self.name = name;
        self
    }

    /// Sets the time between the moment when the server stops and the one when connections are told to
    /// finish. Defaults to 500 ms.
    ///
    /// In this time a client whose connection was just accepted sends its first request. One that keeps
    /// its connection alive sends its next, and learns from `connection: close` that it was the last. On HTTP/2
    /// a GOAWAY says that, without a pause if there has been a request. A server without connections does not
    /// wait. The pause is at most a quarter of what is left of a
    /// [`grace_period`](winddown::Builder::grace_period).
    ///
    #[cfg_attr(feature = "tokio", doc = "```")]
    #[cfg_attr(not(feature = "tokio"), doc = "```ignore")]
    /// use std::time::Duration;
    /// use winddown::Shutdown;
    /// use winddown_http::Server;
    ///
    /// let shutdown = Shutdown::new();
    /// let server = Server::tokio(&shutdown).pause(Duration::from_secs(1));
    /// # let _ = server;
    /// ```
    pub fn pause(mut self, time: Duration) -> Self {
        self.times.pause = time.min(FOREVER);
        self
    }

    /// Sets how long the server waits for a client. Defaults to 5 s.
    ///
    /// At any time it bounds the handshake of [`serve_with`](Server::serve_with), and a request head of
    /// HTTP/1 from its first byte on. Once connections are told to finish, it also bounds the wait for the
    /// next piece of a request body, and for the end of a connection without a request, such as the answer
    /// to HTTP/2's PING. A client that takes longer loses its connection, or the request. That is no
    /// error of the server. An upload over HTTP/2 has its time only while no other upload of its connection, and
    /// no write, keeps it waiting. What a client receives has no limit but the
    /// [`grace_period`](winddown::Builder::grace_period).
    ///
    /// At a stop it is at most half of what is left of the grace period after two [`pause`](Server::pause)s. So
    /// clients that do nothing do not outlast a short one, and `serve` returns no error because of them.
    ///
    #[cfg_attr(feature = "tokio", doc = "```")]
    #[cfg_attr(not(feature = "tokio"), doc = "```ignore")]
    /// use std::time::Duration;
    /// use winddown::Shutdown;
    /// use winddown_http::Server;
    ///
    /// let shutdown = Shutdown::new();
    /// let server = Server::tokio(&shutdown).client_timeout(Duration::from_secs(2));
    /// # let _ = server;
    /// ```
    pub fn client_timeout(mut self, time: Duration) -> Self {
        self.times.client = time.min(FOREVER);
        self
    }

    /// Sets how long a connection may be without a request before it is told to finish. Defaults to
    /// 75 s. It is no shorter than the [`pause`](Server::pause).
    ///
    #[cfg_attr(feature = "tokio", doc = "```")]
    #[cfg_attr(not(feature = "tokio"), doc = "```ignore")]
    /// use std::time::Duration;
    /// use winddown::Shutdown;
    /// use winddown_http::Server;
    ///
    /// let shutdown = Shutdown::new();
    /// let server = Server::tokio(&shutdown).idle_timeout(Duration::from_secs(20));
    /// # let _ = server;
    /// ```
    pub fn idle_timeout(mut self, time: Duration) -> Self {
        self.times.idle = time.min(FOREVER);
        self
    }

    /// Sets how many connections may be open, upgraded ones included. Defaults to no limit.
    ///
    /// At the limit, further connections wait in the queue of the kernel. At a shutdown they are accepted
    /// as others end, for the [`pause`](Server::pause) and the
    /// [`client_timeout`](Server::client_timeout), and for half of the grace period at most. The kernel
    /// resets the rest, and [`serve`](Server::serve) returns an error.
    ///
    #[cfg_attr(feature = "tokio", doc = "```")]
    #[cfg_attr(not(feature = "tokio"), doc = "```ignore")]
    /// use winddown::Shutdown;
    /// use winddown_http::Server;
    ///
    /// let shutdown = Shutdown::new();
    /// let server = Server::tokio(&shutdown).max_connections(10_000);
    /// # let _ = server;
    /// ```
    pub fn max_connections(mut self, limit: usize) -> Self {
        self.max_connections = limit;
        self
    }

    /// Changes the settings of HTTP/1, by the builder of hyper.
    ///
    /// The timer is set already, and `header_read_timeout` is off: with one, hyper closes idle connections
    /// by it too.
    ///
    #[cfg_attr(feature = "tokio", doc = "```")]
    #[cfg_attr(not(feature = "tokio"), doc = "```ignore")]
    /// use winddown::Shutdown;
    /// use winddown_http::Server;
    ///
    /// let shutdown = Shutdown::new();
    /// let server = Server::tokio(&shutdown).http1(|http1| {
    ///     http1.max_headers(50);
    /// });
    /// # let _ = server;
    /// ```
    pub fn http1(mut self, configure: impl FnOnce(&mut http1::Builder)) -> Self {
        configure(&mut self.builders.http1);
        self
    }

    /// Changes the settings of HTTP/2, by the builder of hyper. The timer is set already.
    ///
    #[cfg_attr(feature = "tokio", doc = "```")]
    #[cfg_attr(not(feature = "tokio"), doc = "```ignore")]
    /// use winddown::Shutdown;
    /// use winddown_http::Server;
    ///
    /// let shutdown = Shutdown::new();
    /// let server = Server::tokio(&shutdown).http2(|http2| {
    ///     http2.max_concurrent_streams(100);
    /// });
    /// # let _ = server;
    /// ```
    pub fn http2(mut self, configure: impl FnOnce(&mut http2::Builder<E>)) -> Self {
        configure(&mut self.builders.http2);
        self
    }

    /// Runs the server: accepts connections until the shutdown, and waits until they have ended.
    ///
    /// `incoming` is a listener as a stream of its connections. `service` is one of tower, such as axum's
    /// `Router`, or of hyper; each connection has a clone. See the [crate docs](crate) for what becomes
    /// of connections at the shutdown.
    ///
    /// It returns `Ok` when the last connection has ended; also if `incoming` ends by itself, without a
    /// shutdown; and at once, if a drain of the shutdown has returned `Ok`. The task of each connection holds
    /// a guard of a [phase](winddown::Shutdown::phase) of the shutdown, and so does the listener from this
    /// call on.
    ///
    /// It waits for no other guard, such as a [`RequestGuard`](crate::RequestGuard) in a task that outlives
    /// its connection. For those, [`shutdown.drained()`](winddown::Shutdown::drained) comes after it.
    ///
    /// On tokio, print its error before `main` returns, as the program in the [crate docs](crate) does: a `main` that
    /// returns it waits first for threads that block, until the process is ended.
    ///
    #[cfg_attr(feature = "tokio", doc = "```")]
    #[cfg_attr(not(feature = "tokio"), doc = "```ignore")]
    /// use axum::{Router, routing::get};
    /// use tokio::net::TcpListener;
    /// use winddown::Shutdown;
    /// use winddown_http::{Server, TokioIncoming};
    ///
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let shutdown = Shutdown::new();
    /// let app = Router::new().route("/", get(async || "hello"));
    /// let listener = TcpListener::bind("127.0.0.1:0").await?;
    /// let incoming = TokioIncoming::new(listener);
    /// # shutdown.request_shutdown();
    /// Server::tokio(&shutdown).serve(incoming, app).await?;
    /// shutdown.drained().await?; // work that outlives its request
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    ///
    /// [`ServeError`]: connections were open at the end of the
    /// [`grace_period`](winddown::Builder::grace_period), or when the shutdown was forced. They are
    /// dropped then, but for upgraded ones. With
    /// [`force_at_deadline`](winddown::Builder::force_at_deadline) the process ends at the end of the
    /// grace period too, and most likely before this error is printed: set an
    /// [`abort_timeout`](winddown::Builder::abort_timeout), which is the time between the force and the
    /// end. Or the listener failed, and not for want of descriptors or memory: then the connections are
    /// told to finish, but the shutdown is not requested: return the error before
    /// [`drained`](winddown::Shutdown::drained), which would wait for a request, or see
    /// [`supervise`](winddown::Shutdown::supervise). Or at the shutdown there were no descriptors, no memory or
    /// no room for what was in the queue of the listener, until the time for it was over.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future closes the listener. The connections go on, and end with the shutdown; but those
    /// that are open at the end of the grace period are not dropped then.
    #[track_caller]
    pub fn serve<St, I, S, K>(
        self,
        incoming: St,
        service: S,
    ) -> impl Future<Output = Result<(), ServeError>>
    where
        St: Incoming<I>,
        I: Read + Write + Unpin + Send + 'static,
        S: HttpService<K> + Send + 'static,
        S::Future: Send + 'static,
        S::Error: Into<Box<dyn Error + Send + Sync>>,
        S::ResBody: Send + 'static,
        <S::ResBody as http_body::Body>::Data: Send,
        <S::ResBody as http_body::Body>::Error: Into<Box<dyn Error + Send + Sync>>,
        K: 'static,
        E: Http2ServerConnExec<AnswerFuture<S::Future>, ResponseBody<S::ResBody>>,
        E: Executor<ConnectionTask> + Send + Sync + 'static,
    {
        self.serve_with(incoming, move |io| future::ready(Ok((io, service.clone()))))
    }

    /// Runs the server as [`serve`](Server::serve) does, and prepares each connection: a TLS handshake,
    /// a service of its own, the address of the client.
    ///
    /// `connect` is called for each connection, and returns the I/O and the service for it. Its future
    /// runs in the task of the connection, so that a client that is slow in its handshake holds up no
    /// other. It has the [`client_timeout`](Server::client_timeout). A connection whose future fails
    /// is dropped. axum's `ConnectInfo` is such an extension as the one below: `Extension(ConnectInfo(peer?))`.
    ///
    #[cfg_attr(feature = "tokio", doc = "```")]
    #[cfg_attr(not(feature = "tokio"), doc = "```ignore")]
    /// use axum::{Extension, Router, routing::get};
    /// use tokio::net::TcpListener;
    /// use winddown::Shutdown;
    /// use winddown_http::{Server, TokioIncoming};
    ///
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let shutdown = Shutdown::new();
    /// // The service of each connection knows the client's address.
    /// let app = Router::new().route("/", get(async || "hello"));
    /// let listener = TcpListener::bind("127.0.0.1:0").await?;
    /// let incoming = TokioIncoming::new(listener);
    /// # shutdown.request_shutdown();
    /// Server::tokio(&shutdown)
    ///     .serve_with(incoming, |stream| {
    ///         let peer = stream.inner().peer_addr();
    ///         let app = app.clone();
    ///         async move { Ok((stream, app.layer(Extension(peer?)))) }
    ///     })
    ///     .await?;
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors, cancel safety
    ///
    /// As `serve`.
    ///
    /// # Panics
    ///
    /// If `connect` itself panics, and not its future, the panic comes out of this future.
    #[track_caller]
    pub fn serve_with<St, R, C, F, I, S, K>(
        self,
        incoming: St,
        mut connect: C,
    ) -> impl Future<Output = Result<(), ServeError>>
    where
        St: Incoming<R>,
        C: FnMut(R) -> F,
        F: Future<Output = io::Result<(I, S)>> + Send + 'static,
        I: Read + Write + Unpin + Send + 'static,
        S: HttpService<K> + Send + 'static,
        S::Future: Send + 'static,
        S::Error: Into<Box<dyn Error + Send + Sync>>,
        S::ResBody: Send + 'static,
        <S::ResBody as http_body::Body>::Data: Send,
        <S::ResBody as http_body::Body>::Error: Into<Box<dyn Error + Send + Sync>>,
        K: 'static,
        E: Http2ServerConnExec<AnswerFuture<S::Future>, ResponseBody<S::ResBody>>,
        E: Executor<ConnectionTask> + Send + Sync + 'static,
    {
        let Self {
            shutdown,
            executor,
            timer,
            builders,
            name,
            times,
            max_connections,
            starting,
        } = self;
        // Drains above wait for the listener, so that connections still in its queue are served.
        let mut connections = shutdown.phase(name).delay(times.pause).build();
        let mut listening = connections.guard_named("listener");
        if listening.is_none() && starting.is_some() {
            // The phase was due, and over before it had a guard. One that is asked by hand is not.
            connections = shutdown.phase(name).by_hand().build();
            listening = connections.guard_named("listener");
            connections.trigger("the server starts after the shutdown");
        }
        drop(starting);
        let (early, stop) = (shutdown.waiter(), connections.waiter());
        let common = Arc::new(Common::new(early, stop, timer.clone(), times));
        let builders = Arc::new(builders);
        let slots = Slots::new(max_connections);
        // Tells the connections that the drain has given them up. A child, because that is no event for a log.
        let abort = Shutdown::new().child();

        // Connections that do nothing would outlast a grace period that is shorter than the pause.
        let hurry = {
            let (connections, common) = (connections.clone(), common.clone());
            async move {
                common.early.clone().await;
                let pause = common.times_at_stop().pause;
                if pause < times.pause {
                    common.timer.sleep(pause).await;
                    connections.trigger("the grace period is short");
                }
                future::pending().await
            }
        };
        let spawn = {
            let (connections, slots, abort) = (connections.clone(), slots.clone(), abort.clone());
            move |raw: R| {
                // `None` at the limit of the counter.
                let Some(guard) = connections.guard_named("connection") else {
                    return;
                };
                let slot = slots.take();
                let connecting = connect(raw);
                let (builders, common) = (builders.clone(), common.clone());
                let task = async move {
                    let timeout = async {
                        let at_stop = async {
                            common.stop.clone().await;
                            common.timer.sleep(common.times_at_stop().client).await;
                        };
                        let at_any_time = common.timer.sleep(common.times.client);
                        at_any_time.or(at_stop).await;
                        common.timer.sleep(SETTLE).await;
                        Err(io::ErrorKind::TimedOut.into())
                    };
                    let Ok((io, service)) = connecting.or(timeout).await else {
                        return;
                    };
                    let monitor = Arc::new(Monitor::new(common, guard, slot));
                    let io = Io::new(io, monitor.clone());
                    let service = Adapter::new(service, monitor.clone());
                    // Made here: as an argument it would have its place in the task twice.
                    let mut connection = Connection::new(io, service, &builders);
                    drive(&mut connection, Connection::graceful_shutdown, &monitor).await;
                };
                executor.execute(Box::pin(task.or(abort.waiter())));
            }
        };

        let served = async move {
            let Some(listening) = listening else {
                return Ok(()); // everything is drained, so no connection would be counted
            };
            // On a phase that is never asked, too.
            let deadline = async || {
                connections.whole_requested().await;
                match connections.deadline() {
                    Some(deadline) => timer.sleep_until(deadline).await,
                    None => future::pending().await,
                }
            };
            let failed = {
                let incoming = Box::pin(incoming);
                let stop = pin!(shutdown.waiter().or(deadline()));
                // Once the connections are told, they make room in the time of a client.
                let patience = times.pause + times.client;
                let give_up = async {
                    // The other half is for what was accepted.
                    let half = shutdown.remaining().unwrap_or(FOREVER) / 2;
                    timer.sleep(patience.min(half)).or(shutdown.forced()).await;
                };
                accept(incoming, stop, &slots, &timer, give_up, spawn).await
            };
            if failed.is_err() && !shutdown.is_stopping() {
                connections.trigger("the listener failed");
            }
            drop(listening);

            let mut drained = connections.drain_until(deadline()).await;
            if let Err(error) = &mut drained {
                // The guards of a `GuardLayer` are not those of the phase, and say more.
                error.report = shutdown.report();
                abort.trigger("the drain has ended");
            }
            match (failed, drained) {
                (Ok(()), Ok(())) => Ok(()),
                (failed, drained) => Err(ServeError {
                    listener: failed.err(),
                    drain: drained.err(),
                }),
            }
        };
        served.or(hurry)
    }
}

impl<E> fmt::Debug for Server<E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Server")
            .field("name", &self.name)
            .field("times", &self.times)
            .field("max_connections", &self.max_connections)
            .finish_non_exhaustive()
    }
}
