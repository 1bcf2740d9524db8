//! [`Monitor`]: what the driver of a connection knows about it; [`InFlight`]: one request of it.

use std::io;
use std::mem;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::task::{Poll, Waker};
use std::time::{Duration, Instant};

use hyper::rt::Timer;
use winddown::{Guard, Waiter};

use crate::lock::lock;
use crate::protocol::Protocol;
use crate::request_kind::RequestKind;
use crate::slots::Slot;
use crate::timer::SharedTimer;
use crate::uploads::Uploads;

/// How many bytes a client may need more than its time for: it has to read 3 KiB in each second otherwise.
const LARGE: usize = 16 * 1024;

/// The times of a connection.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Times {
    pub(crate) pause: Duration,
    pub(crate) client: Duration,
    pub(crate) idle: Duration,
}

impl Times {
    /// Returns times that fit into what is left of a grace period, or clients that do nothing would outlast
    /// it. There may be two pauses, of the server and of a connection that was silent for a moment only, and
    /// then the time of a client; a quarter is left for the rest.
    fn within(self, left: Duration) -> Self {
        let pause = self.pause.min(left / 4);
        let client = self.client.min((left - 2 * pause) / 2);
        Self {
            pause,
            client,
            ..self
        }
    }
}

/// What all connections of a server have in common.
pub(crate) struct Common {
    /// Tells a connection of HTTP/2 that has had a request to finish: when the server stops accepting.
    pub(crate) early: Waiter,
    /// Tells that answers are to say `connection: close`, and then that every other connection is to finish,
    /// and a request body to be finished: a pause later.
    pub(crate) stop: Waiter,
    pub(crate) timer: SharedTimer,
    /// Those of a server that does not stop.
    pub(crate) times: Times,
    at_stop: OnceLock<Times>,
}

impl Common {
    pub(crate) fn new(early: Waiter, stop: Waiter, timer: SharedTimer, times: Times) -> Self {
        Self {
            early,
            stop,
            timer,
            times,
            at_stop: OnceLock::new(),
        }
    }

    /// Returns the times of a server that stops. Called from then on.
    pub(crate) fn times_at_stop(&self) -> Times {
        *self.at_stop.get_or_init(|| {
            let left = self.stop.remaining();
            self.times.within(left.unwrap_or(Duration::MAX))
        })
    }
}

/// One connection, as its I/O, its service, its requests and its driver see it.
pub(crate) struct Monitor {
    common: Arc<Common>,
    /// Whether it is HTTP/2, so that HTTP/1 locks the state less often.
    http2: AtomicBool,
    /// Whether bytes have arrived since the last answer, if it is HTTP/1: of a request head, if no request is in
    /// flight.
    head: AtomicBool,
    /// Whether there has been a request of HTTP/2.
    streamed: AtomicBool,
    /// Whether a connection of HTTP/2 was told to finish, or is over.
    ending: AtomicBool,
    /// How many bytes were written since the client has sent anything, if it is HTTP/2.
    unheard: AtomicUsize,
    /// If it is HTTP/2.
    uploads: OnceLock<Uploads>,
    state: Mutex<State>,
    /// Here, because hyper drops the I/O of a connection before the handler that was broken off with it; and
    /// the task that an upgraded connection was handed to has the I/O alone.
    _guard: Guard,
    _slot: Slot,
}

struct State {
    /// The requests whose answer has not been sent.
    in_flight: usize,
    /// Those among them whose answer the protocol has taken, all of it.
    taken: Answers,
    /// And those of HTTP/2 that it had taken when the driver polled the connection last.
    polled: Answers,
    /// Whether bytes were written since the last flush.
    unflushed: bool,
    /// When the last request was answered, or the connection began.
    idle_since: Instant,
    /// Since when `head` is set, as far as the driver has seen it.
    head_since: Option<Instant>,
    /// When bytes have arrived last since a connection of HTTP/2 was told to finish.
    heard: Option<Instant>,
    /// Since when a connection of HTTP/2 has been over.
    over: Option<Instant>,
    /// Whether a stream of HTTP/2 was handed over to another protocol, such as a websocket. No byte tells
    /// when it ends.
    tunnel: bool,
    /// Whether the I/O was dropped.
    closed: bool,
    /// The task of the driver.
    waker: Option<Waker>,
}

/// Answers that are to be sent, and the guards of their requests.
#[derive(Default)]
struct Answers {
    count: usize,
    guards: Guards,
}

impl Answers {
    fn append(&mut self, more: Self) {
        self.count += more.count;
        self.guards.append(more.guards);
    }
}

