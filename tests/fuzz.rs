//! Long sequences of public operations against a simple model.
//!
//! Every random world has a seed, which is printed if the world fails or hangs. `FUZZ_SEED=... cargo test
//! --test fuzz` runs that world again; `FUZZ_OPS=10000000` runs as many operations.
//!
//! `./ci.sh guided` looks for worlds that run code which no other has run. Those that it found are the files
//! of `fuzz/corpus/`. Without threads, `wasm.rs` runs the worlds.
#![cfg(not(target_family = "wasm"))]

#[path = "fuzz/choices.rs"]
mod choices;
mod support;
#[path = "fuzz/world.rs"]
mod world;

use std::io::{self, Write};
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::path::Path;
use std::sync::atomic::Ordering::SeqCst;
use std::sync::atomic::{AtomicBool, AtomicUsize};
use std::sync::mpsc::RecvTimeoutError;
use std::sync::{Arc, Barrier, Mutex, MutexGuard, PoisonError, mpsc};
use std::task::{Poll, Waker};
use std::time::Duration;
use std::{env, fs, iter, thread};

use choices::Choices;
use fastrand::Rng;
use support::{PATIENCE, counter, poll};
use winddown::{Drain, DrainError, Guard, Shutdown, Stage};
use world::{Future, PHASES, THREADS, Threads, Waiting};

/// Runs worlds, and says which one fails or hangs.
struct Runner {
    starts: mpsc::Sender<String>,
}

impl Runner {
    fn start() -> Self {
        let (starts, started) = mpsc::channel();
        thread::spawn(move || watch(&started));
        Self { starts }
    }

    fn run(&self, name: String, world: impl FnOnce() -> usize) -> usize {
        let sent = self.starts.send(name.clone());
        sent.expect("the watchdog outlives the worlds");
        catch_unwind(AssertUnwindSafe(world)).unwrap_or_else(|panic| {
            eprintln!("failed with {name}");
            resume_unwind(panic)
        })
    }
}

/// Runs worlds until they have done as many operations as asked for.
fn worlds(mut world: impl FnMut(u64) -> usize) {
    let number = |name| env::var(name).ok().map(|text| text.parse::<u64>());
    let runner = Runner::start();
    let mut run = |seed| runner.run(format!("FUZZ_SEED={seed}"), || world(seed));
    if let Some(seed) = number("FUZZ_SEED") {
        run(seed.expect("FUZZ_SEED is a number"));
        return;
    }
    let wanted = number("FUZZ_OPS").map_or(100_000, |ops| ops.expect("FUZZ_OPS is a number"));
    let first = fastrand::u64(..1 << 48);
    let (mut done, mut seed) = (0, first);
    while done < wanted {
        done += run(seed) as u64;
        seed += 1;
    }
    println!("{done} operations with FUZZ_SEED={first} to {}", seed - 1);
}

/// Receives the name of each world as it starts. Prints the name of a world that hangs, and ends the
/// process: the threads of that world can't be ended alone.
#[allow(
    clippy::exit,
    clippy::disallowed_methods,
    reason = "the harness would wait for a test that hangs"
)]
fn watch(started: &mpsc::Receiver<String>) {
    let mut last = None;
    loop {
        match started.recv_timeout(PATIENCE) {
            Ok(name) => last = Some(name),
            Err(RecvTimeoutError::Disconnected) => return,
            Err(RecvTimeoutError::Timeout) => {
                let name = last.expect("the first world starts at once");
                // Not `eprintln`: the harness would keep that text, and end with this process.
                let _ = writeln!(io::stderr(), "hangs with {name}");
                std::process::exit(1);
            }
        }
    }
}

/// One operation at a time, each predicted by the model, on a world that wanders from thread to
/// thread. A seed says it all.
#[test]
fn sequential_operations_match_the_model() {
    let threads = Threads::start();
    worlds(|seed| {
        let mut rng = Rng::with_seed(seed);
        let bytes = iter::repeat_with(move || rng.u8(..));
        world::run(Choices::new(bytes), &threads)
    });
}

