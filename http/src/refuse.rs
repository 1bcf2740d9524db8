//! A listener that refuses, before it closes.

use std::io;
#[cfg(any(target_os = "android", target_os = "linux"))]
use std::num::NonZeroU32;
#[cfg(unix)]
pub(crate) use std::os::fd::AsFd as AsSocket;
#[cfg(windows)]
pub(crate) use std::os::windows::io::AsSocket;

#[cfg(any(target_os = "android", target_os = "linux"))]
use socket2::Domain;
use socket2::{SockRef, Socket};
use winddown::{Callback, Shutdown};

/// Has the kernel refuse new connections, while those that it has accepted stay in the queue of the
/// listener, and those whose handshake has begun still come into it.
///
/// So a server that takes what is in the queue, and then closes the listener, loses no connection at that
/// moment. [`refuse_on_shutdown`] calls it at the right one.
///
/// ```
/// use std::net::TcpListener;
/// use winddown_http::refuse_new;
///
/// let listener = TcpListener::bind("127.0.0.1:0")?;
/// // If it fails, the stop goes on all the same.
/// let _ = refuse_new(&listener);
/// # Ok::<(), std::io::Error>(())
/// ```
///
/// **Only for a listener that this process alone has.** It can't be taken back, and holds for every process
/// that shares the socket: a service manager that keeps it for the next start, or a parent that has
/// forked. These lose nothing anyway, as the queue goes on to the next process.
///
/// Nor for some of several sockets that share a port by `SO_REUSEPORT`: the kernel still chooses one of
/// them, and then ignores the connection. Until the socket closes, those clients wait, and try again after
/// a second. A process that has all of them, as one for each thread, refuses on each. To hand a port over to
/// another process, share one listener; or close the socket with `net.ipv4.tcp_migrate_req = 1` (Linux 5.14),
/// which moves its queue to the others.
///
/// A thread that blocks in `accept` can't be woken by a connection to itself any more, because that is
/// refused too: take connections from a listener that does not block, and ask between them.
///
/// A handshake that the kernel has answered with a SYN cookie, as it does when its list of handshakes is
/// full, is reset.
///
/// It binds the socket to a network interface that does not exist.
///
/// # Errors
///
/// That of the system. Linux needs to be 5.1 or newer; before 5.7, or if the listener is bound to an
/// interface, also by an earlier call, the process needs the capability `CAP_NET_RAW`. What is not a listener
/// for TCP is [`InvalidInput`](io::ErrorKind::InvalidInput). A listener on a Unix socket can only be shut down
/// for reading: epoll then says for good that it is readable, and the `accept` of tokio never returns. Use
/// [`TokioIncoming`](crate::TokioIncoming) or [`SmolIncoming`](crate::SmolIncoming), which end then. Elsewhere
/// than on Linux there is no such option, and the error is [`Unsupported`](io::ErrorKind::Unsupported).
///
/// # Blocking
///
/// It does not block.
pub fn refuse_new(listener: &impl AsSocket) -> io::Result<()> {
    let socket = SockRef::from(listener);
    check(&socket)?;
    refuse(&socket)?;
    Ok(())
}

/// Returns an error for what is no listener of which `refuse_new` may have connections refused.
fn check(socket: &Socket) -> io::Result<()> {
    #[cfg(any(target_os = "android", target_os = "linux"))]
    if !socket.is_listener()? || socket.domain()? == Domain::UNIX {
        let message =
            "only a listener for TCP can refuse connections, or the stream of a Unix listener";
        return Err(io::Error::new(io::ErrorKind::InvalidInput, message));
    }
    let _ = socket;
    Ok(())
}

