//! The servers on tokio's runtime of several threads.

use std::convert::Infallible;
use std::net::TcpListener as StdListener;
use std::pin::pin;
use std::time::Duration;

use axum::Router;
use axum::routing::get;
use futures_lite::stream::StreamExt;
use http_body_util::Full;
use hyper::body::Bytes;
use hyper::server::conn::http1::{Builder, Connection};
use hyper::service::service_fn;
use hyper::{Request, Response};
use hyper_util::rt::TokioIo;
use hyper_util::server::graceful::GracefulShutdown;
use tokio::net::TcpListener;
use tokio::signal::unix::{SignalKind, signal};
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use winddown::{Shutdown, ShutdownExt};
use winddown_http::{Server as HttpServer, TokioIncoming};

use super::{PATIENCE, Server};
use crate::harness::OURS;

pub const SERVERS: [Server; 7] = [
    (OURS, |listener| Box::pin(winddown(listener))),
    ("winddown-http", |listener| {
        Box::pin(winddown_http(listener))
    }),
    ("token + tracker", |listener| Box::pin(token(listener))),
    ("swansong", |listener| Box::pin(swansong(listener))),
    ("hyper-util", |listener| Box::pin(hyper_util(listener))),
    ("tokio-graceful", |listener| Box::pin(graceful(listener))),
    ("axum::serve", |listener| Box::pin(axum(listener))),
];

async fn answer<B>(request: Request<B>) -> Result<Response<Full<Bytes>>, Infallible> {
    super::answer(request, sleep).await
}

fn adopt(listener: StdListener) -> TcpListener {
    listener.set_nonblocking(true).expect("it is a socket");
    TcpListener::from_std(listener).expect("the runtime has a driver")
}

async fn winddown(listener: StdListener) {
    let shutdown = Shutdown::install().expect("it is the first");
    let incoming = TokioIncoming::new(adopt(listener)).refuse_on_shutdown(&shutdown);
    let incoming = incoming.expect("there are descriptors");
    let accepting = shutdown.guard();
    let mut incoming = incoming.finish_on_shutdown(shutdown.waiter());
    while let Some(accepted) = incoming.next().await {
        let stream = accepted.expect("there are descriptors");
        let stop = shutdown.waiter();
        tokio::spawn(shutdown.track(async move {
            let _ = Builder::new()
                .serve_connection(stream, service_fn(answer))
                .on_shutdown(stop, Connection::graceful_shutdown)
                .await;
        }));
    }
    drop(incoming);
    drop(accepting);
    let drained = shutdown.drain(PATIENCE).await;
    drained.expect("every connection ends");
}

async fn winddown_http(listener: StdListener) {
    let shutdown = Shutdown::install().expect("it is the first");
    let incoming = TokioIncoming::new(adopt(listener)).refuse_on_shutdown(&shutdown);
    let incoming = incoming.expect("there are descriptors");
    let server = HttpServer::tokio(&shutdown).pause(Duration::ZERO);
    let served = server.serve(incoming, service_fn(answer)).await;
    served.expect("every connection ends");
}

async fn token(listener: StdListener) {
    let mut terminate = signal(SignalKind::terminate()).expect("it can be caught");
    let (token, tracker) = (CancellationToken::new(), TaskTracker::new());
    let listener = adopt(listener);
    loop {
        let stream = tokio::select! {
            accepted = listener.accept() => accepted.expect("there are descriptors").0,
            _ = terminate.recv() => break,
        };
        let token = token.clone();
        tracker.spawn(async move {
            let connection =
                Builder::new().serve_connection(TokioIo::new(stream), service_fn(answer));
            let mut connection = pin!(connection);
            tokio::select! {
                _ = connection.as_mut() => return,
                () = token.cancelled() => connection.as_mut().graceful_shutdown(),
            }
            let _ = connection.await;
        });
    }
    drop(listener);
    token.cancel();
    tracker.close();
    tracker.wait().await;
}

async fn swansong(listener: StdListener) {
    let mut terminate = signal(SignalKind::terminate()).expect("it can be caught");
    let swansong = swansong::Swansong::new();
    let listener = adopt(listener);
    loop {
        let stream = tokio::select! {
            accepted = listener.accept() => accepted.expect("there are descriptors").0,
            _ = terminate.recv() => break,
        };
        let (stop, guard) = (swansong.clone(), swansong.guard());
        tokio::spawn(async move {
            let connection =
                Builder::new().serve_connection(TokioIo::new(stream), service_fn(answer));
            let mut connection = pin!(connection);
            if stop.interrupt(connection.as_mut()).await.is_none() {
                connection.as_mut().graceful_shutdown();
                let _ = connection.await;
            }
            drop(guard);
        });
    }
    drop(listener);
    swansong.shut_down().await;
}

async fn hyper_util(listener: StdListener) {
    let mut terminate = signal(SignalKind::terminate()).expect("it can be caught");
    let graceful = GracefulShutdown::new();
    let listener = adopt(listener);
    loop {
        let stream = tokio::select! {
            accepted = listener.accept() => accepted.expect("there are descriptors").0,
            _ = terminate.recv() => break,
        };
        let connection = Builder::new().serve_connection(TokioIo::new(stream), service_fn(answer));
        let connection = graceful.watch(connection);
        tokio::spawn(async move {
            let _ = connection.await;
        });
    }
    drop(listener);
    graceful.shutdown().await;
}

async fn graceful(listener: StdListener) {
    let mut terminate = signal(SignalKind::terminate()).expect("it can be caught");
    let shutdown = tokio_graceful::Shutdown::new(async move {
        terminate.recv().await;
    });
    let listener = adopt(listener);
    shutdown.spawn_task_fn(async move |guard| {
        loop {
            let stream = tokio::select! {
                accepted = listener.accept() => accepted.expect("there are descriptors").0,
                () = guard.cancelled() => break,
            };
            guard.spawn_task_fn(async move |guard| {
                let connection =
                    Builder::new().serve_connection(TokioIo::new(stream), service_fn(answer));
                let mut connection = pin!(connection);
                tokio::select! {
                    _ = connection.as_mut() => return,
                    () = guard.cancelled() => connection.as_mut().graceful_shutdown(),
                }
                let _ = connection.await;
            });
        }
    });
    let drained = shutdown.shutdown_with_limit(PATIENCE).await;
    drained.expect("every connection ends");
}

async fn axum(listener: StdListener) {
    let mut terminate = signal(SignalKind::terminate()).expect("it can be caught");
    let app = Router::new()
        .route("/", get(answer_axum))
        .route("/slow", get(answer_axum));
    axum::serve(adopt(listener), app)
        .with_graceful_shutdown(async move {
            terminate.recv().await;
        })
        .await
        .expect("the listener accepts");
}

async fn answer_axum(request: axum::extract::Request) -> Response<Full<Bytes>> {
    answer(request).await.unwrap_or_else(|never| match never {})
}
