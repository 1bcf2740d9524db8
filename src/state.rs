//! The shared state: a queue of two slots that is never emptied.
//!
//! Invariants, cited in the code as S1..S3:
//!
//! - **S1** The word only gains: slots fill, flags rise, nothing is ever taken back. So one load
//!   answers `is_requested`, and an answer of "yes" stays true.
//! - **S2** Every change of the word is made under the lock of the cause, so that whoever begins the
//!   shutdown is whoever the cause names. Readers of the word take no lock.
//! - **S3** The cause is stored before the word that says there is one.

use std::sync::Arc;
use std::task::Waker;
#[cfg(not(target_family = "wasm"))]
use std::time::Instant;

use event_listener::Event;
#[cfg(not(target_family = "wasm"))]
use event_listener::Listener;

use crate::Cause;
use crate::sync::atomic::{AtomicU8, Ordering};
use crate::sync::{Mutex, lock};
use crate::wakers::{Slot, Wakers};

/// Bits 0 and 1 of the word count the slots taken: 0, 1 or 2.
const SLOT: u8 = 0b0001;
const SLOTS: u8 = 0b0011;
/// Somebody asked: waiters are ready.
const REQUESTED: u8 = 0b0100;
/// The second slot was taken.
const FORCED: u8 = 0b1000;

pub(crate) struct State {
    word: AtomicU8,
    cause: Mutex<Option<Cause>>,
    wakers: Wakers,
    /// Threads that block, and never a task: event-listener calls wakers under its lock, and only
    /// of a thread's do we know that they do no more than unpark it.
    threads: Event,
    force: Force,
}

/// What taking the second slot does, beside marking the state.
pub(crate) enum Force {
    /// Nothing more: the program looks at `is_forced`.
    Mark,
    /// Ends the process, from the signal handler where it can.
    #[cfg(feature = "signals")]
    Exit(crate::signals::Process),
}

/// What became of a signal sent to the queue.
enum Sent {
    /// It took a slot and began the shutdown.
    Began,
    /// It took the first slot, but a trigger had begun the shutdown.
    Counted,
    /// It took the second slot.
    Forced,
    /// Both slots were taken.
    Full,
}

impl State {
    pub(crate) fn new(force: Force) -> Arc<Self> {
        Arc::new(Self {
            word: AtomicU8::new(0),
            cause: Mutex::new(None),
            wakers: Wakers::spread(),
            threads: Event::new(),
            force,
        })
    }

    pub(crate) fn is_requested(&self) -> bool {
        // Acquire: pairs with the Release store in `send` and `trigger`, so that what the
        // requester did before is visible to who finds out this way.
        self.word.load(Ordering::Acquire) & REQUESTED != 0
    }

    pub(crate) fn is_forced(&self) -> bool {
        // Acquire: as in `is_requested`.
        self.word.load(Ordering::Acquire) & FORCED != 0
    }

    pub(crate) fn cause(&self) -> Option<Cause> {
        lock(&self.cause).clone()
    }

    /// `false` if everybody has been woken already.
    #[must_use]
    pub(crate) fn register(&self, slot: &mut Slot, waker: &Waker) -> bool {
        self.wakers.register(slot, waker)
    }

    pub(crate) fn deregister(&self, slot: &mut Slot) {
        self.wakers.remove(slot);
    }

    /// Blocks this thread until the request, or the deadline. Returns whether it was requested.
    #[cfg(not(target_family = "wasm"))]
    pub(crate) fn block(&self, deadline: Option<Instant>) -> bool {
        loop {
            // Listen, then check: a request between the two notifies the listener.
            let listener = self.threads.listen();
            if self.is_requested() {
                return true;
            }
            match deadline {
                None => listener.wait(),
                Some(deadline) => {
                    if listener.wait_deadline(deadline).is_none() {
                        return self.is_requested();
                    }
                }
            }
        }
    }

    /// A signal, real or fake: takes a slot if one is free, and does what that slot means. Whoever
    /// waits has been woken when it returns.
    pub(crate) fn request(&self, cause: Cause) -> bool {
        match self.send(cause) {
            Sent::Full => return false,
            Sent::Began => {
                self.arm();
                self.announce();
            }
            Sent::Counted => self.arm(),
            Sent::Forced => match &self.force {
                Force::Mark => {}
                #[cfg(feature = "signals")]
                Force::Exit(process) => process.exit(),
            },
        }
        true
    }

    /// Begins the shutdown without taking a slot, unless it has begun.
    pub(crate) fn trigger(&self, cause: Cause) -> bool {
        let began = {
            let mut stored = lock(&self.cause);
            // Relaxed: S2 orders it after every other change.
            let word = self.word.load(Ordering::Relaxed);
            let began = word & REQUESTED == 0;
            if began {
                *stored = Some(cause); // S3
                // Release: pairs with the loads of `is_requested` and `is_forced`.
                self.word.store(word | REQUESTED, Ordering::Release);
            }
            began
        };
        if began {
            self.announce();
        }
        began
    }

    /// The two-slot queue's `try_send`.
    fn send(&self, cause: Cause) -> Sent {
        let mut stored = lock(&self.cause);
        // Relaxed: S2 orders it after every other change.
        let word = self.word.load(Ordering::Relaxed);
        let (taken, sent) = match (word & SLOTS, word & REQUESTED) {
            (0, 0) => {
                *stored = Some(cause); // S3
                (SLOT | REQUESTED, Sent::Began)
            }
            (0, _) => (SLOT, Sent::Counted),
            (1, _) => (SLOT | FORCED, Sent::Forced),
            _ => return Sent::Full,
        };
        // Release: pairs with the loads of `is_requested` and `is_forced`.
        self.word.store(word + taken, Ordering::Release);
        sent
    }

    /// From now on the signal handler itself forces. Before anybody is woken: a waker may hang.
    fn arm(&self) {
        #[cfg(feature = "signals")]
        if let Force::Exit(process) = &self.force {
            process.arm();
        }
    }

    /// Wakes whoever waits for the request. Threads first: they cannot hang.
    fn announce(&self) {
        self.threads.notify(usize::MAX);
        self.wakers.wake_all();
    }
}
