//! Calls the wakers on behalf of the thread that has read a signal, on both platforms.

use std::io;
use std::sync::Arc;
use std::thread;

use crate::node::Node;
use crate::node::request::Raised;

/// Calls the wakers from this thread; or, if the second signal needs this thread, from another, which
/// may hang.
pub(crate) fn announce(node: &Arc<Node>, raised: Raised) {
    if cfg!(unix) && node.policy().first_arms() {
        node.announce(raised);
    } else {
        let another = node.clone();
        if start("winddown-announce", move || another.announce(raised)).is_err() {
            node.announce(raised);
        }
    }
}

/// Starts a thread.
pub(crate) fn start(name: &str, run: impl FnOnce() + Send + 'static) -> io::Result<()> {
    thread::Builder::new()
        .name(name.into())
        .spawn(run)
        .map(drop)
}
