//! What shells, supervisors and terminals see: force policies, last words, exit codes, systemd.
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
        return roles::run(&role);
    }
    let args = libtest_mimic::Arguments::from_args();
    libtest_mimic::run(&args, tests::all()).exit_code()
}

/// What a child does. It prints `ready` when it may be sent signals, and `stopping` when it has
/// seen the first.
#[cfg(all(unix, feature = "signals"))]
mod roles {
    use std::process::ExitCode;
    use std::sync::Arc;
    use std::task::{Context, Wake};
    use std::thread;
    use std::time::Duration;

    use nix::sys::signal::{Signal, kill, raise};
    use nix::unistd::Pid;
    use winddown::{Builder, Cause, ForcePolicy, Shutdown, Stage};

    use crate::program::all_are_read;

    const HOUR: Duration = Duration::from_secs(3600);
    const BOTH: [Signal; 2] = [Signal::SIGTERM, Signal::SIGINT];

    pub(crate) fn run(role: &str) -> ExitCode {
        let builder = Shutdown::builder();
        match role.strip_suffix(" and drops").unwrap_or(role) {
            "dies_of_its_signal" => dies(builder),
            "ends_where_it_would_stop" => Cause::Signal(winddown::Signal::Tstp).exit(),
            "returns_the_code" => return returns(builder),
            "ends_well" => ends_well(),
            "lame_duck_on_interrupt" => {
                lame_duck(builder.lame_duck(HOUR).lame_duck_on_interrupt(true))
            }
            "only_interrupt" => repeats(
                builder.force_policy(ForcePolicy::OnlyInterrupt),
                &[Signal::SIGTERM],
            ),
            "never" => repeats(builder.force_policy(ForcePolicy::Never), &BOTH),
            "debounce" => repeats(builder.debounce(HOUR), &BOTH),
            "short_debounce" => insists(builder.debounce(Duration::from_millis(1))),
            "short_debounce_fake" => insists_fake(builder.debounce(Duration::from_millis(1))),
            "debounce_waker_hangs" => hangs(builder.debounce(Duration::from_millis(1))),
            "last_words" => speaks(builder.last_words(HOUR)),
            "last_words_of_three" => {
                use winddown::Signal::{Int, Term, Usr1};
                speaks(builder.signals([Int, Term, Usr1]).last_words(HOUR));
            }
            "last_words_waker_hangs" => hangs(builder.last_words(HOUR)),
            "lame_duck" => lame_duck(builder.lame_duck(HOUR)),
            "short_lame_duck" => lame_duck(builder.lame_duck(Duration::from_millis(1))),
            #[cfg(target_os = "linux")]
            "abandoned" => abandoned(builder.lame_duck(HOUR)),
            #[cfg(feature = "systemd")]
            "systemd" => systemd(),
            other => match other.strip_prefix("last_words_of_ms ") {
                Some(time) => {
                    speaks(builder.last_words(Duration::from_millis(time.parse().unwrap())))
                }
                None => panic!("no role '{other}'"),
            },
        }
        ExitCode::SUCCESS
    }

    fn park() -> ! {
        loop {
            thread::park();
        }
    }

    fn begin(builder: Builder) -> Shutdown {
        let shutdown = builder.install().unwrap();
        println!("ready");
        shutdown.waiter().wait_blocking();
        println!("stopping");
        shutdown
    }

    fn dies(builder: Builder) {
        // Not ended by a line feed: it is flushed all the same.
        let shutdown = begin(builder);
        print!("last word");
        shutdown.cause().unwrap().exit()
    }

    fn ends_well() {
        let shutdown = Shutdown::install().unwrap();
        shutdown.trigger("nothing is left to do");
        print!("last word");
        shutdown.cause().unwrap().exit()
    }

    fn returns(builder: Builder) -> ExitCode {
        begin(builder).cause().unwrap().into()
    }

    /// Signals that may not force. Their handlers have run when `raise` returns, and each is read before
    /// anything is said of it.
    fn repeats(builder: Builder, signals: &[Signal]) {
        let shutdown = unless_dropped(begin(builder));
        for signal in signals.iter().cycle().take(4) {
            send(*signal);
            if let Some(shutdown) = &shutdown {
                assert_eq!(shutdown.stage(), Stage::Stopping, "{signal}");
            }
            assert!(!winddown::request_shutdown());
        }
        println!("repeated");
        park();
    }

    /// To the process, as others do, and waits until it was read.
    fn send(signal: Signal) {
        kill(Pid::this(), signal).unwrap();
        all_are_read();
    }

    /// As a program does that only waits for the first signal, and then cleans up.
    fn unless_dropped(shutdown: Shutdown) -> Option<Shutdown> {
        let role = std::env::var("WINDDOWN_ROLE").unwrap();
        (!role.ends_with(" and drops")).then_some(shutdown)
    }

