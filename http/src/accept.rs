//! The accept loop.

use std::io::{self, ErrorKind};
use std::pin::{Pin, pin};
use std::time::Duration;

use futures_lite::{FutureExt, Stream, StreamExt, future};
use hyper::rt::Timer;

use crate::slots::Slots;
use crate::timer::SharedTimer;

/// How long the loop waits after an error that the next attempt would meet again, unless a connection
/// ends before.
const RETRY: Duration = Duration::from_millis(100);

/// For how long the queue is taken after the stop. The runtime may not know yet what the kernel has, and
/// handshakes that have begun may end.
const TAKE: Duration = Duration::from_millis(50);

/// How many errors in a row, each of one connection, may be met without a pause.
const ERRORS: u32 = 16;

/// After how many connections the tasks of the executor have a turn. A listener that always has one would keep
/// the only thread of an executor from them.
const TURN: u32 = 16;

/// How many connections are accepted after the stop: a queue that is as long as Linux makes one by
/// default (`net.core.somaxconn`, 4,096 since 5.4).
const QUEUE: u32 = 4096;

/// Accepts connections until `stop` is ready, and then the connections that the kernel has accepted already.
/// These have until `give_up` is ready to find room.
///
/// Right after the last look at the queue it drops the listener.
///
/// # Errors
///
/// That of a listener that can't go on, or of one whose queue was left, with what kept the loop from taking it.
pub(crate) async fn accept<St, I>(
    mut incoming: Pin<Box<St>>,
    stop: impl Future + Unpin,
    slots: &Slots,
    timer: &SharedTimer,
    give_up: impl Future,
    spawn: impl FnMut(I),
) -> io::Result<()>
where
    St: Stream<Item = io::Result<I>>,
{
    let mut accept = Accept {
        slots,
        timer,
        spawn,
        errors: 0,
        accepted: 0,
    };
    if accept.until(stop, &mut incoming).await? == Ended::Incoming {
        return Ok(());
    }
    // A thread that has slept is less likely to lose the processor between the last look and the close.
    let taken = timer.sleep(TAKE);
    if accept.until(taken, &mut incoming).await? == Ended::Incoming {
        return Ok(());
    }
    let ended = accept.queue(pin!(give_up), &mut incoming).await;
    // Before `spawn`: a service of the program takes its time to be dropped.
    drop(incoming);
    ended
}

/// What ended a part of the loop.
#[derive(PartialEq, Eq)]
enum Ended {
    Incoming,
    Until,
}

struct Accept<'a, F> {
    slots: &'a Slots,
    timer: &'a SharedTimer,
    spawn: F,
    /// The errors in a row.
    errors: u32,
    /// The connections, for `TURN`.
    accepted: u32,
}

impl<F> Accept<'_, F> {
    /// Accepts connections until a future is ready.
    async fn until<I>(
        &mut self,
        mut until: impl Future + Unpin,
        incoming: &mut (impl Stream<Item = io::Result<I>> + Unpin),
    ) -> io::Result<Ended>
    where
        F: FnMut(I),
    {
        loop {
            let next = async {
                self.slots.room().await;
                incoming.next().await
            };
            match first(&mut until, next).await {
                None => return Ok(Ended::Until),
                Some(None) => return Ok(Ended::Incoming),
                Some(Some(accepted)) => {
                    if self.take(accepted, &mut until).await?.is_none() {
                        return Ok(Ended::Until);
                    }
                }
            }
        }
    }

    /// Accepts the connections that are ready, as there is room for them. It is an error if some may be left
    /// when `until` is ready.
    async fn queue<I>(
        &mut self,
        mut until: impl Future + Unpin,
        incoming: &mut (impl Stream<Item = io::Result<I>> + Unpin),
    ) -> io::Result<()>
    where
        F: FnMut(I),
    {
        for _ in 0..QUEUE {
            if first(&mut until, self.slots.room()).await.is_none() {
                break;
            }
            match future::poll_once(incoming.next()).await {
                Some(Some(accepted)) => {
                    if self.take(accepted, &mut until).await?.is_none() {
                        break;
                    }
                }
                None | Some(None) => return Ok(()),
            }
        }
        match future::poll_once(incoming.next()).await {
            // Without a descriptor, it is the same error whether or not there is a connection.
            Some(Some(Err(error))) => Err(error),
            Some(Some(Ok(io))) => {
                // One too many, but another process that has the listener would have served it.
                (self.spawn)(io);
                let message = "more may be left in the queue of the listener";
                Err(io::Error::other(message))
            }
            None | Some(None) => Ok(()),
        }
    }

    /// Spawns the task of a connection, or waits until it makes sense to try again. Returns `None` if
    /// `until` was ready meanwhile, which must not be polled again then.
    async fn take<I>(
        &mut self,
        accepted: io::Result<I>,
        until: impl Future + Unpin,
    ) -> io::Result<Option<()>>
    where
        F: FnMut(I),
    {
        let error = match accepted {
            Ok(io) => {
                self.errors = 0;
                (self.spawn)(io);
                self.accepted = self.accepted.wrapping_add(1);
                if self.accepted % TURN == 0 {
                    future::yield_now().await;
                }
                return Ok(Some(()));
            }
            Err(error) => error,
        };
        self.errors += 1;
        match kind(&error) {
            Kind::Listener => Err(error),
            Kind::Connection if self.errors < ERRORS => Ok(Some(())),
            Kind::Connection | Kind::Shortage => {
                let retry = self.slots.next_end().or(self.timer.sleep(RETRY));
                Ok(first(until, retry).await)
            }
        }
    }
}

