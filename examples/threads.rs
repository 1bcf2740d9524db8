//! An HTTP server on plain threads, one for each connection, that stops well.
//!
//! `cargo run --example threads -- [ADDRESS] [DEADLINE] [LAME_DUCK]`

mod common;

use std::collections::HashMap;
use std::io::{self, ErrorKind, Read, Write};
use std::net::{self, IpAddr, TcpStream};
use std::process::ExitCode;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::{self, ThreadId};
use std::time::Duration;

use smol::{Async, stream};
use winddown::{Shutdown, ShutdownExt};

use common::{Action, Options};

fn main() -> ExitCode {
    let served = Options::from_args().and_then(serve);
    match served {
        Ok(()) => ExitCode::SUCCESS,
        Err(message) => {
            common::say_error(format_args!("error: {message}"));
            ExitCode::FAILURE
        }
    }
}

fn serve(options: Options) -> Result<(), String> {
    let shutdown = options.install()?;
    let connections = shutdown.phase("connections").delay(common::PAUSE).build();
    let (listener, refusing) = options.listen(&shutdown)?;
    // Non-blocking from the start: the mode belongs to the socket, which a restarted server may share.
    let listener = Async::new(listener).map_err(|error| error.to_string())?;

    // Connections that the kernel has accepted are served, also those that wait in its queue.
    let idle = Arc::new(Idle::default());
    // Not after the loop below: it may need the descriptors of idle connections.
    let _told = connections.call_on_shutdown({
        let idle = idle.clone();
        move || idle.close()
    });
    let accepting = connections.guard();
    let start = |stream: Arc<TcpStream>| {
        let (shutdown, connections) = (shutdown.clone(), connections.clone());
        let (guard, idle) = (connections.guard(), idle.clone());
        thread::Builder::new().spawn(move || {
            let _guard = guard;
            connection(&stream, &shutdown, &connections, &idle);
        })
    };
    // Out of descriptors or threads, most likely: give the connections time to end.
    let pause = |error: &io::Error| {
        common::say_error(format_args!("can't accept: {error}"));
        thread::sleep(Duration::from_millis(100));
    };
    let mut left = None;
    let mut incoming = Box::pin(listener.incoming().finish_on_shutdown(shutdown.waiter()));
    for accepted in stream::block_on(&mut incoming) {
        let started = accepted.and_then(|stream| {
            let stream = stream.into_inner()?;
            stream.set_nonblocking(false)?;
            let stream = Arc::new(stream);
            // The same again, because it is accepted.
            loop {
                match start(stream.clone()) {
                    Ok(_) => return Ok(()),
                    Err(error) if !options.gives_up(&shutdown) => pause(&error),
                    Err(error) => {
                        // On this thread, which has nothing else to do any more.
                        connection(&stream, &shutdown, &connections, &idle);
                        return Err(error);
                    }
                }
            }
        });
        left = started.err();
        if let Some(error) = &left {
            pause(error);
            if options.gives_up(&shutdown) {
                break;
            }
        }
    }
    // The stream may have ended because its time was over, too.
    let left = left.filter(|_| options.gives_up(&shutdown));

    // From here on, new connections are refused.
    drop(incoming);
    drop(listener);
    drop(accepting);
    if let Some(cause) = shutdown.cause() {
        common::say(format_args!("stopping: {cause}"));
    }
    let drained = shutdown.drain_blocking(options.deadline);
    common::stopped(&options, drained, left, refusing)
}

/// Runs a connection until it has ended.
fn connection(stream: &Arc<TcpStream>, shutdown: &Shutdown, connections: &Shutdown, idle: &Idle) {
    if let Err(error) = requests(stream, shutdown, connections, idle) {
        common::say_error(format_args!("connection: {error}"));
    }
}

/// Answers one request after the other, until the client or the shutdown ends it.
fn requests(
    stream: &Arc<TcpStream>,
    shutdown: &Shutdown,
    connections: &Shutdown,
    idle: &Idle,
) -> io::Result<()> {
    let peer = stream.peer_addr()?.ip();
    stream.set_read_timeout(Some(common::HEADER_TIMEOUT))?;
    stream.set_write_timeout(Some(PATIENCE))?;
    let mut buffer = Vec::new();
    // Accepted late, for lack of descriptors: its first request may be on its way.
    let mut late = connections.is_stopping();
    loop {
        if !late && buffer.is_empty() && !idle.until_data(stream, connections)? {
            return Ok(());
        }
        late = false;
        let Some(head) = Head::read(stream, &mut buffer)? else {
            return respond(stream, 400, "", true, true);
        };
        let (status, body) = answer(&head, shutdown, peer);
        // In the lame duck too: on a new connection, the client reaches a server that stays.
        let close = head.close || shutdown.is_requested();
        respond(stream, status, &body, head.method != "HEAD", close)?;
        if close {
            return Ok(());
        }
    }
}

