//! Asking, waiting, and being woken.

use std::future::Future;
use std::hint::black_box;
use std::mem::size_of_val;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Wake, Waker};
use std::time::{Duration, Instant};

use allocation_counter::AllocationInfo;
use bumpalo::Bump;
use bumpalo::boxed::Box as InArena;

use super::{counted, on};
use crate::harness::{Contender, Goal, Row, timed, timed_on};
use crate::peers::{Peer, StopToken, row_of_peers};

pub fn rows() -> Vec<Row> {
    let mut rows = vec![check()];
    rows.extend([1, 2, 4].map(first));
    rows.extend([1, 2, 4].map(re_poll));
    rows.push(moved());
    rows.extend(CROWDS.map(|(name, crowd, rounds)| broadcast(name, crowd, rounds)));
    rows.extend([bytes(), allocations(), request()]);
    rows
}

/// The waker of a task, as far as its count goes. Each thread has its own, as each task would.
struct Task;

impl Wake for Task {
    fn wake(self: Arc<Self>) {
        drop(self);
    }
    fn wake_by_ref(self: &Arc<Self>) {}
}

fn task() -> Waker {
    Arc::new(Task).into()
}

/// What a check can't be faster than.
const FLAG: &str = "AtomicBool";

fn check() -> Row {
    fn contender<P: Peer>() -> Contender {
        let peer = P::new();
        Contender::timed(P::NAME, move |n| {
            timed(
                n,
                || (),
                |()| {
                    black_box(black_box(&peer).is_requested());
                },
            )
        })
    }
    let flag = AtomicBool::new(false);
    let flag = Contender::timed(FLAG, move |n| {
        timed(
            n,
            || (),
            |()| {
                black_box(black_box(&flag).load(Ordering::Acquire));
            },
        )
    });
    // A program that shares a flag has it in an `Arc`.
    let shared = Arc::new(AtomicBool::new(false));
    let shared = Contender::timed("Arc<AtomicBool>", move |n| {
        timed(
            n,
            || (),
            |()| {
                black_box(black_box(&shared).load(Ordering::Acquire));
            },
        )
    });
    let row = Row::new("check", "ask whether a shutdown was requested")
        .goal(Goal::Times(FLAG, 1.1))
        .with(flag.yardstick())
        .with(shared.yardstick());
    let mut row = row_of_peers!(row, contender);
    row.contenders.retain(|peer| peer.name != StopToken::NAME);
    row
}

fn first(threads: usize) -> Row {
    fn contender<P: Peer>(threads: usize) -> Contender {
        let peer = P::new();
        Contender::timed(P::NAME, move |n| {
            timed_on(threads, n, task, |task| {
                let mut waiter = pin!(black_box(&peer).waiter());
                let polled = waiter
                    .as_mut()
                    .poll(&mut Context::from_waker(black_box(task)));
                assert!(black_box(polled).is_pending());
            })
        })
    }
    let what = "make a waiter, poll it once, drop it";
    let row = Row::new(format!("first, {}", on(threads)), what)
        .goal(Goal::Best(if threads == 1 { 1.0 } else { 1.0 / 1.5 }))
        .with(counted(threads));
    row_of_peers!(row, contender, threads)
}

fn re_poll(threads: usize) -> Row {
    fn contender<P: Peer>(threads: usize) -> Contender {
        let peer = P::new();
        Contender::timed(P::NAME, move |n| {
            let setup = || {
                let task = task();
                let mut waiter = Box::pin(peer.waiter());
                let polled = waiter.as_mut().poll(&mut Context::from_waker(&task));
                assert!(polled.is_pending());
                (task, waiter)
            };
            timed_on(threads, n, setup, |(task, waiter)| {
                let polled = waiter
                    .as_mut()
                    .poll(&mut Context::from_waker(black_box(task)));
                assert!(black_box(polled).is_pending());
            })
        })
    }
    // What a second thread loses to the machine alone, this loses as well.
    let flag = AtomicBool::new(false);
    let flag = Contender::timed(FLAG, move |n| {
        timed_on(
            threads,
            n,
            || (),
            |()| {
                black_box(black_box(&flag).load(Ordering::Acquire));
            },
        )
    });
    let what = "poll a pending waiter again";
    let mut row = Row::new(format!("re-poll, {}", on(threads)), what)
        .goal(Goal::Best(1.0 / 5.0))
        .with(flag.yardstick());
    if threads > 1 {
        row = row.goal(Goal::Flat("re-poll, 1 thread".into(), 1.25));
    }
    row_of_peers!(row, contender, threads)
}

