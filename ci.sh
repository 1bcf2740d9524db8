#!/usr/bin/env bash
# Every check is a verb: ./ci.sh lint test ...
#
# A verb is a function whose name is one word, and has a line in `help`. The other functions help the verbs, and have an
# underscore in their names.
#
# Verbs in parentheses set variables for themselves alone.
# shellcheck disable=SC2030,SC2031
set -euo pipefail
cd "$(dirname "$0")"

built=${CARGO_TARGET_DIR:-target}
[[ $built = /* ]] || built=$PWD/$built

help() {
    cat <<'END'
Usage: ./ci.sh VERB ...

The times are of a busy machine with two cores. They leave out the packages and tools that a verb installs, and what it
builds or downloads when it first runs: see "first". .ci/run calls the verbs to run before a change is sent.

lint        formatting, clippy, docs and their examples, links, prose, manifests, the index of the tests, `layers`; 1 min
layers      the modules of src/ import in one direction, without a cycle; shows that it reports mistakes; 1 s
test        `cargo test`, with default features, with none, and of winddown-http; 3 min
newer       clippy, docs and `test` with Debian's compiler, which is often newer than the stable one; 4 min, first 10 min
nextest     every test alone in a process of its own, by cargo-nextest; 1 min
signals     the tests under nohup, and with HUP, INT, QUIT and TERM ignored, then blocked at the start; 3 min
perf        instructions of frequent operations, of a request and of a connection, against recorded ones; 1 min, first 3 min
stop        no connection is lost when a server stops under load, whatever some clients do; 4 min
restart     no request fails while servers restart and their parent holds the listener; 4 min
soak        nothing is lost and nothing grows under random load, faults, stops and restarts of all servers; 11 min
rolling     no request fails while HAProxy's two servers restart in turn, of each of four kinds; 9 min
recipes     every recipe runs with its framework, and stops in the middle of its work; 1 min, first 20 min
kubernetes  the manifest conforms to the API's schemas, its times add up, and the pod has few rights; 3 s, first 20 s
systemd     systemd accepts the unit files, rejects a broken one, and restarts the server under load; 1 min
loom        the shipped atomics and locks under every interleaving within the bounds of the models; 1 min
mutations   every model of `loom` fails when the code is changed as tests/mutations.toml says; 10 min
fuzz        twice ten million random operations, against a model and on three threads; G10 as users build; 1 min
guided      the same model, with operations that libFuzzer chooses by the code that they run; 10 min, first 12 min
features    every combination of features of winddown and of winddown-http passes clippy; 5 min
msrv        Rust 1.85 checks and tests the library; 14 min
package     the published files are the right ones, and build; 1 min
release     the manifests fit RELEASING.md, and all that `cargo publish` does but for the upload; asks the registry; 1 min
deny        licences, bans and sources of what winddown and winddown-http depend on, without advisories; 10 s
semver      nothing public breaks against the last release; needs its tag, and fails before the first
tsan        no data races in the tests and the processes they start, with an instrumented std; 6 min, first 9 min
asan        no memory errors and no leaks in them; 3 min, first 6 min
costs       prints what it costs to depend on winddown and on its peers, and fails nothing; 45 min
coverage    a test runs 95 % or more of the lines of src/; prints the other lines; 1 min, first 3 min
mutants     the tests fail for each mutant of src/, but for those of tests/mutants.toml; some hours
minimal     the oldest dependencies that Cargo.toml allows build and pass the tests; 1 min, first 4 min
targets     clippy for Windows, macOS, FreeBSD and aarch64 Linux; the core for wasm32; 1 min, first 12 min
processors  the tests on i686, and on emulated aarch64 and s390x, which is big-endian; 20 min, first 45 min
wasm        the core, its unit tests and the model of `fuzz` as WebAssembly, run by wasmtime from PyPI; 2 min, first 6 min
windows     tests, servers and console events as Windows programs under Wine, on Debian; 4 min, first 11 min
help        prints this
END
}

print_title() { printf '\n== %s\n' "$*"; }

lint() {
    layers
    python3 tests/index.py --self-test
    python3 tests/index.py
    python3 tests/release.py --self-test
    python3 tests/release.py
    python3 tests/prose.py --self-test
    python3 tests/prose.py
    python3 tests/mutations.py --self-test
    python3 tests/mutations.py --check
    python3 tests/mutants.py --self-test
    python3 tests/links.py --self-test
    python3 tests/links.py
    python3 tests/doc_examples.py --self-test
    python3 tests/doc_examples.py
    # The recipes have hundreds of dependencies, so the verb `recipes` checks them.
    local crates=(--workspace --exclude winddown-recipes)
    # bench reads a clock that macOS does not have.
    [ "$(uname)" != Darwin ] || crates+=(--exclude winddown-bench)
    cargo fmt --all --check
    cargo fmt --manifest-path fuzz/Cargo.toml --check
    if command -v shellcheck >/dev/null; then
        shellcheck ci.sh .ci/run
    else
        echo "shellcheck is not installed, so the scripts are not checked"
    fi
    check_code "${crates[@]}"
}

# Clippy for these crates, and the docs.
check_code() {
    cargo clippy "$@" --all-targets --all-features -- -D warnings
    cargo clippy --all-targets --no-default-features -- -D warnings
    RUSTDOCFLAGS="-D warnings" cargo doc --no-deps --all-features -p winddown -p winddown-http
}

# See the head of tests/layers.py.
layers() {
    python3 tests/layers.py --self-test
    python3 tests/layers.py
}

# README's own command, the core without signals, and the tests that optional features add. On Windows also those that
# send the events of a console, by an example of winddown-console.
test() {
    if [[ $(uname) = MINGW* ]]; then
        cargo build -p winddown -p winddown-console --examples
        run_tests 10 cargo test -p winddown -p winddown-console --test windows --test events
    fi
    cargo test
    cargo test --no-default-features
    cargo test -p winddown-http
    cargo test --all-features --test adapt --test deadline --test exit_status --test policies --test systemd --test runtimes --test io_wrapper --test stages --test trace_events
}

# Debian's compiler is the one that Firefox and Chromium are built with there.
newer() (
    need_packages rustc-web cargo-web rust-web-clippy
    rustc --version
    export PATH=/usr/bin:$PATH CARGO_TARGET_DIR=$PWD/target/newer
    rustc --version
    check_code --workspace --exclude winddown-recipes
    # In a shell of its own: a function that `||` follows goes on after a command that fails.
    run_tests 1380 ./ci.sh test
)

nextest() {
    need_tool cargo-nextest
    run_tests 640 cargo nextest run --all-features
}

# What a test process inherits: from nohup, from a shell that starts a job in the background, from a supervisor.
signals() {
    local start
    for start in nohup "env --ignore-signal=HUP,INT,QUIT,TERM" "env --block-signal=HUP,INT,QUIT,TERM"; do
        print_title "$start"
        # shellcheck disable=SC2086 # a command with arguments
        run_tests 750 $start cargo test --all-features --no-fail-fast
    done
}

# Instructions of the operations in bench/instructions.txt. A busy machine does not change them; another compiler and
# another allocator may, so the head of that file names both.
perf() {
    need_packages valgrind
    cargo build --profile perf -p winddown-bench --bin winddown-count
    local name recorded now what base peer peers bare operations=0 grown=0
    rustc --version
    head -1 bench/instructions.txt
    while read -r name recorded; do
        now=$(count_instructions "$name" 10000)
        operations=$((operations + 1))
        echo "$name: $now instructions, recorded are $recorded"
        ((now > 0 && now * 100 <= recorded * 101)) || grown=1
    done < <(grep -v '^#\|:' bench/instructions.txt)
    ((operations)) || { echo "ci.sh: bench/instructions.txt names no operation" >&2; return 1; }
    # A few are noise: what is subtracted is thousands.
    local noise=20
    for what in request connection; do
        # The same server without a shutdown, and those that are compared with it.
        for peers in "bare winddown guard token hyper-util swansong" "auto auto-timed http http-guard" \
            "smol-bare smol-winddown smol-guard smol-token smol-swansong"; do
            read -r base peers <<<"$peers"
            bare=$(count_instructions "$what:$base" 1000)
            echo "$what:$base: $bare instructions. Beyond them:"
            for peer in $peers; do
                now=$(count_instructions "$what:$peer" 1000)
                now=$((now - bare))
                recorded=$(sed -n "s/^$what:$peer //p" bench/instructions.txt)
                case $peer in
                    *winddown | *guard | http) : "${recorded:?"none for $what:$peer in bench/instructions.txt"}" ;;
                esac
                echo "$what:$peer: $now instructions${recorded:+, recorded are $recorded}"
                ((now <= ${recorded:-now} + noise)) || grown=1
            done
        done
        # What malloc does with the room that buffers leave depends on where all else is.
        noise=1000
    done
    if ((grown)); then
        echo "ci.sh: something takes more instructions than bench/instructions.txt records, noise included" >&2
        return 1
    fi
}

# The instructions of one operation: of twice as many of them, less those of so many. What is done once cancels out.
count_instructions() {
    local once twice
    if ! { once=$(collect_instructions "$1" "$2") && twice=$(collect_instructions "$1" $(($2 * 2))) &&
        ((twice > once)); }; then
        echo "ci.sh: $1 failed, or has no more instructions when it runs twice as often" >&2
        return 1
    fi
    echo $(((twice - once + $2 / 2) / $2))
}

# Without fast bins, which malloc now and then consolidates: that is a million instructions at once.
collect_instructions() {
    GLIBC_TUNABLES=glibc.malloc.mxfast=0 valgrind --tool=callgrind --callgrind-out-file=/dev/null \
        "$built/perf/winddown-count" "$1" "$2" 2>&1 |
        sed -n 's/.*Collected : \([0-9]*\).*/\1/p'
}

# Two of each server behind HAProxy, restarted in turn under load; see the head of tests/rolling/rolling.py. Each
# passes its requests or its connections on, and some stop without a lame duck.
rolling() {
    need_packages haproxy
    cargo build --examples
    run_stoppable timeout 1200 python3 tests/rolling/rolling.py "$built/debug/examples"
}

# See the heads of load/src/client.rs, stop.rs and unruly.rs. A short run: STOPS=3 SERVERS="smol tokio" ./ci.sh stop.
# Beside the servers it stops one that is wired as loses connections, and prints how many.
stop() {
    run_load 900 stop
    run_load 300 unruly
}

# See the heads of load/src/restart.rs and reuseport.rs. A short run: RESTARTS=2 REQUESTS=5000 SERVERS=smol ./ci.sh restart.
# How many connections SO_REUSEPORT loses is printed, and fails nothing.
restart() {
    need_packages systemd
    local program
    program=$(command -v systemd-socket-activate)
    ACTIVATE=$program run_load 900 restart
    run_load 300 reuseport
}

# See the heads of load/src/soak.rs and fault.rs. A short run: SOAK_SECONDS=60 SERVERS="smol tokio" ./ci.sh soak. A
# failing run names its seed: SOAK_SEED.
soak() {
    need_packages libfaketime
    local library
    library=$(dpkg -L libfaketime | grep '/libfaketimeMT\.so\.1$')
    LIBFAKETIME=$library run_load $((${SOAK_SECONDS:-600} + 300)) soak
}

# Runs a verb of the program that counts, against each example server of SERVERS, for so many seconds at most.
run_load() {
    local limit=$1 verb=$2 name programs=()
    for name in ${SERVERS:-smol tokio async_std threads axum}; do
        programs+=("$built/debug/examples/$name")
    done
    cargo build --examples
    # On its own, so that the servers keep the features that all verbs build them with.
    cargo build -p winddown-load
    print_title "winddown-load $verb"
    run_stoppable timeout "$limit" "$built/debug/winddown-load" "$verb" "${programs[@]}"
}

# See the heads of recipes/src/bin/*.rs. What was measured is printed.
recipes() {
    cargo clippy --profile recipes -p winddown-recipes --all-targets -- -D warnings
    RUSTDOCFLAGS="-D warnings" cargo doc --profile recipes --no-deps -p winddown-recipes
    run_tests 44 cargo test --profile recipes -p winddown-recipes --test servers --test programs -- --nocapture
}

kubernetes() {
    local venv=target/kubernetes
    make_venv "$venv" kubernetes-validate
    "$venv/bin/python" tests/kubernetes/check.py examples/kubernetes/winddown.yaml
}

# The unit files, as systemd reads them, and a broken one, to show that systemd rejects that. Then systemd runs them: see
# the head of tests/systemd/live.py.
systemd() {
    need_packages systemd
    cargo build --example smol --features systemd
    local folder=target/systemd
    mkdir -p "$folder"
    # systemd rejects a unit whose program does not exist.
    sed "s|/usr/local/bin/smol|$built/debug/examples/smol|" \
        examples/systemd/winddown.service >"$folder/winddown.service"
    sed 's/^KillMode=.*/KillMode=nonsense/' "$folder/winddown.service" >"$folder/broken.service"
    cp examples/systemd/winddown.socket "$folder/winddown.socket"
    unit_is_valid "$folder/winddown.service"
    unit_is_valid "$folder/winddown.socket"
    ! unit_is_valid "$folder/broken.service" || { echo "ci.sh: systemd accepts the broken one too" >&2; return 1; }
    run_stoppable "${root[@]}" timeout -s KILL 300 python3 tests/systemd/live.py "$built/debug/examples/smol"
}

# Whether systemd accepts a unit file: it then prints nothing.
unit_is_valid() {
    local said
    said=$(systemd-analyze verify "$1" 2>&1) || true
    printf '%s: %s\n' "$1" "${said:-accepted}"
    [ -z "$said" ]
}

# See the head of tests/loom.rs, and src/util/task_counter.rs.
loom() {
    local test=(env "RUSTFLAGS=--cfg loom" CARGO_TARGET_DIR=target/loom
        cargo test --release --no-default-features)
    run_tests 48 "${test[@]}" --test loom -- --nocapture
    run_tests 6 "${test[@]}" --lib -- --nocapture ::models::
}

# See the head of tests/mutations.py. Those with a text in their names alone: MUTATION=TaskCounter ./ci.sh mutations.
mutations() {
    python3 tests/mutations.py target/mutations ${MUTATION:+"$MUTATION"}
}

# FUZZ_OPS is the number of operations in each of the two tests with random ones.
fuzz() {
    run_tests 3 env FUZZ_OPS="${FUZZ_OPS:-10000000}" \
        cargo test --release --no-default-features --test fuzz -- --nocapture
    # Only in a release build does tokio's waker differ from its clone.
    run_tests 2 cargo test --release --no-default-features --lib -- g10_
}

# FUZZ_SECONDS is how long it runs. CONTRIBUTING.md says what to do with what it finds.
guided() (
    need_packages g++
    local host option options=()
    host=$(rustc -vV | sed -n 's/^host: //p')
    # What cargo-fuzz builds with, but for a sanitizer. Build scripts are built without it, because of --target.
    for option in level=4 inline-8bit-counters pc-table trace-compares; do
        options+=("-Cllvm-args=-sanitizer-coverage-$option")
    done
    export RUSTFLAGS="-Cpasses=sancov-module ${options[*]} -Ccodegen-units=1 -Cdebug-assertions --cfg fuzzing"
    export CARGO_TARGET_DIR=$PWD/target/guided
    local fuzz=(--manifest-path fuzz/Cargo.toml --release --locked --target "$host")
    cargo clippy "${fuzz[@]}" -- -D warnings
    cargo build "${fuzz[@]}"
    mkdir -p "$CARGO_TARGET_DIR/found" "$CARGO_TARGET_DIR/failed"
    "$CARGO_TARGET_DIR/$host/release/operations" -max_total_time="${FUZZ_SECONDS:-600}" -timeout=20 -max_len=2048 \
        -print_final_stats=1 -artifact_prefix="$CARGO_TARGET_DIR/failed/" "$CARGO_TARGET_DIR/found" fuzz/corpus
)

features() {
    need_tool cargo-hack
    cargo hack clippy --feature-powerset --exclude-features default --tests --examples -- -D warnings
    # Without tests: they need both features, so that clippy would check every combination with both.
    cargo hack clippy -p winddown-http --feature-powerset --exclude-features default -- -D warnings
}

msrv() {
    local rust=(env "CARGO_TARGET_DIR=target/msrv") unpacked=$PWD/target/msrv-root
    if cargo +1.85 --version >/dev/null 2>&1; then
        rust+=(RUSTUP_TOOLCHAIN=1.85)
    else
        # Debian's, unpacked beside the newer one.
        if [ ! -x "$unpacked/usr/bin/cargo" ]; then
            local v=1.85.0+dfsg3-1~deb12u3
            rm -rf target/msrv-debs "$unpacked" "$unpacked.part"
            mkdir -p target/msrv-debs
            as_root apt-get update -qq
            (cd target/msrv-debs && apt-get download -qq rustc-web=$v cargo-web=$v \
                libstd-rust-web-dev=$v libstd-rust-web-1.85=$v libllvm19 libpcre3 libhttp-parser2.9)
            for package in target/msrv-debs/*.deb; do dpkg -x "$package" "$unpacked.part"; done
            mv "$unpacked.part" "$unpacked"
        fi
        local lib=usr/lib/x86_64-linux-gnu
        rust+=("LD_LIBRARY_PATH=$unpacked/$lib:$unpacked/lib/x86_64-linux-gnu" "PATH=$unpacked/usr/bin:$PATH")
    fi
    "${rust[@]}" cargo --version | grep '^cargo 1\.85\.'
    "${rust[@]}" rustc --version | grep '^rustc 1\.85\.'
    "${rust[@]}" cargo check --no-default-features
    "${rust[@]}" cargo check --all-features
    run_tests 750 "${rust[@]}" cargo test --all-features
}

minimal() {
    local copy=target/minimal
    copy_to "$copy"
    (
        export CARGO_TARGET_DIR=$PWD/target/minimal-build
        cd "$copy"
        # Without bench: a user of the library does not build its peers.
        sed -i 's/^members = .*/members = ["console"]/' Cargo.toml
        # The oldest of our dependencies, and the newest of theirs.
        RUSTC_BOOTSTRAP=1 cargo update -Zdirect-minimal-versions
        cargo check --no-default-features
        run_tests 750 cargo test --all-features
    )
}

