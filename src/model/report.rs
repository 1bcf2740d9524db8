//! [`Stragglers`]: which lines of code hold guards.

use std::error::Error;
use std::fmt;
use std::panic::Location;
use std::process::ExitCode;

use crate::util::site_table::Origin;

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
    pub(crate) fn new(mut counts: Vec<(Origin, usize)>) -> Self {
        // Equal origins may have several addresses, and several shards.
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
