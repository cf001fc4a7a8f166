# SPDX-License-Identifier: Apache-2.0
"""Every snippet and command of the README, and of the guide to training, does what it says."""
import json
import os
import re
import subprocess
import sys
from pathlib import Path
from urllib.parse import urlsplit

import pytest

import rankd

ROOT = Path(__file__).resolve().parents[2]
README = (ROOT / "README.md").read_text()
BLOCKS = re.findall(r"^```(\w+)\n(.*?)^```$", README, re.M | re.S)
GUIDE = re.findall(r"^```python\n(.*?)^```$", (ROOT / "docs/training.md").read_text(), re.M | re.S)
PYTHON = [text for language, text in BLOCKS if language == "python"]
SHELL = [text for language, text in BLOCKS if language == "sh"]


def run_python(text, daemon, path=ROOT / "clients/python"):
    environment = dict(os.environ, RANKD_URL=daemon.url, PYTHONPATH=str(path))
    done = subprocess.run([sys.executable, "-c", text], env=environment, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.parametrize("text", PYTHON + GUIDE, ids=[f"readme-{i}" for i in range(len(PYTHON))] +
                         [f"guide-{i}" for i in range(len(GUIDE))])
def test_each_python_snippet_runs(mortal, text):
    output, client = run_python(text, mortal), rankd.connect(mortal.url)
    for said in re.findall(r"^print\(.*# (.*)$", text, re.M):
        assert said in output
    for name in re.findall(r'banks\.create\("([^"]+)"', text):
        assert client.banks.get(name).items > 0


def test_each_shell_block_is_a_known_command(daemon):
    curls = 0
    for block in SHELL:
        for command in re.findall(r"^make (\w+)", block, re.M):
            subprocess.run(["make", "-n", command], cwd=ROOT, check=True, capture_output=True, timeout=60)
        if block.startswith("curl"):
            text = block.replace("localhost:8080", urlsplit(daemon.url).netloc)
            answer = json.loads(subprocess.run(["sh", "-c", text], check=True, capture_output=True, timeout=60).stdout)
            outputs = {entry["name"]: entry["data"] for entry in answer["outputs"]}
            assert outputs["loss"] == [0.5] and outputs["gradient"] == [0.25, -0.25, 0.25, -0.25]
            curls += 1
        else:
            assert re.match(r"make \w+|pip install", block), f"no test knows how to run: {block}"
    assert curls == 1 and len(PYTHON) >= 3


def test_the_docstring_of_the_package_is_right(daemon):
    code = "\n".join(line.strip() for line in rankd.__doc__.splitlines() if line.startswith("    "))
    code = re.sub(r'connect\(".*?"\)', "connect()", code)
    assert "0.5" in run_python(code + "\nprint(result.loss)", daemon)


def test_the_package_installs_with_pip(daemon, tmp_path):
    subprocess.run([sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--no-build-isolation",
                    "--disable-pip-version-check", "--target", tmp_path / "site", copy_of_package(tmp_path)],
                   check=True, capture_output=True, timeout=300)
    assert (tmp_path / "site/rankd/py.typed").exists() and (tmp_path / "site/rankd/torch/losses.py").exists()
    output = run_python("import rankd, rankd.torch; print(rankd.__file__, rankd.connect().metadata()['name'])", daemon,
                        tmp_path / "site")
    assert str(tmp_path) in output and output.split()[-1] == "rankd"


def copy_of_package(tmp_path):
    """pip builds in the source folder; the tests must leave no trace there."""
    import shutil

    return shutil.copytree(ROOT / "clients/python", tmp_path / "source", ignore=shutil.ignore_patterns("__pycache__"))


def test_each_figure_says_how_to_reproduce_it():
    table = README.split("## How fast", 1)[1].split("\n## ", 1)[0]
    rows = [line for line in table.splitlines() if line.startswith("| ") and not line.startswith("| case ")]
    targets = [re.search(r"\| `make (bench[\w-]*)` \|$", row) for row in rows]
    assert len(rows) > 5 and all(targets), rows
    for target in {found[1] for found in targets}:
        subprocess.run(["make", "-n", target], cwd=ROOT, check=True, capture_output=True, timeout=60)
