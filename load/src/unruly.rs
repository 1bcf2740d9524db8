//! Stops while some clients misbehave: the others are answered, and the stop takes a bounded time.

use std::io::{self, Write};
use std::iter;
use std::net::{SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::thread;
use std::time::Duration;

use nix::sys::signal::Signal;

use crate::client::{Connection, Kind, Load, Plan};
use crate::server::{Config, Server};
use crate::settings::{Settings, name};
use crate::table::Table;

/// What a client sends before it falls silent, and never reads.
pub const UNRULY: [(&str, &[u8]); 3] = [
    ("silent", b""),
    ("half a head", b"GET / HTTP/1.1\r\nHos"),
    ("HTTP/2 preface", b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"),
];

/// How many of them there are.
const COUNT: usize = 8;

/// The longest request of the other clients, in milliseconds.
const LONGEST: u64 = 50;

/// How long a stop may take: the header timeout of the examples (5 s), the pause before that (0.5 s), and
/// some time for a busy machine. Less than the deadline, which would be a failure.
const BOUND: Duration = Duration::from_millis(6_500);

pub fn run(settings: &Settings, programs: &[PathBuf]) -> Result<(), String> {
    println!(
        "{COUNT} clients that misbehave, beside {} others.",
        settings.clients
    );
    let table = Table::new(&[
        "server",
        "misbehaves as",
        "answered",
        "lost",
        "exit ms",
        "exit code",
    ]);
    let mut wrong = Vec::new();
    for program in programs {
        for (title, sent) in UNRULY {
            let title = (title, sent);
            if let Err(error) = stop(settings, program, title, &table) {
                wrong.push(format!("{}, {}: {error}", name(program), title.0));
            }
        }
    }
    match wrong.is_empty() {
        true => Ok(()),
        false => Err(wrong.join("\n")),
    }
}

fn stop(
    settings: &Settings,
    program: &Path,
    (title, sent): (&str, &[u8]),
    table: &Table,
) -> Result<(), String> {
    let server = Server::bind(program, &Config::default())?;
    let address = server.wait_until_ready()?;
    let plan = Plan {
        address,
        longest: LONGEST,
    };
    let kinds = iter::repeat([Kind::New, Kind::Kept]).flatten();
    let load = Load::start(plan, kinds.take(settings.clients));
    thread::sleep(Duration::from_millis(200));
    let unruly = unruly(address, sent)?;
    Connection::probe(address).map_err(|error| format!("a client beside them: {error}"))?;
    // The server has most likely read what they sent.
    thread::sleep(Duration::from_millis(100));
    let end = server.stop(Signal::SIGTERM)?;
    let tally = load.end();
    drop(unruly);

    let code = end.status.code();
    table.row(&[
        name(program),
        title.into(),
        tally.answered.to_string(),
        tally.lost.len().to_string(),
        end.time.as_millis().to_string(),
        code.map_or_else(|| end.status.to_string(), |code| code.to_string()),
    ]);
    if !end.status.success() {
        return Err(end.status.to_string());
    }
    if end.time > BOUND {
        return Err(format!("it took {:?}", end.time));
    }
    if tally.answered < settings.clients as u64 || !tally.lost.is_empty() || !tally.wrong.is_empty()
    {
        return Err(format!(
            "of the others, {} requests were answered, {} lost, and wrong are {:?}",
            tally.answered,
            tally.lost.len(),
            tally.wrong
        ));
    }
    Ok(())
}

/// Connects clients that misbehave, and sends this from each.
pub fn unruly(address: SocketAddr, sent: &[u8]) -> Result<Vec<TcpStream>, String> {
    let unruly: io::Result<Vec<_>> = (0..COUNT).map(|_| misbehave(address, sent)).collect();
    unruly.map_err(|error| format!("a client that misbehaves: {error}"))
}

fn misbehave(address: SocketAddr, sent: &[u8]) -> io::Result<TcpStream> {
    let mut stream = TcpStream::connect_timeout(&address, Duration::from_secs(5))?;
    stream.write_all(sent)?;
    Ok(stream)
}
