# SPDX-License-Identifier: Apache-2.0
"""Every source names its licence, and packages name the licences of their contents."""
import os
import re
import subprocess
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
BUILD = Path(os.environ.get("RANKD_BUILD", ROOT / "build")).resolve()
LINE = "SPDX-License-Identifier: Apache-2.0"
SOURCES = re.compile(r"\.(c|h|cc|cu|cuh|def|map|py|sh|mk|html)$|(^|/)(Makefile|[\w.]*Dockerfile)$|^deploy/debian/rules$")


def sources():
    """The files of git that people write: no test data, no empty files, no files that `make`
    generates from a table."""
    names = subprocess.run(["git", "-c", "safe.directory=*", "ls-files"], cwd=ROOT, capture_output=True, text=True,
                           check=True).stdout.split("\n")
    written = [n for n in names if SOURCES.search(n) and not n.startswith("tests/data/") and (ROOT / n).is_file()]
    return [n for n in written if (text := (ROOT / n).read_text()) and "Written by `make" not in text.split("\n")[0]]


def test_every_source_names_its_licence():
    assert len(sources()) > 500
    # On the first line, or on the second if the first is an interpreter line.
    without = [n for n in sources() if not any(LINE in line for line in (ROOT / n).read_text().split("\n")[:2])]
    assert not without, f"without `{LINE}`: {without}"


def test_the_licence_is_the_one_that_is_named():
    assert "Apache License\n                           Version 2.0" in (ROOT / "LICENSE").read_text()
    assert 'license = {text = "Apache-2.0"}' in (ROOT / "clients/python/pyproject.toml").read_text()
    assert "\nLicense: Apache-2.0\n" in (ROOT / "deploy/debian/copyright").read_text()


def test_a_library_that_is_linked_statically_is_named_wherever_it_is_handed_out():
    static = re.findall(r"-print-file-name=(lib\w+)\.a", (ROOT / "Makefile").read_text())
    assert static
    for name in static:
        for path in ("NOTICE", "deploy/debian/copyright", "deploy/debian/rules", "deploy/docker/rootfs.sh"):
            assert name in (ROOT / path).read_text(), f"{path} does not name {name}"
    assert "Built-Using: ${static:Built-Using}" in (ROOT / "deploy/debian/control").read_text()


def test_the_container_s_file_system_holds_a_notice_for_each_library_in_it(tmp_path):
    subprocess.run([ROOT / "deploy/docker/rootfs.sh", BUILD / "rankd", BUILD / "rankctl", tmp_path / "root"], check=True,
                   timeout=120)
    documents = tmp_path / "root/usr/share/doc"
    packages = {path.name for path in (tmp_path / "root/var/lib/dpkg/status.d").iterdir()}
    assert len(packages) > 10
    for package in packages | {"libmicrohttpd-dev"}:
        assert (documents / package / "copyright").stat().st_size > 100
    for name in ("LICENSE", "NOTICE"):
        assert (documents / "rankd" / name).read_text() == (ROOT / name).read_text()
