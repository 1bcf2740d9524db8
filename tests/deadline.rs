//! The deadline ends the process, whatever the program does, in a real process with real time.
//!
//! A test starts this program again, in a role: see `support/child.rs`. The first argument of a role is
//! its grace period in milliseconds, and the second is the way in which the shutdown is requested. A
//! role writes `ready` to stderr when the shutdown may be requested, and `tormented` when it does what
//! must not keep the process from its end, or both at once. It stands above the tests that start it.

mod support;

use std::process::ExitCode;

#[cfg(not(unix))]
fn main() -> ExitCode {
    support::child::skip("the cases send signals, as Unix has them")
}

#[cfg(unix)]
fn main() -> ExitCode {
    support::child::main(cases::ROLES, cases::tests)
}

#[cfg(unix)]
mod cases {
    use std::env;
    use std::hint::black_box;
    use std::io::{Write, stdin, stdout};
    use std::mem::forget;
    use std::process::{Command, ExitCode, Stdio};
    use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
    use std::sync::{Arc, Barrier};
    use std::thread;
    use std::time::{Duration, Instant};

    use futures_lite::future;
    use libtest_mimic::Trial;
    use nix::sys::signal::Signal::{SIGINT, SIGTERM};
    use winddown::{Builder, ForcePolicy, Shutdown, Signal};

    use crate::support::child::{Role, command, roles, trials};
    use crate::support::program::Program;
    use crate::support::{Call, HOUR, park, poll, until};

    pub(crate) const ROLES: &[Role] = &roles![
        tokio_threads_stuck,
        tokio_thread_stuck,
        smol_stuck,
        inside_a_destructor,
        inside_exit,
        exit_after_the_request,
        tokio_dropped_after_the_drain,
        waker_hangs,
        callback_hangs,
        panic_hook_hangs,
        #[cfg(feature = "tracing")]
        subscriber_hangs,
        stdout_blocked,
        handles_dropped,
        stuck,
        lame_duck,
        abort_timeout,
        abort_timeout_and_a_waker_that_hangs,
        never_forced_by_signals,
        #[cfg(target_os = "linux")]
        without_descriptors,
        #[cfg(target_os = "linux")]
        without_threads,
        #[cfg(target_os = "linux")]
        without_end,
        done_in_time,
    ];

    pub(crate) fn tests() -> Vec<Trial> {
        trials![
            g12_with_every_tokio_thread_stuck,
            g12_with_the_thread_of_tokio_stuck,
            g12_with_smol_stuck,
            g12_with_main_inside_a_destructor,
            g12_with_main_inside_exit,
            g12_with_tokio_waiting_for_a_blocked_thread,
            g12_with_a_waker_that_hangs,
            g12_with_a_callback_that_hangs,
            g12_with_a_panic_hook_that_hangs,
            #[cfg(feature = "tracing")]
            g12_with_a_subscriber_that_hangs,
            g12_with_stdout_blocked,
            g12_with_every_handle_dropped,
            g12_with_a_grace_period_of_zero,
            g12_within_a_lame_duck,
            g12_ends_after_the_abort_timeout,
            g12_whatever_the_force_policy,
            #[cfg(target_os = "linux")]
            g12_with_signals_blocked_at_the_start,
            #[cfg(target_os = "linux")]
            g12_without_descriptors,
            #[cfg(target_os = "linux")]
            g12_without_threads,
            #[cfg(target_os = "linux")]
            endless_grace_period_sets_no_time,
            program_that_is_done_ends_with_its_own_code,
            g4_before_the_deadline,
        ]
    }

    /// The ways in which a shutdown is requested: from outside, and by a thread of the program.
    const WAYS: [&str; 5] = ["signal", "send", "request", "trigger", "fail"];

    /// How late the end of the process may be.
    const TOLERANCE: Duration = Duration::from_millis(50);

    /// Returns an argument of the role.
    fn argument(number: usize) -> String {
        env::args().nth(number).expect("a role has two arguments")
    }

