//! Windows: console events, as signals.
//!
//! Ctrl-Break is an interrupt, as Ctrl-C is. The end of the console, of the session and of the system
//! are a termination. Windows ends the process once the handler of such an event has returned, so it
//! never does: when the last handle is gone, `main` may still have something to save.

use std::sync::Arc;

use async_signal::Signal;
use winddown_console::{Event, Reply};

use crate::model::cause::Cause;
use crate::node::Node;
use crate::os::deliver::announce;
use crate::os::error::InstallError;

/// Returns whether a console event stands for the signal.
pub(crate) fn is_usable(signal: Signal) -> bool {
    matches!(signal, Signal::Int | Signal::Term)
}

/// Registers the handler: when it returns, the events of these signals go to `node`. The exit code is
/// the process's to know.
pub(crate) fn listen(
    signals: Vec<Signal>,
    _exit_code: i32,
    node: &Arc<Node>,
) -> Result<(), InstallError> {
    let node = Arc::downgrade(node);
    winddown_console::handle(move |event| match signal(event) {
        Some(signal) if signals.contains(&signal) => match node.upgrade() {
            Some(node) => {
                node.request_with(Cause::Signal(signal), announce);
                Reply::Taken
            }
            None => Reply::Passed,
        },
        _ => Reply::Passed,
    })
    .map_err(InstallError::Register)
}

fn signal(event: Event) -> Option<Signal> {
    match event {
        Event::CtrlC | Event::CtrlBreak => Some(Signal::Int),
        Event::Close | Event::Logoff | Event::Shutdown => Some(Signal::Term),
        _ => None,
    }
}
