//! What goes wrong around a server while it runs or stops.

use std::env;
use std::ffi::OsString;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::process;

use fastrand::Rng;
use nix::sys::signal::Signal;
use nix::unistd::Pid;
use rustix::process::{Resource, Rlimit, getrlimit, prlimit};

use crate::proc;
use crate::server::Server;

const MIB: u64 = 1 << 20;

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Fault {
    /// Few connections find a descriptor, and the others wait in the queue of the listener.
    Descriptors,
    /// No thread can be started.
    Threads,
    /// Memory for a few threads is left.
    Memory,
    /// The reader of standard output and standard error is gone, as long as the process lives.
    Output,
    /// The process does not run, as in a virtual machine that is moved.
    Paused,
    /// The clock is set. Timers don't notice, because the monotonic clock goes on.
    Clock,
}

impl Fault {
    pub const ALL: [Self; 6] = [
        Self::Descriptors,
        Self::Threads,
        Self::Memory,
        Self::Output,
        Self::Paused,
        Self::Clock,
    ];

    /// Brings it about. `idle` is how many descriptors the server has without connections.
    pub fn begin(
        self,
        server: &Server,
        idle: u64,
        clock: Option<&Clock>,
        random: &mut Rng,
    ) -> Result<(), String> {
        let pid = server.pid();
        let begun = match self {
            Self::Descriptors => limit(pid, Resource::Nofile, idle + random.u64(1..=3)),
            // Root may start threads beyond this limit, but not without 2 MiB for the stack of each.
            Self::Threads => limit(pid, Resource::Nproc, 1).and_then(|()| limit_memory(pid, MIB)),
            Self::Memory => limit_memory(pid, 16 * MIB),
            Self::Output => {
                server.close_output();
                Ok(())
            }
            Self::Paused => return server.signal(Signal::SIGSTOP),
            Self::Clock => clock.map_or(Ok(()), |clock| clock.set(random)),
        };
        begun.map_err(|error| format!("{self:?} can't be brought about: {error}"))
    }

    /// Ends it, except for `Output`. The clock stays as it was set.
    pub fn end(self, server: &Server) -> Result<(), String> {
        let pid = server.pid();
        let ended = match self {
            Self::Descriptors => unlimit(pid, Resource::Nofile),
            Self::Threads => {
                unlimit(pid, Resource::Nproc).and_then(|()| unlimit(pid, Resource::As))
            }
            Self::Memory => unlimit(pid, Resource::As),
            Self::Paused => return server.signal(Signal::SIGCONT),
            Self::Output | Self::Clock => Ok(()),
        };
        ended.map_err(|error| format!("{self:?} can't be ended: {error}"))
    }
}

/// Limits the address space to what the process has now, and so much more.
fn limit_memory(pid: Pid, more: u64) -> io::Result<()> {
    limit(pid, Resource::As, proc::address_space(pid)? + more)
}

fn limit(pid: Pid, resource: Resource, value: u64) -> io::Result<()> {
    set_limit(
        pid,
        resource,
        Rlimit {
            current: Some(value),
            ..getrlimit(resource)
        },
    )
}

/// Gives it the limit that this process has, and that it had when it started.
fn unlimit(pid: Pid, resource: Resource) -> io::Result<()> {
    set_limit(pid, resource, getrlimit(resource))
}

fn set_limit(pid: Pid, resource: Resource, limit: Rlimit) -> io::Result<()> {
    let pid = rustix::process::Pid::from_raw(pid.as_raw());
    prlimit(pid, resource, limit)?;
    Ok(())
}

/// A clock that servers see by libfaketime, and that can be set.
pub struct Clock {
    library: PathBuf,
    /// Holds the difference to the time of the system.
    file: PathBuf,
}

impl Clock {
    pub fn new(library: &Path, name: &str) -> Result<Self, String> {
        let file = env::temp_dir().join(format!("winddown-soak-{}-{name}", process::id()));
        let clock = Self {
            library: library.to_owned(),
            file,
        };
        clock.write("+0").map_err(|error| error.to_string())?;
        Ok(clock)
    }

    pub fn env(&self) -> Vec<(&'static str, OsString)> {
        vec![
            ("LD_PRELOAD", self.library.clone().into()),
            ("FAKETIME_TIMESTAMP_FILE", self.file.clone().into()),
            // In seconds. After that it reads the file again.
            ("FAKETIME_CACHE_DURATION", "1".into()),
            // As the kernel: a set clock does not change that one.
            ("FAKETIME_DONT_FAKE_MONOTONIC", "1".into()),
        ]
    }

    fn set(&self, random: &mut Rng) -> io::Result<()> {
        let steps = ["-400d", "-1h", "-2s", "+0", "+2s", "+1h", "+400d"];
        self.write(steps[random.usize(..steps.len())])
    }

    /// At once, because a server may read it meanwhile.
    fn write(&self, difference: &str) -> io::Result<()> {
        let new = self.file.with_extension("new");
        fs::write(&new, difference)?;
        fs::rename(new, &self.file)
    }

    /// Removes what libfaketime leaves behind if a process ends by `_exit`.
    pub fn forget(pid: Pid) {
        for kind in ["faketime_shm", "sem.faketime_sem"] {
            let _ = fs::remove_file(format!("/dev/shm/{kind}_{pid}"));
        }
    }
}

impl Drop for Clock {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.file);
    }
}
