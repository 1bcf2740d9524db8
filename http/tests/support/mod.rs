//! Servers on each runtime, and clients on plain threads.
#![allow(dead_code, reason = "each test uses some of it")]
#![allow(unreachable_pub, reason = "a module of each test, not a crate")]

pub mod load;
pub mod pipe;

use std::convert::Infallible;
use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, mpsc};
use std::thread;
use std::time::{Duration, Instant};

use bytes::Bytes;
use http::{Request, Response};
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt, Full};
use tower::ServiceExt;
use tower::util::BoxCloneService;
use winddown::Shutdown;
use winddown_http::{RequestBody, ServeError, Server, SmolIncoming, TokioIncoming};

/// Longer than anything here takes, unless it hangs.
pub const PATIENCE: Duration = Duration::from_secs(60);

/// What an HTTP/2 client sends first, and its answer to the server's SETTINGS.
pub const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
pub const SETTINGS_ACK: &[u8] = &[0, 0, 0, 4, 1, 0, 0, 0, 0];

/// HEADERS with END_HEADERS and END_STREAM: GET, http, and this path, without an authority.
pub fn get_frame(stream: u32, path: &str) -> Vec<u8> {
    let length = u8::try_from(path.len()).unwrap();
    let mut frame = vec![0, 0, 4 + length, 1, 5];
    frame.extend(stream.to_be_bytes());
    frame.extend([0x82, 0x86, 0x04, length]);
    frame.extend(path.as_bytes());
    frame
}

/// SETTINGS_INITIAL_WINDOW_SIZE, which is that of streams.
pub fn window_settings(window: u32) -> Vec<u8> {
    let mut frame = vec![0, 0, 6, 4, 0, 0, 0, 0, 0, 0, 4];
    frame.extend(window.to_be_bytes());
    frame
}

pub fn window_update(stream: u32, more: u32) -> Vec<u8> {
    let mut frame = vec![0, 0, 4, 8, 0];
    frame.extend(stream.to_be_bytes());
    frame.extend(more.to_be_bytes());
    frame
}

/// Splits off the first frame of HTTP/2, if it is whole: its kind, its stream, its payload, and the rest.
pub fn split_frame(bytes: &[u8]) -> Option<(u8, u32, &[u8], &[u8])> {
    let (head, rest) = bytes.split_first_chunk::<9>()?;
    let [a, b, c, kind, _, stream @ ..] = *head;
    let length = u32::from_be_bytes([0, a, b, c]) as usize;
    let (payload, rest) = rest.split_at_checked(length)?;
    Some((kind, u32::from_be_bytes(stream), payload, rest))
}

pub type AnyBody = UnsyncBoxBody<Bytes, Infallible>;
pub type App = BoxCloneService<Request<RequestBody>, Response<AnyBody>, Infallible>;

#[derive(Clone, Copy, Debug)]
pub enum Runtime {
    Tokio,
    TokioOneThread,
    Smol,
}

pub const RUNTIMES: [Runtime; 3] = [Runtime::Tokio, Runtime::TokioOneThread, Runtime::Smol];

#[derive(Clone, Copy)]
pub struct Settings {
    pub pause: Duration,
    pub client_timeout: Duration,
    pub idle_timeout: Duration,
    pub max_connections: usize,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            pause: Duration::from_millis(200),
            client_timeout: Duration::from_secs(1),
            idle_timeout: Duration::from_secs(75),
            max_connections: usize::MAX,
        }
    }
}

impl Settings {
    fn apply<E>(self, server: Server<E>) -> Server<E> {
        server
            .pause(self.pause)
            .client_timeout(self.client_timeout)
            .idle_timeout(self.idle_timeout)
            .max_connections(self.max_connections)
    }
}

/// A server in a thread of its own.
pub struct Running {
    pub address: SocketAddr,
    pub shutdown: Shutdown,
    result: mpsc::Receiver<Result<(), ServeError>>,
}

impl Running {
    pub fn start(runtime: Runtime, shutdown: &Shutdown, settings: Settings, app: App) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        listener.set_nonblocking(true).unwrap();
        let address = listener.local_addr().unwrap();
        let (sender, result) = mpsc::channel();
        let of_server = shutdown.clone();
        thread::spawn(move || {
            let result = match runtime {
                Runtime::Smol => smol::block_on(async {
                    let listener = smol::Async::new(listener).unwrap();
                    let incoming = SmolIncoming::new(listener);
                    let incoming = incoming.refuse_on_shutdown(&of_server).unwrap();
                    let server = settings.apply(Server::smol(&of_server));
                    server.serve(incoming, app).await
                }),
                Runtime::Tokio | Runtime::TokioOneThread => {
                    let mut builder = match runtime {
                        Runtime::Tokio => tokio::runtime::Builder::new_multi_thread(),
                        _ => tokio::runtime::Builder::new_current_thread(),
                    };
                    let runtime = builder.worker_threads(2).enable_all().build().unwrap();
                    runtime.block_on(async {
                        let listener = tokio::net::TcpListener::from_std(listener).unwrap();
                        let incoming = TokioIncoming::new(listener);
                        let incoming = incoming.refuse_on_shutdown(&of_server).unwrap();
                        let server = settings.apply(Server::tokio(&of_server));
                        // As users do; the task of `block_on` is not woken as others are.
                        tokio::spawn(server.serve(incoming, app)).await.unwrap()
                    })
                }
            };
            let _ = sender.send(result);
        });
        Self {
            address,
            shutdown: shutdown.clone(),
            result,
        }
    }

    pub fn connect(&self) -> Client {
        Client::connect(self.address)
    }

    /// Waits until the server has ended.
    pub fn join(self) -> Result<(), ServeError> {
        self.result.recv_timeout(PATIENCE).expect("it hangs")
    }
}

