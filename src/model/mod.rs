//! Values of the public API that hold no lock and know no thread.

pub(crate) mod cause;
pub(crate) mod drain_error;
pub(crate) mod failure;
pub(crate) mod policy;
pub(crate) mod report;
pub(crate) mod signal;
pub(crate) mod stage;
