#!/usr/bin/env bash
# Build the native runtime: build.sh [FOLDER] [OPTION OF CMAKE...]; FOLDER is build/native where it is left out.
# EDGELORA_TARGET of the environment names one thing to build instead of all.
# Installs missing Debian packages where it may, else says which; fetches onnxruntime's headers once.
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
folder=${1:-$here/../../build/native}
shift || true

fail() { echo "edgelora: $1" >&2; exit 2; }

"$here/tools/install_packages.sh" "$here/apt-packages.txt" "the native runtime"

headers=${EDGELORA_ORT_INCLUDE:-}
if [ -z "$headers" ]; then
  command -v node >/dev/null || fail \
    "fetching onnxruntime's headers needs Node 20; install it, or set EDGELORA_ORT_INCLUDE to their folder"
  headers=$(node "$here/tools/fetch_headers.mjs")
fi
cmake -S "$here" -B "$folder" -G Ninja -DEDGELORA_ORT_INCLUDE="$headers" "$@" >&2
cmake --build "$folder" ${EDGELORA_TARGET:+--target "$EDGELORA_TARGET"} >&2
