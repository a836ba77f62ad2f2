#!/bin/sh
# Says in one sentence what is missing on this machine, before anything is built.
set -eu
missing=
need() { command -v "$1" >/dev/null 2>&1 || missing="${missing:+$missing, }$2"; }
need "${CARGO:-cargo}" "a Rust toolchain (https://rustup.rs)"
command -v "${CXX:-c++}" >/dev/null 2>&1 || command -v g++ >/dev/null 2>&1 || command -v clang++ >/dev/null 2>&1 ||
    missing="${missing:+$missing, }a C++ compiler (Debian: g++)"
need "${PYTHON:-python3}" "Python 3 (Debian: python3)"
if command -v "${PYTHON:-python3}" >/dev/null 2>&1; then
    "${PYTHON:-python3}" -m pip --version >/dev/null 2>&1 || missing="${missing:+$missing, }pip (Debian: python3-pip)"
    "${PYTHON:-python3}" -c 'import venv, ensurepip' >/dev/null 2>&1 ||
        missing="${missing:+$missing, }the venv module (Debian: python3-venv)"
fi
[ -z "$missing" ] || { echo "tidegate: this machine lacks $missing; nothing was built." >&2; exit 1; }
