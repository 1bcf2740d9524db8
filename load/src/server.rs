//! A server in a child process.

use std::collections::VecDeque;
use std::io::{self, BufRead, BufReader};
use std::net::{SocketAddr, TcpListener};
use std::os::fd::OwnedFd;
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::mpsc::{self, Receiver, Sender};
use std::sync::{Arc, Mutex};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

/// How long a server may take to start, and to stop once its deadline is over.
const PATIENCE: Duration = Duration::from_secs(20);

/// How long requests in flight may take.
pub const DEADLINE: Duration = Duration::from_secs(10);

const READY: &str = "ready: listening on http://";

pub struct Server {
    child: Child,
    ready: Receiver<SocketAddr>,
    last: Arc<Mutex<VecDeque<String>>>,
    reader: Option<JoinHandle<()>>,
}

/// How a server ended.
pub struct End {
    pub status: ExitStatus,
    /// From the signal to the exit.
    pub time: Duration,
}

impl Server {
    /// Starts a server that binds a port of its own.
    pub fn bind(program: &Path) -> Result<Self, String> {
        let mut command = Command::new(program);
        command.stdin(Stdio::null());
        Self::start(command)
    }

    /// Starts a server that takes over a listener, as `sd_listen_fds(3)` says. `activate` starts it, if
    /// that is given, once a client has connected.
    ///
    /// The listener arrives as standard input, because std hands on no other descriptor. A shell makes it
    /// descriptor 3, and knows the process id that the server will have.
    pub fn inherit(
        program: &Path,
        listener: TcpListener,
        activate: Option<&Path>,
    ) -> Result<Self, String> {
        let mut command = Command::new("sh");
        command
            .arg("-c")
            .arg("export LISTEN_FDS=1 LISTEN_PID=$$; exec \"$@\" 3<&0 </dev/null")
            .arg("sh")
            .args(activate)
            .arg(program)
            .stdin(OwnedFd::from(listener));
        Self::start(command)
    }

    fn start(mut command: Command) -> Result<Self, String> {
        let start = || {
            let (output, input) = io::pipe()?;
            command
                .args(["127.0.0.1:0", &format!("{}s", DEADLINE.as_secs())])
                .stdout(input.try_clone()?)
                .stderr(input);
            // The command is dropped here, and with it this process' ends of the pipe and the listener.
            let child = command.spawn()?;
            drop(command);
            Ok((child, output))
        };
        let (child, output) =
            start().map_err(|error: io::Error| format!("can't start a server: {error}"))?;
        let (listening, ready) = mpsc::channel();
        let last = Arc::new(Mutex::new(VecDeque::new()));
        let reader = {
            let last = last.clone();
            thread::spawn(move || read(BufReader::new(output), &listening, &last))
        };
        Ok(Self {
            child,
            ready,
            last,
            reader: Some(reader),
        })
    }

    /// Waits until it listens, and returns its address.
    pub fn wait_until_ready(&self) -> Result<SocketAddr, String> {
        self.ready
            .recv_timeout(PATIENCE)
            .map_err(|_| format!("it does not listen; its last lines:\n{}", self.last_lines()))
    }

    pub fn signal(&self, signal: Signal) -> Result<(), String> {
        let pid = Pid::from_raw(self.child.id().cast_signed());
        kill(pid, signal).map_err(|error| format!("can't send {signal}: {error}"))
    }

    /// Sends the signal, and waits for the exit.
    pub fn stop(mut self, signal: Signal) -> Result<End, String> {
        let begun = Instant::now();
        self.signal(signal)?;
        loop {
            let status = self.child.try_wait().map_err(|error| error.to_string())?;
            let time = begun.elapsed();
            if let Some(status) = status {
                return Ok(End { status, time });
            }
            if time > DEADLINE + PATIENCE {
                return Err(format!(
                    "it does not end; its last lines:\n{}",
                    self.last_lines()
                ));
            }
            thread::sleep(Duration::from_millis(1));
        }
    }

    /// Sends SIGTERM, and waits for the exit. Returns an error if that does not say success.
    pub fn stop_well(self) -> Result<Duration, String> {
        let last = self.last.clone();
        let end = self.stop(Signal::SIGTERM)?;
        if end.status.success() {
            return Ok(end.time);
        }
        Err(format!("{}; its last lines:\n{}", end.status, join(&last)))
    }

    fn last_lines(&self) -> String {
        join(&self.last)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        if matches!(self.child.try_wait(), Ok(None)) {
            let _ = self.child.kill();
        }
        let _ = self.child.wait();
        if let Some(reader) = self.reader.take() {
            let _ = reader.join();
        }
    }
}

/// Reads what a server prints, so that it never waits for a reader, and keeps the last lines.
fn read(output: impl BufRead, listening: &Sender<SocketAddr>, last: &Mutex<VecDeque<String>>) {
    for line in output.lines().map_while(Result::ok) {
        if line.starts_with("request: ") {
            continue;
        }
        if let Some(address) = line.strip_prefix(READY) {
            let _ = address.parse().map(|address| listening.send(address));
        }
        let mut last = last.lock().unwrap();
        if last.len() == 10 {
            last.pop_front();
        }
        last.push_back(line);
    }
}

fn join(lines: &Mutex<VecDeque<String>>) -> String {
    Vec::from(lines.lock().unwrap().clone()).join("\n")
}
