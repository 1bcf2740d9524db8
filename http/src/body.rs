//! The bodies of requests and of answers, as a [`Server`](crate::Server) hands them on.

use std::error::Error;
use std::fmt;
use std::io::IoSlice;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use bytes::{Buf, Bytes};
use http_body::{Body, Frame, SizeHint};
use hyper::body::Incoming;
use hyper::rt::{Sleep, Timer};
use pin_project_lite::pin_project;
use winddown::Waiter;

use crate::common::Common;
use crate::monitor::InFlight;
use crate::timer::SETTLE;
use crate::unwind;
use crate::uploads::Upload;

/// The body of a request that a [`Server`](crate::Server) hands to a service.
///
/// It is hyper's [`Incoming`]. But once the connections are told to finish, a client that sends
/// nothing of it for the [`client_timeout`](crate::Server::client_timeout) gets no more time: the body
/// ends with [`RequestBodyError::Stalled`]. So a client that stops in the middle of a body does not hold
/// the shutdown.
pub struct RequestBody {
    incoming: Incoming,
    limit: Limit,
}

/// How long the body may wait for the client once the connections are told to finish.
struct Limit {
    common: Arc<Common>,
    /// Only if the body has had to wait.
    wait: Option<Box<Wait>>,
    /// The time was up: the body has ended.
    over: bool,
    /// On HTTP/2, if the body had not ended when it came.
    upload: Option<Upload>,
}

struct Wait {
    stop: Waiter,
    sleep: Option<Pin<Box<dyn Sleep>>>,
    /// Since which change of the uploads the client alone has kept the body waiting, when `sleep` was made.
    since: Option<u64>,
    /// Whether the time of the client is over, and `sleep` is the rest for the runtime.
    settles: bool,
}

impl RequestBody {
    pub(crate) fn new(incoming: Incoming, common: Arc<Common>, upload: Option<Upload>) -> Self {
        let limit = Limit {
            common,
            wait: None,
            over: false,
            upload,
        };
        Self { incoming, limit }
    }

    /// Returns hyper's body, for a service that takes nothing else. It has no limit of time. Nor have the other
    /// request bodies of its HTTP/2 connection from then on: the server does not see whether this one is read.
    ///
    /// ```
    /// use hyper::body::Incoming;
    /// use hyper::{Request, Response};
    /// use winddown_http::RequestBody;
    ///
    /// async fn proxy(_: Request<Incoming>) -> hyper::Result<Response<Incoming>> {
    /// #     todo!()
    ///     // ... sends the request on ...
    /// }
    ///
    /// async fn answer(
    ///     request: Request<RequestBody>,
    /// ) -> hyper::Result<Response<Incoming>> {
    ///     proxy(request.map(RequestBody::into_incoming)).await
    /// }
    /// ```
    pub fn into_incoming(self) -> Incoming {
        if let Some(upload) = self.limit.upload {
            upload.leave();
        }
        self.incoming
    }
}

impl Limit {
    /// Ready when the client has had its time.
    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let (common, upload) = (&*self.common, self.upload.as_ref());
        let wait = self.wait.get_or_insert_with(|| {
            Box::new(Wait {
                stop: common.stop.clone(),
                sleep: None,
                since: None,
                settles: false,
            })
        });
        ready!(Pin::new(&mut wait.stop).poll(cx));
        loop {
            let since = upload.and_then(Upload::client_waits_since);
            let sleep = wait.sleep.get_or_insert_with(|| {
                wait.since = since;
                wait.settles = false;
                // Not ready at once, or this is a loop without an end while the server keeps the client.
                let time = common.times_at_stop().client.max(SETTLE);
                common.timer.sleep(time)
            });
            ready!(sleep.as_mut().poll(cx));
            if upload.is_some() && (since.is_none() || since != wait.since) {
                wait.sleep = None; // the server may have kept the client from it
            } else if wait.settles {
                return Poll::Ready(());
            } else {
                wait.settles = true;
                wait.sleep = Some(common.timer.sleep(SETTLE));
            }
        }
    }

    /// Gives the client the whole time for what it sends next.
    fn restart(&mut self) {
        if let Some(upload) = &self.upload {
            upload.read();
        }
        if let Some(wait) = &mut self.wait {
            wait.sleep = None;
        }
    }
}

