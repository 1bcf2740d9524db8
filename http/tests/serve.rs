//! What a server does at a shutdown, with real sockets.

mod support;

use std::convert::Infallible;
use std::future;
use std::io::{self, ErrorKind};
#[cfg(unix)]
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::pin::pin;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::sync::{Arc, mpsc};
use std::task::Poll;
use std::thread;
use std::time::{Duration, Instant};

use bytes::Bytes;
use futures_lite::{StreamExt, stream};
use http::{Request, Response, StatusCode};
use http_body::Frame;
use http_body_util::{BodyExt, StreamBody};
use hyper_util::rt::TokioIo;
use smol_hyper::rt::{FuturesIo, SmolTimer};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tower::ServiceBuilder;
use tower::util::BoxCloneService;
use winddown::{DrainErrorKind, Shutdown};
#[cfg(unix)]
use winddown_http::TokioIncoming;
use winddown_http::{GuardLayer, RequestBody, Server, SmolIncoming};

use support::{
    AnyBody, App, Client, PREFACE, RUNTIMES, Running, SETTINGS_ACK, Settings, app, counted,
    get_frame, until,
};

fn start(runtime: support::Runtime, settings: Settings, app: App) -> Running {
    Running::start(runtime, &Shutdown::new(), settings, app)
}

#[test]
fn answers_and_ends() {
    for runtime in RUNTIMES {
        let server = start(runtime, Settings::default(), app());
        let mut client = server.connect();
        let answer = client.get("/").unwrap();
        assert_eq!(answer.body, b"hello");
        assert!(!answer.closes());
        assert_eq!(client.get("/sleep/1").unwrap().body, b"slept");
        server.shutdown.request_shutdown();
        let address = server.address;
        server.join().unwrap();
        assert_eq!(client.until_closed(), b"");
        let refused = std::net::TcpStream::connect(address).unwrap_err();
        assert_eq!(refused.kind(), ErrorKind::ConnectionRefused);
    }
}

#[test]
fn ends_at_once_without_connections() {
    for runtime in RUNTIMES {
        let pause = Duration::from_secs(30);
        let server = start(
            runtime,
            Settings {
                pause,
                ..Settings::default()
            },
            app(),
        );
        server.connect().get("/").unwrap(); // it runs, and has had a connection
        until("it has ended", || server.shutdown.in_flight() == 1);
        server.shutdown.request_shutdown();
        let start = Instant::now();
        server.join().unwrap();
        assert!(start.elapsed() < pause / 2);
    }
}

#[test]
fn request_in_flight_is_answered() {
    for runtime in RUNTIMES {
        let (app, begun) = counted(app());
        let server = start(runtime, Settings::default(), app);
        let mut client = server.connect();
        client.request("/sleep/600").unwrap();
        until("it is in flight", || begun.load(Relaxed) == 1);
        server.shutdown.request_shutdown();
        let answer = client.answer().unwrap();
        assert_eq!(answer.body, b"slept");
        assert!(answer.closes());
        server.join().unwrap();
        assert_eq!(client.until_closed(), b"");
    }
}

#[test]
fn lame_duck_accepts_and_says_close() {
    for runtime in RUNTIMES {
        let lame_duck = Duration::from_millis(400);
        let shutdown = Shutdown::builder().lame_duck(lame_duck).build();
        let server = Running::start(runtime, &shutdown, Settings::default(), app());
        let mut kept = server.connect();
        assert!(!kept.get("/").unwrap().closes());
        let start = Instant::now();
        shutdown.request_shutdown();
        assert!(server.connect().get("/").unwrap().closes());
        assert!(kept.get("/").unwrap().closes());
        assert_eq!(kept.until_closed(), b"");
        assert!(!shutdown.is_stopping() || start.elapsed() >= lame_duck);
        server.join().unwrap();
    }
}

/// The executor is blocked while connections and requests arrive, and the shutdown is requested. So all
/// of them are in the queue of the kernel.
#[test]
fn queued_connections_are_answered() {
    const CLIENTS: usize = 100;
    for runtime in RUNTIMES {
        for _ in 0..10 {
            let server = start(runtime, Settings::default(), app());
            let mut blockers: Vec<_> = (0..4).map(|_| server.connect()).collect();
            for blocker in &mut blockers {
                blocker.get("/").unwrap();
                blocker.request("/block/50").unwrap();
            }
            let mut clients: Vec<_> = (0..CLIENTS).map(|_| server.connect()).collect();
            for client in clients.iter_mut().step_by(2) {
                client.request("/").unwrap();
            }
            server.shutdown.request_shutdown();
            for client in clients.iter_mut().skip(1).step_by(2) {
                client.request("/").unwrap();
            }
            for client in &mut clients {
                let answer = client.answer().unwrap();
                assert_eq!(answer.body, b"hello");
            }
            server.join().unwrap();
        }
    }
}

