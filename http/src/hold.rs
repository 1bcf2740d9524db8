//! [`StreamingExt`]: bodies and event streams that hold a shutdown, and that end with it.

use std::borrow::BorrowMut;
use std::mem;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use futures_lite::Stream;
use http_body::{Body, Frame, SizeHint};
use pin_project_lite::pin_project;
use winddown::{Guard, Waiter};

use crate::unwind;

/// How many items a stream may give out after the shutdown, before its last.
const ITEMS: u32 = 4096;

/// Says what a shutdown means for a body, or for a stream of events or messages.
pub trait StreamingExt: Sized {
    /// Holds a guard until the body or stream has ended, or is dropped.
    ///
    /// Without a guard, which a shutdown that was drained does not give any more, it holds none.
    ///
    /// ```
    /// use futures_lite::stream;
    /// use winddown::Shutdown;
    /// use winddown_http::StreamingExt;
    ///
    /// let shutdown = Shutdown::new();
    /// let rows = stream::iter(["a", "b"]).hold(shutdown.guard_named("export"));
    /// assert_eq!(shutdown.in_flight(), 1);
    /// drop(rows);
    /// assert_eq!(shutdown.in_flight(), 0);
    /// ```
    fn hold(self, guard: impl Into<Option<Guard>>) -> Hold<Self> {
        Hold::new(self, guard.into())
    }

    /// Ends an endless stream at the shutdown, with one last item.
    ///
    /// What is ready at the shutdown is still given out, up to 4,096 items. A stream of tokio yields after a
    /// number of items, so one that is pending is polled once more. A stream that ends by itself gets no last
    /// item. The stream inside is dropped before the last item is made. Fused.
    ///
    /// For server-sent events, the last item is an event that the page knows:
    ///
    /// ```
    /// use std::convert::Infallible;
    /// use axum::response::sse::{Event, Sse};
    /// use futures_lite::Stream;
    /// use winddown::Shutdown;
    /// use winddown_http::StreamingExt;
    ///
    /// # type Item = Result<Event, Infallible>;
    /// fn events(
    ///     news: impl Stream<Item = Item> + Send + 'static,
    ///     shutdown: &Shutdown,
    /// ) -> Sse<impl Stream<Item = Item>> {
    ///     let bye = || Ok(Event::default().event("bye").data("restarting"));
    ///     Sse::new(news.end_with(shutdown.waiter(), bye))
    /// }
    /// ```
    ///
    /// For a streaming call of gRPC, it is a status that has the client call again elsewhere:
    ///
    /// ```
    /// # use futures_lite::Stream;
    /// # use winddown::Shutdown;
    /// use tonic::Status;
    /// use winddown_http::StreamingExt;
    ///
    /// # fn example<T>(
    /// #     messages: impl Stream<Item = Result<T, Status>>,
    /// #     shutdown: &Shutdown,
    /// # ) -> impl Stream<Item = Result<T, Status>> {
    /// let bye = || Err(Status::unavailable("the server is stopping"));
    /// messages.end_with(shutdown.waiter(), bye)
    /// # }
    /// ```
    fn end_with<W, L>(self, waiter: W, last: L) -> EndWith<Self, W, L>
    where
        Self: Stream,
        W: BorrowMut<Waiter>,
        L: FnOnce() -> Self::Item,
    {
        EndWith {
            stream: Some(self),
            waiter,
            last: Some(last),
            items: ITEMS,
            pending: false,
        }
    }
}

impl<T> StreamingExt for T {}

pin_project! {
    /// A body or stream that holds a guard until it has ended, and what is inside was dropped. Fused. Made by
    /// [`StreamingExt::hold`] and by a [`GuardLayer`](crate::GuardLayer).
    ///
    /// # Cancel safety
    ///
    /// Its `next` is cancel safe if that of the stream inside is. Dropping it releases the guard.
    #[must_use = "bodies and streams do nothing unless polled"]
    #[derive(Debug)]
    pub struct Hold<T, G = Guard> {
        // `None` when it has ended or panicked. Dropped before `guard`, because it may own what has something
        // left to write.
        #[pin]
        inner: Option<T>,
        guard: Option<G>,
    }
}

