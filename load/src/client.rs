//! Clients that count what becomes of each request.
//!
//! Linux completes a handshake without the server: `connect` succeeds as soon as the kernel has answered,
//! and the connection then waits in the listener's queue. So a client knows what the kernel accepted:
//!
//! - *refused*: `connect` failed with `ECONNREFUSED`. Nothing was accepted, and nothing is lost.
//! - *answered*: status 200 and the whole body.
//! - *lost*: `connect` succeeded, and the connection was then reset, closed, or silent for [`PATIENCE`],
//!   without a whole answer. Also lost is a connection for which `connect` failed with `ECONNRESET`: the
//!   kernel had answered, and the reset came before `connect` returned.
//! - *idle*: a kept-alive connection that was found closed before its next request was written. HTTP lets
//!   a server close an idle connection, and a client that looks first loses nothing.
//! - *raced*: a request lost as above, but written after the connection had been idle for longer than
//!   [`IDLE`]. The server answered nothing on it for about as long as its pause, so it could not say
//!   `connection: close`, and its close may cross the request. HTTP/1 has no way to tell, so a server that
//!   closes idle connections can't avoid it. A client here waits far less, unless the machine is too busy
//!   to run it. A first request is never counted so.
//! - *wrong*: all else, such as another status, or a `connect` that fails otherwise.

use std::io::{self, ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

/// How long a client waits for an answer. Longer than a server's deadline: one that is late is no answer.
const PATIENCE: Duration = Duration::from_secs(15);

/// How long a connection has to be idle for its close to be an honest race: less than the pause of the
/// examples, by what a busy machine takes to run a client.
const IDLE: Duration = Duration::from_millis(400);

/// How many requests a client sends at most.
const MOST: u64 = 1_000_000;

const WELCOME: &[u8] = b"Welcome HTTP Server\n";

#[derive(Clone, Copy, PartialEq)]
pub enum Kind {
    /// Connects anew for each request.
    New,
    /// Sends requests on one connection for as long as the server keeps it.
    Kept,
}

#[derive(Default)]
pub struct Tally {
    pub answered: u64,
    pub refused: u64,
    pub idle: u64,
    pub raced: u64,
    pub lost: Vec<Lost>,
    pub wrong: Vec<String>,
}

/// A request that the server owed an answer.
pub struct Lost {
    pub how: String,
    /// Whether the connection was reset, as the kernel does if nothing has accepted it.
    #[cfg_attr(
        not(target_os = "linux"),
        expect(dead_code, reason = "`soak` alone asks")
    )]
    pub reset: bool,
    /// The number of requests that were answered before on this connection.
    pub answered: u64,
    /// When the connection was made.
    pub connected: Instant,
    /// When the request was written.
    pub written: Instant,
    /// When the loss was seen.
    pub seen: Instant,
}

impl Tally {
    pub fn add(&mut self, other: Self) {
        self.answered += other.answered;
        self.refused += other.refused;
        self.idle += other.idle;
        self.raced += other.raced;
        self.lost.extend(other.lost);
        self.wrong.extend(other.wrong);
    }

    /// Returns the number of requests lost that were the first on their connection.
    pub fn lost_first(&self) -> usize {
        self.lost.iter().filter(|lost| lost.answered == 0).count()
    }

    /// Returns the number of requests lost on a connection that had answered others before.
    pub fn lost_later(&self) -> usize {
        self.lost.len() - self.lost_first()
    }
}

/// What clients ask for.
#[derive(Clone, Copy)]
pub struct Plan {
    pub address: SocketAddr,
    /// The longest request, in milliseconds.
    pub longest: u64,
}

/// Clients that run until it is ended or dropped.
pub struct Load {
    over: Arc<AtomicBool>,
    answered: Arc<AtomicU64>,
    clients: Vec<JoinHandle<Tally>>,
}

