//! Real processes, and events sent by the example `send_event`.
//!
//! Started with a role in `CONSOLE_ROLE`, this program is the child of one of its own tests. So it
//! has a `main` of its own.

#[cfg(not(windows))]
fn main() {}

#[cfg(windows)]
fn main() -> std::process::ExitCode {
    if let Ok(role) = std::env::var("CONSOLE_ROLE") {
        windows::run(&role);
    }
    let args = libtest_mimic::Arguments::from_args();
    libtest_mimic::run(&args, windows::all()).exit_code()
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

    /// What a child does.
    pub(crate) fn run(role: &str) -> ! {
        let (sender, events) = channel();
        let reply: fn() -> Reply = match role {
            "takes" => || Reply::Taken,
            "passes" => || Reply::Passed,
            "panics" => || panic!("as it should"),
            other => panic!("no role '{other}'"),
        };
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

    struct Program {
        child: Child,
        stdout: BufReader<ChildStdout>,
    }

    impl Program {
        fn start(role: &str) -> Self {
            let this = std::env::current_exe().expect("a test has a path");
            let mut program = Self::of(Command::new(this).env("CONSOLE_ROLE", role));
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

        /// The lines that nobody has read, and the exit code.
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

    pub(crate) fn all() -> Vec<Trial> {
        let mut trials = Vec::new();
        for (name, event) in EVENTS {
            for (role, case) in [
                ("takes", taken as fn(&str, Event)),
                ("passes", |name, event| passed("passes", name, event)),
                ("panics", |name, event| passed("panics", name, event)),
            ] {
                trials.push(Trial::test(format!("{name}::{role}"), move || {
                    case(name, event);
                    Ok(())
                }));
            }
        }
        trials
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
