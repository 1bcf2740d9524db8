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
    cargo test --all-features --test adapt --test etiquette --test runtimes --test stages
}

[ $# -gt 0 ] || { echo "usage: ./ci.sh VERB ...; the verbs are its functions, see CONTRIBUTING.md" >&2; exit 2; }
for verb in "$@"; do
    [ "$(type -t "$verb")" = function ] || { echo "ci.sh: no verb '$verb'" >&2; exit 2; }
    say "$verb"
    "$verb"
done
