//! A server in a child process.

use std::collections::VecDeque;
use std::ffi::OsString;
use std::io::{self, BufRead, BufReader};
use std::net::{SocketAddr, TcpListener};
use std::os::fd::OwnedFd;
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{self, Receiver, Sender};
use std::sync::{Arc, Mutex, OnceLock};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use winddown::Shutdown;

#[cfg(target_os = "linux")]
use crate::clock::Clock;

/// How long a server may take to start, and to stop once its deadline is over.
const PATIENCE: Duration = Duration::from_secs(20);

const READY: &str = "ready: listening on http://";

/// The shutdown of this process.
pub static SHUTDOWN: OnceLock<Shutdown> = OnceLock::new();

/// Returns an error once this process was told to stop.
pub fn go_on() -> Result<(), String> {
    match SHUTDOWN.get().and_then(Shutdown::cause) {
        Some(cause) => Err(format!("told to stop: {cause}")),
        None => Ok(()),
    }
}

/// What a server is told when it starts.
pub struct Config {
    /// How long requests in flight may take.
    pub deadline: Duration,
    pub lame_duck: Duration,
    pub env: Vec<(&'static str, OsString)>,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            deadline: Duration::from_secs(10),
            lame_duck: Duration::ZERO,
            env: Vec::new(),
        }
    }
}

impl Config {
    /// Returns the time from the signal to the deadline.
    pub fn grace(&self) -> Duration {
        self.lame_duck + self.deadline
    }
}

pub struct Server {
    child: Child,
    grace: Duration,
    ready: Receiver<SocketAddr>,
    output: Arc<Output>,
    reader: Option<JoinHandle<()>>,
}

/// What a server prints.
#[derive(Default)]
struct Output {
    last: Mutex<VecDeque<String>>,
    /// Whether the reader is to close the pipe.
    closed: AtomicBool,
}

/// How a server ended.
pub struct End {
    pub status: ExitStatus,
    /// From the signal to the exit.
    pub time: Duration,
    /// The last lines that it printed.
    pub last: String,
}

impl Server {
    /// Starts a server that binds a port of its own.
    pub fn bind(program: &Path, config: &Config) -> Result<Self, String> {
        let mut command = Command::new(program);
        command.stdin(Stdio::null());
        Self::start(command, config)
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
        config: &Config,
    ) -> Result<Self, String> {
        let mut command = Command::new("sh");
        command
            .arg("-c")
            .arg("export LISTEN_FDS=1 LISTEN_PID=$$; exec \"$@\" 3<&0 </dev/null")
            .arg("sh")
            .args(activate)
            .arg(program)
            .stdin(OwnedFd::from(listener));
        Self::start(command, config)
    }

    fn start(mut command: Command, config: &Config) -> Result<Self, String> {
        go_on()?;
        let milliseconds = |time: Duration| format!("{}ms", time.as_millis());
        let start = || {
            let (output, input) = io::pipe()?;
            command
                .arg("127.0.0.1:0")
                .arg(milliseconds(config.deadline))
                .arg(milliseconds(config.lame_duck))
                .envs(config.env.iter().map(|(name, value)| (name, value)))
                .stdout(input.try_clone()?)
                .stderr(input);
            // The command is dropped here, and with it this process' ends of the pipe and the listener.
            let child = command.spawn()?;
            drop(command);
            Ok((child, output))
        };
        let (child, pipe) =
            start().map_err(|error: io::Error| format!("can't start a server: {error}"))?;
        let (listening, ready) = mpsc::channel();
        let output = Arc::new(Output::default());
        let reader = {
            let output = output.clone();
            thread::spawn(move || output.read(BufReader::new(pipe), &listening))
        };
        Ok(Self {
            child,
            grace: config.grace(),
            ready,
            output,
            reader: Some(reader),
        })
    }

    pub fn pid(&self) -> Pid {
        Pid::from_raw(self.child.id().cast_signed())
    }

    /// Waits until it listens, and returns its address.
    pub fn wait_until_ready(&self) -> Result<SocketAddr, String> {
        self.ready.recv_timeout(PATIENCE).map_err(|_| {
            let last = self.output.last_lines();
            format!("it does not listen; its last lines:\n{last}")
        })
    }

    /// Closes the pipe that the server prints to, once it has printed its next line.
    #[cfg(target_os = "linux")]
    pub fn close_output(&self) {
        self.output.closed.store(true, Ordering::Relaxed); // no dependent data
    }

    pub fn signal(&self, signal: Signal) -> Result<(), String> {
        kill(self.pid(), signal).map_err(|error| format!("can't send {signal}: {error}"))
    }

    /// Sends the signal, and waits for the exit.
    pub fn stop(self, signal: Signal) -> Result<End, String> {
        let asked = Instant::now();
        self.signal(signal)?;
        self.wait(asked)
    }

    /// Waits for the exit of a server that was asked to stop then.
    pub fn wait(mut self, asked: Instant) -> Result<End, String> {
        loop {
            let status = self.child.try_wait().map_err(|error| error.to_string())?;
            let time = asked.elapsed();
            if let Some(status) = status {
                // The reader has all once the server's end of the pipe is closed.
                if let Some(reader) = self.reader.take() {
                    let _ = reader.join();
                }
                let last = self.output.last_lines();
                return Ok(End { status, time, last });
            }
            if time > self.grace + PATIENCE {
                let last = self.output.last_lines();
                return Err(format!("it does not end; its last lines:\n{last}"));
            }
            go_on()?;
            thread::sleep(Duration::from_millis(1));
        }
    }

    /// Sends SIGTERM, and waits for the exit. Returns an error if that does not say success.
    pub fn stop_well(self) -> Result<Duration, String> {
        let end = self.stop(Signal::SIGTERM)?;
        if end.status.success() {
            return Ok(end.time);
        }
        Err(format!("{}; its last lines:\n{}", end.status, end.last))
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        if matches!(self.child.try_wait(), Ok(None)) {
            let _ = self.child.kill();
        }
        let _ = self.child.wait();
        #[cfg(target_os = "linux")]
        Clock::forget(self.pid());
        if let Some(reader) = self.reader.take() {
            let _ = reader.join();
        }
    }
}

impl Output {
    /// Reads what a server prints, so that it never waits for a reader, and keeps the last lines.
    fn read(&self, pipe: impl BufRead, listening: &Sender<SocketAddr>) {
        for line in pipe.lines().map_while(Result::ok) {
            if self.closed.load(Ordering::Relaxed) {
                return;
            }
            if line.starts_with("request: ") {
                continue;
            }
            if let Some(address) = line.strip_prefix(READY) {
                let _ = address.parse().map(|address| listening.send(address));
            }
            let mut last = self.last.lock().unwrap();
            if last.len() == 10 {
                last.pop_front();
            }
            last.push_back(line);
        }
    }

    fn last_lines(&self) -> String {
        Vec::from(self.last.lock().unwrap().clone()).join("\n")
    }
}