/// The next request of a connection is in the receive buffer when the connection is told to finish: the
/// executor is blocked, and there is no pause.
#[test]
fn request_in_the_receive_buffer_is_answered() {
    const CLIENTS: usize = 50;
    let settings = Settings {
        pause: Duration::ZERO,
        ..Settings::default()
    };
    for runtime in RUNTIMES {
        for _ in 0..10 {
            let server = start(runtime, settings, app());
            let mut clients: Vec<_> = (0..CLIENTS).map(|_| server.connect()).collect();
            for client in &mut clients {
                client.get("/").unwrap();
            }
            let mut blockers: Vec<_> = (0..4).map(|_| server.connect()).collect();
            for blocker in &mut blockers {
                blocker.request("/block/20").unwrap();
            }
            for client in &mut clients {
                client.request("/").unwrap();
            }
            server.shutdown.request_shutdown();
            for client in &mut clients {
                assert_eq!(client.answer().unwrap().body, b"hello");
            }
            server.join().unwrap();
        }
    }
}

#[test]
fn limit_of_connections() {
    for runtime in RUNTIMES {
        let settings = Settings {
            max_connections: 2,
            ..Settings::default()
        };
        let server = start(runtime, settings, app());
        let mut first = server.connect();
        let mut second = server.connect();
        first.get("/").unwrap();
        second.get("/").unwrap();
        let mut third = server.connect();
        third.request("/").unwrap();
        let timeout = Some(Duration::from_millis(100));
        third.stream.set_read_timeout(timeout).unwrap();
        third.answer().unwrap_err();
        third
            .stream
            .set_read_timeout(Some(support::PATIENCE))
            .unwrap();
        assert_eq!(server.shutdown.in_flight(), 3); // with the listener
        drop(first);
        assert_eq!(third.answer().unwrap().body, b"hello");

        // The fourth is in the queue at the shutdown, and has room when an idle one was told to finish.
        let mut fourth = server.connect();
        fourth.request("/").unwrap();
        server.shutdown.request_shutdown();
        assert_eq!(fourth.answer().unwrap().body, b"hello");
        server.join().unwrap();
    }
}

/// Counts how often its tasks are polled.
#[derive(Clone, Default)]
struct CountingExecutor(Arc<AtomicUsize>);

impl<F> hyper::rt::Executor<F> for CountingExecutor
where
    F: Future<Output: Send> + Send + 'static,
{
    fn execute(&self, future: F) {
        let polls = self.0.clone();
        smol::spawn(async move {
            let mut future = pin!(future);
            future::poll_fn(|cx| {
                polls.fetch_add(1, Relaxed);
                future.as_mut().poll(cx)
            })
            .await
        })
        .detach();
    }
}

/// A task that is woken all the time keeps a processor busy.
#[test]
fn http2_request_in_flight_is_waited_for() {
    let shutdown = Shutdown::new();
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let mut client = Client::connect(listener.local_addr().unwrap());
    let incoming = SmolIncoming::new(smol::Async::new(listener).unwrap());
    let executor = CountingExecutor::default();
    let polls = executor.0.clone();
    let server = Server::new(&shutdown, executor, SmolTimer::new());
    let server = smol::spawn(server.serve(incoming, app()));
    // The preface comes in two pieces, most likely.
    client.send(&PREFACE[..10]).unwrap();
    until("it is accepted", || shutdown.in_flight() == 2);
    thread::sleep(Duration::from_millis(20));
    let begin = [&PREFACE[10..], SETTINGS_ACK, &get_frame(1, "/sleep/500")].concat();
    client.send(begin).unwrap();
    while !client.rest.ends_with(b"slept") {
        client.more().unwrap();
    }
    let polls = polls.load(Relaxed);
    assert!(polls < 100, "{polls} polls");
    drop(client);
    shutdown.request_shutdown();
    smol::block_on(server).unwrap();
}

