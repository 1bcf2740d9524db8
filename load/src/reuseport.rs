//! Handovers between two processes that share a port by `SO_REUSEPORT`.
//!
//! Each process has a socket of its own, and a queue of its own. The kernel picks the socket by the
//! connection's addresses when the handshake begins. So a process that closes its socket takes the rest of
//! that queue with it, unless `net.ipv4.tcp_migrate_req` is set.

use std::iter;
use std::net::{SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::thread;
use std::time::Duration;

use socket2::{Domain, Socket, Type};

use crate::client::{Kind, Load, Plan};
use crate::server::{Config, Server};
use crate::settings::{Settings, name, old_wiring};
use crate::table::Table;

/// The longest request, in milliseconds.
const LONGEST: u64 = 5;

pub fn run(settings: &Settings, programs: &[PathBuf]) -> Result<(), String> {
    println!(
        "{} handovers between two processes that share a port by SO_REUSEPORT.",
        settings.stops
    );
    let table = Table::new(&[
        "server",
        "answered",
        "refused",
        "lost new",
        "lost kept",
        "raced",
    ]);
    for program in programs.iter().cloned().chain([old_wiring()?]) {
        handovers(settings, &program, &table)
            .map_err(|error| format!("{}: {error}", name(&program)))?;
    }
    Ok(())
}

fn handovers(settings: &Settings, program: &Path, table: &Table) -> Result<(), String> {
    let start = |address: SocketAddr| {
        let listener = listen(address).map_err(|error| error.to_string())?;
        let address = listener.local_addr().map_err(|error| error.to_string())?;
        let server = Server::inherit(program, listener, None, &Config::default())?;
        server.wait_until_ready()?;
        Ok::<_, String>((server, address))
    };
    let (mut server, address) = start(([127, 0, 0, 1], 0).into())?;
    let plan = Plan {
        address,
        longest: LONGEST,
    };
    let kinds = iter::repeat([Kind::New, Kind::Kept]).flatten();
    let load = Load::start(plan, kinds.take(settings.clients));
    for _ in 0..settings.stops {
        let (new, _) = start(address)?;
        thread::sleep(Duration::from_millis(200));
        server.stop_well()?;
        server = new;
    }
    let tally = load.end();
    server.stop_well()?;
    table.row(&[
        name(program),
        tally.answered.to_string(),
        tally.refused.to_string(),
        tally.lost_first().to_string(),
        tally.lost_later().to_string(),
        tally.raced.to_string(),
    ]);
    if tally.answered == 0 || !tally.wrong.is_empty() {
        return Err(format!("wrong: {:?}", tally.wrong));
    }
    Ok(())
}

fn listen(address: SocketAddr) -> std::io::Result<TcpListener> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, None)?;
    socket.set_reuse_port(true)?;
    socket.bind(&address.into())?;
    socket.listen(1024)?;
    Ok(socket.into())
}
