#!/usr/bin/env python3
"""Makes each mutation that a loom model names, and checks that the model fails.

    python3 tests/mutations.py FOLDER [TEXT]  runs those whose name or model contains TEXT, or all, in a copy in FOLDER
    python3 tests/mutations.py --check        only compares models, mutations and sources
    python3 tests/mutations.py --self-test    shows that mistakes are reported

A model names its mutations in lines of its docs: `/// Mutation: ` and a name. The edits of a name stand in
mutations.toml. It is an error if a name has no edits, if edits have no model, or if an `old` does not stand exactly
once in its file, as after a change of the code.

First every model has to pass. Then it is an error if a mutated source does not compile, or if its model passes or
takes longer than LIMIT seconds.
"""

import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
import tomllib
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
# The files with models, the target that cargo builds for them, and the path of a model in it.
MODELS = {
    "tests/loom.rs": (["--test", "loom"], ""),
    "src/util/task_counter.rs": (["--lib"], "util::task_counter::models::"),
}
# What is built again for each mutation is built quickly. loom itself, which does most of the work, is optimized.
QUICK = ["--config", "profile.release.package.winddown.opt-level=1", "--config", "profile.release.incremental=true"]
# Of a model. The longest takes 20 seconds when nothing is mutated, and the machine may be busy.
LIMIT = 600
# The docs of a function, its attributes and its name.
MODEL = re.compile(r"((?:^ *///.*\n)+)^ *#\[test\]\n^ *fn (\w+)", re.MULTILINE)
NAME = re.compile(r"^ */// Mutation: (.*)$", re.MULTILINE)


def named(root):
    """Returns (file, model, mutation) for each mutation that a model names, and the lines that no model has."""
    found, lost = [], []
    for file in MODELS:
        text = (root / file).read_text()
        own = [(file, model, what) for docs, model in MODEL.findall(text) for what in NAME.findall(docs)]
        lost += sorted(set(NAME.findall(text)) - {what for _, _, what in own})
        found += own
    return found, lost


def mutated(root, edits):
    """Returns the mutated text of each file, or raises ValueError."""
    texts = {}
    for edit in edits:
        text = texts.get(edit["file"]) or (root / edit["file"]).read_text()
        count = text.count(edit["old"])
        if count != 1:
            raise ValueError(f"{count} places in {edit['file']} have this:\n{edit['old']}")
        texts[edit["file"]] = text.replace(edit["old"], edit["new"])
    return texts


def check(root):
    """Returns (file, model, mutation) for each mutation, its edits by name, and what is wrong with them."""
    pairs, lost = named(root)
    edits = tomllib.loads((root / "tests/mutations.toml").read_text())
    errors = [f"no model has the line: Mutation: {what}" for what in lost]
    names = {what for _, _, what in pairs}
    errors += [f"no edits: {what}" for what in sorted(names - set(edits))]
    errors += [f"no model names this: {what}" for what in sorted(set(edits) - names)]
    for what, own in edits.items():
        try:
            mutated(root, own)
        except ValueError as error:
            errors.append(f"{what} {error}")
    if not pairs:
        errors.append("no model names a mutation")
    return pairs, edits, errors


class Copy:
    """A copy of the files that git knows, and what is built of it."""

    def __init__(self, folder):
        self.root = folder / "tree"
        self.environment = os.environ | {"RUSTFLAGS": "--cfg loom", "CARGO_TARGET_DIR": str(folder / "build")}
        shutil.rmtree(self.root, ignore_errors=True)
        listed = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
        for name in subprocess.run(listed, cwd=ROOT, check=True, capture_output=True).stdout.decode().split("\0"):
            if name and (ROOT / name).is_file():
                (self.root / name).parent.mkdir(parents=True, exist_ok=True)
                shutil.copyfile(ROOT / name, self.root / name)

    def build(self, file):
        """Returns the program with the models of a file, or raises RuntimeError."""
        command = ["cargo", "test", "--release", "--no-default-features", *MODELS[file][0], "--no-run", *QUICK]
        built = subprocess.run(command, cwd=self.root, env=self.environment, capture_output=True, text=True)
        program = re.search(r"Executable .*\((.*)\)", built.stderr)
        if built.returncode or not program:
            raise RuntimeError(f"it does not compile\n{built.stderr}")
        return program[1]

    def passes(self, file, model, program):
        """Runs one model. Returns whether it passes, or raises RuntimeError."""
        command = [program, "--exact", MODELS[file][1] + model]
        try:
            run = subprocess.run(command, cwd=self.root, capture_output=True, text=True, timeout=LIMIT)
        except subprocess.TimeoutExpired:
            raise RuntimeError(f"it takes longer than {LIMIT} seconds") from None
        if "\nrunning 1 test\n" not in run.stdout:
            raise RuntimeError(f"there is no such model\n{run.stdout}")
        return run.returncode == 0


