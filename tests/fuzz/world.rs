//! Shutdowns, and a simple model that predicts each operation on them.
//!
//! A delay of a phase never ends here: it is real time, kept by a thread, and a world has its own order.

use std::mem::ManuallyDrop;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::atomic::AtomicUsize;
use std::sync::atomic::Ordering::SeqCst;
use std::sync::{Arc, mpsc};
use std::task::{Poll, Waker};
use std::thread;
use std::time::Duration;

use futures_lite::Stream;
use winddown::{Callback, Drain, DrainError, DropGuard, Guard, Reached, Shutdown, Stage, Waiter};

use super::choices::Choices;
use super::counter::{Counter, poll};

/// How many threads the worlds use.
pub(crate) const THREADS: usize = 3;

const NAMES: [&str; 3] = ["mail", "index", "disk"];
pub(crate) const PHASES: [&str; 2] = ["workers", "storage"];

#[cfg(not(target_family = "wasm"))]
type Job = Box<dyn FnOnce() + Send>;

/// Threads that run jobs until this is dropped.
#[cfg(not(target_family = "wasm"))]
pub(crate) struct Threads([mpsc::Sender<Job>; THREADS]);

#[cfg(not(target_family = "wasm"))]
impl Threads {
    pub(crate) fn start() -> Self {
        Self(std::array::from_fn(|_| {
            let (sender, jobs) = mpsc::channel::<Job>();
            thread::spawn(move || jobs.into_iter().for_each(|job| job()));
            sender
        }))
    }

    /// Runs a job on one of the threads, which sends back what it returns.
    pub(crate) fn begin<T: Send + 'static>(
        &self,
        thread: usize,
        job: impl FnOnce() -> T + Send + 'static,
    ) -> mpsc::Receiver<thread::Result<T>> {
        let (sender, result) = mpsc::channel();
        let job = move || {
            let _ = sender.send(catch_unwind(AssertUnwindSafe(job)));
        };
        (self.0[thread].send(Box::new(job))).expect("the threads wait for jobs");
        result
    }
}

/// What stands in for the threads where there are none: it runs a job at once.
#[cfg(target_family = "wasm")]
pub(crate) struct Threads;

#[cfg(target_family = "wasm")]
impl Threads {
    pub(crate) fn start() -> Self {
        Self
    }

    pub(crate) fn begin<T>(
        &self,
        _thread: usize,
        job: impl FnOnce() -> T,
    ) -> mpsc::Receiver<thread::Result<T>> {
        let (sender, result) = mpsc::channel();
        let _ = sender.send(catch_unwind(AssertUnwindSafe(job)));
        result
    }
}

/// Waits for a job, and panics if it has panicked.
pub(crate) fn finish<T>(result: mpsc::Receiver<thread::Result<T>>) -> T {
    let result = result.recv().expect("every job answers");
    result.unwrap_or_else(|panic| resume_unwind(panic))
}

/// Runs a world, which wanders from thread to thread, until its end. Returns the number of operations.
pub(crate) fn run(choices: Choices, threads: &Threads) -> usize {
    // Kept if it fails: a destructor that panics, too, would end the process before the world is named.
    let mut world = ManuallyDrop::new(World::new(choices));
    let batches = 1 + world.choices.below(19);
    for _ in 0..batches {
        if world.choices.are_used_up() {
            break;
        }
        let steps = 1 + world.choices.below(99);
        let thread = world.choices.below(THREADS);
        world = finish(threads.begin(thread, move || {
            world.steps(steps);
            world.check();
            world
        }));
    }
    let operations = world.operations;
    ManuallyDrop::into_inner(world).end();
    operations
}

/// What the model knows of one shutdown.
#[derive(Default)]
struct Node {
    parent: Option<usize>,
    slots: u8,
    stage: Option<Stage>,
    /// `None` also if the parent has begun it: then its cause is the parent's.
    cause: Option<Cause>,
    closed: bool,
    phase: Option<Phase>,
}

#[derive(Clone)]
struct Cause {
    text: String,
    /// It is a failure, so it stays.
    failed: bool,
}

/// What the model knows of a phase.
struct Phase {
    name: &'static str,
    by_hand: bool,
    delayed: bool,
    /// The phases that must be over first.
    after: Vec<usize>,
    step: Step,
}

#[derive(Clone, Copy, PartialEq, PartialOrd)]
enum Step {
    Waiting,
    Delayed,
    Asked,
    Over,
    /// Nothing holds it any more.
    Gone,
}

