//! Clients that misbehave at a shutdown, beside clients that behave. The time of the former is bounded,
//! and is no error.

mod support;

use std::future;
use std::io::{self, Read, Write};
use std::net::TcpStream;
use std::thread;
use std::time::{Duration, Instant};

use futures_lite::AsyncReadExt;
use http::{Request, Response};
use http_body_util::BodyExt;
use socket2::{Domain, Socket, Type};
use tower::ServiceBuilder;
use tower::util::BoxCloneService;
use winddown::Shutdown;
use winddown_http::{GuardLayer, RequestBody, Server, SmolIncoming};

use support::{
    AnyBody, Client, PREFACE, RUNTIMES, Running, Runtime, SETTINGS_ACK, Settings, app, get_frame,
    split_frame, until, window_settings, window_update,
};

/// As long as a misbehaving client may take, and what a busy machine adds.
const CLIENT_TIMEOUT: Duration = Duration::from_secs(1);
const BOUND: Duration = Duration::from_millis(3500);

const SETTINGS: &[u8] = &[0, 0, 0, 4, 0, 0, 0, 0, 0];

fn start(runtime: Runtime, client_timeout: Duration) -> Running {
    let settings = Settings {
        client_timeout,
        ..Settings::default()
    };
    Running::start(runtime, &Shutdown::new(), settings, app())
}

/// Runs one client against a server on each runtime, beside clients that behave. `prepare` has it
/// misbehave before the shutdown; it stays connected until the server has ended.
fn misbehave(what: &str, prepare: impl Fn(&mut Client)) {
    misbehave_for(BOUND, what, prepare);
}

fn misbehave_for(bound: Duration, what: &str, prepare: impl Fn(&mut Client)) {
    for runtime in RUNTIMES {
        let shutdown = Shutdown::builder()
            .grace_period(Duration::from_secs(30))
            .build();
        let settings = Settings {
            client_timeout: CLIENT_TIMEOUT,
            ..Settings::default()
        };
        let server = Running::start(runtime, &shutdown, settings, app());
        let mut good = server.connect();
        good.get("/").unwrap();
        let mut slow = server.connect();
        slow.request("/sleep/300").unwrap();
        let mut bad = server.connect();
        prepare(&mut bad);
        // The listener, and three connections.
        until("all are accepted", || shutdown.in_flight() == 4);
        // The server has most likely read what they sent. A flood is never read.
        thread::sleep(Duration::from_millis(20));

        shutdown.request_shutdown();
        let start = Instant::now();
        assert!(good.get("/").unwrap().closes());
        assert_eq!(slow.answer().unwrap().body, b"slept");
        server.join().unwrap();
        let took = start.elapsed();
        println!("{what} on {runtime:?}: ended after {took:.2?}");
        assert!(took < bound, "{what} on {runtime:?}: {took:?}");
        drop(bad);
    }
}

#[test]
fn silent_client() {
    misbehave("silent", |_| {});
}

/// It needs no time of its own: there is nothing that it could be answering.
#[test]
fn silent_client_ends_when_it_is_told() {
    for runtime in RUNTIMES {
        let client_timeout = Duration::from_secs(60);
        let server = start(runtime, client_timeout);
        let silent = server.connect();
        let mut answered = server.connect();
        answered.get("/").unwrap();
        until("both are accepted", || server.shutdown.in_flight() == 3);
        server.shutdown.request_shutdown();
        let begun = Instant::now();
        server.join().unwrap();
        assert!(begun.elapsed() < client_timeout / 2);
        for client in [silent, answered] {
            assert_eq!(client.until_closed(), b"");
        }
    }
}

#[test]
fn silent_after_an_answer() {
    misbehave("silent after an answer", |client| {
        client.get("/").unwrap();
    });
}

#[test]
fn half_a_request_head() {
    misbehave("half a head", |client| {
        client.send("GET / HTTP/1.1\r\nHos").unwrap();
    });
}

#[test]
fn half_of_the_next_request_head() {
    misbehave("half of the next head", |client| {
        client.get("/").unwrap();
        client.send("GET / HTTP/1.1\r\nHos").unwrap();
    });
}

