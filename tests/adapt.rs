//! Wrappers: a future, a connection, a stream, an iterator. Those of I/O are in `io_wrapper.rs` too.

mod support;

use std::cell::Cell;
use std::marker::PhantomPinned;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::{Pin, pin};
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use futures_lite::{Stream, StreamExt, future, stream};
use support::{Counter, HOUR, poll, until};
use winddown::{Shutdown, ShutdownExt, Waiter};

/// Pending as long as the cell is empty; not `Unpin`, and says when it is dropped.
struct Slow {
    output: Rc<Cell<Option<u32>>>,
    _pinned: PhantomPinned,
}

impl Slow {
    fn new() -> (Self, Rc<Cell<Option<u32>>>) {
        let output = Rc::default();
        let this = Self {
            output: Rc::clone(&output),
            _pinned: PhantomPinned,
        };
        (this, output)
    }
}

impl Future for Slow {
    type Output = u32;

    fn poll(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<u32> {
        match self.output.get() {
            Some(output) => Poll::Ready(output),
            None => Poll::Pending,
        }
    }
}

fn polled_again<F: Future>(mut future: Pin<&mut F>) -> bool {
    let mut cx = Context::from_waker(Waker::noop());
    catch_unwind(AssertUnwindSafe(|| {
        future.as_mut().poll(&mut cx).is_ready()
    }))
    .is_err()
}

#[test]
fn cancel_stops_and_drops_the_future() {
    let shutdown = Shutdown::new();
    let (counter, waker) = Counter::new();
    let mut cx = Context::from_waker(&waker);
    let (slow, output) = Slow::new();
    let mut wrapped = pin!(slow.cancel_on_shutdown(shutdown.waiter()));
    assert!(wrapped.as_mut().poll(&mut cx).is_pending());
    assert!(wrapped.as_mut().poll(&mut cx).is_pending());
    shutdown.request_shutdown();
    assert_eq!(counter.count(), 1);
    assert_eq!(Rc::strong_count(&output), 2);
    assert_eq!(wrapped.as_mut().poll(&mut cx), Poll::Ready(None));
    assert_eq!(Rc::strong_count(&output), 1, "dropped at once");
    assert!(polled_again(wrapped));
}

#[test]
fn cancel_prefers_a_finished_output_after_the_first_poll() {
    let shutdown = Shutdown::new();
    let mut cx = Context::from_waker(Waker::noop());
    let (slow, output) = Slow::new();
    let mut wrapped = pin!(slow.cancel_on_shutdown(shutdown.waiter()));
    assert!(wrapped.as_mut().poll(&mut cx).is_pending());
    output.set(Some(7));
    shutdown.request_shutdown();
    assert_eq!(wrapped.as_mut().poll(&mut cx), Poll::Ready(Some(7)));
    assert!(polled_again(wrapped));

    let shutdown = Shutdown::new();
    let ready = async { 7 }.cancel_on_shutdown(shutdown.waiter());
    assert_eq!(future::block_on(ready), Some(7));
}

/// Each drops a future that it has never polled, because the shutdown was there before.
#[test]
fn shutdown_is_checked_before_the_first_poll() {
    fn never_polled() -> impl Future<Output = u32> {
        future::poll_fn(|_| panic!("it is polled"))
    }
    let shutdown = Shutdown::new();
    shutdown.request_shutdown();
    let waiter = || shutdown.waiter();
    let none = [
        future::block_on(never_polled().cancel_on_shutdown(waiter())),
        future::block_on(never_polled().limit_on_shutdown(waiter(), Duration::ZERO)),
        future::block_on(never_polled().limit_on_shutdown_with(waiter(), || future::ready(()))),
    ];
    assert_eq!(none, [None; 3]);
    // The time of these is not up.
    let ready = [
        future::block_on(async { 7 }.abort_on_force(waiter())),
        future::block_on(async { 7 }.until_deadline(waiter())),
        future::block_on(async { 7 }.limit_on_shutdown(waiter(), HOUR)),
        future::block_on(async { 7 }.limit_on_shutdown_with(waiter(), future::pending::<()>)),
    ];
    assert_eq!(ready, [Some(7); 4]);
    shutdown.request_shutdown();
    let none = [
        future::block_on(never_polled().abort_on_force(waiter())),
        future::block_on(never_polled().until_deadline(waiter())),
    ];
    assert_eq!(none, [None; 2]);
}

/// A queue that always has an item: each round takes one and adds another.
#[test]
fn loop_over_a_busy_queue_ends() {
    fn rounds(
        stop: impl AsyncFn(&smol::channel::Receiver<u32>, &mut Waiter) -> Option<u32>,
    ) -> u32 {
        let shutdown = Shutdown::new();
        let (sender, queue) = smol::channel::unbounded();
        let mut waiter = shutdown.waiter();
        sender.try_send(1).unwrap();
        let mut rounds = 0;
        while let Some(round) = future::block_on(stop(&queue, &mut waiter)) {
            rounds = round;
            assert!(rounds <= 10, "it goes on");
            if rounds == 10 {
                shutdown.request_shutdown();
            }
            sender.try_send(rounds + 1).unwrap();
        }
        rounds
    }
    let cancelled = rounds(async |queue, waiter| {
        let received = queue.recv().cancel_on_shutdown(waiter).await;
        received.map(Result::unwrap)
    });
    let limited = rounds(async |queue, waiter| {
        let received = queue.recv().limit_on_shutdown(waiter, Duration::ZERO).await;
        received.map(Result::unwrap)
    });
    assert_eq!((cancelled, limited), (10, 10));
}

#[test]
fn borrowed_waiter_registers_once_for_a_loop() {
    let shutdown = Shutdown::new();
    let (counter, waker) = Counter::new();
    let mut cx = Context::from_waker(&waker);
    let mut waiter = shutdown.waiter();
    let mut held = Vec::new();
    for _ in 0..3 {
        let (slow, output) = Slow::new();
        let mut wrapped = pin!(slow.cancel_on_shutdown(&mut waiter));
        assert!(wrapped.as_mut().poll(&mut cx).is_pending());
        output.set(Some(7));
        assert_eq!(wrapped.poll(&mut cx), Poll::Ready(Some(7)));
        held.push(Arc::strong_count(&counter));
    }
    assert_eq!(held, [held[0]; 3], "the waker was cloned once");
    shutdown.request_shutdown();
    assert_eq!(counter.count(), 1);
    let stopped = future::pending::<()>().cancel_on_shutdown(&mut waiter);
    assert_eq!(pin!(stopped).poll(&mut cx), Poll::Ready(None));
}

#[test]
fn abort_runs_until_the_force() {
    let shutdown = Shutdown::new();
    let (counter, waker) = Counter::new();
    let (slow, output) = Slow::new();
    let mut wrapped = Box::pin(slow.abort_on_force(shutdown.waiter()));
    assert!(poll(&mut wrapped, &waker).is_pending());
    shutdown.request_shutdown();
    assert_eq!(counter.count(), 0);
    assert!(poll(&mut wrapped, &waker).is_pending());
    shutdown.request_shutdown();
    assert_eq!(counter.count(), 1);
    assert_eq!(poll(&mut wrapped, &waker), Poll::Ready(None));
    assert_eq!(Rc::strong_count(&output), 1);

    let shutdown = Shutdown::new();
    let (slow, output) = Slow::new();
    let mut wrapped = Box::pin(slow.abort_on_force(shutdown.waiter()));
    assert!(poll(&mut wrapped, &waker).is_pending());
    shutdown.request_shutdown();
    shutdown.request_shutdown();
    output.set(Some(7));
    assert_eq!(poll(&mut wrapped, &waker), Poll::Ready(Some(7)));
}

#[test]
fn limit_runs_freely_before_the_request() {
    let shutdown = Shutdown::new();
    let (counter, waker) = Counter::new();
    let (slow, output) = Slow::new();
    let mut wrapped = Box::pin(slow.limit_on_shutdown(shutdown.waiter(), Duration::MAX));
    assert!(poll(&mut wrapped, &waker).is_pending());
    shutdown.request_shutdown();
    assert_eq!(counter.count(), 1);
    assert!(poll(&mut wrapped, &waker).is_pending(), "its time runs now");
    output.set(Some(7));
    assert_eq!(poll(&mut wrapped, &waker), Poll::Ready(Some(7)));
}

#[test]
fn limit_of_zero_ends_at_the_request() {
    let shutdown = Shutdown::new();
    let (counter, waker) = Counter::new();
    let (slow, output) = Slow::new();
    let mut wrapped = Box::pin(slow.limit_on_shutdown(shutdown.waiter(), Duration::ZERO));
    assert!(poll(&mut wrapped, &waker).is_pending());
    shutdown.request_shutdown();
    assert_eq!(counter.count(), 1);
    assert_eq!(poll(&mut wrapped, &waker), Poll::Ready(None));
    assert_eq!(Rc::strong_count(&output), 1, "dropped at once");
}

#[cfg(feature = "signals")]
#[test]
fn limit_ends_when_its_time_is_up() {
    let shutdown = Shutdown::new();
    shutdown.request_shutdown();
    let never = future::pending::<()>();
    let limited = never.limit_on_shutdown(shutdown.waiter(), Duration::from_millis(1));
    assert_eq!(future::block_on(limited), None);
}

#[test]
fn on_shutdown_calls_once_and_runs_on() {
    let shutdown = Shutdown::new();
    let (counter, waker) = Counter::new();
    let told = Cell::new(0);
    let (slow, output) = Slow::new();
    let mut wrapped = pin!(slow.on_shutdown(shutdown.waiter(), |slow: Pin<&mut Slow>| {
        told.set(told.get() + 1);
        assert!(slow.output.get().is_none());
    }));
    let mut cx = Context::from_waker(&waker);
    assert!(wrapped.as_mut().poll(&mut cx).is_pending());
    assert_eq!(told.get(), 0);
    shutdown.request_shutdown();
    assert_eq!(counter.count(), 1);
    assert!(wrapped.as_mut().poll(&mut cx).is_pending());
    assert_eq!(
        told.get(),
        0,
        "its runtime may not have heard all that the kernel has"
    );
    until("it is told", || {
        assert!(wrapped.as_mut().poll(&mut cx).is_pending());
        told.get() == 1
    });
    for _ in 0..3 {
        assert!(wrapped.as_mut().poll(&mut cx).is_pending());
        assert_eq!(told.get(), 1);
    }
    output.set(Some(7));
    assert_eq!(wrapped.as_mut().poll(&mut cx), Poll::Ready(7));
    assert_eq!(told.get(), 1);
}

/// As a connection whose next request has arrived already.
#[test]
fn on_shutdown_polls_before_it_tells() {
    let shutdown = Shutdown::new();
    shutdown.request_shutdown();
    let (told, polls) = (Cell::new(0), Cell::new(0));
    let tell = || told.set(told.get() + 1);
    let ready = async { 7 }.on_shutdown(shutdown.waiter(), |_| tell());
    assert_eq!(future::block_on(ready), 7);
    // Nor one that is ready when it is polled the second time.
    let (slow, output) = Slow::new();
    let mut soon = pin!(slow.on_shutdown(shutdown.waiter(), |_| tell()));
    let mut cx = Context::from_waker(Waker::noop());
    assert!(soon.as_mut().poll(&mut cx).is_pending());
    output.set(Some(7));
    assert_eq!(soon.as_mut().poll(&mut cx), Poll::Ready(7));
    assert_eq!(told.get(), 0, "what has ended is not told");

    let inner = future::poll_fn(|_| {
        polls.set(polls.get() + 1);
        match told.get() {
            0 => Poll::Pending,
            _ => Poll::Ready(polls.get()),
        }
    });
    // Ends only if the poll that tells it polls it afterwards: nothing else wakes it then.
    let pending = inner.on_shutdown(shutdown.waiter(), |_| {
        assert!(polls.get() >= 2, "it is polled before it is told");
        tell();
    });
    let polled = future::block_on(pending);
    assert_eq!((polled, told.get()), (polls.get(), 1));
}

#[test]
fn end_ends_the_stream_for_good() {
    let shutdown = Shutdown::new();
    let (counter, waker) = Counter::new();
    let mut cx = Context::from_waker(&waker);
    let (slow, output) = Slow::new();
    let inner = stream::once_future(slow);
    let mut items = pin!(inner.end_on_shutdown(shutdown.waiter()));
    assert!(items.as_mut().poll_next(&mut cx).is_pending());
    assert!(items.as_mut().poll_next(&mut cx).is_pending());
    shutdown.request_shutdown();
    assert_eq!(counter.count(), 1);
    output.set(Some(7));
    for _ in 0..3 {
        // The shutdown wins, though an item is there.
        assert_eq!(items.as_mut().poll_next(&mut cx), Poll::Ready(None));
    }
}

#[test]
fn end_is_fused_and_bounds_the_size_hint() {
    let shutdown = Shutdown::new();
    let mut items = stream::iter(1..=3).end_on_shutdown(shutdown.waiter());
    assert_eq!(items.size_hint(), (0, Some(3)));
    assert_eq!(future::block_on(items.next()), Some(1));
    assert_eq!(items.size_hint(), (0, Some(2)));
    assert_eq!(future::block_on((&mut items).collect::<Vec<_>>()), [2, 3]);
    assert_eq!(items.size_hint(), (0, Some(0)));
    *items.get_mut() = stream::iter(1..=3);
    assert_eq!(future::block_on(items.next()), None, "it has ended");
    assert_eq!(items.get_ref().size_hint().0, 3);
    assert_eq!(future::block_on(items.into_inner().count()), 3);

    let mut items = stream::repeat(1).end_on_shutdown(shutdown.waiter());
    assert_eq!(items.size_hint(), (0, None));
    assert_eq!(future::block_on(items.next()), Some(1));
    shutdown.request_shutdown();
    assert_eq!(future::block_on(items.next()), None);
    assert_eq!(items.size_hint(), (0, Some(0)));
}

#[test]
fn stop_ends_the_iterator_for_good() {
    let shutdown = Shutdown::new();
    let mut numbers = (1..).stop_on_shutdown(shutdown.waiter());
    assert_eq!(numbers.size_hint(), (0, None));
    assert_eq!((numbers.next(), numbers.next()), (Some(1), Some(2)));
    shutdown.request_shutdown();
    assert_eq!((numbers.next(), numbers.next()), (None, None));
    assert_eq!(numbers.size_hint(), (0, Some(0)));
    assert_eq!(numbers.into_inner().next(), Some(3), "nothing is lost");

    let shutdown = Shutdown::new();
    let mut numbers = (0..2).stop_on_shutdown(shutdown.waiter());
    assert_eq!(numbers.by_ref().count(), 2);
    *numbers.get_mut() = 0..2;
    assert_eq!(numbers.next(), None);
}

#[test]
fn wrappers_are_debug_and_send() {
    fn checks(_: impl std::fmt::Debug + Send + Sync) {}
    let shutdown = Shutdown::new();
    let waiter = shutdown.waiter();
    let ready = || std::future::ready(1);
    checks(ready().cancel_on_shutdown(waiter.clone()));
    checks(ready().abort_on_force(waiter.clone()));
    checks(ready().limit_on_shutdown(waiter.clone(), Duration::MAX));
    checks(ready().limit_on_shutdown_with(waiter.clone(), ready));
    checks(ready().until_deadline(waiter.clone()));
    checks(ready().on_shutdown(waiter.clone(), |_| ()));
    checks(stream::iter(0..1).end_on_shutdown(waiter.clone()));
    checks(stream::iter(0..1).finish_on_shutdown(waiter.clone()));
    checks((0..1).stop_on_shutdown(waiter.clone()));
    #[cfg(any(feature = "futures-io", feature = "tokio-io"))]
    checks(futures_lite::io::empty().seal_on_shutdown(waiter.clone()));
    checks(shutdown.track(ready()));
    checks(shutdown.critical("mail", ready()));
    checks(shutdown.supervise("mail", std::future::ready(Ok::<_, String>(1))));
    checks(shutdown.drained());
    checks(shutdown.drain_until(ready()));
    checks(shutdown.call_on_shutdown(|| ()));
    let guard = shutdown.drop_guard();
    checks(&guard);
    guard.disarm();
}

/// What every wrapper does when the inner value panics, when the wrapper is dropped after a poll, and
/// when it is polled after it was ready. One table has a row for each wrapper, and each test goes
/// through it.
mod every_wrapper {
    use allocation_counter::measure;
    use winddown::Guard;

