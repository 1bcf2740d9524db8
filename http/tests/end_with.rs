//! The last item of a stream.

use std::cell::Cell;
use std::pin::pin;
use std::rc::Rc;
use std::task::{Context, Poll, Waker};

use futures_lite::{Stream, stream};
use winddown::Shutdown;
use winddown_http::StreamingExt;

/// A stream of tokio yields now and then: each time it is polled once more.
///
/// Mutations: `EndWith` does not poll once more; or only once in all.
#[test]
fn stream_that_yields_again_and_again_gives_out_all_items() {
    let shutdown = Shutdown::new();
    shutdown.request_shutdown();
    let mut step = 0;
    let yields = stream::poll_fn(move |cx: &mut Context<'_>| {
        step += 1;
        match step {
            1 | 3 => {
                cx.waker().wake_by_ref();
                Poll::Pending
            }
            2 | 4 => Poll::Ready(Some(step)),
            _ => Poll::Pending,
        }
    });
    let mut items = pin!(yields.end_with(shutdown.waiter(), || 0));
    let cx = &mut Context::from_waker(Waker::noop());
    let mut seen = vec![];
    for _ in 0..20 {
        match items.as_mut().poll_next(cx) {
            Poll::Ready(Some(item)) => seen.push(item),
            Poll::Ready(None) => break,
            Poll::Pending => {}
        }
    }
    assert_eq!(seen, [2, 4, 0]);
}

/// Mutation: the last item is made before the stream is dropped.
#[test]
fn last_item_is_made_when_the_stream_is_dropped() {
    struct Drops(Rc<Cell<bool>>);
    impl Drop for Drops {
        fn drop(&mut self) {
            self.0.set(true);
        }
    }
    let shutdown = Shutdown::new();
    let dropped = Rc::new(Cell::new(false));
    let owned = Drops(dropped.clone());
    let endless = stream::poll_fn(move |_| {
        let _owned = &owned;
        Poll::<Option<bool>>::Pending
    });
    let mut items = pin!(endless.end_with(shutdown.waiter(), || dropped.get()));
    let cx = &mut Context::from_waker(Waker::noop());
    assert!(items.as_mut().poll_next(cx).is_pending());
    shutdown.request_shutdown();
    assert!(items.as_mut().poll_next(cx).is_pending());
    assert_eq!(items.as_mut().poll_next(cx), Poll::Ready(Some(true)));
    assert_eq!(items.as_mut().poll_next(cx), Poll::Ready(None));
}

/// Mutations: `EndWith` keeps a stream that has ended by itself; its upper bound leaves out the last item.
#[test]
fn stream_that_has_ended_by_itself_is_polled_no_more() {
    let shutdown = Shutdown::new();
    let mut polls = 0;
    let again = stream::poll_fn(move |_| {
        polls += 1;
        Poll::Ready((polls != 1).then_some(polls))
    });
    let mut items = pin!(again.end_with(shutdown.waiter(), || 0));
    let cx = &mut Context::from_waker(Waker::noop());
    for _ in 0..3 {
        assert_eq!(items.as_mut().poll_next(cx), Poll::Ready(None));
    }
    assert_eq!(items.size_hint(), (0, Some(0)));
    let items = stream::iter([1, 2]).end_with(shutdown.waiter(), || 0);
    assert_eq!(items.size_hint(), (0, Some(3)));
}

/// 4,096 of them, which count from the shutdown on.
///
/// Mutation: `EndWith` counts those before the shutdown too.
#[test]
fn items_before_the_shutdown_do_not_count() {
    let shutdown = Shutdown::new();
    let mut items = pin!(stream::repeat(1).end_with(shutdown.waiter(), || 0));
    let cx = &mut Context::from_waker(Waker::noop());
    for _ in 0..5000 {
        assert_eq!(items.as_mut().poll_next(cx), Poll::Ready(Some(1)));
    }
    shutdown.request_shutdown();
    for _ in 0..4096 {
        assert_eq!(items.as_mut().poll_next(cx), Poll::Ready(Some(1)));
    }
    assert_eq!(items.as_mut().poll_next(cx), Poll::Ready(Some(0)));
    assert_eq!(items.as_mut().poll_next(cx), Poll::Ready(None));
}
