#!/usr/bin/env bash
# Make CEdgeLora.xcframework for ../swift: libedgelora as a static library for iOS devices and the simulator, without
# onnxruntime, which the app links. Needs Xcode and CMake: build_framework.sh FOLDER_OF_ONNXRUNTIME_HEADERS
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
headers=${1:?"give the folder of onnxruntime_c_api.h; node ../../tools/fetch_headers.mjs prints one"}
build=$here/../../../../build/apple
framework=$here/../swift/CEdgeLora.xcframework
libraries=()
for system in iphoneos iphonesimulator; do
  cmake -S "$here" -B "$build/$system" -G Xcode -DCMAKE_SYSTEM_NAME=iOS -DCMAKE_OSX_SYSROOT="$system" \
    -DCMAKE_OSX_ARCHITECTURES=arm64 -DCMAKE_OSX_DEPLOYMENT_TARGET=15.0 -DEDGELORA_ORT_INCLUDE="$headers"
  cmake --build "$build/$system" --config Release
  found=()
  while IFS= read -r -d '' library; do found+=("$library"); done \
    < <(find "$build/$system" -path '*Release*' -name '*.a' ! -name libedgelora_whole.a -print0)
  libtool -static -o "$build/$system/libedgelora_whole.a" "${found[@]}"
  libraries+=(-library "$build/$system/libedgelora_whole.a" -headers "$build/headers")
  mkdir -p "$build/headers"
  cp "$here/../../include/"*.h "$build/headers/"
  printf 'module CEdgeLora [system] {\n  header "edgelora.h"\n  export *\n}\n' >"$build/headers/module.modulemap"
done
rm -rf "$framework"
xcodebuild -create-xcframework "${libraries[@]}" -output "$framework"
echo "$framework"
