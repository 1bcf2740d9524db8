//! The rows, by what they measure.

mod adapters;
mod phases;
#[cfg(unix)]
mod server;
#[cfg(unix)]
mod signals;
#[cfg(target_os = "linux")]
mod stop;
mod waiting;
mod work;

use std::hint::black_box;
use std::sync::Arc;

use crate::harness::{Contender, Measured, Row, timed_on};

pub fn all() -> Vec<Row> {
    let mut rows = waiting::rows();
    rows.extend(work::rows());
    rows.extend(phases::rows());
    rows.extend(adapters::rows());
    #[cfg(unix)]
    rows.extend(signals::rows());
    #[cfg(unix)]
    rows.extend(server::rows());
    #[cfg(target_os = "linux")]
    rows.extend(stop::rows());
    rows
}

/// What is to be said of these rows, but for their numbers.
pub fn note(measured: &[Measured]) -> Option<&'static str> {
    #[cfg(target_os = "linux")]
    if measured.iter().any(|row| row.name.starts_with("stop,")) {
        return stop::note();
    }
    let _ = measured;
    None
}

/// What a child process does: the name of its row, then two words.
pub fn play(role: &str) {
    let words: Vec<&str> = role.split('/').collect();
    match words[..] {
        #[cfg(unix)]
        ["server", name, runtime] => server::role(name, runtime),
        #[cfg(target_os = "linux")]
        ["stop", name, runtime] => crate::stopped::role(name, runtime),
        #[cfg(unix)]
        [row, name, load] => signals::role(row, name, load),
        _ => panic!("there is no role '{role}'"),
    }
}

fn on(threads: usize) -> String {
    format!("{threads} thread{}", if threads == 1 { "" } else { "s" })
}

/// What it costs alone to keep what is shared alive: one count up, and down again.
fn counted(threads: usize) -> Contender {
    let shared = Arc::new(());
    let count = move |n| {
        timed_on(
            threads,
            n,
            || (),
            |()| drop(black_box(black_box(&shared).clone())),
        )
    };
    Contender::timed("Arc", count).yardstick()
}
