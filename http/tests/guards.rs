//! The guards of requests: when they are released.

mod support;

use std::convert::Infallible;
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::{Pin, pin};
use std::sync::{Arc, Mutex, mpsc};
use std::task::{Context, Poll, Waker, ready};
use std::thread;
use std::time::Duration;

use bytes::Bytes;
use futures_lite::{Stream, StreamExt, future, stream};
use http::{Request, Response};
use http_body::{Body, Frame};
use http_body_util::{BodyExt, Empty, StreamBody};
use hyper::rt::{Read, ReadBufCursor, Write};
use smol_hyper::rt::FuturesIo;
use tower::util::BoxCloneService;
use tower::{Layer, Service, ServiceBuilder, ServiceExt};
use winddown::{Cause, Shutdown};
use winddown_http::{GuardLayer, RequestBody, RequestGuard, Server, SmolExecutor, StreamingExt};

use support::{
    AnyBody, App, PATIENCE, PREFACE, RUNTIMES, Running, Runtime, SETTINGS_ACK, Settings, answer,
    body, get_frame, split_frame, until, window_settings, window_update,
};

fn guarded(shutdown: &Shutdown) -> App {
    let service = ServiceBuilder::new()
        .layer(GuardLayer::new(shutdown, "request"))
        .service_fn(answer)
        .map_response(|response| response.map(BodyExt::boxed_unsync));
    BoxCloneService::new(service)
}

fn held(shutdown: &Shutdown, name: &str) -> usize {
    let report = shutdown.report();
    let lines = report.iter().filter(|line| line.name == Some(name));
    lines.map(|line| line.guards).sum()
}

fn panicked(shutdown: &Shutdown, name: &str) -> usize {
    let report = shutdown.report();
    let lines = report.iter().filter(|line| line.name == Some(name));
    lines.map(|line| line.panicked).sum()
}

