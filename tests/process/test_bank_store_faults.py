# SPDX-License-Identifier: Apache-2.0
"""What goes wrong with a store: it is away, full, emptied, goes back in time, lies; daemons are
killed."""
import http.client
import json
import os
import random
import socket
import struct
import threading
import time

import pytest
from support_store import (EVERYSEC, LEAST, Batches, Refused, fingerprint, name_of, share, stores, wait_equal,  # noqa: F401
                           wait_until)

SCORES = {"kind": "scores", "lists": 1, "capacity": 64}


def test_a_server_that_forgot_the_scripts(stores, share):  # noqa: F811
    store, batches = stores(), Batches(1)
    daemon = share(store)
    daemon.bank("b", **SCORES)
    for n in range(6):
        store.ask("SCRIPT", "FLUSH")
        assert batches.send(daemon, "b", n)["bank_version_appended"] == n + 1
    store.ask("SCRIPT", "FLUSH")
    assert daemon.call("PUT", "/v2/banks/b/checkpoints/t")["version"] == 6


def test_an_emptied_store_is_not_filled_anew_silently(stores, share):  # noqa: F811
    store, batches = stores(), Batches(2)
    one, other = share(store), share(store)
    for d in (one, other):
        d.bank("b", **SCORES)
    batches.send(one, "b", 0)
    wait_equal([one, other], "b")
    store.ask("FLUSHALL")
    for d in (one, other):
        wait_until(lambda d=d: d.bank("b")["store_state"] == "gone")
        for attempt in (lambda d=d: batches.send(d, "b", 1), lambda d=d: d.bank("b", **SCORES)):
            with pytest.raises(Refused, match='409: bank "b" is gone from the store'):
                attempt()
    assert not [k for k in store.keys() if "{b}:state" in k]
    one.call("DELETE", "/v2/banks/b")
    assert one.bank("b", **SCORES)["version"] == 0
    assert batches.send(one, "b", 1)["bank_version_appended"] == 1
    with pytest.raises(Refused, match="is gone from the store, or another one has its name there"):
        batches.send(other, "b", 2)
    other.call("DELETE", "/v2/banks/b")
    wait_until(lambda: other.bank("b")["version"] == 1)


def test_a_full_store(stores, share):  # noqa: F811
    store, batches = stores(), Batches(3)
    daemon = share(store)
    daemon.bank("b", **SCORES)
    batches.send(daemon, "b", 0)
    store.ask("CONFIG", "SET", "maxmemory", "1mb")
    with pytest.raises(Refused, match='507: bank "b": the store has no memory left .maxmemory.; nothing was appended'):
        batches.send(daemon, "b", 1)
    assert batches.send(daemon, "b", 0)["bank_version_appended"] == 1  # what is there is known
    assert fingerprint(daemon, "b")[1] == 1
    assert daemon.bank("b")["store_state"] == "current"
    store.ask("CONFIG", "SET", "maxmemory", "0")
    assert batches.send(daemon, "b", 1)["bank_version_appended"] == 2


def test_a_reader_that_was_left_behind(stores, share):  # noqa: F811
    """While the reader was paused, the entries that it would have read next were trimmed."""
    store, batches = stores(), Batches(4, items=2000)
    one, other = share(store), share(store)
    for d in (one, other):
        d.bank("b", kind="scores", lists=1, capacity=4000)
    batches.send(one, "b", 0)
    wait_equal([one, other], "b")
    other.pause()
    for n in range(1, 60):
        batches.send(one, "b", n)
    assert int(store.state("b")["t"]) > 20
    wait_until(lambda: len([k for k in store.keys() if ":p:" in k]) < 40, 15)  # they lapse five seconds later
    other.resume()
    wait_equal([one, other], "b")
    assert other.metric("rankd_bank_store_joins_total", "b") >= 2
    assert other.metric("rankd_bank_store_forks_total", "b") == 0


