//! # Below a wrapper that forwards signals
//!
//! A wrapper such as `timeout` or a shell's `trap` hands a signal on to its child. But Ctrl-C, and many
//! a supervisor, send to the whole group anyway. So one signal arrives twice within milliseconds, and
//! the second forces. `debounce` takes two that come within its time for one.
//!
//! - **It waits for** the work, as without a wrapper.
//! - **It loses** the force within the first half second: two real Ctrl-C that fast count as one.
//! - **`timeout`** hands on what it is sent; when its own time is up, it signals the program, and then its
//!   group, where the program is too. SIGTERM to its group without a debounce ended the program
//!   with code 1 at once, unless the kernel had merged the two. With a debounce of 500 ms it ended with
//!   code 0.
//! - **`npm run`** hands a signal on to the shell that runs the script. That shell dies of it, and the
//!   program runs on as an orphan. Begin the script with `exec`, as in `"start": "exec server"`: then
//!   the program has the signal, once.
//! - **A container** has the same fault if its entry point is a shell: give `ENTRYPOINT` as a list. Docker
//!   kills it 10 s after SIGTERM, and so does compose unless its `stop_grace_period` says otherwise.
//! - A supervisor that repeats SIGTERM for longer needs `ForcePolicy::OnlyInterrupt`. GNU parallel does, and
//!   then kills: give it `--termseq TERM,9000`, so that the program has nine seconds.
//!
//! The argument is the debounce in milliseconds; by default 500.

use std::error::Error;
use std::thread;
use std::time::Duration;

use winddown::Shutdown;

fn main() -> Result<(), Box<dyn Error>> {
    let debounce = std::env::args().nth(1).map_or(Ok(500), |it| it.parse())?;
    let shutdown = Shutdown::builder()
        .debounce(Duration::from_millis(debounce))
        .grace_period(Duration::from_secs(10))
        .install()?;
    println!("ready: {}", std::process::id());
    shutdown.waiter().wait_blocking();
    println!("stopping: {}", shutdown.cause().ok_or("it was requested")?);
    thread::sleep(Duration::from_secs(1)); // the work that is left
    println!("stopped");
    Ok(())
}
