# SPDX-License-Identifier: Apache-2.0
"""The environment of a user for daemons that start themselves: folders and variables of one test,
and its processes."""
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import plain_library
from support import BUILD, ROOT

LOSS = "rankd.Client().loss('ap', [[0.9, 0.8, 0.7, 0.6]], [[0, 1, 0, 1]], margin=0.0).loss"
PID = "rankd.start.listener(rankd.home.find_home().socket)"


class Surroundings:
    """`environment` has no daemon in it; `run()` runs Python there."""

    def __init__(self, folder, **variables):
        self.folder = Path(folder)
        for name in ("run", "state", "tmp", "home"):
            (self.folder / name).mkdir(mode=0o700)
        kept = {name: value for name, value in os.environ.items() if not name.startswith(("RANKD_", "XDG_"))}
        # A small quarantine, or a daemon with AddressSanitizer would need much memory.
        self.environment = kept | {
            "RANKD_BUILD": str(BUILD), **plain_library.variables(), "PYTHONPATH": str(ROOT / "clients/python"),
            "RANKD_SYSTEM_SOCKET": str(self.folder / "system.sock"), "XDG_RUNTIME_DIR": str(self.folder / "run"),
            "XDG_STATE_HOME": str(self.folder / "state"), "HOME": str(self.folder / "home"), "TMPDIR": str(self.folder / "tmp"),
            "RANKD_LINGER": "5min", "ASAN_OPTIONS": "quarantine_size_mb=8", "PYTHONDONTWRITEBYTECODE": "1"} | variables

    @property
    def socket(self):
        return self.folder / "run/rankd/rankd.sock"

    def command(self, code):
        return [sys.executable, "-c", f"import rankd, rankd.start, rankd.home\n{code}"]

    def begin(self, code, *, user=None, **variables):
        return subprocess.Popen(self.command(code), env=self.environment | variables, stdin=subprocess.PIPE,
                                stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, user=user, group=user,
                                extra_groups=None if user is None else [])

    def run(self, code, *, status=0, **options):
        """(standard output, standard error)"""
        process = self.begin(code, **options)
        out, err = process.communicate(timeout=120)
        assert process.returncode == status, f"status {process.returncode}\n{out}\n{err}"
        return out.strip(), err.strip()

    def daemons(self):
        """Processes of rankd that were started in this environment, whatever their names are."""
        return [pid for pid in map(int, filter(str.isdigit, os.listdir("/proc"))) if self._is_ours(pid)]

    def _is_ours(self, pid):
        try:
            words = Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")
            variables = Path(f"/proc/{pid}/environ").read_bytes()
        except OSError:
            return False
        return words[0].endswith(b"/rankd") and f"TMPDIR={self.folder}/tmp".encode() in variables

    def wait_for_daemons(self, count, seconds=30.0):
        until = time.monotonic() + seconds
        while len(self.daemons()) != count:
            assert time.monotonic() < until, f"{self.daemons()} run, not {count}"
            time.sleep(0.02)

    def end(self):
        """Ends the daemons. Fails if one does not end."""
        for pid in self.daemons():
            os.kill(pid, signal.SIGTERM)
        self.wait_for_daemons(0)
