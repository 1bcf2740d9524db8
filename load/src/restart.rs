//! Restarts in place, under load, while this process holds the listener.

use std::iter;
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::thread;
use std::time::{Duration, Instant};

use crate::client::{Kind, Load, Plan, Tally};
use crate::server::{Config, Server, go_on};
use crate::settings::{Settings, name};
use crate::table::{Table, median_and_max};

/// The longest request, in milliseconds.
const LONGEST: u64 = 5;

/// How long nothing may be answered.
const STALLED: Duration = Duration::from_secs(30);

#[derive(Clone, Copy, PartialEq)]
enum Way {
    /// The new process listens before the old one is told to stop.
    StartFirst,
    /// The old process has ended before the new one starts. Meanwhile connections wait in the queue.
    StopFirst,
    /// The same, and `systemd-socket-activate` starts each process once a client has connected.
    Activated,
}

pub fn run(settings: &Settings, programs: &[PathBuf]) -> Result<(), String> {
    println!(
        "This process holds the listener; {} clients, half of them keep their connections; requests of 0 to {LONGEST} ms.",
        settings.clients
    );
    let table = Table::new(&[
        "server",
        "order",
        "restarts",
        "answered",
        "failed",
        "raced",
        "idle",
        "exit ms, median/max",
        "seconds",
    ]);
    let mut wrong = Vec::new();
    for program in programs {
        let mut ways = vec![Way::StartFirst, Way::StopFirst];
        ways.extend(settings.activate.as_ref().map(|_| Way::Activated));
        for way in ways {
            let title = format!("{}, {}", name(program), way.title());
            let failed = restarts(settings, program, way, &table)
                .map_err(|error| format!("{title}: {error}"))?;
            if failed > 0 {
                wrong.push(format!("{title}: {failed} failed"));
            }
        }
    }
    match wrong.is_empty() {
        true => Ok(()),
        false => Err(wrong.join("\n")),
    }
}

impl Way {
    fn title(self) -> &'static str {
        match self {
            Self::StartFirst => "start, stop",
            Self::StopFirst => "stop, start",
            Self::Activated => "activate",
        }
    }
}

/// Restarts one server in one way, and returns how many requests failed.
fn restarts(settings: &Settings, program: &Path, way: Way, table: &Table) -> Result<usize, String> {
    let (restarts, requests) = match way {
        Way::Activated => (2, settings.requests / 10),
        // Two ways, so together as many as were asked for.
        _ => (settings.restarts, settings.requests / 2),
    };
    let listener = TcpListener::bind("127.0.0.1:0").map_err(|error| error.to_string())?;
    let address = listener.local_addr().map_err(|error| error.to_string())?;
    let activate = settings
        .activate
        .as_deref()
        .filter(|_| way == Way::Activated);
    let start = || {
        let listener = listener.try_clone().map_err(|error| error.to_string())?;
        Server::inherit(program, listener, activate, &Config::default())
    };

    let begun = Instant::now();
    let mut server = start()?;
    let plan = Plan {
        address,
        longest: LONGEST,
    };
    let kinds = iter::repeat([Kind::New, Kind::Kept]).flatten();
    let load = Load::start(plan, kinds.take(settings.clients));
    server.wait_until_ready()?;
    let mut times = Vec::new();
    for turn in 1..=restarts {
        // Spread over the requests.
        wait_for(&load, requests * turn as u64 / (restarts as u64 + 1))?;
        server = match way {
            Way::StartFirst => {
                let new = start()?;
                new.wait_until_ready()?;
                times.push(server.stop_well()?);
                new
            }
            Way::StopFirst | Way::Activated => {
                times.push(server.stop_well()?);
                let new = start()?;
                new.wait_until_ready()?;
                new
            }
        };
    }
    wait_for(&load, requests)?;
    let tally = load.end();
    times.push(server.stop_well()?);

    let failed = failures(&tally);
    table.row(&[
        name(program),
        way.title().into(),
        restarts.to_string(),
        tally.answered.to_string(),
        failed.to_string(),
        tally.raced.to_string(),
        tally.idle.to_string(),
        median_and_max(&mut times),
        begun.elapsed().as_secs().to_string(),
    ]);
    let lost = tally.lost.iter().map(|lost| {
        let idle = lost.written - lost.connected;
        format!(
            "{}; {} answers before, written {} ms after connect",
            lost.how,
            lost.answered,
            idle.as_millis()
        )
    });
    for failure in lost.chain(tally.wrong).take(12) {
        println!("    {failure}");
    }
    Ok(failed)
}

/// Returns the number of requests that were not answered.
pub fn failures(tally: &Tally) -> usize {
    tally.refused as usize + tally.lost.len() + tally.wrong.len()
}

/// Waits until so many requests are answered.
fn wait_for(load: &Load, answered: u64) -> Result<(), String> {
    let mut last = (load.answered(), Instant::now());
    while last.0 < answered {
        go_on()?;
        thread::sleep(Duration::from_millis(2));
        let now = load.answered();
        if now > last.0 {
            last = (now, Instant::now());
        } else if last.1.elapsed() > STALLED {
            return Err(format!("nothing was answered for {STALLED:?}"));
        }
    }
    Ok(())
}
