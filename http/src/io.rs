//! [`Io`]: the I/O of a connection, which tells the monitor what arrives and what has left.

use std::io::{self, IoSlice};
use std::mem::{self, MaybeUninit};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use hyper::rt::{Read, ReadBuf, ReadBufCursor, Write};

use crate::monitor::Monitor;
use crate::protocol::Protocol;

/// How many bytes are read at once where hyper does not read: the first request head, mostly.
const CHUNK: usize = 4096;

/// Tells the monitor that the I/O was dropped, by hyper or by the task that an upgraded connection was handed
/// to.
struct Closer {
    monitor: Arc<Monitor>,
}

impl Drop for Closer {
    fn drop(&mut self) {
        self.monitor.close();
    }
}

/// How many reads in a row find something before the driver has its turn. A client that floods a connection
/// would keep it from the stop and its end, and one thread from all other connections.
const READS: u32 = 64;

pub(crate) struct Io<I> {
    // Dropped first, so that the connection is closed when its guard is released.
    inner: I,
    closer: Closer,
    /// The first bytes, as long as hyper has not read them.
    first: Vec<u8>,
    /// The reads in a row that have found something.
    reads: u32,
    /// Whether no more is written.
    shut: bool,
}

impl<I> Io<I> {
    pub(crate) fn new(inner: I, monitor: Arc<Monitor>) -> Self {
        Self {
            inner,
            closer: Closer { monitor },
            first: Vec::new(),
            reads: 0,
            shut: false,
        }
    }
}

impl<I: Read + Unpin> Io<I> {
    /// Reads the first bytes until they tell the protocol, and keeps them.
    pub(crate) fn poll_protocol(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<Protocol>> {
        loop {
            let mut chunk = [MaybeUninit::uninit(); CHUNK];
            let mut chunk = ReadBuf::uninit(&mut chunk);
            ready!(Pin::new(&mut self.inner).poll_read(cx, chunk.unfilled()))?;
            self.closer.monitor.note_arrival();
            self.first.extend_from_slice(chunk.filled());
            let protocol = match Protocol::of(&self.first) {
                // The end of the stream. It is hyper's to say what that means.
                None if chunk.filled().is_empty() => Protocol::Http1,
                None => continue,
                Some(protocol) => protocol,
            };
            self.closer.monitor.note_protocol(protocol);
            return Poll::Ready(Ok(protocol));
        }
    }

    /// Reads, and tells the monitor what has arrived.
    fn poll_noted(
        &mut self,
        cx: &mut Context<'_>,
        mut buf: ReadBufCursor<'_>,
    ) -> Poll<io::Result<()>> {
        if !self.first.is_empty() {
            let rest = self.first.split_off(self.first.len().min(buf.remaining()));
            buf.put_slice(&mem::replace(&mut self.first, rest));
            return Poll::Ready(Ok(()));
        }
        if self.closer.monitor.is_over() {
            return Poll::Ready(Ok(())); // as good as the end of the stream
        }
        ready!(Pin::new(&mut self.inner).poll_read(cx, buf))?;
        // Or the end of the stream, at which hyper ends the connection.
        self.closer.monitor.note_arrival();
        Poll::Ready(Ok(()))
    }

    /// Reads, unless `READS` reads in a row have found something.
    fn poll_in_turn<T>(
        &mut self,
        cx: &mut Context<'_>,
        read: impl FnOnce(&mut Self, &mut Context<'_>) -> Poll<T>,
    ) -> Poll<T> {
        if self.reads == READS {
            self.reads = 0;
            cx.waker().wake_by_ref();
            return Poll::Pending;
        }
        let poll = read(self, cx);
        self.reads = if poll.is_ready() { self.reads + 1 } else { 0 };
        poll
    }

    /// Drops what the client sends, until it closes the connection.
    fn poll_drop(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        loop {
            let mut chunk = [MaybeUninit::uninit(); CHUNK];
            let mut chunk = ReadBuf::uninit(&mut chunk);
            let read = ready!(self.poll_in_turn(cx, |this, cx| {
                Pin::new(&mut this.inner).poll_read(cx, chunk.unfilled())
            }));
            if read.is_err() || chunk.filled().is_empty() {
                return Poll::Ready(());
            }
            self.closer.monitor.note_arrival();
        }
    }
}

impl<I: Read + Unpin> Read for Io<I> {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: ReadBufCursor<'_>,
    ) -> Poll<io::Result<()>> {
        let read = |this: &mut Self, cx: &mut Context<'_>| this.poll_noted(cx, buf);
        self.get_mut().poll_in_turn(cx, read)
    }
}

impl<I: Read + Write + Unpin> Write for Io<I> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.inner).poll_write(cx, buf);
        self.closer.monitor.wrote(&written);
        written
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let flushed = Pin::new(&mut self.inner).poll_flush(cx);
        match &flushed {
            Poll::Ready(Ok(())) => self.closer.monitor.flushed(),
            Poll::Ready(Err(_)) => {}
            Poll::Pending => self.closer.monitor.not_flushed(),
        }
        flushed
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if !self.shut {
            ready!(Pin::new(&mut self.inner).poll_shutdown(cx))?;
            self.shut = true;
        }
        if self.closer.monitor.end() {
            ready!(self.poll_drop(cx));
        }
        Poll::Ready(Ok(()))
    }

    fn is_write_vectored(&self) -> bool {
        self.inner.is_write_vectored()
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.inner).poll_write_vectored(cx, bufs);
        self.closer.monitor.wrote(&written);
        written
    }
}
