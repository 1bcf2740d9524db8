//! How long a server takes to stop, and what it uses for it.
//!
//! Each stop is a process of its own, in `stopped.rs`. This one is its clients: idle connections that
//! were kept alive after a request, and requests that take 200 ms and have just begun.

use std::cell::{OnceCell, RefCell};
use std::fs;
use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::rc::Rc;
use std::sync::OnceLock;
use std::thread;
use std::time::Duration;

use crate::harness::{Contender, Goal, OURS, Row};
use crate::process::{Process, cpu_time_of_ended, now, raise_limit};
use crate::stopped::{BODY, IN_FLIGHT, servers};

/// Requests that are sent before the first answer is read.
const WAVE: usize = 100;
/// The least time between two tries to connect.
const PROBE: Duration = Duration::from_micros(100);

const IDLE: &[u8] = b"GET / HTTP/1.1\r\nhost: localhost\r\n\r\n";
const SLOW: &[u8] = b"GET /slow HTTP/1.1\r\nhost: localhost\r\n\r\n";

const GO: &str = "Go net/http";

/// One stop.
struct Stop {
    /// Requests on kept connections that were sent right before the signal, and have no answer.
    lost: f64,
    /// From the signal, in milliseconds.
    refused: f64,
    idle_closed: f64,
    exit: f64,
    /// From the signal to the end, in milliseconds.
    processor: f64,
    /// In MiB.
    peak: f64,
    /// Of an idle connection, in KiB.
    connection: f64,
}

/// What of a stop is a row.
type Measure = (&'static str, &'static str, &'static str, fn(&Stop) -> f64);

const LOST: &str = "lost";

const MEASURES: [Measure; 7] = [
    (
        LOST,
        "requests without an answer, of 100 sent right before SIGTERM",
        "count",
        |stop| stop.lost,
    ),
    (
        "refused",
        "from SIGTERM to the first connection that is refused",
        "ms",
        |stop| stop.refused,
    ),
    (
        "idle closed",
        "from SIGTERM to the end of the last idle connection",
        "ms",
        |stop| stop.idle_closed,
    ),
    (
        "exit",
        "from SIGTERM to the end of the process",
        "ms",
        |stop| stop.exit,
    ),
    (
        "processor",
        "processor time from SIGTERM on",
        "ms",
        |stop| stop.processor,
    ),
    ("peak", "the most memory of the process", "MiB", |stop| {
        stop.peak
    }),
    (
        "connection",
        "memory of the process for an idle connection",
        "KiB",
        |stop| stop.connection,
    ),
];

pub fn rows() -> Vec<Row> {
    let sizes = [(1_000, "1,000"), (10_000, "10,000")];
    let fitting = sizes.into_iter().filter(|(idle, _)| fits(*idle));
    fitting
        .flat_map(|(idle, size)| [("tokio", idle, size), ("smol", idle, size)])
        .flat_map(|(runtime, idle, size)| of(runtime, idle, size))
        .collect()
}

/// Whether the processes may have so many connections.
fn fits(idle: usize) -> bool {
    raise_limit() > (idle + WAVE + IN_FLIGHT + 200) as _
}

/// What the table does not say.
pub fn note() -> Option<&'static str> {
    if !fits(10_000) {
        return Some("RLIMIT_NOFILE is too low for the rows of 10,000 connections.");
    }
    (!has_go()).then_some("Without Go's net/http, because there is no command go.")
}

fn has_go() -> bool {
    static FOUND: OnceLock<bool> = OnceLock::new();
    *FOUND.get_or_init(|| {
        let version = Command::new("go")
            .arg("version")
            .stdout(Stdio::null())
            .status();
        version.is_ok_and(|status| status.success())
    })
}

/// The rows of one runtime and number of connections. They share their stops, so that each row but the
/// first costs nothing.
fn of(runtime: &'static str, idle: usize, size: &str) -> Vec<Row> {
    let mut names: Vec<_> = servers(runtime).iter().map(|(name, _)| *name).collect();
    let go = Rc::new(OnceCell::new());
    if runtime == "tokio" && has_go() {
        names.push(GO);
    }
    let stops: Vec<Rc<RefCell<Vec<Stop>>>> = names.iter().map(|_| Rc::default()).collect();
    let row = |(what, said, unit, measure): Measure| {
        let row = Row::new(format!("stop, {runtime}, {size}: {what}"), said)
            .unit(unit)
            .rounds(if idle > 1_000 { 5 } else { 7 })
            .goal(match what {
                LOST => Goal::Below(0.0),
                _ => Goal::Best(1.0),
            });
        names.iter().zip(&stops).fold(row, |row, (name, stops)| {
            let (name, stops, go) = (*name, stops.clone(), go.clone());
            let mut round = 0;
            let contender = Contender::sample(name, move || {
                let mut stops = stops.borrow_mut();
                if stops.len() == round {
                    let server = match name {
                        GO => go.get_or_init(GoServer::build).start(),
                        _ => Process::start(&format!("stop/{name}/{runtime}")),
                    };
                    stops.push(Stop::of(server, idle));
                }
                round += 1;
                measure(&stops[round - 1])
            });
            // Those of this workspace are no peers.
            let ours = name != OURS && name.starts_with(OURS);
            row.with(if ours {
                contender.yardstick()
            } else {
                contender
            })
        })
    };
    MEASURES.map(row).into()
}

