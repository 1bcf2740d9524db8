//! Unix: registers the handlers, and reads the signals on the thread `winddown`.

use std::io;
use std::os::fd::{AsFd, AsRawFd};
use std::os::unix::net::UnixStream;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Weak, mpsc};
use std::task::{Context, Poll, Waker};
use std::thread;
use std::time::{Duration, Instant};

use async_io::Timer;
use async_signal::Signals;
use futures_lite::{StreamExt, future};
use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::signal::{SigSet, SigmaskHow, pthread_sigmask};
use signal_hook::{SigId, flag};

use crate::model::cause::Cause;
use crate::model::signal::Signal;
use crate::node::Node;
use crate::os::deliver::request;
use crate::os::error::InstallError;
use crate::os::flags::{ARMED, IDLE, STARTING};
use crate::os::native::native;
use crate::os::settings::Settings;
use crate::os::timekeeper;

/// Returns whether the signal can request a shutdown.
pub(crate) fn is_usable(signal: Signal) -> bool {
    native(signal).is_some()
}

/// Registers the handlers: when it returns, the signals go to `node`.
pub(crate) fn listen(settings: &Settings, node: &Arc<Node>) -> Result<(), InstallError> {
    // What may fail comes first, because a handler can't be taken back for good: the registry
    // forgets what it should do, but the system's default is not restored. Should the last step fail
    // all the same, because another thread took the descriptors, `Handlers` leaves the default.
    let _taken = take_standard_descriptors().map_err(InstallError::Register)?;
    descriptors_left(settings.signals.len()).map_err(InstallError::Register)?;
    if node.policy().needs_timekeeper() {
        timekeeper::prepare().map_err(InstallError::Register)?;
    }
    let held = Held::hold(settings);
    // Without room, so that the thread has started when this returns: its start takes memory.
    let (to_thread, from_installer) = mpsc::sync_channel::<Reader>(0);
    let to_unblock = set_of(&settings.signals);
    start(move || {
        if let Ok(mut reader) = from_installer.recv() {
            // The parent process may have blocked them, and every thread inherits that. The handlers
            // are registered by now, so a signal that is pending is not lost.
            let _ = to_unblock.thread_unblock(); // fails for no set of signals
            reader.run();
        }
    })
    .and_then(|()| another_thread_left())
    .map_err(InstallError::Thread)?;

    let none: [async_signal::Signal; 0] = [];
    let mut signals = Signals::new(none).map_err(InstallError::Register)?;
    let handlers = Handlers::register(settings, node).map_err(InstallError::Register)?;
    signals
        .add_signals(settings.signals.iter().filter_map(|signal| native(*signal)))
        .map_err(InstallError::Register)?;

    // SeqCst: as signal-hook accesses them in the handler.
    IDLE.store(false, Ordering::SeqCst);
    STARTING.store(false, Ordering::SeqCst);
    drop(held);
    let reader = Reader {
        signals,
        seen: handlers.keep(),
        node: Arc::downgrade(node),
    };
    to_thread.send(reader).expect("the thread waits for this");
    Ok(())
}

/// Signals that wait until it is dropped, so that none comes when half of its handler is registered, and does
/// nothing. Threads that begin meanwhile inherit that: `winddown`, which unblocks them, and async-io's, which
/// keeps them blocked and needs none. Another thread may still take a signal in the instant in which
/// signal-hook-registry sets its handler.
struct Held {
    signals: SigSet,
}

impl Held {
    fn hold(settings: &Settings) -> Self {
        let mut blocked = SigSet::empty();
        let _ = pthread_sigmask(SigmaskHow::SIG_BLOCK, None, Some(&mut blocked));
        let own = set_of(&settings.signals);
        let signals: SigSet = own
            .iter()
            .filter(|signal| !blocked.contains(*signal))
            .collect();
        let _ = signals.thread_block(); // fails for no set of signals
        Self { signals }
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        let _ = self.signals.thread_unblock();
    }
}

/// What the thread `winddown` has.
struct Reader {
    signals: Signals,
    seen: Vec<(Signal, Arc<AtomicBool>)>,
    node: Weak<Node>,
}

/// What the thread has waited for.
enum Event {
    Signal(Signal),
    /// A time has come, or was set.
    Time,
}

impl Reader {
    /// Runs the thread.
    fn run(&mut self) {
        // Never returns: dropping `signals` would leave Ctrl-C dead.
        loop {
            let due = timekeeper::run_due();
            match self.next(due) {
                // Where the node is gone, it was there when the signal came: otherwise the handler would have
                // ended the process. The program ends by itself, and may have something to save. Its next
                // signal ends it: the handler is armed, or does what the system does by default.
                Ok(Event::Signal(signal)) if self.was_seen(signal) => {
                    request(&self.node, signal);
                }
                Ok(_) => {}
                // The socket is the crate's own, so this can't be helped, only outlived. The handler
                // still ends the process on the second signal.
                Err(_) => thread::sleep(Duration::from_millis(20)),
            }
        }
    }

