# SPDX-License-Identifier: Apache-2.0
"""Every command and snippet of the documentation, as it stands on the page, in the order of the
page.

Blocks marked `sh` run in one bash, blocks marked `python` of a page in one interpreter; a page
whose kinds alternate keeps state between its Python blocks by running all of them up to the current
one's end in one process at the first. Blocks marked `sh deploy` need root or a container engine:
`make check-deploy` runs them as they stand. Those marked `sh wheel` build and install the wheel:
`make check-wheel` does so. Those marked `sh gpu` need a device and `sh registry` images from a
registry; no test runs these.
"""
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
BUILD = Path(os.environ.get("RANKD_BUILD", ROOT / "build")).resolve()
PAGES = [ROOT / "docs/tutorial.md", *sorted((ROOT / "docs/howto").glob("*.md"))]


def steps(page):
    """[(language, text)]. Neighbouring Python blocks are joined, also across shell blocks that only
    read."""
    found = re.findall(r"^```(sh|python)\n(.*?)^```$", page.read_text(), re.M | re.S)
    joined = []
    for language, text in found:
        if joined and joined[-1][0] == language == "python":
            joined[-1] = (language, joined[-1][1] + text)
        else:
            joined.append((language, text))
    return joined


@pytest.mark.parametrize("page", PAGES, ids=lambda p: p.stem)
def test_what_the_page_says_works(make_daemon, tmp_path, page):
    daemon = make_daemon("--data", tmp_path / "data")
    environment = dict(os.environ, RANKD_URL=daemon.url, PATH=f"{BUILD}:{os.environ['PATH']}",
                       PYTHONPATH=str(ROOT / "clients/python"), OMP_NUM_THREADS="1",
                       PET_REDIRECTS="9:0", PET_TEE="9:0")  # Debian's torchrun fails on its own defaults of these
    (tmp_path / "work").mkdir()
    assert steps(page)
    for number, (language, text) in enumerate(steps(page)):
        script = tmp_path / f"step{number}.{'py' if language == 'python' else 'sh'}"
        script.write_text(text if language == "python" else "set -eu\n" + text)
        done = subprocess.run([sys.executable if language == "python" else "bash", script], cwd=tmp_path / "work", env=environment,
                              capture_output=True, text=True, timeout=300)
        assert done.returncode == 0, f"{page.name}, step {number}:\n{text}\n{done.stdout}\n{done.stderr}"


def test_every_block_is_of_a_kind_and_those_marked_deploy_are_run_there():
    runs = "".join(path.read_text() for path in (ROOT / "tests/deploy").glob("*.py"))
    begins = re.findall(r'documented\("([^"]+)"\)', runs)
    for page in [ROOT / "README.md", *ROOT.glob("docs/**/*.md")]:
        for mark, text in re.findall(r"^```([^\n]*)\n(.*?)^```$", page.read_text(), re.M | re.S):
            if page.name == "adding-a-loss.md" and mark.startswith("c "):
                continue  # tests/seams writes them into a copy of the tree
            assert mark in ("sh", "python", "sh deploy", "sh gpu", "sh registry", "sh wheel"), f"{page.name}: ```{mark}"
            if mark == "sh deploy":
                assert page.name == "deployment.md" and any(text.startswith(b) for b in begins), f"nobody runs this:\n{text}"


def test_links_lead_somewhere():
    for page in [ROOT / "README.md", *ROOT.glob("docs/**/*.md")]:
        for target in re.findall(r"\]\(([^)#]+)(?:#[^)]*)?\)", page.read_text()):
            if "://" not in target:
                assert (page.parent / target).exists(), f"{page.name}: {target}"


def test_every_page_is_found_from_the_first_one():
    index = (ROOT / "docs/README.md").read_text()
    for page in ROOT.glob("docs/**/*.md"):
        name = str(page.relative_to(ROOT / "docs"))
        assert name == "README.md" or name in index, name


def test_every_variable_of_the_python_package_is_on_its_page():
    page = (ROOT / "docs/reference/environment.md").read_text()
    for path in (ROOT / "clients/python/rankd").glob("*.py"):
        for name in set(re.findall(r"RANKD_[A-Z_]*[A-Z]", path.read_text())):
            assert f"`{name}`" in page, f"{path.name} reads {name}"