/// The guards of requests. One has a place without an allocation, because most requests have one at most.
#[derive(Default)]
enum Guards {
    #[default]
    None,
    One(Arc<Guard>),
    More(Vec<Arc<Guard>>),
}

impl Guards {
    fn append(&mut self, more: Self) {
        *self = match (mem::take(self), more) {
            (Self::None, guards) | (guards, Self::None) => guards,
            (Self::One(one), Self::One(other)) => Self::More(vec![one, other]),
            (Self::More(mut guards), Self::One(one)) | (Self::One(one), Self::More(mut guards)) => {
                guards.push(one);
                Self::More(guards)
            }
            (Self::More(mut guards), Self::More(mut others)) => {
                guards.append(&mut others);
                Self::More(guards)
            }
        };
    }
}

/// What an idle connection waits for.
#[derive(Clone, Copy)]
pub(crate) enum Idle {
    /// HTTP/1, or not yet known, and no byte of a request has arrived.
    Silent { since: Instant },
    /// A request head has begun to arrive at this time.
    Head { since: Instant },
    /// HTTP/2 without an open stream, and whether bytes have arrived since it was told to finish.
    Http2 { since: Instant, heard: bool },
    /// HTTP/2 that is over, for the client to close it, and when bytes have arrived last.
    Over { since: Instant, heard: Instant },
    /// Nothing: it is HTTP/2 with an open stream.
    Streams,
}

impl Monitor {
    pub(crate) fn new(common: Arc<Common>, guard: Guard, slot: Slot) -> Self {
        let state = State {
            in_flight: 0,
            taken: Answers::default(),
            polled: Answers::default(),
            unflushed: false,
            heard: None,
            over: None,
            idle_since: common.timer.now(),
            head_since: None,
            tunnel: false,
            closed: false,
            waker: None,
        };
        Self {
            common,
            http2: AtomicBool::new(false),
            head: AtomicBool::new(false),
            streamed: AtomicBool::new(false),
            ending: AtomicBool::new(false),
            unheard: AtomicUsize::new(0),
            uploads: OnceLock::new(),
            state: Mutex::new(state),
            _guard: guard,
            _slot: slot,
        }
    }

    pub(crate) fn common(&self) -> &Arc<Common> {
        &self.common
    }

    /// Notes that the connection was told to finish, or is over.
    pub(crate) fn tell(&self) {
        self.ending.store(true, Ordering::Relaxed); // as in `note_protocol`
    }

    /// Notes that the connection is over, if it is HTTP/2, and returns whether it is. From then on what the
    /// client sends is dropped, but it may still read what the kernel holds: a close would have it reset when
    /// it sends the next WINDOW_UPDATE, or what is left of an upload that was answered early.
    pub(crate) fn end(&self) -> bool {
        if !self.is_http2() {
            return false;
        }
        self.tell();
        let mut state = lock(&self.state);
        if state.over.is_none() {
            let now = self.common.timer.now();
            (state.over, state.heard) = (Some(now), Some(now));
        }
        true
    }

    /// Notes what the first bytes have told.
    pub(crate) fn note_protocol(&self, protocol: Protocol) {
        let http2 = protocol == Protocol::Http2;
        // Relaxed: only the task that has the I/O sets and reads it.
        self.http2.store(http2, Ordering::Relaxed);
        if http2 {
            self.uploads.get_or_init(Uploads::default);
        }
    }

    fn is_http2(&self) -> bool {
        // Relaxed: as in `note_protocol`.
        self.http2.load(Ordering::Relaxed)
    }

    /// Notes that bytes have arrived: of a request head, or on HTTP/2 what shows that a client that was told is
    /// not silent.
    pub(crate) fn note_arrival(&self) {
        // Relaxed: as in `note_protocol`.
        if !self.is_http2() {
            // Without a look at the clock: most heads are complete before the driver asks.
            self.head.store(true, Ordering::Relaxed);
            return;
        }
        self.unheard.store(0, Ordering::Relaxed);
        if self.ending.load(Ordering::Relaxed) {
            lock(&self.state).heard = Some(self.common.timer.now());
        }
    }

    /// Returns whether the client of HTTP/2 may be silent because it reads: a large answer, in the buffers of the
    /// kernels, with a window for which it sends no WINDOW_UPDATE.
    pub(crate) fn may_be_reading(&self) -> bool {
        self.unheard.load(Ordering::Relaxed) > LARGE // as in `note_protocol`
    }

    /// Returns whether there has been a request of HTTP/2.
    pub(crate) fn has_streamed(&self) -> bool {
        self.streamed.load(Ordering::Relaxed) // as in `note_protocol`
    }

