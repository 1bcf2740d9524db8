//! One shutdown, awaited on every runtime at the same time, in one process.

use std::collections::BTreeSet;
use std::future::poll_fn;
use std::pin::{Pin, pin};
use std::sync::mpsc::{Sender, channel};
use std::thread;
use std::time::Duration;

use futures_lite::future;
use winddown::{Shutdown, Waiter};

/// How long anything may take before the test is given up. Nothing waits for it to pass.
const PATIENCE: Duration = Duration::from_secs(60);

const ROUNDS: usize = 1000;

type Task = Pin<Box<dyn Future<Output = ()> + Send>>;

/// A runtime's name, and how to run a task there.
type Host = (&'static str, Box<dyn Fn(Task)>);

fn hosts(end: &Shutdown) -> Vec<Host> {
    let multi_thread = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .build()
        .expect("threads can be started");
    let current_thread = tokio::runtime::Builder::new_current_thread()
        .build()
        .expect("it needs nothing");
    let handle = current_thread.handle().clone();
    let end = end.waiter();
    // Its tasks run only while somebody is in it.
    thread::spawn(move || current_thread.block_on(end));

    vec![
        ("smol", Box::new(|task| smol::spawn(task).detach())),
        (
            "async-std",
            Box::new(|task| drop(async_std::task::spawn(task))),
        ),
        (
            "tokio, multi-thread",
            Box::new(move |task| drop(multi_thread.spawn(task))),
        ),
        (
            "tokio, current-thread",
            Box::new(move |task| drop(handle.spawn(task))),
        ),
        (
            "block_on",
            Box::new(|task| drop(thread::spawn(|| future::block_on(task)))),
        ),
    ]
}

#[derive(Debug)]
enum Said {
    Waits(&'static str),
    Done(&'static str),
}

/// Awaits the waiter, and says when it was found pending and when it was ready.
async fn wait(waiter: Waiter, name: &'static str, said: Sender<Said>) {
    let mut waiter = pin!(waiter);
    let mut pending = false;
    poll_fn(|cx| {
        let poll = waiter.as_mut().poll(cx);
        if poll.is_pending() && !pending {
            pending = true;
            let _ = said.send(Said::Waits(name));
        }
        poll
    })
    .await;
    let _ = said.send(Said::Done(name));
}

#[test]
fn g1_one_request_ends_the_waiters_of_every_runtime() {
    let end = Shutdown::new();
    let hosts = hosts(&end);
    let mut names: BTreeSet<_> = hosts.iter().map(|(name, _)| *name).collect();
    names.insert("thread");

    for round in 0..ROUNDS {
        let shutdown = Shutdown::new();
        let (said, hears) = channel();
        for (name, spawn) in &hosts {
            spawn(Box::pin(wait(shutdown.waiter(), name, said.clone())));
        }
        let waiter = shutdown.waiter();
        let thread = thread::spawn(move || {
            let _ = said.send(Said::Waits("thread"));
            waiter.wait_blocking();
            let _ = said.send(Said::Done("thread"));
        });

        let mut waiting = BTreeSet::new();
        let mut done = BTreeSet::new();
        // In every second round, the request comes while they begin to wait.
        if round % 2 == 0 {
            while waiting != names {
                match hears.recv_timeout(PATIENCE) {
                    Ok(Said::Waits(name)) => waiting.insert(name),
                    other => panic!("round {round}: {other:?}; only {waiting:?} wait"),
                };
            }
        }
        assert!(shutdown.request_shutdown());
        while done != names {
            match hears.recv_timeout(PATIENCE) {
                Ok(Said::Waits(name)) => waiting.insert(name),
                Ok(Said::Done(name)) => done.insert(name),
                Err(error) => panic!("round {round}: {error}; only {done:?} of {names:?} ended"),
            };
        }
        thread.join().expect("it only waits");
    }
    end.request_shutdown();
}
