//! What the servers have in common: their arguments, their listener, and what each route means.
#![allow(unreachable_pub, reason = "a module of each example, not a crate")]

use std::env;
use std::error::Error;
use std::fmt::Display;
use std::io::{self, Write};
use std::net::{IpAddr, TcpListener};
use std::pin::Pin;
use std::time::Duration;

use winddown::{Callback, DrainError, Report, Shutdown, ShutdownExt, Waiter};
use winddown_http::refuse_on_shutdown;

/// How long after the listener connections are told: a client whose connection was just accepted sends
/// its first request meanwhile.
pub const PAUSE: Duration = Duration::from_millis(500);

/// How long a client may take to send the head of a request.
pub const HEADER_TIMEOUT: Duration = Duration::from_secs(5);

/// How long a server that is late may take to say so, before its process is ended.
const MARGIN: Duration = Duration::from_secs(1);

/// `[ADDRESS] [DEADLINE] [LAME_DUCK]`, by default `127.0.0.1:8000`, `10s` and `0s`.
pub struct Options {
    pub address: String,
    /// How long requests in flight may take once the server has stopped accepting.
    pub deadline: Duration,
    /// How long the server accepts on after a SIGTERM, so that load balancers notice.
    pub lame_duck: Duration,
}

impl Options {
    pub fn from_args() -> Result<Self, String> {
        let mut args = env::args().skip(1);
        let address = args.next().unwrap_or_else(|| "127.0.0.1:8000".into());
        let mut duration = |what: &str, default: &str| {
            let value = args.next().unwrap_or_else(|| default.into());
            humantime::parse_duration(&value)
                .map_err(|error| format!("bad {what} '{value}': {error}; try '10s'"))
        };
        let deadline = duration("deadline", "10s")?;
        let lame_duck = duration("lame duck", "0s")?;
        match args.next() {
            None => Ok(Self {
                address,
                deadline,
                lame_duck,
            }),
            Some(extra) => Err(format!(
                "unexpected argument '{extra}'; usage: [ADDRESS] [DEADLINE] [LAME_DUCK]"
            )),
        }
    }

    /// Installs the shutdown. The drain ends with the deadline; this ends the process in any case.
    pub fn install(&self) -> Result<Shutdown, String> {
        let time = self.lame_duck.saturating_add(self.deadline);
        Shutdown::builder()
            .lame_duck(self.lame_duck)
            .grace_period(time.saturating_add(MARGIN))
            .force_at_deadline()
            .install()
            .map_err(|error| format!("{error:?}")) // with the error of the system
    }

    /// Returns whether a server that stops has to leave the queue of its listener, because it can't accept
    /// for lack of descriptors or threads. Half of the deadline is for what it has accepted.
    #[allow(dead_code, reason = "winddown-http gives up by itself")]
    pub fn gives_up(&self, shutdown: &Shutdown) -> bool {
        let half = self.deadline / 2 + MARGIN;
        shutdown.is_stopping() && shutdown.remaining().is_some_and(|left| left < half)
    }

    /// Returns the listener that the service manager holds for the program, as systemd does for a
    /// `.socket` unit; or else binds the address. Says that it listens.
    ///
    /// What else it returns is to be kept: at the shutdown, it has the kernel refuse new connections. Those
    /// in the queue stay. A listener of the service manager accepts for the next program.
    pub fn listen(&self, shutdown: &Shutdown) -> Result<(TcpListener, Option<Callback>), String> {
        let cant_listen = |error| format!("can't listen on {}: {error}", self.address);
        let inherited = listenfd::ListenFd::from_env().take_tcp_listener(0);
        let (listener, refusing) = match inherited.map_err(cant_listen)? {
            Some(listener) => (listener, None),
            None => {
                let listener = TcpListener::bind(&self.address).map_err(cant_listen)?;
                let refusing = refuse_on_shutdown(&listener, shutdown).map_err(cant_listen)?;
                (listener, Some(refusing))
            }
        };
        let address = listener.local_addr().map_err(cant_listen)?;
        say(format_args!("ready: listening on http://{address}"));
        Ok((listener, refusing))
    }
}