    /// Returns whether the handler has seen the signal in this process.
    ///
    /// A child between `fork` and `exec` has a copy of the handler, and of the socket that it writes to.
    /// Without this, one Ctrl-C, which the terminal sends to both, would be read twice. The flag is in
    /// memory, so the copy sets only its own. The handler sets it before it writes, so each of its
    /// messages finds it set, unless an earlier message was read since the same signal came again.
    fn was_seen(&self, signal: Signal) -> bool {
        // SeqCst: as signal-hook accesses it in the handler.
        let take = |(_, seen): &(_, Arc<AtomicBool>)| seen.swap(false, Ordering::SeqCst);
        self.seen
            .iter()
            .find(|(own, _)| *own == signal)
            .is_some_and(take)
    }

    /// Blocks until there is a signal, until a time was set, or until this time.
    ///
    /// It waits for the socket itself, and asks async-signal only when there is something to read. Asked
    /// before, the socket would be the reactor's to watch, and every signal would wake async-io's thread.
    fn next(&mut self, due: Option<Instant>) -> io::Result<Event> {
        loop {
            // In place: the end of the process depends on this thread, and the lock of the allocator may be held for
            // good.
            let readable = |fd| PollFd::new(fd, PollFlags::POLLIN);
            let signals = self.signals.as_fd();
            let mut descriptors = [signals, timekeeper::woken().unwrap_or(signals)].map(readable);
            let signalled = match poll(&mut descriptors, timeout_until(due)) {
                Ok(_) => descriptors[0].any() != Some(false),
                // Even by the very signal: its handler has written by now, and the next poll finds it.
                Err(Errno::EINTR) => false,
                // Refused, as where a sandbox allows no descriptors: the reactor can wait all the same.
                Err(_) => return self.next_from_reactor(due),
            };
            timekeeper::clear();
            if signalled {
                let context = &mut Context::from_waker(Waker::noop());
                if let Poll::Ready(signal) = self.signals.poll_next(context) {
                    return event(signal);
                }
            }
            if timekeeper::woken().is_some() {
                return Ok(Event::Time);
            }
        }
    }

    /// Waits as `next` does, by async-io. Where times are kept it looks for new ones every 20 ms.
    fn next_from_reactor(&mut self, due: Option<Instant>) -> io::Result<Event> {
        let soon = Instant::now() + Duration::from_millis(20);
        let timer = match timekeeper::woken() {
            Some(_) => Timer::at(due.map_or(soon, |due| due.min(soon))),
            None => Timer::never(),
        };
        let signal = async { event(self.signals.next().await) };
        let time = async {
            timer.await;
            Ok(Event::Time)
        };
        future::block_on(future::or(signal, time))
    }
}

fn event(signal: Option<io::Result<async_signal::Signal>>) -> io::Result<Event> {
    let signal = signal.unwrap_or_else(|| Err(io::ErrorKind::UnexpectedEof.into()))?;
    Ok(Event::Signal(Signal::from_raw(signal as i32)))
}

/// Returns how long to wait for a time, rounded up to milliseconds.
fn timeout_until(due: Option<Instant>) -> PollTimeout {
    let Some(due) = due else {
        return PollTimeout::NONE;
    };
    let left = due.saturating_duration_since(Instant::now());
    // 49 days do not fit. The thread looks again then.
    PollTimeout::try_from(left + Duration::from_micros(999)).unwrap_or(PollTimeout::MAX)
}

/// The actions of the handler, in the order in which they run. Dropping it unregisters them, unless
/// they are kept; but for the system's default while no shutdown listens, without which Ctrl-C would
/// be dead.
struct Handlers {
    ids: Vec<SigId>,
    /// For each signal, whether the handler has seen it.
    seen: Vec<(Signal, Arc<AtomicBool>)>,
}

