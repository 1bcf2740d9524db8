//! Real processes, and events sent by the example `send_event`.
//!
//! A test starts this program again, in a role: see `tests/support/child.rs` of winddown. The roles
//! stand above the tests that start them.

#[cfg(windows)]
#[path = "../../tests/support/child.rs"]
#[allow(
    dead_code,
    unreachable_pub,
    unused_imports,
    unused_macros,
    reason = "winddown's tests use the rest"
)]
mod child;

/// There are no console events elsewhere. A harness asks for the list of tests, and it is empty.
#[cfg(not(windows))]
fn main() {}

#[cfg(windows)]
fn main() -> std::process::ExitCode {
    child::main(windows::ROLES, windows::tests)
}

#[cfg(windows)]
mod windows {
    use std::io::{self, BufRead, BufReader, Read};
    use std::process::{Child, ChildStdout, Command, Stdio};
    use std::sync::mpsc::channel;
    use std::thread;
    use std::time::Duration;

    use libtest_mimic::Trial;
    use winddown_console::{Event, Reply, exit, handle};

    use crate::child::{Role, command, roles};

    pub(crate) const ROLES: &[Role] = &roles![takes, passes, panics];

    const EVENTS: [(&str, Event); 5] = [
        ("ctrl-c", Event::CtrlC),
        ("ctrl-break", Event::CtrlBreak),
        ("close", Event::Close),
        ("logoff", Event::Logoff),
        ("shutdown", Event::Shutdown),
    ];

    /// STATUS_CONTROL_C_EXIT; Wine says 0.
    const UNHANDLED: [Option<i32>; 2] = [Some(0xC000_013A_u32 as i32), Some(0)];

    /// Longer than `send_event` gives a process whose handlers have returned.
    const WHILE: Duration = Duration::from_secs(1);

    struct Program {
        child: Child,
        stdout: BufReader<ChildStdout>,
    }

    impl Program {
        fn start(role: &str) -> Self {
            let mut program = Self::of(&mut command(role));
            assert_eq!(program.line(), "ready");
            program
        }

        fn of(command: &mut Command) -> Self {
            let mut child = command
                .stdout(Stdio::piped())
                .spawn()
                .expect("it can be started");
            let stdout = BufReader::new(child.stdout.take().expect("it is piped"));
            Self { child, stdout }
        }

        fn send(&self, event: &str) -> Self {
            let this = std::env::current_exe().expect("a test has a path");
            let profile = this.ancestors().nth(2).expect("target/debug/deps/test");
            let send_event = profile.join("examples").join("send_event.exe");
            Self::of(Command::new(send_event).args([&self.child.id().to_string(), event]))
        }

        fn line(&mut self) -> String {
            let mut line = String::new();
            self.stdout.read_line(&mut line).expect("it is text");
            line.trim_end().to_owned()
        }

        /// Waits for the end, and returns the unread text and the exit code.
        fn end(&mut self) -> (String, Option<i32>) {
            let mut rest = String::new();
            self.stdout.read_to_string(&mut rest).expect("it is text");
            (rest, self.child.wait().expect("it is our child").code())
        }
    }

    impl Drop for Program {
        fn drop(&mut self) {
            let _ = self.child.kill();
            let _ = self.child.wait();
        }
    }

    pub(crate) fn tests() -> Vec<Trial> {
        let mut tests = Vec::new();
        for (name, event) in EVENTS {
            for (role, case) in [
                ("takes", taken as fn(&str, Event)),
                ("passes", |name, event| passed("passes", name, event)),
                ("panics", |name, event| passed("panics", name, event)),
            ] {
                tests.push(Trial::test(format!("{name}::{role}"), move || {
                    case(name, event);
                    Ok(())
                }));
            }
        }
        tests
    }

    /// Prints each event, works on for a while if the reply is that it was taken, and then ends if the
    /// event is final.
    fn reply(reply: fn() -> Reply) {
        let (sender, events) = channel();
        handle(move |event| {
            println!("{event:?}");
            let reply = reply();
            if reply == Reply::Taken {
                let _ = sender.send(event);
            }
            reply
        })
        .expect("Windows takes it");
        let again = handle(|_| Reply::Passed).expect_err("it is the second");
        assert_eq!(again.kind(), io::ErrorKind::AlreadyExists);
        println!("ready");
        for event in events {
            thread::sleep(WHILE);
            println!("did its work");
            if event.is_final() {
                exit(7);
            }
        }
        unreachable!("the handler is never dropped")
    }

    fn takes() {
        reply(|| Reply::Taken);
    }

    /// The program goes on, and ends itself if the event is final.
    fn taken(name: &str, event: Event) {
        let mut program = Program::start("takes");
        let mut sent = program.send(name);
        assert_eq!(program.line(), format!("{event:?}"));
        assert_eq!(program.line(), "did its work");
        if !event.is_final() {
            assert_eq!(sent.end(), (String::new(), Some(0)));
            sent = program.send("close");
            assert_eq!(program.line(), "Close");
            assert_eq!(program.line(), "did its work");
        }
        assert_eq!(program.end(), (String::new(), Some(7)));
        assert_eq!(sent.end(), (String::new(), Some(0)), "it had to be ended");
    }

    fn passes() {
        reply(|| Reply::Passed);
    }

    fn panics() {
        reply(|| panic!("as it should"));
    }

    /// Windows ends the program.
    fn passed(role: &str, name: &str, event: Event) {
        let mut program = Program::start(role);
        let _sent = program.send(name);
        assert_eq!(program.line(), format!("{event:?}"));
        let (rest, code) = program.end();
        assert_eq!(rest, "");
        assert!(UNHANDLED.contains(&code), "{code:?}");
    }
}
