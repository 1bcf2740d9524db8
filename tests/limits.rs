//! What ends by time: `until_deadline`, and drains and limits with a timer of the user's own.

mod support;

use std::future::{pending, ready};
use std::pin::pin;
use std::task::{Context, Poll, Waker};
use std::time::{Duration, Instant};

use futures_lite::future;
use support::{Counter, HOUR, PATIENCE, poll, until};
use winddown::{Builder, DrainErrorKind, Shutdown, ShutdownExt, Stage};

const MOMENT: Duration = Duration::from_millis(1);
const HALF_A_MINUTE: Duration = Duration::from_secs(30);

fn grace(time: Duration) -> Builder {
    Shutdown::builder().grace_period(time)
}

/// Polls it every millisecond until it is ready. Without the feature `signals` no timer wakes it.
fn in_time<F: Future>(future: F) -> F::Output {
    let (mut future, mut output) = (pin!(future), None);
    until("it is ready", || {
        match future
            .as_mut()
            .poll(&mut Context::from_waker(Waker::noop()))
        {
            Poll::Ready(ready) => output = Some(ready),
            Poll::Pending => {}
        }
        output.is_some()
    });
    output.expect("it is ready")
}

/// A server that can't bind its port, and one that has ended after a request.
#[test]
fn until_deadline_ends_with_the_future() {
    let shutdown = grace(HOUR).build();
    let fails = || future::yield_now();
    assert_eq!(
        future::block_on(fails().until_deadline(shutdown.waiter())),
        Some(())
    );
    assert!(!shutdown.is_requested(), "it requests nothing");
    shutdown.trigger("enough");
    let stops = async {
        shutdown.waiter().await;
        future::yield_now().await;
        7
    };
    assert_eq!(
        future::block_on(stops.until_deadline(shutdown.waiter())),
        Some(7)
    );
}

#[test]
fn until_deadline_drops_the_future_at_the_deadline() {
    let shutdown = grace(MOMENT).build();
    let (held, holds) = smol::channel::bounded::<()>(1);
    let never = async move {
        let _held = held;
        pending::<()>().await;
    };
    let mut server = Box::pin(never.until_deadline(shutdown.waiter()));
    let (counter, waker) = Counter::new();
    assert!(poll(&mut server, &waker).is_pending());
    shutdown.trigger("enough");
    assert_eq!(counter.count(), 1, "it is woken when its time begins");
    assert_eq!(in_time(&mut server), None);
    assert!(Instant::now() >= shutdown.deadline().unwrap());
    assert!(holds.is_closed(), "dropped at once");
    assert!(!shutdown.is_forced());
}

#[cfg(feature = "signals")]
#[test]
fn deadline_wakes_a_task_until_deadline() {
    let shutdown = grace(MOMENT).build();
    let server = pending::<()>().until_deadline(shutdown.waiter());
    let task = std::thread::spawn(|| future::block_on(server));
    shutdown.trigger("enough");
    assert_eq!(support::in_time(|| task.join()).unwrap(), None);
}

#[test]
fn until_deadline_looks_before_its_first_poll() {
    let shutdown = grace(Duration::ZERO).build();
    shutdown.trigger("enough");
    let never_polled = future::poll_fn(|_| -> Poll<()> { panic!("it is polled") });
    assert_eq!(
        future::block_on(never_polled.until_deadline(shutdown.waiter())),
        None
    );
    // After that a finished output wins.
    let shutdown = grace(Duration::ZERO).build();
    let mut polls = 0;
    let second = future::poll_fn(|_| {
        polls += 1;
        if polls == 1 {
            Poll::Pending
        } else {
            Poll::Ready(7)
        }
    });
    let mut server = second.until_deadline(shutdown.waiter());
    assert!(poll(&mut server, Waker::noop()).is_pending());
    shutdown.trigger("enough");
    assert_eq!(poll(&mut server, Waker::noop()), Poll::Ready(Some(7)));
}

/// The phase above it is requested alone, which begins the grace period of both.
///
/// Mutation: `Node::parents_of_phases` returns the last alone.
#[test]
fn until_deadline_of_a_phase_in_a_phase_ends_with_the_one_above() {
    let shutdown = grace(MOMENT).build();
    let tenant = shutdown.phase("tenant").build();
    let metrics = tenant.phase("metrics").by_hand().build();
    let mut limited = pin!(pending::<()>().until_deadline(metrics.waiter()));
    assert!(poll(&mut limited, Waker::noop()).is_pending());
    assert!(tenant.trigger("the tenant leaves"));
    assert_eq!(in_time(limited), None);
}

#[test]
fn drained_of_a_phase_that_is_never_asked_ends_at_the_deadline() {
    let shutdown = grace(MOMENT).build();
    let phase = shutdown.phase("by hand").by_hand().build();
    let _guard = phase.guard();
    let (counter, waker) = Counter::new();
    let mut drained = phase.drained();
    assert!(poll(&mut drained, &waker).is_pending());
    shutdown.trigger("enough");
    assert_eq!(counter.count(), 1, "it is woken when its time begins");
    let late = in_time(drained).unwrap_err();
    assert_eq!(late.kind, DrainErrorKind::TimedOut);
    assert!(Instant::now() >= shutdown.deadline().unwrap());
    assert!(!phase.is_requested());
}