/// Says how many guards of this name are held when it is dropped.
struct Owned(Shutdown, &'static str, mpsc::Sender<usize>);

impl Drop for Owned {
    fn drop(&mut self) {
        let _ = self.2.send(held(&self.0, self.1));
    }
}

const SIZE: usize = 64 << 20;
/// More than the buffers of two sockets on the loopback hold.
const BUFFERS: usize = 24 << 20;

#[test]
fn http1_guard_is_held_until_the_last_byte_is_written() {
    for runtime in RUNTIMES {
        let shutdown = Shutdown::new();
        let server = Running::start(runtime, &shutdown, Settings::default(), guarded(&shutdown));
        let mut client = server.connect();
        client.request(&format!("/big/{SIZE}")).unwrap();
        until("it is in flight", || held(&shutdown, "request") == 1);
        shutdown.request_shutdown();
        let mut total = 0;
        let mut buffer = vec![0; 1 << 20];
        // The server has produced the whole body, as one piece, before the client reads any of it.
        while total < SIZE - BUFFERS {
            total += io::Read::read(&mut client.stream, &mut buffer).unwrap();
            assert_eq!(held(&shutdown, "request"), 1);
            thread::sleep(Duration::from_millis(2));
        }
        loop {
            match io::Read::read(&mut client.stream, &mut buffer).unwrap() {
                0 => break,
                count => total += count,
            }
        }
        assert!(total > SIZE, "{total}");
        server.join().unwrap();
    }
}

#[test]
fn http2_guard_is_held_until_the_last_byte_is_written() {
    for runtime in RUNTIMES {
        let shutdown = Shutdown::new();
        let server = Running::start(runtime, &shutdown, Settings::default(), guarded(&shutdown));
        smol::block_on(async {
            let stream = smol::net::TcpStream::connect(server.address).await.unwrap();
            let (mut sender, connection) =
                hyper::client::conn::http2::Builder::new(SmolExecutor::default())
                    .handshake(FuturesIo::new(stream))
                    .await
                    .unwrap();
            let connection = smol::spawn(connection);
            let request = Request::get(format!("http://test/big/{SIZE}"));
            let request = request.body(Empty::<Bytes>::new()).unwrap();
            let mut body = sender.send_request(request).await.unwrap().into_body();
            shutdown.request_shutdown();
            let mut total = 0;
            while let Some(frame) = body.frame().await {
                total += frame.unwrap().into_data().unwrap().len();
                if total < SIZE - BUFFERS {
                    assert_eq!(held(&shutdown, "request"), 1);
                }
            }
            assert_eq!(total, SIZE);
            drop((sender, body));
            connection.await.unwrap();
        });
        server.join().unwrap();
    }
}

/// The client closes its connection, and hyper drops the future of the handler.
///
/// Mutation: `Closer` has the guard, and not `Monitor`.
#[test]
fn handler_that_is_broken_off_is_dropped_before_the_guard_of_its_connection() {
    for runtime in RUNTIMES {
        let shutdown = Shutdown::new();
        let (begins, begun) = mpsc::channel();
        let (drops, dropped) = mpsc::channel();
        let whole = shutdown.clone();
        let handler = move |request| {
            let owned = Owned(whole.clone(), "connection", drops.clone());
            let begins = begins.clone();
            async move {
                let _owned = owned;
                begins.send(()).unwrap();
                future::pending::<()>().await;
                answer(request).await
            }
        };
        let service =
            tower::service_fn(handler).map_response(|response| response.map(BodyExt::boxed_unsync));
        let service = BoxCloneService::new(service);
        let server = Running::start(runtime, &shutdown, Settings::default(), service);
        let mut client = server.connect();
        client.request("/").unwrap();
        begun.recv_timeout(PATIENCE).unwrap();
        drop(client);
        assert_eq!(dropped.recv_timeout(PATIENCE), Ok(1), "{runtime:?}");
        shutdown.request_shutdown();
        server.join().unwrap();
    }
}

/// Panics at the shutdown: in an `async` block, in a future that is dropped with its request, or in a body.
fn panic_at_shutdown(
    request: Request<RequestBody>,
) -> future::Boxed<Result<Response<AnyBody>, Infallible>> {
    let path = request.uri().path().to_owned();
    let guard = request.extensions().get::<RequestGuard>().unwrap();
    let mut waiter = guard.waiter();
    let mut wait = move |cx: &mut Context<'_>| {
        let _request = &request;
        Pin::new(&mut waiter).poll(cx)
    };
    match &*path {
        "/block" => Box::pin(async move {
            future::poll_fn(wait).await;
            panic!("at the shutdown")
        }),
        "/future" => Box::pin(future::poll_fn(move |cx| {
            ready!(wait(cx));
            panic!("at the shutdown")
        })),
        _ => {
            let mut first = Some(Frame::data(Bytes::from("hello")));
            let frames = stream::poll_fn(move |cx| {
                if let Some(first) = first.take() {
                    return Poll::Ready(Some(Ok(first)));
                }
                ready!(wait(cx));
                panic!("at the shutdown")
            });
            let response = Response::new(StreamBody::new(frames).boxed_unsync());
            Box::pin(future::ready(Ok(response)))
        }
    }
}

fn check_panic(runtime: Runtime, path: &str, http2: bool) {
    let shutdown = Shutdown::new();
    let service = ServiceBuilder::new()
        .layer(GuardLayer::new(&shutdown, "request"))
        .service_fn(panic_at_shutdown)
        .map_response(|response| response.map(BodyExt::boxed_unsync));
    let service = BoxCloneService::new(service);
    let server = Running::start(runtime, &shutdown, Settings::default(), service);
    let mut client = server.connect();
    if http2 {
        let settings = window_settings(1 << 20);
        let get = get_frame(1, path);
        client
            .send([PREFACE, &settings, SETTINGS_ACK, &get].concat())
            .unwrap();
    } else {
        client.request(path).unwrap();
    }
    until("it is in flight", || held(&shutdown, "request") == 1);
    shutdown.request_shutdown();
    until("it is released", || held(&shutdown, "request") == 0);
    let case = format!("{runtime:?}, {path}, HTTP/2: {http2}");
    assert_eq!(panicked(&shutdown, "request"), 1, "{case}");
    assert!(matches!(shutdown.cause(), Some(Cause::Failed(_))), "{case}");
    drop(client);
    server.join().unwrap();
    // A panic ends a connection of HTTP/1, and only a stream of HTTP/2.
    let connections = panicked(&shutdown, "connection");
    assert_eq!(connections, usize::from(!http2), "{case}");
}

