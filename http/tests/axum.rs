//! axum on `serve`: ordinary requests, server-sent events and websockets end as their protocol wants.

mod support;

use std::convert::Infallible;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use axum::extract::ws::{CloseFrame, Message, WebSocket, WebSocketUpgrade, close_code};
use axum::extract::{ConnectInfo, State};
use axum::response::Response;
use axum::response::sse::{Event, Sse};
use axum::routing::{any, get};
use axum::{Extension, Router};
use futures_lite::{Stream, StreamExt, stream};
use futures_util::SinkExt;
use http::Request;
use http_body_util::{BodyExt, Empty};
use hyper::client::conn::{http1, http2};
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::{sleep, timeout};
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::Message as Sent;
use tokio_tungstenite::tungstenite::protocol::Role;
use tokio_tungstenite::tungstenite::protocol::frame::coding::CloseCode;
use winddown::{Shutdown, ShutdownExt};
use winddown_http::{GuardLayer, RequestGuard, ServeError, Server, StreamingExt, TokioIncoming};

use support::{PATIENCE, eventually};

fn app(shutdown: &Shutdown) -> Router {
    Router::new()
        .route("/", get(async || "hello"))
        .route("/slow", get(slow))
        .route("/events", get(events))
        .route("/socket", get(socket))
        .route("/late", any(late_socket))
        .route("/peer", get(peer))
        .layer(GuardLayer::named_by(shutdown, |request| {
            match request.uri.path() {
                "/socket" => "socket",
                "/events" => "events",
                _ => "request",
            }
        }))
        .with_state(shutdown.clone())
}

async fn slow() -> &'static str {
    sleep(Duration::from_millis(300)).await;
    "slow"
}

async fn events(
    State(shutdown): State<Shutdown>,
) -> Sse<impl Stream<Item = Result<Event, Infallible>>> {
    let ticks = stream::unfold(0, |count| async move {
        sleep(Duration::from_millis(10)).await;
        Some((Ok(Event::default().data(count.to_string())), count + 1))
    });
    let bye = || Ok(Event::default().event("bye").data("restarting"));
    Sse::new(ticks.end_with(shutdown.waiter(), bye))
}

async fn socket(Extension(guard): Extension<RequestGuard>, upgrade: WebSocketUpgrade) -> Response {
    upgrade.on_upgrade(async |socket| {
        echo(socket, &guard).await;
        drop(guard);
    })
}

async fn echo(mut socket: WebSocket, guard: &RequestGuard) {
    let mut stop = guard.waiter();
    while let Some(message) = socket.recv().cancel_on_shutdown(&mut stop).await {
        let Some(Ok(message)) = message else {
            return;
        };
        if socket.send(message).await.is_err() {
            return;
        }
    }
    let away = CloseFrame {
        code: close_code::AWAY,
        reason: "restarting".into(),
    };
    let _ = socket.send(Message::Close(Some(away))).await;
    // The close of the client, which may never come.
    let last = async { while let Some(Ok(_)) = socket.recv().await {} };
    let _ = timeout(Duration::from_secs(1), last).await;
}

/// Goes on for a while after the shutdown.
async fn late_socket(
    State(shutdown): State<Shutdown>,
    Extension(guard): Extension<RequestGuard>,
    upgrade: WebSocketUpgrade,
) -> Response {
    upgrade.on_upgrade(async move |mut socket| {
        shutdown.waiter().await;
        sleep(Duration::from_millis(900)).await;
        let _ = socket.send(Message::text("late")).await;
        while let Some(Ok(_)) = socket.recv().await {}
        drop(guard);
    })
}

async fn peer(ConnectInfo(peer): ConnectInfo<SocketAddr>) -> String {
    peer.to_string()
}

type Running = tokio::task::JoinHandle<Result<(), ServeError>>;

async fn start(shutdown: &Shutdown) -> (SocketAddr, Running) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let server = Server::tokio(shutdown)
        .pause(Duration::from_millis(200))
        .client_timeout(Duration::from_secs(1))
        .serve(TokioIncoming::new(listener), app(shutdown));
    (address, tokio::spawn(server))
}

async fn client(address: SocketAddr) -> http1::SendRequest<Empty<&'static [u8]>> {
    let stream = TcpStream::connect(address).await.unwrap();
    let (sender, connection) = http1::handshake(TokioIo::new(stream)).await.unwrap();
    tokio::spawn(connection);
    sender
}

fn request(path: &str) -> Request<Empty<&'static [u8]>> {
    let request = Request::get(path).header("host", "test");
    request.body(Empty::new()).unwrap()
}

