//! A sealed handle passes everything on to what is inside, and ends each way of reading.
#![cfg(any(feature = "futures-io", feature = "tokio-io"))]

use std::io::IoSlice;

use futures_lite::future::block_on;
use winddown::{Shutdown, ShutdownExt};

const TEXT: &[u8] = b"one two";

#[cfg(feature = "futures-io")]
mod futures_io {
    use std::io::IoSliceMut;

    use futures_lite::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};

    use super::*;

    #[test]
    fn into_several_buffers_until_the_shutdown() {
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
    fn a_full_buffer_until_the_shutdown() {
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
    fn writing_goes_on_after_the_shutdown() {
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
}

#[cfg(feature = "tokio-io")]
mod tokio_io {
    use std::future::poll_fn;
    use std::pin::Pin;

    use tokio::io::{AsyncBufReadExt, AsyncWrite, AsyncWriteExt, BufReader};

    use super::*;

    #[test]
    fn a_full_buffer_until_the_shutdown() {
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
    fn writing_goes_on_after_the_shutdown() {
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
}
