//! Refused connections, and those in the queue.
#![cfg(target_os = "linux")]

mod support;

use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::unix::net::UnixListener;
use std::pin::pin;
use std::task::{Context, Poll, Waker};

use futures_lite::Stream;
use support::{RUNTIMES, Running, Settings, app};
use winddown::Shutdown;
use winddown_http::{SmolIncoming, TokioIncoming, refuse_new};

fn listen(address: &str) -> (TcpListener, SocketAddr) {
    let listener = TcpListener::bind(address).unwrap();
    let address = listener.local_addr().unwrap();
    (listener, address)
}

fn assert_refused(address: SocketAddr) {
    let error = TcpStream::connect(address).expect_err("it was not refused");
    assert_eq!(error.kind(), io::ErrorKind::ConnectionRefused);
}

/// On IPv4, IPv6 and both.
#[test]
fn the_queue_outlives_the_refusal() {
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
        let mut client = TcpStream::connect(address).unwrap();
        client.write_all(b"hello").unwrap();

        refuse_new(&listener).unwrap();
        assert_refused(address);
        let (mut accepted, _) = listener.accept().unwrap();
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
}

/// A stream of connections refuses at the shutdown, polled or not, and not before. It gives out what the
/// queue holds.
fn refuses_at_the_shutdown<T>(
    incoming: impl Stream<Item = io::Result<T>>,
    shutdown: &Shutdown,
    address: SocketAddr,
) {
    let mut incoming = pin!(incoming);
    let mut next = || {
        incoming
            .as_mut()
            .poll_next(&mut Context::from_waker(Waker::noop()))
    };

    assert!(next().is_pending());
    let _first = TcpStream::connect(address).unwrap();
    assert!(matches!(next(), Poll::Ready(Some(Ok(_)))));
    assert!(next().is_pending());
    let _queued = TcpStream::connect(address).unwrap();

    shutdown.request_shutdown();
    assert_refused(address);
    assert!(matches!(next(), Poll::Ready(Some(Ok(_)))));
    assert!(next().is_pending());
}

#[test]
fn smol_incoming() {
    let (listener, address) = listen("127.0.0.1:0");
    let shutdown = Shutdown::new();
    let incoming = SmolIncoming::new(smol::Async::new(listener).unwrap());
    let incoming = incoming.refuse_on_shutdown(&shutdown).unwrap();
    refuses_at_the_shutdown(incoming, &shutdown, address);
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
    refuses_at_the_shutdown(incoming, &shutdown, address);
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
        assert_refused(server.address);
        server.join().unwrap();
    }
}

#[test]
fn only_tcp_listeners_refuse() {
    let refused = |error: io::Error| assert_eq!(error.kind(), io::ErrorKind::InvalidInput);
    let (listener, address) = listen("127.0.0.1:0");
    let stream = TcpStream::connect(address).unwrap();
    refused(refuse_new(&stream).unwrap_err());
    let folder = tempfile::tempdir().unwrap();
    let of_path = UnixListener::bind(folder.path().join("socket")).unwrap();
    refused(refuse_new(&of_path).unwrap_err());
    refuse_new(&listener).unwrap();
}
