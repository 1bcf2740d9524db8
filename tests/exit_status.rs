//! How a process ends after a shutdown: `Cause::exit`, and the exit code of a `Cause`.
//!
//! A test starts this program again, in a role: see `support/child.rs`. A role stands above the tests
//! that start it.

mod support;

use std::process::ExitCode;

#[cfg(not(unix))]
fn main() -> ExitCode {
    support::child::main(&[], Vec::new)
}

#[cfg(unix)]
fn main() -> ExitCode {
    support::child::main(cases::ROLES, cases::tests)
}

#[cfg(unix)]
mod cases {
    use std::os::unix::process::ExitStatusExt;
    use std::process::{Command, ExitCode};

    use libtest_mimic::Trial;
    use nix::sys::signal::Signal::{SIGINT, SIGTERM, SIGTSTP};
    use winddown::{Cause, Shutdown};

    use crate::support::child::{Role, command, roles, trials};
    use crate::support::program::{Program, pid_1_test};

    pub(crate) const ROLES: &[Role] = &roles![
        dies_of_its_signal,
        exits_of_a_stop_signal,
        exits_of_a_trigger,
        returns_the_code,
    ];

    pub(crate) fn tests() -> Vec<Trial> {
        let mut tests = trials![
            cause_exit_dies_of_the_signal,
            cause_exit_of_a_stop_signal_ends_with_the_code,
            cause_exit_without_a_signal_ends_with_0,
            exit_code_of_a_cause_is_128_plus_the_signal,
        ];
        tests.push(pid_1_test(
            "cause_exit_as_pid_1_ends_with_the_code",
            cause_exit_as_pid_1_ends_with_the_code,
        ));
        tests
    }

    /// Installs a shutdown and waits for its first signal.
    fn begin() -> Shutdown {
        let shutdown = Shutdown::install().unwrap();
        println!("ready");
        shutdown.waiter().wait_blocking();
        shutdown
    }

    fn dies_of_its_signal() {
        let shutdown = begin();
        // Without a line feed: the exit has to flush it.
        print!("last word");
        shutdown.cause().unwrap().exit()
    }

    fn cause_exit_dies_of_the_signal() {
        for signal in [SIGTERM, SIGINT] {
            let mut child = Program::ready_role("dies_of_its_signal");
            child.send(signal);
            child.line("last word");
            let status = child.wait();
            assert_eq!(status.signal(), Some(signal as i32), "{status}");
        }
    }

    /// The kernel drops a signal at its default for PID 1. `unshare` ends as its child has ended.
    fn cause_exit_as_pid_1_ends_with_the_code(mut unshare: Command) {
        let role = command("dies_of_its_signal");
        unshare.args(["sh", "-c", "echo pid $$; exec \"$0\""]);
        unshare.arg(role.get_program());
        for (name, value) in role.get_envs() {
            unshare.env(name, value.expect("nothing is unset"));
        }
        let mut child = Program::start(&mut unshare);
        assert_eq!(child.line("pid "), "1");
        child.line("ready");
        child.aim_at_its_child();
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

    fn exits_of_a_trigger() {
        let shutdown = Shutdown::install().unwrap();
        shutdown.trigger("nothing is left to do");
        print!("last word");
        shutdown.cause().unwrap().exit()
    }

    fn cause_exit_without_a_signal_ends_with_0() {
        let mut child = Program::role("exits_of_a_trigger");
        child.line("last word");
        assert_eq!(child.code(), 0);
    }

    fn returns_the_code() -> ExitCode {
        begin().cause().unwrap().into()
    }

    fn exit_code_of_a_cause_is_128_plus_the_signal() {
        for (signal, code) in [(SIGTERM, 143), (SIGINT, 130)] {
            let mut child = Program::ready_role("returns_the_code");
            child.send(signal);
            assert_eq!(child.code(), code);
        }
    }
}
