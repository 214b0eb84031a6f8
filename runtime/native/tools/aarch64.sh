#!/usr/bin/env bash
# Build the native runtime for aarch64 Linux: aarch64.sh FOLDER [OPTION OF CMAKE...]. FOLDER/root becomes what qemu-user
# runs it in (qemu-aarch64-static -L FOLDER/root PROGRAM), FOLDER/build holds the programs. For Debian: packages that are
# missing are installed where it may, else named.
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
  mkdir -p "$root/proc" "$apt"/{lists/partial,cache/archives/partial,debs}
  : >"$apt/status"
  options=(-o APT::Architecture=arm64 -o APT::Architectures=arm64 -o Dir::State="$apt" -o Dir::State::Lists="$apt/lists"
    -o Dir::State::status="$apt/status" -o Dir::Cache="$apt/cache" -o Acquire::Languages=none -o APT::Sandbox::User=)
  apt-get "${options[@]}" update >&2
  (cd "$apt/debs" && apt-get "${options[@]}" download libpcre2-dev libutf8proc-dev >&2)
  for package in "$apt"/debs/*.deb; do dpkg-deb -x "$package" "$root"; done
  cp /usr/include/nlohmann "$root/usr/include/" -r
  ln -sfn /usr/aarch64-linux-gnu/lib "$root/lib"
  # onnxruntime reads it while it starts and ends where it is that of another architecture.
  for core in 0 1; do
    printf 'processor\t: %d\nBogoMIPS\t: 108.00\nFeatures\t: fp asimd evtstrm aes crc32 atomics fphp asimdhp asimddp\n' $core
    printf 'CPU implementer\t: 0x41\nCPU architecture: 8\nCPU variant\t: 0x0\nCPU part\t: 0xd0b\nCPU revision\t: 3\n\n'
  done >"$root/proc/cpuinfo"
  touch "$root/ready"
fi
"$here/../build.sh" "$folder/build" -DCMAKE_TOOLCHAIN_FILE="$here/../cmake/aarch64.cmake" -DAARCH64_ROOT="$root" "$@"
