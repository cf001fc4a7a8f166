# SPDX-License-Identifier: Apache-2.0
"""A master is killed and a replica takes over: what one replica had acknowledged is there, once, and the daemons follow."""
import os
import random
import threading
import time

import pytest
from support_store import Batches, Refused, Store, StoreDaemon, StoreError, free_port, wait_equal, wait_until

SCORES = {"kind": "scores", "lists": 1, "capacity": 1000000}
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

    def stop(self):
        for store in [*self.sentinels, *self.stores]:
            store.kill()


@pytest.fixture
def cluster(tmp_path):
    made = Cluster(tmp_path)
    yield made
    made.stop()


def test_the_master_is_killed(cluster, tmp_path):
    failovers, seed = (30, random.randrange(10**6)) if os.environ.get("RK_SOAK") else (1, 3)
    print("seed", seed)
    draw = random.Random(seed)
    daemons = [StoreDaemon(tmp_path / f"daemon{i}", cluster.url, "--bank-store-timeout", "3s", replicas=1) for i in range(2)]
    for d in daemons:
        d.bank("b", **SCORES)
    acknowledged, problems, over = {}, [], threading.Event()

    def train(who):
        batches, own, n = Batches(200 + who), random.Random(who), 0
        while not over.is_set():
            try:
                reply = batches.send(own.choice(daemons), "b", n)
            except Refused as e:
                if e.status != 503:
                    problems.append(e)
                    return
                time.sleep(0.02)
                continue
            acknowledged[who, n] = reply["bank_version_appended"]
            n += 1
    trainers = [threading.Thread(target=train, args=(i,)) for i in range(4)]
    for trainer in trainers:
        trainer.start()
    for _ in range(failovers):
        before = len(acknowledged)
        wait_until(lambda: len(acknowledged) > before + 20, 60)
        cluster.fail_over(pause=failovers > 1 and draw.random() < 0.3)
    before = len(acknowledged)
    wait_until(lambda: len(acknowledged) > before + 20, 60)
    over.set()
    for trainer in trainers:
        trainer.join()
    try:
        assert not problems, problems
        _, version, _ = wait_equal(daemons, "b", 60)
        rows = cluster.master().ask("XRANGE", "rankd:{b}:index", "-", "+")
        names = [row[1][1].split()[5] for row in rows]
        assert len(set(names)) == len(names) == version >= len(acknowledged)
        for (who, n), v in random.Random(1).sample(sorted(acknowledged.items()), min(60, len(acknowledged))):
            again = Batches(200 + who).send(daemons[0], "b", n)
            # Before a fork it may have had another number; it is there, and stays where it is.
            assert again["bank_version_appended"] <= version
        assert daemons[0].bank("b")["version"] == version, "a retry of an acknowledged batch was appended: it had been lost"
        print(len(acknowledged), "acknowledged,", failovers, "failovers,", daemons[0].metric("rankd_bank_store_forks_total", "b"), "forks")
    finally:
        for d in daemons:
            d.kill()


def test_no_sentinel_answers(tmp_path):
    daemon = StoreDaemon(tmp_path / "d", f"redis+sentinel://127.0.0.1:{free_port()},127.0.0.1:{free_port()}/{NAME}")
    with pytest.raises(Refused, match="503: no Sentinel says where the store is|503: the store has not answered yet"):
        daemon.bank("b", **SCORES)
    daemon.wait_for_log("no Sentinel says where the store is")
    daemon.kill()


__all__ = ["StoreError"]