    fn grace_period() -> Duration {
        Duration::from_millis(argument(1).parse().expect("milliseconds"))
    }

    fn builder() -> Builder {
        Shutdown::builder()
            .exit_code(7)
            .grace_period(grace_period())
            .force_at_deadline()
    }

    /// Installs a shutdown, which a thread requests when stdin has a line. The thread then drops its
    /// handle.
    fn install(builder: Builder) -> Shutdown {
        let shutdown = builder.install().unwrap();
        let way = argument(2);
        if way != "signal" {
            let shutdown = shutdown.clone();
            thread::spawn(move || {
                stdin().read_line(&mut String::new()).unwrap();
                assert!(match way.as_str() {
                    "send" => shutdown.send(Signal::TERM),
                    "request" => shutdown.request_shutdown(),
                    "trigger" => shutdown.trigger("enough"),
                    _ => shutdown.fail("disk full"),
                });
            });
        }
        shutdown
    }

    fn ready() {
        eprintln!("ready");
    }

    fn tormented() {
        eprintln!("tormented");
    }

    fn ready_and_tormented() {
        eprintln!("ready tormented");
    }

    fn spin() -> ! {
        loop {
            black_box(());
        }
    }

    /// Calls a function when it is dropped.
    struct OnDrop<F: FnMut()>(F);

    impl<F: FnMut()> Drop for OnDrop<F> {
        fn drop(&mut self) {
            (self.0)();
        }
    }

    /// A child process in a role, and the way in which its shutdown is to be requested.
    struct Tormented {
        program: Program,
        way: &'static str,
        /// It was tormented as soon as it was ready.
        at_once: bool,
    }

    impl Tormented {
        fn start(command: &mut Command, grace: Duration, way: &'static str) -> Self {
            command.args([&grace.as_millis().to_string(), way]);
            let program = Program::start_unread(command.stdin(Stdio::piped()));
            let at_once = program.error_line("ready") == " tormented";
            Self {
                program,
                way,
                at_once,
            }
        }

        /// Requests the shutdown, and returns a moment before that.
        fn request(&mut self) -> Instant {
            let before = Instant::now();
            match self.way {
                "signal" => self.program.send(SIGTERM),
                _ => self.program.stdin().write_all(b"now\n").unwrap(),
            }
            before
        }
    }

    /// Runs a function, and returns by how much a thread that slept meanwhile, again and again, was
    /// late at the most.
    fn with_lateness<T>(run: impl FnOnce() -> T) -> (T, Duration) {
        let ended = AtomicBool::new(false);
        thread::scope(|scope| {
            let sleeper = scope.spawn(|| {
                let nap = Duration::from_millis(1);
                let mut latest = Duration::ZERO;
                while !ended.load(Ordering::SeqCst) {
                    let begun = Instant::now();
                    thread::sleep(nap);
                    latest = latest.max(begun.elapsed() - nap);
                }
                latest
            });
            let result = run();
            ended.store(true, Ordering::SeqCst);
            (result, sleeper.join().unwrap())
        })
    }

    /// Requests the shutdown of a role in every way. Each time the process must end at so many grace
    /// periods after the request, with the exit code and within the tolerance.
    ///
    /// On a busy machine a process may not run at all for that long, or not reach its torment before
    /// its deadline. So a few more attempts follow, each with more time. If other threads were late
    /// during each of them, too, the times are printed and not judged.
    fn ends_in_time(role: &str, grace_periods: u32) {
        ends_in_time_when_started(role, grace_periods, || command(role));
    }