impl Handlers {
    fn register(settings: &Settings, node: &Node) -> io::Result<Self> {
        let mut this = Self {
            ids: Vec::new(),
            seen: Vec::new(),
        };
        // The kernel does nothing by default for PID 1, so there the exit code is what a shell makes of
        // a death by the signal.
        let first_process = std::process::id() == 1;
        for &signal in &settings.signals {
            let (number, shell_code) = (signal.as_raw(), signal.exit_code().into());
            let default_if = |flag| match first_process {
                true => flag::register_conditional_shutdown(number, shell_code, flag),
                false => flag::register_conditional_default(number, flag),
            };
            // Neither is among `ids`: they stay. This one is the first, so that what is not whole does what the
            // system does.
            default_if(&STARTING)?;
            if node.policy().may_force(&Cause::Signal(signal)) {
                let id = match (settings.force_by_signal, first_process) {
                    (false, _) => {
                        flag::register_conditional_shutdown(number, settings.exit_code, &ARMED)
                    }
                    (true, true) => flag::register_conditional_shutdown(number, shell_code, &ARMED),
                    (true, false) => flag::register_conditional_default(number, &ARMED),
                };
                this.ids.push(id?);
            }
            default_if(&IDLE)?;
            if node.policy().first_arms() {
                this.ids.push(flag::register(number, &ARMED)?);
            }
            let seen = Arc::new(AtomicBool::new(false));
            this.ids.push(flag::register(number, seen.clone())?);
            this.seen.push((signal, seen));
        }
        Ok(this)
    }

    fn keep(mut self) -> Vec<(Signal, Arc<AtomicBool>)> {
        self.ids.clear();
        std::mem::take(&mut self.seen)
    }
}

impl Drop for Handlers {
    fn drop(&mut self) {
        for id in self.ids.drain(..) {
            signal_hook::low_level::unregister(id);
        }
    }
}

/// Takes the descriptors of standard input, output and error that are closed. A socket of this crate would get
/// them otherwise, and then read what the program prints in place of signals.
fn take_standard_descriptors() -> io::Result<Vec<UnixStream>> {
    let mut taken = Vec::new();
    loop {
        let (one, other) = UnixStream::pair()?;
        let is_standard = |socket: &UnixStream| socket.as_raw_fd() <= 2;
        let more: Vec<_> = [one, other].into_iter().filter(is_standard).collect();
        if more.is_empty() {
            return Ok(taken);
        }
        taken.extend(more);
    }
}

/// Checks that there are descriptors for `Signals`, which takes one per signal and a socket pair, for
/// the timekeeper, and for async-io's reactor, which panics if it can't have its own.
fn descriptors_left(signals: usize) -> io::Result<()> {
    (0..signals + 5)
        .map(|_| UnixStream::pair())
        .collect::<io::Result<Vec<_>>>()
        .map(drop)
}

/// Starts the thread `winddown`.
fn start(run: impl FnOnce() + Send + 'static) -> io::Result<()> {
    let thread = thread::Builder::new().name("winddown".into());
    thread.spawn(run).map(drop)
}

/// Checks that there is a thread for async-io's reactor, which panics if it can't have its own.
fn another_thread_left() -> io::Result<()> {
    let another = thread::Builder::new().spawn(|| ())?;
    let _ = another.join(); // it does not panic
    Ok(())
}

/// Returns the signals as the system takes them.
fn set_of(signals: &[Signal]) -> SigSet {
    signals
        .iter()
        .filter_map(|signal| nix::sys::signal::Signal::try_from(signal.as_raw()).ok())
        .collect()
}

#[cfg(test)]
mod tests {
    use nix::sys::signal::{Signal as Native, raise};

    use super::*;
    use crate::model::policy::Policy;
    use crate::os::process::tests::ALONE;
    use crate::util::sync::lock_std;

    /// A thread may have the lock of the allocator for good.
    ///
    /// Mutation: `Reader::next` has its descriptors in a vector.
    #[test]
    fn g12_reading_a_signal_takes_no_memory() {
        let _alone = lock_std(&ALONE);
        let mut reader = Reader {
            signals: Signals::new([async_signal::Signal::Winch]).unwrap(),
            seen: Vec::new(),
            node: Weak::new(),
        };
        let now = Some(Instant::now());
        for _ in 0..2 {
            raise(Native::SIGWINCH).unwrap();
            let mut event = None;
            let info = allocation_counter::measure(|| event = Some(reader.next(now)));
            assert!(matches!(event, Some(Ok(Event::Signal(_)))));
            assert_eq!(info.count_total, 0);
        }
    }

    /// A signal that the system ignores by default: the default comes back with the drop.
    #[test]
    fn g6_dropped_handlers_do_nothing() {
        let settings = Settings {
            signals: vec![Signal::from_raw(Native::SIGWINCH as i32)],
            ..Settings::default()
        };
        let _alone = lock_std(&ALONE);
        // With a debounce the handler arms nothing, which another test would notice.
        let policy = Policy {
            debounce: Duration::from_secs(3600),
            ..Policy::DEFAULT
        };
        let node = Node::new(None, policy);
        let handlers = Handlers::register(&settings, &node).unwrap();
        let (_, seen) = handlers.seen[0].clone();
        raise(Native::SIGWINCH).unwrap();
        assert!(seen.swap(false, Ordering::SeqCst));
        drop(handlers);
        raise(Native::SIGWINCH).unwrap();
        assert!(!seen.load(Ordering::SeqCst));
    }
}
