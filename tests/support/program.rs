//! Real child processes: their lines, their signals, their end.
#![allow(
    dead_code,
    unreachable_pub,
    reason = "each test file is a crate that uses a part of it"
)]

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::thread;
use std::time::Duration;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use wait_timeout::ChildExt;

/// How long anything may take before the test is given up. Nothing waits for it to pass.
pub const PATIENCE: Duration = Duration::from_secs(60);

/// A child process. Killed when dropped, so that no test leaves one behind.
pub struct Program {
    child: Child,
    stdout: Option<Receiver<String>>,
    stderr: Receiver<String>,
}

impl Program {
    pub fn start(command: &mut Command) -> Self {
        let mut this = Self::start_unread(command);
        this.stdout = this.child.stdout.take().map(lines);
        this
    }

    /// One whose stdout nobody reads.
    pub fn start_unread(command: &mut Command) -> Self {
        let mut child = command
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap_or_else(|error| panic!("can't start {command:?}: {error}"));
        let stderr = lines(child.stderr.take().expect("it is piped"));
        Self {
            child,
            stdout: None,
            stderr,
        }
    }

    pub fn pid(&self) -> Pid {
        Pid::from_raw(self.child.id().try_into().expect("a pid fits"))
    }

    pub fn send(&self, signal: Signal) {
        kill(self.pid(), signal).expect("the child runs");
    }

    /// Reads stdout up to the line that starts so, and returns the rest of that line.
    pub fn line(&self, start: &str) -> String {
        find(self.stdout.as_ref().expect("stdout is read"), start)
    }

    /// The same of stderr.
    pub fn error_line(&self, start: &str) -> String {
        find(&self.stderr, start)
    }

    /// Waits until the kernel has stopped it, after a SIGSTOP.
    pub fn stopped(&self) {
        use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};

        let status = waitpid(self.pid(), Some(WaitPidFlag::WUNTRACED)).expect("it is our child");
        assert!(matches!(status, WaitStatus::Stopped(..)), "{status:?}");
    }

    pub fn wait(&mut self) -> ExitStatus {
        self.child
            .wait_timeout(PATIENCE)
            .expect("a child can be waited for")
            .expect("the child ends")
    }

    /// Waits for the end and returns the exit code; a death by signal is a failure.
    pub fn code(&mut self) -> i32 {
        let status = self.wait();
        status
            .code()
            .unwrap_or_else(|| panic!("ended by a signal: {status}"))
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn lines(pipe: impl Read + Send + 'static) -> Receiver<String> {
    let (sender, receiver) = channel();
    thread::spawn(move || {
        for line in BufReader::new(pipe).lines().map_while(Result::ok) {
            if sender.send(line).is_err() {
                break;
            }
        }
    });
    receiver
}

fn find(lines: &Receiver<String>, start: &str) -> String {
    let mut seen = Vec::new();
    loop {
        match lines.recv_timeout(PATIENCE) {
            Ok(line) => match line.strip_prefix(start) {
                Some(rest) => return rest.to_owned(),
                None => seen.push(line),
            },
            Err(error) => panic!("no line '{start}' ({error}) after {seen:#?}"),
        }
    }
}

/// The built example of that name.
pub fn example(name: &str) -> PathBuf {
    let test = std::env::current_exe().expect("a test has a path");
    let profile = test.ancestors().nth(2).expect("target/debug/deps/test");
    let path = profile.join("examples").join(name);
    assert!(
        Path::new(&path).exists(),
        "{} is missing; build it with `cargo build --examples`",
        path.display()
    );
    path
}

/// An example server on a port of its own.
pub struct Server {
    pub program: Program,
    pub address: SocketAddr,
}

impl Server {
    pub fn start(name: &str) -> Self {
        Self::start_with(Command::new(example(name)).args(["127.0.0.1:0", "30s"]))
    }

    pub fn start_with(command: &mut Command) -> Self {
        let program = Program::start(command);
        let address = program
            .line("ready: listening on http://")
            .parse()
            .expect("an address");
        Self { program, address }
    }

    pub fn connect(&self) -> Client {
        Client::new(TcpStream::connect(self.address).expect("the server accepts"))
    }

    pub fn refuses(&self) -> bool {
        match TcpStream::connect(self.address) {
            Ok(_) => false,
            Err(error) => error.kind() == std::io::ErrorKind::ConnectionRefused,
        }
    }

    /// Sends a request on a connection of its own, and waits until the server says that it has it.
    pub fn begin(&self, request: &str) -> Client {
        let mut client = self.connect();
        client.send(request);
        let (method_and_path, _) = request.split_once('?').unwrap_or((request, ""));
        self.program.line(&format!("request: {method_and_path}"));
        client
    }
}

/// An HTTP/1.1 client that sees exactly which bytes come.
pub struct Client(pub TcpStream);

impl Client {
    pub fn new(stream: TcpStream) -> Self {
        stream
            .set_read_timeout(Some(PATIENCE))
            .expect("it is not zero");
        Self(stream)
    }

    /// `GET /sleep?duration=1s`
    pub fn send(&mut self, request: &str) {
        self.write(&format!("{request} HTTP/1.1\r\nHost: localhost\r\n\r\n"));
    }

    pub fn write(&mut self, text: &str) {
        self.0.write_all(text.as_bytes()).expect("it is sent");
    }

    /// One response: its status, and its body.
    pub fn response(&mut self) -> (u16, String) {
        let mut text = Vec::new();
        loop {
            if let Some(response) = parse(&text) {
                return response;
            }
            let mut byte = [0];
            match self.0.read(&mut byte) {
                Ok(1) => text.push(byte[0]),
                end => panic!("{end:?} after '{}'", String::from_utf8_lossy(&text)),
            }
        }
    }

    /// Whether the connection is closed, and no byte came before.
    pub fn closed_with_nothing(&mut self) -> bool {
        match self.0.read(&mut [0]) {
            Ok(read) => read == 0,
            Err(error) => error.kind() == std::io::ErrorKind::ConnectionReset,
        }
    }
}

fn parse(text: &[u8]) -> Option<(u16, String)> {
    let text = std::str::from_utf8(text).ok()?;
    let (head, body) = text.split_once("\r\n\r\n")?;
    let status = head.split(' ').nth(1)?.parse().ok()?;
    let length = head
        .lines()
        .filter_map(|line| line.split_once(':'))
        .find(|(name, _)| name.eq_ignore_ascii_case("content-length"))
        .map_or(Some(0), |(_, value)| value.trim().parse().ok())?;
    (body.len() >= length).then(|| (status, body.to_owned()))
}
