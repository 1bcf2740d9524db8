//! Unix: registers the handlers, and reads the signals on the thread `winddown`.

use std::io;
use std::os::fd::AsFd;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Weak, mpsc};
use std::task::{Context, Poll, Waker};
use std::thread;
use std::time::Duration;

use async_signal::{Signal, Signals};
use futures_lite::{StreamExt, future};
use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::signal::SigSet;

use crate::model::cause::Cause;
use crate::model::policy::Policy;
use crate::model::signal::ends_by_default;
use crate::node::Node;
use crate::os::deliver::{announce, start};
use crate::os::error::InstallError;
use crate::os::exit;
use crate::os::process::{ARMED, IDLE};

/// Returns whether a handler can be registered for the signal, and can return without the fault
/// happening again.
pub(crate) fn is_usable(signal: Signal) -> bool {
    use Signal::{Bus, Fpe, Ill, Kill, Segv, Stop};

    !matches!(signal, Kill | Stop | Ill | Fpe | Segv | Bus)
}

/// Registers the handlers: when it returns, the signals go to `node`.
pub(crate) fn listen(
    signals: Vec<Signal>,
    exit_code: i32,
    node: &Arc<Node>,
) -> Result<(), InstallError> {
    // What may fail comes first, because a handler can't be taken back for good: the registry
    // forgets what it should do, but the system's default is not restored. Should the last step fail
    // all the same, because another thread took the descriptors, `Handlers` leaves the default.
    descriptors_left(signals.len()).map_err(InstallError::Register)?;
    let (to_thread, from_installer) = mpsc::channel::<(Signals, Weak<Node>)>();
    let to_unblock = set_of(&signals);
    start("winddown", move || {
        if let Ok((reader, node)) = from_installer.recv() {
            // The parent process may have blocked them, and every thread inherits that. The handlers
            // are registered by now, so a signal that is pending is not lost.
            let _ = to_unblock.thread_unblock(); // fails for no set of signals
            read(reader, &node);
        }
    })
    .and_then(|()| another_thread_left())
    .map_err(InstallError::Thread)?;
    let mut reader = Signals::new::<Signal>([]).map_err(InstallError::Register)?;

    let handlers =
        Handlers::register(&signals, exit_code, node.policy()).map_err(InstallError::Register)?;
    reader
        .add_signals(&signals)
        .map_err(InstallError::Register)?;

    handlers.keep();
    // SeqCst: as signal-hook accesses it in the handler.
    IDLE.store(false, Ordering::SeqCst);
    to_thread
        .send((reader, Arc::downgrade(node)))
        .expect("the thread waits for this");
    Ok(())
}

/// Runs the thread `winddown`.
fn read(mut signals: Signals, node: &Weak<Node>) {
    // Never returns: dropping `signals` would leave Ctrl-C dead.
    loop {
        match next(&mut signals) {
            Some(Ok(signal)) => match node.upgrade() {
                Some(node) => {
                    node.request_with(Cause::Signal(signal), announce);
                }
                None => exit::as_unhandled(signal),
            },
            // The socket is the crate's own, so this can't be helped, only outlived. The handler still
            // ends the process on the second signal.
            Some(Err(_)) | None => thread::sleep(Duration::from_millis(100)),
        }
    }
}

/// Blocks until there is a signal.
///
/// It waits for the socket itself, and asks async-signal only when there is something to read. Asked
/// before, the socket would be the reactor's to watch, and every signal would wake async-io's thread.
fn next(signals: &mut Signals) -> Option<io::Result<Signal>> {
    loop {
        let polled = poll(
            &mut [PollFd::new(signals.as_fd(), PollFlags::POLLIN)],
            PollTimeout::NONE,
        );
        match polled {
            // An interruption may be by the very signal: look in any case.
            Ok(_) | Err(Errno::EINTR) => {}
            // Refused, as where a sandbox allows no descriptors: the reactor can wait all the same.
            Err(_) => return future::block_on(signals.next()),
        }
        let context = &mut Context::from_waker(Waker::noop());
        if let Poll::Ready(next) = signals.poll_next(context) {
            return next;
        }
    }
}

/// The actions of the handler, in the order in which they run. Dropping it unregisters them, unless
/// they are kept; but for the system's default while no shutdown listens, without which Ctrl-C would
/// be dead.
struct Handlers(Vec<signal_hook::SigId>);

impl Handlers {
    fn register(signals: &[Signal], exit_code: i32, policy: &Policy) -> io::Result<Self> {
        use signal_hook::flag;

        let mut this = Self(Vec::new());
        for &signal in signals {
            let number = signal as i32;
            if policy.may_force(&Cause::Signal(signal)) {
                this.0.push(flag::register_conditional_shutdown(
                    number, exit_code, &ARMED,
                )?);
            }
            if std::process::id() != 1 {
                flag::register_conditional_default(number, &IDLE)?;
            } else if ends_by_default(signal) {
                // See `exit::as_unhandled`.
                flag::register_conditional_shutdown(number, 128 + number, &IDLE)?;
            }
            if policy.first_arms() {
                this.0.push(flag::register(number, &ARMED)?);
            }
        }
        Ok(this)
    }

    fn keep(mut self) {
        self.0.clear();
    }
}

impl Drop for Handlers {
    fn drop(&mut self) {
        for id in self.0.drain(..) {
            signal_hook::low_level::unregister(id);
        }
    }
}

/// Checks that there are descriptors for `Signals`, which takes one per signal and a socket pair, and
/// for async-io's reactor, which panics if it can't have its own.
fn descriptors_left(signals: usize) -> io::Result<()> {
    (0..signals + 4)
        .map(|_| std::os::unix::net::UnixStream::pair())
        .collect::<io::Result<Vec<_>>>()
        .map(drop)
}

/// Checks that there is a thread for async-io's reactor, which panics if it can't have its own.
fn another_thread_left() -> io::Result<()> {
    let another = thread::Builder::new().spawn(|| ())?;
    let _ = another.join(); // it does not panic
    Ok(())
}

/// Returns the signals as the system takes them. One that nix has no name for is left out, and keeps
/// its state.
fn set_of(signals: &[Signal]) -> SigSet {
    signals
        .iter()
        .filter_map(|&signal| nix::sys::signal::Signal::try_from(signal as i32).ok())
        .collect()
}
