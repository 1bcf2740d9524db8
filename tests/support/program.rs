//! Real child processes: their lines, their signals, their end.

use std::io::{BufRead, BufReader, ErrorKind, Read, Write, empty};
use std::net::{SocketAddr, TcpStream};
#[cfg(unix)]
use std::os::{fd::OwnedFd, unix::net::UnixStream};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, ExitStatus, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::thread;

use libtest_mimic::{Completion, Trial};
#[cfg(target_os = "linux")]
use nix::sys::resource::{Resource, getrlimit, rlim_t, setrlimit};
#[cfg(unix)]
use nix::sys::signal::{SigSet, Signal, kill};
#[cfg(unix)]
use nix::unistd::Pid;
use wait_timeout::ChildExt;

use super::{PATIENCE, child, until};

/// A child process. Killed when dropped, so that no test leaves one behind.
pub struct Program {
    child: Child,
    /// The process that is sent the signals: the child, or one that the child has started.
    #[cfg(unix)]
    target: Pid,
    stdout: Option<Receiver<String>>,
    stderr: Receiver<String>,
}

impl Program {
    pub fn start(command: &mut Command) -> Self {
        Self::start_with_stdin(command.stdin(Stdio::null()))
    }

    /// Starts this program in a role.
    pub fn role(role: &str) -> Self {
        Self::start(&mut child::command(role))
    }

    /// Starts this program in a role, and waits until it is ready.
    pub fn ready_role(role: &str) -> Self {
        let program = Self::role(role);
        program.line("ready");
        program
    }

    /// Starts a program whose stdin is that of the command.
    pub fn start_with_stdin(command: &mut Command) -> Self {
        let mut this = Self::start_unread(command);
        this.stdout = this.child.stdout.take().map(lines);
        this
    }

    /// Starts a program and leaves its stdout unread.
    pub fn start_unread(command: &mut Command) -> Self {
        let child = command
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn();
        Self::of(child.unwrap_or_else(|error| panic!("can't start {command:?}: {error}")))
    }

    /// Takes over a child, and leaves its stdout unread.
    fn of(mut child: Child) -> Self {
        let stderr = match child.stderr.take() {
            Some(pipe) => lines(pipe),
            None => lines(empty()),
        };
        Self {
            #[cfg(unix)]
            target: Pid::from_raw(child.id().try_into().expect("a pid fits")),
            child,
            stdout: None,
            stderr,
        }
    }

    #[cfg(unix)]
    pub fn pid(&self) -> Pid {
        self.target
    }

    /// Sends the signals that follow to the one process that the child has started. Works on Linux,
    /// which has what `unshare` needs.
    #[cfg(unix)]
    pub fn aim_at_its_child(&mut self) {
        self.target = self.its_child().expect("it has a child");
    }

    /// Returns whether the child has started a process. Works on Linux.
    #[cfg(unix)]
    pub fn has_a_child(&self) -> bool {
        self.its_child().is_some()
    }

    #[cfg(unix)]
    fn its_child(&self) -> Option<Pid> {
        let parent = format!("\nPPid:\t{}\n", self.child.id());
        std::fs::read_dir("/proc")
            .expect("there is a /proc")
            .filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok())
            .find(|pid| {
                std::fs::read_to_string(format!("/proc/{pid}/status"))
                    .is_ok_and(|status| status.contains(&parent))
            })
            .map(Pid::from_raw)
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

    /// Returns whether the child has not ended. Its pid is not reused before it is waited for.
    pub fn runs(&mut self) -> bool {
        let status = self.child.try_wait().expect("a child can be waited for");
        status.is_none()
    }

    /// Returns the child's stdin, if that is piped.
    pub fn stdin(&mut self) -> ChildStdin {
        self.child.stdin.take().expect("it is piped")
    }

    /// Reads stdout up to a line that starts with `start`, and returns the rest of that line.
    pub fn line(&self, start: &str) -> String {
        find(self.stdout.as_ref().expect("stdout is read"), start)
    }

    /// Reads stdout up to a line that contains a text.
    pub fn line_with(&self, text: &str) {
        find_by(
            self.stdout.as_ref().expect("stdout is read"),
            text,
            |line| line.contains(text).then_some(()),
        );
    }

    /// Reads stderr up to a line that starts with `start`, and returns the rest of that line.
    pub fn error_line(&self, start: &str) -> String {
        find(&self.stderr, start)
    }

    /// Returns the unread lines of stdout, up to its end.
    pub fn rest(&self) -> Vec<String> {
        let stdout = self.stdout.as_ref().expect("stdout is read");
        stdout.iter().collect()
    }

    /// Waits for the end of stderr, and returns its unread lines.
    pub fn error_rest(&self) -> Vec<String> {
        let mut lines = Vec::new();
        loop {
            match self.stderr.recv_timeout(PATIENCE) {
                Ok(line) => lines.push(line),
                Err(RecvTimeoutError::Disconnected) => return lines,
                Err(RecvTimeoutError::Timeout) => panic!("stderr goes on after {lines:#?}"),
            }
        }
    }