    fn ends_in_time_when_started(role: &str, grace_periods: u32, command: impl Fn() -> Command) {
        for way in WAYS {
            let mut calm = false;
            let in_time = [100, 100, 200, 500, 1_000, 5_000].into_iter().any(|grace| {
                let grace = Duration::from_millis(grace);
                let end = grace * grace_periods;
                // A role without a grace period has nothing to multiply.
                let grace = if end.is_zero() { end } else { grace };
                let mut child = Tormented::start(&mut command(), grace, way);
                let ((lines, elapsed), others_late) = with_lateness(|| {
                    let before = child.request();
                    // The end of stderr is the end of the process. `wait-timeout` may notice that
                    // a second later when other tests wait at the same time.
                    (child.program.error_rest(), before.elapsed())
                });
                assert_eq!(child.program.code(), 7, "{role}, {way}");
                let late = elapsed.checked_sub(end);
                let late = late.unwrap_or_else(|| panic!("{role}, {way}: early, {elapsed:?}"));
                let tormented = child.at_once || lines.iter().any(|line| line == "tormented");
                println!(
                    "{role}, {way}: ended {late:?} after {end:?}, tormented: {tormented}, \
                     others late: {others_late:?}"
                );
                calm |= others_late < TOLERANCE / 10;
                tormented && late <= TOLERANCE
            });
            assert!(in_time || !calm, "{role}, {way}: late each time");
        }
    }

    fn tokio_threads_stuck() {
        let shutdown = install(builder());
        let runtime = tokio::runtime::Builder::new_multi_thread();
        let runtime = { runtime }.worker_threads(2).build().unwrap();
        runtime.block_on(async {
            tokio::spawn(shutdown.waiter());
            let all = Arc::new(Barrier::new(3));
            for _ in 0..2 {
                let all = all.clone();
                tokio::spawn(async move {
                    all.wait();
                    spin()
                });
            }
            all.wait();
            ready_and_tormented();
            spin()
        })
    }

    fn g12_with_every_tokio_thread_stuck() {
        ends_in_time("tokio_threads_stuck", 1);
    }

    #[tokio::main(flavor = "current_thread")]
    async fn tokio_thread_stuck() {
        let shutdown = install(builder());
        tokio::spawn(shutdown.waiter());
        ready_and_tormented();
        spin()
    }

    fn g12_with_the_thread_of_tokio_stuck() {
        ends_in_time("tokio_thread_stuck", 1);
    }

    fn smol_stuck() {
        let shutdown = install(builder());
        let both = Arc::new(Barrier::new(2));
        smol::spawn({
            let both = both.clone();
            async move {
                both.wait();
                spin()
            }
        })
        .detach();
        smol::block_on(async {
            smol::spawn(shutdown.waiter()).detach();
            both.wait();
            ready_and_tormented();
            spin()
        })
    }

    fn g12_with_smol_stuck() {
        ends_in_time("smol_stuck", 1);
    }

    fn inside_a_destructor() {
        let shutdown = install(builder());
        drop(OnDrop(|| {
            ready_and_tormented();
            park();
        }));
        drop(shutdown);
    }

    fn g12_with_main_inside_a_destructor() {
        ends_in_time("inside_a_destructor", 1);
    }

    /// `exit` waits for a destructor of the main thread.
    fn inside_exit() {
        thread_local!(static LAST: OnDrop<fn()> = const { OnDrop(|| {
            ready_and_tormented();
            park();
        }) });
        LAST.with(|_| ());
        forget(install(builder())); // the signal needs a handle
    }

    /// The same, once every handle is dropped.
    fn exit_after_the_request() {
        thread_local!(static LAST: OnDrop<fn()> = const { OnDrop(|| {
            tormented();
            park();
        }) });
        LAST.with(|_| ());
        let shutdown = install(builder());
        ready();
        shutdown.waiter().wait_blocking();
    }

    fn g12_with_main_inside_exit() {
        ends_in_time("inside_exit", 1);
        ends_in_time("exit_after_the_request", 1);
    }

    #[tokio::main]
    async fn tokio_dropped_after_the_drain() {
        let shutdown = install(builder());
        let _last = OnDrop(tormented);
        tokio::task::spawn_blocking(|| park());
        ready();
        shutdown.drained().await.unwrap();
    }

    /// Everything is drained, and then `main` waits in the drop of the runtime.
    fn g12_with_tokio_waiting_for_a_blocked_thread() {
        ends_in_time("tokio_dropped_after_the_drain", 1);
    }

