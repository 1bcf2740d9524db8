//! Real processes and real signals: what only a process can show.
//!
//! Started with a role in `WINDDOWN_ROLE`, this program is the child of one of its own tests. So it
//! has a `main` of its own.

#[cfg(all(unix, feature = "signals"))]
#[path = "support/program.rs"]
mod program;

#[cfg(not(all(unix, feature = "signals")))]
fn main() {}

#[cfg(all(unix, feature = "signals"))]
fn main() -> std::process::ExitCode {
    if let Ok(role) = std::env::var("WINDDOWN_ROLE") {
        roles::run(&role);
        return std::process::ExitCode::SUCCESS;
    }
    let args = libtest_mimic::Arguments::from_args();
    libtest_mimic::run(&args, tests::all()).exit_code()
}

/// What a child does. It prints `ready` when it may be sent signals, and `stopping` when it has
/// seen the first.
#[cfg(all(unix, feature = "signals"))]
mod roles {
    use std::hint::black_box;
    use std::io::{Write, stderr, stdout};
    use std::sync::Arc;
    use std::sync::atomic::{AtomicBool, Ordering};
    use std::task::{Context, Wake};
    use std::thread;

    use nix::sys::resource::{Resource, getrlimit, setrlimit};
    use nix::sys::signal::{Signal as Sig, kill, raise};
    use nix::unistd::Pid;
    use winddown::{InstallError, Shutdown, Signal};

    use crate::program::all_are_read;
    #[cfg(target_os = "linux")]
    use crate::program::until;

    pub(crate) fn run(role: &str) {
        match role {
            "plain" => plain(&Shutdown::install().unwrap()),
            "executors_stuck" => executors_stuck(),
            "inside_exit" => inside_exit(),
            "fake_inside_exit" => fake_inside_exit(),
            "waker_hangs" => waker_hangs(),
            "stdout_blocked" => stdout_blocked(),
            "failed_installs" => failed_installs(),
            "failed_for_good" => failed_for_good(without_descriptors),
            #[cfg(target_os = "linux")]
            "no_thread_then_one" => no_thread_then_one(),
            #[cfg(target_os = "linux")]
            "no_thread_for_good" => failed_for_good(without_a_thread),
            #[cfg(target_os = "linux")]
            "no_more_descriptors" => no_more_descriptors(),
            "installs_twice" => installs_twice(),
            "all_dropped" => all_dropped(),
            "only_a_waiter" => only_a_waiter(),
            "dropped_after_the_first" => dropped_after_the_first(),
            "fake_twice" => fake_twice(),
            "fake_then_real" => fake_then_real(),
            "real_twice" => real_twice(),
            "trigger_then_real" => trigger_then_real(),
            "other_signals" => other_signals(),
            #[cfg(target_os = "linux")]
            "debounce_without_threads" => without_threads(&Shutdown::builder().debounce(HOUR)),
            #[cfg(target_os = "linux")]
            "last_words_without_threads" => without_threads(&Shutdown::builder().last_words(HOUR)),
            #[cfg(target_os = "linux")]
            "lame_duck_without_threads" => without_threads(&Shutdown::builder().lame_duck(HOUR)),
            other => panic!("no role '{other}'"),
        }
    }

    #[cfg(target_os = "linux")]
    const HOUR: std::time::Duration = std::time::Duration::from_secs(3600);

    fn say(line: &str) {
        println!("{line}");
    }

    /// Waits, says why, ends well.
    fn plain(shutdown: &Shutdown) {
        say("ready");
        shutdown.waiter().wait_blocking();
        say(&format!("stopping: {}", shutdown.cause().unwrap()));
    }

    /// Says `stopping`, whatever the other threads do.
    fn announce(shutdown: &Shutdown) {
        let waiter = shutdown.waiter();
        thread::spawn(move || {
            waiter.wait_blocking();
            say("stopping");
        });
    }

    fn spin() -> ! {
        loop {
            black_box(());
        }
    }