/// A listener that always fails is asked ten times a second; but the first errors may each be of one connection.
#[test]
fn accept_pauses_after_errors() {
    const EMFILE: i32 = 24;
    for at_once in [1, 16] {
        let asked = Arc::<AtomicUsize>::default();
        let incoming = stream::poll_fn({
            let asked = asked.clone();
            move |_| {
                asked.fetch_add(1, Relaxed);
                let error = match at_once {
                    1 => io::Error::from_raw_os_error(EMFILE),
                    _ => ErrorKind::ConnectionReset.into(),
                };
                Poll::Ready(Some(Err::<TokioIo<tokio::net::TcpStream>, _>(error)))
            }
        });
        let shutdown = Shutdown::new();
        let server = Server::smol(&shutdown)
            .pause(Duration::from_millis(50))
            .client_timeout(Duration::from_millis(50));
        let begun = Instant::now();
        let server = smol::spawn(server.serve(incoming, app()));
        until("it was asked", || asked.load(Relaxed) >= at_once);
        thread::sleep(Duration::from_millis(500));
        let times = asked.load(Relaxed);
        let pauses = begun.elapsed().as_millis() / 100;
        let most = at_once + usize::try_from(pauses).unwrap();
        assert!(times <= most, "{times} times, not {most}");
        shutdown.request_shutdown();
        let error = smol::block_on(server).unwrap_err();
        assert!(error.listener.is_some() && error.drain.is_none());
    }
}

/// No connection makes room until the server gives up.
#[test]
fn queue_that_is_left_at_the_limit_is_an_error() {
    for runtime in RUNTIMES {
        let settings = Settings {
            pause: Duration::from_millis(50),
            client_timeout: Duration::from_millis(400),
            max_connections: 1,
            ..Settings::default()
        };
        for waits in [false, true] {
            let server = start(runtime, settings, app());
            let mut accepted = server.connect();
            accepted.get("/").unwrap();
            accepted.request("/sleep/1500").unwrap();
            let queued = waits.then(|| {
                [(); 2].map(|()| {
                    let mut client = server.connect();
                    client.request("/").unwrap();
                    client
                })
            });
            server.shutdown.request_shutdown();
            if let Some([mut first, mut second]) = queued {
                assert_eq!(first.answer().unwrap().body, b"hello");
                second.answer().unwrap_err();
            }
            assert_eq!(accepted.answer().unwrap().body, b"slept");
            let error = server.join().err();
            let error = error.map(|error| (error.to_string(), error.drain.is_none()));
            let expected =
                "can't accept connections: more may be left in the queue of the listener";
            assert_eq!(error, waits.then(|| (expected.to_owned(), true)));
        }
    }
}

#[test]
fn idle_connection_is_closed() {
    for runtime in RUNTIMES {
        let settings = Settings {
            idle_timeout: Duration::from_millis(100),
            ..Settings::default()
        };
        let server = start(runtime, settings, app());
        let silent = server.connect();
        let mut used = server.connect();
        used.get("/").unwrap();
        used.get("/sleep/150").unwrap();
        assert_eq!(silent.until_closed(), b"");
        assert_eq!(used.until_closed(), b"");
        assert!(!server.shutdown.is_requested());
        server.shutdown.request_shutdown();
        server.join().unwrap();
    }
}

/// A request head that comes too slowly ends its connection, without a shutdown.
#[test]
fn slow_head_is_cut_off() {
    for runtime in RUNTIMES {
        let settings = Settings {
            client_timeout: Duration::from_millis(200),
            ..Settings::default()
        };
        let server = start(runtime, settings, app());
        let mut slow = server.connect();
        let mut cut_off = false;
        for byte in b"GET / HTTP/1.1\r\nhost: test\r\n\r\n" {
            cut_off |= slow.send([*byte]).is_err();
            thread::sleep(Duration::from_millis(20));
        }
        assert!(cut_off || slow.answer().is_err());
        // A slow answer is none of its business.
        assert_eq!(server.connect().get("/sleep/400").unwrap().body, b"slept");
        assert!(!server.shutdown.is_requested());
        server.shutdown.request_shutdown();
        server.join().unwrap();
    }
}

#[test]
fn end_of_the_grace_period_names_what_is_open() {
    for runtime in RUNTIMES {
        let grace = Duration::from_millis(300);
        let shutdown = Shutdown::builder().grace_period(grace).build();
        let server = Running::start(runtime, &shutdown, Settings::default(), app());
        let request = shutdown.guard_named("request"); // as of a `GuardLayer`
        let mut client = server.connect();
        client.request("/sleep/600000").unwrap();
        until("it is in flight", || shutdown.in_flight() == 3);
        shutdown.request_shutdown();
        let error = server.join().unwrap_err();
        println!("{error}");
        assert!(error.listener.is_none());
        let drain = error.drain.unwrap();
        assert_eq!(drain.kind, DrainErrorKind::TimedOut);
        let names: Vec<_> = drain.report.iter().map(|line| line.name).collect();
        assert_eq!(names, [Some("request"), Some("connection")]);
        // It is dropped then.
        assert_eq!(client.until_closed(), b"");
        drop(request);
        until("its guard is released", || shutdown.in_flight() == 0);
    }
}

