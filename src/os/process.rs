//! [`Process`]: what the process adds to the shutdown that is installed in it.

#[cfg(unix)]
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};
use std::thread;
use std::time::Duration;

use crate::model::policy::Policy;
use crate::node::{Host, Node};
use crate::os::deliver::start;
use crate::os::exit;
#[cfg(all(unix, feature = "systemd"))]
use crate::os::systemd;

/// One slot was taken: the next signal ends the process. The handler reads it.
#[cfg(unix)]
pub(crate) static ARMED: AtomicBool = AtomicBool::new(false);

/// No shutdown listens, because none is installed or every handle is gone. The handler reads it.
#[cfg(unix)]
pub(crate) static IDLE: AtomicBool = AtomicBool::new(true);

/// The installed shutdown, once its first slot is taken: from then on its policy says what the next
/// signal does, whether or not a handle is left.
static BEGUN: OnceLock<Arc<Node>> = OnceLock::new();

/// The process of the installed shutdown.
pub(crate) struct Process {
    pub(crate) exit_code: i32,
}

impl Process {
    /// Ends the process, as the force does when there is no time for last words, or no more.
    fn end(&self) -> ! {
        exit::now(self.exit_code)
    }
}

impl Host for Process {
    fn first(&self, node: &Arc<Node>) {
        BEGUN.get_or_init(|| node.clone());
        let policy = node.policy();
        // With last words the force arms the handler, and not the request.
        if policy.last_words.is_zero() {
            arm_after(policy.debounce);
        }
    }

    fn begun(&self, node: &Arc<Node>) {
        #[cfg(all(unix, feature = "systemd"))]
        systemd::follow(node);
        let _ = node;
    }

    fn forced(&self, policy: &Policy) {
        let (code, time) = (self.exit_code, policy.last_words);
        if time.is_zero() {
            self.end();
        }
        // Where the second signal bounces, its echo is a third.
        arm_after(policy.debounce);
        let end = move || {
            thread::sleep(time);
            exit::now(code)
        };
        if start("winddown-force", end).is_err() {
            self.end();
        }
    }

    fn third(&self) {
        self.end();
    }
}

impl Drop for Process {
    /// Lets Ctrl-C do what the system does by default: every handle, waiter and guard is gone, and no
    /// slot was taken.
    fn drop(&mut self) {
        // SeqCst: as signal-hook accesses it in the handler.
        #[cfg(unix)]
        IDLE.store(true, Ordering::SeqCst);
    }
}

/// Arms the handler when the debounce is over: from then on it forces.
fn arm_after(debounce: Duration) {
    let arm = || {
        // SeqCst: as signal-hook accesses it in the handler.
        #[cfg(unix)]
        ARMED.store(true, Ordering::SeqCst);
    };
    let late = move || {
        thread::sleep(debounce);
        arm();
    };
    // A force too soon is better than none.
    if debounce.is_zero() || start("winddown-debounce", late).is_err() {
        arm();
    }
}

#[cfg(all(test, unix))]
mod tests {
    use super::*;

    #[test]
    fn debounce_leaves_the_last_words_to_the_echo_of_a_force() {
        let hour = Duration::from_secs(3600);
        let policy = Policy {
            debounce: hour,
            last_words: hour,
            ..Policy::DEFAULT
        };
        Process { exit_code: 1 }.forced(&policy);
        assert!(!ARMED.load(Ordering::SeqCst));
    }
}
