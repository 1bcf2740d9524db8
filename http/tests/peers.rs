//! What other servers do in the same place. It measures, and asserts nothing of them:
//! `cargo test --release -p winddown-http --test peers -- --ignored --nocapture --test-threads 1`

mod support;

use std::convert::Infallible;
use std::net::{SocketAddr, TcpListener};
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

use http::{Request, Response};
use http_body_util::BodyExt;
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::server::conn::auto;
use hyper_util::server::graceful::GracefulShutdown;
use tokio::time::sleep;
use tonic::service::Routes;
use tonic::transport::server::TcpIncoming;
use warp::Filter;
use winddown::Shutdown;
use winddown_http::{Server, TokioIncoming};

use support::Client;
use support::load::{Count, Load};

const STOPS: usize = 100;
/// After which a server counts as one that does not end.
const LIMIT: Duration = Duration::from_secs(10);

#[derive(Clone, Copy, Debug)]
enum Peer {
    WinddownHttp,
    Axum,
    HyperUtil,
    Tonic,
    Warp,
}

use Peer::{Axum, HyperUtil, Tonic, Warp, WinddownHttp};

fn router() -> axum::Router {
    use axum::routing::{get, post};
    axum::Router::new()
        .route("/", get(async || "hello"))
        .route(
            "/sleep/{time}",
            get(
                async |axum::extract::Path(time): axum::extract::Path<u64>| {
                    sleep(Duration::from_millis(time)).await;
                    "slept"
                },
            ),
        )
        .route("/read", post(async |_: axum::body::Bytes| "read"))
}

async fn plain(request: Request<Incoming>) -> Result<Response<String>, Infallible> {
    let path = request.uri().path().to_owned();
    if let Some(time) = path.strip_prefix("/sleep/") {
        sleep(Duration::from_millis(time.parse().unwrap())).await;
    }
    if path == "/read" {
        let _ = request.into_body().collect().await;
    }
    Ok(Response::new("done".to_owned()))
}

async fn serve(peer: Peer, listener: tokio::net::TcpListener, shutdown: Shutdown) {
    match peer {
        WinddownHttp => {
            let server = Server::tokio(&shutdown);
            let incoming = TokioIncoming::new(listener).refuse_on_shutdown(&shutdown);
            let _ = server.serve(incoming.unwrap(), router()).await;
        }
        Axum => {
            let server = axum::serve(listener, router());
            let _ = server.with_graceful_shutdown(shutdown.waiter()).await;
        }
        // As its own example does.
        HyperUtil => {
            let builder = auto::Builder::new(TokioExecutor::new());
            let graceful = GracefulShutdown::new();
            let mut stop = shutdown.waiter();
            loop {
                let stream = tokio::select! {
                    accepted = listener.accept() => accepted.unwrap().0,
                    () = &mut stop => break,
                };
                let io = TokioIo::new(stream);
                let connection = builder.serve_connection_with_upgrades(io, service_fn(plain));
                let connection = graceful.watch(connection.into_owned());
                tokio::spawn(async {
                    let _ = connection.await;
                });
            }
            drop(listener);
            graceful.shutdown().await;
        }
        Tonic => {
            let server = tonic::transport::Server::builder()
                .accept_http1(true)
                .add_routes(Routes::from(router()));
            let incoming = TcpIncoming::from(listener);
            let _ = server
                .serve_with_incoming_shutdown(incoming, shutdown.waiter())
                .await;
        }
        Warp => {
            let hello = warp::path::end().map(|| "hello".to_owned());
            let sleep = warp::path!("sleep" / u64).then(|time| async move {
                sleep(Duration::from_millis(time)).await;
                "slept".to_owned()
            });
            let read = warp::path!("read")
                .and(warp::body::bytes())
                .map(|_| "read".to_owned());
            warp::serve(hello.or(sleep).or(read))
                .incoming(listener)
                .graceful(shutdown.waiter())
                .run()
                .await;
        }
    }
}

struct Running {
    address: SocketAddr,
    shutdown: Shutdown,
    ended: mpsc::Receiver<()>,
}

fn start(peer: Peer) -> Running {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    listener.set_nonblocking(true).unwrap();
    let address = listener.local_addr().unwrap();
    let shutdown = Shutdown::new();
    let (sender, ended) = mpsc::channel();
    let of_server = shutdown.clone();
    thread::spawn(move || {
        let mut builder = tokio::runtime::Builder::new_multi_thread();
        let runtime = builder.worker_threads(2).enable_all().build().unwrap();
        runtime.block_on(async {
            let listener = tokio::net::TcpListener::from_std(listener).unwrap();
            tokio::spawn(serve(peer, listener, of_server))
                .await
                .unwrap();
        });
        // As a process that exits.
        runtime.shutdown_background();
        let _ = sender.send(());
    });
    Running {
        address,
        shutdown,
        ended,
    }
}

#[test]
#[ignore = "it measures others"]
fn stops_under_load() {
    for keep_alive in [false, true] {
        for peer in [WinddownHttp, Axum, HyperUtil, Tonic, Warp] {
            let mut total = Count::default();
            for _ in 0..STOPS {
                let server = start(peer);
                let load = Load::start(server.address, keep_alive);
                thread::sleep(Duration::from_millis(fastrand::u64(100..200)));
                server.shutdown.request_shutdown();
                let _ = server.ended.recv_timeout(LIMIT);
                total += load.join();
            }
            let Count {
                answered,
                lost,
                lost_kept,
                ..
            } = total;
            println!(
                "{peer:?}, keep-alive {keep_alive}: {STOPS} stops, {answered} answered, lost {lost} on \
                 new and {lost_kept} on kept connections"
            );
        }
    }
}

#[test]
#[ignore = "it measures others"]
fn misbehaving_clients() {
    const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
    const SETTINGS: &[u8] = &[0, 0, 0, 4, 0, 0, 0, 0, 0, 0, 0, 0, 4, 1, 0, 0, 0, 0];
    type Prepare = fn(&mut Client);
    let clients: [(&str, Prepare); 6] = [
        ("silent", |_| {}),
        ("half a head", |client| {
            client.send("GET / HTTP/1.1\r\nHos").unwrap();
        }),
        ("half of the next head", |client| {
            client.get("/").unwrap();
            client.send("GET / HTTP/1.1\r\nHos").unwrap();
        }),
        ("HTTP/2 preface alone", |client| {
            client.send(PREFACE).unwrap()
        }),
        ("HTTP/2 without PONG", |client| {
            client.send([PREFACE, SETTINGS].concat()).unwrap();
        }),
        ("unfinished body", |client| {
            let head = "POST /read HTTP/1.1\r\nhost: test\r\ncontent-length: 100\r\n\r\nabc";
            client.send(head).unwrap();
        }),
    ];
    for peer in [WinddownHttp, Axum, HyperUtil, Tonic, Warp] {
        for (what, prepare) in clients {
            let server = start(peer);
            let mut bad = Client::connect(server.address);
            prepare(&mut bad);
            Client::connect(server.address).get("/").unwrap();
            thread::sleep(Duration::from_millis(100));
            server.shutdown.request_shutdown();
            let start = Instant::now();
            match server.ended.recv_timeout(LIMIT) {
                Ok(()) => println!("{peer:?}, {what}: ended after {:.2?}", start.elapsed()),
                Err(_) => println!("{peer:?}, {what}: not ended after {LIMIT:?}"),
            }
            drop(bad);
        }
    }
}