/// The worlds of `fuzz/corpus/`.
#[test]
fn worlds_of_the_corpus_match_the_model() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/corpus");
    let (threads, runner) = (Threads::start(), Runner::start());
    let mut operations = 0;
    for file in fs::read_dir(&folder).expect("the corpus can be listed") {
        let path = file.expect("the corpus can be listed").path();
        let input = fs::read(&path).expect("a file of the corpus can be read");
        let world = || world::run(Choices::new(input), &threads);
        operations += runner.run(path.display().to_string(), world);
    }
    assert!(operations > 0, "{} has no world", folder.display());
}

/// One shutdown of those that several threads use at once, and what has been seen of it.
struct Common {
    shutdown: Shutdown,
    parent: Option<usize>,
    /// Of a phase: whether it is asked by hand, and what it comes after.
    phase: Option<(bool, Vec<usize>)>,
    /// A drain of it was `Ok`.
    closed: AtomicBool,
    /// Guards of it and below that are certainly held.
    held: AtomicUsize,
    requests: AtomicUsize,
    accepted: AtomicUsize,
    triggers: AtomicUsize,
    began: AtomicUsize,
    refused: AtomicBool,
}

impl Common {
    fn new(shutdown: Shutdown, parent: Option<usize>) -> Self {
        Self {
            shutdown,
            parent,
            phase: None,
            closed: AtomicBool::new(false),
            held: AtomicUsize::new(0),
            requests: AtomicUsize::new(0),
            accepted: AtomicUsize::new(0),
            triggers: AtomicUsize::new(0),
            began: AtomicUsize::new(0),
            refused: AtomicBool::new(false),
        }
    }
}

impl Common {
    fn phase(nodes: &[Self], parent: usize, rng: &mut Rng) -> Self {
        let by_hand = rng.u8(..4) == 0;
        let mut builder = nodes[parent].shutdown.phase(PHASES[0]);
        if by_hand {
            builder = builder.by_hand();
        }
        let mut after = Vec::new();
        for (at, before) in nodes.iter().enumerate() {
            let is_phase = before.phase.is_some() && before.parent == Some(parent);
            if is_phase && !by_hand && rng.bool() {
                builder = builder.after(&before.shutdown);
                after.push(at);
            }
        }
        let phase = Some((by_hand, after));
        let common = Self::new(builder.build(), Some(parent));
        Self { phase, ..common }
    }

    /// Returns whether nothing but its parent keeps it waiting.
    fn is_due(&self, over: impl Fn(usize) -> bool) -> bool {
        let by_order =
            |(by_hand, after): &(bool, Vec<usize>)| !by_hand && after.iter().all(|at| over(*at));
        self.phase.as_ref().is_none_or(by_order)
    }

    fn was_asked_alone(&self) -> bool {
        self.requests.load(SeqCst) + self.triggers.load(SeqCst) > 0
    }
}

/// What threads hand to each other.
#[derive(Default)]
struct Table {
    waiting: Vec<Waiting>,
    guards: Vec<(usize, Guard)>,
}

/// What the threads share.
struct Shared {
    nodes: Vec<Common>,
    table: Mutex<Table>,
}

impl Shared {
    fn new(rng: &mut Rng) -> Self {
        let mut nodes = vec![Common::new(Shutdown::new(), None)];
        for _ in 0..rng.usize(..6) {
            let parent = rng.usize(..nodes.len());
            let common = match rng.bool() {
                true => Common::new(nodes[parent].shutdown.child(), Some(parent)),
                false => Common::phase(&nodes, parent, rng),
            };
            nodes.push(common);
        }
        Self {
            nodes,
            table: Mutex::default(),
        }
    }

    fn above(&self, node: usize) -> impl Iterator<Item = &Common> {
        std::iter::successors(Some(&self.nodes[node]), |common| {
            Some(&self.nodes[common.parent?])
        })
    }

    fn closed(&self, node: usize) -> bool {
        self.above(node).any(|common| common.closed.load(SeqCst))
    }

    /// Whether a guard may have been refused: after a drain, or as a phase was over.
    fn closes(&self, node: usize) -> bool {
        let over = |common: &Common| common.phase.is_some() && common.shutdown.is_stopping();
        self.closed(node) || self.above(node).any(over)
    }

    /// A guard counts as held from after it was taken until before it is dropped.
    fn hold(&self, node: usize) {
        self.above(node).for_each(|common| {
            common.held.fetch_add(1, SeqCst);
        });
    }

    fn release(&self, (node, guard): (usize, Guard)) {
        self.above(node).for_each(|common| {
            common.held.fetch_sub(1, SeqCst);
        });
        drop(guard);
    }

