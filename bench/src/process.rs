//! Child processes: this program again, in a role of a row.

use std::env;
use std::io::{BufRead, BufReader, Read};
use std::process::{Child, ChildStdout, Command, ExitStatus, Stdio};
use std::time::Duration;

use nix::sys::resource::{Resource, getrlimit, rlim_t, setrlimit};
use nix::sys::signal::{Signal, kill};
use nix::time::{ClockId, clock_getcpuclockid, clock_gettime};
use nix::unistd::Pid;

/// Ended when dropped.
pub struct Process {
    child: Child,
    stdout: BufReader<ChildStdout>,
}

impl Process {
    pub fn start(role: &str) -> Self {
        let this = env::current_exe().expect("this program has a path");
        Self::run(Command::new(this).args(["--role", role]))
    }

    pub fn run(command: &mut Command) -> Self {
        let mut child = command
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .spawn()
            .expect("the program can be started");
        let stdout = child.stdout.take().expect("it is a pipe");
        Self {
            child,
            stdout: BufReader::new(stdout),
        }
    }

    /// The next line that it prints.
    pub fn line(&mut self) -> String {
        let mut line = String::new();
        self.stdout
            .read_line(&mut line)
            .expect("its lines are text");
        line.trim_end().to_owned()
    }

    pub fn expect(&mut self, line: &str) {
        assert_eq!(self.line(), line, "the child says something else");
    }

    pub fn terminate(&self) {
        kill(self.pid(), Signal::SIGTERM).expect("the child has not been waited for");
    }

    pub fn wait(&mut self) -> ExitStatus {
        let _ = self.stdout.read_to_end(&mut Vec::new());
        self.child.wait().expect("the child was started here")
    }

    /// What all of its threads have used of the processors.
    pub fn cpu_time(&self) -> Duration {
        time_of(clock_getcpuclockid(self.pid()).expect("the child is alive"))
    }

    /// A line of the kernel about its memory, in KiB.
    #[cfg(target_os = "linux")]
    pub fn memory(&self, what: &str) -> f64 {
        memory(&self.child.id().to_string(), what)
    }

    fn pid(&self) -> Pid {
        Pid::from_raw(self.child.id() as i32)
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A line of `/proc/PROCESS/status`, in KiB.
#[cfg(target_os = "linux")]
pub fn memory(process: &str, what: &str) -> f64 {
    std::fs::read_to_string(format!("/proc/{process}/status"))
        .expect("the process is alive")
        .lines()
        .find_map(|line| line.strip_prefix(what)?.strip_prefix(':'))
        .and_then(|rest| rest.split_whitespace().next()?.parse().ok())
        .expect("the kernel says how much memory a process has")
}

/// What the processes that were waited for have used of the processors.
#[cfg(target_os = "linux")]
pub fn cpu_time_of_ended() -> Duration {
    use nix::sys::resource::{UsageWho, getrusage};
    use nix::sys::time::{TimeVal, TimeValLike};

    let usage = getrusage(UsageWho::RUSAGE_CHILDREN).expect("the kernel keeps account");
    let of = |time: TimeVal| Duration::from_micros(time.num_microseconds() as u64);
    of(usage.user_time()) + of(usage.system_time())
}

/// Lets this process have as many descriptors as it may, and returns how many.
pub fn raise_limit() -> rlim_t {
    let (_, hard) = getrlimit(Resource::RLIMIT_NOFILE).expect("there is a limit");
    setrlimit(Resource::RLIMIT_NOFILE, hard, hard).expect("the soft limit may be raised");
    hard
}

/// The same clock in every process.
pub fn now() -> Duration {
    time_of(ClockId::CLOCK_MONOTONIC)
}

pub fn time_of(clock: ClockId) -> Duration {
    clock_gettime(clock).expect("the clock exists").into()
}
