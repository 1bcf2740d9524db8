#!/usr/bin/env python3
"""Checks that the modules of src/ depend on each other in one direction.

    python3 tests/layers.py [ROOT]       checks ROOT/src; ROOT defaults to this repository
    python3 tests/layers.py --self-test  shows that each kind of mistake is reported

A file imports from its own layer and from lower ones: util, model, node, os, the public API, from low to high. The
public API is all of src/ outside the first four folders. No cycle runs through files. A file of more than 400 lines
says "Long because" in the comment that it begins with.

The check reads `use` declarations and the paths in code, and resolves each path to the file that defines the item,
through any number of re-exports. A `pub use` is therefore no dependency of its own file: it counts for the direction,
and for a cycle only if the file mentions the name elsewhere. A path that can't be resolved is an error. Test modules
may import anything. The check does not see method calls, `#[macro_use]` and `#[path]`.
"""

import re
import sys
import tomllib
from bisect import bisect
from collections import namedtuple
from pathlib import Path

LAYERS = ["util", "model", "node", "os", "the public API"]
LONGEST = 400
# Comments, strings and characters. Lifetimes stay: no quote closes them.
SKIPPED = re.compile(
    r"""//[^\n]* | /\*(?:[^/*]|/(?!\*)|\*(?!/)|/\*.*?\*/)*\*/
    | \b[bc]?r(\#*)".*?"\1 | "(?:\\.|[^"\\])*" | '(?:\\[^\n]+?|[^'\\\n])'""",
    re.X | re.S,
)
# An attribute and a visibility are one token each.
TOKEN = re.compile(r"#!?\[[^]]*\]|pub\((?:crate|self|super|in [^)]*)\)|r#\w+|\$?\w+|::|\.\.+|'\w+|\S")
FOR_TESTS = re.compile(r"#\[cfg\((?:test|all\((?:(?!any|not\(test).)*\btest\b.*)\)\]", re.S)
DEFINES = ("struct", "enum", "union", "trait", "type", "fn", "const", "static", "macro_rules")
DEPENDENCIES = ("dependencies", "dev-dependencies")
ROOTS = ("crate", "self", "super")
EXTERNAL = "an external crate"
Token = namedtuple("Token", "text line")
# How a module refers to a path. The alias is the name it is imported as, * for a glob, None for a path in code.
Reference = namedtuple("Reference", "file module path alias line public")


class Module:
    """What a module, of a file or inline, declares: for each name the paths that it imports, and its own items."""

    def __init__(self, file):
        self.file, self.uses, self.items = file, {}, set()


