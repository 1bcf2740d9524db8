//! Stops under load.
//!
//! Nothing may be lost. A server that only takes what the queue holds, and closes its listener at once, has
//! one connection reset in 20 to 200 stops here: a handshake may end between its last look and the close.
//! So the servers have the kernel refuse new connections before, which needs Linux 5.7.

use std::collections::BTreeMap;
use std::iter;
use std::path::{Path, PathBuf};
use std::thread;
use std::time::{Duration, Instant};

use nix::sys::signal::Signal;

use crate::client::{Kind, Load, Lost, Plan, Tally};
use crate::server::{Config, Server};
use crate::settings::{Settings, name, old_wiring};
use crate::table::{Table, median_and_max};

/// The longest request, in milliseconds.
const LONGEST: u64 = 50;

/// A run in which fewer requests were answered for each stop shows nothing.
const LEAST: u64 = 100;

/// The stops of one server under one kind of client.
#[derive(Default)]
struct Stops {
    tally: Tally,
    times: Vec<Duration>,
    codes: BTreeMap<String, usize>,
    losses: Vec<String>,
}

pub fn run(settings: &Settings, programs: &[PathBuf]) -> Result<(), String> {
    println!(
        "{} stops of each, SIGTERM and SIGINT in turn, {} clients, requests of 0 to {LONGEST} ms.",
        settings.stops, settings.clients
    );
    println!("lost new: the first request on a connection; lost kept: a later one.");
    let table = Table::new(&[
        "server",
        "clients",
        "answered",
        "refused",
        "lost new",
        "lost kept",
        "raced",
        "idle",
        "exit ms, median/max",
        "exit codes",
    ]);
    let mut wrong = Vec::new();
    for program in programs {
        for kind in [Kind::New, Kind::Kept] {
            let stops = stops(settings, program, kind, &table)?;
            stops.judge(settings, &title(program, kind), &mut wrong);
        }
    }
    let mut lost = 0;
    for kind in [Kind::New, Kind::Kept] {
        let old = old_wiring()?;
        lost += stops(settings, &old, kind, &table)?.tally.lost.len();
    }
    if lost == 0 {
        wrong.push("the old wiring lost nothing either, so this shows nothing".into());
    }
    match wrong.is_empty() {
        true => Ok(()),
        false => Err(wrong.join("\n")),
    }
}

fn title(program: &Path, kind: Kind) -> String {
    let kind = match kind {
        Kind::New => "new",
        Kind::Kept => "kept",
    };
    format!("{}, {kind}", name(program))
}

fn stops(settings: &Settings, program: &Path, kind: Kind, table: &Table) -> Result<Stops, String> {
    let mut stops = Stops::default();
    let mut random = fastrand::Rng::with_seed(settings.stops as u64);
    for index in 0..settings.stops {
        let signal = [Signal::SIGTERM, Signal::SIGINT][index % 2];
        let load_time = Duration::from_millis(random.u64(300..500));
        stops
            .stop(settings, program, kind, signal, load_time)
            .map_err(|error| format!("{}: {error}", title(program, kind)))?;
    }
    let tally = &stops.tally;
    let codes: Vec<_> = stops
        .codes
        .iter()
        .map(|(code, times)| format!("{times} x {code}"))
        .collect();
    table.row(&[
        name(program),
        title(program, kind)
            .rsplit(' ')
            .next()
            .unwrap_or_default()
            .into(),
        tally.answered.to_string(),
        tally.refused.to_string(),
        tally.lost_first().to_string(),
        tally.lost_later().to_string(),
        tally.raced.to_string(),
        tally.idle.to_string(),
        median_and_max(&mut stops.times.clone()),
        codes.join(", "),
    ]);
    let mut causes = BTreeMap::new();
    for loss in &stops.losses {
        *causes.entry(loss).or_insert(0) += 1;
    }
    for (loss, times) in causes.into_iter().take(8) {
        println!("    {times} x {loss}");
    }
    Ok(stops)
}

impl Stops {
    fn stop(
        &mut self,
        settings: &Settings,
        program: &Path,
        kind: Kind,
        signal: Signal,
        load_time: Duration,
    ) -> Result<(), String> {
        let server = Server::bind(program, &Config::default())?;
        let address = server.wait_until_ready()?;
        let plan = Plan {
            address,
            longest: LONGEST,
        };
        let load = Load::start(plan, iter::repeat_n(kind, settings.clients));
        thread::sleep(load_time);
        let asked = Instant::now();
        let end = server.stop(signal)?;
        let tally = load.end();
        let code = end.status.code();
        let code = code.map_or_else(|| end.status.to_string(), |code| code.to_string());
        *self.codes.entry(code).or_insert(0) += 1;
        self.times.push(end.time);
        self.losses
            .extend(tally.lost.iter().map(|lost| describe(lost, asked)));
        self.losses.extend(tally.wrong.iter().cloned());
        self.tally.add(tally);
        Ok(())
    }

    /// Adds what must not be.
    fn judge(&self, settings: &Settings, title: &str, wrong: &mut Vec<String>) {
        let tally = &self.tally;
        if !tally.lost.is_empty() {
            wrong.push(format!("{title}: {} lost", tally.lost.len()));
        }
        if !tally.wrong.is_empty() {
            wrong.push(format!("{title}: {} wrong", tally.wrong.len()));
        }
        if self.codes.keys().ne(["0"]) {
            wrong.push(format!("{title}: not every exit code is 0"));
        }
        let least = LEAST * settings.stops as u64;
        if tally.answered < least || tally.refused == 0 {
            wrong.push(format!(
                "{title}: {} answered and {} refused show nothing",
                tally.answered, tally.refused
            ));
        }
    }
}

/// Says what was lost, and when as seen from the signal.
pub fn describe(lost: &Lost, asked: Instant) -> String {
    // Rounded, so that losses of one cause are one line.
    let when = |at: Instant| match at.checked_duration_since(asked) {
        None => "before the signal".to_owned(),
        Some(after) => format!("{} ms after it", after.as_millis() / 10 * 10),
    };
    format!(
        "{}; {} answers before; connected {}, written {}, seen {}",
        lost.how,
        lost.answered.min(1),
        when(lost.connected),
        when(lost.written),
        when(lost.seen)
    )
}
