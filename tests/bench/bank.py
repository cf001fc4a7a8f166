# SPDX-License-Identifier: Apache-2.0
"""Loss + append through a bank with 1, 4 and 16 trainers in each durability, and how fast a bank of
1 GB is read back.

    python tests/bench/bank.py [--seconds 3] [--gigabytes 1]

Binary requests over HTTP on this machine: 32 embeddings of 128 numbers against a full bank of
2,048, the loss alone as output. Medians of three rounds, which go through the modes in turn, so
that a busy machine disturbs all alike."""
import argparse
import json
import os
import random
import statistics
import struct
import sys
import tempfile
import threading
import time
from pathlib import Path

sys.path[:0] = [str(Path(__file__).parents[1]), str(Path(__file__).parents[1] / "process")]
from support_bank import BankDaemon  # noqa: E402

DIM, BATCH, CAPACITY = 128, 32, 2048


def request(bank, rows, dim):
    """A body whose tensors are binary; random numbers of a fixed seed."""
    draw = random.Random(7)
    values = struct.pack(f"<{rows * dim}f", *(draw.gauss(0, 1) for _ in range(rows * dim)))
    labels = struct.pack(f"<{rows}q", *(draw.randrange(1000) for _ in range(rows)))
    head = json.dumps({
        "parameters": {"bank": bank}, "outputs": [{"name": "loss"}],
        "inputs": [{"name": "embeddings", "datatype": "FP32", "shape": [rows, dim],
                    "parameters": {"binary_data_size": len(values)}},
                   {"name": "labels", "datatype": "INT64", "shape": [rows],
                    "parameters": {"binary_data_size": len(labels)}}]}).encode()
    return head + values + labels, {"Inference-Header-Content-Length": str(len(head))}


def post(connection, body, headers):
    connection.request("POST", "/v2/models/ap/infer", body, headers)
    answer = connection.getresponse()
    data = answer.read()
    assert answer.status == 200, data


def rate(daemon, bank, trainers, seconds):
    """Requests per second of that many trainers together."""
    body, headers = request(bank, BATCH, DIM)
    counts, end = [0] * trainers, time.monotonic() + seconds

    def trainer(which):
        connection = daemon.connect()
        while time.monotonic() < end:
            post(connection, body, headers)
            counts[which] += 1

    threads = [threading.Thread(target=trainer, args=(i,)) for i in range(trainers)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return sum(counts) / seconds


def throughput(folder, seconds):
    modes, trainers = ("none", "interval", "always"), (1, 4, 16)
    found = {(mode, n): [] for mode in modes for n in trainers}
    with BankDaemon(folder, "--log-level", "warn") as daemon:
        for mode in modes:
            daemon.bank(mode, kind="embeddings", dim=DIM, capacity=CAPACITY, durability=mode)
            connection, (body, headers) = daemon.connect(), request(mode, 1024, DIM)
            for _ in range(CAPACITY // 1024):
                post(connection, body, headers)
        for _ in range(3):
            for mode, n in found:
                found[mode, n].append(rate(daemon, mode, n, seconds / 3))
        syncs = daemon.metric("rankd_bank_sync_seconds_count", "always")
        batches = daemon.metric("rankd_bank_appended_batches_total", "always")
    print(f"\nrequests/s: loss of {BATCH} x {DIM} against {CAPACITY} items, then append ({folder})")
    print(f"{'durability':<12}" + "".join(f"{n:>6} trainers" for n in trainers))
    for mode in modes:
        print(f"{mode:<12}" + "".join(f"{statistics.median(found[mode, n]):>15.0f}" for n in trainers))
    print(f"always: {batches / syncs:.2f} batches a sync")


def recovery(folder, gigabytes):
    items = int(gigabytes * 1e9 / (DIM * 4 + 16))
    with BankDaemon(folder, "--log-level", "warn") as daemon:
        daemon.bank("big", kind="embeddings", dim=DIM, capacity=items, durability="none")
        connection = daemon.connect()
        body, headers = request("big", 2048, DIM)
        # The labels of a filling batch have no meaning: -1 has no relevant item, so nothing is
        # computed.
        body = body[:-2048 * 8] + struct.pack("<q", -1) * 2048
        while daemon.bank("big")["items"] < items:
            post(connection, body, headers)
        size = daemon.bank("big")["disk_bytes"]
        daemon.stop()
        begun = time.monotonic()
        daemon.start(timeout=300)
        seconds = time.monotonic() - begun
        assert daemon.bank("big")["items"] == items
        print(f"\nstart with a bank of {items} items, {size / 1e9:.2f} GB on disk: {seconds:.2f} s "
              f"({size / 1e9 / seconds:.2f} GB/s), {daemon.rss_kib() / 1e6:.2f} GB resident")


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--seconds", type=float, default=3)
    parser.add_argument("--gigabytes", type=float, default=1)
    parser.add_argument("--folder", default=os.environ.get("TMPDIR", "/tmp"))
    arguments = parser.parse_args()
    for part, argument in ((throughput, arguments.seconds), (recovery, arguments.gigabytes)):
        with tempfile.TemporaryDirectory(dir=arguments.folder) as folder:
            part(folder, argument)


if __name__ == "__main__":
    main()
