//! What a wrapper costs for each item that goes through it.

use std::future::{Future, ready};
use std::hint::black_box;
use std::pin::pin;
use std::task::{Context, Waker};

use futures_lite::io::{AsyncRead, AsyncReadExt, repeat};
use futures_lite::stream::{self, Stream, StreamExt};
use stop_token::{StopSource, future::FutureExt as _, stream::StreamExt as _};
use winddown::{ShutdownExt, Waiter};

use crate::harness::{Contender, Goal, OURS, Row, timed};
use crate::peers::{Peer, Token, Winddown};

pub fn rows() -> Vec<Row> {
    vec![future(), stream(), reader()]
}

fn row(name: &str, what: &'static str) -> Row {
    Row::new(name, what)
        .goal(Goal::Over(BARE, 3.0))
        .goal(Goal::Best(1.0))
}

const BARE: &str = "bare";

/// Makes a future and polls it ready, each time.
fn each<F: Future>(name: &'static str, make: impl Fn() -> F + 'static) -> Contender {
    Contender::timed(name, move |n| timed(n, || (), |()| poll_ready(make())))
}

fn poll_ready(future: impl Future) {
    let polled = pin!(future).poll(&mut Context::from_waker(black_box(Waker::noop())));
    assert!(black_box(polled).is_ready());
}

fn future() -> Row {
    let item = || ready(black_box(1_u64));
    let (shutdown, another) = (Winddown::new(), Winddown::new());
    let (token, swansong) = (Token::new(), swansong::Swansong::new());
    let manager = async_shutdown::ShutdownManager::<()>::new();
    let source = StopSource::new();
    row(
        "adapter, future",
        "wrap a future that is ready, and poll it",
    )
    .with(each(BARE, item).yardstick())
    .with(Contender::timed(OURS, move |n| {
        // One waiter for the whole loop.
        let wrap = |waiter: &mut Waiter| poll_ready(item().cancel_on_shutdown(waiter));
        timed(n, || another.waiter(), wrap)
    }))
    .with(
        each("winddown (a waiter for each)", move || {
            item().cancel_on_shutdown(shutdown.waiter())
        })
        .yardstick(),
    )
    .with(each_of(
        Token::NAME,
        || (),
        async move |()| token.run_until_cancelled(item()).await,
    ))
    .with(each("swansong", move || swansong.interrupt(item())))
    .with(each("async-shutdown", move || manager.wrap_cancel(item())))
    .with(each("stop-token", move || {
        item().timeout_at(source.token())
    }))
}

fn stream() -> Row {
    fn items() -> impl Stream<Item = u64> + Unpin {
        stream::repeat(1)
    }
    fn contender<S: Stream>(name: &'static str, make: impl Fn() -> S + 'static) -> Contender {
        Contender::timed(name, move |n| {
            timed(
                n,
                || Box::pin(make()),
                |stream| {
                    let polled = stream
                        .as_mut()
                        .poll_next(&mut Context::from_waker(black_box(Waker::noop())));
                    assert!(black_box(polled).is_ready());
                },
            )
        })
    }
    let shutdown = Winddown::new();
    let (token, swansong) = (Token::new(), swansong::Swansong::new());
    let source = StopSource::new();
    row("adapter, stream", "an item of a stream")
        .with(contender(BARE, items).yardstick())
        .with(contender(OURS, move || {
            items().end_on_shutdown(shutdown.waiter())
        }))
        .with(contender("swansong", move || swansong.interrupt(items())))
        .with(contender("stop-token", move || {
            items().timeout_at(source.token())
        }))
        .with(each_of(Token::NAME, items, async move |items| {
            token.run_until_cancelled(items.next()).await
        }))
}

/// A reader's 64 bytes at a time.
fn reader() -> Row {
    fn contender<R: AsyncRead>(name: &'static str, make: impl Fn() -> R + 'static) -> Contender {
        Contender::timed(name, move |n| {
            timed(
                n,
                || Box::pin(make()),
                |reader| {
                    let mut buffer = [0; 64];
                    let context = &mut Context::from_waker(black_box(Waker::noop()));
                    let polled = reader.as_mut().poll_read(context, black_box(&mut buffer));
                    assert!(black_box(polled).is_ready());
                },
            )
        })
    }
    let bytes = || repeat(black_box(1));
    let shutdown = Winddown::new();
    let (token, swansong) = (Token::new(), swansong::Swansong::new());
    row("adapter, reader", "64 bytes of a reader")
        .with(contender(BARE, bytes).yardstick())
        .with(contender(OURS, move || {
            bytes().seal_on_shutdown(shutdown.waiter())
        }))
        .with(contender("swansong", move || swansong.interrupt(bytes())))
        .with(each_of(Token::NAME, bytes, async move |bytes| {
            let mut buffer = [0; 64];
            token
                .run_until_cancelled(bytes.read(black_box(&mut buffer)))
                .await
        }))
}

/// Wraps the future of each item, and not the source of the items.
fn each_of<S: 'static, T>(
    name: &'static str,
    make: impl Fn() -> S + 'static,
    next: impl AsyncFn(&mut S) -> T + 'static,
) -> Contender {
    Contender::timed(name, move |n| {
        timed(n, &make, |source| poll_ready(next(source)))
    })
}
