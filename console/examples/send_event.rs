//! Sends a console event to a process as Windows does, and ends the process as Windows does.
//!
//! `send_event PID ctrl-c|ctrl-break|close|logoff|shutdown [SECONDS]`
//!
//! Windows has calls to send Ctrl-C and Ctrl-Break to a group of processes, and none for the rest. So
//! this does what it does itself: it starts a thread in the process at `CtrlRoutine`, which calls the
//! handlers. That is where every event arrives, but it is not documented; it is a tool for tests.
//!
//! After one of the last three events, Windows ends a process whose handlers have returned, or have
//! not after some time; so does this, and says so.

#[cfg(windows)]
fn main() -> std::io::Result<()> {
    windows::main()
}

#[cfg(not(windows))]
fn main() {}

#[cfg(windows)]
mod windows {
    use std::ffi::c_void;
    use std::io::{Error, Result};
    use std::mem;
    use std::os::windows::io::{AsRawHandle, FromRawHandle, OwnedHandle};
    use std::ptr;

    use windows_sys::Win32::Foundation::{FALSE, HANDLE, WAIT_FAILED, WAIT_OBJECT_0, WAIT_TIMEOUT};
    use windows_sys::Win32::System::LibraryLoader::{GetModuleHandleA, GetProcAddress};
    use windows_sys::Win32::System::Threading::{
        CreateRemoteThread, OpenProcess, PROCESS_ALL_ACCESS, TerminateProcess,
        WaitForMultipleObjects,
    };
    use windows_sys::s;

    /// What ends a process that does not handle Ctrl-C, and one that did not end in time.
    const STATUS_CONTROL_C_EXIT: u32 = 0xC000_013A;

    pub(crate) fn main() -> Result<()> {
        let args: Vec<_> = std::env::args().skip(1).collect();
        let usage = || Error::other("usage: PID EVENT [SECONDS]");
        let [pid, event, rest @ ..] = &*args else {
            return Err(usage());
        };
        let pid = pid.parse().map_err(Error::other)?;
        let seconds = match rest {
            [] => 5,
            [seconds] => seconds.parse().map_err(Error::other)?,
            _ => return Err(usage()),
        };
        let (event, is_final) = match event.as_str() {
            "ctrl-c" => (0_usize, false),
            "ctrl-break" => (1, false),
            "close" => (2, true),
            "logoff" => (5, true),
            "shutdown" => (6, true),
            _ => return Err(usage()),
        };

        // SAFETY: numbers go in, and a handle or null comes out.
        let process = owned(unsafe { OpenProcess(PROCESS_ALL_ACCESS, FALSE, pid) })?;
        let thread = start(&process, event)?;
        let timeout = seconds * 1000;
        if !is_final {
            // One event at a time, as from a keyboard.
            wait(&[&thread, &process], timeout)?;
            return Ok(());
        }
        // A process that ends itself ends its threads first, hence the moment.
        let (ended, why) = match wait(&[&process, &thread], timeout)? {
            Some(1) => (wait(&[&process], 200)?, "had returned"),
            ended => (ended, "did not return in time"),
        };
        if ended.is_none() {
            // SAFETY: the handle is open, and has the right to it.
            unsafe { TerminateProcess(process.as_raw_handle(), STATUS_CONTROL_C_EXIT) };
            println!("ended the process, whose handlers {why}");
        }
        Ok(())
    }

    fn owned(handle: HANDLE) -> Result<OwnedHandle> {
        if handle.is_null() {
            return Err(Error::last_os_error());
        }
        // SAFETY: every call that we take a handle from gives us a new one, which is ours to close.
        Ok(unsafe { OwnedHandle::from_raw_handle(handle) })
    }

    fn start(process: &OwnedHandle, event: usize) -> Result<OwnedHandle> {
        // SAFETY: the name ends with a null. The library is loaded in every process and stays.
        let library = unsafe { GetModuleHandleA(s!("kernelbase.dll")) };
        // SAFETY: the name ends with a null, and the library was found or the call fails.
        let routine = unsafe { GetProcAddress(library, s!("CtrlRoutine")) };
        let Some(routine) = routine else {
            return Err(Error::last_os_error());
        };
        // SAFETY: all functions have the same size, and this one has the signature of a thread's.
        let routine = unsafe {
            mem::transmute::<
                unsafe extern "system" fn() -> isize,
                unsafe extern "system" fn(*mut c_void) -> u32,
            >(routine)
        };
        // SAFETY: the address is that of a function there too, because kernelbase is at the same
        // place in every process. It takes a number for its argument, not a pointer. The other
        // pointers may be null.
        owned(unsafe {
            CreateRemoteThread(
                process.as_raw_handle(),
                ptr::null(),
                0,
                Some(routine),
                ptr::without_provenance(event),
                0,
                ptr::null_mut(),
            )
        })
    }

    /// Which of them has ended first, or none in time.
    fn wait<const N: usize>(all: &[&OwnedHandle; N], timeout: u32) -> Result<Option<u32>> {
        let handles = all.map(|handle| handle.as_raw_handle());
        let count = u32::try_from(N).expect("they are few");
        // SAFETY: there are so many handles at that address, and they are open.
        match unsafe { WaitForMultipleObjects(count, handles.as_ptr(), FALSE, timeout) } {
            WAIT_TIMEOUT => Ok(None),
            WAIT_FAILED => Err(Error::last_os_error()),
            ended => Ok(Some(ended - WAIT_OBJECT_0)),
        }
    }
}
