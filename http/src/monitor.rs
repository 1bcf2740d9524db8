//! [`Monitor`]: what the driver of a connection knows about it; [`InFlight`]: one request of it.

use std::io;
use std::mem;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::task::{Poll, Waker};
use std::time::{Duration, Instant};

use hyper::rt::Timer;
use winddown::Guard;

use crate::answers::{Answers, Guards};
use crate::common::Common;
use crate::lock::lock;
use crate::protocol::Protocol;
use crate::request_kind::RequestKind;
use crate::slots::Slot;
use crate::uploads::Uploads;

/// For how many bytes that a client may be reading it has its time once more. With the default, 51 KiB/s.
const READ: u32 = 256 * 1024;

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

    /// Returns how much longer than its time a client of HTTP/2 may be silent because it reads: an answer in the
    /// buffers of the kernels, with a window for which it sends no WINDOW_UPDATE.
    pub(crate) fn time_to_read(&self, client: Duration) -> Duration {
        let unheard = self.unheard.load(Ordering::Relaxed); // as in `note_protocol`
        let unheard = u32::try_from(unheard).unwrap_or(u32::MAX);
        client.saturating_mul(unheard) / READ
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
mod tests;