def test_a_store_that_went_back(stores, share):  # noqa: F811
    """It comes back with less than it acknowledged; the daemons follow it, and report the loss."""
    store, batches = stores(*LEAST), Batches(5)
    one, other = share(store), share(store)
    for d in (one, other):
        d.bank("b", durability="none", **SCORES)
    for n in range(10):
        batches.send(one, "b", n)
    store.ask("SAVE")
    for n in range(10, 25):
        batches.send(one, "b", n)
    wait_equal([one, other], "b")
    store.kill()
    store.start()
    for d in (one, other):
        d.wait_for_log(r'bank \\"b\\": the store lost 15 batches that this daemon had applied .version 25 here, 10 there.; '
                       "its copy is read again")
    assert wait_equal([one, other], "b")[1] == 10
    assert one.metric("rankd_bank_store_forks_total", "b") == 1
    again = batches.send(other, "b", 12)  # lost with the others: it is appended as if it had never been
    assert again["bank_version_appended"] == 11 and wait_equal([one, other], "b")[1] == 11
    # Another history of the same length is recognised by its chain.
    store.ask("SAVE")
    batches.send(one, "b", 100)
    wait_equal([one, other], "b")
    other.pause()
    store.kill()
    store.start()
    wait_until(lambda: one.bank("b")["version"] == 11)
    batches.send(one, "b", 101)
    other.resume()
    wait_equal([one, other], "b")
    assert other.metric("rankd_bank_store_forks_total", "b") == 2


def test_a_store_that_does_not_answer(stores, share):  # noqa: F811
    store, batches = stores(), Batches(6)
    daemon = share(store, "--bank-stale", "3s", "--bank-store-timeout", "500ms")
    daemon.bank("b", **SCORES)
    batches.send(daemon, "b", 0)
    store.pause()
    with pytest.raises(Refused, match='503: bank "b": .*repeat it with the same batch_id'):
        batches.send(daemon, "b", 1)
    assert fingerprint(daemon, "b")[1] == 1  # present items can be read
    wait_until(lambda: daemon.bank("b")["store_state"] == "stale")
    assert daemon.scores("b", *batches[0], enqueue=False)["bank_stale_ms"] >= 2000
    wait_until(lambda: daemon.bank("b")["store_state"] == "refusing")
    with pytest.raises(Refused, match=r'503: bank "b": the store has not answered for [3-9] s; requests that read it are '
                                      r"refused after 3 s \(--bank-stale\)"):
        fingerprint(daemon, "b")
    begun = time.monotonic()
    daemon.call("GET", "/v2/health/ready")
    assert time.monotonic() - begun < 5
    store.resume()
    wait_until(lambda: daemon.bank("b")["store_state"] == "current")
    assert batches.send(daemon, "b", 1)["bank_version_appended"] == 2
    daemon.wait_for_log("the store answers again")


def test_a_daemon_that_starts_before_its_store(stores, share):  # noqa: F811
    store, batches = stores(*EVERYSEC), Batches(7)
    first = share(store)
    first.bank("b", **SCORES)
    batches.send(first, "b", 0)
    store.kill()
    daemon = share(store)
    with pytest.raises(Refused, match='503: the store has not answered yet, so it is not known whether there is a bank "b"'):
        batches.send(daemon, "b", 1)
    store.start()
    wait_equal([first, daemon], "b")
    assert batches.send(daemon, "b", 1)["bank_version_appended"] == 2


def test_too_few_replicas_acknowledge(stores, share):  # noqa: F811
    master, batches = stores(), Batches(8)
    daemon = share(master, "--bank-store-timeout", "1s", replicas=1)
    daemon.bank("b", **SCORES)
    with pytest.raises(Refused, match='503: bank "b": 0 of 1 replicas acknowledged the batch within 1 s; repeat it with the '
                                      "same batch_id"):
        batches.send(daemon, "b", 0)
    daemon.bank("loose", durability="none", **SCORES)
    assert batches.send(daemon, "loose", 0)["bank_version_appended"] == 1
    stores("--save", "", "--replicaof", f"127.0.0.1 {master.port}")
    master.replicas_ready(1)
    wait_until(lambda: batches.send(daemon, "b", 0)["bank_version_appended"] == 1)  # it had been there
    wait_until(lambda: batches.send(daemon, "b", 1)["bank_version_appended"] == 2)