/// A future for a stage, whichever type it has.
pub(crate) enum Future {
    Waiter(Waiter),
    Reached(Reached),
}

/// A task that waits for a stage.
pub(crate) struct Waiting {
    pub(crate) node: usize,
    pub(crate) stage: Stage,
    pub(crate) future: Future,
    pub(crate) counter: Arc<Counter>,
    pub(crate) waker: Waker,
    pub(crate) registered: bool,
    wakes: usize,
}

impl Waiting {
    pub(crate) fn new(node: usize, stage: Stage, future: Future) -> Self {
        let (counter, waker) = Counter::new();
        Self {
            node,
            stage,
            future,
            counter,
            waker,
            registered: false,
            wakes: 0,
        }
    }

    pub(crate) fn poll(&mut self) -> Poll<()> {
        match &mut self.future {
            Future::Waiter(future) => poll(future, &self.waker),
            Future::Reached(future) => poll(future, &self.waker),
        }
    }

    pub(crate) fn copy(&self) -> Self {
        let future = match &self.future {
            Future::Waiter(future) => Future::Waiter(future.clone()),
            Future::Reached(future) => Future::Reached(future.clone()),
        };
        Self::new(self.node, self.stage, future)
    }

    /// Will wait with another waker; returns the one until now.
    pub(crate) fn another_waker(&mut self) -> Arc<Counter> {
        let (counter, waker) = Counter::new();
        self.waker = waker;
        self.registered = false;
        self.wakes = 0;
        std::mem::replace(&mut self.counter, counter)
    }
}

/// A callback, and how often its function was called.
struct Calling {
    node: usize,
    callback: Callback,
    calls: Arc<AtomicUsize>,
    called: bool,
}

struct Draining {
    node: usize,
    drain: Drain,
    counter: Arc<Counter>,
    waker: Waker,
    /// The wakes that were counted when it was last pending.
    pending: Option<usize>,
}

/// Shutdowns, what hangs on them, and what the model says of it.
struct World {
    choices: Choices,
    nodes: Vec<Node>,
    /// `None` once it was dropped.
    handles: Vec<Option<Shutdown>>,
    waiting: Vec<Waiting>,
    guards: Vec<(usize, Guard, &'static str)>,
    draining: Vec<Draining>,
    calling: Vec<Calling>,
    drop_guards: Vec<(usize, DropGuard)>,
    /// How many futures there are at most. Few, and more nodes are dropped that nothing holds.
    crowd: usize,
    operations: usize,
}

/// The line on which drop guards are made.
const DROP_GUARD: u32 = line!() + 4;

#[rustfmt::skip]
fn drop_guard(shutdown: &Shutdown) -> DropGuard {
    shutdown.drop_guard()
}

impl Step {
    fn max_of(self, other: Self) -> Self {
        if self < other { other } else { self }
    }
}

impl World {
    fn new(mut choices: Choices) -> Self {
        let crowd = if choices.coin() { 100 } else { 5 };
        Self {
            crowd,
            choices,
            nodes: vec![Node::default()],
            handles: vec![Some(Shutdown::new())],
            waiting: Vec::new(),
            guards: Vec::new(),
            draining: Vec::new(),
            calling: Vec::new(),
            drop_guards: Vec::new(),
            operations: 0,
        }
    }

    /// The node, its parent, and so on up.
    fn above(&self, node: usize) -> impl Iterator<Item = usize> {
        std::iter::successors(Some(node), |node| self.nodes[*node].parent)
    }

    fn held(&self, node: usize) -> usize {
        let below = |(at, ..): &&(usize, Guard, &str)| self.above(*at).any(|at| at == node);
        self.guards.iter().filter(below).count()
    }

    fn reached(&self, node: usize, stage: Stage) -> bool {
        self.nodes[node].stage >= Some(stage)
    }

    /// The node and those below have come to this stage, unless they were further. The force reaches
    /// also phases that were not asked.
    fn raise(&mut self, node: usize, stage: Stage, cause: Option<&str>) {
        let mut reached = vec![false; self.nodes.len()];
        for at in node..self.nodes.len() {
            let parent = self.nodes[at].parent;
            let asked =
                (self.nodes[at].phase.as_ref()).is_none_or(|phase| phase.step >= Step::Asked);
            let below = parent.is_some_and(|parent| reached[parent]);
            reached[at] = at == node || (below && (asked || stage == Stage::Forced));
            if !reached[at] {
                continue;
            }
            let model = &mut self.nodes[at];
            if at == node && model.stage.is_none() {
                model.cause = cause.map(|text| Cause {
                    text: text.to_owned(),
                    failed: false,
                });
            }
            model.stage = model.stage.max(Some(stage));
        }
        for waiting in &mut self.waiting {
            if waiting.registered && self.nodes[waiting.node].stage >= Some(waiting.stage) {
                waiting.registered = false;
                waiting.wakes += 1;
            }
        }
        for calling in &mut self.calling {
            calling.called |= self.nodes[calling.node].stage >= Some(Stage::Stopping);
        }
    }