pub fn body(bytes: impl Into<Bytes>) -> AnyBody {
    Full::new(bytes.into()).boxed_unsync()
}

/// Answers `/sleep/<ms>` after that time, `/block/<ms>` as well but blocking its thread, `/read` when it
/// has read the body, `/big/<bytes>` with so many bytes in one piece, and all else at once.
pub async fn answer(request: Request<RequestBody>) -> Result<Response<AnyBody>, Infallible> {
    let path = request.uri().path().to_owned();
    let mut parts = path.split('/').skip(1);
    let what = parts.next().unwrap_or_default();
    let number = parts.next().and_then(|it| it.parse().ok()).unwrap_or(0);
    let response = match what {
        "sleep" => {
            smol::Timer::after(Duration::from_millis(number)).await;
            Response::new(body("slept"))
        }
        "block" => {
            thread::sleep(Duration::from_millis(number));
            Response::new(body("blocked"))
        }
        "big" => Response::new(body(vec![b'x'; number as usize])),
        "read" => match request.into_body().collect().await {
            Ok(whole) => Response::new(body(format!("{} bytes", whole.to_bytes().len()))),
            Err(error) => {
                let mut response = Response::new(body(error.to_string()));
                *response.status_mut() = http::StatusCode::REQUEST_TIMEOUT;
                response
            }
        },
        _ => Response::new(body("hello")),
    };
    Ok(response)
}

pub fn app() -> App {
    BoxCloneService::new(tower::service_fn(answer))
}

/// Counts the requests that an app has begun to answer.
pub fn counted(app: App) -> (App, Arc<AtomicUsize>) {
    let begun = Arc::new(AtomicUsize::new(0));
    let counter = begun.clone();
    let count = move |request| {
        counter.fetch_add(1, Ordering::Relaxed); // no dependent data
        request
    };
    (BoxCloneService::new(app.map_request(count)), begun)
}

/// A blocking HTTP/1 client on one connection.
pub struct Client {
    pub stream: TcpStream,
    /// What was read beyond the last answer.
    pub rest: Vec<u8>,
}

#[derive(Debug)]
pub struct Answer {
    pub head: String,
    pub body: Vec<u8>,
}

impl Answer {
    pub fn status(&self) -> u16 {
        self.head[9..12].parse().unwrap()
    }

    pub fn closes(&self) -> bool {
        self.head.to_lowercase().contains("connection: close")
    }
}

impl Client {
    pub fn connect(address: SocketAddr) -> Self {
        Self::new(TcpStream::connect(address).unwrap())
    }

    pub fn new(stream: TcpStream) -> Self {
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        stream.set_nodelay(true).unwrap();
        Self {
            stream,
            rest: Vec::new(),
        }
    }

    pub fn send(&mut self, bytes: impl AsRef<[u8]>) -> io::Result<()> {
        self.stream.write_all(bytes.as_ref())
    }

    pub fn request(&mut self, path: &str) -> io::Result<()> {
        self.send(format!("GET {path} HTTP/1.1\r\nhost: test\r\n\r\n"))
    }

    pub fn get(&mut self, path: &str) -> io::Result<Answer> {
        self.request(path)?;
        self.answer()
    }

    /// Reads one answer with a `content-length`.
    pub fn answer(&mut self) -> io::Result<Answer> {
        let end = loop {
            if let Some(at) = self.rest.windows(4).position(|it| it == b"\r\n\r\n") {
                break at + 4;
            }
            self.more()?;
        };
        let head = String::from_utf8(self.rest.drain(..end).collect()).unwrap();
        let length = head
            .to_lowercase()
            .lines()
            .find_map(|line| line.strip_prefix("content-length: ").map(str::to_owned))
            .map_or(0, |length| length.parse().unwrap());
        while self.rest.len() < length {
            self.more()?;
        }
        let body = self.rest.drain(..length).collect();
        Ok(Answer { head, body })
    }

    pub fn more(&mut self) -> io::Result<()> {
        let mut buffer = vec![0; 65536];
        match self.stream.read(&mut buffer)? {
            0 => Err(io::ErrorKind::UnexpectedEof.into()),
            count => {
                self.rest.extend_from_slice(&buffer[..count]);
                Ok(())
            }
        }
    }

    /// Waits until the server closes the connection; returns what came before.
    pub fn until_closed(mut self) -> Vec<u8> {
        while self.more().is_ok() {}
        self.rest
    }
}

/// Runs `what` in a thread, and returns how long it took too.
pub fn timed<T: Send + 'static>(
    what: impl FnOnce() -> T + Send + 'static,
) -> thread::JoinHandle<(T, Duration)> {
    thread::spawn(move || {
        let start = Instant::now();
        (what(), start.elapsed())
    })
}

/// Asks again and again until it is so.
pub fn until(what: &str, mut is_so: impl FnMut() -> bool) {
    let start = Instant::now();
    while !is_so() {
        assert!(start.elapsed() < PATIENCE, "not so: {what}");
        thread::sleep(Duration::from_millis(1));
    }
}

/// The same in a task of tokio.
pub async fn eventually(what: &str, mut is_so: impl FnMut() -> bool) {
    let start = Instant::now();
    while !is_so() {
        assert!(start.elapsed() < PATIENCE, "not so: {what}");
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
}
