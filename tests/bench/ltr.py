#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Learning to rank: lists of different lengths, and the losses of the field, in one run on one
machine with one thread, forward and backward. Times are processor times, which are steadier than
wall times on a busy machine.

Peers: PyTorch as the blackbox paper's code does it, over lists that are padded to the longest;
ApproxNDCG (Qin, Liu, Li, "A general approximation framework for direct optimization of information
retrieval measures", Information Retrieval 13, 2010) and NDCG-Loss2 (Wang, Li, Golbandi, Bendersky,
Najork, "The LambdaLoss framework for ranking metric optimization", CIKM 2018), both over all pairs
of a list, as allRank computes them. They are checked against plain loops first.
"""
import argparse
import json
import math
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import torch
from engine import LAMBDA, Ranker, ranks

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "clients/python"))
from rankd._names import LOSSES  # noqa: E402

PADDING = -1e30  # below every score, so that it changes no rank of an item
CHUNK = 50       # lists whose pairs are in memory at once: 50 MB per tensor at 500 items


# The shares of grades 0 to 4: clicks of a search log, one to five per query, and judgements of
# assessors.
CLICKS, JUDGED = (0.99, 0.01, 0, 0, 0), (0.95, 0.02, 0.015, 0.01, 0.005)


def draw(lists, least, most, shares):
    """Lists of random lengths, and scores that know a little of the grades."""
    random = np.random.default_rng(1)
    sizes = random.integers(least, most + 1, lists)
    offsets = np.concatenate([[0], np.cumsum(sizes)]).astype(np.int64)
    grades = random.choice(5, int(offsets[-1]), p=shares).astype(np.int8)
    grades[offsets[:-1]] = 1  # every list has something to find
    scores = (random.standard_normal(len(grades)) + 0.3 * grades).astype(np.float32)
    return scores, grades, offsets


def pad(flat, offsets, value):
    sizes = np.diff(offsets)
    padded = np.full((len(sizes), sizes.max()), value, flat.dtype)
    padded[np.arange(sizes.max())[None] < sizes[:, None]] = flat
    return torch.from_numpy(padded)


# ---- the same losses by PyTorch, padded ----

def torch_ap(scores, targets):
    x = scores.clone().requires_grad_()
    n = x.shape[1]
    rank = Ranker.apply(x, LAMBDA * x.shape[0]) * n
    with torch.no_grad():
        own = ranks(torch.where(targets > 0, x, torch.full_like(x, -1e31)))
    loss = (1 - ((own / rank) * (targets > 0)).sum(1) / (targets > 0).sum(1)).mean()
    loss.backward()
    return loss.item()


def torch_ndcg(scores, grades):
    x = scores.clone().requires_grad_()
    gain = 2.0 ** grades - 1
    rank = Ranker.apply(x, LAMBDA * x.shape[0]) * x.shape[1]
    with torch.no_grad():
        best = torch.sort(gain, dim=1, descending=True).values
        ideal = (best / torch.log2(torch.arange(gain.shape[1]) + 2.0)).sum(1)
    loss = (1 - (gain / torch.log2(1 + rank)).sum(1) / ideal).mean()
    loss.backward()
    return loss.item()


# ---- the losses of the field, over pairs ----

def ideal_dcg(grades):
    best = torch.sort(2.0 ** grades - 1, dim=1, descending=True).values
    return (best / torch.log2(torch.arange(grades.shape[1]) + 2.0)).sum(1)


def approx_ndcg(scores, grades, alpha=1.0):
    """1 - NDCG at positions 1 + Σ_j sigmoid(alpha (s_j - s_i)), j != i (equations 10 and 15 of the
    paper)."""
    above = torch.sigmoid(alpha * (scores[:, None, :] - scores[:, :, None])).sum(2) - 0.5  # the item itself counts one half
    return (1 - ((2.0 ** grades - 1) / torch.log2(2 + above)).sum(1) / ideal_dcg(grades)).sum()


def lambda_loss(scores, grades):
    """Σ of pairs with y_i > y_j of |G_i - G_j| · |1/D(d) - 1/D(d + 1)| · log2(1 + e^(s_j - s_i)), d
    = |rank_i - rank_j|, D(d) = log2(1 + d), G = gain / ideal DCG (equations 15 and 16)."""
    order = torch.argsort(scores, dim=1, descending=True)
    s, y = scores.gather(1, order), grades.gather(1, order)
    with torch.no_grad():
        gain = (2.0 ** y - 1) / ideal_dcg(grades)[:, None]
        place = torch.arange(s.shape[1])
        d = (place[:, None] - place[None]).abs().float()
        step = torch.where(d > 0, (1 / torch.log2(1 + d) - 1 / torch.log2(2 + d)).abs(), torch.zeros_like(d))
        weight = (gain[:, :, None] - gain[:, None, :]).abs() * step * (y[:, :, None] > y[:, None, :])
    return (weight * torch.nn.functional.softplus(s[:, None, :] - s[:, :, None])).sum() / math.log(2)


def in_chunks(loss, scores, grades):
    x = scores.clone().requires_grad_()
    total = 0.0
    for first in range(0, len(x), CHUNK):
        part = loss(x[first:first + CHUNK], grades[first:first + CHUNK]) / len(x)
        part.backward()
        total += part.item()
    return total


def check():
    """The pairwise losses against loops over the pairs, as the papers write them; their gradients
    by differences."""
    random = np.random.default_rng(2)
    s, y = random.standard_normal(7), random.integers(0, 4, 7)
    gain = 2.0 ** y - 1
    ideal = sum(g / math.log2(1 + r) for r, g in enumerate(sorted(gain, reverse=True), 1))
    place = np.argsort(np.argsort(-s)) + 1
    soft = [1 + sum(1 / (1 + math.exp(s[i] - s[j])) for j in range(7) if j != i) for i in range(7)]
    wanted = {approx_ndcg: 1 - sum(g / math.log2(1 + p) for g, p in zip(gain, soft)) / ideal, lambda_loss: 0.0}
    for i in range(7):
        for j in range(7):
            if y[i] > y[j]:
                d = abs(int(place[i]) - int(place[j]))
                wanted[lambda_loss] += (abs(gain[i] - gain[j]) / ideal * abs(1 / math.log2(1 + d) - 1 / math.log2(2 + d))
                                        * math.log2(1 + math.exp(s[j] - s[i])))
    for loss, value in wanted.items():
        x = torch.tensor(s[None], requires_grad=True)
        grades = torch.tensor(y[None])
        got = loss(x, grades)
        assert abs(got.item() - value) < 1e-6, (loss.__name__, got.item(), value)
        got.backward()
        for i in range(7):
            nearby = [loss(x.detach() + e * torch.eye(7)[i], grades).item() for e in (1e-5, -1e-5)]
            assert abs((nearby[0] - nearby[1]) / 2e-5 - x.grad[0, i].item()) < 1e-5, loss.__name__


class Engine:
    """rankd's engine in a separate process, on files."""

    def __init__(self, program, folder, runs):
        self.program, self.folder, self.runs = program, folder, runs

    def __call__(self, model, scores, targets, offsets=None, shape=None):
        for name, array in (("scores", scores), ("targets", targets), ("offsets", offsets)):
            if array is not None:
                array.tofile(self.folder / name)
        lists, items = shape or (len(offsets) - 1, len(scores))
        more = [] if offsets is None else ["-", str(self.folder / "offsets")]
        done = subprocess.run([self.program, model, "FP32", str(lists), str(items), "1", str(self.runs),
                               str(self.folder / "scores"), str(self.folder / "targets"), *more], check=True, capture_output=True,
                               text=True)
        seen = json.loads(done.stdout)
        return statistics.median(seen["cpu_ms"]), seen["loss"]


