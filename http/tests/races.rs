//! Stops under load: how many requests are lost between the client, the kernel and the server.

mod support;

use std::thread;
use std::time::Duration;

use winddown::Shutdown;

use support::load::{Count, Load};
use support::{RUNTIMES, Running, Settings, app};

const STOPS: usize = 20;

fn stops(keep_alive: bool) {
    for runtime in RUNTIMES {
        let mut total = Count::default();
        let mut losing = 0;
        for _ in 0..STOPS {
            let server = Running::start(runtime, &Shutdown::new(), Settings::default(), app());
            let load = Load::start(server.address, keep_alive);
            thread::sleep(Duration::from_millis(fastrand::u64(50..150)));
            server.shutdown.request_shutdown();
            server.join().unwrap();
            let count = load.join();
            losing += usize::from(count.lost > 0);
            total += count;
        }
        println!("keep-alive {keep_alive}, {runtime:?}, {STOPS} stops: {total:?}");
        assert!(total.answered > STOPS * 24);
        assert_eq!(total.lost_kept, 0);
        // Where the kernel can't be told to refuse, a handshake may end between the last look and the close.
        let allowed = if cfg!(target_os = "linux") { 0 } else { 3 };
        assert!(
            losing <= allowed,
            "{losing} of {STOPS} stops lost connections"
        );
    }
}

#[test]
fn new_connections() {
    stops(false);
}

#[test]
fn kept_connections() {
    stops(true);
}
