//! What a request and a connection cost a server on hyper, for `./ci.sh perf` to count.
//!
//! One thread runs the server and its clients, over pipes in memory: so no instruction depends on the
//! kernel. What the clients and hyper do is the same for each contender of a runtime, and is subtracted.

use std::convert::Infallible;
use std::error::Error;
use std::pin::pin;
use std::time::Duration;

use futures_lite::future::{self, or};
use futures_lite::stream;
use http_body_util::Full;
use hyper::body::{Body, Bytes};
use hyper::rt::{Read, Write};
use hyper::server::conn::http1::{Builder, Connection};
use hyper::service::service_fn;
use hyper::{Request, Response};
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto;
use hyper_util::server::graceful::GracefulShutdown;
use hyper_util::service::TowerToHyperService;
use smol::LocalExecutor;
use smol_hyper::rt::FuturesIo;
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream, duplex};
use tokio::sync::mpsc::{UnboundedSender, unbounded_channel};
use tokio_util::compat::TokioAsyncReadCompatExt;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tower::{Layer, Service};
use winddown::{Shutdown, ShutdownExt};
use winddown_http::{GuardLayer, RequestBody, Server};

const REQUEST: &[u8] = b"GET / HTTP/1.1\r\nhost: localhost\r\n\r\n";
const BODY: &[u8] = b"Welcome HTTP Server\n";

/// Makes the task of one connection.
trait Serve {
    fn serve(&self, io: impl Io) -> impl Future<Output = ()> + Send + 'static;
}

trait Io: Read + Write + Unpin + Send + 'static {}

impl<T: Read + Write + Unpin + Send + 'static> Io for T {}

async fn answer<B>(_: Request<B>) -> Result<Response<Full<Bytes>>, Infallible> {
    Ok(Response::new(Full::new(Bytes::from_static(BODY))))
}

/// Without a shutdown.
struct Bare;

impl Serve for Bare {
    #[expect(
        clippy::manual_async_fn,
        reason = "the future of an `async fn` borrows `self`"
    )]
    fn serve(&self, io: impl Io) -> impl Future<Output = ()> + Send + 'static {
        async {
            let _ = Builder::new()
                .serve_connection(io, service_fn(answer))
                .await;
        }
    }
}

/// As in the examples: each connection is told and counted.
struct Winddown(Shutdown);

impl Serve for Winddown {
    fn serve(&self, io: impl Io) -> impl Future<Output = ()> + Send + 'static {
        let stop = self.0.waiter();
        self.0.track(async {
            let connection = Builder::new().serve_connection(io, service_fn(answer));
            let _ = connection
                .on_shutdown(stop, Connection::graceful_shutdown)
                .await;
        })
    }
}

/// The same, and a guard for each request.
struct Guarded(Shutdown);

impl Serve for Guarded {
    fn serve(&self, io: impl Io) -> impl Future<Output = ()> + Send + 'static {
        let (stop, shutdown) = (self.0.waiter(), self.0.clone());
        self.0.track(async move {
            let service = service_fn(|request| shutdown.track(answer(request)));
            let connection = Builder::new().serve_connection(io, service);
            let _ = connection
                .on_shutdown(stop, Connection::graceful_shutdown)
                .await;
        })
    }
}

/// With tokio's `select!`.
struct Token(CancellationToken, TaskTracker);

impl Serve for Token {
    fn serve(&self, io: impl Io) -> impl Future<Output = ()> + Send + 'static {
        let token = self.0.clone();
        self.1.track_future(async move {
            let connection = Builder::new().serve_connection(io, service_fn(answer));
            let mut connection = pin!(connection);
            tokio::select! {
                _ = connection.as_mut() => return,
                () = token.cancelled() => connection.as_mut().graceful_shutdown(),
            }
            let _ = connection.await;
        })
    }
}

/// With the `or` of futures-lite, which polls the connection first.
struct TokenOr(CancellationToken, TaskTracker);

impl Serve for TokenOr {
    fn serve(&self, io: impl Io) -> impl Future<Output = ()> + Send + 'static {
        let token = self.0.clone();
        self.1.track_future(async move {
            let connection = Builder::new().serve_connection(io, service_fn(answer));
            let mut connection = pin!(connection);
            let served = async {
                let _ = connection.as_mut().await;
                false
            };
            let cancelled = async {
                token.cancelled().await;
                true
            };
            if or(served, cancelled).await {
                connection.as_mut().graceful_shutdown();
                let _ = connection.await;
            }
        })
    }
}

struct HyperUtil(GracefulShutdown);

impl Serve for HyperUtil {
    fn serve(&self, io: impl Io) -> impl Future<Output = ()> + Send + 'static {
        let connection = Builder::new().serve_connection(io, service_fn(answer));
        let connection = self.0.watch(connection);
        async {
            let _ = connection.await;
        }
    }
}

struct Swansong(swansong::Swansong);

impl Serve for Swansong {
    fn serve(&self, io: impl Io) -> impl Future<Output = ()> + Send + 'static {
        let (swansong, guard) = (self.0.clone(), self.0.guard());
        async move {
            let connection = Builder::new().serve_connection(io, service_fn(answer));
            let mut connection = pin!(connection);
            if swansong.interrupt(connection.as_mut()).await.is_none() {
                connection.as_mut().graceful_shutdown();
                let _ = connection.await;
            }
            drop(guard);
        }
    }
}

