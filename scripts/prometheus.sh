#!/bin/sh
# usage: prometheus.sh. Prints the folder of prometheus and promtool: of those on the PATH, or of Debian's package, unpacked once into this user's
# cache without root. Fails with one line that says why where neither is to be had.
set -eu
# As Debian 12 has it; apt checks the signature of whatever version another release has.
version=2.42.0+ds-5+b6
checksum=3b0e0255b059a7696bd4a139a4a4eb24d71df067936a61ece5093559cbc7991c
cache=${XDG_CACHE_HOME:-$HOME/.cache}/tidegate/prometheus
fail() { echo "prometheus.sh: $1" >&2; exit 1; }

if command -v prometheus >/dev/null 2>&1 && command -v promtool >/dev/null 2>&1; then
    dirname "$(command -v prometheus)"
    exit
fi
if [ ! -x "$cache/usr/bin/promtool" ]; then
    command -v apt-get >/dev/null 2>&1 && command -v dpkg-deb >/dev/null 2>&1 ||
        fail "neither on the PATH nor, without apt-get and dpkg-deb, to be had as a Debian package"
    folder=$(mktemp -d)
    trap 'rm -rf "$folder"' EXIT
    (cd "$folder" && { apt-get -qq download "prometheus=$version" || apt-get -qq download prometheus; }) >/dev/null 2>&1 ||
        fail "the Debian package cannot be downloaded (no network, or no package lists: apt-get update)"
    package=$(echo "$folder"/*.deb)
    case $package in
    *"_2.42.0+ds-5+b6_amd64.deb") echo "$checksum  $package" | sha256sum --check --quiet >&2 || fail "the package is another one than expected" ;;
    *) echo "prometheus.sh: $(basename "$package") instead of $version" >&2 ;;
    esac
    mkdir -p "$(dirname "$cache")"
    dpkg-deb -x "$package" "$folder/unpacked"
    rm -rf "$cache"
    mv "$folder/unpacked" "$cache"
fi
echo "$cache/usr/bin"
