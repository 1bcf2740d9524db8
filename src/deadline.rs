//! Deadlines, for those who poll and those who block.

#[cfg(feature = "signals")]
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

/// A moment after which somebody's time is up.
pub(crate) enum Deadline {
    Passed,
    Never,
    /// Without async-io nobody is woken then, but it is seen whenever somebody polls.
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

/// `None` if it is never.
pub(crate) fn deadline_after(timeout: Duration) -> Option<Instant> {
    // `MAX` without asking the clock, which some platforms don't have.
    if timeout == Duration::MAX {
        return None;
    }
    Instant::now().checked_add(timeout)
}

/// How long it is until then.
pub(crate) fn remaining(deadline: Instant) -> Duration {
    deadline.saturating_duration_since(Instant::now())
}