/// A tower service on hyper-util's server for HTTP/1 and HTTP/2, as winddown-http is one.
struct Auto {
    /// With hyper's time limit for a request head, which it has only with a timer.
    timed: bool,
}

impl Serve for Auto {
    fn serve(&self, io: impl Io) -> impl Future<Output = ()> + Send + 'static {
        let timed = self.timed;
        async move {
            let service = TowerToHyperService::new(tower::service_fn(answer));
            let mut builder = auto::Builder::new(TokioExecutor::new());
            if timed {
                builder.http1().timer(TokioTimer::new());
            }
            let _ = builder.serve_connection_with_upgrades(io, service).await;
        }
    }
}

/// `request:NAME` sends so many requests on one connection, `connection:NAME` one on each of so many.
pub fn count(what: &str, times: u64) {
    let (what, name) = what.split_once(':').expect("what, and the contender");
    let plan = match what {
        "request" => Plan {
            connections: 1,
            requests: times,
        },
        "connection" => Plan {
            connections: times,
            requests: 1,
        },
        other => panic!("nothing to count is called '{other}'"),
    };
    // async-io's thread, which a shutdown that tells connections has: malloc is slower beside a second one.
    smol::block_on(smol::Timer::after(Duration::ZERO));
    match name {
        "bare" => plan.on_tokio(Bare),
        "winddown" => plan.on_tokio(Winddown(Shutdown::new())),
        "guard" => plan.on_tokio(Guarded(Shutdown::new())),
        "token" => plan.on_tokio(Token(CancellationToken::new(), TaskTracker::new())),
        "hyper-util" => plan.on_tokio(HyperUtil(GracefulShutdown::new())),
        "swansong" => plan.on_tokio(Swansong(swansong::Swansong::new())),
        "auto" => plan.on_tokio(Auto { timed: false }),
        "auto-timed" => plan.on_tokio(Auto { timed: true }),
        "http" => plan.on_winddown_http(|_| tower::service_fn(answer)),
        "http-guard" => plan.on_winddown_http(|shutdown| {
            GuardLayer::new(shutdown, "request").layer(tower::service_fn(answer))
        }),
        "smol-bare" => plan.on_smol(Bare),
        "smol-winddown" => plan.on_smol(Winddown(Shutdown::new())),
        "smol-guard" => plan.on_smol(Guarded(Shutdown::new())),
        "smol-token" => plan.on_smol(TokenOr(CancellationToken::new(), TaskTracker::new())),
        "smol-swansong" => plan.on_smol(Swansong(swansong::Swansong::new())),
        other => panic!("no contender is called '{other}'"),
    }
}

/// How many connections one client makes after each other, and how many requests it sends on each.
#[derive(Clone, Copy)]
struct Plan {
    connections: u64,
    requests: u64,
}

impl Plan {
    fn on_tokio(self, serve: impl Serve) {
        block_on_tokio(self.run(|io| {
            tokio::spawn(serve.serve(TokioIo::new(io)));
        }));
    }

    fn on_smol(self, serve: impl Serve) {
        let executor = LocalExecutor::new();
        future::block_on(executor.run(self.run(|io| {
            let io = FuturesIo::new(io.compat());
            executor.spawn(serve.serve(io)).detach();
        })));
    }

    /// Its server takes a stream of connections.
    fn on_winddown_http<S, B>(self, service: impl FnOnce(&Shutdown) -> S)
    where
        S: Service<Request<RequestBody>, Response = Response<B>, Error = Infallible>,
        S: Clone + Send + 'static,
        S::Future: Send,
        B: Body<Data: Send, Error: Into<Box<dyn Error + Send + Sync>>> + Send + 'static,
    {
        let shutdown = Shutdown::new();
        let service = service(&shutdown);
        block_on_tokio(async {
            let (sender, mut receiver) = unbounded_channel();
            let incoming = stream::poll_fn(move |cx| receiver.poll_recv(cx).map(|io| io.map(Ok)));
            let server = Server::tokio(&shutdown);
            tokio::spawn(server.serve(incoming, service));
            let sender: UnboundedSender<TokioIo<DuplexStream>> = sender;
            self.run(|io| sender.send(TokioIo::new(io)).expect("the server runs"))
                .await;
        });
    }

    async fn run(self, start: impl Fn(DuplexStream)) {
        for _ in 0..self.connections {
            talk(&start, self.requests).await;
        }
    }
}

fn block_on_tokio(main: impl Future<Output = ()>) {
    tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .build()
        .expect("a runtime can be made")
        .block_on(main);
}

/// Sends requests one after the other, closes the connection, and waits for the server to do so.
async fn talk(start: &impl Fn(DuplexStream), requests: u64) {
    let (mut client, server) = duplex(4096);
    start(server);
    let mut part = [0; 1024];
    for _ in 0..requests {
        client.write_all(REQUEST).await.expect("the server reads");
        let mut got = 0;
        while !part[..got].ends_with(BODY) {
            got += client
                .read(&mut part[got..])
                .await
                .expect("the server answers");
        }
    }
    client.shutdown().await.expect("the server reads");
    let rest = client.read(&mut part).await.expect("the server closes");
    assert_eq!(rest, 0);
}
