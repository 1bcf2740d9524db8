#!/usr/bin/env python3
"""Measures what it costs to depend on winddown and on its peers, and prints the tables of COMPARISON.md.

    python3 bench/costs.py              measures all, with three builds of each
    python3 bench/costs.py NAME ...     measures winddown and the rows whose names contain one of these
    BUILDS=1 python3 bench/costs.py     builds each once

Each row is a program with these dependencies. Its crates are those of `cargo tree` for this target, the program itself
left out and build dependencies counted. Its build is a cold `cargo build --release -j2` in a target folder of its own:
user and system time of all processes. Its threads and descriptors are those that the process has more when the shutdown
is installed than when `main` began.
"""

import os
import platform
import re
import resource
import shutil
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
BUILDS = int(os.environ.get("BUILDS", "3"))
WINDDOWN = f'path = "{ROOT}"'
BARE = "default-features = false"

# A program on tokio as servers have one, and one on smol. What a row adds to them is counted apart.
TOKIO = 'tokio = { version = "1", features = ["macros", "net", "rt-multi-thread", "signal", "time"] }'
SMOL = 'smol = "2"'
# What the peers without signals need for them.
SIGNALS = 'tokio = { version = "1", features = ["macros", "rt", "signal"] }'

WAIT_ON_TOKIO = """
    use tokio::signal::unix::{SignalKind, signal};
    let mut interrupt = signal(SignalKind::interrupt()).unwrap();
    let mut terminate = signal(SignalKind::terminate()).unwrap();
    tokio::spawn(async move {
        tokio::select! { _ = interrupt.recv() => {} _ = terminate.recv() => {} }
        REQUEST
    });
"""


def on_tokio(text):
    """A program on tokio's runtime of one thread. The runtime counts."""
    return f"""
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {{
        {text}
        tokio::task::yield_now().await;
        installed();
    }});"""


# Name, dependencies, and what `main` does up to `installed()`.
ROWS = [
    (
        "winddown",
        [f"winddown = {{ {WINDDOWN} }}"],
        "let shutdown = winddown::Shutdown::install().unwrap(); installed(); drop(shutdown);",
    ),
    (
        "winddown, with a grace period that forces",
        [f"winddown = {{ {WINDDOWN} }}"],
        """let grace = std::time::Duration::from_secs(30);
        let builder = winddown::Shutdown::builder().grace_period(grace).force_at_deadline();
        let shutdown = builder.install().unwrap(); installed(); drop(shutdown);""",
    ),
    (
        "winddown, `default-features = false`",
        [f"winddown = {{ {WINDDOWN}, {BARE} }}"],
        "let shutdown = winddown::Shutdown::new(); installed(); drop(shutdown);",
    ),
    (
        "winddown, `tokio-io`",
        [f'winddown = {{ {WINDDOWN}, features = ["tokio-io"] }}'],
        "",
    ),
    (
        "winddown, `tracing`",
        [f'winddown = {{ {WINDDOWN}, features = ["tracing"] }}'],
        "",
    ),
    (
        "tokio-util and `tokio::signal`",
        ['tokio-util = { version = "0.7", features = ["rt"] }', SIGNALS],
        on_tokio(
            """let token = tokio_util::sync::CancellationToken::new();
            let tracker = tokio_util::task::TaskTracker::new();
            let cancelled = token.clone();"""
            + WAIT_ON_TOKIO.replace("REQUEST", "cancelled.cancel();")
            + "let _ = tracker;"
        ),
    ),
    (
        "swansong and `tokio::signal`",
        ['swansong = "0.3"', SIGNALS],
        on_tokio(
            "let swansong = swansong::Swansong::new();"
            + WAIT_ON_TOKIO.replace("REQUEST", "swansong.shut_down().await;")
        ),
    ),
    (
        "async-shutdown and `tokio::signal`",
        ['async-shutdown = "0.2"', SIGNALS],
        on_tokio(
            "let shutdown = async_shutdown::ShutdownManager::new();"
            + WAIT_ON_TOKIO.replace("REQUEST", "let _ = shutdown.trigger_shutdown(0);")
        ),
    ),
    (
        "tokio-graceful",
        ['tokio-graceful = "0.2"', SIGNALS],
        on_tokio("let shutdown = tokio_graceful::Shutdown::default(); let _kept = shutdown.guard();"),
    ),
    (
        "tokio-graceful-shutdown",
        ['tokio-graceful-shutdown = "0.20"', SIGNALS],
        on_tokio(
            """use tokio_graceful_shutdown::{SubsystemHandle, Toplevel};
            let top = Toplevel::<Box<dyn std::error::Error + Send + Sync>>::new(async |_: &mut SubsystemHandle| {});
            let top = top.catch_signals();
            let _kept = top;"""
        ),
    ),
    (
        "signal-mod",
        ['signal-mod = "2"', SIGNALS],
        on_tokio(
            "let shutdown = signal_mod::Coordinator::builder().build(); shutdown.install().unwrap();"
            "let _kept = shutdown;"
        ),
    ),
    (
        "signal-mod, `agnostic` alone",
        [f'signal-mod = {{ version = "2", {BARE}, features = ["std", "agnostic"] }}'],
        "let shutdown = signal_mod::Coordinator::builder().build(); shutdown.install().unwrap(); installed();",
    ),
    (
        "ctrlc",
        ['ctrlc = { version = "3", features = ["termination"] }'],
        "ctrlc::set_handler(|| {}).unwrap(); installed();",
    ),
    (
        "signal-hook, `Signals` in a thread",
        ['signal-hook = "0.4"'],
        """use signal_hook::consts::{SIGINT, SIGTERM};
        let mut signals = signal_hook::iterator::Signals::new([SIGINT, SIGTERM]).unwrap();
        std::thread::spawn(move || for _ in signals.forever() {});
        installed();""",
    ),
    ("tokio's runtime alone", [SIGNALS], on_tokio("")),
]

