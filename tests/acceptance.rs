//! Every example server, as a process of its own, through the same cases.
//!
//! A case is named after the server: `cargo test --test acceptance threads::two_sigints`.

mod support;

use std::process::ExitCode;

#[cfg(not(target_os = "linux"))]
fn main() -> ExitCode {
    support::child::skip("the cases read in /proc what a server has received")
}

#[cfg(target_os = "linux")]
fn main() -> ExitCode {
    support::child::main(&[], cases::tests)
}

#[cfg(target_os = "linux")]
mod cases {
    use std::fs;
    use std::io::{Read, Write};
    use std::net::{TcpListener, TcpStream};
    use std::process::Command;
    use std::thread;
    use std::time::{Duration, Instant};

    use libtest_mimic::Trial;
    use nix::sys::signal::SigSet;
    use nix::sys::signal::Signal::{self, SIGCONT, SIGINT, SIGSTOP, SIGTERM};

    use crate::support::child::trials;
    use crate::support::program::{Client, Program, Server, example, pid_1_test, threads_sleep};
    use crate::support::until;

    const SERVERS: [&str; 5] = ["async_std", "axum", "smol", "threads", "tokio"];

    pub(crate) fn tests() -> Vec<Trial> {
        macro_rules! cases {
            ($($case:ident),* $(,)?) => {
                [$((stringify!($case), $case as fn(&str))),*]
            };
        }
        let everywhere = cases![
            one_sigint,
            one_sigterm,
            two_sigints,
            two_sigterms,
            sigint_then_sigterm,
            quit_once,
            quit_twice,
            quit_then_sigterm,
            readyz_while_draining,
            in_its_lame_duck,
            idle_connections,
            request_outlasts_the_deadline,
            bad_duration,
            unknown_path,
            busy_port,
            bad_arguments,
            two_hundred_in_flight,
            bad_input,
            request_cut_off,
            request_cut_off_for_good,
            output_closed,
            output_closed_and_late,
            stopped_and_continued,
            without_threads,
            without_threads_for_a_while,
            without_threads_to_the_end,
            without_descriptors,
            queue_is_left,
            accepted_late,
            g14_queued_connections_are_answered,
            sigint_ignored_at_start,
            signals_blocked_at_start,
        ];
        let as_pid_1 = [
            ("pid_1_one_sigint", pid_1_one_sigint as fn(Server)),
            ("pid_1_one_sigterm", pid_1_one_sigterm),
            ("pid_1_two_sigints", pid_1_two_sigints),
            ("pid_1_two_sigterms", pid_1_two_sigterms),
        ];

        let mut tests = trials![embedded_runs];
        for server in SERVERS {
            for (name, case) in everywhere {
                tests.push(Trial::test(format!("{server}::{name}"), move || {
                    case(server);
                    Ok(())
                }));
            }
        }
        for server in ["smol", "tokio"] {
            for (name, case) in as_pid_1 {
                tests.push(pid_1_test(format!("{server}::{name}"), move |unshare| {
                    case(pid_1(server, unshare));
                }));
            }
        }
        tests
    }

    const WELCOME: &str = "Welcome HTTP Server\n";
    const STOPPED: &str = "stopped: every request was answered";

    fn assert_answer(client: &mut Client, status: u16, body: &str) {
        assert_eq!(client.response(), (status, body.to_owned()));
    }

    fn ask(server: &Server, request: &str, status: u16, body: &str) {
        let mut client = server.connect();
        client.send(request);
        assert_answer(&mut client, status, body);
    }

    /// Every request was answered, and the process ends well.
    fn ends_well(mut server: Server) {
        assert_eq!(server.program.code(), 0);
        assert_eq!(rest(&server), [STOPPED]);
    }

    /// The lines that are left, but for the progress that smol shows.
    fn rest(server: &Server) -> Vec<String> {
        let mut rest = server.program.rest();
        rest.retain(|line| !line.contains(" left, "));
        rest
    }

