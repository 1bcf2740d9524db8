//! Phases. No peer has them, so they are compared with children.

use std::hint::black_box;
use std::time::Duration;

use winddown::{Guard, Shutdown};

use crate::harness::{Contender, OURS, Row, timed};

pub fn rows() -> Vec<Row> {
    let mut rows = Vec::from([10, 1_000].map(chain));
    rows.push(made());
    rows
}

/// Parts of a shutdown, each with a guard.
struct Parts {
    shutdown: Shutdown,
    parts: Vec<Shutdown>,
    guards: Vec<Guard>,
}

impl Parts {
    fn new(length: usize, make: impl Fn(&Shutdown, Option<&Shutdown>) -> Shutdown) -> Self {
        let shutdown = Shutdown::new();
        let mut parts: Vec<Shutdown> = Vec::with_capacity(length);
        for _ in 0..length {
            let part = make(&shutdown, parts.last());
            parts.push(part);
        }
        let guard = |part: &Shutdown| part.guard().expect("nothing was drained");
        let guards = parts.iter().map(guard).collect();
        Self {
            shutdown,
            parts,
            guards,
        }
    }

    /// Asks the first part, releases the guard of each, and drains.
    fn stop(&mut self) {
        self.shutdown.request_shutdown();
        self.guards.drain(..).for_each(drop);
        let drained = self.shutdown.drain_blocking(Duration::ZERO);
        drained.expect("every guard was released");
        debug_assert!(self.parts.iter().all(Shutdown::is_stopping));
    }
}

fn chain(length: usize) -> Row {
    fn contender(
        name: &'static str,
        length: usize,
        make: impl Fn(&Shutdown, Option<&Shutdown>) -> Shutdown + 'static,
    ) -> Contender {
        Contender::timed(name, move |parts| {
            let chains = parts.div_ceil(length as u64);
            let setup = || (0..chains).map(|_| Parts::new(length, &make)).collect();
            let mut next = 0;
            let took = timed(chains, setup, |chains: &mut Vec<Parts>| {
                chains[next].stop();
                next += 1;
            });
            took.mul_f64(parts as f64 / (chains * length as u64) as f64)
        })
    }
    Row::new(
        format!("phases, chain of {length}"),
        "ask and drain one phase of a chain",
    )
    .with(contender(OURS, length, |shutdown, before| {
        let phase = shutdown.phase("phase");
        match before {
            Some(before) => phase.after(before),
            None => phase,
        }
        .build()
    }))
    .with(contender("children", length, |shutdown, _| shutdown.child()).yardstick())
}

fn made() -> Row {
    let (parent, other) = (Shutdown::new(), Shutdown::new());
    let before = parent.phase("before").build();
    Row::new("phase", "make a phase after another and drop it")
        .with(Contender::timed(OURS, move |n| {
            let make = || parent.phase("phase").after(&before).build();
            timed(n, || (), |()| drop(black_box(make())))
        }))
        .with(
            Contender::timed("child", move |n| {
                timed(n, || (), |()| drop(black_box(other.child())))
            })
            .yardstick(),
        )
}
