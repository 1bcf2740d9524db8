//! The threads of the crate that run jobs: now, or when their time has come.
//!
//! `WAKERS` is the background thread. Its jobs call wakers, so one that hangs keeps the later ones waiting.
//! What ends the process therefore never depends on this thread. Events, which a subscriber may block, go
//! from it to a second thread, which has no other jobs. A thread ends when it has no job left, unless it is
//! kept. On wasm, where there are no threads, no setting of the program needs one.

#[cfg(feature = "tracing")]
use std::cell::Cell;
use std::collections::BTreeMap;
use std::io;
use std::mem;
#[cfg(feature = "tracing")]
use std::sync::Condvar;
use std::sync::Mutex;
use std::thread::{self, Thread};
#[cfg(feature = "tracing")]
use std::time::Duration;
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
    kept: bool,
    /// Whether a job runs just now, and how many have ended.
    busy: bool,
    done: u64,
}

/// A thread that runs jobs.
pub(crate) struct Background {
    name: &'static str,
    jobs: Mutex<Jobs>,
    /// What is to be called before the next job. Not among the jobs: a thread that adds one may be waiting for memory,
    /// with their lock.
    called: Mutex<Option<fn()>>,
    /// To unpark the thread when anything is added or cancelled. `None` while it does not run: that changes under the
    /// lock of the jobs.
    thread: Mutex<Option<Thread>>,
    /// Notified when a job has ended, and when the thread ends.
    #[cfg(feature = "tracing")]
    changed: Condvar,
}

/// The thread that keeps times and calls wakers.
pub(crate) static WAKERS: Background = Background::new("winddown-wakers");

/// The thread that emits the events of `WAKERS`.
#[cfg(feature = "tracing")]
pub(crate) static EVENTS: Background = Background::new("winddown-events");

#[cfg(feature = "tracing")]
thread_local! {
    /// The name of this thread, if it is one of these.
    static NAME: Cell<&'static str> = const { Cell::new("") };
}

/// The owner of a job that is never cancelled: no node that cancels its jobs has this number.
#[cfg(any(feature = "signals", feature = "tracing"))]
pub(crate) const NO_OWNER: usize = 0;

impl Background {
    const fn new(name: &'static str) -> Self {
        Self {
            name,
            jobs: Mutex::new(Jobs {
                waiting: BTreeMap::new(),
                times: BTreeMap::new(),
                number: 0,
                process: 0,
                kept: false,
                busy: false,
                done: 0,
            }),
            called: Mutex::new(None),
            thread: Mutex::new(None),
            #[cfg(feature = "tracing")]
            changed: Condvar::new(),
        }
    }

    /// Runs `job` on the thread when its time has come. `owner` is for `cancel`.
    ///
    /// # Errors
    ///
    /// The operating system refused to start the thread. The job is dropped.
    pub(crate) fn run_at(&'static self, time: Instant, owner: usize, job: Job) -> io::Result<()> {
        let mut jobs = lock_std(&self.jobs);
        if let Err(error) = self.start(&mut jobs) {
            drop(jobs); // before the job, which may own anything
            return Err(error);
        }
        let number = jobs.number;
        jobs.number += 1;
        jobs.waiting.insert((time, number), (owner, job));
        jobs.times.insert((owner, number), time);
        drop(jobs);
        self.unpark();
        Ok(())
    }

    /// Runs `job` on the thread as soon as it can, and after those for which the same thread asked before.
    ///
    /// # Errors
    ///
    /// As `run_at`.
    #[cfg(any(feature = "signals", feature = "tracing"))]
    pub(crate) fn run(&'static self, owner: usize, job: Job) -> io::Result<()> {
        self.run_at(Instant::now(), owner, job)
    }

    /// Calls `function` on the thread as soon as it can, before all jobs. It is the only one that is ever called so, and
    /// is called once for several calls that come before it begins. Where the thread is kept, this takes no memory, and
    /// no lock under which a thread does.
    ///
    /// # Errors
    ///
    /// The operating system refused to start the thread. One that is started later calls the function.
    #[cfg(feature = "signals")]
    pub(crate) fn call(&'static self, function: fn()) -> io::Result<()> {
        let mut called = lock_std(&self.called);
        *called = Some(function);
        // Under the lock of `called`, as the thread ends: it finds the function, or is started again.
        let runs = self.runs();
        drop(called);
        if !runs {
            self.start(&mut lock_std(&self.jobs))?;
        }
        self.unpark();
        Ok(())
    }

    fn runs(&self) -> bool {
        lock_std(&self.thread).is_some()
    }

    fn unpark(&self) {
        if let Some(thread) = &*lock_std(&self.thread) {
            thread.unpark();
        }
    }

    /// Starts the thread for good, so that later jobs do not depend on whether a thread can be started.
    ///
    /// # Errors
    ///
    /// The operating system refused to start the thread.
    #[cfg(feature = "signals")]
    pub(crate) fn keep(&'static self) -> io::Result<()> {
        let mut jobs = lock_std(&self.jobs);
        self.start(&mut jobs)?;
        jobs.kept = true;
        Ok(())
    }