    fn executors_stuck() {
        let shutdown = Shutdown::install().unwrap();
        announce(&shutdown);
        for _ in 0..4 {
            let waiter = shutdown.waiter();
            thread::spawn(move || {
                smol::block_on(async {
                    smol::spawn(waiter).detach();
                    spin();
                })
            });
        }
        say("ready");
        spin();
    }

    /// The second is sent by another thread once main is inside `exit`.
    fn fake_inside_exit() {
        static INSIDE: AtomicBool = AtomicBool::new(false);
        struct Asks;
        impl Drop for Asks {
            fn drop(&mut self) {
                INSIDE.store(true, Ordering::SeqCst);
                loop {
                    thread::park();
                }
            }
        }
        thread_local!(static ASKS: Asks = const { Asks });
        ASKS.with(|_| ());
        assert!(Shutdown::install().unwrap().request_shutdown());
        thread::spawn(|| {
            while !INSIDE.load(Ordering::SeqCst) {
                thread::yield_now();
            }
            winddown::request_shutdown()
        });
    }

    fn inside_exit() {
        /// `exit` runs this on the main thread, and waits for it.
        struct Slow;
        impl Drop for Slow {
            fn drop(&mut self) {
                say("inside exit");
                loop {
                    thread::park();
                }
            }
        }
        thread_local!(static SLOW: Slow = const { Slow });
        SLOW.with(|_| ());
        plain(&Shutdown::install().unwrap());
        // Every handle is gone, and main returns.
    }

    fn waker_hangs() {
        struct Hangs;
        impl Wake for Hangs {
            fn wake(self: Arc<Self>) {
                say("stopping");
                spin();
            }
        }
        let shutdown = Shutdown::install().unwrap();
        let mut waiter = shutdown.waiter();
        let waker = Arc::new(Hangs).into();
        let poll = std::pin::Pin::new(&mut waiter).poll(&mut Context::from_waker(&waker));
        assert!(poll.is_pending());
        say("ready");
        loop {
            thread::park();
        }
    }

    fn stdout_blocked() {
        let shutdown = Shutdown::install().unwrap();
        thread::spawn(|| {
            let mut stdout = stdout().lock();
            while stdout.write_all(&[b'x'; 4096]).is_ok() {
                // Each is a step further to a full pipe.
                let _ = stderr().write_all(b"wrote\n");
            }
        });
        eprintln!("ready");
        shutdown.waiter().wait_blocking();
        eprintln!("stopping");
        println!("never printed"); // the lock is held
    }

    fn failed_installs() {
        let unusable = Shutdown::builder().signals([Signal::Term, Signal::Kill]);
        for _ in 0..2 {
            let error = unusable.clone().install().unwrap_err();
            assert!(matches!(error, InstallError::Unusable(Signal::Kill)));
            let text = error.to_string();
            assert!(text.contains("SIGKILL"), "{text}");
        }
        for signal in [
            Signal::Stop,
            Signal::Segv,
            Signal::Ill,
            Signal::Fpe,
            Signal::Bus,
        ] {
            let error = Shutdown::builder().signals([signal]).install().unwrap_err();
            assert!(matches!(error, InstallError::Unusable(_)), "{error}");
        }
        let error = Shutdown::builder().signals([]).install().unwrap_err();
        assert!(matches!(error, InstallError::NoSignals), "{error}");
        assert!(!winddown::request_shutdown());
        without_descriptors();
        plain(&Shutdown::install().unwrap());
    }

    fn without_descriptors() {
        let (soft, hard) = getrlimit(Resource::RLIMIT_NOFILE).unwrap();
        // None, and too few for this or that which comes later.
        for limit in 3..15 {
            setrlimit(Resource::RLIMIT_NOFILE, limit, hard).unwrap();
            let error = Shutdown::install().unwrap_err();
            assert!(matches!(error, InstallError::Register(_)), "{error}");
        }
        setrlimit(Resource::RLIMIT_NOFILE, soft, hard).unwrap();
    }