def test_a_retry_is_acknowledged_by_no_less_than_the_original(stores, share):  # noqa: F811
    """The other daemon has the batch, from a master without replicas: it does not acknowledge it
    before a replica has it."""
    master, batches = stores(), Batches(31)
    replica = stores("--save", "", "--replicaof", f"127.0.0.1 {master.port}")
    master.replicas_ready(1)
    one, other = (share(master, "--bank-store-timeout", "1s", replicas=1) for _ in range(2))
    for d in (one, other):
        d.bank("b", **SCORES)
    first = batches.send(one, "b", 0)
    wait_equal([one, other], "b")
    replica.pause()
    with pytest.raises(Refused, match="503: .* 0 of 1 replicas acknowledged the batch"):
        batches.send(one, "b", 1)
    wait_until(lambda: other.bank("b")["version"] == 2)
    for daemon in (other, one):
        with pytest.raises(Refused, match="503: .* 0 of 1 replicas acknowledged the batch"):
            batches.send(daemon, "b", 1)
    replica.resume()
    for daemon in (other, one):
        assert wait_until(lambda d=daemon: batches.send(d, "b", 1))["bank_version_appended"] == 2
    again = batches.send(other, "b", 0)
    assert [again[k] for k in ("loss", "gradient", "bank_version_appended")] == \
        [first[k] for k in ("loss", "gradient", "bank_version_appended")]
    assert wait_equal([one, other], "b")[1] == 2


def test_a_restore_under_load(stores, share):  # noqa: F811
    """Batches that were computed against one generation and arrive in the next get a 409, and are
    not appended. The acknowledged batches of the present generation are there once, on all
    daemons."""
    store = stores()
    daemons = [share(store) for _ in range(2)]
    for d in daemons:
        d.bank("b", kind="scores", lists=1, capacity=100000)
    acknowledged, refused, problems, over = [], [], [], threading.Event()

    def train(who):
        batches, n = Batches(400 + who), 0
        while not over.is_set():
            try:
                reply = batches.send(daemons[(who + n) % 2], "b", n)
                acknowledged.append((reply["bank_generation"], f"{batches.seed}-{n}"))
            except Refused as e:
                if e.status not in (409, 503):
                    problems.append(e)
                refused.append(str(e))
            n += 1
    trainers = [threading.Thread(target=train, args=(i,)) for i in range(4)]
    for trainer in trainers:
        trainer.start()
    try:
        wait_until(lambda: len(acknowledged) > 20)
        daemons[0].call("PUT", "/v2/banks/b/checkpoints/t")
        for generation in range(2, 6):
            before = len(acknowledged)
            wait_until(lambda: len(acknowledged) > before + 20)
            answer = daemons[generation % 2].call("POST", "/v2/banks/b/checkpoints/t/restore")
            assert (answer["generation"], answer["daemons_behind"]) == (generation, 0)
        before = len(acknowledged)
        wait_until(lambda: len(acknowledged) > before + 20)
    finally:
        over.set()
        for trainer in trainers:
            trainer.join()
    assert not problems, problems
    generation, version, _ = wait_equal(daemons, "b")
    names = [row[1][1].split()[5] for row in store.ask("XRANGE", "rankd:{b}:index", "-", "+") if row[1][1].startswith("b 5 ")]
    kept = [name_of(batch_id) for g, batch_id in acknowledged if g == generation]
    assert generation == 5 and len(set(names)) == len(names) and len(kept) > 20
    assert set(kept) <= set(names), "an acknowledged batch is missing"


def test_large_batches(stores, share):  # noqa: F811
    """16 MiB and more: payloads beyond any buffer of the connection."""
    store = stores()
    one, other = share(store), share(store)
    for d in (one, other):
        d.bank("b", kind="embeddings", dim=1024, capacity=8192)
    draw = random.Random(9)
    row = [draw.random() for _ in range(1024)]
    rows = 4200
    data = struct.pack("<1024f", *row) * rows
    labels = struct.pack(f"<{rows}q", *range(rows))
    head = json.dumps({"parameters": {"bank": "b", "batch_id": "large"},
                       "inputs": [{"name": "embeddings", "datatype": "FP32", "shape": [rows, 1024],
                                   "parameters": {"binary_data_size": len(data)}},
                                  {"name": "labels", "datatype": "INT64", "shape": [rows],
                                   "parameters": {"binary_data_size": len(labels)}}],
                       "outputs": [{"name": "loss"}]}).encode()
    connection = http.client.HTTPConnection("127.0.0.1", one.port, timeout=120)
    connection.request("POST", "/v2/models/ap/infer", head + data + labels, {"Inference-Header-Content-Length": str(len(head))})
    answer = connection.getresponse()
    assert answer.status == 200, answer.read()
    answer.read()

    def same():
        about = [d.bank("b") for d in (one, other)]
        return about[0]["chain"] == about[1]["chain"] and about[1]["version"] == 1 and about[1]["items"] == rows
    wait_until(same)


