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
import ast
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
BUILD = Path(os.environ.get("RANKD_BUILD", ROOT / "build")).resolve()
PAGES = [ROOT / "docs/tutorial.md", ROOT / "docs/metrics.md", *sorted((ROOT / "docs/howto").glob("*.md"))]
RUN_ELSEWHERE = ["README.md", "docs/training.md"]  # tests/python/test_readme.py


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
        done = subprocess.run([sys.executable if language == "python" else "bash", script], cwd=tmp_path / "work",
                              env=environment, capture_output=True, text=True, timeout=300)
        assert done.returncode == 0, f"{page.name}, step {number}:\n{text}\n{done.stdout}\n{done.stderr}"


def sections(page):
    """(heading, Python) of each section of a page."""
    for section in re.split(r"^(?=## )", page.read_text(), flags=re.M):
        yield section.partition("\n")[0], "".join(re.findall(r"^```python\n(.*?)^```$", section, re.M | re.S))


def imported(tree):
    """Names that imports bind."""
    return {(alias.asname or alias.name).partition(".")[0] for node in ast.walk(tree)
            if isinstance(node, (ast.Import, ast.ImportFrom))
            for alias in node.names}


@pytest.mark.parametrize("page", [page for page in PAGES if page.stem != "tutorial"], ids=lambda p: p.stem)
def test_each_section_imports_what_it_uses(page):
    """A reader comes to the section of a host or of a question, and copies that. (The tutorial is
    read from the beginning.)"""
    whole = [(heading, ast.parse(code)) for heading, code in sections(page)]
    modules = set().union(*(imported(tree) for _, tree in whole))
    for heading, tree in whole:
        used = {node.id for node in ast.walk(tree) if isinstance(node, ast.Name)}
        assert used & modules <= imported(tree), f"{page.name}, {heading}: imports of another section are used"


@pytest.mark.parametrize(("heading", "code"), [each for page in ("stack", "migration")
                                               for each in sections(ROOT / f"docs/howto/{page}.md") if each[1]],
                         ids=lambda value: value[3:].replace(" ", "-") if value.startswith("## ") else "")
def test_each_section_for_a_host_is_a_whole_example(make_daemon, tmp_path, heading, code):
    daemon = make_daemon("--data", tmp_path / "data")
    environment = dict(os.environ, RANKD_URL=daemon.url, PYTHONPATH=str(ROOT / "clients/python"), OMP_NUM_THREADS="1")
    done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, env=environment, capture_output=True, text=True,
                          timeout=300)
    assert done.returncode == 0, f"{heading}:\n{code}\n{done.stderr}"


def test_every_page_with_blocks_is_run():
    for page in [ROOT / "README.md", *ROOT.glob("docs/**/*.md")]:
        if re.search(r"^```(sh|python)$", page.read_text(), re.M):
            assert page in PAGES or str(page.relative_to(ROOT)) in RUN_ELSEWHERE, page


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
