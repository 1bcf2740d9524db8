//! Windows programs, and the console events that end them.
//!
//! On Windows, the tests send events with the example `send_event` of winddown-console, if that is
//! built: `cargo build -p winddown -p winddown-console --examples`. On Linux, they start the servers
//! with the loader that `WINDDOWN_WINE` names, from the directory that `WINDDOWN_EXAMPLES` names, and
//! send a SIGINT, which Wine turns into a Ctrl-C. `./ci.sh windows` does both.
//!
//! On Windows, a test starts this program again, in a role: see `support/child.rs`. A role prints
//! `ready` when it may be sent events, and `stopping` when it has seen the first. It stands above the
//! tests that start it.

mod support;

use std::process::ExitCode;

#[cfg(not(any(windows, target_os = "linux")))]
fn main() -> ExitCode {
    support::child::skip("Windows programs run on Windows, and on Linux under Wine")
}

#[cfg(target_os = "linux")]
fn main() -> ExitCode {
    support::child::main(&[], from_linux::tests)
}

#[cfg(windows)]
fn main() -> ExitCode {
    support::child::main(on_windows::ROLES, on_windows::tests)
}

/// What every server does, however the event comes.
#[cfg(any(windows, target_os = "linux"))]
mod servers {
    use crate::support::program::Server;

    pub(crate) const SERVERS: [&str; 5] = ["async_std", "axum", "smol", "threads", "tokio"];

    const STOPPED: &str = "stopped: every request was answered";

    /// The request in flight is answered, a new connection is refused, and the process ends well.
    pub(crate) fn drains<T>(mut server: Server, send: impl FnOnce(&Server) -> T, cause: &str) -> T {
        let mut slow = server.begin("GET /sleep?duration=1s");
        let sent = send(&server);
        assert_eq!(server.program.line("stopping: "), cause);
        server.refuses();
        let answer = (200, "Welcome HTTP Server\n".to_owned());
        assert_eq!(slow.response(), answer);
        assert_eq!(server.program.code(), 0);
        assert!(server.program.rest().contains(&STOPPED.to_owned()));
        sent
    }

    /// The second event ends the process at once, and the request in flight is not answered.
    pub(crate) fn is_forced<T>(
        mut server: Server,
        first: impl FnOnce(&Server) -> T,
        second: impl FnOnce(&Server) -> T,
    ) {
        let mut slow = server.begin("GET /sleep?duration=1h");
        let _first = first(&server);
        server.program.line("stopping: ");
        let _second = second(&server);
        assert_eq!(server.program.code(), 1);
        assert!(slow.closed_with_nothing());
        assert!(!server.program.rest().contains(&STOPPED.to_owned()));
    }
}

#[cfg(target_os = "linux")]
mod from_linux {
    use std::env;
    use std::path::PathBuf;
    use std::process::Command;

    use libtest_mimic::Trial;
    use nix::sys::signal::Signal::SIGINT;

    use crate::servers::{SERVERS, drains, is_forced};
    use crate::support::child::skipped;
    use crate::support::program::Server;

    pub(crate) fn tests() -> Vec<Trial> {
        let (Some(wine), Some(examples)) = (
            env::var_os("WINDDOWN_WINE"),
            env::var_os("WINDDOWN_EXAMPLES"),
        ) else {
            let reason = "./ci.sh windows builds Windows programs and runs this";
            return vec![skipped("servers_under_wine", reason)];
        };
        let start = move |name: &str| {
            let program = PathBuf::from(&examples).join(format!("{name}.exe"));
            Server::start_with(Command::new(&wine).arg(program).args(["127.0.0.1:0", "1h"]))
        };
        let ctrl_c = |server: &Server| server.program.send(SIGINT);
        let mut tests = Vec::new();
        for name in SERVERS {
            let one = start.clone();
            tests.push(Trial::test(format!("{name}::sigint_drains"), move || {
                drains(one(name), ctrl_c, "Ctrl-C");
                Ok(())
            }));
            let two = start.clone();
            tests.push(Trial::test(
                format!("{name}::two_sigints_force"),
                move || {
                    is_forced(two(name), ctrl_c, ctrl_c);
                    Ok(())
                },
            ));
        }
        tests
    }
}

