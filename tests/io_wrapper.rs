//! The wrapper of I/O handles: each way of reading ends, and writing goes on.
#![cfg(any(feature = "futures-io", feature = "tokio-io"))]

mod support;

use std::io::IoSlice;
use std::pin::pin;
use std::task::Poll;

use futures_lite::future::block_on;
use support::{Counter, poll};
use winddown::{Shutdown, ShutdownExt};

const TEXT: &[u8] = b"one two";

#[cfg(feature = "futures-io")]
mod futures_io {
    use std::io::IoSliceMut;

    use futures_lite::io::{
        AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader, BufWriter, Cursor,
    };
    use futures_lite::{StreamExt, future};

    use super::*;

    #[test]
    fn read_vectored_ends_at_the_shutdown() {
        let shutdown = Shutdown::new();
        let mut sealed = TEXT.seal_on_shutdown(shutdown.waiter());
        let (mut first, mut second) = ([0; 3], [0; 2]);
        let mut read = || {
            let mut buffers = [IoSliceMut::new(&mut first), IoSliceMut::new(&mut second)];
            block_on(sealed.read_vectored(&mut buffers)).unwrap()
        };
        assert_eq!(read(), 5);
        shutdown.request_shutdown();
        assert_eq!(read(), 0);
        assert_eq!((&first, &second), (b"one", b" t"));
        assert_eq!(sealed.into_inner(), b"wo");
    }

    #[test]
    fn fill_buf_ends_at_the_shutdown() {
        let shutdown = Shutdown::new();
        let mut sealed = BufReader::new(TEXT).seal_on_shutdown(shutdown.waiter());
        block_on(async {
            assert_eq!(sealed.fill_buf().await.unwrap(), TEXT);
            sealed.consume(4);
            assert_eq!(sealed.fill_buf().await.unwrap(), b"two");
            shutdown.request_shutdown();
            assert_eq!(sealed.fill_buf().await.unwrap(), b"");
        });
        assert_eq!(sealed.into_inner().buffer(), b"two");
    }

    #[test]
    fn writes_are_passed_on_after_the_shutdown() {
        let shutdown = Shutdown::new();
        shutdown.request_shutdown();
        let mut sealed = Vec::new().seal_on_shutdown(shutdown.waiter());
        block_on(async {
            let buffers = [IoSlice::new(b"one"), IoSlice::new(b" two")];
            assert_eq!(sealed.write_vectored(&buffers).await.unwrap(), 7);
            sealed.write_all(b"!").await.unwrap();
            sealed.flush().await.unwrap();
            sealed.close().await.unwrap();
        });
        assert_eq!(sealed.get_mut(), b"one two!");
    }

    #[test]
    fn flush_is_passed_on() {
        let writer = BufWriter::new(Vec::new());
        let mut sealed = writer.seal_on_shutdown(Shutdown::new().waiter());
        block_on(async {
            sealed.write_all(TEXT).await.unwrap();
            assert_eq!(sealed.get_ref().get_ref(), b"");
            sealed.flush().await.unwrap();
            assert_eq!(sealed.get_ref().get_ref(), TEXT);
        });
    }

    #[test]
    fn pending_read_is_woken_and_ends() {
        let (peer, stream) = smol::block_on(async {
            let listener = smol::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
            let peer = smol::net::TcpStream::connect(listener.local_addr().unwrap());
            let (peer, stream) = future::zip(peer, listener.accept()).await;
            (peer.unwrap(), stream.unwrap().0)
        });
        let shutdown = Shutdown::new();
        let (counter, waker) = Counter::new();
        let mut sealed = stream.seal_on_shutdown(shutdown.waiter());
        let mut buffer = [0; 8];
        {
            let mut read = pin!(sealed.read(&mut buffer));
            assert!(poll(&mut read, &waker).is_pending());
            shutdown.request_shutdown();
            assert!(counter.count() >= 1);
            assert!(matches!(poll(&mut read, &waker), Poll::Ready(Ok(0))));
        }
        // The last answer can still be given.
        smol::block_on(async {
            sealed.write_all(b"goodbye").await.unwrap();
            sealed.close().await.unwrap();
            let mut all = String::new();
            let mut peer = peer;
            peer.read_to_string(&mut all).await.unwrap();
            assert_eq!(all, "goodbye");
        });
    }

    #[test]
    fn reads_are_passed_on_until_the_shutdown() {
        let shutdown = Shutdown::new();
        let mut sealed = Cursor::new(b"one\ntwo\n").seal_on_shutdown(shutdown.waiter());
        block_on(async {
            let mut four = [0; 4];
            sealed.read_exact(&mut four).await.unwrap();
            assert_eq!(&four, b"one\n");
            shutdown.request_shutdown();
            assert_eq!(sealed.read(&mut four).await.unwrap(), 0);
            assert_eq!(sealed.get_ref().position(), 4, "what was not read stays");
        });
    }

