# SPDX-License-Identifier: Apache-2.0
"""--ring-linger and --detach: a daemon that its clients start, and that ends when they have gone."""
import os
import select
import signal
import socket
import struct
import subprocess
import time
from pathlib import Path

import pytest
from ring_support import BUILD, Daemon, Raw


@pytest.fixture
def make():
    daemons = []

    def start(*arguments):
        daemons.append(Daemon(*arguments))
        return daemons[-1]

    yield start
    for daemon in daemons:
        daemon.stop()


def ends(daemon, seconds):
    """Whether the daemon ends by itself within the time, and normally."""
    try:
        assert daemon.process.wait(seconds) == 0
    except subprocess.TimeoutExpired:
        return False
    return True


def test_it_ends_without_a_client(make):
    daemon = make("--ring-linger", "200ms")
    assert ends(daemon, 30)
    assert not os.path.exists(daemon.path)


def test_a_client_keeps_it_and_the_last_one_counts(make):
    daemon = make("--ring-linger", "300ms")
    first, second = Raw(daemon.path), Raw(daemon.path)
    first.close()
    assert not ends(daemon, 1.0)
    second.close()
    assert ends(daemon, 30)


def test_the_time_begins_anew_with_each_client(make):
    daemon = make("--ring-linger", "1s")
    for _ in range(4):
        time.sleep(0.5)
        Raw(daemon.path).close()
    assert ends(daemon, 30)


def test_one_that_says_nothing_is_no_client_for_long(make):
    daemon = make("--ring-linger", "200ms", "--ring-hello-timeout", "300ms")
    with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as silent:
        silent.connect(daemon.path)
        assert ends(daemon, 30)


@pytest.mark.parametrize("flags, sentence", [
    ([], "ring-linger is 1000ms, and socket is off; it requires the ring"),
    (["--socket", "/tmp/none"], "ring-linger is 1000ms, and http is 127.0.0.1:8080; it requires http = off"),
])
@pytest.mark.parametrize("check", [[], ["--check-config"]])
def test_it_wants_the_ring_alone(flags, sentence, check):
    done = subprocess.run([BUILD / "rankd", "--ring-linger", "1s", *flags, *check], capture_output=True, text=True, timeout=60)
    assert done.returncode == 2 and sentence in done.stderr


def detached(tmp_path, *flags, **options):
    with open(tmp_path / "log", "ab") as log:
        return subprocess.run([BUILD / "rankd", "--detach", "--http", "off", "--socket", tmp_path / "ring", *flags], stdout=log,
                              stderr=log, timeout=60, check=False, **options)


def pid_of(path):
    """The pid of the listening process."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as probe:
        probe.connect(str(path))
        return struct.unpack("3i", probe.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 12))[0]


def test_detached_it_takes_requests_when_the_start_returns(tmp_path):
    assert detached(tmp_path, "--ring-linger", "20s").returncode == 0
    client = Raw(str(tmp_path / "ring"))
    pid = pid_of(tmp_path / "ring")
    assert os.getsid(pid) == pid and int(Path(f"/proc/{pid}/stat").read_text().split()[3]) != os.getpid()
    client.close()
    watch = os.pidfd_open(pid)
    os.kill(pid, signal.SIGTERM)
    assert select.select([watch], [], [], 30)[0]
    os.close(watch)
    assert "Sanitizer" not in (tmp_path / "log").read_text()


@pytest.mark.parametrize("flags, status, sentence", [
    (["--socket", "/nonexistent/ring"], 2, "can't be listened on"), (["--workers", "x"], 2, "workers was"),
    (["--data", "/proc/none"], 1, "/proc/none")])
def test_detached_it_tells_why_it_can_not_start(tmp_path, flags, status, sentence):
    assert detached(tmp_path, *flags).returncode == status
    assert sentence in (tmp_path / "log").read_text()


def test_detached_it_does_not_need_the_one_that_waits(tmp_path):
    """The waiting process is killed while the daemon starts; the daemon continues."""
    process = subprocess.Popen([BUILD / "rankd", "--detach", "--http", "off", "--socket", tmp_path / "ring", "--ring-linger",
                                "2s"],
                               stderr=subprocess.DEVNULL)
    process.kill()
    process.wait()
    until = time.monotonic() + 10
    # if it got as far as its fork, it ends after its linger time
    while (tmp_path / "ring").exists() and time.monotonic() < until:
        time.sleep(0.05)
    assert not (tmp_path / "ring").exists()
