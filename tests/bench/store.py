# SPDX-License-Identifier: Apache-2.0
"""Banks in a store beside the bare commands: 32 x 128 FP32 batches, three nodes on this machine,
everysec, WAIT 1.

Prints batches/s and the median time of a request for 1, 4, 16 trainers over 1, 2, 4 daemons, of a
bank of the daemon's own, and of the bare SET + EVALSHA + WAIT by hiredis; how long after its
acknowledgement a batch is there on seven other daemons; how fast a new daemon reads a bank.
OLD=FOLDER measures another build by turns."""
import json
import os
import subprocess
import sys
import tempfile
import urllib.request
from pathlib import Path
from statistics import median

from support_store import EVERYSEC, Store, StoreDaemon, wait_until
from support_bank import BankDaemon

BUILD = Path(os.environ["RANKD_BUILD"])
SECONDS, TURNS = float(os.environ.get("SECONDS_EACH", "2")), int(os.environ.get("TURNS", "5"))
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
    (folder / "alone").mkdir()
    alone = BankDaemon(folder / "alone", "--socket", folder / "alone.s", "--log-level", "warn")
    alone.bank("own", durability="interval", **BANK)
    try:
        appends(folder, master, f"unix:{folder}/alone.s")
        fan_out(folder, master)
        catch_up(folder, master)
    finally:
        for process in (alone, *others, master):
            process.kill()


class Sharing:
    """Daemons of a build that share a bank, only during its measurement: otherwise they would apply
    later appends, on the same cores."""

    def __init__(self, folder, master, count, rankd=BUILD / "rankd", bank="b", capacity=512):
        self.daemons, self.urls = [], []
        for i in range(count):
            path = Path(tempfile.mkdtemp(dir=folder))
            self.daemons.append(StoreDaemon(path, master, "--socket", path / "s", "--log-level", "warn", replicas=1, rankd=rankd))
            wait_until(lambda: self.daemons[-1].bank(bank, **{**BANK, "capacity": capacity})["store_state"] in ("current",
                "behind"))
            self.urls.append(f"unix:{path}/s")

    def __enter__(self):
        return self

    def __exit__(self, *failed):
        for daemon in self.daemons:
            daemon.kill()


def appends(folder, master, alone):
    """By turns: the daemon's own bank, the bare commands, banks in the store; of OLD, another
    build, too."""
    builds = {"": BUILD, **({" of OLD": Path(os.environ["OLD"])} if os.environ.get("OLD") else {})}
    seen = {}
    for _ in range(TURNS):
        for trainers in (1, 4, 16):
            seen.setdefault((trainers, "own"), []).append(numbers(BUILD / "bench/store_load", "own", trainers, SECONDS, alone))
            bare = numbers(BUILD / "bench/store_bare", "127.0.0.1", master.port, SCRIPT, trainers, SECONDS, 1)
            seen.setdefault((trainers, "bare"), []).append(bare)
            for count in (1, 2, 4):
                for name, build in builds.items():
                    with Sharing(folder, master, count, build / "rankd") as sharing:
                        figures = numbers(BUILD / "bench/store_load", "b", trainers, SECONDS, *sharing.urls)
                    seen.setdefault((trainers, f"{count} daemons{name}"), []).append(figures)
    print(f"{TURNS} turns of {SECONDS} s by turns, medians. added: what the store adds to a request's median time, over the "
          "median time of the bare commands; per batch: the same of the time for each batch")
    print(f"{'':32}{'batches/s':>10}{'p50 us':>10}{'added':>8}{'per batch':>11}")
    for (trainers, what), figures in seen.items():
        line = f"{trainers:2} trainers, {what:18}{median(f[0] for f in figures):10.0f}{median(f[1] for f in figures):10.0f}"
        if "daemons" in what:
            rows = list(zip(figures, seen[trainers, "own"], seen[trainers, "bare"]))
            line += f"{median((s[1] - o[1]) / b[1] for s, o, b in rows):8.2f}{median((1 / s[0] - 1 / o[0]) * b[0] for s, o, b in rows):11.2f}"
        print(line, flush=True)


def fan_out(folder, master):
    """The time from the acknowledgement of a batch through one daemon until it is on seven
    others."""
    with Sharing(folder, master, 8, bank="fan", capacity=16384) as sharing:
        for rate in (1000, 500, 250):
            done = subprocess.run([BUILD / "bench/store_fan", "fan", str(rate), "6", *sharing.urls], capture_output=True,
                                  text=True, timeout=120)
            if done.returncode:
                sys.exit(done.stderr)
            reached, p50, p99, most = map(float, done.stdout.split())
            print(f"8 daemons, {rate} batches/s wanted, {reached:.0f} reached: there after p50 {p50 / 1e3:.2f} ms, p99 "
                  f"{p99 / 1e3:.2f} ms, at most {most / 1e3:.2f} ms", flush=True)


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
        connection.request("POST", "/v2/models/recall/infer", head + data + labels,
                           {"Inference-Header-Content-Length": str(len(head))})
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
