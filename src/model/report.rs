//! [`Report`]: which lines of code hold guards.

use std::cmp::Reverse;
use std::fmt;
use std::iter::Sum;
use std::ops::Add;
use std::panic::Location;
use std::slice;
use std::vec;

use crate::util::site_table::Origin;

/// The name of a phase, if the guards belong to one.
type Phase = Option<&'static str>;

/// How many guards of one origin are held, and how many were dropped by a thread that panicked.
#[derive(Clone, Copy, Default)]
pub(crate) struct Tally {
    pub(crate) guards: usize,
    pub(crate) panicked: usize,
}

impl Add for Tally {
    type Output = Self;

    fn add(self, other: Self) -> Self {
        Self {
            guards: self.guards + other.guards,
            panicked: self.panicked + other.panicked,
        }
    }
}

impl Sum for Tally {
    fn sum<I: Iterator<Item = Self>>(tallies: I) -> Self {
        tallies.fold(Self::default(), Add::add)
    }
}

/// The guards held at one moment, by the line on which they were taken; and those that were dropped
/// while their thread panicked. Made by [`Shutdown::report`](crate::Shutdown::report), and part of a
/// [`DrainError`](crate::DrainError).
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
#[derive(Clone, PartialEq, Eq)]
pub struct Report {
    lines: Vec<ReportLine>,
    late: Vec<&'static str>,
}

/// One line of code, and the guards that were taken there.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct ReportLine {
    /// How many guards are held.
    pub guards: usize,
    /// How many guards were released by a panic, since the shutdown was made: of their thread, or of the
    /// future that [`track`](crate::Shutdown::track) holds one for.
    pub panicked: usize,
    /// The phase that the guards belong to, if it is one below the shutdown of the report.
    pub phase: Option<&'static str>,
    /// Whether the [time limit](crate::PhaseBuilder::time_limit) of that phase has run out, or of another
    /// below the shutdown of the report that has its name. [`Report::timed_out_phases`] names them for good.
    pub phase_timed_out: bool,
    /// The name given to [`guard_named`](crate::Shutdown::guard_named) or
    /// [`track_named`](crate::Shutdown::track_named).
    pub name: Option<&'static str>,
    /// The line of the call.
    pub location: &'static Location<'static>,
}

impl Report {
    pub(crate) fn new(mut counts: Vec<(Phase, Origin, Tally)>, late: Vec<&'static str>) -> Self {
        // Equal origins may have several addresses, and several shards.
        counts.sort_unstable_by_key(|(phase, origin, _)| (*phase, *origin));
        let equal = counts.chunk_by(|one, next| (one.0, one.1) == (next.0, next.1));
        let lines = equal.map(|equal| {
            let (phase, Origin { location, name }, _) = equal[0];
            let Tally { guards, panicked } = equal.iter().map(|(.., tally)| *tally).sum();
            ReportLine {
                guards,
                panicked,
                phase,
                phase_timed_out: phase.is_some_and(|phase| late.contains(&phase)),
                name,
                location,
            }
        });
        let mut lines: Vec<_> = lines
            .filter(|line| line.guards > 0 || line.panicked > 0)
            .collect();
        // Stable: lines with as many stay in the order of the code.
        lines.sort_by_key(|line| (line.phase, Reverse((line.guards, line.panicked))));
        Self { lines, late }
    }

    /// Returns how many guards are held on all lines together.
    ///
    /// ```
    /// use winddown::Shutdown;
    ///
    /// let shutdown = Shutdown::new();
    /// let _held = [shutdown.guard(), shutdown.guard_named("mail")];
    /// assert_eq!(shutdown.report().guards(), 2);
    /// ```
    pub fn guards(&self) -> usize {
        self.lines.iter().map(|line| line.guards).sum()
    }

    /// Returns how many guards were released by a panic, on all lines together. A callback that is called
    /// for such a release, as that of the next phase, runs on the thread that panics: a guard that it drops
    /// is counted too.
    ///
    /// ```
    /// use winddown::Shutdown;
    ///
    /// let shutdown = Shutdown::new();
    /// let guard = shutdown.guard();
    /// let worker = std::thread::spawn(move || {
    ///     let _guard = guard;
    ///     panic!("disk full");
    /// });
    /// assert!(worker.join().is_err());
    /// assert_eq!(shutdown.report().panicked(), 1);
    /// ```
    pub fn panicked(&self) -> usize {
        self.lines.iter().map(|line| line.panicked).sum()
    }

