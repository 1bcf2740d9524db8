//! # A daemon
//!
//! The thread that reads signals does not survive a `fork`, so a program forks first and installs then.
//! Better still, it does not fork at all: under systemd or in a container it stays in the foreground.
//! Where it must leave its terminal, it starts itself again, and the new process calls `setsid`. That
//! needs no unsafe code, as `fork` would.
//!
//! - **The parent** ends with code 0 once the daemon says that it is ready, and with code 1 if the
//!   daemon ends before.
//! - **The daemon** has no terminal: no Ctrl-C and no SIGHUP of a terminal reaches it. It is ended by
//!   SIGTERM to the pid that the parent prints.
//! - **Measured:** the parent ended with code 0 when the daemon was ready. SIGTERM to the daemon
//!   stopped it.

use std::error::Error;
use std::io::{BufRead, BufReader, Write, stdout};
use std::process::{Command, Stdio};
use std::time::Duration;

use nix::unistd::setsid;
use winddown::Shutdown;

fn main() -> Result<(), Box<dyn Error>> {
    let mut args = std::env::args().skip(1);
    let log = args.next().ok_or("usage: daemon LOG")?;
    match args.next().as_deref() {
        None => parent(&log),
        Some(_) => daemon(&log),
    }
}

/// Starts the daemon, and waits until it is ready.
fn parent(log: &str) -> Result<(), Box<dyn Error>> {
    let mut daemon = Command::new(std::env::current_exe()?)
        .args([log, "daemon"])
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()?;
    let mut line = String::new();
    let said = daemon.stdout.take().ok_or("it is piped")?;
    BufReader::new(said).read_line(&mut line)?;
    if line != "ready\n" {
        return Err(format!("the daemon did not start: {}", daemon.wait()?).into());
    }
    println!("daemon: {}", daemon.id());
    Ok(()) // and the daemon is a child of PID 1
}

fn daemon(log: &str) -> Result<(), Box<dyn Error>> {
    setsid()?; // no terminal, and a group of its own
    let mut log = std::fs::File::create(log)?;
    std::env::set_current_dir("/")?; // now that a relative path of the log is resolved
    // Now, in the process that stays.
    let shutdown = Shutdown::builder()
        .grace_period(Duration::from_secs(10))
        .force_at_deadline()
        .install()?;
    writeln!(stdout(), "ready")?; // and nothing more, as its reader ends

    shutdown.waiter().wait_blocking();
    let cause = shutdown.cause().ok_or("it was requested")?;
    shutdown.drain_blocking(Duration::from_secs(9))?;
    writeln!(log, "stopped: {cause}")?;
    Ok(())
}
