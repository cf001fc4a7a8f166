#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Two builds of rankd by turns, so that a shared machine disturbs both alike: is the new one slower
anywhere?

    tests/bench/compare.py OLD_BUILD NEW_BUILD [--turns 12]

Each turn runs every case on one build and then on the other; the order changes from turn to turn. A
row shows both medians and the ratio new / old with a 95 % interval: the bootstrap of the ratios of
the turns. Exit status 1 if an interval is above 1.
"""
import argparse
import json
import os
import random
import statistics
import subprocess
import tempfile
from pathlib import Path

import numpy as np

# name, model, lists, items, relevant, runs of a turn
ENGINE = [("ap 128 x 128, P = 4", "ap", 128, 128, 4, 200), ("ap 256 x 4,096, P = 8", "ap", 256, 4096, 8, 40),
          ("ap 256 x 65,536, P = 8", "ap", 256, 65536, 8, 8), ("ap 128 x 100,000, P = 50", "ap", 128, 100_000, 50, 6),
          ("recall 256 x 4,096, P = 8", "recall", 256, 4096, 8, 40), ("ap 1 x 100k, P = 1 %", "ap", 1, 100_000, 1000, 60),
          ("ap 1 x 1M, P = 1 %", "ap", 1, 1_000_000, 10_000, 12), ("ap 1 x 1M, P = 50 %", "ap", 1, 1_000_000, 500_000, 4),
          ("rank_vjp 1 x 1M", "rank_vjp", 1, 1_000_000, 0, 4)]
# name, transport
DAEMON = [("HTTP, 128 x 128, p50", "http"), ("ring, 128 x 128, p50", "ring")]


def write_case(folder, number, lists, items, relevant):
    rng = np.random.default_rng(number)
    scores = rng.random((lists, items), np.float32)
    if relevant:
        second = np.zeros((lists, items), np.int8)
        for row in second:
            row[rng.choice(items, relevant, replace=False)] = 1
    else:
        second = rng.standard_normal((lists, items)).astype(np.float32)
    paths = folder / f"{number}.scores", folder / f"{number}.second"
    scores.tofile(paths[0])
    second.tofile(paths[1])
    return paths


def engine_ms(build, case, paths):
    _, model, lists, items, _, runs = case
    command = [build / "bench/engine", model, "FP32", lists, items, 1, runs, *paths]
    answer = json.loads(subprocess.run([str(a) for a in command], capture_output=True, text=True, check=True).stdout)
    return statistics.median(answer["ms"])


def daemon_ms(build, transport):
    with tempfile.TemporaryDirectory() as folder:
        env = {k: v for k, v in os.environ.items() if not k.startswith("RANKD_")}
        daemon = subprocess.Popen([build / "rankd", "--http", "127.0.0.1:0", "--socket", f"{folder}/s", "--log-level", "error"],
                                  stdout=subprocess.PIPE, text=True, env=env)
        try:
            url = daemon.stdout.readline().split()[-1]
            where = ["--url", url] if transport == "http" else ["--socket", f"{folder}/s"]
            command = [build / "rankctl", "bench", *where, "-Q", "128", "-N", "128", "-P", "4", "-d", "1", "--json"]
            return json.loads(subprocess.run(command, capture_output=True, text=True, check=True,
                                             env=env).stdout)["p50_seconds"] * 1e3
        finally:
            daemon.terminate()
            daemon.wait()


def interval(ratios):
    rng = random.Random(1)
    medians = sorted(statistics.median(rng.choices(ratios, k=len(ratios))) for _ in range(2000))
    return medians[50], medians[1949]


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("old", type=Path)
    parser.add_argument("new", type=Path)
    parser.add_argument("--turns", type=int, default=12)
    arguments = parser.parse_args()
    builds = [arguments.old.resolve(), arguments.new.resolve()]
    with tempfile.TemporaryDirectory() as folder:
        files = [write_case(Path(folder), n, *case[2:5]) for n, case in enumerate(ENGINE)]
        cases = [(case[0], lambda build, case=case, paths=paths: engine_ms(build, case, paths))
                 for case, paths in zip(ENGINE, files)]
        cases += [(name, lambda build, transport=transport: daemon_ms(build, transport)) for name, transport in DAEMON]
        times = {name: ([], []) for name, _ in cases}
        for turn in range(arguments.turns):
            for name, run in cases:
                for which in (0, 1) if turn % 2 else (1, 0):
                    times[name][which].append(run(builds[which]))
    worse = False
    print(f"{'case':28} {'old ms':>9} {'new ms':>9} {'new / old':>9}  95 % interval ({arguments.turns} turns)")
    for name, (old, new) in times.items():
        ratios = [b / a for a, b in zip(old, new)]
        low, high = interval(ratios)
        worse |= low > 1
        print(f"{name:28} {statistics.median(old):9.3f} {statistics.median(new):9.3f} {statistics.median(ratios):9.3f}  "
              f"{low:.3f} to {high:.3f}{'  SLOWER' if low > 1 else ''}")
    return 1 if worse else 0


if __name__ == "__main__":
    raise SystemExit(main())
