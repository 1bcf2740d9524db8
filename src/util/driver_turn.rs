//! [`DriverTurn`]: time for a runtime to hear from the kernel.

use std::task::{Context, Poll};
#[cfg(feature = "signals")]
use std::time::Duration;

#[cfg(feature = "signals")]
use crate::util::deadline::Deadline;

/// How long the driver of a runtime may lag the kernel on a machine that is not overloaded.
#[cfg(feature = "signals")]
const TURN: Duration = Duration::from_millis(5);

/// How often a task has to be polled until its runtime has asked the kernel. tokio does so after 61
/// polls of tasks (`event_interval`).
#[cfg(not(feature = "signals"))]
const POLLS: u8 = 128;

/// A wait after which "pending" can be believed.
///
/// A runtime answers I/O from what its driver has heard of, and the driver asks the kernel only now and
/// then: tokio says "pending" for a connection that was accepted, or bytes that have arrived, until its
/// driver has had a turn.
#[derive(Debug, Default)]
pub(crate) struct DriverTurn {
    #[cfg(feature = "signals")]
    over: Option<Deadline>,
    #[cfg(not(feature = "signals"))]
    polls: u8,
}

impl DriverTurn {
    /// Returns whether the driver has had a turn since the first call. If not, the task is woken.
    pub(crate) fn poll(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        #[cfg(feature = "signals")]
        return self
            .over
            .get_or_insert_with(|| Deadline::after(TURN))
            .poll(cx);
        #[cfg(not(feature = "signals"))]
        {
            if self.polls == POLLS {
                return Poll::Ready(());
            }
            self.polls += 1;
            // Without a timer, the task asks to be polled again until then.
            cx.waker().wake_by_ref();
            Poll::Pending
        }
    }
}
