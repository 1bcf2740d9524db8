//! [`DriverTurn`]: time for a runtime to hear from the kernel.

use std::task::{Context, Poll};
use std::time::Duration;

use crate::util::deadline::Deadline;

/// How often at least a task has to be polled until its runtime has asked the kernel. tokio does so
/// after 61 polls of tasks (`event_interval`).
#[cfg(not(feature = "signals"))]
const POLLS: u8 = 128;

/// A wait after which "pending" can be believed.
///
/// A runtime answers I/O from what its driver has heard of, and the driver asks the kernel only now and
/// then: tokio says "pending" for a connection that was accepted, or bytes that have arrived, until its
/// driver has had a turn.
#[derive(Debug)]
pub(crate) struct DriverTurn {
    time: Duration,
    over: Option<Deadline>,
    #[cfg(not(feature = "signals"))]
    polls: u8,
}

impl DriverTurn {
    /// Makes a turn of this time, which begins when it is first polled.
    pub(crate) const fn new(time: Duration) -> Self {
        Self {
            time,
            over: None,
            #[cfg(not(feature = "signals"))]
            polls: 0,
        }
    }

    /// Returns whether the driver has had its turn. If not, the task is woken.
    pub(crate) fn poll(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        // Without a timer the task asks to be polled again and again.
        #[cfg(not(feature = "signals"))]
        if self.polls < POLLS {
            self.polls += 1;
            cx.waker().wake_by_ref();
            return Poll::Pending;
        }
        // Such a platform has one thread, and may have no clock.
        #[cfg(target_family = "wasm")]
        return Poll::Ready(());
        #[cfg(not(target_family = "wasm"))]
        {
            let time = self.time;
            let over = self.over.get_or_insert_with(|| Deadline::after(time));
            let poll = over.poll(cx);
            #[cfg(not(feature = "signals"))]
            if poll.is_pending() {
                cx.waker().wake_by_ref();
            }
            poll
        }
    }
}
