#!/usr/bin/env python3
"""Runs cargo-mutants, and fails if a mutant survives that mutants.toml does not list.

    python3 tests/mutants.py ARGUMENT ...         runs `cargo mutants ARGUMENT ...`
    python3 tests/mutants.py --seconds N ...      interrupts it after so many seconds, and judges what it has tested
    python3 tests/mutants.py --self-test          shows that mistakes are reported

A mutant that survives, or under which the tests take too long, has an entry in mutants.toml with its reason. It is an
error if one has none, if an entry gives no reason, if the tests fail without a mutation, or if no mutant was tested.
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
import tomllib
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
OUT = ROOT / "target/mutants"
# What cargo-mutants ends with if mutants survive, or if tests take too long: the lists say more.
SURVIVED = {0, 2, 3}


def without_place(mutant):
    """Returns the name of a mutant without line and column."""
    return re.sub(r"^([^:]+):\d+:\d+", r"\1", mutant.strip())


def judge(out, lists):
    """Returns how many mutants were tested, and what is wrong with those that survived."""
    tested = {}
    for kind in ("caught", "missed", "timeout", "unviable"):
        file = out / f"mutants.out/{kind}.txt"
        tested[kind] = file.read_text().splitlines() if file.exists() else []
    entries = [entry for entries in lists.values() for entry in entries]
    errors = [f"no reason: {entry['mutant']}" for entry in entries if not entry.get("reason")]
    survive, hang = ({entry["mutant"] for entry in lists.get(key, [])} for key in ("may_survive", "may_hang"))
    for kind, names in (("missed", survive), ("timeout", survive | hang)):
        errors += [f"{kind}: {mutant}" for mutant in tested[kind] if without_place(mutant) not in names]
    return {kind: len(mutants) for kind, mutants in tested.items()}, errors


def self_test():
    """Shows that survivors and missing reasons are reported, and nothing else."""
    allowed = {"may_survive": [{"mutant": "src/a.rs: replace f with ()", "reason": "it is slow without"}]}
    cases = [
        ({"caught": "src/a.rs:1:2: replace g with ()\n"}, allowed, []),
        ({"missed": "src/a.rs:3:4: replace f with ()\n"}, allowed, []),
        ({"missed": "src/a.rs:3:4: replace g with ()\n"}, allowed, ["missed: src/a.rs:3:4: replace g with ()"]),
        ({"timeout": "src/b.rs:3:4: replace f with ()\n"}, allowed, ["timeout: src/b.rs:3:4: replace f with ()"]),
        ({"timeout": "src/b.rs:3:4: x\n"}, {"may_hang": [{"mutant": "src/b.rs: x", "reason": "a loop"}]}, []),
        (
            {"missed": "src/b.rs:3:4: x\n"},
            {"may_hang": [{"mutant": "src/b.rs: x", "reason": "a loop"}]},
            ["missed: src/b.rs:3:4: x"],
        ),
        ({}, {"may_survive": [{"mutant": "src/a.rs: x", "reason": ""}]}, ["no reason: src/a.rs: x"]),
        ({}, {"not_run": [{"mutant": "^src/a"}]}, ["no reason: ^src/a"]),
    ]
    for out, entries, expected in cases:
        with tempfile.TemporaryDirectory() as folder:
            (Path(folder) / "mutants.out").mkdir()
            for kind, text in out.items():
                (Path(folder) / f"mutants.out/{kind}.txt").write_text(text)
            counts, errors = judge(Path(folder), entries)
            assert errors == expected and sum(counts.values()) == len(out), (expected, errors)
    print(f"mutants.py: {len(cases)} cases are as expected")


def run(command, seconds):
    """Runs cargo-mutants. Returns what it ends with, or None if it took longer and was interrupted."""
    process = subprocess.Popen(command, cwd=ROOT)
    try:
        return process.wait(timeout=seconds)
    except subprocess.TimeoutExpired:
        # It puts the sources back.
        process.send_signal(signal.SIGINT)
        process.wait()
        return None


def main():
    parser = argparse.ArgumentParser(allow_abbrev=False)
    parser.add_argument("--self-test", action="store_true")
    parser.add_argument("--seconds", type=int)
    options, arguments = parser.parse_known_args()
    if options.self_test:
        self_test()
        return
    OUT.mkdir(parents=True, exist_ok=True)
    # Otherwise it judges the lists of an earlier run, where this one ends early.
    for file in [*OUT.glob("mutants.out/*.txt"), *OUT.glob("mutants.out/mutants.json")]:
        file.unlink()
    lists = tomllib.loads((ROOT / "tests/mutants.toml").read_text())
    left_out = [f"--exclude-re={entry['mutant']}" for entry in lists.get("not_run", [])]
    ended = run(["cargo", "mutants", "--output", OUT, *left_out, *arguments], options.seconds)
    counts, errors = judge(OUT, lists)
    if ended is None:
        made = OUT / "mutants.out/mutants.json"
        listed = len(json.loads(made.read_text())) if made.exists() else "all"
        print(f"mutants.py: after {options.seconds} s, {sum(counts.values())} of {listed} mutants were tested")
    elif ended not in SURVIVED:
        errors.append(f"cargo-mutants ends with {ended}")
    elif not counts["caught"] and not counts["missed"] and "--in-diff" not in arguments:
        errors.append("no mutant was tested")
    print("mutants.py: " + ", ".join(f"{count} {kind}" for kind, count in counts.items()))
    for error in errors:
        print(f"mutants.py: {error}", file=sys.stderr)
    sys.exit(bool(errors))


if __name__ == "__main__":
    main()
