//! When the second signal forces, and what happens before and after: force policies, debounce, abort
//! timeout and lame ducks, in a real process with real signals.
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
    use std::os::unix::process::ExitStatusExt;
    use std::thread;
    use std::time::{Duration, Instant};

    use futures_lite::future;
    use libtest_mimic::Trial;
    use nix::sys::signal::Signal::{self, SIGCONT, SIGINT, SIGSTOP, SIGTERM, SIGUSR1};
    use nix::sys::signal::kill;
    use nix::unistd::Pid;
    use winddown::{Builder, ForcePolicy, Shutdown, Stage};

    use crate::support::child::{Role, command, roles, trials};
    use crate::support::program::{Program, all_are_read, raise};
    use crate::support::{Call, HOUR, park, poll, until};

    pub(crate) const ROLES: &[Role] = &roles![
        only_interrupt,
        only_interrupt_dropped,
        never,
        never_dropped,
        debounce,
        debounce_dropped,
        short_debounce,
        short_debounce_after_request,
        short_debounce_waker_hangs,
        abort_timeout,
        abort_timeout_dropped,
        abort_timeout_for_three_signals,
        abort_timeout_for_three_signals_by_signal,
        abort_timeout_for_ms,
        abort_timeout_waker_hangs,
        abort_timeout_callback_hangs,
        lame_duck,
        lame_duck_on_interrupt,
        short_lame_duck,
        #[cfg(target_os = "linux")]
        lame_duck_dropped,
        #[cfg(target_os = "linux")]
        many_timers,
    ];

    pub(crate) fn tests() -> Vec<Trial> {
        trials![
            only_interrupt_is_forced_by_sigint,
            never_is_never_forced,
            debounce_drops_early_repeats,
            g7_policies_outlive_the_handles,
            after_the_debounce_the_second_forces,
            g4_with_a_debounce_and_a_waker_that_hangs,
            g4_abort_timeout_ends_by_a_third_signal,
            g4_abort_timeout_ends_by_a_third_signal_that_came_with_the_second,
            g4_third_signal_that_came_with_the_second_is_what_the_process_dies_of,
            g4_abort_timeout_ends_with_its_time,
            g4_with_abort_timeout_and_a_waker_that_hangs,
            thread_hears_of_the_force_though_a_callback_hangs,
            lame_duck_is_for_sigterm_alone,
            lame_duck_ends_with_its_time,
            #[cfg(target_os = "linux")]
            g7_lame_duck_without_handles_dies_of_the_signal,
            #[cfg(target_os = "linux")]
            crate_has_two_threads_however_many_timers,
        ]
    }

    /// Starts a role and sends the first signal.
    fn begun(role: &str, signal: Signal) -> Program {
        let child = Program::ready_role(role);
        child.send(signal);
        child
    }

    /// Installs a shutdown and waits for its first signal.
    fn begin(builder: Builder) -> Shutdown {
        let shutdown = builder.install().unwrap();
        println!("ready");
        shutdown.waiter().wait_blocking();
        println!("stopping");
        shutdown
    }

    /// Sends a signal to this process, as another process does, and waits until it was read.
    fn send(signal: Signal) {
        kill(Pid::this(), signal).unwrap();
        all_are_read();
    }

    /// Sends signals that may not force, and reads what each has done, if a handle is left to ask.
    fn repeat(shutdown: Option<&Shutdown>, signals: &[Signal]) {
        for signal in signals.iter().cycle().take(4) {
            send(*signal);
            if let Some(shutdown) = shutdown {
                assert_eq!(shutdown.stage(), Stage::Stopping, "{signal}");
            }
            assert!(!winddown::request_shutdown());
        }
        println!("repeated");
        park();
    }

    fn of_policy(policy: ForcePolicy) -> Builder {
        Shutdown::builder().force_policy(policy)
    }

    fn only_interrupt() {
        let shutdown = begin(of_policy(ForcePolicy::OnlyInterrupt));
        repeat(Some(&shutdown), &[SIGTERM]);
    }

    fn only_interrupt_dropped() {
        drop(begin(of_policy(ForcePolicy::OnlyInterrupt)));
        repeat(None, &[SIGTERM]);
    }

    fn only_interrupt_is_forced_by_sigint() {
        let mut child = begun("only_interrupt", SIGTERM);
        child.line("repeated");
        child.send(SIGINT);
        assert_eq!(child.code(), 1);
    }

    fn never() {
        let shutdown = begin(of_policy(ForcePolicy::Never));
        repeat(Some(&shutdown), &[SIGTERM, SIGINT]);
    }

    fn never_dropped() {
        drop(begin(of_policy(ForcePolicy::Never)));
        repeat(None, &[SIGTERM, SIGINT]);
    }

    fn never_is_never_forced() {
        let child = begun("never", SIGINT);
        child.line("repeated");
        // The drop of the child kills it.
    }

    fn debounce() {
        let shutdown = begin(Shutdown::builder().debounce(HOUR));
        repeat(Some(&shutdown), &[SIGTERM, SIGINT]);
    }

    fn debounce_dropped() {
        drop(begin(Shutdown::builder().debounce(HOUR)));
        repeat(None, &[SIGTERM, SIGINT]);
    }

    fn debounce_drops_early_repeats() {
        let child = begun("debounce", SIGTERM);
        child.line("repeated");
    }

    fn abort_timeout_dropped() {
        drop(begin(Shutdown::builder().abort_timeout(HOUR)));
        send(SIGTERM);
        println!("forced");
        park();
    }

    /// The program waits for the first signal, drops every handle, and cleans up.
    fn g7_policies_outlive_the_handles() {
        let mut child = begun("only_interrupt_dropped", SIGTERM);
        child.line("repeated");
        child.send(SIGINT);
        assert_eq!(child.code(), 1);
        begun("never_dropped", SIGINT).line("repeated");
        begun("debounce_dropped", SIGTERM).line("repeated");
        let mut child = begun("abort_timeout_dropped", SIGTERM);
        child.line("forced");
        child.send(SIGTERM);
        assert_eq!(child.code(), 1);
    }

    const MOMENT: Duration = Duration::from_millis(1);

    /// Sends signals until one forces. The debounce drops those that come too early.
    fn short_debounce() {
        let _shutdown = begin(Shutdown::builder().debounce(MOMENT));
        loop {
            raise(SIGTERM);
            thread::yield_now();
        }
    }

    fn short_debounce_after_request() {
        let shutdown = Shutdown::builder().debounce(MOMENT).install().unwrap();
        assert!(shutdown.request_shutdown());
        loop {
            raise(SIGINT);
            thread::yield_now();
        }
    }

    fn after_the_debounce_the_second_forces() {
        assert_eq!(begun("short_debounce", SIGINT).code(), 1);
        let mut child = Program::role("short_debounce_after_request");
        assert_eq!(child.code(), 1);
    }

    /// A waker of the first signal hangs. Looks for the force and prints `forced`.
    fn hang(builder: Builder) {
        let shutdown = builder.install().unwrap();
        let waker = Call::waker(|| {
            println!("stopping");
            park();
        });
        let mut waiter = shutdown.waiter();
        assert!(poll(&mut waiter, &waker).is_pending());
        println!("ready");
        // No task is told of the force: one thread calls all wakers, and this one hangs.
        until("it is forced", || shutdown.is_forced());
        println!("forced");
        park();
    }

    fn short_debounce_waker_hangs() {
        hang(Shutdown::builder().debounce(MOMENT));
    }

    fn g4_with_a_debounce_and_a_waker_that_hangs() {
        let mut child = begun("short_debounce_waker_hangs", SIGINT);
        child.line("stopping");
        // The debounce drops a signal that comes too early, so send more until one is not dropped.
        while child.runs() {
            child.send(SIGINT);
        }
        assert_eq!(child.code(), 1);
    }

    /// Holds a guard until the force, and goes on after it.
    fn speak(builder: Builder) {
        let shutdown = begin(builder);
        drain_until_forced(&shutdown);
    }

    fn drain_until_forced(shutdown: &Shutdown) -> ! {
        let _guard = shutdown.guard();
        let drained = shutdown.drain_blocking(HOUR);
        assert!(drained.is_err() && shutdown.is_forced());
        println!("forced");
        park();
    }

    /// Sends three signals to a role that prints what it hears of the first two.
    fn ends_by_a_third_signal(role: &str, third: Signal) {
        let mut child = begun(role, SIGTERM);
        child.line("stopping");
        child.send(SIGTERM);
        child.line("forced");
        child.send(third);
        assert_eq!(child.code(), 1);
    }

    fn abort_timeout() {
        speak(Shutdown::builder().abort_timeout(HOUR));
    }

    fn g4_abort_timeout_ends_by_a_third_signal() {
        ends_by_a_third_signal("abort_timeout", SIGTERM);
    }

    fn for_three_signals() -> Builder {
        use winddown::Signal;
        let signals = [Signal::INT, Signal::TERM, Signal::USR1];
        Shutdown::builder().signals(signals).abort_timeout(HOUR)
    }

    fn abort_timeout_for_three_signals() {
        speak(for_three_signals());
    }

    fn abort_timeout_for_three_signals_by_signal() {
        speak(for_three_signals().force_by_signal());
    }

    /// Sends three signals at once, so that all come before the force could arm the handler.
    fn sent_three_signals(role: &str) -> Program {
        let child = Program::ready_role(role);
        child.send(SIGSTOP);
        child.stopped();
        for signal in [SIGINT, SIGTERM, SIGUSR1, SIGCONT] {
            child.send(signal);
        }
        child
    }

    fn g4_abort_timeout_ends_by_a_third_signal_that_came_with_the_second() {
        let mut child = sent_three_signals("abort_timeout_for_three_signals");
        assert_eq!(child.code(), 1);
    }

    /// Mutation: `Process::third` ignores which signal it was.
    fn g4_third_signal_that_came_with_the_second_is_what_the_process_dies_of() {
        let mut child = sent_three_signals("abort_timeout_for_three_signals_by_signal");
        let signals = [SIGINT, SIGTERM, SIGUSR1].map(|signal| Some(signal as i32));
        let status = child.wait();
        assert!(signals.contains(&status.signal()), "{status}");
    }

    /// The first argument is the time.
    fn abort_timeout_for_ms() {
        let time = std::env::args().nth(1).unwrap().parse().unwrap();
        speak(Shutdown::builder().abort_timeout(Duration::from_millis(time)));
    }

    /// The child sees the force, and ends once the time has passed. A time may be too short for a busy
    /// machine to print `forced`, so more time follows.
    fn g4_abort_timeout_ends_with_its_time() {
        let heard = [10, 100, 1_000, 10_000].into_iter().any(|time| {
            let mut command = command("abort_timeout_for_ms");
            let mut child = Program::start(command.arg(time.to_string()));
            child.line("ready");
            child.send(SIGTERM);
            child.line("stopping");
            let sent = Instant::now();
            child.send(SIGTERM);
            assert_eq!(child.code(), 1);
            assert!(sent.elapsed() >= Duration::from_millis(time));
            child.rest().contains(&"forced".to_owned())
        });
        assert!(heard, "no child saw the force");
    }

    fn abort_timeout_waker_hangs() {
        hang(Shutdown::builder().abort_timeout(HOUR));
    }

    fn g4_with_abort_timeout_and_a_waker_that_hangs() {
        ends_by_a_third_signal("abort_timeout_waker_hangs", SIGINT);
    }

    /// Its callback hangs on the thread that would call the wakers of the force.
    fn abort_timeout_callback_hangs() {
        let builder = Shutdown::builder().abort_timeout(HOUR);
        let shutdown = builder.install().unwrap();
        let _callback = shutdown.call_on_shutdown(|| {
            println!("stopping");
            park();
        });
        // Threads that wait for what is below hear of the request, too.
        let child = shutdown.child();
        let phase = child.phase("phase").build();
        for part in [child, phase] {
            let waiter = part.waiter();
            thread::spawn(move || {
                waiter.wait_blocking();
                println!("part: stopping");
            });
        }
        println!("ready");
        drain_until_forced(&shutdown);
    }

    /// Mutations: `with_node` in `deliver` wakes no threads; `Node::announce_asked` wakes those of a node with its
    /// other wakers.
    fn thread_hears_of_the_force_though_a_callback_hangs() {
        let mut child = begun("abort_timeout_callback_hangs", SIGTERM);
        let mut heard = [(); 3].map(|()| child.line(""));
        heard.sort();
        assert_eq!(heard, ["part: stopping", "part: stopping", "stopping"]);
        child.send(SIGTERM);
        child.line("forced");
        child.send(SIGTERM);
        assert_eq!(child.code(), 1);
    }

    /// Prints the stage once the shutdown is requested, and ends once it is stopping.
    fn limp(builder: Builder) {
        let shutdown = builder.install().unwrap();
        println!("ready");
        future::block_on(shutdown.requested());
        println!("{:?}", shutdown.stage());
        shutdown.waiter().wait_blocking();
    }

    fn lame_duck() {
        limp(Shutdown::builder().lame_duck(HOUR));
    }

    fn lame_duck_on_interrupt() {
        let builder = Shutdown::builder().lame_duck(HOUR);
        limp(builder.lame_duck_on_interrupt(true));
    }

    fn lame_duck_is_for_sigterm_alone() {
        let mut child = begun("lame_duck", SIGINT);
        child.line("Stopping");
        assert_eq!(child.code(), 0);
        let mut child = begun("lame_duck", SIGTERM);
        child.line("Requested");
        child.send(SIGTERM);
        assert_eq!(child.code(), 1);
        // Unless the program sets otherwise.
        let mut child = begun("lame_duck_on_interrupt", SIGINT);
        child.line("Requested");
        child.send(SIGTERM);
        assert_eq!(child.code(), 1);
    }

    fn short_lame_duck() {
        limp(Shutdown::builder().lame_duck(MOMENT));
    }

    fn lame_duck_ends_with_its_time() {
        let mut child = begun("short_lame_duck", SIGTERM);
        assert_eq!(child.code(), 0);
    }

    #[cfg(target_os = "linux")]
    fn lame_duck_dropped() {
        crate::support::program::abandon_lame_duck("enough");
        println!("ready");
        park();
    }

    #[cfg(target_os = "linux")]
    fn g7_lame_duck_without_handles_dies_of_the_signal() {
        let mut child = begun("lame_duck_dropped", SIGTERM);
        assert_eq!(child.wait().signal(), Some(SIGTERM as i32));
    }

    /// Sets every kind of timer, for an installed shutdown and fifty others, and prints the threads.
    #[cfg(target_os = "linux")]
    fn many_timers() {
        let timers = || {
            Shutdown::builder()
                .lame_duck(HOUR)
                .debounce(HOUR)
                .abort_timeout(HOUR)
                .grace_period(HOUR)
                .force_at_deadline()
        };
        let installed = timers().install().unwrap();
        let built: Vec<_> = (0..50).map(|_| timers().build()).collect();
        for shutdown in built.iter().chain([&installed]) {
            assert!(shutdown.request_shutdown());
            assert_eq!(shutdown.stage(), Stage::Requested);
        }
        let mut names = Vec::new();
        // A thread that starts still has the name of the one that has started it.
        until("each thread has its own name", || {
            let tasks = std::fs::read_dir("/proc/self/task").unwrap();
            let name = |task: std::io::Result<std::fs::DirEntry>| {
                std::fs::read_to_string(task.ok()?.path().join("comm")).ok()
            };
            names = tasks.filter_map(name).collect();
            names
                .iter()
                .filter(|name| name.starts_with("policies"))
                .count()
                == 1
        });
        names.retain(|name| name.starts_with("winddown"));
        names.sort();
        println!("threads: {names:?}");
    }

    /// Apart from async-io's, and from that of events, of which none comes from the background thread here.
    #[cfg(target_os = "linux")]
    fn crate_has_two_threads_however_many_timers() {
        let child = Program::role("many_timers");
        let names = ["winddown\n", "winddown-wakers\n"];
        assert_eq!(child.line("threads: "), format!("{names:?}"));
    }
}
