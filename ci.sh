#!/usr/bin/env bash
# Every check by name: ./ci.sh lint test ...
set -euo pipefail
cd "$(dirname "$0")"

say() { printf '\n== %s\n' "$*"; }

# Formatting, clippy and docs, with warnings denied.
lint() {
    local crates=(--workspace)
    # bench reads a clock that macOS does not have.
    [ "$(uname)" != Darwin ] || crates+=(--exclude winddown-bench)
    cargo fmt --all --check
    cargo clippy "${crates[@]}" --all-targets --all-features -- -D warnings
    cargo clippy --all-targets --no-default-features -- -D warnings
    RUSTDOCFLAGS="-D warnings" cargo doc --no-deps --all-features
}

# README's own command, the core without signals, and what optional features add.
test() {
    cargo test
    cargo test --no-default-features
    cargo test --all-features --test adapt --test etiquette --test runtimes --test sealed --test stages
}

# Instructions of the operations in bench/instructions.txt. A busy machine does not change them; another compiler and
# another allocator may, so the head of that file names both.
perf() {
    packages valgrind
    cargo build --profile perf -p winddown-bench
    # The difference between 20,000 operations and 10,000: what is done once cancels out.
    collected() {
        valgrind --tool=callgrind --callgrind-out-file=/dev/null \
            "${CARGO_TARGET_DIR:-target}/perf/winddown-bench" --role "count/$1/$2" 2>&1 |
            sed -n 's/.*Collected : \([0-9]*\).*/\1/p'
    }
    local name recorded once twice count grown=0
    rustc --version
    head -1 bench/instructions.txt
    while read -r name recorded; do
        once=$(collected "$name" 10000)
        twice=$(collected "$name" 20000)
        count=$(((twice - once + 5000) / 10000))
        echo "$name: $count instructions, recorded are $recorded"
        ((count > 0 && count * 100 <= recorded * 101)) || grown=1
    done < <(grep -v '^#' bench/instructions.txt)
    if ((grown)); then
        echo "ci.sh: an operation takes more than 1 % above what bench/instructions.txt records" >&2
        return 1
    fi
}

# Two of each server behind HAProxy, restarted in turn under load; see the head of rolling.py.
rolling() {
    packages haproxy
    cargo build --examples
    timeout 1200 python3 tests/rolling/rolling.py target/debug/examples
}

# The manifest against the schemas of the Kubernetes API, and that its times add up.
kubernetes() {
    local venv=target/kubernetes
    [ -x "$venv/bin/python" ] || python3 -m venv "$venv"
    "$venv/bin/pip" install --quiet kubernetes-validate
    "$venv/bin/python" tests/kubernetes/check.py examples/kubernetes/winddown.yaml
}

# The unit file, as systemd reads it. It is shown that a mistake would be seen.
systemd() {
    packages systemd
    cargo build --example smol --features systemd
    local folder=target/systemd
    mkdir -p "$folder"
    # It insists on a program that is there.
    sed "s|/usr/local/bin/smol|$PWD/target/debug/examples/smol|" \
        examples/systemd/winddown.service >"$folder/winddown.service"
    sed 's/^KillMode=.*/KillMode=nonsense/' "$folder/winddown.service" >"$folder/broken.service"
    verify "$folder/winddown.service"
    ! verify "$folder/broken.service" || { echo "ci.sh: nonsense passes too" >&2; return 1; }
}

# What systemd says about a unit file; nothing is what passes.
verify() {
    local said
    said=$(systemd-analyze verify "$1" 2>&1) || true
    printf '%s: %s\n' "$1" "${said:-nothing to object to}"
    [ -z "$said" ]
}

# Models of the shipped code under every interleaving; see the head of tests/loom.rs, and src/util/task_counter.rs.
loom() {
    local test=(env "RUSTFLAGS=--cfg loom" CARGO_TARGET_DIR=target/loom
        cargo test --release --no-default-features)
    ran 27 "${test[@]}" --test loom -- --nocapture
    ran 4 "${test[@]}" --lib -- --nocapture task_counter::models
}

# Random operations against a model. FUZZ_OPS is for each of the two tests.
fuzz() {
    ran 2 env FUZZ_OPS="${FUZZ_OPS:-10000000}" \
        cargo test --release --no-default-features --test fuzz -- --nocapture
}

# Every combination of features, with warnings denied.
features() {
    tool cargo-hack
    cargo hack clippy --feature-powerset --exclude-features default --tests --examples -- -D warnings
}

