#!/bin/sh
# usage: wheel.sh FOLDER REQUIREMENTS. Installs pinned wheels into a folder of their own; nothing is installed globally.
set -eu
mkdir -p "$1"
"${PYTHON:-python3}" -m pip install --quiet --disable-pip-version-check --root-user-action ignore --no-deps --only-binary :all: --require-hashes \
    --upgrade --target "$1" -r "$2"
