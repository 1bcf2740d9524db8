//! Waits for Ctrl-C, or for SIGTERM, and tidies up.
//!
//! `cargo run --example 01_ctrl_c`, then Ctrl-C. A second Ctrl-C within the two seconds ends the program
//! at once with exit code 1.

use std::fmt::Display;
use std::io::{Write, stdout};
use std::process::ExitCode;
use std::thread;
use std::time::Duration;

use winddown::{InstallError, Shutdown};

fn main() -> Result<ExitCode, InstallError> {
    // Once in a program, and first of all: from here on Ctrl-C does not end it.
    let shutdown = Shutdown::install()?;
    println!("ready: press Ctrl-C");

    // In a task it is `shutdown.waiter().await`.
    shutdown.waiter().wait_blocking();
    let cause = shutdown.cause().expect("it was requested");
    say(format_args!("stopping: {cause}"));

    thread::sleep(Duration::from_secs(2)); // tidies up
    say("stopped");
    // 130 after SIGINT and 143 after SIGTERM, as shells say it; 0 after a request, 1 after a failure.
    // `cause.exit()` would die of the signal instead, so that a shell stops its script.
    Ok(ExitCode::from(&cause))
}

/// `println!` would panic if its reader is gone: in `program | tee log`, Ctrl-C ends `tee` too. The other small
/// examples use it all the same.
fn say(line: impl Display) {
    let _ = writeln!(stdout(), "{line}");
}
