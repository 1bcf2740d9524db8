//! [`SharedTurn`]: time for a runtime to hear from the kernel, for thousands of tasks at once.

use std::cell::Cell;
use std::pin::Pin;
use std::sync::{Arc, Mutex, OnceLock, Weak};
use std::task::{Context, Poll, Wake, Waker};
use std::time::{Duration, Instant};

use async_io::Timer;

use crate::util::driver_turn::SHORT;
use crate::util::sync::lock_std;
use crate::util::waker_queue::{Slot, WakerQueue};

/// For how long others may join a turn. It takes so much longer for the first of them.
const JOIN: Duration = Duration::from_millis(2);

/// More tasks than a thread of a runtime polls until it asks the kernel: tokio's polls 61
/// (`event_interval`), smol's executor 200 before it returns to the reactor.
const POLLS: u32 = 256;

/// A wait after which "pending" can be believed, as a `DriverTurn` is.
///
/// At a shutdown every connection waits, and to wake each a second time, by a timer of its own, takes
/// longer than all else that is done for it. So those that begin to wait within 2 ms have one timer, and
/// those that waited already when the shutdown came are over with its [`FirstTurn`].
pub(crate) struct SharedTurn {
    /// Whether the task has been pending before the shutdown.
    waited: bool,
    joined: Option<(Arc<Batch>, Slot)>,
}

/// The turn that begins with the first task that is polled after a shutdown.
///
/// When it is over, the runtime has heard of all that the kernel had before the shutdown. The time alone
/// would not do, where the thread was preempted for so long; nor the number of polls, where the thread
/// that has the driver has to wake up first. Each thread counts its own polls, because it may be a
/// runtime of its own.
pub(crate) struct FirstTurn {
    begun: OnceLock<Instant>,
}

thread_local! {
    /// When the turn began that this thread polls tasks in, and how many it has polled.
    static POLLED: Cell<Option<(Instant, u32)>> = const { Cell::new(None) };
}

/// The turns that end at the same moment.
struct Batch {
    over: Instant,
    waiting: WakerQueue,
    /// Wakes this, and so them. Set by the one who begins the batch.
    timer: OnceLock<Timer>,
}

/// Where those who begin to wait find each other.
struct Batches(Mutex<Weak<Batch>>);

static BATCHES: Batches = Batches(Mutex::new(Weak::new()));

impl SharedTurn {
    /// Makes a turn of `SHORT` at least. It begins with the first poll.
    pub(crate) const fn short() -> Self {
        Self {
            waited: false,
            joined: None,
        }
    }

    /// Says that there is no shutdown yet, and that the task is pending.
    #[inline]
    pub(crate) fn waits(&mut self) {
        self.waited = true;
    }

    /// Returns whether the turn is over. If not, the task is woken then.
    pub(crate) fn poll(&mut self, first: Option<&FirstTurn>, cx: &mut Context<'_>) -> Poll<()> {
        if first.is_some_and(|first| first.is_over_after_poll()) && self.waited {
            return Poll::Ready(());
        }
        let now = Instant::now();
        let (batch, slot) = self
            .joined
            .get_or_insert_with(|| (BATCHES.join(now), Slot::vacant()));
        let waits = now < batch.over
            && (slot.holds(cx.waker()) || batch.waiting.register(slot, cx.waker()));
        if waits {
            Poll::Pending
        } else {
            Poll::Ready(())
        }
    }
}

impl Drop for SharedTurn {
    fn drop(&mut self) {
        if let Some((batch, slot)) = &mut self.joined {
            batch.waiting.remove(slot);
        }
    }
}

impl FirstTurn {
    pub(crate) const fn new() -> Self {
        Self {
            begun: OnceLock::new(),
        }
    }

    /// Counts the poll of a task, and returns whether the turn is over.
    fn is_over_after_poll(&self) -> bool {
        let begun = *self.begun.get_or_init(Instant::now);
        let polled = match POLLED.get() {
            Some((turn, polled)) if turn == begun => polled,
            _ => 0,
        };
        POLLED.set(Some((begun, polled.saturating_add(1))));
        polled >= POLLS && begun.elapsed() >= SHORT
    }
}

impl Batches {
    /// Returns the batch of a turn that begins now.
    fn join(&self, now: Instant) -> Arc<Batch> {
        let mut latest = lock_std(&self.0);
        if let Some(batch) = latest.upgrade().filter(|it| now + SHORT <= it.over) {
            return batch;
        }
        let batch = Arc::new(Batch {
            over: now + SHORT + JOIN,
            waiting: WakerQueue::sharded(),
            timer: OnceLock::new(),
        });
        *latest = Arc::downgrade(&batch);
        drop(latest);
        batch.start();
        batch
    }
}