/// Returns whether no connection comes into the queue any more, also of a handshake that has begun.
fn refuse(socket: &Socket) -> io::Result<bool> {
    #[cfg(any(target_os = "android", target_os = "linux"))]
    {
        // The largest that the kernel takes. It numbers interfaces from 1.
        const NOWHERE: Option<NonZeroU32> = NonZeroU32::new(i32::MAX as u32);
        if socket.domain()? == Domain::UNIX {
            socket.shutdown(std::net::Shutdown::Read)?;
            return Ok(true);
        }
        // This is `SO_BINDTOIFINDEX`, which is for both versions of IP.
        socket.bind_device_by_index_v4(NOWHERE)?;
        Ok(false)
    }
    #[cfg(not(any(target_os = "android", target_os = "linux")))]
    {
        let _ = socket;
        Err(io::ErrorKind::Unsupported.into())
    }
}

/// Calls [`refuse_new`] at the shutdown, when the [`lame_duck`](winddown::Builder::lame_duck) is over, on the
/// thread that calls the wakers. Whatever that returns, the stop goes on.
///
/// The shutdown is the one that ends the accept loop: for a server in a phase, that phase. A listener that
/// ends by [`finish_on_shutdown`](winddown::ShutdownExt::finish_on_shutdown), with a waiter of the same, waits
/// for the call.
///
/// **Only for a listener that this process alone has**, as `refuse_new` says.
///
/// [`TokioIncoming`] and [`SmolIncoming`] have a method for it. This is for other accept loops. Drop what it
/// returns no later than the listener: it holds a copy of the listener until the shutdown, and as long as
/// that lives, the port stays open, and clients wait in a queue that no code takes.
///
/// [`TokioIncoming`]: crate::TokioIncoming#method.refuse_on_shutdown
/// [`SmolIncoming`]: crate::SmolIncoming#method.refuse_on_shutdown
///
/// ```
/// use std::net::TcpListener;
/// use winddown::Shutdown;
/// use winddown_http::refuse_on_shutdown;
///
/// # let shutdown = Shutdown::new();
/// let listener = TcpListener::bind("127.0.0.1:0")?;
/// let refusing = refuse_on_shutdown(&listener, &shutdown)?;
/// # drop(refusing);
/// # Ok::<(), std::io::Error>(())
/// ```
///
/// # Errors
///
/// That of the system if there is no descriptor for the copy. On Linux, what is not a listener for TCP is
/// [`InvalidInput`](io::ErrorKind::InvalidInput), as of `refuse_new`.
pub fn refuse_on_shutdown(listener: &impl AsSocket, shutdown: &Shutdown) -> io::Result<Callback> {
    let socket = SockRef::from(listener);
    check(&socket)?;
    call_on_shutdown(&socket, shutdown)
}

fn call_on_shutdown(socket: &Socket, shutdown: &Shutdown) -> io::Result<Callback> {
    let socket = socket.try_clone()?;
    Ok(shutdown.call_on_shutdown(move || {
        let _ = refuse(&socket);
    }))
}

/// Has the listener of a stream of connections refuse at the shutdown.
#[cfg(any(feature = "smol", feature = "tokio"))]
#[derive(Debug)]
pub(crate) struct Refusal {
    stop: winddown::Waiter,
    /// Because the stream may not be polled, for want of room. `None` once the stream has refused by itself.
    callback: Option<Callback>,
    over: bool,
}

#[cfg(any(feature = "smol", feature = "tokio"))]
impl Refusal {
    pub(crate) fn new(listener: &impl AsSocket, shutdown: &Shutdown) -> io::Result<Self> {
        let callback = call_on_shutdown(&SockRef::from(listener), shutdown)?;
        Ok(Self {
            stop: shutdown.waiter(),
            callback: Some(callback),
            over: false,
        })
    }

    /// Refuses if the shutdown is stopping. Called before each look at the queue, which may be the last: the
    /// thread that makes the callback may be without a processor until then.
    pub(crate) fn before_a_look(&mut self, listener: &impl AsSocket) {
        if self.stop.is_stopping() && self.callback.take().is_some() {
            self.over = refuse(&SockRef::from(listener)).unwrap_or(false);
        }
    }

    /// Returns whether what is in the queue is all that will ever be. The runtime must not be asked for more:
    /// epoll says for good that such a listener is readable.
    #[cfg(unix)]
    pub(crate) fn is_over(&self) -> bool {
        self.over
    }
}