def run(copy, pairs, edits):
    """Returns what went wrong."""
    errors = []

    def attempt(what, file, models, fails):
        try:
            program = copy.build(file)
            for model in models:
                start = time.monotonic()
                passed = copy.passes(file, model, program)
                print(f"    {'passes' if passed else 'fails'}: {model}, {time.monotonic() - start:.1f} s", flush=True)
                if passed == fails:
                    errors.append(f"{what}: {model} {'passes' if passed else 'fails'}")
        except RuntimeError as error:
            errors.append(f"{what}: {error}")

    for file in MODELS:
        models = sorted({model for other, model, _ in pairs if other == file})
        if models:
            print(f"{file}, unchanged", flush=True)
            attempt("unchanged", file, models, fails=False)
    if errors:
        return errors
    for what, own in edits.items():
        texts = mutated(copy.root, own)
        before = {file: (copy.root / file).read_text() for file in texts}
        for file in MODELS:
            models = [model for other, model, name in pairs if (other, name) == (file, what)]
            if models:
                print(what, flush=True)
                for name, text in texts.items():
                    (copy.root / name).write_text(text)
                attempt(what, file, models, fails=True)
        for name, text in before.items():
            (copy.root / name).write_text(text)
    return errors


def self_test():
    """Shows that the check reports each mistake that it should, and nothing else."""
    model = "/// Mutation: one\n#[test]\nfn a_model() {\n    1 + 1;\n}\n"
    edits = "[[one]]\nfile = 'tests/loom.rs'\nold = '1 + 1'\nnew = '2'\n"
    cases = [
        ("", "", None),
        ("/// Mutation: two\nfn helper() {}\n", "", "no model has the line: Mutation: two"),
        ("/// Mutation: two\n#[test]\nfn another() {}\n", "", "no edits: two"),
        ("", edits.replace("one", "two"), "no model names this: two"),
        ("// 1 + 1\n", "", "one 2 places"),
        ("", "[[one]]\nfile = 'tests/loom.rs'\nold = '3'\nnew = '2'\n", "one 0 places"),
    ]
    for more_models, more_edits, expected in cases:
        with tempfile.TemporaryDirectory() as folder:
            root = Path(folder)
            for name in MODELS:
                (root / name).parent.mkdir(parents=True, exist_ok=True)
                (root / name).write_text("")
            (root / "tests/loom.rs").write_text(model + more_models)
            (root / "tests/mutations.toml").write_text(edits + more_edits)
            _, _, errors = check(root)
            as_expected = [error for error in errors if expected and error.startswith(expected)]
            assert len(errors) == len(as_expected) == (expected is not None), (expected, errors)
    print(f"mutations.py: {len(cases)} cases are as expected")


def main():
    if "--self-test" in sys.argv:
        self_test()
        return
    pairs, edits, errors = check(ROOT)
    if not errors and "--check" not in sys.argv:
        text = sys.argv[2] if len(sys.argv) > 2 else ""
        pairs = [pair for pair in pairs if text in pair[1] or text in pair[2]]
        errors = run(Copy(Path(sys.argv[1]).resolve()), pairs, edits)
        errors += [] if pairs else [f"no model or mutation has {text!r} in its name"]
    for error in errors:
        print(f"mutations.py: {error}", file=sys.stderr)
    print(f"mutations.py: {len({what for _, _, what in pairs})} mutations, {len(pairs)} with a model each")
    sys.exit(bool(errors))


if __name__ == "__main__":
    main()