# The oldest compiler that Cargo.toml promises.
msrv() {
    local rust=(env "CARGO_TARGET_DIR=target/msrv") root=$PWD/target/msrv-root
    if cargo +1.85 --version >/dev/null 2>&1; then
        rust+=(cargo +1.85)
    else
        # Debian's, beside the newer one.
        if [ ! -x "$root/usr/bin/cargo" ]; then
            local v=1.85.0+dfsg3-1~deb12u3
            mkdir -p target/msrv-debs
            as_root apt-get update -qq
            (cd target/msrv-debs && apt-get download -qq rustc-web=$v cargo-web=$v \
                libstd-rust-web-dev=$v libstd-rust-web-1.85=$v libllvm19 libpcre3 libhttp-parser2.9)
            for package in target/msrv-debs/*.deb; do dpkg -x "$package" "$root"; done
        fi
        local lib=usr/lib/x86_64-linux-gnu
        rust+=("LD_LIBRARY_PATH=$root/$lib:$root/lib/x86_64-linux-gnu" "PATH=$root/usr/bin:$PATH" cargo)
    fi
    "${rust[@]}" --version
    "${rust[@]}" --version | grep -q ' 1\.85\.'
    "${rust[@]}" check --no-default-features
    "${rust[@]}" check --all-features
    ran 250 "${rust[@]}" test --all-features
}

# The oldest versions of the dependencies that Cargo.toml allows.
minimal() {
    local copy=target/minimal
    copy_to "$copy"
    (
        export CARGO_TARGET_DIR=$PWD/target/minimal-build
        cd "$copy"
        # Not the peers of bench, which nobody builds with these.
        sed -i 's/^members = .*/members = ["console"]/' Cargo.toml
        # Those that we name; for those that they name, the newest.
        RUSTC_BOOTSTRAP=1 cargo update -Zdirect-minimal-versions
        cargo check --no-default-features
        ran 250 cargo test --all-features
    )
}

# Licences, bans and sources of all dependencies. Advisories need a database that is not a crate.
deny() {
    tool cargo-deny
    cargo fetch --locked
    cargo deny --offline check licenses bans sources
}

# What a published version would break, against the last tag.
semver() {
    local tag
    tag=$(git describe --tags --abbrev=0 --match 'v*' 2>/dev/null) || { echo "no tag yet, nothing to compare with"; return; }
    tool cargo-semver-checks
    rm -rf target/baseline
    mkdir -p target/baseline
    git archive "$tag" | tar -x -C target/baseline
    cargo semver-checks --baseline-root target/baseline
}

# What `cargo publish` would send builds, and is what it should be.
package() {
    diff <(cargo package --list --allow-dirty -p winddown | sort) <(sent src examples CHANGELOG.md)
    diff <(cargo package --list --allow-dirty -p winddown-console | sort) <(cd console && sent src)
    # Together, because the one needs the other.
    cargo package --allow-dirty -p winddown-console -p winddown
}

# What a package is to hold: these, what every crate has, and what cargo adds.
sent() {
    {
        git ls-files "$@" README.md LICENSE-MIT LICENSE-APACHE Cargo.toml
        printf '%s\n' .cargo_vcs_info.json Cargo.toml.orig Cargo.lock
    } | sort
}

# Line coverage of src/, by the tests and the processes they start: 95 % or more. Prints the lines without.
coverage() (
    tool cargo-llvm-cov
    packages llvm-22
    export CARGO_LLVM_COV_SETUP=no CARGO_TARGET_DIR=$PWD/target/coverage
    export LLVM_COV LLVM_PROFDATA
    LLVM_COV=$(command -v llvm-cov-22) LLVM_PROFDATA=$(command -v llvm-profdata-22)
    # For everything that cargo builds, and all that this starts.
    source <(cargo llvm-cov show-env --sh)
    # Counts into a file as it goes (%c), because many a process ends here by `_exit` or a signal.
    export LLVM_PROFILE_FILE=${LLVM_PROFILE_FILE/%.profraw/%c.profraw}
    export RUSTFLAGS=-Cllvm-args=-runtime-counter-relocation
    cargo llvm-cov clean --workspace
    cargo build --all-features --examples
    ran 250 cargo test --all-features --tests
    cargo llvm-cov report --ignore-filename-regex '/(tests|examples|bench|console)/' \
        --show-missing-lines --fail-under-lines 95
)

