//! Most of the quick tests in one program, which is built sooner than one for each file: for `mutants.py`.

#[path = "adapt.rs"]
mod adapt;

#[path = "background.rs"]
mod background;

#[path = "callbacks.rs"]
mod callbacks;

#[path = "children.rs"]
mod children;

#[path = "display.rs"]
mod display;

#[path = "drain.rs"]
mod drain;

#[path = "drained.rs"]
mod drained;

#[path = "failures.rs"]
mod failures;

#[path = "finish.rs"]
mod finish;

#[path = "fuzz.rs"]
mod fuzz;

#[path = "io_wrapper.rs"]
mod io_wrapper;

#[path = "limits.rs"]
mod limits;

#[path = "phases.rs"]
mod phases;

#[path = "request.rs"]
mod request;

#[path = "stages.rs"]
mod stages;

#[path = "tasks.rs"]
mod tasks;

#[path = "trace_events.rs"]
mod trace_events;

#[path = "waiter.rs"]
mod waiter;
