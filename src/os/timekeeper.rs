//! The times at which the handler is armed, the shutdown is forced and the process ends.
//!
//! There is one set of them, because one shutdown is installed in a process. The thread `winddown`
//! keeps them. It calls no foreign code for that, and takes no lock under which a thread calls any.

use std::sync::{Arc, Mutex, Weak};
use std::time::Instant;

use crate::model::signal::Signal;
use crate::node::Node;
use crate::os::deliver::force_late;
use crate::os::exit;
use crate::os::flags::arm;
use crate::util::sync::lock_std;

/// How the process ends.
#[derive(Clone, Copy)]
pub(crate) enum End {
    /// With this exit code.
    Code(i32),
    /// Of this signal.
    Signal(Signal),
}

impl End {
    pub(crate) fn now(self) -> ! {
        match self {
            Self::Code(code) => exit::now(code),
            Self::Signal(signal) => exit::of_signal(signal),
        }
    }
}

struct Times {
    /// The debounce is over: the handler forces from now on.
    arm: Option<Instant>,
    /// The deadline: the shutdown is forced. If its node is gone, the process ends all the same.
    force: Option<(Instant, Weak<Node>, End)>,
    /// The abort timeout is over: the process ends.
    end: Option<(Instant, End)>,
}

static TIMES: Mutex<Times> = Mutex::new(Times {
    arm: None,
    force: None,
    end: None,
});

/// Has the handler armed at this time.
pub(crate) fn arm_at(time: Instant) {
    lock_std(&TIMES).arm = Some(time);
    wake();
}

/// Has the shutdown forced at this time.
pub(crate) fn force_at(time: Instant, node: &Arc<Node>, end: End) {
    lock_std(&TIMES).force = Some((time, Arc::downgrade(node), end));
    wake();
}

/// Has the process end at this time.
pub(crate) fn end_at(time: Instant, end: End) {
    lock_std(&TIMES).end = Some((time, end));
    wake();
}

/// Does what is due, and returns when the next is.
pub(crate) fn run_due() -> Option<Instant> {
    let mut times = lock_std(&TIMES);
    // The clock is read under the lock, so that no time set before is seen as later than now.
    let now = Instant::now();
    if let Some((time, end)) = times.end {
        if time <= now {
            end.now();
        }
    }
    if times.arm.take_if(|time| *time <= now).is_some() {
        arm();
    }
    if let Some((_, node, end)) = times.force.take_if(|(time, ..)| *time <= now) {
        // Without the lock, which the force takes again for the abort timeout.
        drop(times);
        if !force_late(&node) {
            end.now();
        }
        times = lock_std(&TIMES);
    }
    let force = times.force.as_ref().map(|(time, ..)| *time);
    let end = times.end.map(|(time, _)| time);
    [times.arm, force, end].into_iter().flatten().min()
}

#[cfg(windows)]
pub(crate) use condvar::*;
#[cfg(unix)]
pub(crate) use socket::*;

/// The thread is woken by a byte when a time was set, because it waits for signals too.
#[cfg(unix)]
mod socket {
    use std::io::{self, Read, Write};
    use std::os::fd::{AsFd, BorrowedFd};
    use std::os::unix::net::UnixStream;
    use std::sync::OnceLock;

    /// The thread's end of the socket, and the end that wakes it.
    static SOCKET: OnceLock<[UnixStream; 2]> = OnceLock::new();

    /// Makes the socket, unless there is one.
    pub(crate) fn prepare() -> io::Result<()> {
        if SOCKET.get().is_none() {
            let (thread, waker) = UnixStream::pair()?;
            thread.set_nonblocking(true)?;
            waker.set_nonblocking(true)?;
            // One thread installs at a time.
            let _ = SOCKET.set([thread, waker]);
        }
        Ok(())
    }

    /// Returns what is readable when a time was set; `None` if no times are kept.
    pub(crate) fn woken() -> Option<BorrowedFd<'static>> {
        SOCKET.get().map(|[thread, _]| thread.as_fd())
    }

    pub(crate) fn wake() {
        if let Some([_, waker]) = SOCKET.get() {
            // It fails only if so many bytes are unread that the thread is woken anyway.
            let _ = (&*waker).write(&[0]);
        }
    }

    /// Reads the bytes, so that the next one wakes again.
    pub(crate) fn clear() {
        if let Some([thread, _]) = SOCKET.get() {
            let mut bytes = [0; 64];
            while matches!((&*thread).read(&mut bytes), Ok(1..)) {}
        }
    }
}

/// The thread is woken by a condition variable when a time was set, because it waits for nothing else.
#[cfg(windows)]
mod condvar {
    use std::sync::{Condvar, Mutex, PoisonError};
    use std::time::Instant;

    use crate::util::sync::lock_std;

    static WOKEN: Mutex<bool> = Mutex::new(false);
    static CHANGED: Condvar = Condvar::new();

    pub(crate) fn wake() {
        *lock_std(&WOKEN) = true;
        CHANGED.notify_all();
    }

    /// Blocks until a time was set, or until this time.
    pub(crate) fn wait_until(time: Option<Instant>) {
        let mut woken = lock_std(&WOKEN);
        while !*woken {
            let Some(time) = time else {
                woken = CHANGED.wait(woken).unwrap_or_else(PoisonError::into_inner);
                continue;
            };
            let left = time.saturating_duration_since(Instant::now());
            if left.is_zero() {
                break;
            }
            let waited = CHANGED.wait_timeout(woken, left);
            woken = waited.unwrap_or_else(PoisonError::into_inner).0;
        }
        *woken = false;
    }
}
