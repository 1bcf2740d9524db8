//! What each runtime needs.

#[cfg(any(feature = "smol", feature = "tokio"))]
mod refusal;
#[cfg(feature = "smol")]
pub(crate) mod smol;
#[cfg(feature = "tokio")]
pub(crate) mod tokio;
