//! Work in flight: guards, the drain that waits for them, and the report of those that are left.

use std::error::Error;
use std::fmt;
use std::panic::Location;
use std::pin::Pin;
use std::process::ExitCode;
use std::sync::{Arc, OnceLock};
use std::task::{Context, Poll};
use std::time::Duration;

use futures_lite::Stream;

use crate::Stage;
use crate::deadline::Deadline;
use crate::sites::{Origin, Site, Table};
use crate::state::State;
use crate::trace;
use crate::wakers;

/// What every handle to a shutdown holds.
pub(crate) struct Handle {
    pub(crate) state: Arc<State>,
    /// Not the state's, because a site holds the state. Made by the first guard or the first clone,
    /// whichever comes first: so all clones share one, and a child that needs none costs less.
    sites: OnceLock<Arc<Sites>>,
}

struct Sites {
    table: Table<Site>,
    /// One less than the number of lanes, a power of two.
    lanes: usize,
}

impl Handle {
    pub(crate) fn new(state: Arc<State>) -> Self {
        Self {
            state,
            sites: OnceLock::new(),
        }
    }

    #[inline]
    fn sites(&self) -> &Arc<Sites> {
        self.sites.get_or_init(|| {
            Arc::new(Sites {
                table: Table::new(),
                // Few threads share a child.
                lanes: match self.state.is_child() {
                    true => 0,
                    false => wakers::shards() - 1,
                },
            })
        })
    }

    #[inline]
    pub(crate) fn guard(&self, origin: Origin) -> Option<Guard> {
        let sites = self.sites();
        let lane = wakers::thread_number() & sites.lanes;
        let Origin { location, name } = origin;
        let site = match sites.table.first(origin, lane) {
            Some(site) => site,
            None => self.site(location, name, lane),
        };
        Guard::take(site)
    }

    /// In parts, so that these stay in registers when it is not called.
    #[cold]
    fn site(
        &self,
        location: &'static Location<'static>,
        name: Option<&'static str>,
        lane: usize,
    ) -> &Arc<Site> {
        let origin = Origin { location, name };
        let make = || Site::new(&self.state, origin);
        self.sites().table.find(origin, lane, make)
    }

    pub(crate) fn report(&self) -> Stragglers {
        let mut counts = Vec::new();
        if let Some(sites) = self.sites.get() {
            // The table's own reference is no guard.
            let count = |origin, site: &_| counts.push((origin, Arc::strong_count(site) - 1));
            sites.table.for_each(count);
        }
        if let Some(tallies) = self.state.tallies.get() {
            tallies.for_each(|origin, tally| counts.push((origin, tally.count())));
        }
        Stragglers::new(counts)
    }
}

impl Clone for Handle {
    fn clone(&self) -> Self {
        Self {
            state: self.state.clone(),
            sites: self.sites().clone().into(),
        }
    }
}

/// Work in flight: a [drain](crate::Shutdown::drain) waits until it is dropped.
///
/// Taken by [`Shutdown::guard`](crate::Shutdown::guard), which records the line of the call. A clone
/// is one more guard of the same line. It is released when it is dropped, also while panicking; and
/// the last one to be dropped calls the wakers of the drains that wait. So may the last of a group of
/// threads, while others hold guards: a drain that waits looks again then, and waits on.
///
/// ```
/// use std::time::Duration;
/// use winddown::Shutdown;
///
/// let shutdown = Shutdown::new();
/// let guard = shutdown.guard().expect("nothing was drained yet");
/// let late = shutdown.drain_blocking(Duration::ZERO).unwrap_err();
/// assert_eq!(late.count(), 1);
/// drop(guard);
/// assert_eq!(shutdown.drain_blocking(Duration::ZERO), Ok(()));
/// assert!(shutdown.guard().is_none());
/// ```
#[must_use = "the work is in flight only as long as the guard is held"]
pub struct Guard {
    site: Arc<Site>,
    /// Dropped after `site`.
    news: News,
}

/// That a guard has gone, for those who watch. They are told when they can find it nowhere any more,
/// neither at its line nor above.
struct News(Option<Arc<State>>);

impl Drop for News {
    #[inline]
    fn drop(&mut self) {
        if let Some(state) = &self.0 {
            state.tell_of_leaving();
        }
    }
}

