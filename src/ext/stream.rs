//! Streams that end when a shutdown comes.

use std::borrow::BorrowMut;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::{Duration, Instant};

use futures_lite::Stream;
use pin_project_lite::pin_project;

use crate::ext::inner::inner;
use crate::util::deadline::prepare;
use crate::util::driver_turn::DriverTurn;
use crate::waiter::Waiter;

pin_project! {
    /// Made by [`ShutdownExt::end_on_shutdown`](crate::ShutdownExt::end_on_shutdown).
    ///
    /// # Cancel safety
    ///
    /// Its `next` is cancel safe if that of the stream inside is.
    #[must_use = "streams do nothing unless polled"]
    #[derive(Debug)]
    pub struct EndOnShutdown<S, W = Waiter> {
        #[pin]
        stream: S,
        waiter: W,
        ended: bool,
    }
}

impl<S, W> EndOnShutdown<S, W> {
    pub(crate) fn new(stream: S, waiter: W) -> Self {
        Self {
            stream,
            waiter,
            ended: false,
        }
    }
}

impl<S: Stream, W: BorrowMut<Waiter>> Stream for EndOnShutdown<S, W> {
    type Item = S::Item;

    #[inline]
    fn poll_next(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<S::Item>> {
        let this = self.project();
        if *this.ended || (*this.waiter).borrow().is_stopping() {
            *this.ended = true;
            return Poll::Ready(None);
        }
        match this.stream.poll_next(cx) {
            Poll::Ready(Some(item)) => return Poll::Ready(Some(item)),
            Poll::Ready(None) => {}
            Poll::Pending => ready!(Pin::new(this.waiter.borrow_mut()).poll(cx)),
        }
        *this.ended = true;
        Poll::Ready(None)
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        match self.ended {
            true => (0, Some(0)),
            // It may end at any time.
            false => (0, self.stream.size_hint().1),
        }
    }
}

inner!(EndOnShutdown<S, W>, stream, S);

/// How many items a stream may give out after the shutdown: a listen queue that is as long as Linux
/// makes one by default (`net.core.somaxconn`, 4,096 since 5.4).
const ITEMS: u16 = 4096;

/// What is left without a grace period: some 30 years, which are not too long for the clock.
const FOREVER: Duration = Duration::from_secs(1 << 30);

/// How long a stream goes on from when it is first pending after the shutdown. On tokio's runtime with
/// several threads, the one that asks the kernel may have to wake up first. Items do not prolong it, or
/// a listener under load would not end.
const TURN: Duration = Duration::from_millis(50);

/// The stream ends only if it was asked within this time: the kernel may accept a connection while the
/// thread is without a processor, and it resets what the listener has not given out when that closes.
const FRESH: Duration = Duration::from_micros(50);

/// How often a stream is asked again for that. One that always takes longer is not kept from its end.
const LOOKS: u8 = 10;

/// For how long it is given further turns because a callback was not called. In time, because a turn of a busy
/// runtime takes ten times as long as another.
const CALLS: Duration = Duration::from_millis(500);

pin_project! {
    /// Made by [`ShutdownExt::finish_on_shutdown`](crate::ShutdownExt::finish_on_shutdown).
    ///
    /// # Cancel safety
    ///
    /// Its `next` is cancel safe if that of the stream inside is.
    #[must_use = "streams do nothing unless polled"]
    #[derive(Debug)]
    pub struct FinishOnShutdown<S, W = Waiter> {
        #[pin]
        stream: S,
        waiter: W,
        // How many it may still give out; zero once it has ended.
        items: u16,
        // When it ends whatever it has: known once it is stopping.
        over: Option<Instant>,
        // How often it may be asked again because the last look was not fresh.
        looks: u8,
        // Whether the callbacks were called before the last look: one may have the kernel refuse connections.
        called: bool,
        // Until when it waits for that: known once a look came too early.
        calls: Option<Instant>,
        turn: DriverTurn,
    }
}

impl<S, W> FinishOnShutdown<S, W> {
    pub(crate) fn new(stream: S, waiter: W) -> Self {
        prepare();
        Self {
            stream,
            waiter,
            items: ITEMS,
            over: None,
            looks: LOOKS,
            called: false,
            calls: None,
            turn: DriverTurn::new(TURN),
        }
    }
}

impl<S: Stream, W: BorrowMut<Waiter>> Stream for FinishOnShutdown<S, W> {
    type Item = S::Item;

    #[inline]
    fn poll_next(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<S::Item>> {
        let mut this = self.project();
        while *this.items > 0 {
            let stopping = (*this.waiter).borrow().is_stopping();
            *this.called = *this.called || stopping && (*this.waiter).borrow().calls_made();
            let asked = (stopping && cfg!(not(target_family = "wasm"))).then(Instant::now);
            if let Some(now) = asked {
                // The other half of the time is for the work that the items begin.
                let left = || (*this.waiter).borrow().remaining().unwrap_or(FOREVER);
                if now >= *this.over.get_or_insert_with(|| now + left() / 2) {
                    *this.items = 0;
                    break;
                }
            }
            match this.stream.as_mut().poll_next(cx) {
                Poll::Ready(Some(item)) => {
                    if stopping {
                        *this.items -= 1;
                    }
                    return Poll::Ready(Some(item));
                }
                Poll::Ready(None) => *this.items = 0,
                Poll::Pending => {
                    ready!(Pin::new(this.waiter.borrow_mut()).poll(cx));
                    ready!(this.turn.poll(cx));
                    let fresh = asked.is_none_or(|asked| asked.elapsed() < FRESH);
                    let waits = asked.is_some_and(|now| {
                        !*this.called && now < *this.calls.get_or_insert(now + CALLS)
                    });
                    if waits {
                        *this.turn = DriverTurn::new(TURN);
                        continue;
                    }
                    if *this.looks == 0 || fresh {
                        *this.items = 0;
                        break;
                    }
                    *this.looks -= 1;
                }
            }
        }
        Poll::Ready(None)
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        match self.items {
            0 => (0, Some(0)),
            // It may end at any time.
            _ => (0, self.stream.size_hint().1),
        }
    }
}

inner!(FinishOnShutdown<S, W>, stream, S);
