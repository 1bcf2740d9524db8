//! # actix-web
//!
//! `HttpServer::shutdown_signal` takes the waiter of a phase that is asked after a pause, in which no new
//! connection comes. It also turns off actix's own signal handling.
//!
//! - **It waits for** the requests in flight, for `shutdown_timeout` at most. Set that below the grace
//!   period, because its default is 30 s. Since 4.14.1 it closes each connection after its request when it
//!   is told to stop, and idle ones at once. In the pause it does not yet, so answers say
//!   `connection: close` once the shutdown was requested.
//! - **It loses** connections in the listen queue, if the refusal or the pause is left out. A request that
//!   outlasts `shutdown_timeout` is dropped, and `run` returns `Ok` all the same. To learn of it, hold a guard
//!   in the handler and await `shutdown.drained()`. A worker of actix-server before 2.10 can end while it has
//!   requests in flight, and drops them. See which one you have with `cargo tree -i actix-server`: 2.10 needs
//!   Rust 1.89, so cargo may have chosen another.
//! - **Signals:** by default actix handles SIGINT, SIGTERM and SIGQUIT itself. SIGINT and SIGQUIT stop
//!   it without waiting for a request. `shutdown_signal` or `disable_signals` turns that off.
//! - **Measured:** SIGTERM while a request of 1 s was in flight: the answer came whole, exit code 0
//!   after 1.8 s. Of 8 connections in the listen queue, all were answered in each of 48 stops. Without the
//!   pause, none or two were in 3 of 6. With the pause and actix-server 2.6, four or none in 21 of 30.

use std::error::Error;
use std::net::TcpListener;
use std::process::ExitCode;
use std::time::Duration;

use actix_http::ConnectionType;
use actix_web::body::MessageBody;
use actix_web::dev::{ServiceRequest, ServiceResponse};
use actix_web::middleware::{Next, from_fn};
use actix_web::{App, HttpServer, web};
use winddown::Shutdown;
use winddown_http::refuse_on_shutdown;

/// How long the server accepts from the queue, and how long a client has to send its first request.
const PAUSE: Duration = Duration::from_millis(500);

#[actix_web::main]
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
        .install()?;
    let stopping = shutdown.clone();
    let app = move || {
        App::new()
            .app_data(web::Data::new(stopping.clone()))
            .wrap(from_fn(close_when_stopping))
            .route("/slow", web::get().to(slow))
    };
    let listener = TcpListener::bind("127.0.0.1:0")?;
    println!("ready: {}", listener.local_addr()?);

    // New connections are refused at once, and the server is told when those in the queue have been read.
    let http = shutdown.phase("http").delay(PAUSE).build();
    let _refusing = refuse_on_shutdown(&listener, &shutdown)?;
    let server = HttpServer::new(app)
        .workers(2)
        .shutdown_signal(http.waiter())
        .shutdown_timeout(20) // seconds
        .listen(listener)?;
    http.track(server.run()).await?;
    shutdown.result()?;
    println!("stopped: every request was answered");
    Ok(())
}

/// Has the client come again elsewhere, because actix itself says so only after the pause.
async fn close_when_stopping(
    shutdown: web::Data<Shutdown>,
    request: ServiceRequest,
    next: Next<impl MessageBody>,
) -> Result<ServiceResponse<impl MessageBody>, actix_web::Error> {
    let mut response = next.call(request).await?;
    if shutdown.is_requested() {
        response
            .response_mut()
            .head_mut()
            .set_connection_type(ConnectionType::Close);
    }
    Ok(response)
}

async fn slow() -> &'static str {
    println!("in flight");
    actix_web::rt::time::sleep(Duration::from_secs(1)).await;
    "slow, but whole\n"
}
