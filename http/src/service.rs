//! [`HttpService`]: what a server can serve; [`Adapter`]: how hyper sees it.

use std::fmt;
use std::marker::PhantomData;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Weak};
use std::task::{Context, Poll, ready};

use http::header::{CONNECTION, HeaderValue};
use http::{HeaderMap, Request, Response, StatusCode, Version};
use http_body::Body;
use hyper::body::Incoming;
use pin_project_lite::pin_project;
use winddown::{Guard, Waiter};

use crate::body::{RequestBody, ResponseBody};
use crate::monitor::{InFlight, Monitor};
use crate::request_kind::RequestKind;
use crate::unwind;
use crate::uploads::Uploads;

/// A service that a [`Server`](crate::Server) can serve: one of tower, such as axum's `Router` and
/// tonic's `Routes`, or one of hyper, such as `hyper::service::service_fn`.
///
/// It is implemented for both; no other code implements it. `Kind` says which of the two it is, and is
/// inferred.
#[diagnostic::on_unimplemented(
    message = "`{Self}` is not a service that `winddown_http` can serve",
    note = "it takes tower's or hyper's `Service<Request<winddown_http::RequestBody>>`, with `Clone`",
    note = "a `Router` of axum that has a state is one after `with_state`"
)]
pub trait HttpService<Kind>: Clone + private::Sealed<Kind> {
    /// The body of the answers.
    type ResBody: Body;
    /// The error of the service. It ends the connection of HTTP/1, and the stream of HTTP/2.
    type Error;
    /// The future of an answer.
    type Future: Future<Output = Result<Response<Self::ResBody>, Self::Error>>;

    /// Begins to answer a request.
    fn respond(&self, request: Request<RequestBody>) -> Self::Future;
}

/// The [kind](HttpService) of tower's services.
#[derive(Debug)]
pub enum Tower {}

/// The [kind](HttpService) of hyper's services.
#[derive(Debug)]
pub enum Hyper {}

mod private {
    use super::{Hyper, Request, RequestBody, Tower};

    pub trait Sealed<Kind> {}

    impl<S: tower_service::Service<Request<RequestBody>>> Sealed<Tower> for S {}
    impl<S: hyper::service::Service<Request<RequestBody>>> Sealed<Hyper> for S {}
}

impl<S, B> HttpService<Tower> for S
where
    S: tower_service::Service<Request<RequestBody>, Response = Response<B>> + Clone,
    B: Body,
{
    type ResBody = B;
    type Error = S::Error;
    type Future = TowerFuture<S>;

    fn respond(&self, request: Request<RequestBody>) -> TowerFuture<S> {
        TowerFuture {
            step: Step::Ready {
                service: self.clone(),
                request: Some(request),
            },
        }
    }
}

impl<S, B> HttpService<Hyper> for S
where
    S: hyper::service::Service<Request<RequestBody>, Response = Response<B>> + Clone,
    B: Body,
{
    type ResBody = B;
    type Error = S::Error;
    type Future = S::Future;

    fn respond(&self, request: Request<RequestBody>) -> S::Future {
        self.call(request)
    }
}

pin_project! {
    /// The future of a tower service that answers one request.
    #[must_use = "futures do nothing unless polled"]
    pub struct TowerFuture<S: tower_service::Service<Request<RequestBody>>> {
        #[pin]
        step: Step<S, S::Future>,
    }
}

pin_project! {
    #[project = StepProj]
    enum Step<S, F> {
        Ready { service: S, request: Option<Request<RequestBody>> },
        Called { #[pin] future: F },
    }
}

impl<S: tower_service::Service<Request<RequestBody>>> Future for TowerFuture<S> {
    type Output = Result<S::Response, S::Error>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let mut step = self.project().step;
        loop {
            match step.as_mut().project() {
                StepProj::Ready { service, request } => {
                    ready!(service.poll_ready(cx))?;
                    let request = request.take().expect("it is taken with the step");
                    let future = service.call(request);
                    step.set(Step::Called { future });
                }
                StepProj::Called { future } => return future.poll(cx),
            }
        }
    }
}

impl<S: tower_service::Service<Request<RequestBody>>> fmt::Debug for TowerFuture<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TowerFuture").finish_non_exhaustive()
    }
}

/// An extension of each request that a server of this crate serves, once there is a layer. A guard that is
/// left here is released when the answer has been sent.
#[derive(Clone)]
pub(crate) struct Unsent(Weak<InFlight>);

/// Whether there has been a layer that asks for `Unsent`. Without one, no request has to pay for a table
/// of extensions.
static EXPECTED: AtomicBool = AtomicBool::new(false);

impl Unsent {
    /// Has the requests from now on carry it.
    pub(crate) fn expect() {
        // Relaxed: the layer comes to the thread of a server by something that synchronizes, such as the spawn
        // of its task, and this write comes before.
        EXPECTED.store(true, Ordering::Relaxed);
    }