#[cfg(windows)]
mod on_windows {
    use std::fs::File;
    use std::io::{Write, stdout};
    use std::os::windows::io::AsHandle;
    use std::thread;
    use std::time::Duration;

    use libtest_mimic::Trial;
    use winddown::{InstallError, Shutdown, Signal};

    use crate::servers::{SERVERS, drains, is_forced};
    use crate::support::child::{Role, command, roles, skipped, trials};
    use crate::support::program::{Program, Server};
    use crate::support::{Call, park, poll};

    pub(crate) const ROLES: &[Role] = &roles![
        waker_hangs,
        stdout_blocked,
        requests_again,
        install_errors,
        all_dropped,
        only_int,
        saves_after_the_last_handle,
        dies_of_its_cause,
    ];

    pub(crate) fn tests() -> Vec<Trial> {
        let this = std::env::current_exe().expect("a test has a path");
        let profile = this.ancestors().nth(2).expect("target/debug/deps/test");
        if !profile.join("examples").join("send_event.exe").exists() {
            let reason = "the example send_event is not built: see the head of tests/windows.rs";
            return vec![skipped("console_events", reason)];
        }
        let mut tests = trials![
            g4_with_a_waker_that_hangs,
            g4_with_stdout_blocked,
            g4_request_after_close,
            g6_install_errors,
            g7_without_handles_events_do_their_default,
            events_outside_the_set_do_their_default,
            close_waits_for_main,
            cause_exit_ends_with_the_code,
        ];
        for server in SERVERS {
            for (event, cause) in EVENTS {
                tests.push(Trial::test(
                    format!("{server}::{event}_drains"),
                    move || {
                        let sent = drains(Server::start(server), send(event), cause);
                        assert_eq!(sent.rest(), [""; 0], "it had to be ended");
                        Ok(())
                    },
                ));
                tests.push(Trial::test(
                    format!("{server}::ctrl-c_then_{event}_forces"),
                    move || {
                        is_forced(Server::start(server), send("ctrl-c"), send(event));
                        Ok(())
                    },
                ));
            }
        }
        tests
    }

    /// Each event, and what the cause is called.
    const EVENTS: [(&str, &str); 5] = [
        ("ctrl-c", "Ctrl-C"),
        ("ctrl-break", "Ctrl-C"),
        ("close", "termination"),
        ("logoff", "termination"),
        ("shutdown", "termination"),
    ];

    fn send(event: &'static str) -> impl FnOnce(&Server) -> Program {
        move |server| server.program.send_event(event)
    }

    /// The program was ended as one that does not handle events: STATUS_CONTROL_C_EXIT. Wine says 0.
    fn is_ended(program: &mut Program) {
        let code = program.code();
        let expected = 0xC000_013A_u32 as i32;
        assert!([expected, 0].contains(&code), "{code}");
        assert_eq!(program.rest(), [""; 0]);
    }

    /// Waits for the first event and prints its cause.
    fn wait(shutdown: &Shutdown) {
        println!("ready");
        shutdown.waiter().wait_blocking();
        println!("stopping: {}", shutdown.cause().unwrap());
    }

    fn waker_hangs() {
        let shutdown = Shutdown::install().unwrap();
        let waker = Call::waker(|| {
            println!("stopping");
            park();
        });
        let mut waiter = shutdown.waiter();
        assert!(poll(&mut waiter, &waker).is_pending());
        println!("ready");
        park();
    }

    fn g4_with_a_waker_that_hangs() {
        for second in ["ctrl-c", "close"] {
            let mut program = Program::ready_role("waker_hangs");
            let _first = program.send_event("ctrl-break");
            program.line("stopping");
            let _second = program.send_event(second);
            assert_eq!(program.code(), 1);
        }
    }