    /// Nothing is left registered: the signal does what it did before.
    fn failed_for_good(install: fn()) {
        install();
        say("ready");
        loop {
            thread::park();
        }
    }

    fn installs_twice() {
        let shutdown = Shutdown::install().unwrap();
        for _ in 0..3 {
            let error = Shutdown::builder()
                .signals([Signal::Hup])
                .exit_code(9)
                .install()
                .unwrap_err();
            assert!(matches!(error, InstallError::AlreadyInstalled), "{error}");
        }
        plain(&shutdown);
    }

    fn all_dropped() {
        let shutdown = Shutdown::install().unwrap();
        let waiter = shutdown.waiter();
        drop(shutdown);
        assert!(!waiter.is_requested());
        drop(waiter);
        assert!(!winddown::request_shutdown());
        assert!(matches!(
            Shutdown::install(),
            Err(InstallError::AlreadyInstalled)
        ));
        say("ready");
        loop {
            thread::park();
        }
    }

    fn only_a_waiter() {
        let waiter = Shutdown::install().unwrap().waiter();
        say("ready");
        waiter.wait_blocking();
        say("stopping");
    }

    fn dropped_after_the_first() {
        plain(&Shutdown::install().unwrap());
        loop {
            thread::park();
        }
    }

    fn fake_twice() {
        let shutdown = Shutdown::builder().exit_code(7).install().unwrap();
        assert!(winddown::request_shutdown());
        assert!(shutdown.is_requested());
        say(&format!("stopping: {}", shutdown.cause().unwrap()));
        assert!(!shutdown.is_forced());
        winddown::request_shutdown();
        unreachable!("the second ends the process");
    }

    fn fake_then_real() {
        let shutdown = Shutdown::builder().exit_code(7).install().unwrap();
        assert!(shutdown.request_shutdown());
        raise(Sig::SIGINT).unwrap();
        unreachable!("the handler ends the process");
    }

    /// The handler ends the process; otherwise it ends well, before the thread has read anything.
    fn real_twice() {
        let _shutdown = Shutdown::builder().exit_code(7).install().unwrap();
        raise(Sig::SIGINT).unwrap();
        raise(Sig::SIGINT).unwrap();
    }

    fn trigger_then_real() {
        let shutdown = Shutdown::install().unwrap();
        assert!(shutdown.trigger("worker 'mail' failed"));
        raise(Sig::SIGTERM).unwrap(); // the first slot: it leaves the drain its time
        all_are_read();
        assert!(!shutdown.is_forced());
        plain(&shutdown);
        loop {
            thread::park();
        }
    }

    /// Installed while there was still memory for threads.
    #[cfg(target_os = "linux")]
    fn without_threads(builder: &winddown::Builder) {
        let shutdown = builder.clone().install().unwrap();
        // A thread that is still starting takes memory, and gives some back.
        let this = nix::unistd::gettid();
        until("the threads have started", || {
            threads_sleep(Pid::this(), Some(this))
        });
        leave_memory_for_threads(0);
        assert!(thread::Builder::new().spawn(|| ()).is_err());
        plain(&shutdown);
        loop {
            thread::park();
        }
    }

    /// Returns the limits there were.
    #[cfg(target_os = "linux")]
    fn leave_memory_for_threads(count: u64) -> (u64, u64) {
        // A thread's stack takes two MiB.
        let size = std::fs::read_to_string("/proc/self/statm").unwrap();
        let pages: u64 = size.split(' ').next().unwrap().parse().unwrap();
        let (soft, hard) = getrlimit(Resource::RLIMIT_AS).unwrap();
        let limit = pages * 4096 + (2 * count + 1) * (1 << 20);
        setrlimit(Resource::RLIMIT_AS, limit, hard).unwrap();
        (soft, hard)
    }

