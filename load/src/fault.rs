//! What goes wrong around a server while it runs or stops.

use std::io;

use fastrand::Rng;
use nix::sys::signal::Signal;
use nix::unistd::Pid;
use rustix::process::{Resource, Rlimit, getrlimit, prlimit};

use crate::clock::Clock;
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
