//! Thousands of kept connections, each with a request that the server has not heard of when the shutdown comes.
#![cfg(all(unix, feature = "signals"))]

use std::convert::Infallible;
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::pin::pin;
use std::sync::Mutex;
use std::sync::mpsc::channel;
use std::thread;
use std::time::Duration;

use async_channel::{Receiver, Sender, unbounded};
use futures_lite::StreamExt;
use futures_lite::stream::poll_fn;
use hyper::body::Incoming;
use hyper::server::conn::http1::{Builder, Connection};
use hyper::service::service_fn;
use hyper::{Request, Response, rt};
use hyper_util::rt::TokioIo;
use nix::sys::resource::{Resource, getrlimit, rlim_t, setrlimit};
use smol_hyper::rt::FuturesIo;
use winddown::{Shutdown, ShutdownExt};

/// A turn of tokio's driver takes 1,024 events, so it hears of this crowd in several.
const CROWD: usize = 3000;

/// Of a runtime that has several.
const THREADS: usize = 2;

/// Longer than anything here takes, unless it hangs.
const PATIENCE: Duration = Duration::from_secs(60);

type Call = Box<dyn FnOnce() + Send>;

#[derive(Clone)]
struct Server {
    shutdown: Shutdown,
    /// For each thread a call that blocks it. Of one channel, the task that takes a call would also wake
    /// the next, on the thread that it blocks.
    calls: Vec<Receiver<Call>>,
}

async fn make_call(calls: Receiver<Call>) {
    if let Ok(call) = calls.recv().await {
        call();
    }
}

impl Server {
    /// Makes the task of a connection, as the examples do but for the pause.
    fn serve<Io>(&self, io: Io) -> impl Future<Output = ()> + Send + use<Io>
    where
        Io: rt::Read + rt::Write + Send + Unpin + 'static,
    {
        let server = self.clone();
        self.shutdown.track(async move {
            let waiter = server.shutdown.waiter();
            let service = service_fn(answer);
            let connection = Builder::new().serve_connection(io, service);
            let _ = connection
                .on_shutdown(waiter, Connection::graceful_shutdown)
                .await;
        })
    }

    async fn on_tokio(self, listener: TcpListener) {
        for calls in &self.calls {
            tokio::spawn(make_call(calls.clone()));
        }
        let listener = tokio::net::TcpListener::from_std(listener).unwrap();
        let accepted = poll_fn(|cx| listener.poll_accept(cx).map(Some));
        let mut accepted = accepted.finish_on_shutdown(self.shutdown.waiter());
        while let Some(stream) = accepted.next().await {
            let (stream, _) = stream.unwrap();
            tokio::spawn(self.serve(TokioIo::new(stream)));
        }
        self.shutdown.drain(PATIENCE).await.unwrap();
    }

    async fn on_smol(self, listener: TcpListener) {
        let listener = smol::Async::new(listener).unwrap();
        let incoming = listener.incoming();
        let mut accepted = pin!(incoming.finish_on_shutdown(self.shutdown.waiter()));
        let executor = smol::LocalExecutor::new();
        for calls in &self.calls {
            executor.spawn(make_call(calls.clone())).detach();
        }
        let accept = async {
            while let Some(stream) = accepted.next().await {
                executor
                    .spawn(self.serve(FuturesIo::new(stream.unwrap())))
                    .detach();
            }
            self.shutdown.drain(PATIENCE).await.unwrap();
        };
        executor.run(accept).await;
    }
}

async fn answer(_: Request<Incoming>) -> Result<Response<String>, Infallible> {
    Ok(Response::new("answer".to_owned()))
}

/// Room for both ends of so many connections, where the system allows it.
fn crowd() -> usize {
    let (_, hard) = getrlimit(Resource::RLIMIT_NOFILE).unwrap();
    let wanted = hard.min(2 * CROWD as rlim_t + 500);
    setrlimit(Resource::RLIMIT_NOFILE, wanted, hard).unwrap();
    CROWD.min((wanted as usize - 500) / 2)
}

fn send(mut client: &TcpStream) {
    let request = b"GET / HTTP/1.1\r\nhost: localhost\r\n\r\n";
    client.write_all(request).unwrap();
}

/// Returns whether an answer came.
fn answered(mut client: &TcpStream) -> bool {
    let mut answer = Vec::new();
    let mut part = [0; 256];
    while !answer.ends_with(b"answer") {
        match client.read(&mut part) {
            Ok(0) | Err(_) => return false,
            Ok(read) => answer.extend_from_slice(&part[..read]),
        }
    }
    true
}

/// Runs a server with so many threads.
fn requests_of_a_crowd_are_answered(
    threads: usize,
    run: impl FnOnce(Server, TcpListener) + Send + 'static,
) {
    // Three crowds need too many descriptors.
    static ALONE: Mutex<()> = Mutex::new(());
    let _alone = ALONE.lock();
    let crowd = crowd();
    let (call, calls): (Vec<_>, _) = (0..threads).map(|_| unbounded::<Call>()).unzip();
    let shutdown = Shutdown::new();
    let server = Server {
        shutdown: shutdown.clone(),
        calls,
    };
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    listener.set_nonblocking(true).unwrap();
    let address = listener.local_addr().unwrap();
    let server = thread::spawn(move || run(server, listener));
    let connect = || {
        let client = TcpStream::connect(address).unwrap();
        client.set_read_timeout(Some(PATIENCE)).unwrap();
        send(&client);
        assert!(answered(&client));
        client
    };
    let clients: Vec<_> = (0..crowd).map(|_| connect()).collect();

    // No thread of the server looks at the kernel until all requests are there.
    let hold = |call: &Sender<Call>| {
        let (holds, held) = channel();
        let (release, released) = channel::<()>();
        let block = move || {
            holds.send(()).unwrap();
            let _ = released.recv();
        };
        call.try_send(Box::new(block)).unwrap();
        held.recv_timeout(PATIENCE).unwrap();
        release
    };
    let holding: Vec<_> = call.iter().map(hold).collect();
    clients.iter().for_each(send);
    shutdown.request_shutdown();
    drop(holding);
    let lost = clients.iter().filter(|client| !answered(client)).count();
    assert_eq!(lost, 0, "of {crowd}");
    server.join().unwrap();
}

/// Mutation: `Batches::join` returns a batch that is over, so a connection that is polled late is told in
/// its first poll.
#[test]
fn g14_requests_of_a_crowd_on_tokio() {
    requests_of_a_crowd_are_answered(1, |server, listener| {
        let mut builder = tokio::runtime::Builder::new_current_thread();
        let runtime = builder.enable_all().build().unwrap();
        // As users do; the task of `block_on` is not woken as others are.
        let task = runtime.spawn(server.on_tokio(listener));
        runtime.block_on(task).unwrap();
    });
}

/// Mutation: as above.
#[test]
fn g14_requests_of_a_crowd_on_tokio_with_threads() {
    requests_of_a_crowd_are_answered(THREADS, |server, listener| {
        let mut builder = tokio::runtime::Builder::new_multi_thread();
        let runtime = builder
            .worker_threads(THREADS)
            .enable_all()
            .build()
            .unwrap();
        let task = runtime.spawn(server.on_tokio(listener));
        runtime.block_on(task).unwrap();
    });
}

/// Mutation: `OnShutdown::poll` tells the connection before it polls it.
#[test]
fn g14_requests_of_a_crowd_on_smol() {
    requests_of_a_crowd_are_answered(1, |server, listener| {
        smol::block_on(server.on_smol(listener));
    });
}
