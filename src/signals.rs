//! The operating system's signals: who reads them, and how the second one ends the process.
//!
//! Per signal, the handler does this, in this order:
//!
//! 1. if `ARMED`, ends the process with the exit code (if the policy lets this signal force);
//! 2. if `IDLE`, does what the system would have done;
//! 3. raises `ARMED` (if nothing is to come between the first signal and the second);
//! 4. writes the signal's number to a socket, which the thread `winddown` reads.
//!
//! So the second signal needs no thread: not ours, which may be inside a waker that hangs, and not
//! the program's. A signal that the program sent itself arms the handler by `Process::arm`.
//!
//! With a debounce, or time for last words, 3. is left to whoever takes the slot, or to a thread that
//! does nothing else, and the thread `winddown` runs nobody's wakers, so that it always reads on.
//!
//! Windows starts a thread for each console event and runs our handler there. That does what the
//! thread `winddown` does elsewhere, and runs nobody's wakers either: the next event waits for it.
//! Where nobody listens, it passes the event on, and Windows does what it would have done.

use std::error::Error;
use std::fmt;
use std::io;
#[cfg(unix)]
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, OnceLock, Weak};
use std::thread;
use std::time::Duration;

use async_signal::Signal;
#[cfg(unix)]
use async_signal::Signals;

#[cfg(unix)]
use crate::Cause;
use crate::exit;
use crate::policy::Policy;
use crate::state::{Force, State};
use crate::sync::lock;

/// One slot was taken: the next signal ends the process. Read by the handler.
#[cfg(unix)]
static ARMED: AtomicBool = AtomicBool::new(false);

/// Nobody listens, because nothing is installed or every handle is gone. Read by the handler.
#[cfg(unix)]
static IDLE: AtomicBool = AtomicBool::new(true);

/// The installed shutdown. Once set it stays, even if the shutdown itself is gone.
static INSTALLED: Mutex<Option<Weak<State>>> = Mutex::new(None);

/// The same, once its first slot is taken: from then on its policy says what the next signal does,
/// whoever still holds it.
static BEGUN: OnceLock<Arc<State>> = OnceLock::new();

/// Held by whoever installs. Not `INSTALLED`, because Windows registers a handler under a lock under
/// which it also calls them, and another's handler may call `request_shutdown`.
static INSTALLING: Mutex<()> = Mutex::new(());

/// What the installed state knows of its process.
pub(crate) struct Process {
    exit_code: i32,
}

impl Process {
    /// The first slot of `state`, which is the installed one's, is taken.
    pub(crate) fn arm(&self, state: &Arc<State>) {
        BEGUN.get_or_init(|| state.clone());
        let policy = state.policy();
        // With last words the force arms, and not the request.
        if policy.last_words.is_zero() {
            arm_after(policy.debounce);
        }
    }

    /// Ends the process, as the force does when there is no time for last words, or no more.
    pub(crate) fn end(&self) -> ! {
        exit::now(self.exit_code)
    }

    /// The second slot is taken. Returns only if there is time for last words.
    pub(crate) fn force(&self, policy: &Policy) {
        let (code, time) = (self.exit_code, policy.last_words);
        if time.is_zero() {
            self.end();
        }
        // Where the second bounces, its echo is a third.
        arm_after(policy.debounce);
        let end = move || {
            thread::sleep(time);
            exit::now(code)
        };
        if start("winddown-force", end).is_err() {
            self.end();
        }
    }
}

impl Drop for Process {
    /// Every handle, waiter and guard is gone, and no slot was taken. Ctrl-C must not be dead.
    fn drop(&mut self) {
        // SeqCst, as signal-hook's own accesses to it in the handler.
        #[cfg(unix)]
        IDLE.store(true, Ordering::SeqCst);
    }
}

/// From then on the handler forces.
fn arm_after(debounce: Duration) {
    let arm = || {
        // SeqCst, as signal-hook's own accesses to it in the handler.
        #[cfg(unix)]
        ARMED.store(true, Ordering::SeqCst);
    };
    let late = move || {
        thread::sleep(debounce);
        arm();
    };
    // A force too soon is better than none.
    if debounce.is_zero() || start("winddown-debounce", late).is_err() {
        arm();
    }
}

fn start(name: &str, run: impl FnOnce() + Send + 'static) -> io::Result<()> {
    thread::Builder::new()
        .name(name.into())
        .spawn(run)
        .map(drop)
}