class Tree:
    """The modules of a crate by their path, such as ("node", "request"), and every reference from them."""

    def __init__(self, root):
        self.modules, self.tests, self.references, self.lines = {}, set(), [], {}
        for file in sorted((root / "src").rglob("*.rs")):
            parts = file.relative_to(root / "src").with_suffix("").parts
            name = parts[:-1] if parts[-1] in ("mod", "lib") else parts
            self.modules[name] = Module(file.relative_to(root).as_posix())
            self.lines[self.modules[name].file] = file.read_text("utf-8").splitlines()
            if parts[-1] == "tests":
                self.tests.add(name)
        manifest = tomllib.loads((root / "Cargo.toml").read_text("utf-8"))
        tables = [manifest, *manifest.get("target", {}).values()]
        names = [name for table in tables for key in DEPENDENCIES for name in table.get(key, ())]
        self.crates = {"::", "$crate", "std", "core", "alloc", *(name.replace("-", "_") for name in names)}
        for name, module in list(self.modules.items()):
            self.read(module.file, name, tokens("\n".join(self.lines[module.file])))
        self.references = [it for it in self.references if not any(it.module[: len(t)] == t for t in self.tests)]

    def read(self, file, name, code):
        """Collects what a file, which is the module of this name, declares, and its references."""
        open_braces = [(name, True)]  # for each, the module that it is in, and whether items in it are the module's
        test, i = False, 0
        while i + 1 < len(code):
            (word, line), after, before = code[i], code[i + 1].text, code[i - 1].text
            module, items = open_braces[-1]
            known = self.modules[module]
            if word == "mod":
                if test:
                    self.tests.add((*module, after))
                if code[i + 2].text == "{":
                    self.modules.setdefault((*module, after), Module(file))
                    open_braces.append(((*module, after), True))
                i += 2
            elif word == "use" and after != "<":
                i, imports = use_tree(code, i + 1, ())
                for path, alias, at in imports:
                    self.references.append(Reference(file, module, path, alias, at, before.startswith("pub")))
                    known.uses.setdefault(alias, []).append(path)
            elif word in DEFINES and items:
                known.items.add(code[i + 2].text if after == "!" else after)
            elif word == "{":
                # Items in the braces of a macro call are the module's, in a function's they are not.
                open_braces.append((module, items and before == "!"))
            elif word == "}":
                open_braces.pop()
            elif re.match(r"[a-zA-Z_]", word) and before not in ("::", ".", "fn"):
                path = [word]
                while i + 2 < len(code) and code[i + 1].text == "::" and re.match(r"\w", code[i + 2].text):
                    path.append(code[i + 2].text)
                    i += 2
                # A lone lower-case name may be a variable, unless it is called.
                if len(path) > 1 or word[0].isupper() or after in ("(", "!"):
                    self.references.append(Reference(file, module, tuple(path), None, line, False))
            test = bool(FOR_TESTS.match(word)) or test and word.startswith(("#", "pub"))
            i += 1

    def look(self, module, name, seen):
        """What a name in a module stands for: the paths of modules, and the files of items. Empty if unknown."""
        known, found = self.modules[module], set()
        if (*module, name) in self.modules:
            return {(*module, name)}
        if (module, name) not in seen:
            seen = seen | {(module, name)}
            for path in known.uses.get(name, ()):
                # What a file imports from an external crate, other files have from this file.
                found |= {known.file if place == EXTERNAL else place for place in self.resolve(module, path, seen)}
            if not found and name in known.items:
                return {known.file}
            for path in known.uses.get("*", ()) if not found else ():
                for place in self.resolve(module, path, seen):
                    found |= self.look(place, name, seen) if isinstance(place, tuple) else {EXTERNAL}
        return found or ({known.file} if name in known.items else set())

    def resolve(self, module, path, seen=frozenset(), passed=None):
        """The same for a path. Adds the modules that the path names on its way to `passed`."""
        rest = list(path)
        if rest[0] in ROOTS:
            here = () if rest[0] == "crate" else module
            while rest and rest[0] in ROOTS:
                here = here[:-1] if rest.pop(0) == "super" else here
            places = {here} & self.modules.keys()
        else:
            places = self.look(module, rest[0], seen) or ({EXTERNAL} if rest[0] in self.crates else set())
            rest.pop(0)
        for name in rest:
            modules = {place for place in places if isinstance(place, tuple)}
            if passed is not None:
                passed |= modules - {()}
            # What follows an item is a variant or a method of it.
            places = (places - modules).union(*(self.look(place, name, seen) for place in modules))
        return places

    def matters(self, it):
        """Whether a path in code can lead out of its module. Others begin with its own items, or with variables."""
        known, first = self.modules[it.module], it.path[0]
        if first in ROOTS or first in known.uses or (*it.module, first) in self.modules:
            return len(it.path) > 1
        return first not in known.items and bool(self.look(it.module, first, frozenset()))

    def check(self):
        """What is wrong, as lines to print."""
        wrong, edges = [], {}
        mentioned = {(it.module, it.path[0]) for it in self.references if it.alias is None}
        for it in self.references:
            if it.alias is None and not self.matters(it):
                continue
            source, passed = it.file, set()
            places = self.resolve(it.module, it.path, passed=passed)
            at = f"{source}:{it.line}: {self.lines[source][it.line - 1].strip()}"
            if not places:
                wrong.append(f"{at}\n    can't resolve {'::'.join(it.path)}")
            files = [self.file(place) for group in (places, passed) for place in sorted(group - {EXTERNAL}, key=str)]
            highest = max(files, key=layer, default=source)
            if layer(highest) > layer(source):
                low, high = LAYERS[layer(source)], LAYERS[layer(highest)]
                wrong.append(f"{at}\n    {low} may not import from {high}: {highest}")
            if it.alias == "*":  # What it imports from a module counts where the file mentions it.
                places = {place for place in places if not isinstance(place, tuple)}
            if not it.public or (it.module, it.alias) in mentioned:
                for target in {self.file(place) for place in places - {EXTERNAL}} - {source}:
                    # A cycle through several layers has an upward import, which is reported above.
                    if layer(target) == layer(source):
                        edges.setdefault(source, {}).setdefault(target, at)
        wrong += cycles(edges)
        for file, lines in self.lines.items():
            head = next((i for i, line in enumerate(lines) if not re.match(r"\s*(//|$)", line)), len(lines))
            if len(lines) > LONGEST and "Long because" not in "\n".join(lines[:head]):
                wrong.append(f"{file}: {len(lines)} lines; the first comment does not say \"Long because\"")
        return list(dict.fromkeys(wrong)) if self.lines else ["no file in src/"]

    def file(self, place):
        return self.modules[place].file if isinstance(place, tuple) else place