#[test]
fn force_ends_it() {
    for runtime in RUNTIMES {
        let server = start(runtime, Settings::default(), app());
        let mut client = server.connect();
        client.request("/sleep/600000").unwrap();
        until("it is in flight", || server.shutdown.in_flight() == 2);
        let shutdown = server.shutdown.clone();
        shutdown.request_shutdown();
        shutdown.request_shutdown();
        let error = server.join().unwrap_err();
        assert_eq!(error.drain.unwrap().kind, DrainErrorKind::Forced);
        assert_eq!(client.until_closed(), b"");
    }
}

#[test]
fn listener_that_fails() {
    let shutdown = Shutdown::new();
    let closed = || io::Error::from(ErrorKind::InvalidInput);
    let incoming = stream::once(Err::<FuturesIo<smol::net::TcpStream>, _>(closed()));
    let error = smol::block_on(Server::smol(&shutdown).serve(incoming, app())).unwrap_err();
    assert_eq!(error.listener.unwrap().kind(), ErrorKind::InvalidInput);
    assert!(error.drain.is_none());
    assert!(!shutdown.is_requested());
}

/// The last piece of an answer is not held back.
#[cfg(unix)]
#[tokio::test]
async fn connections_have_no_delay() {
    let connect = |address| thread::spawn(move || TcpStream::connect(address).unwrap());
    // That the runtime knows of, and that it does not.
    for known in [true, false] {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let client = connect(listener.local_addr().unwrap());
        if !known {
            client.join().unwrap();
        }
        let mut incoming = TokioIncoming::new(listener);
        let accepted = incoming.next().await.unwrap().unwrap();
        assert!(accepted.inner().nodelay().unwrap());
    }
    let listener = smol::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let _client = connect(listener.local_addr().unwrap());
    let mut incoming = SmolIncoming::new(listener);
    let accepted = incoming.next().await.unwrap().unwrap();
    assert!(accepted.get_ref().nodelay().unwrap());
}

/// Accepts a connection, as `incoming` gives one on smol.
fn accepted(listener: &TcpListener) -> FuturesIo<smol::net::TcpStream> {
    let (accepted, _) = listener.accept().unwrap();
    FuturesIo::new(smol::Async::new(accepted).unwrap().into())
}

/// Mutation: `close_if_requested` asks the waiter of the shutdown.
#[test]
fn listener_that_fails_ends_busy_connections() {
    let shutdown = Shutdown::new();
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let mut client = Client::connect(address);
    let io = accepted(&listener);
    let (fail, mut failure) = tokio::sync::mpsc::unbounded_channel();
    let incoming = stream::once(Ok(io)).chain(stream::poll_fn(move |cx| failure.poll_recv(cx)));
    let server = smol::spawn(Server::smol(&shutdown).serve(incoming, app()));
    assert!(!client.get("/").unwrap().closes());
    fail.send(Err(ErrorKind::InvalidInput.into())).unwrap();
    // It is never silent for the pause.
    until("an answer says close", || client.get("/").unwrap().closes());
    assert_eq!(client.until_closed(), b"");
    let error = smol::block_on(server).unwrap_err();
    assert!(error.drain.is_none());
    assert!(!shutdown.is_requested());
}

#[test]
fn report_names_the_line_that_made_the_server() {
    let shutdown = Shutdown::new();
    let servers = (Server::smol(&shutdown), Server::tokio(&shutdown));
    let report = shutdown.report();
    assert_eq!(report.guards(), 2);
    assert!(
        report.iter().all(|line| line.location.file() == file!()),
        "{report}"
    );
    drop(servers);
}

/// What a service of the program does when it is dropped takes its time, in which the kernel must not accept.
///
/// Mutation: `accept` drops the listener with its other arguments.
#[test]
fn listener_is_closed_before_the_service_is_dropped() {
    struct Service(SocketAddr, mpsc::Sender<io::Result<TcpStream>>);
    impl Drop for Service {
        fn drop(&mut self) {
            let _ = self.1.send(TcpStream::connect(self.0));
        }
    }
    let shutdown = Shutdown::new();
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let (sender, dropped) = mpsc::channel();
    let service = Service(listener.local_addr().unwrap(), sender);
    let incoming = SmolIncoming::new(smol::Async::new(listener).unwrap());
    let serve = Server::smol(&shutdown).serve_with(incoming, move |io| {
        let _ = &service;
        async { Ok((io, app())) }
    });
    shutdown.request_shutdown();
    smol::block_on(serve).unwrap();
    let refused = dropped.recv().unwrap().unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::ConnectionRefused);
}

