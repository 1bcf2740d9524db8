//! Refused connections, and those in the queue.
#![cfg(target_os = "linux")]

mod support;

use std::fmt::Debug;
use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::fd::AsFd;
use std::os::unix::net::{UnixDatagram, UnixListener, UnixStream};
use std::pin::pin;
use std::sync::mpsc;
use std::task::{Context, Poll, Waker};
use std::thread;

use futures_lite::{Stream, StreamExt, future};
use support::{PATIENCE, RUNTIMES, Running, Settings, app, until};
use winddown::Shutdown;
use winddown_http::{SmolIncoming, TokioIncoming, refuse_new, refuse_on_shutdown};

fn listen(address: &str) -> (TcpListener, SocketAddr) {
    let listener = TcpListener::bind(address).unwrap();
    let address = listener.local_addr().unwrap();
    (listener, address)
}

fn assert_refused(connected: io::Result<impl Debug>) {
    let error = connected.expect_err("it was not refused");
    assert_eq!(error.kind(), io::ErrorKind::ConnectionRefused);
}

/// Has a listener refuse, and then answers a connection that was in its queue.
fn queue_outlives_the_refusal<L: AsFd, S: Read + Write + Debug>(
    listener: L,
    connect: impl Fn() -> io::Result<S>,
    accept: impl FnOnce(&L) -> io::Result<S>,
) {
    let mut client = connect().unwrap();
    client.write_all(b"hello").unwrap();

    refuse_new(&listener).unwrap();
    assert_refused(connect());
    let mut accepted = accept(&listener).unwrap();
    drop(listener);
    let mut sent = [0; 5];
    accepted.read_exact(&mut sent).unwrap();
    assert_eq!(&sent, b"hello");
    accepted.write_all(b"welcome").unwrap();
    drop(accepted);
    let mut answer = String::new();
    client.read_to_string(&mut answer).unwrap();
    assert_eq!(answer, "welcome");
}

/// On IPv4, IPv6 and both.
#[test]
fn queue_of_tcp_outlives_the_refusal() {
    for (bound, ip) in [
        ("127.0.0.1:0", "127.0.0.1"),
        ("0.0.0.0:0", "127.0.0.1"),
        ("[::1]:0", "::1"),
        ("[::]:0", "::1"),
        ("[::]:0", "127.0.0.1"),
    ] {
        if bound.starts_with('[') && TcpListener::bind("[::1]:0").is_err() {
            // Not by `eprintln`, which the harness captures.
            let _ = writeln!(io::stderr(), "skipped: {bound}, as there is no IPv6 here");
            continue;
        }
        let listener = TcpListener::bind(bound).unwrap();
        let mut address = listener.local_addr().unwrap();
        address.set_ip(ip.parse().unwrap());
        queue_outlives_the_refusal(
            listener,
            || TcpStream::connect(address),
            |listener| listener.accept().map(|(stream, _)| stream),
        );
    }
}

/// A stream of connections refuses at the shutdown, polled or not, and not before. It gives out what the
/// queue holds, and then ends if no handshake may be under way.
fn refuses_at_the_shutdown<T, S: Debug>(
    incoming: impl Stream<Item = io::Result<T>>,
    shutdown: &Shutdown,
    connect: impl Fn() -> io::Result<S>,
    ends: bool,
) {
    let mut incoming = pin!(incoming);
    let mut next = || {
        incoming
            .as_mut()
            .poll_next(&mut Context::from_waker(Waker::noop()))
    };

    assert!(next().is_pending());
    let _first = connect().unwrap();
    assert!(matches!(next(), Poll::Ready(Some(Ok(_)))));
    assert!(next().is_pending());
    let _queued = connect().unwrap();

    shutdown.request_shutdown();
    assert_refused(connect());
    assert!(matches!(next(), Poll::Ready(Some(Ok(_)))));
    for _ in 0..2 {
        match next() {
            Poll::Ready(None) => assert!(ends),
            more => assert!(more.is_pending() && !ends),
        }
    }
}

#[test]
fn smol_incoming() {
    let (listener, address) = listen("127.0.0.1:0");
    let shutdown = Shutdown::new();
    let incoming = SmolIncoming::new(smol::Async::new(listener).unwrap());
    let incoming = incoming.refuse_on_shutdown(&shutdown).unwrap();
    refuses_at_the_shutdown(incoming, &shutdown, || TcpStream::connect(address), false);
}

#[test]
fn smol_incoming_of_a_unix_socket() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("socket");
    let shutdown = Shutdown::new();
    let listener = UnixListener::bind(&path).unwrap();
    let incoming = SmolIncoming::new(smol::Async::new(listener).unwrap());
    let incoming = incoming.refuse_on_shutdown(&shutdown).unwrap();
    refuses_at_the_shutdown(incoming, &shutdown, || UnixStream::connect(&path), true);
}