def median_ms(run, runs):
    times = []
    for _ in range(runs):
        start = time.process_time()
        run()
        times.append((time.process_time() - start) * 1e3)
    return statistics.median(times)


def ragged(engine, runs):
    """Rows of the ragged case: rankd, PyTorch over padded lists, and rankd on a matrix of about as
    many items."""
    for kind, shares in (("clicks", CLICKS), ("judged", JUDGED)):
        yield from ragged_rows(engine, runs, kind, *draw(10_000, 20, 500, shares))


def ragged_rows(engine, runs, kind, scores, grades, offsets):
    width = len(scores) // 10_000
    whole = 10_000 * width
    padded, padded_grades = pad(scores, offsets, PADDING), pad(grades, offsets, 0)
    for model in [m for m in ("ap", "ndcg") if m in LOSSES]:
        targets = (grades > 0).astype(np.int8) if model == "ap" else grades
        mine, loss = engine(model, scores, targets, offsets)
        matrix, _ = engine(model, scores[:whole], targets[:whole], shape=(10_000, width))
        padded_targets = (padded_grades > 0).to(torch.int8) if model == "ap" else padded_grades
        peer = torch_ap if model == "ap" else torch_ndcg
        found = peer(padded, padded_targets)
        assert abs(found - loss) < 1e-4, (model, found, loss)
        theirs = median_ms(lambda: peer(padded, padded_targets), runs)
        yield {"name": f"{model}, 10,000 x 20 to 500, {kind}", "items": len(scores), "rankd_ms": mine, "matrix_ms": matrix,
               "peer": "PyTorch, padded", "peer_ms": theirs, "ratio": theirs / mine, "goal": 50}