    #[test]
    fn lines_end_at_the_shutdown() {
        let shutdown = Shutdown::new();
        let reader = BufReader::new(Cursor::new(b"one\ntwo\n".to_vec()));
        let mut lines = reader.seal_on_shutdown(shutdown.waiter()).lines();
        block_on(async {
            assert_eq!(lines.next().await.unwrap().unwrap(), "one");
            shutdown.request_shutdown();
            assert!(lines.next().await.is_none());
        });
    }
}

#[cfg(feature = "tokio-io")]
mod tokio_io {
    use std::future::poll_fn;
    use std::io;
    use std::pin::Pin;
    use std::task::Context;

    use tokio::io::{
        AsyncBufReadExt, AsyncReadExt, AsyncWrite, AsyncWriteExt, BufReader, BufWriter, duplex,
    };

    use super::*;

    #[test]
    fn fill_buf_ends_at_the_shutdown() {
        let shutdown = Shutdown::new();
        let mut sealed = BufReader::new(TEXT).seal_on_shutdown(shutdown.waiter());
        block_on(async {
            assert_eq!(sealed.fill_buf().await.unwrap(), TEXT);
            sealed.consume(4);
            assert_eq!(sealed.fill_buf().await.unwrap(), b"two");
            shutdown.request_shutdown();
            assert_eq!(sealed.fill_buf().await.unwrap(), b"");
        });
        assert_eq!(sealed.into_inner().buffer(), b"two");
    }

    #[test]
    fn writes_are_passed_on_after_the_shutdown() {
        let shutdown = Shutdown::new();
        shutdown.request_shutdown();
        let mut sealed = Vec::new().seal_on_shutdown(shutdown.waiter());
        assert!(sealed.is_write_vectored());
        block_on(async {
            let buffers = [IoSlice::new(b"one"), IoSlice::new(b" two")];
            let written = poll_fn(|cx| Pin::new(&mut sealed).poll_write_vectored(cx, &buffers));
            assert_eq!(written.await.unwrap(), 7);
            sealed.write_all(b"!").await.unwrap();
            sealed.flush().await.unwrap();
            sealed.shutdown().await.unwrap();
        });
        assert_eq!(sealed.get_ref(), b"one two!");
    }

    #[test]
    fn flush_is_passed_on() {
        let writer = BufWriter::new(Vec::new());
        let mut sealed = writer.seal_on_shutdown(Shutdown::new().waiter());
        block_on(async {
            sealed.write_all(TEXT).await.unwrap();
            assert_eq!(sealed.get_ref().get_ref(), b"");
            sealed.flush().await.unwrap();
            assert_eq!(sealed.get_ref().get_ref(), TEXT);
        });
    }

    #[test]
    fn writer_without_vectored_writes_says_so() {
        struct Plain;
        impl AsyncWrite for Plain {
            fn poll_write(
                self: Pin<&mut Self>,
                _: &mut Context<'_>,
                buf: &[u8],
            ) -> Poll<io::Result<usize>> {
                Poll::Ready(Ok(buf.len()))
            }
            fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
                Poll::Ready(Ok(()))
            }
            fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
                Poll::Ready(Ok(()))
            }
        }
        let sealed = Plain.seal_on_shutdown(Shutdown::new().waiter());
        assert!(!sealed.is_write_vectored());
    }

    #[test]
    fn pending_read_is_woken_and_ends() {
        let shutdown = Shutdown::new();
        let (counter, waker) = Counter::new();
        let (stream, mut peer) = duplex(64);
        let mut sealed = stream.seal_on_shutdown(shutdown.waiter());
        let mut buffer = [0; 8];
        {
            let mut read = pin!(sealed.read(&mut buffer));
            assert!(poll(&mut read, &waker).is_pending());
            shutdown.request_shutdown();
            assert_eq!(counter.count(), 1);
            assert!(matches!(poll(&mut read, &waker), Poll::Ready(Ok(0))));
        }
        block_on(async {
            sealed.write_all(b"goodbye").await.unwrap();
            sealed.shutdown().await.unwrap();
            let mut all = String::new();
            peer.read_to_string(&mut all).await.unwrap();
            assert_eq!(all, "goodbye");
        });
    }

    #[test]
    fn lines_end_at_the_shutdown() {
        let shutdown = Shutdown::new();
        let reader = BufReader::new(&b"one\ntwo\n"[..]);
        let mut lines = reader.seal_on_shutdown(shutdown.waiter()).lines();
        block_on(async {
            assert_eq!(lines.next_line().await.unwrap().unwrap(), "one");
            shutdown.request_shutdown();
            assert!(lines.next_line().await.unwrap().is_none());
        });
    }
}