    /// Stdout is full, and its buffer is not empty: `std::process::exit` would flush that.
    fn stdout_blocked() {
        let shutdown = Shutdown::install().unwrap();
        print!("in the buffer");
        let pipe = stdout().as_handle().try_clone_to_owned().unwrap();
        thread::spawn(|| {
            let mut pipe = File::from(pipe);
            while pipe.write_all(&[b'x'; 4096]).is_ok() {}
        });
        eprintln!("ready");
        shutdown.waiter().wait_blocking();
        eprintln!("stopping");
        park();
    }

    fn g4_with_stdout_blocked() {
        let mut program = Program::start_unread(&mut command("stdout_blocked"));
        program.error_line("ready");
        let _first = program.send_event("ctrl-c");
        program.error_line("stopping");
        let _second = program.send_event("ctrl-c");
        assert_eq!(program.code(), 1);
    }

    fn requests_again() {
        let shutdown = Shutdown::install().unwrap();
        wait(&shutdown);
        shutdown.request_shutdown();
        println!("still here");
    }

    /// Windows sends nothing more, but the program still can.
    fn g4_request_after_close() {
        let mut program = Program::ready_role("requests_again");
        let _sent = program.send_event("close");
        program.line("stopping: termination");
        assert_eq!(program.code(), 1);
        assert_eq!(program.rest(), [""; 0]);
    }

    fn install_errors() {
        let with = |signals: &[Signal]| Shutdown::builder().signals(signals.to_vec()).install();
        assert!(matches!(with(&[]), Err(InstallError::NoSignals)));
        let error = with(&[Signal::INT, Signal::HUP]).unwrap_err();
        assert!(matches!(error, InstallError::Unusable(Signal::HUP)));
        assert!(
            error.to_string().starts_with("SIGHUP can't be used"),
            "{error}"
        );
        assert!(!winddown::request_shutdown());
        let shutdown = with(&[Signal::TERM, Signal::INT, Signal::TERM]).unwrap();
        let again = Shutdown::install();
        assert!(matches!(again, Err(InstallError::AlreadyInstalled)));
        wait(&shutdown);
    }

    fn g6_install_errors() {
        let mut program = Program::ready_role("install_errors");
        let _sent = program.send_event("logoff");
        program.line("stopping: termination");
        assert_eq!(program.code(), 0);
    }

    fn all_dropped() {
        drop(Shutdown::install().unwrap());
        println!("ready");
        park();
    }

    fn g7_without_handles_events_do_their_default() {
        for (event, _) in EVENTS {
            let mut program = Program::ready_role("all_dropped");
            let _sent = program.send_event(event);
            is_ended(&mut program);
        }
    }

    fn only_int() {
        let builder = Shutdown::builder().signals([Signal::INT]);
        let _shutdown = builder.install().unwrap();
        println!("ready");
        park();
    }

    fn events_outside_the_set_do_their_default() {
        let mut program = Program::ready_role("only_int");
        let _sent = program.send_event("close");
        is_ended(&mut program);
    }

    fn saves_after_the_last_handle() {
        let shutdown = Shutdown::install().unwrap();
        wait(&shutdown);
        drop(shutdown);
        // Longer than `send_event` gives a process whose handlers have returned.
        thread::sleep(Duration::from_secs(1));
        println!("saved");
    }

    fn close_waits_for_main() {
        let mut program = Program::ready_role("saves_after_the_last_handle");
        let sent = program.send_event("close");
        program.line("saved");
        assert_eq!(program.code(), 0);
        assert_eq!(sent.rest(), [""; 0], "it had to be ended");
    }

    fn dies_of_its_cause() {
        let shutdown = Shutdown::install().unwrap();
        wait(&shutdown);
        shutdown.cause().unwrap().exit();
    }

    fn cause_exit_ends_with_the_code() {
        for (event, code) in [("ctrl-break", 130), ("shutdown", 143)] {
            let mut program = Program::ready_role("dies_of_its_cause");
            let _sent = program.send_event(event);
            assert_eq!(program.code(), code);
        }
    }
}
