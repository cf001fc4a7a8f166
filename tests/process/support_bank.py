# SPDX-License-Identifier: Apache-2.0
"""A daemon with a data folder that can be killed and started again, and banks over plain HTTP."""
import http.client
import json
import os
import random
import re
import signal
from pathlib import Path

from conftest import Daemon


class Refused(Exception):
    def __init__(self, status, sentence):
        super().__init__(f"{status}: {sentence}")
        self.status, self.sentence = status, sentence


class BankDaemon(Daemon):
    def __init__(self, folder, *flags, data=None, **options):
        self.data = str(data or f"{folder}/data")
        super().__init__(folder, "--data", self.data, "--banks", "8192", *flags, **options)

    def kill(self):
        if self.wrapper:  # a wrapper that detaches from the daemon when it is killed, and ends after the daemon
            for child in Path(f"/proc/{self.pid}/task/{self.pid}/children").read_text().split():
                os.kill(int(child), signal.SIGKILL)
        else:
            self.process.kill()
        self.process.wait()

    def __enter__(self):
        return self

    def __exit__(self, *failed):
        self.kill()

    def connect(self):
        return http.client.HTTPConnection("127.0.0.1", self.port, timeout=60)

    def call(self, method, path, document=None, connection=None):
        """The answer: JSON, or text if it is not JSON. Raises Refused for an error."""
        own = connection is None
        connection = connection or self.connect()
        try:
            connection.request(method, path, None if document is None else json.dumps(document))
            answer = connection.getresponse()
            data = answer.read()
        finally:
            if own:
                connection.close()
        if answer.status != 200:
            raise Refused(answer.status, json.loads(data)["error"])
        return json.loads(data) if data[:1] in (b"{", b"[") else data.decode()

    def bank(self, name, **config):
        return self.call("PUT" if config else "GET", f"/v2/banks/{name}", config or None)

    def scores(self, bank, scores, targets, connection=None, **parameters):
        """Each row is a list. Returns the reply's parameters, with `loss` and `gradient`."""
        return self.infer([tensor("scores", "FP32", [len(scores), len(scores[0])], sum(scores, [])),
                           tensor("targets", "INT8", [len(scores), len(scores[0])], sum(targets, []))],
                          connection, bank=bank, **parameters)

    def embeddings(self, bank, rows, labels, connection=None, mask=None, **parameters):
        return self.infer([tensor("embeddings", "FP32", [len(rows), len(rows[0])], sum(rows, [])),
                           tensor("labels", "INT64", [len(labels)], labels),
                           *([tensor("enqueue_mask", "BOOL", [len(mask)], mask)] if mask else [])],
                          connection, bank=bank, **parameters)

    def infer(self, inputs, connection=None, **parameters):
        answer = self.call("POST", "/v2/models/ap/infer", {"parameters": parameters, "inputs": inputs}, connection)
        return {**answer["parameters"], **{o["name"]: o["data"] for o in answer["outputs"]}}

    def metric(self, name, bank):
        return float(re.search(rf'^{name}{{bank="{bank}"}} (\S+)$', self.call("GET", "/metrics"), re.M).group(1))


def tensor(name, datatype, shape, data):
    return {"name": name, "datatype": datatype, "shape": shape, "data": data}


class Batches:
    """Batch n of a seed: always the same scores and targets of one list."""

    def __init__(self, seed, items=4):
        self.seed, self.items = seed, items

    def __getitem__(self, n):
        draw = random.Random(self.seed * 1000003 + n)
        return [[draw.random() for _ in range(self.items)]], [[draw.randrange(2) for _ in range(self.items)]]

    def send(self, daemon, bank, n, connection=None, **parameters):
        return daemon.scores(bank, *self[n], connection, batch_id=f"{self.seed}-{n}", **parameters)


PROBE = [[0.5, 0.25, 0.75, 0.9, 0.1]], [[1, 1, 0, 1, 0]]


def fingerprint(daemon, bank, connection=None):
    """The loss and gradient of a fixed list that is ranked with the bank. Other contents of the
    bank, or another order if it is full, give other values."""
    reply = daemon.scores(bank, *PROBE, connection, enqueue=False)
    return reply["bank_items"], reply["bank_version"], reply["loss"], reply["gradient"]
