//! Windows programs, and the console events that end them.
//!
//! On Windows, this sends events with the example `send_event` of winddown-console, if that is built:
//! `cargo build -p winddown -p winddown-console --examples`. On Linux, it starts the servers with the
//! loader that `WINDDOWN_WINE` names, from the directory that `WINDDOWN_EXAMPLES` names, and sends a
//! SIGINT, of which Wine makes a Ctrl-C. `./ci.sh windows` does both.
//!
//! Started with a role in `WINDDOWN_ROLE`, this program is the child of one of its own tests. So it
//! has a `main` of its own.

#[cfg(all(any(windows, target_os = "linux"), feature = "signals"))]
#[path = "support/program.rs"]
mod program;

#[cfg(not(all(any(windows, target_os = "linux"), feature = "signals")))]
fn main() {}

#[cfg(all(target_os = "linux", feature = "signals"))]
fn main() -> std::process::ExitCode {
    let args = libtest_mimic::Arguments::from_args();
    libtest_mimic::run(&args, from_linux::all()).exit_code()
}

#[cfg(all(windows, feature = "signals"))]
fn main() -> std::process::ExitCode {
    if let Ok(role) = std::env::var("WINDDOWN_ROLE") {
        return roles::run(&role);
    }
    let args = libtest_mimic::Arguments::from_args();
    libtest_mimic::run(&args, on_windows::all()).exit_code()
}

/// What every server does, however the event comes.
#[cfg(all(any(windows, target_os = "linux"), feature = "signals"))]
mod cases {
    use crate::program::Server;

    pub(crate) const SERVERS: [&str; 5] = ["async_std", "axum", "smol", "threads", "tokio"];

    const STOPPED: &str = "stopped: every request was answered";

    /// What is in flight is answered, nobody else is let in, and the process ends well.
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

    /// The second ends the process at once, and nobody gets an answer.
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

#[cfg(all(target_os = "linux", feature = "signals"))]
mod from_linux {
    use std::env;
    use std::path::PathBuf;
    use std::process::Command;

    use libtest_mimic::Trial;
    use nix::sys::signal::Signal::SIGINT;

    use crate::cases::{SERVERS, drains, is_forced};
    use crate::program::Server;

    pub(crate) fn all() -> Vec<Trial> {
        let (Some(wine), Some(examples)) = (
            env::var_os("WINDDOWN_WINE"),
            env::var_os("WINDDOWN_EXAMPLES"),
        ) else {
            println!("no Windows programs here: ./ci.sh windows builds and runs them");
            return Vec::new();
        };
        let start = move |name: &str| {
            let program = PathBuf::from(&examples).join(format!("{name}.exe"));
            Server::start_with(Command::new(&wine).arg(program).args(["127.0.0.1:0", "1h"]))
        };
        let ctrl_c = |server: &Server| server.program.send(SIGINT);
        let mut trials = Vec::new();
        for name in SERVERS {
            let one = start.clone();
            trials.push(Trial::test(format!("{name}::sigint_drains"), move || {
                drains(one(name), ctrl_c, "Ctrl-C");
                Ok(())
            }));
            let two = start.clone();
            trials.push(Trial::test(
                format!("{name}::two_sigints_force"),
                move || {
                    is_forced(two(name), ctrl_c, ctrl_c);
                    Ok(())
                },
            ));
        }
        trials
    }
}

/// What a child does. It prints `ready` when it may be sent events, and `stopping` when it has seen
/// the first.
#[cfg(all(windows, feature = "signals"))]
mod roles {
    use std::fs::File;
    use std::io::{Write, stdout};
    use std::os::windows::io::AsHandle;
    use std::process::ExitCode;
    use std::sync::Arc;
    use std::task::{Context, Wake};
    use std::thread;
    use std::time::Duration;

    use winddown::{InstallError, Shutdown, Signal};

