# SPDX-License-Identifier: Apache-2.0
"""Requests of all kinds at once, good and bad, complete and cut off, over both transports, leave
memory, descriptors and threads unchanged. `make soak-mixed` sends 200,000."""
import contextlib
import gzip
import json
import os
import random
import re
import threading
import time
from pathlib import Path

import numpy as np
import pytest

from ring_support import Lost, Raw, Refused
from support_http import GOOD, INFER, ask, connect, infer, metric, read, request
from test_http_storm import bad

COUNT = int(os.environ.get("RANKD_MIXED", "1600"))
CLIENTS = 4
STATUSES = {200, 400, 404, 405, 409, 413, 415, 501, 503, 507}  # 500 would be a fault of the daemon


def scores(draw, lists, items):
    """A good request of random scores; each row is a list."""
    data = [round(draw.random(), 4) for _ in range(lists * items)]
    targets = [int(draw.random() < 0.3) for _ in range(lists * items)]
    return {"inputs": [{"name": "scores", "shape": [lists, items], "datatype": "FP32", "data": data},
                       {"name": "targets", "shape": [lists, items], "datatype": "INT8", "data": targets}]}


class Client:
    """One client with a connection, a ring and a bank of its own."""

    def __init__(self, daemon, ring, number):
        self.daemon, self.ring_path, self.draw = daemon, ring, random.Random(number)
        self.bank, self.socket, self.raw, self.counts = f"mixed{number}", None, None, {}
        self.kinds = [self.json, self.json, self.binary, self.packed, self.malformed, self.malformed, self.too_large,
                      self.aborted, self.unread, self.banked, self.banked, self.bank_call, self.get, self.idle, self.ring,
                      self.ring_bad]

    def send(self, message, verb="POST"):
        """An answer to the message, on the connection that is kept while the daemon keeps it."""
        for _ in range(2):
            try:
                self.socket = self.socket or connect(self.daemon)
                self.socket.sendall(message)
                answer = read(self.socket, verb)
            except ConnectionError:
                answer = None
            if answer is not None:
                break
            self.hang_up()
        assert answer is not None and answer.status in STATUSES, (message[:300], answer and answer.body)
        if answer.headers.get("connection") == "close":
            self.hang_up()
        return answer

    def good(self, message):
        """For a correct request: it may fail only because of the others."""
        answer = self.send(message)
        assert answer.status == 200 or (answer.status == 503 and "not free now" in answer.error), answer.body

    def hang_up(self):
        if self.socket:
            self.socket.close()
        self.socket = None

    def json(self):
        lists, items = self.draw.randrange(1, 6), self.draw.randrange(2, 60)
        model = self.draw.choice(["ap", "recall"])
        self.good(request("POST", f"/v2/models/{model}/infer", scores(self.draw, lists, items)))

    def binary(self):
        count = self.draw.choice([4, 100, 5000, 60000])
        values = np.frombuffer(self.draw.randbytes(count), np.uint8).astype(np.float32)
        head = json.dumps({"parameters": {"binary_data_output": self.draw.random() < 0.5}, "inputs": [
            {"name": "scores", "shape": [1, count], "datatype": "FP32", "parameters": {"binary_data_size": 4 * count}}]}).encode()
        headers = [f"Inference-Header-Content-Length: {len(head)}"]
        self.good(request("POST", "/v2/models/rank/infer", head + values.tobytes(), headers))

    def packed(self):
        body = gzip.compress(json.dumps(scores(self.draw, 4, 200)).encode(), 1)
        self.good(request("POST", INFER, body, ["Content-Encoding: gzip", "Accept-Encoding: gzip"]))

    def malformed(self):
        self.send(bad(self.draw))

    def too_large(self):
        which = self.draw.randrange(3)
        if which == 0:  # announced
            answer = self.send(request("POST", INFER, b"", length=1 << 34))
        elif which == 1:  # packed
            answer = self.send(request("POST", INFER, gzip.compress(bytes(3 << 20), 1), ["Content-Encoding: gzip"]))
        else:  # its heap
            answer = self.send(request("POST", INFER, b'{"inputs":[' + b"{}," * 300_000 + b"0]}"))
        assert answer.status in (413, 503), answer.body

    def aborted(self):
        message = request("POST", INFER, scores(self.draw, 3, 300))
        with contextlib.suppress(ConnectionError), connect(self.daemon) as s:
            s.sendall(message[:self.draw.randrange(1, len(message))])

    def unread(self):
        with contextlib.suppress(ConnectionError), connect(self.daemon) as s:
            s.sendall(request("POST", INFER, scores(self.draw, 3, 50)))

    def banked(self):
        body = scores(self.draw, 2, self.draw.randrange(2, 40)) | {"parameters": {"bank": self.bank}}
        if self.draw.random() < 0.5:
            body["parameters"]["batch_id"] = str(self.draw.randrange(1000))
        self.send(request("POST", INFER, body))

    def bank_call(self):
        path, tag = f"/v2/banks/{self.bank}", self.draw.randrange(3)
        verb, path, body = self.draw.choice([
            ("PUT", path, {"kind": "scores", "lists": 2, "capacity": 200, "durability": "none"}), ("GET", path, b""),
            ("PUT", path, {"kind": "scores", "lists": 2, "capacity": 200, "durability": "none"}), ("POST", path + "/clear", b""),
            ("DELETE", path, b""), ("PUT", f"{path}/checkpoints/{tag}", b""), ("DELETE", f"{path}/checkpoints/{tag}", b""),
            ("POST", f"{path}/checkpoints/{tag}/restore", b""), ("GET", f"{path}/checkpoints", b""), ("GET", "/v2/banks", b"")])
        self.send(request(verb, path, body), verb)

    def get(self):
        path = self.draw.choice(["/", "/metrics", "/v2", "/v2/health/ready", "/v2/models/ap", "/v2/models/stats", "/nothing",
                                 "/v2/models/x"])
        verb = self.draw.choice(["GET", "GET", "HEAD", "DELETE"])
        self.send(request(verb, path), verb)

    def idle(self):
        connect(self.daemon).close()
        self.hang_up()

    def ring(self):
        self.raw = self.raw or Raw(self.ring_path)
        table = np.array([[self.draw.random() for _ in range(20)]], np.float32)
        entry, _ = self.raw.infer_entry("ap", {"scores": table, "targets": (table > 0.5).astype(np.int8)},
                                        [("loss", 4), ("gradient", 80)])
        assert self.raw.wait(self.raw.submit(entry)) == 0
        if self.draw.random() < 0.02:
            self.raw.close()
            self.raw = None

    def ring_bad(self):
        """An entry with random offsets, and a client that leaves while it is computed."""
        with contextlib.suppress(Lost, Refused, ConnectionError):
            raw = Raw(self.ring_path)
            try:
                raw.submit(raw.entry(descriptor=(self.draw.randrange(1 << 40), self.draw.randrange(8192))))
            finally:
                raw.close()

    def run(self, count):
        for _ in range(count):
            kind = self.draw.choice(self.kinds)
            if kind in (self.too_large, self.ring_bad) and self.draw.random() < 0.8:
                kind = self.json  # those take long
            kind()
            self.counts[kind.__name__] = self.counts.get(kind.__name__, 0) + 1
        self.close()

    def close(self):
        self.hang_up()
        if self.raw:
            self.raw.close()
        self.raw = None