    /// The process ends at once and prints nothing more, and the request in flight gets no answer.
    fn is_forced(mut server: Server, mut in_flight: Client) {
        assert_eq!(server.program.code(), 1);
        assert!(in_flight.closed_with_nothing());
        let rest = rest(&server);
        assert!(rest.is_empty(), "{rest:?}");
    }

    /// One signal: what is in flight is answered, and a new connection is refused.
    fn one_signal(server: Server, signal: Signal) {
        let mut slow = server.begin("GET /sleep?duration=100ms");
        let mut held = server.hold("GET /healthz");
        server.program.send(signal);
        assert_eq!(server.program.line("stopping: "), signal.as_str());
        server.refuses();
        assert_answer(&mut slow, 200, WELCOME);
        held.finish();
        assert_answer(&mut held, 200, "ok\n");
        server.program.line("request: GET /healthz");
        ends_well(server);
    }

    fn two_signals(server: Server, first: Signal, second: Signal) {
        let slow = server.begin("GET /sleep?duration=1h");
        server.program.send(first);
        assert_eq!(server.program.line("stopping: "), first.as_str());
        server.program.send(second);
        is_forced(server, slow);
    }

    fn one_sigint(name: &str) {
        one_signal(Server::start(name), SIGINT);
    }

    fn one_sigterm(name: &str) {
        one_signal(Server::start(name), SIGTERM);
    }

    fn two_sigints(name: &str) {
        two_signals(Server::start(name), SIGINT, SIGINT);
    }

    fn two_sigterms(name: &str) {
        two_signals(Server::start(name), SIGTERM, SIGTERM);
    }

    fn sigint_then_sigterm(name: &str) {
        two_signals(Server::start(name), SIGINT, SIGTERM);
    }

    /// Asks it to quit, and waits until it does.
    fn quit(server: &Server) {
        ask(server, "POST /quit", 200, "true\n");
        let cause = server.program.line("stopping: ");
        assert!(
            cause.starts_with("requested at examples/common/mod.rs:"),
            "{cause}"
        );
    }

    fn quit_once(name: &str) {
        let server = Server::start(name);
        let mut slow = server.begin("GET /sleep?duration=100ms");
        quit(&server);
        server.refuses();
        assert_answer(&mut slow, 200, WELCOME);
        ends_well(server);
    }

    fn quit_twice(name: &str) {
        let server = Server::start(name);
        let mut second = server.hold("POST /quit");
        let mut slow = server.begin("GET /sleep?duration=1h");
        quit(&server);
        second.finish();
        assert!(second.closed_with_nothing());
        assert!(slow.closed_with_nothing());
        server.program.line("request: POST /quit");
        is_forced(server, second);
    }

    fn quit_then_sigterm(name: &str) {
        let server = Server::start(name);
        let slow = server.begin("GET /sleep?duration=1h");
        quit(&server);
        server.program.send(SIGTERM);
        is_forced(server, slow);
    }

    fn readyz_while_draining(name: &str) {
        let server = Server::start(name);
        ask(&server, "GET /readyz", 200, "ok\n");
        ask(&server, "GET /healthz", 200, "ok\n");
        let mut ready = server.hold("GET /readyz");
        let mut healthy = server.hold("GET /healthz");
        server.program.send(SIGTERM);
        server.program.line("stopping: SIGTERM");
        ready.finish();
        assert_answer(&mut ready, 503, "stopping\n");
        healthy.finish();
        assert_answer(&mut healthy, 200, "ok\n");
        assert_eq!(server.program.line("request: "), "GET /readyz");
        assert_eq!(server.program.line("request: "), "GET /healthz");
        ends_well(server);
    }

    /// The readiness check fails, and the server goes on answering. It closes connections after an answer, so
    /// that their clients reconnect, to another server.
    fn in_its_lame_duck(name: &str) {
        let args = ["127.0.0.1:0", "1h", "1h"];
        let mut server = Server::start_with(Command::new(example(name)).args(args));
        let mut kept = server.connect();
        kept.send("GET /readyz");
        assert_answer(&mut kept, 200, "ok\n");
        kept.send("GET /healthz");
        assert_answer(&mut kept, 200, "ok\n");

        server.program.send(SIGTERM);
        until("/readyz is red", || {
            let mut check = server.connect();
            check.send("GET /readyz");
            check.response() == (503, "stopping\n".to_owned())
        });
        kept.send("GET /healthz");
        assert_answer(&mut kept, 200, "ok\n");
        assert!(kept.closed());
        ask(&server, "GET /sleep?duration=1ms", 200, WELCOME);
        server.program.send(SIGTERM);
        assert_eq!(server.program.code(), 1);
    }

