#!/bin/sh
# Builds fleetbal as one static, stripped file that runs on any Linux of this architecture, and prints where it is.
# Needs Rust and a C compiler with the static C library (Debian: build-essential; Fedora: gcc, glibc-static).
#   deploy/static.sh              as released
#   deploy/static.sh --profile P  with another profile of Cargo.toml
set -eu
cd "$(dirname "$0")/.."
profile=dist
[ "${1:-}" != --profile ] || profile=$2
target=$(rustc -vV | sed -n 's/^host: //p')
# With a target of its own, the flag is for the binary alone, not for what the compiler loads while it builds.
RUSTFLAGS="${RUSTFLAGS:-} -C target-feature=+crt-static" \
    cargo build --quiet --locked -p fleetbal --bin fleetbal --target "$target" --profile "$profile"
[ "$profile" != dev ] || profile=debug
echo "${CARGO_TARGET_DIR:-$PWD/target}/$target/$profile/fleetbal"
