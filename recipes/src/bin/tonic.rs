//! # tonic
//!
//! [`winddown_http`] serves tonic's `Routes`. The health service says `NOT_SERVING` from the request
//! on, and ends the calls that watch it.
//!
//! - **It waits for** every call, until its trailers are written. Calls that cross the GOAWAY frame are
//!   answered, as HTTP/2 has it. For streaming calls, see `StreamingExt::end_with` of winddown-http.
//! - **It loses** [what remains](winddown_http#what-remains): mostly handshakes that take longer than 50 ms.
//!   tonic's own `serve_with_shutdown` keeps its listener open until its last connection has ended, so
//!   the kernel accepts connections that no task takes. It also waits without limit for a client that
//!   answers no PING; wrap it in `until_deadline`.
//! - **Signals:** tonic handles none, so there is nothing to turn off.
//! - **Measured:** SIGTERM while a call of 1 s was in flight: the answer came whole, and the health
//!   watch said `NOT_SERVING` and ended. Exit code 0 after 1.0 s.

use std::convert::Infallible;
use std::error::Error;
use std::process::ExitCode;
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::net::TcpListener;
use tonic::codegen::{BoxFuture, Service, http};
use tonic::server::{Grpc, NamedService, UnaryService};
use tonic::service::Routes;
use tonic::{Request, Response, Status, body::Body};
use tonic_health::ServingStatus;
use tonic_health::server::HealthReporter;
use tonic_prost::ProstCodec;
use winddown::Shutdown;
use winddown_http::{Server, TokioIncoming};

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
    let (reporter, health) = tonic_health::server::health_reporter();
    tokio::spawn(report(reporter, shutdown.clone()));
    let app = Routes::new(health).add_service(Slow).prepare();
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    println!("ready: {}", listener.local_addr()?);
    let incoming = TokioIncoming::new(listener).refuse_on_shutdown(&shutdown)?;
    Server::tokio(&shutdown).serve(incoming, app).await?;
    shutdown.result()?;
    println!("stopped: every call was answered");
    Ok(())
}

async fn report(mut reporter: HealthReporter, shutdown: Shutdown) {
    shutdown.requested().await;
    let status = ServingStatus::NotServing;
    reporter.set_service_status("", status).await;
    shutdown.waiter().await;
    // Ends the calls that watch it.
    reporter.clear_service_status("").await;
}

async fn slow(request: Request<String>) -> Result<Response<String>, Status> {
    println!("in flight");
    tokio::time::sleep(Duration::from_secs(1)).await;
    Ok(Response::new(format!(
        "slow, but whole: {}",
        request.into_inner()
    )))
}

/// What tonic-build generates from a `.proto` file with one call.
#[derive(Clone)]
struct Slow;

impl NamedService for Slow {
    const NAME: &'static str = "recipes.Slow";
}

impl Service<http::Request<Body>> for Slow {
    type Response = http::Response<Body>;
    type Error = Infallible;
    type Future = BoxFuture<Self::Response, Infallible>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: http::Request<Body>) -> Self::Future {
        Box::pin(async {
            let mut grpc = Grpc::new(ProstCodec::<String, String>::default());
            Ok(grpc.unary(Slow, request).await)
        })
    }
}

impl UnaryService<String> for Slow {
    type Response = String;
    type Future = BoxFuture<Response<String>, Status>;

    fn call(&mut self, request: Request<String>) -> Self::Future {
        Box::pin(slow(request))
    }
}
