//! Runs a recipe as a child process: its lines, its signals, its end.
#![allow(dead_code, reason = "each test file is a crate that uses a part of it")]

use std::fmt::Write as _;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::thread;
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill, killpg};
use nix::unistd::Pid;

/// How long a test waits for anything. A recipe that has not ended by then has failed.
pub const PATIENCE: Duration = Duration::from_secs(10);

/// The body of the answer of every server.
pub const WHOLE: &str = "slow, but whole\n";

/// Starts the recipe with this name.
#[macro_export]
macro_rules! recipe {
    ($name:literal $(, $arg:expr)* $(,)?) => {
        $crate::support::Program::start(
            $name,
            std::process::Command::new(env!(concat!("CARGO_BIN_EXE_", $name)))
                $(.arg($arg))*
                .stdin(std::process::Stdio::null()),
        )
    };
}

/// A program in a process group of its own, which is killed when this is dropped.
pub struct Program {
    name: String,
    child: Child,
    lines: Receiver<String>,
    signalled: Option<Instant>,
}

impl Program {
    /// Starts a program with the stdin of the command.
    pub fn start(name: &str, command: &mut Command) -> Self {
        let mut child = command
            .stdout(Stdio::piped())
            .process_group(0)
            .spawn()
            .unwrap_or_else(|error| panic!("can't start {command:?}: {error}"));
        let stdout = child.stdout.take().expect("it is piped");
        let (sender, lines) = channel();
        thread::spawn(move || {
            for line in BufReader::new(stdout).lines().map_while(Result::ok) {
                if sender.send(line).is_err() {
                    return;
                }
            }
        });
        Self {
            name: name.into(),
            child,
            lines,
            signalled: None,
        }
    }

    pub fn pid(&self) -> Pid {
        Pid::from_raw(self.child.id().try_into().expect("a pid fits"))
    }

    pub fn input(&mut self) -> &mut impl Write {
        self.child.stdin.as_mut().expect("it is piped")
    }

    /// Sends a signal, and takes the time from the first.
    pub fn send(&mut self, signal: Signal) {
        self.signalled.get_or_insert_with(Instant::now);
        kill(self.pid(), signal).expect("the program runs");
    }

    /// Sends a signal to the whole group, as a terminal does.
    pub fn send_to_group(&mut self, signal: Signal) {
        self.signalled.get_or_insert_with(Instant::now);
        killpg(self.pid(), signal).expect("the group runs");
    }

    /// Reads lines up to one that starts with `start`, and returns the rest of that line.
    pub fn line(&self, start: &str) -> String {
        let end = Instant::now() + PATIENCE;
        let mut seen = String::new();
        loop {
            let left = end.saturating_duration_since(Instant::now());
            match self.lines.recv_timeout(left) {
                Ok(line) => match line.strip_prefix(start) {
                    Some(rest) => return rest.to_owned(),
                    None => writeln!(seen, "{line}").expect("a string takes it"),
                },
                Err(error) => panic!("{}: {error}: no '{start}' after:\n{seen}", self.name),
            }
        }
    }

    /// Reads the lines that are left, until stdout is closed.
    pub fn rest(&self) -> Vec<String> {
        let end = Instant::now() + PATIENCE;
        let mut rest = vec![];
        loop {
            let left = end.saturating_duration_since(Instant::now());
            match self.lines.recv_timeout(left) {
                Ok(line) => rest.push(line),
                Err(RecvTimeoutError::Disconnected) => return rest,
                Err(RecvTimeoutError::Timeout) => panic!("{}: stdout is still open", self.name),
            }
        }
    }

    /// The address after "ready: ".
    pub fn address(&self) -> SocketAddr {
        let address = self.line("ready: ");
        address.parse().expect("it is an address")
    }

    /// Whether the program has not ended after this time.
    pub fn runs_for(&mut self, time: Duration) -> bool {
        self.wait(time).is_none()
    }

