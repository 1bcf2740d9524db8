//! Real child processes: their lines, their signals, their end.
#![allow(
    dead_code,
    unreachable_pub,
    reason = "each test file is a crate that uses a part of it"
)]

use std::io::{BufRead, BufReader, ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, ExitStatus, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::thread;
use std::time::{Duration, Instant};

#[cfg(unix)]
use nix::sys::signal::{Signal, kill};
#[cfg(unix)]
use nix::unistd::Pid;
use wait_timeout::ChildExt;

/// How long anything may take before the test is given up. Nothing waits for it to pass.
///
/// Less than the 30 seconds after which most servers give up on a silent client: what a shutdown
/// has to end must not pass for ended because of that.
pub const PATIENCE: Duration = Duration::from_secs(20);

/// A child process. Killed when dropped, so that no test leaves one behind.
pub struct Program {
    child: Child,
    /// Who is sent the signals: the child, unless that only started the one that matters.
    #[cfg(unix)]
    target: Pid,
    stdout: Option<Receiver<String>>,
    stderr: Receiver<String>,
}

impl Program {
    pub fn start(command: &mut Command) -> Self {
        Self::start_with_stdin(command.stdin(Stdio::null()))
    }

    /// One whose stdin is what the command says.
    pub fn start_with_stdin(command: &mut Command) -> Self {
        let mut this = Self::start_unread(command);
        this.stdout = this.child.stdout.take().map(lines);
        this
    }

    /// One whose stdout nobody reads.
    pub fn start_unread(command: &mut Command) -> Self {
        let mut child = command
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap_or_else(|error| panic!("can't start {command:?}: {error}"));
        let stderr = lines(child.stderr.take().expect("it is piped"));
        Self {
            #[cfg(unix)]
            target: Pid::from_raw(child.id().try_into().expect("a pid fits")),
            child,
            stdout: None,
            stderr,
        }
    }

    /// Reads the first line of a stdout that nobody reads, and closes it.
    pub fn only_line(&mut self) -> String {
        let mut line = String::new();
        BufReader::new(self.child.stdout.take().expect("it is piped"))
            .read_line(&mut line)
            .expect("it is text");
        line
    }

    #[cfg(unix)]
    pub fn pid(&self) -> Pid {
        self.target
    }

    /// From now on, signals go to the one process that the child has started. On Linux, which has
    /// what `unshare` needs.
    #[cfg(unix)]
    pub fn aim_at_its_child(&mut self) {
        let parent = format!("\nPPid:\t{}\n", self.child.id());
        self.target = std::fs::read_dir("/proc")
            .expect("there is a /proc")
            .filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok())
            .find(|pid| {
                std::fs::read_to_string(format!("/proc/{pid}/status"))
                    .is_ok_and(|status| status.contains(&parent))
            })
            .map(Pid::from_raw)
            .expect("it has a child");
    }

    #[cfg(unix)]
    pub fn send(&self, signal: Signal) {
        kill(self.pid(), signal).expect("the child runs");
    }

    /// Starts the program that sends a console event. It ends once the handlers have returned.
    #[cfg(windows)]
    pub fn send_event(&self, event: &str) -> Program {
        let pid = self.child.id().to_string();
        Program::start(Command::new(example("send_event")).args([&pid, event]))
    }

    /// Whether it has not ended. As long as nobody has waited for it, its pid is its own.
    pub fn runs(&mut self) -> bool {
        let status = self.child.try_wait().expect("a child can be waited for");
        status.is_none()
    }

    /// What it reads, if its stdin is piped.
    pub fn stdin(&mut self) -> ChildStdin {
        self.child.stdin.take().expect("it is piped")
    }

    /// Reads stdout up to the line that starts so, and returns the rest of that line.
    pub fn line(&self, start: &str) -> String {
        find(self.stdout.as_ref().expect("stdout is read"), start)
    }

    /// The same of stderr.
    pub fn error_line(&self, start: &str) -> String {
        find(&self.stderr, start)
    }

    /// The lines of stdout that nobody has read, up to its end.
    pub fn rest(&self) -> Vec<String> {
        let stdout = self.stdout.as_ref().expect("stdout is read");
        stdout.iter().collect()
    }

    /// Waits until the kernel has stopped it, after a SIGSTOP.
    #[cfg(unix)]
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
    let file = format!("{name}{}", std::env::consts::EXE_SUFFIX);
    let path = profile.join("examples").join(file);
    assert!(
        Path::new(&path).exists(),
        "{} is missing; build it with `cargo build --examples`",
        path.display()
    );
    path
}

/// For a role that has sent itself signals: waits until the thread `winddown` has read them all, and
/// done what they ask for.
///
/// The handlers have written to its socket when `raise` returns. It reads that empty before it sleeps
/// in `poll`, and what is written later wakes it.
#[cfg(target_os = "linux")]
pub fn all_are_read() {
    use nix::libc;

    #[cfg(target_arch = "x86_64")]
    const POLL: libc::c_long = libc::SYS_poll;
    #[cfg(not(target_arch = "x86_64"))]
    const POLL: libc::c_long = libc::SYS_ppoll;

    let poll = format!("{POLL} ");
    until("the signals are read", || {
        let mut tasks = std::fs::read_dir("/proc/self/task").expect("there is a /proc");
        tasks.any(|task| {
            let Ok(task) = task else { return false };
            let read = |file| std::fs::read_to_string(task.path().join(file)).unwrap_or_default();
            // Asleep first, and then where: it may sleep for a lock before it has read, but then
            // `poll` would not sleep.
            read("comm") == "winddown\n"
                && read("status").contains("\nState:\tS")
                && read("syscall").starts_with(&poll)
        })
    });
}

