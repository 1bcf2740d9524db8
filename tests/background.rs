//! The thread that keeps lame ducks and deadlines: one at most, and none when there is nothing to keep. With
//! the feature `tracing` there is another while its events are emitted.
#![cfg(target_os = "linux")]

mod support;

use std::any::Any;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use support::{HOUR, until};
use winddown::{Builder, PhaseBuilder, Shutdown, Stage};

/// Tests of one thread in one process must come one after the other.
static ALONE: Mutex<()> = Mutex::new(());

fn alone() -> MutexGuard<'static, ()> {
    let alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
    until("no thread is left", || threads().is_empty());
    alone
}

/// The names of the threads that the crate has in this process.
fn threads() -> Vec<String> {
    let tasks = std::fs::read_dir("/proc/self/task").expect("Linux has it");
    tasks
        .filter_map(|task| std::fs::read_to_string(task.ok()?.path().join("comm")).ok())
        .filter(|name| name.starts_with("winddown"))
        .collect()
}

fn lame_duck() -> Builder {
    Shutdown::builder().lame_duck(HOUR)
}

fn force_at(grace: Duration) -> Builder {
    Shutdown::builder().grace_period(grace).force_at_deadline()
}

fn begun(builder: Builder) -> Shutdown {
    let shutdown = builder.build();
    shutdown.trigger("enough");
    shutdown
}

#[test]
fn shutdowns_without_timers_have_no_thread() {
    let _alone = alone();
    let shutdown = begun(Shutdown::builder().grace_period(HOUR).debounce(HOUR));
    let _waiting = [lame_duck().build(), force_at(HOUR).build()];
    assert!(shutdown.request_shutdown());
    assert_eq!(threads(), [""; 0]);
}

#[test]
fn any_number_of_timers_shares_one_thread() {
    let _alone = alone();
    let shutdowns: Vec<_> = (0..50)
        .flat_map(|_| {
            [
                begun(lame_duck()),
                begun(
                    lame_duck()
                        .debounce(HOUR)
                        .grace_period(2 * HOUR)
                        .force_at_deadline(),
                ),
                begun(force_at(HOUR)),
                begun(Shutdown::builder().debounce(HOUR)),
            ]
        })
        .collect();
    until("the thread has its name", || !threads().is_empty());
    assert_eq!(threads().len(), 1, "{:?}", threads());
    drop(shutdowns);
    until("the thread ends", || threads().is_empty());
}

#[test]
fn timers_that_have_ended_leave_no_thread() {
    let _alone = alone();
    let moment = Duration::from_millis(1);
    for (builder, last) in [
        (Shutdown::builder().lame_duck(moment), Stage::Stopping),
        (force_at(moment), Stage::Forced),
    ] {
        let shutdown = begun(builder);
        until("the stage is reached", || shutdown.stage() == last);
        until("the thread ends", || threads().is_empty());
    }
}

type Keep = fn(&Shutdown) -> Box<dyn Any>;

/// The jobs of a shutdown go with it, whichever handle is the last.
#[test]
fn dropped_shutdown_leaves_no_thread() {
    let _alone = alone();
    let kept: [Keep; 4] = [
        |_| Box::new(()),
        |shutdown| Box::new(shutdown.waiter()),
        |shutdown| Box::new(shutdown.child()),
        |shutdown| Box::new(shutdown.child().child().guard()),
    ];
    for keep in kept {
        for builder in [lame_duck(), force_at(HOUR)] {
            let shutdown = begun(builder);
            let last = keep(&shutdown);
            until("the thread has its name", || !threads().is_empty());
            drop(shutdown);
            drop(last);
            until("the thread ends", || threads().is_empty());
        }
    }
}

/// The parent goes on.
#[test]
fn dropped_phase_leaves_no_thread() {
    let _alone = alone();
    for set in [
        |phase: PhaseBuilder| phase.delay(HOUR),
        |phase: PhaseBuilder| phase.time_limit(HOUR),
    ] {
        let shutdown = Shutdown::new();
        let phase = set(shutdown.phase("phase")).build();
        shutdown.trigger("enough");
        until("the thread has its name", || !threads().is_empty());
        drop(phase);
        until("the thread ends", || threads().is_empty());
    }
}

/// A child has the policy of its parent and no timers.
#[test]
fn dropped_child_leaves_the_timers_of_its_parent() {
    let _alone = alone();
    let shutdown = begun(Shutdown::builder().lame_duck(Duration::from_millis(20)));
    let below = shutdown.child().child();
    drop(shutdown.child());
    drop(below);
    shutdown.waiter().wait_blocking();
    assert_eq!(shutdown.stage(), Stage::Stopping);
}

#[test]
fn dropped_shutdowns_leave_the_timers_of_others() {
    let _alone = alone();
    let moment = Duration::from_millis(20);
    let lasting = begun(Shutdown::builder().lame_duck(moment));
    for _ in 0..20 {
        drop(begun(lame_duck()));
    }
    lasting.waiter().wait_blocking();
    assert_eq!(lasting.stage(), Stage::Stopping);
}
