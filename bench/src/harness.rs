//! How a row is measured: each contender in turn, in many short rounds.

use std::sync::Barrier;
use std::time::{Duration, Instant};

/// The library that is measured. Every other contender in a row is a peer of it or a yardstick.
pub const OURS: &str = "winddown";

/// One line of the table.
pub struct Row {
    pub name: String,
    /// What is counted, in a few words.
    pub what: &'static str,
    pub unit: &'static str,
    pub goals: Vec<Goal>,
    pub contenders: Vec<Contender>,
    pub rounds: usize,
}

/// What winddown is to reach in a row.
#[derive(Clone)]
pub enum Goal {
    /// At most so many times the best peer.
    Best(f64),
    /// At most so many times this contender, which may be a yardstick.
    Times(&'static str, f64),
    /// At most so much more than this contender.
    Over(&'static str, f64),
    /// At most this, in the row's unit.
    Below(f64),
    /// At most so many times winddown's own number in another row, less what the rows' yardsticks
    /// differ by, if they have one.
    Flat(String, f64),
}

/// A crate, or a yardstick, as one row measures it.
pub struct Contender {
    pub name: &'static str,
    /// Not a peer: the bare operation, to compare with.
    pub yardstick: bool,
    how: How,
}

enum How {
    /// Does the operation so many times; says how long that took.
    Timed(Box<dyn FnMut(u64) -> Duration>),
    /// One sample, in the row's unit.
    Sample(Box<dyn FnMut() -> f64>),
}

impl Contender {
    pub fn timed(name: &'static str, run: impl FnMut(u64) -> Duration + 'static) -> Self {
        Self::new(name, How::Timed(Box::new(run)))
    }

    pub fn sample(name: &'static str, run: impl FnMut() -> f64 + 'static) -> Self {
        Self::new(name, How::Sample(Box::new(run)))
    }

    fn new(name: &'static str, how: How) -> Self {
        Self {
            name,
            yardstick: false,
            how,
        }
    }

    pub fn yardstick(mut self) -> Self {
        self.yardstick = true;
        self
    }
}

impl Row {
    pub fn new(name: impl Into<String>, what: &'static str) -> Self {
        Self {
            name: name.into(),
            what,
            unit: "ns",
            goals: Vec::new(),
            contenders: Vec::new(),
            rounds: 41,
        }
    }

    pub fn unit(mut self, unit: &'static str) -> Self {
        self.unit = unit;
        self
    }

    pub fn rounds(mut self, rounds: usize) -> Self {
        self.rounds = rounds;
        self
    }

    pub fn goal(mut self, goal: Goal) -> Self {
        self.goals.push(goal);
        self
    }

    pub fn with(mut self, contender: Contender) -> Self {
        self.contenders.push(contender);
        self
    }

    /// The samples of all contenders, round by round: A B C, A B C, ...
    ///
    /// So what disturbs a round disturbs all of them, and the ratios hold.
    pub fn measure(mut self) -> Measured {
        let times: Vec<u64> = self
            .contenders
            .iter_mut()
            .map(|contender| match &mut contender.how {
                How::Timed(run) => calibrate(run),
                How::Sample(_) => 1,
            })
            .collect();
        let mut samples = vec![Vec::with_capacity(self.rounds); self.contenders.len()];
        for round in 0..self.rounds {
            for step in 0..self.contenders.len() {
                // Each round begins with another, so that no contender always follows the same.
                let i = (round + step) % self.contenders.len();
                samples[i].push(match &mut self.contenders[i].how {
                    How::Timed(run) => run(times[i]).as_nanos() as f64 / times[i] as f64,
                    How::Sample(run) => run(),
                });
            }
        }
        Measured {
            entries: self
                .contenders
                .iter()
                .zip(samples)
                .map(|(contender, samples)| Entry {
                    name: contender.name,
                    yardstick: contender.yardstick,
                    median: median(samples.clone()),
                    samples,
                })
                .collect(),
            name: self.name,
            what: self.what,
            unit: self.unit,
            goals: self.goals,
        }
    }
}

/// How often it has to be done to take some milliseconds.
fn calibrate(run: &mut dyn FnMut(u64) -> Duration) -> u64 {
    const ROUND: Duration = Duration::from_millis(3);
    let mut times = 1;
    loop {
        // Of several, because a neighbour on the machine may take some milliseconds of one.
        let took = (0..3).map(|_| run(times)).min().expect("it ran");
        if took >= ROUND || times >= 1 << 30 {
            return times;
        }
        let missing = ROUND.as_nanos() as f64 / took.as_nanos().max(1) as f64;
        times = (times as f64 * missing.clamp(1.1, 20.0)).ceil() as u64;
    }
}

pub fn median(mut samples: Vec<f64>) -> f64 {
    samples.sort_by(f64::total_cmp);
    samples[samples.len() / 2]
}

/// A row with its numbers.
pub struct Measured {
    pub name: String,
    pub what: &'static str,
    pub unit: &'static str,
    pub goals: Vec<Goal>,
    pub entries: Vec<Entry>,
}

pub struct Entry {
    pub name: &'static str,
    pub yardstick: bool,
    pub median: f64,
    samples: Vec<f64>,
}

impl Measured {
    pub fn entry(&self, name: &str) -> Option<&Entry> {
        self.entries.iter().find(|entry| entry.name == name)
    }

    pub fn ours(&self) -> Option<&Entry> {
        self.entry(OURS)
    }

    /// The peer with the lowest median.
    pub fn best(&self) -> Option<&Entry> {
        self.entries
            .iter()
            .filter(|entry| entry.name != OURS && !entry.yardstick)
            .min_by(|a, b| a.median.total_cmp(&b.median))
    }
}

impl Entry {
    /// The best round: no other program was on the machine.
    pub fn fastest(&self) -> f64 {
        self.samples.iter().copied().fold(f64::INFINITY, f64::min)
    }

    /// The median of the rounds' own ratios.
    pub fn times(&self, other: &Self) -> f64 {
        median(self.paired(other).map(|(a, b)| a / b).collect())
    }

    /// The median of the rounds' own differences.
    pub fn over(&self, other: &Self) -> f64 {
        median(self.paired(other).map(|(a, b)| a - b).collect())
    }

    fn paired(&self, other: &Self) -> impl Iterator<Item = (f64, f64)> {
        self.samples
            .iter()
            .copied()
            .zip(other.samples.iter().copied())
    }
}

/// Times `op` after `setup`.
pub fn timed<S>(n: u64, setup: impl FnOnce() -> S, mut op: impl FnMut(&mut S)) -> Duration {
    let mut state = setup();
    let start = thread_time();
    for _ in 0..n {
        op(&mut state);
    }
    thread_time() - start
}

/// The same on several threads at once, `n` times on each: core time for each operation of one.
///
/// By the clock on the wall, because a thread that sleeps until a lock is free takes no processor time,
/// although its work waits. More threads than cores take turns, so that time is for `threads / cores` times
/// `n`.
pub fn timed_on<S>(
    threads: usize,
    n: u64,
    setup: impl Fn() -> S + Sync,
    op: impl Fn(&mut S) + Sync,
) -> Duration {
    if threads == 1 {
        return timed(n, setup, op);
    }
    let barrier = Barrier::new(threads);
    let run = || {
        uncounted(|| {
            let mut state = setup();
            barrier.wait();
            let start = Instant::now();
            for _ in 0..n {
                op(&mut state);
            }
            let end = Instant::now();
            barrier.wait(); // tearing down disturbs no measurement
            (start, end)
        })
    };
    let spans: Vec<_> = std::thread::scope(|scope| {
        let handles: Vec<_> = (0..threads).map(|_| scope.spawn(run)).collect();
        handles
            .into_iter()
            .map(|handle| handle.join().expect("a benchmark thread panicked"))
            .collect()
    });
    let start = spans.iter().map(|span| span.0).min().expect("threads ran");
    let end = spans.iter().map(|span| span.1).max().expect("threads ran");
    (end - start).mul_f64(cores().min(threads) as f64 / threads as f64)
}

/// What this thread has used of the processors: what others use of them is not ours to measure.
fn thread_time() -> Duration {
    #[cfg(unix)]
    {
        crate::process::time_of(nix::time::ClockId::CLOCK_THREAD_CPUTIME_ID)
    }
    #[cfg(not(unix))]
    {
        static START: std::sync::OnceLock<Instant> = std::sync::OnceLock::new();
        START.get_or_init(Instant::now).elapsed()
    }
}

pub fn cores() -> usize {
    std::thread::available_parallelism().map_or(1, usize::from)
}

/// Runs it on this thread without counting allocations: the count costs code that allocates.
pub fn uncounted<T>(run: impl FnOnce() -> T) -> T {
    let mut result = None;
    allocation_counter::opt_out(|| result = Some(run()));
    result.expect("it ran")
}