    /// Returns the names of the phases below whose [time limit](crate::PhaseBuilder::time_limit) has run
    /// out, also when they hold no guard any more. The phases that come after such a phase did not wait for
    /// its work. So a program that promises the order checks this before it says that all went well.
    ///
    /// ```
    /// use std::time::Duration;
    /// use winddown::Shutdown;
    ///
    /// let shutdown = Shutdown::new();
    /// let limit = Duration::from_millis(1);
    /// let workers = shutdown.phase("workers").time_limit(limit).build();
    /// let storage = shutdown.phase("storage").after(&workers).build();
    /// let working = workers.guard();
    /// shutdown.request_shutdown();
    /// storage.waiter().wait_blocking();
    /// drop(working);
    /// assert_eq!(shutdown.drain_blocking(Duration::ZERO), Ok(()));
    /// assert_eq!(shutdown.report().timed_out_phases(), ["workers"]);
    /// ```
    pub fn timed_out_phases(&self) -> &[&'static str] {
        &self.late
    }

    /// Returns whether there is nothing to report: no guard is held, none was dropped while its thread
    /// panicked, and no time limit has run out.
    ///
    /// ```
    /// use winddown::Shutdown;
    ///
    /// let shutdown = Shutdown::new();
    /// assert!(shutdown.report().is_empty());
    /// let _guard = shutdown.guard();
    /// assert!(!shutdown.report().is_empty());
    /// ```
    pub fn is_empty(&self) -> bool {
        self.lines.is_empty() && self.late.is_empty()
    }

    /// Iterates over the lines: the lines of no phase first, then phase by phase in the order of their names;
    /// in each the lines with the most guards first.
    ///
    /// ```
    /// use winddown::Shutdown;
    ///
    /// let shutdown = Shutdown::new();
    /// let _held = [shutdown.guard_named("mail"), shutdown.guard_named("mail")];
    /// for line in shutdown.report().iter() {
    ///     assert_eq!((line.name, line.guards), (Some("mail"), 1));
    /// }
    /// ```
    pub fn iter(&self) -> slice::Iter<'_, ReportLine> {
        self.lines.iter()
    }
}

impl<'a> IntoIterator for &'a Report {
    type Item = &'a ReportLine;
    type IntoIter = slice::Iter<'a, ReportLine>;

    fn into_iter(self) -> Self::IntoIter {
        self.iter()
    }
}

impl IntoIterator for Report {
    type Item = ReportLine;
    type IntoIter = vec::IntoIter<ReportLine>;

    fn into_iter(self) -> Self::IntoIter {
        self.lines.into_iter()
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let guards = self.guards();
        let verb = if guards == 1 { "is" } else { "are" };
        write!(f, "{} {verb} held", Guards(guards))?;
        match self.panicked() {
            0 => {}
            1 => f.write_str(", 1 was dropped by a panic")?,
            count => write!(f, ", {count} were dropped by panics")?,
        }
        let named = |late| self.lines.iter().any(|line| line.phase == Some(late));
        for late in self.late.iter().filter(|late| !named(**late)) {
            write!(f, "; the time limit of {late} ran out")?;
        }
        let mut start = ":\n  ";
        for of_phase in self.lines.chunk_by(|one, next| one.phase == next.phase) {
            if let ReportLine {
                phase: Some(phase),
                phase_timed_out,
                ..
            } = of_phase[0]
            {
                let guards = of_phase.iter().map(|line| line.guards).sum();
                let late = match phase_timed_out {
                    true => " (its time limit ran out)",
                    false => "",
                };
                write!(f, "{start}{phase}{late}: {}: ", Guards(guards))?;
                start = "";
            }
            for line in of_phase {
                write!(f, "{start}{line}")?;
                start = if line.phase.is_some() { ", " } else { "\n  " };
            }
            start = "\n  ";
        }
        Ok(())
    }
}

/// A number of guards, in words.
struct Guards(usize);

impl fmt::Display for Guards {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            0 => f.write_str("no guards"),
            1 => f.write_str("1 guard"),
            count => write!(f, "{count} guards"),
        }
    }
}

impl fmt::Debug for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl fmt::Display for ReportLine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ", self.guards)?;
        if let Some(name) = self.name {
            write!(f, "'{name}' ")?;
        }
        write!(f, "at {}:{}", self.location.file(), self.location.line())?;
        match self.panicked {
            0 => Ok(()),
            count => write!(f, " ({count} dropped by a panic)"),
        }
    }
}
