#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Starts a daemon and two trainers, shows their progress, then a table and a plot. `make demo` runs
it.

The first table is about digits that no training saw: there the choice of a loss matters. Fails
(exit 1) if the rank losses do not reach their goals: mean mAP of `ap` and `recall` on these digits
at least 0.7, and at least 0.02 more mAP from the memory bank where batches are small.
"""
from __future__ import annotations

import argparse
import dataclasses
import json
import os
import socket
import subprocess
import sys
import tempfile
import time
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(HERE), str(HERE.parent)]

import rankd  # noqa: E402
import steptimes  # noqa: E402
from plan import LARGE_ROWS, SMALL_ROWS, Run, plan  # noqa: E402
from table import Row, show, summary  # noqa: E402

TRAINERS = 2


def main() -> int:
    options = arguments()
    runs = plan(options.seeds, options.steps, not options.no_bank)
    with tempfile.TemporaryDirectory(prefix="rankd-demo-") as folder:
        os.environ.setdefault("RANKD_LIBRARY", str(options.daemon.resolve().with_name("librankd.so.0")))
        http, ring, daemon = start_daemon(options.daemon, Path(folder))
        try:
            print(f"daemon at {http} and {ring} (log: {folder}/daemon.log), {TRAINERS} trainers over the ring, "
                  f"{len(runs)} trainings of {options.steps} steps", flush=True)
            history = watch(start_trainers(ring, runs), runs)
            print(work_done(rankd.connect(http)))
            print(steptimes.compared({"ring": ring, "HTTP": http}))
        except BaseException:
            print((Path(folder) / "daemon.log").read_text()[-2000:], file=sys.stderr)
            raise
        finally:
            daemon.terminate()
            daemon.wait(60)
    rows = summary(history, runs)
    show(rows, options.seeds)
    from plot import plot

    print(f"plot: {plot(history, runs, options.plot)}")
    return verdict(rows, options)


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--daemon", type=Path, required=True, help="the rankd executable")
    parser.add_argument("--plot", type=Path, required=True, help="where the PNG goes")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--steps", type=int, default=300)
    parser.add_argument("--no-bank", action="store_true", help="leave the part about the memory bank out")
    parser.add_argument("--least-map", type=float, default=0.7, help="what ap and recall must reach on unseen digits")
    parser.add_argument("--least-gain", type=float, default=0.02, help="what the bank must bring")
    return parser.parse_args()


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def start_daemon(executable: Path, folder: Path) -> tuple[str, str, subprocess.Popen[str]]:
    """On a free port of loopback and a socket in the folder, with its data there too. Returns both
    URLs when it listens."""
    with (folder / "daemon.log").open("wb") as log:
        daemon = subprocess.Popen([executable, "--http", "127.0.0.1:0", "--socket", folder / "ring", "--data", folder / "data"],
                                  stderr=log, stdout=subprocess.PIPE, text=True)
    assert daemon.stdout is not None
    said = daemon.stdout.readline()  # "listening on http://127.0.0.1:PORT", or the end
    if not said.startswith("listening on "):
        daemon.kill()
        sys.exit(f"the daemon did not start:\n{(folder / 'daemon.log').read_text()}")
    return said.split()[-1], f"unix:{folder}/ring", daemon


def start_trainers(url: str, runs: list[Run]) -> list[subprocess.Popen[str]]:
    text = json.dumps([dataclasses.asdict(run) for run in runs])
    common = dict(os.environ, RANKD_URL=url, WORLD_SIZE=str(TRAINERS), MASTER_ADDR="127.0.0.1",
                  MASTER_PORT=str(free_port()), PYTHONPATH=f"{HERE.parent}:{HERE}", OMP_NUM_THREADS="1",
                  GLOO_SOCKET_IFNAME="lo")
    return [subprocess.Popen([sys.executable, HERE / "trainer.py", text], env=dict(common, RANK=str(rank)), text=True,
                             stdout=subprocess.PIPE if rank == 0 else None) for rank in range(TRAINERS)]


def watch(trainers: list[subprocess.Popen[str]], runs: list[Run]) -> list[dict[str, float]]:
    """Shows progress until the trainers have ended. Returns the reports of rank 0."""
    total, done, history = sum(run.steps for run in runs), 0, []
    begun = time.monotonic()
    last: dict[tuple[str, int], int] = {}
    assert trainers[0].stdout is not None
    try:
        for line in trainers[0].stdout:
            entry = json.loads(line)
            history.append(entry)
            key = (entry["row"], entry["seed"])
            done += entry["step"] - last.get(key, 0)
            last[key] = entry["step"]
            progress(done, total, entry, time.monotonic() - begun)
        failed = [trainer.wait(60) for trainer in trainers]
    finally:
        for trainer in trainers:
            trainer.kill()
    if any(failed):
        raise SystemExit(f"a trainer failed (exit codes {failed}); what it said is above")
    print()
    return history


def progress(done: int, total: int, entry: dict[str, float], seconds: float) -> None:
    filled = int(30 * done / total)
    text = (f"[{'#' * filled}{'.' * (30 - filled)}] {100 * done // total:3d} %  {seconds:4.0f} s  "
            f"{entry['row']}, seed {entry['seed']}: loss {entry['loss']:.3f}, mAP {entry['mAP']:.3f}")
    if sys.stdout.isatty():
        print(f"\r{text:<110}", end="", flush=True)
    elif entry["step"] % 100 == 0:
        print(text, flush=True)


def work_done(client: rankd.Client) -> str:
    """A line about the work of the daemon, from its statistics."""
    counts = [entry["inference_stats"] for entry in client.stats()]
    requests = sum(entry["success"]["count"] for entry in counts)
    total, compute = (sum(entry[kind]["ns"] for entry in counts) / max(requests, 1) / 1e6
                      for kind in ("success", "compute_infer"))
    return f"the daemon answered {requests:,} requests in {total:.2f} ms each, of which {compute:.2f} ms were the computation"


def verdict(rows: dict[str, Row], options: argparse.Namespace) -> int:
    wrong = [f"mean mAP of {name} is {rows[name].precision.mean:.3f}; it must be at least {options.least_map}"
             for name in LARGE_ROWS if name != "contrastive" and rows[name].precision.mean < options.least_map]
    if not options.no_bank:
        _, without, with_bank = (rows[name].precision.mean for name in SMALL_ROWS)
        print(f"the bank brings {with_bank - without:+.3f} mAP at {TRAINERS} x 10 images a step")
        if with_bank - without < options.least_gain:
            wrong.append(f"the bank brings {with_bank - without:+.3f} mAP; it must bring at least {options.least_gain}")
    for sentence in wrong:
        print(f"FAILED: {sentence}", file=sys.stderr)
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
