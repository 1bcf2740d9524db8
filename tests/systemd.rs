//! What systemd is sent at its notification socket.
//!
//! A test starts this program again, in a role: see `support/child.rs`. A role stands above the tests
//! that start it.

mod support;

use std::process::ExitCode;

#[cfg(not(unix))]
fn main() -> ExitCode {
    support::child::skip("systemd is sent a datagram at a Unix socket")
}

#[cfg(unix)]
fn main() -> ExitCode {
    support::child::main(cases::ROLES, cases::tests)
}

#[cfg(unix)]
mod cases {
    use std::error::Error;
    use std::fmt;
    use std::io::Write;
    use std::os::unix::net::UnixDatagram;
    #[cfg(target_os = "linux")]
    use std::os::unix::process::ExitStatusExt;
    use std::path::PathBuf;
    use std::process::{ChildStdin, Command, Stdio};
    use std::thread;
    use std::time::{Duration, Instant};

    use libtest_mimic::Trial;
    use nix::sys::signal::Signal::SIGTERM;
    use tempfile::TempDir;
    use winddown::{Guard, Shutdown};

    use crate::support::child::{Role, command, roles, trials};
    use crate::support::program::Program;
    use crate::support::{Call, HOUR, PATIENCE, park, poll};

    pub(crate) const ROLES: &[Role] = &roles![
        three_guards,
        waker_hangs,
        waits_in_a_thread,
        fails_with_an_error_that_panics,
        two_phases,
        late_phase,
        late_failure,
        #[cfg(target_os = "linux")]
        lame_duck_dropped,
    ];

    pub(crate) fn tests() -> Vec<Trial> {
        trials![
            systemd_is_notified_in_order,
            g12_systemd_is_notified_and_the_deadline_ends_the_process,
            systemd_is_told_the_phases_at_work,
            systemd_is_told_of_a_phase_that_is_asked_later,
            systemd_is_told_the_failure_that_becomes_the_cause,
            g1_systemd_that_reads_nothing_delays_no_waker,
            g5_error_that_panics_when_it_is_displayed_delays_no_waker,
            #[cfg(target_os = "linux")]
            g7_systemd_without_handles_dies_of_the_signal,
        ]
    }

    /// The socket of a service manager.
    struct Messages {
        socket: UnixDatagram,
        folder: TempDir,
    }

    impl Messages {
        fn new() -> Self {
            let folder = tempfile::tempdir().unwrap();
            let socket = UnixDatagram::bind(folder.path().join("notify")).unwrap();
            socket.set_read_timeout(Some(PATIENCE)).unwrap();
            Self { socket, folder }
        }

        fn path(&self) -> PathBuf {
            self.folder.path().join("notify")
        }

        fn go_to(&self, command: &mut Command) {
            command.env("NOTIFY_SOCKET", self.path());
        }

        fn next(&self) -> String {
            // As much as systemd reads.
            let mut buffer = [0; 4096];
            let length = self.socket.recv(&mut buffer).unwrap();
            String::from_utf8_lossy(&buffer[..length]).into_owned()
        }
    }

    /// Starts a role whose messages go to the socket.
    fn start(role: &str) -> (Messages, Program) {
        let messages = Messages::new();
        let mut command = command(role);
        messages.go_to(&mut command);
        (messages, Program::start(&mut command))
    }

    /// Starts a role that reads lines, and waits until it is ready.
    fn start_with_stdin(role: &str) -> (Messages, Program, ChildStdin) {
        let messages = Messages::new();
        let mut command = command(role);
        messages.go_to(command.stdin(Stdio::piped()));
        let mut child = Program::start_with_stdin(&mut command);
        let stdin = child.stdin();
        child.line("ready");
        (messages, child, stdin)
    }

    /// Drops a guard for each line of input, once it is signalled; the last one first.
    fn drop_by_line(shutdown: &Shutdown, mut guards: Vec<Option<Guard>>) {
        println!("ready");
        shutdown.waiter().wait_blocking();
        for line in std::io::stdin().lines() {
            line.unwrap();
            guards.pop();
        }
        drop(guards);
        shutdown.drain_blocking(HOUR).unwrap();
    }

    fn three_guards() {
        let shutdown = Shutdown::install().unwrap();
        let guards = (0..3).map(|_| shutdown.guard()).collect();
        drop_by_line(&shutdown, guards);
    }

    /// Signals a role that drops guards by lines. After its first message, sends it a line for each status
    /// that systemd is to be sent.
    fn is_notified(role: &str, first: &str, then: &[&str]) {
        let (messages, mut child, mut stdin) = start_with_stdin(role);
        let begun = Instant::now();
        child.send(SIGTERM);
        let status = |left| format!("STATUS=stopping: SIGTERM; {left}\n");
        let stopping = messages.next();
        if stopping != format!("STOPPING=1\n{}", status(first)) {
            // No phase was asked yet. It looks again after a second.
            let (left, _) = first.split_once(';').unwrap();
            assert_eq!(stopping, format!("STOPPING=1\n{}", status(left)));
            assert_eq!(messages.next(), status(first));
        }
        for (seconds, left) in (1..).zip(then) {
            stdin.write_all(b"\n").unwrap();
            let expected = format!("EXTEND_TIMEOUT_USEC=15000000\n{}", status(left));
            assert_eq!(messages.next(), expected);
            // Once a second at most.
            assert!(begun.elapsed() >= Duration::from_secs(seconds));
        }
        drop(stdin);
        assert_eq!(child.code(), 0);
    }

