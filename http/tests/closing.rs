//! How a connection is closed that was told to finish, if its I/O takes time for that, as TLS may, or if there
//! is always something to read.

mod support;

use std::future;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::task::{Context, Poll, ready};
use std::time::{Duration, Instant};

use futures_lite::{StreamExt, stream};
use hyper::rt::{Read, ReadBufCursor};
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream, duplex};
use tokio::task::JoinHandle;
use tokio::time::{Sleep, sleep, timeout};
use winddown::Shutdown;
use winddown_http::{ServeError, Server};

use support::pipe::{Change, Inner, Pipe};
use support::{
    PATIENCE, PREFACE, SETTINGS_ACK, app, eventually, get_frame, split_frame, until,
    window_settings, window_update,
};

const HOUR: Duration = Duration::from_secs(3600);
const CLIENT_TIMEOUT: Duration = Duration::from_millis(400);

/// A pipe in memory that takes its time to close.
struct Slow {
    time: Pin<Box<Sleep>>,
    closed: Arc<AtomicBool>,
}

impl Change for Slow {
    fn poll_close(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        ready!(self.time.as_mut().poll(cx));
        self.closed.store(true, Relaxed);
        Poll::Ready(())
    }
}

/// Stops a server with an idle connection whose I/O closes in this time from now at the earliest. Returns
/// whether it did, and how long the stop took.
async fn stop(
    shutdown: &Shutdown,
    pause: Duration,
    closes: Duration,
    silent: bool,
) -> (bool, Duration) {
    let (mut client, pipe) = duplex(1024);
    let closed = Arc::<AtomicBool>::default();
    let slow = Slow {
        time: Box::pin(sleep(closes)),
        closed: closed.clone(),
    };
    let io = Pipe::new(pipe, slow);
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
/// Mutation: `Times::within` leaves the pause as it is.
#[tokio::test]
async fn idle_connection_ends_in_a_grace_period_that_is_short() {
    for silent in [true, false] {
        let grace = Duration::from_secs(2);
        let shutdown = Shutdown::builder().grace_period(grace).build();
        let (closed, _) = stop(&shutdown, grace, Duration::ZERO, silent).await;
        assert!(closed, "silent: {silent}");
    }
}

/// Nor is a client that does not finish its handshake.
#[tokio::test]
async fn handshake_ends_in_a_grace_period_that_is_short() {
    let (_client, pipe) = duplex(1024);
    let grace = Duration::from_secs(2);
    let shutdown = Shutdown::builder().grace_period(grace).build();
    let server = Server::tokio(&shutdown).client_timeout(HOUR);
    let incoming = stream::once(Ok(TokioIo::new(pipe))).chain(stream::pending());
    let server = tokio::spawn(server.serve_with(incoming, async |io| {
        future::pending::<()>().await;
        Ok((io, app()))
    }));
    eventually("it is there", || shutdown.in_flight() == 2).await;
    shutdown.request_shutdown();
    timeout(PATIENCE, server).await.unwrap().unwrap().unwrap();
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

/// A pipe in memory that, once it is closed, never runs out of bytes.
struct Endless {
    closed: bool,
}

impl Change for Endless {
    fn poll_read(
        &mut self,
        inner: Pin<&mut Inner>,
        cx: &mut Context<'_>,
        mut buf: ReadBufCursor<'_>,
    ) -> Poll<io::Result<()>> {
        if !self.closed {
            return inner.poll_read(cx, buf);
        }
        buf.put_slice(&[0]);
        Poll::Ready(Ok(()))
    }

    fn poll_close(&mut self, _: &mut Context<'_>) -> Poll<()> {
        self.closed = true;
        Poll::Ready(())
    }
}

/// Mutation: `Io::poll_drop` has no limit of reads.
#[test]
fn http2_client_that_always_sends_has_three_times_of_a_client() {
    let (mut client, pipe) = duplex(1024);
    let io = Pipe::new(pipe, Endless { closed: false });
    let shutdown = Shutdown::new();
    let server = Server::smol(&shutdown).client_timeout(CLIENT_TIMEOUT);
    let incoming = stream::once(Ok(io)).chain(stream::pending());
    let server = smol::spawn(server.serve(incoming, app()));
    let begun = smol::block_on(async {
        let begin = [PREFACE, &[0, 0, 0, 4, 0, 0, 0, 0, 0], SETTINGS_ACK].concat();
        client.write_all(&begin).await.unwrap();
        shutdown.request_shutdown();
        let mut received = Vec::new();
        loop {
            assert!(client.read_buf(&mut received).await.unwrap() > 0);
            while let Some((kind, _, payload, rest)) = split_frame(&received) {
                if kind == 6 {
                    let pong = [&[0, 0, 8, 6, 1, 0, 0, 0, 0], payload].concat();
                    let begun = Instant::now();
                    client.write_all(&pong).await.unwrap();
                    return begun;
                }
                received = rest.to_vec();
            }
        }
    });
    until("it has ended", || server.is_finished());
    let took = begun.elapsed();
    assert!(took >= 3 * CLIENT_TIMEOUT, "{took:?}");
    smol::block_on(server).unwrap();
}

/// Reads frames until one of this kind, and returns its payload, and how many bytes of bodies came before.
async fn read_until(
    client: &mut DuplexStream,
    received: &mut Vec<u8>,
    wanted: u8,
) -> (Vec<u8>, usize) {
    let mut length = 0;
    loop {
        while let Some((kind, _, payload, rest)) = split_frame(received) {
            let (payload, rest) = (payload.to_vec(), rest.to_vec());
            *received = rest;
            if kind == wanted {
                return (payload, length);
            }
            length += if kind == 0 { payload.len() } else { 0 };
        }
        assert!(client.read_buf(received).await.unwrap() > 0);
    }
}

/// Has a server without a pause send an answer of this size, over HTTP/2 and a pipe with so much room, to a client
/// with a window so large that it sends nothing while it reads.
async fn get_big(
    shutdown: &Shutdown,
    room: usize,
    size: usize,
) -> (DuplexStream, JoinHandle<Result<(), ServeError>>) {
    let (mut client, io) = duplex(room);
    let server = Server::tokio(shutdown)
        .pause(Duration::ZERO)
        .client_timeout(CLIENT_TIMEOUT);
    let incoming = stream::once(Ok(TokioIo::new(io))).chain(stream::pending());
    let server = tokio::spawn(server.serve(incoming, app()));
    let windows = [window_settings(1 << 30), window_update(0, 1 << 30)].concat();
    let get = get_frame(1, &format!("/big/{size}"));
    let begin = [PREFACE, &windows, SETTINGS_ACK, &get].concat();
    client.write_all(&begin).await.unwrap();
    (client, server)
}

/// It sends nothing while it reads. The PING of the stop is within the answer, or
/// behind one that was written before: a close would have the client reset when it answers that, and what is in
/// the buffers of the server's kernel would be gone.
///
/// Mutations: `Monitor::time_to_read` is zero; `behind` is false, after a stream or for one.
#[tokio::test(start_paused = true)]
async fn http2_client_that_reads_slowly_is_not_closed() {
    const ROOM: usize = 2 * 1024 * 1024;
    for size in [ROOM / 2, ROOM * 3 / 2] {
        let shutdown = Shutdown::builder().grace_period(HOUR).build();
        let (mut client, server) = get_big(&shutdown, ROOM, size).await;
        sleep(CLIENT_TIMEOUT / 2).await;
        shutdown.request_shutdown();
        sleep(CLIENT_TIMEOUT).await;
        // There is room for the rest.
        let mut received = vec![0; (ROOM * 5 / 8).min(size / 2)];
        client.read_exact(&mut received).await.unwrap();
        sleep(3 * CLIENT_TIMEOUT).await;
        let (ping, before) = read_until(&mut client, &mut received, 6).await;
        let pong = [&[0, 0, 8, 6, 1, 0, 0, 0, 0], &ping[..]].concat();
        client.write_all(&pong).await.expect("it is open");
        // And the GOAWAY that is the last.
        let mut after = 0;
        while after + before < size {
            let (payload, _) = read_until(&mut client, &mut received, 0).await;
            after += payload.len();
        }
        drop(client);
        timeout(PATIENCE, server).await.unwrap().unwrap().unwrap();
    }
}

/// A client that reads nothing between its calls, as Python's httpx, answers no PING. It has read its answer, and is
/// no work that is late; nor does it hold a stop without a grace period.
///
/// Mutations: `Times::within` has no latest time; what may be unread has no bound.
#[tokio::test(start_paused = true)]
async fn http2_client_that_is_quiet_after_an_answer_ends_in_time() {
    let hour = Duration::from_secs(3600);
    // The grace period first: its end is that of a clock which is not paused.
    for (size, grace, most) in [
        (10_000_000, Some(5 * CLIENT_TIMEOUT), 5 * CLIENT_TIMEOUT),
        (40_000, None, 2 * CLIENT_TIMEOUT),
        (10_000_000, None, 40 * CLIENT_TIMEOUT),
    ] {
        let builder = Shutdown::builder().grace_period(grace.unwrap_or(Duration::MAX));
        let shutdown = builder.build();
        let (mut client, server) = get_big(&shutdown, 16 * 1024 * 1024, size).await;
        let (mut received, mut length) = (Vec::new(), 0);
        while length < size {
            let (payload, _) = read_until(&mut client, &mut received, 0).await;
            length += payload.len();
        }
        shutdown.request_shutdown();
        let begun = tokio::time::Instant::now();
        timeout(hour, server).await.unwrap().unwrap().unwrap();
        assert!(
            begun.elapsed() < most,
            "{size}, {grace:?}: {:?}",
            begun.elapsed()
        );
    }
}

/// Its client goes elsewhere, and what crosses the GOAWAY is answered. One that has just connected has the pause
/// for its first request.
///
/// Mutations: `Monitor::has_streamed` is always true, or never.
#[tokio::test]
async fn http2_connection_that_had_a_request_is_told_without_a_pause() {
    for used in [true, false] {
        let (mut client, io) = duplex(4096);
        let shutdown = Shutdown::new();
        let server = Server::tokio(&shutdown).pause(HOUR);
        let incoming = stream::once(Ok(TokioIo::new(io))).chain(stream::pending());
        let server = tokio::spawn(server.serve(incoming, app()));
        let begin = [PREFACE, &[0, 0, 0, 4, 0, 0, 0, 0, 0], SETTINGS_ACK].concat();
        client.write_all(&begin).await.unwrap();
        let mut received = Vec::new();
        if used {
            client
                .write_all(&get_frame(1, "/sleep/2000"))
                .await
                .unwrap();
        }
        // Of the first frames of the server, which has heard of the client.
        read_until(&mut client, &mut received, 8).await;
        shutdown.request_shutdown();
        let goaway = read_until(&mut client, &mut received, 7);
        let patience = if used { PATIENCE } else { CLIENT_TIMEOUT };
        assert_eq!(timeout(patience, goaway).await.is_ok(), used);
        if used {
            let (answer, _) = read_until(&mut client, &mut received, 0).await;
            assert_eq!(answer, b"slept");
        }
        drop(client);
        let ended = timeout(PATIENCE, server).await.unwrap();
        ended.unwrap().unwrap();
    }
}
