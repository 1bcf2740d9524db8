//! Futures that are work in flight, and futures whose failure begins the shutdown.

use std::error::Error;
use std::fmt;
use std::mem;
use std::panic::Location;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::thread;

use pin_project_lite::pin_project;

use crate::guard::Guard;
use crate::model::failure::{Failure, Outcome};
use crate::node::Node;

pin_project! {
    /// A future that is work in flight until it has ended, and the future inside was dropped. Made by
    /// [`Shutdown::track`](crate::Shutdown::track) and [`track_named`](crate::Shutdown::track_named).
    ///
    /// # Blocking
    ///
    /// Its end and its drop release the guard, and take as long as the drop of a [`Guard`](crate::Guard).
    ///
    /// # Panics
    ///
    /// If it is polled after it was ready.
    ///
    /// # Cancel safety
    ///
    /// That of the future inside. Dropping it releases the guard.
    #[must_use = "futures do nothing unless polled"]
    #[derive(Debug)]
    pub struct Track<F> {
        // `None` when it has ended. Dropped before `held`, so that what it does on its way out is in flight,
        // and a failure that it reports comes before the panic.
        #[pin]
        future: Option<F>,
        held: Held,
    }
}

impl<F> Track<F> {
    pub(crate) fn new(future: F, guard: Option<Guard>) -> Self {
        let held = Held {
            guard,
            panicked: false,
        };
        Self {
            future: Some(future),
            held,
        }
    }
}

/// The guard of a future, and whether the future has panicked.
#[derive(Debug)]
struct Held {
    guard: Option<Guard>,
    panicked: bool,
}

impl Held {
    #[inline]
    fn release(&mut self) {
        if self.panicked {
            self.release_panicked();
        }
        self.guard = None;
    }

    #[cold]
    fn release_panicked(&mut self) {
        // In a thread that panics, the drop of the guard does so.
        if let (Some(guard), false) = (&mut self.guard, thread::panicking()) {
            guard.release_panicked();
        }
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        self.release();
    }
}

impl<F: Future> Future for Track<F> {
    type Output = F::Output;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<F::Output> {
        let mut this = self.project();
        let future = this.future.as_mut().as_pin_mut();
        let future = future.expect("polled after it was ready");
        // Left as it is by a panic, which a caller may catch before this is dropped, or polled again.
        let panicked = mem::replace(&mut this.held.panicked, true);
        let poll = future.poll(cx);
        if poll.is_ready() {
            // First, because it may own what has something left to write.
            this.future.set(None);
        }
        this.held.panicked = panicked;
        let output = ready!(poll);
        // Now, and not when the executor drops the task.
        this.held.release();
        Poll::Ready(output)
    }
}

pin_project! {
    /// A future whose failure begins the shutdown: it must not end. Made by
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

impl<F> Critical<F> {
    pub(crate) fn new(future: F, alarm: Alarm) -> Self {
        Self { future, alarm }
    }
}

impl<F: Future> Future for Critical<F> {
    type Output = F::Output;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<F::Output> {
        let this = self.project();
        let poll = this.alarm.watch(|| this.future.poll(cx));
        if poll.is_ready() {
            this.alarm.ended();
        }
        poll
    }
}

pin_project! {
    /// A future whose failure begins the shutdown: it may end, but not with an error. Made by
    /// [`Shutdown::supervise`](crate::Shutdown::supervise).
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
    pub struct Supervise<F> {
        // Dropped before `alarm`, as in `Critical`.
        #[pin]
        future: F,
        alarm: Alarm,
    }
}

impl<F> Supervise<F> {
    pub(crate) fn new(future: F, alarm: Alarm) -> Self {
        Self { future, alarm }
    }
}

impl<F, T, E> Future for Supervise<F>
where
    F: Future<Output = Result<T, E>>,
    E: Into<Box<dyn Error + Send + Sync>>,
{
    type Output = Result<T, Failure>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.project();
        // The conversion is the program's too, and may panic.
        let poll = || this.future.poll(cx).map_err(Into::into);
        Poll::Ready(match ready!(this.alarm.watch(poll)) {
            Ok(output) => {
                this.alarm.disarm();
                Ok(output)
            }
            Err(error) => Err(this.alarm.failed(error)),
        })
    }
}

/// Reports the failure of a future, at the latest when it is dropped.
pub(crate) struct Alarm {
    /// `None` once it has nothing to report any more.
    node: Option<Arc<Node>>,
    task: Arc<str>,
    location: &'static Location<'static>,
    /// Whether a poll has begun and not returned.
    polling: bool,
}

impl Alarm {
    pub(crate) fn new(
        node: Arc<Node>,
        task: Arc<str>,
        location: &'static Location<'static>,
    ) -> Self {
        Self {
            node: Some(node),
            task,
            location,
            polling: false,
        }
    }

    /// Runs a poll, and notices if it panics, or if the one before has.
    fn watch<T>(&mut self, poll: impl FnOnce() -> T) -> T {
        if mem::replace(&mut self.polling, true) {
            self.report(Outcome::Panicked);
        }
        let polled = poll();
        self.polling = false;
        polled
    }

    fn disarm(&mut self) {
        self.node = None;
    }

    /// Reports that the future has ended, unless a shutdown was requested: then it is expected to.
    fn ended(&mut self) {
        self.report_unexpected(Outcome::Ended);
    }

    /// Reports an error, also after a shutdown was requested.
    fn failed(&mut self, error: Box<dyn Error + Send + Sync>) -> Failure {
        self.report(Outcome::Error(error.into()))
    }

    fn report_unexpected(&mut self, outcome: Outcome) {
        let requested = |node: &Arc<Node>| node.is_being_requested();
        if self.node.as_ref().is_some_and(requested) {
            self.disarm();
        } else {
            self.report(outcome);
        }
    }

    fn report(&mut self, outcome: Outcome) -> Failure {
        let failure = Failure::new(Some(self.task.clone()), outcome, self.location);
        if let Some(node) = self.node.take() {
            node.fail(failure.clone());
        }
        failure
    }
}

impl Drop for Alarm {
    fn drop(&mut self) {
        if self.polling {
            self.report(Outcome::Panicked);
        } else {
            self.report_unexpected(Outcome::Dropped);
        }
    }
}

impl fmt::Debug for Alarm {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.task)
    }
}
