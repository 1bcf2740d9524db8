//! The loops whose instructions `./ci.sh perf` counts. A program of its own, because winddown-bench counts
//! allocations, which takes instructions too.
//!
//! `winddown-count WHAT TIMES`

#[cfg(unix)]
mod served;

use std::hint::black_box;
use std::pin::pin;
use std::sync::Arc;
use std::task::{Context, Wake, Waker};

use winddown::Shutdown;

struct Task;

impl Wake for Task {
    fn wake(self: Arc<Self>) {
        drop(self);
    }
}

/// Does the operation so many times. All that is done once cancels out between two numbers of times.
fn main() {
    let [what, times] = std::array::from_fn(|index| {
        let arg = std::env::args().nth(index + 1);
        arg.expect("usage: winddown-count WHAT TIMES")
    });
    let times: u64 = times.parse().expect("a number of times");
    let shutdown = Shutdown::new();
    let task: Waker = Arc::new(Task).into();
    let context = &mut Context::from_waker(&task);
    let mut pending = pin!(shutdown.waiter());
    assert!(pending.as_mut().poll(context).is_pending());
    let repeat = |op: &mut dyn FnMut()| (0..times).for_each(|_| op());
    match what.as_str() {
        "check" => repeat(&mut || {
            black_box(black_box(&shutdown).is_requested());
        }),
        "re-poll" => repeat(&mut || {
            let _ = black_box(pending.as_mut().poll(black_box(context)));
        }),
        "first" => repeat(&mut || {
            let _ = black_box(pin!(shutdown.waiter()).poll(black_box(context)));
        }),
        #[cfg(unix)]
        served if served.contains(':') => served::count(served, times),
        "child" => repeat(&mut || drop(black_box(shutdown.child()))),
        "connection" => repeat(&mut || {
            let child = shutdown.child();
            drop(black_box((child.guard(), child)));
        }),
        "guard" => repeat(&mut || drop(black_box(shutdown.guard()))),
        other => panic!("nothing to count is called '{other}'"),
    }
}
