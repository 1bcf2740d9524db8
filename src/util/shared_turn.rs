//! [`SharedTurn`]: time for a runtime to hear from the kernel, for thousands of tasks at once.

use std::pin::Pin;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, OnceLock, Weak};
use std::task::{Context, Poll, Wake, Waker};
use std::time::{Duration, Instant};

use async_io::Timer;

use crate::util::driver_turn::{POLLS, Polls, SHORT};
use crate::util::sync::lock_std;
use crate::util::waker_queue::{Slot, WakerQueue};

/// For how long others may join a turn. It takes so much longer for the first of them.
const JOIN: Duration = Duration::from_millis(2);

/// On how many threads the tasks of a runtime are polled, of those that count towards a turn of its driver.
const THREADS: usize = 8;

/// A wait after which "pending" can be believed, as a `DriverTurn` is.
///
/// All tasks that begin to wait within 2 ms have one timer. At a shutdown every connection waits, and a
/// timer for each takes longer than all else that is done for it.
///
/// Each is polled a second time, also if it waited for long before the shutdown and is polled long after:
/// a turn of tokio's driver takes 1,024 events, so of thousands of requests it has not heard of all when
/// the last task of the crowd is polled first. The second poll comes behind all that was queued by then. The
/// polls of a crowd are enough for a turn. A few tasks are polled more often.
pub(crate) enum SharedTurn {
    New,
    Waiting(Arc<Batch>, Slot),
    Polling(Polls),
}

/// The turns that end at the same moment.
pub(crate) struct Batch {
    over: Instant,
    /// How many turns there are.
    turns: AtomicUsize,
    waiting: WakerQueue,
    /// Wakes them. Set by the turn that begins the batch.
    timer: OnceLock<Timer>,
}

/// The latest batch, which the turns that begin soon after it join.
struct Batches(Mutex<Weak<Batch>>);

static BATCHES: Batches = Batches(Mutex::new(Weak::new()));

impl SharedTurn {
    /// Makes a turn of `SHORT` at least. It begins with the first poll.
    pub(crate) const fn short() -> Self {
        Self::New
    }

    /// Returns whether the turn is over. If not, the task is woken then.
    pub(crate) fn poll(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        loop {
            match self {
                Self::New => *self = Self::Waiting(BATCHES.join(Instant::now()), Slot::vacant()),
                Self::Waiting(batch, slot) => {
                    let waits = Instant::now() < batch.over
                        && (slot.holds(cx.waker()) || batch.waiting.register(slot, cx.waker()));
                    if waits {
                        return Poll::Pending;
                    }
                    let polls = Polls::new(batch.polls());
                    *self = Self::Polling(polls);
                }
                Self::Polling(polls) => return polls.poll(cx),
            }
        }
    }
}

impl Drop for SharedTurn {
    fn drop(&mut self) {
        if let Self::Waiting(batch, slot) = self {
            batch.waiting.remove(slot);
        }
    }
}

impl Batches {
    /// Returns the batch of a turn that begins now.
    fn join(&self, now: Instant) -> Arc<Batch> {
        let mut latest = lock_std(&self.0);
        // Dropped without the lock: it may be the last reference, and then the timer takes the reactor's.
        let earlier = latest.upgrade();
        match &earlier {
            Some(batch) if now + SHORT <= batch.over => {
                batch.turns.fetch_add(1, Ordering::Relaxed); // see `polls`
                return batch.clone();
            }
            _ => {}
        }
        let batch = Arc::new(Batch {
            over: now + SHORT + JOIN,
            turns: AtomicUsize::new(1),
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
        let waker = Waker::from(Arc::new(Alarm(Arc::downgrade(self))));
        let over = Pin::new(&mut timer).poll(&mut Context::from_waker(&waker));
        if over.is_ready() {
            self.waiting.wake_all();
        }
        let _ = self.timer.set(timer); // the first
    }

    /// Returns how many polls of each task are enough, together with those of the others.
    fn polls(&self) -> u8 {
        // Relaxed: it is only how many polls there are, and no other data depends on it.
        let turns = self.turns.load(Ordering::Relaxed);
        let polls = THREADS * usize::from(POLLS) / (turns + 1);
        u8::try_from(polls).map_or(POLLS, |polls| polls.min(POLLS))
    }
}

/// The waker of a timer. It must not keep the batch alive: the batch has the timer, and that keeps the waker
/// also when it has fired.
struct Alarm(Weak<Batch>);

impl Wake for Alarm {
    fn wake(self: Arc<Self>) {
        if let Some(batch) = self.0.upgrade() {
            batch.waiting.wake_all();
        }
    }
}

#[cfg(test)]
mod tests {
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
        assert_eq!(
            [&first, &next].map(|batch| batch.turns.load(Ordering::Relaxed)),
            [2, 1]
        );
        drop((first, joined));
        assert_eq!(next.over, begun + Duration::from_micros(9001));
    }

    /// The polls of all together are enough for a turn, and those of a crowd not many more.
    #[test]
    fn few_turns_have_more_polls_than_each_of_a_crowd() {
        let batches = Batches(Mutex::new(Weak::new()));
        let batch = batches.join(Instant::now() + Duration::from_secs(60));
        for (turns, polls) in [(1, 64), (7, 64), (8, 56), (255, 2), (511, 1), (512, 0)] {
            batch.turns.store(turns, Ordering::Relaxed);
            assert_eq!(batch.polls(), polls, "{turns}");
        }
    }

    /// Returns a turn that waits for its batch. On a busy machine the time may be over within the first poll.
    fn waiting(waker: &Waker) -> (SharedTurn, Arc<Batch>) {
        loop {
            let mut turn = SharedTurn::short();
            assert!(turn.poll(&mut Context::from_waker(waker)).is_pending());
            if let SharedTurn::Waiting(batch, _) = &turn {
                let batch = batch.clone();
                return (turn, batch);
            }
        }
    }

    #[test]
    fn turn_takes_5_ms_and_wakes_its_task() {
        let begun = Instant::now();
        let mut turn = SharedTurn::short();
        future::block_on(future::poll_fn(|cx| turn.poll(cx)));
        assert!(begun.elapsed() >= Duration::from_millis(5));
        assert!(
            turn.poll(&mut Context::from_waker(Waker::noop()))
                .is_ready()
        );
    }

    #[test]
    fn g10_turn_that_is_dropped_leaves_no_waker() {
        let task = Arc::<WakeCounter>::default();
        let waker = Waker::from(task.clone());
        let (turn, batch) = waiting(&waker);
        drop((turn, waker));
        assert_eq!(Arc::strong_count(&task), 1);
        drop(batch);
    }

    /// async-io's timer keeps the waker that it was polled with, also when it has fired.
    #[test]
    fn g10_batch_is_gone_with_its_last_turn() {
        for over in [false, true] {
            let (mut turn, strong) = waiting(Waker::noop());
            let batch = Arc::downgrade(&strong);
            drop(strong);
            if over {
                future::block_on(future::poll_fn(|cx| turn.poll(cx)));
            }
            drop(turn);
            // Turns of other tests may have joined it.
            let late = Instant::now() + Duration::from_secs(20);
            while batch.strong_count() > 0 {
                assert!(Instant::now() < late, "it stays");
                std::thread::sleep(Duration::from_millis(1));
            }
        }
    }
}