fn answer(head: &Head, shutdown: &Shutdown, peer: IpAddr) -> (u16, String) {
    let (path, query) = match head.target.split_once('?') {
        Some((path, query)) => (path, Some(query)),
        None => (head.target.as_str(), None),
    };
    match common::route(shutdown, peer, &head.method, path, query) {
        Action::Sleep(duration) => {
            thread::sleep(duration);
            (200, common::WELCOME.to_owned())
        }
        Action::Answer(status, body) => (status, body),
    }
}

/// How long a client may keep an idle connection, or take to read an answer.
const PATIENCE: Duration = Duration::from_secs(30);

/// The connections that wait for a request.
#[derive(Default)]
struct Idle(Mutex<HashMap<ThreadId, Arc<TcpStream>>>);

impl Idle {
    /// Waits until there is something to read. Returns `false` if there never will be.
    fn until_data(&self, stream: &Arc<TcpStream>, connections: &Shutdown) -> io::Result<bool> {
        let thread = thread::current().id();
        stream.set_read_timeout(Some(PATIENCE))?;
        {
            // Under the lock: either `close` comes later and finds this stream, or connections were
            // told before, which is seen here.
            let mut streams = self.lock();
            if connections.is_stopping() {
                stream.shutdown(net::Shutdown::Read)?;
            }
            streams.insert(thread, stream.clone());
        }
        // Takes no bytes: a connection that has read some is no longer idle.
        let peeked = uninterrupted(|| stream.peek(&mut [0]));
        self.lock().remove(&thread);
        stream.set_read_timeout(Some(common::HEADER_TIMEOUT))?;
        match peeked {
            Err(error) if error.kind() == ErrorKind::WouldBlock => Ok(false),
            peeked => Ok(peeked? > 0),
        }
    }

    /// Ends the wait of each, as if its client sent no more. What has arrived is still read.
    fn close(&self) {
        for stream in self.lock().values() {
            let _ = stream.shutdown(net::Shutdown::Read);
        }
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<ThreadId, Arc<TcpStream>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Calls `read` again if it was interrupted: a signal, or Ctrl-Z and `fg`, interrupts a read that has a
/// timeout, whatever `SA_RESTART` says.
fn uninterrupted(mut read: impl FnMut() -> io::Result<usize>) -> io::Result<usize> {
    loop {
        match read() {
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            done => return done,
        }
    }
}

/// The part of a request's head that matters here.
struct Head {
    method: String,
    target: String,
    /// No other request can follow on this connection.
    close: bool,
}

impl Head {
    /// Reads until the head is whole, and takes it out of the buffer. Returns `None` if it isn't HTTP,
    /// or is too long.
    fn read(mut stream: &TcpStream, buffer: &mut Vec<u8>) -> io::Result<Option<Self>> {
        let mut bytes = [0; 4096];
        loop {
            match Self::parse(buffer) {
                Ok(Some((head, length))) => {
                    buffer.drain(..length);
                    return Ok(Some(head));
                }
                Ok(None) if buffer.len() < 64 * 1024 => {}
                _ => return Ok(None),
            }
            match uninterrupted(|| stream.read(&mut bytes))? {
                0 => return Err(io::ErrorKind::UnexpectedEof.into()),
                read => buffer.extend_from_slice(&bytes[..read]),
            }
        }
    }

    /// The head and its length, unless there is more of it to come.
    fn parse(bytes: &[u8]) -> Result<Option<(Self, usize)>, httparse::Error> {
        let mut headers = [httparse::EMPTY_HEADER; 100];
        let mut request = httparse::Request::new(&mut headers);
        let httparse::Status::Complete(length) = request.parse(bytes)? else {
            return Ok(None);
        };
        // This server reads no bodies, so nothing can follow one.
        let close = request.version == Some(0)
            || request.headers.iter().any(|header| {
                let (name, value) = (header.name, header.value.trim_ascii());
                name.eq_ignore_ascii_case("content-length") && value != b"0"
                    || name.eq_ignore_ascii_case("transfer-encoding")
                    || name.eq_ignore_ascii_case("connection")
                        && value.eq_ignore_ascii_case(b"close")
            });
        let head = Self {
            method: request.method.unwrap_or_default().to_owned(),
            target: request.path.unwrap_or_default().to_owned(),
            close,
        };
        Ok(Some((head, length)))
    }
}

fn respond(
    mut stream: &TcpStream,
    status: u16,
    body: &str,
    with_body: bool,
    close: bool,
) -> io::Result<()> {
    let reason = match status {
        200 => "OK",
        400 => "Bad Request",
        404 => "Not Found",
        503 => "Service Unavailable",
        _ => "",
    };
    let length = body.len();
    let connection = if close { "close" } else { "keep-alive" };
    let mut text = format!(
        "HTTP/1.1 {status} {reason}\r\n\
         content-type: text/plain\r\n\
         content-length: {length}\r\n\
         connection: {connection}\r\n\r\n"
    );
    if with_body {
        text.push_str(body);
    }
    stream.write_all(text.as_bytes())
}