impl<T, G> Hold<T, G> {
    pub(crate) fn new(inner: T, guard: Option<G>) -> Self {
        Self {
            inner: Some(inner),
            guard,
        }
    }

    fn poll_inner<I>(
        self: Pin<&mut Self>,
        poll: impl FnOnce(Pin<&mut T>) -> Poll<Option<I>>,
    ) -> Poll<Option<I>> {
        let mut this = self.project();
        let release = || *this.guard = None;
        let Some(poll) = unwind::poll(this.inner.as_mut(), poll, release) else {
            return Poll::Ready(None);
        };
        let item = ready!(poll);
        if item.is_none() {
            this.inner.set(None);
            *this.guard = None;
        }
        Poll::Ready(item)
    }
}

impl<S: Stream, G> Stream for Hold<S, G> {
    type Item = S::Item;

    fn poll_next(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<S::Item>> {
        self.poll_inner(|inner| inner.poll_next(cx))
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        let inner = self.inner.as_ref();
        inner.map_or((0, Some(0)), Stream::size_hint)
    }
}

impl<B: Body, G> Body for Hold<B, G> {
    type Data = B::Data;
    type Error = B::Error;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<B::Data>, B::Error>>> {
        self.poll_inner(|inner| inner.poll_frame(cx))
    }

    fn is_end_stream(&self) -> bool {
        self.inner.as_ref().is_none_or(Body::is_end_stream)
    }

    fn size_hint(&self) -> SizeHint {
        let inner = self.inner.as_ref();
        inner.map_or_else(|| SizeHint::with_exact(0), Body::size_hint)
    }
}

pin_project! {
    /// A stream that ends at the shutdown with a last item. Made by [`StreamingExt::end_with`].
    ///
    /// # Cancel safety
    ///
    /// Its `next` is cancel safe if that of the stream inside is.
    #[must_use = "streams do nothing unless polled"]
    #[derive(Debug)]
    pub struct EndWith<S, W, L> {
        #[pin]
        stream: Option<S>,
        waiter: W,
        last: Option<L>,
        items: u32,
        // Whether the stream was pending in the poll before, and the waiter ready.
        pending: bool,
    }
}

impl<S, W, L> Stream for EndWith<S, W, L>
where
    S: Stream,
    W: BorrowMut<Waiter>,
    L: FnOnce() -> S::Item,
{
    type Item = S::Item;

    fn poll_next(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<S::Item>> {
        let mut this = self.project();
        let Some(stream) = this.stream.as_mut().as_pin_mut() else {
            return Poll::Ready(None);
        };
        let waiter = this.waiter.borrow_mut();
        if *this.items > 0 {
            match stream.poll_next(cx) {
                Poll::Ready(Some(item)) => {
                    if waiter.is_stopping() {
                        *this.items -= 1;
                    }
                    *this.pending = false;
                    return Poll::Ready(Some(item));
                }
                Poll::Ready(None) => {
                    this.stream.set(None);
                    return Poll::Ready(None);
                }
                Poll::Pending => {
                    ready!(Pin::new(waiter).poll(cx));
                    // tokio has a task yield after a number of items. The others come in its next turn.
                    if !mem::replace(this.pending, true) {
                        cx.waker().wake_by_ref();
                        return Poll::Pending;
                    }
                }
            }
        }
        this.stream.set(None);
        Poll::Ready(this.last.take().map(|last| last()))
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        let Some(stream) = &self.stream else {
            return (0, Some(0));
        };
        // It may end at any time.
        (
            0,
            stream.size_hint().1.and_then(|upper| upper.checked_add(1)),
        )
    }
}
