//! Clients that seem to be silent while the server stops, but are not: the server keeps them from sending, or has not
//! asked the kernel yet. In memory, with a clock that the test moves.

mod support;

use std::io;
use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use bytes::Bytes;
use futures_lite::{StreamExt, stream};
use http::{Request, Response, StatusCode};
use http_body_util::{BodyExt, Empty, Full, StreamBody};
use hyper::body::{Body as _, Frame, Incoming};
use hyper::client::conn::http2::SendRequest;
use hyper::rt::{Read, ReadBufCursor, Write};
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream, duplex};
use tokio::sync::Notify;
use tokio::sync::mpsc::unbounded_channel;
use tokio::task::JoinHandle;
use tokio::time::{sleep, timeout};
use tower::service_fn;
use winddown::Shutdown;
use winddown_http::{RequestBody, ServeError, Server};

use support::answer;
use support::pipe::{Change, Inner, Pipe};

const CLIENT_TIMEOUT: Duration = Duration::from_secs(1);
/// Long enough for all that needs no time.
const MOMENT: Duration = Duration::from_millis(10);

type Served = JoinHandle<Result<(), ServeError>>;

/// Serves one connection. `/read/hold` reads its body once it is notified.
fn serve(shutdown: &Shutdown, io: DuplexStream, hold: Arc<Notify>) -> Served {
    let server = Server::tokio(shutdown)
        .pause(Duration::ZERO)
        .client_timeout(CLIENT_TIMEOUT);
    let incoming = stream::once(Ok(TokioIo::new(io))).chain(stream::pending());
    let app = service_fn(move |request: Request<RequestBody>| {
        let hold = hold.clone();
        async move {
            if request.uri().path() == "/keep/hold" {
                // A body that has ended, or ends with its first frame, and is kept.
                let mut body = request.into_body();
                if !body.is_end_stream() {
                    body.frame().await.unwrap().unwrap();
                    assert!(body.is_end_stream());
                }
                hold.notified().await;
                drop(body);
                return Ok(Response::new(support::body("kept")));
            }
            if request.uri().path() == "/select/hold" {
                // Looks whether there is a piece already, and does something else.
                let mut body = request.into_body();
                let piece = timeout(MOMENT / 2, body.frame()).await;
                assert!(piece.is_err());
                hold.notified().await;
                let length = body.collect().await.unwrap().to_bytes().len();
                return Ok(Response::new(support::body(format!("{length} bytes"))));
            }
            if request.uri().path() == "/raw/hold" {
                let body = request.into_body().into_incoming();
                hold.notified().await;
                let length = body.collect().await.unwrap().to_bytes().len();
                let body = support::body(format!("{length} bytes"));
                return Ok(Response::new(body));
            }
            if request.uri().path() == "/read/hold" {
                hold.notified().await;
            }
            answer(request).await
        }
    });
    tokio::spawn(server.serve(incoming, app))
}

type Body = http_body_util::combinators::UnsyncBoxBody<Bytes, io::Error>;
type Sender = SendRequest<Body>;

async fn connect<Io>(io: Io) -> Sender
where
    Io: Read + Write + Unpin + Send + 'static,
{
    let handshake = hyper::client::conn::http2::handshake(TokioExecutor::new(), io);
    let (sender, connection) = handshake.await.unwrap();
    tokio::spawn(connection);
    sender
}

fn send(sender: &Sender, path: &str, body: Body) -> JoinHandle<hyper::Result<Response<Incoming>>> {
    let request = Request::post(format!("http://test{path}")).body(body);
    tokio::spawn(sender.clone().send_request(request.unwrap()))
}

fn full(length: usize) -> Body {
    let body = Full::new(Bytes::from(vec![b'x'; length]));
    body.map_err(|never| match never {}).boxed_unsync()
}

async fn assert_answer(sent: JoinHandle<hyper::Result<Response<Incoming>>>, expected: &str) {
    let response = sent.await.unwrap().unwrap();
    let status = response.status();
    let body = response.into_body().collect().await.unwrap().to_bytes();
    assert_eq!(body, expected);
    assert_eq!(status, StatusCode::OK);
}

