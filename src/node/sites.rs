//! Joins call sites to nodes: which lines of code hold how many guards.
//!
//! A root is shared by many threads, and so is each of its lines: a line has a [`Site`] for each shard,
//! and every guard is a clone of its `Arc`. The strong count, less the one in the table, is the number
//! of guards. So recording the line costs no more than keeping the node alive would.
//!
//! A child is made for a connection or a job, and most children use one line. So a guard of a child
//! holds the node, and the node has room for the [`Line`] that its first guard is taken on.
//!
//! Invariant, cited in the code as L2:
//!
//! - **L2** A guard is named at its call site only after the node and its ancestors have counted it, and
//!   is named until it was counted no more. So a report names no guard that was refused. A drain that
//!   is late may find a count without a name, while another thread is between the two; it looks again,
//!   until it finds a name or no count. No ordering is needed for that.

use std::panic::Location;
use std::sync::Arc;

use crate::model::drain_error::{DrainError, DrainErrorKind};
use crate::model::report::{Report, Tally};
use crate::node::Node;
use crate::node::line::{Line, LineAbove};
use crate::util::shard;
use crate::util::site_table::{Origin, SiteTable};
use crate::util::sync::atomic::{AtomicUsize, Ordering};
use crate::util::sync::yield_now;
use crate::util::task_counter::{Shard, TryClose};

/// What every handle to a shutdown holds: two pointers, so that it is moved as a [`CallSite`] is.
#[derive(Clone)]
pub(crate) struct Shared {
    pub(crate) node: Arc<Node>,
    /// The call sites of a root. Not in the node, because a site holds the node. A child has none.
    sites: Option<Arc<Sites>>,
}

/// A table for each shard there may be, so that a line takes no place that another shard would need.
type Sites = [SiteTable<Site>; shard::MOST];

/// Where a guard is counted, and what keeps the node alive for it.
///
/// No variant has more than a pointer: so the compiler moves a guard in two registers. With the index of the
/// line beside the node it would be moved by one load of what two stores have just written, for which a
/// processor waits: longer than for all else that a guard does.
pub(crate) enum CallSite {
    Root(Arc<Site>),
    /// On the first line of the child.
    Child(Arc<Node>),
    /// On another one.
    ChildAt(Box<(Arc<Node>, LineIndex)>),
    /// The guard is forgotten.
    Released,
}

/// Which line of a child: 0 is the first, 1 and more are in its table.
type LineIndex = u32;

/// A line of code that takes guards of a root, and one shard of the threads that do so.
///
/// It has a cache line of its own, because the strong count in front of it changes with every guard.
#[repr(align(64))]
pub(crate) struct Site {
    node: Arc<Node>,
    /// In which shard of the node its guards are counted. Held here, so that a guard is dropped without a
    /// look at the node.
    shard: Shard,
    origin: Origin,
    /// The guards that were released by a panic.
    panicked: AtomicUsize,
}

impl Shared {
    pub(crate) fn root(node: Arc<Node>) -> Self {
        let sites = Some(Arc::new([const { SiteTable::new() }; shard::MOST]));
        Self { node, sites }
    }

    #[inline]
    pub(crate) fn child(node: Arc<Node>) -> Self {
        Self { node, sites: None }
    }

    /// Takes a guard at this origin: returns what is made of the call site, in which it is counted.
    ///
    /// Inlined, because most guards have no name, and to find a line is shorter then. Each branch calls
    /// `make`, so that the first builds the guard in place.
    #[inline(always)]
    pub(crate) fn take_guard<T>(&self, origin: Origin, make: impl Fn(CallSite) -> T) -> Option<T> {
        let thread = shard::thread_index();
        let sites = self.sites.as_deref();
        match sites.and_then(|sites| shard::of_thread(sites, thread).first(origin, ())) {
            // Counted by this thread's index, where `Site::take_guard` uses the shard of the site. They are
            // the same shard, because a site was made by a thread of its table. So the processor finds the
            // shard while it still looks for the site.
            Some(site) => self
                .node
                .tasks
                .increment(thread)
                .then(|| make(CallSite::Root(site.clone()))),
            None => self
                .take_other_guard(origin.location, origin.name)
                .map(make),
        }
    }

