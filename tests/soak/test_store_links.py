# SPDX-License-Identifier: Apache-2.0
"""A master, two replicas, three Sentinels and two daemons, each host in its own network namespace;
links are cut and restored while trainers append. Needs root, so only `make soak-store` runs it, and
it fails without root."""
import ctypes
import json
import os
import random
import subprocess
import time

import numpy as np
import pytest
import rankd
from support_store import Ledger, Refused, Store, StoreDaemon, Trainers, wait_equal, wait_until

SCORES = {"kind": "scores", "lists": 1, "capacity": 4000}
NAME, CLONE_NEWNET = "banks", 0x40000000
ROUNDS = int(os.environ.get("ROUNDS", "12"))


def run(*command):
    subprocess.run([str(word) for word in command], check=True)


class Host:
    """A network namespace with an address, on the bridge of the test's own namespace."""

    def __init__(self, number):
        self.address, self.link = f"10.77.0.{number}", f"h{number}"
        self.holder = subprocess.Popen(["unshare", "--net", "sleep", "infinity"])
        wait_until(lambda: os.readlink(f"/proc/{self.holder.pid}/ns/net") != os.readlink("/proc/self/ns/net"))
        self.inside = ["nsenter", f"--net=/proc/{self.holder.pid}/ns/net"]
        run("ip", "link", "add", self.link, "type", "veth", "peer", "name", "eth0", "netns", self.holder.pid)
        run("ip", "link", "set", self.link, "master", "bridge", "up")
        for words in (("link", "set", "lo", "up"), ("addr", "add", f"{self.address}/24", "dev", "eth0"),
                      ("link", "set", "eth0", "up")):
            run(*self.inside, "ip", *words)

    def cut(self):
        run("ip", "link", "set", self.link, "down")

    def heal(self):
        run("ip", "link", "set", self.link, "up")

    def stop(self):
        self.holder.kill()
        self.holder.wait()


class LinkedDaemon(StoreDaemon):
    """A daemon whose trainers are on its host: they reach it over the ring, whatever happens to the
    link."""

    def __init__(self, folder, host, url):
        self.ring = f"unix:{folder}/s"
        super().__init__(folder, url, "--socket", f"{folder}/s", "--bank-store-timeout", "3s", "--bank-stale", "3s", replicas=1,
                         wrapper=host.inside)

    def connect(self):
        return rankd.connect(self.ring, retry_for=0)

    def call(self, method, path, document=None, connection=None):
        try:
            answer = (connection or self.connect()).transport.call(method, path,
                                                                   json.dumps(document).encode() if document else b"", 60)
        except rankd.RankdError as e:
            raise Refused(e.code or 503, e.sentence) from None
        return json.loads(answer) if answer[:1] in (b"{", b"[") else answer.decode()

    def infer(self, inputs, connection=None, **parameters):
        arrays = {i["name"]: i["data"] for i in inputs}
        shape = inputs[0]["shape"]
        scores = [arrays["scores"][k * shape[1]:(k + 1) * shape[1]] for k in range(shape[0])]
        targets = [arrays["targets"][k * shape[1]:(k + 1) * shape[1]] for k in range(shape[0])]
        try:
            result = (connection or self.connect()).loss("ap", np.float32(scores), np.int8(targets), **parameters)
        except rankd.RankdError as e:
            raise Refused(e.code or 503, e.sentence) from None
        info = result.info
        return {"bank_version_appended": info.bank_version_appended, "bank_items": info.bank_items,
                "bank_version": info.bank_version, "loss": result.loss, "gradient": result.gradient.tolist()}


@pytest.fixture
def net(tmp_path):
    """The hosts: three of the store, two of daemons. The test's thread, and those it starts, are in
    a namespace with the bridge."""
    libc = ctypes.CDLL(None, use_errno=True)
    before = os.open("/proc/thread-self/ns/net", os.O_RDONLY)
    assert libc.unshare(CLONE_NEWNET) == 0, f"no network namespace can be made: {os.strerror(ctypes.get_errno())}"
    hosts, made = [], []
    try:
        run("ip", "link", "set", "lo", "up")
        run("ip", "link", "add", "bridge", "type", "bridge", "forward_delay", "0")
        run("ip", "addr", "add", "10.77.0.100/24", "dev", "bridge")
        run("ip", "link", "set", "bridge", "up")
        hosts += [Host(i) for i in range(1, 6)]
        yield hosts, made
    finally:
        for one in reversed(made):
            one.kill()
        for host in hosts:
            host.stop()
        assert libc.setns(before, CLONE_NEWNET) == 0
        os.close(before)


