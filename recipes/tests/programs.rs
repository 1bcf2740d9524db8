//! Every other recipe: each is started, signalled in the middle of its work, and seen to end.
#![cfg(unix)]

mod support;

use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::net::{TcpListener, TcpStream};
use std::os::unix::process::ExitStatusExt;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use nix::pty::openpty;
use nix::sys::signal::{Signal, kill, killpg};
use nix::sys::termios::{LocalFlags, tcgetattr};
use nix::unistd::Pid;
use support::Program;

/// Long enough for a program that would end by itself to have ended.
const A_WHILE: Duration = Duration::from_millis(300);

#[test]
fn kube() {
    let listener = TcpListener::bind("127.0.0.1:0").expect("there is a port");
    let url = format!("http://{}", listener.local_addr().expect("it is bound"));
    thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            thread::spawn(move || api_server(stream));
        }
    });
    let mut program = recipe!("kube", url);
    program.line("in flight: config");
    // kube may drop one that has just begun.
    assert!(program.runs_for(A_WHILE));
    program.send(Signal::SIGTERM);
    program.line("reconciled: config");
    program.line("stopped: ");
    let status = program.end("the reconciliation was finished");
    assert_eq!(status.code(), Some(0));
}

/// Answers `list` with one object, and `watch` with nothing for as long as the client stays.
fn api_server(stream: TcpStream) {
    let mut lines = BufReader::new(&stream).lines().map_while(Result::ok);
    while let Some(request) = lines.next() {
        lines.by_ref().find(String::is_empty); // the end of the head
        let list = r#"{"kind": "ConfigMapList", "apiVersion": "v1",
            "metadata": {"resourceVersion": "1"}, "items": [{"metadata":
            {"name": "config", "namespace": "default", "uid": "1", "resourceVersion": "1"}}]}"#;
        let answer = if request.contains("watch=true") {
            "transfer-encoding: chunked\r\n\r\n".into()
        } else {
            format!("content-length: {}\r\n\r\n{list}", list.len())
        };
        let head = "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\n";
        if write!(&stream, "{head}{answer}").is_err() {
            return;
        }
    }
}

#[test]
fn job_queue() {
    let mut program = recipe!("job_queue");
    program.line("working on job 2");
    program.send(Signal::SIGTERM);
    let status = program.end("all 5 jobs were done");
    assert_eq!(status.code(), Some(0));
    let rest = program.rest();
    let done = rest
        .iter()
        .filter(|line| line.starts_with("done: "))
        .count();
    assert_eq!(done, 4, "{rest:?}");
}

#[test]
fn job_queue_late() {
    let mut program = recipe!("job_queue", "60000");
    program.line("queued: ");
    program.send(Signal::SIGTERM);
    let status = program.end("5 jobs were named in the error");
    assert_eq!(status.code(), Some(1));
}

#[test]
fn job_queue_that_panics() {
    let mut program = recipe!("job_queue", "0");
    let status = program.end("the panic of a job stopped it");
    assert_eq!(status.code(), Some(1));
}

#[test]
fn spawn_blocking() {
    let mut command = Command::new(env!("CARGO_BIN_EXE_spawn_blocking"));
    let mut program = Program::start("spawn_blocking", command.stdin(Stdio::piped()));
    program.line("ready: ");
    program.send(Signal::SIGTERM);
    program.line("import: saved");
    program.line("drained");
    program.line("stopped");
    let status = program.end("the import was saved, and the read was left behind");
    assert_eq!(status.code(), Some(0));
}

#[test]
fn spawn_blocking_with_a_dropped_runtime() {
    let mut command = Command::new(env!("CARGO_BIN_EXE_spawn_blocking"));
    command.arg("drop").stdin(Stdio::piped());
    let mut program = Program::start("spawn_blocking drop", &mut command);
    program.line("ready: ");
    program.send(Signal::SIGTERM);
    program.line("drained");
    assert!(program.runs_for(A_WHILE), "the runtime did not wait");
    program.send(Signal::SIGTERM);
    let status = program.end("it hung after the drain, until the second signal");
    assert_eq!(status.code(), Some(1));
}

#[test]
fn stdin() {
    let mut command = Command::new(env!("CARGO_BIN_EXE_stdin"));
    let mut program = Program::start("stdin", command.stdin(Stdio::piped()));
    program.line("ready: ");
    program.input().write_all(b"one\n").expect("it reads");
    program.line("working on one");
    program.send(Signal::SIGINT);
    program.line("done: one");
    program.line("stopped");
    let status = program.end("the line was finished, and stdin stayed open");
    assert_eq!(status.code(), Some(0));
}