impl Guard {
    #[inline]
    fn take(site: &Arc<Site>) -> Option<Self> {
        // Counted at its line first (L2).
        let site = site.clone();
        site.tell_parents_more();
        if site.state.enter(site.thread) {
            let news = News(None);
            Some(Self { site, news })
        } else {
            site.tell_parents_less();
            None
        }
    }
}

impl Clone for Guard {
    /// One more guard, of the line that this one was taken on.
    ///
    /// # Panics
    ///
    /// At the limit of the counter, `usize::MAX / 16` guards, which takes as many guards forgotten.
    fn clone(&self) -> Self {
        Self::take(&self.site).expect("a guard is held, so only the limit can refuse another")
    }
}

impl Drop for Guard {
    #[inline]
    fn drop(&mut self) {
        // Forgotten at its line after that (L2): `site` is dropped after this.
        let told = self.site.state.leave(self.site.thread);
        self.site.tell_parents_less();
        if told {
            self.news = News(Some(self.site.state.clone()));
        }
    }
}

impl fmt::Debug for Guard {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Guard").finish_non_exhaustive()
    }
}

/// A future that is ready when no guard is held any more, or when its time is up.
///
/// Made by [`Shutdown::drain`](crate::Shutdown::drain) and
/// [`Shutdown::drain_gracefully`](crate::Shutdown::drain_gracefully).
///
/// # Errors
///
/// [`Stragglers`], the guards that are left, when the time is up, or at once when the shutdown is
/// forced.
///
/// # Cancel safety
///
/// Dropping a drain changes nothing: what was in flight still is, and another drain can wait for it.
/// Polled again after it was ready, it looks again: `Ok` stays `Ok`, and after a time-out it says
/// what is left now.
#[must_use = "futures do nothing unless polled"]
pub struct Drain {
    handle: Handle,
    /// `None` until it is known: that of the shutdown, which begins with the request.
    deadline: Option<Deadline>,
    key: Option<usize>,
    /// Whether its end was traced.
    traced: bool,
}

impl Drain {
    pub(crate) fn new(handle: Handle, timeout: Duration) -> Self {
        Self {
            handle,
            deadline: Some(Deadline::after(timeout)),
            key: None,
            traced: false,
        }
    }

    pub(crate) fn to_deadline(handle: Handle) -> Self {
        Self {
            handle,
            deadline: None,
            key: None,
            traced: false,
        }
    }

    /// Waits as the drain does, and says meanwhile how many guards are left.
    ///
    /// The stream's first item is the count when it is first polled. Then it is woken whenever a guard
    /// is dropped, and gives the count if that is another; several at once may be one item. It ends
    /// when the drain is ready; await the drain then to learn how it ended.
    ///
    /// ```
    /// use futures_lite::{StreamExt, future};
    /// use std::time::Duration;
    /// use winddown::Shutdown;
    ///
    /// # future::block_on(async {
    /// let shutdown = Shutdown::new();
    /// let mut guards = vec![shutdown.guard(), shutdown.guard()];
    /// let mut drain = shutdown.drain(Duration::from_secs(10));
    /// let mut progress = drain.progress();
    /// let mut seen = vec![];
    /// while let Some(left) = progress.next().await {
    ///     seen.push(left); // or tell whoever waits
    ///     guards.pop();
    /// }
    /// assert_eq!(seen, [2, 1]);
    /// assert_eq!(drain.await, Ok(()));
    /// # });
    /// ```
    pub fn progress(&mut self) -> Progress<'_> {
        Progress {
            drain: self,
            last: None,
        }
    }

    fn poll_with(&mut self, cx: &mut Context<'_>, counting: bool) -> Poll<Result<(), Stragglers>> {
        // Registered first and then asked, so that no guard is dropped unseen between the two.
        self.handle.state.watch(&mut self.key, cx.waker());
        if self.deadline.is_none() {
            self.deadline = self.handle.state.deadline().map(Deadline::at);
        }
        let late = match &mut self.deadline {
            Some(deadline) => deadline.poll(cx).is_ready(),
            // Watchers are told of the request too.
            None => false,
        };
        match self.handle.settled(counting, late) {
            Some(result) => {
                self.handle.state.unwatch(&mut self.key);
                if !std::mem::replace(&mut self.traced, true) {
                    trace::drained(&self.handle.state, &result);
                }
                Poll::Ready(result)
            }
            None => Poll::Pending,
        }
    }
}

