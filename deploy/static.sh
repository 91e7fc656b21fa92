#!/bin/sh
# Builds a static, stripped binary that runs on any Linux of this architecture, and prints where it is.
# Needs Rust and a C compiler with the static C library (Debian: build-essential; Fedora: gcc, glibc-static).
#   deploy/static.sh                 fleetbal, as released
#   deploy/static.sh sample-backend  the web server of the samples
set -eu
cd "$(dirname "$0")/.."
binary=${1:-fleetbal}
target=$(rustc -vV | sed -n 's/^host: //p')
case $binary in
    fleetbal) package=fleetbal ;;
    sample-backend) package=fleetbal-cluster-tests ;;
    *) echo "there is no binary '$binary'" >&2; exit 2 ;;
esac
# With a target of its own, the flags are for the binary alone, not for what the compiler loads while it builds. A static
# binary does not find the C library's getrandom() by name while it runs, and would want /dev/urandom instead.
RUSTFLAGS="${RUSTFLAGS:-} -C target-feature=+crt-static --cfg getrandom_backend=\"linux_getrandom\"" \
    cargo build --quiet --locked -p "$package" --bin "$binary" --target "$target" --profile dist
echo "${CARGO_TARGET_DIR:-$PWD/target}/$target/dist/$binary"