    /// Begins the shutdown, unless it has begun. Returns whether it has not.
    fn begin(&mut self, node: usize, cause: &str) -> bool {
        let began = self.nodes[node].stage.is_none();
        if began {
            self.asked_alone(node);
            self.raise(node, Stage::Stopping, Some(cause));
        }
        began
    }

    /// A failure takes the place of the cause, here and above, where there is one that is no failure.
    fn fail(&mut self, node: usize, cause: &str) -> bool {
        let began = self.begin(node, cause);
        let above: Vec<_> = self.above(node).collect();
        for at in above {
            if let Some(first) = self.nodes[at].cause.as_mut().filter(|first| !first.failed) {
                *first = Cause {
                    text: cause.to_owned(),
                    failed: true,
                };
            }
        }
        began
    }

    /// The node was asked by the program.
    fn asked_alone(&mut self, node: usize) {
        if let Some(phase) = &mut self.nodes[node].phase {
            phase.step = phase.step.max_of(Step::Asked);
        }
    }

    /// Takes every step of phases that is due.
    fn advance(&mut self) {
        for node in (0..self.nodes.len()).rev() {
            // A child keeps its parent, so children are looked at first.
            if self.nodes[node].phase.is_some() && !self.lives(node) {
                self.gone(node);
            }
        }
        while (0..self.nodes.len()).any(|node| self.takes_step(node)) {}
    }

    fn takes_step(&mut self, node: usize) -> bool {
        let (Some(phase), Some(parent)) = (&self.nodes[node].phase, self.nodes[node].parent) else {
            return false;
        };
        let is_over = |at: &usize| {
            let phase = self.nodes[*at].phase.as_ref().unwrap();
            phase.step >= Step::Over
        };
        let ready = self.reached(parent, Stage::Stopping)
            && !phase.by_hand
            && phase.after.iter().all(is_over);
        let delayed = phase.delayed && !self.reached(parent, Stage::Forced);
        let step = match phase.step {
            Step::Waiting if ready && delayed => Step::Delayed,
            Step::Waiting if ready => Step::Asked,
            Step::Asked if self.nodes[node].closed || self.held(node) == 0 => Step::Over,
            _ => return false,
        };
        self.nodes[node].phase.as_mut().unwrap().step = step;
        match step {
            Step::Asked => {
                self.raise(node, Stage::Stopping, None);
            }
            Step::Over => self.close(node),
            _ => {}
        }
        true
    }

    /// Whether something holds the node, or a node below.
    fn lives(&self, node: usize) -> bool {
        let held = |at: usize| {
            self.handles[at].is_some()
                || self.waiting.iter().any(|waiting| waiting.node == at)
                || self.guards.iter().any(|(of, ..)| *of == at)
                || self.draining.iter().any(|drain| drain.node == at)
                || self.drop_guards.iter().any(|(of, _)| *of == at)
                || self.calling.iter().any(|calling| calling.node == at)
        };
        let below = |at: &usize| self.above(*at).any(|at| at == node);
        (node..self.nodes.len()).filter(below).any(held)
    }

    /// The phases that came after this one come after what it came after.
    fn gone(&mut self, node: usize) {
        let phase = self.nodes[node].phase.as_mut().unwrap();
        let step = std::mem::replace(&mut phase.step, Step::Gone);
        // The last guard of one that was asked is gone, so it was over before.
        if step >= Step::Asked {
            return;
        }
        let before = phase.after.clone();
        let phases = self.nodes.iter_mut().filter_map(|node| node.phase.as_mut());
        for phase in phases.filter(|phase| phase.after.contains(&node)) {
            phase.after.extend(&before);
        }
    }

    /// Whether the phase was forced and not asked. It is closed when it is looked at without a guard,
    /// which the model does not know.
    fn may_be_closed(&self, node: usize) -> bool {
        let waits = |phase: &Phase| phase.step < Step::Asked;
        self.reached(node, Stage::Forced)
            && self.nodes[node].phase.as_ref().is_some_and(waits)
            && self.held(node) == 0
    }

