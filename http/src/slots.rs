//! [`Slots`]: the connections that are open, and the accept loop that waits until one ends.

use std::future::poll_fn;
use std::mem;
use std::sync::{Arc, Mutex};
use std::task::{Poll, Waker};

use crate::lock::lock;

/// Counts the connections of a server.
#[derive(Clone)]
pub(crate) struct Slots {
    state: Arc<Mutex<State>>,
    limit: usize,
}

struct State {
    taken: usize,
    /// How many connections have ended.
    ended: usize,
    /// The accept loop.
    waker: Option<Waker>,
}

/// An open connection.
pub(crate) struct Slot(Arc<Mutex<State>>);

impl Slots {
    pub(crate) fn new(limit: usize) -> Self {
        let state = State {
            taken: 0,
            ended: 0,
            waker: None,
        };
        Self {
            state: Arc::new(Mutex::new(state)),
            limit,
        }
    }

    pub(crate) fn take(&self) -> Slot {
        lock(&self.state).taken += 1;
        Slot(self.state.clone())
    }

    /// Waits until there is room for a connection.
    pub(crate) async fn room(&self) {
        self.wait(|state| state.taken < self.limit).await;
    }

    /// Waits until a connection has ended from now on.
    pub(crate) async fn next_end(&self) {
        let ended = lock(&self.state).ended;
        self.wait(|state| state.ended != ended).await;
    }

    async fn wait(&self, ready: impl Fn(&State) -> bool) {
        poll_fn(|cx| {
            let mut state = lock(&self.state);
            if ready(&state) {
                return Poll::Ready(());
            }
            let last = state.waker.replace(cx.waker().clone());
            drop(state);
            drop(last);
            Poll::Pending
        })
        .await;
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        let waker = {
            let mut state = lock(&self.0);
            state.taken -= 1;
            state.ended = state.ended.wrapping_add(1);
            mem::take(&mut state.waker)
        };
        if let Some(waker) = waker {
            waker.wake();
        }
    }
}
