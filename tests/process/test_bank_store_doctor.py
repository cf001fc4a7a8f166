# SPDX-License-Identifier: Apache-2.0
"""Reports about the store for operators: GET /v2/store and rankctl doctor, a sentence and a remedy
for each fault."""
import subprocess

import pytest
from conftest import BUILD
from support_bank import BankDaemon
from support_store import EVERYSEC, Batches, Refused, share, stores, wait_until  # noqa: F401

SCORES = {"kind": "scores", "lists": 1, "capacity": 64}


def doctor(daemon, *flags):
    done = subprocess.run([BUILD / "rankctl", "doctor", "--url", daemon.url, *flags], capture_output=True, text=True, timeout=60)
    lines = done.stdout.splitlines()
    return done.returncode, "\n".join(line for line in lines if "->" in line or "bank" in line or " its " in line)


def test_a_store_that_is_well(stores, share):  # noqa: F811
    store, batches = stores(*EVERYSEC), Batches(1)
    stores("--save", "", "--replicaof", f"127.0.0.1 {store.port}")
    store.replicas_ready(1)
    one, _ = share(store, replicas=1), share(store, replicas=1)
    one.bank("b", **SCORES)
    batches.send(one, "b", 0)
    about = wait_until(lambda: (a := one.call("GET", "/v2/store"))["daemons"] == 2 and a)
    info = store.ask("INFO", "server")
    assert about == {"url": store.url, "server": f"127.0.0.1:{store.port}", "role": "master",
                     "product": "Valkey" if "valkey_version" in info else "Redis",
                     "version": info.split("valkey_version:" if "valkey_version" in info else "redis_version:")[1].split()[0],
                     "maxmemory_policy": "noeviction", "appendonly": "yes", "appendfsync": "everysec",
                     "waitaof": about["waitaof"], "replicas": 1, "replicas_awaited": 1, "clock_ms": about["clock_ms"],
                     "daemons": 2}
    assert about["waitaof"] == bool(store.ask("COMMAND", "INFO", "WAITAOF")[0]) and abs(about["clock_ms"]) < 1000
    status, said = doctor(one)
    assert status == 0, said
    for line in (f"ok    bank store       {about['product']} {about['version']} at 127.0.0.1:{store.port}, master, noeviction; 2 "
                 "daemons use it",
                 "ok    its replicas     1 follow it, and each append waits for 1", "ok    its disk         appendonly yes, "
                                                                                    "appendfsync everysec,",
                 "ok    its clock        ", "ok    banks in it      1 are served by this daemon"):
        assert line in said, said


def test_each_fault_has_its_remedy(stores, share):  # noqa: F811
    store = stores()
    daemon = share(store, "--bank-store-timeout", "1s", "--bank-stale", "2s", replicas=2)
    daemon.bank("b", **SCORES)
    status, said = doctor(daemon)
    assert status == 1 and "FAIL  its replicas     0 follow it, and each append waits for 2" in said, said
    assert "warn  its disk         appendonly no, appendfsync everysec" in said and "-> appendonly yes, or a server" in said
    store.ask("CONFIG", "SET", "maxmemory-policy", "allkeys-lru")
    status, said = doctor(daemon)
    assert status == 1 and ", master, allkeys-lru; 1 daemons use it" in said and "maxmemory-policy noeviction" in said, said
    store.ask("CONFIG", "SET", "maxmemory-policy", "noeviction")
    store.ask("FLUSHALL")
    wait_until(lambda: daemon.bank("b")["store_state"] == "gone")
    status, said = doctor(daemon)
    assert status == 1 and "FAIL  bank in it       b is gone" in said, said
    store.kill()
    status, said = doctor(daemon)
    assert status == 1 and f"FAIL  bank store       the store at 127.0.0.1:{store.port}" in said, said
    assert "-> start it, or correct --bank-store" in said


def test_a_fork_is_told(stores, share):  # noqa: F811
    store, batches = stores(*EVERYSEC), Batches(3)
    daemon = share(store, replicas=0)
    daemon.bank("b", **SCORES)
    for n in range(3):
        batches.send(daemon, "b", n)
    names = ("state", "index", "ids")
    before = {n: store.ask("OBJECT", "ENCODING", f"rankd:{{b}}:{n}") and n for n in names}
    for n in before:
        store.ask("COPY", f"rankd:{{b}}:{n}", f"kept:{n}")
    batches.send(daemon, "b", 3)
    store.ask("EVAL", "for i = 1, 3 do redis.call('COPY', KEYS[i], KEYS[i + 3], 'REPLACE') end", 6,
              *(f"kept:{n}" for n in names), *(f"rankd:{{b}}:{n}" for n in names))
    wait_until(lambda: daemon.bank("b")["forks"] == 1 and daemon.bank("b")["store_state"] == "current")
    status, said = doctor(daemon)
    assert status == 0 and "warn  bank in it       b was forked 1 times since the daemon's start" in said, said


def test_a_daemon_without_a_store(tmp_path):
    with BankDaemon(tmp_path) as daemon:
        with pytest.raises(Refused, match="404: the banks of this daemon are not in a store .--bank-store."):
            daemon.call("GET", "/v2/store")
        status, said = doctor(daemon)
        assert status == 0 and "store" not in said, said