    pub(crate) fn run(role: &str) -> ExitCode {
        match role {
            "waker_hangs" => waker_hangs(),
            "stdout_blocked" => stdout_blocked(),
            "all_dropped" => all_dropped(),
            "only_int" => only_int(),
            "requests_again" => requests_again(),
            "saves_after_the_last_handle" => saves_after_the_last_handle(),
            "dies_of_its_cause" => dies_of_its_cause(),
            "install_errors" => install_errors(),
            other => panic!("no role '{other}'"),
        }
        ExitCode::SUCCESS
    }

    fn park() -> ! {
        loop {
            thread::park();
        }
    }

    fn wait(shutdown: &Shutdown) {
        println!("ready");
        shutdown.waiter().wait_blocking();
        println!("stopping: {}", shutdown.cause().unwrap());
    }

    fn waker_hangs() {
        struct Hangs;
        impl Wake for Hangs {
            fn wake(self: Arc<Self>) {
                println!("stopping");
                park();
            }
        }
        let shutdown = Shutdown::install().unwrap();
        let mut waiter = shutdown.waiter();
        let waker = Arc::new(Hangs).into();
        let poll = std::pin::Pin::new(&mut waiter).poll(&mut Context::from_waker(&waker));
        assert!(poll.is_pending());
        println!("ready");
        park();
    }

    /// Nobody reads stdout, and its buffer is not empty: `std::process::exit` would flush that.
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

    fn all_dropped() {
        drop(Shutdown::install().unwrap());
        println!("ready");
        park();
    }

    fn only_int() {
        let _shutdown = Shutdown::builder()
            .signals([Signal::Int])
            .install()
            .unwrap();
        println!("ready");
        park();
    }

    fn requests_again() {
        let shutdown = Shutdown::install().unwrap();
        wait(&shutdown);
        shutdown.request_shutdown();
        println!("still here");
    }

    fn saves_after_the_last_handle() {
        let shutdown = Shutdown::install().unwrap();
        wait(&shutdown);
        drop(shutdown);
        // Longer than `send_event` gives a process whose handlers have returned.
        thread::sleep(Duration::from_secs(1));
        println!("saved");
    }

    fn dies_of_its_cause() {
        let shutdown = Shutdown::install().unwrap();
        wait(&shutdown);
        shutdown.cause().unwrap().exit();
    }

    fn install_errors() {
        let with = |signals: &[Signal]| Shutdown::builder().signals(signals.to_vec()).install();
        assert!(matches!(with(&[]), Err(InstallError::NoSignals)));
        let error = with(&[Signal::Int, Signal::Hup]).unwrap_err();
        assert!(matches!(error, InstallError::Unusable(Signal::Hup)));
        assert!(
            error.to_string().starts_with("SIGHUP can't be used"),
            "{error}"
        );
        assert!(!winddown::request_shutdown());
        let shutdown = with(&[Signal::Term, Signal::Int, Signal::Term]).unwrap();
        let again = Shutdown::install();
        assert!(matches!(again, Err(InstallError::AlreadyInstalled)));
        wait(&shutdown);
    }
}

#[cfg(all(windows, feature = "signals"))]
mod on_windows {
    use std::process::Command;

    use libtest_mimic::Trial;

    use crate::cases::{SERVERS, drains, is_forced};
    use crate::program::{Program, Server};

    /// Each event, and what the cause is called.
    const EVENTS: [(&str, &str); 5] = [
        ("ctrl-c", "Ctrl-C"),
        ("ctrl-break", "Ctrl-C"),
        ("close", "termination"),
        ("logoff", "termination"),
        ("shutdown", "termination"),
    ];

    /// Ended as a program that does not handle events: STATUS_CONTROL_C_EXIT. Wine says 0.
    fn is_ended(program: &mut Program) {
        let code = program.code();
        let expected = 0xC000_013A_u32 as i32;
        assert!([expected, 0].contains(&code), "{code}");
        assert_eq!(program.rest(), [""; 0]);
    }

