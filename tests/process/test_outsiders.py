# SPDX-License-Identifier: Apache-2.0
"""The daemon does not wait for anything outside: a log without a reader, files that are pipes, a
service manager that reads nothing."""
import os
import re
import signal
import socket
import subprocess
import threading
import time

import numpy as np
import pytest

from conftest import BUILD, assert_ended_well
from ring_support import Raw
from support_http import GOOD, INFER, ask, connect, infer, metric, read, request

TOKEN = "reader-0123456789abcdef"


class Piped:
    """A rankd whose standard error is a pipe that nobody reads until read_all() is called."""

    def __init__(self, *flags):
        self.read_end, write_end = os.pipe()
        command = [str(BUILD / "rankd"), "--http", "127.0.0.1:0", *map(str, flags)]
        self.process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=write_end)
        os.close(write_end)
        found = re.match(rb"listening on http://(.+):(\d+)", self.process.stdout.readline())
        self.host, self.port, self.text = found[1].decode(), int(found[2]), b""

    def read_all(self):
        """Reads in the background until the daemon ends."""
        def work():
            while more := os.read(self.read_end, 65536):
                self.text += more

        self.thread = threading.Thread(target=work)
        self.thread.start()

    def wait(self, timeout=30):
        code = self.process.wait(timeout)
        if hasattr(self, "thread"):
            self.thread.join()
        return code


@pytest.fixture
def piped():
    made = []

    def make(*flags):
        made.append(Piped(*flags))
        return made[-1]

    yield make
    for daemon in made:
        daemon.process.kill()
        daemon.process.wait()
        daemon.process.stdout.close()
        os.close(daemon.read_end)


def storm(daemon, count):
    """That many requests, each with a line in the log, on one connection."""
    with connect(daemon) as s:
        for _ in range(count):
            s.sendall(request("POST", INFER, GOOD))
            assert read(s).status == 200


def lines_of(text):
    """The lines of requests, and the reported number of dropped lines."""
    dropped = [int(n) for n in re.findall(rb'message="(\d+) lines dropped', text)]
    return len(re.findall(rb"component=request ", text)), sum(dropped)


def test_a_log_that_nobody_reads_stops_nothing_and_tells_what_it_lost(piped, tmp_path):
    daemon = piped("--log-buffer", "64K", "--socket", tmp_path / "ring")
    storm(daemon, 2000)  # some 500 kB
    assert ask(daemon, "GET", "/v2/health/ready").status == 200
    with Raw(str(tmp_path / "ring")) as raw:  # the other transport
        entry, _ = raw.infer_entry("rank", {"scores": np.ones((1, 4), np.float32)}, [("ranks", 32)])
        assert [raw.wait(raw.submit(entry)) for _ in range(5)] == [0] * 5
    lost = metric(daemon, "rankd_log_lines_dropped_total")
    assert 500 < lost < 2000
    daemon.read_all()
    until = time.monotonic() + 20
    while b"lines dropped" not in daemon.text and time.monotonic() < until:
        time.sleep(0.02)
    storm(daemon, 1)  # this one has a line again
    daemon.process.terminate()
    assert daemon.wait() == 0
    requests, dropped = lines_of(daemon.text)
    assert dropped == lost and requests + dropped >= 2001 and b"draining" in daemon.text
    assert all(line.startswith(b"time=") for line in daemon.text.splitlines()), "a line was torn"


def test_sigterm_ends_a_daemon_whose_log_nobody_reads(piped):
    daemon = piped("--log-buffer", "64K")
    storm(daemon, 1000)
    daemon.process.terminate()
    assert daemon.wait(20) == 0


def test_a_reader_of_the_log_that_is_gone_is_no_trouble(piped):
    daemon = piped("--log-buffer", "64K")
    os.close(daemon.read_end)
    daemon.read_end = os.open("/dev/null", os.O_RDONLY)
    storm(daemon, 1000)
    assert metric(daemon, "rankd_log_lines_dropped_total") >= 900
    daemon.process.terminate()
    assert daemon.wait() == 0