impl Stop {
    fn of(mut server: Process, idle: usize) -> Self {
        raise_limit();
        let address: SocketAddr = server.line().parse().expect("the server says where it is");
        drop(exchange(address, WAVE)); // what is made once
        let before = server.memory("VmRSS");
        let mut kept: Vec<TcpStream> = (0..idle / WAVE)
            .flat_map(|_| exchange(address, WAVE))
            .collect();
        let after = server.memory("VmRSS");
        let mut late = exchange(address, WAVE);
        let slow: Vec<TcpStream> = (0..IN_FLIGHT).map(|_| send(address, SLOW)).collect();
        server.expect("begun");
        // By chance, so that it does not matter in which order a server closes them: whichever the last
        // one is, this process is woken a few times.
        fastrand::Rng::with_seed(7).shuffle(&mut kept);

        let ended_before = cpu_time_of_ended();
        let used_before = server.cpu_time();
        for stream in &mut late {
            stream.write_all(IDLE).expect("the server is there");
        }
        let sent = now();
        server.terminate();
        let (refused, idle_closed, (exit, peak)) = thread::scope(|scope| {
            let refused = scope.spawn(|| refused(address, sent));
            let exit = scope.spawn(|| {
                let peak: f64 = server.line().parse().expect("the server says its peak");
                assert!(server.wait().success(), "the server has failed");
                (now(), peak)
            });
            for stream in &mut kept {
                assert_eq!(rest(stream), b"", "an idle connection has no answer");
            }
            let idle_closed = now();
            for mut stream in slow {
                assert!(rest(&mut stream).ends_with(BODY), "a request was lost");
            }
            let join = "the thread has not panicked";
            (
                refused.join().expect(join),
                idle_closed,
                exit.join().expect(join),
            )
        });
        let ms = |time: Duration| time.as_secs_f64() * 1e3;
        Self {
            lost: late.iter().filter(|stream| !answered(stream)).count() as f64,
            refused: ms(refused - sent),
            idle_closed: ms(idle_closed - sent),
            exit: ms(exit - sent),
            processor: ms(cpu_time_of_ended() - ended_before - used_before),
            peak: peak / 1024.0,
            connection: (after - before) / idle as f64,
        }
    }
}

/// Connects so often, and has a request on each connection answered.
fn exchange(address: SocketAddr, connections: usize) -> Vec<TcpStream> {
    let mut streams: Vec<_> = (0..connections).map(|_| send(address, IDLE)).collect();
    for stream in &mut streams {
        let (mut response, mut got) = ([0; 1024], 0);
        while !response[..got].ends_with(BODY) {
            let length = stream
                .read(&mut response[got..])
                .expect("the server answers");
            assert!(length > 0, "the server has closed the connection");
            got += length;
        }
    }
    streams
}

fn send(address: SocketAddr, request: &[u8]) -> TcpStream {
    let mut stream = TcpStream::connect(address).expect("the server accepts");
    stream.set_nodelay(true).expect("it is a TCP connection");
    stream.write_all(request).expect("the server reads");
    stream
}

/// Whether the server answers what was sent, before it closes or resets the connection.
fn answered(mut stream: &TcpStream) -> bool {
    let mut response = Vec::new();
    let _ = stream.read_to_end(&mut response);
    response.ends_with(BODY)
}

/// What the server still sends.
fn rest(stream: &mut TcpStream) -> Vec<u8> {
    let mut rest = Vec::new();
    stream
        .read_to_end(&mut rest)
        .expect("the server closes in order");
    rest
}

/// Connects until that is refused. Seldom, because each connection gives the server more work: most to the
/// one that takes longest.
fn refused(address: SocketAddr, sent: Duration) -> Duration {
    loop {
        match TcpStream::connect(address) {
            Err(error) if error.kind() == ErrorKind::ConnectionRefused => return now(),
            // Accepted, if perhaps to be lost with the listener's queue.
            accepted_or_reset => drop(accepted_or_reset),
        }
        thread::sleep(PROBE.max((now() - sent) / 20));
    }
}

/// The same server in Go, built for this run.
struct GoServer(PathBuf);

impl GoServer {
    fn build() -> Self {
        let folder = std::env::temp_dir().join(format!("winddown-bench-{}", std::process::id()));
        fs::create_dir_all(&folder).expect("there is room for temporary files");
        let source = folder.join("main.go");
        fs::write(&source, include_str!("../stopped.go")).expect("the folder was just made");
        let program = folder.join("server");
        let built = Command::new("go")
            .args([Path::new("build"), Path::new("-o"), &program, &source])
            .status();
        assert!(built.is_ok_and(|status| status.success()), "go fails");
        Self(folder)
    }

    fn start(&self) -> Process {
        Process::run(&mut Command::new(self.0.join("server")))
    }
}

impl Drop for GoServer {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}
