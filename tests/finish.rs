//! `finish_on_shutdown`: a stream gives out what is ready at the shutdown, and then ends.

mod support;

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::future::poll_fn;
use std::io;
use std::net::{SocketAddr, TcpStream};
use std::pin::Pin;
use std::rc::Rc;
use std::sync::mpsc;
use std::task::{Context, Poll, Waker};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use futures_lite::{Stream, StreamExt, future, stream};
use support::{Counter, poll};
use winddown::{Callback, Shutdown, ShutdownExt};

/// As documented: how many items are given out after the shutdown at most.
const ITEMS: usize = 4_096;

/// A stream that does what it is told, in turn. Pending when it is told nothing.
#[derive(Clone, Default)]
struct Script {
    polls: Rc<RefCell<VecDeque<Poll<Option<u32>>>>>,
    polled: Rc<Cell<usize>>,
}

impl Script {
    fn push(&self, polls: impl IntoIterator<Item = Poll<Option<u32>>>) {
        self.polls.borrow_mut().extend(polls);
    }
}

impl Stream for Script {
    type Item = u32;

    fn poll_next(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Option<u32>> {
        self.polled.set(self.polled.get() + 1);
        self.polls.borrow_mut().pop_front().unwrap_or(Poll::Pending)
    }
}

fn next<S: Stream + Unpin>(stream: &mut S, waker: &Waker) -> Poll<Option<S::Item>> {
    Pin::new(stream).poll_next(&mut Context::from_waker(waker))
}

#[test]
fn finish_passes_everything_on_before_the_shutdown() {
    let shutdown = Shutdown::new();
    let (counter, waker) = Counter::new();
    let script = Script::default();
    let mut items = script.clone().finish_on_shutdown(shutdown.waiter());
    for round in 0..3 {
        assert!(next(&mut items, &waker).is_pending());
        script.push([Poll::Ready(Some(round))]);
        assert_eq!(next(&mut items, &waker), Poll::Ready(Some(round)));
    }
    assert_eq!(counter.count(), 0, "it does not poll itself");
    script.push([Poll::Ready(None)]);
    for _ in 0..3 {
        assert_eq!(next(&mut items, &waker), Poll::Ready(None), "fused");
    }
    assert_eq!(script.polled.get(), 7);
}

#[test]
fn finish_gives_out_what_is_ready_and_ends() {
    let shutdown = Shutdown::new();
    let (counter, waker) = Counter::new();
    let script = Script::default();
    let mut items = script.clone().finish_on_shutdown(shutdown.waiter());
    assert!(next(&mut items, &waker).is_pending());
    script.push((0..100).map(|item| Poll::Ready(Some(item))));
    shutdown.request_shutdown();
    assert_eq!(counter.count(), 1, "an idle stream is woken");
    for item in 0..100 {
        assert_eq!(next(&mut items, &waker), Poll::Ready(Some(item)));
    }
    assert_eq!(future::block_on(items.next()), None);
    let polled = script.polled.get();
    script.push([Poll::Ready(Some(7))]);
    for _ in 0..3 {
        assert_eq!(next(&mut items, &waker), Poll::Ready(None), "fused");
    }
    assert_eq!(script.polled.get(), polled);
}

/// As tokio's listener, which answers `Pending` until its runtime has looked at the kernel's queue.
#[test]
fn finish_polls_a_pending_stream_again() {
    let shutdown = Shutdown::new();
    shutdown.request_shutdown();
    let script = Script::default();
    let mut items = script.clone().finish_on_shutdown(shutdown.waiter());
    script.push([Poll::Pending; 61]);
    script.push([Poll::Ready(Some(7))]);
    assert_eq!(future::block_on(items.next()), Some(7));
    assert_eq!(future::block_on(items.next()), None);
}

/// As a listener under load, whose queue is never empty for long.
#[test]
fn finish_ends_although_items_keep_coming() {
    let shutdown = Shutdown::new();
    shutdown.request_shutdown();
    // Pending first, and then an item each millisecond.
    let trickle = stream::once_future(future::pending::<()>()).or(stream::unfold((), |()| async {
        smol::Timer::after(Duration::from_millis(1)).await;
        Some(((), ()))
    }));
    let items = Box::pin(trickle).finish_on_shutdown(shutdown.waiter());
    let given = future::block_on(items.count());
    assert!(given < ITEMS / 4, "items prolong it: {given}");
}

#[test]
fn finish_ends_a_stream_that_stays_pending() {
    let shutdown = Shutdown::new();
    shutdown.request_shutdown();
    let script = Script::default();
    let mut items = script.clone().finish_on_shutdown(shutdown.waiter());
    let begun = Instant::now();
    assert_eq!(future::block_on(items.next()), None);
    assert!(begun.elapsed() >= Duration::from_millis(50));
    assert!(script.polled.get() > 61, "{:?}", script.polled);
}

/// A stream whose thread loses the processor for a millisecond whenever it is polled. Its item comes
/// with this poll.
fn slow_until(poll: usize) -> impl Stream<Item = usize> + Unpin {
    let mut polls = 0;
    stream::poll_fn(move |_| {
        polls += 1;
        thread::sleep(Duration::from_millis(1));
        match polls == poll {
            true => Poll::Ready(Some(polls)),
            false => Poll::Pending,
        }
    })
}

/// As a listener: the kernel may have accepted a connection since the look that found none.
#[test]
fn finish_looks_again_after_a_slow_look() {
    let shutdown = Shutdown::new();
    shutdown.request_shutdown();
    // It would end at the 66th.
    let mut items = slow_until(70).finish_on_shutdown(shutdown.waiter());
    assert_eq!(future::block_on(items.next()), Some(70));
}

#[test]
fn finish_ends_a_stream_that_is_always_slow() {
    let shutdown = Shutdown::new();
    shutdown.request_shutdown();
    let mut items = slow_until(200).finish_on_shutdown(shutdown.waiter());
    assert_eq!(future::block_on(items.next()), None);
}

/// Requests the shutdown on a thread that stays in a callback until it is released, as if another thread
/// had its processor.
fn request_with_a_slow_callback(
    shutdown: &Shutdown,
) -> (Callback, mpsc::Sender<()>, JoinHandle<bool>) {
    let (release, released) = mpsc::channel();
    let callback = shutdown.call_on_shutdown(move || {
        let _ = released.recv();
    });
    let request = shutdown.clone();
    let thread = thread::spawn(move || request.request_shutdown());
    shutdown.waiter().wait_blocking();
    (callback, release, thread)
}

/// A callback may have the kernel refuse new connections.
#[test]
fn finish_looks_again_when_the_callbacks_were_called() {
    const LATER: usize = 100;
    let shutdown = Shutdown::new();
    let (_callback, release, thread) = request_with_a_slow_callback(&shutdown);
    let (mut polls, mut thread) = (0, Some(thread));
    let script = stream::poll_fn(|_| {
        polls += 1;
        if polls == LATER {
            release.send(()).unwrap();
            thread.take().unwrap().join().unwrap();
        }
        Poll::<Option<()>>::Pending
    });
    let ended = future::block_on(script.finish_on_shutdown(shutdown.waiter()).next());
    assert_eq!(ended, None);
    // It would have ended at the 65th, or ten later.
    assert!(polls > LATER, "{polls}");
}

#[test]
fn finish_ends_although_a_callback_hangs() {
    let shutdown = Shutdown::new();
    let (_callback, release, thread) = request_with_a_slow_callback(&shutdown);
    let mut items = stream::pending::<()>().finish_on_shutdown(shutdown.waiter());
    assert_eq!(future::block_on(items.next()), None);
    drop(release);
    assert!(thread.join().unwrap());
}

#[test]
fn finish_ends_an_endless_stream_after_4096_items() {
    let shutdown = Shutdown::new();
    let mut items = stream::repeat(7).finish_on_shutdown(shutdown.waiter());
    // Those before the shutdown do not count.
    for _ in 0..2 * ITEMS {
        assert_eq!(next(&mut items, Waker::noop()), Poll::Ready(Some(7)));
    }
    shutdown.request_shutdown();
    assert_eq!(future::block_on((&mut items).count()), ITEMS);
    assert_eq!(next(&mut items, Waker::noop()), Poll::Ready(None));
}

/// A consumer that takes its time for each item, as a datagram socket may always have another.
#[test]
fn finish_ends_an_endless_stream_in_half_of_the_time_that_is_left() {
    let grace_period = Duration::from_secs(4);
    let shutdown = Shutdown::builder().grace_period(grace_period).build();
    shutdown.request_shutdown();
    let mut items = stream::repeat(7).finish_on_shutdown(shutdown.waiter());
    let mut count = 0;
    while let Some(7) = future::block_on(items.next()) {
        count += 1;
        thread::sleep(Duration::from_millis(5));
    }
    assert!(0 < count && count < ITEMS);
    let left = shutdown.remaining().unwrap();
    assert!(Duration::ZERO < left && left < grace_period / 2);
}

#[test]
fn finish_waits_for_the_end_of_the_lame_duck() {
    let shutdown = Shutdown::builder().lame_duck(support::HOUR).build();
    let (counter, waker) = Counter::new();
    let mut items = stream::pending::<()>().finish_on_shutdown(shutdown.waiter());
    shutdown.request_shutdown();
    assert!(next(&mut items, &waker).is_pending());
    assert_eq!(counter.count(), 0);
    shutdown.request_shutdown();
    assert_eq!(counter.count(), 1);
    assert_eq!(future::block_on(items.next()), None);
}

#[test]
fn finish_bounds_the_size_hint() {
    let shutdown = Shutdown::new();
    let mut items = stream::iter(0..3).finish_on_shutdown(shutdown.waiter());
    assert_eq!(items.size_hint(), (0, Some(3)));
    assert_eq!(next(&mut items, Waker::noop()), Poll::Ready(Some(0)));
    shutdown.request_shutdown();
    assert_eq!(items.size_hint(), (0, Some(2)));
    assert_eq!(future::block_on((&mut items).count()), 2);
    assert_eq!(items.size_hint(), (0, Some(0)));
    *items.get_mut() = stream::iter(0..3);
    assert_eq!(
        (items.size_hint(), items.get_ref().size_hint().0),
        ((0, Some(0)), 3)
    );
    assert_eq!(next(&mut items, Waker::noop()), Poll::Ready(None));
    assert_eq!(
        future::block_on(items.into_inner().count()),
        3,
        "nothing is lost"
    );

    let endless = stream::repeat(7).finish_on_shutdown(shutdown.waiter());
    assert_eq!(endless.size_hint(), (0, None));
}

/// `next` is dropped while it waits, before and after the shutdown: no item is lost.
#[test]
fn finish_is_cancel_safe() {
    let shutdown = Shutdown::new();
    let script = Script::default();
    let mut waiter = shutdown.waiter();
    let mut items = script.clone().finish_on_shutdown(&mut waiter);
    let mut seen = Vec::new();
    for item in 0..20 {
        assert!(poll(&mut items.next(), Waker::noop()).is_pending());
        script.push([Poll::Ready(Some(item))]);
        if item == 10 {
            shutdown.request_shutdown();
        }
        seen.extend(future::block_on(items.next()));
    }
    assert_eq!(seen, (0..20).collect::<Vec<_>>());
    assert_eq!(future::block_on(items.next()), None);
}

/// Connections that the kernel has accepted for a listener when the shutdown comes.
mod listeners {
    use std::sync::mpsc;
    use std::thread;