    /// Takes a guard of a child, or of a root at an origin that has no place of its own yet.
    ///
    /// Takes the parts of an origin, so that these stay in registers when it is not called.
    #[inline(never)]
    fn take_other_guard(
        &self,
        location: &'static Location<'static>,
        name: Option<&'static str>,
    ) -> Option<CallSite> {
        let origin = Origin { location, name };
        let Some(sites) = &self.sites else {
            return take_guard_of_child(&self.node, self.node.line_index(origin));
        };
        let table = shard::of_thread(&**sites, shard::thread_index());
        let make = || Site::new(&self.node, origin);
        table.find(origin, (), make).take_guard()
    }

    pub(crate) fn report(&self) -> Report {
        let mut counts = Vec::new();
        for table in self.sites.iter().flat_map(|sites| sites.iter()) {
            table.for_each(|origin, site| counts.push((None, origin, site.tally())));
        }
        self.node.for_each_line(|line| {
            counts.push((None, line.origin(), line.tally()));
        });
        if let Some(below) = self.node.if_below() {
            below.counts.for_each(|origin, count| {
                let (guards, panicked) = (count.guards(), count.panicked());
                counts.push((*count.label(), origin, Tally { guards, panicked }));
            });
        }
        Report::new(counts, self.node.late_phases())
    }

    /// Returns how a drain has ended, or `None` if it goes on. `leave` takes the drain out of the
    /// watchers, so that it does not wake itself.
    pub(crate) fn settled(
        &self,
        counting: bool,
        late: bool,
        leave: impl FnOnce(),
    ) -> Option<Result<(), DrainError>> {
        loop {
            // First the counter: a force when the last guard is dropped changes nothing.
            match self.node.try_close(counting) {
                TryClose::Busy => {}
                TryClose::WasClosed => {
                    leave();
                    return Some(Ok(()));
                }
                TryClose::Closed => {
                    leave();
                    self.node.notify_closed();
                    return Some(Ok(()));
                }
            }
            let kind = match (self.node.is_forced(), late) {
                (true, _) if !self.node.is_past_forcing_deadline() => DrainErrorKind::Forced,
                (false, false) => return None,
                _ => DrainErrorKind::TimedOut,
            };
            let report = self.report();
            if report.guards() > 0 {
                leave();
                return Some(Err(DrainError { kind, report }));
            }
            yield_now(); // to the thread that takes or releases a guard (L2)
        }
    }

    /// Reports how a drain has ended.
    #[cfg(feature = "tracing")]
    pub(crate) fn trace_drained(&self, result: &Result<(), DrainError>) {
        let node = &self.node;
        let panicked = self.report().panicked();
        crate::node::trace::drained(result, node.phase_name(), panicked, node.elapsed());
    }

    /// Does nothing without the feature `tracing`.
    #[cfg(not(feature = "tracing"))]
    pub(crate) fn trace_drained(&self, _: &Result<(), DrainError>) {}
}

impl Node {
    /// Returns which line of this child takes guards at this origin.
    #[inline]
    fn line_index(&self, origin: Origin) -> LineIndex {
        let make = || Line::new(LineAbove::of(self, origin));
        let first = self.line.get_or_init(make);
        match first.origin().is(&origin) {
            true => 0,
            false => self.other_line(origin),
        }
    }

    #[cold]
    fn other_line(&self, origin: Origin) -> LineIndex {
        let make = || Line::new(LineAbove::of(self, origin));
        self.below().lines.find_indexed(origin, (), make).0 + 1
    }

    #[inline]
    fn line(&self, index: LineIndex) -> &Line {
        match index {
            0 => self.line.get().expect("a guard was taken on it"),
            other => self.below().lines.get(other - 1),
        }
    }

    fn for_each_line(&self, mut visit: impl FnMut(&Line)) {
        if let Some(line) = self.line.get() {
            visit(line);
        }
        if let Some(below) = self.if_below() {
            below.lines.for_each(|_, line| visit(line));
        }
    }
}

fn take_guard_of_child(node: &Arc<Node>, line: LineIndex) -> Option<CallSite> {
    if !node.increment(node.thread.into()) {
        return None;
    }
    node.line(line).increment(); // L2
    Some(match line {
        0 => CallSite::Child(node.clone()),
        other => CallSite::ChildAt(Box::new((node.clone(), other))),
    })
}

/// Returns whether watchers are to be notified.
#[inline(never)]
fn release_guard_of_child(node: &Node, line: LineIndex) -> bool {
    let watched = node.decrement(node.thread.into());
    node.line(line).decrement();
    watched
}

