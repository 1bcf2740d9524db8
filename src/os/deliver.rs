//! What the thread that has read a signal or keeps the times does with a shutdown, on both platforms.

use std::sync::{Arc, Mutex, Weak};

use crate::model::cause::Cause;
use crate::model::signal::Signal;
use crate::node::Node;
use crate::node::request::FollowUp;
use crate::util::background::{NO_OWNER, WAKERS};
use crate::util::sync::lock_std;

/// Takes a slot for a signal. Returns `false` if the node is gone.
pub(crate) fn request(node: &Weak<Node>, signal: Signal) -> bool {
    with_node(node, |node| node.take_slot(Cause::Signal(signal)).1)
}

/// Forces the shutdown, whose deadline has passed. Returns `false` if the node is gone.
pub(crate) fn force_late(node: &Weak<Node>) -> bool {
    with_node(node, |node| node.force_late())
}

/// Calls `act` with the node, and does what that leaves to do, or has it done. Returns `false` if the node is gone.
fn with_node(node: &Weak<Node>, act: impl FnOnce(&Arc<Node>) -> Option<FollowUp>) -> bool {
    let Some(node) = node.upgrade() else {
        return false;
    };
    let left = act(&node);
    if runs_foreign_code(&node) {
        if let Some(left) = left {
            node.follow_up(left);
        }
    } else {
        // That can't hang, and a thread that drains has to hear of the force even if a waker of the request hangs.
        node.wake_threads();
        hand_over(node, left);
    }
    true
}

/// Returns whether this thread may call wakers and drop what is the program's: if the end of the process
/// does not depend on it.
fn runs_foreign_code(node: &Node) -> bool {
    cfg!(unix) && !node.policy().needs_timekeeper()
}

/// What the background thread has yet to do for the installed shutdown, of which a process has one. Then it drops the
/// node: the program may have dropped its last handle meanwhile, and an error of the program's may hang in its drop,
/// as a waker may.
///
/// It has a place of its own, because a job takes memory: a thread may have the lock of the allocator for good, and the
/// end of the process depends on the thread that hands it over.
static HANDED: Mutex<Option<(Arc<Node>, Option<FollowUp>)>> = Mutex::new(None);

/// Has the background thread do what is left.
fn hand_over(node: Arc<Node>, left: Option<FollowUp>) {
    let mut handed = lock_std(&HANDED);
    match &mut *handed {
        None => *handed = Some((node, left)),
        Some((of, before)) => {
            debug_assert!(Arc::ptr_eq(of, &node), "one shutdown is installed");
            drop(node); // not the last
            match (before, left) {
                (Some(before), Some(left)) => before.append(left),
                (before, Some(left)) => *before = Some(left),
                (_, None) => {}
            }
        }
    }
    drop(handed);
    // Only on Windows the thread may have to be started now, and may be refused.
    if WAKERS.call(do_handed).is_err() {
        do_handed();
    }
}

/// Does what was handed over, on the background thread.
fn do_handed() {
    let handed = lock_std(&HANDED).take();
    let Some((node, Some(left))) = handed else {
        return;
    };
    let raised = node.set_timers(left);
    // As a job of its own, behind the one that tells systemd: a waker may hang.
    let announces = node.clone();
    let announce = move || announces.announce(raised);
    if WAKERS.run(NO_OWNER, Box::new(announce)).is_err() {
        node.announce(raised);
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use std::error::Error;
    use std::fmt;
    use std::sync::mpsc;
    use std::thread;
    use std::time::Duration;

    use super::*;
    use crate::Shutdown;

    /// Says on which thread it is dropped.
    #[derive(Debug)]
    struct Foreign(mpsc::Sender<Option<String>>);

    impl Drop for Foreign {
        fn drop(&mut self) {
            let name = thread::current().name().map(str::to_owned);
            let _ = self.0.send(name);
        }
    }

    impl fmt::Display for Foreign {
        fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("an error of the program")
        }
    }

    impl Error for Foreign {}

    /// As in a process, one node is handed over at a time.
    static ALONE: Mutex<()> = Mutex::new(());

    /// It may hang, and the end of the process depends on this thread.
    #[test]
    fn g12_last_reference_is_dropped_on_the_background_thread() {
        let _alone = lock_std(&ALONE);
        let hour = Duration::from_secs(3600);
        let builder = Shutdown::builder().grace_period(hour);
        let shutdown = builder.force_at_deadline().build();
        let (says, dropped) = mpsc::channel();
        shutdown.fail(Foreign(says));
        let node = Arc::downgrade(shutdown.node());
        assert!(with_node(&node, |_| {
            drop(shutdown);
            None
        }));
        let thread = dropped.recv_timeout(Duration::from_secs(20));
        assert_eq!(thread, Ok(Some("winddown-wakers".to_owned())));
        assert!(!with_node(&node, |_| unreachable!("it is gone")));
    }

    /// A thread may have the lock of the allocator for good, also one that is to do what is handed over.
    ///
    /// Mutation: `hand_over` hands a job to the background thread.
    #[test]
    fn g12_signals_and_the_deadline_take_no_memory() {
        let _alone = lock_std(&ALONE);
        let hour = Duration::from_secs(3600);
        WAKERS.keep().unwrap();
        let signal: fn(&Weak<Node>) -> bool = |node| request(node, Signal::TERM);
        for lame_duck in [Duration::ZERO, hour] {
            for acts in [&[signal, signal][..], &[force_late]] {
                let builder = Shutdown::builder().grace_period(hour).lame_duck(lame_duck);
                let shutdown = builder.force_at_deadline().build();
                let _child = shutdown.child();
                let node = Arc::downgrade(shutdown.node());
                for act in acts {
                    assert_eq!(memory_of(|| assert!(act(&node))), 0);
                }
                assert!(shutdown.is_forced());
            }
        }
    }

    /// Returns how often this takes memory on this thread.
    fn memory_of(run: impl FnOnce()) -> u64 {
        // One after the other.
        while lock_std(&HANDED).is_some() {
            thread::yield_now();
        }
        allocation_counter::measure(run).count_total
    }
}
