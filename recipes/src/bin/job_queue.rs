//! # A queue of jobs
//!
//! A guard travels with each job, from the moment when it is queued until it is done. The intake ends
//! at the shutdown. A guard that is taken when a job is *received* leaves a gap between two jobs, in
//! which a drain ends.
//!
//! - **It waits for** every job that was queued.
//! - **A panic of a job** ends the worker, and drops the queue. The worker is `critical`, so that this stops the
//!   program, and the exit code is 1.
//! - **It loses** nothing in time. At the deadline the error of the drain says how many jobs are left:
//!   `timed out; 3 guards are held: 3 'job' at ..`, and the exit code is 1.
//! - **Measured:** SIGTERM while the second of five jobs was done: all five were done, exit code 0
//!   after 0.8 s. With jobs of a minute, the error named five, exit code 1 after 2.0 s. With a job that
//!   panics, exit code 1 at once.
//!
//! The argument is how long a job takes, in milliseconds. With 0 the first panics.

use std::error::Error;
use std::process::ExitCode;
use std::time::Duration;

use tokio::sync::mpsc;
use tokio::time::sleep;
use winddown::{Guard, Shutdown, ShutdownExt};

struct Job {
    number: u32,
    _guard: Guard,
}

#[tokio::main]
async fn main() -> ExitCode {
    let Err(error) = run().await else {
        return ExitCode::SUCCESS;
    };
    // Here: when `main` has returned, tokio waits for threads that block.
    eprintln!("error: {error}");
    ExitCode::FAILURE
}

async fn run() -> Result<(), Box<dyn Error>> {
    let time = std::env::args().nth(1).map_or(Ok(200), |it| it.parse())?;
    let shutdown = Shutdown::builder()
        .grace_period(Duration::from_secs(2))
        .install()?;
    let (sender, jobs) = mpsc::channel(100);
    let worker = work(jobs, Duration::from_millis(time));
    tokio::spawn(shutdown.critical("worker", worker));
    tokio::spawn(intake(sender, shutdown.clone()));
    shutdown.drained().await?;
    shutdown.result()?;
    println!("stopped: every job is done");
    Ok(())
}

async fn work(mut jobs: mpsc::Receiver<Job>, time: Duration) {
    while let Some(job) = jobs.recv().await {
        println!("working on job {}", job.number);
        assert_ne!(time, Duration::ZERO, "no job is done in no time");
        sleep(time).await;
        println!("done: job {}", job.number);
    }
}

async fn intake(sender: mpsc::Sender<Job>, shutdown: Shutdown) {
    let mut waiter = shutdown.waiter();
    for number in 1..=5 {
        // After the drain there is no guard, and the job is refused.
        let Some(guard) = shutdown.guard_named("job") else {
            return;
        };
        let job = Job {
            number,
            _guard: guard,
        };
        let sent = sender.send(job).cancel_on_shutdown(&mut waiter).await;
        if !matches!(sent, Some(Ok(()))) {
            return;
        }
    }
    println!("queued: 5 jobs");
    waiter.await; // more jobs would come until then
}