#[test]
fn body_that_is_never_finished() {
    misbehave("unfinished body", |client| {
        let head = "POST /read HTTP/1.1\r\nhost: test\r\ncontent-length: 100\r\n\r\nabc";
        client.send(head).unwrap();
    });
}

#[test]
fn chunked_body_that_is_never_finished() {
    misbehave("unfinished chunk", |client| {
        let head =
            "POST /read HTTP/1.1\r\nhost: test\r\ntransfer-encoding: chunked\r\n\r\n3\r\nabc\r\n";
        client.send(head).unwrap();
    });
}

#[test]
fn half_an_http2_preface() {
    misbehave("half a preface", |client| {
        client.send(&PREFACE[..10]).unwrap();
    });
}

#[test]
fn http2_preface_alone() {
    misbehave("HTTP/2 preface alone", |client| {
        client.send(PREFACE).unwrap();
    });
}

#[test]
fn http2_without_pong() {
    misbehave("HTTP/2 without PONG", |client| {
        client.send(PREFACE).unwrap();
        client.send(SETTINGS).unwrap();
        client.send(SETTINGS_ACK).unwrap();
    });
}

/// They do nothing, so they are no work that is late.
///
/// Mutation: `Times::within` leaves the time of a client as it is.
#[test]
fn slow_clients_end_in_a_grace_period_that_is_short() {
    let unfinished = b"POST /read HTTP/1.1\r\nhost: test\r\ncontent-length: 100\r\n\r\nabc";
    let without_pong = [PREFACE, SETTINGS, SETTINGS_ACK].concat();
    let sent: [&[u8]; 4] = [b"GET / HTTP/1.1\r\nHos", unfinished, PREFACE, &without_pong];
    let servers = RUNTIMES.map(|runtime| {
        let grace = Duration::from_secs(4);
        let shutdown = Shutdown::builder().grace_period(grace).build();
        let settings = Settings {
            client_timeout: Duration::from_secs(60),
            ..Settings::default()
        };
        let server = Running::start(runtime, &shutdown, settings, app());
        let clients = sent.map(|bytes| {
            let mut client = server.connect();
            client.send(bytes).unwrap();
            client
        });
        until("all are accepted", || shutdown.in_flight() == 5);
        (server, clients)
    });
    // The servers have most likely read what they sent.
    thread::sleep(Duration::from_millis(20));
    for (server, _) in &servers {
        server.shutdown.request_shutdown();
    }
    for (server, clients) in servers {
        server.join().unwrap();
        drop(clients);
    }
}

/// Sends these frames again and again, and reads what comes.
fn flood(client: &Client, frames: &[u8]) {
    let mut reader = client.stream.try_clone().unwrap();
    thread::spawn(move || io::copy(&mut reader, &mut io::sink()));
    let mut writer = client.stream.try_clone().unwrap();
    let many = frames.repeat(20_000);
    thread::spawn(move || while writer.write_all(&many).is_ok() {});
}

/// Answers the PING of the stop, once it has come.
fn pong(client: &mut Client) {
    let ping = loop {
        client.more().unwrap();
        let mut rest = &client.rest[..];
        let mut ping = None;
        while let Some((kind, _, payload, after)) = split_frame(rest) {
            if kind == 6 {
                ping = Some(payload.to_vec());
            }
            rest = after;
        }
        if let Some(payload) = ping {
            break payload;
        }
    };
    client
        .send([&[0, 0, 8, 6, 1, 0, 0, 0, 0], &ping[..]].concat())
        .unwrap();
}

const PING: &[u8] = &[0, 0, 8, 6, 0, 0, 0, 0, 0, 1, 1, 1, 1, 1, 1, 1, 1];

/// A client that answers the PING of the stop, and then goes on to send and does not close. It may be an upload
/// that was answered early, so it is bounded in time alone.
///
/// Mutation: `Monitor::idle` takes `heard` as it is.
#[test]
fn http2_flood_after_the_end() {
    for runtime in RUNTIMES {
        let server = start(runtime, CLIENT_TIMEOUT);
        let mut slow = server.connect();
        slow.request("/sleep/1000").unwrap();
        let mut client = server.connect();
        client
            .send([PREFACE, SETTINGS, SETTINGS_ACK].concat())
            .unwrap();
        until("both are accepted", || server.shutdown.in_flight() == 3);
        server.shutdown.request_shutdown();
        let start = Instant::now();
        pong(&mut client);
        flood(&client, PING);
        assert_eq!(slow.answer().unwrap().body, b"slept");
        server.join().unwrap();
        let took = start.elapsed();
        println!("a flood after the end on {runtime:?}: ended after {took:.2?}");
        assert!(took < BOUND + 2 * CLIENT_TIMEOUT, "{runtime:?}: {took:?}");
    }
}

