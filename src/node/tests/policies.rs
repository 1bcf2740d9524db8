//! What a policy has a request do.

use std::sync::atomic::{AtomicUsize, Ordering};

use super::*;
use crate::Signal;
use crate::model::policy::ForcePolicy;
use crate::node::Host;

/// A process that counts what it is told.
#[derive(Default)]
struct Told {
    first: AtomicUsize,
    forced: AtomicUsize,
    third: AtomicUsize,
}

impl Host for Arc<Told> {
    fn first(&self, _: &Arc<Node>) {
        self.first.fetch_add(1, Ordering::Relaxed);
    }

    fn begun(&self, _: &Arc<Node>) {}

    fn follow(&self, _: &Arc<Node>) {}

    fn forced(&self, _: &Policy, _: Option<Signal>) {
        self.forced.fetch_add(1, Ordering::Relaxed);
    }

    fn third(&self, _: Option<Signal>) {
        self.third.fetch_add(1, Ordering::Relaxed);
    }
}

impl Told {
    /// Returns how often the process was told of the first slot, the force and a third signal.
    fn counts(&self) -> [usize; 3] {
        [&self.first, &self.forced, &self.third].map(|count| count.load(Ordering::Relaxed))
    }
}

fn hosted(policy: Policy) -> (Arc<Node>, Arc<Told>) {
    let told: Arc<Told> = Arc::default();
    let host = Box::new(told.clone());
    (Node::new(Some(host), policy), told)
}

fn request(node: &Arc<Node>) -> bool {
    node.request(Cause::Requested(Location::caller()))
}

/// Ends the debounce of the last slot.
fn end_debounce(node: &Node) {
    lock(&node.begun).as_mut().expect("a root has it").slot = None;
}

/// A second signal comes before what the first has left is done.
///
/// Mutations: `FollowUp::append` keeps the flags of the one alone; it forgets that the shutdown has begun.
#[cfg(feature = "signals")]
#[test]
fn what_two_signals_leave_to_do_adds_up() {
    let (node, _) = hosted(Policy {
        lame_duck: Duration::from_secs(3600),
        ..Policy::DEFAULT
    });
    let leaves = || node.take_slot(Cause::Signal(Signal::TERM)).1.unwrap();
    let (mut left, later) = (leaves(), leaves());
    left.append(later);
    assert!(left.begun.is_some_and(|lame_duck| lame_duck.0.is_some()));
    for stage in [Stage::Requested, Stage::Stopping, Stage::Forced] {
        assert!(left.raised.has(stage), "{stage:?}");
    }
}

#[test]
fn signal_after_a_trigger_arms() {
    let (node, told) = hosted(Policy::DEFAULT);
    assert!(node.trigger(Cause::Requested(Location::caller())));
    assert_eq!(told.counts(), [0, 0, 0]);
    assert!(signal(&node, Signal::TERM));
    assert_eq!(told.counts(), [1, 0, 0]);
    assert!(signal(&node, Signal::TERM));
    assert_eq!(told.counts(), [1, 1, 0]);
}

#[test]
fn third_signal_ends_the_process_but_no_request_does() {
    let (node, told) = hosted(Policy::DEFAULT);
    assert!(signal(&node, Signal::TERM) && signal(&node, Signal::TERM));
    assert!(!request(&node));
    assert_eq!(told.counts(), [1, 1, 0]);
    assert!(!signal(&node, Signal::TERM));
    assert_eq!(told.counts(), [1, 1, 1]);
}

#[test]
fn each_slot_starts_the_debounce_again() {
    let (node, told) = hosted(Policy {
        debounce: Duration::from_secs(3600),
        ..Policy::DEFAULT
    });
    for begun in [[1, 0, 0], [1, 1, 0]] {
        assert!(signal(&node, Signal::TERM));
        assert!(!signal(&node, Signal::TERM));
        assert_eq!(told.counts(), begun);
        end_debounce(&node);
    }
    assert!(!signal(&node, Signal::TERM));
    assert_eq!(told.counts(), [1, 1, 1]);
}

fn node(policy: Policy) -> Arc<Node> {
    Node::new(None, policy)
}

fn signal(node: &Arc<Node>, signal: Signal) -> bool {
    node.request(Cause::Signal(signal))
}

#[test]
fn only_interrupt_is_forced_by_an_interrupt() {
    let policy = Policy {
        force: ForcePolicy::OnlyInterrupt,
        ..Policy::DEFAULT
    };
    let node = node(policy);
    assert!(signal(&node, Signal::TERM));
    assert!(!signal(&node, Signal::TERM));
    assert!(!signal(&node, Signal::HUP));
    assert_eq!(node.stage(), Stage::Stopping);
    assert!(signal(&node, Signal::INT));
    assert_eq!(node.stage(), Stage::Forced);
    assert!(!signal(&node, Signal::INT));
}

#[test]
#[cfg_attr(target_family = "wasm", ignore = "starts threads")]
fn interrupt_ends_the_lame_duck_that_a_trigger_began() {
    for (by, stage) in [
        (Signal::TERM, Stage::Requested),
        (Signal::INT, Stage::Stopping),
    ] {
        let node = node(Policy {
            lame_duck: Duration::from_secs(3600),
            ..Policy::DEFAULT
        });
        let enough = Cause::Requested(Location::caller());
        assert!(node.trigger(enough.clone()));
        let child = Node::child(&node);
        assert!(signal(&node, by));
        assert_eq!((node.stage(), child.stage()), (stage, stage));
        assert_eq!(node.cause(), Some(enough));
    }
}

#[test]
#[cfg_attr(target_family = "wasm", ignore = "starts threads")]
fn interrupt_that_may_not_force_ends_the_lame_duck() {
    let node = node(Policy {
        lame_duck: Duration::from_secs(3600),
        force: ForcePolicy::Never,
        ..Policy::DEFAULT
    });
    let child = Node::child(&node);
    assert!(signal(&node, Signal::TERM));
    assert!(!signal(&node, Signal::TERM));
    assert_eq!(node.stage(), Stage::Requested);
    assert!(!signal(&node, Signal::INT));
    assert_eq!(
        (node.stage(), child.stage()),
        (Stage::Stopping, Stage::Stopping)
    );
}

#[test]
#[cfg_attr(target_family = "wasm", ignore = "starts threads")]
fn interrupt_has_no_lame_duck_unless_set() {
    let policy = Policy {
        lame_duck: Duration::from_secs(3600),
        ..Policy::DEFAULT
    };
    for (interrupted, terminated, on_interrupt) in [
        (Stage::Stopping, Stage::Requested, false),
        (Stage::Requested, Stage::Requested, true),
    ] {
        let policy = || Policy {
            lame_duck_on_interrupt: on_interrupt,
            ..policy.clone()
        };
        let (one, other) = (node(policy()), node(policy()));
        assert!(signal(&one, Signal::INT) && signal(&other, Signal::TERM));
        assert_eq!((one.stage(), other.stage()), (interrupted, terminated));
        // Ends the threads of the lame ducks.
        assert!(signal(&one, Signal::INT) && signal(&other, Signal::INT));
    }
}
