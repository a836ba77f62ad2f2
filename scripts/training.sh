#!/bin/sh
# The environment of the training scripts, made anew when its pinned requirements change: prints the path of its Python.
set -eu
cache=${XDG_CACHE_HOME:-$HOME/.cache}/tidegate
venv=$cache/training
if ! cmp -s training/requirements.txt "$venv/requirements.txt"; then
    rm -rf "$venv"
    "${PYTHON:-python3}" -m venv "$venv"
    "$venv/bin/python" -m pip install --quiet --disable-pip-version-check --only-binary :all: -r training/requirements.txt >&2
    cp training/requirements.txt "$venv/requirements.txt"
fi
echo "$venv/bin/python"
