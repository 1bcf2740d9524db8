//! The driver of one connection: when it is told to finish, and when it has had its time.

use std::future::poll_fn;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use hyper::rt::{Sleep, Timer};
use winddown::Waiter;

use crate::common::Times;
use crate::monitor::{Idle, Monitor};
use crate::timer::{SETTLE, SharedTimer};

/// For how many client timeouts a client may go on to send bytes when its connection of HTTP/2 is over. Nothing
/// bounds how many: the windows that it was granted may be of any size, and to drop bytes costs little.
const OVER: u32 = 2;

/// What is to be done about a connection.
enum Then {
    /// Begin to stop it, though the server does not stop.
    Stop,
    /// Tell it to finish.
    Tell,
    /// Close it for requests and answers.
    End,
    /// Drop it.
    Drop,
}

/// Drives a connection to its end: its own, or that of its time.
///
/// | the connection | is told to finish | is dropped |
/// |---|---|---|
/// | answers a request of HTTP/1 | - (its answer says `close`, or it will be silent) | - |
/// | answers requests of HTTP/2 | at the stop, and goes on with them | - |
/// | is silent | `SETTLE` after the stop, and when it has been silent for `pause` | `client` later |
/// | has sent a part of a request head | - | `client` after its first byte; at a stop, no later than the shorter `client` of the stop after that |
/// | is HTTP/2 without a stream | at the stop | `client` later, or after its first moment without one; or if the client was not silent, it is over |
/// | is HTTP/2, and over | - | `client` after the client's last byte, but three times that at most, or when it closes |
/// | is HTTP/2 in one of these two, and was sent much since it was heard | - | later, by what it may take to read that |
///
/// HTTP/1 is not told while it answers a request: its head may have left before the shutdown, without
/// `close`, so that the client sends the next one; and hyper would add `close` to an upgrade.
///
/// The stop of a connection of HTTP/2 that has had a request is that of the server: what crosses the GOAWAY is
/// answered, and its client calls elsewhere. That of the others is a pause later. Or it comes when the connection
/// was idle for the `idle` time.
pub(crate) async fn drive<C: Future + Unpin>(
    connection: &mut C,
    finish: impl Fn(&mut C),
    monitor: &Monitor,
) {
    let common = &**monitor.common();
    let (mut stop, mut times) = (common.stop.clone(), common.times);
    // Of most connections there is none: they are HTTP/1.
    let (mut early, mut is_early) = (None::<Waiter>, false);
    let mut stopping = false;
    let mut stopped = None;
    let mut told: Option<Instant> = None;
    let mut was_idle = false;
    // Whether it was told behind an answer that the client may still be reading.
    let mut behind = false;
    // A time that has come, and until when its connection stays open all the same.
    let mut settling: Option<(Instant, Instant)> = None;
    let mut alarm = Alarm {
        timer: &common.timer,
        sleep: None,
    };
    poll_fn(move |cx| {
        // First, so that what has arrived is known before the connection is told.
        loop {
            monitor.poll();
            if Pin::new(&mut *connection).poll(cx).is_ready() {
                break;
            }
            monitor.polled();
            if !stopping && monitor.has_streamed() {
                let early = early.get_or_insert_with(|| common.early.clone());
                is_early = Pin::new(early).poll(cx).is_ready();
            }
            if !stopping && (is_early || Pin::new(&mut stop).poll(cx).is_ready()) {
                stopping = true;
                times = common.times_at_stop();
                stopped = stopped.or_else(|| Some(alarm.timer.now()));
            }
            let idle = monitor.idle(cx.waker());
            if !stopping && told.is_none() {
                // It was idle, unless a request came after all.
                stopped = stopped.filter(|stopped| match idle {
                    Some(Idle::Silent { since } | Idle::Http2 { since, .. }) => since <= *stopped,
                    _ => false,
                });
            }
            if let (Some(Idle::Http2 { since, .. }), Some(at), false) = (&idle, told, was_idle) {
                // It was told behind an answer that the client may still be reading. The first time alone, as
                // one that answers no PING may go on to send requests.
                told = Some(at.max(*since));
                was_idle = true;
            }
            let head = common.times.client;
            let Some((mut time, then)) = next(idle, stopped, told, times, head) else {
                return Poll::Pending;
            };
            let may_be_reading = match idle {
                Some(Idle::Http2 { heard, .. }) => behind && !heard && told.is_some(),
                Some(Idle::Over { .. }) => stopping,
                _ => false,
            };
            if may_be_reading {
                let longer = time + monitor.time_to_read(times.client);
                time = time.max(times.latest.map_or(longer, |latest| longer.min(latest)));
            }
            let due = match settling {
                Some((of, until)) if of == time => until,
                _ => time,
            };
            if alarm.poll(due, cx).is_pending() {
                return Poll::Pending;
            }
            let now = alarm.timer.now();
            if due == time && matches!(then, Then::End | Then::Drop) {
                settling = Some((time, now + SETTLE));
                continue;
            }
            match then {
                Then::Stop => stopped = Some(now),
                Then::Tell => {
                    told = Some(now);
                    behind = match idle {
                        _ if !stopping => false,
                        Some(Idle::Http2 { since, .. }) => now < since + times.client,
                        _ => true,
                    };
                    monitor.tell();
                    finish(connection);
                }
                Then::End => {
                    monitor.end();
                }
                Then::Drop => break,
            }
        }
        Poll::Ready(())
    })
    .await;
}

