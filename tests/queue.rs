//! Which job or worker holds the guards of a queue: what a drain waits for, and what it does not.

use std::sync::mpsc::{Receiver, channel};
use std::thread;
use std::time::Duration;

use winddown::Shutdown;

const JOBS: usize = 10;

/// Returns a queue of jobs that takes in no more.
fn queue<T>(job: impl Fn() -> T) -> Receiver<T> {
    let (jobs, queue) = channel();
    for _ in 0..JOBS {
        jobs.send(job()).unwrap();
    }
    queue
}

/// A guard that is taken when a job is received is not held between two jobs. A drain ends there, with
/// `Ok`, and the rest of the queue is lost.
#[test]
fn guard_for_each_received_job_lets_a_drain_end_between_two_jobs() {
    let shutdown = Shutdown::new();
    let jobs = queue(|| ());
    let ((pauses, paused), (go_on, may_go_on)) = (channel(), channel());
    let worker = {
        let shutdown = shutdown.clone();
        thread::spawn(move || {
            let (mut done, mut lost) = (0, 0);
            for () in jobs {
                match shutdown.guard() {
                    Some(_guard) => done += 1,
                    None => lost += 1,
                }
                if done == 3 && lost == 0 {
                    pauses.send(()).unwrap();
                    may_go_on.recv().unwrap();
                }
            }
            (done, lost)
        })
    };
    shutdown.request_shutdown();
    paused.recv().unwrap();
    assert_eq!(shutdown.drain_blocking(Duration::MAX), Ok(()));
    go_on.send(()).unwrap();
    assert_eq!(worker.join().unwrap(), (3, 7));
}

/// The guard is the worker's, which empties the queue before it drops it.
#[test]
fn guard_of_the_worker_has_a_drain_wait_for_the_queue() {
    let shutdown = Shutdown::new();
    let jobs = queue(|| ());
    let (done, is_done) = channel();
    let guard = shutdown.guard().unwrap();
    thread::spawn(move || {
        let _guard = guard;
        jobs.iter().for_each(|()| done.send(()).unwrap());
    });
    shutdown.request_shutdown();
    assert_eq!(shutdown.drain_blocking(Duration::MAX), Ok(()));
    assert_eq!(is_done.try_iter().count(), JOBS);
}

/// The guard travels with its job from the moment when that is sent.
#[test]
fn guard_of_each_sent_job_has_a_drain_wait_for_the_queue() {
    let shutdown = Shutdown::new();
    let jobs = queue(|| shutdown.guard().unwrap());
    assert_eq!(shutdown.in_flight(), JOBS);
    let (done, is_done) = channel();
    thread::spawn(move || {
        for guard in jobs {
            done.send(()).unwrap();
            drop(guard);
        }
    });
    shutdown.request_shutdown();
    assert_eq!(shutdown.drain_blocking(Duration::MAX), Ok(()));
    assert_eq!(is_done.try_iter().count(), JOBS);
}

/// A job that makes others takes their guards while it holds its own.
#[test]
fn guards_taken_within_a_job_have_a_drain_wait_for_the_jobs_it_makes() {
    let shutdown = Shutdown::new();
    let (jobs, queue) = channel();
    jobs.send((5, shutdown.guard().unwrap())).unwrap();
    let (done, is_done) = channel();
    shutdown.request_shutdown();
    let worker = {
        let shutdown = shutdown.clone();
        thread::spawn(move || {
            while let Ok((generations, guard)) = queue.recv() {
                done.send(()).unwrap();
                if generations > 1 {
                    let next = shutdown.guard().expect("this job holds a guard");
                    jobs.send((generations - 1, next)).unwrap();
                }
                drop(guard);
                if generations == 1 {
                    break;
                }
            }
        })
    };
    assert_eq!(shutdown.drain_blocking(Duration::MAX), Ok(()));
    assert_eq!(is_done.try_iter().count(), 5);
    worker.join().unwrap();
}
