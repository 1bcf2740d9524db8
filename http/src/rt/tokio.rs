//! tokio's executor, timer and listeners.

use std::io;
#[cfg(unix)]
use std::os::fd::OwnedFd;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use futures_lite::Stream;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use socket2::{SockRef, Socket};
use tokio::net::{TcpListener, TcpStream};
#[cfg(unix)]
use tokio::net::{UnixListener, UnixStream};
use winddown::Shutdown;

use crate::refuse::{AsSocket, Refusal};
use crate::server::Server;

impl Server<TokioExecutor> {
    /// Makes a server on tokio.
    ///
    /// ```
    /// use winddown::Shutdown;
    /// use winddown_http::Server;
    ///
    /// let shutdown = Shutdown::new();
    /// let server = Server::tokio(&shutdown);
    /// # let _ = server;
    /// ```
    #[cfg_attr(docsrs, doc(cfg(feature = "tokio")))]
    #[track_caller]
    pub fn tokio(shutdown: &Shutdown) -> Self {
        Self::new(shutdown, TokioExecutor::new(), TokioTimer::new())
    }
}

/// A stream of the connections of a tokio listener, for [`Server::serve`].
///
/// It asks the kernel whether there is a connection, where tokio's own `accept` first asks what its
/// reactor was last told. So no more time than needed passes between the last look at the queue and the
/// close.
///
/// TCP connections have `TCP_NODELAY`, so that the last piece of an answer is not held back.
///
/// # Panics
///
/// If it is polled outside of a tokio runtime that has I/O enabled.
#[cfg_attr(docsrs, doc(cfg(feature = "tokio")))]
#[derive(Debug)]
#[must_use = "streams do nothing unless polled"]
pub struct TokioIncoming<L = TcpListener> {
    listener: L,
    /// If it is to refuse.
    refusing: Option<Refusal>,
}

impl<L> TokioIncoming<L> {
    /// Makes the stream, of a `TcpListener` or a `UnixListener`.
    ///
    /// ```
    /// use tokio::net::TcpListener;
    /// use winddown_http::TokioIncoming;
    ///
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> std::io::Result<()> {
    /// let listener = TcpListener::bind("127.0.0.1:0").await?;
    /// let incoming = TokioIncoming::new(listener);
    /// # let _ = incoming;
    /// # Ok(())
    /// # }
    /// ```
    pub fn new(listener: L) -> Self {
        Self {
            listener,
            refusing: None,
        }
    }
}

impl<L: AsSocket> TokioIncoming<L> {
    /// Returns a connection that the kernel has, whatever tokio knows.
    fn accept_now(&mut self) -> Option<io::Result<Socket>> {
        if let Some(refusal) = &mut self.refusing {
            refusal.before_a_look(&self.listener);
        }
        match SockRef::from(&self.listener).accept() {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => None,
            accepted => Some(accepted.and_then(|(socket, _)| {
                socket.set_nonblocking(true)?;
                Ok(socket)
            })),
        }
    }

    /// Refuses new connections from the shutdown on, and gives out those that the kernel has accepted. So
    /// none is lost when the listener closes. The stream of a Unix listener ends then. On Linux; elsewhere it
    /// changes nothing.
    ///
    /// **Only for a listener that this process alone has**, as [`refuse_new`](crate::refuse_new) says. The
    /// shutdown is that of the [`Server`]. A listener that a service manager hands over (`LISTEN_FDS`,
    /// taken by the crate `listenfd`, and made non-blocking) goes without it.
    ///
    /// ```
    /// use tokio::net::TcpListener;
    /// use winddown::Shutdown;
    /// use winddown_http::TokioIncoming;
    ///
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> std::io::Result<()> {
    /// # let shutdown = Shutdown::new();
    /// let listener = TcpListener::bind("127.0.0.1:0").await?;
    /// let incoming = TokioIncoming::new(listener).refuse_on_shutdown(&shutdown)?;
    /// # let _ = incoming;
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    ///
    /// That of the system, if the listener can't be copied.
    pub fn refuse_on_shutdown(mut self, shutdown: &Shutdown) -> io::Result<Self> {
        self.refusing = Some(Refusal::new(&self.listener, shutdown)?);
        Ok(self)
    }
}

impl Stream for TokioIncoming<TcpListener> {
    type Item = io::Result<TokioIo<TcpStream>>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let stream = match self.accept_now() {
            Some(accepted) => TcpStream::from_std(accepted?.into())?,
            None => ready!(self.listener.poll_accept(cx))?.0,
        };
        // It fails for a connection that is gone, which reading will tell.
        let _ = stream.set_nodelay(true);
        Poll::Ready(Some(Ok(TokioIo::new(stream))))
    }
}

#[cfg(unix)]
impl Stream for TokioIncoming<UnixListener> {
    type Item = io::Result<TokioIo<UnixStream>>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let stream = match self.accept_now() {
            Some(accepted) => UnixStream::from_std(OwnedFd::from(accepted?).into())?,
            None if self.refusing.as_ref().is_some_and(Refusal::is_over) => {
                return Poll::Ready(None);
            }
            None => ready!(self.listener.poll_accept(cx))?.0,
        };
        Poll::Ready(Some(Ok(TokioIo::new(stream))))
    }
}