/// Why [`Shutdown::install`](crate::Shutdown::install) failed. Nothing is left registered; unless there
/// is one already, it can be tried again.
#[derive(Debug)]
#[non_exhaustive]
pub enum InstallError {
    /// A shutdown was installed before; there can be one in a process. Clone its handle instead.
    AlreadyInstalled,
    /// The set of signals is empty.
    NoSignals,
    /// This signal cannot ask a program to stop: it can't be caught on this system, or it reports a
    /// fault of the program.
    Unusable(Signal),
    /// The operating system refused to register the signals.
    Register(io::Error),
    /// The operating system refused to start the thread that reads the signals.
    Thread(io::Error),
}

impl fmt::Display for InstallError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::AlreadyInstalled => f.write_str(
                "a shutdown is installed in this process already; clone its handle instead",
            ),
            Self::NoSignals => f.write_str(
                "no signals given; name at least one, or use Shutdown::new() for a shutdown without",
            ),
            Self::Unusable(signal) => write!(
                f,
                "{} can't be used to ask for a shutdown on this system",
                name(*signal)
            ),
            Self::Register(error) => write!(f, "can't register the signal handlers: {error}"),
            Self::Thread(error) => write!(f, "can't start the thread that reads signals: {error}"),
        }
    }
}

impl Error for InstallError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        match self {
            Self::Register(error) | Self::Thread(error) => Some(error),
            Self::AlreadyInstalled | Self::NoSignals | Self::Unusable(_) => None,
        }
    }
}

/// The signals that ask for a shutdown unless the program says otherwise.
pub(crate) const DEFAULT: &[Signal] = &[Signal::Int, Signal::Term];

/// The installed shutdown's state, if it is installed and somebody still holds it.
pub(crate) fn installed() -> Option<Arc<State>> {
    lock(&INSTALLED).as_ref().and_then(Weak::upgrade)
}

pub(crate) fn install(
    signals: &[Signal],
    exit_code: i32,
    policy: Option<Policy>,
) -> Result<Arc<State>, InstallError> {
    let _installing = lock(&INSTALLING);
    if lock(&INSTALLED).is_some() {
        return Err(InstallError::AlreadyInstalled);
    }
    if signals.is_empty() {
        return Err(InstallError::NoSignals);
    }
    // Each once: a handler that runs twice for one signal would take it for two.
    let mut signals = signals.to_vec();
    signals.sort_unstable();
    signals.dedup();
    if let Some(signal) = signals.iter().find(|signal| !usable(**signal)) {
        return Err(InstallError::Unusable(*signal));
    }

    let state = State::new(Force::Exit(Process { exit_code }), policy);
    #[cfg(unix)]
    listen(&signals, exit_code, &state)?;
    #[cfg(windows)]
    crate::console::listen(signals, &state).map_err(InstallError::Register)?;
    *lock(&INSTALLED) = Some(Arc::downgrade(&state));
    Ok(state)
}

/// From when it returns, the signals go to `state`.
#[cfg(unix)]
fn listen(signals: &[Signal], exit_code: i32, state: &Arc<State>) -> Result<(), InstallError> {
    use std::sync::mpsc;

    // What may fail comes first, because a handler can't be taken back for good: the registry
    // forgets what it should do, but the system's default is not restored. Should the last step fail
    // all the same, because another thread took the descriptors, `Handlers` leaves the default.
    descriptors_left(signals.len()).map_err(InstallError::Register)?;
    let (to_thread, from_installer) = mpsc::channel::<(Signals, Weak<State>)>();
    let to_unblock = set_of(signals);
    start("winddown", move || {
        if let Ok((reader, state)) = from_installer.recv() {
            // Whoever started the process may have blocked them, and every thread inherits that.
            // The handlers are registered by now, so one that is pending is not lost.
            let _ = to_unblock.thread_unblock(); // fails for no set of signals
            read(reader, &state);
        }
    })
    .and_then(|()| another_thread_left())
    .map_err(InstallError::Thread)?;
    let mut reader = Signals::new::<Signal>([]).map_err(InstallError::Register)?;

    let handlers =
        Handlers::register(signals, exit_code, state.policy()).map_err(InstallError::Register)?;
    reader
        .add_signals(signals)
        .map_err(InstallError::Register)?;

    handlers.keep();
    // SeqCst, as signal-hook's own accesses to it in the handler.
    IDLE.store(false, Ordering::SeqCst);
    to_thread
        .send((reader, Arc::downgrade(state)))
        .expect("the thread waits for this");
    Ok(())
}

/// The thread `winddown`.
#[cfg(unix)]
fn read(mut signals: Signals, state: &Weak<State>) {
    // Never returns: dropping `signals` would leave Ctrl-C dead.
    loop {
        match next(&mut signals) {
            Some(Ok(signal)) => match state.upgrade() {
                Some(state) => {
                    state.request_with(Cause::Signal(signal), announce);
                }
                None => exit::as_unhandled(signal),
            },
            // It reads a socket of our own, so this can't be helped, only outlived. The handler
            // still ends the process on the second signal.
            Some(Err(_)) | None => thread::sleep(Duration::from_millis(100)),
        }
    }
}