/// Mutation: `Io::poll_in_turn` has no limit of reads.
#[test]
fn http2_flood_of_pings() {
    // What it sends when it is over is bounded in time alone: the windows that it was granted may be of any size.
    let bound = BOUND + 3 * CLIENT_TIMEOUT;
    misbehave_for(bound, "a flood of PINGs", |client| {
        let begin = [PREFACE, SETTINGS, SETTINGS_ACK].concat();
        client.send(begin).unwrap();
        flood(client, PING);
    });
}

/// Mutation: in `next`, an HTTP/2 connection has the time of a client after its last request.
#[test]
fn http2_requests_without_pong() {
    // It may be a slow reader, which has three more.
    let bound = BOUND + 3 * CLIENT_TIMEOUT;
    misbehave_for(bound, "requests and no PONG", |client| {
        let begin = [PREFACE, SETTINGS, SETTINGS_ACK].concat();
        client.send(begin).unwrap();
        let mut writer = client.stream.try_clone().unwrap();
        thread::spawn(move || {
            for stream in (1..).step_by(2) {
                if writer.write_all(&get_frame(stream, "/")).is_err() {
                    break;
                }
                thread::sleep(Duration::from_millis(300));
            }
        });
    });
}

/// A client of HTTP/2 reads a long answer slowly, by windows of this size, while the server stops. The end
/// of the answer, and what the server sends last, wait in the buffers of the kernels.
fn http2_slow_reader(window: u32) {
    for runtime in RUNTIMES {
        let in_time = (0..10).any(|_| http2_reads_slowly(runtime, window));
        assert!(in_time, "{runtime:?}: this machine is too busy");
    }
}

/// Returns whether the client had the whole answer, or `false` if a busy machine kept it from reading for longer
/// than it may take.
fn http2_reads_slowly(runtime: Runtime, window: u32) -> bool {
    const LENGTH: usize = 1_000_000;
    const PIECE: usize = 6000;
    const PACE: Duration = Duration::from_millis(10);
    let server = start(runtime, CLIENT_TIMEOUT);
    let mut client = server.connect();
    let settings = window_settings(window);
    let connection = window_update(0, window - 65_535 + 1);
    let get = get_frame(1, &format!("/big/{LENGTH}"));
    let begin = [PREFACE, &settings, SETTINGS_ACK, &connection, &get].concat();
    client.send(begin).unwrap();
    let (mut stopped, mut next) = (None, Instant::now());
    let (mut received, mut body) = (Vec::new(), 0);
    while body < LENGTH {
        let mut piece = [0; PIECE];
        let read = client.stream.read(&mut piece).unwrap_or(0);
        if read == 0 {
            let took = stopped.map_or(Duration::ZERO, |stopped: Instant| stopped.elapsed());
            println!("{runtime:?}: it ends after {body} bytes of the body, and {took:.2?}");
            assert!(took > 3 * CLIENT_TIMEOUT, "{runtime:?}: {body} bytes");
            return false;
        }
        received.extend_from_slice(&piece[..read]);
        let (mut given, mut rest) = (0, &received[..]);
        while let Some((kind, _, payload, after)) = split_frame(rest) {
            if kind == 0 {
                given += payload.len();
            }
            rest = after;
        }
        received = rest.to_vec();
        if body == 0 && given > 0 {
            server.shutdown.request_shutdown();
            stopped = Some(Instant::now());
        }
        body += given;
        if given > 0 && body < LENGTH {
            let given = u32::try_from(given).unwrap();
            let updates = [window_update(0, given), window_update(1, given)].concat();
            // The next read tells whether the server has closed.
            let _ = client.send(updates);
        }
        next += PACE;
        thread::sleep(next.saturating_duration_since(Instant::now()));
    }
    drop(client);
    server.join().unwrap();
    true
}

