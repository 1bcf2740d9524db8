//! [`Refusal`]: when a stream of connections refuses new ones.

use std::pin::Pin;
use std::task::Context;

use winddown::{Shutdown, Waiter};

use crate::refuse::{AsSocket, refuse_new};

/// The shutdown at which new connections are refused, if there is one that has not come.
#[derive(Debug, Default)]
pub(crate) struct Refusal(Option<Waiter>);

impl Refusal {
    pub(crate) fn at_shutdown(shutdown: &Shutdown) -> Self {
        Self(Some(shutdown.waiter()))
    }

    /// Refuses new connections once the shutdown has come, of which the task is told.
    pub(crate) fn poll(&mut self, cx: &mut Context<'_>, listener: &impl AsSocket) {
        let Some(stop) = &mut self.0 else { return };
        if Pin::new(stop).poll(cx).is_ready() {
            // Without it, connections may be lost between the last look at the queue and the close.
            let _ = refuse_new(listener);
            self.0 = None;
        }
    }
}
