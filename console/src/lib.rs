#![doc = include_str!("../README.md")]
#![cfg(windows)]

use std::fmt;
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;

use windows_sys::Win32::Foundation::{FALSE, TRUE};
use windows_sys::Win32::System::Console::{
    CTRL_BREAK_EVENT, CTRL_C_EVENT, CTRL_CLOSE_EVENT, CTRL_LOGOFF_EVENT, CTRL_SHUTDOWN_EVENT,
    SetConsoleCtrlHandler,
};
use windows_sys::Win32::System::Threading::{GetCurrentProcess, TerminateProcess};
use windows_sys::core::BOOL;

/// What happened at the console.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Event {
    /// Ctrl-C was pressed, or another program sent it.
    CtrlC,
    /// Ctrl-Break was pressed, or another program sent it.
    CtrlBreak,
    /// The console is being closed.
    Close,
    /// A user logs off; any user, and only services are told. One that has loaded user32 or gdi32 is
    /// told neither of this nor of `Shutdown`.
    Logoff,
    /// The system shuts down. Only services are told; other programs have been closed before.
    Shutdown,
}

impl Event {
    fn from_raw(kind: u32) -> Option<Self> {
        match kind {
            CTRL_C_EVENT => Some(Self::CtrlC),
            CTRL_BREAK_EVENT => Some(Self::CtrlBreak),
            CTRL_CLOSE_EVENT => Some(Self::Close),
            CTRL_LOGOFF_EVENT => Some(Self::Logoff),
            CTRL_SHUTDOWN_EVENT => Some(Self::Shutdown),
            _ => None,
        }
    }

    /// Returns whether Windows ends the program after it, whatever the program does.
    pub fn is_final(self) -> bool {
        matches!(self, Self::Close | Self::Logoff | Self::Shutdown)
    }
}

impl fmt::Display for Event {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::CtrlC => "Ctrl-C",
            Self::CtrlBreak => "Ctrl-Break",
            Self::Close => "console closed",
            Self::Logoff => "logoff",
            Self::Shutdown => "system shutdown",
        })
    }
}

/// What becomes of an event.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reply {
    /// The program takes care of it, and no other handler is asked.
    ///
    /// If the event [is final](Event::is_final), the program is to end itself, and until then
    /// Windows is kept waiting.
    Taken,
    /// The handler that was registered before is asked, and in the end Windows does what it does
    /// without one: it ends the process.
    Passed,
}

type Handler = dyn Fn(Event) -> Reply + Send + Sync;

/// Set once; `None` again only if it could not be registered.
static HANDLER: Mutex<Option<Arc<Handler>>> = Mutex::new(None);

fn handler() -> MutexGuard<'static, Option<Arc<Handler>>> {
    HANDLER.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Has `handler` called for each event, from now until the process ends.
///
/// It runs on a thread that Windows starts for the event, so it may do whatever a thread may. But
/// the next event waits for it, and so does a thread that registers a handler meanwhile. One that panics
/// has passed.
///
/// # Errors
///
/// [`AlreadyExists`](io::ErrorKind::AlreadyExists) the second time: there can be one in a process.
/// Other errors are Windows' own. None leaves anything registered, or changes what is.
pub fn handle(handler: impl Fn(Event) -> Reply + Send + Sync + 'static) -> io::Result<()> {
    {
        let mut set = self::handler();
        if set.is_some() {
            return Err(io::ErrorKind::AlreadyExists.into());
        }
        *set = Some(Arc::new(handler));
    }
    // Not under our lock: Windows takes one of its own, under which it also calls handlers.
    //
    // SAFETY: `routine` has the signature that is asked for, and as a function of this program it
    // is there as long as the process. It may be called at any time on any thread: what it reads is
    // behind a mutex, and what it calls is `Send` and `Sync`. No panic leaves it.
    if unsafe { SetConsoleCtrlHandler(Some(routine), TRUE) } == FALSE {
        let error = io::Error::last_os_error();
        *self::handler() = None;
        return Err(error);
    }
    Ok(())
}

/// Windows calls it, on a thread of its own.
extern "system" fn routine(kind: u32) -> BOOL {
    let reply = Event::from_raw(kind)
        .zip(handler().clone())
        .map(|(event, handler)| {
            let reply = catch_unwind(AssertUnwindSafe(|| handler(event)));
            (event, reply.unwrap_or(Reply::Passed))
        });
    match reply {
        // Returning would end the process.
        Some((event, Reply::Taken)) if event.is_final() => loop {
            thread::park();
        },
        Some((_, Reply::Taken)) => TRUE,
        Some((_, Reply::Passed)) | None => FALSE,
    }
}

/// Ends the process at once: no destructors, no flushing, no exit routines of DLLs.
///
/// `std::process::exit` flushes standard output before, which can block; and the exit routines can
/// wait for a lock that a thread held when it was ended.
pub fn exit(code: i32) -> ! {
    // SAFETY: it takes nothing, and returns a constant.
    let this_process = unsafe { GetCurrentProcess() };
    // SAFETY: the handle always stands for the process that uses it, with every right, and is never
    // closed. No other code of the process runs afterwards, so nothing can be left in a bad state
    // for it.
    unsafe { TerminateProcess(this_process, code as u32) };
    // A process may always end itself, so this is not reached.
    std::process::abort()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_those_of_windows() {
        let known = [
            (0, Event::CtrlC, false),
            (1, Event::CtrlBreak, false),
            (2, Event::Close, true),
            (5, Event::Logoff, true),
            (6, Event::Shutdown, true),
        ];
        for kind in 0..=100 {
            let event = Event::from_raw(kind);
            let expected = known.iter().find(|(number, ..)| *number == kind);
            assert_eq!(event, expected.map(|(_, event, _)| *event));
            assert_eq!(event.map(Event::is_final), expected.map(|(.., last)| *last));
        }
    }
}
