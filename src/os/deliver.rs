//! Calls the wakers on behalf of the thread that has read a signal, on both platforms.

use std::sync::Arc;

use crate::node::Node;
use crate::node::request::Raised;
use crate::util::background;

/// Calls the wakers from this thread; or, if the end of the process depends on this thread, from the
/// background thread, because a waker may hang.
pub(crate) fn announce(node: &Arc<Node>, raised: Raised) {
    if cfg!(unix) && !node.policy().needs_timekeeper() {
        node.announce(raised);
        return;
    }
    let to_announce = Arc::downgrade(node);
    let job = move || {
        if let Some(node) = to_announce.upgrade() {
            node.announce(raised);
        }
    };
    // Only on Windows the thread may have to be started now, and may be refused.
    if background::run(node.owner(), Box::new(job)).is_err() {
        node.announce(raised);
    }
}