/// Mutation: `Io::poll_shutdown` does not wait.
#[test]
fn http2_slow_reader_with_small_windows() {
    http2_slow_reader(65_535);
}

/// Mutation: in `next`, `heard` changes nothing.
#[test]
fn http2_slow_reader_with_a_large_window() {
    http2_slow_reader(4_000_000);
}

/// A client of HTTP/2 sends all that its windows allow before it reads, though the service has answered a part of
/// that, as a limit of size does, and the server stops. A reset would have it lose what it has not received.
///
/// Mutation: `Io::poll_drop` ends after 64 KiB.
#[test]
fn http2_upload_that_is_answered_early() {
    /// What the windows of every server allow.
    const BEGIN: usize = 60_000;
    const READ: usize = 200_000;
    const LENGTH: usize = 60_000;
    const FRAME: usize = 10_000;
    /// What hyper's windows allow.
    const UPLOAD: usize = 1_000_000;
    const RECEIVED: usize = 4096;
    let early = |request: Request<RequestBody>| async {
        let (mut body, mut read) = (request.into_body(), 0);
        while read < READ {
            let frame = body.frame().await.unwrap().unwrap();
            read += frame.into_data().unwrap().len();
        }
        Ok(Response::new(support::body(vec![b'x'; LENGTH])))
    };
    let data = |bytes: usize| {
        let head = [
            &u32::try_from(FRAME).unwrap().to_be_bytes()[1..],
            &[0; 5],
            &[1],
        ]
        .concat();
        [head, vec![0; FRAME]].concat().repeat(bytes / FRAME)
    };
    for runtime in RUNTIMES {
        let shutdown = Shutdown::new();
        let settings = Settings {
            client_timeout: Duration::from_secs(30),
            ..Settings::default()
        };
        let app = ServiceBuilder::new()
            .map_response(|response: Response<_>| response.map(AnyBody::new))
            .layer(GuardLayer::new(&shutdown, "request"))
            .service_fn(early);
        let server = Running::start(runtime, &shutdown, settings, BoxCloneService::new(app));
        // The answer has no room in its buffer.
        let socket = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
        socket.set_recv_buffer_size(RECEIVED).unwrap();
        socket.connect(&server.address.into()).unwrap();
        let mut client = Client::new(socket.into());
        // HEADERS of stream 1 with END_HEADERS: POST, http, and the path.
        let post = [0, 0, 3, 1, 4, 0, 0, 0, 1, 0x83, 0x86, 0x84];
        let begin = [PREFACE, SETTINGS, SETTINGS_ACK, &post].concat();
        client.send([begin, data(BEGIN)].concat()).unwrap();
        let requested = || {
            shutdown
                .report()
                .iter()
                .any(|it| it.name == Some("request"))
        };
        until("it is in flight", requested);
        shutdown.request_shutdown();
        pong(&mut client);
        client.send(data(READ - BEGIN)).unwrap();
        until("it is answered", || !requested());
        // The server has most likely nothing else to do.
        client.send(data(UPLOAD - READ)).unwrap();
        let received = client.until_closed();
        let (mut body, mut rest) = (0, &received[..]);
        while let Some((kind, _, payload, after)) = split_frame(rest) {
            if kind == 0 {
                body += payload.len();
            }
            rest = after;
        }
        assert_eq!(body, LENGTH, "{runtime:?}");
        server.join().unwrap();
    }
}

/// Mutation: `RequestBody::poll_frame` forgets that the time is up.
#[test]
fn body_that_is_never_finished_ends_for_a_handler_that_skips_errors() {
    let skips = |request: Request<RequestBody>| async {
        let (mut body, mut errors) = (request.into_body(), 0);
        while let Some(frame) = body.frame().await {
            errors += usize::from(frame.is_err());
        }
        Ok(Response::new(support::body(errors.to_string())))
    };
    for runtime in RUNTIMES {
        let settings = Settings {
            client_timeout: CLIENT_TIMEOUT,
            ..Settings::default()
        };
        let app = BoxCloneService::new(tower::service_fn(skips));
        let server = Running::start(runtime, &Shutdown::new(), settings, app);
        let mut client = server.connect();
        let request = "POST / HTTP/1.1\r\nhost: test\r\ncontent-length: 100\r\n\r\nabc";
        client.send(request).unwrap();
        until("it is in flight", || server.shutdown.in_flight() == 2);
        server.shutdown.request_shutdown();
        assert_eq!(client.answer().unwrap().body, b"1");
        server.join().unwrap();
    }
}

