//! The servers on smol's global executor.

use std::convert::Infallible;
use std::net::TcpListener as StdListener;
use std::pin::pin;
use std::time::Duration;

use async_signal::{Signal, Signals};
use futures_lite::future::or;
use futures_lite::stream::StreamExt;
use http_body_util::Full;
use hyper::body::Bytes;
use hyper::server::conn::http1::{Builder, Connection};
use hyper::service::service_fn;
use hyper::{Request, Response};
use smol::net::{TcpListener, TcpStream};
use smol::{Async, Timer};
use smol_hyper::rt::FuturesIo;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use winddown::{Shutdown, ShutdownExt};
use winddown_http::{Server as HttpServer, SmolIncoming, refuse_on_shutdown};

use super::{PATIENCE, Server};
use crate::harness::OURS;

pub const SERVERS: [Server; 5] = [
    (OURS, |listener| Box::pin(winddown(listener, false))),
    ("winddown (progress)", |listener| {
        Box::pin(winddown(listener, true))
    }),
    ("winddown-http", |listener| {
        Box::pin(winddown_http(listener))
    }),
    ("token + tracker", |listener| Box::pin(token(listener))),
    ("swansong", |listener| Box::pin(swansong(listener))),
];

async fn answer<B>(request: Request<B>) -> Result<Response<Full<Bytes>>, Infallible> {
    super::answer(request, Timer::after).await
}

fn adopt(listener: StdListener) -> TcpListener {
    Async::new(listener).expect("it is a socket").into()
}

async fn winddown(listener: StdListener, progress: bool) {
    let shutdown = Shutdown::install().expect("it is the first");
    let _refusing = refuse_on_shutdown(&listener, &shutdown).expect("there are descriptors");
    let listener = adopt(listener);
    let accepting = shutdown.guard();
    let mut incoming = listener.incoming().finish_on_shutdown(shutdown.waiter());
    while let Some(accepted) = incoming.next().await {
        let stream = accepted.expect("there are descriptors");
        let stop = shutdown.waiter();
        let task = shutdown.track(async move {
            let _ = Builder::new()
                .serve_connection(FuturesIo::new(stream), service_fn(answer))
                .on_shutdown(stop, Connection::graceful_shutdown)
                .await;
        });
        smol::spawn(task).detach();
    }
    drop(incoming);
    drop(listener);
    drop(accepting);
    let mut drain = shutdown.drain(PATIENCE);
    if progress {
        let mut progress = drain.progress();
        while let Some(left) = progress.next().await {
            eprintln!("{left} connections left");
        }
    }
    drain.await.expect("every connection ends");
}

async fn winddown_http(listener: StdListener) {
    let shutdown = Shutdown::install().expect("it is the first");
    let incoming = SmolIncoming::new(adopt(listener)).refuse_on_shutdown(&shutdown);
    let incoming = incoming.expect("there are descriptors");
    let server = HttpServer::smol(&shutdown).pause(Duration::ZERO);
    let served = server.serve(incoming, service_fn(answer)).await;
    served.expect("every connection ends");
}

/// The next connection, or `None` after the signal.
async fn accept(listener: &TcpListener, terminate: &mut Signals) -> Option<TcpStream> {
    let accepted = async {
        let accepted = listener.accept().await;
        Some(accepted.expect("there are descriptors").0)
    };
    let terminated = async {
        terminate.next().await;
        None
    };
    or(accepted, terminated).await
}

async fn token(listener: StdListener) {
    let mut terminate = Signals::new([Signal::Term]).expect("it can be caught");
    let (token, tracker) = (CancellationToken::new(), TaskTracker::new());
    let listener = adopt(listener);
    while let Some(stream) = accept(&listener, &mut terminate).await {
        let token = token.clone();
        let task = tracker.track_future(async move {
            let connection =
                Builder::new().serve_connection(FuturesIo::new(stream), service_fn(answer));
            let mut connection = pin!(connection);
            let cancelled = async {
                token.cancelled().await;
                true
            };
            let served = async {
                let _ = connection.as_mut().await;
                false
            };
            if or(served, cancelled).await {
                connection.as_mut().graceful_shutdown();
                let _ = connection.await;
            }
        });
        smol::spawn(task).detach();
    }
    drop(listener);
    token.cancel();
    tracker.close();
    tracker.wait().await;
}

async fn swansong(listener: StdListener) {
    let mut terminate = Signals::new([Signal::Term]).expect("it can be caught");
    let swansong = swansong::Swansong::new();
    let listener = adopt(listener);
    while let Some(stream) = accept(&listener, &mut terminate).await {
        let (stop, guard) = (swansong.clone(), swansong.guard());
        let task = async move {
            let connection =
                Builder::new().serve_connection(FuturesIo::new(stream), service_fn(answer));
            let mut connection = pin!(connection);
            if stop.interrupt(connection.as_mut()).await.is_none() {
                connection.as_mut().graceful_shutdown();
                let _ = connection.await;
            }
            drop(guard);
        };
        smol::spawn(task).detach();
    }
    drop(listener);
    swansong.shut_down().await;
}
