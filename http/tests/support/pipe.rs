//! A pipe in memory, of which a test changes how it is read or closed.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use hyper::rt::{Read, ReadBufCursor, Write};
use hyper_util::rt::TokioIo;
use tokio::io::DuplexStream;

pub type Inner = TokioIo<DuplexStream>;

/// What is different. By default, nothing is.
pub trait Change: Unpin {
    fn poll_read(
        &mut self,
        inner: Pin<&mut Inner>,
        cx: &mut Context<'_>,
        buf: ReadBufCursor<'_>,
    ) -> Poll<io::Result<()>> {
        inner.poll_read(cx, buf)
    }

    /// Called before each `poll_shutdown` of the pipe, and until it is ready.
    fn poll_close(&mut self, _: &mut Context<'_>) -> Poll<()> {
        Poll::Ready(())
    }
}

pub struct Pipe<C> {
    inner: Inner,
    change: C,
}

impl<C> Pipe<C> {
    pub fn new(pipe: DuplexStream, change: C) -> Self {
        let inner = TokioIo::new(pipe);
        Self { inner, change }
    }
}

impl<C: Change> Read for Pipe<C> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: ReadBufCursor<'_>,
    ) -> Poll<io::Result<()>> {
        let Self { inner, change } = &mut *self;
        change.poll_read(Pin::new(inner), cx, buf)
    }
}

impl<C: Change> Write for Pipe<C> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.inner).poll_write(cx, buf)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(self.change.poll_close(cx));
        Pin::new(&mut self.inner).poll_shutdown(cx)
    }
}