    /// Holds the guard until the answer has been sent.
    pub(crate) fn keep(&self, guard: Arc<Guard>) {
        // It is in flight, because its service is called just now.
        if let Some(in_flight) = self.0.upgrade() {
            in_flight.keep(guard);
        }
    }
}

/// The service of one connection.
pub(crate) struct Adapter<S, K> {
    service: S,
    monitor: Arc<Monitor>,
    kind: PhantomData<fn(K)>,
}

impl<S, K> Adapter<S, K> {
    pub(crate) fn new(service: S, monitor: Arc<Monitor>) -> Self {
        Self {
            service,
            monitor,
            kind: PhantomData,
        }
    }
}

impl<S: HttpService<K>, K> hyper::service::Service<Request<Incoming>> for Adapter<S, K> {
    type Response = Response<ResponseBody<S::ResBody>>;
    type Error = S::Error;
    type Future = AnswerFuture<S::Future>;

    fn call(&self, request: Request<Incoming>) -> Self::Future {
        let kind = RequestKind::new(request.method(), request.version());
        let in_flight = self.monitor.begin(kind);
        let common = self.monitor.common();
        let mut request = request.map(|incoming| {
            let uploads = self.monitor.uploads();
            let uploads = uploads.filter(|_| !incoming.is_end_stream());
            let upload = uploads.map(Uploads::begin);
            RequestBody::new(incoming, common.clone(), upload)
        });
        // Relaxed: see `expect`.
        if EXPECTED.load(Ordering::Relaxed) {
            let unsent = Unsent(Arc::downgrade(&in_flight));
            request.extensions_mut().insert(unsent);
        }
        AnswerFuture {
            future: Some(self.service.respond(request)),
            in_flight: Some(in_flight),
        }
    }
}

pin_project! {
    /// The future of one answer, as the executor of a [`Server`](crate::Server) gets it inside the task of
    /// an HTTP/2 stream.
    #[must_use = "futures do nothing unless polled"]
    pub struct AnswerFuture<F> {
        // `None` when it has panicked.
        #[pin]
        future: Option<F>,
        in_flight: Option<Arc<InFlight>>,
    }
}

impl<F> fmt::Debug for AnswerFuture<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AnswerFuture").finish_non_exhaustive()
    }
}

impl<F, B, E> Future for AnswerFuture<F>
where
    F: Future<Output = Result<Response<B>, E>>,
    B: Body,
{
    type Output = Result<Response<ResponseBody<B>>, E>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.project();
        let release = || *this.in_flight = None;
        let poll = unwind::poll(this.future, |future| future.poll(cx), release);
        let mut response = ready!(poll.expect("polled after it has panicked"))?;
        let in_flight = this.in_flight.take().expect("polled after it was ready");
        let kind = in_flight.kind();
        if kind.is_http1() {
            close_if_requested(&in_flight.common().stop, kind, &mut response);
        }
        // An answer with a body opens no tunnel, though hyper drops the body.
        if is_tunnel(kind, &response) && response.body().is_end_stream() {
            in_flight.tunnel();
        }
        Poll::Ready(Ok(response.map(|body| ResponseBody::new(body, in_flight))))
    }
}

/// Has an HTTP/1 answer say `connection: close` once the whole was requested, unless it hands the
/// connection over to another protocol.
pub(crate) fn close_if_requested<B>(stop: &Waiter, kind: RequestKind, response: &mut Response<B>) {
    let switches = response.status() == StatusCode::SWITCHING_PROTOCOLS;
    if stop.is_whole_requested() && !switches && !is_tunnel(kind, response) {
        say_close(response.headers_mut());
        if kind.version == Version::HTTP_10 {
            // To an answer of HTTP/1.1 hyper adds the `keep-alive` of the client.
            *response.version_mut() = kind.version;
        }
    }
}

/// Adds `close` to the connection options, in place of `keep-alive`. The others stay: a 426 has to say
/// `upgrade`.
fn say_close(headers: &mut HeaderMap) {
    let values = headers.get_all(CONNECTION).iter();
    let others: Vec<_> = values
        .flat_map(|value| value.as_bytes().split(|byte| *byte == b','))
        .map(<[u8]>::trim_ascii)
        .filter(|option| {
            let is = |other: &[u8]| option.eq_ignore_ascii_case(other);
            !option.is_empty() && !is(b"close") && !is(b"keep-alive")
        })
        .filter_map(|option| HeaderValue::from_bytes(option).ok())
        .collect();
    // A value of its own, which hyper finds whatever the others hold.
    headers.insert(CONNECTION, HeaderValue::from_static("close"));
    for option in others {
        headers.append(CONNECTION, option);
    }
}

/// Whether an answer makes a tunnel of its connection or stream.
fn is_tunnel<B>(kind: RequestKind, response: &Response<B>) -> bool {
    kind.connect && response.status().is_success()
}