/// Elsewhere there is no telling, and the test shows less.
#[cfg(all(unix, not(target_os = "linux")))]
pub fn all_are_read() {}

/// How many threads this process has.
#[cfg(target_os = "linux")]
pub fn threads() -> usize {
    let tasks = std::fs::read_dir("/proc/self/task").expect("there is a /proc");
    tasks.count()
}

/// What makes a process PID 1, as in a container. `None` where that is not permitted.
pub fn unshare() -> Option<Command> {
    for more in [&[][..], &["--user", "--map-root-user"]] {
        let command = || {
            let mut command = Command::new("unshare");
            command.args(["--pid", "--fork", "--mount-proc", "--kill-child"]);
            command.args(more);
            command
        };
        let tried = command().arg("true").output();
        if tried.is_ok_and(|output| output.status.success()) {
            return Some(command());
        }
    }
    None
}

/// How an example server says that it listens.
const READY: &str = "ready: listening on http://";

/// An example server on a port of its own.
pub struct Server {
    pub program: Program,
    pub address: SocketAddr,
}

impl Server {
    /// One with a deadline that no test lives to see.
    pub fn start(name: &str) -> Self {
        Self::start_with_deadline(name, "1h")
    }

    pub fn start_with_deadline(name: &str, deadline: &str) -> Self {
        Self::start_with(Command::new(example(name)).args(["127.0.0.1:0", deadline]))
    }

    pub fn start_with(command: &mut Command) -> Self {
        Self::ready(Program::start(command))
    }

    /// Waits until it listens.
    pub fn ready(program: Program) -> Self {
        let address = program.line(READY).parse().expect("an address");
        Self { program, address }
    }

    /// One to whom nobody listens once it has said that it is ready.
    pub fn start_unheard(name: &str) -> Self {
        let mut command = Command::new(example(name));
        let command = command.args(["127.0.0.1:0", "1h"]).stdin(Stdio::null());
        let mut program = Program::start_unread(command);
        let line = program.only_line();
        let address = line.trim_end().strip_prefix(READY).expect("it is ready");
        let address = address.parse().expect("an address");
        Self { program, address }
    }

    pub fn connect(&self) -> Client {
        Client::new(TcpStream::connect(self.address).expect("the server accepts"))
    }

    /// Waits until a new connection is refused: a server may say that it stops before it does.
    pub fn refuses(&self) {
        until("a connection is refused", || {
            TcpStream::connect(self.address)
                .is_err_and(|error| error.kind() == ErrorKind::ConnectionRefused)
        });
    }

    /// Sends a request on a connection of its own, and waits until the server says that it has it.
    pub fn begin(&self, request: &str) -> Client {
        let mut client = self.connect();
        client.send(request);
        let (method_and_path, _) = request.split_once('?').unwrap_or((request, ""));
        self.program.line(&format!("request: {method_and_path}"));
        client
    }

    /// Sends the first line of a request on a connection of its own, and waits until the server has
    /// read it. It is in flight from then on, until `Client::finish`.
    #[cfg(target_os = "linux")]
    pub fn hold(&self, request: &str) -> Client {
        let mut client = self.connect();
        client.write(&format!("{request} HTTP/1.1\r\n"));
        let ours = client.0.local_addr().expect("it is connected");
        // The order matters: once everything has arrived, nothing is unread only if it was read.
        until("it has arrived", || {
            queues(ours, self.address).is_some_and(|(unsent, _)| unsent == 0)
        });
        until("it was read", || {
            queues(self.address, ours).is_some_and(|(_, unread)| unread == 0)
        });
        client
    }
}

/// What the kernel holds of a TCP connection: the bytes not known to have arrived at the other side,
/// and those not read on this one.
#[cfg(target_os = "linux")]
fn queues(local: SocketAddr, remote: SocketAddr) -> Option<(u64, u64)> {
    fn hex(address: SocketAddr) -> String {
        let SocketAddr::V4(address) = address else {
            panic!("{address} is not IPv4");
        };
        let ip = u32::from_ne_bytes(address.ip().octets());
        format!("{ip:08X}:{:04X}", address.port())
    }
    let (local, remote) = (hex(local), hex(remote));
    let table = std::fs::read_to_string("/proc/net/tcp").expect("there is a /proc");
    table.lines().find_map(|line| {
        let mut fields = line.split_whitespace().skip(1);
        if fields.next()? != local || fields.next()? != remote {
            return None;
        }
        let (sent, received) = fields.nth(1)?.split_once(':')?;
        let number = |text| u64::from_str_radix(text, 16).ok();
        Some((number(sent)?, number(received)?))
    })
}

/// Asks again and again, because nobody tells.
pub fn until(what: &str, mut happened: impl FnMut() -> bool) {
    let begun = Instant::now();
    while !happened() {
        assert!(begun.elapsed() < PATIENCE, "not in time: {what}");
        thread::sleep(Duration::from_millis(1));
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

    /// The rest of a request that was held.
    pub fn finish(&mut self) {
        self.write("Host: localhost\r\n\r\n");
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

    /// Whether the connection is closed, whatever came before.
    pub fn closed(&mut self) -> bool {
        match self.0.read_to_end(&mut Vec::new()) {
            Ok(_) => true,
            Err(error) => error.kind() == ErrorKind::ConnectionReset,
        }
    }

    /// Whether the connection is closed, and no byte came before.
    pub fn closed_with_nothing(&mut self) -> bool {
        match self.0.read(&mut [0]) {
            Ok(read) => read == 0,
            Err(error) => error.kind() == ErrorKind::ConnectionReset,
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