/// Returns the output of `work`, or `None` if `until` is ready first.
async fn first<T>(until: impl Future, work: impl Future<Output = T>) -> Option<T> {
    let until = async {
        until.await;
        None
    };
    let work = async { Some(work.await) };
    until.or(work).await
}

/// What an error of `accept` is about.
#[derive(Debug, PartialEq, Eq)]
enum Kind {
    /// The connection that was to be accepted. The next one may be well.
    Connection,
    /// Descriptors, or memory. It passes.
    Shortage,
    /// The listener itself.
    Listener,
}

fn kind(error: &io::Error) -> Kind {
    match error.kind() {
        ErrorKind::ConnectionAborted
        | ErrorKind::ConnectionReset
        | ErrorKind::ConnectionRefused
        | ErrorKind::Interrupted
        | ErrorKind::TimedOut => Kind::Connection,
        ErrorKind::InvalidInput | ErrorKind::Unsupported => Kind::Listener,
        _ => match error.raw_os_error() {
            // EBADF
            Some(9) if cfg!(unix) => Kind::Listener,
            Some(_) => Kind::Shortage,
            // A stream's own error, such as that of a handshake.
            None => Kind::Connection,
        },
    }
}

// The numbers are Linux's.
#[cfg(all(test, target_os = "linux"))]
mod tests {
    use super::*;

    #[test]
    fn error_kinds() {
        let of = |code| kind(&io::Error::from_raw_os_error(code));
        // ECONNABORTED, ECONNRESET, ETIMEDOUT
        assert!(
            [103, 104, 110]
                .map(of)
                .iter()
                .all(|kind| *kind == Kind::Connection)
        );
        // ENFILE, EMFILE, ENOBUFS, ENOMEM
        assert!(
            [23, 24, 105, 12]
                .map(of)
                .iter()
                .all(|kind| *kind == Kind::Shortage)
        );
        // EBADF, EINVAL, EOPNOTSUPP
        assert!(
            [9, 22, 95]
                .map(of)
                .iter()
                .all(|kind| *kind == Kind::Listener)
        );
        assert_eq!(kind(&io::Error::other("handshake")), Kind::Connection);
    }
}

#[cfg(test)]
mod loop_tests {
    use std::collections::VecDeque;
    use std::sync::atomic::{AtomicBool, Ordering};
    use std::sync::{Arc, Mutex};
    use std::task::{Context, Poll, Waker};
    use std::time::Instant;

    use futures_lite::stream;
    use hyper::rt::Sleep;

    use super::*;

    /// Notes the times that are waited for. They are over at once, or never.
    #[derive(Clone, Default)]
    struct Clock {
        sleeps: Arc<Mutex<Vec<Duration>>>,
        stands: Arc<AtomicBool>,
    }

    struct Slept(bool);

    impl Future for Slept {
        type Output = ();

        fn poll(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<()> {
            match self.0 {
                true => Poll::Ready(()),
                false => Poll::Pending,
            }
        }
    }

    impl Sleep for Slept {}

    impl Timer for Clock {
        fn sleep(&self, time: Duration) -> Pin<Box<dyn Sleep>> {
            self.sleeps.lock().unwrap().push(time);
            Box::pin(Slept(!self.stands.load(Ordering::Relaxed)))
        }

