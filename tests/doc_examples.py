#!/usr/bin/env python3
"""Checks that each public function has an example in its own documentation.

    python3 tests/doc_examples.py              checks this repository
    python3 tests/doc_examples.py --self-test  shows that each kind of mistake is reported

It looks at every `pub fn` of src/ and http/src/, and at the methods of public traits. rustc's lint `unreachable_pub` sees
to it that a `pub fn` is one that users can call. Implementations of traits are exempt.
"""

import re
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
PUBLIC = re.compile(r"\s*pub (?:const |async |unsafe )*fn (\w+)")
METHOD = re.compile(r"\s*(?:const |async |unsafe )*fn (\w+)")
# `impl<E: Clone> Server<E> {`, and the type alone
TYPE = re.compile(r"\s*impl(?:<.*?>)? (\w+)(?:<.*>)? \{")
TRAIT = re.compile(r"\s*pub trait (\w+)")
EXAMPLE = re.compile(r'\s*(?:///|#\[cfg_attr\(.*doc = ") ?```')

# Functions without an example, and why.
EXEMPT = {
    # One macro writes them for all wrappers that have them; the example of `end_on_shutdown` calls `into_inner`.
    "get_ref",
    "get_mut",
    "into_inner",
    # Only a server calls it, and no other crate can implement it.
    "HttpService::respond",
}


def functions(name, lines):
    """Yields the name of each public function, with a line for one without an example and None for another."""
    owner, in_trait = "", False
    for number, line in enumerate(lines, 1):
        if found := TRAIT.match(line):
            owner, in_trait = found[1], True
        elif found := TYPE.match(line):
            owner, in_trait = found[1], False
        elif re.match(r"\S", line) and not line.startswith(("//", "#", "where", "{", ")")):
            owner, in_trait = "", False
        found = PUBLIC.match(line) or (in_trait and METHOD.match(line))
        if not found:
            continue
        item = f"{owner}::{found[1]}" if owner else found[1]
        above = number - 2
        # An attribute may have several lines.
        while above >= 0 and re.match(r"\s*(///|#\[|\)\]|\w+ = |clippy::|reason)", lines[above]):
            above -= 1
        example = any(EXAMPLE.match(it) for it in lines[above + 1 : number])
        yield item, None if example else f"{name}:{number}: {item} has no example"


def self_test():
    def found(text):
        return [item for item, error in functions("a.rs", text.splitlines()) if error]

    example = "/// ```\n/// f();\n/// ```\n"
    assert found("/// Runs.\npub fn f() {}") == ["f"]
    assert found(f"/// Runs.\n///\n{example}#[inline]\npub fn f() {{}}") == []
    # An example of the one above is not one of its own.
    text = f"{example}pub fn f() {{}}\n\n/// Runs.\npub fn g() {{}}".replace("\n", "\n    ")
    assert found(f"impl A {{\n    {text}\n}}") == ["A::g"]
    assert found("impl<T: Fn() -> B> A<T> {\n    /// Makes.\n    pub const fn new() {}\n}") == ["A::new"]
    assert found("pub trait T: Sized {\n    /// Runs.\n    fn f(self) {}\n}\nimpl T for A {\n    fn f(self) {}\n}") == ["T::f"]
    assert found("impl A {\n    pub(crate) fn f() {}\n    fn g() {}\n}") == []
    either = '#[cfg_attr(a, doc = "```no_run")]\n#[cfg_attr(not(a), doc = "```ignore")]\n/// f();\n/// ```\n'
    assert found(f"/// Runs.\n///\n{either}pub fn f() {{}}") == []


def main():
    if sys.argv[1:] == ["--self-test"]:
        return self_test()
    listed = subprocess.run(
        ["git", "ls-files", "src/*.rs", "http/src/*.rs"], cwd=ROOT, capture_output=True, text=True, check=True
    )
    found = []
    for name in listed.stdout.splitlines():
        found += functions(name, (ROOT / name).read_text("utf-8").splitlines())
    missing = {item: error for item, error in found if error}
    errors = [error for item, error in missing.items() if item not in EXEMPT]
    errors += [] if found else ["there is no public function to look at"]
    errors += [f"{item} is exempt, and has an example or is gone" for item in sorted(EXEMPT - missing.keys())]
    print(*errors, sep="\n", end="\n" if errors else "", file=sys.stderr)
    print(f"doc_examples.py: {len(found)} functions")
    return int(bool(errors))


if __name__ == "__main__":
    sys.exit(main())
