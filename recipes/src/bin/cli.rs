//! # A command-line program that stops after the current file
//!
//! The first Ctrl-C lets the file that is at work be finished, and then the program dies of SIGINT, as one
//! does that has no handler: a shell says 130, and its loop or script stops too. The second Ctrl-C ends it
//! within a quarter of a second, in which the half of a file is removed.
//!
//! - **It waits for** the current file. Files are written under another name and then renamed, so that
//!   none is replaced by a half, whatever comes.
//! - **In a pipeline** Ctrl-C ends the reader of its output as well. `println!` would panic then.
//! - **Measured:** SIGINT during the second of three files: two were done, the third was left as it
//!   was, killed by SIGINT after 0.5 s. A loop of bash that runs it for each file was stopped. Two of them
//!   during one file: no part of it was left.

use std::error::Error;
use std::fmt::Arguments;
use std::fs::{self, File};
use std::io::{self, Write};
use std::thread;
use std::time::Duration;

use winddown::{Shutdown, ShutdownExt, Stage, Waiter};

fn main() -> Result<(), Box<dyn Error>> {
    let shutdown = Shutdown::builder()
        .abort_timeout(Duration::from_millis(250)) // to remove a part
        .force_by_signal()
        .install()?;
    let files: Vec<_> = std::env::args().skip(1).collect();
    let all = files.len();
    let mut done = 0;
    for file in files.into_iter().stop_on_shutdown(shutdown.waiter()) {
        say(format_args!("working on {file}"));
        if convert(&file, &shutdown.waiter())? {
            say(format_args!("done: {file}"));
            done += 1;
        }
    }
    say(format_args!("{done} of {all} files"));
    match shutdown.cause() {
        Some(cause) => cause.exit(),
        None => Ok(()),
    }
}

/// Returns whether the file was converted: not if a second signal has come.
fn convert(file: &str, waiter: &Waiter) -> Result<bool, Box<dyn Error>> {
    let text = fs::read_to_string(file)?;
    let temporary = format!("{file}.part");
    let mut part = File::create(&temporary)?;
    for letter in text.chars() {
        if waiter.stage() == Stage::Forced {
            fs::remove_file(&temporary)?;
            return Ok(false);
        }
        thread::sleep(Duration::from_millis(100)); // the work
        write!(part, "{}", letter.to_uppercase())?;
    }
    fs::rename(&temporary, file)?;
    Ok(true)
}

/// Prints a line, if it is read.
fn say(line: Arguments<'_>) {
    let _ = writeln!(io::stdout(), "{line}");
}
