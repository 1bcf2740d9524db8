//! What happens, for those who watch: events for `tracing`, and messages for systemd.

use crate::state::State;
#[cfg(feature = "tracing")]
use crate::wakers::shielded;
use crate::{Stage, Stragglers};

/// The shutdown has come so far.
///
/// Told last of all, when everybody has been woken: a subscriber may block, on a full pipe say.
pub(crate) fn reached(state: &State, stage: Stage) {
    #[cfg(feature = "tracing")]
    if let Some(cause) = state.cause() {
        let (elapsed, in_flight) = (state.elapsed(), state.in_flight());
        shielded(|| {
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
        shielded(|| match result {
            Ok(()) => tracing::info!(?elapsed, "drained"),
            Err(stragglers) => {
                let in_flight = stragglers.count();
                tracing::warn!(?elapsed, in_flight, %stragglers, "not drained");
            }
        });
    }
    let _ = (state, result);
}
