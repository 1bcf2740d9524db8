#!/usr/bin/env bash
# Every check by name: ./ci.sh lint test ...
set -euo pipefail
cd "$(dirname "$0")"

say() { printf '\n== %s\n' "$*"; }

# Formatting, clippy and docs, with warnings denied.
lint() {
    cargo fmt --all --check
    cargo clippy --workspace --all-targets --all-features -- -D warnings
    cargo clippy --all-targets --no-default-features -- -D warnings
    RUSTDOCFLAGS="-D warnings" cargo doc --no-deps --all-features
}

# README's own command, the core without signals, and what optional features add.
test() {
    cargo test
    cargo test --no-default-features
    cargo test --all-features --test adapt --test stages
}

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
        --test adapt --test stages --test runtimes --test windows --test events
    # Ctrl-C as it comes from outside of Windows.
    WINDDOWN_WINE=$wine WINDDOWN_EXAMPLES=$out/$target/debug/examples ran 10 cargo test --test windows
)

# Installs Debian packages, unless they are there.
packages() {
    dpkg -s "$@" >/dev/null 2>&1 && return
    as_root apt-get update -qq
    as_root apt-get install -y -qq --no-install-recommends "$@"
}

as_root() {
    if [ "$(id -u)" = 0 ]; then "$@"; else sudo "$@"; fi
}

# Runs a command that tests, and fails if it ran fewer tests than so many.
ran() {
    local least=$1 log=target/ran.$$
    shift
    mkdir -p target
    "$@" 2>&1 | tee "$log"
    local passed
    passed=$(awk '/^test result: ok\./ { sum += $4 } END { print sum + 0 }' "$log")
    rm "$log"
    printf '%s tests passed\n' "$passed"
    [ "$passed" -ge "$least" ] || { echo "ci.sh: expected at least $least" >&2; return 1; }
}

[ $# -gt 0 ] || { echo "usage: ./ci.sh VERB ...; the verbs are its functions, see CONTRIBUTING.md" >&2; exit 2; }
for verb in "$@"; do
    [ "$(type -t "$verb")" = function ] || { echo "ci.sh: no verb '$verb'" >&2; exit 2; }
    say "$verb"
    "$verb"
done