# Runs a command with Debian's compiler, which can build std anew.
debian_rust() {
    packages rustc-web cargo-web rust-web-src rust-web-clippy
    RUSTC_BOOTSTRAP=1 PATH=/usr/bin:$PATH "$@"
}

# Every test but those named, and what it starts, with a sanitizer in all code: std's and dependencies' too.
# Before that, a program with a mistake, because a sanitizer that sees none shows nothing.
sanitized() {
    local sanitizer=$1 mistake=$2 test skip=() said
    shift 2
    packages clang-22 libclang-rt-22-dev
    export CARGO_TARGET_DIR=$PWD/target/$sanitizer
    local flags=("-Zsanitizer=$sanitizer" -Zexternal-clangrt -Clinker=clang-22 "-Clink-arg=-fsanitize=$sanitizer")
    export RUSTFLAGS=${flags[*]} RUSTDOCFLAGS=${flags[*]}

    mkdir -p "$CARGO_TARGET_DIR"
    debian_rust rustc "${flags[@]}" -Cunsafe-allow-abi-mismatch=sanitizer -o "$CARGO_TARGET_DIR/mistake" - <<<"$mistake"
    said=$("$CARGO_TARGET_DIR/mistake" 2>&1) || true
    grep "^SUMMARY: .*Sanitizer" <<<"$said" || { echo "ci.sh: it did not see: $mistake" >&2; return 1; }

    for test in "$@"; do
        echo "left out: $test"
        skip+=(--skip "$test")
    done
    ran 200 sanitized_test --no-fail-fast -- "${skip[@]}"
}

# Always of the same set of tests, or std would be built anew.
sanitized_test() {
    debian_rust cargo test -Zbuild-std --target x86_64-unknown-linux-gnu --all-features "$@"
}

# Data races.
tsan() (
    # A signal that interrupts a thread at work, or one that Rust's std parks, is kept back until that thread
    # calls something the sanitizer knows. So they are blocked, and only the library's own thread, which is in
    # `poll`, unblocks them. But in these a thread sends some to itself, or to nobody who handles them.
    own=(INT:g4_trigger_then_two_signals USR1:g4_fake_then_real_forces USR1:g4_real_twice_needs_no_thread
        USR1:g6_a_failed_install_leaves_the_default USR1:other_signals_and_exit_code USR1:signals_blocked_at_start)
    # Both at once: to itself and to one that waits, or to one that hangs; or `winddown` itself is parked.
    kept_back=(g4_with_a_waker_that_hangs after_the_debounce_the_second_forces without_descriptors)
    # It does not know that tokio registers with a copy of the descriptor that it waits for, and so reports tokio.
    # With so little memory as the last ones leave, it gives up itself.
    unfit=(axum:: tokio:: g4_without_threads g6_without_threads)

    block() { export "CARGO_TARGET_X86_64_UNKNOWN_LINUX_GNU_RUNNER=env --block-signal=$1"; }
    block INT,TERM
    sanitized thread 'fn main() {
        static mut N: u32 = 0;
        let count = || unsafe { N += 1 };
        let other = std::thread::spawn(count);
        count();
        other.join().unwrap();
    }' "${own[@]#*:}" "${kept_back[@]}" "${unfit[@]}"
    for each in "${own[@]}"; do
        say "blocked is only ${each%:*}: ${each#*:}"
        block "${each%:*}"
        ran 1 sanitized_test -- "${each#*:}" --skip axum:: --skip tokio::
    done
)

# Memory errors and leaks.
asan() (
    # What a panic carries whose own drop has panicked is leaked on purpose, because there is no end to it.
    leak=g5_waker_whose_panic_panics_again_wakes_the_rest
    # With so little memory as the last ones leave, the sanitizer itself gives up.
    sanitized address 'fn main() { std::mem::forget(std::hint::black_box(vec![0])) }' \
        "$leak" g4_without_threads g6_without_threads
    say "but for leaks: $leak"
    ASAN_OPTIONS=detect_leaks=0 ran 1 sanitized_test --test waiter -- "$leak"
)

