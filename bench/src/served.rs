//! What a request and a connection cost a server on hyper, for `./ci.sh perf` to count.
//!
//! One thread runs the server and its clients, over pipes in memory: so no instruction depends on the
//! kernel. What the clients and hyper do is the same for each contender, and is subtracted.

use std::convert::Infallible;
use std::pin::pin;

use http_body_util::Full;
use hyper::body::{Bytes, Incoming};
use hyper::server::conn::http1::{Builder, Connection};
use hyper::service::service_fn;
use hyper::{Request, Response};
use hyper_util::rt::TokioIo;
use hyper_util::server::graceful::GracefulShutdown;
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream, duplex};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use winddown::{Shutdown, ShutdownExt};

const REQUEST: &[u8] = b"GET / HTTP/1.1\r\nhost: localhost\r\n\r\n";
const BODY: &[u8] = b"Welcome HTTP Server\n";

/// Serves one connection.
trait Serve {
    fn start(&self, io: DuplexStream);
}

async fn answer(_: Request<Incoming>) -> Result<Response<Full<Bytes>>, Infallible> {
    Ok(Response::new(Full::new(Bytes::from_static(BODY))))
}

/// Without a shutdown.
struct Bare;

impl Serve for Bare {
    fn start(&self, io: DuplexStream) {
        tokio::spawn(async move {
            let service = service_fn(answer);
            let _ = Builder::new()
                .serve_connection(TokioIo::new(io), service)
                .await;
        });
    }
}

/// As in the examples: each connection is told and counted.
struct Winddown(Shutdown);

impl Serve for Winddown {
    fn start(&self, io: DuplexStream) {
        let stop = self.0.waiter();
        tokio::spawn(self.0.track(async move {
            let service = service_fn(answer);
            let connection = Builder::new().serve_connection(TokioIo::new(io), service);
            let _ = connection
                .on_shutdown(stop, Connection::graceful_shutdown)
                .await;
        }));
    }
}

/// The same, and a guard for each request.
struct Guarded(Shutdown);

impl Serve for Guarded {
    fn start(&self, io: DuplexStream) {
        let (stop, shutdown) = (self.0.waiter(), self.0.clone());
        tokio::spawn(self.0.track(async move {
            let service = service_fn(|request| {
                let guard = shutdown.guard();
                async move {
                    let answer = answer(request).await;
                    drop(guard);
                    answer
                }
            });
            let connection = Builder::new().serve_connection(TokioIo::new(io), service);
            let _ = connection
                .on_shutdown(stop, Connection::graceful_shutdown)
                .await;
        }));
    }
}

struct Token(CancellationToken, TaskTracker);

impl Serve for Token {
    fn start(&self, io: DuplexStream) {
        let token = self.0.clone();
        self.1.spawn(async move {
            let service = service_fn(answer);
            let connection = Builder::new().serve_connection(TokioIo::new(io), service);
            let mut connection = pin!(connection);
            tokio::select! {
                _ = connection.as_mut() => return,
                () = token.cancelled() => connection.as_mut().graceful_shutdown(),
            }
            let _ = connection.await;
        });
    }
}

struct HyperUtil(GracefulShutdown);

impl Serve for HyperUtil {
    fn start(&self, io: DuplexStream) {
        let connection = Builder::new().serve_connection(TokioIo::new(io), service_fn(answer));
        let connection = self.0.watch(connection);
        tokio::spawn(async move {
            let _ = connection.await;
        });
    }
}

struct Swansong(swansong::Swansong);

impl Serve for Swansong {
    fn start(&self, io: DuplexStream) {
        let (swansong, guard) = (self.0.clone(), self.0.guard());
        tokio::spawn(async move {
            let service = service_fn(answer);
            let connection = Builder::new().serve_connection(TokioIo::new(io), service);
            let mut connection = pin!(connection);
            if swansong.interrupt(connection.as_mut()).await.is_none() {
                connection.as_mut().graceful_shutdown();
                let _ = connection.await;
            }
            drop(guard);
        });
    }
}

/// `request:NAME` sends so many requests on one connection, `connection:NAME` one on each of so many.
pub fn role(what: &str, times: u64) {
    let (what, name) = what.split_once(':').expect("what, and the contender");
    let serve: &dyn Serve = match name {
        "bare" => &Bare,
        "winddown" => &Winddown(Shutdown::new()),
        "guard" => &Guarded(Shutdown::new()),
        "token" => &Token(CancellationToken::new(), TaskTracker::new()),
        "hyper-util" => &HyperUtil(GracefulShutdown::new()),
        "swansong" => &Swansong(swansong::Swansong::new()),
        other => panic!("no contender is called '{other}'"),
    };
    let runtime = tokio::runtime::Builder::new_current_thread().build();
    runtime.expect("a runtime").block_on(async {
        match what {
            "request" => talk(serve, times).await,
            "connection" => {
                for _ in 0..times {
                    talk(serve, 1).await;
                }
            }
            other => panic!("nothing to count is called '{other}'"),
        }
    });
}

/// Sends requests one after the other, closes the connection, and waits for the server to do so.
async fn talk(serve: &dyn Serve, requests: u64) {
    let (mut client, server) = duplex(4096);
    serve.start(server);
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