/// The executor of smol catches a panic, and drops the task only when that is over.
///
/// Mutations: `Unwinding` does not drop what is inside; `AnswerFuture` or `ResponseBody` releases nothing.
#[test]
fn panic_of_a_service_or_a_body_is_a_failure() {
    for runtime in RUNTIMES {
        for path in ["/block", "/future", "/body"] {
            check_panic(runtime, path, false);
            check_panic(runtime, path, true);
        }
    }
}

/// In the server of another crate.
///
/// Mutations: `GuardFuture` or `Hold` does not release the guard.
#[test]
fn panic_that_is_caught_before_the_drop_counts() {
    fn caught<F: Future>(future: Pin<&mut F>) {
        let poll = || future.poll(&mut Context::from_waker(Waker::noop()));
        assert!(catch_unwind(AssertUnwindSafe(poll)).is_err());
    }
    let shutdown = Shutdown::new();
    let (drops, dropped) = mpsc::channel();
    let owned = |name| Owned(shutdown.clone(), name, drops.clone());

    let layer = GuardLayer::new(&shutdown, "request");
    let respond = |_: Request<()>| {
        let owned = owned("request");
        future::poll_fn(move |_| -> Poll<Result<Response<AnyBody>, Infallible>> {
            let _owned = &owned;
            panic!("caught")
        })
    };
    let service = ServiceBuilder::new().layer(layer).service_fn(respond);
    let mut answer = pin!(service.oneshot(Request::new(())));
    caught(answer.as_mut());
    assert_eq!(
        (held(&shutdown, "request"), panicked(&shutdown, "request")),
        (0, 1)
    );
    assert_eq!(dropped.try_recv(), Ok(1), "it is dropped before its guard");

    let owned = owned("rows");
    let rows = stream::poll_fn(move |_| -> Poll<Option<u8>> {
        let _owned = &owned;
        panic!("caught")
    });
    let mut rows = rows.hold(shutdown.guard_named("rows"));
    caught(pin!(rows.next()));
    assert_eq!(
        (held(&shutdown, "rows"), panicked(&shutdown, "rows")),
        (0, 1)
    );
    assert_eq!(dropped.try_recv(), Ok(1), "it is dropped before its guard");
    assert_eq!(smol::block_on(rows.next()), None);
}

/// On an HTTP/2 connection that goes on, too.
#[test]
fn http2_guard_is_released_while_the_connection_goes_on() {
    for runtime in RUNTIMES {
        let shutdown = Shutdown::new();
        let server = Running::start(runtime, &shutdown, Settings::default(), guarded(&shutdown));
        smol::block_on(async {
            let stream = smol::net::TcpStream::connect(server.address).await.unwrap();
            let (mut sender, connection) =
                hyper::client::conn::http2::Builder::new(SmolExecutor::default())
                    .handshake(FuturesIo::new(stream))
                    .await
                    .unwrap();
            let connection = smol::spawn(connection);
            for path in ["/", "/big/1000000", "/sleep/10"] {
                let request = Request::get(format!("http://test{path}"));
                let request = request.body(Empty::<Bytes>::new()).unwrap();
                let response = sender.send_request(request).await.unwrap();
                response.into_body().collect().await.unwrap();
                until("it is released", || held(&shutdown, "request") == 0);
                assert_eq!(held(&shutdown, "connection"), 1);
            }
            // One that the client gives up.
            let request = Request::get("http://test/sleep/600000");
            let request = request.body(Empty::<Bytes>::new()).unwrap();
            let response = smol::spawn(sender.send_request(request));
            until("it is in flight", || held(&shutdown, "request") == 1);
            drop(response);
            until("it is released", || held(&shutdown, "request") == 0);
            assert_eq!(held(&shutdown, "connection"), 1);
            shutdown.request_shutdown();
            drop(sender);
            connection.await.unwrap();
        });
        server.join().unwrap();
    }
}