# Not the advisories: their database is not a crate.
deny() {
    need_tool cargo-deny
    cargo fetch --locked
    cargo deny --offline check licenses bans sources
    cargo deny --offline --manifest-path http/Cargo.toml check licenses bans sources
}

# The public API against the last tag's.
semver() {
    local tag
    tag=$(git describe --tags --abbrev=0 --match 'v*' 2>/dev/null) ||
        { echo "ci.sh: nothing was released yet: there is no tag to compare with" >&2; return 1; }
    need_tool cargo-semver-checks
    rm -rf target/baseline
    mkdir -p target/baseline
    git archive "$tag" | tar -x -C target/baseline
    cargo semver-checks --baseline-root target/baseline
}

# What `cargo publish` would upload builds, and has the files that it should have.
package() {
    diff <(cargo package --list --allow-dirty -p winddown | sort) <(packaged_files src examples CHANGELOG.md)
    diff <(cargo package --list --allow-dirty -p winddown-console | sort) <(cd console && packaged_files src)
    diff <(cargo package --list --allow-dirty -p winddown-http | sort) <(cd http && packaged_files src)
    # Together: winddown depends on winddown-console, and winddown-http on winddown.
    cargo package --allow-dirty -p winddown-console -p winddown -p winddown-http
}

# Together, so that each is built with those before it, which the registry does not have yet; cargo 1.90 and newer can.
# `lint` checks the manifests too.
release() {
    python3 tests/release.py
    cargo publish --dry-run --allow-dirty -p winddown-console -p winddown -p winddown-http
}

