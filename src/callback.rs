//! [`Callback`]: a function that the shutdown calls.

use std::fmt;
use std::sync::{Arc, Mutex};
use std::task::{Wake, Waker};

use crate::model::stage::Stage;
use crate::node::Node;
use crate::util::sync::lock_std;
use crate::util::waker_queue::Slot;

/// A function that is called once when the shutdown stops, unless this is dropped before. Made by
/// [`Shutdown::call_on_shutdown`](crate::Shutdown::call_on_shutdown).
///
/// A drop at the moment of the shutdown may come too late: then the function is called, or is still
/// running on another thread, when the drop returns.
#[must_use = "the function is not called once this is dropped"]
pub struct Callback {
    node: Arc<Node>,
    slot: Slot,
}

/// A waker, so that a function takes one entry of the registry as a task does.
struct Call<F>(Mutex<Option<F>>);

impl<F: FnOnce() + Send + 'static> Wake for Call<F> {
    fn wake(self: Arc<Self>) {
        // A statement of its own, so that the function runs without the lock.
        let function = lock_std(&self.0).take();
        if let Some(function) = function {
            function();
        }
    }
}

impl Callback {
    pub(crate) fn new(node: Arc<Node>, function: impl FnOnce() + Send + 'static) -> Self {
        let mut slot = Slot::vacant();
        let waker = Waker::from(Arc::new(Call(Mutex::new(Some(function)))));
        if !node.register_call(&mut slot, &waker) {
            waker.wake();
        }
        Self { node, slot }
    }
}

impl Drop for Callback {
    fn drop(&mut self) {
        self.node.forget(Stage::Stopping, &mut self.slot);
    }
}

impl fmt::Debug for Callback {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Callback")
            .field("stopping", &self.node.has_reached(Stage::Stopping))
            .finish_non_exhaustive()
    }
}