/// A tunnel that the service does not make leaves the connection as it is.
///
/// Mutation: `close_if_requested` leaves out every answer to CONNECT.
#[test]
fn refused_connect_says_close() {
    for layer in [false, true] {
        let shutdown = Shutdown::new();
        let refuse = tower::service_fn(async |_| {
            let mut response = Response::new(support::body("no"));
            *response.status_mut() = StatusCode::METHOD_NOT_ALLOWED;
            Ok(response)
        });
        let app = match layer {
            true => BoxCloneService::new(
                ServiceBuilder::new()
                    .map_response(|response: Response<_>| response.map(AnyBody::new))
                    .layer(GuardLayer::new(&shutdown, "request"))
                    .service(refuse),
            ),
            false => BoxCloneService::new(refuse),
        };
        let server = Running::start(support::Runtime::Smol, &shutdown, Settings::default(), app);
        let mut client = server.connect();
        let mut connect = || {
            client
                .send("CONNECT there:1 HTTP/1.1\r\nhost: there:1\r\n\r\n")
                .unwrap();
            client.answer().unwrap()
        };
        assert!(!connect().closes());
        shutdown.request_shutdown();
        assert!(connect().closes());
        server.join().unwrap();
    }
}

#[test]
fn incoming_that_ends() {
    let shutdown = Shutdown::new();
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let client = thread::spawn(move || Client::connect(address).get("/").unwrap());
    let io = accepted(&listener);
    let incoming = stream::once(Ok(io));
    smol::block_on(Server::smol(&shutdown).serve(incoming, app())).unwrap();
    assert_eq!(client.join().unwrap().body, b"hello");
    assert!(!shutdown.is_requested());
}

/// hyper's services plug in as tower's do.
#[test]
fn service_of_hyper() {
    let shutdown = Shutdown::new();
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let incoming = SmolIncoming::new(smol::Async::new(listener).unwrap());
    let service = hyper::service::service_fn(support::answer);
    let server = smol::spawn(Server::smol(&shutdown).serve(incoming, service));
    assert_eq!(Client::connect(address).get("/").unwrap().body, b"hello");
    shutdown.request_shutdown();
    smol::block_on(server).unwrap();
}

#[cfg(unix)]
#[test]
fn unix_listeners() {
    use std::io::{Read, Write};
    use std::os::unix::net::{UnixListener, UnixStream};

    let ask = |path: &std::path::Path| {
        let mut client = UnixStream::connect(path).unwrap();
        client.write_all(b"GET / HTTP/1.0\r\n\r\n").unwrap();
        let mut answer = String::new();
        client.read_to_string(&mut answer).unwrap();
        assert!(answer.ends_with("hello"), "{answer}");
    };
    let directory = tempfile::tempdir().unwrap();

    let path = directory.path().join("smol");
    let listener = UnixListener::bind(&path).unwrap();
    let incoming = SmolIncoming::new(smol::Async::new(listener).unwrap());
    let shutdown = Shutdown::new();
    let incoming = incoming.refuse_on_shutdown(&shutdown).unwrap();
    let server = smol::spawn(Server::smol(&shutdown).serve(incoming, app()));
    ask(&path);
    shutdown.request_shutdown();
    smol::block_on(server).unwrap();

    let path = directory.path().join("tokio");
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let shutdown = Shutdown::new();
    let entered = runtime.enter();
    let listener = tokio::net::UnixListener::bind(&path).unwrap();
    let incoming = TokioIncoming::new(listener);
    let incoming = incoming.refuse_on_shutdown(&shutdown).unwrap();
    let server = tokio::spawn(Server::tokio(&shutdown).serve(incoming, app()));
    drop(entered);
    ask(&path);
    shutdown.request_shutdown();
    runtime.block_on(server).unwrap().unwrap();
}