def start(hosts, made, folder):
    stores = []
    for i, host in enumerate(hosts[:3]):
        follows = ["--replicaof", f"{hosts[0].address} 6379"] if i else []
        stores.append(Store(folder / f"store{i}", "--save", "", "--protected-mode", "no", "--repl-timeout", "5", *follows,
                            port=6379, host=host.address, wrapper=host.inside))
        made.append(stores[-1])
    stores[0].replicas_ready(2)
    rules = (f"protected-mode no\nsentinel monitor {NAME} {hosts[0].address} 6379 2\nsentinel down-after-milliseconds {NAME} "
             f"2000\nsentinel failover-timeout {NAME} 6000\nsentinel parallel-syncs {NAME} 2")
    sentinels = [Store(folder / f"sentinel{i}", sentinel=rules, port=26379, host=host.address, wrapper=host.inside)
                 for i, host in enumerate(hosts[:3])]
    made.extend(sentinels)
    wait_until(lambda: all(len(s.ask("SENTINEL", "replicas", NAME)) == 2 and len(s.ask("SENTINEL", "sentinels", NAME)) == 2
                           for s in sentinels), 30)
    url = "redis+sentinel://" + ",".join(f"{s.host}:{s.port}" for s in sentinels) + f"/{NAME}"
    daemons = [LinkedDaemon(folder / f"daemon{i}", host, url) for i, host in enumerate(hosts[3:])]
    made.extend(daemons)
    return stores, sentinels, daemons


def master_of(stores, sentinels):
    """The master that two of the Sentinels name, once it answers as a master with its replicas."""
    named = [s.ask("SENTINEL", "get-master-addr-by-name", NAME, timeout=2)[0] for s in sentinels]
    best = max(set(named), key=named.count)
    store = next(s for s in stores if s.host == best)
    role = store.ask("ROLE", timeout=2)
    return store if named.count(best) == 3 and role[0] == "master" and len(role[2]) == 2 else None


def test_links_are_cut_and_healed(net, tmp_path):
    hosts, made = net
    seed = random.randrange(10**6)
    draw, ledger, cuts = random.Random(seed), Ledger(), {"master": 0, "replica": 0, "daemon": 0}
    print("seed", seed)
    stores, sentinels, daemons = start(hosts, made, tmp_path)
    for d in daemons:
        d.bank("b", **SCORES)
    trainers = Trainers(daemons, ledger)
    try:
        for turn in range(ROUNDS):
            what = ("master", "replica", "daemon")[turn] if turn < 3 else draw.choice(list(cuts))
            master = stores.index(wait_until(lambda: master_of(stores, sentinels), 60))
            cut = {"master": master, "replica": (master + draw.choice((1, 2))) % 3, "daemon": 3 + draw.randrange(2)}[what]
            before = len(ledger.acknowledged)
            hosts[cut].cut()
            cuts[what] += 1
            time.sleep(draw.uniform(6, 9))  # longer than --bank-stale, and than Sentinel takes
            assert len(ledger.acknowledged) > before, f"nothing was appended while the link of the {what} was cut"
            if what == "daemon":
                with pytest.raises(Refused, match="the store has not answered for"):
                    daemons[cut - 3].scores("b", [[1.0, 0.0]], [[0, 1]], enqueue=False)
            hosts[cut].heal()
            ledger.check(wait_until(lambda: master_of(stores, sentinels), 90))
            wait_until(lambda: all(d.bank("b")["store_state"] in ("current", "behind") for d in daemons), 60)
            print(time.strftime("%T"), what, len(ledger.acknowledged), "acknowledged,", len(ledger.lost), "lost", flush=True)
    finally:
        trainers.over.set()
    trainers.stop()
    wait_equal(daemons, "b", 60)
    ledger.check(master_of(stores, sentinels))
    print(cuts, len(ledger.acknowledged), "acknowledged,", len(ledger.lost), "lost, none twice")
    assert not ledger.lost