    /// They are closed at once, while another request is in flight.
    fn idle_connections(name: &str) {
        let server = Server::start(name);
        let mut held = server.hold("GET /healthz");
        let mut silent = server.connect();
        let mut idle = server.connect();
        for _ in 0..2 {
            idle.send("GET /healthz");
            assert_answer(&mut idle, 200, "ok\n");
            server.program.line("request: GET /healthz");
        }
        server.program.send(SIGINT);
        assert!(idle.closed_with_nothing());
        assert!(silent.closed_with_nothing());
        server.program.line("stopping: SIGINT");
        held.finish();
        assert_answer(&mut held, 200, "ok\n");
        assert!(held.closed_with_nothing());
        server.program.line("request: GET /healthz");
        ends_well(server);
    }

    /// The deadline has passed, and it says so.
    fn is_late(mut server: Server, sent: Instant) {
        let message = server.program.error_line("error: ");
        let (message, error) = message.split_once("; ").unwrap();
        assert_eq!(message, "connections were still open after 200ms");
        assert!(error.ends_with("held:"), "{error}");
        assert_eq!(server.program.code(), 1);
        assert!(sent.elapsed() >= Duration::from_millis(200));
        assert!(!server.program.rest().contains(&STOPPED.to_owned()));
    }

    fn request_outlasts_the_deadline(name: &str) {
        let server = Server::start_with_deadline(name, "200ms");
        let mut slow = server.begin("GET /sleep?duration=1h");
        let sent = Instant::now();
        server.program.send(SIGTERM);
        server.program.line("stopping: SIGTERM");
        is_late(server, sent);
        assert!(slow.closed_with_nothing());
    }

    fn bad_duration(name: &str) {
        let server = Server::start(name);
        let missing = "no duration given; try /sleep?duration=5s\n";
        ask(&server, "GET /sleep", 400, missing);
        ask(&server, "GET /sleep?", 400, missing);
        ask(&server, "GET /sleep?length=5s", 400, missing);
        for bad in ["abc", "5", "-5s", "", "99999999999999999999s"] {
            let mut client = server.connect();
            client.send(&format!("GET /sleep?duration={bad}"));
            let (status, body) = client.response();
            assert_eq!(status, 400);
            assert!(
                body.starts_with(&format!("bad duration '{bad}': "))
                    && body.ends_with("; try /sleep?duration=5s\n"),
                "{body}"
            );
        }
        ask(&server, "GET /sleep?x=y&duration=1ms", 200, WELCOME);
        server.program.send(SIGTERM);
        server.program.line("stopping: SIGTERM");
        ends_well(server);
    }

    fn unknown_path(name: &str) {
        let server = Server::start(name);
        // GET must not stop it: a browser that looks ahead would.
        for request in ["GET /", "GET /nothing?x=y", "GET /quit", "POST /healthz"] {
            ask(&server, request, 404, "not found\n");
        }
        ask(&server, "GET /readyz", 200, "ok\n");
        server.program.send(SIGINT);
        server.program.line("stopping: SIGINT");
        ends_well(server);
    }

    /// The process prints why it does not start, and ends with code 1.
    fn does_not_start(name: &str, args: &[&str], message: &str) {
        let mut program = Program::start(Command::new(example(name)).args(args));
        let error = program.error_line("error: ");
        assert!(error.starts_with(message), "{error}");
        assert_eq!(program.code(), 1);
        assert_eq!(program.rest(), [""; 0]);
    }

    fn busy_port(name: &str) {
        let busy = TcpListener::bind("127.0.0.1:0").expect("a port is free");
        let address = busy.local_addr().expect("it is bound").to_string();
        let message = format!("can't listen on {address}: ");
        does_not_start(name, &[&address], &message);
    }

