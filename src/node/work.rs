//! The work in flight: counting guards in a node and its ancestors, and watching the count.

use crate::node::Node;
use crate::node::order::Asked;
use crate::util::task_counter::TryClose;

impl Node {
    /// Counts one more guard, here and in every ancestor. Returns `false` if one of them is closed.
    /// `thread` is the index of any thread, and the same when the guard is dropped.
    #[must_use]
    #[inline]
    pub(crate) fn increment(&self, thread: usize) -> bool {
        if !self.tasks.increment(thread) {
            return false;
        }
        let mut node = self;
        while let Some(parent) = node.parent() {
            if !parent.tasks.increment(thread) {
                self.uncount(thread, parent);
                return false;
            }
            node = parent;
        }
        true
    }

    /// Takes back the counts of this node and its ancestors below the one that is closed.
    #[cold]
    fn uncount(&self, thread: usize, closed: &Self) {
        let counted = self
            .and_ancestors()
            .take_while(|node| !std::ptr::eq(*node, closed));
        let watched = counted.filter(|node| node.tasks.decrement(thread));
        // Only now, as after a guard: a waker may drain any of these nodes, and would wait for this
        // thread.
        if watched.count() > 0 {
            self.notify_drains();
        }
    }

    /// Counts one guard less, here and in every ancestor. Returns whether the watchers of one of these
    /// nodes are to be notified, once the guard is forgotten at its call site: they may read the report.
    #[must_use]
    #[inline]
    pub(crate) fn decrement(&self, thread: usize) -> bool {
        let mut watched = self.tasks.decrement(thread);
        let mut node = self;
        while let Some(parent) = node.parent() {
            watched |= parent.tasks.decrement(thread);
            node = parent;
        }
        watched
    }

    /// Notifies the drains of this node and its ancestors, and then asks the phases that waited for the
    /// guard. Spurious notifications are harmless: a drain checks the count again.
    #[cold]
    pub(crate) fn notify_drains(&self) {
        let mut asked = Asked::none();
        for node in self.and_ancestors() {
            asked.append(node.notify_if_watched());
        }
        // Last, because a waker may hang.
        asked.announce();
    }

    /// Leaves threads that wait for the request asleep if no drain watches. Returns the phases that this
    /// asks.
    fn notify_if_watched(&self) -> Asked<Self> {
        if !self.tasks.unwatch() {
            return Asked::none();
        }
        let asked = self.note_phase();
        self.notify_watchers();
        asked
    }

    pub(crate) fn in_flight(&self) -> usize {
        self.tasks.count()
    }

    /// Closes the counter if no guard is held. After `Closed`, the caller calls `notify_closed`.
    ///
    /// If guards are held, the watchers are notified when that may have changed; if `counting`, with
    /// every guard that is dropped. So a watcher registers first and then calls this.
    pub(crate) fn try_close(&self, counting: bool) -> TryClose {
        self.tasks.try_close(counting)
    }

    /// Notifies other drains that the counter is closed, and the phases that come after this node.
    pub(crate) fn notify_closed(&self) {
        let asked = self.note_phase();
        self.notify_watchers();
        asked.announce();
    }

    /// Returns whether no guard can be taken any more, or no drain waits for guards any more.
    #[cfg(all(unix, feature = "systemd"))]
    pub(crate) fn is_over(&self) -> bool {
        self.tasks.is_closed() || self.is_forced()
    }
}