    /// Waits for the end, and prints what was measured.
    pub fn end(&mut self, what: &str) -> ExitStatus {
        let Some(status) = self.wait(PATIENCE) else {
            panic!("{}: still runs after {PATIENCE:?}", self.name);
        };
        let code = match (status.code(), status.signal()) {
            (Some(code), _) => format!("exit code {code}"),
            (None, signal) => format!("died of signal {}", signal.unwrap_or_default()),
        };
        let time = match self.signalled {
            Some(at) => format!("{:.2} s after the first signal", at.elapsed().as_secs_f32()),
            None => "without a signal".into(),
        };
        println!("measured: {}: {code}, {what}, {time}", self.name);
        status
    }

    fn wait(&mut self, time: Duration) -> Option<ExitStatus> {
        let end = Instant::now() + time;
        loop {
            if let Some(status) = self.child.try_wait().expect("it can be waited for") {
                return Some(status);
            }
            if Instant::now() >= end {
                return None;
            }
            thread::sleep(Duration::from_millis(2));
        }
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        if matches!(self.child.try_wait(), Ok(None)) {
            let _ = killpg(self.pid(), Signal::SIGKILL);
            let _ = self.child.wait();
        }
    }
}

/// Connects to a server, and sends `GET /slow`.
pub fn ask(address: SocketAddr, headers: &str) -> TcpStream {
    let mut stream = TcpStream::connect(address).expect("it listens");
    stream
        .set_read_timeout(Some(PATIENCE))
        .expect("it is not zero");
    write!(
        stream,
        "GET /slow HTTP/1.1\r\nhost: localhost\r\n{headers}\r\n"
    )
    .expect("it is sent");
    stream
}

/// Reads up to the end of the head, and returns that.
pub fn head(stream: &mut TcpStream) -> String {
    let mut text = Vec::new();
    while !text.ends_with(b"\r\n\r\n") {
        let mut byte = [0];
        stream.read_exact(&mut byte).expect("the head is whole");
        text.push(byte[0]);
    }
    String::from_utf8(text).expect("it is text")
}

/// Reads an answer with `content-length`, and returns its body if all of it has come.
pub fn body(stream: &mut TcpStream) -> String {
    let head = head(stream).to_lowercase();
    assert!(head.starts_with("http/1.1 200 "), "{head}");
    let (_, length) = head
        .split_once("content-length: ")
        .expect("it has a length");
    let length = length.lines().next().expect("it has a line");
    let mut body = vec![0; length.parse().expect("it is a number")];
    stream.read_exact(&mut body).expect("the body is whole");
    String::from_utf8(body).expect("it is text")
}

/// A server with a request in flight: SIGTERM, the whole answer, exit code 0.
pub fn server(mut program: Program) {
    let address = program.address();
    let mut client = ask(address, "");
    program.line("in flight");
    program.send(Signal::SIGTERM);
    assert_eq!(body(&mut client), WHOLE);
    let status = program.end("the answer was whole");
    assert_eq!(status.code(), Some(0));
    program.line("stopped: ");
    assert!(TcpStream::connect(address).is_err(), "it still listens");
}

/// Counts how many of eight connections are answered that the kernel has accepted when the signal comes.
/// The process is stopped meanwhile, so that it can't take them before.
pub fn queued(mut program: Program, all: bool) {
    let address = program.address();
    kill(program.pid(), Signal::SIGSTOP).expect("the program runs");
    let clients: Vec<_> = (0..8).map(|_| ask(address, "")).collect();
    program.send(Signal::SIGTERM);
    kill(program.pid(), Signal::SIGCONT).expect("the program runs");
    let answered = |mut client: TcpStream| {
        let mut text = [0; 4096];
        let mut length = 0;
        while let Ok(read @ 1..) = client.read(&mut text[length..]) {
            length += read;
            if text[..length].ends_with(WHOLE.as_bytes()) {
                return true;
            }
        }
        false
    };
    let answered = clients
        .into_iter()
        .filter_map(|it| answered(it).then_some(()))
        .count();
    let status = program.end(&format!("{answered} of 8 queued connections were answered"));
    assert_eq!(status.code(), Some(0));
    assert!(answered == 8 || !all);
}
