# SPDX-License-Identifier: Apache-2.0
"""Banks in a store beside the bare commands: 32 x 128 FP32 batches, three nodes on this machine, everysec, WAIT 1.

Prints batches/s and the median time of a request for 1, 4, 16 trainers over 1, 2, 4 daemons; the same of a bank of the daemon's
own; the bare SET + EVALSHA + WAIT by hiredis; how fast a new daemon reads a bank; how stale daemons are at a given rate."""
import json
import os
import subprocess
import sys
import tempfile
import time
import urllib.request
from pathlib import Path

from support_store import EVERYSEC, Store, StoreDaemon, wait_until
from support_bank import BankDaemon

BUILD = Path(os.environ["RANKD_BUILD"])
SECONDS = float(os.environ.get("SECONDS_EACH", "3"))
SCRIPT = Path(__file__).resolve().parents[2] / "server/bank_store/lua/append.lua"
BANK = {"kind": "embeddings", "dim": 128, "capacity": 512}


def numbers(*command):
    out = subprocess.run([str(c) for c in command], capture_output=True, text=True, timeout=300)
    if out.returncode:
        sys.exit(f"{command}: {out.stderr}")
    rate, p50 = map(float, out.stdout.split())
    return rate, p50


def main():
    folder = Path(tempfile.mkdtemp(prefix="rankd-bench-"))
    master = Store(folder / "master", *EVERYSEC)
    others = [Store(folder / f"replica{i}", *EVERYSEC, "--replicaof", f"127.0.0.1 {master.port}") for i in range(2)]
    master.replicas_ready(2)
    daemons = []
    urls = [f"unix:{folder}/s{i}" for i in range(4)]
    (folder / "alone").mkdir()
    alone = BankDaemon(folder / "alone", "--socket", folder / "alone.s", "--log-level", "warn")
    alone.bank("own", durability="interval", **BANK)
    print(f"{'':34}{'batches/s':>10}{'p50 us':>10}")
    local, bare, shared = {}, {}, {}
    for trainers in (1, 4, 16):
        local[trainers] = numbers(BUILD / "bench/store_load", "own", trainers, SECONDS, f"unix:{folder}/alone.s")
        print(f"{trainers:2} trainers, the daemon's own bank {local[trainers][0]:10.0f}{local[trainers][1]:10.0f}")
        bare[trainers] = numbers(BUILD / "bench/store_bare", "127.0.0.1", master.port, SCRIPT, trainers, SECONDS, 1)
        print(f"{trainers:2} writers, bare commands         {bare[trainers][0]:10.0f}{bare[trainers][1]:10.0f}")
    for count in (1, 2, 4):  # no daemon that is not in use: it would apply what the others append, on the same cores
        while len(daemons) < count:
            i = len(daemons)
            daemons.append(StoreDaemon(folder / f"d{i}", master, "--socket", folder / f"s{i}", "--log-level", "warn", replicas=1))
            daemons[-1].bank("b", **BANK)
        for trainers in (1, 4, 16):
            shared[trainers, count] = rate, p50 = numbers(BUILD / "bench/store_load", "b", trainers, SECONDS, *urls[:count])
            print(f"{trainers:2} trainers, a store, {count} daemons     {rate:10.0f}{p50:10.0f}")
    added = shared[1, 1][1] - local[1][1]
    print(f"added latency of one trainer: {added:.0f} us; the bare commands: {bare[1][1]:.0f} us; ratio {added / bare[1][1]:.2f}")
    for trainers in (1, 4, 16):
        rate = max(shared[trainers, c][0] for c in (1, 2, 4))
        added = 1 / rate - 1 / local[trainers][0]
        print(f"{trainers:2} trainers: time that the store adds to a batch {added * 1e6:.0f} us, of the bare commands "
              f"{1e6 / bare[trainers][0]:.0f} us; ratio {added * bare[trainers][0]:.2f}")
    staleness(daemons[0], daemons[1], urls)
    catch_up(folder, master)
    for process in (*daemons, alone, *others, master):
        process.kill()


def staleness(one, other, urls):
    """How long after its acknowledgement a batch is there on another daemon."""
    lag = []
    for n in range(400):
        rows, labels = [0.25 + n / 1000] * 256, [1, 1]
        answer = one.infer([{"name": "embeddings", "datatype": "FP32", "shape": [2, 128], "data": rows},
                            {"name": "labels", "datatype": "INT64", "shape": [2], "data": labels}], bank="b", batch_id=f"lag-{n}")
        begun = time.perf_counter()
        other.infer([{"name": "embeddings", "datatype": "FP32", "shape": [2, 128], "data": rows},
                     {"name": "labels", "datatype": "INT64", "shape": [2], "data": labels}], bank="b", enqueue=False,
                    bank_version=answer["bank_version_appended"])
        lag.append(time.perf_counter() - begun)
    lag.sort()
    print(f"a request on another daemon that waits for the version: p50 {lag[200] * 1e3:.2f} ms, p99 {lag[396] * 1e3:.2f} ms")


def catch_up(folder, master):
    big = StoreDaemon(folder / "big", master, "--socket", folder / "big.s", "--log-level", "warn", replicas=0)
    big.bank("big", kind="embeddings", dim=1024, capacity=60000, durability="none")
    import http.client
    import struct
    rows = 512
    data = struct.pack(f"<{rows * 1024}f", *[0.5] * rows * 1024)
    connection = http.client.HTTPConnection("127.0.0.1", big.port, timeout=120)
    for n in range(117):  # no two items have one label: there is nothing to rank
        labels = struct.pack(f"<{rows}q", *range(n * rows, (n + 1) * rows))
        head = json.dumps({"parameters": {"bank": "big", "enqueue": True, "batch_id": f"big-{n}", "lambda": 1},
                           "inputs": [{"name": "embeddings", "datatype": "FP32", "shape": [rows, 1024],
                                       "parameters": {"binary_data_size": len(data)}},
                                      {"name": "labels", "datatype": "INT64", "shape": [rows],
                                       "parameters": {"binary_data_size": len(labels)}}],
                           "outputs": [{"name": "loss"}]}).encode()
        connection.request("POST", "/v2/models/recall/infer", head + data + labels, {"Inference-Header-Content-Length": str(len(head))})
        answer = connection.getresponse()
        body = answer.read()
        assert answer.status == 200, body
    late = StoreDaemon(folder / "late", master, replicas=0)
    wait_until(lambda: late.bank("big")["store_state"] == "current", 120)
    found = late.wait_for_log(r'bank \\"big\\" read from the store: (\d+) items, version (\d+), (\d+) batches in ([0-9.]+) s')
    mib = int(found[1]) * (1024 * 4 + 16) / 2**20
    print(f"catch-up: {mib:.0f} MiB in {float(found[4]):.2f} s, {mib / float(found[4]):.0f} MiB/s")
    with urllib.request.urlopen(f"{late.url}/v2/banks/big") as reply:
        assert json.load(reply)["items"] == int(found[1])
    late.kill()
    big.kill()


if __name__ == "__main__":
    main()