    /// Waits until the kernel has stopped the child, after a SIGSTOP.
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
    find_by(lines, start, |line| {
        line.strip_prefix(start).map(str::to_owned)
    })
}

fn find_by<T>(lines: &Receiver<String>, what: &str, matches: impl Fn(&str) -> Option<T>) -> T {
    let mut seen = Vec::new();
    loop {
        match lines.recv_timeout(PATIENCE) {
            Ok(line) => match matches(&line) {
                Some(found) => return found,
                None => seen.push(line),
            },
            Err(error) => panic!("no line '{what}' ({error}) after {seen:#?}"),
        }
    }
}

/// Returns the path of an example, which must have been built.
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

/// Returns the command that starts this program in a role, with these signals at their default.
///
/// A child inherits which signals are ignored and blocked. `nohup` ignores SIGHUP, a shell without
/// job control ignores SIGINT, and some supervisors block what they wait for themselves. Only GNU's
/// `env` undoes that, so elsewhere the child has what the test has.
#[cfg(unix)]
pub fn with_default(signals: &[Signal], role: &str) -> Command {
    let plain = child::command(role);
    if !cfg!(target_os = "linux") {
        return plain;
    }
    let mut env = Command::new("env");
    for signal in signals {
        let name = signal.as_str().trim_start_matches("SIG");
        env.arg(format!("--default-signal={name}"));
    }
    env.arg(plain.get_program());
    for (name, value) in plain.get_envs() {
        env.env(name, value.expect("nothing is unset"));
    }
    env
}

/// Sends a signal to the calling thread, which handles it before this returns.
///
/// The thread may have inherited that the signal is blocked, so it is unblocked first.
#[cfg(unix)]
pub fn raise(signal: Signal) {
    let unblocked = SigSet::from(signal).thread_unblock();
    unblocked.expect("any signal can be unblocked");
    nix::sys::signal::raise(signal).expect("a thread can signal itself");
}

/// Waits until the thread `winddown` has read the signals that this process has sent to itself, and
/// has acted on them.
///
/// The handlers have written to the thread's socket when `raise` returns. The thread reads the socket
/// empty before it sleeps in `poll`, and what is written later wakes it.
#[cfg(target_os = "linux")]
pub fn all_are_read() {
    timeout_of_the_thread();
}

/// Waits as `all_are_read` does, and returns whether the thread `winddown` then waits for a time too.
#[cfg(target_os = "linux")]
pub fn time_is_set() -> bool {
    let timeout = timeout_of_the_thread();
    let timeout = u64::from_str_radix(timeout.trim_start_matches("0x"), 16).expect("hexadecimal");
    // -1, or no pointer to a time.
    let never = if cfg!(any(target_arch = "x86_64", target_arch = "x86")) {
        u32::MAX
    } else {
        0
    };
    timeout as u32 != never
}

/// Waits until the thread `winddown` sleeps in `poll`, and returns the third argument of that call.
#[cfg(target_os = "linux")]
fn timeout_of_the_thread() -> String {
    use nix::libc;

    #[cfg(any(target_arch = "x86_64", target_arch = "x86"))]
    const POLL: libc::c_long = libc::SYS_poll;
    #[cfg(not(any(target_arch = "x86_64", target_arch = "x86")))]
    const POLL: libc::c_long = libc::SYS_ppoll;

    let poll = format!("{POLL} ");
    let mut timeout = None;
    until("the thread sleeps", || {
        let mut tasks = std::fs::read_dir("/proc/self/task").expect("there is a /proc");
        timeout = tasks.find_map(|task| {
            let path = task.ok()?.path();
            let read = |file| std::fs::read_to_string(path.join(file)).unwrap_or_default();
            // The state before the call: the thread may sleep for a lock before it has read, and a
            // later `poll` would not sleep then.
            if read("comm") != "winddown\n" || !read("status").contains("\nState:\tS") {
                return None;
            }
            let call = read("syscall");
            let mut arguments = call.strip_prefix(&poll)?.split(' ');
            arguments.nth(2).map(str::to_owned)
        });
        timeout.is_some()
    });
    timeout.expect("it sleeps")
}

/// Does nothing where there is no /proc. The tests show less there.
#[cfg(all(unix, not(target_os = "linux")))]
pub fn all_are_read() {}

/// Returns the number of threads of this process.
#[cfg(target_os = "linux")]
fn threads() -> usize {
    let tasks = std::fs::read_dir("/proc/self/task").expect("there is a /proc");
    tasks.count()
}

