//! Counts what becomes of requests while servers stop, restart, and meet clients that misbehave.
//!
//! `winddown-load stop|unruly|restart|reuseport|soak PROGRAM...`: each program takes the arguments of
//! `examples/`. [`USAGE`] has the rest.

#[cfg(unix)]
mod client;
#[cfg(target_os = "linux")]
mod clock;
#[cfg(target_os = "linux")]
mod fault;
#[cfg(target_os = "linux")]
mod proc;
#[cfg(unix)]
mod restart;
#[cfg(unix)]
mod reuseport;
#[cfg(unix)]
mod server;
#[cfg(unix)]
mod settings;
#[cfg(target_os = "linux")]
mod soak;
#[cfg(unix)]
mod stop;
#[cfg(unix)]
mod table;
#[cfg(unix)]
mod unruly;

use std::process::ExitCode;

const USAGE: &str = "usage: winddown-load stop|unruly|restart|reuseport|soak PROGRAM...
  stop        stops each server under load, by SIGTERM and SIGINT in turn; and the old wiring
  unruly      stops each server while clients misbehave
  restart     restarts each server while this process holds its listener
  reuseport   hands over between two processes that share a port by SO_REUSEPORT
  soak        faults, stops and restarts of all servers at once, at random; on Linux
From the environment:
  STOPS=20          stops of each server by stop, and handovers by reuseport
  CLIENTS=24        clients at once
  RESTARTS=10       restarts of each server in each of the ways of restart, but two by systemd-socket-activate
  REQUESTS=50000    requests to each server in restart, at least
  ACTIVATE=PROGRAM  restart starts the servers by systemd-socket-activate too
  SOAK_SECONDS=600  how long soak takes
  SOAK_SEED=        what soak chooses by; random if not given
  LIBFAKETIME=FILE  the library by which soak sets the clock of the servers";

#[cfg(unix)]
fn main() -> ExitCode {
    let mut args = std::env::args().skip(1);
    let verb = args.next().unwrap_or_default();
    let programs: Vec<_> = args.map(std::path::PathBuf::from).collect();
    let checked = stop_on_signals().and_then(|()| {
        let settings = settings::Settings::from_env()?;
        if programs.is_empty() {
            return Err(USAGE.to_owned());
        }
        match verb.as_str() {
            "stop" => stop::run(&settings, &programs),
            "unruly" => unruly::run(&settings, &programs),
            "restart" => restart::run(&settings, &programs),
            "reuseport" => reuseport::run(&settings, &programs),
            #[cfg(target_os = "linux")]
            "soak" => soak::run(&settings, &programs),
            _ => Err(USAGE.to_owned()),
        }
    });
    match checked {
        Ok(()) => ExitCode::SUCCESS,
        Err(message) => {
            eprintln!("error: {message}");
            ExitCode::FAILURE
        }
    }
}

/// Lets SIGINT and SIGTERM end a verb with an error, which drops the servers and files that it has made.
#[cfg(unix)]
fn stop_on_signals() -> Result<(), String> {
    let shutdown = winddown::Shutdown::builder()
        .grace_period(std::time::Duration::from_secs(30))
        .force_at_deadline()
        .install();
    let shutdown = shutdown.map_err(|error| error.to_string())?;
    server::SHUTDOWN.get_or_init(|| shutdown);
    Ok(())
}

#[cfg(not(unix))]
fn main() -> ExitCode {
    eprintln!("error: it sends signals and hands on sockets as Unix does\n{USAGE}");
    ExitCode::FAILURE
}