class Liar(threading.Thread):
    """A server that sends prepared answers to any request."""

    def __init__(self, answer):
        super().__init__(daemon=True)
        self.answer, self.asked = answer, 0
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.url = f"redis://127.0.0.1:{self.listener.getsockname()[1]}"
        self.start()

    def run(self):
        while True:
            try:
                s, _ = self.listener.accept()
            except OSError:
                return
            threading.Thread(target=self.serve, args=(s,), daemon=True).start()

    def serve(self, s):
        try:
            while s.recv(65536):
                self.asked += 1
                s.sendall(self.answer)
        except OSError:
            pass


@pytest.mark.parametrize("answer", [
    b"*2147483647\r\n", b"*-5\r\n", b"*1000000\r\n" * 8, b"$9223372036854775807\r\n", b"$-9\r\n", b"*" * 5000,
    b"*1\r\n" * 50, b"HTTP/1.1 400 Bad Request\r\n\r\n", b"\x00" * 100, b"+PONG\r\n" * 50, b":1\r\n", b"*0\r\n" * 20,
    b"-ERR no\r\n" * 20, b"$1000000000\r\n" + b"x" * 4000000], ids=range(14))
def test_a_server_that_is_none(share, answer):  # noqa: F811
    liar = Liar(answer)
    daemon = share(liar.url, "--bank-store-timeout", "300ms")
    wait_until(lambda: liar.asked >= 2)
    with pytest.raises(Refused, match="503|500"):
        daemon.bank("b", **SCORES)
    assert daemon.process.poll() is None and daemon.rss_kib() < 400000
    liar.listener.close()


CORRUPTIONS = {
    "a chain": lambda s, r: s.ask("HSET", "rankd:{b}:state", "c", "0" * 32),
    "a uid": lambda s, r: s.ask("HSET", "rankd:{b}:state", "uid", "x"),
    "a version": lambda s, r: s.ask("HSET", "rankd:{b}:state", "v", "99999999999999999999"),
    "no number": lambda s, r: s.ask("HSET", "rankd:{b}:state", "e", "many"),
    "another type": lambda s, r: (s.ask("DEL", "rankd:{b}:state"), s.ask("SET", "rankd:{b}:state", "x")),
    "an entry": lambda s, r: s.ask("XADD", "rankd:{b}:index", "7-0", "r", "b 1 28 4 999999999999 " + "0" * 32 + " " + "0" * 16
                                   + " 1 1 6 24 0 " + "0" * 32),
    "no entry": lambda s, r: s.ask("XADD", "rankd:{b}:index", "7-0", "r", "hello"),
    "two fields": lambda s, r: s.ask("XADD", "rankd:{b}:index", "7-0", "a", "b", "c", "d"),
    "a payload": lambda s, r: s.ask("SET", r, "short"),
    "a long payload": lambda s, r: s.ask("SET", r, "x" * 5000000),
    "a payload's type": lambda s, r: (s.ask("DEL", r), s.ask("LPUSH", r, "x")),
    "no payload": lambda s, r: s.ask("DEL", r),
    "a bank's name": lambda s, r: s.ask("HSET", "rankd:banks", "../x", "u", "y" * 200, "u", "q\0r", "u"),
}


