//! [`DriverTurn`]: time for a runtime to hear from the kernel.

use std::task::{Context, Poll};
use std::time::Duration;

use crate::util::deadline::Deadline;

/// How often a task has to be polled until its runtime has asked the kernel, however long the machine
/// has kept it waiting. tokio does so after 61 polls of tasks (`event_interval`).
const POLLS: u8 = 64;

/// The time of a turn for which every idle connection waits.
pub(crate) const SHORT: Duration = Duration::from_millis(5);

/// A wait after which "pending" can be believed.
///
/// A runtime answers I/O from what its driver has heard of, and the driver asks the kernel only now and
/// then: tokio says "pending" for a connection that was accepted, or bytes that have arrived, until its
/// driver has had a turn. On a runtime with several threads, the thread that has the driver may have to
/// wake up first, so polls alone do not suffice; nor does time alone, where the one thread of a runtime
/// was preempted.
#[derive(Debug)]
pub(crate) struct DriverTurn {
    time: Duration,
    /// `None` until the first poll.
    over: Option<Deadline>,
    polls: u8,
}

impl DriverTurn {
    /// Makes a turn of this time at least. It begins with the first poll.
    pub(crate) const fn new(time: Duration) -> Self {
        Self {
            time,
            over: None,
            polls: POLLS,
        }
    }

    /// Makes a turn of `SHORT`. With a timer there is `SharedTurn`.
    #[cfg(not(feature = "signals"))]
    pub(crate) const fn short() -> Self {
        Self::new(SHORT)
    }

    /// Returns whether the driver has had its turn. If not, the task is woken.
    pub(crate) fn poll(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let over = match &mut self.over {
            Some(over) => over,
            // Such a platform has one thread, and may have no clock.
            none if cfg!(target_family = "wasm") => none.insert(Deadline::Passed),
            none => none.insert(Deadline::after(self.time)),
        };
        let over = over.poll(cx);
        if self.polls > 0 {
            self.polls -= 1;
            cx.waker().wake_by_ref();
            return Poll::Pending;
        }
        // Without a timer, the task asks to be polled again until then.
        if cfg!(not(feature = "signals")) && over.is_pending() {
            cx.waker().wake_by_ref();
        }
        over
    }
}

#[cfg(all(test, not(loom), feature = "signals"))]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::util::wake_counter::WakeCounter;

    /// A task that is woken until its time is over keeps a thread busy.
    #[test]
    fn turn_wakes_its_task_for_the_polls_alone() {
        let mut turn = DriverTurn::new(Duration::from_secs(3600));
        let wakes = Arc::<WakeCounter>::default();
        let waker = wakes.clone().into();
        for polls in 1..=POLLS + 2 {
            assert!(turn.poll(&mut Context::from_waker(&waker)).is_pending());
            assert_eq!(wakes.count(), usize::from(polls.min(POLLS)));
        }
    }
}