PROGRAM = """
fn count(what: &str) -> usize {{
    std::fs::read_dir(format!("/proc/self/{{what}}")).unwrap().count()
}}

fn installed() {{
    // Threads that end by themselves have ended by then.
    std::thread::sleep(std::time::Duration::from_millis(300));
    println!("{{}} {{}}", count("task"), count("fd"));
    use std::io::Write;
    std::io::stdout().flush().unwrap();
}}

fn main() {{
    println!("{{}} {{}}", count("task"), count("fd"));
    {body}
}}
"""


def cargo(folder, *arguments):
    environment = {key: value for key, value in os.environ.items() if key != "RUSTFLAGS"}
    environment["CARGO_TARGET_DIR"] = str(folder / "target")
    run = subprocess.run(["cargo", *arguments], cwd=folder, env=environment, capture_output=True, text=True)
    if run.returncode:
        sys.exit(f"{folder.name}: cargo {' '.join(arguments)}\n{run.stderr}")
    return run.stdout


def make(folder, dependencies, body):
    """Makes the crate, with the newest versions that its dependencies allow."""
    shutil.rmtree(folder, ignore_errors=True)
    (folder / "src").mkdir(parents=True)
    lines = '\n'.join(dependencies)
    (folder / "Cargo.toml").write_text(
        f'[package]\nname = "depends"\nversion = "0.0.0"\nedition = "2024"\n\n[dependencies]\n{lines}\n\n[workspace]\n'
    )
    (folder / "src/main.rs").write_text(PROGRAM.format(body=body) if body else "fn main() {}\n")
    cargo(folder, "generate-lockfile")


def tree(folder):
    """Returns (name, version) of each crate that is built for this target."""
    listed = cargo(folder, "tree", "--edges", "normal,build", "--prefix", "none", "--format", "{p}")
    found = set(re.findall(r"^(\S+) v(\S+)", listed, re.MULTILINE))
    return {(name, version) for name, version in found if name != "depends"}


