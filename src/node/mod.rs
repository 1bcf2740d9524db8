//! [`Node`]: the state of one shutdown, and its place in the tree of parents and children.
//!
//! The state is a queue of two slots that is never emptied, and a count of the guards. This layer
//! knows no operating system: a process plugs in through [`Host`].
//!
//! Invariants, cited in the code as S1..S6:
//!
//! - **S1** The word only gains: slots fill, flags rise, and none is ever cleared. So one load answers
//!   `is_requested`, and "yes" stays true.
//! - **S2** Every change of the word is made under the lock of `begun`. So the request that begins the
//!   shutdown is the one that the cause names. Readers of the word take no lock.
//! - **S3** The cause is stored before the word that says there is one. A node that its parent has begun
//!   has none, and shares the parent's.
//! - **S4** A guard counts in its own node and in every ancestor, before it is handed out and until it
//!   is dropped. So no ancestor is drained while a descendant holds a guard.
//! - **S5** A child is entered in its parent's list before it reads the parent's word. The parent
//!   changes its word before it reads its list. Both sides take the lock of `children`, which orders
//!   the two: either the child took it first, and the parent finds it in the list; or the parent did, and
//!   the child, which takes it next, reads the new word. Without that lock both could miss each other,
//!   because the word alone is only Release and Acquire.
//! - **S6** What a node has in its `Extra` is entered before the word or the counter is checked, and
//!   they are changed before `Extra` is looked for. As long as there is none there is no lock that orders
//!   the two, so a SeqCst fence on both sides does: either the thread that changes the word finds the
//!   `Extra`, or the other one reads the change.

mod ends;
mod line;
mod order;
pub(crate) mod phases;
pub(crate) mod request;
pub(crate) mod sites;
mod timers;
#[cfg(feature = "tracing")]
mod trace;
mod tree;
mod wait;
mod work;

#[cfg(test)]
mod tests;

use std::panic::{RefUnwindSafe, UnwindSafe};
use std::sync::{Arc, OnceLock, Weak};
use std::time::Instant;

use event_listener::Event;
use slab::Slab;

use crate::model::cause::Cause;
use crate::model::policy::Policy;
use crate::model::signal::Signal;
use crate::node::line::{Line, LineAbove};
use crate::node::order::{Order, PhaseLink};
use crate::util::shard;
use crate::util::site_table::SiteTable;
use crate::util::sync::Mutex;
use crate::util::sync::atomic::AtomicU8;
use crate::util::task_counter::TaskCounter;
use crate::util::waker_queue::WakerQueue;
use crate::util::waker_set::WakerSet;

/// A shutdown was requested: by the first slot, before it by a trigger, or by an ancestor.
///
/// From then on there is a cause (S3), here or in an ancestor, and `Stage` is at least `Requested`.
const REQUESTED: u8 = 0b0001;
/// The first slot is taken.
///
/// Never without `REQUESTED`. `REQUESTED` without it says that a trigger or an ancestor has begun the
/// shutdown, so that the next signal is the first. Slots are not inherited: a child keeps its own.
const FIRST: u8 = 0b0010;
/// The lame duck is over, or there was none: waiters are ready.
///
/// Never without `REQUESTED`. `Stage` is at least `Stopping`.
const STOPPING: u8 = 0b0100;
/// The second slot is taken, here or in an ancestor, or the deadline has passed.
///
/// Never without `REQUESTED` and `STOPPING`. Drains end from then on, whatever guards are held.
const FORCED: u8 = 0b1000;
/// What a phase has when it is asked.
const STOPPING_TOO: u8 = REQUESTED | STOPPING;

/// Small, because a program may have a child for each connection, and its memory is what takes most of the time.
///
/// The order of the fields keeps the word, which every poll reads, out of the cache lines that change often.
/// That is asserted below.
#[repr(C)]
pub(crate) struct Node {
    /// `None` in a child until it is requested itself, or takes a slot: most are begun by their parent.
    begun: Mutex<Option<Box<Begun>>>,
    place: Place,
    /// `None` as long as nothing needs it, as in most children (S6).
    extra: OnceLock<Box<Extra>>,
    /// Threads that block, and never a task: event-listener calls wakers under its lock, and only the
    /// waker of a thread is known to do no more than unpark it.
    threads: Event,

    word: AtomicU8,
    /// Of a child: the index of the thread that made it, which says in which shard of the root its guards
    /// are counted.
    thread: u8,

    /// Every first poll of a child's waiter changes it; not that of a root or a phase, which many threads share:
    /// there it has shards.
    stopping: WakerQueue,
    /// Every guard of a child changes this field and the next.
    tasks: TaskCounter,
    /// Of a child: the line that its first guard was taken on.
    line: OnceLock<Line>,
}

/// What most children do without: they are made for a connection or a job.
struct Extra {
    children: Mutex<Slab<Weak<Node>>>,
    /// Drains, and tasks that show their progress.
    watchers: WakerSet,
    /// Only if a lame duck separates this stage from the next. Such a node has it from the beginning.
    requested: Option<WakerQueue>,
    forced: WakerQueue,
    below: OnceLock<Box<Below>>,
}

impl Extra {
    #[cold]
    fn new(lame_duck: bool) -> Self {
        Self {
            children: Mutex::new(Slab::new()),
            watchers: WakerSet::new(),
            requested: lame_duck.then(WakerQueue::new),
            forced: WakerQueue::new(),
            below: OnceLock::new(),
        }
    }
}

