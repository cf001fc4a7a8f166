# SPDX-License-Identifier: Apache-2.0
"""deploy/release.sh in a scratch clone: its refusals and its output. The tests and linters that it
runs are left out here, because they would run this test."""
import os
import shutil
import subprocess
import tarfile
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
VERSION = (ROOT / "clients/python/rankd/VERSION").read_text().strip()
# An author for commits, and no configuration of the user.
ENVIRONMENT = {"PATH": os.environ["PATH"], "HOME": "/nonexistent", "GIT_CONFIG_NOSYSTEM": "1", "GIT_AUTHOR_NAME": "a",
               "GIT_AUTHOR_EMAIL": "a@b", "GIT_COMMITTER_NAME": "a", "GIT_COMMITTER_EMAIL": "a@b"}


def git(folder, *arguments):
    done = subprocess.run(["git", *arguments], cwd=folder, env=ENVIRONMENT, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def origin(tmp_path_factory):
    """A repository with one commit of the files as they are here."""
    folder = tmp_path_factory.mktemp("origin")
    for name in git(ROOT, "-c", "safe.directory=*", "ls-files", "-z").split("\0"):
        if name and (ROOT / name).is_file():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(ROOT / name, folder / name)
    git(folder, "init", "-q")
    commit(folder)
    return folder


@pytest.fixture
def clone(origin, tmp_path):
    git(tmp_path, "clone", "-q", str(origin), str(tmp_path / "clone"))
    return tmp_path / "clone"


def commit(folder):
    git(folder, "add", "-A")
    git(folder, "commit", "-q", "-m", "all of it")


def release(folder, check="true", **more):
    return subprocess.run(["make", "-s", "--no-print-directory", "release"], cwd=folder,
                          env={**ENVIRONMENT, "RELEASE_CHECK": check, **more}, capture_output=True, text=True, timeout=300)


def refused(folder, sentence, **more):
    done = release(folder, **more)
    assert done.returncode != 0 and f"release: {sentence}" in done.stderr, done.stdout + done.stderr
    assert not list(folder.glob("build/release/*.tar.gz"))


def replace(path, old, new):
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new, 1))


def test_a_dirty_tree_is_refused(clone):
    (clone / "left-over").write_text("")
    refused(clone, "the tree has changes that are not committed")
    (clone / "left-over").unlink()
    replace(clone / "README.md", "rankd", "ranked")
    refused(clone, "the tree has changes that are not committed")


@pytest.mark.parametrize("name, old, new, sentence", [
    ("CHANGELOG.md", f"## {VERSION}\n", f"## {VERSION}1\n", f"CHANGELOG.md has no section {VERSION}"),
    ("deploy/debian/changelog", f"rankd ({VERSION}) ", f"rankd ({VERSION}1) ", "deploy/debian/changelog does not begin with "
                                                                               f"{VERSION}"),
    ("proto/openapi.yaml", f"  version: {VERSION}\n", f"  version: {VERSION}1\n", "proto/openapi.yaml is not of version "
                                                                                  f"{VERSION}"),
])
def test_a_version_that_is_not_in_every_place_is_refused(clone, name, old, new, sentence):
    replace(clone / name, old, new)
    commit(clone)
    refused(clone, sentence)


def test_a_tag_that_exists_is_refused(clone):
    git(clone, "tag", f"v{VERSION}")
    refused(clone, f"tag v{VERSION} exists")


def test_a_commit_that_fails_its_check_leaves_no_tarball(clone):
    refused(clone, "the check failed: false", check="false")


def test_the_tarball_holds_the_commit_and_its_content_is_what_was_checked(clone, tmp_path):
    done = release(clone, check=f"git ls-files > {tmp_path}/checked && pwd > {tmp_path}/where")
    assert done.returncode == 0, done.stderr
    names = git(clone, "ls-files").splitlines()
    assert (tmp_path / "checked").read_text().splitlines() == names
    assert (tmp_path / "where").read_text().strip() == str(clone / f"build/release/rankd-{VERSION}")
    path = clone / f"build/release/rankd-{VERSION}.tar.gz"
    assert str(path.relative_to(clone)) in done.stdout and os.listdir(path.parent) == [path.name]
    with tarfile.open(path) as tarball:
        assert sorted(m.name for m in tarball if not m.isdir()) == sorted(f"rankd-{VERSION}/{name}" for name in names)


def test_the_tarball_is_the_same_whoever_makes_it(clone, tmp_path):
    other = tmp_path / "other"
    git(tmp_path, "clone", "-q", str(clone), str(other))
    git(other, "config", "tar.umask", "0077")
    done = [release(folder, TZ=zone) for folder, zone in ((clone, "UTC"), (other, "Asia/Tokyo"))]
    assert all(d.returncode == 0 for d in done)
    assert len({(folder / f"build/release/rankd-{VERSION}.tar.gz").read_bytes() for folder in (clone, other)}) == 1
