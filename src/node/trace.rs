//! Events for `tracing`. They take values, and know no node.
//!
//! A subscriber may block, for example on a full pipe. So events come last of all, when every waker was
//! called; and the background thread, on which later timers and wakers wait, leaves its own to another.

use std::time::Duration;

use tracing::field::{Value, debug};

use crate::model::cause::Cause;
use crate::model::drain_error::DrainError;
use crate::model::failure::Failure;
use crate::model::stage::Stage;
use crate::util::background::{EVENTS, NO_OWNER, WAKERS};
use crate::util::panic;

/// The target of every event, for filters.
const TARGET: &str = "winddown";

/// Emits an event. Where the thread for the events of the background thread is refused, it is emitted in
/// place.
fn emit(event: impl FnOnce() + Clone + Send + 'static) {
    let run = |event| EVENTS.run(NO_OWNER, Box::new(event)).is_ok();
    if !(WAKERS.is_current() && run(event.clone())) {
        panic::catch(event);
    }
}

/// Returns the value of a field, which is left out if the shutdown was not requested.
fn time(elapsed: Option<Duration>) -> Option<impl Value> {
    elapsed.map(debug)
}

/// Reports that a shutdown has reached a stage.
pub(crate) fn reached(stage: Stage, cause: &Cause, elapsed: Option<Duration>, in_flight: usize) {
    let cause = cause.clone();
    emit(move || {
        tracing::info!(target: TARGET, ?stage, %cause, elapsed = time(elapsed), in_flight, "shutdown");
    });
}

/// Reports a failure of the whole, which has begun the shutdown or came later.
pub(crate) fn failed(failure: &Failure, elapsed: Option<Duration>) {
    let failure = failure.clone();
    emit(move || tracing::error!(target: TARGET, %failure, elapsed = time(elapsed), "failed"));
}

/// For how long the event of a drain waits for those of the background thread. It comes behind them, and the
/// program may end then; but it does not wait for a waker that hangs, or a subscriber that blocks.
const FLUSH: Duration = Duration::from_millis(50);

/// Reports how a drain has ended, of which phase, and how many guards were dropped by panics.
pub(crate) fn drained(
    result: &Result<(), DrainError>,
    phase: Option<&'static str>,
    panicked: usize,
    elapsed: Option<Duration>,
) {
    // What has woken the drain has its events yet to emit.
    let left = WAKERS.flush_current(FLUSH);
    EVENTS.flush(left);
    let result = result.clone();
    emit(move || match result {
        Ok(()) if panicked == 0 => {
            tracing::info!(target: TARGET, phase, elapsed = time(elapsed), panicked, "drained");
        }
        Ok(()) => {
            tracing::warn!(target: TARGET, phase, elapsed = time(elapsed), panicked, "drained");
        }
        Err(error) => {
            let in_flight = error.report.guards();
            tracing::warn!(target: TARGET, phase, elapsed = time(elapsed), in_flight, panicked, %error, "not drained");
        }
    });
}

/// Reports that a phase was asked.
pub(crate) fn phase_asked(
    phase: Option<&'static str>,
    elapsed: Option<Duration>,
    in_flight: usize,
) {
    emit(
        move || tracing::info!(target: TARGET, phase, elapsed = time(elapsed), in_flight, "phase"),
    );
}

/// Reports that the time limit of a phase has run out.
pub(crate) fn phase_late(phase: &'static str, elapsed: Option<Duration>, in_flight: usize) {
    emit(move || {
        tracing::warn!(
            target: TARGET,
            phase,
            elapsed = time(elapsed),
            in_flight,
            "time limit of the phase ran out"
        );
    });
}
