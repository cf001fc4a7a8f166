# SPDX-License-Identifier: Apache-2.0
"""A master is killed and a replica takes over: what one replica had acknowledged is there, once, and the daemons follow."""
import ctypes
import os
import random
import threading
import time

import pytest
from support_store import Batches, Refused, Store, StoreDaemon, StoreError, free_port, wait_equal, wait_until

SCORES = {"kind": "scores", "lists": 1, "capacity": 4000}
NAME = "banks"


class Cluster:
    """A master, two replicas, three Sentinels."""

    def __init__(self, folder):
        port = free_port()
        self.stores = [Store(folder / "store0", "--save", "", port=port)]
        for i in (1, 2):
            self.stores.append(Store(folder / f"store{i}", "--save", "", "--replicaof", f"127.0.0.1 {port}"))
        self.stores[0].replicas_ready(2)
        rules = (f"sentinel monitor {NAME} 127.0.0.1 {port} 2\nsentinel down-after-milliseconds {NAME} 2000\n"
                 f"sentinel failover-timeout {NAME} 6000\nsentinel parallel-syncs {NAME} 2\n")
        self.sentinels = [Store(folder / f"sentinel{i}", sentinel=rules) for i in range(3)]
        wait_until(lambda: all(len(s.ask("SENTINEL", "replicas", NAME)) == 2 and len(s.ask("SENTINEL", "sentinels", NAME)) == 2
                               for s in self.sentinels), 30)
        self.url = "redis+sentinel://" + ",".join(f"127.0.0.1:{s.port}" for s in self.sentinels) + f"/{NAME}"

    def master(self):
        _, port = self.sentinels[0].ask("SENTINEL", "get-master-addr-by-name", NAME)
        return next(s for s in self.stores if s.port == int(port))

    def fail_over(self, pause=False):
        """Kills the master, or stops it for a while, and waits until another is there with replicas."""
        old = self.master()
        old.pause() if pause else old.kill()
        new = wait_until(lambda: self.master() is not old and self.master(), 60)
        wait_until(lambda: new.ask("ROLE")[0] == "master", 30)
        if pause:
            old.resume()
        else:
            old.flags = ["--save", "", "--replicaof", f"127.0.0.1 {new.port}"]
            old.start()
        wait_until(lambda: new.ask("INFO", "replication").count("state=online") == 2, 60)

    def fail_over_twice(self):
        """Kills the master, and the one that takes over before the first is back; then both come back."""
        killed = []
        for _ in range(2):
            old = self.master()
            old.kill()
            killed.append(old)
            new = wait_until(lambda: self.master() not in killed and self.master(), 60)
            wait_until(lambda: new.ask("ROLE")[0] == "master", 30)
        for old in killed:
            old.flags = ["--save", "", "--replicaof", f"127.0.0.1 {new.port}"]
            old.start()
        wait_until(lambda: new.ask("INFO", "replication").count("state=online") == 2, 60)

    def stop(self):
        for store in [*self.sentinels, *self.stores]:
            store.kill()


@pytest.fixture
def cluster(tmp_path):
    made = Cluster(tmp_path)
    yield made
    made.stop()


class Name(ctypes.Structure):
    _fields_ = [("low", ctypes.c_uint64), ("high", ctypes.c_uint64)]


xxhash = ctypes.CDLL("libxxhash.so.0")
xxhash.XXH3_128bits.restype = Name
xxhash.XXH3_128bits.argtypes = [ctypes.c_char_p, ctypes.c_size_t]


def name_of(batch_id):
    """As it stands in the index."""
    name = xxhash.XXH3_128bits(batch_id.encode(), len(batch_id))
    return f"{name.high | 1:016x}{name.low:016x}"


class Ledger:
    """What was acknowledged, compared with the index of the store: every name once, none missing."""

    def __init__(self):
        self.acknowledged = {}  # name: version; several threads add to it
        self.places = {}        # name: version in the index; also of entries that were trimmed since
        self.lost = set()

    def check(self, store):
        known = dict(self.acknowledged)  # before the index is read
        rows = [(int(row[0].split("-")[0]), row[1][1].split()[5]) for row in store.ask("XRANGE", "rankd:{b}:index", "-", "+")]
        first = rows[0][0] if rows else 0
        names = dict((name, v) for v, name in rows)
        assert len(names) == len(rows), "a batch is twice in the index"
        assert [v for v, _ in rows] == list(range(first, first + len(rows))), "a version is missing in the index"
        for name, v in names.items():
            assert self.places.get(name, first) >= first, "a batch was appended again after its entry had been trimmed"
            self.places[name] = v
        self.lost |= {name for name, v in known.items() if v >= first and name not in names}
        for name in self.lost:  # a retry of its trainer would be a new batch
            self.acknowledged.pop(name, None)


