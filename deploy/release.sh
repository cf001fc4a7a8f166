#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# Makes build/release/rankd-VERSION.tar.gz from the last commit, after it has checked that the
# commit is fit for release: nothing uncommitted, one version in every place, every test and linter
# passes, and the tarball comes out the same twice. Publishes nothing. RELEASE_CHECK: the command
# that tests the content of the tarball.
set -eu
cd "$(dirname "$0")/.."
build=${BUILD:-build}
check=${RELEASE_CHECK:-make lint && make check}
version=$(cat clients/python/rankd/VERSION)
name=rankd-$version

fail() {
    echo "release: $*" >&2
    exit 1
}

[ -z "$(git status --porcelain)" ] || fail "the tree has changes that are not committed; commit or remove them"
grep -qxF "## $version" CHANGELOG.md || fail "CHANGELOG.md has no section $version"
head -n 1 deploy/debian/changelog | grep -qF "rankd ($version) " || fail "deploy/debian/changelog does not begin with $version"
grep -qxF "  version: $version" proto/openapi.yaml || fail "proto/openapi.yaml is not of version $version"
! git rev-parse -q --verify "refs/tags/v$version" >/dev/null || fail "tag v$version exists; raise clients/python/rankd/VERSION"

tarball() {
    # gzip -n leaves out name and time, and the modes do not depend on the user's configuration, so
    # that equal commits give equal bytes.
    git -c tar.umask=0022 archive --format=tar --prefix="$name/" HEAD | gzip -9n >"$1"
}
out=$build/release
rm -rf "$out"
mkdir -p "$out"
tarball "$out/unchecked"
tarball "$out/again"
cmp -s "$out/unchecked" "$out/again" || fail "two tarballs of one commit differ"
rm "$out/again"

# The content of the tarball is tested, not this folder.
tar -xzf "$out/unchecked" -C "$out"
(cd "$out/$name" && git init -q && git add -A && sh -c "$check") || fail "the check failed: $check"
rm -rf "${out:?}/$name"
mv "$out/unchecked" "$out/$name.tar.gz"
echo "$out/$name.tar.gz"
echo "next: git tag -s v$version, git push --tags, upload the tarball"
