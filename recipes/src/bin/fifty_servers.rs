//! # Fifty servers in one test process
//!
//! [`Shutdown::new`] knows nothing of signals, and there can be as many as you like. So each test
//! starts a server on a port of its own, drives it through its whole shutdown, and sees it end. They
//! share no state: tests run side by side.
//!
//! - `request_shutdown`, or `send(Signal::TERM)`, begins the shutdown of one server. A second forces
//!   it: drains end, and the process goes on.
//! - Fifty servers take no more threads than one: all timers are kept by one thread.
//! - **Measured:** 50 whole answers from 50 servers. Exit code 0.

use std::error::Error;
use std::time::Duration;

use axum::Router;
use axum::routing::get;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;
use winddown::{Cause, Shutdown, Signal};
use winddown_http::{Server, TokioIncoming};

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let tests: Vec<_> = (0..50).map(|_| tokio::spawn(test())).collect();
    let mut whole = 0;
    for test in tests {
        test.await?.map_err(|error| error.to_string())?;
        whole += 1;
    }
    println!("stopped: {whole} servers, {whole} whole answers");
    Ok(())
}

/// One test: a request is in flight when the shutdown comes, and is answered.
async fn test() -> Result<(), Box<dyn Error + Send + Sync>> {
    let grace = Duration::from_secs(20);
    let shutdown = Shutdown::builder().grace_period(grace).build();
    let (begun, mut has_begun) = mpsc::channel(1);
    let finish = shutdown.waiter();
    let slow = async move || {
        let _ = begun.send(()).await;
        finish.await; // so that nothing sleeps and hopes
        "slow, but whole\n"
    };
    let app = Router::new().route("/slow", get(slow));
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let address = listener.local_addr()?;
    let server = Server::tokio(&shutdown)
        .pause(Duration::from_millis(50))
        .serve(TokioIncoming::new(listener), app);
    let server = tokio::spawn(server);

    let mut client = TcpStream::connect(address).await?;
    client
        .write_all(b"GET /slow HTTP/1.1\r\nhost: localhost\r\n\r\n")
        .await?;
    has_begun.recv().await.ok_or("it has begun")?;
    shutdown.send(Signal::TERM);
    let mut answer = String::new();
    client.read_to_string(&mut answer).await?;
    assert!(answer.ends_with("\r\n\r\nslow, but whole\n"), "{answer}");
    server.await??;
    assert_eq!(shutdown.cause(), Some(Cause::Signal(Signal::TERM)));
    Ok(())
}
