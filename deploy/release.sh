#!/bin/sh
# Makes build/release/rankd-VERSION.tar.gz from the last commit, after it has checked that the commit is fit for release:
# nothing uncommitted, one version in every place, every test and linter passes, and the tarball comes out the same
# twice. Publishes nothing.
set -eu
cd "$(dirname "$0")/.."
build=${BUILD:-build}
version=$(cat clients/python/rankd/VERSION)
name=rankd-$version

fail() {
    echo "release: $*" >&2
    exit 1
}

[ -z "$(git status --porcelain)" ] || fail "the tree has changes that are not committed; commit or remove them"
grep -q "^## $version" CHANGELOG.md || fail "CHANGELOG.md has no section $version"
! git rev-parse -q --verify "refs/tags/v$version" >/dev/null || fail "tag v$version exists; raise clients/python/rankd/VERSION"

tarball() {
    # gzip -n leaves out name and time, so that equal commits give equal bytes.
    git archive --format=tar --prefix="$name/" HEAD | gzip -9n >"$1"
}
out=$build/release
rm -rf "$out"
mkdir -p "$out"
tarball "$out/$name.tar.gz"
tarball "$out/again.tar.gz"
cmp -s "$out/$name.tar.gz" "$out/again.tar.gz" || fail "two tarballs of one commit differ"
rm "$out/again.tar.gz"

# What is tested is the content of the tarball, not this folder.
tar -xzf "$out/$name.tar.gz" -C "$out"
(cd "$out/$name" && git init -q && git add -A && make lint && make check)
rm -rf "${out:?}/$name"
echo "$out/$name.tar.gz"
echo "next: git tag -s v$version, git push --tags, upload the tarball"