#[test]
fn cpu_threads() {
    let mut program = recipe!("cpu_threads");
    program.line("ready: ");
    program.send(Signal::SIGTERM);
    program.line("saved: ");
    program.line("saved: ");
    let status = program.end("two threads have saved");
    assert_eq!(status.code(), Some(0));
}

#[test]
fn cli() {
    let folder = Folder::new("three");
    let [one, two, three] = ["one", "two", "three"].map(|name| folder.file(name));
    let mut program = recipe!("cli", one, three, two);
    program.line("working on ");
    program.line("working on ");
    program.send(Signal::SIGINT);
    program.line("done: ");
    program.line("2 of 3 files");
    let status = program.end("the current file was finished");
    assert_eq!(status.signal(), Some(Signal::SIGINT as i32));
    assert_eq!(folder.texts(), ["TEXT", "TEXT", "text"]);
}

#[test]
fn cli_second_signal() {
    let folder = Folder::new("second");
    let mut program = recipe!("cli", folder.file("one"));
    program.line("working on ");
    program.send(Signal::SIGINT);
    // Two equal ones that are both pending would be one. Of two others either may be the first.
    program.send(Signal::SIGTERM);
    program.line("0 of 1 files");
    let status = program.end("no half of the file was left");
    let signals = [Signal::SIGINT, Signal::SIGTERM].map(|signal| Some(signal as i32));
    assert!(signals.contains(&status.signal()), "{status}");
    assert_eq!(folder.texts(), ["text", "text", "text"]);
}

/// Ctrl-C reaches bash and the recipe. bash ends its loop if what it waits for dies of the signal.
#[test]
fn cli_in_a_loop() {
    let folder = Folder::new("loop");
    let mut command = Command::new("bash");
    command
        .arg("-c")
        .arg("cd $1; for file in *; do $2 $file; done; echo the loop goes on")
        .args(["bash".as_ref(), folder.0.as_os_str()])
        .arg(env!("CARGO_BIN_EXE_cli"));
    let mut program = Program::start("cli in a loop", &mut command);
    program.line("working on ");
    program.send_to_group(Signal::SIGINT);
    program.line("1 of 1 files");
    let status = program.end("the loop was stopped");
    assert_eq!(program.rest(), [""; 0]);
    assert_eq!(status.signal(), Some(Signal::SIGINT as i32));
    assert_eq!(folder.texts(), ["TEXT", "text", "text"]);
}

/// The end of what reads the output, as in `cli ... | head`.
#[test]
fn cli_without_a_reader() {
    let folder = Folder::new("reader");
    let mut command = Command::new(env!("CARGO_BIN_EXE_cli"));
    let mut child = command
        .arg(folder.file("one"))
        .stdout(Stdio::piped())
        .spawn()
        .expect("it starts");
    drop(child.stdout.take());
    let status = child.wait().expect("it ends");
    assert_eq!(status.code(), Some(0));
    assert_eq!(folder.texts(), ["TEXT", "text", "text"]);
}

/// A folder with three files, until this is dropped.
struct Folder(PathBuf);

impl Folder {
    fn new(name: &str) -> Self {
        let pid = std::process::id();
        let folder = Self(std::env::temp_dir().join(format!("winddown-cli-{name}-{pid}")));
        fs::create_dir_all(&folder.0).expect("it can be made");
        for name in ["one", "two", "three"] {
            fs::write(folder.file(name), "text").expect("it can be written");
        }
        folder
    }

    fn file(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }

    /// Returns the texts of all files, by name.
    fn texts(&self) -> Vec<String> {
        let entries = fs::read_dir(&self.0).expect("it is there");
        let mut files: Vec<_> = entries
            .map(|entry| entry.expect("it is there").path())
            .collect();
        files.sort();
        let text = |file| fs::read_to_string(file).expect("it is there");
        files.into_iter().map(text).collect()
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// Prints when it is sent SIGTERM, and ends.
const CHILD: &str = "trap 'echo child: told; exit 0' TERM; echo child: ready;
    while :; do sleep 0.05; done";

#[test]
fn child_processes() {
    let mut program = recipe!("child_processes", "sh", "-c", CHILD);
    program.line("child: ready");
    // To the group of the parent alone, as Ctrl-C.
    program.send_to_group(Signal::SIGINT);
    program.line("child: told");
    program.line("stopped: ");
    let status = program.end("Ctrl-C did not reach the child, and SIGTERM did");
    assert_eq!(status.code(), Some(0));
}

/// A process group that is killed when this is dropped.
struct Orphan(Pid);

impl Drop for Orphan {
    fn drop(&mut self) {
        let _ = killpg(self.0, Signal::SIGKILL);
    }
}

#[test]
fn child_processes_force() {
    // Both the recipe and the child say the pid, the child once it ignores what it is sent.
    let stubborn = "trap '' TERM INT; echo child: $$; while :; do sleep 0.05; done";
    let mut program = recipe!("child_processes", "sh", "-c", stubborn);
    let child = program.line("child: ").parse().expect("it is a pid");
    let child = Orphan(Pid::from_raw(child));
    program.line("child: ");
    program.send(Signal::SIGINT);
    program.send(Signal::SIGTERM);
    let status = program.end("forced, and the child was orphaned");
    assert_eq!(status.code(), Some(1));
    killpg(child.0, None).expect("the child runs");
}

#[test]
fn raw_terminal() {
    let (mut program, terminal) = in_a_terminal("raw_terminal");
    press_ctrl_c(&terminal);
    terminal.line("stopping: ");
    terminal.line("stopped: ");
    let status = program.end("one Ctrl-C, and the terminal was given back");
    assert_eq!(status.code(), Some(0));
    assert!(terminal.is_as_before());
}

#[test]
fn raw_terminal_force() {
    let (mut program, terminal) = in_a_terminal("raw_terminal force");
    press_ctrl_c(&terminal);
    terminal.line("stopping: ");
    press_ctrl_c(&terminal);
    let status = program.end("two Ctrl-C, and the terminal was given back");
    assert_eq!(status.code(), Some(1));
    assert!(terminal.is_as_before());
}

struct Terminal {
    master: fs::File,
    slave: fs::File,
    lines: mpsc::Receiver<String>,
}

/// Starts the recipe in a terminal, and waits until that is raw.
fn in_a_terminal(name: &str) -> (Program, Terminal) {
    let pty = openpty(None, None).expect("there is a terminal");
    let (master, slave) = (fs::File::from(pty.master), fs::File::from(pty.slave));
    let copy = || slave.try_clone().expect("there are descriptors");
    // Its stdout is a pipe of the harness, so it says its lines on the terminal by a shell.
    let mut command = Command::new("sh");
    command
        .args(["-c", "exec \"$0\" >&2", env!("CARGO_BIN_EXE_raw_terminal")])
        .stdin(copy())
        .stderr(copy());
    let program = Program::start(name, &mut command);
    let reader = BufReader::new(master.try_clone().expect("there are descriptors"));
    let (sender, lines) = mpsc::channel();
    thread::spawn(move || {
        for line in reader.lines().map_while(Result::ok) {
            if sender.send(line).is_err() {
                return;
            }
        }
    });
    let terminal = Terminal {
        master,
        slave,
        lines,
    };
    terminal.line("ready: ");
    assert!(!terminal.is_as_before());
    (program, terminal)
}

fn press_ctrl_c(terminal: &Terminal) {
    (&terminal.master).write_all(b"\x03").expect("it is open");
}

impl Terminal {
    fn line(&self, start: &str) {
        loop {
            let line = self.lines.recv_timeout(support::PATIENCE);
            if line.expect("the line comes").starts_with(start) {
                return;
            }
        }
    }

    /// Whether Ctrl-C sends a signal, and what is typed is shown.
    fn is_as_before(&self) -> bool {
        let flags = tcgetattr(&self.slave)
            .expect("it is a terminal")
            .local_flags;
        flags.contains(LocalFlags::ISIG | LocalFlags::ECHO)
    }
}

#[test]
fn daemon() {
    let log = std::env::temp_dir().join(format!("winddown-daemon-{}", std::process::id()));
    let mut program = recipe!("daemon", &log);
    let daemon = Pid::from_raw(program.line("daemon: ").parse().expect("it is a pid"));
    let status = program.end("the daemon is ready");
    assert_eq!(status.code(), Some(0));
    assert!(fs::read_to_string(&log).expect("it is there").is_empty());
    kill(daemon, Signal::SIGTERM).expect("the daemon runs");
    let end = std::time::Instant::now() + support::PATIENCE;
    while fs::read_to_string(&log).expect("it is there") != "stopped: SIGTERM\n" {
        assert!(std::time::Instant::now() < end, "the daemon has not ended");
        thread::sleep(Duration::from_millis(2));
    }
    fs::remove_file(log).expect("it can be removed");
}

#[test]
fn library() {
    let mut program = recipe!("library");
    program.line("ready: ");
    program.send(Signal::SIGTERM);
    for line in [
        "written: row",
        "written: row",
        "written: row",
        "the future has ended it",
    ] {
        program.line(line);
    }
    program.line("the library did the last step");
    program.line("stopped");
    let status = program.end("three rows were written");
    assert_eq!(status.code(), Some(0));
}

#[test]
fn cancellation_token() {
    let mut program = recipe!("cancellation_token");
    program.line("ready: ");
    program.send(Signal::SIGTERM);
    program.line("the part was cancelled");
    program.line("stopped: SIGTERM");
    let status = program.end("the shutdown cancelled the token");
    assert_eq!(status.code(), Some(0));
}

#[test]
fn cancellation_token_begins() {
    let mut program = recipe!("cancellation_token", "token");
    program.line("the part was cancelled");
    program.line("stopped: a token was cancelled");
    let status = program.end("the token began the shutdown");
    assert_eq!(status.code(), Some(0));
}

#[test]
fn paused_clock() {
    let mut program = recipe!("paused_clock");
    program.line("after 30 s: timed out; 1 guard is held");
    program.line("after an hour: drained");
    let status = program.end("more than an hour passed on the paused clock");
    assert_eq!(status.code(), Some(0));
}

#[test]
fn fifty_servers() {
    let mut program = recipe!("fifty_servers");
    program.line("stopped: 50 servers, 50 whole answers");
    let status = program.end("50 answers were whole");
    assert_eq!(status.code(), Some(0));
}

#[test]
fn reload() {
    let mut program = recipe!("reload");
    program.line("ready: generation 1");
    program.send(Signal::SIGHUP);
    program.line("reloaded: generation 2");
    program.send(Signal::SIGHUP);
    program.line("reloaded: generation 3");
    program.send(Signal::SIGTERM);
    program.line("stopped: SIGTERM");
    let status = program.end("SIGHUP reloaded twice, SIGTERM stopped");
    assert_eq!(status.code(), Some(0));
}

#[test]
fn wrapped() {
    for (debounce, code) in [("500", 0), ("0", 1)] {
        let mut program = recipe!("wrapped", debounce);
        program.line("ready: ");
        program.send(Signal::SIGINT);
        program.line("stopping: ");
        program.send(Signal::SIGINT);
        let status = program.end(&format!("two SIGINT, a debounce of {debounce} ms"));
        assert_eq!(status.code(), Some(code));
    }
}

const WRAPPED: &str = env!("CARGO_BIN_EXE_wrapped");

/// `timeout` hands on what it is sent. Sent to the whole group, one signal is two for the program, unless
/// the kernel merges them.
#[test]
fn wrapped_by_timeout() {
    for debounce in ["500", "0"] {
        let mut command = Command::new("timeout");
        command.args(["30", WRAPPED, debounce]);
        let mut program = Program::start("timeout wrapped", &mut command);
        program.line("ready: ");
        program.send_to_group(Signal::SIGTERM);
        let status = program.end(&format!(
            "SIGTERM to the group, a debounce of {debounce} ms"
        ));
        assert!(status.code() == Some(0) || debounce == "0");
    }
}

/// A script of npm is run by a shell, which dies of the signal and hands nothing on.
#[test]
fn wrapped_by_npm() {
    if Command::new("npm").arg("--version").output().is_err() {
        println!("skipped: wrapped_by_npm: npm is not installed");
        return;
    }
    let folder = std::env::temp_dir().join(format!("winddown-npm-{}", std::process::id()));
    fs::create_dir_all(&folder).expect("it can be made");
    let scripts = format!(r#"{{"scripts": {{"plain": "{WRAPPED}", "exec": "exec {WRAPPED}"}}}}"#);
    fs::write(folder.join("package.json"), scripts).expect("it can be written");
    let npm = |script| {
        let mut command = Command::new("npm");
        command
            .args(["run", "--silent", script])
            .current_dir(&folder);
        let program = Program::start(&format!("npm run {script}"), &mut command);
        let pid = program.line("ready: ").parse().expect("it is a pid");
        (program, Pid::from_raw(pid))
    };

    let (mut program, _) = npm("exec");
    program.send(Signal::SIGTERM);
    program.line("stopped");
    let status = program.end("with `exec` in its script, SIGTERM to npm stopped the program");
    assert_eq!(status.code(), Some(0));

    let (mut program, wrapped) = npm("plain");
    program.send(Signal::SIGTERM);
    program.end("without `exec`, SIGTERM to npm left the program running");
    let ran_on = kill(wrapped, Signal::SIGKILL);
    fs::remove_dir_all(&folder).expect("it can be removed");
    println!(
        "measured: without `exec`, the program runs on: {}",
        ran_on.is_ok()
    );
}
