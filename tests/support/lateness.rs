//! How late the machine lets a thread run. The tests of `recipes/` include it too.

use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

/// Runs a function, and returns by how much a thread that slept meanwhile, again and again, was
/// late at the most.
pub fn with_lateness<T>(run: impl FnOnce() -> T) -> (T, Duration) {
    let ended = AtomicBool::new(false);
    thread::scope(|scope| {
        let sleeper = scope.spawn(|| {
            let nap = Duration::from_millis(1);
            let mut latest = Duration::ZERO;
            while !ended.load(Ordering::SeqCst) {
                let begun = Instant::now();
                thread::sleep(nap);
                latest = latest.max(begun.elapsed() - nap);
            }
            latest
        });
        let result = run();
        ended.store(true, Ordering::SeqCst);
        (result, sleeper.join().unwrap())
    })
}
