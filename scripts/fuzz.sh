#!/bin/sh
# usage: fuzz.sh [SECONDS] [FOLDER]. Runs the privacy scan under libFuzzer, guided by coverage, with the stable compiler. What crashed or took
# more than a second of processor time is left in FOLDER/found.
set -eu
seconds=${1:-3600}
folder=${2:-target/fuzz}
host=$(rustc -vV | sed -n 's/^host: //p')
mkdir -p "$folder/corpus" "$folder/found"
# The flags of cargo-fuzz without a sanitizer, which only nightly compilers have. Build scripts run without them.
RUSTFLAGS="-Cpasses=sancov-module -Cllvm-args=-sanitizer-coverage-level=4 -Cllvm-args=-sanitizer-coverage-inline-8bit-counters \
-Cllvm-args=-sanitizer-coverage-pc-table -Cllvm-args=-sanitizer-coverage-trace-compares -Ccodegen-units=1 --cfg fuzzing" \
    cargo build --release --locked --target "$host" --manifest-path crates/signals/fuzz/Cargo.toml --target-dir "$folder/build"
# Beginnings: the hard cases, one text a file.
python3 - "$folder/corpus" <<'PYTHON'
import hashlib, json, pathlib, re, sys
cases = pathlib.Path("crates/signals/tests/hard_cases.yaml").read_text()
for text in re.findall(r'text: (".*")', cases):
    data = b"\0" + json.loads(text.replace("\\x", "\\u00").replace("~+~", "")).encode()
    (pathlib.Path(sys.argv[1]) / hashlib.sha1(data).hexdigest()).write_bytes(data)
PYTHON
exec "$folder/build/$host/release/scan" "$folder/corpus" -max_total_time="$seconds" -max_len=4096 -timeout=1200 -report_slow_units=1200 \
    -artifact_prefix="$folder/found/" -print_final_stats=1
