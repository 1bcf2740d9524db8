//! One shutdown, awaited on every runtime at the same time, in one process.

mod support;

use std::collections::BTreeSet;
use std::future::poll_fn;
use std::pin::{Pin, pin};
use std::sync::mpsc::{Sender, channel};
use std::thread;
use std::time::Duration;

use futures_lite::{StreamExt, future, stream};
use support::PATIENCE;
use winddown::{Shutdown, ShutdownExt, Waiter};

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
    // Its tasks run only while a thread is in `block_on`.
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
fn g1_request_wakes_waiters_of_every_runtime() {
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

/// Every wrapper around something that never ends by itself: the shutdown, or the force, has to end
/// it, and to wake the task for that.
fn wrapped(shutdown: &Shutdown) -> Vec<(&'static str, Task)> {
    let waiter = || shutdown.waiter();
    let never = future::pending::<()>;
    let cancel = never().cancel_on_shutdown(waiter());
    // Without signals there is no timer to wake it.
    #[cfg(feature = "signals")]
    let limit = never().limit_on_shutdown(waiter(), Duration::from_millis(1));
    let abort = never().abort_on_force(waiter());
    let (tell, told) = smol::channel::bounded::<()>(1);
    let on_shutdown = async move { told.recv().await }.on_shutdown(waiter(), move |_| drop(tell));
    let stop = std::iter::repeat(()).stop_on_shutdown(waiter());
    let mut end = stream::pending::<()>().end_on_shutdown(waiter());
    let mut finish = stream::pending::<()>().finish_on_shutdown(waiter());
    let limit_with = never().limit_on_shutdown_with(waiter(), future::yield_now);
    // Their time is up at the deadline, for which without signals there is no timer.
    #[cfg(feature = "signals")]
    let deadline = never().until_deadline(waiter());
    let (calls, called) = smol::channel::bounded::<()>(1);
    let callback = shutdown.call_on_shutdown(move || drop(calls));
    let drain_until = shutdown.drain_until(shutdown.waiter());
    let mut drain = shutdown.drain(Duration::MAX);
    // Its time begins with the request.
    #[cfg(feature = "signals")]
    let late = shutdown.drained();
    let mut watched = shutdown.drain(Duration::MAX);
    let critical = shutdown.critical("mail", never().cancel_on_shutdown(waiter()));
    let guard = shutdown.guard();
    let track = shutdown.track(never().cancel_on_shutdown(waiter()));
    let tasks: Vec<(&'static str, Task)> = vec![
        (
            "cancel",
            Box::pin(async { assert!(cancel.await.is_none()) }),
        ),
        #[cfg(feature = "signals")]
        ("limit", Box::pin(async { assert!(limit.await.is_none()) })),
        ("abort", Box::pin(async { assert!(abort.await.is_none()) })),
        (
            "tell",
            Box::pin(async { assert!(on_shutdown.await.is_err()) }),
        ),
        (
            "stop",
            Box::pin(async move {
                // An iterator blocks, so it gives way to the others between its items.
                for _ in stop {
                    future::yield_now().await;
                }
            }),
        ),
        (
            "end",
            Box::pin(async move { assert!(end.next().await.is_none()) }),
        ),
        (
            "finish",
            Box::pin(async move { assert!(finish.next().await.is_none()) }),
        ),
        (
            "limit with a timer",
            Box::pin(async { assert!(limit_with.await.is_none()) }),
        ),
        #[cfg(feature = "signals")]
        (
            "deadline",
            Box::pin(async { assert!(deadline.await.is_none()) }),
        ),
        (
            "callback",
            Box::pin(async move {
                assert!(called.recv().await.is_err());
                drop(callback);
            }),
        ),
        (
            "drain until",
            Box::pin(async { assert!(drain_until.await.is_err()) }),
        ),
        ("track", Box::pin(async { assert!(track.await.is_none()) })),
        (
            "drain",
            Box::pin(async move {
                // Forced, or drained, if the guard below is dropped first.
                let _ = (&mut drain).await;
            }),
        ),
        #[cfg(feature = "signals")]
        ("late", Box::pin(async { assert!(late.await.is_err()) })),
        (
            "progress",
            Box::pin(async move {
                let mut progress = watched.progress();
                assert!(progress.next().await.is_some());
                while progress.next().await.is_some() {}
            }),
        ),
        (
            "critical",
            Box::pin(async { assert!(critical.await.is_none()) }),
        ),
        ("guard", {
            let forced = shutdown.forced();
            Box::pin(async move {
                forced.await;
                drop(guard);
            })
        }),
        #[cfg(feature = "futures-io")]
        ("seal", {
            use futures_lite::AsyncReadExt;
            let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
            let address = listener.local_addr().expect("it is bound");
            let idle = std::net::TcpStream::connect(address).expect("it is accepted");
            let stream = smol::Async::new(idle).expect("a socket");
            let mut sealed = stream.seal_on_shutdown(waiter());
            Box::pin(async move {
                assert_eq!(sealed.read(&mut [0]).await.expect("the end"), 0);
                drop(listener);
            })
        }),
        #[cfg(feature = "tokio-io")]
        ("seal for tokio", {
            use tokio::io::AsyncReadExt;
            let (stream, peer) = tokio::io::duplex(1);
            let mut sealed = stream.seal_on_shutdown(waiter());
            Box::pin(async move {
                assert_eq!(sealed.read(&mut [0]).await.expect("the end"), 0);
                drop(peer);
            })
        }),
    ];
    tasks
}

#[test]
fn every_wrapper_ends_on_every_runtime() {
    let end = Shutdown::new();
    for (host, spawn) in hosts(&end) {
        for _ in 0..20 {
            let grace = Duration::from_millis(1);
            let shutdown = Shutdown::builder().grace_period(grace).build();
            let (said, hears) = channel();
            let mut names = BTreeSet::new();
            for (name, mut task) in wrapped(&shutdown) {
                names.insert(name);
                let said = said.clone();
                spawn(Box::pin(async move {
                    let first = future::poll_once(&mut task).await;
                    assert!(first.is_none(), "{name} waits");
                    let _ = said.send(Said::Waits(name));
                    task.await;
                    let _ = said.send(Said::Done(name));
                }));
            }
            let (mut waiting, mut done) = (BTreeSet::new(), BTreeSet::new());
            let hear = |waiting: &mut BTreeSet<_>, done: &mut BTreeSet<_>| {
                match hears.recv_timeout(PATIENCE) {
                    Ok(Said::Waits(name)) => waiting.insert(name),
                    Ok(Said::Done(name)) => done.insert(name),
                    Err(error) => panic!("{host}: {error}; only {done:?} of {names:?} ended"),
                };
            };
            while waiting != names {
                hear(&mut waiting, &mut done);
            }
            shutdown.request_shutdown();
            // Four go on until the force.
            while done.len() < names.len() - 4 {
                hear(&mut waiting, &mut done);
            }
            shutdown.request_shutdown();
            while done != names {
                hear(&mut waiting, &mut done);
            }
        }
    }
    end.request_shutdown();
}
