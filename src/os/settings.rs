//! [`Settings`]: what the builder sets for the process alone.

use crate::model::signal::Signal;

#[derive(Clone, Debug)]
pub(crate) struct Settings {
    pub(crate) signals: Vec<Signal>,
    pub(crate) exit_code: i32,
    pub(crate) force_by_signal: bool,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            signals: vec![Signal::INT, Signal::TERM],
            exit_code: 1,
            force_by_signal: false,
        }
    }
}
