//! tokio's executor, timer and listeners.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use futures_lite::Stream;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use tokio::net::{TcpListener, TcpStream};
#[cfg(unix)]
use tokio::net::{UnixListener, UnixStream};
use winddown::Shutdown;

use crate::server::Server;

impl Server<TokioExecutor> {
    /// Makes a server on tokio.
    #[cfg_attr(docsrs, doc(cfg(feature = "tokio")))]
    pub fn tokio(shutdown: &Shutdown) -> Self {
        Self::new(shutdown, TokioExecutor::new(), TokioTimer::new())
    }
}

/// A stream of the connections of a tokio listener, for [`Server::serve`].
///
/// TCP connections have `TCP_NODELAY`, so that the last piece of an answer is not held back.
#[cfg_attr(docsrs, doc(cfg(feature = "tokio")))]
#[derive(Debug)]
#[must_use = "streams do nothing unless polled"]
pub struct TokioIncoming<L = TcpListener>(L);

impl<L> TokioIncoming<L> {
    /// Makes the stream.
    pub fn new(listener: L) -> Self {
        Self(listener)
    }
}

impl Stream for TokioIncoming<TcpListener> {
    type Item = io::Result<TokioIo<TcpStream>>;

    fn poll_next(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let accepted = ready!(self.0.poll_accept(cx));
        Poll::Ready(Some(accepted.map(|(stream, _)| {
            // It fails for a connection that is gone, which reading will tell.
            let _ = stream.set_nodelay(true);
            TokioIo::new(stream)
        })))
    }
}

#[cfg(unix)]
impl Stream for TokioIncoming<UnixListener> {
    type Item = io::Result<TokioIo<UnixStream>>;

    fn poll_next(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let accepted = ready!(self.0.poll_accept(cx));
        Poll::Ready(Some(accepted.map(|(stream, _)| TokioIo::new(stream))))
    }
}
