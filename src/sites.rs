//! Which lines of code hold how many guards.
//!
//! Every line that takes guards has a `Site`, and every guard is a clone of its `Arc`: the strong
//! count, less the one in the table, is the number of guards. So recording the line costs no more
//! than keeping the shutdown alive would. Invariants, cited as L1 and L2:
//!
//! - **L1** A table only grows, by entries that stay what they are. So it is read without a lock.
//! - **L2** A guard is counted here before it is counted in the state, and forgotten here after it
//!   was forgotten there. So whoever finds the state's count above zero finds a line here, or the
//!   guard has been dropped since.

use std::panic::Location;
use std::sync::{Arc, OnceLock};

use crate::state::State;
use crate::sync::atomic::{AtomicUsize, Ordering};
use crate::wakers;

/// Where a guard was taken, and what it was called.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct Origin {
    pub(crate) location: &'static Location<'static>,
    pub(crate) name: Option<&'static str>,
}

impl Origin {
    /// By address: cheaper than by value, and that a line may have several is mended in the report.
    #[inline]
    fn is(&self, other: &Self) -> bool {
        std::ptr::eq(self.location, other.location)
            && match (self.name, other.name) {
                (None, None) => true,
                (Some(one), Some(another)) => std::ptr::eq(one, another),
                _ => false,
            }
    }

    #[inline]
    fn hash(&self) -> usize {
        let name = self.name.map_or(0, |name| name.as_ptr().addr());
        (std::ptr::from_ref(self.location).addr() ^ name.rotate_left(7))
            / align_of::<Location<'_>>()
    }
}

/// The guards of one line of one shutdown, and of one share of the threads.
///
/// A cache line of its own: the count in front of it changes with every guard.
#[repr(align(64))]
pub(crate) struct Site {
    pub(crate) state: Arc<State>,
    /// The number of the thread that made it, which says in which lane its guards are counted.
    pub(crate) thread: usize,
    /// The same line, as the parent counts it.
    tally: Option<Arc<Tally>>,
}

impl Site {
    pub(crate) fn new(state: &Arc<State>, origin: Origin) -> Self {
        Self {
            state: state.clone(),
            thread: wakers::thread_number(),
            tally: Tally::of(state.and_above().skip(1), origin),
        }
    }

    /// A guard more, for those above.
    #[inline]
    pub(crate) fn tell_parents_more(&self) {
        for tally in self.tallies() {
            // Relaxed: the state's own count, which comes after it (L2), publishes it.
            tally.count.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// A guard less, for those above.
    #[inline]
    pub(crate) fn tell_parents_less(&self) {
        for tally in self.tallies() {
            // Relaxed: a count for people.
            tally.count.fetch_sub(1, Ordering::Relaxed);
        }
    }

    fn tallies(&self) -> impl Iterator<Item = &Tally> {
        std::iter::successors(self.tally.as_deref(), |tally| tally.above.as_deref())
    }
}

/// The guards of one line that are held by the children of one shutdown.
pub(crate) struct Tally {
    count: AtomicUsize,
    above: Option<Arc<Tally>>,
}

impl Tally {
    /// The tally of this line in each of `states`, from the lowest up.
    fn of<'a>(states: impl Iterator<Item = &'a State>, origin: Origin) -> Option<Arc<Self>> {
        // From the highest down, because each holds the next one up; and not by recursion, which
        // would be as deep as the tree.
        let states: Vec<_> = states.collect();
        states.into_iter().rev().fold(None, |above, state| {
            let make = || Self {
                count: AtomicUsize::new(0),
                above,
            };
            let tallies = state.tallies.get_or_init(|| Box::new(Table::new()));
            Some(tallies.find(origin, 0, make).clone())
        })
    }

    pub(crate) fn count(&self) -> usize {
        // Relaxed: a count for people.
        self.count.load(Ordering::Relaxed)
    }
}

impl Drop for Tally {
    fn drop(&mut self) {
        // Not by recursion, which would be as deep as the tree.
        let mut above = self.above.take();
        while let Some(tally) = above {
            above = Arc::into_inner(tally).and_then(|mut tally| tally.above.take());
        }
    }
}

/// Finds things by origin, without a lock and, but for the first time, without an allocation.
///
/// A few words until then.
pub(crate) struct Table<T> {
    /// A power of two of them.
    entries: OnceLock<Box<[OnceLock<Entry<T>>]>>,
    /// Twice as large, for what found no place here.
    next: OnceLock<Box<Self>>,
}

struct Entry<T> {
    origin: Origin,
    lane: usize,
    value: Arc<T>,
}

impl<T> Entry<T> {
    #[inline]
    fn is(&self, origin: &Origin, lane: usize) -> bool {
        self.origin.is(origin) && self.lane == lane
    }
}

impl<T> Table<T> {
    /// How far from its own place an entry may be.
    const REACH: usize = 8;

    pub(crate) const fn new() -> Self {
        Self {
            entries: OnceLock::new(),
            next: OnceLock::new(),
        }
    }

    /// What stands at this origin, if it has its own place in the first table, as almost all do.
    #[inline]
    pub(crate) fn first(&self, origin: Origin, lane: usize) -> Option<&Arc<T>> {
        let entries = self.entries.get()?;
        let entry = entries[place(origin, lane, 0, entries.len())].get()?;
        entry.is(&origin, lane).then_some(&entry.value)
    }

    /// What stands at this origin. A lane sets apart what threads would only contend for.
    pub(crate) fn find(&self, origin: Origin, lane: usize, make: impl FnOnce() -> T) -> &Arc<T> {
        let (mut table, mut size, mut make) = (self, 16, Some(make));
        loop {
            let vacant = || (0..size).map(|_| OnceLock::new()).collect();
            let entries = table.entries.get_or_init(vacant);
            for step in 0..Self::REACH {
                // L1: an entry that is ours is found before the first place that is free.
                let entry = entries[place(origin, lane, step, size)].get_or_init(|| {
                    let make = make.take().expect("a place that was free is ours");
                    Entry {
                        origin,
                        lane,
                        value: Arc::new(make()),
                    }
                });
                if entry.is(&origin, lane) {
                    return &entry.value;
                }
            }
            table = table.next.get_or_init(|| Box::new(Self::new()));
            size *= 2;
        }
    }

    pub(crate) fn for_each(&self, mut visit: impl FnMut(Origin, &Arc<T>)) {
        let tables = std::iter::successors(Some(self), |table| table.next.get().map(Box::as_ref));
        let entries = tables.flat_map(|table| table.entries.get().into_iter().flatten());
        for entry in entries.filter_map(OnceLock::get) {
            visit(entry.origin, &entry.value);
        }
    }
}

/// Where it would be among so many, that many steps from its own place.
#[inline]
fn place(origin: Origin, lane: usize, step: usize, size: usize) -> usize {
    // Fibonacci hashing; the high bits are the good ones.
    let hash = (origin.hash() ^ lane).wrapping_mul(0x9E37_79B9_7F4A_7C15_u64 as usize);
    hash.rotate_left(usize::BITS / 2).wrapping_add(step) & (size - 1)
}