/// I/O whose flush waits until it may go through, and whose writes find so much room.
#[derive(Clone, Default)]
struct Held(Arc<Mutex<State>>);

impl Held {
    fn change(&self, change: impl FnOnce(&mut State)) {
        let mut state = self.0.lock().unwrap();
        change(&mut state);
        if let Some(waker) = state.waker.take() {
            waker.wake();
        }
    }
}

#[derive(Default)]
struct State {
    input: Vec<u8>,
    output: Vec<u8>,
    may_flush: bool,
    /// Without a limit, if it is none.
    room: Option<usize>,
    waker: Option<Waker>,
}

impl Read for Held {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        mut buf: ReadBufCursor<'_>,
    ) -> Poll<io::Result<()>> {
        let mut state = self.0.lock().unwrap();
        if state.input.is_empty() {
            state.waker = Some(cx.waker().clone());
            return Poll::Pending;
        }
        let count = state.input.len().min(buf.remaining());
        buf.put_slice(&state.input[..count]);
        state.input.drain(..count);
        Poll::Ready(Ok(()))
    }
}

impl Write for Held {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        let mut state = self.0.lock().unwrap();
        let written = buf.len().min(state.room.unwrap_or(usize::MAX));
        if written == 0 {
            state.waker = Some(cx.waker().clone());
            return Poll::Pending;
        }
        state.room = state.room.map(|room| room - written);
        state.output.extend_from_slice(&buf[..written]);
        Poll::Ready(Ok(written))
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let mut state = self.0.lock().unwrap();
        if state.may_flush {
            return Poll::Ready(Ok(()));
        }
        state.waker = Some(cx.waker().clone());
        Poll::Pending
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}

#[test]
fn guard_is_held_until_the_flush_goes_through() {
    let shutdown = Shutdown::new();
    let io = Held::default();
    io.0.lock().unwrap().input = b"GET / HTTP/1.1\r\n\r\n".to_vec();
    let incoming = stream::once(Ok(io.clone())).chain(stream::pending());
    let server = Server::smol(&shutdown).serve(incoming, guarded(&shutdown));
    let server = smol::spawn(server);
    until("it is written", || {
        io.0.lock().unwrap().output.ends_with(b"hello")
    });
    // A guard that does not wait for the flush is most likely released by then.
    thread::sleep(Duration::from_millis(50));
    assert_eq!(held(&shutdown, "request"), 1);
    io.change(|state| state.may_flush = true);
    until("it is released", || held(&shutdown, "request") == 0);
    assert_eq!(held(&shutdown, "connection"), 1);
    shutdown.request_shutdown();
    smol::block_on(server).unwrap();
}

/// Whether the frames in `output` have the answer's head of a stream, all of it.
fn has_head(output: &[u8], stream: u32) -> bool {
    let mut rest = output;
    while let Some((kind, of, _, after)) = split_frame(rest) {
        if (kind, of) == (1, stream) {
            return true;
        }
        rest = after;
    }
    false
}