impl Handle {
    /// How a drain ended, if it has.
    pub(crate) fn settled(&self, counting: bool, late: bool) -> Option<Result<(), Stragglers>> {
        // Asked first: when it is forced as the last guard is dropped, all is well.
        while !self.state.close(counting) {
            if !late && !self.state.has_reached(Stage::Forced) {
                return None;
            }
            let report = self.report();
            // If there is none, the last one was dropped in between (L2).
            if report.count() > 0 {
                return Some(Err(report));
            }
        }
        Some(Ok(()))
    }
}

impl Future for Drain {
    type Output = Result<(), Stragglers>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        self.poll_with(cx, false)
    }
}

impl Drop for Drain {
    fn drop(&mut self) {
        self.handle.state.unwatch(&mut self.key);
    }
}

impl fmt::Debug for Drain {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Drain")
            .field("in_flight", &self.handle.state.in_flight())
            .finish_non_exhaustive()
    }
}

/// How many guards are left, as they are dropped: a stream, made by [`Drain::progress`].
///
/// # Cancel safety
///
/// Dropping it loses nothing; the drain goes on.
#[must_use = "streams do nothing unless polled"]
#[derive(Debug)]
pub struct Progress<'a> {
    drain: &'a mut Drain,
    last: Option<usize>,
}

impl Stream for Progress<'_> {
    type Item = usize;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<usize>> {
        if self.drain.poll_with(cx, true).is_ready() {
            return Poll::Ready(None);
        }
        let left = self.drain.handle.state.in_flight();
        // Zero is for the end to say: the drain is woken for it.
        if left == 0 || self.last.replace(left) == Some(left) {
            return Poll::Pending;
        }
        Poll::Ready(Some(left))
    }
}

/// The guards held at one moment, and on which lines they were taken: what a drain that ran out of
/// time waited for, or what [`Shutdown::report`](crate::Shutdown::report) found.
///
/// Its `Display` is a readable block of lines:
///
/// ```
/// # use winddown::Shutdown;
/// let shutdown = Shutdown::new();
/// let guards = [shutdown.guard_named("mail"), shutdown.guard_named("mail")];
/// println!("{}", shutdown.report());
/// // 2 guards are held:
/// //   2 'mail' at src/main.rs:5
/// # assert!(shutdown.report().to_string().starts_with("2 guards are held:\n  "));
/// ```
///
/// So is its `Debug`, because that is what a `main` prints that returns it as its error.
#[derive(Clone, PartialEq, Eq)]
pub struct Stragglers {
    lines: Vec<Straggler>,
}

/// One line of code, and how many guards taken there are held.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Straggler {
    /// How many.
    pub count: usize,
    /// The name given to [`guard_named`](crate::Shutdown::guard_named).
    pub name: Option<&'static str>,
    /// The line of the call.
    pub location: &'static Location<'static>,
}

impl Stragglers {
    fn new(mut counts: Vec<(Origin, usize)>) -> Self {
        // Equal origins may have several addresses, and several lanes.
        counts.sort_unstable();
        let mut lines: Vec<Straggler> = Vec::new();
        for (Origin { location, name }, count) in counts {
            match lines.last_mut() {
                Some(last) if (last.location, last.name) == (location, name) => last.count += count,
                _ => lines.push(Straggler {
                    count,
                    name,
                    location,
                }),
            }
        }
        lines.retain(|line| line.count > 0);
        // Stable: lines with as many stay in the order of the code.
        lines.sort_by_key(|line| std::cmp::Reverse(line.count));
        Self { lines }
    }

    /// How many guards are held on all lines together.
    pub fn count(&self) -> usize {
        self.lines.iter().map(|line| line.count).sum()
    }

    /// Line by line, most first.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = &Straggler> {
        self.lines.iter()
    }
}

impl fmt::Display for Stragglers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.count() {
            0 => return f.write_str("no guards are held"),
            1 => f.write_str("1 guard is held:")?,
            count => write!(f, "{count} guards are held:")?,
        }
        for line in self.iter() {
            write!(f, "\n  {line}")?;
        }
        Ok(())
    }
}

impl fmt::Debug for Stragglers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl fmt::Display for Straggler {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ", self.count)?;
        if let Some(name) = self.name {
            write!(f, "'{name}' ")?;
        }
        write!(f, "at {}:{}", self.location.file(), self.location.line())
    }
}

impl Error for Stragglers {}

impl From<Stragglers> for ExitCode {
    /// Failure: not all work was done.
    fn from(_: Stragglers) -> Self {
        Self::FAILURE
    }
}