# The files that a package should have: the arguments, those of every crate, and those that cargo adds.
packaged_files() {
    {
        git ls-files "$@" README.md LICENSE-MIT LICENSE-APACHE Cargo.toml
        printf '%s\n' .cargo_vcs_info.json Cargo.toml.orig Cargo.lock
    } | sort
}

# Counts in the processes that tests start, too.
coverage() (
    need_tool cargo-llvm-cov
    need_packages llvm-22
    export CARGO_LLVM_COV_SETUP=no CARGO_TARGET_DIR=$PWD/target/coverage
    export LLVM_COV LLVM_PROFDATA
    LLVM_COV=$(command -v llvm-cov-22) LLVM_PROFDATA=$(command -v llvm-profdata-22)
    # For everything that cargo builds, and every process that starts from it.
    # shellcheck disable=SC1090
    source <(cargo llvm-cov show-env --sh)
    # Counts into a mapped file (%c), because many processes here end by `_exit` or a signal.
    export LLVM_PROFILE_FILE=${LLVM_PROFILE_FILE/%.profraw/%c.profraw}
    export RUSTFLAGS=-Cllvm-args=-runtime-counter-relocation
    cargo llvm-cov clean --workspace
    cargo build --all-features --examples
    run_tests 640 cargo test --all-features --tests
    cargo llvm-cov report --ignore-filename-regex '/(tests|examples|bench|console)/' \
        --show-missing-lines --fail-under-lines 95
)