/// h2 flushes between frames too: the guard of an answer without a body waits for its own.
///
/// Mutation: `Monitor::polled` does not ask whether all is flushed.
#[test]
fn http2_guard_waits_for_the_head_of_its_answer_behind_another() {
    let shutdown = Shutdown::new();
    let respond = |request: Request<RequestBody>| async {
        match request.uri().path() {
            "/empty" => Ok(Response::new(Empty::new().boxed_unsync())),
            _ => answer(request).await,
        }
    };
    let layer = GuardLayer::named_by(&shutdown, |request| match request.uri.path() {
        "/empty" => "empty",
        _ => "big",
    });
    let service = ServiceBuilder::new()
        .layer(layer)
        .service_fn(respond)
        .map_response(|response| response.map(BodyExt::boxed_unsync));
    let io = Held::default();
    // SETTINGS with INITIAL_WINDOW_SIZE, and WINDOW_UPDATE: 8 MB for one answer.
    let settings = [0, 0, 6, 4, 0, 0, 0, 0, 0, 0, 4, 0x7f, 0xff, 0xff, 0xff];
    let update = [0, 0, 4, 8, 0, 0, 0, 0, 0, 0x7f, 0, 0, 0];
    io.change(|state| {
        state.may_flush = true;
        state.room = Some(1000);
        let big = get_frame(1, "/big/50000000");
        state.input = [PREFACE, &settings, SETTINGS_ACK, &update, &big].concat();
    });
    let incoming = stream::once(Ok(io.clone())).chain(stream::pending());
    let server =
        smol::spawn(Server::smol(&shutdown).serve(incoming, BoxCloneService::new(service)));
    until("the big one is in flight", || held(&shutdown, "big") == 1);
    until("there is no room", || io.0.lock().unwrap().room == Some(0));
    io.change(|state| state.input = get_frame(3, "/empty"));
    until("the empty one is in flight", || {
        held(&shutdown, "empty") == 1
    });
    loop {
        io.change(|state| state.room = Some(500));
        until("it is written", || io.0.lock().unwrap().room == Some(0));
        // In this order: the head may be written meanwhile.
        let released = held(&shutdown, "empty") == 0;
        if has_head(&io.0.lock().unwrap().output, 3) {
            break;
        }
        assert!(!released, "the head is not written");
    }
    io.change(|state| state.room = None);
    until("it is released", || held(&shutdown, "empty") == 0);
    drop(server);
}

#[test]
fn guard_of_a_request_that_is_broken_off() {
    for runtime in RUNTIMES {
        let shutdown = Shutdown::new();
        let server = Running::start(runtime, &shutdown, Settings::default(), guarded(&shutdown));
        let mut client = server.connect();
        client.request("/sleep/600000").unwrap();
        until("it is in flight", || held(&shutdown, "request") == 1);
        drop(client);
        until("it is released", || shutdown.in_flight() == 1);
        shutdown.request_shutdown();
        server.join().unwrap();
    }
}

#[test]
fn names_by_request_and_close() {
    let shutdown = Shutdown::new();
    let layer = GuardLayer::named_by(&shutdown, |request| match request.uri.path() {
        "/a" => "a",
        _ => "other",
    });
    let respond = |request: Request<()>| async move {
        let guard = request.extensions().get::<RequestGuard>().unwrap();
        assert!(!guard.waiter().is_stopping() || request.uri().path() == "/late");
        Ok::<_, Infallible>(Response::new(body("")))
    };
    let service = ServiceBuilder::new().layer(layer).service_fn(respond);
    let call = |path: &str, version| {
        let mut request = Request::new(());
        *request.uri_mut() = path.parse().unwrap();
        *request.version_mut() = version;
        smol::block_on(service.clone().oneshot(request)).unwrap()
    };
    let a = call("/a", http::Version::HTTP_11);
    assert_eq!((held(&shutdown, "a"), held(&shutdown, "other")), (1, 0));
    assert!(a.headers().get("connection").is_none());
    let b = call("/b", http::Version::HTTP_2);
    assert_eq!((held(&shutdown, "a"), held(&shutdown, "other")), (1, 1));
    drop((a, b));
    assert_eq!(shutdown.in_flight(), 0);

    shutdown.request_shutdown();
    let http1 = call("/late", http::Version::HTTP_11);
    assert_eq!(http1.headers()["connection"], "close");
    let http2 = call("/late", http::Version::HTTP_2);
    assert!(http2.headers().get("connection").is_none());
}