    use super::*;

    /// The inner future, stream, iterator and reader, which a test controls. It holds a guard, which
    /// shows when it is dropped.
    struct Inside {
        told: Rc<Told>,
        _guard: Option<Guard>,
    }

    #[derive(Default)]
    struct Told {
        now: Cell<Now>,
        polls: Cell<u32>,
    }

    #[derive(Clone, Copy, Default)]
    enum Now {
        #[default]
        Waits,
        Ends,
        Panics,
    }

    impl Inside {
        fn poll<T>(&self, end: T) -> Poll<T> {
            self.told.polls.set(self.told.polls.get() + 1);
            match self.told.now.get() {
                Now::Waits => Poll::Pending,
                Now::Ends => Poll::Ready(end),
                Now::Panics => panic!("on purpose"),
            }
        }
    }

    impl Future for Inside {
        type Output = ();
        fn poll(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<()> {
            Self::poll(&self, ())
        }
    }

    /// The inner future, for what takes a `Result`.
    struct Fallible(Inside);

    impl Future for Fallible {
        type Output = Result<(), String>;
        fn poll(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Self::Output> {
            self.0.poll(Ok(()))
        }
    }

    impl Stream for Inside {
        type Item = ();
        fn poll_next(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Option<()>> {
            Self::poll(&self, None)
        }
    }

