//! What the monitor tells the driver, step by step.

use std::convert::Infallible;
use std::pin::Pin;
use std::task::{Context, Wake};

use bytes::Bytes;
use futures_lite::stream;
use http::{HeaderMap, Method, Version};
use http_body::{Body, Frame};
use http_body_util::{Empty, Full, StreamBody};
use hyper::rt::Sleep;
use winddown::Shutdown;

use super::*;
use crate::body::ResponseBody;
use crate::common::Times;
use crate::slots::Slots;
use crate::timer::SharedTimer;

/// Counts how often the driver is woken.
#[derive(Default)]
struct Driver(AtomicUsize);

impl Wake for Driver {
    fn wake(self: Arc<Self>) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }
}

impl Driver {
    fn wakes(&self) -> usize {
        self.0.load(Ordering::Relaxed)
    }
}

/// A clock that a test moves, by milliseconds.
#[derive(Clone)]
struct Clock(Instant, Arc<AtomicUsize>);

impl Clock {
    fn advance(&self, time: usize) {
        self.1.fetch_add(time, Ordering::Relaxed);
    }
}

impl Timer for Clock {
    fn sleep(&self, _: Duration) -> Pin<Box<dyn Sleep>> {
        unreachable!("a monitor only looks at the clock")
    }

    fn sleep_until(&self, _: Instant) -> Pin<Box<dyn Sleep>> {
        unreachable!("a monitor only looks at the clock")
    }

    fn now(&self) -> Instant {
        self.0 + Duration::from_millis(self.1.load(Ordering::Relaxed) as u64)
    }
}

const CLIENT: Duration = Duration::from_secs(1);

struct Case {
    shutdown: Shutdown,
    clock: Clock,
    monitor: Arc<Monitor>,
    driver: Arc<Driver>,
}

impl Case {
    fn new(protocol: Protocol) -> Self {
        let shutdown = Shutdown::new();
        let clock = Clock(Instant::now(), Arc::default());
        let times = Times {
            pause: Duration::ZERO,
            client: CLIENT,
            idle: 10 * CLIENT,
            latest: None,
        };
        let timer = SharedTimer::new(clock.clone());
        let common = Arc::new(Common::new(
            shutdown.waiter(),
            shutdown.waiter(),
            timer,
            times,
        ));
        let guard = shutdown.guard().expect("nothing was drained");
        let monitor = Arc::new(Monitor::new(common, guard, Slots::new(1).take()));
        monitor.note_protocol(protocol);
        Self {
            shutdown,
            clock,
            monitor,
            driver: Arc::default(),
        }
    }

    /// Begins a request that holds a guard.
    fn begin(&self) -> Arc<InFlight> {
        let version = match self.monitor.is_http2() {
            true => Version::HTTP_2,
            false => Version::HTTP_11,
        };
        let kind = RequestKind::new(&Method::GET, version);
        let in_flight = self.monitor.begin(kind);
        let guard = self.shutdown.guard().expect("nothing was drained");
        in_flight.keep(Arc::new(guard));
        in_flight
    }

    /// The guards of requests that are held.
    fn held(&self) -> usize {
        self.shutdown.in_flight() - 1
    }

    fn idle(&self) -> Option<Idle> {
        self.monitor.idle(&self.driver.clone().into())
    }

    /// Polls a connection that writes and flushes all that it has.
    fn poll(&self) {
        self.monitor.poll();
        self.monitor.wrote(&Poll::Ready(Ok(1)));
        self.monitor.flushed();
        self.monitor.polled();
    }
}

/// The task of the stream drops the answer when that of the connection has written all of it.
///
/// Mutation: `InFlight::drop` wakes no driver of HTTP/2.
#[test]
fn driver_is_woken_for_an_answer_that_is_taken_while_it_waits() {
    let case = Case::new(Protocol::Http2);
    let in_flight = case.begin();
    assert!(matches!(case.idle(), Some(Idle::Streams)));
    in_flight.end();
    drop(in_flight);
    assert_eq!((case.driver.wakes(), case.held()), (1, 1));
    case.poll();
    assert_eq!(case.held(), 0);
}

/// Mutation: `Monitor::idle` does not wake for what was taken since the connection was polled.
#[test]
fn driver_is_woken_for_an_answer_that_was_taken_since_it_polled() {
    let case = Case::new(Protocol::Http2);
    let (answered, _other) = (case.begin(), case.begin());
    answered.end();
    drop(answered);
    assert!(matches!(case.idle(), Some(Idle::Streams)));
    assert_eq!((case.driver.wakes(), case.held()), (1, 2));
    case.poll();
    assert_eq!(case.held(), 1);
}

/// The idle time begins with it.
///
/// Mutation: `Monitor::answered` wakes no driver.
#[test]
fn driver_is_woken_when_the_last_stream_is_broken_off() {
    let case = Case::new(Protocol::Http2);
    let [one, other] = [case.begin(), case.begin()];
    assert!(matches!(case.idle(), Some(Idle::Streams)));
    drop(one);
    assert_eq!((case.driver.wakes(), case.held()), (0, 1));
    drop(other);
    assert_eq!((case.driver.wakes(), case.held()), (1, 0));
    assert!(matches!(case.idle(), Some(Idle::Http2 { .. })));
}