impl Batch {
    fn start(self: &Arc<Self>) {
        let mut timer = Timer::at(self.over);
        let waker = Waker::from(self.clone());
        let over = Pin::new(&mut timer).poll(&mut Context::from_waker(&waker));
        if over.is_ready() {
            self.waiting.wake_all();
        }
        let _ = self.timer.set(timer); // the first
    }
}

/// By the timer.
impl Wake for Batch {
    fn wake(self: Arc<Self>) {
        self.waiting.wake_all();
    }
}

#[cfg(test)]
mod tests {
    use std::thread;

    use futures_lite::future;

    use super::*;
    use crate::util::wake_counter::WakeCounter;

    #[test]
    fn turns_that_begin_within_2_ms_are_one() {
        let batches = Batches(Mutex::new(Weak::new()));
        let begun = Instant::now() + Duration::from_secs(60);
        let first = batches.join(begun);
        assert_eq!(first.over, begun + Duration::from_millis(7));
        let joined = batches.join(begun + Duration::from_millis(2));
        assert!(Arc::ptr_eq(&first, &joined));
        let next = batches.join(begun + Duration::from_micros(2001));
        assert!(!Arc::ptr_eq(&first, &next));
        drop((first, joined));
        assert_eq!(next.over, begun + Duration::from_micros(9001));
    }

    #[test]
    fn turn_takes_5_ms_and_wakes_its_task() {
        let begun = Instant::now();
        let mut turn = SharedTurn::short();
        future::block_on(future::poll_fn(|cx| turn.poll(None, cx)));
        assert!(begun.elapsed() >= Duration::from_millis(5));
        assert!(is_over(&mut turn, None));
    }

    fn is_over(turn: &mut SharedTurn, first: Option<&FirstTurn>) -> bool {
        let mut cx = Context::from_waker(Waker::noop());
        turn.poll(first, &mut cx).is_ready()
    }

    /// The first turn of a shutdown since then.
    fn first_turn(begun: Instant) -> FirstTurn {
        FirstTurn {
            begun: begun.into(),
        }
    }

    /// Polls new tasks, all that a thread has to, and returns whether one of them need not wait.
    fn poll_many(first: &FirstTurn) -> bool {
        (0..POLLS).any(|_| is_over(&mut SharedTurn::short(), Some(first)))
    }

    fn waited() -> SharedTurn {
        let mut turn = SharedTurn::short();
        turn.waits();
        turn
    }

    #[test]
    fn first_turn_of_a_shutdown_is_one_for_all_that_waited() {
        let first = first_turn(Instant::now() - SHORT);
        assert!(!poll_many(&first));
        assert!(is_over(&mut waited(), Some(&first)));
        assert!(
            !is_over(&mut SharedTurn::short(), Some(&first)),
            "it is new"
        );
        assert!(!is_over(&mut waited(), None), "it has another shutdown");
    }

    #[test]
    fn first_turn_takes_5_ms() {
        let first = first_turn(Instant::now() + Duration::from_secs(60));
        poll_many(&first);
        assert!(!is_over(&mut waited(), Some(&first)));
    }

    #[test]
    fn first_turn_takes_256_polls_of_the_same_thread() {
        let begun = Instant::now() - SHORT;
        let [first, other] = [begun, begun - SHORT].map(first_turn);
        for _ in 0..POLLS {
            assert!(!is_over(&mut waited(), Some(&first)));
        }
        thread::scope(|scope| {
            let other_thread = || is_over(&mut waited(), Some(&first));
            assert!(!scope.spawn(other_thread).join().unwrap());
        });
        assert!(is_over(&mut waited(), Some(&first)));
        assert!(!is_over(&mut waited(), Some(&other)));
    }

    #[test]
    fn first_turn_begins_with_the_first_poll() {
        let first = FirstTurn::new();
        assert!(!is_over(&mut waited(), Some(&first)));
        assert!(first.begun.get().is_some());
    }

    #[test]
    fn g10_turn_that_is_dropped_leaves_no_waker() {
        let task = Arc::<WakeCounter>::default();
        let waker = Waker::from(task.clone());
        let batch = {
            let mut turn = SharedTurn::short();
            let mut cx = Context::from_waker(&waker);
            assert!(turn.poll(None, &mut cx).is_pending());
            turn.joined.as_ref().expect("it has begun").0.clone()
        };
        drop(waker);
        assert_eq!(Arc::strong_count(&task), 1);
        drop(batch);
    }
}