impl Body for RequestBody {
    type Data = Bytes;
    type Error = RequestBodyError;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, RequestBodyError>>> {
        let Self { incoming, limit } = self.get_mut();
        if limit.over {
            return Poll::Ready(None);
        }
        // Noted first, so that what arrives meanwhile is noted after it.
        let waits = limit.upload.as_ref().map(|upload| upload.wait(cx.waker()));
        let waker = waits.as_ref().unwrap_or(cx.waker());
        match Pin::new(&mut *incoming).poll_frame(&mut Context::from_waker(waker)) {
            Poll::Ready(frame) => {
                limit.restart();
                if frame.is_none() || incoming.is_end_stream() {
                    limit.upload = None;
                }
                Poll::Ready(frame.map(|frame| frame.map_err(RequestBodyError::Hyper)))
            }
            Poll::Pending => {
                ready!(limit.poll(cx));
                limit.over = true;
                Poll::Ready(Some(Err(RequestBodyError::Stalled)))
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        self.limit.over || self.incoming.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.incoming.size_hint()
    }
}

impl fmt::Debug for RequestBody {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.incoming, f)
    }
}

/// The error of a [`RequestBody`].
#[derive(Debug)]
#[non_exhaustive]
pub enum RequestBodyError {
    /// hyper could not read the body.
    Hyper(hyper::Error),
    /// The server is stopping, and the client has sent nothing for its
    /// [`client_timeout`](crate::Server::client_timeout).
    Stalled,
}

impl fmt::Display for RequestBodyError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Hyper(error) => fmt::Display::fmt(error, f),
            Self::Stalled => f.write_str("the server is stopping, and the client sends no more"),
        }
    }
}

impl Error for RequestBodyError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        match self {
            Self::Hyper(error) => error.source(),
            Self::Stalled => None,
        }
    }
}

pin_project! {
    /// The body of an answer. It keeps the request in flight until its bytes are written.
    pub struct ResponseBody<B> {
        // `None` when it has panicked.
        #[pin]
        inner: Option<B>,
        in_flight: Arc<InFlight>,
    }
}

impl<B: Body> ResponseBody<B> {
    pub(crate) fn new(inner: B, in_flight: Arc<InFlight>) -> Self {
        if inner.is_end_stream() {
            in_flight.end();
        }
        let inner = Some(inner);
        Self { inner, in_flight }
    }
}

impl<B: Body> Body for ResponseBody<B> {
    type Data = Chunk<B::Data>;
    type Error = B::Error;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Self::Data>, B::Error>>> {
        let this = self.project();
        let poll = |mut inner: Pin<&mut B>| {
            let frame = ready!(inner.as_mut().poll_frame(cx));
            let is_last = frame.is_none() || inner.is_end_stream();
            Poll::Ready((frame, is_last))
        };
        // Its chunks have clones.
        let release = || this.in_flight.release();
        let poll = unwind::poll(this.inner, poll, release);
        let (frame, is_last) = ready!(poll.expect("polled after it has panicked"));
        if is_last {
            this.in_flight.end();
        }
        let in_flight = this.in_flight;
        let chunk = |data| Chunk {
            data,
            _in_flight: in_flight.clone(),
        };
        let frame = frame.map(|frame| frame.map(|frame| frame.map_data(chunk)));
        if let Some(Ok(frame)) = &frame {
            if frame.is_trailers() {
                in_flight.end();
            }
        }
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        self.inner.as_ref().is_some_and(Body::is_end_stream)
    }

