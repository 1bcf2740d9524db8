#!/usr/bin/env python3
"""Checks the prose of the project by the rules that a script can check.

    python3 tests/prose.py              checks this repository
    python3 tests/prose.py --self-test  shows that each kind of mistake is reported

1. No text says whoever, somebody, nobody, everybody or anybody: the thread, task, caller, waker, drain or node is
   named.
2. The summary of a public function begins with a verb in the third person: "Returns", "Blocks", "Waits". A script can't
   tell that from a plural, so it is a word that ends in one s, and none of a few that are no verbs.
3. Code in docs and in README is at most 80 columns wide.
"""

import re
import subprocess
import sys
from pathlib import Path

WORDS = re.compile(r"\b[WwSsNnEeAa](hoever|omebody|obody|verybody|nybody)\b")
FUNCTION = re.compile(r"\s*pub (const |async |unsafe )*fn \w+")
VERB = re.compile(r"(?!(?:As|Always|Its|Plus|This|Thus)$)[A-Z][a-z]*[a-rt-z]s")
DOC = re.compile(r"\s*//[/!] ?(.*)")
SUFFIXES = {".rs", ".md", ".sh", ".toml", ".yaml", ".service", ".socket", ".py"}
WIDTH = 80


def words(name, lines):
    for number, line in enumerate(lines, 1):
        if found := WORDS.search(line):
            yield f"{name}:{number}: says '{found[0]}'; name the actor"


def summaries(name, lines):
    """The first line of the comment above each public function."""
    for number, line in enumerate(lines, 1):
        if not FUNCTION.match(line):
            continue
        above = number - 2
        while above >= 0 and (lines[above].lstrip().startswith(("///", "#", ")")) or lines[above].endswith(",")):
            above -= 1
        comment = [DOC.match(it)[1] for it in lines[above + 1 : number - 1] if DOC.match(it)]
        first = comment[0].split(" ")[0].strip("`[]*.,:") if comment else ""
        if comment and not VERB.fullmatch(first):
            yield f"{name}:{number}: the summary begins with '{first}', not with a verb in the third person"


def code(name, lines):
    """Lines of code blocks, in docs and in Markdown."""
    inside = False
    for number, line in enumerate(lines, 1):
        text = line
        if name.endswith(".rs"):
            doc = DOC.match(line)
            if not doc:
                # A block whose first line depends on a feature has two first lines, one for either case.
                if not re.search(r'doc = "```', line) or "not(" in line:
                    continue
                text = "```"
            else:
                text = doc[1]
        if text.lstrip().startswith("```"):
            inside = not inside
        elif inside and not text.startswith("#") and len(text) > WIDTH:
            yield f"{name}:{number}: code of {len(text)} columns; {WIDTH} fit on a page"


def check(texts):
    for name, text in texts.items():
        lines = text.splitlines()
        yield from words(name, lines)
        published = name.startswith(("src/", "http/src/", "console/src/"))
        if published:
            yield from summaries(name, lines)
        if published or name.endswith("README.md"):
            yield from code(name, lines)


def self_test():
    wide = "x" * 81
    for mistake, lines in {
        "somebody": ["/// Tells somebody."],
        "a verb in the third person": ["    /// The number of guards.", "    #[inline]", "    pub fn guards(&self)"],
        "begins with 'This'": ["/// This is it.", "pub fn it()"],
        "begins with 'Unless'": ["/// Unless it runs, ends it.", "pub fn end()"],
        "81 columns": ["/// Runs.", "///", "/// ```", f"/// {wide}", "/// ```", "pub fn run()"],
    }.items():
        found = [*words("a.rs", lines), *summaries("a.rs", lines), *code("a.rs", lines)]
        assert len(found) == 1 and mistake in found[0], (mistake, found)
    good = ["/// Returns the number.", "///", "/// ```", "/// let n = 1;", "/// ```", "#[inline]", "pub fn number()"]
    assert not [*words("a.rs", good), *summaries("a.rs", good), *code("a.rs", good)]


def main():
    if sys.argv[1:] == ["--self-test"]:
        return self_test()
    root = Path(__file__).resolve().parent.parent
    listed = subprocess.run(["git", "ls-files"], cwd=root, capture_output=True, text=True, check=True)
    paths = {name: root / name for name in listed.stdout.splitlines() if name != "tests/prose.py"}
    texts = {name: it.read_text("utf-8") for name, it in paths.items() if it.suffix in SUFFIXES and it.exists()}
    found = list(check(texts)) if texts else ["there is no file to look at"]
    print(*found, sep="\n", end="\n" if found else "")
    print(f"prose.py: {len(texts)} files")
    return int(bool(found))


if __name__ == "__main__":
    sys.exit(main())
