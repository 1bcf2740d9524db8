//! # Prefork: one listener, several processes
//!
//! The parent opens the listener and starts its workers, each with the listener as its stdin. A worker
//! is the same program, started again: what a `fork` leaves out, such as the thread that reads signals,
//! is there. Each worker installs a shutdown of its own.
//!
//! - **It waits for** every worker, and each worker waits for its requests. The exit code is 1 if a
//!   worker has failed.
//! - **It loses** [what remains](winddown_http#what-remains): mostly handshakes that take longer than 50 ms.
//!   The parent has the kernel refuse new connections, for itself and the workers, and the workers take
//!   the queue. A worker that is restarted alone loses no connection.
//! - **Ctrl-C** would reach parent and workers, and the SIGTERM that the parent sends would be the
//!   second signal for each worker, which forces. `process_group(0)` keeps Ctrl-C from the workers.
//! - **The force** of the parent orphans the workers, with the listener. So each worker asks Linux for
//!   a SIGTERM at the end of its parent (`set_pdeathsig`), and finishes its requests.
//! - **Measured:** SIGTERM, and Ctrl-C to the group, while a request of 1 s was in flight: the answer
//!   came whole, exit code 0 after 1.0 s. Two signals: the parent ended with code 1 at once, and the
//!   answer came whole all the same.

use std::error::Error;
use std::io::stdin;
use std::net::TcpListener;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::process::{Child, Command};
use std::time::Duration;

use axum::Router;
use axum::routing::get;
use nix::sys::prctl::set_pdeathsig;
use nix::sys::signal::{Signal, kill};
use nix::unistd::{Pid, getppid};
use winddown::{ForcePolicy, Shutdown};
use winddown_http::{Server, TokioIncoming, refuse_new};

fn main() -> Result<(), Box<dyn Error>> {
    let builder = Shutdown::builder()
        .grace_period(Duration::from_secs(10))
        .force_at_deadline()
        .abort_timeout(Duration::from_secs(1)); // to say what is not done
    match std::env::args().nth(1) {
        None => parent(&builder.install()?),
        // One SIGTERM from the parent, and one at its end: SIGTERM does not force.
        Some(_) => worker(&builder.force_policy(ForcePolicy::OnlyInterrupt).install()?),
    }
}

fn parent(shutdown: &Shutdown) -> Result<(), Box<dyn Error>> {
    let listener = TcpListener::bind("127.0.0.1:0")?;
    listener.set_nonblocking(true)?; // as tokio wants it
    let mut workers = (0..2)
        .map(|_| start(&listener))
        .collect::<Result<Vec<_>, _>>()?;
    println!("ready: {}", listener.local_addr()?);

    shutdown.waiter().wait_blocking();
    let _ = refuse_new(&listener);
    for worker in &workers {
        kill(Pid::from_raw(worker.id().try_into()?), Signal::SIGTERM)?;
    }
    for worker in &mut workers {
        let status = worker.wait()?;
        // A worker that has just been started may not have installed its shutdown yet.
        if !status.success() && status.signal() != Some(Signal::SIGTERM as i32) {
            return Err(format!("a worker has failed: {status}").into());
        }
    }
    println!("stopped: every worker has ended");
    Ok(())
}

fn start(listener: &TcpListener) -> Result<Child, Box<dyn Error>> {
    let listener = OwnedFd::from(listener.try_clone()?);
    Ok(Command::new(std::env::current_exe()?)
        .arg("worker")
        .stdin(listener)
        .process_group(0)
        .spawn()?)
}

#[tokio::main]
async fn worker(shutdown: &Shutdown) -> Result<(), Box<dyn Error>> {
    // SIGTERM when the parent is gone; it may be already.
    set_pdeathsig(Signal::SIGTERM)?;
    if getppid() == Pid::from_raw(1) {
        return Ok(());
    }
    let listener = TcpListener::from(stdin().as_fd().try_clone_to_owned()?);
    let listener = tokio::net::TcpListener::from_std(listener)?;
    let app = Router::new().route("/slow", get(slow));
    Server::tokio(shutdown)
        .serve(TokioIncoming::new(listener), app)
        .await?;
    shutdown.result()?;
    Ok(())
}

async fn slow() -> &'static str {
    println!("in flight");
    tokio::time::sleep(Duration::from_secs(1)).await;
    "slow, but whole\n"
}
