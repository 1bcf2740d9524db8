#!/usr/bin/env python3
"""Runs cargo-mutants, and fails if a mutant survives that mutants.toml does not list.

    python3 tests/mutants.py ARGUMENT ...         runs `cargo mutants ARGUMENT ...`
    python3 tests/mutants.py --seconds N ...      interrupts it after so many seconds, and judges what it has tested
    python3 tests/mutants.py --self-test          shows that mistakes are reported

It runs the quick tests for each mutant, and then all tests for those that survive and are not listed.

A mutant that survives has an entry in mutants.toml with its reason. It is an error if one has none, if an entry gives no
reason, if all tests together take too long, if they fail without a mutation, or if no mutant was tested. A test that a
mutant keeps from ending has failed: .config/nextest.toml says after how long.
Lines and columns are left out of the names, so that they outlast a change of the file. Mutants of code that no test runs
have one there by a pattern, and are not made.
"""

import argparse
import json
import re
import signal
import subprocess
import sys
import tempfile
import time
import tomllib
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
OUT = ROOT / "target/mutants"
KINDS = ("caught", "missed", "timeout", "unviable")
# The integration tests that run no example and take seconds. The unit tests are run with them.
QUICK = ("quick", "deadline", "exit_status", "policies")
# Not the tests that keep both processors busy for a second.
NOT_QUICK = "--filterset=not test(/stress|churn|(^|[_:])races?_|g8_work_of_every_guard|g10_dropped_children/)"
# The first failure ends all tests; several run at once, as most of them wait.
NEXTEST = ["--max-fail=1:immediate", "--test-threads=4"]
# What cargo-mutants ends with if mutants survive, or if tests take too long: the lists say more.
SURVIVED = {0, 2, 3}


def without_place(mutant):
    """Returns the name of a mutant without line and column."""
    return re.sub(r"^([^:]+):\d+:\d+", r"\1", mutant.strip())


def tested(out):
    """Returns the mutants that cargo-mutants has tested, by what became of them."""
    files = {kind: out / f"mutants.out/{kind}.txt" for kind in KINDS}
    return {kind: file.read_text().splitlines() if file.exists() else [] for kind, file in files.items()}


def unlisted(mutants, lists):
    """Returns the mutants that survive, or under which the tests take too long, and may not."""
    survive = {entry["mutant"] for entry in lists.get("may_survive", [])}
    return {
        kind: [mutant for mutant in mutants[kind] if without_place(mutant) not in survive]
        for kind in ("missed", "timeout")
    }


def judge(mutants, lists):
    """Returns what is wrong with the lists, and with the mutants that survived."""
    entries = [entry for entries in lists.values() for entry in entries]
    errors = [f"no reason: {entry['mutant']}" for entry in entries if not entry.get("reason")]
    return errors + [f"{kind}: {mutant}" for kind, left in unlisted(mutants, lists).items() for mutant in left]


def self_test():
    """Shows that survivors and missing reasons are reported, and nothing else."""
    allowed = {"may_survive": [{"mutant": "src/a.rs: replace f with ()", "reason": "it is slow without"}]}
    cases = [
        ({"caught": "src/a.rs:1:2: replace g with ()\n"}, allowed, []),
        ({"missed": "src/a.rs:3:4: replace f with ()\n"}, allowed, []),
        ({"missed": "src/a.rs:3:4: replace g with ()\n"}, allowed, ["missed: src/a.rs:3:4: replace g with ()"]),
        ({"timeout": "src/b.rs:3:4: replace f with ()\n"}, allowed, ["timeout: src/b.rs:3:4: replace f with ()"]),
        ({}, {"may_survive": [{"mutant": "src/a.rs: x", "reason": ""}]}, ["no reason: src/a.rs: x"]),
        ({}, {"not_run": [{"mutant": "^src/a"}]}, ["no reason: ^src/a"]),
    ]
    for out, entries, expected in cases:
        with tempfile.TemporaryDirectory() as folder:
            (Path(folder) / "mutants.out").mkdir()
            for kind, text in out.items():
                (Path(folder) / f"mutants.out/{kind}.txt").write_text(text)
            mutants = tested(Path(folder))
            errors = judge(mutants, entries)
            assert errors == expected and sum(map(len, mutants.values())) == len(out), (expected, errors)
    print(f"mutants.py: {len(cases)} cases are as expected")


