//! Real signals, each in a process of its own: from `kill` to the task or thread that waits for it.

use std::future::Future;
use std::hint::black_box;
use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::pin::pin;
use std::thread;
use std::time::Duration;

use futures_lite::future;
use nix::libc::SIGTERM;
use tokio::signal::unix::{SignalKind, signal};
use winddown::Shutdown;

use crate::harness::{Contender, Goal, OURS, Row, cores};
use crate::process::{Process, now};

pub fn rows() -> Vec<Row> {
    let idle = [("signal, idle", false), ("signal, cores busy", true)].map(|(name, busy)| {
        Row::new(name, "from kill to the code after the await")
            .unit("us")
            .rounds(31)
            .goal(Goal::Times(TOKIO, 1.25))
            .goal(Goal::Times(PIPE, 2.0))
            .with(wake_up(OURS, busy))
            .with(wake_up(BLOCKING, busy).yardstick())
            .with(wake_up(TOKIO, busy))
            .with(wake_up(PIPE, busy).yardstick())
            .with(wake_up(PIPE_AND_THREAD, busy).yardstick())
    });
    let force = [("force, idle", false), ("force, threads stuck", true)].map(|(name, stuck)| {
        let row = Row::new(name, "from the second kill to the end of the process")
            .unit("us")
            .rounds(31)
            .goal(Goal::Times(DEFAULT, 2.0))
            .with(end(OURS, stuck))
            .with(end(DEFAULT, stuck).yardstick());
        // Stuck, it would never end.
        if stuck {
            row
        } else {
            row.with(end(TOKIO, stuck))
        }
    });
    idle.into_iter().chain(force).collect()
}

const TOKIO: &str = "tokio::signal";
const PIPE: &str = "self-pipe";
/// What a thread of one's own costs that reads the pipe, and wakes another.
const PIPE_AND_THREAD: &str = "self-pipe and a thread";
const BLOCKING: &str = "winddown (wait_blocking)";
const DEFAULT: &str = "default action";

/// Long enough for a thread that is about to wait to do so.
const SETTLE: Duration = Duration::from_millis(2);

fn wake_up(name: &'static str, busy: bool) -> Contender {
    Contender::sample(name, move || {
        let mut child = Process::start(&role_of("signal", name, busy));
        child.expect("ready");
        thread::sleep(SETTLE);
        let sent = now();
        child.terminate();
        let seen = child.line().parse().expect("the child says when");
        microseconds(Duration::from_nanos(seen) - sent)
    })
}

fn end(name: &'static str, stuck: bool) -> Contender {
    Contender::sample(name, move || {
        let mut child = Process::start(&role_of("force", name, stuck));
        child.expect("ready");
        if name != DEFAULT {
            child.terminate();
            child.expect("stopping");
        }
        thread::sleep(SETTLE);
        let sent = now();
        child.terminate();
        child.wait();
        microseconds(now() - sent)
    })
}

fn microseconds(time: Duration) -> f64 {
    time.as_secs_f64() * 1e6
}

fn role_of(row: &str, name: &str, busy: bool) -> String {
    format!("{row}/{name}/{}", if busy { "busy" } else { "idle" })
}

/// What a child does.
pub fn role(row: &str, name: &str, load: &str) {
    let busy = load == "busy";
    if busy {
        // Stuck is a program with a thread for each core, and main is one of them.
        let others = if row == "signal" {
            cores()
        } else {
            cores() - 1
        };
        for _ in 0..others {
            thread::spawn(spin);
        }
    }
    match row {
        "signal" => {
            match name {
                OURS => {
                    let shutdown = Shutdown::install().expect("it is the first");
                    when_ready(shutdown.waiter());
                }
                BLOCKING => {
                    let shutdown = Shutdown::install().expect("it is the first");
                    println!("ready");
                    shutdown.waiter().wait_blocking();
                }
                TOKIO => when_ready(async {
                    signal(SignalKind::terminate())
                        .expect("it can be caught")
                        .recv()
                        .await
                }),
                PIPE => {
                    let reader = pipe_of_signals();
                    println!("ready");
                    read_one(reader);
                }
                PIPE_AND_THREAD => {
                    let signals = pipe_of_signals();
                    let (reader, mut writer) = UnixStream::pair().expect("two descriptors");
                    thread::spawn(move || {
                        read_one(signals);
                        writer.write_all(&[0]).expect("the parent reads");
                    });
                    println!("ready");
                    read_one(reader);
                }
                other => unreachable!("no row asks for {other}"),
            }
            println!("{}", now().as_nanos());
        }
        _ => {
            #[expect(clippy::disallowed_methods, reason = "a program without winddown")]
            match name {
                OURS => {
                    let shutdown = Shutdown::install().expect("it is the first");
                    println!("ready");
                    shutdown.waiter().wait_blocking();
                    println!("stopping");
                }
                TOKIO => tokio(async {
                    let mut signals = signal(SignalKind::terminate()).expect("it can be caught");
                    println!("ready");
                    signals.recv().await;
                    println!("stopping");
                    signals.recv().await;
                    signal_hook::low_level::exit(1)
                }),
                _ => println!("ready"),
            }
            if busy { spin() } else { thread::park() }
        }
    }
}

fn pipe_of_signals() -> UnixStream {
    let (reader, writer) = UnixStream::pair().expect("two descriptors");
    signal_hook::low_level::pipe::register(SIGTERM, writer).expect("it can be caught");
    reader
}

fn read_one(mut reader: UnixStream) {
    reader
        .read_exact(&mut [0])
        .expect("the other side writes a byte");
}

/// Polls it once, says `ready`, and waits for it.
fn when_ready(waiter: impl Future) {
    tokio(async {
        let mut waiter = pin!(waiter);
        assert!(future::poll_once(&mut waiter).await.is_none());
        println!("ready");
        waiter.await;
    });
}

fn tokio(main: impl Future) {
    tokio::runtime::Builder::new_current_thread()
        .enable_io()
        .build()
        .expect("a runtime can be made")
        .block_on(main);
}

fn spin() {
    loop {
        black_box(());
    }
}
