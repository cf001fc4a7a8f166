# SPDX-License-Identifier: Apache-2.0
"""The wall clock is set back by an hour: a wait takes the intended time, and no longer."""
import os
import subprocess
import time
from pathlib import Path

import pytest
from conftest import BUILD
from support_bank import BankDaemon, Batches

AHEAD_S = 3600


@pytest.fixture(scope="module")
def set_back(tmp_path_factory):
    """The environment of a process whose wall clock is set back whenever it has read it."""
    library = tmp_path_factory.mktemp("clock") / "ahead.so"
    source = Path(__file__).with_name("wall_clock_ahead.c")
    subprocess.run([*os.environ.get("CC", "gcc").split(), "-D_GNU_SOURCE", "-O1", "-fPIC", "-shared", source, "-o", library,
                    "-ldl"], check=True)
    return {"LD_PRELOAD": str(library), "ASAN_OPTIONS": "quarantine_size_mb=8:verify_asan_link_order=0"}


def until(daemon, is_so):
    end = time.monotonic() + 60
    while not is_so():
        assert time.monotonic() < end, daemon.log_text()
        time.sleep(0.05)


def test_interval_goes_on_syncing(tmp_path, set_back):
    batches = Batches(1)
    with BankDaemon(tmp_path, env=set_back) as daemon:
        daemon.bank("bank", kind="scores", lists=1, capacity=1000, durability="interval")
        stamp = batches.send(daemon, "bank", 0) and daemon.metric("rankd_bank_last_append_timestamp_seconds", "bank")
        assert stamp - time.time() > AHEAD_S / 2, "the clock that the test sets back is not the daemon's"
        for n in range(1, 4):  # once may be chance: the first wait could have begun before
            before = daemon.metric("rankd_bank_sync_seconds_count", "bank")
            batches.send(daemon, "bank", n)
            until(daemon, lambda: daemon.metric("rankd_bank_sync_seconds_count", "bank") > before)


def test_a_silent_connection_is_closed_and_rankctl_gets_its_answer(tmp_path, set_back):
    with BankDaemon(tmp_path, "--header-timeout", "1s", env=set_back) as daemon:
        connection = daemon.connect()
        connection.connect()
        connection.sock.sendall(b"GET / HT")
        connection.sock.settimeout(60)
        assert b"408" in connection.sock.recv(4096)
        done = subprocess.run([BUILD / "rankctl", "banks", "--url", daemon.url], env={**os.environ, **set_back}, timeout=60,
                              capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
