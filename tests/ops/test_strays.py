# SPDX-License-Identifier: Apache-2.0
"""The test runner counts a daemon that a test leaves behind as a failure, and ends it."""
import os
import shutil
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
BUILD = Path(os.environ.get("RANKD_BUILD", ROOT / "build")).resolve()


def run(folder, text, build):
    (folder / "test_one.py").write_text(text)
    return subprocess.run([sys.executable, ROOT / "tests/run.py", "--build", build, "--pytest", folder], cwd=ROOT,
                          capture_output=True, text=True, timeout=120)


def test_a_daemon_that_is_left_behind_is_a_failure(tmp_path):
    build, folder = tmp_path / "build", tmp_path / "tests"  # a build of its own: other tests run beside this one
    build.mkdir()
    folder.mkdir()
    shutil.copy(BUILD / "rankd", build)
    start = f"""
import subprocess
def test_it():
    daemon = subprocess.Popen([{str(build / 'rankd')!r}, "--http", "127.0.0.1:0"], stdout=subprocess.PIPE)
    assert daemon.stdout.readline()
"""
    done = run(folder, start, build)
    assert done.returncode == 1 and "FAILED: a daemon was left behind" in done.stdout and "1 passed, 1 failed" in done.stdout, done.stdout
    done = run(folder, start + "    daemon.terminate()\n    daemon.wait()\n", build)
    assert done.returncode == 0 and done.stdout.endswith("1 passed, 0 failed\n"), done.stdout