    impl Iterator for Inside {
        type Item = ();
        fn next(&mut self) -> Option<()> {
            // One that would have to wait has an item.
            match Self::poll(self, None) {
                Poll::Ready(end) => end,
                Poll::Pending => Some(()),
            }
        }
    }

    #[cfg(feature = "futures-io")]
    impl futures_lite::AsyncRead for Inside {
        fn poll_read(
            self: Pin<&mut Self>,
            _: &mut Context<'_>,
            _: &mut [u8],
        ) -> Poll<std::io::Result<usize>> {
            Self::poll(&self, Ok(0))
        }
    }

    #[cfg(feature = "tokio-io")]
    impl tokio::io::AsyncRead for Inside {
        fn poll_read(
            self: Pin<&mut Self>,
            _: &mut Context<'_>,
            _: &mut tokio::io::ReadBuf<'_>,
        ) -> Poll<std::io::Result<()>> {
            Self::poll(&self, Ok(()))
        }
    }

    /// What a poll after the end does.
    #[derive(Clone, Copy, Debug, PartialEq)]
    enum Again {
        /// It panics, as documented.
        Panics,
        /// The wrapper answers as before.
        Fused,
        /// The inner value is polled again.
        Inside,
    }

    /// A wrapper that was made, polled.
    type Polled = Box<dyn FnMut(&mut Context<'_>) -> Poll<()>>;

    struct Row {
        name: &'static str,
        wrap: fn(&Shutdown, Inside) -> Polled,
        /// The guards that it holds itself.
        guards: usize,
        /// How often the shutdown wakes it until it stops. Zero if it does not register.
        wakes: usize,
        /// The number of requests that stop it, and what a poll does then. `None` if none stops it.
        stopped: Option<(usize, Again)>,
        /// What a poll does once the inner value has ended.
        ended: Again,
    }

    macro_rules! table {
        ($($(#[$attribute:meta])* $name:literal:
            |$shutdown:ident, $inside:ident| $wrapped:expr, |$pinned:ident, $cx:ident| $poll:expr;
            guards $guards:literal, wakes $wakes:literal,
            stopped $stopped:expr, ended $ended:expr;)*
        ) => {
            vec![$($(#[$attribute])* Row {
                name: $name,
                wrap: |$shutdown, $inside| {
                    let mut wrapped = Box::pin($wrapped);
                    Box::new(move |$cx| {
                        let $pinned = wrapped.as_mut();
                        $poll
                    })
                },
                guards: $guards,
                wakes: $wakes,
                stopped: $stopped,
                ended: $ended,
            }),*]
        };
    }

    fn table() -> Vec<Row> {
        use Again::*;

        table! {
            "cancel_on_shutdown":
                |shutdown, inside| inside.cancel_on_shutdown(shutdown.waiter()),
                |it, cx| it.poll(cx).map(drop);
                guards 0, wakes 1, stopped Some((1, Panics)), ended Panics;
            "abort_on_force":
                |shutdown, inside| inside.abort_on_force(shutdown.waiter()),
                |it, cx| it.poll(cx).map(drop);
                guards 0, wakes 1, stopped Some((2, Panics)), ended Panics;
            "limit_on_shutdown":
                |shutdown, inside| inside.limit_on_shutdown(shutdown.waiter(), Duration::ZERO),
                |it, cx| it.poll(cx).map(drop);
                guards 0, wakes 1, stopped Some((1, Panics)), ended Panics;
            "limit_on_shutdown_with":
                |shutdown, inside| {
                    inside.limit_on_shutdown_with(shutdown.waiter(), || future::ready(()))
                },
                |it, cx| it.poll(cx).map(drop);
                guards 0, wakes 1, stopped Some((1, Panics)), ended Panics;
            "until_deadline":
                |shutdown, inside| inside.until_deadline(shutdown.waiter()),
                |it, cx| it.poll(cx).map(drop);
                guards 0, wakes 2, stopped Some((2, Panics)), ended Panics;
            "on_shutdown":
                |shutdown, inside| inside.on_shutdown(shutdown.waiter(), |_| ()),
                |it, cx| it.poll(cx);
                guards 0, wakes 1, stopped None, ended Inside;
            "end_on_shutdown":
                |shutdown, inside| inside.end_on_shutdown(shutdown.waiter()),
                |it, cx| it.poll_next(cx).map(|item| assert!(item.is_none()));
                guards 0, wakes 1, stopped Some((1, Fused)), ended Fused;
            "finish_on_shutdown":
                |shutdown, inside| inside.finish_on_shutdown(shutdown.waiter()),
                |it, cx| it.poll_next(cx).map(|item| assert!(item.is_none()));
                guards 0, wakes 1, stopped Some((1, Fused)), ended Fused;
            "stop_on_shutdown":
                |shutdown, inside| inside.stop_on_shutdown(shutdown.waiter()),
                |it, _cx| match it.get_mut().next() {
                    Some(()) => Poll::Pending,
                    None => Poll::Ready(()),
                };
                guards 0, wakes 0, stopped Some((1, Fused)), ended Fused;
            #[cfg(feature = "futures-io")]
            "seal_on_shutdown for futures-io":
                |shutdown, inside| inside.seal_on_shutdown(shutdown.waiter()),
                |it, cx| futures_lite::AsyncRead::poll_read(it, cx, &mut [0])
                    .map(|read| assert_eq!(read.unwrap(), 0));
                guards 0, wakes 1, stopped Some((1, Fused)), ended Inside;
            #[cfg(feature = "tokio-io")]
            "seal_on_shutdown for tokio":
                |shutdown, inside| inside.seal_on_shutdown(shutdown.waiter()),
                |it, cx| {
                    let mut buffer = [0];
                    let mut buffer = tokio::io::ReadBuf::new(&mut buffer);
                    tokio::io::AsyncRead::poll_read(it, cx, &mut buffer).map(|read| {
                        read.unwrap();
                        assert!(buffer.filled().is_empty());
                    })
                };
                guards 0, wakes 1, stopped Some((1, Fused)), ended Inside;
            "track":
                |shutdown, inside| shutdown.track(inside),
                |it, cx| it.poll(cx);
                guards 1, wakes 0, stopped None, ended Panics;
            "critical":
                |shutdown, inside| shutdown.critical("mail", inside),
                |it, cx| it.poll(cx);
                guards 0, wakes 0, stopped None, ended Inside;
            "supervise":
                |shutdown, inside| shutdown.supervise("mail", Fallible(inside)),
                |it, cx| it.poll(cx).map(Result::unwrap);
                guards 0, wakes 0, stopped None, ended Inside;
        }
    }

    /// A wrapper half-way: made, and polled once.
    struct HalfWay {
        name: &'static str,
        shutdown: Shutdown,
        wakes: Arc<Counter>,
        waker: Waker,
        told: Rc<Told>,
        polled: Polled,
    }

    impl HalfWay {
        fn new(row: &Row, shutdown: &Shutdown) -> Self {
            let told = Rc::<Told>::default();
            let inside = Inside {
                told: told.clone(),
                _guard: shutdown.guard(),
            };
            let (wakes, waker) = Counter::new();
            let mut this = Self {
                name: row.name,
                shutdown: shutdown.clone(),
                wakes,
                waker,
                told,
                polled: (row.wrap)(shutdown, inside),
            };
            assert!(this.poll().is_pending(), "{}", this.name);
            assert_eq!(shutdown.in_flight(), 1 + row.guards, "{}", this.name);
            this.is_registered(row.wakes > 0);
            this
        }

        fn poll(&mut self) -> Poll<()> {
            (self.polled)(&mut Context::from_waker(&self.waker))
        }

        /// Polls it, and returns what it panics with.
        fn panic(&mut self) -> Option<String> {
            let poll = catch_unwind(AssertUnwindSafe(|| self.poll()));
            let payload = poll.err()?;
            let text = payload.downcast_ref::<&str>().copied().map(str::to_owned);
            text.or_else(|| payload.downcast_ref::<String>().cloned())
        }

        fn is_registered(&self, registered: bool) {
            let wakers = Arc::strong_count(&self.wakes);
            assert_eq!(wakers, 2 + usize::from(registered), "{}", self.name);
        }

        /// Drops the wrapper as `drops` does: nothing of it is left, and it wakes no task.
        fn leaves_nothing_after(self, drops: impl FnOnce(Polled)) {
            let Self { name, polled, .. } = self;
            let mut wakes = self.wakes.count();
            drops(polled);
            assert_eq!(Rc::strong_count(&self.told), 1, "{name}");
            if matches!(name, "on_shutdown" | "finish_on_shutdown") {
                // async-io takes the waker of a timer out when it next looks at its timers.
                until("the timer is gone", || Arc::strong_count(&self.wakes) == 2);
                wakes = self.wakes.count();
            }
            assert_eq!(Arc::strong_count(&self.wakes), 2, "{name}");
            assert_eq!(self.shutdown.in_flight(), 0, "{name}");
            for _ in 0..2 {
                self.shutdown.request_shutdown();
            }
            assert_eq!(self.wakes.count(), wakes, "{name}");
            assert!(self.shutdown.drain_blocking(Duration::ZERO).is_ok());
        }

        fn answers(&mut self, again: Again) {
            let name = self.name;
            let inside = Rc::strong_count(&self.told) == 2;
            for _ in 0..3 {
                let polls = self.told.polls.get();
                if again == Again::Panics {
                    assert_eq!(self.panic().unwrap(), "polled after it was ready", "{name}");
                    assert!(!inside, "{name}: it was dropped at once");
                } else {
                    assert!(self.poll().is_ready(), "{name}");
                }
                let more = u32::from(again == Again::Inside);
                assert_eq!(self.told.polls.get(), polls + more, "{name}");
            }
        }
    }

    /// Only a critical or supervised one begins the shutdown, by its failure. A supervised one may end.
    fn rang(row: &Row, shutdown: &Shutdown, fate: &str) {
        let fails = match row.name {
            "critical" => true,
            "supervise" => fate != "ended",
            _ => false,
        };
        let failure = fails.then(|| format!("task 'mail' {fate}"));
        let cause = shutdown.cause();
        assert_eq!(
            cause.as_ref().map(ToString::to_string),
            failure,
            "{}",
            row.name
        );
        assert_eq!(
            cause.is_some_and(|cause| cause.error().is_some()),
            fails,
            "{}",
            row.name
        );
    }

    #[test]
    fn inner_panic_is_passed_on_and_the_wrapper_can_be_dropped() {
        for row in table() {
            let shutdown = Shutdown::new();
            let mut half_way = HalfWay::new(&row, &shutdown);
            half_way.told.now.set(Now::Panics);
            assert_eq!(half_way.panic().unwrap(), "on purpose", "{}", row.name);
            assert_eq!(half_way.shutdown.cause(), None, "{}: it lives", row.name);
            assert_eq!(shutdown.in_flight(), 1 + row.guards, "{}", row.name);
            half_way.leaves_nothing_after(|polled| {
                drop(polled);
                rang(&row, &shutdown, "panicked");
            });
        }
    }

    #[test]
    fn inner_panic_drops_the_wrapper() {
        for row in table() {
            let shutdown = Shutdown::new();
            let half_way = HalfWay::new(&row, &shutdown);
            half_way.told.now.set(Now::Panics);
            let waker = half_way.waker.clone();
            half_way.leaves_nothing_after(|mut polled| {
                // As an executor does that catches panics, or a thread that dies of one.
                let result = catch_unwind(AssertUnwindSafe(move || {
                    let _ = polled(&mut Context::from_waker(&waker));
                    unreachable!("it panics");
                }));
                let payload = result.unwrap_err();
                assert_eq!(*payload.downcast_ref::<&str>().unwrap(), "on purpose");
                rang(&row, &shutdown, "panicked");
            });
        }
    }

    #[test]
    fn drop_after_a_poll_leaves_nothing() {
        for row in table() {
            let shutdown = Shutdown::new();
            HalfWay::new(&row, &shutdown).leaves_nothing_after(|polled| {
                drop(polled);
                rang(&row, &shutdown, "was dropped");
            });
        }
    }

    #[test]
    fn g10_drop_after_a_poll_leaves_no_memory() {
        for row in table() {
            let shutdown = Shutdown::new();
            // What the shutdown keeps is there after the first: a line of guards, the cause.
            drop(HalfWay::new(&row, &shutdown));
            let info = measure(|| (0..1_000).for_each(|_| drop(HalfWay::new(&row, &shutdown))));
            assert_eq!(info.bytes_current, 0, "{}", row.name);
        }
    }

    #[test]
    fn ends_with_the_inner() {
        for row in table() {
            let shutdown = Shutdown::new();
            let mut half_way = HalfWay::new(&row, &shutdown);
            half_way.told.now.set(Now::Ends);
            assert!(half_way.poll().is_ready(), "{}", row.name);
            rang(&row, &shutdown, "ended");
            // Its own guard is released now, and that inside if it was dropped.
            let inside = usize::from(row.ended != Again::Panics);
            assert_eq!(shutdown.in_flight(), inside, "{}", row.name);
            half_way.answers(row.ended);
            rang(&row, &shutdown, "ended");
            half_way.leaves_nothing_after(drop);
        }
    }

    #[test]
    fn stops_or_runs_on_as_its_row_says() {
        for row in table() {
            let shutdown = Shutdown::new();
            let mut half_way = HalfWay::new(&row, &shutdown);
            let (requests, again) = row.stopped.unzip();
            let mut wakes = row.wakes;
            for request in 1..=2 {
                assert!(shutdown.request_shutdown());
                let stopped = requests.is_some_and(|requests| requests <= request);
                if !stopped {
                    assert!(half_way.poll().is_pending(), "{}", row.name);
                    continue;
                }
                assert_eq!(half_way.wakes.count(), wakes, "{}", row.name);
                half_way.is_registered(false);
                if requests == Some(request) {
                    if row.name == "finish_on_shutdown" {
                        until("it has lingered", || half_way.poll().is_ready());
                    }
                    assert!(half_way.poll().is_ready(), "{}", row.name);
                }
                half_way.answers(again.unwrap());
                wakes = half_way.wakes.count(); // it may have woken itself
            }
            half_way.leaves_nothing_after(drop);
        }
    }
}

/// What others expect of us; compiled so that no change can break it unseen.
#[cfg(feature = "signals")]
mod signatures {
    use hyper::body::Incoming;
    use hyper::service::service_fn;
    use hyper::{Request, Response};
    use hyper_util::rt::{TokioExecutor, TokioIo};
    use tokio::io::DuplexStream;

    use super::*;

    async fn answer(_: Request<Incoming>) -> Result<Response<String>, hyper::Error> {
        Ok(Response::new(String::new()))
    }

    fn io() -> TokioIo<DuplexStream> {
        TokioIo::new(tokio::io::duplex(64).0)
    }

    async fn ends<T>(wrapped: impl Future<Output = T>) {
        // The peer is gone, so each connection ends at once.
        let _ = wrapped.await;
    }

    #[tokio::test]
    async fn hyper_http1() {
        use hyper::server::conn::http1::{Builder, Connection};
        let conn = Builder::new().serve_connection(io(), service_fn(answer));
        ends(conn.on_shutdown(Shutdown::new().waiter(), Connection::graceful_shutdown)).await;
    }

    #[tokio::test]
    async fn hyper_http2() {
        use hyper::server::conn::http2::{Builder, Connection};
        let conn = Builder::new(TokioExecutor::new()).serve_connection(io(), service_fn(answer));
        ends(conn.on_shutdown(Shutdown::new().waiter(), Connection::graceful_shutdown)).await;
    }

    #[tokio::test]
    async fn hyper_util_auto() {
        use hyper_util::server::conn::auto::{Builder, Connection};
        let builder = Builder::new(TokioExecutor::new());
        let conn = builder.serve_connection(io(), service_fn(answer));
        ends(conn.on_shutdown(Shutdown::new().waiter(), Connection::graceful_shutdown)).await;
    }

    #[tokio::test]
    async fn axum_takes_a_waiter() {
        let shutdown = Shutdown::new();
        shutdown.request_shutdown();
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        axum::serve(listener, axum::Router::new())
            .with_graceful_shutdown(shutdown.waiter())
            .await
            .unwrap();
    }

    /// As `tonic::transport::Server::serve_with_shutdown` and warp, poem, kube.
    #[tokio::test]
    async fn tonic_shaped() {
        async fn serve_with_shutdown(signal: impl Future<Output = ()>) {
            signal.await;
        }
        let shutdown = Shutdown::new();
        shutdown.request_shutdown();
        serve_with_shutdown(shutdown.waiter()).await;
    }

    /// `listener.incoming()` of an accept loop.
    #[test]
    fn accept_loop_ends() {
        smol::block_on(async {
            let shutdown = Shutdown::new();
            let listener = smol::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
            let address = listener.local_addr().unwrap();
            let mut incoming = listener.incoming().end_on_shutdown(shutdown.waiter());
            let (peer, accepted) =
                future::zip(smol::net::TcpStream::connect(address), incoming.next()).await;
            assert!(peer.is_ok() && accepted.unwrap().is_ok());
            let end = future::zip(incoming.next(), async {
                shutdown.request_shutdown();
            });
            assert!(end.await.0.is_none());
        });
    }
}
