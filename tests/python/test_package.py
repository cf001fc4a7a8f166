# SPDX-License-Identifier: Apache-2.0
"""What the Python package is made of."""
import re
import subprocess
import sys
from pathlib import Path

PACKAGE = Path(__file__).resolve().parents[2] / "clients" / "python"


def test_the_wheel_has_every_folder_of_the_package():
    named = re.search(r"^packages = (\[[^\]]*\])", (PACKAGE / "pyproject.toml").read_text(), re.M)[1]
    there = {str(init.parent.relative_to(PACKAGE)).replace("/", ".") for init in PACKAGE.glob("rankd/**/__init__.py")}
    assert set(re.findall(r'"([^"]+)"', named)) == there


def test_an_objective_for_trees_needs_numpy_alone():
    code = ("import rankd.integrations.boosting, sys; "
            "print(sorted({'torch', 'jax', 'lightgbm', 'pytorch_metric_learning'} & set(sys.modules)))")
    done = subprocess.run([sys.executable, "-c", code], env={"PYTHONPATH": str(PACKAGE)}, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