    fn systemd_is_notified_in_order() {
        let then = ["2 in flight", "1 in flight"];
        is_notified("three_guards", "3 in flight", &then);
    }

    fn two_phases() {
        let shutdown = Shutdown::install().unwrap();
        let workers = shutdown.phase("workers").build();
        let mail = shutdown.phase("mail\nSTOPPING=0").build();
        let storage = shutdown.phase("storage").after(&workers).after(&mail);
        let storage = storage.build();
        let guards = [&storage, &mail, &workers].map(Shutdown::guard);
        drop_by_line(&shutdown, guards.into());
    }

    fn systemd_is_told_the_phases_at_work() {
        let first = "3 in flight; in workers, mail STOPPING=0";
        let then = ["2 in flight; in mail STOPPING=0", "1 in flight; in storage"];
        is_notified("two_phases", first, &then);
    }

    fn late_phase() {
        let shutdown = Shutdown::install().unwrap();
        let mail = shutdown
            .phase("mail")
            .delay(Duration::from_millis(300))
            .build();
        drop_by_line(&shutdown, vec![mail.guard()]);
    }

    fn systemd_is_told_of_a_phase_that_is_asked_later() {
        is_notified("late_phase", "1 in flight; in mail", &[]);
    }

    fn late_failure() {
        let shutdown = Shutdown::install().unwrap();
        let _guard = shutdown.guard();
        println!("ready");
        shutdown.waiter().wait_blocking();
        // Once systemd was told of the signal.
        std::io::stdin().lines().next().unwrap().unwrap();
        shutdown.fail("disk full");
        park();
    }

    fn systemd_is_told_the_failure_that_becomes_the_cause() {
        let (messages, child, mut stdin) = start_with_stdin("late_failure");
        child.send(SIGTERM);
        let status = |cause| format!("STATUS=stopping: {cause}; 1 in flight\n");
        assert_eq!(
            messages.next(),
            "STOPPING=1\n".to_owned() + &status("SIGTERM")
        );
        stdin.write_all(b"\n").unwrap();
        assert_eq!(messages.next(), status("failed: disk full"));
    }

    fn waker_hangs() {
        let builder = Shutdown::builder().grace_period(Duration::from_millis(100));
        let shutdown = builder.force_at_deadline().install().unwrap();
        let mut waiter = shutdown.waiter();
        let waker = Call::waker(|| park());
        assert!(poll(&mut waiter, &waker).is_pending());
        println!("ready");
        park();
    }

    /// The thread that tells systemd calls the wakers too. It tells systemd first.
    fn g12_systemd_is_notified_and_the_deadline_ends_the_process() {
        let (messages, mut child) = start("waker_hangs");
        child.line("ready");
        child.send(SIGTERM);
        assert_eq!(
            messages.next(),
            "STOPPING=1\nSTATUS=stopping: SIGTERM; 0 in flight\n"
        );
        assert_eq!(child.code(), 1);
    }

    /// Its wakers are called by the thread that tells systemd.
    fn waits_in_a_thread() {
        let builder = Shutdown::builder().grace_period(HOUR);
        let shutdown = builder.force_at_deadline().install().unwrap();
        println!("ready");
        shutdown.waiter().wait_blocking();
    }

    /// Mutation: `Follower::notify` does not set the socket to non-blocking.
    fn g1_systemd_that_reads_nothing_delays_no_waker() {
        let (messages, mut child) = start("waits_in_a_thread");
        child.line("ready");
        let filler = UnixDatagram::unbound().unwrap();
        filler.set_nonblocking(true).unwrap();
        while filler.send_to(b"STATUS=", messages.path()).is_ok() {}
        child.send(SIGTERM);
        assert_eq!(child.code(), 0);
    }

    #[derive(Debug)]
    struct Odd;

    impl fmt::Display for Odd {
        fn fmt(&self, _: &mut fmt::Formatter<'_>) -> fmt::Result {
            panic!("an error's own fault")
        }
    }

    impl Error for Odd {}

    fn fails_with_an_error_that_panics() {
        let shutdown = Shutdown::install().unwrap();
        let waiter = shutdown.waiter();
        let waits = thread::spawn(move || waiter.wait_blocking());
        shutdown.fail(Odd);
        waits.join().unwrap();
        println!("woken");
        park();
    }

    /// Mutation: `follow` asks the error for its text.
    fn g5_error_that_panics_when_it_is_displayed_delays_no_waker() {
        let (messages, child) = start("fails_with_an_error_that_panics");
        child.line("woken");
        let told = "STOPPING=1\nSTATUS=stopping: ; 0 in flight\n";
        assert_eq!(messages.next(), told);
    }

    #[cfg(target_os = "linux")]
    fn lame_duck_dropped() {
        let reason = "no\nthing\0".to_owned() + &"🦀".repeat(5000);
        crate::support::program::abandon_lame_duck(&reason);
        println!("ready");
        park();
    }

    #[cfg(target_os = "linux")]
    fn g7_systemd_without_handles_dies_of_the_signal() {
        let (messages, mut child) = start("lame_duck_dropped");
        child.line("ready");
        let message = messages.next();
        let start = "STOPPING=1\nSTATUS=stopping: no thing 🦀🦀";
        assert!(message.starts_with(start), "{message}");
        assert!(message.ends_with("🦀🦀; 0 in flight\n"), "{message}");
        child.send(SIGTERM);
        assert_eq!(child.wait().signal(), Some(SIGTERM as i32));
    }
}
