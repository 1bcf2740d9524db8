//! Forcing, installing and dropping handles in a real process with real signals.
//!
//! A test starts this program again, in a role: see `support/child.rs`. A role prints `ready` when it
//! may be sent signals, and `stopping` when it has seen the first. It stands above the tests that start
//! it.

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
    use std::cell::Cell;
    use std::future::{pending, poll_fn};
    use std::hint::black_box;
    use std::io::{Write, stderr, stdout};
    use std::os::unix::process::ExitStatusExt;
    use std::sync::atomic::{AtomicBool, Ordering};
    use std::task::Poll;
    use std::thread;
    use std::time::{Duration, Instant};

    use futures_lite::{StreamExt, future, stream};
    use libtest_mimic::Trial;
    use nix::sys::resource::{Resource, getrlimit, setrlimit};
    #[cfg(all(target_os = "linux", any(target_arch = "x86", target_arch = "x86_64")))]
    use nix::sys::signal::SigSet;
    use nix::sys::signal::Signal::{self, *};
    use nix::sys::signal::kill;
    #[cfg(all(target_os = "linux", any(target_arch = "x86", target_arch = "x86_64")))]
    use nix::sys::wait::{WaitStatus, waitpid};
    use nix::unistd::{Pid, close};
    #[cfg(all(target_os = "linux", any(target_arch = "x86", target_arch = "x86_64")))]
    use nix::{errno::Errno, sys::ptrace};
    use winddown::{Builder, InstallError, Shutdown, ShutdownExt};

    use crate::support::child::{Role, command, roles, trials};
    use crate::support::program::{Program, Server, all_are_read, raise, with_default};
    #[cfg(target_os = "linux")]
    use crate::support::program::{leave_memory_for_threads, threads_sleep};
    #[cfg(target_os = "linux")]
    use crate::support::until;
    use crate::support::{Call, HOUR, park, poll};

    const MOMENT: Duration = Duration::from_millis(1);

    pub(crate) const ROLES: &[Role] = &roles![
        plain,
        called_by,
        called_with_a_deadline_by,
        other_signals,
        two_requests,
        request_then_signal,
        two_signals,
        trigger_then_signal,
        executors_stuck,
        inside_exit,
        request_inside_exit,
        waker_hangs,
        stdout_blocked,
        #[cfg(target_os = "linux")]
        debounce_without_threads,
        #[cfg(target_os = "linux")]
        abort_timeout_without_threads,
        #[cfg(target_os = "linux")]
        lame_duck_without_threads,
        #[cfg(target_os = "linux")]
        no_more_descriptors,
        failed_installs,
        adapters_without_descriptors,
        few_descriptors,
        no_descriptors_to_install,
        output_closed,
        #[cfg(target_os = "linux")]
        no_thread_to_install,
        #[cfg(target_os = "linux")]
        no_thread_to_install_at_first,
        installs_twice,
        #[cfg(all(target_os = "linux", any(target_arch = "x86", target_arch = "x86_64")))]
        installs_traced,
        all_dropped,
        dropped_with_the_first,
        only_a_waiter,
        dropped_after_the_first,
    ];

    pub(crate) fn tests() -> Vec<Trial> {
        trials![
            signal_requests_shutdown,
            callbacks_run_where_the_end_does_not_depend_on_it,
            other_signals_and_exit_code,
            g3_two_requests_force,
            g4_request_then_signal_forces,
            g4_two_signals_need_no_thread,
            g4_trigger_then_two_signals,
            g4_with_every_executor_stuck,
            g4_with_main_inside_exit,
            g4_with_a_waker_that_hangs,
            g4_with_stdout_blocked,
            g4_int_and_term_pending_together,
            g4_a_thousand_signals,
            #[cfg(target_os = "linux")]
            g4_without_threads,
            #[cfg(target_os = "linux")]
            without_descriptors_the_thread_sleeps,
            g6_failed_installs_leave_nothing_and_can_be_retried,
            adapters_need_no_descriptors_at_the_shutdown,
            what_is_printed_to_a_closed_output_is_no_signal,
            every_signal_needs_few_descriptors,
            g6_a_failed_install_leaves_the_default,
            #[cfg(target_os = "linux")]
            g6_without_threads_install_leaves_nothing_and_can_be_retried,
            g6_second_install_changes_nothing,
            #[cfg(all(target_os = "linux", any(target_arch = "x86", target_arch = "x86_64")))]
            g7_signal_during_install_ends_the_process_or_requests,
            g7_without_handles_signals_do_their_default,
            g7_handles_dropped_with_the_first,
            g7_waiter_alone_is_woken,
            g4_g7_handles_dropped_after_the_first,
        ]
    }

    /// Waits for the first signal and prints its cause.
    fn wait(shutdown: &Shutdown) {
        println!("ready");
        shutdown.waiter().wait_blocking();
        println!("stopping: {}", shutdown.cause().unwrap());
    }

    fn plain() {
        wait(&Shutdown::install().unwrap());
    }

    fn signal_requests_shutdown() {
        for signal in [SIGINT, SIGTERM] {
            let mut child = Program::ready_role("plain");
            child.send(signal);
            assert_eq!(child.line("stopping: "), signal.as_str());
            assert_eq!(child.code(), 0);
        }
    }

    fn say_what_calls(builder: Builder) {
        let shutdown = builder.install().unwrap();
        let _said = shutdown.call_on_shutdown(|| {
            let name = thread::current().name().map(str::to_owned);
            println!("called by {}", name.unwrap());
        });
        println!("ready");
        park();
    }

    fn called_by() {
        say_what_calls(Shutdown::builder());
    }

    fn called_with_a_deadline_by() {
        say_what_calls(Shutdown::builder().grace_period(HOUR).force_at_deadline());
    }

    /// The background thread is for shutdowns whose end the thread `winddown` sees to.
    fn callbacks_run_where_the_end_does_not_depend_on_it() {
        for (role, thread) in [
            ("called_by", "winddown"),
            ("called_with_a_deadline_by", "winddown-wakers"),
        ] {
            let mut child = Program::ready_role(role);
            child.send(SIGTERM);
            assert_eq!(child.line("called by "), thread);
            child.send(SIGTERM);
            assert_eq!(child.code(), 1);
        }
    }

    fn other_signals() {
        use winddown::Signal;
        let shutdown = Shutdown::builder()
            // Twice the same is once.
            .signals([Signal::USR1, Signal::HUP, Signal::USR1])
            .exit_code(130)
            .install()
            .unwrap();
        wait(&shutdown);
        kill(Pid::this(), SIGHUP).unwrap();
        park();
    }

    fn other_signals_and_exit_code() {
        let mut child = Program::ready_role("other_signals");
        child.send(SIGUSR1);
        child.line("stopping");
        assert_eq!(child.code(), 130);

        // A signal outside the set keeps its default.
        let mut child = Program::start(&mut with_default(&[SIGTERM], "other_signals"));
        child.line("ready");
        child.send(SIGTERM);
        assert_eq!(child.wait().signal(), Some(SIGTERM as i32));
    }

    fn two_requests() {
        let shutdown = Shutdown::builder().exit_code(7).install().unwrap();
        assert!(winddown::request_shutdown());
        assert!(shutdown.is_requested());
        println!("stopping: {}", shutdown.cause().unwrap());
        assert!(!shutdown.is_forced());
        winddown::request_shutdown();
        unreachable!("the second ends the process");
    }

    fn g3_two_requests_force() {
        let mut child = Program::role("two_requests");
        let cause = child.line("stopping: ");
        assert!(cause.starts_with("requested at tests/process.rs:"));
        assert_eq!(child.code(), 7);
    }

    fn request_then_signal() {
        let shutdown = Shutdown::builder().exit_code(7).install().unwrap();
        assert!(shutdown.request_shutdown());
        raise(SIGINT);
        unreachable!("the handler ends the process");
    }

    fn g4_request_then_signal_forces() {
        assert_eq!(Program::role("request_then_signal").code(), 7);
    }

    /// The second handler ends the process. Without that, the process would end well, before the thread
    /// `winddown` has read anything.
    fn two_signals() {
        let _shutdown = Shutdown::builder().exit_code(7).install().unwrap();
        raise(SIGINT);
        raise(SIGINT);
    }

    fn g4_two_signals_need_no_thread() {
        assert_eq!(Program::role("two_signals").code(), 7);
    }

    fn trigger_then_signal() {
        let shutdown = Shutdown::install().unwrap();
        assert!(shutdown.trigger("task 'mail' failed"));
        raise(SIGTERM); // takes the first slot and forces nothing
        all_are_read();
        assert!(!shutdown.is_forced());
        wait(&shutdown);
        park();
    }

    fn g4_trigger_then_two_signals() {
        let mut child = Program::ready_role("trigger_then_signal");
        assert_eq!(child.line("stopping: "), "task 'mail' failed");
        child.send(SIGINT);
        assert_eq!(child.code(), 1);
    }

    /// Sends the second signal, which ends the child with code 1. Prints how long that took, and does not
    /// assert it: on a busy machine, the 50 ms may pass before either process runs at all.
    fn forced(child: &mut Program, what: &str, signal: Signal) {
        let sent = Instant::now();
        child.send(signal);
        let code = child.code();
        println!("{what}: ended {:?} after the second signal", sent.elapsed());
        assert_eq!(code, 1);
    }

    fn torment(role: &str) {
        for (first, second) in [(SIGINT, SIGINT), (SIGTERM, SIGTERM), (SIGINT, SIGTERM)] {
            let mut child = Program::ready_role(role);
            child.send(first);
            child.line("stopping");
            forced(&mut child, role, second);
        }
    }

    fn spin() -> ! {
        loop {
            black_box(());
        }
    }

    fn executors_stuck() {
        let shutdown = Shutdown::install().unwrap();
        let waiter = shutdown.waiter();
        thread::spawn(move || {
            waiter.wait_blocking();
            println!("stopping");
        });
        for _ in 0..4 {
            let waiter = shutdown.waiter();
            thread::spawn(move || {
                smol::block_on(async {
                    smol::spawn(waiter).detach();
                    spin();
                })
            });
        }
        println!("ready");
        spin();
    }

    fn g4_with_every_executor_stuck() {
        torment("executors_stuck");
    }

    /// Every handle is dropped, `main` returns, and `exit` waits for a destructor on the main thread.
    fn inside_exit() {
        struct Slow;
        impl Drop for Slow {
            fn drop(&mut self) {
                println!("inside exit");
                park();
            }
        }
        thread_local!(static SLOW: Slow = const { Slow });
        SLOW.with(|_| ());
        plain();
    }

    /// Another thread sends the second request once the main thread is inside `exit`.
    fn request_inside_exit() {
        static INSIDE: AtomicBool = AtomicBool::new(false);
        struct Asks;
        impl Drop for Asks {
            fn drop(&mut self) {
                INSIDE.store(true, Ordering::SeqCst);
                park();
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

    fn g4_with_main_inside_exit() {
        let mut child = Program::ready_role("inside_exit");
        child.send(SIGTERM);
        child.line("inside exit");
        forced(&mut child, "inside_exit", SIGTERM);
        assert_eq!(Program::role("request_inside_exit").code(), 1);
    }

    fn waker_hangs() {
        let shutdown = Shutdown::install().unwrap();
        let waker = Call::waker(|| {
            println!("stopping");
            spin();
        });
        let mut waiter = shutdown.waiter();
        assert!(poll(&mut waiter, &waker).is_pending());
        println!("ready");
        park();
    }

    fn g4_with_a_waker_that_hangs() {
        torment("waker_hangs");
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

    /// The kernel never merges two signals of different numbers.
    fn g4_int_and_term_pending_together() {
        let mut child = Program::ready_role("plain");
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
                // The child is not waited for yet, so the pid is still its own.
                let _ = kill(pid, signal);
            }
        });
        sender.join().expect("signals are sent");
        assert_eq!(server.program.code(), 1);
        assert!(client.closed_with_nothing());
    }

    #[cfg(target_os = "linux")]
    fn debounce_without_threads() {
        without_threads(&Shutdown::builder().debounce(Duration::from_millis(1)));
    }

    #[cfg(target_os = "linux")]
    fn abort_timeout_without_threads() {
        without_threads(&Shutdown::builder().abort_timeout(Duration::from_millis(1)));
    }

    #[cfg(target_os = "linux")]
    fn lame_duck_without_threads() {
        without_threads(&Shutdown::builder().lame_duck(HOUR));
    }

    /// Installs, and then takes the memory for more threads away.
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
        wait(&shutdown);
        park();
    }

    /// The threads that a debounce and an abort timeout need are there since the installation. A lame
    /// duck, whose thread can't be started, ends at once.
    #[cfg(target_os = "linux")]
    fn g4_without_threads() {
        let begun = |role| {
            let child = Program::ready_role(role);
            child.send(SIGTERM);
            child.line("stopping: SIGTERM");
            child
        };
        for role in ["abort_timeout_without_threads", "lame_duck_without_threads"] {
            forced(&mut begun(role), role, SIGTERM);
        }
        // The debounce drops a signal that comes too early, so send more until one is not dropped.
        let mut child = begun("debounce_without_threads");
        while child.runs() {
            child.send(SIGTERM);
        }
        assert_eq!(child.code(), 1);
    }

    /// As a sandbox does it, once all is open.
    #[cfg(target_os = "linux")]
    fn no_more_descriptors() {
        let shutdown = Shutdown::install().unwrap();
        setrlimit(Resource::RLIMIT_NOFILE, 0, 0).unwrap();
        wait(&shutdown);
        park();
    }

    /// `poll` refuses to wait then.
    #[cfg(target_os = "linux")]
    fn without_descriptors_the_thread_sleeps() {
        let mut child = Program::ready_role("no_more_descriptors");
        child.send(SIGTERM);
        child.line("stopping: SIGTERM");
        until("its threads sleep", || threads_sleep(child.pid(), None));
        forced(&mut child, "without descriptors", SIGTERM);
    }

    fn failed_installs() {
        let own = |signal: Signal| winddown::Signal::from_raw(signal as i32);
        let unusable = Shutdown::builder().signals([SIGTERM, SIGKILL].map(own));
        for _ in 0..2 {
            let error = unusable.clone().install().unwrap_err();
            assert!(matches!(error, InstallError::Unusable(signal) if signal == own(SIGKILL)));
            let text = error.to_string();
            assert!(text.contains("SIGKILL"), "{text}");
        }
        // Faults; what no program can handle; what ends no program by default, and so would neither
        // request a shutdown in earnest nor be like it once every handle is gone.
        for signal in [
            SIGSTOP, SIGSEGV, SIGILL, SIGFPE, SIGBUS, SIGWINCH, SIGCHLD, SIGURG, SIGCONT, SIGIO,
            SIGTSTP, SIGTTIN, SIGTTOU,
        ] {
            let builder = Shutdown::builder().signals([own(signal)]);
            let error = builder.install().unwrap_err();
            assert!(matches!(error, InstallError::Unusable(_)), "{error}");
        }
        let unknown = winddown::Signal::from_raw(1000);
        let error = Shutdown::builder()
            .signals([unknown])
            .install()
            .unwrap_err();
        assert!(
            error.to_string().starts_with("signal 1000 can't"),
            "{error}"
        );
        let error = Shutdown::builder()
            .force_at_deadline()
            .install()
            .unwrap_err();
        assert!(matches!(error, InstallError::NoGracePeriod), "{error}");
        let error = Shutdown::builder().signals([]).install().unwrap_err();
        assert!(matches!(error, InstallError::NoSignals), "{error}");
        assert!(!winddown::request_shutdown());
        fail_without_descriptors();
        plain();
    }

    fn fail_without_descriptors() {
        let (soft, hard) = getrlimit(Resource::RLIMIT_NOFILE).unwrap();
        // None, and too few for each of the steps that follow.
        for limit in 3..15 {
            setrlimit(Resource::RLIMIT_NOFILE, limit, hard).unwrap();
            let error = Shutdown::install().unwrap_err();
            assert!(matches!(error, InstallError::Register(_)), "{error}");
        }
        setrlimit(Resource::RLIMIT_NOFILE, soft, hard).unwrap();
    }

    fn g6_failed_installs_leave_nothing_and_can_be_retried() {
        let mut child = Program::ready_role("failed_installs");
        child.send(SIGTERM);
        child.line("stopping: SIGTERM");
        assert_eq!(child.code(), 0);
    }

    /// Not installed, so nothing has made async-io's descriptors before.
    fn adapters_without_descriptors() {
        let shutdown = Shutdown::new();
        let told = Cell::new(false);
        let connection = poll_fn(|_| match told.get() {
            true => Poll::Ready(()),
            false => Poll::Pending,
        });
        let connection = connection.on_shutdown(shutdown.waiter(), |_| told.set(true));
        let items = stream::pending::<()>().finish_on_shutdown(shutdown.waiter());
        let limited = pending::<()>().limit_on_shutdown(shutdown.waiter(), MOMENT);
        let (soft, hard) = getrlimit(Resource::RLIMIT_NOFILE).unwrap();
        setrlimit(Resource::RLIMIT_NOFILE, 0, hard).unwrap();
        shutdown.request_shutdown();
        future::block_on(connection);
        assert_eq!(future::block_on(items.count()), 0);
        assert_eq!(future::block_on(limited), None);
        // A sanitizer looks for leaks at the end.
        setrlimit(Resource::RLIMIT_NOFILE, soft, hard).unwrap();
    }

    fn adapters_need_no_descriptors_at_the_shutdown() {
        let mut child = Program::start(&mut command("adapters_without_descriptors"));
        assert_eq!(child.code(), 0);
    }

    fn few_descriptors() {
        let (_, hard) = getrlimit(Resource::RLIMIT_NOFILE).unwrap();
        setrlimit(Resource::RLIMIT_NOFILE, 64, hard).unwrap();
        let all = [
            SIGHUP, SIGINT, SIGQUIT, SIGTRAP, SIGABRT, SIGUSR1, SIGUSR2, SIGPIPE, SIGALRM, SIGTERM,
            SIGXCPU, SIGXFSZ, SIGVTALRM, SIGPROF, SIGSYS,
        ];
        let all = all.map(|signal| winddown::Signal::from_raw(signal as i32));
        wait(&Shutdown::builder().signals(all).install().unwrap());
    }

    fn every_signal_needs_few_descriptors() {
        let mut child = Program::ready_role("few_descriptors");
        child.send(SIGSYS);
        child.line("stopping: SIGSYS");
        assert_eq!(child.code(), 0);
    }

    fn no_descriptors_to_install() {
        fail_without_descriptors();
        println!("ready");
        park();
    }

    /// Nothing is left registered: the signal does what it did before.
    fn g6_a_failed_install_leaves_the_default() {
        dies_by_default("no_descriptors_to_install");
    }

    fn dies_by_default(role: &str) {
        for signal in [SIGINT, SIGTERM] {
            let mut child = Program::start(&mut with_default(&[signal], role));
            child.line("ready");
            child.send(signal);
            assert_eq!(child.wait().signal(), Some(signal as i32));
        }
    }

    #[cfg(target_os = "linux")]
    fn no_thread_to_install() {
        fail_without_a_thread();
        println!("ready");
        park();
    }

    #[cfg(target_os = "linux")]
    fn no_thread_to_install_at_first() {
        fail_without_a_thread();
        plain();
    }

    #[cfg(target_os = "linux")]
    fn fail_without_a_thread() {
        // None, and none for async-io.
        for count in 0..2 {
            let (soft, hard) = leave_memory_for_threads(count);
            let error = Shutdown::install().unwrap_err();
            assert!(matches!(error, InstallError::Thread(_)), "{error}");
            setrlimit(Resource::RLIMIT_AS, soft, hard).unwrap();
        }
    }

    #[cfg(target_os = "linux")]
    fn g6_without_threads_install_leaves_nothing_and_can_be_retried() {
        dies_by_default("no_thread_to_install");
        let mut child = Program::ready_role("no_thread_to_install_at_first");
        child.send(SIGTERM);
        child.line("stopping: SIGTERM");
        assert_eq!(child.code(), 0);
    }

    /// As a daemon has it, or what was started so and has a `main` that is not Rust's.
    fn output_closed() {
        for standard in [0, 1] {
            close(standard).unwrap();
        }
        let shutdown = Shutdown::install().unwrap();
        println!("into the void");
        eprintln!("ready");
        shutdown.waiter().wait_blocking();
        println!("stopping");
    }

    fn what_is_printed_to_a_closed_output_is_no_signal() {
        let mut child = Program::role("output_closed");
        child.error_line("ready");
        child.send(SIGTERM);
        assert_eq!(child.code(), 0);
    }

    fn installs_twice() {
        let shutdown = Shutdown::install().unwrap();
        for _ in 0..3 {
            let error = Shutdown::builder()
                .signals([winddown::Signal::HUP])
                .exit_code(9)
                .install()
                .unwrap_err();
            assert!(matches!(error, InstallError::AlreadyInstalled), "{error}");
        }
        wait(&shutdown);
    }

    fn g6_second_install_changes_nothing() {
        let mut child = Program::ready_role("installs_twice");
        child.send(SIGTERM);
        child.line("stopping: SIGTERM");
        assert_eq!(child.code(), 0);

        let mut child = Program::start(&mut with_default(&[SIGHUP], "installs_twice"));
        child.line("ready");
        child.send(SIGHUP);
        assert_eq!(child.wait().signal(), Some(SIGHUP as i32));
    }

    /// A parent may see each of its system calls.
    #[cfg(all(target_os = "linux", any(target_arch = "x86", target_arch = "x86_64")))]
    fn installs_traced() {
        // One that is blocked waits for the thread `winddown` in any case.
        SigSet::from(SIGTERM).thread_unblock().unwrap();
        ptrace::traceme().unwrap();
        raise(SIGSTOP);
        let shutdown = Shutdown::install().unwrap();
        raise(SIGURG); // ignored, but for the parent
        shutdown.waiter().wait_blocking();
    }

    /// Whichever system call of `install` it follows. A test of the time alone would find in one of thousands of
    /// runs that a handler is half registered. An emulator of other processors has no ptrace.
    #[cfg(all(target_os = "linux", any(target_arch = "x86", target_arch = "x86_64")))]
    fn g7_signal_during_install_ends_the_process_or_requests() {
        let mut whole = false;
        let mut calls = 0;
        while !whole {
            calls += 1;
            let role = &mut with_default(&[SIGTERM], "installs_traced");
            let mut child = Program::start(role);
            child.stopped();
            let pid = child.pid();
            ptrace::setoptions(pid, ptrace::Options::PTRACE_O_TRACESYSGOOD).unwrap();
            // At its begin and at its end.
            for _ in 0..2 * calls {
                ptrace::syscall(pid, None).unwrap();
                match waitpid(pid, None).unwrap() {
                    WaitStatus::PtraceSyscall(_) => {}
                    status => {
                        assert_eq!(status, WaitStatus::Stopped(pid, SIGURG));
                        whole = true;
                        break;
                    }
                }
            }
            child.send(SIGTERM);
            // Another thread may have taken it, and ended the process.
            let detached = ptrace::detach(pid, None);
            assert!(
                matches!(detached, Ok(()) | Err(Errno::ESRCH)),
                "{detached:?}"
            );
            let status = child.wait();
            let died = status.signal() == Some(SIGTERM as i32);
            assert!(
                died || status.success(),
                "after {calls} system calls: {status}"
            );
        }
        assert!(calls > 20, "{calls}");
    }

    fn all_dropped() {
        let shutdown = Shutdown::install().unwrap();
        let waiter = shutdown.waiter();
        drop(shutdown);
        assert!(!waiter.is_requested());
        drop(waiter);
        assert!(!winddown::request_shutdown());
        let again = Shutdown::install();
        assert!(matches!(again, Err(InstallError::AlreadyInstalled)));
        println!("ready");
        park();
    }

    fn g7_without_handles_signals_do_their_default() {
        for signal in [SIGINT, SIGTERM] {
            let mut child = Program::ready_role("all_dropped");
            child.send(signal);
            assert_eq!(child.wait().signal(), Some(signal as i32));
        }
    }

    /// Drops its handles before the thread `winddown` has read the signal.
    fn dropped_with_the_first() {
        let shutdown = Shutdown::install().unwrap();
        raise(SIGTERM);
        drop(shutdown);
        println!("ready");
        park();
    }

    /// The signal came first, so it is no death, and the next is the second.
    fn g7_handles_dropped_with_the_first() {
        for _ in 0..10 {
            let mut child = Program::ready_role("dropped_with_the_first");
            child.send(SIGTERM);
            assert_eq!(child.code(), 1);
        }
    }

    fn only_a_waiter() {
        let waiter = Shutdown::install().unwrap().waiter();
        println!("ready");
        waiter.wait_blocking();
        println!("stopping");
    }

    fn g7_waiter_alone_is_woken() {
        let mut child = Program::ready_role("only_a_waiter");
        child.send(SIGTERM);
        child.line("stopping");
        assert_eq!(child.code(), 0);
    }

    fn dropped_after_the_first() {
        plain();
        park();
    }

    fn g4_g7_handles_dropped_after_the_first() {
        let mut child = Program::ready_role("dropped_after_the_first");
        child.send(SIGTERM);
        child.line("stopping");
        child.send(SIGTERM);
        assert_eq!(child.code(), 1);
    }
}
