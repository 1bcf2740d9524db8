//! Messages for systemd, from a thread of their own.

use std::sync::{Arc, Weak};
use std::thread;
use std::time::Duration;

use sd_notify::NotifyState;

use crate::node::Node;

/// How much longer systemd is to wait after each sign of progress.
const EXTENSION: Duration = Duration::from_secs(15);
/// How long one sign of progress is enough.
const PAUSE: Duration = Duration::from_secs(1);

/// Tells systemd that the service is stopping and why, and asks for more time as guards are dropped.
///
/// Nothing is sent if systemd did not start the program. What can't be sent is lost: the shutdown
/// does not wait for systemd.
pub(crate) fn follow(node: &Arc<Node>) {
    if std::env::var_os("NOTIFY_SOCKET").is_none() {
        return;
    }
    let Some(cause) = node.cause() else { return };
    let mut left = node.in_flight();
    // Weakly: that systemd is told must not keep Ctrl-C from its default when every handle is gone.
    let node = Arc::downgrade(node);
    let follow = move || {
        // One line: another one would be another message to systemd. And not all of a long one, because
        // systemd ignores what has more than 4096 bytes; or a NUL.
        let cause = cause.to_string().replace(char::is_control, " ");
        let cause: String = cause.chars().take(1000).collect();
        let status = |left| format!("stopping: {cause}; {left} in flight");
        let _ = sd_notify::notify(&[NotifyState::Stopping, NotifyState::Status(&status(left))]);
        while wait_for_fewer(&node, &mut left) {
            let _ = sd_notify::notify(&[
                NotifyState::ExtendTimeoutUsec(EXTENSION.as_micros() as u32),
                NotifyState::Status(&status(left)),
            ]);
            thread::sleep(PAUSE);
        }
    };
    let name = "winddown-systemd".into();
    // Without the thread the service is stopped as one that knows nothing of systemd.
    let _ = thread::Builder::new().name(name).spawn(follow);
}

/// Waits until fewer guards are held than were last; `false` when it is over.
fn wait_for_fewer(node: &Weak<Node>, left: &mut usize) -> bool {
    Node::block_weakly(node, None, |node| {
        let before = std::mem::replace(left, node.watch_count());
        if node.is_over() {
            Some(false)
        } else {
            (*left < before).then_some(true)
        }
    })
    .unwrap_or(false)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_extension_once_the_shutdown_is_over() {
        let cause = || crate::Cause::Requested(std::panic::Location::caller());
        let (drained, forced) = (Node::new(None, None), Node::new(None, None));
        assert!(drained.try_close(false));
        assert!(forced.request(cause()) && forced.request(cause()));
        for node in [drained, forced] {
            // As if one had been dropped.
            assert!(!wait_for_fewer(&Arc::downgrade(&node), &mut 1));
        }
    }

    #[test]
    fn progress_is_seen_after_the_count_grew() {
        const MANY: usize = 100_000;

        let node = Node::new(None, None);
        let weak = Arc::downgrade(&node);
        for _ in 0..MANY {
            assert!(node.increment(0));
        }
        let watch = thread::spawn(move || {
            // As if there had been one, the last time it looked.
            let mut left = 1;
            (wait_for_fewer(&weak, &mut left), left)
        });
        // It looks once before it waits; what is dropped before that is nothing to it.
        for _ in 0..MANY {
            if watch.is_finished() {
                break;
            }
            if node.decrement(0) {
                node.notify_drains();
            }
            thread::yield_now();
        }
        let (fewer, left) = watch.join().unwrap();
        assert!(fewer && left > 1);
    }
}