/// HTTP/2 with half a header block, which never becomes a request.
#[test]
fn http2_half_a_request() {
    misbehave("HTTP/2, half a request", |client| {
        client.send(PREFACE).unwrap();
        client.send(SETTINGS).unwrap();
        client.send(SETTINGS_ACK).unwrap();
        // HEADERS of stream 1, without END_HEADERS.
        client.send([0, 0, 1, 1, 0, 0, 0, 0, 1, 0x82]).unwrap();
    });
}

/// HTTP/2 with CONNECT, which the service answers as all else.
///
/// Mutation: `AnswerFuture` takes every success for a tunnel.
#[test]
fn http2_connect_without_a_tunnel() {
    misbehave("HTTP/2, CONNECT", |client| {
        client
            .send([PREFACE, SETTINGS, SETTINGS_ACK].concat())
            .unwrap();
        // HEADERS of stream 1 with END_HEADERS: CONNECT, and an authority without an index.
        let head = [0, 0, 14, 1, 4, 0, 0, 0, 1];
        let block = *b"\x02\x07CONNECT\x01\x03a:1";
        client.send([&head[..], &block].concat()).unwrap();
        client.more().unwrap();
    });
}

/// HTTP/2 with a request whose body is never finished.
#[test]
fn http2_body_that_is_never_finished() {
    misbehave("HTTP/2, unfinished body", |client| {
        client.send(PREFACE).unwrap();
        client.send(SETTINGS).unwrap();
        client.send(SETTINGS_ACK).unwrap();
        // HEADERS of stream 1 with END_HEADERS: POST, http, /read, without an index.
        let block = [
            0x83, 0x86, 0x04, 5, b'/', b'r', b'e', b'a', b'd', 0x01, 1, b'x',
        ];
        client
            .send([0, 0, block.len() as u8, 1, 4, 0, 0, 0, 1])
            .unwrap();
        client.send(block).unwrap();
    });
}

/// The rest of a head that has begun when the connection is told to finish makes a request.
#[test]
fn second_half_of_a_head_is_answered() {
    for runtime in RUNTIMES {
        let server = Running::start(runtime, &Shutdown::new(), Settings::default(), app());
        let mut used = server.connect();
        used.get("/").unwrap();
        let fresh = server.connect();
        let mut clients = [used, fresh];
        for client in &mut clients {
            client.send("GET / HTTP/1.1\r\nHos").unwrap();
        }
        until("both are accepted", || server.shutdown.in_flight() == 3);
        server.shutdown.request_shutdown();
        // Meanwhile the server has read the first halves, and the connections are told.
        thread::sleep(Settings::default().pause + Duration::from_millis(200));
        for client in &mut clients {
            client.send("t: test\r\n\r\n").unwrap();
            let answer = client.answer().unwrap();
            assert_eq!(answer.body, b"hello");
            assert!(answer.closes());
        }
        server.join().unwrap();
    }
}

/// It begins with the first byte of a head, and ends with the last. Afterwards the client may be silent.
#[test]
fn client_timeout_is_for_each_head() {
    for runtime in RUNTIMES {
        let server = start(runtime, CLIENT_TIMEOUT);
        let mut client = server.connect();
        for _ in 0..2 {
            client.send("GET / HTTP/1.1\r\nHos").unwrap();
            // The server has most likely read it. If not, this checks less.
            thread::sleep(Duration::from_millis(20));
            client.send("t: test\r\n\r\n").unwrap();
            assert_eq!(client.answer().unwrap().body, b"hello");
            thread::sleep(CLIENT_TIMEOUT + Duration::from_millis(200));
        }
        server.shutdown.request_shutdown();
        server.join().unwrap();
    }
}