    #[cfg(target_os = "linux")]
    fn without_a_thread() {
        // None, and none for async-io.
        for count in 0..2 {
            let (soft, hard) = leave_memory_for_threads(count);
            let error = Shutdown::install().unwrap_err();
            assert!(matches!(error, InstallError::Thread(_)), "{error}");
            setrlimit(Resource::RLIMIT_AS, soft, hard).unwrap();
        }
    }

    #[cfg(target_os = "linux")]
    fn no_thread_then_one() {
        without_a_thread();
        plain(&Shutdown::install().unwrap());
    }

    /// Whether every thread of a process waits for something.
    #[cfg(target_os = "linux")]
    pub(crate) fn threads_sleep(process: Pid, but: Option<Pid>) -> bool {
        let but = but.map(|thread| thread.to_string());
        std::fs::read_dir(format!("/proc/{process}/task"))
            .unwrap()
            .map(|task| task.unwrap())
            .filter(|task| but.as_deref().is_none_or(|but| *task.file_name() != *but))
            .all(|task| {
                let stat = std::fs::read_to_string(task.path().join("stat")).unwrap();
                stat.rsplit_once(") ").unwrap().1.starts_with('S')
            })
    }

    /// As a sandbox does it, once all is open.
    #[cfg(target_os = "linux")]
    fn no_more_descriptors() {
        let shutdown = Shutdown::install().unwrap();
        setrlimit(Resource::RLIMIT_NOFILE, 0, 0).unwrap();
        plain(&shutdown);
        loop {
            thread::park();
        }
    }

    fn other_signals() {
        let shutdown = Shutdown::builder()
            // Twice the same is once.
            .signals([Signal::Usr1, Signal::Hup, Signal::Usr1])
            .exit_code(130)
            .install()
            .unwrap();
        plain(&shutdown);
        kill(Pid::this(), Sig::SIGHUP).unwrap();
        loop {
            thread::park();
        }
    }
}

#[cfg(all(unix, feature = "signals"))]
mod tests {
    use std::os::unix::process::ExitStatusExt;
    use std::process::Command;
    use std::thread;
    use std::time::Instant;

    use libtest_mimic::Trial;
    use nix::sys::signal::Signal::{self, SIGCONT, SIGHUP, SIGINT, SIGSTOP, SIGTERM, SIGUSR1};

    use crate::program::{Program, Server};
    #[cfg(target_os = "linux")]
    use crate::{program::until, roles::threads_sleep};

