//! How a process ends after a shutdown: `Cause::exit`, the exit code of a `Cause`, and the force by signal.
//!
//! A test starts this program again, in a role: see `support/child.rs`. A role stands above the tests
//! that start it.

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
    #[cfg(target_os = "linux")]
    use std::io::Write;
    use std::os::unix::process::ExitStatusExt;
    use std::pin::Pin;
    #[cfg(target_os = "linux")]
    use std::process::Stdio;
    use std::process::{Command, ExitCode, ExitStatus};
    use std::time::Duration;

    use libtest_mimic::Trial;
    use nix::sys::signal::Signal::{self, SIGINT, SIGTERM, SIGTSTP};
    use winddown::{Builder, Cause, Shutdown};

    #[cfg(target_os = "linux")]
    use crate::support::HOUR;
    #[cfg(target_os = "linux")]
    use crate::support::child::skipped;
    use crate::support::child::{Role, command, roles, trials};
    use crate::support::park;
    use crate::support::program::{Program, pid_1_test};

    pub(crate) const ROLES: &[Role] = &roles![
        dies_of_its_signal,
        exits_of_a_stop_signal,
        exits_of_no_signal,
        gives_up,
        on_smol,
        on_tokio,
        on_tokio_threads,
        forced_by_signal,
        forced_by_signal_after_the_debounce,
        forced_by_signal_with_abort_timeout,
        forced_by_request,
        #[cfg(target_os = "linux")]
        forced_by_code,
    ];

    pub(crate) fn tests() -> Vec<Trial> {
        let mut tests = trials![
            cause_exit_dies_of_the_signal,
            cause_exit_of_a_stop_signal_ends_with_the_code,
            cause_exit_of_a_number_that_is_no_signal_is_no_success,
            force_by_signal_dies_of_the_second_signal,
            force_by_signal_dies_of_the_signal_after_a_debounce,
            force_by_signal_dies_of_the_second_signal_after_the_abort_timeout,
            force_by_signal_ends_with_the_code_after_a_request,
        ];
        for runtime in ["on_smol", "on_tokio", "on_tokio_threads"] {
            for how in ["ExitCode::from", "Cause::exit"] {
                tests.push(Trial::test(format!("{runtime}::{how}"), move || {
                    ends_as_the_cause_says(runtime, how);
                    Ok(())
                }));
            }
        }
        tests.push(pid_1_test(
            "cause_exit_as_pid_1_ends_with_the_code",
            cause_exit_as_pid_1_ends_with_the_code,
        ));
        tests.push(pid_1_test(
            "force_by_signal_as_pid_1_ends_with_the_code",
            force_by_signal_as_pid_1_ends_with_the_code,
        ));
        tests.push(pid_1_test(
            "g7_as_pid_1_without_handles_ends_with_the_code",
            g7_as_pid_1_without_handles_ends_with_the_code,
        ));
        #[cfg(target_os = "linux")]
        tests.push(terminal_test(
            "force_by_signal_stops_the_script_of_a_shell",
            force_by_signal_stops_the_script_of_a_shell,
        ));
        tests
    }

    /// Installs a shutdown and waits for its first signal.
    fn begin(builder: Builder) -> Shutdown {
        let shutdown = builder.install().unwrap();
        println!("ready");
        shutdown.waiter().wait_blocking();
        println!("stopping");
        shutdown
    }

    fn dies_of_its_signal() {
        let shutdown = begin(Shutdown::builder());
        // Without a line feed: the exit has to flush it.
        print!("last word");
        shutdown.cause().unwrap().exit()
    }

    fn cause_exit_dies_of_the_signal() {
        for signal in [SIGTERM, SIGINT] {
            let mut child = Program::ready_role("dies_of_its_signal");
            child.send(signal);
            child.line("last word");
            died_of(child.wait(), signal);
        }
    }

    fn died_of(status: ExitStatus, signal: Signal) {
        assert_eq!(status.signal(), Some(signal as i32), "{status}");
    }

    /// Starts a role as PID 1. `unshare` ends as its child has ended.
    fn as_pid_1(mut unshare: Command, role: &str) -> Program {
        let role = command(role);
        unshare.args(["sh", "-c", "echo pid $$; exec \"$0\""]);
        unshare.arg(role.get_program());
        for (name, value) in role.get_envs() {
            unshare.env(name, value.expect("nothing is unset"));
        }
        let mut child = Program::start(&mut unshare);
        assert_eq!(child.line("pid "), "1");
        child.line("ready");
        child.aim_at_its_child();
        child
    }

    /// The kernel drops a signal at its default for PID 1.
    fn cause_exit_as_pid_1_ends_with_the_code(unshare: Command) {
        let mut child = as_pid_1(unshare, "dies_of_its_signal");
        child.send(SIGTERM);
        assert_eq!(child.code(), 143);
    }

    fn gives_up() {
        drop(Shutdown::install().unwrap());
        println!("ready");
        park();
    }

    /// PID 1 can't die of a signal.
    fn g7_as_pid_1_without_handles_ends_with_the_code(unshare: Command) {
        let mut child = as_pid_1(unshare, "gives_up");
        child.send(SIGTERM);
        assert_eq!(child.code(), 143);
    }

    fn exits_of_a_stop_signal() {
        Cause::Signal(winddown::Signal::from_raw(nix::libc::SIGTSTP)).exit();
    }

    fn cause_exit_of_a_stop_signal_ends_with_the_code() {
        let mut child = Program::role("exits_of_a_stop_signal");
        assert_eq!(child.code(), 128 + SIGTSTP as i32);
    }

    /// Of whose code the kernel would keep eight bits: those of success.
    fn exits_of_no_signal() {
        Cause::Signal(winddown::Signal::from_raw(128)).exit();
    }

    fn cause_exit_of_a_number_that_is_no_signal_is_no_success() {
        let mut child = Program::role("exits_of_no_signal");
        assert_eq!(child.code(), 255);
    }

    type Task = Pin<Box<dyn Future<Output = ()> + Send>>;

    /// What begins a shutdown, or makes its end a failure.
    struct Case {
        name: &'static str,
        /// Whether it is sent a SIGTERM when it is ready.
        signal: bool,
        /// How the cause begins, as text. A failure that is caused has it as its error, too.
        cause: &'static str,
        /// The exit code.
        code: i32,
        /// How many guards of it were dropped by a panic.
        panicked: usize,
    }

    const fn case(
        name: &'static str,
        signal: bool,
        cause: &'static str,
        code: i32,
        panicked: usize,
    ) -> Case {
        Case {
            name,
            signal,
            cause,
            code,
            panicked,
        }
    }

    const CASES: &[Case] = &[
        case("signal", true, "SIGTERM", 143, 0),
        case("request", false, "requested at tests/", 0, 0),
        case("trigger", false, "nothing is left to do", 0, 0),
        case("fail", false, "failed: disk full", 1, 0),
        case("fail while draining", true, "failed: disk full", 1, 0),
        case("critical ends", false, "task 'mail' ended", 1, 0),
        // As that of a server whose port is taken.
        case(
            "critical returns an error",
            false,
            "task 'mail' ended",
            1,
            0,
        ),
        case("critical panics", false, "task 'mail' panicked", 1, 1),
        case(
            "critical panics while draining",
            true,
            "task 'mail' panicked",
            1,
            1,
        ),
        case("critical ends while draining", true, "SIGTERM", 143, 0),
        case(
            "critical is dropped",
            false,
            "task 'mail' was dropped",
            1,
            0,
        ),
        case("supervised is done", false, "nothing is left to do", 0, 0),
        case(
            "supervised fails",
            false,
            "task 'mail' failed: no route",
            1,
            0,
        ),
        case(
            "supervised fails while draining",
            true,
            "task 'mail' failed: no route",
            1,
            0,
        ),
        case("supervised panics", false, "task 'mail' panicked", 1, 1),
        case(
            "supervised is dropped",
            false,
            "task 'mail' was dropped",
            1,
            0,
        ),
        case("tracked panics", false, "nothing is left to do", 0, 1),
        case(
            "tracked panics while draining",
            true,
            "panicked at tests/",
            1,
            1,
        ),
        case(
            "tracked panics after a trigger",
            false,
            "panicked at tests/",
            1,
            1,
        ),
    ];

    /// Plays a case, and returns when everything is drained. The arguments are its name, and how to end.
    async fn play(spawn: impl Fn(Task)) -> ExitCode {
        let mut arguments = std::env::args().skip(1);
        let (case, how) = (arguments.next().unwrap(), arguments.next().unwrap());
        let shutdown = Shutdown::install().unwrap();
        let waiter = shutdown.waiter();
        let mail = |task: Task| {
            let critical = shutdown.critical("mail", task);
            spawn(Box::pin(shutdown.track(critical)));
        };
        let supervised = |task: Pin<Box<dyn Future<Output = Result<(), String>> + Send>>| {
            let supervised = shutdown.supervise("mail", task);
            spawn(Box::pin(shutdown.track(async { drop(supervised.await) })));
        };
        let tracked = |task: Task| spawn(Box::pin(shutdown.track(task)));
        match case.as_str() {
            "signal" => {}
            "request" => assert!(shutdown.request_shutdown()),
            "trigger" => assert!(shutdown.trigger("nothing is left to do")),
            "fail" => assert!(shutdown.fail("disk full")),
            "fail while draining" => {
                let failing = shutdown.clone();
                tracked(Box::pin(async move {
                    waiter.await;
                    assert!(!failing.fail("disk full"));
                }));
            }
            "critical ends" => mail(Box::pin(async {})),
            "critical returns an error" => {
                let critical = shutdown.critical("mail", async { Err::<(), _>("no route") });
                spawn(Box::pin(shutdown.track(async {
                    let _ = critical.await;
                })));
            }
            "critical panics" => mail(Box::pin(async { panic!("no route") })),
            "critical panics while draining" => mail(Box::pin(async {
                waiter.await;
                panic!("the last batch is lost")
            })),
            "critical ends while draining" => mail(Box::pin(waiter)),
            "critical is dropped" => drop(shutdown.critical("mail", async {})),
            "supervised is done" => {
                let done = shutdown.supervise("import", async { Ok::<_, String>(42) });
                let shutdown = shutdown.clone();
                spawn(Box::pin(async move {
                    assert_eq!(done.await, Ok(42));
                    assert!(shutdown.trigger("nothing is left to do"));
                }));
            }
            "supervised fails" => supervised(Box::pin(async { Err("no route".to_owned()) })),
            "supervised fails while draining" => supervised(Box::pin(async {
                waiter.await;
                Err("no route".to_owned())
            })),
            "supervised panics" => supervised(Box::pin(async { panic!("no route") })),
            "supervised is dropped" => {
                drop(shutdown.supervise("mail", async { Ok::<_, String>(()) }))
            }
            "tracked panics" => {
                tracked(Box::pin(async { panic!("one request is lost") }));
                let shutdown = shutdown.clone();
                spawn(Box::pin(async move {
                    while shutdown.in_flight() > 0 {
                        futures_lite::future::yield_now().await;
                    }
                    assert!(shutdown.trigger("nothing is left to do"));
                }));
            }
            "tracked panics while draining" | "tracked panics after a trigger" => {
                tracked(Box::pin(async {
                    waiter.await;
                    panic!("one request is lost")
                }));
                if case.ends_with("trigger") {
                    assert!(shutdown.trigger("nothing is left to do"));
                }
            }
            _ => panic!("no case '{case}'"),
        }
        println!("ready");
        shutdown.drained().await.unwrap();
        let cause = shutdown.cause().unwrap();
        println!("cause: {cause}");
        if let Some(error) = cause.error() {
            println!("error: {error}");
        }
        println!("panicked: {}", shutdown.report().panicked());
        match how.as_str() {
            "Cause::exit" => cause.exit(),
            _ => ExitCode::from(cause),
        }
    }

    fn on_smol() -> ExitCode {
        smol::block_on(play(|task| smol::spawn(task).detach()))
    }

    #[tokio::main(flavor = "current_thread")]
    async fn on_tokio() -> ExitCode {
        play(|task| drop(tokio::spawn(task))).await
    }

    #[tokio::main]
    async fn on_tokio_threads() -> ExitCode {
        play(|task| drop(tokio::spawn(task))).await
    }

    fn ends_as_the_cause_says(runtime: &str, how: &str) {
        for case in CASES {
            let name = case.name;
            let mut child = Program::start(command(runtime).args([name, how]));
            child.line("ready");
            if case.signal {
                child.send(SIGTERM);
            }
            let status = child.wait();
            let lines = child.rest();
            let line = |start| lines.iter().find_map(|line| line.strip_prefix(start));
            println!("{runtime}, {how}, {name}: {status}, {lines:?}");
            let cause = line("cause: ").unwrap_or_else(|| panic!("{name}: no cause"));
            assert!(cause.starts_with(case.cause), "{name}: {cause}");
            let failed = case.code == 1;
            assert_eq!(line("error: "), failed.then_some(cause), "{name}");
            assert_eq!(
                line("panicked: "),
                Some(&*case.panicked.to_string()),
                "{name}"
            );
            if how == "Cause::exit" && case.code == 143 {
                died_of(status, SIGTERM);
            } else {
                assert_eq!(status.code(), Some(case.code), "{name}: {status}");
            }
        }
    }

    fn forced_by_signal() {
        let _shutdown = begin(Shutdown::builder().force_by_signal());
        park();
    }

    fn force_by_signal_dies_of_the_second_signal() {
        for (first, second) in [(SIGINT, SIGINT), (SIGINT, SIGTERM), (SIGTERM, SIGTERM)] {
            died_of(second_signal("forced_by_signal", first, second), second);
        }
    }

    fn second_signal(role: &str, first: Signal, second: Signal) -> ExitStatus {
        let mut child = Program::ready_role(role);
        child.send(first);
        child.line("stopping");
        child.send(second);
        child.wait()
    }

    const MOMENT: Duration = Duration::from_millis(1);

    fn forced_by_signal_after_the_debounce() {
        let builder = Shutdown::builder().debounce(MOMENT);
        let _shutdown = begin(builder.force_by_signal());
        park();
    }

    fn force_by_signal_dies_of_the_signal_after_a_debounce() {
        let mut child = Program::ready_role("forced_by_signal_after_the_debounce");
        child.send(SIGINT);
        child.line("stopping");
        // The debounce drops a signal that comes too early, so send more until one is not dropped.
        while child.runs() {
            child.send(SIGTERM);
        }
        died_of(child.wait(), SIGTERM);
    }

    fn forced_by_signal_with_abort_timeout() {
        let builder = Shutdown::builder().abort_timeout(MOMENT);
        let _shutdown = begin(builder.force_by_signal());
        park();
    }

    /// The thread that keeps the time ends the process then, and not the handler.
    fn force_by_signal_dies_of_the_second_signal_after_the_abort_timeout() {
        for (first, second) in [(SIGINT, SIGTERM), (SIGTERM, SIGINT)] {
            let status = second_signal("forced_by_signal_with_abort_timeout", first, second);
            died_of(status, second);
        }
    }

    fn forced_by_request() {
        let builder = Shutdown::builder().exit_code(7);
        let shutdown = begin(builder.force_by_signal());
        shutdown.request_shutdown();
        unreachable!("the second ends the process");
    }

    fn force_by_signal_ends_with_the_code_after_a_request() {
        let mut child = Program::ready_role("forced_by_request");
        child.send(SIGINT);
        assert_eq!(child.code(), 7);
    }

    fn force_by_signal_as_pid_1_ends_with_the_code(unshare: Command) {
        let mut child = as_pid_1(unshare, "forced_by_signal");
        child.send(SIGINT);
        child.line("stopping");
        child.send(SIGTERM);
        assert_eq!(child.code(), 143);
    }

    #[cfg(target_os = "linux")]
    fn forced_by_code() {
        let shutdown = begin(Shutdown::builder());
        let _guard = shutdown.guard();
        let _ = shutdown.drain_blocking(HOUR);
    }

    /// Returns a test that needs a terminal, which `script` makes, and bash. Elsewhere it is ignored.
    #[cfg(target_os = "linux")]
    fn terminal_test(name: &str, test: fn()) -> Trial {
        let runs = |command: &mut Command| command.output().is_ok_and(|it| it.status.success());
        if runs(Command::new("script").args(["-qec", "bash -c true", "/dev/null"])) {
            Trial::test(name, move || {
                test();
                Ok(())
            })
        } else {
            skipped(name, "it needs bash, and script of util-linux")
        }
    }

    /// Ctrl-C twice. bash goes on with the next line if the program ends with a code, as one that has
    /// dealt with SIGINT, and ends too if the program dies of the signal.
    ///
    /// On a loaded machine bash may look too late at the SIGINT that it gets too. So it has a few tries.
    #[cfg(target_os = "linux")]
    fn force_by_signal_stops_the_script_of_a_shell() {
        for (role, goes_on) in [("forced_by_code", true), ("forced_by_signal", false)] {
            assert!((0..5).any(|_| script_goes_on(role) == goes_on), "{role}");
        }
    }

    /// Runs a script of two lines in a terminal. Returns whether its second line runs.
    #[cfg(target_os = "linux")]
    fn script_goes_on(role: &str) -> bool {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("two_lines");
        let program = std::env::current_exe().unwrap();
        std::fs::write(&file, format!("'{}'\necho next\n", program.display())).unwrap();
        // bash ignores for ever what it is started to ignore, as the tests may be.
        let mut script = Command::new("env");
        script.args(["--default-signal=INT", "script"]);
        script.args(["-qec", &format!("bash '{}'", file.display()), "/dev/null"]);
        for (name, value) in command(role).get_envs() {
            script.env(name, value.expect("nothing is unset"));
        }
        let mut terminal = Program::start_with_stdin(script.stdin(Stdio::piped()));
        let mut keys = terminal.stdin();
        for line in ["ready", "stopping"] {
            // The terminal writes what is typed in front of the line.
            terminal.line_with(line);
            keys.write_all(b"\x03").unwrap();
        }
        terminal.code();
        terminal.rest().iter().any(|line| line.contains("next"))
    }
}