#[test]
fn whole_requested_is_woken_by_each_request_above() {
    for level in 0..3 {
        let shutdown = Shutdown::builder().lame_duck(HOUR).build();
        let tenant = shutdown.phase("tenant").by_hand().build();
        let metrics = tenant.phase("metrics").by_hand().build();
        let waiter = metrics.waiter();
        let (counter, waker) = Counter::new();
        let mut requested = metrics.whole_requested();
        assert!(poll(&mut requested, &waker).is_pending());
        assert!(!waiter.is_whole_requested() && !metrics.is_whole_requested());
        [&shutdown, &tenant, &metrics][level].request_shutdown();
        assert_eq!(counter.count(), 1);
        assert!(poll(&mut requested, &waker).is_ready());
        assert!(waiter.is_whole_requested() && metrics.is_whole_requested());
        assert_eq!(waiter.is_requested(), level == 2);
    }
}

#[test]
fn until_deadline_ends_before_the_lame_duck() {
    let shutdown = grace(MOMENT).lame_duck(HOUR).build();
    let mut server = pending::<()>().until_deadline(shutdown.child().waiter());
    assert!(poll(&mut server, Waker::noop()).is_pending());
    shutdown.trigger("enough");
    assert_eq!(in_time(server), None);
    assert_eq!(shutdown.stage(), Stage::Requested);
}

#[test]
fn until_deadline_ends_with_the_force_alone_without_a_grace_period() {
    for shutdown in [
        Shutdown::new(),
        grace(Duration::MAX).build(),
        grace(HOUR).build(),
    ] {
        let (counter, waker) = Counter::new();
        let mut server = pending::<()>().until_deadline(shutdown.waiter());
        assert!(poll(&mut server, &waker).is_pending());
        shutdown.request_shutdown();
        assert!(poll(&mut server, &waker).is_pending());
        let wakes = counter.count();
        shutdown.request_shutdown();
        assert_eq!(counter.count(), wakes + 1);
        assert_eq!(poll(&mut server, &waker), Poll::Ready(None));
    }
}

/// Forced before it was polled for the request.
#[test]
fn until_deadline_sees_a_force_that_comes_with_the_request() {
    let shutdown = grace(HOUR).build();
    let mut server = pending::<()>().until_deadline(shutdown.waiter());
    assert!(poll(&mut server, Waker::noop()).is_pending());
    shutdown.request_shutdown();
    shutdown.request_shutdown();
    assert_eq!(poll(&mut server, Waker::noop()), Poll::Ready(None));
}

#[test]
fn until_deadline_takes_a_borrowed_waiter() {
    let shutdown = Shutdown::new();
    let mut waiter = shutdown.waiter();
    assert_eq!(
        future::block_on(ready(1).until_deadline(&mut waiter)),
        Some(1)
    );
    shutdown.request_shutdown();
    future::block_on(&mut waiter);
}

#[test]
fn drain_until_ends_with_the_work_or_its_event() {
    let shutdown = Shutdown::new();
    let guard = shutdown.guard();
    let (counter, waker) = Counter::new();
    let (event, happens) = smol::channel::bounded::<()>(1);
    let mut early = Box::pin(shutdown.drain_until(happens.recv()));
    let mut drain = Box::pin(shutdown.drain_until(pending::<()>()));
    assert!(poll(&mut drain, &waker).is_pending());
    assert!(poll(&mut early, &waker).is_pending());
    drop(event);
    assert_eq!(counter.count(), 1);
    for _ in 0..2 {
        let Poll::Ready(Err(error)) = poll(&mut early, &waker) else {
            panic!("its time is up");
        };
        assert_eq!(
            (error.kind, error.report.guards()),
            (DrainErrorKind::TimedOut, 1)
        );
    }
    assert!(poll(&mut drain, &waker).is_pending());
    drop(guard);
    assert_eq!(counter.count(), 2);
    assert_eq!(poll(&mut drain, &waker), Poll::Ready(Ok(())));
    assert_eq!(
        poll(&mut early, &waker),
        Poll::Ready(Ok(())),
        "it tries again"
    );
    assert!(shutdown.guard().is_none());
}

#[test]
fn drain_until_prefers_the_end_of_the_work() {
    let shutdown = Shutdown::new();
    assert_eq!(future::block_on(shutdown.drain_until(ready(()))), Ok(()));

    let shutdown = Shutdown::new();
    let _guard = shutdown.guard();
    for _ in 0..2 {
        shutdown.request_shutdown();
    }
    let forced = future::block_on(shutdown.drain_until(pending::<()>()));
    assert_eq!(forced.unwrap_err().kind, DrainErrorKind::Forced);
}

