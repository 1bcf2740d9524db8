//! [`SiteTable`]: values by the line of code that they belong to.
//!
//! Invariant, cited in the code as L1:
//!
//! - **L1** A table only grows, by entries that never change. So it is read without a lock.

use std::panic::Location;
use std::sync::{Arc, OnceLock};

/// Where a guard was taken, and its name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Origin {
    pub(crate) location: &'static Location<'static>,
    pub(crate) name: Option<&'static str>,
}

impl Origin {
    /// Compares by address: cheaper than by value. One line may have several addresses; the report
    /// adds them up.
    #[inline]
    pub(crate) fn is(&self, other: &Self) -> bool {
        std::ptr::eq(self.location, other.location) && self.name.is(&other.name)
    }

    #[inline]
    fn hash(&self) -> usize {
        let location = std::ptr::from_ref(self.location).addr();
        (location ^ self.name.hash().rotate_left(7)) / align_of::<Location<'_>>()
    }
}

/// What tells the values of one origin apart: nothing, or the phase.
pub(crate) trait Part: Copy {
    fn is(&self, other: &Self) -> bool;
    fn hash(&self) -> usize;
}

impl Part for () {
    #[inline]
    fn is(&self, (): &Self) -> bool {
        true
    }

    #[inline]
    fn hash(&self) -> usize {
        0
    }
}

impl Part for Option<&'static str> {
    /// Compares by address and length: cheaper than by value, and as in `Origin::is` the report adds up.
    #[inline]
    fn is(&self, other: &Self) -> bool {
        match (*self, *other) {
            (None, None) => true,
            (Some(one), Some(another)) => std::ptr::eq(one, another),
            _ => false,
        }
    }

    #[inline]
    fn hash(&self) -> usize {
        // The length too, because names may be prefixes of one text.
        self.map_or(0, |name| name.as_ptr().addr() ^ name.len().rotate_left(16))
    }
}

/// Finds values by origin and part, without a lock and, but for the first time, without an allocation.
///
/// It takes a few words until then.
pub(crate) struct SiteTable<T, P = ()> {
    /// A power of two of them.
    entries: OnceLock<Box<[Place<T, P>]>>,
    /// A table twice as large, for what found no place in this one.
    next: OnceLock<Box<Self>>,
}

type Place<T, P> = OnceLock<Entry<T, P>>;

struct Entry<T, P> {
    origin: Origin,
    part: P,
    value: Arc<T>,
}

impl<T, P: Part> Entry<T, P> {
    #[inline]
    fn is(&self, origin: &Origin, part: &P) -> bool {
        self.origin.is(origin) && self.part.is(part)
    }
}

impl<T, P: Part> SiteTable<T, P> {
    /// The places of the first table.
    const FIRST: usize = 16;
    /// How far from its own place an entry may be.
    const REACH: usize = 8;

    pub(crate) const fn new() -> Self {
        Self {
            entries: OnceLock::new(),
            next: OnceLock::new(),
        }
    }

    /// Returns the value of this origin if it has its own place in the first table, as almost all do.
    #[inline]
    pub(crate) fn first(&self, origin: Origin, part: P) -> Option<&Arc<T>> {
        let entries = self.entries.get()?;
        let entry = entries[place(origin, part, 0, entries.len())].get()?;
        entry.is(&origin, &part).then_some(&entry.value)
    }

    /// Returns the value of this origin, and makes it the first time.
    pub(crate) fn find(&self, origin: Origin, part: P, make: impl FnOnce() -> T) -> &Arc<T> {
        self.find_indexed(origin, part, make).1
    }