    use super::*;

    const ROUNDS: usize = 20;
    const CONNECTIONS: usize = 20;

    /// Connects while no task can accept. Each connection is established when this returns.
    fn connect(address: SocketAddr) -> Vec<TcpStream> {
        (0..CONNECTIONS)
            .map(|_| TcpStream::connect(address).expect("the kernel accepts"))
            .collect()
    }

    /// Accepts until the stream ends, and returns how many connections it has given out. The shutdown
    /// comes with a full queue while the listener waits, or before it is first polled.
    async fn accepts<T>(
        listener: impl Stream<Item = io::Result<T>>,
        address: SocketAddr,
        waits: bool,
    ) -> usize {
        let shutdown = Shutdown::new();
        let mut incoming = Box::pin(listener.finish_on_shutdown(shutdown.waiter()));
        if waits {
            assert!(future::poll_once(incoming.next()).await.is_none());
        }
        let peers = connect(address);
        shutdown.request_shutdown();
        let mut accepted = Vec::new();
        while let Some(connection) = incoming.next().await {
            accepted.push(connection.expect("it was accepted"));
        }
        drop(peers);
        accepted.len()
    }

    fn all_accept(mut round: impl FnMut(bool) -> usize) {
        for number in 0..ROUNDS {
            assert_eq!(round(number % 2 == 0), CONNECTIONS, "round {number}");
        }
    }