/// It does not wait for the request, as `drained` does.
#[test]
fn drain_until_closes_before_the_request() {
    let shutdown = Shutdown::builder().lame_duck(HOUR).build();
    assert_eq!(
        future::block_on(shutdown.drain_until(pending::<()>())),
        Ok(())
    );
    assert!(shutdown.guard().is_none() && !shutdown.is_requested());
}

#[test]
fn limit_with_a_timer_makes_it_at_the_shutdown() {
    let shutdown = Shutdown::new();
    let (counter, waker) = Counter::new();
    let mut made = 0;
    let (event, happens) = smol::channel::bounded::<()>(1);
    let timer = || {
        made += 1;
        happens.recv()
    };
    let mut limited = Box::pin(pending::<()>().limit_on_shutdown_with(shutdown.waiter(), timer));
    assert!(poll(&mut limited, &waker).is_pending());
    event.try_send(()).unwrap();
    assert!(
        poll(&mut limited, &waker).is_pending(),
        "there is no timer yet"
    );
    assert_eq!(happens.try_recv(), Ok(()));
    shutdown.request_shutdown();
    assert_eq!(counter.count(), 1);
    for _ in 0..3 {
        assert!(poll(&mut limited, &waker).is_pending());
    }
    event.try_send(()).unwrap();
    assert_eq!(counter.count(), 2);
    assert_eq!(poll(&mut limited, &waker), Poll::Ready(None));
    drop(limited);
    assert_eq!(made, 1);
}

#[test]
fn limit_with_a_timer_prefers_a_finished_output() {
    let shutdown = Shutdown::new();
    let mut polls = 0;
    let third = future::poll_fn(|_| {
        polls += 1;
        if polls < 3 {
            Poll::Pending
        } else {
            Poll::Ready(7)
        }
    });
    let mut limited = Box::pin(third.limit_on_shutdown_with(shutdown.waiter(), future::yield_now));
    assert!(poll(&mut limited, Waker::noop()).is_pending());
    shutdown.request_shutdown();
    assert!(poll(&mut limited, Waker::noop()).is_pending());
    assert_eq!(poll(&mut limited, Waker::noop()), Poll::Ready(Some(7)));
}

/// Half a minute of tokio's time, which stands still but for timers, takes none of ours.
mod paused_clock {
    use tokio::time::{Instant, sleep};

    use super::*;

    struct Clocks(Instant, std::time::Instant);

    impl Clocks {
        fn new() -> Self {
            Self(Instant::now(), std::time::Instant::now())
        }

        fn show(self, virtual_time: Duration) {
            let Self(tokio, real) = self;
            let elapsed = tokio.elapsed();
            assert!(elapsed >= virtual_time, "{elapsed:?}");
            assert!(
                elapsed < virtual_time + Duration::from_secs(1),
                "{elapsed:?}"
            );
            assert!(real.elapsed() < PATIENCE);
        }
    }

    #[tokio::test(start_paused = true)]
    async fn drain_of_half_a_minute_times_out_in_virtual_time() {
        let shutdown = Shutdown::new();
        let _guard = shutdown.guard();
        let clocks = Clocks::new();
        let error = shutdown
            .drain_until(sleep(HALF_A_MINUTE))
            .await
            .unwrap_err();
        assert_eq!(error.kind, DrainErrorKind::TimedOut);
        clocks.show(HALF_A_MINUTE);
    }

    #[tokio::test(start_paused = true)]
    async fn drain_ends_with_the_work_in_virtual_time() {
        let shutdown = Shutdown::new();
        let clocks = Clocks::new();
        tokio::spawn(shutdown.track(sleep(HALF_A_MINUTE / 2)));
        assert_eq!(shutdown.drain_until(sleep(HALF_A_MINUTE)).await, Ok(()));
        clocks.show(HALF_A_MINUTE / 2);
    }

    #[tokio::test(start_paused = true)]
    async fn limit_of_half_a_minute_ends_in_virtual_time() {
        let shutdown = Shutdown::new();
        let clocks = Clocks::new();
        let asks = shutdown.clone();
        tokio::spawn(async move {
            sleep(HALF_A_MINUTE).await;
            asks.request_shutdown();
        });
        // Its time begins with the request.
        let limited =
            pending::<()>().limit_on_shutdown_with(shutdown.waiter(), || sleep(HALF_A_MINUTE));
        assert_eq!(limited.await, None);
        clocks.show(2 * HALF_A_MINUTE);
    }

    #[tokio::test(start_paused = true)]
    async fn limit_ends_with_the_future_in_virtual_time() {
        let shutdown = Shutdown::new();
        shutdown.request_shutdown();
        let clocks = Clocks::new();
        let work = sleep(HALF_A_MINUTE / 2);
        let limited = work.limit_on_shutdown_with(shutdown.waiter(), || sleep(HALF_A_MINUTE));
        assert_eq!(limited.await, Some(()));
        clocks.show(HALF_A_MINUTE / 2);
    }
}