impl Load {
    pub fn start(plan: Plan, kinds: impl IntoIterator<Item = Kind>) -> Self {
        let over = Arc::new(AtomicBool::new(false));
        let answered = Arc::new(AtomicU64::new(0));
        let client = |(index, kind)| {
            let client = Client {
                plan,
                kind,
                // Half of those that connect anew say so, and the others close without a word.
                says_close: kind == Kind::New && index % 2 == 0,
                random: fastrand::Rng::with_seed(index as u64),
                tally: Tally::default(),
            };
            let (over, answered) = (over.clone(), answered.clone());
            thread::spawn(move || client.run(&over, &answered))
        };
        let clients = kinds.into_iter().enumerate().map(client).collect();
        Self {
            over,
            answered,
            clients,
        }
    }

    /// Returns the number of requests answered until now.
    pub fn answered(&self) -> u64 {
        self.answered.load(Ordering::Relaxed) // no dependent data
    }

    /// Lets each client finish its request, and returns what they counted.
    pub fn end(mut self) -> Tally {
        self.over.store(true, Ordering::Relaxed);
        let mut tally = Tally::default();
        for client in self.clients.drain(..) {
            tally.add(client.join().expect("a client does not panic"));
        }
        tally
    }
}

impl Drop for Load {
    fn drop(&mut self) {
        self.over.store(true, Ordering::Relaxed);
    }
}

struct Client {
    plan: Plan,
    kind: Kind,
    says_close: bool,
    random: fastrand::Rng,
    tally: Tally,
}

impl Client {
    fn run(mut self, over: &AtomicBool, answered: &AtomicU64) -> Tally {
        let mut kept = None;
        // Relaxed: no dependent data.
        while !over.load(Ordering::Relaxed) && self.tally.answered < MOST {
            let before = self.tally.answered;
            kept = self.step(kept);
            answered.fetch_add(self.tally.answered - before, Ordering::Relaxed);
        }
        self.tally
    }

    /// Sends one request, if there is a server, and returns a connection that can be used again.
    fn step(&mut self, kept: Option<Connection>) -> Option<Connection> {
        let mut connection = match kept {
            Some(connection) if connection.is_closed() => {
                self.tally.idle += 1;
                return None;
            }
            Some(connection) => connection,
            None => match Connection::open(self.plan.address) {
                Ok(connection) => connection,
                Err(error) => {
                    match error.kind() {
                        ErrorKind::ConnectionRefused => self.tally.refused += 1,
                        ErrorKind::ConnectionReset => {
                            let now = Instant::now();
                            self.tally.lost.push(Lost {
                                how: format!("connect: {error}"),
                                reset: true,
                                answered: 0,
                                connected: now,
                                written: now,
                                seen: now,
                            });
                        }
                        _ => self.tally.wrong.push(format!("connect: {error}")),
                    }
                    // Until there is a server again.
                    thread::sleep(Duration::from_millis(5));
                    return None;
                }
            },
        };

        // Squared, so that most are short and connections are many.
        let share = self.random.f64() * self.random.f64();
        let duration = Duration::from_millis((share * (self.plan.longest + 1) as f64) as u64);
        let idle = connection.since.elapsed();
        let written = Instant::now();
        match connection.ask(duration, self.says_close) {
            Ok(Answer {
                status: 200,
                close,
                body,
            }) if body == WELCOME => {
                self.tally.answered += 1;
                if close || self.kind == Kind::New {
                    return None;
                }
                // A moment in which the connection is idle.
                thread::sleep(Duration::from_millis(
                    self.random.u64(0..=self.plan.longest / 2),
                ));
                Some(connection)
            }
            Ok(Answer { status, body, .. }) => {
                let body = String::from_utf8_lossy(&body);
                self.tally.wrong.push(format!("status {status}: {body:?}"));
                None
            }
            Err(_) if connection.answered > 0 && idle > IDLE => {
                self.tally.raced += 1;
                None
            }
            Err(error) => {
                self.tally.lost.push(Lost {
                    how: error.to_string(),
                    reset: error.kind() == ErrorKind::ConnectionReset,
                    answered: connection.answered,
                    connected: connection.connected,
                    written,
                    seen: Instant::now(),
                });
                None
            }
        }
    }
}

struct Answer {
    status: u16,
    close: bool,
    body: Vec<u8>,
}

pub struct Connection {
    stream: TcpStream,
    connected: Instant,
    /// When it was connected, or when the last answer was read.
    since: Instant,
    answered: u64,
}

