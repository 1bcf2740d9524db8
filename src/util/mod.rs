//! Primitives that know nothing of a shutdown: the lowest layer.

pub(crate) mod ancestor_count;
pub(crate) mod background;
pub(crate) mod deadline;
pub(crate) mod driver_turn;
#[cfg(all(test, not(loom)))]
pub(crate) mod hooked_waker;
pub(crate) mod panic;
pub(crate) mod shard;
#[cfg(feature = "signals")]
pub(crate) mod shared_turn;
pub(crate) mod site_table;
pub(crate) mod slab;
pub(crate) mod sync;
pub(crate) mod task_counter;
#[cfg(all(test, not(loom)))]
pub(crate) mod wake_counter;
pub(crate) mod waker_queue;
pub(crate) mod waker_set;