/// A client of HTTP/2 has not read that the server stops, because a long answer is in the buffers before
/// that, and sends a request when the server has just written the last of it.
///
/// Mutation: in `drive`, the time of a client begins when it is told.
#[test]
fn http2_request_behind_a_slow_answer_is_answered() {
    const WINDOW: u32 = 1 << 30;
    /// Less than the buffers of two sockets hold.
    const BUFFERED: usize = 1 << 20;
    for runtime in RUNTIMES {
        let (shutdown, settings) = (Shutdown::new(), Settings::default());
        let server = Running::start(runtime, &shutdown, settings, guarded(&shutdown));
        let mut client = server.connect();
        let (streams, connection) = (window_settings(WINDOW), window_update(0, WINDOW));
        let get = get_frame(1, &format!("/big/{SIZE}"));
        client
            .send([PREFACE, &streams, SETTINGS_ACK, &connection, &get].concat())
            .unwrap();
        until("it is answered", || held(&shutdown, "request") == 1);
        shutdown.request_shutdown();
        thread::sleep(settings.client_timeout * 3 / 2);
        while client.rest.len() < SIZE - BUFFERED {
            client.more().unwrap();
        }
        until("it is written", || held(&shutdown, "request") == 0);
        client.send(get_frame(3, "/")).unwrap();
        let all = client.until_closed();
        let (mut rest, mut answered) = (&all[..], false);
        while let Some((kind, stream, _, after)) = split_frame(rest) {
            answered |= (kind, stream) == (1, 3); // HEADERS
            rest = after;
        }
        assert!(answered, "{runtime:?}");
        server.join().unwrap();
    }
}

#[test]
fn stream_that_holds_a_guard() {
    let shutdown = Shutdown::new();
    let mut held = stream::iter([1, 2]).hold(shutdown.guard());
    assert_eq!(smol::block_on(held.next()), Some(1));
    assert_eq!(shutdown.in_flight(), 1);
    assert_eq!(smol::block_on(held.next()), Some(2));
    assert_eq!(smol::block_on(held.next()), None);
    assert_eq!(shutdown.in_flight(), 0);
}

/// Mutations: the `size_hint` of each, or `is_end_stream`, asks for what is inside alone.
#[test]
fn held_stream_or_body_that_has_ended_says_so() {
    let shutdown = Shutdown::new();
    let mut rows = stream::iter([1]).hold(shutdown.guard());
    while smol::block_on(rows.next()).is_some() {}
    assert_eq!(Stream::size_hint(&rows), (0, Some(0)));
    // It does not know its size, nor whether it has ended.
    let frames = stream::empty::<Result<Frame<Bytes>, Infallible>>();
    let mut frames = StreamBody::new(frames).hold(shutdown.guard());
    assert!(!frames.is_end_stream());
    assert!(smol::block_on(frames.frame()).is_none());
    assert!(frames.is_end_stream());
    assert_eq!(Body::size_hint(&frames).exact(), Some(0));
}

/// tower's buffers and limits may be called only when they are ready.
///
/// Mutation: `GuardService` is always ready.
#[test]
fn service_is_ready_when_the_one_inside_is() {
    #[derive(Clone)]
    struct Never;
    impl Service<Request<()>> for Never {
        type Response = Response<Empty<Bytes>>;
        type Error = Infallible;
        type Future = std::future::Ready<Result<Self::Response, Infallible>>;

        fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
            Poll::Pending
        }

        fn call(&mut self, _: Request<()>) -> Self::Future {
            unreachable!("it is not ready")
        }
    }
    let mut service = GuardLayer::new(&Shutdown::new(), "request").layer(Never);
    let cx = &mut Context::from_waker(Waker::noop());
    assert!(service.poll_ready(cx).is_pending());
}

