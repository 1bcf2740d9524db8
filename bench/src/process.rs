//! Child processes: this program again, in a role of a row.

use std::env;
use std::io::{BufRead, BufReader, Read};
use std::process::{Child, ChildStdout, Command, ExitStatus, Stdio};
use std::time::Duration;

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
        let mut child = Command::new(env::current_exe().expect("this program has a path"))
            .args(["--role", role])
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .spawn()
            .expect("this program can be started again");
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

/// The same clock in every process.
pub fn now() -> Duration {
    time_of(ClockId::CLOCK_MONOTONIC)
}

pub fn time_of(clock: ClockId) -> Duration {
    clock_gettime(clock).expect("the clock exists").into()
}