/// Prints a line. `println!` would panic if its reader is gone: in `server | tee log` Ctrl-C ends tee too.
/// Requests are answered all the same.
pub fn say(line: impl Display) {
    let _ = writeln!(io::stdout(), "{line}");
}

/// Prints a line to stderr, where `eprintln!` would panic: in `server 2>&1 | tee log` too.
pub fn say_error(line: impl Display) {
    let _ = writeln!(io::stderr(), "{line}");
}

/// Runs a connection until it has ended. At the shutdown `finish` has it answer the request in flight, if
/// there is one, and close.
#[allow(dead_code, reason = "not every server is on hyper itself")]
pub async fn serve<C, E>(connection: C, stop: Waiter, finish: impl FnOnce(Pin<&mut C>))
where
    C: Future<Output = Result<(), E>>,
    E: Error + 'static,
{
    let served = if stop.is_stopping() {
        // Accepted late, for lack of descriptors: its first request may be on its way, and the answer
        // will say that it was the last.
        connection.await
    } else {
        connection.on_shutdown(stop, finish).await
    };
    if let Err(error) = served {
        // A proxy may have closed it as soon as it had read that the answer was the last.
        let source = error.source().and_then(|source| source.downcast_ref());
        if source.map(io::Error::kind) != Some(io::ErrorKind::NotConnected) {
            say_error(format_args!("connection: {error}"));
        }
    }
}

/// Says that the server has stopped, or returns what it did not do. `left` is why it has left the queue of the
/// listener, if it has; a listener of the service manager, which is not `refusing`, keeps that for the next
/// program.
#[allow(dead_code, reason = "winddown-http knows by itself")]
pub fn stopped(
    options: &Options,
    drained: Result<(), DrainError>,
    left: Option<io::Error>,
    refusing: Option<Callback>,
) -> Result<(), String> {
    drained.map_err(|error| late(options, &error.report))?;
    match left.filter(|_| refusing.is_some()) {
        // Without a descriptor, it can't be known whether there were any.
        Some(error) => Err(format!(
            "connections may be left in the queue of the listener: {error}"
        )),
        None => {
            say(ALL_ANSWERED);
            Ok(())
        }
    }
}

pub const ALL_ANSWERED: &str = "stopped: every request was answered";

/// Returns the message for requests that outlasted the deadline.
pub fn late(options: &Options, report: &Report) -> String {
    let deadline = humantime::format_duration(options.deadline);
    format!("connections were still open after {deadline}; {report}")
}

/// What to do about a request.
pub enum Action {
    /// Wait, then answer 200 with [`WELCOME`].
    Sleep(Duration),
    /// Answer at once: the status, and the body.
    Answer(u16, String),
}

pub const WELCOME: &str = "Welcome HTTP Server\n";

/// Returns what to do about a request of the client at `peer`.
pub fn route(
    shutdown: &Shutdown,
    peer: IpAddr,
    method: &str,
    path: &str,
    query: Option<&str>,
) -> Action {
    say(format_args!("request: {method} {path}"));
    match (method, path) {
        ("GET", "/sleep") => match duration(query) {
            Ok(duration) => Action::Sleep(duration),
            Err(reason) => Action::Answer(400, format!("{reason}\n")),
        },
        ("GET", "/healthz") => Action::Answer(200, "ok\n".into()),
        ("GET", "/readyz") if shutdown.is_requested() => Action::Answer(503, "stopping\n".into()),
        ("GET", "/readyz") => Action::Answer(200, "ok\n".into()),
        // An administrator's order: only from this machine.
        ("POST", "/quit") if !peer.to_canonical().is_loopback() => {
            Action::Answer(403, "only from the loopback interface\n".into())
        }
        ("POST", "/quit") => Action::Answer(200, format!("{}\n", shutdown.request_shutdown())),
        _ => Action::Answer(404, "not found\n".into()),
    }
}

/// Returns the `duration` of a query such as `duration=5s`.
fn duration(query: Option<&str>) -> Result<Duration, String> {
    let value = query
        .unwrap_or_default()
        .split('&')
        .find_map(|pair| pair.strip_prefix("duration="))
        .ok_or("no duration given; try /sleep?duration=5s")?;
    humantime::parse_duration(value)
        .map_err(|error| format!("bad duration '{value}': {error}; try /sleep?duration=5s"))
}
