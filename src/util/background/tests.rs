//! Jobs and their threads.

use std::sync::mpsc;
#[cfg(not(feature = "tracing"))]
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
        WAKERS.run_at(time, OWNER, Box::new(job)).unwrap();
    }
    drop(runs);
    for (number, time) in [(1, now), (2, soon), (3, soon)] {
        let (job, at) = ran.recv_timeout(PATIENCE).unwrap();
        assert_eq!(job, number);
        assert!(at >= time);
    }
    WAKERS.cancel(OWNER);
    let left = ran.recv_timeout(PATIENCE);
    assert_eq!(left, Err(mpsc::RecvTimeoutError::Disconnected));
}

/// Which starts the thread, as on Windows, and ends with it: then it is started again.
///
/// Mutation: the first start forgets what is to be called.
#[cfg(feature = "signals")]
#[test]
fn call_starts_a_thread_that_does_not_run() {
    use std::sync::atomic::{AtomicUsize, Ordering};

    static THREAD: Background = Background::new("winddown-test-call");
    static CALLS: AtomicUsize = AtomicUsize::new(0);
    let until = |happened: &dyn Fn() -> bool| {
        let begun = Instant::now();
        while !happened() {
            assert!(begun.elapsed().as_secs() < 20);
            thread::yield_now();
        }
    };
    for round in 1..=20 {
        let count = || {
            CALLS.fetch_add(1, Ordering::Relaxed);
        };
        THREAD.call(count).unwrap();
        until(&|| CALLS.load(Ordering::Relaxed) == round);
        if round % 2 == 0 {
            until(&|| !THREAD.runs());
        }
    }
}

#[cfg(feature = "tracing")]
#[test]
fn flush_waits_for_the_jobs_but_not_for_one_that_hangs() {
    static THREAD: Background = Background::new("winddown-test");
    let (release, released) = mpsc::channel::<()>();
    let (ends, ended) = mpsc::channel();
    let hang = move || assert!(released.recv().is_err());
    THREAD.run(NO_OWNER, Box::new(hang)).unwrap();
    THREAD
        .run(NO_OWNER, Box::new(move || ends.send(()).unwrap()))
        .unwrap();
    THREAD.flush(Duration::from_millis(1));
    THREAD.flush_current(Duration::from_millis(1));
    assert!(ended.try_recv().is_err());
    drop(release);
    let (begun, patience) = (Instant::now(), Duration::from_secs(20));
    THREAD.flush(patience);
    assert_eq!(ended.try_recv(), Ok(()));
    assert!(begun.elapsed() < patience);
}

#[cfg(feature = "tracing")]
#[test]
fn flush_on_the_thread_itself_waits_for_nothing() {
    static THREAD: Background = Background::new("winddown-test-itself");
    let hour = Duration::from_secs(3600);
    let (ends, ended) = mpsc::channel();
    let job = move || ends.send(THREAD.flush(hour)).unwrap();
    THREAD.run(NO_OWNER, Box::new(job)).unwrap();
    assert_eq!(ended.recv(), Ok(hour));
}

/// Which is due at once, and hangs. A flush that begins late waits for that, so it is tried again.
#[cfg(feature = "tracing")]
#[test]
fn flush_of_the_current_job_does_not_wait_for_the_next() {
    static THREAD: Background = Background::new("winddown-test");
    let is_flushed = |_| {
        let (begins, begun) = mpsc::channel();
        let [(release, released), (goes_on, hangs)] = [(); 2].map(|()| mpsc::channel::<()>());
        let job = move || {
            begins.send(()).unwrap();
            assert!(released.recv().is_err());
        };
        let hang = move || assert!(hangs.recv().is_err());
        THREAD.run(NO_OWNER, Box::new(job)).unwrap();
        THREAD.run(NO_OWNER, Box::new(hang)).unwrap();
        begun.recv().unwrap();
        let releases = thread::spawn(move || {
            thread::sleep(Duration::from_millis(5));
            drop(release);
        });
        let left = THREAD.flush_current(Duration::from_secs(1));
        releases.join().unwrap();
        drop(goes_on);
        !left.is_zero()
    };
    assert!((0..20).any(is_flushed));
}