def run(daemon, ring, count, seed):
    clients = [Client(daemon, ring, seed * CLIENTS + i) for i in range(CLIENTS)]
    failures = []

    def work(client):
        try:
            client.run(count // CLIENTS)
        except BaseException as error:  # noqa: BLE001 - reported by the test's own thread
            failures.append(error)
            client.close()

    threads = [threading.Thread(target=work, args=(client,)) for client in clients]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    for client in clients:
        ask(daemon, "DELETE", f"/v2/banks/{client.bank}")
    if failures:
        raise failures[0]
    return {kind: sum(c.counts.get(kind, 0) for c in clients) for kind in sorted({k for c in clients for k in c.counts})}


def settle(daemon):
    """What the idle daemon holds: (resident KiB, descriptors, threads)."""
    until = time.monotonic() + 30
    gone = ("rankd_requests_in_flight", "rankd_budget_used_bytes", "rankd_ring_segments")
    while any(metric(daemon, name) > 0 for name in gone) or metric(daemon, "rankd_connections") > 1:
        assert time.monotonic() < until, ask(daemon, "GET", "/metrics").body.decode()
        time.sleep(0.05)
    time.sleep(1.5)  # what was freed goes back to the system after a second
    return daemon.rss_kib(), daemon.fds(), int(re.search(r"Threads:\s+(\d+)", Path(f"/proc/{daemon.pid}/status").read_text())[1])


@pytest.mark.parametrize("seed", [1])
def test_mixed_requests_leave_memory_descriptors_and_threads_as_they_were(make_daemon, tmp_path, seed):
    ring = str(tmp_path / "ring")
    daemon = make_daemon("--socket", ring, "--data", tmp_path / "data", "--json-bytes", "2M", "--budget-bytes", "64M",
                         "--workers", 4, "--log-level", "warn")
    run(daemon, ring, min(COUNT, 800), seed=1000 + seed)
    rss, fds, threads = settle(daemon)
    kinds = run(daemon, ring, COUNT, seed)
    after = settle(daemon)
    print(f"{COUNT} requests {kinds}: RSS {rss} -> {after[0]} KiB, descriptors {fds} -> {after[1]}, threads {threads} -> "
          f"{after[2]}")
    assert len(kinds) == len({k.__name__ for k in Client(daemon, ring, 0).kinds})
    assert after[1] <= fds + 2 and after[2] == threads
    assert after[0] < rss * 1.1 + 8192
    assert infer(daemon, GOOD).status == 200