def run(name, arguments, of_tests, ends):
    """Runs cargo-mutants until then. Returns what it has tested, and what is wrong with it."""
    out = OUT / name
    out.mkdir(parents=True, exist_ok=True)
    # Otherwise it judges the lists of an earlier run, where this one ends early.
    for file in [*out.glob("mutants.out/*.txt"), *out.glob("mutants.out/mutants.json")]:
        file.unlink()
    command = ["cargo", "mutants", "--output", out, *arguments, "--test-tool=nextest", "--", *NEXTEST, *of_tests]
    process = subprocess.Popen(command, cwd=ROOT)
    try:
        ended = process.wait(timeout=ends and max(0, ends - time.monotonic()))
    except subprocess.TimeoutExpired:
        ended = None
    finally:
        # Also if this script is ended. It puts the sources back.
        if process.poll() is None:
            process.send_signal(signal.SIGINT)
            process.wait()
    mutants = tested(out)
    if ended is None:
        made = out / "mutants.out/mutants.json"
        listed = len(json.loads(made.read_text())) if made.exists() else "all"
        print(f"mutants.py: the time is over after {sum(map(len, mutants.values()))} of {listed} mutants, {name} tests")
    elif ended not in SURVIVED:
        return mutants, [f"cargo-mutants ends with {ended}"]
    return mutants, []


def main():
    parser = argparse.ArgumentParser(allow_abbrev=False)
    parser.add_argument("--self-test", action="store_true")
    parser.add_argument("--seconds", type=int)
    options, arguments = parser.parse_known_args()
    if options.self_test:
        self_test()
        return
    # `run` then ends cargo-mutants.
    signal.signal(signal.SIGTERM, lambda number, _: sys.exit(128 + number))
    ends = options.seconds and time.monotonic() + options.seconds
    lists = tomllib.loads((ROOT / "tests/mutants.toml").read_text())
    arguments += [f"--exclude-re={entry['mutant']}" for entry in lists.get("not_run", [])]
    quick = [f"--cargo-arg={test}" for test in ("--lib", *(f"--test={name}" for name in QUICK))]
    mutants, errors = run("quick", [*arguments, "--timeout=150", *quick], ["--profile=quick", NOT_QUICK], ends)
    if not errors and not mutants["caught"] and not mutants["missed"] and "--in-diff" not in arguments:
        errors.append("no mutant was tested")
    left = [mutant for kind in unlisted(mutants, lists).values() for mutant in kind]
    # Those that are not tested again, for want of time, are not known to survive.
    mutants = {kind: [mutant for mutant in mutants[kind] if mutant not in left] for kind in KINDS}
    if left and not errors:
        names = (f"--re=^{re.escape(mutant)}$" for mutant in left)
        more, errors = run("all", [*arguments, "--timeout=300", *names], [], ends)
        mutants = {kind: mutants[kind] + more[kind] for kind in KINDS}
        again = {mutant for kind in KINDS for mutant in more[kind]}
        for mutant in (mutant for mutant in left if mutant not in again):
            if ends and time.monotonic() >= ends:
                print(f"mutants.py: all tests were not run for {mutant}")
            else:
                errors.append(f"all tests were not run for {mutant}")
    errors += judge(mutants, lists)
    print("mutants.py: " + ", ".join(f"{len(mutants[kind])} {kind}" for kind in KINDS))
    for error in errors:
        print(f"mutants.py: {error}", file=sys.stderr)
    sys.exit(bool(errors))


if __name__ == "__main__":
    main()
