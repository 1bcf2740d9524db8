//! What happens, for those who watch: events for `tracing`, and messages for systemd.

use crate::state::State;
use crate::{Stage, Stragglers};

/// The shutdown has come so far.
///
/// Told last of all, when everybody has been woken: a subscriber may block, on a full pipe say.
pub(crate) fn reached(state: &State, stage: Stage) {
    #[cfg(feature = "tracing")]
    if let Some(cause) = state.cause() {
        let (elapsed, in_flight) = (state.elapsed(), state.in_flight());
        safely(|| {
            tracing::info!(?stage, %cause, ?elapsed, in_flight, "shutdown");
        });
    }
    let _ = (state, stage);
}

/// A drain has ended.
pub(crate) fn drained(state: &State, result: &Result<(), Stragglers>) {
    #[cfg(feature = "tracing")]
    {
        let elapsed = state.elapsed();
        safely(|| match result {
            Ok(()) => tracing::info!(?elapsed, "drained"),
            Err(stragglers) => {
                let in_flight = stragglers.count();
                tracing::warn!(?elapsed, in_flight, %stragglers, "not drained");
            }
        });
    }
    let _ = (state, result);
}

/// A subscriber that panics takes nobody's thread with it.
#[cfg(feature = "tracing")]
fn safely(tell: impl FnOnce()) {
    if let Err(payload) = std::panic::catch_unwind(std::panic::AssertUnwindSafe(tell)) {
        // A payload may panic when it is dropped.
        std::mem::forget(payload);
    }
}