class Trainers:
    """Threads that send batch after batch to any of the daemons and repeat what was refused."""

    def __init__(self, daemons, ledger, count=4):
        self.problems, self.over = [], threading.Event()
        self.threads = [threading.Thread(target=self.train, args=(daemons, ledger, i)) for i in range(count)]
        for thread in self.threads:
            thread.start()

    def train(self, daemons, ledger, who):
        batches, own, n = Batches(200 + who), random.Random(who), 0
        connections = [d.connect() for d in daemons]
        while not self.over.is_set():
            i = own.randrange(len(daemons))
            try:
                reply = batches.send(daemons[i], "b", n, connections[i])
            except Refused as e:
                if e.status != 503:
                    self.problems.append(e)
                    return
                time.sleep(0.02)
                continue
            ledger.acknowledged[name_of(f"{batches.seed}-{n}")] = reply["bank_version_appended"]
            n += 1

    def stop(self):
        self.over.set()
        for thread in self.threads:
            thread.join()
        assert not self.problems, self.problems


def fail_over_under_load(cluster, tmp_path, replicas, fail_over):
    """Both forms: one failover; RK_SOAK: at least 30, and 100,000 acknowledged batches."""
    soak = bool(os.environ.get("RK_SOAK"))
    least, most, seed = (30, 100000, random.randrange(10**6)) if soak else (1, 40, 3)
    draw, ledger, failovers = random.Random(seed), Ledger(), 0
    daemons = [StoreDaemon(tmp_path / f"daemon{i}", cluster.url, "--bank-store-timeout", "3s", replicas=replicas) for i in range(2)]
    try:
        for d in daemons:
            d.bank("b", **SCORES, durability="interval" if replicas else "none")
        trainers = Trainers(daemons, ledger)
        while failovers < least or len(ledger.acknowledged) < most:
            before = len(ledger.acknowledged)
            wait_until(lambda: trainers.problems or len(ledger.acknowledged) >= before + most // (least + 2), 600)
            failovers += fail_over(draw)
            wait_until(lambda: len(ledger.acknowledged) > before, 60)
            ledger.check(cluster.master())
            if soak:
                print(time.strftime("%T"), failovers, "failovers,", len(ledger.acknowledged), "acknowledged,", len(ledger.lost), "lost",
                      flush=True)
        trainers.stop()
        wait_equal(daemons, "b", 60)
        ledger.check(cluster.master())
        forks = sum(d.metric("rankd_bank_store_forks_total", "b") for d in daemons)
        print(f"seed {seed}, {replicas} replicas waited for: {len(ledger.acknowledged) + len(ledger.lost)} acknowledged, {failovers} "
              f"failovers, {forks:.0f} forks, {len(ledger.lost)} lost, none twice")
    finally:
        trainers.over.set()
        for d in daemons:
            d.kill()
    return ledger


def test_the_master_is_killed(cluster, tmp_path):
    def fail_over(draw):
        cluster.fail_over(pause=bool(os.environ.get("RK_SOAK")) and draw.random() < 0.3)
        return 1
    assert not fail_over_under_load(cluster, tmp_path, 1, fail_over).lost


def test_the_next_master_is_killed_too(cluster, tmp_path):
    """Before the first one is back: the last of three has nobody who could acknowledge, and no batch is answered until one is."""
    def fail_over(draw):
        cluster.fail_over_twice()
        return 2
    assert not fail_over_under_load(cluster, tmp_path, 1, fail_over).lost


def test_without_waiting_batches_may_be_lost_and_all_agree(cluster, tmp_path):
    def fail_over(draw):
        cluster.fail_over()
        return 1
    fail_over_under_load(cluster, tmp_path, 0, fail_over)


def test_no_sentinel_answers(tmp_path):
    daemon = StoreDaemon(tmp_path / "d", f"redis+sentinel://127.0.0.1:{free_port()},127.0.0.1:{free_port()}/{NAME}")
    with pytest.raises(Refused, match="503: no Sentinel says where the store is|503: the store has not answered yet"):
        daemon.bank("b", **SCORES)
    daemon.wait_for_log("no Sentinel says where the store is")
    daemon.kill()


__all__ = ["StoreError"]