fn moved() -> Row {
    fn contender<P: Peer>() -> Contender {
        let peer = P::new();
        Contender::timed(P::NAME, move |n| {
            let setup = || (task(), task(), Box::pin(peer.waiter()));
            timed(n, setup, |(here, there, waiter)| {
                std::mem::swap(here, there);
                let polled = waiter
                    .as_mut()
                    .poll(&mut Context::from_waker(black_box(here)));
                assert!(black_box(polled).is_pending());
            })
        })
    }
    let row = Row::new("moved", "poll a pending waiter from another task").goal(Goal::Best(1.0));
    row_of_peers!(row, contender)
}

/// How many wait, and how often that is measured.
const CROWDS: [(&str, usize, usize); 3] = [
    ("broadcast, 1,000", 1_000, 41),
    ("broadcast, 100,000", 100_000, 15),
    ("broadcast, 1,000,000", 1_000_000, 5),
];

fn broadcast(name: &str, crowd: usize, rounds: usize) -> Row {
    fn contender<P: Peer>(crowd: usize) -> Contender {
        let times = (20_000 / crowd).max(1);
        Contender::sample(P::NAME, move || {
            let took: Duration = (0..times).map(|_| wake_crowd::<P>(crowd)).sum();
            took.as_nanos() as f64 / (times * crowd) as f64
        })
    }
    let what = "request; each waiter woken, polled ready, dropped";
    let mut row = Row::new(name, what).rounds(rounds).goal(Goal::Best(1.0));
    if crowd != CROWDS[0].1 {
        row = row.goal(Goal::Flat(CROWDS[0].0.into(), 1.5));
    }
    row_of_peers!(row, contender, crowd)
}

fn wake_crowd<P: Peer>(crowd: usize) -> Duration {
    let (peer, task, arena) = (P::new(), task(), Bump::new());
    let context = &mut Context::from_waker(&task);
    let mut waiters: Vec<_> = (0..crowd)
        .map(|_| InArena::pin_in(peer.waiter(), &arena))
        .collect();
    for waiter in &mut waiters {
        assert!(waiter.as_mut().poll(context).is_pending());
    }
    let start = Instant::now();
    peer.request();
    for mut waiter in waiters {
        assert!(waiter.as_mut().poll(context).is_ready());
    }
    start.elapsed()
}

fn bytes() -> Row {
    fn contender<P: Peer>() -> Contender {
        Contender::sample(P::NAME, || {
            let (inline, heap) = on_new_thread(footprint::<P>);
            inline as f64 + heap.bytes_current as f64 / FOOTPRINTS as f64
        })
    }
    let row = Row::new("memory", "a pending waiter, itself and what it holds")
        .unit("bytes")
        .rounds(1)
        .goal(Goal::Below(64.0));
    row_of_peers!(row, contender)
}

fn allocations() -> Row {
    fn contender<P: Peer>() -> Contender {
        Contender::sample(P::NAME, || {
            on_new_thread(footprint::<P>).1.count_total as f64 / FOOTPRINTS as f64
        })
    }
    let row = Row::new("allocations", "a pending waiter's, beside its task's own")
        .unit("count")
        .rounds(1)
        .goal(Goal::Below(0.01));
    row_of_peers!(row, contender)
}

const FOOTPRINTS: usize = 100_000;

/// A thread of its own counts its allocations; this one does not.
fn on_new_thread<T: Send + 'static>(run: fn() -> T) -> T {
    std::thread::spawn(run)
        .join()
        .expect("a benchmark thread panicked")
}

/// What a waiter takes where it is kept, and what all of them take beside that.
fn footprint<P: Peer>() -> (usize, AllocationInfo) {
    let (peer, task) = (P::new(), task());
    let context = &mut Context::from_waker(&task);
    let inline = size_of_val(&peer.waiter());
    let arena = Bump::with_capacity((inline + 64) * FOOTPRINTS);
    let mut waiters = Vec::with_capacity(FOOTPRINTS);
    let heap = allocation_counter::measure(|| {
        for _ in 0..FOOTPRINTS {
            let mut waiter = InArena::pin_in(peer.waiter(), &arena);
            assert!(waiter.as_mut().poll(context).is_pending());
            waiters.push(waiter);
        }
    });
    (inline, heap)
}

fn request() -> Row {
    /// So many at a time, or the clock would be what is measured.
    const BATCH: u64 = 64;

    fn batch<P: Peer>(size: u64) -> Duration {
        let peers: Vec<P> = (0..size).map(|_| P::new()).collect();
        let start = Instant::now();
        for peer in &peers {
            black_box(peer).request();
        }
        start.elapsed()
    }
    fn contender<P: Peer>() -> Contender {
        Contender::timed(P::NAME, |n| {
            let last = batch::<P>(n % BATCH);
            last + (0..n / BATCH).map(|_| batch::<P>(BATCH)).sum::<Duration>()
        })
    }
    let row =
        Row::new("request", "request a shutdown that no task waits for").goal(Goal::Below(100.0));
    row_of_peers!(row, contender)
}
