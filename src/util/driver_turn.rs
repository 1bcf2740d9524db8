//! [`DriverTurn`]: time for a runtime to hear from the kernel.

use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use crate::util::deadline::Deadline;

/// How many polls of tasks it takes until a runtime has asked the kernel. tokio does so after 61
/// (`event_interval`).
pub(crate) const POLLS: u8 = 64;

/// For how long a task is polled again at most. A runtime that is busy polls other tasks between two polls, and
/// they count too.
const BUSY: Duration = Duration::from_millis(500);

/// What the time between two polls counts at most. The process may have been stopped meanwhile.
const GAP: Duration = Duration::from_millis(100);

/// The time of a turn for which every idle connection waits.
pub(crate) const SHORT: Duration = Duration::from_millis(5);

/// Polls of a task, until its runtime has asked the kernel.
#[derive(Debug)]
pub(crate) struct Polls {
    left: u8,
    time: Duration,
    last: Option<Instant>,
}

impl Polls {
    /// Makes so many, which are fewer if the runtime is busy.
    pub(crate) const fn new(polls: u8) -> Self {
        Self {
            left: polls,
            time: BUSY,
            last: None,
        }
    }

    /// Returns whether the polls are over. If not, the task is woken.
    pub(crate) fn poll(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        // Such a platform may have no clock.
        if cfg!(not(target_family = "wasm")) {
            let now = Instant::now();
            let gap = self.last.map_or(Duration::ZERO, |last| now - last);
            self.time = self.time.saturating_sub(gap.min(GAP));
            self.last = Some(now);
        }
        if self.left == 0 || self.time.is_zero() {
            return Poll::Ready(());
        }
        self.left -= 1;
        cx.waker().wake_by_ref();
        Poll::Pending
    }
}

/// A wait after which "pending" can be believed.
///
/// A runtime answers I/O from what its driver has heard of, and the driver asks the kernel only now and
/// then: tokio says "pending" for a connection that was accepted, or bytes that have arrived, until its
/// driver has had a turn. On a runtime with several threads, the thread that has the driver may have to
/// wake up first, so polls alone do not suffice; nor does time alone, where the threads of a runtime are busy or
/// were preempted. The polls come last, so that what has arrived by then is known.
#[derive(Debug)]
pub(crate) struct DriverTurn {
    time: Duration,
    /// `None` until the first poll.
    over: Option<Deadline>,
    polls: Polls,
}

impl DriverTurn {
    /// Makes a turn of this time at least. It begins with the first poll.
    pub(crate) const fn new(time: Duration) -> Self {
        Self {
            time,
            over: None,
            polls: Polls::new(POLLS),
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
        if over.poll(cx).is_pending() {
            // Without a timer, the task asks to be polled again until then.
            if cfg!(not(feature = "signals")) {
                cx.waker().wake_by_ref();
            }
            return Poll::Pending;
        }
        self.polls.poll(cx)
    }
}

#[cfg(all(test, not(loom), feature = "signals"))]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::util::wake_counter::WakeCounter;

    /// Polls once more, and returns whether the task was woken for the next.
    fn is_woken(turn: &mut DriverTurn) -> Option<bool> {
        let wakes = Arc::<WakeCounter>::default();
        let waker = wakes.clone().into();
        let poll = turn.poll(&mut Context::from_waker(&waker));
        poll.is_pending().then(|| wakes.count() > 0)
    }

    /// A task that is woken until its time is over keeps a thread busy.
    #[test]
    fn turn_wakes_its_task_for_the_polls_alone() {
        let mut turn = DriverTurn::new(Duration::from_secs(3600));
        for _ in 0..2 {
            assert_eq!(is_woken(&mut turn), Some(false));
        }
        turn.over = Some(Deadline::Passed);
        for _ in 0..POLLS {
            assert_eq!(is_woken(&mut turn), Some(true));
        }
        assert_eq!(is_woken(&mut turn), None);
    }

    /// Others are polled in between.
    #[test]
    fn turn_of_a_busy_runtime_has_fewer_polls() {
        let mut turn = DriverTurn::new(Duration::ZERO);
        let mut polls = 0;
        while is_woken(&mut turn) == Some(true) {
            polls += 1;
            let last = &mut turn.polls.last;
            *last = last.and_then(|last| last.checked_sub(Duration::from_millis(20)));
        }
        assert!(1 < polls && polls <= 25, "{polls}");
    }

    #[test]
    fn turn_of_a_process_that_was_stopped_has_its_polls() {
        let mut turn = DriverTurn::new(Duration::ZERO);
        assert_eq!(is_woken(&mut turn), Some(true));
        let last = &mut turn.polls.last;
        *last = last.and_then(|last| last.checked_sub(Duration::from_secs(10)));
        assert_eq!(is_woken(&mut turn), Some(true));
    }
}