    fn close(&mut self, node: usize) {
        self.nodes[node].closed = true;
    }

    /// A drain's answer, against the model's.
    fn settled(&mut self, node: usize, late: bool) -> Option<Result<(), usize>> {
        let held = self.held(node);
        if self.nodes[node].closed || held == 0 {
            self.close(node);
            Some(Ok(()))
        } else if late || self.reached(node, Stage::Forced) {
            Some(Err(held))
        } else {
            None
        }
    }

    /// Does so many operations, or fewer if the choices are used up.
    fn steps(&mut self, steps: usize) {
        for _ in 0..steps {
            if self.choices.are_used_up() {
                return;
            }
            self.operate();
            self.advance();
            self.operations += 1;
        }
    }

    /// One chosen operation.
    fn operate(&mut self) {
        let node = self.choices.below(self.nodes.len());
        let Some(shutdown) = self.handles[node].clone() else {
            return;
        };
        match self.choices.below(1000) {
            0..8 => {
                let taken = self.nodes[node].slots < 2 && !self.reached(node, Stage::Forced);
                let line = line!() + 1;
                assert_eq!(shutdown.request_shutdown(), taken);
                if taken {
                    let model = &mut self.nodes[node];
                    model.slots += 1;
                    let stage = match model.slots {
                        2 => Stage::Forced,
                        _ => Stage::Stopping,
                    };
                    self.asked_alone(node);
                    let cause = format!("requested at {}:{line}", file!());
                    self.raise(node, stage, Some(&cause));
                }
            }
            8..10 => {
                let reason = format!("reason {}", self.choices.below(256));
                let began = shutdown.trigger(reason.as_str());
                assert_eq!(began, self.begin(node, &reason));
            }
            10..12 => {
                let error = self.choices.below(256).to_string();
                let began = shutdown.fail(error.as_str());
                assert_eq!(began, self.fail(node, &format!("failed: {error}")));
            }
            12..20 if self.nodes.len() < 16 => {
                self.handles.push(Some(shutdown.child()));
                self.nodes.push(Node {
                    parent: Some(node),
                    stage: self.nodes[node].stage,
                    ..Node::default()
                });
            }
            20..33 if self.nodes.len() < 16 => {
                // Mostly a sibling, because only siblings have an order.
                let parent = self.nodes[node]
                    .parent
                    .filter(|_| self.choices.below(4) > 0);
                match parent.and_then(|at| Some((at, self.handles[at].clone()?))) {
                    Some((at, shutdown)) => self.make_phase(at, &shutdown),
                    None => self.make_phase(node, &shutdown),
                }
            }
            33..40 if self.handles.iter().flatten().count() > 1 => self.handles[node] = None,
            40..50 if self.calling.len() < 30 => {
                let calls = Arc::new(AtomicUsize::new(0));
                let counts = calls.clone();
                let callback = shutdown.call_on_shutdown(move || {
                    counts.fetch_add(1, SeqCst);
                });
                self.calling.push(Calling {
                    node,
                    callback,
                    calls,
                    called: self.reached(node, Stage::Stopping),
                });
            }
            50..55 => {
                if let Some(index) = self.any(self.calling.len()) {
                    let calling = self.calling.swap_remove(index);
                    drop(calling.callback);
                    assert_eq!(calling.calls.load(SeqCst), usize::from(calling.called));
                    assert_eq!(Arc::strong_count(&calling.calls), 1, "a function stayed");
                }
            }
            55..57 if self.drop_guards.len() < 10 => {
                self.drop_guards.push((node, drop_guard(&shutdown)));
            }
            57..59 => {
                if let Some(index) = self.any(self.drop_guards.len()) {
                    let (at, guard) = self.drop_guards.swap_remove(index);
                    if self.choices.below(4) == 0 {
                        drop(guard);
                        let cause = format!("drop guard of {}:{DROP_GUARD} dropped", file!());
                        self.begin(at, &cause);
                    } else {
                        guard.disarm();
                    }
                }
            }
            59..200 if self.waiting.len() < self.crowd => {
                let (stage, future) = match self.choices.below(4) {
                    0 => (Stage::Requested, Future::Reached(shutdown.requested())),
                    1 => (Stage::Forced, Future::Reached(shutdown.forced())),
                    _ => (Stage::Stopping, Future::Waiter(shutdown.waiter())),
                };
                self.waiting.push(Waiting::new(node, stage, future));
            }
            200..500 => self.poll_waiting(),
            500..600 => {
                if let Some(index) = self.any(self.waiting.len()) {
                    let dropped = self.waiting.swap_remove(index);
                    let Waiting { counter, .. } = dropped;
                    drop((dropped.future, dropped.waker));
                    assert_eq!(Arc::strong_count(&counter), 1, "a waker stayed behind");
                }
            }
            600..750 if self.guards.len() < self.crowd.min(60) => {
                let open = self.above(node).all(|at| !self.nodes[at].closed);
                let name = NAMES[self.choices.below(NAMES.len())];
                let guard = shutdown.guard_named(name);
                if !open || self.above(node).all(|at| !self.may_be_closed(at)) {
                    assert_eq!(guard.is_some(), open);
                }
                self.guards.extend(guard.map(|guard| (node, guard, name)));
            }
            750..780 => {
                if let Some(index) = self.any(self.guards.len()) {
                    let (node, guard, name) = &self.guards[index];
                    let clone = (*node, guard.clone(), *name);
                    self.guards.push(clone);
                }
            }
            780..940 => {
                if let Some(index) = self.any(self.guards.len()) {
                    drop(self.guards.swap_remove(index));
                }
            }
            940..943 => {
                let expected = self.settled(node, true);
                #[cfg(not(target_family = "wasm"))]
                let got = shutdown.drain_blocking(Duration::ZERO);
                #[cfg(target_family = "wasm")]
                let got = futures_lite::future::block_on(shutdown.drain(Duration::ZERO));
                assert_eq!(Some(got.map_err(|left| left.report.guards())), expected);
            }
            943..955 if self.draining.len() < 6 => {
                let (counter, waker) = Counter::new();
                self.draining.push(Draining {
                    node,
                    drain: shutdown.drain(Duration::MAX),
                    counter,
                    waker,
                    pending: None,
                });
            }
            955..975 => self.poll_draining(),
            975..985 => {
                if let Some(index) = self.any(self.draining.len()) {
                    self.draining.swap_remove(index);
                }
            }
            _ => self.look(node, &shutdown),
        }
    }

