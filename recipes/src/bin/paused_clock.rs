//! # tokio's paused clock
//!
//! The times of a shutdown are real: `grace_period`, `lame_duck`, the timeout of `drain`, and the
//! delays and limits of phases. A paused clock does not move them. `drain_until` and
//! `limit_on_shutdown_with` take a timer of the test's own, so that a test of a timeout of 30 s takes
//! no time.
//!
//! The paused clock moves on only while the runtime has nothing else to do. So no other thread may have
//! to wake the test meanwhile, such as the one that keeps a lame duck.
//!
//! - **Measured:** more than an hour of the paused clock took less than a second. Exit code 0.

use std::error::Error;
use std::future::pending;
use std::time::{Duration, Instant};

use tokio::time::sleep;
use winddown::{DrainErrorKind, Shutdown, ShutdownExt};

#[tokio::main(flavor = "current_thread", start_paused = true)]
async fn main() -> Result<(), Box<dyn Error>> {
    let began = Instant::now();
    let half_a_minute = || sleep(Duration::from_secs(30));

    // A job that takes an hour, and is asked to stop.
    let shutdown = Shutdown::new();
    let guard = shutdown.guard_named("job").ok_or("nothing was drained")?;
    let job = async {
        sleep(Duration::from_secs(3600)).await;
        drop(guard);
    };
    tokio::spawn(job);
    shutdown.request_shutdown();

    let error = shutdown.drain_until(half_a_minute()).await.unwrap_err();
    assert_eq!(error.kind, DrainErrorKind::TimedOut);
    println!("after 30 s: {error}");

    shutdown.drain_until(pending::<()>()).await?;
    println!("after an hour: drained");

    let stuck = pending::<()>();
    let stopped = stuck.limit_on_shutdown_with(shutdown.waiter(), half_a_minute);
    assert_eq!(stopped.await, None);
    println!("after 30 s more: stopped what was stuck");

    assert!(began.elapsed() < Duration::from_secs(5), "it is real time");
    Ok(())
}
