//! What the first bytes of a connection tell, however they arrive, and what becomes of them.

mod support;

use std::io;
use std::mem::MaybeUninit;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::task::{Context, Poll, ready};

use futures_lite::{StreamExt, stream};
use hyper::rt::{Read, ReadBuf, ReadBufCursor};
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream, duplex};
use tokio::time::timeout;
use winddown::Shutdown;
use winddown_http::Server;

use support::pipe::{Change, Inner, Pipe};
use support::{PATIENCE, PREFACE, SETTINGS_ACK, app, get_frame};

/// A pipe in memory that gives so many bytes at most with each read.
struct Pieces {
    size: usize,
    /// The most that was asked for at once.
    asked: Arc<AtomicUsize>,
}

impl Change for Pieces {
    fn poll_read(
        &mut self,
        inner: Pin<&mut Inner>,
        cx: &mut Context<'_>,
        mut buf: ReadBufCursor<'_>,
    ) -> Poll<io::Result<()>> {
        self.asked.fetch_max(buf.remaining(), Relaxed);
        let mut piece = vec![MaybeUninit::uninit(); self.size.min(buf.remaining())];
        let mut piece = ReadBuf::uninit(&mut piece);
        ready!(inner.poll_read(cx, piece.unfilled()))?;
        buf.put_slice(piece.filled());
        Poll::Ready(Ok(()))
    }
}

/// Serves one connection in such pieces while `client` talks, and returns the most that the server asked for.
fn serve(size: usize, client: impl AsyncFnOnce(&mut DuplexStream)) -> usize {
    let mut builder = tokio::runtime::Builder::new_current_thread();
    let runtime = builder.enable_time().build().unwrap();
    runtime.block_on(async {
        let (mut near, far) = duplex(64 * 1024);
        let asked = Arc::<AtomicUsize>::default();
        let pieces = Pieces {
            size,
            asked: asked.clone(),
        };
        let pieces = Pipe::new(far, pieces);
        let shutdown = Shutdown::new();
        let incoming = stream::once(Ok(pieces)).chain(stream::pending());
        let server = tokio::spawn(Server::tokio(&shutdown).serve(incoming, app()));
        timeout(PATIENCE, client(&mut near))
            .await
            .expect("it hangs");
        drop(near);
        shutdown.request_shutdown();
        server.await.unwrap().unwrap();
        asked.load(Relaxed)
    })
}

/// Sends it, and reads until so many answers say hello.
async fn ask(client: &mut DuplexStream, request: &[u8], answers: usize) {
    client.write_all(request).await.unwrap();
    let mut got = Vec::new();
    let hellos = |got: &[u8]| got.windows(5).filter(|it| it == b"hello").count();
    while hellos(&got) < answers {
        let read = client.read_buf(&mut got).await.unwrap();
        assert!(read > 0, "{}", String::from_utf8_lossy(&got));
    }
}

#[test]
fn requests_are_answered_in_whatever_pieces_they_come() {
    let get = b"GET / HTTP/1.1\r\nhost: test\r\n\r\n".as_slice();
    let two = [get, get].concat();
    // It begins as the preface of HTTP/2 does, for 15 bytes.
    let pri = b"PRI * HTTP/2.0\r\r".as_slice();
    let cookie = "c".repeat(6000);
    let long = format!("GET / HTTP/1.1\r\nhost: test\r\ncookie: {cookie}\r\n\r\n");
    let http2 = [PREFACE, SETTINGS_ACK, &get_frame(1, "/")].concat();
    for size in [1, 2, 7, 23, 24, 25, 100, 4096, 8192, 64 * 1024] {
        serve(size, async |client| ask(client, get, 1).await);
        serve(size, async |client| ask(client, &two, 2).await);
        serve(size, async |client| ask(client, long.as_bytes(), 1).await);
        serve(size, async |client| ask(client, &http2, 1).await);
        serve(size, async |client| {
            client.write_all(pri).await.unwrap();
            let mut answer = String::new();
            client.read_to_string(&mut answer).await.unwrap();
            assert!(answer.starts_with("HTTP/1.1 400"), "{answer:?}");
        });
    }
}

#[test]
fn connection_that_ends_within_its_first_bytes_ends() {
    for sent in [0, 1, 23] {
        serve(64, async |client| {
            client.write_all(&PREFACE[..sent]).await.unwrap();
            client.shutdown().await.unwrap();
            let mut answer = String::new();
            client.read_to_string(&mut answer).await.unwrap();
            assert!(
                answer.is_empty() || answer.starts_with("HTTP/1.1 400"),
                "{answer:?}"
            );
        });
    }
}

/// hyper's buffer has 8 KiB. It becomes larger when the first bytes of a connection are given to hyper apart
/// from the others, and then the connection keeps it.
#[test]
fn connection_keeps_no_more_than_one_buffer() {
    let get = b"GET / HTTP/1.1\r\nhost: test\r\n\r\n";
    let asked = serve(usize::MAX, async |client| {
        for _ in 0..100 {
            ask(client, get, 1).await;
        }
    });
    assert!(asked <= 8192, "{asked}");
}