    fn make_phase(&mut self, node: usize, shutdown: &Shutdown) {
        let name = PHASES[self.choices.below(PHASES.len())];
        let (by_hand, mut delayed) = (self.choices.below(4) == 0, self.choices.below(8) == 0);
        // There are no delays where no thread keeps the time.
        delayed &= !by_hand && !cfg!(target_family = "wasm");
        let mut builder = shutdown.phase(name);
        let mut after = Vec::new();
        for (at, handle) in self.handles.iter().enumerate() {
            let is_phase = self.nodes[at].phase.is_some() && self.nodes[at].parent == Some(node);
            let Some(before) = handle.as_ref().filter(|_| is_phase && !by_hand) else {
                continue;
            };
            if self.choices.coin() {
                builder = builder.after(before);
                after.push(at);
            }
        }
        if by_hand {
            builder = builder.by_hand();
        }
        #[cfg(not(target_family = "wasm"))]
        if delayed {
            builder = builder.delay(Duration::MAX);
        }
        self.handles.push(Some(builder.build()));
        // It takes over the force and nothing else.
        let parent = &self.nodes[node];
        let stage = parent.stage.filter(|stage| *stage == Stage::Forced);
        let step = Step::Waiting;
        self.nodes.push(Node {
            parent: Some(node),
            stage,
            phase: Some(Phase {
                name,
                by_hand,
                delayed,
                after,
                step,
            }),
            ..Node::default()
        });
    }

    /// The innermost phase of a node, below another.
    fn phase_below(&self, at: usize, node: usize) -> Option<&'static str> {
        let below = self.above(at).take_while(|at| *at != node);
        let mut phases = below.filter_map(|at| self.nodes[at].phase.as_ref());
        phases.next().map(|phase| phase.name)
    }

    fn any(&mut self, len: usize) -> Option<usize> {
        (len > 0).then(|| self.choices.below(len))
    }