/// Times that never end are no times, and the force ends the wait for room too.
#[test]
fn endless_times() {
    for runtime in RUNTIMES {
        let settings = Settings {
            pause: Duration::MAX,
            client_timeout: Duration::MAX,
            idle_timeout: Duration::MAX,
            max_connections: 1,
        };
        let server = start(runtime, settings, app());
        let mut client = server.connect();
        assert_eq!(client.get("/").unwrap().body, b"hello");
        client.send("GET / HTTP/1.1\r\n").unwrap();
        let _waiting = server.connect();
        server.shutdown.request_shutdown();
        // The server has most likely begun to wait. It ends in the same way if it has not.
        thread::sleep(Duration::from_millis(50));
        server.shutdown.request_shutdown();
        let error = server.join().unwrap_err();
        assert_eq!(error.drain.unwrap().kind, DrainErrorKind::Forced);
    }
}

/// Answers `/late/<ms>` with a head at once and a body of two parts, the second after that time;
/// `/upgrade/<ms>` with an upgrade after that time.
async fn late(request: Request<RequestBody>) -> Result<Response<AnyBody>, Infallible> {
    let path = request.uri().path().to_owned();
    let after = |ms: &str| smol::Timer::after(Duration::from_millis(ms.parse().unwrap()));
    if let Some(ms) = path.strip_prefix("/late/") {
        let timer = after(ms);
        let part = |bytes: &'static [u8]| Ok(Frame::data(Bytes::from_static(bytes)));
        let last = stream::once_future(async move {
            timer.await;
            part(b"last")
        });
        let body = StreamBody::new(stream::once(part(b"first")).chain(last));
        let mut response = Response::new(body.boxed_unsync());
        response.headers_mut().insert("content-length", 9.into());
        return Ok(response);
    }
    if let Some(ms) = path.strip_prefix("/upgrade/") {
        after(ms).await;
        smol::spawn(hyper::upgrade::on(request)).detach();
        let response = Response::builder().status(101);
        let response = response
            .header("connection", "upgrade")
            .header("upgrade", "echo");
        return Ok(response.body(support::body("")).unwrap());
    }
    support::answer(request).await
}

fn late_app() -> App {
    BoxCloneService::new(tower::service_fn(late))
}

/// Its head left before the shutdown, so it could not say `close`.
///
/// Mutation: `next` tells HTTP/1 at the stop, also while it answers.
#[test]
fn request_behind_an_answer_that_outlasts_the_pause() {
    for runtime in RUNTIMES {
        for pipelined in [true, false] {
            let server = start(runtime, Settings::default(), late_app());
            let mut client = server.connect();
            client.request("/late/600").unwrap();
            client.more().unwrap();
            if pipelined {
                client.request("/").unwrap();
                // The server has most likely polled the connection. It reads no request while it answers one.
                thread::sleep(Duration::from_millis(20));
            }
            server.shutdown.request_shutdown();
            let answer = client.answer().unwrap();
            assert_eq!(answer.body, b"firstlast");
            assert!(!answer.closes());
            if !pipelined {
                client.request("/").unwrap();
            }
            let next = client.answer().unwrap();
            assert_eq!((next.status(), next.closes()), (200, true));
            server.join().unwrap();
        }
    }
}

/// hyper would say `close` there too, which clients of websockets reject.
#[test]
fn upgrade_after_the_pause() {
    for runtime in RUNTIMES {
        let (app, begun) = counted(late_app());
        let server = start(runtime, Settings::default(), app);
        let mut client = server.connect();
        let head = "host: test\r\nconnection: upgrade\r\nupgrade: echo\r\n";
        client
            .send(format!("GET /upgrade/400 HTTP/1.1\r\n{head}\r\n"))
            .unwrap();
        until("it is in flight", || begun.load(Relaxed) == 1);
        server.shutdown.request_shutdown();
        let answer = client.answer().unwrap();
        assert_eq!(answer.status(), 101);
        assert!(
            answer
                .head
                .to_lowercase()
                .contains("connection: upgrade\r\n")
        );
        server.join().unwrap();
    }
}

/// Returns the options of the `connection` headers of an answer.
fn options(answer: &support::Answer) -> Vec<String> {
    let head = answer.head.to_lowercase();
    let values = head
        .lines()
        .filter_map(|line| line.strip_prefix("connection:"));
    let options = values.flat_map(|value| value.split(','));
    options.map(|option| option.trim().to_owned()).collect()
}

