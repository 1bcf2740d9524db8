//! What the thread that has read a signal or keeps the times does with a shutdown, on both platforms.

use std::sync::{Arc, Weak};

use crate::model::cause::Cause;
use crate::model::signal::Signal;
use crate::node::Node;
use crate::node::request::Raised;
use crate::util::background::{NO_OWNER, WAKERS};

/// Takes a slot for a signal. Returns `false` if the node is gone.
pub(crate) fn request(node: &Weak<Node>, signal: Signal) -> bool {
    with_node(node, |node| {
        node.request_with(Cause::Signal(signal), announce);
    })
}

/// Forces the shutdown, whose deadline has passed. Returns `false` if the node is gone.
pub(crate) fn force_late(node: &Weak<Node>) -> bool {
    with_node(node, |node| node.force_late(announce))
}

/// Calls `act` with the node. Returns `false` if the node is gone.
fn with_node(node: &Weak<Node>, act: impl FnOnce(&Arc<Node>)) -> bool {
    let Some(node) = node.upgrade() else {
        return false;
    };
    act(&node);
    if runs_foreign_code(&node) {
        return true;
    }
    // The program may have dropped its last handle meanwhile. Then the node drops an error of the program's
    // with its cause, which may hang as a waker may.
    let release = || drop(node);
    // Where the thread is refused, `run` drops it here.
    let _ = WAKERS.run(NO_OWNER, Box::new(release));
    true
}

/// Returns whether this thread may call wakers and drop what is the program's: if the end of the process
/// does not depend on it.
fn runs_foreign_code(node: &Node) -> bool {
    cfg!(unix) && !node.policy().needs_timekeeper()
}

/// Calls the wakers from this thread; or, if the end of the process depends on this thread, from the
/// background thread, because a waker may hang.
fn announce(node: &Arc<Node>, raised: Raised) {
    if runs_foreign_code(node) {
        node.announce(raised);
        return;
    }
    // That can't hang, and a thread that drains has to hear of the force even if a waker of the request hangs.
    node.wake_threads();
    let to_announce = Arc::downgrade(node);
    let job = move || {
        if let Some(node) = to_announce.upgrade() {
            node.announce(raised);
        }
    };
    // Only on Windows the thread may have to be started now, and may be refused.
    if WAKERS.run(node.owner(), Box::new(job)).is_err() {
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

    /// It may hang, and the end of the process depends on this thread.
    #[test]
    fn g12_last_reference_is_dropped_on_the_background_thread() {
        let hour = Duration::from_secs(3600);
        let builder = Shutdown::builder().grace_period(hour);
        let shutdown = builder.force_at_deadline().build();
        let (says, dropped) = mpsc::channel();
        shutdown.fail(Foreign(says));
        let node = Arc::downgrade(shutdown.node());
        assert!(with_node(&node, |_| drop(shutdown)));
        let thread = dropped.recv_timeout(Duration::from_secs(20));
        assert_eq!(thread, Ok(Some("winddown-wakers".to_owned())));
        assert!(!with_node(&node, |_| unreachable!("it is gone")));
    }
}
