# SPDX-License-Identifier: Apache-2.0
"""python -m rankd doctor looks whether the daemon that a client here would use is there."""
import os
import subprocess
import sys
from pathlib import Path

import pytest

CLIENT = Path(__file__).resolve().parents[2] / "clients/python"


def doctor(**variables):
    environment = {**os.environ, "PYTHONPATH": str(CLIENT), **variables}
    return subprocess.run([sys.executable, "-m", "rankd", "doctor"], env=environment, capture_output=True, text=True, timeout=60)


def test_a_daemon_that_answers_is_fine(daemon):
    done = doctor(RANKD_URL=daemon.url)
    line, = (line for line in done.stdout.splitlines() if "client uses" in line)
    assert line.startswith("ok") and f"{daemon.url} (RANKD_URL), rankd " in line
    assert "0 broken; the machine:" in done.stdout and done.returncode == 0, done.stdout


@pytest.mark.parametrize(("variables", "said"), [
    ({"RANKD_URL": "daemon"}, "daemon (RANKD_URL): url is 'daemon'; it must be http://HOST[:PORT]"),
    ({"RANKD_URL": "http://127.0.0.1:1"}, "http://127.0.0.1:1 (RANKD_URL): no connection to"),
    ({"RANKD_URL": "unix:/nowhere"}, "unix:/nowhere (RANKD_URL): no connection to"),
    ({"RANKD_URL": "", "RANKD_AUTOSTART": "2"}, "RANKD_AUTOSTART is '2'; it may be 0 or 1"),
], ids=str)
def test_a_daemon_that_is_not_there_is_a_fault(variables, said):
    done = doctor(**variables)
    line, = (line for line in done.stdout.splitlines() if line.startswith("FAIL") and said in line)
    assert "1 broken; the machine:" in done.stdout and done.returncode != 0, done.stdout
