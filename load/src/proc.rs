//! What `/proc` says of a server.

use std::fmt;
use std::fs;
use std::io;

use nix::sys::signal::Signal;
use nix::unistd::Pid;

/// What a server must not have more of after its work than before.
#[derive(Clone, Copy)]
pub struct Vitals {
    /// In KiB.
    pub memory: u64,
    pub descriptors: u64,
    pub threads: u64,
}

impl Vitals {
    pub fn read(pid: Pid) -> io::Result<Self> {
        Ok(Self {
            memory: number(pid, "VmRSS")?,
            descriptors: fs::read_dir(format!("/proc/{pid}/fd"))?.count() as u64,
            threads: number(pid, "Threads")?,
        })
    }
}

impl fmt::Display for Vitals {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            memory,
            descriptors,
            threads,
        } = self;
        write!(
            f,
            "{memory} KiB, {descriptors} descriptors, {threads} threads"
        )
    }
}

/// Returns the size of the address space, in bytes.
pub fn address_space(pid: Pid) -> io::Result<u64> {
    Ok(number(pid, "VmSize")? * 1024)
}

/// Returns whether a thread has yet to take the signal.
pub fn is_pending(pid: Pid, signal: Signal) -> io::Result<bool> {
    let pending = u64::from_str_radix(&field(pid, "ShdPnd")?, 16).map_err(io::Error::other)?;
    Ok(pending & 1 << (signal as i32 - 1) != 0)
}

fn number(pid: Pid, name: &str) -> io::Result<u64> {
    field(pid, name)?.parse().map_err(io::Error::other)
}

/// Returns the first word of a line of `/proc/PID/status`.
fn field(pid: Pid, name: &str) -> io::Result<String> {
    let status = fs::read_to_string(format!("/proc/{pid}/status"))?;
    status
        .lines()
        .find_map(|line| line.strip_prefix(name)?.strip_prefix(':'))
        .and_then(|value| value.split_whitespace().next())
        .map(str::to_owned)
        // A process that has ended has no memory.
        .ok_or_else(|| io::Error::other(format!("no {name} of process {pid}")))
}
