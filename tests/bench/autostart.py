#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Time from the end of `import rankd` to the first loss, in new processes: with a start of the
daemon, and with a running one.

    autostart.py WHEEL [RUNS]       installs the wheel in a venv of its own (numpy comes from the
                                    system)

Beside them, the import itself and the second loss of the process. Our goals are 300 ms with a start
and 30 ms without.
"""
import os
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

CODE = """
import time
begun = time.perf_counter()
import rankd
imported = time.perf_counter()
client = rankd.connect()
ask = lambda: client.loss("ap", [[0.9, 0.8, 0.7, 0.6]], [[0, 1, 0, 1]], margin=0.0)
ask()
first = time.perf_counter()
ask()
print(*(1e3 * s for s in (first - imported, imported - begun, time.perf_counter() - first)))
"""


def row(name, values, goal=""):
    values = sorted(values)
    print(f"{name:34s} {values[0]:8.1f} {statistics.median(values):8.1f} {values[-1]:8.1f}  {goal}")


def main():
    wheel, runs = sys.argv[1], int(sys.argv[2]) if len(sys.argv) > 2 else 15
    with tempfile.TemporaryDirectory() as folder:
        venv = Path(folder, "venv")
        subprocess.run(["/usr/bin/python3", "-m", "venv", "--system-site-packages", "--without-pip", venv], check=True)
        subprocess.run(["/usr/bin/python3", "-m", "pip", "--python", venv / "bin/python", "install", "--quiet", "--no-index",
                        "--disable-pip-version-check", wheel], check=True)
        (Path(folder) / "run").mkdir(0o700)
        environment = {"PATH": os.environ["PATH"], "HOME": folder, "XDG_RUNTIME_DIR": f"{folder}/run",
                       "RANKD_SYSTEM_SOCKET": f"{folder}/none"}

        def python(*arguments):
            return subprocess.run([venv / "bin/python", *arguments], env=environment, capture_output=True, text=True,
                                  check=True).stdout

        def first_losses(before):
            for _ in range(runs):
                before()
                yield [float(word) for word in python("-c", CODE).split()]

        started = list(first_losses(lambda: python("-m", "rankd", "stop")))
        there = list(first_losses(lambda: None))
        python("-m", "rankd", "stop")
    print(f"ms, {runs} processes each               least   median     most")
    row("first loss, the daemon is started", [one[0] for one in started], "goal 300")
    row("first loss, the daemon runs", [one[0] for one in there], "goal 30")
    row("second loss", [one[2] for one in started + there])
    row("import rankd (numpy with it)", [one[1] for one in started + there])


if __name__ == "__main__":
    main()