    /// Whether it was asked, by what the threads have done.
    fn asked(&self, node: usize) -> bool {
        let common = &self.nodes[node];
        let by_parent = |parent| self.asked(parent) && common.is_due(|at| self.over(at));
        common.was_asked_alone()
            || common.parent.is_some_and(by_parent)
            || common.shutdown.is_forced()
    }

    /// Whether a phase is over.
    fn over(&self, node: usize) -> bool {
        self.asked(node) && self.nodes[node].held.load(SeqCst) == 0
    }

    /// When all threads are done, everything adds up.
    fn check(&self) {
        for (node, common) in self.nodes.iter().enumerate() {
            let shutdown = &common.shutdown;
            let [requests, accepted, began] =
                [&common.requests, &common.accepted, &common.began].map(|count| count.load(SeqCst));
            let mut above = self.above(node).skip(1);
            let forced = above.any(|common| common.shutdown.is_forced());
            let asked = self.asked(node);
            assert_eq!(shutdown.is_requested(), asked);
            assert_eq!(shutdown.cause().is_some(), asked);
            assert_eq!(shutdown.is_forced(), accepted == 2 || forced);
            assert!(accepted == requests.min(2) || (forced && accepted < 2));
            assert!(began <= 1);
            if began == 1 {
                let cause = shutdown.cause().map(|cause| cause.to_string());
                assert_eq!(cause.unwrap(), format!("trigger {node}"));
            }
            let held = common.held.load(SeqCst);
            assert_eq!(shutdown.in_flight(), held);
            assert_eq!(shutdown.report().guards(), held);
            assert!(held == 0 || !common.closed.load(SeqCst));
            let over = common.phase.is_some() && self.over(node);
            assert!(self.closes(node) || !common.refused.load(SeqCst));
            // By the force alone, it is closed by the next drain.
            if over && !common.shutdown.is_forced() {
                assert!(shutdown.guard().is_none());
            }
        }
        for waiting in &mut lock(&self.table).waiting {
            let reached = self.nodes[waiting.node].shutdown.stage() >= waiting.stage;
            let woken = usize::from(reached && waiting.registered);
            assert_eq!(waiting.counter.count(), woken);
            assert_eq!(waiting.poll().is_ready(), reached);
        }
    }