# The tables of COMPARISON.md; see the head of bench/costs.py.
costs() {
    python3 bench/costs.py
}

# Runs a command with Debian's compiler, which can build std anew.
debian_rust() {
    need_packages rustc-web cargo-web rust-web-src rust-web-clippy || return
    RUSTC_BOOTSTRAP=1 PATH=/usr/bin:$PATH "$@"
}

# Every test except some, and the processes they start, with a sanitizer in all code, std and dependencies included; at
# least so many pass. Each further argument is an expression for whole names, after the modules, and names a test. A
# program with a mistake runs first, to show that the sanitizer reports it.
run_sanitized() {
    local least=$1 sanitizer=$2 mistake=$3 all pattern named test skip=() said
    shift 3
    need_packages clang-22 libclang-rt-22-dev
    export CARGO_TARGET_DIR=$PWD/target/$sanitizer
    # A backtrace of instrumented code takes longer than tests wait. So does the second that ThreadSanitizer sleeps at exit,
    # and its report of threads that the force does not join.
    export RUST_BACKTRACE=0 TSAN_OPTIONS=atexit_sleep_ms=0:report_thread_leaks=0
    local flags=("-Zsanitizer=$sanitizer" -Zexternal-clangrt -Clinker=clang-22 "-Clink-arg=-fsanitize=$sanitizer")
    export RUSTFLAGS=${flags[*]} RUSTDOCFLAGS=${flags[*]}

    mkdir -p "$CARGO_TARGET_DIR"
    debian_rust rustc "${flags[@]}" -Cunsafe-allow-abi-mismatch=sanitizer -o "$CARGO_TARGET_DIR/mistake" - <<<"$mistake"
    said=$("$CARGO_TARGET_DIR/mistake" 2>&1) || true
    grep "^SUMMARY: .*Sanitizer" <<<"$said" || { echo "ci.sh: the sanitizer did not report: $mistake" >&2; return 1; }

    all=$(sanitized_test -- --list | sed -n 's/: test$//p')
    for pattern in "$@"; do
        named=$(grep -xE "(.*::)?$pattern" <<<"$all") || { echo "ci.sh: no test is called $pattern" >&2; return 1; }
        while read -r test; do
            echo "left out: $test"
            skip+=(--skip "$test")
        done <<<"$named"
    done
    run_tests "$least" sanitized_test --no-fail-fast -- --exact "${skip[@]}"
}

