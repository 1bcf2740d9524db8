//! Phases on smol, tokio and plain threads, in real processes with real signals.
//!
//! A test starts this program again, in a role: see `support/child.rs`. Every role is the same program
//! on another runtime: three phases in order, with a part at work in each. A part says when it is asked,
//! and when it is done, unless it is the one that hangs.

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
    use std::env;
    use std::process::ExitCode;
    use std::thread;
    use std::time::Duration;

    use libtest_mimic::Trial;
    use nix::sys::signal::Signal::{SIGINT, SIGTERM};
    use winddown::{Cause, DrainError, Shutdown};

    use crate::support::child::{Role, command, roles, trials};
    use crate::support::park;
    use crate::support::program::Program;
    #[cfg(target_os = "linux")]
    use crate::support::program::{Client, Server, example};

    pub(crate) const ROLES: &[Role] = &roles![on_smol, on_tokio, on_threads];

    const RUNTIMES: [&str; 3] = ["on_smol", "on_tokio", "on_threads"];
    const PHASES: [&str; 3] = ["http", "workers", "storage"];

    pub(crate) fn tests() -> Vec<Trial> {
        trials![
            g13_phases_stop_in_order,
            g13_phase_that_hangs_has_its_time,
            g4_force_in_each_phase,
            deadline_in_each_phase_ends_the_drain,
            deadline_in_each_phase_ends_the_process,
            #[cfg(target_os = "linux")]
            every_acknowledged_job_is_in_the_database,
            #[cfg(target_os = "linux")]
            force_ends_the_example_in_the_middle,
            #[cfg(target_os = "linux")]
            failed_worker_stops_the_whole_example,
        ]
    }

    /// What the test asks of the role.
    const HANGS: &str = "WINDDOWN_HANGS";
    const LIMIT: &str = "WINDDOWN_LIMIT";
    const GRACE: &str = "WINDDOWN_GRACE";
    const FORCE: &str = "WINDDOWN_FORCE";

    fn millis(variable: &str) -> Option<Duration> {
        let text = env::var(variable).ok()?;
        Some(Duration::from_millis(text.parse().expect("a number")))
    }

    fn install() -> Shutdown {
        let mut builder = Shutdown::builder();
        if let Some(grace) = millis(GRACE) {
            builder = builder.grace_period(grace);
        }
        if env::var_os(FORCE).is_some() {
            builder = builder.force_at_deadline();
        }
        builder.install().unwrap()
    }

    /// The three phases, each after the one before.
    fn phases(shutdown: &Shutdown) -> [Shutdown; 3] {
        let mut last: Option<Shutdown> = None;
        PHASES.map(|name| {
            let mut builder = shutdown.phase(name);
            if let Some(before) = &last {
                builder = builder.after(before);
            }
            if let Some(limit) = millis(LIMIT) {
                builder = builder.time_limit(limit);
            }
            last.insert(builder.build()).clone()
        })
    }

    fn hangs(name: &str) -> bool {
        env::var(HANGS).is_ok_and(|hangs| hangs == name)
    }

    /// What a part does, with `end` in place of the end if it hangs.
    async fn part(shutdown: Shutdown, phase: Shutdown, name: &str) {
        phase.waiter().await;
        println!("asked: {name}");
        for line in shutdown.report().to_string().lines() {
            println!("report: {}", line.trim_start());
        }
        if hangs(name) {
            std::future::pending::<()>().await;
        }
        println!("done: {name}");
    }

    fn end(shutdown: &Shutdown, result: Result<(), DrainError>) -> ExitCode {
        match result {
            Ok(()) => {
                println!("drained");
                assert!(matches!(shutdown.cause(), Some(Cause::Signal(_))));
                ExitCode::SUCCESS
            }
            Err(error) => {
                println!("{error}");
                error.into()
            }
        }
    }

    fn on_smol() -> ExitCode {
        smol::block_on(async {
            let shutdown = install();
            for (phase, name) in phases(&shutdown).into_iter().zip(PHASES) {
                let part = part(shutdown.clone(), phase.clone(), name);
                smol::spawn(phase.track(part)).detach();
            }
            println!("ready");
            let result = shutdown.drained().await;
            end(&shutdown, result)
        })
    }

    fn on_tokio() -> ExitCode {
        let runtime = tokio::runtime::Runtime::new().unwrap();
        let code = runtime.block_on(async {
            let shutdown = install();
            for (phase, name) in phases(&shutdown).into_iter().zip(PHASES) {
                let part = part(shutdown.clone(), phase.clone(), name);
                tokio::spawn(phase.track(part));
            }
            println!("ready");
            let result = shutdown.drained().await;
            end(&shutdown, result)
        });
        runtime.shutdown_background();
        code
    }

    fn on_threads() -> ExitCode {
        let shutdown = install();
        for (phase, name) in phases(&shutdown).into_iter().zip(PHASES) {
            let guard = phase.guard();
            let shutdown = shutdown.clone();
            thread::spawn(move || {
                let _guard = guard;
                phase.waiter().wait_blocking();
                println!("asked: {name}");
                for line in shutdown.report().to_string().lines() {
                    println!("report: {}", line.trim_start());
                }
                if hangs(name) {
                    park();
                }
                println!("done: {name}");
            });
        }
        println!("ready");
        shutdown.waiter().wait_blocking();
        let left = shutdown.remaining().unwrap_or(Duration::MAX);
        let result = shutdown.drain_blocking(left);
        end(&shutdown, result)
    }

    /// Starts the role, and sends it the first signal.
    fn begun(role: &str, settings: &[(&str, &str)]) -> Program {
        let mut command = command(role);
        command.envs(settings.iter().copied());
        let child = Program::start(&mut command);
        child.line("ready");
        child.send(SIGTERM);
        child
    }

    fn g13_phases_stop_in_order() {
        for role in RUNTIMES {
            let mut child = begun(role, &[]);
            assert_eq!(child.code(), 0);
            let mut lines = child.rest();
            lines.retain(|line| !line.starts_with("report: "));
            let expected = PHASES.map(|name| [format!("asked: {name}"), format!("done: {name}")]);
            let (last, parts) = lines.split_last().unwrap();
            assert_eq!(parts, expected.as_flattened(), "{role}");
            assert_eq!(last, "drained");
        }
    }

    /// A phase that hangs keeps the next from its time no longer than its limit. The report says so, and
    /// its guard is waited for, until the force.
    fn g13_phase_that_hangs_has_its_time() {
        for role in RUNTIMES {
            let mut child = begun(role, &[(HANGS, "workers"), (LIMIT, "300")]);
            child.line("asked: workers");
            child.line("asked: storage");
            child.line("report: workers (its time limit ran out): 1 guard: 1 at ");
            child.line("done: storage");
            assert!(child.runs());
            child.send(SIGTERM);
            assert_eq!(child.code(), 1, "{role}");
        }
    }

    fn g4_force_in_each_phase() {
        for role in RUNTIMES {
            for (number, hangs) in PHASES.into_iter().enumerate() {
                let mut child = begun(role, &[(HANGS, hangs)]);
                child.line(&format!("asked: {hangs}"));
                child.send(SIGINT);
                assert_eq!(child.code(), 1, "{role}");
                let later = |line: &String| PHASES[number + 1..].iter().any(|it| line.contains(it));
                let asked = |line: &&String| line.starts_with("asked: ");
                let rest = child.rest();
                assert!(!rest.iter().filter(asked).any(later), "{rest:#?}");
            }
        }
    }

    /// Starts every role with every phase that hangs, all at once, because each takes its grace period.
    fn with_a_deadline(force: bool, mut check: impl FnMut(Program, &str, usize)) {
        let mut children = Vec::new();
        for role in RUNTIMES {
            for (number, hangs) in PHASES.into_iter().enumerate() {
                let mut settings = vec![(HANGS, hangs), (GRACE, "2000")];
                settings.extend(force.then_some((FORCE, "1")));
                children.push((begun(role, &settings), role, number));
            }
        }
        for (child, role, number) in children {
            child.line(&format!("asked: {}", PHASES[number]));
            check(child, role, number);
        }
    }

    /// The error of the drain names the phase that hangs, and those that were not asked.
    fn deadline_in_each_phase_ends_the_drain() {
        with_a_deadline(false, |mut child, role, number| {
            child.line("timed out; ");
            assert_eq!(child.code(), 1, "{role}");
            let rest = child.rest().join("\n");
            for (later, phase) in PHASES.into_iter().enumerate() {
                let named = rest.contains(&format!("  {phase}: 1 guard: 1 at tests/"));
                assert_eq!(named, later >= number, "{role}: {rest}");
            }
        });
    }

    fn deadline_in_each_phase_ends_the_process() {
        with_a_deadline(true, |mut child, role, _| {
            assert_eq!(child.code(), 1, "{role}");
            let rest = child.rest();
            assert!(!rest.contains(&"drained".to_owned()), "{role}: {rest:#?}");
        });
    }

    /// The example `phases` on a database of its own.
    #[cfg(target_os = "linux")]
    struct Example {
        server: Server,
        database: std::path::PathBuf,
        _folder: tempfile::TempDir,
    }

    #[cfg(target_os = "linux")]
    impl Example {
        fn start() -> Self {
            let folder = tempfile::tempdir().unwrap();
            let database = folder.path().join("jobs.sqlite");
            let mut command = std::process::Command::new(example("phases"));
            let server = Server::start_with(command.arg("127.0.0.1:0").arg(&database));
            Self {
                server,
                database,
                _folder: folder,
            }
        }

        /// Has jobs queued, and returns how many were acknowledged: none if no answer comes.
        fn queue(&self, count: u32) -> u32 {
            let Ok(stream) = std::net::TcpStream::connect(self.server.address) else {
                return 0;
            };
            let mut client = Client::new(stream);
            client.send(&format!("POST /jobs?count={count}"));
            let (status, body) = client.response();
            assert_eq!(status, 200);
            let queued = body.trim().strip_prefix("queued ").unwrap();
            queued.parse().unwrap()
        }

        fn rows(&self) -> u32 {
            let database = rusqlite::Connection::open(&self.database).unwrap();
            let count = "SELECT count(*) FROM jobs";
            database.query_row(count, [], |row| row.get(0)).unwrap()
        }
    }

    /// A hundred jobs are queued when the signal comes.
    #[cfg(target_os = "linux")]
    fn every_acknowledged_job_is_in_the_database() {
        let mut example = Example::start();
        assert_eq!(example.queue(100), 100);
        let program = &mut example.server.program;
        program.send(SIGTERM);
        program.line("phase: http");
        let queued = program.line("phase: workers, ");
        let queued = queued.strip_suffix(" jobs are queued").unwrap();
        assert!(queued.parse::<u32>().unwrap() > 0, "it is in mid-work");
        program.line("phase: storage");
        program.line("storage: 100 jobs are in the database");
        program.line("phase: metrics");
        program.line("metrics: sent");
        program.line("stopped: every job is done");
        assert_eq!(program.code(), 0);
        assert_eq!(example.rows(), 100);
    }

    #[cfg(target_os = "linux")]
    fn force_ends_the_example_in_the_middle() {
        let mut example = Example::start();
        assert_eq!(example.queue(1_000), 1_000);
        let program = &mut example.server.program;
        program.send(SIGTERM);
        program.line("phase: workers");
        program.send(SIGTERM);
        assert_eq!(program.code(), 1);
        let rest = program.rest();
        assert!(rest.is_empty(), "no later phase is asked: {rest:#?}");
        assert!(example.rows() < 1_000);
    }

    /// Not only its phase: then the server would go on to queue jobs, and no worker would take them.
    #[cfg(target_os = "linux")]
    fn failed_worker_stops_the_whole_example() {
        let mut example = Example::start();
        let database = rusqlite::Connection::open(&example.database).unwrap();
        database.execute_batch("DROP TABLE jobs").unwrap();
        assert_eq!(example.queue(1), 1);
        let program = &mut example.server.program;
        program.line("phase: http");
        assert_eq!(program.code(), 1);
    }
}
