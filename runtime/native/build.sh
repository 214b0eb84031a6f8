#!/usr/bin/env bash
# Build the native runtime: build.sh [FOLDER] [OPTION OF CMAKE...]; FOLDER is build/native where it is left out.
# Installs missing Debian packages where it may, else says which; fetches onnxruntime's headers once.
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
folder=${1:-$here/../../build/native}
shift || true

fail() { echo "edgelora: $1" >&2; exit 2; }

if command -v dpkg >/dev/null; then
  missing=()
  while read -r name; do
    [ -z "$name" ] || dpkg -s "$name" >/dev/null 2>&1 || missing+=("$name")
  done <"$here/apt-packages.txt"
  if [ ${#missing[@]} -gt 0 ]; then
    install=(apt-get install -y --no-install-recommends "${missing[@]}")
    [ "$(id -u)" = 0 ] || fail "the native runtime needs ${missing[*]}; run: sudo ${install[*]}"
    apt-get update >&2 && "${install[@]}" >&2 || fail "could not install ${missing[*]}; run: ${install[*]}"
  fi
fi

headers=${EDGELORA_ORT_INCLUDE:-}
if [ -z "$headers" ]; then
  command -v node >/dev/null || fail \
    "fetching onnxruntime's headers needs Node 20; install it, or set EDGELORA_ORT_INCLUDE to their folder"
  headers=$(node "$here/tools/fetch_headers.mjs")
fi
cmake -S "$here" -B "$folder" -G Ninja -DEDGELORA_ORT_INCLUDE="$headers" "$@" >&2
cmake --build "$folder" >&2
