#!/bin/sh
# Builds the images fleetbal:latest and fleetbal-sample-backend:latest from this tree. Needs Docker, and what
# deploy/static.sh needs; FLEETBAL_STATIC and SAMPLE_BACKEND_STATIC name binaries that are built already.
set -eu
here=$(cd "$(dirname "$0")" && pwd)
fleetbal=${FLEETBAL_STATIC:-$("$here/../static.sh")}
backend=${SAMPLE_BACKEND_STATIC:-$("$here/../static.sh" sample-backend)}
stage=$(mktemp -d)
trap 'rm -rf "$stage"' EXIT
mkdir -p "$stage/root/var/lib" "$stage/root/run"
install -d -m 700 "$stage/root/var/lib/fleetbal" "$stage/root/run/fleetbal"
install -m 755 "$fleetbal" "$stage/fleetbal"
install -m 755 "$backend" "$stage/sample-backend"
docker build --quiet --tag fleetbal:latest --file "$here/Dockerfile" "$stage"
docker build --quiet --tag fleetbal-sample-backend:latest --file "$here/Dockerfile.backend" "$stage"