/// Returns what is to be done about a connection, and when. `head` is the time of a request head while the
/// server does not stop.
fn next(
    idle: Option<Idle>,
    stopped: Option<Instant>,
    told: Option<Instant>,
    times: Times,
    head: Duration,
) -> Option<(Instant, Then)> {
    Some(match (idle, stopped, told) {
        (Some(Idle::Head { since }), stopped, _) => {
            let at_any_time = since + head;
            let at_stop = |stopped: Instant| stopped.max(since) + times.client;
            let due = stopped.map_or(at_any_time, |stopped| at_any_time.min(at_stop(stopped)));
            (due, Then::Drop)
        }
        (Some(Idle::Over { since, heard }), ..) => {
            let last = heard.min(since + OVER * times.client);
            (last + times.client, Then::Drop)
        }
        (Some(Idle::Http2 { .. } | Idle::Streams), Some(stopped), None) => (stopped, Then::Tell),
        (None | Some(Idle::Streams), ..) => return None,
        (Some(Idle::Silent { since } | Idle::Http2 { since, .. }), None, _) => {
            (since + times.idle, Then::Stop)
        }
        (Some(Idle::Silent { since }), Some(stopped), None) => {
            let settled = stopped + SETTLE;
            (settled.max(since + times.pause), Then::Tell)
        }
        (Some(Idle::Silent { since }), _, Some(told)) => {
            (told.max(since) + times.client, Then::Drop)
        }
        // Whatever it has sent since: one that answers no PING may send requests. Or the PING is behind an
        // answer in the buffers of the kernels, and the client slow.
        (Some(Idle::Http2 { heard, .. }), _, Some(told)) => {
            let then = if heard { Then::End } else { Then::Drop };
            (told + times.client, then)
        }
    })
}

/// One timer for times that are mostly put off.
struct Alarm<'a> {
    timer: &'a SharedTimer,
    sleep: Option<(Instant, Pin<Box<dyn Sleep>>)>,
}

impl Alarm<'_> {
    /// Ready once `time` has come. Otherwise the task is woken then, or earlier.
    fn poll(&mut self, time: Instant, cx: &mut Context<'_>) -> Poll<()> {
        loop {
            let sleep = match &mut self.sleep {
                // The usual case, after each request. It needs no look at the clock.
                Some((due, sleep)) if *due <= time => sleep,
                _ if self.timer.now() >= time => break,
                Some((due, sleep)) => {
                    *due = time;
                    self.timer.reset(sleep, time);
                    sleep
                }
                none => &mut none.insert((time, self.timer.sleep_until(time))).1,
            };
            if sleep.as_mut().poll(cx).is_pending() {
                return Poll::Pending;
            }
            self.sleep = None;
        }
        Poll::Ready(())
    }
}
