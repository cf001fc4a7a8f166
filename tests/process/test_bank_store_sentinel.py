# SPDX-License-Identifier: Apache-2.0
"""A master is killed and a replica takes over: batches that one replica had acknowledged are there,
once, and the daemons follow."""
import os
import random
import time

import pytest
from support_store import Ledger, Refused, Store, StoreDaemon, StoreError, Trainers, free_port, wait_equal, wait_until

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
        """Kills the master, or stops it for a while, and waits until another is there with
        replicas."""
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
        """Kills the master, and the one that takes over before the first is back; then both come
        back."""
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


def fail_over_under_load(cluster, tmp_path, replicas, fail_over):
    """Both forms: one failover; RK_SOAK: at least 30, and 100,000 acknowledged batches."""
    soak = bool(os.environ.get("RK_SOAK"))
    least, most, seed = (30, 100000, random.randrange(10**6)) if soak else (1, 40, 3)
    draw, ledger, failovers, gaps = random.Random(seed), Ledger(), 0, []
    daemons = [StoreDaemon(tmp_path / f"daemon{i}", cluster.url, "--bank-store-timeout", "3s", replicas=replicas)
               for i in range(2)]
    try:
        for d in daemons:
            d.bank("b", **SCORES, durability="interval" if replicas else "none")
        trainers = Trainers(daemons, ledger)
        while failovers < least or len(ledger.acknowledged) < most:
            before = len(ledger.acknowledged)
            wait_until(lambda: trainers.problems or len(ledger.acknowledged) >= before + most // (least + 2), 600)
            begun = time.monotonic()
            failovers += fail_over(draw)
            wait_until(lambda: len(ledger.acknowledged) > before, 60)
            ledger.check(cluster.master())
            gaps.append(ledger.gap(begun))
            if soak:
                print(time.strftime("%T"), failovers, "failovers,", len(ledger.acknowledged), "acknowledged,", len(ledger.lost),
                      "lost", flush=True)
        trainers.stop()
        wait_equal(daemons, "b", 60)
        ledger.check(cluster.master())
        forks = sum(d.metric("rankd_bank_store_forks_total", "b") for d in daemons)
        print(f"seed {seed}, {replicas} replicas waited for: {len(ledger.acknowledged) + len(ledger.lost)} acknowledged, "
              f"{failovers} failovers, {forks:.0f} forks, {len(ledger.lost)} lost, none twice; without an answer for "
              f"{sorted(gaps)[len(gaps) // 2]:.1f} s at each (median), at most {max(gaps):.1f} s")
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
    """Before the first one is back: the last of the three has no replica to acknowledge a batch, so
    none is answered until a replica is back."""
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
