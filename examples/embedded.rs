//! A server inside another program, such as a test: no signals, and nothing ends the process.
//!
//! `cargo run --example embedded`

use std::error::Error;
use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, mpsc};
use std::thread::{self, JoinHandle};

use axum::Router;
use axum::routing::get;
use tokio::runtime;
use tokio::sync::Notify;
use winddown::Shutdown;

fn main() -> Result<(), Box<dyn Error>> {
    // A handler that says when it has begun and is told when to finish, so that we know what is in
    // flight and need not sleep.
    let (begun, has_begun) = mpsc::channel();
    let finish = Arc::new(Notify::new());
    let slow = {
        let finish = finish.clone();
        move || async move {
            let _ = begun.send(());
            finish.notified().await;
            "slow, but here\n"
        }
    };

    // Two servers at once: each has a shutdown of its own.
    let hello = || async { "hello\n" };
    let server = Server::start(
        Router::new()
            .route("/hello", get(hello))
            .route("/slow", get(slow)),
    )?;
    let other = Server::start(Router::new().route("/hello", get(hello)))?;
    let address = server.address;
    assert!(request(address, "/hello")?.ends_with("hello\n"));

    // With a request in flight, ask the first to stop, as a signal would. It waits for the request.
    let in_flight = thread::spawn(move || request(address, "/slow"));
    has_begun.recv()?;
    assert!(server.shutdown.request_shutdown());
    assert!(server.shutdown.is_requested());
    println!(
        "stopping: {}",
        server.shutdown.cause().expect("it was requested")
    );
    finish.notify_one();
    let response = in_flight.join().expect("it does not panic")?;
    assert!(response.ends_with("slow, but here\n"));

    // It has ended, and it alone.
    server.join()?;
    assert!(TcpStream::connect(address).is_err());
    assert!(request(other.address, "/hello")?.ends_with("hello\n"));

    // A program has reasons of its own to stop something.
    assert!(other.shutdown.trigger("the tests are done"));
    other.join()?;
    println!("stopped: every request was answered");
    Ok(())
}

/// A server on a thread and a port of its own.
struct Server {
    shutdown: Shutdown,
    address: SocketAddr,
    thread: JoinHandle<io::Result<()>>,
}

impl Server {
    fn start(app: Router) -> io::Result<Self> {
        let shutdown = Shutdown::new();
        // A client that connects from here on is served, if only a little later.
        let listener = TcpListener::bind("127.0.0.1:0")?;
        listener.set_nonblocking(true)?;
        let address = listener.local_addr()?;
        let waiter = shutdown.waiter();
        let thread = thread::spawn(move || {
            let runtime = runtime::Builder::new_current_thread()
                .enable_all()
                .build()?;
            runtime.block_on(async {
                let listener = tokio::net::TcpListener::from_std(listener)?;
                axum::serve(listener, app)
                    .with_graceful_shutdown(waiter)
                    .await
            })
        });
        Ok(Self {
            shutdown,
            address,
            thread,
        })
    }

    /// Waits for its end.
    fn join(self) -> io::Result<()> {
        self.thread.join().expect("it does not panic")
    }
}

/// One request, and all of its response.
fn request(address: SocketAddr, path: &str) -> io::Result<String> {
    let mut stream = TcpStream::connect(address)?;
    write!(
        stream,
        "GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"
    )?;
    let mut response = String::new();
    stream.read_to_string(&mut response)?;
    Ok(response)
}
