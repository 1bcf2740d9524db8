#!/usr/bin/env python3
"""Checks the links of the Markdown files that stay in the repository: files, headings and references.

    python3 tests/links.py              checks this repository
    python3 tests/links.py --self-test  shows that each kind of mistake is reported

1. A relative link leads to a file or folder that git tracks, with the same case.
2. An anchor is that of a heading, of the same page or of the page it leads to, as GitHub makes them.
3. A reference such as [text][name] has a definition, and a definition is used.

What is behind https:// is not looked at.
"""

import posixpath
import re
import subprocess
import sys
from pathlib import Path, PurePosixPath

ROOT = Path(__file__).resolve().parent.parent
FENCE = re.compile(r"^ *(```|~~~)")
CODE = re.compile(r"(`+)(?!`).*?(?<!`)\1(?!`)")
INLINE = re.compile(r"\]\(\s*<?([^)>\s]*)>?(?:\s+\"[^\"]*\")?\s*\)")
REFERENCE = re.compile(r"\[([^\[\]]+)\]\[([^\[\]]*)\]")
DEFINITION = re.compile(r"^ {0,3}\[([^\[\]]+)\]:\s+<?(\S+?)>?\s*$")
HEADING = re.compile(r"^#{1,6} +(.*?)#* *$")


def prose(text):
    """Yields the lines outside of code blocks, with their numbers."""
    inside = None
    for number, line in enumerate(text.splitlines(), 1):
        if fence := FENCE.match(line):
            inside = fence[1] if inside is None else None if inside == fence[1] else inside
        elif inside is None:
            yield number, line


def without_code(line):
    """The same line, in which code is a word. What a reference names may be code: [`supervise`]."""

    def word(code):
        name = line[: code.start()].endswith("[") and line[code.end() :].startswith("]")
        return code[0] if name else "code"

    return CODE.sub(word, line)


def anchors(text):
    """Returns the anchors of the headings."""
    found = set()
    for _, line in prose(text):
        if not (heading := HEADING.match(line)):
            continue
        # Of a link the text is shown.
        shown = re.sub(r"!?\[([^\]]*)\]\([^)]*\)", r"\1", heading[1])
        slug = re.sub(r"[^\w\- ]", "", shown.lower()).strip().replace(" ", "-")
        count = 0
        while (numbered := f"{slug}-{count}" if count else slug) in found:
            count += 1
        found.add(numbered)
    return found


def mistakes(pages, tracked):
    """Yields the mistakes of `pages`, texts by their paths, in a repository of the files `tracked`."""
    folders = {str(parent) for file in tracked for parent in PurePosixPath(file).parents}
    for page, text in pages.items():
        links, used, defined = [], {}, {}
        for number, line in prose(text):
            if definition := DEFINITION.match(line):
                defined[definition[1].lower()] = number
                links.append((number, definition[2]))
                continue
            line = without_code(line)
            # [name] alone is a reference only if there is a definition.
            for bare in re.findall(r"\[([^\[\]]+)\](?![\[(:])", line):
                used.setdefault(bare.lower(), None)
            links += [(number, target) for target in INLINE.findall(line)]
            for shown, name in REFERENCE.findall(line):
                used[(name or shown).lower()] = number
        for name, number in used.items():
            if number and name not in defined:
                yield f"{page}:{number}: no definition of [{name}]"
        for name in defined.keys() - used.keys():
            yield f"{page}:{defined[name]}: nothing refers to [{name}]"
        for number, link in links:
            if re.match(r"[a-z][a-z+.-]*:", link):
                continue
            path, _, anchor = link.partition("#")
            target = posixpath.normpath(posixpath.join(posixpath.dirname(page), path)) if path else page
            if target not in tracked and target not in folders:
                yield f"{page}:{number}: there is no {link}"
            elif anchor and anchor not in anchors(pages.get(target, "")):
                yield f"{page}:{number}: {target} has no heading for #{anchor}"


def self_test():
    def found(text, other="# Other page\n"):
        return list(mistakes({"docs/a.md": text, "b.md": other}, {"docs/a.md", "b.md", "src/lib.rs"}))

    good = """# A page: of `code`, and more
[b](../b.md) [source](../src/lib.rs) [folder](../src) [here](#a-page-of-code-and-more) [there](../b.md#other-page)
[twice](#same-1) [out](https://example.org/x#y) [`f`] [text][f2] `[no](link.md)`
## Same
## Same
```
[no](link.md)
# no heading
```
[`f`]: https://example.org
[f2]: ../b.md
"""
    assert not found(good), found(good)
    for mistake, text in {
        "there is no c.md": "[c](c.md)",
        "there is no ../B.md": "[b](../B.md)",
        "there is no gone.md": "[g]\n\n[g]: gone.md",
        "a.md has no heading for #nowhere": "# Here\n[there](#nowhere)",
        "a.md has no heading for #in-code": "```\n# In code\n```\n[there](#in-code)",
        "b.md has no heading for #nowhere": "[there](../b.md#nowhere)",
        "no definition of [f]": "[text][f]",
        "nothing refers to [f]": "text\n\n[f]: ../b.md",
    }.items():
        reported = found(text)
        assert len(reported) == 1 and mistake in reported[0], (mistake, reported)


def main():
    if sys.argv[1:] == ["--self-test"]:
        return self_test()
    listed = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=True)
    tracked = set(listed.stdout.splitlines())
    pages = {name: (ROOT / name).read_text("utf-8") for name in sorted(tracked) if name.endswith(".md")}
    errors = list(mistakes(pages, tracked)) if pages else ["there is no page to look at"]
    print(*errors, sep="\n", end="\n" if errors else "", file=sys.stderr)
    print(f"links.py: {len(pages)} pages")
    return int(bool(errors))


if __name__ == "__main__":
    sys.exit(main())