    /// Forgets the jobs of this owner that have not begun.
    pub(crate) fn cancel(&self, owner: usize) {
        let mut jobs = lock_std(&self.jobs);
        let mut cancelled = Vec::new();
        while let Some((&(of, number), &time)) = jobs.times.range((owner, 0)..).next() {
            if of != owner {
                break;
            }
            jobs.times.remove(&(of, number));
            cancelled.extend(jobs.waiting.remove(&(time, number)));
        }
        drop(jobs);
        self.unpark(); // the thread may have none left
        drop(cancelled); // without the lock: a job may own anything
    }

    /// Waits until the thread has no job left, but no longer than this. Returns what is left of the time.
    #[cfg(feature = "tracing")]
    pub(crate) fn flush(&self, timeout: Duration) -> Duration {
        self.wait_while(timeout, |_| self.runs())
    }

    /// Waits until the job is done that the thread runs just now, as `flush` does.
    #[cfg(feature = "tracing")]
    pub(crate) fn flush_current(&self, timeout: Duration) -> Duration {
        let done = lock_std(&self.jobs).done;
        self.wait_while(timeout, |jobs| jobs.busy && jobs.done == done)
    }

    #[cfg(feature = "tracing")]
    fn wait_while(&self, timeout: Duration, busy: impl Fn(&Jobs) -> bool) -> Duration {
        let mut jobs = lock_std(&self.jobs);
        // The thread of the parent process does not run here.
        let busy = |jobs: &mut Jobs| busy(jobs) && jobs.process == std::process::id();
        if self.is_current() || !busy(&mut jobs) {
            return timeout; // without a look at the clock, which some platforms do not have
        }
        let begun = Instant::now();
        let _ = self.changed.wait_timeout_while(jobs, timeout, busy);
        timeout.saturating_sub(begun.elapsed())
    }

    /// Returns whether the caller runs on this thread.
    #[cfg(feature = "tracing")]
    pub(crate) fn is_current(&self) -> bool {
        // While a thread ends, its variables may be gone.
        NAME.try_with(Cell::get) == Ok(self.name)
    }

    fn start(&'static self, jobs: &mut Jobs) -> io::Result<()> {
        if cfg!(target_family = "wasm") {
            return Err(io::ErrorKind::Unsupported.into()); // there is no number of the process either
        }
        let process = std::process::id();
        let of = mem::replace(&mut jobs.process, process);
        // Zero before the first start, when `called` may be this process's own.
        if of != process && of != 0 {
            // Not dropped: they are the parent's, and may own anything.
            mem::forget(mem::take(&mut jobs.waiting));
            jobs.times.clear();
            *lock_std(&self.called) = None;
            *lock_std(&self.thread) = None;
            (jobs.kept, jobs.busy) = (false, false);
        }
        if !self.runs() {
            let work = thread::Builder::new().name(self.name.into());
            let thread = work.spawn(|| self.work())?.thread().clone();
            *lock_std(&self.thread) = Some(thread);
        }
        Ok(())
    }

    /// Runs the thread.
    fn work(&self) {
        #[cfg(feature = "tracing")]
        NAME.set(self.name);
        loop {
            let mut jobs = lock_std(&self.jobs);
            let next = jobs.waiting.first_key_value().map(|((time, _), _)| *time);
            let mut called = lock_std(&self.called);
            if called.is_none() && next.is_none() && !jobs.kept {
                *lock_std(&self.thread) = None;
                #[cfg(feature = "tracing")]
                self.changed.notify_all();
                return;
            }
            let function = called.take();
            drop(called);
            let due = next.is_some_and(|time| time <= Instant::now());
            if function.is_none() && !due {
                drop(jobs);
                // What comes from here on unparks the thread, so that it does not wait.
                match next {
                    None => thread::park(),
                    Some(time) => {
                        thread::park_timeout(time.saturating_duration_since(Instant::now()));
                    }
                }
                continue;
            }
            let job = match function {
                Some(_) => None,
                None => jobs.take_first(),
            };
            jobs.busy = true;
            drop(jobs);
            if let Some(function) = function {
                panic::catch(function);
            }
            if let Some(job) = job {
                panic::catch(job);
            }
            let mut jobs = lock_std(&self.jobs);
            jobs.busy = false;
            jobs.done = jobs.done.wrapping_add(1);
            #[cfg(feature = "tracing")] // only `flush_current` waits for it
            self.changed.notify_all();
        }
    }
}

impl Jobs {
    /// Takes out the job whose time comes first.
    fn take_first(&mut self) -> Option<Job> {
        let ((_, number), (owner, job)) = self.waiting.pop_first()?;
        self.times.remove(&(owner, number));
        Some(job)
    }
}

#[cfg(all(test, not(any(loom, target_family = "wasm"))))]
mod tests;
