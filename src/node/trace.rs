//! Events for `tracing`. They take values, and know no node.

use std::time::Duration;

use crate::model::cause::Cause;
use crate::model::report::Stragglers;
use crate::model::stage::Stage;
use crate::util::panic;

/// Reports that a shutdown has reached a stage.
///
/// Called last of all, when every waker was called: a subscriber may block, for example on a full
/// pipe.
pub(crate) fn reached(stage: Stage, cause: &Cause, elapsed: Option<Duration>, in_flight: usize) {
    panic::catch(|| {
        tracing::info!(?stage, %cause, ?elapsed, in_flight, "shutdown");
    });
}

/// Reports how a drain has ended.
pub(crate) fn drained(result: &Result<(), Stragglers>, elapsed: Option<Duration>) {
    panic::catch(|| match result {
        Ok(()) => tracing::info!(?elapsed, "drained"),
        Err(stragglers) => {
            let in_flight = stragglers.count();
            tracing::warn!(?elapsed, in_flight, %stragglers, "not drained");
        }
    });
}
