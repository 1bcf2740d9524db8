#!/usr/bin/env python3
"""Checks tests/README.md against the tests, and against the labels that the sources define.

    python3 tests/index.py              checks this repository
    python3 tests/index.py --self-test  shows that each kind of mistake is reported

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
TEST = re.compile(r"^ *#\[(?:tokio::)?test\b.*?^ *(?:async )?fn (\w+)", re.MULTILINE | re.DOTALL)
# The function that lists what a file without the standard harness runs.
TRIALS = re.compile(r"^( *)pub\(crate\) fn tests\(\) -> Vec<Trial> \{$(.*?)^\1\}$", re.MULTILINE | re.DOTALL)
FUNCTION = re.compile(r"^ *fn (\w+)", re.MULTILINE)


def tests(text):
    """Returns the names of the tests in the text of a Rust file."""
    listed = {word for _, body in TRIALS.findall(text) for word in re.findall(r"\w+", body)}
    return set(TEST.findall(text)) | listed & set(FUNCTION.findall(text))


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


def mistakes(page, files, sources):
    """Yields the mistakes of `page`; `files` are the test files, and `sources` those of src/, texts by their names."""
    defined = {label for text in sources.values() for label in DEFINITION.findall(text)}
    named = entries(page)
    # Entries of `src/` are looked up by name alone, so that a unit test can move.
    found = {"src/": set().union(*map(tests, sources.values()))} | {name: tests(text) for name, text in files.items()}
    anywhere = set().union(*found.values())

    for label in sorted(defined - {label for label, _, _ in named}):
        yield f"{label} has no test in the index"
    for label in sorted({label for label, _, _ in named} - defined):
        yield f"{label} is in the index, and no source defines it"
    for label, file, test in sorted(named):
        if test not in (anywhere if file == "src/" else found.get(file, set())):
            yield f"{label}: there is no test {test} in {file}"
    for file, names in sorted(found.items()):
        for test in sorted(names):
            for label in labels(test, defined):
                if named.isdisjoint({(label, file, test), (label, "src/", test)}):
                    yield f"{label}: the index lacks {test} of {file}"
    described = set(re.findall(r"^\| `([^`]+)` \|", page, re.MULTILINE))
    for file in sorted(described ^ files.keys()):
        yield f"{file} is either described or there, and not both"


def self_test():
    page = "| `a.rs` | a |\n| `b.rs` | b |\n### G1: one\n- `a.rs`: `g1_a`\n- `b.rs`: `g1_b`,\n  `c`\n- `src/`: `d`\n"
    sources = {"lib.rs": "//! - **G1** One\n    #[test]\n    fn d() {}\n"}
    trials = "pub(crate) fn tests() -> Vec<Trial> {\n    trials![g1_b, c]\n}\nfn g1_b() {}\nfn c() {}\n"
    test = "#[test]\n#[ignore]\nfn g1_a() {}\n"
    files = {"a.rs": test + "fn g1_helper() {}\n", "b.rs": trials + "fn g1_role() {}\n"}
    assert not list(mistakes(page, files, sources)), list(mistakes(page, files, sources))
    unlisted = {"a.rs": test + "#[tokio::test]\nasync fn g1_e() {}\n"}
    for mistake, changed in {
        "G2 has no test": (page, files, sources | {"two.rs": "//! - **G2** Two\n"}),
        "no source defines it": (page + "### G2: two\n- `b.rs`: `c`\n", files, sources),
        "there is no test g1_a in a.rs": (page, files | {"a.rs": "fn g1_a() {}\n"}, sources),
        "there is no test c in b.rs": (page, files | {"b.rs": trials.replace(", c]", "]")}, sources),
        "there is no test d in src/": (page, files, {"lib.rs": "//! - **G1** One\n    fn d() {}\n"}),
        "the index lacks g1_e of a.rs": (page, files | unlisted, sources),
        "c.rs is either described or there": (page, files | {"c.rs": ""}, sources),
    }.items():
        reported = list(mistakes(*changed))
        assert len(reported) == 1 and mistake in reported[0], (mistake, reported)


def main():
    if sys.argv[1:] == ["--self-test"]:
        return self_test()
    page = PAGE.read_text("utf-8")
    files = {path.name: path.read_text("utf-8") for path in (ROOT / "tests").glob("*.rs")}
    sources = {str(path): path.read_text("utf-8") for path in (ROOT / "src").rglob("*.rs")}
    errors = list(mistakes(page, files, sources))
    named = {(file, test) for _, file, test in entries(page)}
    errors += [] if named else ["no test is named"]
    for error in errors:
        print(f"tests/README.md: {error}", file=sys.stderr)
    print(f"index.py: {len(named)} tests in the index")
    return int(bool(errors))


if __name__ == "__main__":
    sys.exit(main())