    fn of_tokio(
        listener: &tokio::net::TcpListener,
    ) -> impl Stream<Item = io::Result<(tokio::net::TcpStream, SocketAddr)>> {
        stream::poll_fn(|cx| listener.poll_accept(cx).map(Some))
    }

    async fn tokio_round(waits: bool) -> usize {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        accepts(of_tokio(&listener), address, waits).await
    }

    #[test]
    fn finish_accepts_the_queue_of_a_tokio_listener() {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_io()
            .build()
            .unwrap();
        all_accept(|waits| runtime.block_on(tokio_round(waits)));
        let spawned = |waits| runtime.block_on(async { tokio::spawn(tokio_round(waits)).await });
        all_accept(|waits| spawned(waits).unwrap());
    }

    /// Other tasks of the runtime are always ready: it looks at the kernel's queue now and then.
    #[test]
    fn finish_accepts_the_queue_of_a_tokio_listener_beside_busy_tasks() {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_io()
            .build()
            .unwrap();
        for _ in 0..5 {
            runtime.spawn(async {
                loop {
                    tokio::task::yield_now().await;
                }
            });
        }
        let spawned = |waits| runtime.block_on(async { tokio::spawn(tokio_round(waits)).await });
        all_accept(|waits| spawned(waits).unwrap());
    }