    pub(crate) fn all() -> Vec<Trial> {
        macro_rules! trials {
            ($($(#[$attribute:meta])* $name:ident),* $(,)?) => {
                vec![$($(#[$attribute])* Trial::test(stringify!($name), || { $name(); Ok(()) })),*]
            };
        }
        trials![
            #[cfg(target_os = "linux")]
            g4_without_threads,
            #[cfg(target_os = "linux")]
            g6_without_threads_nothing_is_left_and_it_can_be_retried,
            #[cfg(target_os = "linux")]
            without_descriptors_our_thread_sleeps_on,
            a_signal_asks,
            other_signals_and_exit_code,
            g3_fake_twice_forces,
            g4_fake_then_real_forces,
            g4_real_twice_needs_no_thread,
            g4_trigger_then_two_signals,
            g4_with_every_executor_stuck,
            g4_with_main_inside_exit,
            g4_with_a_waker_that_hangs,
            g4_with_stdout_blocked,
            g4_int_and_term_pending_together,
            g4_a_thousand_signals,
            g4_handles_dropped_after_the_first,
            g6_failed_installs_leave_nothing_and_can_be_retried,
            g6_a_failed_install_leaves_the_default,
            g6_second_install_changes_nothing,
            g7_all_dropped_is_as_if_unhandled,
            g7_a_waiter_alone_is_told,
        ]
    }

    fn role(role: &str) -> Program {
        Program::start(&mut command(role))
    }

    fn command(role: &str) -> Command {
        let mut command = Command::new(std::env::current_exe().expect("a test has a path"));
        command.env("WINDDOWN_ROLE", role);
        command
    }

    /// In the background of a script SIGINT is ignored, and a program that does not handle it is not ended
    /// by it. Not so this one.
    fn role_with_defaults(role: &str) -> Program {
        let mut plain = command(role);
        if !cfg!(target_os = "linux") {
            return Program::start(&mut plain);
        }
        let mut env = Command::new("env");
        env.arg("--default-signal=INT").arg(plain.get_program());
        Program::start(env.env("WINDDOWN_ROLE", role))
    }

    fn a_signal_asks() {
        for (signal, name) in [(SIGINT, "SIGINT"), (SIGTERM, "SIGTERM")] {
            let mut child = role("plain");
            child.line("ready");
            child.send(signal);
            assert_eq!(child.line("stopping: "), name);
            assert_eq!(child.code(), 0);
        }
    }

    fn other_signals_and_exit_code() {
        let mut child = role("other_signals");
        child.line("ready");
        child.send(SIGUSR1);
        child.line("stopping");
        assert_eq!(child.code(), 130);

        // What is not in the set keeps its default.
        let mut child = role("other_signals");
        child.line("ready");
        child.send(SIGTERM);
        assert_eq!(child.wait().signal(), Some(SIGTERM as i32));
    }

    fn g3_fake_twice_forces() {
        let mut child = role("fake_twice");
        assert!(
            child
                .line("stopping: ")
                .starts_with("requested at tests/process.rs:")
        );
        assert_eq!(child.code(), 7);
    }

    fn g4_fake_then_real_forces() {
        assert_eq!(role("fake_then_real").code(), 7);
    }

    fn g4_real_twice_needs_no_thread() {
        assert_eq!(role("real_twice").code(), 7);
    }

    fn g4_trigger_then_two_signals() {
        let mut child = role("trigger_then_real");
        child.line("ready");
        assert_eq!(child.line("stopping: "), "worker 'mail' failed");
        child.send(SIGINT);
        assert_eq!(child.code(), 1);
    }

    /// The second signal ends it with code 1. How long that took is said and not asserted: on a busy
    /// machine, the 50 ms may pass before either process runs at all.
    fn forced(child: &mut Program, what: &str, signal: Signal) {
        let sent = Instant::now();
        child.send(signal);
        let code = child.code();
        println!("{what}: ended {:?} after the second signal", sent.elapsed());
        assert_eq!(code, 1);
    }

    fn torment(name: &str) {
        for (first, second) in [(SIGINT, SIGINT), (SIGTERM, SIGTERM), (SIGINT, SIGTERM)] {
            let mut child = role(name);
            child.line("ready");
            child.send(first);
            child.line("stopping");
            forced(&mut child, name, second);
        }
    }

    fn g4_with_every_executor_stuck() {
        torment("executors_stuck");
    }

    fn g4_with_main_inside_exit() {
        let mut child = role("inside_exit");
        child.line("ready");
        child.send(SIGTERM);
        child.line("inside exit");
        forced(&mut child, "inside_exit", SIGTERM);
        assert_eq!(role("fake_inside_exit").code(), 1);
    }

    fn g4_with_a_waker_that_hangs() {
        torment("waker_hangs");
    }

    fn g4_with_stdout_blocked() {
        let mut child = Program::start_unread(&mut command("stdout_blocked"));
        // A pipe holds 64 KiB unless told otherwise: sixteen writes, and the next one blocks.
        for _ in 0..16 {
            child.error_line("wrote");
        }
        child.send(SIGINT);
        child.error_line("stopping");
        forced(&mut child, "stdout_blocked", SIGINT);
    }

    /// Two of different numbers are never merged.
    fn g4_int_and_term_pending_together() {
        let mut child = role("plain");
        child.line("ready");
        child.send(SIGSTOP);
        child.stopped();
        child.send(SIGINT);
        child.send(SIGTERM);
        child.send(SIGCONT);
        assert_eq!(child.code(), 1);
    }

    fn g4_a_thousand_signals() {
        let mut server = Server::start("smol");
        let mut client = server.begin("GET /sleep?duration=30s");
        let pid = server.program.pid();
        let sender = thread::spawn(move || {
            for number in 0..1000 {
                let signal = if number % 2 == 0 { SIGINT } else { SIGTERM };
                // It is not waited for yet, so the pid is still its own.
                let _ = nix::sys::signal::kill(pid, signal);
            }
        });
        sender.join().expect("signals are sent");
        assert_eq!(server.program.code(), 1);
        assert!(client.closed_with_nothing());
    }

    fn g4_handles_dropped_after_the_first() {
        let mut child = role("dropped_after_the_first");
        child.line("ready");
        child.send(SIGTERM);
        child.line("stopping");
        child.send(SIGTERM);
        assert_eq!(child.code(), 1);
    }

    /// What a thread would do in an hour is done at once: the lame duck ends, and the second forces.
    #[cfg(target_os = "linux")]
    fn g4_without_threads() {
        for name in [
            "debounce_without_threads",
            "last_words_without_threads",
            "lame_duck_without_threads",
        ] {
            let mut child = role(name);
            child.line("ready");
            child.send(SIGTERM);
            child.line("stopping: SIGTERM");
            forced(&mut child, name, SIGTERM);
        }
    }

    fn g6_failed_installs_leave_nothing_and_can_be_retried() {
        let mut child = role("failed_installs");
        child.line("ready");
        child.send(SIGTERM);
        child.line("stopping: SIGTERM");
        assert_eq!(child.code(), 0);
    }

    fn g6_a_failed_install_leaves_the_default() {
        for signal in [SIGINT, SIGTERM] {
            let mut child = role_with_defaults("failed_for_good");
            child.line("ready");
            child.send(signal);
            assert_eq!(child.wait().signal(), Some(signal as i32));
        }
    }

    #[cfg(target_os = "linux")]
    fn g6_without_threads_nothing_is_left_and_it_can_be_retried() {
        for signal in [SIGINT, SIGTERM] {
            let mut child = role_with_defaults("no_thread_for_good");
            child.line("ready");
            child.send(signal);
            assert_eq!(child.wait().signal(), Some(signal as i32));
        }
        let mut child = role("no_thread_then_one");
        child.line("ready");
        child.send(SIGTERM);
        child.line("stopping: SIGTERM");
        assert_eq!(child.code(), 0);
    }

    /// `poll` refuses to wait then.
    #[cfg(target_os = "linux")]
    fn without_descriptors_our_thread_sleeps_on() {
        let mut child = role("no_more_descriptors");
        child.line("ready");
        child.send(SIGTERM);
        child.line("stopping: SIGTERM");
        until("its threads sleep", || threads_sleep(child.pid(), None));
        forced(&mut child, "without descriptors", SIGTERM);
    }

    fn g6_second_install_changes_nothing() {
        let mut child = role("installs_twice");
        child.line("ready");
        child.send(SIGTERM);
        child.line("stopping: SIGTERM");
        assert_eq!(child.code(), 0);
        let mut child = role("installs_twice");
        child.line("ready");
        child.send(SIGHUP);
        assert_eq!(child.wait().signal(), Some(SIGHUP as i32));
    }

    fn g7_all_dropped_is_as_if_unhandled() {
        for signal in [SIGINT, SIGTERM] {
            let mut child = role("all_dropped");
            child.line("ready");
            child.send(signal);
            assert_eq!(child.wait().signal(), Some(signal as i32));
        }
    }

    fn g7_a_waiter_alone_is_told() {
        let mut child = role("only_a_waiter");
        child.line("ready");
        child.send(SIGTERM);
        child.line("stopping");
        assert_eq!(child.code(), 0);
    }
}