impl CallSite {
    pub(crate) fn node(&self) -> &Arc<Node> {
        match self {
            Self::Root(site) => &site.node,
            Self::Child(node) => node,
            Self::ChildAt(at) => &at.0,
            Self::Released => unreachable!("only a guard that is dropped has released its site"),
        }
    }

    pub(crate) fn take_guard(&self) -> Option<Self> {
        match self {
            Self::Root(site) => site.take_guard(),
            Self::Child(node) => take_guard_of_child(node, 0),
            Self::ChildAt(at) => take_guard_of_child(&at.0, at.1),
            Self::Released => None,
        }
    }

    /// Forgets a guard, but for the clone of the `Arc`, which the caller drops next (L2) if it is still
    /// there.
    #[inline]
    pub(crate) fn release_guard(&mut self) {
        if std::thread::panicking() {
            self.release_panicked();
        } else {
            self.release();
        }
    }

    #[inline]
    fn release(&mut self) {
        let watched = match self {
            Self::Root(site) => site.shard.decrement(),
            Self::Child(node) => release_guard_of_child(node, 0),
            Self::ChildAt(at) => release_guard_of_child(&at.0, at.1),
            Self::Released => false,
        };
        if watched {
            self.notify_drains();
        }
    }

    /// Notifies the drains, which no longer find the guard at its call site nor in an ancestor.
    #[cold]
    fn notify_drains(&mut self) {
        let node = self.node().clone();
        *self = Self::Released;
        node.notify_drains();
    }

    /// Forgets a guard whose holder has panicked, and records that first.
    #[cold]
    pub(crate) fn release_panicked(&mut self) {
        let origin = match self {
            Self::Root(site) => site.record_panic(),
            Self::Child(node) => node.line(0).record_panic(),
            Self::ChildAt(at) => at.0.line(at.1).record_panic(),
            Self::Released => return,
        };
        let node = self.node().clone();
        node.record_panic(origin, || {
            self.release();
            *self = Self::Released;
        });
    }
}

impl Site {
    fn new(node: &Arc<Node>, origin: Origin) -> Self {
        let shard = node.tasks.shard(shard::thread_index());
        Self {
            node: node.clone(),
            shard: shard.expect("a root has shards"),
            origin,
            panicked: AtomicUsize::new(0),
        }
    }

    /// Returns the count of this site. `self` is the reference that the table holds.
    fn tally(self: &Arc<Self>) -> Tally {
        Tally {
            // The reference that the table holds is no guard.
            guards: Arc::strong_count(self) - 1,
            // Relaxed: as in `AncestorCount::increment_panicked`.
            panicked: self.panicked.load(Ordering::Relaxed),
        }
    }

    #[inline]
    fn take_guard(self: &Arc<Self>) -> Option<CallSite> {
        // L2
        let counted = self.node.tasks.increment_in(&self.shard);
        counted.then(|| CallSite::Root(self.clone()))
    }

    fn record_panic(&self) -> Origin {
        // Relaxed: as in `AncestorCount::increment_panicked`.
        self.panicked.fetch_add(1, Ordering::Relaxed);
        self.origin
    }
}

impl LineAbove {
    /// Returns the count of this origin in the parent of `node`, which is a child.
    fn of(node: &Node, origin: Origin) -> Arc<Self> {
        let (parent, phase) = (node.parent(), node.phase_name());
        let below = parent.and_then(|parent| parent.if_below());
        let known = below.and_then(|below| below.counts.first(origin, phase));
        match known {
            Some(count) => count.clone(),
            None => Self::make(node, origin),
        }
    }

    #[cold]
    fn make(node: &Node, origin: Origin) -> Arc<Self> {
        // From the highest ancestor down, because each count holds the next one up; and by a loop,
        // because recursion would be as deep as the tree. With each ancestor, the innermost phase below.
        let mut phase = None;
        let mut ancestors = Vec::new();
        for (below, ancestor) in node.and_ancestors().zip(node.and_ancestors().skip(1)) {
            phase = phase.or(below.phase_name());
            ancestors.push((ancestor, phase));
        }
        let counted = ancestors
            .into_iter()
            .rev()
            .fold(None, |above, (ancestor, phase)| {
                let make = || Self::new(origin, phase, above);
                let counts = &ancestor.below().counts;
                Some(counts.find(origin, phase, make).clone())
            });
        counted.expect("a child has a parent")
    }
}
