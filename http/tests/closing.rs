//! How a connection is closed that was told to finish, if its I/O takes time for that, as TLS may.

mod support;

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::task::{Context, Poll, ready};
use std::time::{Duration, Instant};

use futures_lite::{StreamExt, stream};
use hyper::rt::{Read, ReadBufCursor, Write};
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream, duplex};
use tokio::time::{Sleep, sleep, timeout};
use winddown::Shutdown;
use winddown_http::Server;

use support::{PATIENCE, app, eventually};

const HOUR: Duration = Duration::from_secs(3600);
const CLIENT_TIMEOUT: Duration = Duration::from_millis(400);

/// A pipe in memory that takes its time to close.
struct Slow {
    pipe: TokioIo<DuplexStream>,
    time: Pin<Box<Sleep>>,
    closed: Arc<AtomicBool>,
}

impl Read for Slow {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: ReadBufCursor<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.pipe).poll_read(cx, buf)
    }
}

impl Write for Slow {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.pipe).poll_write(cx, buf)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.pipe).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(self.time.as_mut().poll(cx));
        self.closed.store(true, Relaxed);
        Pin::new(&mut self.pipe).poll_shutdown(cx)
    }
}

/// Stops a server with an idle connection whose I/O closes in this time from now at the earliest. Returns whether it did, and
/// how long the stop took.
async fn stop(
    shutdown: &Shutdown,
    pause: Duration,
    closes: Duration,
    silent: bool,
) -> (bool, Duration) {
    let (mut client, pipe) = duplex(1024);
    let closed = Arc::<AtomicBool>::default();
    let io = Slow {
        pipe: TokioIo::new(pipe),
        time: Box::pin(sleep(closes)),
        closed: closed.clone(),
    };
    let server = Server::tokio(shutdown)
        .pause(pause)
        .client_timeout(CLIENT_TIMEOUT);
    let incoming = stream::once(Ok(io)).chain(stream::pending());
    let server = tokio::spawn(server.serve(incoming, app()));
    if silent {
        eventually("it is there", || shutdown.in_flight() == 2).await;
    } else {
        let get = b"GET / HTTP/1.1\r\nhost: test\r\n\r\n";
        client.write_all(get).await.unwrap();
        let mut answer = Vec::new();
        while !answer.ends_with(b"hello") {
            assert!(client.read_buf(&mut answer).await.unwrap() > 0);
        }
    }
    let begun = Instant::now();
    shutdown.request_shutdown();
    timeout(PATIENCE, server).await.unwrap().unwrap().unwrap();
    (closed.load(Relaxed), begun.elapsed())
}

/// It does nothing, so it is no work that is late.
///
/// Mutation: `Times::pause_of` is the pause.
#[tokio::test]
async fn idle_connection_ends_in_half_of_a_grace_period_that_is_short() {
    for silent in [true, false] {
        let grace = Duration::from_secs(2);
        let shutdown = Shutdown::builder().grace_period(grace).build();
        let (closed, _) = stop(&shutdown, grace, Duration::ZERO, silent).await;
        assert!(closed, "silent: {silent}");
    }
}

#[tokio::test]
async fn close_has_the_time_that_it_takes() {
    for silent in [true, false] {
        let (closed, _) = stop(&Shutdown::new(), Duration::ZERO, CLIENT_TIMEOUT / 2, silent).await;
        assert!(closed, "silent: {silent}");
    }
}

/// Mutation: `next` gives a connection that was told no time.
#[tokio::test]
async fn close_that_hangs_has_the_time_of_a_client() {
    for silent in [true, false] {
        let (closed, took) = stop(&Shutdown::new(), Duration::ZERO, HOUR, silent).await;
        assert!(!closed, "silent: {silent}");
        assert!(took >= CLIENT_TIMEOUT, "silent: {silent}, {took:?}");
    }
}
