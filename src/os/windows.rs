//! Windows: console events, as signals.
//!
//! Ctrl-Break is an interrupt, as Ctrl-C is. The end of the console, of the session and of the system
//! are a termination. Windows ends the process once the handler of such an event has returned. So a handler
//! that has taken one never returns: when the last handle is gone, `main` may still have something to save.

use std::io;
use std::sync::{Arc, Mutex};
use std::thread;

use winddown_console::{Event, Reply};

use crate::model::signal::Signal;
use crate::node::Node;
use crate::os::deliver::request;
use crate::os::error::InstallError;
use crate::os::settings::Settings;
use crate::os::timekeeper;
use crate::util::deadline::prepare;
use crate::util::sync::lock_std;

/// Returns whether a console event stands for the signal.
pub(crate) fn is_usable(signal: Signal) -> bool {
    matches!(signal, Signal::INT | Signal::TERM)
}

/// Registers the handler: when it returns, the events of these signals go to `node`.
pub(crate) fn listen(settings: &Settings, node: &Arc<Node>) -> Result<(), InstallError> {
    prepare();
    if node.policy().needs_timekeeper() {
        keep_times().map_err(InstallError::Thread)?;
    }
    let signals = settings.signals.clone();
    let node = Arc::downgrade(node);
    winddown_console::handle(move |event| match signal(event) {
        Some(signal) if signals.contains(&signal) && request(&node, signal) => Reply::Taken,
        _ => Reply::Passed,
    })
    .map_err(InstallError::Register)
}

/// Starts the thread `winddown`, unless an attempt to install has started it before.
fn keep_times() -> io::Result<()> {
    static STARTED: Mutex<bool> = Mutex::new(false);
    let mut started = lock_std(&STARTED);
    if !*started {
        let keep = || {
            loop {
                let next = timekeeper::run_due();
                timekeeper::wait_until(next);
            }
        };
        thread::Builder::new().name("winddown".into()).spawn(keep)?;
        *started = true;
    }
    Ok(())
}

fn signal(event: Event) -> Option<Signal> {
    match event {
        Event::CtrlC | Event::CtrlBreak => Some(Signal::INT),
        Event::Close | Event::Logoff | Event::Shutdown => Some(Signal::TERM),
        _ => None,
    }
}