/// Blocks until there is a signal.
///
/// It waits for the socket itself, and asks only when there is something to read. Asked before, the
/// socket would be the reactor's to watch, and every signal would wake async-io's thread too.
#[cfg(unix)]
fn next(signals: &mut Signals) -> Option<io::Result<Signal>> {
    use std::os::fd::AsFd;
    use std::task::{Context, Poll, Waker};

    use futures_lite::{StreamExt, future};
    use nix::errno::Errno;
    use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

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

/// Announces from this thread, or, if the second signal needs this thread, from one that may hang.
pub(crate) fn announce(state: &Arc<State>, raised: u8) {
    if cfg!(unix) && state.policy().first_arms() {
        state.announce(raised);
    } else {
        let another = state.clone();
        if start("winddown-announce", move || another.announce(raised)).is_err() {
            state.announce(raised);
        }
    }
}

/// The handler's own actions. Unregistered when dropped, unless kept; but for the system's default
/// while nobody listens, without which Ctrl-C would be dead.
#[cfg(unix)]
struct Handlers(Vec<signal_hook::SigId>);

#[cfg(unix)]
impl Handlers {
    fn register(signals: &[Signal], exit_code: i32, policy: &Policy) -> io::Result<Self> {
        use signal_hook::flag;

        let mut this = Self(Vec::new());
        for &signal in signals {
            let number = signal as i32;
            // In the order in which they run.
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

#[cfg(unix)]
impl Drop for Handlers {
    fn drop(&mut self) {
        for id in self.0.drain(..) {
            signal_hook::low_level::unregister(id);
        }
    }
}

/// Whether there are descriptors for `Signals`, which takes one per signal and a socket pair, and
/// for async-io's reactor, which panics if it can't have its own.
#[cfg(unix)]
fn descriptors_left(signals: usize) -> io::Result<()> {
    (0..signals + 4)
        .map(|_| std::os::unix::net::UnixStream::pair())
        .collect::<io::Result<Vec<_>>>()
        .map(drop)
}

/// Whether there is a thread for async-io's reactor, which panics if it can't have its own.
#[cfg(unix)]
fn another_thread_left() -> io::Result<()> {
    let another = thread::Builder::new().spawn(|| ())?;
    let _ = another.join(); // it does not panic
    Ok(())
}

/// As the system takes them. One that nix has no name for is left out, and stays as it was.
#[cfg(unix)]
fn set_of(signals: &[Signal]) -> nix::sys::signal::SigSet {
    signals
        .iter()
        .filter_map(|&signal| nix::sys::signal::Signal::try_from(signal as i32).ok())
        .collect()
}

/// Whether a handler can be registered for it, and can return without the fault happening again.
#[cfg(unix)]
fn usable(signal: Signal) -> bool {
    use Signal::{Bus, Fpe, Ill, Kill, Segv, Stop};

    !matches!(signal, Kill | Stop | Ill | Fpe | Segv | Bus)
}

/// Whether there is a console event for it.
#[cfg(windows)]
fn usable(signal: Signal) -> bool {
    matches!(signal, Signal::Int | Signal::Term)
}

/// Whether the system ends a program that does not handle this signal.
#[cfg(unix)]
pub(crate) fn ends_by_default(signal: Signal) -> bool {
    use Signal::{Child, Cont, Io, Stop, Tstp, Ttin, Ttou, Urg, Winch};

    // `Io` as signal-hook has it: what is not PID 1 is asked there.
    !matches!(
        signal,
        Child | Cont | Io | Stop | Tstp | Ttin | Ttou | Urg | Winch
    )
}

/// What a person calls it.
#[cfg(unix)]
pub(crate) fn name(signal: Signal) -> impl fmt::Display {
    signal_hook::low_level::signal_name(signal as i32).unwrap_or("an unknown signal")
}

/// What a person calls it. Windows has no names for the others.
#[cfg(windows)]
pub(crate) fn name(signal: Signal) -> impl fmt::Display {
    match signal {
        Signal::Int => "Ctrl-C".to_owned(),
        Signal::Term => "termination".to_owned(),
        other => format!("SIG{other:?}").to_uppercase(),
    }
}

#[cfg(all(test, unix))]
mod tests {
    use super::*;

    #[test]
    fn the_echo_of_a_force_leaves_the_last_words() {
        let hour = Duration::from_secs(3600);
        let policy = Policy {
            debounce: hour,
            last_words: hour,
            ..Policy::DEFAULT
        };
        Process { exit_code: 1 }.force(&policy);
        assert!(!ARMED.load(Ordering::SeqCst));
    }
}