# What `lint` has clippy do, for the other platforms; and the core alone for the web.
targets() (
    packages gcc-mingw-w64-x86-64-win32
    local target crates
    export CARGO_TARGET_DIR=$PWD/target/targets
    for target in x86_64-pc-windows-gnu x86_64-pc-windows-msvc aarch64-apple-darwin \
        x86_64-unknown-freebsd aarch64-unknown-linux-gnu; do
        say "$target"
        crates=(--workspace)
        [[ $target != *-apple-* ]] || crates+=(--exclude winddown-bench)
        debian_rust cargo clippy -Zbuild-std --target "$target" "${crates[@]}" --all-targets --all-features -- -D warnings
        debian_rust cargo clippy -Zbuild-std --target "$target" --all-targets --no-default-features -- -D warnings
    done
    say wasm32-unknown-unknown
    debian_rust cargo clippy -Zbuild-std=std,panic_abort --target wasm32-unknown-unknown \
        --no-default-features -- -D warnings
)

# The library, the servers and the console events as Windows programs, under Wine. Needs Debian.
windows() (
    packages rustc-web cargo-web rust-web-src gcc-mingw-w64-x86-64-win32 wine64
    local wine out=$PWD/target/windows
    wine=$(dpkg -L wine64 | grep '^/usr/lib/.*/wine64$')
    export WINEPREFIX=$out/wine WINEDEBUG=-all WINEDLLOVERRIDES='mscoree,mshtml='
    unset DISPLAY
    trap '"${wine%64}server64" -k || true' EXIT
    if [ ! -e "$WINEPREFIX/ready" ]; then
        mkdir -p "$out"
        timeout 120 "$wine" wineboot -i
        # Rust's std asks this library for random numbers, and Wine 8 does not have it.
        x86_64-w64-mingw32-gcc -shared -x c - -ladvapi32 \
            -o "$WINEPREFIX/drive_c/windows/system32/bcryptprimitives.dll" <<'END'
int __stdcall SystemFunction036(void *, unsigned long);
__declspec(dllexport) int __stdcall ProcessPrng(void *to, unsigned long long n) { return SystemFunction036(to, n); }
END
        touch "$WINEPREFIX/ready"
    fi

    # Debian's compiler comes without Windows' std, but with what it is made of.
    local target=x86_64-pc-windows-gnu
    local cargo=(env RUSTC_BOOTSTRAP=1 "PATH=/usr/bin:$PATH" "CARGO_TARGET_DIR=$out"
        "CARGO_TARGET_X86_64_PC_WINDOWS_GNU_RUNNER=$wine" cargo)
    local for_windows=(-Zbuild-std --target "$target" -p winddown -p winddown-console)
    "${cargo[@]}" build "${for_windows[@]}" --examples
    ran 150 "${cargo[@]}" test "${for_windows[@]}" --lib --test request --test waiter --test drain \
        --test adapt --test stages --test runtimes --test printed --test fuzz --test windows --test events
    # Ctrl-C as it comes from outside of Windows.
    WINDDOWN_WINE=$wine WINDDOWN_EXAMPLES=$out/$target/debug/examples ran 10 cargo test --test windows
)

# Installs a cargo tool, unless it is there.
tool() {
    command -v "$1" >/dev/null || cargo install --locked "$1"
}

# Installs Debian packages, unless they are there.
packages() {
    ! dpkg -s "$@" >/dev/null 2>&1 || return 0
    as_root apt-get update -qq
    as_root env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "$@"
}

as_root() {
    if [ "$(id -u)" = 0 ]; then "$@"; else sudo "$@"; fi
}

# A copy of what git knows, to work on.
copy_to() {
    rm -rf "$1"
    mkdir -p "$1"
    git ls-files -z | xargs -0 cp --parents -t "$1"
}

# Runs a command that tests, and fails if it ran fewer tests than so many.
ran() {
    local least=$1 log=target/ran.$$ passed failed=0
    shift
    mkdir -p target
    "$@" 2>&1 | tee "$log" || failed=1
    passed=$(awk '/^test result: ok\./ { sum += $4 } END { print sum + 0 }' "$log")
    rm "$log"
    printf '%s tests passed\n' "$passed"
    ((!failed)) || return 1
    [ "$passed" -ge "$least" ] || { echo "ci.sh: expected at least $least" >&2; return 1; }
}

# What the table in CONTRIBUTING.md has a line for; the other functions help these.
verbs=$(sed -n 's/^| `\([a-z]*\)` |.*/\1/p' CONTRIBUTING.md)

[ $# -gt 0 ] || { echo "usage: ./ci.sh VERB ...; the verbs are" $verbs >&2; exit 2; }
for verb in "$@"; do
    grep -qxF -- "$verb" <<<"$verbs" || { echo "ci.sh: no verb '$verb'" >&2; exit 2; }
    say "$verb"
    "$verb"
done
