//! # axum: server-sent events
//!
//! A stream of events never ends by itself. [`StreamingExt::end_with`] ends it at the shutdown with a
//! last event that the page knows, and the page connects again to another server.
//!
//! - **It waits for** the last event, and for the end of the answer.
//! - **It loses** nothing: the client sees the end of a chunked answer. Without `end_with`, the stream
//!   holds up the drain until the grace period is over. Then the client sees a broken answer.
//! - **Signals:** axum handles none, so there is nothing to turn off.
//! - **Measured:** SIGTERM while a stream was read: the last event and the end of the answer came, exit
//!   code 0 after 0.5 s.

use std::convert::Infallible;
use std::error::Error;
use std::process::ExitCode;
use std::time::Duration;

use axum::Router;
use axum::extract::State;
use axum::response::sse::{Event, Sse};
use axum::routing::get;
use futures_lite::Stream;
use tokio::net::TcpListener;
use tokio::time::interval;
use tokio_stream::StreamExt;
use tokio_stream::wrappers::IntervalStream;
use winddown::Shutdown;
use winddown_http::{Server, StreamingExt, TokioIncoming};

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
    let app = Router::new()
        .route("/slow", get(events))
        .with_state(shutdown.clone());
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    println!("ready: {}", listener.local_addr()?);
    let incoming = TokioIncoming::new(listener).refuse_on_shutdown(&shutdown)?;
    Server::tokio(&shutdown).serve(incoming, app).await?;
    shutdown.result()?;
    println!("stopped: every stream was ended");
    Ok(())
}

async fn events(
    State(shutdown): State<Shutdown>,
) -> Sse<impl Stream<Item = Result<Event, Infallible>>> {
    println!("in flight");
    let ticks = IntervalStream::new(interval(Duration::from_millis(100)))
        .map(|_| Ok(Event::default().event("tick").data("news")));
    let bye = || Ok(Event::default().event("bye").data("restarting"));
    Sse::new(ticks.end_with(shutdown.waiter(), bye))
}
