#!/usr/bin/env bash
# usage: profile.sh. Writes profile/rustc-VERSION.profdata, which the release build of that compiler is optimised by; see profile/README.md.
set -euo pipefail
cd "$(dirname "$0")/.."
cargo=${CARGO:-cargo} rustc=${RUSTC:-rustc}
host=$("$rustc" -vV | sed -n 's/^host: //p')
profdata="$("$rustc" --print sysroot)/lib/rustlib/$host/bin/llvm-profdata"
if ! test -x "$profdata"; then
    echo "llvm-profdata of this compiler is missing: rustup component add llvm-tools" >&2
    exit 1
fi
folder=$PWD/target/instrumented
RUSTFLAGS="-Cprofile-generate=$folder/raw" "$cargo" build --release --locked -p gateway --bin tidegate --target-dir "$folder"
"$cargo" build --release --locked -p testkit --bin bench-upstream --bin bench-load
rm -rf "$folder/raw" "$folder/bin"
mkdir -p "$folder/bin"
cp "$folder/release/tidegate" target/release/bench-upstream target/release/bench-load "$folder/bin/"
# What it measures of an instrumented program means nothing, nor does its exit status.
python3 bench/run.py --bin-dir "$folder/bin" --targets tidegate,classified,unrecorded,traced --rounds 1 --seconds 2 \
    --results "$folder/measured" >/dev/null || true
"$profdata" merge --sparse -o "profile/rustc-$("$rustc" --version | cut -d' ' -f2).profdata" "$folder"/raw/*.profraw
