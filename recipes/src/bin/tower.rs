//! # tower
//!
//! Any service of tower has its calls counted by `map_future` and [`Shutdown::track`], whatever its
//! protocol. For services of HTTP requests, use `winddown_http::GuardLayer` instead: it holds the guard
//! until the answer's body was sent.
//!
//! - **It waits for** every call, from the moment when the call is made until its future has ended.
//! - **It loses** what the future leaves behind: a body that is sent later, a task that was spawned.
//! - **Signals:** tower handles none, so there is nothing to turn off.
//! - **Measured:** SIGTERM while a call of 1 s was in flight: the answer came whole, exit code 0 after
//!   1.0 s.

use std::convert::Infallible;
use std::error::Error;
use std::process::ExitCode;
use std::time::Duration;

use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::net::{TcpListener, TcpStream};
use tower::{Service, ServiceExt, service_fn};
use winddown::{Shutdown, ShutdownExt};

#[tokio::main]
async fn main() -> ExitCode {
    let Err(error) = run().await else {
        return ExitCode::SUCCESS;
    };
    // Here: when `main` has returned, tokio waits for threads that block.
    eprintln!("error: {error}");
    ExitCode::FAILURE
}

async fn run() -> Result<(), Box<dyn Error>> {
    let shutdown = Shutdown::builder()
        .grace_period(Duration::from_secs(25))
        .force_at_deadline()
        .abort_timeout(Duration::from_secs(1)) // to say what is not done
        .install()?;
    let calls = shutdown.clone();
    let service = service_fn(slow).map_future(move |call| calls.track(call));

    // A protocol of lines, so that no framework is in the way.
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    println!("ready: {}", listener.local_addr()?);
    let mut waiter = shutdown.waiter();
    while let Some(accepted) = listener.accept().cancel_on_shutdown(&mut waiter).await {
        let (stream, _) = accepted?;
        // The guard of a connection: until its last answer is written.
        let connection = serve(stream, service.clone(), shutdown.clone());
        tokio::spawn(shutdown.track(connection));
    }
    drop(listener);
    shutdown.drained().await?;
    shutdown.result()?;
    println!("stopped: every call was answered");
    Ok(())
}

async fn serve<S>(mut stream: TcpStream, mut service: S, shutdown: Shutdown)
where
    S: Service<String, Response = String, Error = Infallible>,
{
    let (reader, mut writer) = stream.split();
    let mut lines = BufReader::new(reader).lines();
    let mut waiter = shutdown.waiter();
    while let Some(Ok(Some(line))) = lines.next_line().cancel_on_shutdown(&mut waiter).await {
        let Ok(service) = service.ready().await;
        let Ok(answer) = service.call(line).await;
        if writer.write_all(answer.as_bytes()).await.is_err() {
            return;
        }
    }
}

async fn slow(line: String) -> Result<String, Infallible> {
    println!("in flight");
    tokio::time::sleep(Duration::from_secs(1)).await;
    Ok(format!("slow, but whole: {line}\n"))
}