    fn size_hint(&self) -> SizeHint {
        let inner = self.inner.as_ref();
        inner.map_or_else(SizeHint::default, Body::size_hint)
    }
}

impl<B> fmt::Debug for ResponseBody<B> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ResponseBody").finish_non_exhaustive()
    }
}

/// The bytes of an answer. They keep the request in flight until they are written.
pub struct Chunk<D> {
    data: D,
    _in_flight: Arc<InFlight>,
}

impl<D: Buf> Buf for Chunk<D> {
    fn remaining(&self) -> usize {
        self.data.remaining()
    }

    fn chunk(&self) -> &[u8] {
        self.data.chunk()
    }

    fn chunks_vectored<'a>(&'a self, dst: &mut [IoSlice<'a>]) -> usize {
        self.data.chunks_vectored(dst)
    }

    fn advance(&mut self, count: usize) {
        self.data.advance(count);
    }

    fn copy_to_bytes(&mut self, len: usize) -> Bytes {
        self.data.copy_to_bytes(len)
    }
}

impl<D> fmt::Debug for Chunk<D> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Chunk").finish_non_exhaustive()
    }
}

#[cfg(all(test, feature = "tokio"))]
mod tests {
    use std::future::{pending, poll_fn};
    use std::task::Waker;
    use std::time::Duration;

    use futures_lite::FutureExt;
    use hyper_util::rt::TokioTimer;
    use tokio::task::unconstrained;
    use tokio::time::{Instant, sleep, timeout};
    use winddown::Shutdown;

    use super::*;
    use crate::common::Times;
    use crate::timer::SharedTimer;
    use crate::uploads::Uploads;

    /// Makes the limit of an upload, at a stop.
    fn limit(uploads: &Uploads, client: Duration) -> Limit {
        let shutdown = Shutdown::new();
        shutdown.request_shutdown();
        let times = Times {
            pause: Duration::ZERO,
            client,
            idle: client,
            latest: None,
        };
        let timer = SharedTimer::new(TokioTimer::new());
        Limit {
            common: Arc::new(Common::new(
                shutdown.waiter(),
                shutdown.waiter(),
                timer,
                times,
            )),
            wait: None,
            over: false,
            upload: Some(uploads.begin()),
        }
    }

    /// Mutation: the time of a client is not `SETTLE` at least. Then this has no end.
    #[tokio::test(start_paused = true)]
    async fn upload_without_a_time_yields_while_the_server_keeps_it() {
        let uploads = Uploads::default();
        let mut limit = limit(&uploads, Duration::ZERO);
        let over = unconstrained(poll_fn(|cx| limit.poll(cx)));
        timeout(10 * SETTLE, over).await.unwrap_err();
    }

    /// The server kept the client from sending for some of the time, and not at its end.
    ///
    /// Mutation: `Limit::poll` asks only whether the client alone is waited for, and not since when.
    #[tokio::test(start_paused = true)]
    async fn upload_has_the_whole_time_from_when_the_server_keeps_it_no_longer() {
        const CLIENT: Duration = Duration::from_secs(1);
        for blocked in [Duration::ZERO, CLIENT / 2] {
            let uploads = Uploads::default();
            let mut limit = limit(&uploads, CLIENT);
            let waits = |upload: &Upload| upload.wait(Waker::noop());
            let _waits = limit.upload.as_ref().map(waits);
            let begun = Instant::now();
            let blocks = async {
                sleep(CLIENT / 4).await;
                if !blocked.is_zero() {
                    uploads.set_blocked(true);
                    sleep(blocked).await;
                    uploads.set_blocked(false);
                }
                pending().await
            };
            poll_fn(|cx| limit.poll(cx)).or(blocks).await;
            let times = if blocked.is_zero() { 1 } else { 2 };
            let more = begun.elapsed() - times * CLIENT;
            assert!(SETTLE <= more && more < 2 * SETTLE, "{blocked:?}, {more:?}");
        }
    }
}
