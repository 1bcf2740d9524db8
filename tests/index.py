#!/usr/bin/env python3
"""Checks tests/README.md against the tests, and against the labels that the sources define.

Fails if the page names a test or file that does not exist, lacks a labelled test or a test file, or
has no test for a guarantee or an invariant.
"""

import re
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
PAGE = ROOT / "tests/README.md"
# `g5_g10_name` carries the labels G5 and G10.
PREFIX = re.compile(r"(?:[a-z]\d+_)+")
# `//! - **G1** No lost wake-up`
DEFINITION = re.compile(r"^//! - \*\*([A-Z]\d+)\*\*", re.MULTILINE)
FUNCTION = re.compile(r"^ *(?:async )?fn (\w+)", re.MULTILINE)


def functions(paths):
    """Returns the names of the functions in Rust files."""
    return {name for path in paths for name in FUNCTION.findall(path.read_text())}


def labels(name, defined):
    """Returns the labels in front of a test's name."""
    prefix = PREFIX.match(name)
    found = prefix.group().upper().strip("_").split("_") if prefix else []
    return [label for label in found if label in defined]


def entries(page):
    """Returns (label, file, test) for each test that the page names."""
    found = set()
    for section in re.split(r"^### ", page, flags=re.MULTILINE)[1:]:
        label = section.split(":")[0]
        body = section.split("\n## ")[0]
        for entry in re.split(r"^- ", body, flags=re.MULTILINE)[1:]:
            file, *tests = re.findall(r"`([^`]+)`", entry)
            found |= {(label, file, test) for test in tests}
    return found


def main():
    page = PAGE.read_text()
    sources = sorted((ROOT / "src").rglob("*.rs"))
    files = {path.name: functions([path]) for path in (ROOT / "tests").glob("*.rs")}
    # Entries of `src/` are looked up by name alone, so that a unit test can move.
    files["src/"] = functions(sources)
    anywhere = set().union(*files.values())
    defined = {label for path in sources for label in DEFINITION.findall(path.read_text())}
    named = entries(page)
    errors = []

    for label in sorted(defined - {label for label, _, _ in named}):
        errors.append(f"{label} has no test in the index")
    for label in sorted({label for label, _, _ in named} - defined):
        errors.append(f"{label} is in the index, and no source defines it")
    for label, file, test in sorted(named):
        if test not in (anywhere if file == "src/" else files.get(file, set())):
            errors.append(f"{label}: there is no test {test} in {file}")
    for file, tests in sorted(files.items()):
        for test in sorted(tests):
            for label in labels(test, defined):
                if named.isdisjoint({(label, file, test), (label, "src/", test)}):
                    errors.append(f"{label}: the index lacks {test} of {file}")
    described = set(re.findall(r"^\| `([^`]+)` \|", page, re.MULTILINE))
    for file in sorted(described ^ (files.keys() - {"src/"})):
        errors.append(f"{file} is either described or there, and not both")

    for error in errors:
        print(f"tests/README.md: {error}", file=sys.stderr)
    return bool(errors)


if __name__ == "__main__":
    sys.exit(main())