    /// Returns the value of this origin, and its index for `get`.
    pub(crate) fn find_indexed(
        &self,
        origin: Origin,
        part: P,
        make: impl FnOnce() -> T,
    ) -> (u32, &Arc<T>) {
        let (mut table, mut size, mut make) = (self, Self::FIRST, Some(make));
        loop {
            let vacant = || (0..size).map(|_| OnceLock::new()).collect();
            let entries = table.entries.get_or_init(vacant);
            for step in 0..Self::REACH {
                // L1: the entry of this origin stands before the first place that is free.
                let place = place(origin, part, step, size);
                let entry = entries[place].get_or_init(|| {
                    let make = make.take().expect("a free place ends the search");
                    Entry {
                        origin,
                        part,
                        value: Arc::new(make()),
                    }
                });
                if entry.is(&origin, &part) {
                    // The tables before this one have `size - FIRST` places.
                    let index = u32::try_from(size - Self::FIRST + place);
                    return (index.expect("fewer than 2^32 lines"), &entry.value);
                }
            }
            table = table.next.get_or_init(|| Box::new(Self::new()));
            size *= 2;
        }
    }

    /// Returns the value at an index that `find_indexed` has returned.
    pub(crate) fn get(&self, index: u32) -> &Arc<T> {
        let (mut table, mut size, mut place) = (Some(self), Self::FIRST, index as usize);
        while place >= size {
            place -= size;
            size *= 2;
            table = table.and_then(|table| table.next.get().map(Box::as_ref));
        }
        let entry = table
            .and_then(|table| table.entries.get())
            .and_then(|entries| entries[place].get());
        &entry.expect("a table only grows").value // L1
    }

    pub(crate) fn for_each(&self, mut visit: impl FnMut(Origin, &Arc<T>)) {
        let tables = std::iter::successors(Some(self), |table| table.next.get().map(Box::as_ref));
        let entries = tables.flat_map(|table| table.entries.get().into_iter().flatten());
        for entry in entries.filter_map(OnceLock::get) {
            visit(entry.origin, &entry.value);
        }
    }
}

/// Returns where an entry would be among `size` entries, `step` places from its own.
#[inline]
fn place(origin: Origin, part: impl Part, step: usize, size: usize) -> usize {
    // Fibonacci hashing; the high bits are the good ones.
    let hash = (origin.hash() ^ part.hash()).wrapping_mul(0x9E37_79B9_7F4A_7C15_u64 as usize);
    hash.rotate_left(usize::BITS / 2).wrapping_add(step) & (size - 1)
}

#[cfg(all(test, not(loom)))]
mod tests {
    use std::sync::LazyLock;

    use super::*;

    #[test]
    fn each_part_of_an_origin_has_a_value_of_its_own() {
        static NAMES: LazyLock<Vec<String>> =
            LazyLock::new(|| (0..50).map(|number| number.to_string()).collect());
        let table = SiteTable::new();
        let location = Location::caller();
        // The second time, all are there.
        for _ in 0..2 {
            for part in NAMES.iter().map(|name| Some(name.as_str())).take(8) {
                for name in NAMES.iter() {
                    let origin = Origin {
                        location,
                        name: Some(name),
                    };
                    let value = (name.as_str(), part);
                    assert!(
                        table
                            .first(origin, part)
                            .is_none_or(|found| **found == value)
                    );
                    let (index, found) = table.find_indexed(origin, part, || value);
                    assert_eq!(**found, value);
                    assert_eq!(**table.get(index), value);
                }
            }
        }
    }

    /// As a macro may make them. Each table is twice as large as the one before.
    ///
    /// Mutation: the hash of a name leaves out its length.
    #[test]
    fn names_that_are_prefixes_of_one_text_take_few_tables() {
        static TEXT: LazyLock<String> = LazyLock::new(|| "name ".repeat(20));
        let table = SiteTable::new();
        let location = Location::caller();
        for length in 1..TEXT.len() {
            let name = Some(&TEXT[..length]);
            table.find(Origin { location, name }, (), || length);
        }
        let tables = std::iter::successors(Some(&table), |table| table.next.get().map(Box::as_ref));
        assert!(tables.count() < 8);
    }
}
