#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# Installs the missing Debian packages for the named purposes, and names them once.
#   deploy/deps.sh build test lint demo
set -eu
build="gcc g++ libc6-dev make pkg-config libmicrohttpd-dev libjansson-dev liburing-dev zlib1g-dev libgnutls28-dev libcurl4-gnutls-dev libxxhash-dev libinih-dev libhiredis-dev"
test="libcmocka-dev libboost-context-dev libopenblas-dev python3 python3-yaml python3-venv python3-pip python3-pytest python3-numpy python3-torch python3-torchvision python3-sklearn python3-pil dataset-fashion-mnist curl haproxy openssl strace procps prometheus systemd groff-base redis-server"
lint="clang clang-format clang-tidy cppcheck"
deploy="docker.io docker-compose iptables nftables mmdebstrap iproute2 chromium lintian debhelper dpkg-dev"
bench="libopenblas-dev libsimdjson-dev libfast-float-dev python3-numpy"
demo="python3 python3-numpy python3-torch python3-sklearn python3-matplotlib curl"
wheel="python3 python3-venv binutils"
recipes="python3 python3-venv python3-pip python3-numpy python3-torch python3-sklearn python3-scipy python3-pil python3-matplotlib dataset-fashion-mnist"
want=""
for purpose in "$@"; do
    case "$purpose" in
    build) want="$want $build" ;;
    test) want="$want $test" ;;
    lint) want="$want $lint" ;;
    wheel) want="$want $wheel" ;;
    recipes) want="$want $recipes" ;;
    bench) want="$want $bench" ;;
    demo) want="$want $demo" ;;
    deploy) want="$want $deploy" ;;
    *) echo "deps.sh: '$purpose' is not a purpose; build, test, lint, demo, deploy, wheel, bench and recipes are" >&2; exit 2 ;;
    esac
done
missing=""
for package in $want; do
    state=$(dpkg-query -W -f '${db:Status-Status}' "$package" 2>/dev/null || true)
    [ "$state" = installed ] || missing="$missing $package"
done
[ -n "$missing" ] || exit 0
echo "installing from Debian's packages:$missing" | fold -s -w 100
sudo=""
[ "$(id -u)" = 0 ] || sudo=sudo
export DEBIAN_FRONTEND=noninteractive
log=$(mktemp)
if ! { $sudo apt-get update && $sudo apt-get install -y --no-install-recommends $missing; } >"$log" 2>&1; then
    cat "$log" >&2
    echo "deps.sh: apt-get failed; its output is above" >&2
    exit 1
fi
rm -f "$log"