    pub(crate) fn all() -> Vec<Trial> {
        let this = std::env::current_exe().expect("a test has a path");
        let profile = this.ancestors().nth(2).expect("target/debug/deps/test");
        if !profile.join("examples").join("send_event.exe").exists() {
            println!("no program here that sends events: see the head of tests/windows.rs");
            return Vec::new();
        }
        let mut trials = Vec::new();
        let mut add = |name: String, case: Box<dyn FnOnce() + Send>| {
            trials.push(Trial::test(name, move || {
                case();
                Ok(())
            }));
        };
        for server in SERVERS {
            for (event, cause) in EVENTS {
                add(
                    format!("{server}::{event}_drains"),
                    Box::new(move || {
                        let sent = drains(Server::start(server), send(event), cause);
                        assert_eq!(sent.rest(), [""; 0], "it had to be ended");
                    }),
                );
                add(
                    format!("{server}::ctrl-c_then_{event}_forces"),
                    Box::new(move || {
                        is_forced(Server::start(server), send("ctrl-c"), send(event));
                    }),
                );
            }
        }
        macro_rules! add {
            ($($case:ident),* $(,)?) => {
                $(add(stringify!($case).to_owned(), Box::new($case));)*
            };
        }
        add![
            g4_waker_hangs,
            g4_stdout_blocked,
            g4_request_after_close,
            g6_install_errors,
            g7_all_dropped,
            only_what_was_asked_for,
            close_leaves_main_its_time,
            dies_of_its_cause,
        ];
        trials
    }

    fn send(event: &'static str) -> impl FnOnce(&Server) -> Program {
        move |server| server.program.send_event(event)
    }

    fn role(name: &str) -> Command {
        let mut command = Command::new(std::env::current_exe().expect("a test has a path"));
        command.env("WINDDOWN_ROLE", name);
        command
    }

    fn start(name: &str) -> Program {
        let program = Program::start(&mut role(name));
        program.line("ready");
        program
    }

    fn g4_waker_hangs() {
        for second in ["ctrl-c", "close"] {
            let mut program = start("waker_hangs");
            let _first = program.send_event("ctrl-break");
            program.line("stopping");
            let _second = program.send_event(second);
            assert_eq!(program.code(), 1);
        }
    }

    fn g4_stdout_blocked() {
        let mut program = Program::start_unread(&mut role("stdout_blocked"));
        program.error_line("ready");
        let _first = program.send_event("ctrl-c");
        program.error_line("stopping");
        let _second = program.send_event("ctrl-c");
        assert_eq!(program.code(), 1);
    }

    /// Windows sends nothing more, but the program still can.
    fn g4_request_after_close() {
        let mut program = start("requests_again");
        let _sent = program.send_event("close");
        program.line("stopping: termination");
        assert_eq!(program.code(), 1);
        assert_eq!(program.rest(), [""; 0]);
    }

    fn g6_install_errors() {
        let mut program = start("install_errors");
        let _sent = program.send_event("logoff");
        program.line("stopping: termination");
        assert_eq!(program.code(), 0);
    }

    fn g7_all_dropped() {
        for (event, _) in EVENTS {
            let mut program = start("all_dropped");
            let _sent = program.send_event(event);
            is_ended(&mut program);
        }
    }

    fn only_what_was_asked_for() {
        let mut program = start("only_int");
        let _sent = program.send_event("close");
        is_ended(&mut program);
    }

    fn close_leaves_main_its_time() {
        let mut program = start("saves_after_the_last_handle");
        let sent = program.send_event("close");
        program.line("saved");
        assert_eq!(program.code(), 0);
        assert_eq!(sent.rest(), [""; 0], "it had to be ended");
    }

    fn dies_of_its_cause() {
        for (event, code) in [("ctrl-break", 130), ("shutdown", 143)] {
            let mut program = start("dies_of_its_cause");
            let _sent = program.send_event(event);
            assert_eq!(program.code(), code);
        }
    }
}
