//! # Rocket
//!
//! Rocket is told by `rocket::Shutdown`, the handle of its own. `call_on_shutdown` calls that handle,
//! and takes no task.
//!
//! - **It waits for** the requests in flight, for `grace` seconds. Its default is 2 s: a longer request
//!   loses its answer. Then it closes what is open, for which `mercy` is the time. Set the sum below
//!   the grace period of the shutdown.
//! - **It loses** connections in the listen queue, and requests that were not read yet from connections
//!   that are open. Rocket 0.5 does not give out its listener, so it can't refuse new connections first.
//! - **Signals:** by default Rocket handles SIGINT and SIGTERM itself. `ctrlc: false` and an empty set
//!   of `signals` turn that off.
//! - **The runtime** of `#[rocket::main]` gives threads that block 500 ms at its end, so `main` does
//!   not hang as with `#[tokio::main]`; see the recipe `spawn_blocking`.
//! - **Measured:** SIGTERM while a request of 1 s was in flight: the answer came whole, exit code 0
//!   after 1.0 s. Of connections in the listen queue, 0 to 8 of 8 were answered.

use std::collections::HashSet;
use std::error::Error;
use std::process::ExitCode;
use std::time::Duration;

use rocket::config::{Config, LogLevel, Shutdown as ShutdownConfig};
use rocket::fairing::AdHoc;
use rocket::{get, routes};
use winddown::Shutdown;

#[rocket::main]
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
    let config = Config {
        port: 0,
        log_level: LogLevel::Off,
        shutdown: ShutdownConfig {
            ctrlc: false,
            signals: HashSet::new(),
            grace: 20, // seconds
            mercy: 2,
            ..ShutdownConfig::default()
        },
        ..Config::default()
    };
    let ready = AdHoc::on_liftoff("ready", |rocket| {
        Box::pin(async move {
            println!(
                "ready: {}:{}",
                rocket.config().address,
                rocket.config().port
            );
        })
    });
    let rocket = rocket::custom(config)
        .mount("/", routes![slow])
        .attach(ready)
        .ignite()
        .await?;

    let handle = rocket.shutdown();
    // The callback is deregistered when this is dropped.
    let _stop = shutdown.call_on_shutdown(move || handle.notify());
    rocket.launch().await?;
    shutdown.result()?;
    println!("stopped: every request was answered");
    Ok(())
}

#[get("/slow")]
async fn slow() -> &'static str {
    println!("in flight");
    tokio::time::sleep(Duration::from_secs(1)).await;
    "slow, but whole\n"
}