@pytest.mark.parametrize("number", [signal.SIGSEGV, signal.SIGABRT])
def test_lines_of_before_a_crash_are_there(piped, number):
    """More than the pipe holds, so that the rest is in the buffer when the signal comes."""
    daemon = piped("--log-buffer", "1M")
    storm(daemon, 600)
    assert metric(daemon, "rankd_log_lines_dropped_total") == 0
    daemon.process.send_signal(number)
    daemon.read_all()
    assert daemon.wait() != 0
    assert lines_of(daemon.text) == (600, 0)


def stuck_pipe(path):
    os.mkfifo(path)
    return path


def test_a_tokens_file_that_became_a_pipe_keeps_the_tokens_and_everyone_served(make_daemon, tmp_path):
    tokens = tmp_path / "tokens"
    tokens.write_text(f"reader all {TOKEN}\n")
    daemon = make_daemon("--tokens", tokens)
    tokens.unlink()
    stuck_pipe(tokens)
    daemon.signal(signal.SIGHUP)
    daemon.wait_for_log("stay as they were.*must be a regular file")
    bearer = [f"Authorization: Bearer {TOKEN}"]
    assert infer(daemon, headers=bearer).status == 200
    tokens.unlink()
    tokens.write_text(f"reader all {TOKEN}x\n")
    daemon.signal(signal.SIGHUP)
    daemon.wait_for_log("tokens were read again")
    assert infer(daemon, headers=bearer).status == 401


@pytest.mark.parametrize("option", ["tokens", "tls-cert", "tls-key"])
@pytest.mark.parametrize("kind", ["pipe", "folder", "endless", "empty"])
def test_a_file_that_is_none_is_refused_at_the_start_with_a_sentence(tmp_path, option, kind):
    path = tmp_path / "file"
    if kind == "pipe":
        stuck_pipe(path)
    elif kind == "folder":
        path.mkdir()
    elif kind == "empty":
        path.write_text("")
    files = {"tls-cert": tmp_path / "cert", "tls-key": tmp_path / "key"} if option != "tokens" else {}
    for file in files.values():
        file.write_text("some text")
    files[option] = "/dev/zero" if kind == "endless" else path
    flags = [word for name, file in files.items() for word in (f"--{name}", str(file))]
    done = subprocess.run([BUILD / "rankd", "--http", "127.0.0.1:0", *flags], capture_output=True, text=True, timeout=20)
    assert done.returncode == 2, done.stderr
    assert option in done.stderr and (kind == "empty" or "must be a regular file" in done.stderr)


def test_a_service_manager_that_reads_nothing_is_not_waited_for(tmp_path, make_daemon):
    path = str(tmp_path / "notify")
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager, \
            socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as filler:
        manager.bind(path)
        filler.setblocking(False)
        with pytest.raises(BlockingIOError):
            while True:
                filler.sendto(b"x", path)
        daemon = make_daemon(env={"NOTIFY_SOCKET": path})
        daemon.wait_for_log("READY=1 could not be sent")
        assert infer(daemon).status == 200
        assert_ended_well(daemon)


def test_a_standard_output_that_nobody_reads_keeps_no_signal_from_being_heard(tmp_path):
    read_end, write_end = os.pipe()
    os.set_blocking(write_end, False)
    with pytest.raises(BlockingIOError):
        while True:
            os.write(write_end, b"x" * 4096)
    os.set_blocking(write_end, True)
    log = tmp_path / "log"
    with open(log, "wb") as file:
        process = subprocess.Popen([BUILD / "rankd", "--http", "127.0.0.1:0"], stdout=write_end, stderr=file)
    try:
        until = time.monotonic() + 20
        while "standard output takes no" not in log.read_text() and time.monotonic() < until:
            time.sleep(0.02)
        process.terminate()
        assert process.wait(20) == 0 and "standard output takes no" in log.read_text()
    finally:
        process.kill()
        process.wait()
        os.close(read_end)
        os.close(write_end)