    /// Polls one, or a copy of it, or with another waker.
    fn poll_waiting(&mut self) {
        let Some(index) = self.any(self.waiting.len()) else {
            return;
        };
        if self.choices.below(8) == 0 {
            self.waiting[index] = self.waiting[index].copy();
        }
        let old = (self.choices.below(4) == 0).then(|| self.waiting[index].another_waker());
        let (node, stage) = (self.waiting[index].node, self.waiting[index].stage);
        let ready = self.reached(node, stage);
        let waiting = &mut self.waiting[index];
        let before = old.as_ref().map(|old| old.count());
        assert_eq!(waiting.poll().is_ready(), ready);
        waiting.registered = !ready;
        if let Some(old) = old {
            assert_eq!(Some(old.count()), before);
            if !ready {
                assert_eq!(Arc::strong_count(&old), 1, "a waker stayed behind");
            }
        }
    }

    fn poll_draining(&mut self) {
        let Some(index) = self.any(self.draining.len()) else {
            return;
        };
        let node = self.draining[index].node;
        let expected = self.settled(node, false);
        let held = self.held(node);
        let progress = self.choices.coin();
        let Draining {
            drain,
            counter,
            waker,
            pending,
            ..
        } = &mut self.draining[index];
        if progress {
            let mut progress = drain.progress();
            let cx = &mut std::task::Context::from_waker(waker);
            let left = std::pin::Pin::new(&mut progress).poll_next(cx);
            let expected = expected.map_or(Some(held), |_| None);
            assert_eq!(left, Poll::Ready(expected));
            *pending = expected.map(|_| counter.count());
        } else {
            let count =
                |result: Result<(), DrainError>| result.map_err(|left| left.report.guards());
            let got = poll(drain, waker).map(count);
            assert_eq!(got, expected.map_or(Poll::Pending, Poll::Ready));
            *pending = expected.is_none().then(|| counter.count());
        }
    }

    /// What can be asked of one shutdown.
    fn look(&self, node: usize, shutdown: &Shutdown) {
        let model = &self.nodes[node];
        let stage = model.stage.unwrap_or(Stage::Running);
        assert_eq!(shutdown.stage(), stage);
        assert_eq!(shutdown.is_requested(), stage >= Stage::Requested);
        assert_eq!(shutdown.is_stopping(), stage >= Stage::Stopping);
        assert_eq!(shutdown.is_forced(), stage == Stage::Forced);
        let begun = self.above(node).map(|at| &self.nodes[at]);
        let mut begun = begun.take_while(|model| model.stage.is_some());
        let cause = begun.find_map(|model| model.cause.as_ref());
        assert_eq!(
            shutdown.cause().map(|cause| cause.to_string()),
            cause.map(|cause| cause.text.clone())
        );
        let failed = |cause: winddown::Cause| cause.error().is_some();
        assert_eq!(
            shutdown.cause().is_some_and(failed),
            cause.is_some_and(|cause| cause.failed)
        );
        let held = self.held(node);
        assert_eq!(shutdown.in_flight(), held);
        let report = shutdown.report();
        assert_eq!(report.guards(), held);
        for name in NAMES {
            for phase in [None, Some(PHASES[0]), Some(PHASES[1])] {
                let mut lines = report.iter();
                let line = lines.find(|line| (line.name, line.phase) == (Some(name), phase));
                let counted = |(at, _, of): &&(usize, Guard, &str)| {
                    *of == name
                        && self.above(*at).any(|at| at == node)
                        && self.phase_below(*at, node) == phase
                };
                let expected = self.guards.iter().filter(counted).count();
                assert_eq!(line.map_or(0, |line| line.guards), expected);
            }
        }
    }

    /// Each task was woken as often as the model says.
    fn check(&self) {
        for (node, handle) in self.handles.iter().enumerate() {
            if let Some(shutdown) = handle {
                self.look(node, shutdown);
            }
        }
        for waiting in &self.waiting {
            assert_eq!(waiting.counter.count(), waiting.wakes);
        }
        for calling in &self.calling {
            assert_eq!(calling.calls.load(SeqCst), usize::from(calling.called));
        }
        for drain in &self.draining {
            let over = self.nodes[drain.node].closed
                || self.held(drain.node) == 0
                || self.reached(drain.node, Stage::Forced);
            if let (true, Some(before)) = (over, drain.pending) {
                assert!(drain.counter.count() > before, "a drain sleeps");
            }
        }
    }

    fn end(mut self) {
        self.handles.clear();
        self.draining.clear();
        for (_, guard) in self.drop_guards.drain(..) {
            guard.disarm();
        }
        for Calling {
            callback, calls, ..
        } in self.calling.drain(..)
        {
            drop(callback);
            assert_eq!(Arc::strong_count(&calls), 1, "a function stayed");
        }
        while let Some(Waiting { future, .. }) = self.waiting.pop() {
            drop(future);
        }
    }
}
