//! [`Io`]: the I/O of a connection, which tells the monitor what arrives and what has left.

use std::io::{self, IoSlice};
use std::mem::MaybeUninit;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use hyper::rt::{Read, ReadBuf, ReadBufCursor, Write};
use winddown::Guard;

use crate::monitor::{Monitor, Wants};
use crate::slots::Slot;

/// How many bytes are read at once while they are looked at: the first request head, mostly.
const CHUNK: usize = 4096;

/// What a connection holds until its I/O is dropped, by hyper or by the task that an upgraded connection
/// was handed to.
pub(crate) struct Lease {
    monitor: Arc<Monitor>,
    _guard: Guard,
    _slot: Slot,
}

impl Lease {
    pub(crate) fn new(monitor: Arc<Monitor>, guard: Guard, slot: Slot) -> Self {
        Self {
            monitor,
            _guard: guard,
            _slot: slot,
        }
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        self.monitor.close();
    }
}

pub(crate) struct Io<I> {
    // Dropped first, so that the connection is closed when its guard is released.
    inner: I,
    lease: Lease,
}

impl<I> Io<I> {
    pub(crate) fn new(inner: I, lease: Lease) -> Self {
        Self { inner, lease }
    }
}

impl<I: Read + Unpin> Read for Io<I> {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        mut buf: ReadBufCursor<'_>,
    ) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        let inner = Pin::new(&mut this.inner);
        match this.lease.monitor.wants() {
            Wants::Nothing => return inner.poll_read(cx, buf),
            Wants::Arrival => {
                ready!(inner.poll_read(cx, buf))?;
                // Or the end of the stream, at which hyper ends the connection.
                this.lease.monitor.note_arrival();
                return Poll::Ready(Ok(()));
            }
            Wants::Bytes => {}
        }
        let mut chunk = [MaybeUninit::uninit(); CHUNK];
        let len = CHUNK.min(buf.remaining());
        let mut chunk = ReadBuf::uninit(&mut chunk[..len]);
        ready!(inner.poll_read(cx, chunk.unfilled()))?;
        this.lease.monitor.note_bytes(chunk.filled());
        buf.put_slice(chunk.filled());
        Poll::Ready(Ok(()))
    }
}

impl<I: Write + Unpin> Write for Io<I> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.inner).poll_write(cx, buf)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        // hyper and h2 flush only when they have written all that they hold.
        ready!(Pin::new(&mut self.inner).poll_flush(cx))?;
        self.lease.monitor.flushed();
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_shutdown(cx)
    }

    fn is_write_vectored(&self) -> bool {
        self.inner.is_write_vectored()
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.inner).poll_write_vectored(cx, bufs)
    }
}
