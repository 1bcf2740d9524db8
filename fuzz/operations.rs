//! The worlds of tests/fuzz.rs, each with the choices of an input of libFuzzer.
#![no_main]

#[path = "../tests/fuzz/choices.rs"]
mod choices;
#[path = "../tests/support/counter.rs"]
mod counter;
#[path = "../tests/fuzz/world.rs"]
mod world;

use std::sync::LazyLock;

use choices::Choices;
use libfuzzer_sys::fuzz_target;
use world::Threads;

static THREADS: LazyLock<Threads> = LazyLock::new(Threads::start);

fuzz_target!(|input: &[u8]| {
    world::run(Choices::new(input.to_vec()), &THREADS);
});