def layer(file):
    folder = file.split("/")[1]
    return LAYERS.index(folder) if folder in LAYERS else len(LAYERS) - 1


def tokens(text):
    text = SKIPPED.sub(lambda skipped: "\n" * skipped[0].count("\n") + " ", text)
    newlines = [it.start() for it in re.finditer("\n", text)]
    return [Token(it[0].removeprefix("r#"), bisect(newlines, it.start()) + 1) for it in TOKEN.finditer(text)]


def use_tree(code, i, prefix):
    """The imports of the tree at `i`, each with its path, name and line, and the place after it."""
    if code[i].text == "::":
        prefix, i = ("::",), i + 1
    path = prefix
    while code[i].text not in ("{", "*"):
        path, line, i = path + (code[i].text,), code[i].line, i + 1
        if code[i].text != "::":
            path = path[:-1] if path[-1] == "self" and len(path) > 1 else path
            renamed = code[i].text == "as"
            return i + 2 * renamed, [(path, code[i + 1].text if renamed else path[-1], line)]
        i += 1
    if code[i].text == "*":
        return i + 1, [(path, "*", code[i].line)]
    found, i = [], i + 1
    while code[i].text != "}":
        i, more = use_tree(code, i, path)
        found += more
        i += code[i].text == ","
    return i + 1, found


def cycles(edges):
    """A shortest cycle through each file that is in one, as text: the imports that make it."""
    found = {}
    for start in edges:
        ways, queue = {start: {}}, [start]
        for file in queue:
            for target, at in edges.get(file, {}).items():
                way = {**ways[file], file: at}
                if target == start:
                    found.setdefault(frozenset(way), "a cycle:\n    " + "\n    ".join(way.values()))
                elif target not in ways:
                    ways[target] = way
                    queue.append(target)
    return found.values()


def main():
    if sys.argv[1:] == ["--self-test"]:
        sys.dont_write_bytecode = True
        import layers_cases

        return layers_cases.run(lambda root: Tree(root).check())
    tree = Tree(Path(*sys.argv[1:] or [Path(__file__).resolve().parent.parent]))
    if wrong := tree.check():
        sys.exit("\n".join(wrong))
    print(f"{len(tree.lines)} files, {len(tree.references)} references: one direction, no cycle")


if __name__ == "__main__":
    main()
