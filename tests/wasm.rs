//! The worlds of `fuzz.rs` that need no threads, as `./ci.sh wasm` runs them.
#![cfg(target_family = "wasm")]

#[path = "fuzz/choices.rs"]
mod choices;
mod support;
#[path = "fuzz/world.rs"]
mod world;

use std::{fs, iter};

use choices::Choices;
use fastrand::Rng;
use support::counter;
use world::Threads;

/// The same worlds each time: a seed that fails is named by its panic, and fails again.
#[test]
fn sequential_operations_match_the_model() {
    let threads = Threads::start();
    let (mut operations, mut seed) = (0, 0);
    while operations < 100_000 {
        eprintln!("seed {seed}");
        let mut rng = Rng::with_seed(seed);
        let bytes = iter::repeat_with(move || rng.u8(..));
        operations += world::run(Choices::new(bytes), &threads);
        seed += 1;
    }
}

/// The worlds of `fuzz/corpus/`.
#[test]
fn worlds_of_the_corpus_match_the_model() {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/fuzz/corpus");
    let threads = Threads::start();
    let mut operations = 0;
    for file in fs::read_dir(folder).expect("the runner lets the corpus be read") {
        let path = file.expect("the corpus can be listed").path();
        eprintln!("{}", path.display());
        let input = fs::read(&path).expect("a file of the corpus can be read");
        operations += world::run(Choices::new(input), &threads);
    }
    assert!(operations > 0, "{folder} has no world");
}
