//! # `spawn_blocking`, and why `main` hangs after the drain
//!
//! Nothing can cancel a thread that blocks. When `#[tokio::main]` returns, it drops its runtime, and
//! that waits without limit for each `spawn_blocking` that runs. So `main` hangs after it has said that
//! all is drained. The same goes for `tokio::io::stdin`, which reads on such a thread.
//!
//! - Work that must be finished takes a guard along, and looks at `is_stopping` between two steps.
//! - Work that may be left behind takes none. Then `main` owns the runtime, and ends it by
//!   [`Runtime::shutdown_background`](tokio::runtime::Runtime::shutdown_background), which does not
//!   wait. `Cause::exit` and `force_at_deadline` also end the process whatever a runtime waits for.
//! - **Measured:** SIGTERM while both threads blocked: exit code 0 after 0.05 s. With `drop`, it hung
//!   after "drained", and the second signal ended it with code 1.
//!
//! With the argument `drop`, the runtime is dropped, and the process hangs until it is forced.

use std::error::Error;
use std::thread;
use std::time::Duration;

use tokio::runtime::Runtime;
use tokio::task::spawn_blocking;
use winddown::Shutdown;

fn main() -> Result<(), Box<dyn Error>> {
    let shutdown = Shutdown::builder()
        .grace_period(Duration::from_secs(25))
        .force_at_deadline()
        .abort_timeout(Duration::from_secs(1)) // to say what is not done
        .install()?;
    let runtime = Runtime::new()?;
    let drained = runtime.block_on(run(shutdown));
    if drained.is_ok() {
        println!("drained");
    }
    if std::env::args().nth(1).as_deref() == Some("drop") {
        drop(runtime); // as `#[tokio::main]` does
    } else {
        runtime.shutdown_background();
    }
    // Not above, where it would drop the runtime before the error is printed.
    drained?;
    println!("stopped");
    Ok(())
}

async fn run(shutdown: Shutdown) -> Result<(), Box<dyn Error>> {
    // This must be finished: it holds a guard.
    let guard = shutdown.guard_named("import").ok_or("it was drained")?;
    spawn_blocking(move || {
        let waiter = guard.waiter();
        while !waiter.is_stopping() {
            thread::sleep(Duration::from_millis(50)); // one step of the work
        }
        println!("import: saved");
        drop(guard);
    });
    // This may be left behind: it holds none, and reads from a pipe that has nothing to read.
    spawn_blocking(|| {
        println!("ready: blocking");
        let mut line = String::new();
        std::io::stdin().read_line(&mut line)
    });
    shutdown.drained().await?;
    shutdown.result()?;
    Ok(())
}
