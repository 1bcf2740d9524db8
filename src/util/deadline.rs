//! Deadlines, for futures and for threads that block.

#[cfg(feature = "signals")]
use std::pin::Pin;
#[cfg(feature = "signals")]
use std::sync::OnceLock;
#[cfg(feature = "signals")]
use std::task::Waker;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

/// A point in time, as a future waits for it.
#[derive(Debug)]
pub(crate) enum Deadline {
    Passed,
    Never,
    /// Without async-io no timer wakes the task. The clock is read whenever the future is polled.
    #[cfg(not(feature = "signals"))]
    At(Instant),
    #[cfg(feature = "signals")]
    Timer(async_io::Timer),
}

impl Deadline {
    pub(crate) fn after(timeout: Duration) -> Self {
        if timeout.is_zero() {
            return Self::Passed;
        }
        deadline_after(timeout).map_or(Self::Never, Self::at)
    }

    pub(crate) fn at(instant: Instant) -> Self {
        #[cfg(not(feature = "signals"))]
        return Self::At(instant);
        #[cfg(feature = "signals")]
        Self::Timer(async_io::Timer::at(instant))
    }

    pub(crate) fn poll(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let passed = match self {
            Self::Passed => true,
            Self::Never => false,
            #[cfg(not(feature = "signals"))]
            Self::At(instant) => {
                let _ = cx;
                Instant::now() >= *instant
            }
            #[cfg(feature = "signals")]
            Self::Timer(timer) => Pin::new(timer).poll(cx).is_ready(),
        };
        if passed {
            *self = Self::Passed;
            Poll::Ready(())
        } else {
            Poll::Pending
        }
    }
}

/// Has async-io make its descriptors and its thread now. It would make them for its first timer, and panics
/// if none are free: at a shutdown there may be none.
#[inline]
pub(crate) fn prepare() {
    #[cfg(feature = "signals")]
    {
        static PREPARED: OnceLock<()> = OnceLock::new();
        PREPARED.get_or_init(|| {
            let mut timer = async_io::Timer::after(Duration::from_secs(1));
            let _ = Pin::new(&mut timer).poll(&mut Context::from_waker(Waker::noop()));
        });
    }
}

/// Returns the time at which `timeout` from now has passed, or `None` if it never does.
pub(crate) fn deadline_after(timeout: Duration) -> Option<Instant> {
    // `MAX` without reading the clock, which some platforms do not have.
    if timeout == Duration::MAX {
        return None;
    }
    Instant::now().checked_add(timeout)
}

/// Returns how long it is until the deadline, or zero if it has passed.
pub(crate) fn remaining(deadline: Instant) -> Duration {
    deadline.saturating_duration_since(Instant::now())
}
