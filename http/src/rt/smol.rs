//! smol's executor, timer and listeners.

use std::io;
use std::net::TcpListener;
#[cfg(unix)]
use std::os::unix::net::UnixListener;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use futures_lite::Stream;
use smol::Async;
use smol::net::TcpStream;
#[cfg(unix)]
use smol::net::unix::UnixStream;
use smol_hyper::rt::{FuturesIo, SmolTimer};
use winddown::Shutdown;

use crate::refuse::{AsSocket, Refusal};
use crate::server::Server;

/// hyper's executor on `smol::spawn`.
#[cfg_attr(docsrs, doc(cfg(feature = "smol")))]
#[derive(Clone, Copy, Debug, Default)]
#[non_exhaustive]
pub struct SmolExecutor;

impl<F> hyper::rt::Executor<F> for SmolExecutor
where
    F: Future<Output: Send> + Send + 'static,
{
    fn execute(&self, future: F) {
        smol::spawn(future).detach();
    }
}

impl Server<SmolExecutor> {
    /// Makes a server on smol's global executor.
    ///
    /// ```
    /// use smol::net::TcpListener;
    /// use winddown::Shutdown;
    /// use winddown_http::{Server, SmolIncoming};
    /// # use hyper::{Request, Response, body::Incoming, service::service_fn};
    /// # use winddown_http::RequestBody;
    /// # async fn answer(_: Request<RequestBody>) -> Result<Response<String>, String> {
    /// #     Ok(Response::default())
    /// # }
    ///
    /// # smol::block_on(async {
    /// # let shutdown = Shutdown::new();
    /// let listener = TcpListener::bind("127.0.0.1:0").await?;
    /// let incoming = SmolIncoming::new(listener);
    /// # shutdown.request_shutdown();
    /// let server = Server::smol(&shutdown);
    /// server.serve(incoming, service_fn(answer)).await?;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// # }).unwrap();
    /// ```
    #[cfg_attr(docsrs, doc(cfg(feature = "smol")))]
    #[track_caller]
    pub fn smol(shutdown: &Shutdown) -> Self {
        Self::new(shutdown, SmolExecutor, SmolTimer::new())
    }
}

/// A stream of the connections of a smol listener, for [`Server::serve`].
///
/// TCP connections have `TCP_NODELAY`, so that the last piece of an answer is not held back.
#[cfg_attr(docsrs, doc(cfg(feature = "smol")))]
#[derive(Debug)]
#[must_use = "streams do nothing unless polled"]
pub struct SmolIncoming<L = TcpListener> {
    listener: Arc<Async<L>>,
    /// If it is to refuse.
    refusing: Option<Refusal>,
}

impl<L> SmolIncoming<L> {
    /// Makes the stream, of `smol::net::TcpListener`, of `smol::net::unix::UnixListener`, or of a
    /// listener of the standard library in an `Arc<Async<_>>`.
    ///
    /// ```
    /// use std::net::TcpListener;
    /// use std::sync::Arc;
    /// use smol::Async;
    /// use winddown_http::SmolIncoming;
    ///
    /// // A listener that a service manager may have handed over.
    /// let listener = TcpListener::bind("127.0.0.1:0")?;
    /// let incoming = SmolIncoming::new(Arc::new(Async::new(listener)?));
    /// # let _ = incoming;
    /// # Ok::<(), std::io::Error>(())
    /// ```
    pub fn new(listener: impl Into<Arc<Async<L>>>) -> Self {
        Self {
            listener: listener.into(),
            refusing: None,
        }
    }

    /// Asks the kernel for a connection before it is believed that there is none. Returns `None` if none will
    /// come any more.
    fn poll_accept<S>(
        &mut self,
        cx: &mut Context<'_>,
        mut accept: impl FnMut(&L) -> io::Result<S>,
    ) -> Poll<Option<io::Result<S>>>
    where
        L: AsSocket,
    {
        if let Some(refusal) = &mut self.refusing {
            refusal.before_a_look(self.listener.get_ref());
        }
        loop {
            match accept(self.listener.get_ref()) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    #[cfg(unix)]
                    if self.refusing.as_ref().is_some_and(Refusal::is_over) {
                        return Poll::Ready(None);
                    }
                    ready!(self.listener.poll_readable(cx))?;
                }
                accepted => return Poll::Ready(Some(accepted)),
            }
        }
    }
}

impl<L: AsSocket> SmolIncoming<L> {
    /// Refuses new connections from the shutdown on, and gives out those that the kernel has accepted. So
    /// none is lost when the listener closes. The stream of a Unix listener ends then. On Linux; elsewhere it
    /// changes nothing.
    ///
    /// **Only for a listener that this process alone has**, as [`refuse_new`](crate::refuse_new) says.
    ///
    /// ```
    /// use smol::net::TcpListener;
    /// use winddown::Shutdown;
    /// use winddown_http::SmolIncoming;
    ///
    /// # smol::block_on(async {
    /// # let shutdown = Shutdown::new();
    /// let listener = TcpListener::bind("127.0.0.1:0").await?;
    /// let incoming = SmolIncoming::new(listener).refuse_on_shutdown(&shutdown)?;
    /// # let _ = incoming;
    /// # Ok::<(), std::io::Error>(())
    /// # }).unwrap();
    /// ```
    ///
    /// # Errors
    ///
    /// That of the system, if the listener can't be copied.
    pub fn refuse_on_shutdown(mut self, shutdown: &Shutdown) -> io::Result<Self> {
        self.refusing = Some(Refusal::new(self.listener.get_ref(), shutdown)?);
        Ok(self)
    }
}

impl Stream for SmolIncoming<TcpListener> {
    type Item = io::Result<FuturesIo<TcpStream>>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let Some(accepted) = ready!(self.poll_accept(cx, TcpListener::accept)) else {
            return Poll::Ready(None);
        };
        let (stream, _) = accepted?;
        // It fails for a connection that is gone, which reading will tell.
        let _ = stream.set_nodelay(true);
        let stream = Async::new(stream).map(|stream| FuturesIo::new(stream.into()));
        Poll::Ready(Some(stream))
    }
}

#[cfg(unix)]
impl Stream for SmolIncoming<UnixListener> {
    type Item = io::Result<FuturesIo<UnixStream>>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let Some(accepted) = ready!(self.poll_accept(cx, UnixListener::accept)) else {
            return Poll::Ready(None);
        };
        let (stream, _) = accepted?;
        let stream = Async::new(stream).map(|stream| FuturesIo::new(stream.into()));
        Poll::Ready(Some(stream))
    }
}