    /// Returns whether no byte is read any more: those of an HTTP/2 connection that is over.
    pub(crate) fn is_over(&self) -> bool {
        // Relaxed: as in `note_protocol`.
        self.ending.load(Ordering::Relaxed) && lock(&self.state).over.is_some()
    }

    /// Returns what the connection waits for, or `None` while HTTP/1 has a request, whose answer is flushed
    /// where the driver polls the connection. Registers the driver's task on HTTP/2, to be woken when an answer
    /// was taken, which has to be flushed, and when no request is left.
    pub(crate) fn idle(&self, waker: &Waker) -> Option<Idle> {
        let mut state = lock(&self.state);
        if let (Some(since), Some(heard)) = (state.over, state.heard) {
            return Some(Idle::Over { since, heard });
        }
        if state.in_flight > 0 || state.tunnel {
            if !self.is_http2() {
                return None;
            }
            let registered = state.waker.as_ref();
            let last = match registered.is_some_and(|registered| registered.will_wake(waker)) {
                true => None,
                false => state.waker.replace(waker.clone()),
            };
            // Since the connection was polled.
            let taken = state.taken.count > 0;
            drop(state);
            drop(last);
            if taken {
                waker.wake_by_ref();
            }
            return Some(Idle::Streams);
        }
        let since = state.idle_since;
        if self.is_http2() {
            let heard = state.heard.is_some();
            return Some(Idle::Http2 { since, heard });
        }
        // Relaxed: as in `note_protocol`.
        if self.head.load(Ordering::Relaxed) {
            let now = || self.common.timer.now();
            let since = *state.head_since.get_or_insert_with(now);
            return Some(Idle::Head { since });
        }
        Some(Idle::Silent { since })
    }

    /// Notes that bytes are written, or that they wait for the client.
    pub(crate) fn wrote(&self, written: &Poll<io::Result<usize>>) {
        if let Some(uploads) = self.uploads() {
            uploads.set_blocked(written.is_pending());
            lock(&self.state).unflushed = true;
            if let Poll::Ready(Ok(count)) = written {
                self.unheard.fetch_add(*count, Ordering::Relaxed); // as in `note_protocol`
            }
        }
    }

    /// Notes that what was written waits for the client.
    pub(crate) fn not_flushed(&self) {
        if let Some(uploads) = self.uploads() {
            uploads.set_blocked(true);
        }
    }

    /// Returns the uploads, if it is HTTP/2.
    pub(crate) fn uploads(&self) -> Option<&Uploads> {
        self.uploads.get()
    }

    /// Notes that what was written has left the buffers of the server.
    ///
    /// hyper flushes HTTP/1 only when it has written all that it holds, so the requests are answered. HTTP/2
    /// is flushed between frames too: see `polled`.
    pub(crate) fn flushed(&self) {
        if let Some(uploads) = self.uploads() {
            uploads.set_blocked(false);
        }
        let mut state = lock(&self.state);
        state.unflushed = false;
        if !self.is_http2() && state.taken.count > 0 {
            let answers = mem::take(&mut state.taken);
            self.answered(state, answers);
        }
    }

    /// Notes that the connection is about to be polled.
    pub(crate) fn poll(&self) {
        if !self.is_http2() {
            return;
        }
        let mut state = lock(&self.state);
        if state.taken.count > 0 {
            let taken = mem::take(&mut state.taken);
            state.polled.append(taken);
        }
    }

    /// Notes that the connection was polled, and is pending. On HTTP/2 it has then written what it held when
    /// the poll began, unless the last write has not been flushed.
    pub(crate) fn polled(&self) {
        if !self.is_http2() {
            return;
        }
        let mut state = lock(&self.state);
        if !state.unflushed && state.polled.count > 0 {
            let answers = mem::take(&mut state.polled);
            self.answered(state, answers);
        }
    }

    /// Notes that the I/O was dropped: nothing is flushed any more.
    pub(crate) fn close(&self) {
        let mut state = lock(&self.state);
        state.closed = true;
        let mut answers = mem::take(&mut state.polled);
        answers.append(mem::take(&mut state.taken));
        if answers.count > 0 {
            self.answered(state, answers);
        }
    }

    /// Counts requests as answered and releases their guards, and wakes the driver if none is left.
    fn answered(&self, mut state: MutexGuard<'_, State>, answers: Answers) {
        state.in_flight -= answers.count;
        let waker = if state.in_flight == 0 {
            state.idle_since = self.common.timer.now();
            state.head_since = None;
            // Relaxed: as in `note_protocol`. Other tasks come here on HTTP/2, and once the I/O is dropped, but
            // then nothing reads it.
            self.head.store(false, Ordering::Relaxed);
            state.waker.take()
        } else {
            None
        };
        drop(state);
        if let Some(waker) = waker {
            waker.wake();
        }
    }