/// Sends an upload behind one that has all of the window, and whose handler leaves it unread.
async fn check_upload_behind(path: &'static str) {
    let (shutdown, hold) = (Shutdown::new(), Arc::new(Notify::new()));
    let (client, io) = duplex(64 * 1024);
    let server = serve(&shutdown, io, hold.clone());
    let sender = connect(TokioIo::new(client)).await;
    let (pieces, mut rest) = unbounded_channel();
    let body = StreamBody::new(stream::poll_fn(move |cx| rest.poll_recv(cx)));
    let held = send(&sender, path, body.boxed_unsync());
    sleep(MOMENT).await;
    let piece = Bytes::from(vec![b'x'; 2_000_000]);
    pieces.send(Ok(Frame::data(piece))).unwrap();
    drop(pieces);
    sleep(MOMENT).await;
    let mut other = send(&sender, "/read", full(100_000));
    sleep(MOMENT).await;
    shutdown.request_shutdown();
    let early = timeout(5 * CLIENT_TIMEOUT, &mut other).await;
    assert!(early.is_err(), "{early:?}");
    hold.notify_one();
    assert_answer(other, "100000 bytes").await;
    assert_answer(held, "2000000 bytes").await;
    server.await.unwrap().unwrap();
}

/// Streams share the window of their connection, and a body that is not read has all of it.
///
/// Mutation: `client_waits_since` does not compare `waiting` with `open`.
#[tokio::test(start_paused = true)]
async fn upload_that_has_no_window_has_its_time() {
    check_upload_behind("/read/hold").await;
}

/// The same with the body of hyper, which a proxy has.
///
/// Mutation: `Upload::leave` drops it.
#[tokio::test(start_paused = true)]
async fn upload_behind_a_body_of_hyper_has_its_time() {
    check_upload_behind("/raw/hold").await;
}

/// The same with a handler that has looked at its body once, before anything came.
///
/// Mutation: `Body::wake` leaves the task.
#[tokio::test(start_paused = true)]
async fn upload_behind_a_body_that_was_looked_at_has_its_time() {
    check_upload_behind("/select/hold").await;
}

/// The side of a client that reads nothing while it is shut.
struct Gate {
    /// The task that waits, if it is shut.
    shut: Arc<Mutex<Option<Waker>>>,
}

impl Change for Gate {
    fn poll_read(
        &mut self,
        inner: Pin<&mut Inner>,
        cx: &mut Context<'_>,
        buf: ReadBufCursor<'_>,
    ) -> Poll<io::Result<()>> {
        if let Some(waker) = &mut *self.shut.lock().unwrap() {
            *waker = cx.waker().clone();
            return Poll::Pending;
        }
        inner.poll_read(cx, buf)
    }
}

/// HTTP/2 reads nothing while its GOAWAY waits behind an answer that the client does not read yet.
///
/// Mutation: `Uploads::set_blocked` does nothing.
#[tokio::test(start_paused = true)]
async fn upload_behind_an_answer_that_is_not_read_has_its_time() {
    let (shutdown, hold) = (Shutdown::new(), Arc::new(Notify::new()));
    let (client, io) = duplex(4096);
    let server = serve(&shutdown, io, hold);
    let shut = Arc::<Mutex<Option<Waker>>>::default();
    let gate = Gate { shut: shut.clone() };
    let sender = connect(Pipe::new(client, gate)).await;
    sleep(MOMENT).await;
    *shut.lock().unwrap() = Some(Waker::noop().clone());
    let (pieces, mut rest) = unbounded_channel();
    let body = StreamBody::new(stream::poll_fn(move |cx| rest.poll_recv(cx)));
    let upload = send(&sender, "/read", body.boxed_unsync());
    let empty = Empty::new().map_err(|never| match never {});
    let big = send(&sender, "/big/1000000", empty.boxed_unsync());
    let piece = || Ok(Frame::data(Bytes::from_static(b"piece")));
    pieces.send(piece()).unwrap();
    sleep(MOMENT).await;
    shutdown.request_shutdown();
    for _ in 0..5 {
        pieces.send(piece()).unwrap();
        sleep(CLIENT_TIMEOUT / 2).await;
    }
    drop(pieces);
    if let Some(waker) = shut.lock().unwrap().take() {
        waker.wake();
    }
    assert_answer(upload, "30 bytes").await;
    let big = big.await.unwrap().unwrap().into_body().collect();
    assert_eq!(big.await.unwrap().to_bytes().len(), 1_000_000);
    server.await.unwrap().unwrap();
}