fn held(shutdown: &Shutdown, name: &str) -> usize {
    let report = shutdown.report();
    let lines = report.iter().filter(|line| line.name == Some(name));
    lines.map(|line| line.guards).sum()
}

/// Waits until so many guards of this name are held.
async fn until_held(shutdown: &Shutdown, name: &str, guards: usize) {
    eventually(name, || held(shutdown, name) == guards).await;
}

#[tokio::test]
async fn each_ends_as_its_protocol_wants() {
    let shutdown = Shutdown::builder()
        .grace_period(Duration::from_secs(30))
        .build();
    let (address, server) = start(&shutdown).await;

    // Two streams of events, by HTTP/1 and HTTP/2.
    let mut on_http1 = client(address).await;
    let events = on_http1.send_request(request("/events")).await.unwrap();
    let on_http1 = tokio::spawn(events.into_body().collect());
    let stream = TokioIo::new(TcpStream::connect(address).await.unwrap());
    let executor = TokioExecutor::new();
    let (mut on_http2, connection) = http2::handshake(executor, stream).await.unwrap();
    tokio::spawn(connection);
    let of_http2 = |path: &str| request(&format!("http://test{path}"));
    let events = on_http2.send_request(of_http2("/events")).await.unwrap();
    let in_http2 = tokio::spawn(events.into_body().collect());

    // Two websockets, one of which never answers a close.
    let url = format!("ws://{address}/socket");
    let (mut socket, _) = tokio_tungstenite::connect_async(&url).await.unwrap();
    let (deaf, _) = tokio_tungstenite::connect_async(&url).await.unwrap();
    socket.send(Sent::text("echo")).await.unwrap();
    assert_eq!(socket.next().await.unwrap().unwrap(), Sent::text("echo"));

    // Requests in flight, and connections that are kept.
    let mut slow = client(address).await;
    let slow = tokio::spawn(slow.send_request(request("/slow")));
    let slow_http2 = tokio::spawn(on_http2.send_request(of_http2("/slow")));
    let mut kept = client(address).await;
    let answer = kept.send_request(request("/")).await.unwrap();
    assert!(answer.headers().get("connection").is_none());
    answer.into_body().collect().await.unwrap();
    for name in ["events", "socket", "request"] {
        until_held(&shutdown, name, 2).await;
    }

    shutdown.request_shutdown();
    let start = Instant::now();
    let answer = kept.send_request(request("/")).await.unwrap();
    assert_eq!(answer.headers()["connection"], "close");
    for events in [on_http1, in_http2] {
        let events = events.await.unwrap().unwrap().to_bytes();
        let events = String::from_utf8(events.to_vec()).unwrap();
        assert!(events.starts_with("data: 0\n\n"), "{events}");
        assert!(
            events.ends_with("event: bye\ndata: restarting\n\n"),
            "{events}"
        );
    }
    let Sent::Close(Some(close)) = socket.next().await.unwrap().unwrap() else {
        panic!("it is not a close");
    };
    assert_eq!(close.code, CloseCode::Away);
    assert!(socket.next().await.is_none());
    assert_eq!(held(&shutdown, "socket"), 1); // the deaf one's
    for slow in [slow, slow_http2] {
        let slow = slow.await.unwrap().unwrap();
        assert!(slow.version() == http::Version::HTTP_2 || slow.headers()["connection"] == "close");
        assert!(
            slow.version() == http::Version::HTTP_11 || !slow.headers().contains_key("connection")
        );
        assert_eq!(slow.into_body().collect().await.unwrap().to_bytes(), "slow");
    }
    timeout(PATIENCE, server).await.unwrap().unwrap().unwrap();
    println!("ended after {:.2?}", start.elapsed());
    assert!(start.elapsed() < Duration::from_secs(5));
    assert_eq!(shutdown.in_flight(), 0);
    drop(deaf);
}