# A sanitizer needs more memory itself than these leave.
starved=(g4_without_threads g6_without_threads_install_leaves_nothing_and_can_be_retried g12_without_threads
    without_threads without_threads_to_the_end)

# Always with the same set of tests: another set would build std again.
sanitized_test() {
    debian_rust cargo test -Zbuild-std --target x86_64-unknown-linux-gnu --all-features "$@"
}

tsan() (
    # ThreadSanitizer delays a signal that interrupts a running thread, or one that Rust's std parks, until that thread
    # calls a function that it intercepts. So the signals are blocked, and only the library's own thread, which is in
    # `poll`, unblocks them. In the tests below a thread sends signals to itself, or no handler is installed.
    own=(INT:g4_trigger_then_two_signals USR1:g4_request_then_signal_forces USR1:g4_two_signals_need_no_thread
        USR1:g6_a_failed_install_leaves_the_default USR1:other_signals_and_exit_code USR1:signals_blocked_at_start)
    # These need both: signals to a running thread and to a waiting one, or to one that hangs; or `winddown` is parked; or
    # `script` unblocks the signals.
    kept_back=(g4_with_a_waker_that_hangs after_the_debounce_the_second_forces without_descriptors_the_thread_sleeps
        force_by_signal_stops_the_script_of_a_shell g7_handles_dropped_with_the_first)
    # It reports tokio, because it does not know that tokio registers with a copy of the descriptor that it waits for.
    # It has a thread of its own, which a test counts. It ends a process that starts a thread after a fork of several.
    unfit=(axum::.* tokio::.* finish_accepts_the_queue_of_a_tokio_listener.* g14_requests_of_a_crowd_on_tokio.*
        crate_has_two_threads_however_many_timers install_after_a_fork_has_a_background_thread
        forked_child_calls_nothing_of_its_parent)
    # These have not been tried: they were left out with others of similar names.
    untried=(g12_without_descriptors without_descriptors on_tokio::.*)

    block_signals INT,TERM
    run_sanitized 660 thread 'fn main() {
        static mut N: u32 = 0;
        let count = || unsafe { N += 1 };
        let other = std::thread::spawn(count);
        count();
        other.join().unwrap();
    }' "${own[@]#*:}" "${kept_back[@]}" "${unfit[@]}" "${untried[@]}" "${starved[@]}"
    for each in "${own[@]}"; do
        print_title "blocked is only ${each%:*}: ${each#*:}"
        block_signals "${each%:*}"
        run_tests 1 sanitized_test -- "${each#*:}" --skip axum:: --skip tokio::
    done
)

