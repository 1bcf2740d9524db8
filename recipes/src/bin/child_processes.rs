//! # Child processes and process groups
//!
//! A terminal sends Ctrl-C to every process of the foreground group, children too. So a child stops at
//! the same moment as its parent, whatever the parent still wants of it. `process_group(0)` puts the
//! child into a group of its own: no Ctrl-C reaches it, and the parent says when it ends.
//!
//! - **It waits for** the child: SIGTERM at the shutdown, SIGKILL if it has not ended 2 s later.
//! - **The force** ends the parent alone. A child in a group of its own is then an orphan, and runs on.
//!   The supervisor has to end it, as systemd and containers do with a whole cgroup. A child in the
//!   parent's group has had the Ctrl-C itself.
//! - A child in a group of its own must not read from the terminal, or SIGTTIN stops it. So its stdin
//!   is not the terminal.
//! - **Measured:** SIGINT to the group of the parent: the child was told by SIGTERM alone, exit code 0
//!   after 0.01 s. Two signals: exit code 1, and the child ran on.
//!
//! The arguments are the child's program and its arguments.

use std::error::Error;
use std::process::Stdio;
use std::time::Duration;

use nix::sys::signal::{Signal, killpg};
use nix::unistd::Pid;
use tokio::process::Command;
use tokio::time::timeout;
use winddown::{Shutdown, ShutdownExt};

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let shutdown = Shutdown::builder()
        .grace_period(Duration::from_secs(10))
        .install()?;
    let mut args = std::env::args().skip(1);
    let mut child = Command::new(args.next().ok_or("no program given")?)
        .args(args)
        .stdin(Stdio::null())
        .process_group(0)
        .spawn()?;
    let pid = child.id().ok_or("it has just begun")?;
    println!("child: {pid}");

    // Until the child ends by itself, or the shutdown comes.
    if let Some(status) = child.wait().cancel_on_shutdown(shutdown.waiter()).await {
        return Err(format!("the child has ended by itself: {}", status?).into());
    }
    // The whole group: what the child has started, too.
    let group = Pid::from_raw(pid.try_into()?);
    killpg(group, Signal::SIGTERM)?;
    let status = match timeout(Duration::from_secs(2), child.wait()).await {
        Ok(status) => status?,
        Err(_) => {
            killpg(group, Signal::SIGKILL)?;
            child.wait().await?
        }
    };
    println!("stopped: the child has ended: {status}");
    Ok(())
}