def build_time(folder):
    """Returns the processor time of a cold build in seconds."""
    shutil.rmtree(folder / "target", ignore_errors=True)
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    cargo(folder, "build", "--release", "--offline", "-j2")
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime - before.ru_utime + after.ru_stime - before.ru_stime


def added(folder):
    """Returns the threads and descriptors that the program adds."""
    printed = subprocess.run([folder / "target/release/depends"], capture_output=True, text=True, check=True).stdout
    before, after = [list(map(int, line.split())) for line in printed.splitlines()]
    return [after[0] - before[0], after[1] - before[1]]


def span(numbers, digits):
    low, high = [f"{number:.{digits}f}" for number in (min(numbers), max(numbers))]
    return low if low == high else f"{low} to {high}"


def processor():
    names = re.findall(r"^model name\s*: (.*)", Path("/proc/cpuinfo").read_text(), re.MULTILINE)
    return f"{names[0]}, {len(names)} processors" if names else platform.machine()


def main():
    work = Path(os.environ.get("CARGO_TARGET_DIR", ROOT / "target")).resolve() / "costs"
    wanted = sys.argv[1:]
    rows = ROWS[:1] + [row for row in ROWS[1:] if not wanted or any(it in row[0] for it in wanted)]
    print(subprocess.run(["rustc", "--version"], capture_output=True, text=True, check=True).stdout.strip())
    print(processor())

    programs = {}
    for name, dependencies in {"tokio": TOKIO, "smol": SMOL}.items():
        make(work / "program", [dependencies], "")
        programs[name] = tree(work / "program")

    # winddown first, whose time the others are compared with. One round after the other, so that a machine that becomes
    # slower does so for all.
    folders = [work / f"row{number}" for number, _ in enumerate(rows)]
    trees, times, counts = [], [[] for _ in rows], []
    for folder, (_, dependencies, body) in zip(folders, rows):
        make(folder, dependencies, body)
        trees.append(tree(folder))
        cargo(folder, "fetch")
    for number in range(BUILDS):
        for index, (row, folder, taken) in enumerate(zip(rows, folders, times)):
            # A row with the dependencies of the one before it takes the same time.
            same = index > 0 and rows[index - 1][1] == row[1]
            if number == 0 or not same:
                taken.append(build_time(folder))
            if same:
                taken[number:] = [times[index - 1][number]]
            print(f"build {number + 1} of {BUILDS}: {row[0]}: {taken[-1]:.1f} s", file=sys.stderr, flush=True)
            if number == 0:
                counts.append(added(folder) if row[2] else None)
            shutil.rmtree(folder / "target", ignore_errors=True)
        print_tables(rows, trees, programs, times, counts)


def print_tables(rows, trees, programs, times, counts):
    print(f"\nAfter {len(times[0])} builds of each:\n")
    print("| | crates | not in a program on tokio | not in one on smol | build, s | ratio | threads | descriptors |")
    print("|---|--:|--:|--:|--:|--:|--:|--:|")
    for (name, _, _), crates, taken, more in zip(rows, trees, times, counts):
        names = {crate for crate, _ in crates}
        beyond = [len(names - {crate for crate, _ in programs[program]}) for program in ("tokio", "smol")]
        ratio = span([own / other for own, other in zip(taken, times[0])], 2)
        columns = [name, len(crates), *beyond, span(taken, 1), ratio, *(more or ("", ""))]
        print(f"| {' | '.join(map(str, columns))} |")

    peers = "swansong async-shutdown tokio-graceful tokio-graceful-shutdown signal-mod ctrlc signal-hook tokio tokio-util smol"
    newest = {crate: version for crates in [*trees, *programs.values()] for crate, version in sorted(crates)}
    print("\nVersions:", ", ".join(f"{crate} {newest[crate]}" for crate in sorted(peers.split()) if crate in newest), flush=True)


if __name__ == "__main__":
    main()
