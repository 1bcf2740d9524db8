//! The accept loop.

use std::io::{self, ErrorKind};
use std::pin::Pin;
use std::time::Duration;

use futures_lite::{FutureExt, Stream, StreamExt};
use hyper::rt::Timer;
use winddown::{ShutdownExt, Waiter};

use crate::connection::SETTLE;
use crate::slots::Slots;
use crate::timer::SharedTimer;

/// How long the loop waits after an error that the next attempt would meet again, unless a connection
/// ends before.
const RETRY: Duration = Duration::from_millis(100);

/// How many errors in a row, each of one connection, may be met without a pause.
const ERRORS: u32 = 16;

/// Accepts connections until the shutdown, and then those that the kernel has accepted already. They have
/// `patience` to find room.
///
/// Dropping the listener is the last that it does.
///
/// # Errors
///
/// That of a listener that can't go on.
pub(crate) async fn accept<St, I>(
    mut incoming: Pin<Box<St>>,
    mut stop: Waiter,
    slots: &Slots,
    timer: &SharedTimer,
    patience: Duration,
    mut spawn: impl FnMut(I),
) -> io::Result<()>
where
    St: Stream<Item = io::Result<I>>,
{
    let mut accept = Accept {
        slots,
        timer,
        errors: 0,
    };
    if accept.until(&mut stop, &mut incoming, &mut spawn).await? == Ended::Incoming {
        return Ok(());
    }
    // The runtime may not know yet what the kernel has. Its timer fires when it has asked.
    let settled = timer.sleep(SETTLE);
    if accept.until(settled, &mut incoming, &mut spawn).await? == Ended::Incoming {
        return Ok(());
    }
    let queue = incoming.finish_on_shutdown(stop);
    let patience = timer.sleep(patience);
    accept.until(patience, Box::pin(queue), &mut spawn).await?;
    Ok(())
}

/// What ended a part of the loop.
#[derive(PartialEq, Eq)]
enum Ended {
    Incoming,
    Until,
}

struct Accept<'a> {
    slots: &'a Slots,
    timer: &'a SharedTimer,
    /// The errors in a row.
    errors: u32,
}

impl Accept<'_> {
    async fn until<I>(
        &mut self,
        until: impl Future + Unpin,
        mut incoming: impl Stream<Item = io::Result<I>> + Unpin,
        spawn: &mut impl FnMut(I),
    ) -> io::Result<Ended> {
        let mut until = until;
        loop {
            let next = async {
                self.slots.room().await;
                Some(incoming.next().await)
            };
            let ended = async {
                (&mut until).await;
                None
            };
            let error = match ended.or(next).await {
                None => return Ok(Ended::Until),
                Some(None) => return Ok(Ended::Incoming),
                Some(Some(Ok(io))) => {
                    self.errors = 0;
                    spawn(io);
                    continue;
                }
                Some(Some(Err(error))) => error,
            };
            self.errors += 1;
            match kind(&error) {
                Kind::Listener => return Err(error),
                Kind::Connection if self.errors < ERRORS => {}
                Kind::Connection | Kind::Shortage => {
                    let ended = async {
                        (&mut until).await;
                        true
                    };
                    let retry = async {
                        self.slots.next_end().or(self.timer.sleep(RETRY)).await;
                        false
                    };
                    if ended.or(retry).await {
                        return Ok(Ended::Until);
                    }
                }
            }
        }
    }
}

/// What an error of `accept` is about.
#[derive(Debug, PartialEq, Eq)]
enum Kind {
    /// The connection that was to be accepted. The next one may be well.
    Connection,
    /// Descriptors, or memory. It passes.
    Shortage,
    /// The listener itself.
    Listener,
}

fn kind(error: &io::Error) -> Kind {
    match error.kind() {
        ErrorKind::ConnectionAborted
        | ErrorKind::ConnectionReset
        | ErrorKind::ConnectionRefused
        | ErrorKind::Interrupted
        | ErrorKind::TimedOut => Kind::Connection,
        ErrorKind::InvalidInput | ErrorKind::Unsupported => Kind::Listener,
        _ => match error.raw_os_error() {
            // EBADF
            Some(9) if cfg!(unix) => Kind::Listener,
            Some(_) => Kind::Shortage,
            // A stream's own error, such as that of a handshake.
            None => Kind::Connection,
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[cfg(target_os = "linux")]
    #[test]
    fn error_kinds() {
        let of = |code| kind(&io::Error::from_raw_os_error(code));
        // ECONNABORTED, ECONNRESET, ETIMEDOUT
        assert!(
            [103, 104, 110]
                .map(of)
                .iter()
                .all(|kind| *kind == Kind::Connection)
        );
        // ENFILE, EMFILE, ENOBUFS, ENOMEM
        assert!(
            [23, 24, 105, 12]
                .map(of)
                .iter()
                .all(|kind| *kind == Kind::Shortage)
        );
        // EBADF, EINVAL, EOPNOTSUPP
        assert!(
            [9, 22, 95]
                .map(of)
                .iter()
                .all(|kind| *kind == Kind::Listener)
        );
        assert_eq!(kind(&io::Error::other("handshake")), Kind::Connection);
    }
}