    fn hang() {
        tormented();
        park();
    }

    fn waker_hangs() {
        let shutdown = install(builder());
        let mut waiter = shutdown.waiter();
        assert!(poll(&mut waiter, &Call::waker(hang)).is_pending());
        ready();
        park();
    }

    fn g12_with_a_waker_that_hangs() {
        ends_in_time("waker_hangs", 1);
    }

    fn callback_hangs() {
        let shutdown = install(builder());
        let _callback = shutdown.call_on_shutdown(hang);
        ready();
        park();
    }

    fn g12_with_a_callback_that_hangs() {
        ends_in_time("callback_hangs", 1);
    }

    fn panic_hook_hangs() {
        let shutdown = install(builder());
        std::panic::set_hook(Box::new(|_| hang()));
        let _callback = shutdown.call_on_shutdown(|| panic!("it calls the hook"));
        ready();
        park();
    }

    fn g12_with_a_panic_hook_that_hangs() {
        ends_in_time("panic_hook_hangs", 1);
    }

    #[cfg(feature = "tracing")]
    fn subscriber_hangs() {
        let hangs = crate::support::subscriber::OnEvent(|_: &tracing::Event<'_>| hang());
        tracing::subscriber::set_global_default(hangs).unwrap();
        let _shutdown = install(builder());
        ready();
        park();
    }

    #[cfg(feature = "tracing")]
    fn g12_with_a_subscriber_that_hangs() {
        ends_in_time("subscriber_hangs", 1);
    }

    fn stdout_blocked() {
        static WRITES: AtomicUsize = AtomicUsize::new(0);
        let shutdown = install(builder());
        thread::spawn(|| {
            let mut stdout = stdout().lock();
            while stdout.write_all(&[b'x'; 4096]).is_ok() {
                WRITES.fetch_add(1, Ordering::SeqCst);
            }
        });
        // A pipe holds 64 KiB unless told otherwise: sixteen writes, and the next one blocks.
        until("stdout is full", || WRITES.load(Ordering::SeqCst) == 16);
        ready();
        shutdown.waiter().wait_blocking();
        tormented();
        println!("never printed"); // the lock is held
    }

    fn g12_with_stdout_blocked() {
        ends_in_time("stdout_blocked", 1);
    }

    fn handles_dropped() {
        let shutdown = install(builder());
        ready();
        shutdown.waiter().wait_blocking();
        drop(shutdown);
        hang();
    }

    fn g12_with_every_handle_dropped() {
        ends_in_time("handles_dropped", 1);
    }

    fn stuck() {
        let _shutdown = install(builder());
        ready_and_tormented();
        park();
    }

    /// The deadline has passed when the request comes, which ends the process.
    fn g12_with_a_grace_period_of_zero() {
        ends_in_time("stuck", 0);
    }

    fn lame_duck() {
        let builder = builder().lame_duck(HOUR).lame_duck_on_interrupt(true);
        let shutdown = install(builder);
        ready();
        future::block_on(shutdown.requested());
        assert!(!shutdown.is_stopping());
        hang();
    }

    fn g12_within_a_lame_duck() {
        ends_in_time("lame_duck", 1);
    }

    fn abort_timeout() {
        let shutdown = install(builder().abort_timeout(grace_period()));
        ready();
        let _guard = shutdown.guard();
        let drained = shutdown.drain_blocking(HOUR);
        assert!(drained.is_err() && shutdown.is_forced());
        hang();
    }

    fn abort_timeout_and_a_waker_that_hangs() {
        let shutdown = install(builder().abort_timeout(grace_period()));
        let mut waiter = shutdown.waiter();
        assert!(poll(&mut waiter, &Call::waker(|| park())).is_pending());
        ready();
        until("it is forced", || shutdown.is_forced());
        hang();
    }

    /// The program sees the force at its deadline, and then has the time to abort.
    fn g12_ends_after_the_abort_timeout() {
        ends_in_time("abort_timeout", 2);
        ends_in_time("abort_timeout_and_a_waker_that_hangs", 2);
    }

    fn never_forced_by_signals() {
        let builder = builder().force_policy(ForcePolicy::Never).debounce(HOUR);
        let _shutdown = install(builder);
        ready_and_tormented();
        park();
    }

    fn g12_whatever_the_force_policy() {
        ends_in_time("never_forced_by_signals", 1);
    }

    #[cfg(target_os = "linux")]
    fn g12_with_signals_blocked_at_the_start() {
        ends_in_time_when_started("stuck", 1, || {
            let role = command("stuck");
            let mut env = Command::new("env");
            env.args(["--block-signal=INT,TERM"])
                .arg(role.get_program());
            for (name, value) in role.get_envs() {
                env.env(name, value.expect("nothing is unset"));
            }
            env
        });
    }

    /// As a sandbox does it, once all is open. `poll` refuses to wait then.
    #[cfg(target_os = "linux")]
    fn without_descriptors() {
        use nix::sys::resource::{Resource, setrlimit};

        let _shutdown = install(builder());
        setrlimit(Resource::RLIMIT_NOFILE, 0, 0).unwrap();
        ready_and_tormented();
        park();
    }

    #[cfg(target_os = "linux")]
    fn g12_without_descriptors() {
        ends_in_time("without_descriptors", 1);
    }

    #[cfg(target_os = "linux")]
    fn without_threads() {
        use crate::support::program::{leave_memory_for_threads, threads_sleep};
        use nix::unistd::{Pid, gettid};

        let shutdown = install(builder());
        let mut waiter = shutdown.waiter();
        assert!(poll(&mut waiter, &Call::waker(hang)).is_pending());
        // A thread that is still starting takes memory, and gives some back.
        until("the threads have started", || {
            threads_sleep(Pid::this(), Some(gettid()))
        });
        leave_memory_for_threads(0);
        assert!(thread::Builder::new().spawn(|| ()).is_err());
        ready();
        park();
    }

    /// The thread that calls the waker, which hangs, is there since the installation.
    #[cfg(target_os = "linux")]
    fn g12_without_threads() {
        ends_in_time("without_threads", 1);
    }

    #[cfg(target_os = "linux")]
    fn without_end() {
        use crate::support::program::time_is_set;

        for grace in [Duration::MAX, Duration::MAX / 2] {
            let builder = builder().grace_period(grace);
            let Ok(shutdown) = builder.install() else {
                break; // one is installed already
            };
            assert!(shutdown.request_shutdown());
            assert_eq!(shutdown.deadline(), None);
            assert!(!time_is_set());
            ready();
            shutdown.request_shutdown();
        }
    }

    /// No thread waits for a time, and the second request ends the process as ever.
    #[cfg(target_os = "linux")]
    fn endless_grace_period_sets_no_time() {
        let mut child = Tormented::start(&mut command("without_end"), HOUR, "signal");
        assert_eq!(child.program.code(), 7);
    }

    fn done_in_time() -> ExitCode {
        let shutdown = install(builder());
        ready();
        shutdown.waiter().wait_blocking();
        ExitCode::from(3)
    }

    fn program_that_is_done_ends_with_its_own_code() {
        for way in WAYS {
            let mut child = Tormented::start(&mut command("done_in_time"), HOUR, way);
            child.request();
            assert_eq!(child.program.code(), 3, "{way}");
        }
    }

    /// The second signal does not wait for the deadline. It is another than the first, because the
    /// kernel merges two of the same number that are pending.
    fn g4_before_the_deadline() {
        for role in ["stuck", "waker_hangs", "tokio_threads_stuck"] {
            for (first, second) in [(SIGINT, SIGTERM), (SIGTERM, SIGINT)] {
                let mut child = Tormented::start(&mut command(role), HOUR, "signal");
                child.program.send(first);
                if role == "waker_hangs" {
                    child.program.error_line("tormented");
                }
                child.program.send(second);
                assert_eq!(child.program.code(), 7, "{role}");
            }
        }
    }
}