/// An answer that says `upgrade`, as a 426 has to, goes on to say it beside `close`.
///
/// Mutation: `say_close` inserts `close` alone.
#[test]
fn close_keeps_other_connection_options() {
    const CASES: [(&[&str], &[&str]); 6] = [
        (&["upgrade"], &["close", "upgrade"]),
        (
            &["Upgrade, x-a", "x-b"],
            &["close", "upgrade", "x-a", "x-b"],
        ),
        (&["upgrade, Close"], &["close", "upgrade"]),
        (&["x-closed"], &["close", "x-closed"]),
        (&["Keep-Alive"], &["close"]),
        (
            &["upgrade,keep-alive", "keep-alive , x-a,"],
            &["close", "upgrade", "x-a"],
        ),
    ];
    for layer in [false, true] {
        for (values, expected) in CASES {
            let shutdown = Shutdown::new();
            let upgrade = tower::service_fn(move |_| async move {
                let mut response = Response::builder().status(StatusCode::UPGRADE_REQUIRED);
                for value in values {
                    response = response.header("connection", *value);
                }
                let response = response.header("upgrade", "echo");
                Ok(response.body(support::body("")).unwrap())
            });
            let app = match layer {
                true => BoxCloneService::new(
                    ServiceBuilder::new()
                        .map_response(|response: Response<_>| response.map(AnyBody::new))
                        .layer(GuardLayer::new(&shutdown, "request"))
                        .service(upgrade),
                ),
                false => BoxCloneService::new(upgrade),
            };
            let runtime = support::Runtime::Smol;
            let server = Running::start(runtime, &shutdown, Settings::default(), app);
            let mut client = server.connect();
            until("it is accepted", || shutdown.in_flight() == 2);
            shutdown.request_shutdown();
            let answer = client.get("/").unwrap();
            let mut options = options(&answer);
            options.sort();
            assert_eq!(options, expected, "{values:?}, layer: {layer}");
            assert!(answer.head.contains("upgrade: echo\r\n"), "{}", answer.head);
            assert_eq!(client.until_closed(), b"");
            server.join().unwrap();
        }
    }
}

/// It would send its next request where it reads `keep-alive`.
///
/// Mutation: `close_if_requested` leaves the version of the answer.
#[test]
fn client_of_http_1_0_that_keeps_its_connection_is_told() {
    const GET: &str = "GET / HTTP/1.0\r\nhost: test\r\nconnection: keep-alive\r\n\r\n";
    for runtime in RUNTIMES {
        let server = start(runtime, Settings::default(), app());
        let mut client = server.connect();
        for (stop, said) in [(false, "keep-alive"), (true, "close")] {
            if stop {
                server.shutdown.request_shutdown();
            }
            client.send(GET).unwrap();
            let answer = client.answer().unwrap();
            assert_eq!(answer.body, b"hello");
            assert_eq!(options(&answer), [said], "{runtime:?}");
        }
        assert_eq!(client.until_closed(), b"");
        server.join().unwrap();
    }
}

/// In the lame duck of the whole, of which a phase hears only when it is over.
#[test]
fn answers_close_connections_once_the_whole_is_requested() {
    let hour = Duration::from_secs(3600);
    for runtime in RUNTIMES {
        let shutdown = Shutdown::builder().lame_duck(hour).build();
        let phase = shutdown.phase("http").build();
        let server = Running::start(runtime, &phase, Settings::default(), app());
        assert!(!server.connect().get("/").unwrap().closes());
        shutdown.request_shutdown();
        assert!(server.connect().get("/").unwrap().closes());
        phase.request_shutdown();
        server.join().unwrap();
    }
}

/// A connection that was idle for its time is closed a moment later, unless a request comes.
#[tokio::test(start_paused = true)]
async fn request_right_after_the_idle_time_keeps_its_connection() {
    let shutdown = Shutdown::new();
    let (mut client, io) = tokio::io::duplex(4096);
    let incoming = stream::once(Ok(TokioIo::new(io))).chain(stream::pending());
    let server = Server::tokio(&shutdown).idle_timeout(Duration::from_secs(2));
    tokio::spawn(server.serve(incoming, app()));
    for silent in [0, 2010, 1900, 2010] {
        tokio::time::sleep(Duration::from_millis(silent)).await;
        let request = b"GET / HTTP/1.1\r\nhost: test\r\n\r\n";
        client.write_all(request).await.unwrap();
        let mut answer = Vec::new();
        while !answer.ends_with(b"hello") {
            assert_ne!(
                client.read_buf(&mut answer).await.unwrap(),
                0,
                "it is closed"
            );
        }
    }
    let mut rest = Vec::new();
    client.read_to_end(&mut rest).await.unwrap();
    assert_eq!(rest, b"");
}

