//! Messages for systemd, from the background thread.

use std::ffi::OsString;
use std::io;
use std::os::unix::net::UnixDatagram;
use std::sync::{Arc, Weak};
use std::time::{Duration, Instant};

use crate::model::cause::Cause;
use crate::node::Node;
use crate::util::background::{NO_OWNER, WAKERS};
use crate::util::panic;

const STOPPING: &str = "STOPPING=1";
/// How much longer systemd is to wait after each sign of progress: 15 s, in microseconds.
const EXTENSION: &str = "EXTEND_TIMEOUT_USEC=15000000";
/// How often to look for progress.
const PAUSE: Duration = Duration::from_secs(1);

/// Tells systemd that the service is stopping and why, and asks for more time as guards are dropped.
///
/// Nothing is sent if systemd did not start the program. What can't be sent is lost: the shutdown
/// does not wait for systemd.
pub(crate) fn follow(node: &Arc<Node>) {
    let Some(socket) = std::env::var_os("NOTIFY_SOCKET") else {
        return;
    };
    let Some(cause) = node.cause() else { return };
    let (node, owner, left) = (Arc::downgrade(node), node.owner(), node.in_flight());
    let tell = move || {
        let mut follower = Follower {
            socket,
            node,
            owner,
            failed: cause.error().is_some(),
            cause: message(&cause),
            left,
            status: String::new(),
        };
        follower.send(Some(STOPPING));
        follower.look_again();
    };
    // No owner: a program that drops its last handle at once is stopping all the same. Without the
    // thread the service is stopped as one that knows nothing of systemd.
    let _ = WAKERS.run(NO_OWNER, Box::new(tell));
}

/// Returns what the cause says. The program's own error may panic there, and no waker was called yet: so it
/// is asked on the background thread.
fn message(cause: &Cause) -> String {
    let mut message = String::new();
    panic::catch(|| message = one_line(&cause.to_string()));
    message
}

/// Returns the text with a space for each control character, and cut to 1,000 bytes: a line feed would begin
/// another message, and systemd ignores a message that has a NUL, or more than 4,096 bytes.
fn one_line(text: &str) -> String {
    let fits = |(at, c): &(usize, char)| at + c.len_utf8() <= 1000;
    let line = text.char_indices().take_while(fits);
    let printed = line.map(|(_, c)| if c.is_control() { ' ' } else { c });
    printed.collect()
}

/// Watches how many guards are left.
struct Follower {
    /// The path of systemd's socket.
    socket: OsString,
    /// Weak, so that telling systemd does not keep Ctrl-C from its default when every handle is gone.
    node: Weak<Node>,
    owner: usize,
    /// Whether the cause is a failure, which no other takes the place of.
    failed: bool,
    cause: String,
    left: usize,
    /// What was sent last.
    status: String,
}

impl Follower {
    fn look_again(self) {
        let owner = self.owner;
        let _ = WAKERS.run_at(Instant::now() + PAUSE, owner, Box::new(|| self.look()));
    }

    fn look(mut self) {
        match self.progress() {
            Some(true) => self.send(Some(EXTENSION)),
            // Other phases may be at work. At the first message, none may have been asked yet.
            Some(false) => self.send(None),
            None => return,
        }
        self.look_again();
    }

    /// Returns whether fewer guards are left than at the last look; `None` when the shutdown is over.
    fn progress(&mut self) -> Option<bool> {
        let node = self.node.upgrade().filter(|node| !node.is_over())?;
        let before = std::mem::replace(&mut self.left, node.in_flight());
        Some(self.left < before)
    }

    /// Sends the status, with a line before it; without one, if the status has changed.
    fn send(&mut self, line: Option<&str>) {
        let node = self.node.upgrade();
        let cause = node.as_ref().and_then(|node| node.cause());
        if let (false, Some(failure @ Cause::Failed(_))) = (self.failed, &cause) {
            self.failed = true;
            self.cause = message(failure);
        }
        let mut status = format!("stopping: {}; {} in flight", self.cause, self.left);
        let phases = node.map(|node| node.phases_at_work()).unwrap_or_default();
        if !phases.is_empty() {
            status += &one_line(&format!("; in {}", phases.join(", ")));
        }
        let line = match line {
            Some(line) => format!("{line}\n"),
            None if self.status != status => String::new(),
            None => return,
        };
        let _ = self.notify(&format!("{line}STATUS={status}\n"));
        self.status = status;
    }

    /// Sends a message, unless systemd has too many to read: the thread must not wait, because it also
    /// keeps the times of the shutdown, and may call its wakers.
    fn notify(&self, message: &str) -> io::Result<()> {
        let socket = UnixDatagram::unbound()?;
        socket.set_nonblocking(true)?;
        socket.send_to(message.as_bytes(), &self.socket)?;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::panic::Location;

    use super::*;
    use crate::model::cause::Cause;
    use crate::model::policy::Policy;
    use crate::util::task_counter::TryClose;

    fn follower(node: &Arc<Node>, left: usize) -> Follower {
        Follower {
            socket: OsString::new(),
            node: Arc::downgrade(node),
            owner: node.owner(),
            failed: false,
            cause: String::new(),
            left,
            status: String::new(),
        }
    }

    #[test]
    fn text_is_cut_by_bytes_between_two_characters() {
        assert_eq!(one_line(&"x".repeat(2000)), "x".repeat(1000));
        assert_eq!(one_line(&"\u{96f6}".repeat(2000)), "\u{96f6}".repeat(333));
        assert_eq!(one_line("one\ntwo\0"), "one two ");
    }

    #[test]
    fn no_extension_once_the_shutdown_is_over() {
        let cause = || Cause::Requested(Location::caller());
        let (drained, forced) = (
            Node::new(None, Policy::DEFAULT),
            Node::new(None, Policy::DEFAULT),
        );
        assert!(drained.try_close(false) == TryClose::Closed);
        assert!(forced.request(cause()) && forced.request(cause()));
        for node in [drained, forced] {
            // As if a guard had been dropped since the last look.
            assert_eq!(follower(&node, 1).progress(), None);
        }
    }

    #[test]
    fn progress_is_seen_after_the_count_grew() {
        let node = Node::new(None, Policy::DEFAULT);
        let mut follower = follower(&node, 0);
        for _ in 0..3 {
            assert!(node.increment(0));
        }
        assert_eq!(follower.progress(), Some(false));
        let _ = node.decrement(0);
        assert_eq!(follower.progress(), Some(true));
        assert_eq!(follower.progress(), Some(false));
    }

    #[test]
    fn status_is_sent_again_only_when_it_has_changed() {
        let folder = tempfile::tempdir().unwrap();
        let socket = folder.path().join("notify");
        let systemd = UnixDatagram::bind(&socket).unwrap();
        systemd.set_nonblocking(true).unwrap();
        let node = Node::new(None, Policy::DEFAULT);
        let mut follower = follower(&node, 0);
        follower.socket = socket.into();
        for left in [2, 2, 1] {
            follower.left = left;
            follower.send(None);
        }
        let sent = std::iter::from_fn(|| {
            let mut buffer = [0; 100];
            let length = systemd.recv(&mut buffer).ok()?;
            Some(String::from_utf8_lossy(&buffer[..length]).into_owned())
        });
        let status = |left| format!("STATUS=stopping: ; {left} in flight\n");
        assert_eq!(sent.collect::<Vec<_>>(), [status(2), status(1)]);
    }
}
