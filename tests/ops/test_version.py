# SPDX-License-Identifier: Apache-2.0
"""One version in every place that states it. The source is clients/python/rankd/VERSION."""
import os
import re
import subprocess
from pathlib import Path

import yaml

import rankd

ROOT = Path(__file__).resolve().parents[2]
BUILD = Path(os.environ.get("RANKD_BUILD", ROOT / "build")).resolve()
VERSION = (ROOT / "clients/python/rankd/VERSION").read_text().strip()


def test_programs_and_the_python_package_state_it():
    for program in ("rankd", "rankctl"):
        done = subprocess.run([BUILD / program, "--version"], capture_output=True, text=True, check=True)
        assert done.stdout == f"{program} {VERSION}\n"
    assert rankd.__version__ == VERSION
    assert (BUILD / f"librankd.so.{VERSION}").exists()


def test_documents_and_packages_state_it():
    assert yaml.safe_load((ROOT / "proto/openapi.yaml").read_text())["info"]["version"] == VERSION
    assert re.match(r"rankd \(([^)]+)\)", (ROOT / "deploy/debian/changelog").read_text()).group(1) == VERSION
    newest = re.search(r"^## (\d+\.\d+\.\d+)", (ROOT / "CHANGELOG.md").read_text(), re.M).group(1)
    assert newest == VERSION
