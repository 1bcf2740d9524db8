//! [`Uploads`]: the request bodies of an HTTP/2 connection, and whether the client alone keeps them waiting.

use std::sync::{Arc, Mutex};
use std::task::{Wake, Waker};

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
    body: Arc<Body>,
    /// Whether it counts as open when this is gone: no code here sees any more whether it is read.
    left: bool,
}

/// The waker that a body is polled with. Once it is woken, the client has sent something, and the handler has to
/// read that first: it may be busy with something else.
struct Body {
    uploads: Uploads,
    /// The task of the handler, if it waits for the client. Locked while that is counted, because the waker may be
    /// woken at any time.
    task: Mutex<Option<Waker>>,
}

impl Uploads {
    pub(crate) fn begin(&self) -> Upload {
        self.change(|state| state.open += 1);
        let body = Body {
            uploads: self.clone(),
            task: Mutex::default(),
        };
        Upload {
            body: Arc::new(body),
            left: false,
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
    /// Has it count as open until the connection ends.
    pub(crate) fn leave(mut self) {
        self.left = true;
    }

    /// Notes that the task of the handler waits for the client, and returns the waker to poll the body with.
    pub(crate) fn wait(&self, task: &Waker) -> Waker {
        let mut waiting = lock(&self.body.task);
        let last = waiting.replace(task.clone());
        if last.is_none() {
            self.body.uploads.change(|state| state.waiting += 1);
        }
        drop(waiting);
        drop(last);
        self.body.clone().into()
    }

    /// Notes that the handler does not wait for the client.
    pub(crate) fn read(&self) {
        drop(self.body.take());
    }

    /// Returns since which change the client alone keeps all uploads waiting, or `None` if it does not.
    pub(crate) fn client_waits_since(&self) -> Option<u64> {
        let state = lock(&self.body.uploads.0);
        (state.waiting == state.open && !state.blocked).then_some(state.changes)
    }
}

impl Drop for Upload {
    fn drop(&mut self) {
        self.read();
        if !self.left {
            self.body.uploads.change(|state| state.open -= 1);
        }
    }
}

impl Body {
    /// Takes out the task that waits.
    fn take(&self) -> Option<Waker> {
        let mut waiting = lock(&self.task);
        let task = waiting.take();
        if task.is_some() {
            self.uploads.change(|state| state.waiting -= 1);
        }
        task
    }
}

impl Wake for Body {
    fn wake(self: Arc<Self>) {
        if let Some(task) = self.take() {
            task.wake();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A handler has given up a body, as by a timeout of its own.
    ///
    /// Mutation: the drop of an `Upload` leaves it counted as waiting.
    #[test]
    fn body_that_is_dropped_while_it_waits_is_counted_no_more() {
        let uploads = Uploads::default();
        let [dropped, stays] = [(); 2].map(|()| uploads.begin());
        let _wakers = [&dropped, &stays].map(|upload| upload.wait(Waker::noop()));
        drop(dropped);
        assert!(stays.client_waits_since().is_some());
    }

    /// The server was the one that kept the client waiting.
    ///
    /// Mutation: `Uploads::change` counts no change.
    #[test]
    fn handler_that_was_busy_meanwhile_is_a_change() {
        let uploads = Uploads::default();
        let [one, other] = [(); 2].map(|()| uploads.begin());
        let wait = || [&one, &other].map(|upload| upload.wait(Waker::noop()));
        let _wakers = wait();
        let since = one.client_waits_since();
        other.read();
        assert_eq!(one.client_waits_since(), None);
        let _wakers = wait();
        assert_ne!(one.client_waits_since(), since);
    }
}