# The tests of `tsan` run with these blocked.
block_signals() {
    export "CARGO_TARGET_X86_64_UNKNOWN_LINUX_GNU_RUNNER=env --block-signal=$1"
}

asan() (
    # A panic payload whose drop panics is leaked on purpose: dropping the next payload could panic again, without end.
    leak=g5_waker_whose_panic_panics_again_wakes_the_rest
    run_sanitized 740 address 'fn main() { std::mem::forget(std::hint::black_box(vec![0])) }' \
        "$leak" "${starved[@]}"
    print_title "but for leaks: $leak"
    ASAN_OPTIONS=detect_leaks=0 run_tests 1 sanitized_test --test waiter -- "$leak"
)

# The clippy commands of `lint` for each target; the core alone for wasm32.
targets() (
    # The second for the database of an example.
    need_packages gcc-mingw-w64-x86-64-win32 gcc-aarch64-linux-gnu libc6-dev-arm64-cross
    local target crates
    export CARGO_TARGET_DIR=$PWD/target/targets
    for target in x86_64-pc-windows-gnu x86_64-pc-windows-msvc aarch64-apple-darwin \
        x86_64-unknown-freebsd aarch64-unknown-linux-gnu; do
        print_title "$target"
        crates=(--workspace --exclude winddown-recipes)
        [[ $target != *-apple-* ]] || crates+=(--exclude winddown-bench)
        debian_rust cargo clippy -Zbuild-std --target "$target" "${crates[@]}" --all-targets --all-features -- \
            -D warnings
        debian_rust cargo clippy -Zbuild-std --target "$target" --all-targets --no-default-features -- -D warnings
    done
    print_title wasm32-unknown-unknown
    debian_rust cargo clippy -Zbuild-std=std,panic_abort --target wasm32-unknown-unknown \
        --no-default-features -- -D warnings
)

