//! [`Failure`]: what a task did that must not happen.

use std::error::Error;
use std::fmt;
use std::mem;
use std::panic::Location;
use std::sync::Arc;

use crate::util::panic;

/// What a task, or [`fail`](crate::Shutdown::fail), has reported: the error of a program that failed.
///
/// Cheap to clone. Its `Display` is meant for people, and its [`source`](Error::source) is the error
/// that the task has returned. `main` can return it:
///
/// ```
/// use std::io;
/// use winddown::{Failure, Shutdown};
///
/// fn end(shutdown: &Shutdown) -> Result<(), Failure> {
///     match shutdown.cause().as_ref().and_then(|cause| cause.error()) {
///         Some(failure) => Err(failure.clone()),
///         None => Ok(()),
///     }
/// }
///
/// let shutdown = Shutdown::new();
/// shutdown.trigger("an administrator asked");
/// assert!(end(&shutdown).is_ok());
///
/// let shutdown = Shutdown::new();
/// shutdown.fail(io::Error::other("disk full"));
/// assert_eq!(end(&shutdown).unwrap_err().to_string(), "failed: disk full");
/// ```
#[derive(Clone, PartialEq, Eq)]
pub struct Failure {
    /// One allocation, so that a cause is as small as without it.
    inner: Arc<Inner>,
}

struct Inner {
    task: Option<Arc<str>>,
    outcome: Outcome,
    location: &'static Location<'static>,
}

impl Drop for Inner {
    fn drop(&mut self) {
        // An error of the program may panic when it is dropped. The thread that has the last reference goes
        // on: with a cause goes its node, and that thread may have wakers to call, or ancestors to take apart.
        let outcome = mem::replace(&mut self.outcome, Outcome::Dropped);
        panic::catch(|| drop(outcome));
    }
}

/// What became of a task that failed.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum Outcome {
    /// It ended, and was not to end.
    Ended,
    /// It panicked.
    Panicked,
    /// Its future was dropped before it had ended.
    Dropped,
    /// It returned this error, or reported it by [`fail`](crate::Shutdown::fail).
    Error(Arc<dyn Error + Send + Sync>),
}

impl Failure {
    pub(crate) fn new(
        task: Option<Arc<str>>,
        outcome: Outcome,
        location: &'static Location<'static>,
    ) -> Self {
        let inner = Arc::new(Inner {
            task,
            outcome,
            location,
        });
        Self { inner }
    }

    /// Returns the name of the task; `None` after [`fail`](crate::Shutdown::fail), for a guard without a
    /// name, and for a drop guard.
    ///
    /// ```
    /// use futures_lite::future;
    /// use winddown::Shutdown;
    ///
    /// let shutdown = Shutdown::new();
    /// future::block_on(shutdown.critical("mail", async {}));
    /// let cause = shutdown.cause().unwrap();
    /// assert_eq!(cause.error().unwrap().task(), Some("mail"));
    /// ```
    pub fn task(&self) -> Option<&str> {
        self.inner.task.as_deref()
    }

    /// Returns what became of the task.
    ///
    /// ```
    /// use futures_lite::future;
    /// use winddown::{Outcome, Shutdown};
    ///
    /// let shutdown = Shutdown::new();
    /// future::block_on(shutdown.critical("mail", async {}));
    /// let cause = shutdown.cause().unwrap();
    /// let failure = cause.error().unwrap();
    /// assert_eq!(failure.outcome(), &Outcome::Ended);
    /// ```
    pub fn outcome(&self) -> &Outcome {
        &self.inner.outcome
    }

    /// Returns where the task was made known: the line that called `critical`, `supervise`, `fail`,
    /// `guard`, `guard_named`, `track`, `track_named` or `drop_guard`.
    ///
    /// ```
    /// use winddown::Shutdown;
    ///
    /// let shutdown = Shutdown::new();
    /// shutdown.fail("disk full");
    /// let line = line!() - 1;
    /// let cause = shutdown.cause().unwrap();
    /// assert_eq!(cause.error().unwrap().location().line(), line);
    /// ```
    pub fn location(&self) -> &'static Location<'static> {
        self.inner.location
    }
}

impl PartialEq for Inner {
    fn eq(&self, other: &Self) -> bool {
        (&self.task, &self.outcome, self.location) == (&other.task, &other.outcome, other.location)
    }
}

impl Eq for Inner {}

impl PartialEq for Outcome {
    /// Compares errors by identity.
    fn eq(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Ended, Self::Ended)
            | (Self::Panicked, Self::Panicked)
            | (Self::Dropped, Self::Dropped) => true,
            (Self::Error(one), Self::Error(another)) => Arc::ptr_eq(one, another),
            _ => false,
        }
    }
}

impl Eq for Outcome {}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(task) = self.task() {
            write!(f, "task '{task}' ")?;
        }
        match self.outcome() {
            Outcome::Ended => f.write_str("ended")?,
            Outcome::Panicked => f.write_str("panicked")?,
            Outcome::Dropped => f.write_str("was dropped")?,
            Outcome::Error(error) => return write!(f, "failed: {error}"),
        }
        match self.task() {
            Some(_) => Ok(()),
            None => {
                let at = self.location();
                write!(f, " at {}:{}", at.file(), at.line())
            }
        }
    }
}

impl fmt::Debug for Failure {
    /// As `Display`, because a `main` that returns a failure prints its `Debug`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl Error for Failure {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        match self.outcome() {
            Outcome::Error(error) => Some(&**error),
            Outcome::Ended | Outcome::Panicked | Outcome::Dropped => None,
        }
    }
}
