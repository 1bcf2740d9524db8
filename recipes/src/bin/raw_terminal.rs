//! # A raw terminal
//!
//! In raw mode the terminal sends no SIGINT: Ctrl-C is a key. The program hands it on by
//! [`Shutdown::send`], with the effect of a real one: the second forces.
//!
//! - **At a normal end** a value with a `Drop` gives the terminal back.
//! - **The force** runs no destructors, and would leave the terminal raw. `abort_timeout` gives a
//!   thread the time to give it back: `forced` is ready at the second signal, and the process ends 100
//!   ms later.
//! - **SIGTERM** comes as a signal in any mode. SIGKILL leaves the terminal raw; `reset` mends that.
//! - **Signals:** crossterm handles SIGWINCH alone, so there is nothing to turn off.
//! - **Measured:** one Ctrl-C: exit code 0; two: exit code 1. Both times the terminal was as before.

use std::error::Error;
use std::io::{self, Write};
use std::thread;
use std::time::Duration;

use crossterm::event::{Event, KeyCode, KeyEvent, KeyModifiers, poll, read};
use crossterm::terminal::{disable_raw_mode, enable_raw_mode};
use futures_lite::future::block_on;
use winddown::{Shutdown, Signal};

struct Raw;

impl Raw {
    fn enter() -> io::Result<Self> {
        enable_raw_mode()?;
        Ok(Self)
    }
}

impl Drop for Raw {
    fn drop(&mut self) {
        let _ = disable_raw_mode();
    }
}

fn main() -> Result<(), Box<dyn Error>> {
    let shutdown = Shutdown::builder()
        .abort_timeout(Duration::from_millis(100))
        .install()?;
    let raw = Raw::enter()?;
    // For the force: the destructor of `raw` does not run then.
    let forced = shutdown.forced();
    thread::spawn(move || {
        block_on(forced);
        let _ = disable_raw_mode();
    });
    say("ready: press Ctrl-C");

    while !shutdown.is_stopping() {
        // Looks at the shutdown ten times a second.
        if poll(Duration::from_millis(100))? {
            key(&shutdown)?;
        }
    }
    say("stopping: press Ctrl-C again");
    // The work that is left: half a second, or the second Ctrl-C.
    for _ in 0..5 {
        if poll(Duration::from_millis(100))? {
            key(&shutdown)?;
        }
    }
    drop(raw);
    println!("stopped: the terminal is as before");
    Ok(())
}

fn key(shutdown: &Shutdown) -> io::Result<()> {
    let ctrl_c = KeyEvent::new(KeyCode::Char('c'), KeyModifiers::CONTROL);
    if read()? == Event::Key(ctrl_c) {
        shutdown.send(Signal::INT);
    }
    Ok(())
}

/// In raw mode a new line does not return to the first column.
fn say(line: &str) {
    let _ = write!(io::stdout(), "{line}\r\n");
    let _ = io::stdout().flush();
}
