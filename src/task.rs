//! Futures that are work in flight, and futures that must not end.

use std::fmt;
use std::panic::Location;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use pin_project_lite::pin_project;

use crate::guard::Guard;
use crate::model::cause::Cause;
use crate::model::stage::Stage;
use crate::node::Node;

pin_project! {
    /// A future that is work in flight until it has ended. Made by
    /// [`Shutdown::track`](crate::Shutdown::track).
    ///
    /// # Panics
    ///
    /// Polled after it was ready, it does what the future inside does.
    ///
    /// # Cancel safety
    ///
    /// That of the future inside. Dropping it releases the guard.
    #[must_use = "futures do nothing unless polled"]
    #[derive(Debug)]
    pub struct Track<F> {
        #[pin]
        future: F,
        guard: Option<Guard>,
    }
}

impl<F> Track<F> {
    pub(crate) fn new(future: F, guard: Option<Guard>) -> Self {
        Self { future, guard }
    }
}

impl<F: Future> Future for Track<F> {
    type Output = F::Output;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<F::Output> {
        let this = self.project();
        let output = ready!(this.future.poll(cx));
        // Now, and not when the executor gets round to dropping it.
        *this.guard = None;
        Poll::Ready(output)
    }
}

pin_project! {
    /// A future without which the program cannot go on. Made by
    /// [`Shutdown::critical`](crate::Shutdown::critical).
    ///
    /// # Panics
    ///
    /// Polled after it was ready, it does what the future inside does.
    ///
    /// # Cancel safety
    ///
    /// That of the future inside. Dropping it before it has ended begins the shutdown.
    #[must_use = "futures do nothing unless polled"]
    #[derive(Debug)]
    pub struct Critical<F> {
        // Dropped before `alarm`, so that what it does on its way out comes before the request.
        #[pin]
        future: F,
        alarm: Alarm,
    }
}

/// Begins the shutdown when it is dropped.
struct Alarm {
    node: Arc<Node>,
    name: Arc<str>,
    at: &'static Location<'static>,
    /// What to say has happened to the future.
    fate: &'static str,
}

impl<F> Critical<F> {
    pub(crate) fn new(
        future: F,
        node: Arc<Node>,
        name: Arc<str>,
        at: &'static Location<'static>,
    ) -> Self {
        let alarm = Alarm {
            node,
            name,
            at,
            fate: "was dropped",
        };
        Self { future, alarm }
    }
}

impl<F: Future> Future for Critical<F> {
    type Output = F::Output;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<F::Output> {
        let this = self.project();
        let before = std::mem::replace(&mut this.alarm.fate, "panicked");
        let poll = this.future.poll(cx);
        this.alarm.fate = before;
        if poll.is_ready() {
            this.alarm.fate = "ended";
            this.alarm.ring();
        }
        poll
    }
}

impl Alarm {
    /// Nothing if a shutdown was requested already: then tasks are expected to end.
    fn ring(&self) {
        if !self.node.has_reached(Stage::Requested) {
            self.node.trigger(Cause::Triggered {
                reason: format!("critical task '{}' {}", self.name, self.fate).into(),
                at: self.at,
            });
        }
    }
}

impl Drop for Alarm {
    fn drop(&mut self) {
        self.ring();
    }
}

impl fmt::Debug for Alarm {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.name)
    }
}
