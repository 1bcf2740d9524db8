//! I/O handles whose reading ends at shutdown.

use std::borrow::BorrowMut;
use std::io::{self, IoSlice};
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use pin_project_lite::pin_project;

use crate::ext::inner::inner;
use crate::waiter::Waiter;

pin_project! {
    /// Made by [`ShutdownExt::seal_on_shutdown`](crate::ShutdownExt::seal_on_shutdown).
    ///
    /// # Cancel safety
    ///
    /// Reading and writing are cancel safe if those of the handle inside are.
    #[must_use = "I/O handles do nothing unless used"]
    #[cfg_attr(docsrs, doc(cfg(any(feature = "futures-io", feature = "tokio-io"))))]
    #[derive(Debug)]
    pub struct SealOnShutdown<T, W = Waiter> {
        #[pin]
        io: T,
        waiter: W,
    }
}

impl<T, W> SealOnShutdown<T, W> {
    pub(crate) fn new(io: T, waiter: W) -> Self {
        Self { io, waiter }
    }
}

inner!(SealOnShutdown<T, W>, io, T);

/// What `read` says, unless the shutdown has come, or comes while it waits. `Ready(None)` is the end.
fn poll_read_until<T>(
    waiter: &mut Waiter,
    cx: &mut Context<'_>,
    read: impl FnOnce(&mut Context<'_>) -> Poll<io::Result<T>>,
) -> Poll<Option<io::Result<T>>> {
    if waiter.is_stopping() {
        return Poll::Ready(None);
    }
    match read(cx) {
        Poll::Ready(result) => Poll::Ready(Some(result)),
        // Registered, so that an idle reader is woken.
        Poll::Pending => {
            ready!(Pin::new(waiter).poll(cx));
            Poll::Ready(None)
        }
    }
}

#[cfg(feature = "futures-io")]
mod futures {
    use futures_lite::io::{AsyncBufRead, AsyncRead, AsyncWrite};

    use super::*;

    impl<T: AsyncRead, W: BorrowMut<Waiter>> AsyncRead for SealOnShutdown<T, W> {
        fn poll_read(
            self: Pin<&mut Self>,
            cx: &mut Context<'_>,
            buf: &mut [u8],
        ) -> Poll<io::Result<usize>> {
            let this = self.project();
            let read = poll_read_until(this.waiter.borrow_mut(), cx, |cx| {
                this.io.poll_read(cx, buf)
            });
            read.map(|read| read.unwrap_or(Ok(0)))
        }

        fn poll_read_vectored(
            self: Pin<&mut Self>,
            cx: &mut Context<'_>,
            bufs: &mut [io::IoSliceMut<'_>],
        ) -> Poll<io::Result<usize>> {
            let this = self.project();
            let read = poll_read_until(this.waiter.borrow_mut(), cx, |cx| {
                this.io.poll_read_vectored(cx, bufs)
            });
            read.map(|read| read.unwrap_or(Ok(0)))
        }
    }

    impl<T: AsyncBufRead, W: BorrowMut<Waiter>> AsyncBufRead for SealOnShutdown<T, W> {
        fn poll_fill_buf(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<&[u8]>> {
            let this = self.project();
            let read =
                poll_read_until(this.waiter.borrow_mut(), cx, |cx| this.io.poll_fill_buf(cx));
            read.map(|read| read.unwrap_or(Ok(&[])))
        }

        fn consume(self: Pin<&mut Self>, amount: usize) {
            self.project().io.consume(amount);
        }
    }

    impl<T: AsyncWrite, W: BorrowMut<Waiter>> AsyncWrite for SealOnShutdown<T, W> {
        fn poll_write(
            self: Pin<&mut Self>,
            cx: &mut Context<'_>,
            buf: &[u8],
        ) -> Poll<io::Result<usize>> {
            self.project().io.poll_write(cx, buf)
        }

        fn poll_write_vectored(
            self: Pin<&mut Self>,
            cx: &mut Context<'_>,
            bufs: &[IoSlice<'_>],
        ) -> Poll<io::Result<usize>> {
            self.project().io.poll_write_vectored(cx, bufs)
        }

        fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
            self.project().io.poll_flush(cx)
        }

        fn poll_close(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
            self.project().io.poll_close(cx)
        }
    }
}

#[cfg(feature = "tokio-io")]
mod tokio {
    use ::tokio::io::{AsyncBufRead, AsyncRead, AsyncWrite, ReadBuf};

    use super::*;

    impl<T: AsyncRead, W: BorrowMut<Waiter>> AsyncRead for SealOnShutdown<T, W> {
        fn poll_read(
            self: Pin<&mut Self>,
            cx: &mut Context<'_>,
            buf: &mut ReadBuf<'_>,
        ) -> Poll<io::Result<()>> {
            let this = self.project();
            // A buffer in which nothing was filled is the end.
            let read = poll_read_until(this.waiter.borrow_mut(), cx, |cx| {
                this.io.poll_read(cx, buf)
            });
            read.map(|read| read.unwrap_or(Ok(())))
        }
    }

    impl<T: AsyncBufRead, W: BorrowMut<Waiter>> AsyncBufRead for SealOnShutdown<T, W> {
        fn poll_fill_buf(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<&[u8]>> {
            let this = self.project();
            let read =
                poll_read_until(this.waiter.borrow_mut(), cx, |cx| this.io.poll_fill_buf(cx));
            read.map(|read| read.unwrap_or(Ok(&[])))
        }

        fn consume(self: Pin<&mut Self>, amount: usize) {
            self.project().io.consume(amount);
        }
    }

    impl<T: AsyncWrite, W: BorrowMut<Waiter>> AsyncWrite for SealOnShutdown<T, W> {
        fn poll_write(
            self: Pin<&mut Self>,
            cx: &mut Context<'_>,
            buf: &[u8],
        ) -> Poll<io::Result<usize>> {
            self.project().io.poll_write(cx, buf)
        }

        fn poll_write_vectored(
            self: Pin<&mut Self>,
            cx: &mut Context<'_>,
            bufs: &[IoSlice<'_>],
        ) -> Poll<io::Result<usize>> {
            self.project().io.poll_write_vectored(cx, bufs)
        }

        fn is_write_vectored(&self) -> bool {
            self.io.is_write_vectored()
        }

        fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
            self.project().io.poll_flush(cx)
        }

        fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
            self.project().io.poll_shutdown(cx)
        }
    }
}