    fn end(self) {
        let Table { waiting, guards } = self.table.into_inner().unwrap();
        drop(guards);
        for common in &self.nodes {
            assert_eq!(common.shutdown.drain_blocking(Duration::ZERO), Ok(()));
        }
        drop(self.nodes);
        for Waiting {
            future,
            waker,
            counter,
            ..
        } in waiting
        {
            drop((future, waker));
            assert_eq!(Arc::strong_count(&counter), 1, "a waker stayed behind");
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// What one thread has in its hands.
#[derive(Default)]
struct Hands {
    waiting: Vec<Waiting>,
    guards: Vec<(usize, Guard)>,
    drain: Option<(usize, Drain)>,
}

impl Hands {
    fn step(&mut self, all: &Shared, rng: &mut Rng) {
        let node = rng.usize(..all.nodes.len());
        let common = &all.nodes[node];
        let shutdown = &common.shutdown;
        let stage = shutdown.stage();
        let closed = all.closed(node);
        match rng.u32(..1000) {
            0..4 => {
                common.requests.fetch_add(1, SeqCst);
                if shutdown.request_shutdown() {
                    common.accepted.fetch_add(1, SeqCst);
                    assert!(shutdown.is_requested() && shutdown.cause().is_some());
                }
            }
            4..6 => {
                common.triggers.fetch_add(1, SeqCst);
                if shutdown.trigger(format!("trigger {node}")) {
                    common.began.fetch_add(1, SeqCst);
                }
                assert!(shutdown.is_requested() && shutdown.cause().is_some());
            }
            6..12 => {
                let phase = shutdown.phase(PHASES[1]).build();
                assert!(phase.is_stopping() || stage < Stage::Stopping);
                assert!(phase.guard().is_none() || !closed);
            }
            12..30 => {
                let child = shutdown.child();
                assert!(child.stage() >= stage);
                assert!(child.guard().is_none() || !closed);
            }
            30..200 if self.waiting.len() < 60 => {
                let (stage, future) = match rng.bool() {
                    true => (Stage::Forced, Future::Reached(shutdown.forced())),
                    false => (Stage::Stopping, Future::Waiter(shutdown.waiter())),
                };
                self.waiting.push(Waiting::new(node, stage, future));
            }
            200..500 if !self.waiting.is_empty() => {
                let index = rng.usize(..self.waiting.len());
                let waiting = &mut self.waiting[index];
                match rng.u8(..8) {
                    0 => *waiting = waiting.copy(),
                    1 => drop(waiting.another_waker()),
                    _ => {}
                }
                let known = all.nodes[waiting.node].shutdown.stage() >= waiting.stage;
                match waiting.poll() {
                    Poll::Pending => {
                        assert!(!known);
                        waiting.registered = true;
                    }
                    Poll::Ready(()) => {
                        assert!(all.nodes[waiting.node].shutdown.stage() >= waiting.stage);
                    }
                }
            }
            500..580 if !self.waiting.is_empty() => {
                drop(self.waiting.swap_remove(rng.usize(..self.waiting.len())));
            }
            580..750 if self.guards.len() < 20 => match shutdown.guard() {
                Some(guard) => {
                    assert!(!closed, "closed is closed");
                    all.hold(node);
                    self.guards.push((node, guard));
                }
                None => common.refused.store(true, SeqCst),
            },
            750..780 if !self.guards.is_empty() => {
                let (node, guard) = &self.guards[rng.usize(..self.guards.len())];
                let (node, clone) = (*node, guard.clone());
                all.hold(node);
                self.guards.push((node, clone));
            }
            780..960 if !self.guards.is_empty() => {
                all.release(self.guards.swap_remove(rng.usize(..self.guards.len())));
            }
            960..965 => {
                let result = shutdown.drain_blocking(Duration::ZERO);
                self.drained(all, node, result);
            }
            965..975 => {
                let (at, mut drain) = self
                    .drain
                    .take()
                    .unwrap_or_else(|| (node, shutdown.drain(Duration::MAX)));
                match poll(&mut drain, Waker::noop()) {
                    Poll::Ready(result) => self.drained(all, at, result),
                    Poll::Pending => self.drain = Some((at, drain)),
                }
            }
            // Hands it to others, or takes what others put there.
            _ => {
                let mut table = lock(&all.table);
                if rng.bool() {
                    table.waiting.extend(self.waiting.pop());
                    table.guards.extend(self.guards.pop());
                } else {
                    self.waiting.extend(table.waiting.pop());
                    self.guards.extend(table.guards.pop());
                }
            }
        }
        assert!(shutdown.stage() >= stage, "stages only go up");
    }

    fn drained(&self, all: &Shared, node: usize, result: Result<(), DrainError>) {
        match result {
            Ok(()) => {
                all.nodes[node].closed.store(true, SeqCst);
                assert_eq!(all.nodes[node].held.load(SeqCst), 0);
                assert!(all.nodes[node].shutdown.guard().is_none());
            }
            Err(left) => assert!(left.report.guards() > 0),
        }
    }

    fn put_down(self, all: &Shared) {
        let mut table = lock(&all.table);
        table.waiting.extend(self.waiting);
        table.guards.extend(self.guards);
    }
}

/// Three threads at once, and at the end everything adds up. A seed says what each of them does; how
/// they meet is the machine's, so a failing one may need a few runs.
#[test]
fn concurrent_operations_add_up() {
    let threads = Threads::start();
    worlds(|seed| {
        let mut rng = Rng::with_seed(seed);
        let all = Arc::new(Shared::new(&mut rng));
        let steps = rng.usize(1..1000);
        let barrier = Arc::new(Barrier::new(THREADS));
        let begin = |thread| {
            let (all, barrier, mut rng) = (all.clone(), barrier.clone(), rng.fork());
            threads.begin(thread, move || {
                barrier.wait();
                let mut hands = Hands::default();
                for _ in 0..steps {
                    hands.step(&all, &mut rng);
                }
                hands.put_down(&all);
            })
        };
        let jobs: Vec<_> = (0..THREADS).map(begin).collect();
        jobs.into_iter().for_each(world::finish);
        let all = Arc::into_inner(all).expect("the jobs are done");
        all.check();
        all.end();
        THREADS * steps
    });
}
