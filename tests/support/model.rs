//! Exploration of loom models.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Instant;

/// Explores every interleaving of a model, or those with at most so many preemptions. Prints their
/// number.
pub fn model(preemptions: impl Into<Option<usize>>, run: impl Fn() + Send + Sync + 'static) {
    let executions = Arc::new(AtomicUsize::new(0));
    let mut builder = loom::model::Builder::new();
    builder.preemption_bound = preemptions.into();
    builder.max_branches = 5_000;
    let start = Instant::now();
    let counter = executions.clone();
    builder.check(move || {
        // Relaxed: no dependent data.
        counter.fetch_add(1, Ordering::Relaxed);
        run();
    });
    let name = std::thread::current().name().unwrap_or("?").to_owned();
    println!("{name}: {executions:?} executions, {:?}", start.elapsed());
}