/// Limits the memory so that it suffices for so many more threads. Returns the former limits.
#[cfg(target_os = "linux")]
pub fn leave_memory_for_threads(count: rlim_t) -> (rlim_t, rlim_t) {
    // A thread's stack takes two MiB.
    let size = std::fs::read_to_string("/proc/self/statm").unwrap();
    let pages: rlim_t = size.split(' ').next().unwrap().parse().unwrap();
    let (soft, hard) = getrlimit(Resource::RLIMIT_AS).unwrap();
    let limit = pages * 4096 + (2 * count + 1) * (1 << 20);
    setrlimit(Resource::RLIMIT_AS, limit, hard).unwrap();
    (soft, hard)
}

/// Returns whether every thread of a process sleeps, but for one.
#[cfg(target_os = "linux")]
pub fn threads_sleep(process: Pid, but: Option<Pid>) -> bool {
    let but = but.map(|thread| thread.to_string());
    std::fs::read_dir(format!("/proc/{process}/task"))
        .unwrap()
        .map(|task| task.unwrap())
        .filter(|task| but.as_deref().is_none_or(|but| *task.file_name() != *but))
        .all(|task| {
            let stat = std::fs::read_to_string(task.path().join("stat")).unwrap();
            stat.rsplit_once(") ").unwrap().1.starts_with('S')
        })
}

/// Begins the lame duck of an installed shutdown, drops the last handle, and waits until the threads
/// of that shutdown have ended.
#[cfg(all(target_os = "linux", feature = "signals"))]
pub fn abandon_lame_duck(reason: &str) {
    let builder = winddown::Shutdown::builder().lame_duck(super::HOUR);
    let shutdown = builder.install().unwrap();
    let before = threads();
    assert!(shutdown.trigger(reason));
    drop(shutdown);
    // A thread holds the shutdown for as long as it looks at it.
    until("the threads of the shutdown end", || threads() == before);
}

/// Returns a test that needs a command which makes a process PID 1, as in a container. The test is
/// ignored where that is not permitted.
pub fn pid_1_test(name: impl Into<String>, test: impl FnOnce(Command) + Send + 'static) -> Trial {
    Trial::ignorable_test(name, || match unshare() {
        Some(unshare) => {
            test(unshare);
            Ok(Completion::Completed)
        }
        None => Ok(Completion::ignored_with(
            "unshare can't make a process PID 1 here",
        )),
    })
}

fn unshare() -> Option<Command> {
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

/// What an example server prints once it listens, before the address.
const READY: &str = "ready: listening on http://";

/// An example server on a port of its own.
pub struct Server {
    pub program: Program,
    pub address: SocketAddr,
}

impl Server {
    /// Starts a server with a deadline that no test lives to see.
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

    /// Starts a server with so many descriptors. Once it is ready, its stdout and stderr have no reader.
    #[cfg(unix)]
    pub fn start_unheard(name: &str, deadline: &str, descriptors: usize) -> Self {
        let (input, output) = UnixStream::pair().expect("there are descriptors");
        let same = output.try_clone().expect("there are descriptors");
        let child = Command::new("sh")
            .args(["-c", r#"ulimit -n "$1"; shift; exec "$@""#, "sh"])
            .arg(descriptors.to_string())
            .arg(example(name))
            .args(["127.0.0.1:0", deadline])
            .stdin(Stdio::null())
            .stdout(OwnedFd::from(output))
            .stderr(OwnedFd::from(same))
            .spawn()
            .expect("it can be started");
        let program = Program::of(child);
        let mut line = String::new();
        BufReader::new(input)
            .read_line(&mut line)
            .expect("it is text");
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

    /// Returns the number of connections that the kernel has accepted and the server has not.
    #[cfg(target_os = "linux")]
    pub fn queued(&self) -> u64 {
        let anywhere = SocketAddr::from(([0; 4], 0));
        queues(self.address, anywhere).map_or(0, |(_, queued)| queued)
    }

    /// Sends a request on a connection of its own, and waits until the server has received it.
    pub fn begin(&self, request: &str) -> Client {
        let mut client = self.connect();
        client.send(request);
        let (method_and_path, _) = request.split_once('?').unwrap_or((request, ""));
        self.program.line(&format!("request: {method_and_path}"));
        client
    }

    /// Sends the first line of a request on a connection of its own, and waits until the server has
    /// read it. The request is in flight from then on, until `Client::finish`.
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

/// Returns what the kernel holds of a TCP connection: the bytes that may not have arrived at `remote`,
/// and the bytes that `local` has not read.
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

/// An HTTP/1.1 client that reads byte by byte.
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

    /// Sends the rest of a request that was held.
    pub fn finish(&mut self) {
        self.write("Host: localhost\r\n\r\n");
    }

    pub fn write(&mut self, text: &str) {
        self.0.write_all(text.as_bytes()).expect("it is sent");
    }

    /// Reads one response, and returns its status and body.
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

    /// Waits for the end, and returns whether the connection was closed, whatever came before.
    pub fn closed(&mut self) -> bool {
        match self.0.read_to_end(&mut Vec::new()) {
            Ok(_) => true,
            Err(error) => error.kind() == ErrorKind::ConnectionReset,
        }
    }

    /// Waits for the next byte, and returns whether the connection was closed instead.
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