/// A request whose body has ended keeps no client waiting, whatever its handler does.
///
/// Mutations: `Adapter::call` begins an upload for a body that has ended; the upload of a body is not over with
/// its last frame.
#[tokio::test(start_paused = true)]
async fn upload_beside_a_body_that_has_ended_has_no_more_than_its_time() {
    for length in [0, 5] {
        let (shutdown, hold) = (Shutdown::new(), Arc::new(Notify::new()));
        let (client, io) = duplex(64 * 1024);
        let server = serve(&shutdown, io, hold.clone());
        let sender = connect(TokioIo::new(client)).await;
        let kept = send(&sender, "/keep/hold", full(length));
        let (pieces, mut rest) = unbounded_channel();
        let body = StreamBody::new(stream::poll_fn(move |cx| rest.poll_recv(cx)));
        let upload = send(&sender, "/read", body.boxed_unsync());
        pieces
            .send(Ok(Frame::data(Bytes::from_static(b"piece"))))
            .unwrap();
        sleep(MOMENT).await;
        shutdown.request_shutdown();
        let response = timeout(3 * CLIENT_TIMEOUT, upload)
            .await
            .expect("it has ended");
        assert_eq!(
            response.unwrap().unwrap().status(),
            StatusCode::REQUEST_TIMEOUT
        );
        hold.notify_one();
        assert_answer(kept, "kept").await;
        server.await.unwrap().unwrap();
    }
}

/// Reads until the answer ends so.
async fn assert_answered(client: &mut DuplexStream, end: &str) {
    let mut answer = Vec::new();
    while !answer.ends_with(end.as_bytes()) {
        let read = client.read_buf(&mut answer).await.unwrap();
        assert!(read > 0, "{}", String::from_utf8_lossy(&answer));
    }
}

/// The process was stopped, or its threads were busy: the timer comes before the bytes that were there first.
///
/// Mutation: `SETTLE` is zero.
#[tokio::test(start_paused = true)]
async fn bytes_that_are_seen_late_are_in_time() {
    let shutdown = Shutdown::new();
    // The rest of a request head, and then that of a body.
    let (mut client, io) = duplex(4096);
    let server = serve(&shutdown, io, Arc::default());
    let (head, rest) = (
        "POST /read HTTP/1.1\r\nho",
        "st: test\r\ncontent-length: 6\r\n\r\nabc",
    );
    client.write_all(head.as_bytes()).await.unwrap();
    sleep(CLIENT_TIMEOUT + MOMENT).await;
    client.write_all(rest.as_bytes()).await.unwrap();
    sleep(MOMENT).await;
    shutdown.request_shutdown();
    sleep(CLIENT_TIMEOUT + MOMENT).await;
    client.write_all(b"def").await.unwrap();
    assert_answered(&mut client, "6 bytes").await;
    server.await.unwrap().unwrap();
}

/// Each piece of a body has it.
///
/// Mutations: `Limit::restart` leaves the time; `Limit::poll` leaves `settles` from the piece before.
#[tokio::test(start_paused = true)]
async fn pieces_that_are_seen_late_are_in_time() {
    let shutdown = Shutdown::new();
    let (mut client, io) = duplex(4096);
    let server = serve(&shutdown, io, Arc::default());
    let head = "POST /read HTTP/1.1\r\nhost: test\r\ncontent-length: 12\r\n\r\nabc";
    client.write_all(head.as_bytes()).await.unwrap();
    sleep(MOMENT).await;
    shutdown.request_shutdown();
    for piece in ["def", "ghi", "jkl"] {
        sleep(CLIENT_TIMEOUT + MOMENT).await;
        client.write_all(piece.as_bytes()).await.unwrap();
    }
    assert_answered(&mut client, "12 bytes").await;
    server.await.unwrap().unwrap();
}

/// Mutation: the timeout of `connect` has no `SETTLE`.
#[tokio::test(start_paused = true)]
async fn handshake_that_is_seen_late_is_in_time() {
    let shutdown = Shutdown::new();
    let (mut client, io) = duplex(4096);
    let server = Server::tokio(&shutdown).client_timeout(CLIENT_TIMEOUT);
    let incoming = stream::once(Ok(TokioIo::new(io))).chain(stream::pending());
    let server = tokio::spawn(server.serve_with(incoming, async |io| {
        sleep(CLIENT_TIMEOUT + MOMENT).await;
        Ok((io, support::app()))
    }));
    let get = "GET / HTTP/1.1\r\nhost: test\r\nconnection: close\r\n\r\n";
    client.write_all(get.as_bytes()).await.unwrap();
    assert_answered(&mut client, "hello").await;
    drop(client);
    shutdown.request_shutdown();
    server.await.unwrap().unwrap();
}
