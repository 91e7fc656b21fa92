#!/bin/sh
# Builds the Debian package, and prints where it is. Needs cargo-deb (`cargo install cargo-deb`) beside what
# deploy/static.sh needs; FLEETBAL_STATIC names a static binary that is there already. Arguments go to cargo-deb.
set -eu
cd "$(dirname "$0")/../.."
binary=${FLEETBAL_STATIC:-$(deploy/static.sh)}
stage=target/package
rm -rf "$stage"
mkdir -p "$stage/completions"
install -m 755 "$binary" "$stage/fleetbal"
"$binary" man --dir "$stage/man"
gzip -9n "$stage"/man/*
for shell in bash zsh fish; do
    "$binary" completions "$shell" > "$stage/completions/$shell"
done
cargo deb --quiet --no-build --no-strip --package fleetbal --output "$stage/" "$@" >&2
ls "$PWD/$stage"/*.deb