# On 32 bits, where counters reach their limits sooner; on aarch64; and on a big-endian processor. The last two are
# emulated: an emulator can't start a test again as a child process, which the tests with signals do, so there are no
# default features there. It does not reorder memory accesses either: see `loom`.
processors() (
    need_packages rustc-web cargo-web rust-web-src qemu-user-static gcc-i686-linux-gnu libc6-dev-i386-cross \
        gcc-aarch64-linux-gnu libc6-dev-arm64-cross gcc-s390x-linux-gnu libc6-dev-s390x-cross
    export CARGO_TARGET_DIR=$PWD/target/processors
    local name upper libraries
    for name in ${PROCESSORS:-i686 aarch64 s390x}; do
        print_title "$name"
        upper=CARGO_TARGET_${name^^}_UNKNOWN_LINUX_GNU
        libraries=/usr/$name-linux-gnu
        export "${upper}_LINKER=$name-linux-gnu-gcc"
        if [ "$name" = i686 ]; then
            # Without a runner: tests start their own program again, which would be the runner.
            libraries=$libraries/lib
            export "${upper}_RUSTFLAGS=-Clink-arg=-Wl,--dynamic-linker=$libraries/ld-linux.so.2,-rpath=$libraries"
            debian_rust cargo build -Zbuild-std --target i686-unknown-linux-gnu --all-features --examples
            test_for "$name" 600 --all-features
        else
            export "${upper}_RUNNER=qemu-$name-static -L $libraries"
            # Emulated, a backtrace takes longer than tests wait.
            export RUST_BACKTRACE=0
            test_for "$name" 320 --no-default-features
        fi
    done
)

# Runs the tests of the library for a processor; at least so many pass.
test_for() {
    run_tests "$2" debian_rust cargo test -Zbuild-std --target "$1-unknown-linux-gnu" --lib --tests --no-fail-fast "${@:3}"
}

# The core where there are no threads, and so no method that blocks: tests that need them say so in their attributes.
wasm() (
    need_packages rustc-web cargo-web rust-web-src clang-22 lld-22 wasi-libc
    local out=$PWD/target/wasm libc=/usr/lib/wasm32-wasi flags
    mkdir -p "$out"
    make_venv "$out/venv" wasmtime
    clang-22 --target=wasm32-wasip1 -c tests/wasm/libc.c -o "$out/libc.o"
    # Panics unwind, as tests expect, by the instructions that wasmtime has. Debian's rustc brings no libc. The tests that
    # are left out leave imports without a use.
    flags=(-Cpanic=unwind -Cllvm-args=-wasm-use-legacy-eh=false -Aunused_imports -Clink-self-contained=no
        "-Clink-arg=$libc/crt1-command.o" "-Clink-arg=$out/libc.o" "-L$libc")
    local cargo=CARGO_TARGET_WASM32_WASIP1
    export CARGO_TARGET_DIR=$out "${cargo}_LINKER=wasm-ld-22" "${cargo}_RUSTFLAGS=${flags[*]}"
    export "${cargo}_RUNNER=$out/venv/bin/python $PWD/tests/wasm/run.py"
    run_tests 85 debian_rust cargo test -Zbuild-std=std,panic_unwind,test --target wasm32-wasip1 \
        --no-default-features --no-fail-fast --lib --test request --test waiter --test drain --test children --test tasks \
        --test wasm
)

# Mutants of all of src/, with every feature. Some: MUTANTS="--file src/node/line.rs". Those in lines changed since a
# commit: BASE=main. As many as so many seconds allow, in any order: MUTANTS_SECONDS=300. Two at a time, because tests wait
# most of the time.
mutants() {
    local some=() over=$((SECONDS + ${MUTANTS_SECONDS:-0}))
    if [ -n "${BASE:-}" ]; then
        mkdir -p target
        git diff "$BASE...HEAD" -- src >target/mutants.diff
        [ -s target/mutants.diff ] || { echo "src/ has not changed since $BASE"; return; }
        some=(--in-diff target/mutants.diff)
    fi
    # It waits for cargo most of the time.
    need_tool cargo-mutants --debug
    need_tool cargo-nextest --debug
    [ -z "${MUTANTS_SECONDS:-}" ] || some+=(--seconds $((over - SECONDS)) --shuffle)
    # shellcheck disable=SC2086 # arguments
    python3 tests/mutants.py --all-features "${some[@]}" ${MUTANTS:---jobs=2}
}

