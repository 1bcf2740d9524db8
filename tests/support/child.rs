//! Tests that start their own program again, as a child process that plays a role.
//!
//! A role needs the main thread of its process, and the standard harness owns that thread. So a test
//! file with roles sets `harness = false`, and its `main` calls [`main`].

use std::env;
use std::process::{Command, ExitCode};

use libtest_mimic::{Arguments, Completion, Trial};

/// The environment variable that names the role of a child.
const ROLE: &str = "WINDDOWN_ROLE";

/// A name, and what a child process of that name runs as its `main`.
pub type Role = (&'static str, fn() -> ExitCode);

/// Makes a table of roles from functions. A role's name is that of its function.
macro_rules! roles {
    ($($(#[$attribute:meta])* $role:ident),* $(,)?) => {
        [$($(#[$attribute])* (
            stringify!($role),
            (|| std::process::Termination::report($role())) as fn() -> std::process::ExitCode,
        )),*]
    };
}

/// Makes a list of tests from functions. A test's name is that of its function.
macro_rules! trials {
    ($($(#[$attribute:meta])* $test:ident),* $(,)?) => {
        vec![$($(#[$attribute])* libtest_mimic::Trial::test(stringify!($test), || {
            $test();
            Ok(())
        })),*]
    };
}

pub(crate) use {roles, trials};

/// Plays the role that the environment names. Without one, runs the tests.
pub fn main(roles: &[Role], tests: impl FnOnce() -> Vec<Trial>) -> ExitCode {
    let Ok(name) = env::var(ROLE) else {
        return libtest_mimic::run(&Arguments::from_args(), tests()).exit_code();
    };
    let role = roles.iter().find(|(role, _)| *role == name);
    let (_, play) = role.unwrap_or_else(|| panic!("no role '{name}'"));
    play()
}

/// Returns the command that starts this program in a role.
pub fn command(role: &str) -> Command {
    let mut command = Command::new(env::current_exe().expect("a test has a path"));
    command.env(ROLE, role);
    command
}

/// Returns a test that is ignored where it can't run, and says why.
pub fn skipped(name: impl Into<String>, reason: impl Into<String>) -> Trial {
    let reason = reason.into();
    Trial::ignorable_test(name, || Ok(Completion::ignored_with(reason)))
}

/// Runs a test file that has no cases on this system: one test, which is ignored and says why.
pub fn skip(reason: &'static str) -> ExitCode {
    main(&[], || vec![skipped("cases", reason)])
}