#[tokio::test]
async fn tokio_incoming() {
    let (listener, address) = listen("127.0.0.1:0");
    let shutdown = Shutdown::new();
    listener.set_nonblocking(true).unwrap();
    let listener = tokio::net::TcpListener::from_std(listener).unwrap();
    let incoming = TokioIncoming::new(listener)
        .refuse_on_shutdown(&shutdown)
        .unwrap();
    refuses_at_the_shutdown(incoming, &shutdown, || TcpStream::connect(address), false);
}

#[tokio::test]
async fn tokio_incoming_of_a_unix_socket() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("socket");
    let shutdown = Shutdown::new();
    let listener = tokio::net::UnixListener::bind(&path).unwrap();
    let incoming = TokioIncoming::new(listener)
        .refuse_on_shutdown(&shutdown)
        .unwrap();
    refuses_at_the_shutdown(incoming, &shutdown, || UnixStream::connect(&path), true);
}

/// epoll says for good that its listener is readable: tokio would ask it again and again, in one poll.
#[test]
fn tokio_incoming_of_a_unix_socket_ends_without_the_budget_of_a_task() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("socket");
    let (ended, ends) = mpsc::channel();
    thread::spawn(move || {
        let shutdown = Shutdown::new();
        let mut builder = tokio::runtime::Builder::new_current_thread();
        let runtime = builder.enable_io().build().unwrap();
        runtime.block_on(tokio::task::unconstrained(async {
            let listener = tokio::net::UnixListener::bind(&path).unwrap();
            let incoming = TokioIncoming::new(listener);
            let mut incoming = incoming.refuse_on_shutdown(&shutdown).unwrap();
            let _client = UnixStream::connect(&path).unwrap();
            assert!(incoming.next().await.unwrap().is_ok());
            assert!(future::poll_once(incoming.next()).await.is_none());
            shutdown.request_shutdown();
            let left = incoming.next().await;
            ended.send(left.is_none()).unwrap();
        }));
    });
    assert_eq!(ends.recv_timeout(PATIENCE), Ok(true));
}

/// The thread that makes the callbacks hangs in an earlier one.
fn refuses_before_its_callback<T>(make: impl FnOnce(TcpListener, &Shutdown) -> T)
where
    T: Stream<Item: Debug>,
{
    let (listener, address) = listen("127.0.0.1:0");
    listener.set_nonblocking(true).unwrap();
    let shutdown = Shutdown::new();
    let (release, released) = mpsc::channel::<()>();
    let _earlier = shutdown.call_on_shutdown(move || assert!(released.recv().is_err()));
    let mut incoming = pin!(make(listener, &shutdown));
    thread::scope(|scope| {
        scope.spawn(|| shutdown.request_shutdown());
        until("it is stopping", || shutdown.is_stopping());
        let next = incoming
            .as_mut()
            .poll_next(&mut Context::from_waker(Waker::noop()));
        assert!(next.is_pending(), "{next:?}");
        let connected = TcpStream::connect(address);
        drop(release);
        assert_refused(connected);
    });
}

#[test]
fn smol_incoming_refuses_before_its_callback() {
    refuses_before_its_callback(|listener, shutdown| {
        let incoming = SmolIncoming::new(smol::Async::new(listener).unwrap());
        incoming.refuse_on_shutdown(shutdown).unwrap()
    });
}

#[tokio::test]
async fn tokio_incoming_refuses_before_its_callback() {
    refuses_before_its_callback(|listener, shutdown| {
        let listener = tokio::net::TcpListener::from_std(listener).unwrap();
        let incoming = TokioIncoming::new(listener);
        incoming.refuse_on_shutdown(shutdown).unwrap()
    });
}

/// It accepts nothing, for want of room.
#[test]
fn full_server_refuses_at_the_shutdown() {
    for runtime in RUNTIMES {
        let settings = Settings {
            max_connections: 1,
            ..Settings::default()
        };
        let server = Running::start(runtime, &Shutdown::new(), settings, app());
        let mut client = server.connect();
        client.get("/").unwrap();
        server.shutdown.request_shutdown();
        assert_refused(TcpStream::connect(server.address));
        server.join().unwrap();
    }
}

#[test]
fn only_listeners_for_tcp_refuse() {
    let refused = |error: io::Error| assert_eq!(error.kind(), io::ErrorKind::InvalidInput);
    let (listener, address) = listen("127.0.0.1:0");
    let stream = TcpStream::connect(address).unwrap();
    refused(refuse_new(&stream).unwrap_err());
    let (of_path, _) = UnixStream::pair().unwrap();
    refused(refuse_new(&of_path).unwrap_err());
    refused(refuse_new(&UnixDatagram::unbound().unwrap()).unwrap_err());
    // tokio's `accept` would never return.
    let folder = tempfile::tempdir().unwrap();
    let of_path = UnixListener::bind(folder.path().join("socket")).unwrap();
    refused(refuse_new(&of_path).unwrap_err());
    refused(refuse_on_shutdown(&of_path, &Shutdown::new()).unwrap_err());
    refuse_new(&listener).unwrap();
}