windows() (
    need_packages rustc-web cargo-web rust-web-src gcc-mingw-w64-x86-64-win32 wine64
    local wine out=$PWD/target/windows
    wine=$(dpkg -L wine64 | grep '^/usr/lib/.*/wine64$')
    export WINEPREFIX=$out/wine WINEDEBUG=-all WINEDLLOVERRIDES='mscoree,mshtml='
    unset DISPLAY
    trap '"${wine%64}server64" -k || true' EXIT
    if [ ! -e "$WINEPREFIX/ready" ]; then
        mkdir -p "$out"
        timeout 120 "$wine" wineboot -i
        # Rust's std takes random numbers from this library, which Wine 8 lacks.
        x86_64-w64-mingw32-gcc -shared -x c - -ladvapi32 \
            -o "$WINEPREFIX/drive_c/windows/system32/bcryptprimitives.dll" <<'END'
int __stdcall SystemFunction036(void *, unsigned long);
__declspec(dllexport) int __stdcall ProcessPrng(void *to, unsigned long long n) { return SystemFunction036(to, n); }
END
        touch "$WINEPREFIX/ready"
    fi

    # Debian has Windows' std as source only.
    local target=x86_64-pc-windows-gnu
    local cargo=(env RUSTC_BOOTSTRAP=1 "PATH=/usr/bin:$PATH" "CARGO_TARGET_DIR=$out"
        "CARGO_TARGET_X86_64_PC_WINDOWS_GNU_RUNNER=$wine" cargo)
    local for_windows=(-Zbuild-std --target "$target" -p winddown -p winddown-console)
    "${cargo[@]}" build "${for_windows[@]}" --examples
    run_tests 385 "${cargo[@]}" test "${for_windows[@]}" --lib --test request --test waiter --test drain \
        --test adapt --test stages --test runtimes --test display --test children --test tasks --test phases --test failures --test drained --test callbacks --test fuzz --test windows --test events
    # Ctrl-C as it comes from outside Windows.
    WINDDOWN_WINE=$wine WINDDOWN_EXAMPLES=$out/$target/debug/examples run_tests 10 cargo test --test windows
)

# Installs a cargo tool if it is missing, with more arguments of `cargo install`.
need_tool() {
    command -v "$1" >/dev/null || cargo install --locked "$@"
}

# Installs Debian packages if they are missing.
need_packages() {
    ! dpkg -s "$@" >/dev/null 2>&1 || return 0
    as_root apt-get update -qq
    as_root env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "$@"
}

# Installs a package of PyPI in a virtual environment, which it makes if that lacks a part.
make_venv() {
    if ! "$1/bin/pip" --version >/dev/null 2>&1; then
        need_packages python3-venv
        python3 -m venv --clear "$1"
    fi
    "$1/bin/pip" install --quiet "$2"
}

root=()
[ "$(id -u)" = 0 ] || root=(sudo)

as_root() { "${root[@]}" "$@"; }

# Runs a command, and ends it when the script is told to end. `timeout` makes a process group of its own, which Ctrl-C does
# not reach, and a signal to the script reaches no other process. `timeout` and `sudo` pass a SIGTERM on.
run_stoppable() {
    local code=0
    "$@" &
    trap 'kill $! || as_root kill $!; wait $!; exit 1' INT TERM
    wait $! || code=$?
    trap - INT TERM
    return "$code"
}

# Copies the files that git tracks.
copy_to() {
    rm -rf "$1"
    mkdir -p "$1"
    git ls-files -z | xargs -0 cp --parents -t "$1"
}

# Runs a command with tests. Fails if fewer tests pass than the first argument says.
run_tests() {
    local least=$1 log=target/tests.$$ passed failed=0
    shift
    mkdir -p target
    "$@" 2>&1 | tee "$log" || failed=1
    # What cargo test says of each binary, and cargo nextest of all.
    passed=$(awk '/^test result: ok\./ { sum += $4 }
        /^ *Summary .* run: / { sub(/.* run: /, ""); sum += $1 }
        END { print sum + 0 }' "$log")
    rm "$log"
    printf '%s tests passed\n' "$passed"
    ((!failed)) || return 1
    [ "$passed" -ge "$least" ] || { echo "ci.sh: expected at least $least" >&2; return 1; }
}

verbs=$(help | sed -n 's/^\([a-z]*\)  .*/\1/p' | sort)
functions=$(declare -F | sed -n 's/^declare -f \([a-z]*\)$/\1/p' | sort)
diff <(echo "$verbs") <(echo "$functions") || {
    echo "ci.sh: a line of help without a function is marked <, a verb without a line of help is marked >" >&2
    exit 1
}

[ $# -gt 0 ] || { help >&2; exit 2; }
for verb in "$@"; do
    grep -qxF -- "$verb" <<<"$verbs" || { echo "ci.sh: no verb '$verb'; ./ci.sh help lists them" >&2; exit 2; }
done
for verb in "$@"; do
    [ "$verb" = help ] || print_title "$verb"
    "$verb"
done