@pytest.mark.parametrize("what", CORRUPTIONS)
def test_foreign_hands_in_the_store(stores, share, what):  # noqa: F811
    """There is no crash, and no inconsistent item is served: a daemon that reads the bank anew
    refuses it, with the reason."""
    store, batches = stores(), Batches(10)
    daemon = share(store)
    daemon.bank("b", **SCORES)
    for n in range(6):
        batches.send(daemon, "b", n)
    good = fingerprint(daemon, "b")
    payload = random.Random(what).choice([k for k in store.keys() if ":p:" in k])
    CORRUPTIONS[what](store, payload)
    late = share(store)
    harmless = what in ("a bank's name",)

    def settled():
        try:
            return fingerprint(late, "b") == good
        except Refused as e:
            return not harmless and (e.status in (404, 409, 500) or "batches; " in e.sentence)  # with the reason
    wait_until(settled)
    try:
        assert fingerprint(late, "b") == good
    except Refused:
        assert not harmless
    try:
        assert fingerprint(daemon, "b") == good
    except Refused as e:
        assert e.status in (409, 500, 503)
    assert daemon.process.poll() is None and late.process.poll() is None
    assert late.rss_kib() < 400000


def test_kills_at_random(stores, share, tmp_path):  # noqa: F811
    """Daemons and the server are killed while trainers append through all of them: nothing
    acknowledged is missing, nothing is there twice, all hold the same. The server syncs always, or
    on request (WAITAOF): with everysec even the write may be delayed."""
    seconds, seed = (60, random.randrange(10**6)) if os.environ.get("RK_SOAK") else (3, 11)
    print("seed", seed)
    draw = random.Random(seed)
    store = stores(*EVERYSEC[:-1], "always")
    if store.ask("COMMAND", "INFO", "WAITAOF")[0]:  # Redis 7.2: it is waited for
        store.flags[-1] = "everysec"
        store.ask("CONFIG", "SET", "appendfsync", "everysec")
    daemons = [share(store), share(store, "--data", tmp_path / "one"), share(store, "--data", tmp_path / "two")]
    for d in daemons:
        d.bank("b", kind="scores", lists=1, capacity=1000000, durability="always")
    acknowledged, problems, over = {}, [], threading.Event()

    def train(who):
        batches, own, n = Batches(100 + who), random.Random(who), 0
        while not over.is_set():
            try:
                reply = batches.send(own.choice(daemons), "b", n)
            except (OSError, Refused) as e:
                if isinstance(e, Refused) and e.status not in (503, 504, 404):
                    problems.append(e)
                    return
                time.sleep(0.01)
                continue
            except Exception as e:  # http.client's, of a daemon that was killed
                if type(e).__module__ != "http.client":
                    problems.append(e)
                    return
                continue
            version = reply["bank_version_appended"]
            if version in acknowledged:
                problems.append(f"version {version} is {acknowledged[version]} and {who}, {n}")
            acknowledged[version] = (who, n)
            n += 1
    trainers = [threading.Thread(target=train, args=(i,)) for i in range(8)]
    for trainer in trainers:
        trainer.start()
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        time.sleep(draw.uniform(0.2, 0.8))
        if draw.random() < 0.3:
            store.kill()
            store.start()
        else:
            daemon = draw.choice(daemons)
            daemon.kill()
            daemon.start()
    over.set()
    for trainer in trainers:
        trainer.join()
    assert not problems, problems
    _, version, _ = wait_equal(daemons, "b")
    assert len(acknowledged) <= version <= len(acknowledged) + 8 and len(acknowledged) > 50
    names = [row[1][1].split()[5] for row in store.ask("XRANGE", "rankd:{b}:index", "-", "+")]
    assert len(set(names)) == len(names) == version
    for d in daemons:
        who, n = acknowledged[max(acknowledged)]
        again = Batches(100 + who).send(d, "b", n)
        assert again["bank_version_appended"] == max(acknowledged)


def test_a_stop_leaves_nobody_waiting(stores, share):  # noqa: F811
    """Requests that wait for a version that does not come are answered; the daemon ends normally,
    even if the store does not answer."""
    store, batches = stores(), Batches(12)
    daemon = share(store, "--bank-store-timeout", "2s")
    daemon.bank("b", **SCORES)
    batches.send(daemon, "b", 0)
    answers = []

    def ask():
        try:
            daemon.scores("b", *batches[0], enqueue=False, bank_version=50)
        except Refused as e:
            answers.append((e.status, e.sentence))
    waiting = threading.Thread(target=ask)
    waiting.start()
    time.sleep(0.3)
    store.pause()
    begun = time.monotonic()
    assert daemon.stop() == 0
    waiting.join()
    assert answers == [(503, "rankd is shutting down; try again")]
    assert time.monotonic() - begun < 25
