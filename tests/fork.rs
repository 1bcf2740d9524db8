//! Processes that fork: a signal to the whole group counts once, and what `install` does in a child.
//!
//! A test starts this program again, in a role: see `support/child.rs`. A role stands above the tests
//! that start it.

mod support;

use std::process::ExitCode;

#[cfg(not(target_os = "linux"))]
fn main() -> ExitCode {
    support::child::skip("the cases read /proc, and daemon() is not everywhere")
}

#[cfg(target_os = "linux")]
fn main() -> ExitCode {
    support::child::main(cases::ROLES, cases::tests)
}

#[cfg(target_os = "linux")]
mod cases {
    use std::iter::repeat_n;
    use std::os::unix::fs::symlink;
    use std::os::unix::process::CommandExt;
    use std::process::Command;
    use std::sync::mpsc::channel;
    use std::time::{Duration, Instant};

    use libtest_mimic::Trial;
    use nix::sys::signal::Signal::{SIGINT, SIGTERM};
    use nix::sys::signal::killpg;
    use nix::unistd::daemon;
    use tempfile::TempDir;
    use winddown::{Builder, InstallError, Shutdown};

    use crate::support::child::{Role, command, roles, trials};
    use crate::support::program::{Program, all_are_read, raise};
    use crate::support::{HOUR, park, until};

    pub(crate) const ROLES: &[Role] = &roles![
        spawns,
        spawns_with_abort_timeout,
        forks_after_the_install,
        forks_before_the_install,
        forks_beside_the_background_thread,
        forks_with_what_was_handed_over,
    ];

    pub(crate) fn tests() -> Vec<Trial> {
        trials![
            signal_to_a_group_counts_once_between_fork_and_exec,
            install_in_a_forked_child_says_why_not,
            install_after_a_fork_works,
            install_after_a_fork_has_a_background_thread,
            forked_child_calls_nothing_of_its_parent,
        ]
    }

    /// Makes a `PATH` in which `execvp` searches for about a second. Each entry is the same link, whose
    /// lookup takes milliseconds: it leads through forty links, of about 4,000 bytes each.
    fn slow_path(folder: &TempDir) -> String {
        let folder = folder.path();
        std::fs::create_dir(folder.join("d")).unwrap();
        let detour = "d/../".repeat(800);
        let mut last = ".".to_owned();
        for number in 1..40 {
            let link = format!("l{number}");
            symlink(format!("{last}/{detour}"), folder.join(&link)).unwrap();
            last = link;
        }
        let entry = folder.join(last).display().to_string();
        repeat_n(entry, 300).collect::<Vec<_>>().join(":")
    }

    /// Starts a program that is not there, which takes a while, and prints what the shutdown has come to
    /// by then.
    fn spawn_slowly(builder: Builder) {
        let folder = tempfile::tempdir().unwrap();
        let shutdown = builder.install().unwrap();
        // With a `PATH` of its own and a bare name, std can't use `posix_spawn`, but has to fork.
        let mut missing = Command::new("missing");
        missing.env("PATH", slow_path(&folder));
        let begun = Instant::now();
        let error = missing.spawn().unwrap_err();
        // The child has handled its signal: it has ended without `exec`.
        println!("searched {:?}: {error}", begun.elapsed());
        all_are_read();
        println!("stage: {:?}", shutdown.stage());
        drop(folder); // the next signal may end the process
        println!("ready");
        park();
    }

    fn spawns() {
        spawn_slowly(Shutdown::builder());
    }

    /// There it is the thread that counts the second signal, and not the handler.
    fn spawns_with_abort_timeout() {
        spawn_slowly(Shutdown::builder().abort_timeout(HOUR));
    }

    /// The child between `fork` and `exec` runs its copy of the handler, which writes to the socket that
    /// it shares with its parent.
    fn signal_to_a_group_counts_once_between_fork_and_exec() {
        for signal in [SIGINT, SIGTERM] {
            for role in ["spawns", "spawns_with_abort_timeout"] {
                let mut child = Program::start(command(role).process_group(0));
                until("it has forked", || child.has_a_child());
                killpg(child.pid(), signal).unwrap();
                println!("{role}: searched {}", child.line("searched "));
                assert_eq!(child.line("stage: "), "Stopping", "{role}, {signal}");
                child.line("ready");
                if role == "spawns" {
                    child.send(signal);
                    assert_eq!(child.code(), 1);
                }
            }
        }
    }

    /// `daemon` forks, the parent ends, and the child goes on with one thread.
    fn forks_after_the_install() {
        let _shutdown = Shutdown::install().unwrap();
        daemon(true, true).unwrap();
        let error = Shutdown::install().unwrap_err();
        assert!(matches!(error, InstallError::Forked));
        println!("error: {error}");
    }

    fn install_in_a_forked_child_says_why_not() {
        let child = Program::role("forks_after_the_install");
        let error = child.line("error: ");
        assert!(error.ends_with("fork first, then install"), "{error}");
    }

    fn fork_and_install(builder: Builder) {
        daemon(true, true).unwrap();
        let shutdown = builder.install().unwrap();
        raise(SIGTERM);
        shutdown.waiter().wait_blocking();
        println!("stopping: {}", shutdown.cause().unwrap());
    }

    fn forks_before_the_install() {
        fork_and_install(Shutdown::builder());
    }

    fn install_after_a_fork_works() {
        let child = Program::role("forks_before_the_install");
        assert_eq!(child.line("stopping: "), "SIGTERM");
    }

    /// The parent's shutdown has a lame duck, for which the background thread runs.
    fn forks_beside_the_background_thread() {
        let parent = Shutdown::builder().lame_duck(HOUR).build();
        parent.request_shutdown();
        fork_and_install(Shutdown::builder().lame_duck(Duration::from_millis(1)));
    }

    /// Mutation: `Jobs::start` forgets no jobs of another process.
    fn install_after_a_fork_has_a_background_thread() {
        let child = Program::role("forks_beside_the_background_thread");
        assert_eq!(child.line("stopping: "), "SIGTERM");
    }

    /// A callback hangs, so that the signal of the parent is handed over, and nothing comes of it there.
    fn forks_with_what_was_handed_over() {
        let lame_duck = || {
            Shutdown::builder()
                .lame_duck(Duration::from_millis(1))
                .build()
        };
        let parent = Shutdown::builder().abort_timeout(HOUR).install().unwrap();
        let _callback = parent.call_on_shutdown(|| println!("the callback of the parent"));
        let other = lame_duck();
        let (hangs, hung) = channel();
        let _hangs = other.call_on_shutdown(move || {
            hangs.send(()).unwrap();
            park();
        });
        other.trigger("enough");
        hung.recv().unwrap();
        raise(SIGTERM);
        // A fork copies locks too, and what has them is not there any more.
        all_are_read();
        assert!(parent.is_stopping());
        daemon(true, true).unwrap();
        // What was handed over would be done before the second.
        for _ in 0..2 {
            let own = lame_duck();
            own.trigger("enough");
            own.waiter().wait_blocking();
        }
        println!("stopping");
    }

    /// Mutation: `Background::start` keeps what another process is to call.
    fn forked_child_calls_nothing_of_its_parent() {
        let child = Program::role("forks_with_what_was_handed_over");
        assert_eq!(child.line(""), "stopping");
        assert_eq!(child.rest(), [""; 0]);
    }
}
