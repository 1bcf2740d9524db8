//! [`Process`]: what the process adds to the shutdown that is installed in it.

#[cfg(unix)]
use std::sync::atomic::Ordering;
use std::sync::{Arc, OnceLock};

use crate::model::policy::Policy;
use crate::model::signal::Signal;
use crate::node::{Host, Node};
#[cfg(unix)]
use crate::os::flags::IDLE;
use crate::os::flags::arm;
#[cfg(all(unix, feature = "systemd"))]
use crate::os::systemd;
use crate::os::timekeeper::{self, End};
use crate::util::deadline::deadline_after;

/// The installed shutdown, once its first slot is taken: from then on its policy says what the next
/// signal does, whether or not a handle is left.
static BEGUN: OnceLock<Arc<Node>> = OnceLock::new();

/// The process of the installed shutdown.
pub(crate) struct Process {
    pub(crate) exit_code: i32,
    pub(crate) force_by_signal: bool,
}

impl Process {
    /// Returns how the process ends when it is forced, by this signal if it was one.
    fn end(&self, by: Option<Signal>) -> End {
        match by {
            Some(signal) if self.force_by_signal => End::Signal(signal),
            _ => End::Code(self.exit_code),
        }
    }
}

impl Host for Process {
    fn first(&self, node: &Arc<Node>) {
        BEGUN.get_or_init(|| node.clone());
        // With an abort timeout the force arms the handler, and not the request.
        if node.policy().abort_timeout.is_zero() {
            arm_after_debounce(node.policy());
        }
    }

    fn begun(&self, node: &Arc<Node>) {
        if node.policy().force_at_deadline {
            if let Some(deadline) = node.deadline() {
                timekeeper::force_at(deadline, node, self.end(None));
            }
        }
    }

    fn follow(&self, node: &Arc<Node>) {
        #[cfg(all(unix, feature = "systemd"))]
        systemd::follow(node);
        let _ = node;
    }

    fn forced(&self, policy: &Policy, by: Option<Signal>) {
        let end = self.end(by);
        if policy.abort_timeout.is_zero() {
            end.now();
        }
        // Where the second signal bounces, its echo is a third.
        arm_after_debounce(policy);
        if let Some(time) = deadline_after(policy.abort_timeout) {
            timekeeper::end_at(time, end);
        }
    }

    fn third(&self, by: Option<Signal>) {
        self.end(by).now();
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

/// Arms the handler when the debounce is over.
fn arm_after_debounce(policy: &Policy) {
    if policy.debounce.is_zero() {
        arm();
    } else if let Some(time) = deadline_after(policy.debounce) {
        timekeeper::arm_at(time);
    }
}

#[cfg(all(test, unix))]
pub(crate) mod tests {
    use std::sync::Mutex;
    use std::time::{Duration, Instant};

    use super::*;
    use crate::os::flags::ARMED;
    use crate::util::sync::lock_std;

    /// Tests that set `ARMED` or `IDLE`, or raise a signal, must come one after the other.
    pub(crate) static ALONE: Mutex<()> = Mutex::new(());

    const PROCESS: Process = Process {
        exit_code: 1,
        force_by_signal: false,
    };

    /// The handler ends the process at the next signal, which the thread `winddown` would do too.
    #[test]
    fn force_arms_the_handler_after_the_debounce() {
        let _alone = lock_std(&ALONE);
        let hour = Duration::from_secs(3600);
        let force = |debounce| {
            let policy = Policy {
                debounce,
                abort_timeout: hour,
                ..Policy::DEFAULT
            };
            PROCESS.forced(&policy, None);
        };
        let is_armed = || ARMED.load(Ordering::SeqCst);
        // The abort timeout is not for the echo of the second signal.
        force(hour);
        let due = timekeeper::run_due().expect("two times are kept");
        assert!(due > Instant::now() && !is_armed());
        force(Duration::from_millis(1));
        while timekeeper::run_due().expect("a time is kept") <= due {}
        assert!(is_armed());

        ARMED.store(false, Ordering::SeqCst);
        force(Duration::ZERO);
        assert!(is_armed());
        ARMED.store(false, Ordering::SeqCst);
    }

    #[test]
    fn g7_dropped_process_leaves_signals_to_the_system() {
        let _alone = lock_std(&ALONE);
        IDLE.store(false, Ordering::SeqCst);
        drop(PROCESS);
        assert!(IDLE.load(Ordering::SeqCst));
    }
}
