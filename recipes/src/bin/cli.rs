//! # A command-line program that stops after the current file
//!
//! The first Ctrl-C lets the file that is at work be finished, and the exit code is 130, as a shell
//! says of a program that SIGINT has ended. The second ends the program at once, with the same code.
//!
//! - **It waits for** the current file. Files are written under another name and then renamed, so that
//!   the second Ctrl-C leaves no half of a file either.
//! - **In a script,** a shell goes on with its next line after the code 130, because the program has
//!   handled the signal. `cause.exit()` in place of the code, and `force_by_signal` in place of
//!   `exit_code`, make the program die of the signal. Then one Ctrl-C stops the script too.
//! - **Measured:** SIGINT during the second of three files: two were done, the third was left as it
//!   was, exit code 130 after 0.5 s.

use std::error::Error;
use std::fs;
use std::process::ExitCode;
use std::thread;
use std::time::Duration;

use winddown::{Shutdown, ShutdownExt};

fn main() -> Result<ExitCode, Box<dyn Error>> {
    let shutdown = Shutdown::builder().exit_code(130).install()?;
    let files: Vec<_> = std::env::args().skip(1).collect();
    let all = files.len();
    let mut done = 0;
    for file in files.into_iter().stop_on_shutdown(shutdown.waiter()) {
        println!("working on {file}");
        convert(&file)?;
        println!("done: {file}");
        done += 1;
    }
    println!("{done} of {all} files");
    // A signal that came during the last file has not stopped anything.
    Ok(match shutdown.cause() {
        Some(cause) if done < all => ExitCode::from(&cause), // 130
        _ => ExitCode::SUCCESS,
    })
}

fn convert(file: &str) -> Result<(), Box<dyn Error>> {
    let text = fs::read_to_string(file)?;
    thread::sleep(Duration::from_millis(500)); // the work
    let temporary = format!("{file}.part");
    fs::write(&temporary, text.to_uppercase())?;
    fs::rename(&temporary, file)?;
    Ok(())
}