impl Connection {
    /// Opens a connection with a request in flight that takes a minute: the server has accepted it,
    /// because it has answered another request.
    #[cfg(target_os = "linux")]
    pub fn hold(address: SocketAddr) -> io::Result<Self> {
        let mut connection = Self::open(address)?;
        connection.ask(Duration::ZERO, false)?;
        connection.write(Duration::from_secs(60), false)?;
        Ok(connection)
    }

    /// Asks on a new connection. The answer shows that the server has accepted all that were made before,
    /// because the queue of its listener is in order.
    pub fn probe(address: SocketAddr) -> io::Result<()> {
        Self::open(address)?.ask(Duration::ZERO, true).map(drop)
    }

    fn open(address: SocketAddr) -> io::Result<Self> {
        let stream = TcpStream::connect_timeout(&address, PATIENCE)?;
        stream.set_read_timeout(Some(PATIENCE))?;
        stream.set_write_timeout(Some(PATIENCE))?;
        stream.set_nodelay(true)?;
        let now = Instant::now();
        Ok(Self {
            stream,
            connected: now,
            since: now,
            answered: 0,
        })
    }

    /// Returns whether the server has closed it. Nothing else can arrive between two requests.
    fn is_closed(&self) -> bool {
        let peeked = self
            .stream
            .set_nonblocking(true)
            .and_then(|()| self.stream.peek(&mut [0]));
        let open = matches!(&peeked, Err(error) if error.kind() == ErrorKind::WouldBlock);
        !open || self.stream.set_nonblocking(false).is_err()
    }

    /// Sends a request, and reads the whole answer.
    fn ask(&mut self, duration: Duration, says_close: bool) -> io::Result<Answer> {
        let named = |what: &'static str| {
            move |error: io::Error| match error.kind() {
                // std's words for a timeout would not be understood.
                ErrorKind::WouldBlock => io::Error::other(format!("{what}: timed out")),
                kind => io::Error::new(kind, format!("{what}: {error}")),
            }
        };
        self.write(duration, says_close).map_err(named("write"))?;
        let answer = self.read().map_err(named("read"))?;
        self.since = Instant::now();
        self.answered += 1;
        Ok(answer)
    }

    fn write(&mut self, duration: Duration, says_close: bool) -> io::Result<()> {
        let duration = duration.as_millis();
        let close = if says_close {
            "connection: close\r\n"
        } else {
            ""
        };
        let head =
            format!("GET /sleep?duration={duration}ms HTTP/1.1\r\nhost: load\r\n{close}\r\n");
        self.stream.write_all(head.as_bytes())
    }

    fn read(&mut self) -> io::Result<Answer> {
        let mut bytes = Vec::new();
        let mut buffer = [0; 1024];
        loop {
            if let Some(answer) = parse(&bytes)? {
                return Ok(answer);
            }
            match self.stream.read(&mut buffer)? {
                0 if bytes.is_empty() => return Err(io::Error::other("closed without an answer")),
                0 => return Err(io::Error::other("closed within the answer")),
                read => bytes.extend_from_slice(&buffer[..read]),
            }
        }
    }
}

/// Returns the answer once all of it is there. It has a `content-length`.
fn parse(bytes: &[u8]) -> io::Result<Option<Answer>> {
    let Some(end) = bytes.windows(4).position(|four| four == b"\r\n\r\n") else {
        return Ok(None);
    };
    let malformed = || io::Error::other("not HTTP");
    let head = str::from_utf8(&bytes[..end]).map_err(|_| malformed())?;
    let mut lines = head.split("\r\n");
    let status = lines
        .next()
        .and_then(|line| line.split(' ').nth(1)?.parse().ok());
    let (mut length, mut close) = (0, false);
    for (name, value) in lines.filter_map(|line| line.split_once(':')) {
        match name.to_ascii_lowercase().as_str() {
            "content-length" => length = value.trim().parse().map_err(|_| malformed())?,
            "connection" => close = value.trim().eq_ignore_ascii_case("close"),
            _ => {}
        }
    }
    let body = &bytes[end + 4..];
    if body.len() < length {
        return Ok(None);
    }
    Ok(Some(Answer {
        status: status.ok_or_else(malformed)?,
        close,
        body: body.to_vec(),
    }))
}