/// A connection that was just accepted sends its first request within the pause.
#[test]
fn new_connection_has_the_pause() {
    for runtime in RUNTIMES {
        let settings = Settings {
            pause: Duration::from_millis(600),
            ..Settings::default()
        };
        let server = Running::start(runtime, &Shutdown::new(), settings, app());
        let mut client = server.connect();
        server.shutdown.request_shutdown();
        thread::sleep(Duration::from_millis(300));
        let answer = client.get("/").unwrap();
        assert_eq!(answer.body, b"hello");
        assert!(answer.closes());
        server.join().unwrap();
    }
}

/// A client that reads slowly gets all of a large answer, within the grace period, and nothing else
/// bounds it.
#[test]
fn slow_reader_gets_everything() {
    const SIZE: usize = 64 << 20;
    for runtime in RUNTIMES {
        let shutdown = Shutdown::builder()
            .grace_period(Duration::from_secs(30))
            .build();
        let settings = Settings {
            client_timeout: Duration::from_millis(200),
            ..Settings::default()
        };
        let server = Running::start(runtime, &shutdown, settings, app());
        let mut client = server.connect();
        client.request(&format!("/big/{SIZE}")).unwrap();
        client.stream.peek(&mut [0]).unwrap(); // the answer has begun
        shutdown.request_shutdown();
        let start = Instant::now();
        let mut buffer = vec![0; SIZE / 8];
        let mut total = 0;
        let mut head = 0;
        loop {
            let count = client.stream.read(&mut buffer).unwrap();
            if count == 0 {
                break;
            }
            if head == 0 {
                head = 4 + buffer.windows(4).position(|it| it == b"\r\n\r\n").unwrap();
            }
            total += count;
            if total % 7 == 0 || total < SIZE / 2 {
                thread::sleep(Duration::from_millis(30));
            }
        }
        assert_eq!(total - head, SIZE);
        server.join().unwrap();
        println!("slow reader on {runtime:?}: {:.2?}", start.elapsed());
    }
}

/// Half a TLS handshake, as the server sees it: its future waits for more bytes.
#[test]
fn half_a_handshake() {
    let shutdown = Shutdown::new();
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let listener = smol::Async::new(listener).unwrap();
    let server = Server::smol(&shutdown)
        .pause(Duration::from_millis(100))
        .client_timeout(CLIENT_TIMEOUT)
        .serve_with(SmolIncoming::new(listener), |io| async move {
            let mut io = io;
            let mut hello = [0; 8];
            io.get_mut().read_exact(&mut hello).await?;
            Ok((io, app()))
        });
    let client = thread::spawn({
        let shutdown = shutdown.clone();
        move || {
            let mut bad = TcpStream::connect(address).unwrap();
            bad.write_all(b"half").unwrap();
            let mut good = Client::connect(address);
            good.send("a hello.").unwrap();
            good.get("/").unwrap();
            let mut late = Client::connect(address);
            until("all are accepted", || shutdown.in_flight() == 4);
            shutdown.request_shutdown();
            let start = Instant::now();
            // Its handshake ends when the connections were told to finish.
            thread::sleep(Duration::from_millis(300));
            late.send("a hello.").unwrap();
            // Within the pause that it has of its own.
            thread::sleep(Duration::from_millis(50));
            assert_eq!(late.get("/").unwrap().body, b"hello");
            (start, bad)
        }
    });
    smol::block_on(server).unwrap();
    let (start, _bad) = client.join().unwrap();
    let took = start.elapsed();
    println!("half a handshake: ended after {took:.2?}");
    assert!(took < BOUND, "{took:?}");
}

/// A handshake that fails ends its connection only.
#[test]
fn handshake_that_fails() {
    let shutdown = Shutdown::new();
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let listener = smol::Async::new(listener).unwrap();
    let mut count = 0;
    let server = Server::smol(&shutdown).serve_with(SmolIncoming::new(listener), move |io| {
        count += 1;
        future::ready(match count {
            1 => Err(io::ErrorKind::InvalidData.into()),
            _ => Ok((io, app())),
        })
    });
    let client = thread::spawn(move || {
        assert_eq!(Client::connect(address).until_closed(), b"");
        let answer = Client::connect(address).get("/").unwrap();
        assert_eq!(answer.body, b"hello");
        shutdown.request_shutdown();
    });
    smol::block_on(server).unwrap();
    client.join().unwrap();
}
