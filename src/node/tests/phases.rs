//! Phases, between two steps of another thread: it has released the last guard of a phase, or begun the
//! shutdown, and has notified nothing yet.

use std::panic::Location;
use std::sync::Arc;
use std::time::Duration;

use crate::model::cause::Cause;
use crate::model::policy::Policy;
use crate::model::stage::Stage;
use crate::node::phases::PhaseSettings;
use crate::node::{FORCED, Node, STOPPING_TOO};
use crate::task::Alarm;
use crate::util::task_counter::TryClose;
use crate::util::wake_counter::WakeCounter;

fn phase(parent: &Arc<Node>, after: Vec<Arc<Node>>) -> Arc<Node> {
    let settings = PhaseSettings {
        name: "phase",
        delay: Duration::ZERO,
        time_limit: None,
        by_hand: false,
        after,
    };
    Node::phase(parent, settings)
}

fn trigger(node: &Arc<Node>) {
    assert!(node.trigger(Cause::Requested(Location::caller())));
}

/// Registers a drain, which finds the guard that the node holds, and releases that guard.
fn release_before(drain: &Arc<WakeCounter>, node: &Node) -> Option<usize> {
    let mut key = None;
    node.watch(&mut key, &drain.clone().into());
    assert!(node.try_close(false) == TryClose::Busy);
    assert!(node.decrement(0));
    key
}

#[test]
fn g8_drain_that_closes_a_phase_notifies_the_others() {
    let parent = Node::new(None, Policy::DEFAULT);
    let first = phase(&parent, vec![]);
    let next = phase(&parent, vec![first.clone()]);
    assert!(first.increment(0));
    trigger(&parent);
    let drain = Arc::default();
    let mut key = release_before(&drain, &first);
    assert!(first.try_close(false) == TryClose::Closed);
    assert!(!next.has_reached(Stage::Requested));
    first.notify_closed();
    assert!(next.has_reached(Stage::Stopping));
    assert_eq!(drain.count(), 1);
    first.unwatch(&mut key);
}

#[test]
fn g8_order_that_closes_a_phase_notifies_its_drains() {
    let parent = Node::new(None, Policy::DEFAULT);
    let first = phase(&parent, vec![]);
    let next = phase(&parent, vec![first.clone()]);
    assert!(first.increment(0) && next.increment(0));
    // Asked alone, so that it is closed when its turn has come.
    trigger(&next);
    trigger(&parent);
    let drain = Arc::default();
    let mut key = release_before(&drain, &next);
    assert!(first.decrement(0));
    first.notify_drains();
    assert!(next.try_close(false) == TryClose::WasClosed);
    assert_eq!(drain.count(), 1);
    next.unwatch(&mut key);
}

#[test]
fn end_of_a_task_is_expected_as_soon_as_a_waiter_above_is_ready() {
    let cause = Cause::Requested(Location::caller());
    for (flags, expected) in [
        (STOPPING_TOO, [true, false]),
        (STOPPING_TOO | FORCED, [true; 2]),
    ] {
        let parent = Node::new(None, Policy::DEFAULT);
        let nodes = [Node::child(&parent), phase(&parent, vec![])].map(|node| Node::child(&node));
        // As another thread leaves it, after the flag, and before the nodes below.
        let ((), _) = parent.change(Some(cause.clone()), None, |word, _| (word | flags, ()));
        for (node, expected) in nodes.iter().zip(expected) {
            drop(Alarm::new(node.clone(), "mail".into(), Location::caller()));
            assert_eq!(parent.cause().as_ref() == Some(&cause), expected);
        }
    }
}
