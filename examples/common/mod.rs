//! What the servers have in common: their arguments, and what each route means.
#![allow(unreachable_pub, reason = "a module of each example, not a crate")]

use std::env;
use std::fmt::Display;
use std::io::{self, Write};
use std::time::Duration;

use winddown::{DrainError, Shutdown};

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

    pub fn install(&self) -> Result<Shutdown, String> {
        Shutdown::builder()
            .lame_duck(self.lame_duck)
            // The time for all of it, from the request on.
            .grace_period(self.lame_duck.saturating_add(self.deadline))
            .install()
            .map_err(|error| error.to_string())
    }
}

/// `println!` panics if nobody reads any more, and in `server | tee log` Ctrl-C ends tee too. Requests
/// are answered all the same.
pub fn say(line: impl Display) {
    let _ = writeln!(io::stdout(), "{line}");
}

pub fn cant_listen(address: &str, error: &io::Error) -> String {
    format!("can't listen on {address}: {error}")
}

/// Returns the message for requests that outlasted the deadline.
pub fn late(options: &Options, error: &DrainError) -> String {
    let deadline = humantime::format_duration(options.deadline);
    let report = &error.report;
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

/// The routes.
pub fn route(shutdown: &Shutdown, method: &str, path: &str, query: Option<&str>) -> Action {
    say(format_args!("request: {method} {path}"));
    match (method, path) {
        ("GET", "/sleep") => match duration(query) {
            Ok(duration) => Action::Sleep(duration),
            Err(reason) => Action::Answer(400, format!("{reason}\n")),
        },
        ("GET", "/healthz") => Action::Answer(200, "ok\n".into()),
        ("GET", "/readyz") if shutdown.is_requested() => Action::Answer(503, "stopping\n".into()),
        ("GET", "/readyz") => Action::Answer(200, "ok\n".into()),
        ("POST", "/quit") => Action::Answer(200, format!("{}\n", shutdown.request_shutdown())),
        _ => Action::Answer(404, "not found\n".into()),
    }
}

/// The `duration` of a query such as `duration=5s`.
fn duration(query: Option<&str>) -> Result<Duration, String> {
    let value = query
        .unwrap_or_default()
        .split('&')
        .find_map(|pair| pair.strip_prefix("duration="))
        .ok_or("no duration given; try /sleep?duration=5s")?;
    humantime::parse_duration(value)
        .map_err(|error| format!("bad duration '{value}': {error}; try /sleep?duration=5s"))
}