        fn sleep_until(&self, _: Instant) -> Pin<Box<dyn Sleep>> {
            unreachable!("the loop waits for no such time")
        }
    }

    /// What the listener gives out, one after the other. Then it ends.
    #[derive(Clone, Copy)]
    enum Gives {
        Connection,
        Error(ErrorKind),
        NoDescriptor,
    }

    fn listener(
        gives: impl IntoIterator<Item = Gives>,
    ) -> Pin<Box<impl Stream<Item = io::Result<()>>>> {
        let mut gives: VecDeque<_> = gives.into_iter().collect();
        Box::pin(stream::poll_fn(move |_| {
            Poll::Ready(gives.pop_front().map(|next| match next {
                Gives::Connection => Ok(()),
                Gives::Error(kind) => Err(kind.into()),
                Gives::NoDescriptor => Err(io::Error::from_raw_os_error(24)),
            }))
        }))
    }

    fn poll<F: Future>(future: Pin<&mut F>) -> Poll<F::Output> {
        future.poll(&mut Context::from_waker(Waker::noop()))
    }

    /// Mutations: a connection does not end the errors in a row; there may be any number of them.
    #[test]
    fn many_errors_in_a_row_are_met_with_a_pause() {
        let errors = |count: u32| (0..count).map(|_| Gives::Error(ErrorKind::ConnectionAborted));
        for (row, pauses) in [(ERRORS - 1, 0), (ERRORS, 2), (ERRORS + 1, 4)] {
            let both = errors(row).chain([Gives::Connection]).chain(errors(row));
            let (clock, slots) = (Clock::default(), Slots::new(9));
            let timer = SharedTimer::new(clock.clone());
            let mut spawned = 0;
            let never = Box::pin(future::pending::<()>());
            let end = accept(listener(both), never, &slots, &timer, async {}, |()| {
                spawned += 1
            });
            future::block_on(end).unwrap();
            assert_eq!(*clock.sleeps.lock().unwrap(), vec![RETRY; pauses], "{row}");
            assert_eq!(spawned, 1);
        }
    }

    /// Mutation: the loop waits for `RETRY` alone.
    #[test]
    fn shortage_is_over_when_a_connection_ends() {
        let (clock, slots) = (Clock::default(), Slots::new(9));
        clock.stands.store(true, Ordering::Relaxed);
        let timer = SharedTimer::new(clock);
        let open = slots.take();
        let never = Box::pin(future::pending::<()>());
        let gives = listener([Gives::NoDescriptor, Gives::Connection]);
        let mut end = pin!(accept(gives, never, &slots, &timer, async {}, |()| {}));
        assert!(poll(end.as_mut()).is_pending());
        assert!(poll(end.as_mut()).is_pending());
        drop(open);
        assert!(matches!(poll(end.as_mut()), Poll::Ready(Ok(()))));
    }

    /// Mutation: the loop never yields.
    #[test]
    fn tasks_have_a_turn_between_connections() {
        let (clock, slots) = (Clock::default(), Slots::new(999));
        let timer = SharedTimer::new(clock);
        let spawned = Mutex::new(0);
        let never = Box::pin(future::pending::<()>());
        let gives = listener([Gives::Connection; 40]);
        let spawn = |()| *spawned.lock().unwrap() += 1;
        let mut end = pin!(accept(gives, never, &slots, &timer, async {}, spawn));
        for so_far in [TURN, 2 * TURN] {
            assert!(poll(end.as_mut()).is_pending());
            assert_eq!(*spawned.lock().unwrap(), so_far);
        }
        assert!(poll(end.as_mut()).is_ready());
    }

    /// Mutations: what is left is no error; the one more is dropped.
    #[test]
    fn queue_that_is_left_is_an_error() {
        for (left, more) in [(Gives::Connection, 1), (Gives::NoDescriptor, 0)] {
            let (clock, slots) = (Clock::default(), Slots::new(0)); // no room
            let timer = SharedTimer::new(clock.clone());
            let mut spawned = 0;
            let stopped = Box::pin(async {});
            let end = accept(listener([left]), stopped, &slots, &timer, async {}, |()| {
                spawned += 1
            });
            assert!(future::block_on(end).is_err());
            assert_eq!(spawned, more);
            assert_eq!(*clock.sleeps.lock().unwrap(), [TAKE]);
        }
    }
}
