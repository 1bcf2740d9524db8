//! The small numbered examples: each is started, signalled, and its lines and exit code are checked. And what
//! no client on this machine can see of the servers.
//!
//! `acceptance.rs` tests the servers. That command alone does not build the examples:
//! `cargo build --examples` first.

#[cfg(unix)]
#[path = "../examples/common/mod.rs"]
#[allow(dead_code, reason = "the servers use the rest")]
mod common;
mod support;

use std::process::ExitCode;

#[cfg(not(unix))]
fn main() -> ExitCode {
    support::child::skip("the cases send signals, as Unix has them")
}

#[cfg(unix)]
fn main() -> ExitCode {
    support::child::main(&[], cases::tests)
}

#[cfg(unix)]
mod cases {
    use std::fs;
    use std::path::Path;
    use std::process::Command;

    use libtest_mimic::Trial;
    use nix::sys::signal::Signal::{SIGINT, SIGTERM};
    use winddown::Shutdown;

    use crate::common::{Action, route};
    use crate::support::child::trials;
    use crate::support::program::{Program, example};

    pub(crate) fn tests() -> Vec<Trial> {
        trials![
            ctrl_c,
            ctrl_c_twice,
            guards,
            request,
            children,
            phases,
            failures,
            times,
            adapters,
            in_tests,
            threads,
            drop_guard,
            progress,
            quit_is_for_this_machine_alone,
            index_lists_every_example,
        ]
    }

    fn start(name: &str) -> Program {
        Program::start(&mut Command::new(example(name)))
    }

    /// The lines that are left, and the exit code.
    fn ends(mut program: Program, code: i32, lines: &[&str]) {
        assert_eq!(program.code(), code);
        assert_eq!(program.rest(), lines);
    }

    fn ctrl_c() {
        let program = start("01_ctrl_c");
        program.line("ready: ");
        program.send(SIGINT);
        ends(program, 130, &["stopping: SIGINT", "stopped"]);
    }

    fn ctrl_c_twice() {
        let program = start("01_ctrl_c");
        program.line("ready: ");
        program.send(SIGINT);
        program.line("stopping: SIGINT");
        program.send(SIGINT);
        ends(program, 1, &[]);
    }

    fn guards() {
        let mut program = start("02_guards");
        program.line("begun: job 1");
        program.send(SIGTERM);
        program.line("stopping: ");
        program.line("stopped: ");
        assert_eq!(program.code(), 0);
    }

    fn request() {
        let lines = [
            "stopping: a request",
            "the first: the work is done",
            "the third: SIGTERM",
        ];
        ends(start("03_request"), 0, &lines);
    }

    fn children() {
        let mut program = start("04_children");
        program.line("red: the tenant moves away");
        program.line("red is gone, blue runs: true");
        program.line("ready: ");
        program.send(SIGTERM);
        program.line("blue: SIGTERM");
        program.line("stopped");
        assert_eq!(program.code(), 0);
    }

    fn phases() {
        let program = start("05_phases");
        program.line("ready: ");
        program.send(SIGTERM);
        let lines = [
            "http: told",
            "http: done",
            "workers: told",
            "workers: done",
            "storage: told",
            "storage: done",
            "stopped",
        ];
        ends(program, 0, &lines);
    }

    fn failures() {
        let program = start("06_failures");
        program.line("ready: ");
        let lines = [
            "cache: saved",
            "stopped: task 'mail' failed: connection refused",
        ];
        ends(program, 1, &lines);
    }

    fn times() {
        let program = start("07_times");
        program.line("ready: ");
        program.send(SIGTERM);
        let lines = ["requested: ready is false", "stopping: less than 2 s left"];
        ends(program, 3, &lines);
    }

    fn adapters() {
        let program = start("08_adapters");
        program.line("ready: ");
        program.send(SIGTERM);
        let lines = [
            "end_on_shutdown: ended",
            "finish_on_shutdown: 2 accepted",
            "cancel_on_shutdown: None",
            "limit_on_shutdown: stopped",
            "on_shutdown: finished",
        ];
        ends(program, 0, &lines);
    }

    fn in_tests() {
        ends(start("09_in_tests"), 0, &["passed: 3 tests"]);
    }

    /// The threads print in any order.
    fn threads() {
        let mut program = start("10_threads");
        program.line("ready: ");
        program.send(SIGTERM);
        assert_eq!(program.code(), 0);
        let mut rest = program.rest();
        rest.sort();
        let lines = ["called", "repeated", "stopped", "waited: SIGTERM", "worked"];
        assert_eq!(rest, lines);
    }

    fn drop_guard() {
        let program = start("11_drop_guard");
        program.line("migrated: stopping is false");
        program.line("stopping: drop guard of ");
        ends(program, 1, &[]);
    }

    fn progress() {
        let program = start("12_progress");
        program.line("ready: ");
        program.send(SIGTERM);
        program.line("left: 1");
        ends(
            program,
            0,
            &["gave up: timed out", "held: 1 of 'a stuck import'"],
        );
    }

    fn quit_is_for_this_machine_alone() {
        let shutdown = Shutdown::new();
        let quit = |peer: &str| {
            let peer = peer.parse().expect("an address");
            match route(&shutdown, peer, "POST", "/quit", None) {
                Action::Answer(status, _) => status,
                Action::Sleep(_) => panic!("it sleeps"),
            }
        };
        for peer in ["192.0.2.1", "2001:db8::1", "::ffff:192.0.2.1"] {
            assert_eq!(quit(peer), 403, "{peer}");
        }
        assert!(!shutdown.is_requested());
        for peer in ["127.0.0.2", "::1", "::ffff:127.0.0.1"] {
            assert_eq!(quit(peer), 200, "{peer}");
        }
        assert!(shutdown.is_requested());
    }

    fn index_lists_every_example() {
        let root = Path::new(env!("CARGO_MANIFEST_DIR"));
        let index = fs::read_to_string(root.join("examples/README.md")).expect("it is there");
        for folder in ["examples", "recipes/src/bin"] {
            let mut seen = 0;
            for file in fs::read_dir(root.join(folder)).expect(folder) {
                let name = file.expect("it can be read").file_name();
                let name = name.to_str().expect("it is text");
                if name.ends_with(".rs") {
                    let link = if folder == "examples" {
                        format!("({name})")
                    } else {
                        format!("(../{folder}/{name})")
                    };
                    assert!(index.contains(&link), "the index lacks {name}");
                    seen += 1;
                }
            }
            assert!(seen > 0, "{folder} has no examples");
        }
    }
}