/// What a node keeps of its descendants' guards and phases, and of guards of its own on several lines.
pub(crate) struct Below {
    /// Their guards, by line and by the name of the phase.
    counts: SiteTable<LineAbove, Option<&'static str>>,
    /// The lines that took guards of this node, if it is a child, but for the first.
    lines: SiteTable<Line>,
    /// The phases among its children.
    order: Mutex<Order<Node>>,
}

/// Where a node stands in its tree.
enum Place {
    Child {
        parent: Arc<Node>,
        /// The index in the parent's list of children.
        key: usize,
    },
    /// A child that is asked later.
    Phase(Box<PhaseLink<Node>>),
    Root(Box<Root>),
    /// No longer anywhere: the node is being dropped.
    Unlinked,
}

/// What a root has, and its descendants share.
struct Root {
    /// What the process adds, if this shutdown is installed.
    host: Option<Box<dyn Host>>,
    policy: Policy,
}

/// What a process adds to the shutdown that is installed in it.
///
/// Every method is called without a lock, and at most a few times in the life of a process. All but `follow` take no
/// memory, because the thread that calls them may depend on it that it never waits for any.
pub(crate) trait Host: Send + Sync + UnwindSafe + RefUnwindSafe {
    /// The first slot was taken. Called before any waker, because a waker may hang.
    fn first(&self, node: &Arc<Node>);

    /// The shutdown has begun. Called before any waker.
    fn begun(&self, node: &Arc<Node>);

    /// Tells others that the shutdown has begun. Called before any waker.
    fn follow(&self, node: &Arc<Node>);

    /// The shutdown was forced, by this signal if it was one. Returns only if the process has time
    /// before it ends.
    fn forced(&self, policy: &Policy, by: Option<Signal>);

    /// One more signal came after the second, which the handler was not yet armed for.
    fn third(&self, by: Option<Signal>);
}

/// How the shutdown began.
#[derive(Default)]
struct Begun {
    /// `None` also if the parent has begun it: see `Node::cause`.
    cause: Option<Cause>,
    /// When it was requested, and when the last slot was taken; if something depends on it.
    requested: Option<Instant>,
    slot: Option<Instant>,
}

impl Node {
    pub(crate) fn new(host: Option<Box<dyn Host>>, policy: Policy) -> Arc<Self> {
        let mut node = Self::with(
            Place::Root(Box::new(Root { host, policy })),
            WakerQueue::sharded(),
            TaskCounter::sharded(),
        );
        // At once, so that a request needs no memory.
        node.begun = Mutex::new(Some(Box::default()));
        if !node.policy().lame_duck.is_zero() {
            node.separate_requested();
        }
        Arc::new(node)
    }

    #[inline(always)]
    fn with(place: Place, stopping: WakerQueue, tasks: TaskCounter) -> Self {
        Self {
            begun: Mutex::new(None),
            word: AtomicU8::new(0),
            #[expect(
                clippy::cast_possible_truncation,
                reason = "the number of shards divides 256, so the index names the same shard"
            )]
            thread: shard::thread_index() as u8,
            place,
            extra: OnceLock::new(),
            threads: Event::new(),
            stopping,
            tasks,
            line: OnceLock::new(),
        }
    }

    /// Makes the queue of a stage that a lame duck separates from the next, before any task can wait for it.
    #[cold]
    fn separate_requested(&self) {
        self.extra.get_or_init(|| Box::new(Extra::new(true)));
    }

    fn host(&self) -> Option<&dyn Host> {
        self.as_root()?.host.as_deref()
    }

    fn as_root(&self) -> Option<&Root> {
        match &self.place {
            Place::Root(root) => Some(root),
            Place::Child { .. } | Place::Phase(_) | Place::Unlinked => None,
        }
    }

    #[inline]
    fn extra(&self) -> &Extra {
        // With a lame duck there is one from the beginning.
        self.extra.get_or_init(|| Box::new(Extra::new(false)))
    }

    fn if_below(&self) -> Option<&Below> {
        self.extra.get()?.below.get().map(Box::as_ref)
    }

    fn below(&self) -> &Below {
        self.extra().below.get_or_init(|| {
            Box::new(Below {
                counts: SiteTable::new(),
                lines: SiteTable::new(),
                order: Mutex::new(Order::new()),
            })
        })
    }

    /// Returns the policy, which a child shares with its root.
    pub(crate) fn policy(&self) -> &Policy {
        let root = self.and_ancestors().last().and_then(Self::as_root);
        root.map_or(&Policy::DEFAULT, |root| &root.policy)
    }
}

/// The distance from the word to what other threads change often is at least a cache line: in front of
/// it the reference counts of the `Arc`, behind it the guards of a child. In a child that is no phase its wakers
/// are nearer, which few threads change. An assertion on offsets holds for every alignment that the allocator
/// gives.
#[cfg(all(target_pointer_width = "64", not(loom)))]
const _: () = {
    use std::mem::offset_of;

    const LINE: usize = 64;
    let word = offset_of!(Node, word);
    // The counts stand before the first field.
    assert!(word >= LINE - 1);
    assert!(offset_of!(Node, tasks) >= word + LINE);
    assert!(offset_of!(Node, line) >= word + LINE);
    #[cfg(target_os = "linux")]
    assert!(size_of::<Node>() <= 200);
};
