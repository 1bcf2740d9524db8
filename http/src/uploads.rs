//! [`Uploads`]: the request bodies of an HTTP/2 connection, and whether the client alone keeps them waiting.

use std::sync::{Arc, Mutex};

use crate::lock::lock;

/// The request bodies of an HTTP/2 connection that have not ended.
///
/// A client that sends nothing may be waiting for the server. Streams share a window, so a body that no handler
/// reads stops the others. And while a write waits for the client, HTTP/2 may read nothing.
#[derive(Clone, Default)]
pub(crate) struct Uploads(Arc<Mutex<State>>);

#[derive(Default)]
struct State {
    open: usize,
    /// Those whose handlers wait for the client.
    waiting: usize,
    /// Whether a write waits for it.
    blocked: bool,
    /// How often one of these has changed.
    changes: u64,
}

/// One of them.
pub(crate) struct Upload {
    uploads: Uploads,
    waits: bool,
}

impl Uploads {
    pub(crate) fn begin(&self) -> Upload {
        self.change(|state| state.open += 1);
        Upload {
            uploads: self.clone(),
            waits: false,
        }
    }

    /// Notes whether a write waits for the client.
    pub(crate) fn set_blocked(&self, blocked: bool) {
        let mut state = lock(&self.0);
        if state.blocked != blocked {
            state.blocked = blocked;
            state.changes += 1;
        }
    }

    fn change(&self, change: impl FnOnce(&mut State)) {
        let mut state = lock(&self.0);
        change(&mut state);
        state.changes += 1;
    }
}

impl Upload {
    /// Notes whether the handler waits for the client.
    pub(crate) fn set_waits(&mut self, waits: bool) {
        if self.waits == waits {
            return;
        }
        self.waits = waits;
        self.uploads.change(|state| match waits {
            true => state.waiting += 1,
            false => state.waiting -= 1,
        });
    }

    /// Returns since which change the client alone keeps all uploads waiting, or `None` if it does not.
    pub(crate) fn client_waits_since(&self) -> Option<u64> {
        let state = lock(&self.uploads.0);
        (state.waiting == state.open && !state.blocked).then_some(state.changes)
    }
}

impl Drop for Upload {
    fn drop(&mut self) {
        self.set_waits(false);
        self.uploads.change(|state| state.open -= 1);
    }
}
