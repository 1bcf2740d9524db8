//! [`Common`]: what all connections of a server have in common; [`Times`]: how long each may take.

use std::sync::OnceLock;
use std::time::{Duration, Instant};

use hyper::rt::Timer;
use winddown::Waiter;

use crate::timer::SharedTimer;

/// The times of a connection.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Times {
    pub(crate) pause: Duration,
    pub(crate) client: Duration,
    pub(crate) idle: Duration,
    /// Until when a client may be reading an answer, at a stop with a grace period.
    pub(crate) latest: Option<Instant>,
}

impl Times {
    /// Returns times that fit into what is left of a grace period, or clients that do nothing would outlast
    /// it. There may be two pauses, of the server and of a connection that was silent for a moment only, and
    /// then the time of a client. A client of HTTP/2 that sends something, but no PONG, has more.
    fn within(self, left: Duration, now: Instant) -> Self {
        let pause = self.pause.min(left / 4);
        Self {
            pause,
            client: self.client.min((left - 2 * pause) / 2),
            latest: now.checked_add(left / 8 * 7),
            ..self
        }
    }
}

/// What all connections of a server have in common.
pub(crate) struct Common {
    /// Tells a connection of HTTP/2 that has had a request to finish: when the server stops accepting.
    pub(crate) early: Waiter,
    /// Tells that answers are to say `connection: close`, and then that every other connection is to finish,
    /// and a request body to be finished: a pause later.
    pub(crate) stop: Waiter,
    pub(crate) timer: SharedTimer,
    /// Those of a server that does not stop.
    pub(crate) times: Times,
    at_stop: OnceLock<Times>,
}

impl Common {
    pub(crate) fn new(early: Waiter, stop: Waiter, timer: SharedTimer, times: Times) -> Self {
        Self {
            early,
            stop,
            timer,
            times,
            at_stop: OnceLock::new(),
        }
    }

    /// Returns the times of a server that stops. Called from then on.
    pub(crate) fn times_at_stop(&self) -> Times {
        *self.at_stop.get_or_init(|| {
            let left = self.stop.remaining().unwrap_or(Duration::MAX);
            self.times.within(left, self.timer.now())
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_of_a_stop_fit_into_its_grace_period() {
        let times = Times {
            pause: Duration::from_millis(500),
            client: Duration::from_secs(5),
            idle: Duration::from_secs(75),
            latest: None,
        };
        let now = Instant::now();
        for (left, expected) in [
            (0, [0, 0, 0]),
            (1000, [250, 250, 875]),
            (3200, [500, 1100, 2800]),
            (10_000, [500, 4500, 8750]),
            (11_200, [500, 5000, 9800]),
            (30_000, [500, 5000, 26_250]),
        ] {
            let within = times.within(Duration::from_millis(left), now);
            let latest = within.latest.unwrap() - now;
            let times = [within.pause, within.client, latest].map(|time| time.as_millis());
            assert_eq!(times, expected, "{left}");
            assert_eq!(within.idle, Duration::from_secs(75));
        }
        assert_eq!(times.within(Duration::MAX, now).latest, None);
    }
}
