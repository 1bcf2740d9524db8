//! Work in flight, and children.

use std::hint::black_box;

use super::{counted, on};
use crate::harness::{Contender, Goal, OURS, Row, timed, timed_on};
use crate::peers::{Peer, SignalMod, Token, Winddown};

pub fn rows() -> Vec<Row> {
    let mut rows = Vec::from([1, 2, 4].map(guard));
    rows.extend([0, 100_000].map(child));
    rows.push(connections());
    rows
}

fn guard(threads: usize) -> Row {
    fn contender<T: Sync + 'static, G>(
        name: &'static str,
        threads: usize,
        shared: T,
        take: impl Fn(&T) -> G + Sync + 'static,
    ) -> Contender {
        Contender::timed(name, move |n| {
            timed_on(
                threads,
                n,
                || (),
                |()| drop(black_box(take(black_box(&shared)))),
            )
        })
    }
    let taken = "a guard is refused only after a drain";
    let tracker = tokio_util::task::TaskTracker::new();
    let swansong = swansong::Swansong::new();
    let reporting = swansong::Swansong::with_guard_report();
    let graceful = tokio_graceful::Shutdown::no_signal();
    let manager = async_shutdown::ShutdownManager::<()>::new();
    Row::new(
        format!("guard, {}", on(threads)),
        "take a guard and release it",
    )
    .goal(Goal::Times("TaskTracker", 1.2))
    .goal(Goal::Times("swansong", 1.0 / 1.5))
    .with(counted(threads))
    .with(contender(OURS, threads, Winddown::new(), |it| {
        it.guard().expect(taken)
    }))
    .with(contender("TaskTracker", threads, tracker, |it| it.token()))
    .with(contender("swansong", threads, swansong, |it| it.guard()))
    .with(contender(
        "swansong (with_guard_report)",
        threads,
        reporting,
        |it| it.guard(),
    ))
    .with(contender("tokio-graceful", threads, graceful, |it| {
        it.guard()
    }))
    .with(contender(
        SignalMod::NAME,
        threads,
        SignalMod::new(),
        |it| it.token.subsystem_guard(),
    ))
    .with(contender("async-shutdown", threads, manager, move |it| {
        it.delay_shutdown_token().expect(taken)
    }))
}

fn child(siblings: usize) -> Row {
    fn contender<T: 'static, C: 'static>(
        name: &'static str,
        siblings: usize,
        parent: T,
        make: impl Fn(&T) -> C + 'static,
    ) -> Contender {
        let mut alive = Vec::new();
        Contender::timed(name, move |n| {
            alive.resize_with(siblings, || make(&parent));
            timed(n, || (), |()| drop(black_box(make(black_box(&parent)))))
        })
    }
    let row = Row::new(
        format!("child, {siblings} siblings"),
        "make a child and drop it",
    )
    .goal(Goal::Best(1.0))
    .with(contender(OURS, siblings, Winddown::new(), |it| it.child()))
    .with(contender(Token::NAME, siblings, Token::new(), |it| {
        it.child_token()
    }))
    .with(contender(
        "swansong",
        siblings,
        swansong::Swansong::new(),
        |it| it.child(),
    ))
    .with(contender(
        SignalMod::NAME,
        siblings,
        SignalMod::new(),
        |it| it.token.child(),
    ));
    match siblings {
        0 => row,
        _ => row.goal(Goal::Flat("child, 0 siblings".into(), 1.25)),
    }
}

/// What a server has for each connection: a child with a guard, from the first to the last.
fn connections() -> Row {
    fn contender<T: 'static, C, G>(
        name: &'static str,
        parent: impl Fn() -> T + 'static,
        make: impl Fn(&T) -> (C, G) + 'static,
        request: impl Fn(&T) + 'static,
    ) -> Contender {
        Contender::timed(name, move |connections| {
            timed(1, &parent, |parent| {
                let made: Vec<_> = (0..connections).map(|_| make(parent)).collect();
                request(parent);
                let (children, guards): (Vec<_>, Vec<_>) = made.into_iter().unzip();
                drop(guards);
                drop(children);
            })
        })
    }
    Row::new(
        "connections",
        "make a child with a guard, request the parent, release, drop",
    )
    .goal(Goal::Best(1.0))
    .with(contender(
        OURS,
        Winddown::new,
        |parent| {
            let child = parent.child();
            let guard = child.guard();
            (child, guard.expect("nothing was drained"))
        },
        |parent| assert!(parent.request_shutdown()),
    ))
    .with(contender(
        "token + tracker",
        || (Token::new(), tokio_util::task::TaskTracker::new()),
        |(token, tracker)| (token.child_token(), tracker.token()),
        |(token, _)| token.cancel(),
    ))
    .with(contender(
        "swansong",
        swansong::Swansong::new,
        |parent| {
            let child = parent.child();
            let guard = child.guard();
            (child, guard)
        },
        |parent| drop(parent.shut_down()),
    ))
    .with(contender(
        SignalMod::NAME,
        SignalMod::new,
        |parent| {
            let child = parent.token.child();
            let guard = child.1.subsystem_guard();
            (child, guard)
        },
        Peer::request,
    ))
}
