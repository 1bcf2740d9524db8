//! The one thread of the crate that runs jobs: now, or when their time has come.
//!
//! Jobs call wakers, so one that hangs keeps the later ones waiting. What ends the process therefore
//! never depends on this thread. It ends when it has no job left, unless it is kept. On wasm, where there
//! are no threads, no setting of the program needs it.

use std::collections::BTreeMap;
use std::io;
use std::mem;
use std::sync::{Condvar, Mutex};
use std::thread;
use std::time::Instant;

use crate::util::panic;
use crate::util::sync::lock_std;

type Job = Box<dyn FnOnce() + Send>;

struct Jobs {
    /// By their time, and by their number among jobs of the same time.
    waiting: BTreeMap<(Instant, u64), (usize, Job)>,
    /// The time of each, by its owner and its number.
    times: BTreeMap<(usize, u64), Instant>,
    number: u64,
    /// The process that the thread and the jobs are of. A fork copies the jobs, and not the thread.
    process: u32,
    running: bool,
    kept: bool,
}

static JOBS: Mutex<Jobs> = Mutex::new(Jobs {
    waiting: BTreeMap::new(),
    times: BTreeMap::new(),
    number: 0,
    process: 0,
    running: false,
    kept: false,
});

/// Notified when a job is added.
static ADDED: Condvar = Condvar::new();

/// The owner of a job that is never cancelled: no node that cancels its jobs has this number.
#[cfg(feature = "signals")]
pub(crate) const NO_OWNER: usize = 0;

/// Runs `job` on the thread when its time has come. `owner` is for `cancel`.
///
/// # Errors
///
/// The operating system refused to start the thread. The job is dropped.
pub(crate) fn run_at(time: Instant, owner: usize, job: Job) -> io::Result<()> {
    let mut jobs = lock_std(&JOBS);
    if let Err(error) = jobs.start() {
        drop(jobs); // before the job, which may own anything
        return Err(error);
    }
    let number = jobs.number;
    jobs.number += 1;
    jobs.waiting.insert((time, number), (owner, job));
    jobs.times.insert((owner, number), time);
    drop(jobs);
    ADDED.notify_one();
    Ok(())
}

/// Runs `job` on the thread as soon as it can.
///
/// # Errors
///
/// As `run_at`.
#[cfg(feature = "signals")]
pub(crate) fn run(owner: usize, job: Job) -> io::Result<()> {
    run_at(Instant::now(), owner, job)
}

/// Starts the thread for good, so that later jobs do not depend on whether a thread can be started.
///
/// # Errors
///
/// The operating system refused to start the thread.
#[cfg(feature = "signals")]
pub(crate) fn keep() -> io::Result<()> {
    let mut jobs = lock_std(&JOBS);
    jobs.start()?;
    jobs.kept = true;
    Ok(())
}

/// Forgets the jobs of this owner that have not begun.
pub(crate) fn cancel(owner: usize) {
    let mut jobs = lock_std(&JOBS);
    let mut cancelled = Vec::new();
    while let Some((&(of, number), &time)) = jobs.times.range((owner, 0)..).next() {
        if of != owner {
            break;
        }
        jobs.times.remove(&(of, number));
        cancelled.extend(jobs.waiting.remove(&(time, number)));
    }
    drop(jobs);
    ADDED.notify_one(); // the thread may have none left
    drop(cancelled); // without the lock: a job may own anything
}

impl Jobs {
    fn start(&mut self) -> io::Result<()> {
        if cfg!(target_family = "wasm") {
            return Err(io::ErrorKind::Unsupported.into()); // there is no number of the process either
        }
        let process = std::process::id();
        if self.process != process {
            // Not dropped: they are the parent's, and may own anything.
            mem::forget(mem::take(&mut self.waiting));
            self.times.clear();
            (self.running, self.kept) = (false, false);
            self.process = process;
        }
        if !self.running {
            thread::Builder::new()
                .name("winddown-wakers".into())
                .spawn(work)?;
            self.running = true;
        }
        Ok(())
    }

    /// Takes out the job whose time comes first.
    fn take_first(&mut self) -> Option<Job> {
        let ((_, number), (owner, job)) = self.waiting.pop_first()?;
        self.times.remove(&(owner, number));
        Some(job)
    }
}

/// Runs the thread.
fn work() {
    let mut jobs = lock_std(&JOBS);
    loop {
        let next = jobs.waiting.first_key_value().map(|((time, _), _)| *time);
        jobs = match next {
            None if !jobs.kept => {
                jobs.running = false;
                return;
            }
            None => wait(jobs, None),
            Some(time) if time > Instant::now() => wait(jobs, Some(time)),
            Some(_) => {
                let job = jobs.take_first();
                drop(jobs);
                if let Some(job) = job {
                    panic::catch(job);
                }
                lock_std(&JOBS)
            }
        };
    }
}

/// Waits for a job to be added, or for a time.
fn wait(
    jobs: std::sync::MutexGuard<'static, Jobs>,
    time: Option<Instant>,
) -> std::sync::MutexGuard<'static, Jobs> {
    use std::sync::PoisonError;

    match time {
        None => ADDED.wait(jobs).unwrap_or_else(PoisonError::into_inner),
        Some(time) => {
            let timeout = time.saturating_duration_since(Instant::now());
            let waited = ADDED.wait_timeout(jobs, timeout);
            waited.unwrap_or_else(PoisonError::into_inner).0
        }
    }
}

#[cfg(all(test, not(any(loom, target_family = "wasm"))))]
mod tests {
    use std::sync::mpsc;
    use std::time::Duration;

    use super::*;

    #[test]
    fn jobs_run_when_their_time_has_come() {
        const OWNER: usize = usize::MAX;
        const PATIENCE: Duration = Duration::from_secs(20);
        let (runs, ran) = mpsc::channel();
        let now = Instant::now();
        let soon = now + Duration::from_millis(20);
        let late = now + Duration::from_secs(3600);
        // Two have the same time.
        for (time, number) in [(late, 4), (soon, 2), (soon, 3), (now, 1)] {
            let runs = runs.clone();
            let job = move || runs.send((number, Instant::now())).unwrap();
            run_at(time, OWNER, Box::new(job)).unwrap();
        }
        drop(runs);
        for (number, time) in [(1, now), (2, soon), (3, soon)] {
            let (job, at) = ran.recv_timeout(PATIENCE).unwrap();
            assert_eq!(job, number);
            assert!(at >= time);
        }
        cancel(OWNER);
        let left = ran.recv_timeout(PATIENCE);
        assert_eq!(left, Err(mpsc::RecvTimeoutError::Disconnected));
    }
}
