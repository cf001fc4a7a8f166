# SPDX-License-Identifier: Apache-2.0
"""Started with standard input, output or error closed: a file that is opened later must not get its
descriptor, or the log would be written into it."""
import itertools
import os
import subprocess
import time
from pathlib import Path

import pytest
import ring_support
from conftest import BUILD

SETS = [closed for size in (1, 2, 3) for closed in itertools.combinations((0, 1, 2), size)]


def close(descriptors):
    for descriptor in descriptors:
        os.close(descriptor)


def streams(pid):
    return [os.readlink(f"/proc/{pid}/fd/{n}") for n in range(3)]


@pytest.mark.parametrize("closed", SETS, ids=str)
def test_the_daemon_serves_and_its_files_stay_clean(tmp_path, closed):
    daemon = ring_support.Daemon("--data", str(tmp_path / "data"), "--log-level", "debug", before=lambda: close(closed))
    try:
        found = streams(daemon.pid)
        assert all(found[n] == "/dev/null" for n in closed), found
        assert 2 in closed or found[2] == daemon.log_path, found
        daemon.process.terminate()
        assert daemon.process.wait(60) == 0
    finally:
        daemon.process.kill()
        daemon.process.wait()
    files = {path.name: path.read_bytes() for path in (tmp_path / "data").rglob("*") if path.is_file()}
    assert files == {"lock": b"", "format": b"rankd data 2\n"}


@pytest.mark.parametrize("closed", SETS, ids=str)
def test_rankctl_keeps_them_too(tmp_path, closed):
    token = tmp_path / "token"
    os.mkfifo(token)
    process = subprocess.Popen([BUILD / "rankctl", "banks", "--url", "http://127.0.0.1:1", "--token-file", token],
                               stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
                               preexec_fn=lambda: close(closed))
    try:
        with token.open("w") as writer:  # it has opened the file now, and waits for what is in it
            end = time.monotonic() + 60
            while str(token) not in (names := [os.readlink(p) for p in Path(f"/proc/{process.pid}/fd").iterdir()]):
                assert time.monotonic() < end, names
            assert streams(process.pid) == ["/dev/null"] * 3
            writer.write("secret\n")
        assert process.wait(60) == 1
    finally:
        process.kill()
        process.wait()


@pytest.mark.parametrize("program", ["rankd", "rankctl"])
def test_without_dev_null_it_says_so(tmp_path, program):
    """A /dev of its own, which is empty."""
    unshare = subprocess.run(["unshare", "-rm", "true"], capture_output=True)
    if unshare.returncode:
        pytest.skip("no namespaces here")
    script = f"mount -t tmpfs none /dev && exec {BUILD / program} --version 0<&-"
    done = subprocess.run(["unshare", "-rm", "sh", "-c", script], capture_output=True, text=True, timeout=60)
    assert done.returncode == 1 and "a standard stream is closed" in done.stderr