    fn bad_arguments(name: &str) {
        does_not_start(name, &["nowhere"], "can't listen on nowhere: ");
        does_not_start(name, &["127.0.0.1:0", "soon"], "bad deadline 'soon': ");
        let listen = "127.0.0.1:0";
        does_not_start(name, &[listen, "1s", "quack"], "bad lame duck 'quack': ");
        let extra = "unexpected argument 'more'";
        does_not_start(name, &[listen, "1s", "1s", "more"], extra);
    }

    fn two_hundred_in_flight(name: &str) {
        let server = Server::start(name);
        let mut clients: Vec<_> = (0..200)
            .map(|_| {
                let mut client = server.connect();
                client.send("GET /sleep?duration=1s");
                client
            })
            .collect();
        for _ in &clients {
            server.program.line("request: GET /sleep");
        }
        server.program.send(SIGTERM);
        server.program.line("stopping: SIGTERM");
        for client in &mut clients {
            assert_answer(client, 200, WELCOME);
        }
        ends_well(server);
    }

    /// Whatever some clients send, others are answered and the shutdown ends.
    fn bad_input(name: &str) {
        let server = Server::start(name);
        let silent = server.connect();
        let mut garbage = server.connect();
        garbage.write("\x16\x03\x01\x02 this is not HTTP\r\n\r\n");
        assert!(garbage.closed());
        let mut gone = server.connect();
        gone.write("POST /qu");
        drop(gone);
        let mut endless_head = server.connect();
        endless_head.write("GET /healthz HTTP/1.1\r\nHost: localhost\r\n");
        endless(endless_head, "X-More: and more\r\n")
            .join()
            .expect("a closed connection ends it");
        let mut body_cut_off = server.connect();
        body_cut_off.write(&head("POST /nothing", "Content-Length: 100"));
        body_cut_off.write("0123456789");
        server.program.line("request: POST /nothing");
        let endless_bodies = ["POST /nothing", "GET /sleep?duration=100ms"].map(|request| {
            let mut client = server.connect();
            client.write(&head(request, "Content-Length: 1099511627776"));
            server.program.line("request: ");
            endless(client, "0123456789abcdef")
        });

        ask(&server, "GET /healthz", 200, "ok\n");
        let mut slow = server.begin("GET /sleep?duration=200ms");
        server.program.send(SIGTERM);
        assert_answer(&mut slow, 200, WELCOME);
        server.program.line("stopping: SIGTERM");
        ends_well(server);
        for sender in endless_bodies {
            sender.join().expect("a closed connection ends it");
        }
        drop((silent, body_cut_off));
    }

    fn head(request: &str, header: &str) -> String {
        format!("{request} HTTP/1.1\r\nHost: localhost\r\n{header}\r\n\r\n")
    }

    /// Sends the same text until the server closes the connection.
    fn endless(mut client: Client, text: &'static str) -> thread::JoinHandle<()> {
        let text = text.repeat(1000);
        thread::spawn(move || while client.0.write_all(text.as_bytes()).is_ok() {})
    }

    /// The client of a request that was cut off goes away during the drain.
    fn request_cut_off(name: &str) {
        let server = Server::start(name);
        let cut_off = server.hold("GET /sleep?duration=1h");
        let mut held = server.hold("GET /healthz");
        server.program.send(SIGTERM);
        server.program.line("stopping: SIGTERM");
        held.finish();
        assert_answer(&mut held, 200, "ok\n");
        server.program.line("request: GET /healthz");
        drop(cut_off);
        ends_well(server);
    }

    /// It stays, and the deadline ends the wait for it.
    fn request_cut_off_for_good(name: &str) {
        let server = Server::start_with_deadline(name, "200ms");
        let mut cut_off = server.hold("GET /healthz");
        let sent = Instant::now();
        server.program.send(SIGTERM);
        server.program.line("stopping: SIGTERM");
        is_late(server, sent);
        assert!(cut_off.closed_with_nothing());
    }