    /// Sends signals until one forces: those that came too soon did not.
    fn insists(builder: Builder) {
        let _shutdown = begin(builder);
        loop {
            raise(Signal::SIGTERM).unwrap();
            thread::yield_now();
        }
    }

    fn insists_fake(builder: Builder) {
        let shutdown = builder.install().unwrap();
        assert!(shutdown.request_shutdown());
        loop {
            raise(Signal::SIGINT).unwrap();
            thread::yield_now();
        }
    }

    fn hangs(builder: Builder) {
        struct Hangs;
        impl Wake for Hangs {
            fn wake(self: Arc<Self>) {
                println!("stopping");
                park();
            }
        }
        let shutdown = builder.install().unwrap();
        let mut waiter = shutdown.waiter();
        let waker = Arc::new(Hangs).into();
        let poll = std::pin::Pin::new(&mut waiter).poll(&mut Context::from_waker(&waker));
        assert!(poll.is_pending());
        println!("ready");
        futures_lite::future::block_on(shutdown.forced());
        println!("forced");
        park();
    }

    fn speaks(builder: Builder) {
        let Some(shutdown) = unless_dropped(begin(builder)) else {
            send(Signal::SIGTERM);
            println!("forced");
            park();
        };
        let _guard = shutdown.guard();
        let drained = shutdown.drain_blocking(HOUR);
        assert!(drained.is_err() && shutdown.is_forced());
        println!("forced");
        park();
    }

    fn lame_duck(builder: Builder) {
        let shutdown = builder.install().unwrap();
        println!("ready");
        futures_lite::future::block_on(shutdown.requested());
        println!("{:?}", shutdown.stage());
        shutdown.waiter().wait_blocking();
    }

    /// Begins a shutdown, and lets go of it.
    #[cfg(target_os = "linux")]
    fn abandoned(builder: Builder) {
        use crate::program::{threads, until};

        let shutdown = builder.install().unwrap();
        let before = threads();
        let reason = "no\nthing\0".to_owned() + &"🦀".repeat(5000);
        assert!(shutdown.trigger(reason));
        drop(shutdown);
        // They look at it now and then, and hold it for as long as that takes.
        until("the threads of the shutdown end", || threads() == before);
        println!("ready");
        park();
    }

    #[cfg(feature = "systemd")]
    fn systemd() {
        let shutdown = Shutdown::install().unwrap();
        let mut guards: Vec<_> = (0..3).map(|_| shutdown.guard()).collect();
        println!("ready");
        shutdown.waiter().wait_blocking();
        // One line of input is one guard less.
        for line in std::io::stdin().lines() {
            line.unwrap();
            guards.pop();
        }
        drop(guards);
        shutdown.drain_blocking(HOUR).unwrap();
    }
}

#[cfg(all(unix, feature = "signals"))]
mod tests {
    use std::os::unix::process::ExitStatusExt;
    use std::process::Command;
    use std::time::{Duration, Instant};

    use libtest_mimic::{Completion, Trial};
    use nix::sys::signal::Signal::{self, SIGCONT, SIGINT, SIGSTOP, SIGTERM, SIGUSR1};

    use crate::program::{Program, unshare};

