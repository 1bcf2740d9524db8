#!/usr/bin/env python3
"""Checks that the manifests fit RELEASING.md.

    python3 tests/release.py              checks this repository
    python3 tests/release.py --self-test  shows that each kind of mistake is reported

1. Exactly the crates of ORDER are published, and each depends only on those before it.
2. A published crate asks for the very version of another that stands here, and has the same licence and Rust version.

It also says whether CHANGELOG.md has a section for the version of winddown. Before a release is made, it has none.
"""

import copy
import json
import re
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
ORDER = ["winddown-console", "winddown", "winddown-http"]


def mistakes(packages):
    """Yields what is wrong with the packages of `cargo metadata`."""
    # `publish` is null where any registry is allowed, and empty where none is.
    published = {package["name"]: package for package in packages if package["publish"] != []}
    if published.keys() != set(ORDER):
        yield f"published are {sorted(published)}, and RELEASING.md says {sorted(ORDER)}"
        return
    for number, name in enumerate(ORDER):
        package = published[name]
        for field in ["license", "rust_version"]:
            if package[field] != published["winddown"][field]:
                yield f"{name}: {field} is {package[field]}, and winddown's is {published['winddown'][field]}"
        for dependency in package["dependencies"]:
            # A development dependency without a version is left out of what is published.
            if not dependency.get("path") or (dependency["kind"], dependency["req"]) == ("dev", "*"):
                continue
            other = dependency["name"]
            if other not in ORDER[:number]:
                yield f"{name}: depends on {other}, which is not published before it"
            elif dependency["req"] != f"^{published[other]['version']}":
                yield f"{name}: asks for {other} {dependency['req']}, and here is {published[other]['version']}"


def self_test(packages):
    assert not list(mistakes(packages)), list(mistakes(packages))

    def broken(expected, name, change):
        changed = copy.deepcopy(packages)
        [package] = [package for package in changed if package["name"] == name]
        change(package)
        found = list(mistakes(changed))
        assert found and expected in found[0], (expected, found)

    def dependency(package, name):
        return next(it for it in package["dependencies"] if it["name"] == name and it["kind"] is None)

    broken("published are", "winddown-bench", lambda it: it.update(publish=None))
    broken("published are", "winddown-http", lambda it: it.update(publish=[]))
    broken("rust_version is 1.90", "winddown-http", lambda it: it.update(rust_version="1.90"))
    broken("asks for winddown ^0.0.9", "winddown-http", lambda it: dependency(it, "winddown").update(req="^0.0.9"))
    broken("asks for winddown ^", "winddown", lambda it: it.update(version="7.0.0"))
    broken("not published before", "winddown", lambda it: dependency(it, "winddown-console").update(name="winddown-http"))


def main():
    metadata = ["cargo", "metadata", "--no-deps", "--format-version", "1"]
    packages = json.loads(subprocess.run(metadata, cwd=ROOT, capture_output=True, check=True).stdout)["packages"]
    if sys.argv[1:] == ["--self-test"]:
        return self_test(packages)
    found = list(mistakes(packages))
    for mistake in found:
        print(mistake, file=sys.stderr)
    version = next(package["version"] for package in packages if package["name"] == "winddown")
    changes = (ROOT / "CHANGELOG.md").read_text("utf-8")
    if not re.search(rf"^## {re.escape(version)} - \d{{4}}-\d\d-\d\d$", changes, re.MULTILINE):
        print(f"CHANGELOG.md has no section for {version} yet")
    return int(bool(found))


if __name__ == "__main__":
    sys.exit(main())