/// A websocket may go on for longer than a client has time, also on HTTP/2.
#[tokio::test]
async fn websockets_go_on() {
    let shutdown = Shutdown::new();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let server = Server::tokio(&shutdown)
        .pause(Duration::from_millis(100))
        .client_timeout(Duration::from_millis(200))
        .serve(TokioIncoming::new(listener), app(&shutdown));
    let server = tokio::spawn(server);

    let url = format!("ws://{address}/late");
    let (mut on_http1, _) = tokio_tungstenite::connect_async(&url).await.unwrap();

    let stream = TokioIo::new(TcpStream::connect(address).await.unwrap());
    let executor = TokioExecutor::new();
    let (mut sender, connection) = http2::handshake::<_, _, Empty<&'static [u8]>>(executor, stream)
        .await
        .unwrap();
    tokio::spawn(connection);
    // Its answer comes after the server's settings, which permit the next request.
    let answer = sender.send_request(request("http://test/")).await.unwrap();
    answer.into_body().collect().await.unwrap();
    let request = Request::connect("http://test/late")
        .extension(hyper::ext::Protocol::from_static("websocket"))
        .header("sec-websocket-version", "13")
        .body(Empty::new())
        .unwrap();
    let answer = sender.send_request(request).await.unwrap();
    assert_eq!(answer.status(), 200);
    let upgraded = TokioIo::new(hyper::upgrade::on(answer).await.unwrap());
    let mut on_http2 = WebSocketStream::from_raw_socket(upgraded, Role::Client, None).await;
    until_held(&shutdown, "request", 2).await;

    shutdown.request_shutdown();
    let late = on_http1.next().await.unwrap().unwrap();
    assert_eq!(late, Sent::text("late"));
    let late = on_http2.next().await.unwrap().unwrap();
    assert_eq!(late, Sent::text("late"));
    assert_eq!(held(&shutdown, "request"), 2);
    on_http1.close(None).await.unwrap();
    on_http2.close(None).await.unwrap();
    drop((on_http1, on_http2, sender));
    timeout(PATIENCE, server).await.unwrap().unwrap().unwrap();
}

/// Its connections go on, and are told and waited for as before.
#[tokio::test]
async fn dropped_server_closes_its_listener_alone() {
    let shutdown = Shutdown::new();
    let (address, server) = start(&shutdown).await;
    let mut kept = client(address).await;
    let answer = kept.send_request(request("/")).await.unwrap();
    answer.into_body().collect().await.unwrap();
    server.abort();
    assert!(server.await.unwrap_err().is_cancelled());
    let refused = TcpStream::connect(address).await.unwrap_err();
    assert_eq!(refused.kind(), std::io::ErrorKind::ConnectionRefused);
    let answer = kept.send_request(request("/")).await.unwrap();
    assert!(answer.headers().get("connection").is_none());
    answer.into_body().collect().await.unwrap();

    shutdown.request_shutdown();
    let answer = kept.send_request(request("/")).await.unwrap();
    assert_eq!(answer.headers()["connection"], "close");
    timeout(PATIENCE, shutdown.drained())
        .await
        .unwrap()
        .unwrap();
}

/// Each connection has a service of its own, with the address of the client.
#[tokio::test]
async fn address_of_the_client() {
    let shutdown = Shutdown::new();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let app = app(&shutdown);
    let server = Server::tokio(&shutdown).serve_with(
        TokioIncoming::new(listener),
        move |io: TokioIo<TcpStream>| {
            let app = app.clone();
            async move {
                let peer = ConnectInfo(io.inner().peer_addr()?);
                Ok((io, app.layer(Extension(peer))))
            }
        },
    );
    let server = tokio::spawn(server);
    let stream = TcpStream::connect(address).await.unwrap();
    let own = stream.local_addr().unwrap();
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await.unwrap();
    tokio::spawn(connection);
    let answer = sender.send_request(request("/peer")).await.unwrap();
    let answer = answer.into_body().collect().await.unwrap().to_bytes();
    assert_eq!(answer, own.to_string());
    shutdown.request_shutdown();
    timeout(PATIENCE, server).await.unwrap().unwrap().unwrap();
}

/// In axum's own server, the layer says `connection: close` and holds a guard until the body is dropped.
#[tokio::test]
async fn layer_in_the_server_of_axum() {
    let shutdown = Shutdown::new();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let server = axum::serve(listener, app(&shutdown)).with_graceful_shutdown(shutdown.waiter());
    let server = tokio::spawn(server.into_future());
    let mut slow = client(address).await;
    let slow = tokio::spawn(slow.send_request(request("/slow")));
    let mut events = client(address).await;
    let events = events.send_request(request("/events")).await.unwrap();
    let url = format!("ws://{address}/socket");
    let (mut socket, _) = tokio_tungstenite::connect_async(&url).await.unwrap();
    for name in ["request", "events", "socket"] {
        until_held(&shutdown, name, 1).await;
    }
    shutdown.request_shutdown();
    let drained = tokio::spawn(shutdown.drained());
    let Sent::Close(Some(close)) = socket.next().await.unwrap().unwrap() else {
        panic!("it is not a close");
    };
    assert_eq!(close.code, CloseCode::Away);
    assert!(socket.next().await.is_none());
    events.into_body().collect().await.unwrap();
    let slow = slow.await.unwrap().unwrap();
    assert_eq!(slow.headers()["connection"], "close");
    timeout(PATIENCE, drained).await.unwrap().unwrap().unwrap();
    timeout(PATIENCE, server).await.unwrap().unwrap().unwrap();
}
