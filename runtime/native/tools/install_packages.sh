#!/usr/bin/env bash
# Install the missing Debian packages of a list, where it may, else say which: install_packages.sh LIST WHAT_NEEDS_THEM
# A line has a package, and behind it a program that may stand for it, however it came here.
set -euo pipefail
command -v dpkg >/dev/null || exit 0

missing=()
while read -r name program; do
  [ -z "$name" ] || { [ -n "$program" ] && command -v "$program" >/dev/null; } || dpkg -s "$name" >/dev/null 2>&1 \
    || missing+=("$name")
done <"$1"
[ ${#missing[@]} -gt 0 ] || exit 0

fail() { echo "edgelora: $1" >&2; exit 2; }
install=(apt-get -o DPkg::Lock::Timeout=600 install -y --no-install-recommends "${missing[@]}")
[ "$(id -u)" = 0 ] || fail "$2 needs ${missing[*]}; run: sudo ${install[*]}"
apt-get update >&2 && "${install[@]}" >&2 || fail "could not install ${missing[*]}; run: ${install[*]}"