    /// In `server | tee log`, Ctrl-C ends the reader too.
    fn output_closed(name: &str) {
        const DESCRIPTORS: usize = 64;
        let mut server = Server::start_unheard(name, "1h", DESCRIPTORS);
        // Something to say about a connection, and about the listener.
        let mut garbage = server.connect();
        garbage.write("\x16\x03\x01\x02 this is not HTTP\r\n\r\n");
        assert!(garbage.closed());
        let many: Vec<_> = (0..DESCRIPTORS).map(|_| server.connect()).collect();
        until("no descriptor is left", || {
            lowest_free_descriptor(&server) == DESCRIPTORS
        });
        drop(many);
        ask(&server, "GET /healthz", 200, "ok\n");

        let mut held = server.hold("GET /healthz");
        server.program.send(SIGINT);
        server.refuses();
        held.finish();
        assert_answer(&mut held, 200, "ok\n");
        assert_eq!(server.program.code(), 0);
    }

    /// The same when the server has to say that it is late.
    fn output_closed_and_late(name: &str) {
        let mut server = Server::start_unheard(name, "200ms", 64);
        let mut held = server.hold("GET /healthz");
        let sent = Instant::now();
        server.program.send(SIGTERM);
        assert_eq!(server.program.code(), 1);
        assert!(sent.elapsed() >= Duration::from_millis(200));
        assert!(held.closed_with_nothing());
    }

    /// A job of a shell, by Ctrl-Z and `fg`. The kernel interrupts a read that has a timeout.
    fn stopped_and_continued(name: &str) {
        let server = Server::start(name);
        let mut idle = server.connect();
        let mut held = server.hold("GET /healthz");
        for _ in 0..3 {
            idle.send("GET /healthz");
            assert_answer(&mut idle, 200, "ok\n");
            server.program.line("request: GET /healthz");
            until("its threads sleep", || {
                threads_sleep(server.program.pid(), None)
            });
            server.program.send(SIGSTOP);
            server.program.stopped();
            server.program.send(SIGCONT);
        }
        idle.send("GET /healthz");
        assert_answer(&mut idle, 200, "ok\n");
        held.finish();
        assert_answer(&mut held, 200, "ok\n");
        let mut program = server.program;
        program.send(SIGTERM);
        assert_eq!(program.code(), 0);
    }

    /// Sets a limit of a running server.
    fn limit(server: &Server, limit: &str) {
        let pid = server.program.pid().to_string();
        let limited = Command::new("prlimit")
            .args(["--pid", &pid, limit])
            .status();
        assert!(limited.expect("util-linux is installed").success());
    }

    /// Leaves no memory for the stack of another thread.
    fn limit_memory(server: &Server) {
        let pid = server.program.pid();
        let size = fs::read_to_string(format!("/proc/{pid}/statm")).unwrap();
        let pages: u64 = size.split(' ').next().unwrap().parse().unwrap();
        limit(server, &format!("--as={}:", pages * 4096 + (1 << 20)));
    }

    /// Returns the descriptor that the server opens next, if its limit is higher.
    fn lowest_free_descriptor(server: &Server) -> usize {
        let open = format!("/proc/{}/fd", server.program.pid());
        let is_free =
            |descriptor: &usize| fs::symlink_metadata(format!("{open}/{descriptor}")).is_err();
        (0..).find(is_free).unwrap()
    }

    /// No memory is left for the stack of another thread when the signal comes.
    fn without_threads(name: &str) {
        let server = Server::start(name);
        let mut held = server.hold("GET /healthz");
        limit_memory(&server);
        server.program.send(SIGTERM);
        server.program.line("stopping: SIGTERM");
        held.finish();
        assert_answer(&mut held, 200, "ok\n");
        server.program.line("request: GET /healthz");
        ends_well(server);
    }

    /// Nor when a connection comes. That of the server with a thread for each waits for one.
    fn without_threads_for_a_while(name: &str) {
        let server = Server::start(name);
        // A thread that has ended would leave its stack for the next one.
        let mut held = server.hold("GET /healthz");
        limit_memory(&server);
        let mut client = server.connect();
        client.send("GET /healthz");
        until("it is accepted", || server.queued() == 0);
        limit(&server, "--as=unlimited:");
        assert_answer(&mut client, 200, "ok\n");
        held.finish();
        assert_answer(&mut held, 200, "ok\n");
        server.program.send(SIGTERM);
        server.program.line("stopping: SIGTERM");
        ends_well(server);
    }

