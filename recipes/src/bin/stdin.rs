//! # Lines from standard input
//!
//! A read of stdin can't be cancelled on every platform, so a thread reads and sends lines to a
//! channel. The thread holds no guard and belongs to no runtime: it ends with the process, and nothing
//! waits for it. `tokio::io::stdin` reads on a thread that the runtime waits for, see the recipe
//! `spawn_blocking`.
//!
//! - **It waits for** the line that is being worked on. A line that was read and not begun is dropped; if
//!   the channel is closed and emptied, as a queue is, it is finished too.
//! - **The end of the input** ends the program as well, with exit code 0.
//! - **Measured:** SIGINT while a line was worked on: the line was finished, exit code 0 after 0.5 s,
//!   with stdin still open.

use std::error::Error;
use std::io::stdin;
use std::thread;
use std::time::Duration;

use tokio::sync::mpsc;
use winddown::{Shutdown, ShutdownExt};

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let shutdown = Shutdown::install()?;
    let (sender, mut lines) = mpsc::channel(1);
    thread::spawn(move || {
        for line in stdin().lines().map_while(Result::ok) {
            if sender.blocking_send(line).is_err() {
                return;
            }
        }
    });
    println!("ready: type");

    let mut waiter = shutdown.waiter();
    while let Some(Some(line)) = lines.recv().cancel_on_shutdown(&mut waiter).await {
        println!("working on {line}");
        tokio::time::sleep(Duration::from_millis(500)).await;
        println!("done: {line}");
    }
    println!("stopped");
    Ok(())
}
