//! A tokio runtime whose tasks compute: it asks the kernel now and then, and what it says in between is old.
#![cfg(all(not(target_family = "wasm"), feature = "signals"))]

use std::io::Write;
use std::net::{SocketAddr, TcpStream};
use std::pin::pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use futures_lite::{StreamExt, future, stream};
use tokio::io::AsyncReadExt;
use tokio::net::{TcpListener, TcpSocket};
use tokio::runtime::Runtime;
use winddown::{Shutdown, ShutdownExt};

fn runtime() -> Runtime {
    let mut builder = tokio::runtime::Builder::new_current_thread();
    builder.enable_io().build().unwrap()
}

/// Its queue is longer than that of std.
fn listener() -> (TcpListener, SocketAddr) {
    let socket = TcpSocket::new_v4().unwrap();
    socket.bind("127.0.0.1:0".parse().unwrap()).unwrap();
    let listener = socket.listen(1024).unwrap();
    let address = listener.local_addr().unwrap();
    (listener, address)
}

/// Accepts until the stream ends, and returns how many connections it has given out.
async fn accept(listener: TcpListener, shutdown: Shutdown) -> usize {
    let accept = stream::poll_fn(|cx| listener.poll_accept(cx).map(Some));
    let incoming = accept.finish_on_shutdown(shutdown.waiter());
    let accepted: Vec<_> = incoming.try_collect().await.unwrap();
    accepted.len()
}

fn connect(address: SocketAddr, count: usize) -> Vec<TcpStream> {
    let connect = |_| TcpStream::connect(address).expect("the kernel accepts");
    (0..count).map(connect).collect()
}

/// The time of the listener is over when they come, but it is asked again only later.
///
/// Mutation: `DriverTurn::poll` takes its polls before its time.
#[test]
fn finish_accepts_what_came_while_a_task_computed() {
    const CONNECTIONS: usize = 20;
    runtime().block_on(async {
        let shutdown = Shutdown::new();
        let (listener, address) = listener();
        let accepting = tokio::spawn(accept(listener, shutdown.clone()));
        tokio::task::yield_now().await;
        shutdown.request_shutdown();
        tokio::task::yield_now().await;
        let computing = tokio::spawn(async move {
            thread::sleep(Duration::from_millis(100));
            connect(address, CONNECTIONS)
        });
        let peers = computing.await.unwrap();
        assert_eq!(accepting.await.unwrap(), CONNECTIONS);
        drop(peers);
    });
}

/// tokio says "pending" for the 129th, whatever it knows, until the task was polled again.
#[test]
fn finish_accepts_a_queue_that_is_longer_than_the_budget_of_a_task() {
    const CONNECTIONS: usize = 300;
    runtime().block_on(async {
        let shutdown = Shutdown::new();
        let (listener, address) = listener();
        let accepting = accept(listener, shutdown.clone());
        let behind = async {
            shutdown.request_shutdown();
            for _ in 0..100 {
                future::yield_now().await;
            }
            // As above: the listener is not polled until its time is over.
            thread::sleep(Duration::from_millis(100));
            connect(address, CONNECTIONS)
        };
        let (accepted, peers) = tokio::join!(accepting, behind);
        assert_eq!(accepted, CONNECTIONS);
        drop(peers);
    });
}

/// Its turn of some 60 polls takes longer than the 5 ms of `on_shutdown`.
///
/// Mutation: `Batch::polls` is 0.
#[test]
fn on_shutdown_hears_of_what_has_arrived_beside_tasks_that_compute() {
    const COMPUTING: usize = 20;
    runtime().block_on(async {
        let shutdown = Shutdown::new();
        let (listener, address) = listener();
        let mut client = TcpStream::connect(address).unwrap();
        let (mut stream, _) = listener.accept().await.unwrap();
        let waiter = shutdown.waiter();
        let (polls, polled) = async_channel::unbounded();
        let connection = tokio::spawn(async move {
            let mut told = false;
            let mut read = pin!(stream.read_u8());
            let read = future::poll_fn(|cx| {
                let poll = read.as_mut().poll(cx);
                let _ = polls.try_send(());
                poll
            });
            read.on_shutdown(waiter, |_| told = true).await.unwrap();
            told
        });
        polled.recv().await.unwrap();
        static OVER: AtomicBool = AtomicBool::new(false);
        for _ in 0..COMPUTING {
            tokio::spawn(async {
                while !OVER.load(Ordering::Relaxed) {
                    let begun = Instant::now();
                    while begun.elapsed() < Duration::from_millis(2) {}
                    future::yield_now().await; // that of tokio would have it ask the kernel
                }
            });
        }
        client.write_all(b"GET ").unwrap();
        shutdown.request_shutdown();
        let told = connection.await.unwrap();
        OVER.store(true, Ordering::Relaxed);
        assert!(!told);
    });
}