    /// Nor until the server has to leave the queue of the listener: what it has accepted is answered.
    fn without_threads_to_the_end(name: &str) {
        let server = Server::start_with_deadline(name, "4s");
        let mut held = server.hold("GET /healthz");
        limit_memory(&server);
        let mut client = server.connect();
        client.send("GET /healthz");
        until("it is accepted", || server.queued() == 0);
        server.program.send(SIGTERM);
        assert_answer(&mut client, 200, "ok\n");
        held.finish();
        assert_answer(&mut held, 200, "ok\n");
        let mut program = server.program;
        assert_eq!(program.code(), i32::from(name == "threads"));
    }

    /// More clients than descriptors connect again and again, so the queue of the listener is never empty.
    /// Once the kernel refuses, it gets empty as connections end.
    fn without_descriptors(name: &str) {
        let server = Server::start_with_deadline(name, "4s");
        ask(&server, "GET /healthz", 200, "ok\n");
        let mut slow = server.begin("GET /sleep?duration=2500ms");
        let most = lowest_free_descriptor(&server) + 2;
        limit(&server, &format!("--nofile={most}:"));
        let address = server.address;
        let clients: Vec<_> = (0..12)
            .map(|_| {
                thread::spawn(move || {
                    while let Ok(mut stream) = TcpStream::connect(address) {
                        let _ = write!(stream, "{}", head("GET /sleep?duration=20ms", "A: b"));
                        let _ = stream.read(&mut [0; 1000]);
                    }
                })
            })
            .collect();
        until("no descriptor is left", || {
            lowest_free_descriptor(&server) >= most
        });
        server.program.send(SIGTERM);
        assert_answer(&mut slow, 200, WELCOME);
        let mut program = server.program;
        assert_eq!(program.code(), 0);
        for client in clients {
            client.join().unwrap();
        }
    }

    /// The connections that are in flight have all descriptors until the server has to leave the queue of the
    /// listener.
    fn queue_is_left(name: &str) {
        let server = Server::start_with_deadline(name, "6s");
        let mut slow = server.begin("GET /sleep?duration=5s");
        let most = lowest_free_descriptor(&server);
        limit(&server, &format!("--nofile={most}:"));
        // The first has the descriptor of the refusal.
        let mut queued = [(); 2].map(|()| {
            let mut client = server.connect();
            client.send("GET /sleep?duration=5s");
            client
        });
        assert_eq!(server.queued(), 2);
        server.program.send(SIGTERM);
        assert_answer(&mut slow, 200, WELCOME);
        assert_answer(&mut queued[0], 200, WELCOME);
        let [_, mut left] = queued;
        assert!(left.closed_with_nothing());
        let mut program = server.program;
        program.error_line("error: ");
        assert_eq!(program.code(), 1);
        assert!(!program.rest().contains(&STOPPED.to_owned()));
    }

    /// A connection that finds a descriptor only after the others were told to finish. Its client sends a
    /// request after that. It has half a second for it: where the machine kept this test from that, it is
    /// done again.
    fn accepted_late(name: &str) {
        while !is_answered_late(name) {}
    }

    /// Returns whether the request was sent in time.
    fn is_answered_late(name: &str) -> bool {
        let server = Server::start(name);
        let mut held = server.hold("GET /healthz");
        let mut idle = server.connect();
        idle.send("GET /healthz");
        assert_answer(&mut idle, 200, "ok\n");
        let most = lowest_free_descriptor(&server);
        limit(&server, &format!("--nofile={most}:"));
        // For the descriptor of the refusal, which is free then.
        let mut early = server.connect();
        let mut late = server.connect();
        assert_eq!(server.queued(), 2);
        let sent = Instant::now();
        server.program.send(SIGTERM);
        assert!(idle.closed_with_nothing());
        assert!(early.closed_with_nothing());
        until("the other is accepted", || server.queued() == 0);
        late.send("GET /healthz");
        // It was accepted half a second after the signal at the earliest.
        if sent.elapsed() > Duration::from_millis(900) {
            return false;
        }
        assert_answer(&mut late, 200, "ok\n");
        held.finish();
        assert_answer(&mut held, 200, "ok\n");
        let mut program = server.program;
        assert_eq!(program.code(), 0);
        true
    }

