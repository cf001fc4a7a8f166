# SPDX-License-Identifier: Apache-2.0
"""The parts of the Python package."""
import re
import subprocess
import sys
from pathlib import Path

PACKAGE = Path(__file__).resolve().parents[2] / "clients" / "python"


def load(library, code="import rankd.librankd"):
    env = {"PYTHONPATH": str(PACKAGE), "RANKD_LIBRARY": str(library)}
    return subprocess.run([sys.executable, "-c", code], env=env, capture_output=True, text=True).stderr


def functions_before(version):
    """The functions of librankd before `version` added some."""
    nodes = (PACKAGE.parent / "c" / "librankd.map").read_text().split(f"{version} {{")[0]
    return re.findall(r"^ +(rankd_\w+);", nodes, re.M)


def compile_library(folder, source):
    library = folder / "librankd.so.0"
    subprocess.run(["gcc", "-shared", "-fPIC", "-x", "c", "-", "-o", library], input=source, text=True, check=True)
    return library


def test_an_older_library_is_refused_with_its_path_its_version_and_the_one_that_is_needed(tmp_path):
    old = functions_before("RANKD_0_2")
    source = "".join(f"void {name}(void) {{}}\n" for name in old if name != "rankd_version")
    library = compile_library(tmp_path, source + 'const char *rankd_version(void) { return "0.1.9"; }\n')
    needed = (PACKAGE / "rankd/VERSION").read_text().strip()
    said = re.fullmatch(rf"ImportError: librankd at {re.escape(str(library))} is version 0\.1\.9, without (rankd_\w+)\(\); this "
                        r"package "
                        rf"needs {re.escape(needed)} or later: update the library, or name another one in RANKD_LIBRARY",
                        load(library).splitlines()[-1])
    assert said and said[1] not in old
    connected = load(library, "import rankd; rankd.connect('unix:/nowhere')").splitlines()[-1]
    assert "which this installation of rankd lacks: librankd at" in connected and "update the library" in connected


def test_a_library_that_is_not_librankd_is_refused(tmp_path):
    library = compile_library(tmp_path, "int x;\n")
    assert f"ImportError: {library} is not librankd: it has no function rankd_version" in load(library)


def test_the_wheel_has_every_folder_of_the_package():
    named = re.search(r"^packages = (\[[^\]]*\])", (PACKAGE / "pyproject.toml").read_text(), re.M)[1]
    there = {str(init.parent.relative_to(PACKAGE)).replace("/", ".") for init in PACKAGE.glob("rankd/**/__init__.py")}
    assert set(re.findall(r'"([^"]+)"', named)) == there


def test_an_objective_for_trees_needs_numpy_alone():
    code = ("import rankd.integrations.boosting, sys; "
            "print(sorted({'torch', 'jax', 'lightgbm', 'pytorch_metric_learning'} & set(sys.modules)))")
    done = subprocess.run([sys.executable, "-c", code], env={"PYTHONPATH": str(PACKAGE)}, capture_output=True, text=True,
                          check=True)
    assert done.stdout.strip() == "[]"
