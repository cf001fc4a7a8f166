#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Detection: one list of all anchors, and a list for each class, beside the AP losses of detectors
in PyTorch, forward and backward, in one run on one machine with one thread. Times are processor
times, the least of some turns. Two rows of learning to rank (`ndcg` over lists of different
lengths) stand in the same table.

Peers: the AP-loss with its loop over positives (Chen et al., "Towards Accurate One-Stage Object
Detection with AP-Loss", CVPR 2019) and its bucketed form (Yavuz et al., "Bucketed Ranking-based
Losses for Efficient Training of Object Detectors", ECCV 2024), which the detection recipe trains
with. tests/python/test_detection_peers.py checks both against their definition.
"""
import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import torch

ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT / "tests/bench"), str(ROOT / "recipes"), str(ROOT / "clients/python")]
from bccd.losses import ap_bucketed  # noqa: E402

GOAL = 10  # times the bucketed loss
CLASSES = 8
# anchors, positives
SIZES = [(20_000, 100), (100_000, 500), (500_000, 2000)]


def ap_loss_loop(logits: torch.Tensor, wanted: torch.Tensor, delta: float = 1.0) -> tuple[float, torch.Tensor]:
    """The AP-loss of one list and the error of each item, positive by positive, as the authors'
    code has it: the pair of a positive and a negative errs by a step of width 2 delta, divided by
    the positive's rank. (They also let precision not fall with recall; the bucketed form does not,
    and neither does this.)"""
    positive = torch.nonzero(wanted)[:, 0]
    error = torch.zeros_like(logits)
    if len(positive) == 0:
        return 0.0, error
    negative = torch.nonzero(~wanted & (logits > logits[positive].min() - delta))[:, 0]
    below, own, total = logits[negative], logits[positive], 0.0
    for i, at in enumerate(positive.tolist()):
        above = ((below - own[i]) / (2 * delta) + 0.5).clamp(0, 1)
        among = ((own - own[i]) / (2 * delta) + 0.5).clamp(0, 1)
        among[i] = 0
        share = above / (1 + above.sum() + among.sum())
        error[negative] += share
        error[at] = -share.sum()
        total -= float(error[at])
    return total / len(positive), error / len(positive)


def loop(logits: torch.Tensor, classes: torch.Tensor) -> float:
    return sum(ap_loss_loop(logits[:, c], classes == c)[0] for c in range(logits.shape[1])) / logits.shape[1]


def bucketed(logits: torch.Tensor, classes: torch.Tensor) -> float:
    total = 0.0
    for c in range(logits.shape[1]):
        one = logits[:, c:c + 1].clone().requires_grad_()
        loss = ap_bucketed(one, torch.where(classes == c, 0, -1), torch.empty(0))
        loss.backward()
        total += loss.item()
    return total / logits.shape[1]


def draw(anchors: int, positives: int, classes: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Logits [anchors, classes] of a detector in training, and the class of each anchor, -1 for
    background."""
    random = np.random.default_rng(1)
    logits = random.standard_normal((anchors, classes)).astype(np.float32) - 4
    label = np.full(anchors, -1)
    places = random.choice(anchors, positives, replace=False)
    label[places] = np.arange(positives) % classes
    logits[places, label[places]] += random.normal(3, 1.5, positives).astype(np.float32)
    return torch.from_numpy(logits), torch.from_numpy(label)


def rankd_ms(program: str, folder: Path, logits: torch.Tensor, classes: torch.Tensor, runs: int) -> tuple[float, float]:
    targets = (classes[:, None] == torch.arange(logits.shape[1])[None]).to(torch.int8)
    logits.numpy().tofile(folder / "scores")
    targets.numpy().tofile(folder / "targets")
    rows, axis = (logits.shape, "0") if logits.shape[1] > 1 else (logits.shape[::-1], "1")
    done = subprocess.run([program, "ap", "FP32", *map(str, rows), "1", str(runs), str(folder / "scores"),
                           str(folder / "targets")],
                          check=True, capture_output=True, text=True, env={**os.environ, "AXIS": axis})
    seen = json.loads(done.stdout)
    return min(seen["cpu_ms"]), seen["loss"]


def cpu_ms(run) -> float:
    start = time.process_time()
    run()
    return (time.process_time() - start) * 1e3


def detection_row(program, folder, anchors, positives, classes, turns):
    logits, label = draw(anchors, positives, classes)
    times = {"rankd": [], "bucketed": [], "loop": []}
    for turn in range(turns):
        ms, loss = rankd_ms(program, folder, logits, label, 7)
        times["rankd"].append(ms)
        times["bucketed"].append(cpu_ms(lambda: bucketed(logits, label)))
        if turn == 0:
            times["loop"].append(cpu_ms(lambda: loop(logits, label)))
    found = bucketed(logits, label)  # the loss with a step of width 0 is also 1 - AP
    assert abs(found - loss) < 1e-4, (found, loss)
    best = {name: min(values) for name, values in times.items()}
    shape = "one list" if classes == 1 else f"{classes} classes"
    return {"name": f"{anchors:,} anchors, {positives:,} positives, {shape}", "ms": best, "goal": GOAL,
            "ratio": best["bucketed"] / best["rankd"], "loop_ratio": best["loop"] / best["rankd"]}


def ranking_row(program, folder, kind, shares, turns):
    import ltr
    scores, grades, offsets = ltr.draw(2_000, 20, 500, shares)
    engine = ltr.Engine(program, folder, 15)
    padded, padded_grades = ltr.pad(scores, offsets, ltr.PADDING), ltr.pad(grades, offsets, 0)
    mine, theirs = [], []
    for _ in range(turns):
        mine.append(engine("ndcg", scores, grades, offsets)[0])
        theirs.append(cpu_ms(lambda: ltr.torch_ndcg(padded, padded_grades)))
    return {"name": f"ndcg, 2,000 lists of 20 to 500, {kind}", "ms": {"rankd": min(mine), "padded": min(theirs)}, "goal": 50,
            "ratio": min(theirs) / min(mine)}


def show(row):
    peers = ", ".join(f"{name} {ms:.2f} ms" for name, ms in row["ms"].items())
    more = f", the loop {row['loop_ratio']:.0f} x" if "loop_ratio" in row else ""
    print(f"{row['name']:46} {peers} | {row['ratio']:.1f} x (goal {row['goal']}){more}", flush=True)


def main():
    import ltr
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--program", required=True)
    parser.add_argument("--out", required=True, type=Path)
    parser.add_argument("--turns", type=int, default=5)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    arguments.out.mkdir(parents=True, exist_ok=True)
    rows = []
    with tempfile.TemporaryDirectory(dir="/dev/shm" if Path("/dev/shm").is_dir() else None) as folder:
        for classes in (1, CLASSES):
            for anchors, positives in SIZES:
                rows.append(detection_row(arguments.program, Path(folder), anchors, positives, classes, arguments.turns))
                show(rows[-1])
        for kind, shares in (("clicks", ltr.CLICKS), ("judged", ltr.JUDGED)):
            rows.append(ranking_row(arguments.program, Path(folder), kind, shares, arguments.turns))
            show(rows[-1])
    (arguments.out / "detection.json").write_text(json.dumps({"cases": rows}, indent=1) + "\n")
    print(f"{arguments.out}/detection.json")


if __name__ == "__main__":
    main()
