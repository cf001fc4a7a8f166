# SPDX-License-Identifier: Apache-2.0
"""A copy of the source tree that a test may change and build, to prove that an addition needs only
the documented places."""
import os
import re
import shutil
import subprocess
from pathlib import Path
from unittest import mock

import conftest
import own_make

ROOT = Path(__file__).resolve().parents[2]


def source_files():
    """Paths from ROOT: the files that git tracks or would add; in a tree without git, everything
    except builds."""
    found = subprocess.run(["git", "ls-files", "-co", "--exclude-standard", "-z"], cwd=ROOT, capture_output=True)
    if found.returncode == 0:
        names = (name for name in found.stdout.decode().split("\0") if name)
    else:
        names = (str(path.relative_to(ROOT)) for path in ROOT.rglob("*")
                 if not path.relative_to(ROOT).parts[0].startswith("build"))
    return [name for name in names if (ROOT / name).is_file()]


class Tree:
    """The copy is in `folder`, its build in `build`. Little optimization keeps the build short."""

    def __init__(self, folder):
        self.folder, self.build = Path(folder), Path(folder) / "build"
        for name in source_files():
            if not name.startswith(("tests/data", "tests/fuzz", "docs/images")):
                (self.folder / name).parent.mkdir(parents=True, exist_ok=True)
                shutil.copy(ROOT / name, self.folder / name)

    def add(self, name, text):
        """Adds a new file, or rows at the end of a table."""
        path = self.folder / name
        if not path.exists():
            path.write_text(text)
            return
        table = path.read_text()
        end = re.search(r"^#undef", table, re.M)
        at = end.start() if end else len(table)
        path.write_text(table[:at] + text + table[at:])

    def make(self, *targets):
        cache = "ccache " if shutil.which("ccache") else ""
        done = subprocess.run(["make", "-j2", f"CC={cache}gcc", f"CXX={cache}g++", "CFLAGS=-O1", "CXXFLAGS=-O0", *targets],
                              cwd=self.folder, env=own_make.environment(CCACHE_NOHASHDIR="1"), capture_output=True, text=True,
                              timeout=900)
        assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-6000:]

    def run(self, *command, **more):
        """Runs a command in the copy, with its Python package and its library. Returns its
        output."""
        environment = dict(os.environ, RANKD_BUILD=str(self.build), PYTHONPATH=str(self.folder / "clients/python"))
        environment.pop("RANKD_LIBRARY", None)  # of another build
        done = subprocess.run([str(c) for c in command], cwd=self.folder, env=environment, capture_output=True, text=True,
                              timeout=120, **more)
        assert done.returncode == 0, f"{command}: {done.stdout}\n{done.stderr}"
        return done.stdout

    def read(self, name):
        return (self.folder / name).read_text()

    def daemon(self, folder, *flags):
        """The daemon of the copy."""
        folder.mkdir()
        with mock.patch.object(conftest, "BUILD", self.build):
            return conftest.Daemon(folder, *flags)


def blocks(page):
    """[(file, text)] of a page's blocks that are marked with the file that they belong to."""
    return re.findall(r"^```c (\S+)\n(.*?)^```$", (ROOT / page).read_text(), re.M | re.S)
