# SPDX-License-Identifier: Apache-2.0
"""Fixtures for tests of a real daemon: `daemon` is shared by a file's tests, `make_daemon(*flags)`
starts more."""
import os
import re
import signal
import subprocess
import threading
import time
from pathlib import Path

import pytest
from plain_library import variables

# Also for processes that a test starts: Python finds a librankd that it can load.
os.environ.update(variables())

# A test that forgets to name its daemon must not start one that outlives the test. Tests of
# autostart have an environment of their own.
os.environ["RANKD_AUTOSTART"] = "0"

BUILD = Path(os.environ.get("RANKD_BUILD", Path(__file__).parents[1] / "build")).resolve()


class Daemon:
    """A rankd of its own on a free port of 127.0.0.1. Its log is in `log` (path) and
    `log_text()`."""

    def __init__(self, folder, *flags, env=None, wrapper=(), http="127.0.0.1:0", rankd=None):
        self.folder = Path(folder)
        self.log = self.folder / "log"
        self.flags = [str(f) for f in flags]
        self.env = {k: v for k, v in os.environ.items() if not k.startswith("RANKD_")} | (env or {})
        # A small quarantine, because freed memory in it would look like growth; leaks are reported
        # at the end.
        self.env.setdefault("ASAN_OPTIONS", "quarantine_size_mb=8")
        self.wrapper = list(wrapper)
        self.http = http
        self.rankd = rankd  # None: that of BUILD as it is at each start
        self.process = None
        self.start()

    def start(self, timeout=30.0):
        """Starts it (again) and waits for the line `listening on …`."""
        with open(self.log, "ab") as log:
            command = [*self.wrapper, str(self.rankd or BUILD / "rankd"), "--http", self.http, *self.flags]
            self.process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=log, env=self.env)
        killer = threading.Timer(timeout, self.process.kill)
        killer.start()
        line = self.process.stdout.readline().decode()
        killer.cancel()
        found = re.match(r"listening on (https?://(.+):(\d+))\s*$", line)
        if not found:
            self.process.kill()
            self.process.wait()
            raise RuntimeError(f"rankd said {line!r} (exit {self.process.returncode}):\n{self.log_text()}")
        self.url, self.host, self.port = found[1], found[2].strip("[]"), int(found[3])
        return self

    @property
    def pid(self):
        return self.process.pid

    def log_text(self):
        """The log, once nothing was added for a moment: a separate thread writes it."""
        text, until = None, time.monotonic() + 5
        while text is None or (len(text) != self.log.stat().st_size and time.monotonic() < until):
            text = self.log.read_bytes()
            time.sleep(0.05)
        return text.decode(errors="replace")

    def signal(self, number):
        self.process.send_signal(number)

    def wait(self, timeout=30.0):
        return self.process.wait(timeout)

    def stop(self, timeout=60.0):
        """SIGTERM, and the exit status; a daemon that does not end in time is killed and fails the
        test."""
        if self.process.poll() is None:
            self.process.terminate()
        try:
            code = self.process.wait(timeout)
        except subprocess.TimeoutExpired:
            self.kill()
            raise
        self.process.stdout.close()
        return code

    def kill(self):
        """Ends it by SIGKILL."""
        self.process.kill()
        self.process.wait()
        self.process.stdout.close()

    def restart(self):
        self.stop()
        return self.start()

    def rss_kib(self):
        return int(re.search(r"VmRSS:\s+(\d+)", Path(f"/proc/{self.pid}/status").read_text())[1])

    def fds(self):
        return len(os.listdir(f"/proc/{self.pid}/fd"))

    def wait_for_log(self, pattern, timeout=10.0):
        """The match of the pattern in the log, as soon as it is there."""
        until = time.monotonic() + timeout
        while time.monotonic() < until:
            found = re.search(pattern, self.log_text())
            if found:
                return found
            time.sleep(0.01)
        raise AssertionError(f"{pattern!r} is not in the log:\n{self.log_text()}")


def assert_ended_well(daemon):
    """Fails unless the daemon ended normally, without a report of a sanitizer."""
    code = daemon.stop()
    text = daemon.log_text()
    assert "Sanitizer" not in text and "runtime error" not in text, text[-8000:]
    assert code in (0, -signal.SIGKILL), f"exit {code}:\n{text[-4000:]}"


@pytest.fixture
def make_daemon(tmp_path):
    """make_daemon(*flags, env=…) starts a daemon that ends with the test."""
    daemons = []

    def make(*flags, **options):
        folder = tmp_path / f"daemon{len(daemons)}"
        folder.mkdir()
        daemons.append(Daemon(folder, *flags, **options))
        return daemons[-1]

    yield make
    for daemon in daemons:
        if daemon.process.returncode is None:
            assert_ended_well(daemon)


@pytest.fixture(scope="module")
def daemon(tmp_path_factory):
    """A daemon with defaults, shared by the tests of a file."""
    shared = Daemon(tmp_path_factory.mktemp("daemon"))
    yield shared
    assert_ended_well(shared)