    /// The kernel accepts connections while the process is stopped. The signal comes before the process
    /// can accept any of them, and half of the clients send their request only after it.
    fn g14_queued_connections_are_answered(name: &str) {
        let server = Server::start(name);
        server.program.send(SIGSTOP);
        server.program.stopped();
        let mut clients: Vec<_> = (0..20).map(|_| server.connect()).collect();
        for client in clients.iter_mut().step_by(2) {
            client.send("GET /healthz");
        }
        server.program.send(SIGTERM);
        server.program.send(SIGCONT);
        for client in clients.iter_mut().skip(1).step_by(2) {
            client.send("GET /healthz");
        }
        for mut client in clients {
            assert_answer(&mut client, 200, "ok\n");
            assert!(client.closed_with_nothing());
        }
        let mut program = server.program;
        assert_eq!(program.code(), 0);
        assert!(program.rest().contains(&STOPPED.to_owned()));
    }

    /// As a shell without job control starts what ends in `&`.
    fn sigint_ignored_at_start(name: &str) {
        let start = || {
            let ignores = "trap '' INT; exec \"$0\" 127.0.0.1:0 1h";
            Server::start_with(Command::new("sh").args(["-c", ignores]).arg(example(name)))
        };
        one_signal(start(), SIGINT);
        two_signals(start(), SIGINT, SIGINT);
    }

    /// As a supervisor starts it that waits for signals itself, and forgets to undo that.
    fn signals_blocked_at_start(name: &str) {
        let start = || {
            let blocked = SigSet::from_iter([SIGINT, SIGTERM]);
            blocked.thread_block().expect("they can be blocked");
            let server = Server::start(name);
            let status = Command::new("cat").arg("/proc/self/status").output();
            blocked.thread_unblock().expect("they can be unblocked");
            // Asserts that a child inherits the mask. Not that of the server: a thread that starts
            // another blocks every signal for a moment.
            let status = String::from_utf8(status.expect("it can be started").stdout);
            let mask = status.ok().and_then(|status| {
                let mask = status
                    .lines()
                    .find_map(|line| line.strip_prefix("SigBlk:\t"))?;
                u64::from_str_radix(mask, 16).ok()
            });
            let both = (1 << (SIGINT as i32 - 1)) | (1 << (SIGTERM as i32 - 1));
            assert_eq!(mask.map(|mask| mask & both), Some(both));
            server
        };
        one_signal(start(), SIGTERM);
        one_signal(start(), SIGINT);
        two_signals(start(), SIGTERM, SIGTERM);
        two_signals(start(), SIGINT, SIGTERM);
    }

    /// Starts a server that is PID 1, and asserts that it is.
    fn pid_1(name: &str, mut unshare: Command) -> Server {
        let script = "echo pid $$; exec \"$0\" 127.0.0.1:0 1h";
        unshare.args(["sh", "-c", script]).arg(example(name));
        let program = Program::start(&mut unshare);
        assert_eq!(program.line("pid "), "1");
        let mut server = Server::ready(program);
        server.program.aim_at_its_child();
        server
    }

    fn pid_1_one_sigint(server: Server) {
        one_signal(server, SIGINT);
    }

    fn pid_1_one_sigterm(server: Server) {
        one_signal(server, SIGTERM);
    }

    fn pid_1_two_sigints(server: Server) {
        two_signals(server, SIGINT, SIGINT);
    }

    fn pid_1_two_sigterms(server: Server) {
        two_signals(server, SIGTERM, SIGTERM);
    }

    /// It checks itself, and needs no signals.
    fn embedded_runs() {
        let mut program = Program::start(&mut Command::new(example("embedded")));
        assert_eq!(program.code(), 0);
    }
}
