//! Windows' console events, as signals.
//!
//! Ctrl-Break is an interrupt, as Ctrl-C is. The end of the console, of the session and of the system
//! are a termination. Windows ends the process once their handler has returned, so it never does:
//! when the last handle is gone, `main` may still have something to save.

use std::io;
use std::sync::Arc;

use async_signal::Signal;
use winddown_console::{Event, Reply};

use crate::Cause;
use crate::signals::announce;
use crate::state::State;

/// From when it returns, the events of these signals go to `state`.
pub(crate) fn listen(signals: Vec<Signal>, state: &Arc<State>) -> io::Result<()> {
    let state = Arc::downgrade(state);
    winddown_console::handle(move |event| match signal(event) {
        Some(signal) if signals.contains(&signal) => match state.upgrade() {
            Some(state) => {
                state.request_with(Cause::Signal(signal), announce);
                Reply::Taken
            }
            None => Reply::Passed,
        },
        _ => Reply::Passed,
    })
}

fn signal(event: Event) -> Option<Signal> {
    match event {
        Event::CtrlC | Event::CtrlBreak => Some(Signal::Int),
        Event::Close | Event::Logoff | Event::Shutdown => Some(Signal::Term),
        _ => None,
    }
}
