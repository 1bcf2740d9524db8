//! How long the queue of a listener has at the limit of connections.
mod support;

use std::time::{Duration, Instant};

use support::{RUNTIMES, Running, Settings, app, counted, until};
use winddown::Shutdown;

/// Half of the grace period. The other half is for what was accepted.
///
/// Mutation: `give_up` waits for the pause and the client's time whatever is left.
#[test]
fn queue_at_the_limit_has_half_of_the_grace_period() {
    for runtime in RUNTIMES {
        let grace = Duration::from_secs(2);
        let shutdown = Shutdown::builder().grace_period(grace).build();
        let settings = Settings {
            client_timeout: Duration::from_secs(20),
            max_connections: 1,
            ..Settings::default()
        };
        let (app, begun) = counted(app());
        let server = Running::start(runtime, &shutdown, settings, app);
        let mut first = server.connect();
        first.request("/sleep/60000").unwrap();
        until("it is in flight", || {
            begun.load(std::sync::atomic::Ordering::Relaxed) == 1
        });
        let mut second = server.connect();
        second.request("/").unwrap();
        let stopped = Instant::now();
        shutdown.request_shutdown();
        // The one more than there is room for.
        assert_eq!(second.answer().unwrap().status(), 200, "{runtime:?}");
        let given_up = stopped.elapsed();
        assert!(
            grace / 2 <= given_up && given_up < grace,
            "{runtime:?}, {given_up:?}"
        );
        let error = server.join().unwrap_err();
        assert!(
            error.listener.is_some() && error.drain.is_some(),
            "{runtime:?}"
        );
        assert!(stopped.elapsed() < 2 * grace, "{runtime:?}");
    }
}

/// The connections that are open make room once they are told, after the pause.
///
/// Mutation: `patience` is the client's time alone.
#[test]
fn queue_at_the_limit_has_the_pause_too() {
    for runtime in RUNTIMES {
        let settings = Settings {
            pause: Duration::from_millis(1500),
            client_timeout: Duration::from_millis(1200),
            max_connections: 1,
            ..Settings::default()
        };
        let shutdown = Shutdown::new();
        let server = Running::start(runtime, &shutdown, settings, app());
        let mut first = server.connect();
        first.get("/").unwrap();
        let mut second = server.connect();
        second.request("/").unwrap();
        shutdown.request_shutdown();
        assert_eq!(second.answer().unwrap().status(), 200, "{runtime:?}");
        server.join().unwrap();
    }
}