    /// Counts a request.
    pub(crate) fn begin(self: &Arc<Self>, kind: RequestKind) -> Arc<InFlight> {
        self.streamed.store(!kind.is_http1(), Ordering::Relaxed); // as in `note_protocol`
        lock(&self.state).in_flight += 1;
        Arc::new(InFlight {
            monitor: self.clone(),
            guards: Mutex::default(),
            kind,
            ended: AtomicBool::new(false),
        })
    }
}

/// A request that is not answered. The future of its service, the body of its answer and the chunks of
/// that body share it, so it is dropped once all bytes are written.
pub(crate) struct InFlight {
    monitor: Arc<Monitor>,
    guards: Mutex<Guards>,
    kind: RequestKind,
    /// Whether the body of the answer has given its last frame.
    ended: AtomicBool,
}

impl InFlight {
    pub(crate) fn common(&self) -> &Common {
        &self.monitor.common
    }

    pub(crate) fn kind(&self) -> RequestKind {
        self.kind
    }

    /// Holds a guard until the answer has been sent.
    pub(crate) fn keep(&self, guard: Arc<Guard>) {
        lock(&self.guards).append(Guards::One(guard));
    }

    /// Releases the guards, before the answer has been sent.
    #[cold]
    pub(crate) fn release(&self) {
        let guards = mem::take(&mut *lock(&self.guards));
        drop(guards);
    }

    /// Notes that the stream is handed over to another protocol.
    pub(crate) fn tunnel(&self) {
        lock(&self.monitor.state).tunnel |= !self.kind.is_http1();
    }

    /// Notes that the body has given its last frame.
    pub(crate) fn end(&self) {
        // Relaxed: the drop that reads it comes after, by the count of the `Arc`.
        self.ended.store(true, Ordering::Relaxed);
    }
}

impl Drop for InFlight {
    fn drop(&mut self) {
        let guards = self.guards.get_mut();
        let guards = mem::take(guards.unwrap_or_else(PoisonError::into_inner));
        let answer = Answers { count: 1, guards };
        let http1 = self.kind.is_http1();
        let mut state = lock(&self.monitor.state);
        // An HTTP/1 connection ends with a request that is broken off: it is flushed or dropped. On
        // HTTP/2 no flush may follow.
        if !state.closed && (http1 || self.ended.load(Ordering::Relaxed)) {
            state.taken.append(answer);
            // The task may have flushed all that it had, before the answer was counted as taken.
            let waker = if http1 { None } else { state.waker.clone() };
            drop(state);
            if let Some(waker) = waker {
                waker.wake();
            }
        } else {
            self.monitor.answered(state, answer);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::pin::Pin;
    use std::task::Wake;

    use std::convert::Infallible;
    use std::task::Context;

    use bytes::Bytes;
    use futures_lite::stream;
    use http::{HeaderMap, Method, Version};
    use http_body::{Body, Frame};
    use http_body_util::{Empty, Full, StreamBody};
    use hyper::rt::Sleep;
    use winddown::Shutdown;

    use super::*;
    use crate::body::ResponseBody;
    use crate::slots::Slots;

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

    #[test]
    fn times_of_a_stop_fit_into_its_grace_period() {
        let of = |pause, client| Times {
            pause: Duration::from_millis(pause),
            client: Duration::from_millis(client),
            idle: Duration::from_secs(75),
        };
        let within = |left| {
            let Times {
                pause,
                client,
                idle,
            } = of(500, 5000).within(Duration::from_millis(left));
            assert_eq!(idle, Duration::from_secs(75));
            [pause, client].map(|time| time.as_millis())
        };
        for (left, times) in [
            (0, [0, 0]),
            (1000, [250, 250]),
            (3000, [500, 1000]),
            (10_000, [500, 4500]),
            (11_000, [500, 5000]),
            (30_000, [500, 5000]),
        ] {
            assert_eq!(within(left), times, "{left}");
        }
    }

    #[test]
    fn appended_guards_are_all_held() {
        let shutdown = Shutdown::new();
        let guards = |count| {
            let mut guards = Guards::default();
            for _ in 0..count {
                let guard = shutdown.guard().expect("nothing was drained");
                guards.append(Guards::One(Arc::new(guard)));
            }
            guards
        };
        for count in 0..4 {
            for more in 0..4 {
                let mut held = guards(count);
                held.append(guards(more));
                assert_eq!(shutdown.in_flight(), count + more);
                drop(held);
                assert_eq!(shutdown.in_flight(), 0);
            }
        }
    }
}