#[test]
fn serve_after_the_drain_closes_the_listener() {
    for requested in [false, true] {
        let shutdown = Shutdown::new();
        if requested {
            shutdown.request_shutdown();
        }
        shutdown.drain_blocking(Duration::ZERO).unwrap();
        let listener = smol::Async::<std::net::TcpListener>::bind(([127, 0, 0, 1], 0)).unwrap();
        let address = listener.get_ref().local_addr().unwrap();
        let served = Server::smol(&shutdown).serve(SmolIncoming::new(listener), app());
        smol::block_on(served).unwrap();
        std::net::TcpStream::connect(address).unwrap_err();
    }
}

/// What comes before it hangs.
#[test]
fn server_on_a_phase_that_is_never_asked_ends_at_the_deadline() {
    for runtime in RUNTIMES {
        let grace_period = Duration::from_secs(3);
        let shutdown = Shutdown::builder().grace_period(grace_period).build();
        let jobs = shutdown.phase("jobs").build();
        let hangs = jobs.guard();
        let phase = shutdown.phase("http").after(&jobs).build();
        let server = Running::start(runtime, &phase, Settings::default(), app());
        let mut client = server.connect();
        client.get("/").unwrap();
        let mut late = server.connect();
        late.request("/sleep/60000").unwrap();
        until("it is in flight", || phase.in_flight() == 3);
        shutdown.request_shutdown();
        assert_eq!(client.get("/").unwrap().body, b"hello", "it was not told");
        let error = server.join().unwrap_err();
        assert_eq!(error.drain.unwrap().kind, DrainErrorKind::TimedOut);
        assert_eq!(late.until_closed(), b"");
        drop(hangs);
    }
}

/// A phase that is asked and holds no guard is over, and refuses more; and so would be the phase of the
/// connections, without a pause.
#[test]
fn queue_of_a_phase_that_is_asked_before_serve() {
    for pause in [Duration::ZERO, Duration::from_millis(500)] {
        queue_is_served_after_the_request(pause);
    }
}

fn queue_is_served_after_the_request(pause: Duration) {
    let shutdown = Shutdown::new();
    let phase = shutdown.phase("http").build();
    let server = Server::smol(&phase).pause(pause);
    let listener = smol::Async::<std::net::TcpListener>::bind(([127, 0, 0, 1], 0)).unwrap();
    let mut client = Client::connect(listener.get_ref().local_addr().unwrap());
    client.request("/").unwrap();
    shutdown.request_shutdown();
    let served = smol::spawn(server.serve(SmolIncoming::new(listener), app()));
    assert_eq!(client.answer().unwrap().body, b"hello");
    smol::block_on(served).unwrap();
}

/// On the one thread of a runtime, and by the listener that does not ask the runtime.
///
/// Mutation: `Accept::take` never yields.
#[cfg(unix)]
#[test]
fn flood_of_connections_leaves_others_their_turn() {
    use std::os::unix::net::UnixStream;
    use std::sync::Arc;
    use std::sync::atomic::{AtomicBool, Ordering};

    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("socket");
    let shutdown = Shutdown::new();
    let of_server = shutdown.clone();
    let listener = std::os::unix::net::UnixListener::bind(&path).unwrap();
    listener.set_nonblocking(true).unwrap();
    let server = thread::spawn(move || {
        let mut builder = tokio::runtime::Builder::new_current_thread();
        builder.enable_all().build().unwrap().block_on(async {
            let listener = tokio::net::UnixListener::from_std(listener).unwrap();
            let server = Server::tokio(&of_server).pause(Duration::from_millis(100));
            let served = server.serve(TokioIncoming::new(listener), app());
            tokio::spawn(served).await.unwrap()
        })
    });
    let mut kept = UnixStream::connect(&path).unwrap();
    kept.set_read_timeout(Some(support::PATIENCE)).unwrap();
    let over = Arc::new(AtomicBool::new(false));
    let flood: Vec<_> = (0..4)
        .map(|_| {
            let (path, over) = (path.clone(), over.clone());
            thread::spawn(move || {
                // Until the server refuses.
                while !over.load(Ordering::Relaxed) && UnixStream::connect(&path).is_ok() {}
            })
        })
        .collect();
    thread::sleep(Duration::from_millis(300));
    for _ in 0..5 {
        // They end at once, unless their tasks have no turn.
        let open = shutdown.in_flight();
        assert!(open < 1000, "{open} are open");
        kept.write_all(b"GET / HTTP/1.1\r\nhost: test\r\n\r\n")
            .unwrap();
        assert!(kept.read(&mut [0; 4096]).unwrap() > 0);
    }
    over.store(true, Ordering::Relaxed);
    for client in flood {
        client.join().unwrap();
    }
    shutdown.request_shutdown();
    server.join().unwrap().unwrap();
}