/// Mutation: `Hold` releases the guard first.
#[test]
fn stream_that_has_ended_is_dropped_before_its_guard() {
    let shutdown = Shutdown::new();
    let (drops, dropped) = mpsc::channel();
    let owned = Owned(shutdown.clone(), "rows", drops);
    let rows = stream::poll_fn(move |_| {
        let _owned = &owned;
        Poll::Ready(None::<u8>)
    });
    let mut rows = rows.hold(shutdown.guard_named("rows"));
    for _ in 0..2 {
        assert_eq!(smol::block_on(rows.next()), None);
        assert_eq!(shutdown.in_flight(), 0);
    }
    assert_eq!(dropped.try_recv(), Ok(1));
}

#[test]
fn stream_that_ends_with_a_last_item() {
    let shutdown = Shutdown::new();
    let endless = || stream::once(1).chain(stream::pending());
    let (sender, polled) = mpsc::channel();
    let silent = stream::poll_fn(move |_| {
        let _ = sender.send(());
        Poll::Pending
    });
    let woken = stream::once(1).chain(silent);
    let mut woken = woken.end_with(shutdown.waiter(), || 9);
    assert_eq!(smol::block_on(woken.next()), Some(1));
    let woken = thread::spawn(move || smol::block_on(woken.collect::<Vec<_>>()));
    polled.recv_timeout(PATIENCE).unwrap();
    // What is ready is still given out; a stream that ends by itself has no last item.
    let ready = endless().end_with(shutdown.waiter(), || 9);
    let ended = stream::once(1).end_with(shutdown.waiter(), || 9);
    // One that is always ready ends too.
    let ready_always = stream::repeat(1).end_with(shutdown.waiter(), || 9);
    shutdown.request_shutdown();
    assert_eq!(woken.join().unwrap(), [9]);
    assert_eq!(smol::block_on(ready.collect::<Vec<_>>()), [1, 9]);
    assert_eq!(smol::block_on(ended.collect::<Vec<_>>()), [1]);
    let all = smol::block_on(ready_always.collect::<Vec<_>>());
    assert_eq!((all.len(), all.last()), (4097, Some(&9)));
}

/// tokio has a stream yield after a number of items.
///
/// Mutation: `EndWith` ends when the stream is pending for the first time.
#[tokio::test]
async fn all_that_is_ready_comes_before_the_last_item() {
    let shutdown = Shutdown::new();
    let (sender, mut receiver) = tokio::sync::mpsc::unbounded_channel();
    for item in 0..1000 {
        sender.send(item).unwrap();
    }
    let items = stream::poll_fn(move |cx| receiver.poll_recv(cx));
    let items = items.end_with(shutdown.waiter(), || 1000);
    shutdown.request_shutdown();
    let all = tokio::spawn(items.collect::<Vec<_>>()).await.unwrap();
    assert_eq!(all, (0..=1000).collect::<Vec<_>>());
}

/// A stream that panics when it is polled, and then when it is dropped.
struct PanicsTwice {
    polled: bool,
}

impl Stream for PanicsTwice {
    type Item = ();

    fn poll_next(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Option<()>> {
        self.polled = true;
        panic!("on purpose");
    }
}

impl Drop for PanicsTwice {
    fn drop(&mut self) {
        assert!(!self.polled, "on purpose, too");
    }
}

/// It is dropped while the first panic unwinds. A second that leaves a drop then would end the process.
///
/// Mutation: `Unwinding::drop` does not catch it.
#[test]
fn panic_of_a_drop_that_a_panic_causes_ends_no_process() {
    let shutdown = Shutdown::new();
    let guard = shutdown.guard_named("stream");
    let mut held = Box::pin(PanicsTwice { polled: false }.hold(guard));
    let poll = AssertUnwindSafe(|| future::block_on(held.next()));
    assert!(catch_unwind(poll).is_err());
    assert_eq!(
        (shutdown.in_flight(), panicked(&shutdown, "stream")),
        (0, 1)
    );
}
