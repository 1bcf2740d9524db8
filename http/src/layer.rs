//! [`GuardLayer`]: a guard for each request, as a layer of tower.

use std::fmt;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use http::request::Parts;
use http::{Request, Response};
use http_body::Body;
use pin_project_lite::pin_project;
use tower_layer::Layer;
use tower_service::Service;
use winddown::{Guard, Shutdown, Waiter};

use crate::hold::Hold;
use crate::request_kind::RequestKind;
use crate::service::{Unsent, close_if_requested};
use crate::unwind;

/// Returns the name of a request.
type Name = Box<dyn Fn(&Parts) -> &'static str + Send + Sync>;

/// A layer of tower that holds a guard for each request until its answer is sent, and has answers say
/// `connection: close` on HTTP/1 once the shutdown was requested.
///
/// In a [`Server`](crate::Server) the guard is released when the last byte of the answer's body was
/// written and flushed. The server of another crate does not tell when that is. There the guard is
/// released when the body is dropped: when the server has *taken* the last piece, which may still wait
/// in its buffers. So wait for the future of such a server too.
///
/// Make it before the server begins: the guard of a request that comes before the process has made its first
/// layer is released as in the server of another crate.
///
/// The guard is also in the extensions of the request, as a [`RequestGuard`], for a task that outlives the
/// request.
///
/// Once a drain of the shutdown has returned `Ok`, requests are served without a guard.
#[derive(Clone)]
pub struct GuardLayer(Arc<Settings>);

/// Shared, because a service is cloned for each request.
struct Settings {
    shutdown: Shutdown,
    name: Name,
}

impl GuardLayer {
    /// Makes a layer whose guards have this name in the report. The line that the report gives is one of
    /// this crate: to tell routes apart, use [`named_by`](GuardLayer::named_by).
    ///
    /// ```
    /// use axum::Router;
    /// use axum::routing::get;
    /// use winddown_http::GuardLayer;
    ///
    /// # let shutdown = winddown::Shutdown::new();
    /// # async fn hello() {}
    /// let app: Router = Router::new()
    ///     .route("/", get(hello))
    ///     .layer(GuardLayer::new(&shutdown, "request"));
    /// ```
    pub fn new(shutdown: &Shutdown, name: &'static str) -> Self {
        Self::named_by(shutdown, move |_| name)
    }

    /// Makes a layer that asks `name` for the name of each request.
    ///
    /// ```
    /// use winddown_http::GuardLayer;
    ///
    /// # let shutdown = winddown::Shutdown::new();
    /// let layer = GuardLayer::named_by(&shutdown, |request| {
    ///     match request.uri.path() {
    ///         "/export" => "export",
    ///         _ => "request",
    ///     }
    /// });
    /// ```
    pub fn named_by(
        shutdown: &Shutdown,
        name: impl Fn(&Parts) -> &'static str + Send + Sync + 'static,
    ) -> Self {
        Unsent::expect();
        Self(Arc::new(Settings {
            shutdown: shutdown.clone(),
            name: Box::new(name),
        }))
    }
}

impl fmt::Debug for GuardLayer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("GuardLayer").finish_non_exhaustive()
    }
}

impl<S> Layer<S> for GuardLayer {
    type Service = GuardService<S>;

    fn layer(&self, inner: S) -> GuardService<S> {
        GuardService {
            inner,
            layer: self.clone(),
        }
    }
}

/// The guard of a request, in its extensions. Made by a [`GuardLayer`].
///
/// [`Server::serve`](crate::Server::serve) does not wait for a task that has it and outlives its connection:
/// [`drained`](winddown::Shutdown::drained) of the shutdown does.
///
/// The task of a websocket holds it, so that a drain waits for the task:
///
/// ```
/// use axum::Extension;
/// use axum::extract::ws::{WebSocket, WebSocketUpgrade};
/// use axum::response::Response;
/// use winddown_http::RequestGuard;
///
/// async fn upgrade(
///     Extension(guard): Extension<RequestGuard>,
///     upgrade: WebSocketUpgrade,
/// ) -> Response {
///     upgrade.on_upgrade(async |socket| {
///         talk(socket).await;
///         drop(guard);
///     })
/// }
/// # async fn talk(_: WebSocket) {}
/// ```
#[derive(Clone, Debug)]
#[must_use = "the work is in flight only as long as the guard is held"]
pub struct RequestGuard(Arc<Guard>);

impl RequestGuard {
    /// Returns a waiter of the shutdown.
    ///
    /// ```
    /// use std::time::Duration;
    /// use winddown::ShutdownExt;
    /// use winddown_http::RequestGuard;
    ///
    /// /// Polls until there is news, or until the server stops.
    /// async fn long_poll(guard: RequestGuard) -> &'static str {
    ///     let news = tokio::time::sleep(Duration::from_secs(60));
    ///     match news.cancel_on_shutdown(guard.waiter()).await {
    ///         Some(()) => "news",
    ///         None => "come again",
    ///     }
    /// }
    /// ```
    pub fn waiter(&self) -> Waiter {
        self.0.waiter()
    }
}

/// A service whose requests hold guards. Made by a [`GuardLayer`].
#[derive(Clone, Debug)]
pub struct GuardService<S> {
    inner: S,
    layer: GuardLayer,
}

impl<S, B, R> Service<Request<B>> for GuardService<S>
where
    S: Service<Request<B>, Response = Response<R>>,
    R: Body,
{
    type Response = Response<Hold<R, Arc<Guard>>>;
    type Error = S::Error;
    type Future = GuardFuture<S::Future>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, request: Request<B>) -> Self::Future {
        let Settings { shutdown, name } = &*self.layer.0;
        let (mut parts, body) = request.into_parts();
        let mut guard = shutdown.guard_named(name(&parts)).map(Arc::new);
        if let Some(held) = &guard {
            parts.extensions.insert(RequestGuard(held.clone()));
        }
        if let Some(unsent) = parts.extensions.get::<Unsent>() {
            if let Some(guard) = guard.take() {
                unsent.keep(guard);
            }
        }
        let kind = RequestKind::new(&parts.method, parts.version);
        GuardFuture {
            future: Some(self.inner.call(Request::from_parts(parts, body))),
            guard,
            stop: kind.is_http1().then(|| shutdown.waiter()),
            kind,
        }
    }
}

pin_project! {
    /// The future of an answer. Made by a [`GuardService`].
    #[must_use = "futures do nothing unless polled"]
    #[derive(Debug)]
    pub struct GuardFuture<F> {
        // `None` when it has panicked.
        #[pin]
        future: Option<F>,
        guard: Option<Arc<Guard>>,
        // On HTTP/1.
        stop: Option<Waiter>,
        kind: RequestKind,
    }
}

impl<F, B, E> Future for GuardFuture<F>
where
    F: Future<Output = Result<Response<B>, E>>,
    B: Body,
{
    type Output = Result<Response<Hold<B, Arc<Guard>>>, E>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.project();
        let release = || *this.guard = None;
        let poll = unwind::poll(this.future, |future| future.poll(cx), release);
        let mut response = ready!(poll.expect("polled after it has panicked"))?;
        if let Some(stop) = this.stop {
            close_if_requested(stop, *this.kind, &mut response);
        }
        let guard = this.guard.take();
        Poll::Ready(Ok(response.map(|body| Hold::new(body, guard))))
    }
}