    #[test]
    fn finish_accepts_the_queue_of_a_tokio_listener_with_threads() {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(2)
            .enable_io()
            .build()
            .unwrap();
        let spawned = |waits| runtime.block_on(async { tokio::spawn(tokio_round(waits)).await });
        // The thread that has the driver may be without a processor for longer than a turn.
        let rounds = (0..ROUNDS).map(|number| spawned(number % 2 == 0).unwrap());
        let lossy = rounds.filter(|accepted| *accepted != CONNECTIONS).count();
        assert!(lossy <= 1, "{lossy} of {ROUNDS}");
    }

    async fn smol_round(waits: bool) -> usize {
        let listener = smol::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        accepts(listener.incoming(), address, waits).await
    }

    #[test]
    fn finish_accepts_the_queue_of_a_smol_listener() {
        all_accept(|waits| smol::block_on(smol_round(waits)));
        all_accept(|waits| smol::block_on(smol::spawn(smol_round(waits))));
    }

    /// No thread but async-io's own waits for the kernel.
    #[test]
    fn finish_accepts_the_queue_of_a_smol_listener_on_another_executor() {
        all_accept(|waits| future::block_on(smol_round(waits)));
    }

    async fn async_std_round(waits: bool) -> usize {
        let listener = async_std::net::TcpListener::bind("127.0.0.1:0")
            .await
            .unwrap();
        let address = listener.local_addr().unwrap();
        accepts(listener.incoming(), address, waits).await
    }

    #[test]
    fn finish_accepts_the_queue_of_an_async_std_listener() {
        all_accept(|waits| async_std::task::block_on(async_std_round(waits)));
        all_accept(|waits| {
            async_std::task::block_on(async_std::task::spawn(async move {
                async_std_round(waits).await
            }))
        });
    }

    /// A queue of jobs, filled by another thread.
    #[test]
    fn finish_empties_a_queue_of_jobs() {
        let (sender, queue) = smol::channel::unbounded();
        let shutdown = Shutdown::new();
        let (ready, begins) = mpsc::channel();
        let finishing = shutdown.waiter();
        let worker = thread::spawn(move || {
            let jobs = Box::pin(queue.finish_on_shutdown(finishing));
            begins.recv().unwrap();
            future::block_on(jobs.collect::<Vec<_>>())
        });
        for job in 0..100 {
            sender.try_send(job).unwrap();
        }
        shutdown.request_shutdown();
        ready.send(()).unwrap();
        assert_eq!(worker.join().unwrap(), (0..100).collect::<Vec<_>>());
        drop(sender);
    }
}

/// One that can't be moved.
#[test]
fn finish_takes_a_stream_that_is_pinned() {
    let shutdown = Shutdown::new();
    shutdown.request_shutdown();
    let once = stream::once_future(poll_fn(|_| Poll::Ready(7)));
    let mut items = Box::pin(once.finish_on_shutdown(shutdown.waiter()));
    assert_eq!(future::block_on(items.next()), Some(7));
    assert_eq!(future::block_on(items.next()), None);
}
