#!/bin/sh
# Every test: Rust (unit, golden, integration, processes, the real engine) and the official Python client. The engine
# and model are installed first, once for this user. Ends with the number of tests that ran.
set -eu
cargo=${CARGO:-cargo}
python=${PYTHON:-python3}
cache=${XDG_CACHE_HOME:-$HOME/.cache}/tidegate
log=$(mktemp)
trap 'rm -f "$log"' EXIT

# The client's environment is made anew when its pinned requirements change.
venv=$cache/openai-client
if ! cmp -s scripts/requirements-test.txt "$venv/requirements.txt"; then
    echo "making the environment of the Python client, once, in $venv"
    rm -rf "$venv"
    "$python" -m venv "$venv"
    "$venv/bin/python" -m pip install --quiet --disable-pip-version-check --only-binary :all: -r scripts/requirements-test.txt
    cp scripts/requirements-test.txt "$venv/requirements.txt"
fi
export TIDEGATE_TEST_PYTHON="$venv/bin/python"

# The tests of the dashboards run where a Prometheus is to be had.
TIDEGATE_TEST_PROMETHEUS=$(scripts/prometheus.sh) ||
    echo "SKIPPED: dashboards and rules are not run in a real Prometheus, as there is none"
export TIDEGATE_TEST_PROMETHEUS

"$cargo" build --workspace --bins --locked
target/debug/tidegate artifacts install
target/debug/tidegate artifacts install minilm-l6-v2
status=0
"$cargo" test --workspace --locked --no-fail-fast >"$log" 2>&1 || status=$?
grep -vE '^(running 0 tests|test result: ok. 0 passed.*|)$' "$log" || true
awk '/^test result:/ { passed += $4; failed += $6; skipped += $8 }
     END { printf "%d passed, %d failed, %d skipped\n", passed, failed, skipped }' "$log"
exit "$status"
