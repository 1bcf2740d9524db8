"""Small trees for `layers.py --self-test`: a good one, and the mistakes that the check has to report."""

import sys
import tempfile
from pathlib import Path


def tree(text):
    """The files of a text in which each begins with its name."""
    return dict(file.split("\n", 1) for file in text.split("=== ")[1:])


# Each line of it is allowed.
GOOD = tree(r"""
=== drain.rs
use crate::os::exit as bye;
pub struct Drain;
fn f() { bye::now(); crate::os::exit::now() }
=== lib.rs
mod util; mod model; mod node; mod os;
mod drain;
pub use drain::Drain;
pub use model::{Cause, stage::Stage as S};
pub use os::exit;
=== model/cause.rs
use super::stage::{self, Stage::*};
pub struct Cause;
=== model/mod.rs
pub mod stage;
mod cause;
pub use cause::*;
=== model/stage.rs
pub enum Stage { Running }
=== node/mod.rs
mod request;
#[cfg(test)]
mod models;
mod tests;
mod wait;
pub(crate) use request::Begun;
pub(crate) struct Node;
=== node/models.rs
use crate::Drain;
=== node/request.rs
use super::Node;
use crate::{Cause, S};
fn f() { crate::S::Running; std::mem::drop(1) }
pin_project! { pub(crate) struct Begun; }
=== node/tests.rs
use crate::Drain;
=== node/wait.rs
use super::*;
fn f(_: Begun) -> Node { Some(1) }
=== os/exit.rs
use crate::node::{Begun, Node};
pub(in crate::os) fn now() {}
=== os/mod.rs
pub mod exit;
#[cfg(unix)]
mod unix;
#[cfg(windows)]
mod windows;
#[cfg(unix)]
use unix as sys;
#[cfg(windows)]
use windows as sys;
fn f() { sys::now() }
=== os/unix.rs
pub(super) fn now() {}
=== os/windows.rs
pub(super) fn now() {}
=== util/list.rs
use super::{
    Lock,
    sync::{self, Mutex as M},
};
// use crate::Drain;
/* crate::Drain /* nested */ crate::Drain */
fn f() { let _ = ("crate::Drain", r#"" crate::Drain"#, '"', b'\''); }
macro_rules! list { () => { use $crate::Drain; $crate::Drain } }
pub(crate) use list;
=== util/mod.rs
mod sync;
pub(crate) mod list;
pub(crate) use sync::Lock;
=== util/sync.rs
pub(crate) use std::sync::Mutex;
pub(crate) struct Lock<'a>(&'a str, char);
#[cfg(all(test, not(loom)))]
mod tests {
    use crate::Drain;
}
""")
# The files to change, and what the check has to print; for a cycle, all of it.
MISTAKES = {
    "nothing": ({}, []),
    "a cycle": (
        {
            "util/sync.rs": "use super::list::push;\nstruct Lock;\nstruct Mutex;",
            "util/list.rs": "use super::Lock;\nfn push() {}",
        },
        ["a cycle:", "src/util/list.rs:1: use super::Lock;", "src/util/sync.rs:1: use super::list::push;"],
    ),
    "a cycle of three": (
        {
            "model/cause.rs": "pub struct Cause;\nuse super::stage::Stage;",
            "model/stage.rs": "pub enum Stage {}\nfn f() { super::report::new() }",
            "model/report.rs": "fn new(_: crate::Cause) {}",
        },
        ["a cycle:", "src/model/cause.rs:2:", "src/model/stage.rs:2:", "src/model/report.rs:1:"],
    ),
    "a cycle by a re-export that its file mentions": (
        {"node/mod.rs": GOOD["node/mod.rs"] + "fn f(_: Begun) {}"},
        ["a cycle:", "src/node/mod.rs:6: pub(crate) use request::Begun;", "src/node/request.rs:1: use super::Node;"],
    ),
    "a cycle by a glob": (
        {"node/mod.rs": GOOD["node/mod.rs"].replace("request::Begun", "request::*") + "fn f(_: Begun) {}"},
        ["a cycle:", "src/node/mod.rs:8: fn f(_: Begun) {}", "src/node/request.rs:1: use super::Node;"],
    ),
    "a cycle by one of two imports of a name": (
        {
            "node/mod.rs": GOOD["node/mod.rs"] + "pub(crate) use wait::Twin;\npub(crate) use request::Twin;\n",
            "node/wait.rs": "pub(crate) struct Twin;\nuse super::Twin as Other;",
            "node/request.rs": GOOD["node/request.rs"] + "struct Twin;\nuse super::wait;",
        },
        ["a cycle:", "src/node/wait.rs:2: use super::Twin as Other;", "src/node/request.rs:6: use super::wait;"],
    ),
    "an upward import": (
        {"node/mod.rs": GOOD["node/mod.rs"] + "use crate::{\n    model,\n    os::{exit::now},\n};"},
        ["src/node/mod.rs:10: os::{exit::now},", "node may not import from os: src/os/exit.rs"],
    ),
    "an upward import through the root": (
        {"util/list.rs": "use crate::S;\nuse super::{Lock, sync};"},
        ["src/util/list.rs:1: use crate::S;", "util may not import from model: src/model/stage.rs"],
    ),
    "an upward re-export": (
        {"model/mod.rs": GOOD["model/mod.rs"] + "pub use crate::node::Node;"},
        ["src/model/mod.rs:4:", "model may not import from node: src/node/mod.rs"],
    ),
    "a low item by a high module": (
        {"os/mod.rs": GOOD["os/mod.rs"] + "pub use crate::util::Lock;", "node/wait.rs": "use crate::os::Lock;"},
        ["src/node/wait.rs:1: use crate::os::Lock;", "node may not import from os: src/os/mod.rs"],
    ),
    "an upward path in code": (
        {"model/stage.rs": "pub enum Stage { Running }\nfn f() -> u8 {\n    crate::os::exit::now()\n}"},
        ["src/model/stage.rs:3: crate::os::exit::now()", "model may not import from os: src/os/exit.rs"],
    ),
    "from os to the public API": (
        {"os/exit.rs": "fn now() { super::super::drain::Drain }"},
        ["src/os/exit.rs:1:", "os may not import from the public API: src/drain.rs"],
    ),
    "an unknown name": (
        {"drain.rs": "pub struct Drain;\nuse crate::node::Absent;"},
        ["src/drain.rs:2: use crate::node::Absent;", "can't resolve crate::node::Absent"],
    ),
    "an unknown path in code": ({"os/exit.rs": "fn now() { super::absent() }"}, ["src/os/exit.rs:1:", "can't resolve"]),
    "an unknown crate": ({"os/exit.rs": "use absent::drop;\nfn now() {}"}, ["src/os/exit.rs:1:", "can't resolve"]),
    "a long file": ({"util/sync.rs": GOOD["util/sync.rs"] + "\n" * 400}, ["src/util/sync.rs: 406 lines"]),
    "a long file that says why": ({"drain.rs": "//! Long because.\n" + GOOD["drain.rs"] + "\n" * 400}, []),
}


def run(check):
    for mistake, (changed, expected) in MISTAKES.items():
        with tempfile.TemporaryDirectory() as folder:
            for name, text in {"../Cargo.toml": "[dependencies]\n", **GOOD, **changed}.items():
                file = Path(folder, "src", name)
                file.parent.mkdir(parents=True, exist_ok=True)
                file.write_text(text, "utf-8")
            wrong = check(Path(folder))
        said = "\n".join(wrong)
        if len(wrong) != bool(expected) or not all(each in said for each in expected):
            sys.exit(f"{mistake}: expected {expected}, and the check says:\n{said or 'nothing'}")
        print(f"{mistake}: {'reported' if expected else 'passes'}")
