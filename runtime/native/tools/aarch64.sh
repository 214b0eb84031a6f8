#!/usr/bin/env bash
# Build the native runtime for aarch64 Linux: aarch64.sh FOLDER [OPTION OF CMAKE...]. FOLDER/build holds the programs;
# FOLDER/cortex-a72 and FOLDER/cortex-a76 are what qemu-user runs them in (qemu-aarch64-static -cpu cortex-a72
# -L FOLDER/cortex-a72 PROGRAM). For Debian: packages that are missing are installed where it may, else named.
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
mkdir -p "$1"
folder=$(cd "$1" && pwd)
shift
root=$folder/root

"$here/install_packages.sh" "$here/../tests/apt-packages.txt" "building for aarch64"

# The static libraries of the other architecture, by lists of apt's own, so that those of this machine stay as they are.
if [ ! -e "$root/ready" ]; then
  apt=$folder/apt
  mkdir -p "$root" "$apt"/{lists/partial,cache/archives/partial,debs}
  : >"$apt/status"
  options=(-o APT::Architecture=arm64 -o APT::Architectures=arm64 -o Dir::State="$apt" -o Dir::State::Lists="$apt/lists"
    -o Dir::State::status="$apt/status" -o Dir::Cache="$apt/cache" -o Acquire::Languages=none -o APT::Sandbox::User=)
  apt-get "${options[@]}" update >&2
  (cd "$apt/debs" && apt-get "${options[@]}" download libpcre2-dev libutf8proc-dev >&2)
  for package in "$apt"/debs/*.deb; do dpkg-deb -x "$package" "$root"; done
  cp /usr/include/nlohmann "$root/usr/include/" -r
  touch "$root/ready"
fi
# onnxruntime reads the features of the processor there: it ends where they are those of another architecture, and where
# they promise what the processor has not.
emulate() {
  mkdir -p "$folder/$1/proc"
  ln -sfn /usr/aarch64-linux-gnu/lib "$folder/$1/lib"
  for core in 0 1; do
    printf 'processor\t: %d\nBogoMIPS\t: 108.00\nFeatures\t: %s\nCPU implementer\t: 0x41\n' $core "$3"
    printf 'CPU architecture: 8\nCPU variant\t: 0x0\nCPU part\t: %s\nCPU revision\t: 3\n\n' "$2"
  done >"$folder/$1/proc/cpuinfo"
}
features="fp asimd evtstrm aes pmull sha1 sha2 crc32 cpuid"
emulate cortex-a72 0xd08 "$features"
emulate cortex-a76 0xd0b "$features atomics fphp asimdhp asimdrdm lrcpc dcpop asimddp"
"$here/../build.sh" "$folder/build" -DCMAKE_TOOLCHAIN_FILE="$here/../cmake/aarch64.cmake" -DAARCH64_ROOT="$root" "$@"