    pub(crate) fn all() -> Vec<Trial> {
        macro_rules! trials {
            ($($(#[$attribute:meta])* $name:ident),* $(,)?) => {
                vec![$($(#[$attribute])* Trial::test(stringify!($name), || { $name(); Ok(()) })),*]
            };
        }
        let mut trials = trials![
            cause_exit_dies_of_the_signal,
            cause_exit_ends_where_the_signal_would_stop,
            cause_exit_ends_well_without_a_signal,
            the_code_of_a_cause_is_that_of_a_shell,
            only_interrupt_is_forced_by_sigint,
            never_is_never_forced,
            a_debounced_repeat_is_the_same,
            after_the_debounce_the_second_forces,
            g4_with_a_debounce_and_a_waker_that_hangs,
            policies_outlive_the_handles,
            last_words_end_by_a_third_signal,
            last_words_end_by_a_third_signal_that_came_with_the_second,
            last_words_end_by_themselves,
            g4_with_last_words_and_a_waker_that_hangs,
            a_lame_duck_is_for_sigterm_alone,
            a_lame_duck_ends_by_itself,
            #[cfg(target_os = "linux")]
            g7_a_lame_duck_without_handles_dies_of_the_signal,
            #[cfg(all(feature = "systemd", target_os = "linux"))]
            g7_systemd_without_handles_dies_of_the_signal,
            #[cfg(feature = "systemd")]
            systemd_is_told_in_order,
        ];
        trials.push(Trial::ignorable_test(
            "cause_exit_as_pid_1_ends_with_the_code",
            || {
                let Some(unshare) = unshare() else {
                    let reason = "unshare can't make a process PID 1 here";
                    println!("cause_exit_as_pid_1_ends_with_the_code skipped: {reason}");
                    return Ok(Completion::ignored_with(reason));
                };
                cause_exit_as_pid_1_ends_with_the_code(unshare);
                Ok(Completion::Completed)
            },
        ));
        trials
    }

    fn command(role: &str) -> Command {
        let mut command = Command::new(std::env::current_exe().expect("a test has a path"));
        command.env("WINDDOWN_ROLE", role);
        command
    }

    /// Started, and sent its first signal.
    fn begun(role: &str, signal: Signal) -> Program {
        let child = Program::start(&mut command(role));
        child.line("ready");
        child.send(signal);
        child
    }

    fn cause_exit_dies_of_the_signal() {
        for signal in [SIGTERM, SIGINT] {
            let mut child = begun("dies_of_its_signal", signal);
            child.line("last word");
            let status = child.wait();
            assert_eq!(status.signal(), Some(signal as i32), "{status}");
        }
    }

    fn cause_exit_ends_where_the_signal_would_stop() {
        let mut child = Program::start(&mut command("ends_where_it_would_stop"));
        assert_eq!(child.code(), 128 + Signal::SIGTSTP as i32);
    }

    fn cause_exit_ends_well_without_a_signal() {
        let mut child = Program::start(&mut command("ends_well"));
        child.line("last word");
        assert_eq!(child.code(), 0);
    }

    /// The kernel would drop the signal at its default there. `unshare` hands on how its child ended.
    fn cause_exit_as_pid_1_ends_with_the_code(mut unshare: Command) {
        let program = std::env::current_exe().expect("a test has a path");
        unshare.args(["sh", "-c", "echo pid $$; exec \"$0\""]);
        unshare
            .arg(program)
            .env("WINDDOWN_ROLE", "dies_of_its_signal");
        let mut child = Program::start(&mut unshare);
        assert_eq!(child.line("pid "), "1");
        child.line("ready");
        child.aim_at_its_child();
        child.send(SIGTERM);
        assert_eq!(child.code(), 143);
    }

    fn the_code_of_a_cause_is_that_of_a_shell() {
        assert_eq!(begun("returns_the_code", SIGTERM).code(), 143);
        assert_eq!(begun("returns_the_code", SIGINT).code(), 130);
    }

    fn only_interrupt_is_forced_by_sigint() {
        let mut child = begun("only_interrupt", SIGTERM);
        child.line("repeated");
        child.send(SIGINT);
        assert_eq!(child.code(), 1);
    }

    fn never_is_never_forced() {
        let child = begun("never", SIGINT);
        child.line("repeated");
        // It is killed when it is dropped.
    }

    fn a_debounced_repeat_is_the_same() {
        let child = begun("debounce", SIGTERM);
        child.line("repeated");
    }

    /// The program waits for the first signal, drops everything, and cleans up.
    fn policies_outlive_the_handles() {
        let mut child = begun("only_interrupt and drops", SIGTERM);
        child.line("repeated");
        child.send(SIGINT);
        assert_eq!(child.code(), 1);
        begun("never and drops", SIGINT).line("repeated");
        begun("debounce and drops", SIGTERM).line("repeated");
        let mut child = begun("last_words and drops", SIGTERM);
        child.line("forced");
        child.send(SIGTERM);
        assert_eq!(child.code(), 1);
    }

    fn after_the_debounce_the_second_forces() {
        assert_eq!(begun("short_debounce", SIGINT).code(), 1);
        let mut child = Program::start(&mut command("short_debounce_fake"));
        assert_eq!(child.code(), 1);
    }

    fn g4_with_a_debounce_and_a_waker_that_hangs() {
        let mut child = begun("debounce_waker_hangs", SIGINT);
        child.line("stopping");
        // One that comes too soon is dropped; so send until one is not.
        while child.runs() {
            child.send(SIGINT);
        }
        assert_eq!(child.code(), 1);
    }

    fn last_words_end_by_a_third_signal() {
        let mut child = begun("last_words", SIGTERM);
        child.line("stopping");
        child.send(SIGTERM);
        child.line("forced");
        child.send(SIGTERM);
        assert_eq!(child.code(), 1);
    }

    /// All three come before the force could arm the handler.
    fn last_words_end_by_a_third_signal_that_came_with_the_second() {
        let mut child = Program::start(&mut command("last_words_of_three"));
        child.line("ready");
        child.send(SIGSTOP);
        child.stopped();
        for signal in [SIGINT, SIGTERM, SIGUSR1, SIGCONT] {
            child.send(signal);
        }
        assert_eq!(child.code(), 1);
    }

    /// The program sees the force, and ends when the time has passed. Where that was too short for a
    /// busy machine to say `forced`, it is tried with more.
    fn last_words_end_by_themselves() {
        let heard = [10, 100, 1_000, 10_000].into_iter().any(|time| {
            let mut child = begun(&format!("last_words_of_ms {time}"), SIGTERM);
            child.line("stopping");
            let sent = Instant::now();
            child.send(SIGTERM);
            assert_eq!(child.code(), 1);
            assert!(sent.elapsed() >= Duration::from_millis(time));
            child.rest().contains(&"forced".to_owned())
        });
        assert!(heard, "nobody saw the force");
    }

    fn g4_with_last_words_and_a_waker_that_hangs() {
        let mut child = begun("last_words_waker_hangs", SIGTERM);
        child.line("stopping");
        child.send(SIGTERM);
        child.line("forced");
        child.send(SIGINT);
        assert_eq!(child.code(), 1);
    }

    fn a_lame_duck_is_for_sigterm_alone() {
        let mut child = begun("lame_duck", SIGINT);
        child.line("Stopping");
        assert_eq!(child.code(), 0);
        let mut child = begun("lame_duck", SIGTERM);
        child.line("Requested");
        child.send(SIGTERM);
        assert_eq!(child.code(), 1);
        // Unless the program says otherwise.
        let mut child = begun("lame_duck_on_interrupt", SIGINT);
        child.line("Requested");
        child.send(SIGTERM);
        assert_eq!(child.code(), 1);
    }

    fn a_lame_duck_ends_by_itself() {
        let mut child = begun("short_lame_duck", SIGTERM);
        assert_eq!(child.code(), 0);
    }

    #[cfg(target_os = "linux")]
    fn g7_a_lame_duck_without_handles_dies_of_the_signal() {
        let mut child = begun("abandoned", SIGTERM);
        assert_eq!(child.wait().signal(), Some(SIGTERM as i32));
    }

    /// What systemd is sent.
    #[cfg(feature = "systemd")]
    struct Messages {
        socket: std::os::unix::net::UnixDatagram,
        folder: tempfile::TempDir,
    }

    #[cfg(feature = "systemd")]
    impl Messages {
        fn new() -> Self {
            let folder = tempfile::tempdir().unwrap();
            let path = folder.path().join("notify");
            let socket = std::os::unix::net::UnixDatagram::bind(path).unwrap();
            let patience = Some(crate::program::PATIENCE);
            socket.set_read_timeout(patience).unwrap();
            Self { socket, folder }
        }

        fn go_to(&self, command: &mut Command) {
            command.env("NOTIFY_SOCKET", self.folder.path().join("notify"));
        }

        fn next(&self) -> String {
            // As much as systemd reads.
            let mut buffer = [0; 4096];
            let length = self.socket.recv(&mut buffer).unwrap();
            String::from_utf8_lossy(&buffer[..length]).into_owned()
        }
    }

    #[cfg(all(feature = "systemd", target_os = "linux"))]
    fn g7_systemd_without_handles_dies_of_the_signal() {
        let messages = Messages::new();
        let mut command = command("abandoned");
        messages.go_to(&mut command);
        let mut child = Program::start(&mut command);
        child.line("ready");
        let message = messages.next();
        let start = "STOPPING=1\nSTATUS=stopping: no thing 🦀🦀";
        assert!(message.starts_with(start), "{message}");
        assert!(message.ends_with("🦀🦀; 0 in flight\n"), "{message}");
        child.send(SIGTERM);
        assert_eq!(child.wait().signal(), Some(SIGTERM as i32));
    }

    #[cfg(feature = "systemd")]
    fn systemd_is_told_in_order() {
        use std::io::Write;
        use std::process::Stdio;

        let messages = Messages::new();
        let mut command = command("systemd");
        messages.go_to(command.stdin(Stdio::piped()));
        let mut child = Program::start_with_stdin(&mut command);
        let mut stdin = child.stdin();
        child.line("ready");
        child.send(SIGTERM);
        assert_eq!(
            messages.next(),
            "STOPPING=1\nSTATUS=stopping: SIGTERM; 3 in flight\n"
        );
        for left in [2, 1] {
            stdin.write_all(b"\n").unwrap();
            assert_eq!(
                messages.next(),
                format!(
                    "EXTEND_TIMEOUT_USEC=15000000\nSTATUS=stopping: SIGTERM; {left} in flight\n"
                )
            );
        }
        drop(stdin);
        assert_eq!(child.code(), 0);
    }
}