/// Mutation: `Monitor::polled` does not ask whether the last write was flushed.
#[test]
fn answer_that_is_not_flushed_holds_its_guard() {
    let case = Case::new(Protocol::Http2);
    let in_flight = case.begin();
    in_flight.end();
    drop(in_flight);
    case.monitor.poll();
    case.monitor.wrote(&Poll::Ready(Ok(1)));
    case.monitor.polled();
    assert_eq!(case.held(), 1);
    case.monitor.poll();
    case.monitor.flushed();
    case.monitor.polled();
    assert_eq!(case.held(), 0);
}

/// Whether it was taken before the connection was polled last, after, or after the I/O was dropped.
///
/// Mutations: `Monitor::close` leaves what was polled, or taken; `InFlight::drop` does not ask whether the
/// I/O is there.
#[test]
fn answers_are_over_with_the_connection() {
    for protocol in [Protocol::Http1, Protocol::Http2] {
        for step in 0..3 {
            let case = Case::new(protocol);
            let in_flight = case.begin();
            in_flight.end();
            let mut in_flight = Some(in_flight);
            for now in 0..3 {
                if now == step {
                    drop(in_flight.take());
                }
                match now {
                    0 => case.monitor.poll(),
                    1 => case.monitor.close(),
                    _ => {}
                }
            }
            assert_eq!(case.held(), 0, "{protocol:?}, {step}");
        }
    }
}

/// Mutation: `Monitor::answered` leaves `head_since`.
#[test]
fn each_request_head_has_its_time() {
    let case = Case::new(Protocol::Http1);
    for _ in 0..2 {
        case.monitor.note_arrival();
        let begun = case.clock.now();
        for _ in 0..2 {
            let Some(Idle::Head { since }) = case.idle() else {
                panic!("it is no head");
            };
            assert_eq!(since, begun);
            case.clock.advance(10);
        }
        let in_flight = case.begin();
        assert!(case.idle().is_none());
        in_flight.end();
        drop(in_flight);
        case.monitor.flushed();
        let Some(Idle::Silent { since }) = case.idle() else {
            panic!("it is not silent");
        };
        assert_eq!(since, case.clock.now());
    }
}

/// Mutations: `Monitor::end` notes a later time the second time; `idle` does not bound what is heard.
#[test]
fn connection_that_is_over_is_heard() {
    let case = Case::new(Protocol::Http2);
    assert!(case.monitor.end());
    let over = case.clock.now();
    for heard in [500, 1000, 1900, 2100, 9000] {
        let more = heard - case.clock.1.load(Ordering::Relaxed);
        case.clock.advance(more);
        case.monitor.note_arrival();
        assert!(case.monitor.end());
        let Some(Idle::Over { since, heard: last }) = case.idle() else {
            panic!("it is not over");
        };
        let heard = over + Duration::from_millis(heard as u64);
        assert_eq!((since, last), (over, heard));
    }
}

/// Bytes that came before do not count.
///
/// Mutation: `Monitor::note_arrival` does not ask whether the connection was told.
#[test]
fn client_is_heard_once_it_was_told() {
    let case = Case::new(Protocol::Http2);
    for told in [false, true] {
        if told {
            case.monitor.tell();
        }
        case.monitor.note_arrival();
        let Some(Idle::Http2 { heard, .. }) = case.idle() else {
            panic!("it has streams");
        };
        assert_eq!(heard, told);
    }
}

/// Polls so many frames of an answer over HTTP/2, and drops it.
fn check_answer(frames: usize, body: impl Body<Data = Bytes, Error = Infallible>, whole: bool) {
    let case = Case::new(Protocol::Http2);
    let mut body = Box::pin(ResponseBody::new(body, case.begin()));
    for _ in 0..frames {
        let poll = body
            .as_mut()
            .poll_frame(&mut Context::from_waker(Waker::noop()));
        assert!(matches!(poll, Poll::Ready(Some(Ok(_)))));
    }
    drop(body);
    // One that is broken off is over; the other is to be flushed.
    assert_eq!(case.held(), usize::from(whole), "{frames}");
    case.poll();
    assert_eq!(case.held(), 0, "{frames}");
}

/// Mutations: `ResponseBody` does not note that an answer has no body, that its last frame has come, or that
/// it ends with trailers.
#[test]
fn answer_that_is_whole_is_flushed_before_its_guard_is_released() {
    let data = || Ok(Frame::data(Bytes::from_static(b"data")));
    let trailers = || Ok(Frame::trailers(HeaderMap::new()));
    check_answer(0, Empty::new(), true);
    check_answer(0, Full::from("data"), false);
    check_answer(1, Full::from("data"), true);
    let frames = || StreamBody::new(stream::iter([data(), trailers()]));
    check_answer(1, frames(), false);
    check_answer(2, frames(), true);
}
