//! Messages for systemd, from a thread of their own.

use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use sd_notify::NotifyState;

use crate::state::State;

/// How much longer systemd is to wait after each sign of progress.
const EXTENSION: Duration = Duration::from_secs(15);
/// How long one sign of progress is enough.
const PAUSE: Duration = Duration::from_secs(1);

/// Tells systemd that the service is stopping and why, and asks for more time as guards are dropped.
///
/// Nothing is sent if systemd did not start the program. What can't be sent is lost: the shutdown
/// does not wait for systemd.
pub(crate) fn follow(state: &Arc<State>) {
    if std::env::var_os("NOTIFY_SOCKET").is_none() {
        return;
    }
    let state = state.clone();
    let follow = move || {
        let Some(cause) = state.cause() else { return };
        let mut left = state.in_flight();
        let status = format!("stopping: {cause}; {left} in flight");
        let _ = sd_notify::notify(&[NotifyState::Stopping, NotifyState::Status(&status)]);
        while let Some(fewer) = fewer_than(&state, left) {
            left = fewer;
            let status = format!("stopping: {cause}; {left} in flight");
            let _ = sd_notify::notify(&[
                NotifyState::ExtendTimeoutUsec(EXTENSION.as_micros() as u32),
                NotifyState::Status(&status),
            ]);
            if left == 0 {
                break;
            }
            thread::sleep(PAUSE);
        }
    };
    let name = "winddown-systemd".into();
    // Without the thread the service is stopped as one that knows nothing of systemd.
    let _ = thread::Builder::new().name(name).spawn(follow);
}

/// Waits until fewer guards are held, and says how many; `None` when it is over.
fn fewer_than(state: &State, count: usize) -> Option<usize> {
    state
        .block(None::<Instant>, || match state.watch_count() {
            _ if state.is_over() => Some(None),
            now if now < count => Some(Some(now)),
            _ => None,
        })
        .flatten()
}