def pairwise(engine, runs):
    """Rows of 1,000 x 500 beside the pairwise losses."""
    scores, grades, _ = draw(1000, 500, 500, JUDGED)
    model = "ndcg" if "ndcg" in LOSSES else "ap"
    targets = grades if model == "ndcg" else (grades > 0).astype(np.int8)
    mine, _ = engine(model, scores, targets, shape=(1000, 500))
    s, y = torch.from_numpy(scores.reshape(1000, 500)), torch.from_numpy(grades.reshape(1000, 500))
    for name, loss in (("ApproxNDCG", approx_ndcg), ("LambdaLoss (NDCG-Loss2)", lambda_loss)):
        theirs = median_ms(lambda loss=loss: in_chunks(loss, s, y), runs)
        yield {"name": f"{model}, 1,000 x 500", "items": 500_000, "rankd_ms": mine, "matrix_ms": None, "peer": name,
               "peer_ms": theirs, "ratio": theirs / mine, "goal": 20}


def show(row):
    matrix = "" if row["matrix_ms"] is None else f" (as a matrix of as many items {row['matrix_ms']:.2f} ms)"
    print(f"{row['name']:34} rankd {row['rankd_ms']:8.2f} ms{matrix} | {row['peer']} {row['peer_ms']:9.1f} ms | "
          f"{row['ratio']:.0f} x (goal {row['goal']})", flush=True)


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--program", required=True)
    parser.add_argument("--out", required=True, type=Path)
    parser.add_argument("--runs", type=int, default=3, help="of PyTorch")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    arguments.out.mkdir(parents=True, exist_ok=True)
    check()
    rows = []
    with tempfile.TemporaryDirectory(dir="/dev/shm" if Path("/dev/shm").is_dir() else None) as folder:
        engine = Engine(arguments.program, Path(folder), 51)
        for case in (ragged, pairwise):
            for row in case(engine, arguments.runs):
                rows.append(row)
                show(row)
    (arguments.out / "ltr.json").write_text(json.dumps({"cases": rows}, indent=1) + "\n")
    print(f"{arguments.out}/ltr.json")


if __name__ == "__main__":
    main()
