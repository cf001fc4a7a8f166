#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""The engine beside its peers, one thread, forward and backward, in one run on one machine.

Peers: PyTorch as the paper's code does it (ranks by argsort of argsort, before and after the
perturbation, through autograd); PyTorch comparing every relevant item with all scores (no sort);
and the bare reads and writes.
"""
import argparse
import json
import statistics
import subprocess
import tempfile
import time
from pathlib import Path

import numpy as np
import torch

# name, lists, items, relevant, type, threads, kind of scores, goal against PyTorch, goal against
# the floor
CASES = [
    ("128 x 128 x 4", 128, 128, 4, "FP32", 1, "uniform", None, None),
    ("256 x 4,096, P = 8", 256, 4096, 8, "FP32", 1, "uniform", 300, 6),
    ("256 x 65,536, P = 8", 256, 65536, 8, "FP32", 1, "uniform", 300, 4),
    ("128 x 100,000, P = 50", 128, 100_000, 50, "FP32", 1, "uniform", 150, 8),
    ("1 x 100k, P = 1 %", 1, 100_000, 1000, "FP32", 1, "uniform", 100, 20),
    ("1 x 1M, P = 1 %", 1, 1_000_000, 10_000, "FP32", 1, "uniform", 100, 20),
    ("1 x 10M, P = 1 %", 1, 10_000_000, 100_000, "FP32", 1, "uniform", 100, 14),
    ("1 x 10M, P = 50 %", 1, 10_000_000, 5_000_000, "FP32", 1, "uniform", 20, None),
    ("rank_vjp, 1 x 10M", 1, 10_000_000, 0, "FP32", 1, "uniform", 10, None),
    ("256 x 65,536, P = 8, FP16", 256, 65536, 8, "FP16", 1, "uniform", None, None),
    ("1 x 1M, P = 1 %, FP16", 1, 1_000_000, 10_000, "FP16", 1, "uniform", None, None),
    ("1 x 1M, P = 1 %, all equal", 1, 1_000_000, 10_000, "FP32", 1, "equal", None, None),
    ("1 x 1M, P = 1 %, sorted", 1, 1_000_000, 10_000, "FP32", 1, "sorted", None, None),
    ("1 x 1M, P = 1 %, reverse", 1, 1_000_000, 10_000, "FP32", 1, "reverse", None, None),
    ("1 x 1M, P = 1 %, two values", 1, 1_000_000, 10_000, "FP32", 1, "two", None, None),
    ("1 x 1M, P = 1 %, one outlier", 1, 1_000_000, 10_000, "FP32", 1, "outlier", None, None),
    ("1 x 1M, P = 1 %, few ulps", 1, 1_000_000, 10_000, "FP32", 1, "ulps", None, None),
]
LONGEST = ("1 x 100M, P = 1 %", 1, 100_000_000, 1_000_000, "FP32", 1, "uniform", 100, 14)
LAMBDA = 1.0
# name, lists, shortest and longest list, relevant items of a list; turns and runs of a turn
GRADED = [("256 x 4,096, P = 8", 256, 4096, 4096, 8, 8, 60), ("1 x 1M, P = 1 %", 1, 1_000_000, 1_000_000, 10_000, 8, 8),
          ("10,000 x 20 ... 500, P = 8", 10_000, 20, 500, 8, 8, 6)]
GRADED_GOAL = 1.3  # times the time of ap


def draw(q, n, p, kind):
    random = np.random.default_rng(1)
    scores = random.random((q, n), dtype=np.float32)
    targets = np.zeros((q, n), np.int8)
    for row in targets:
        row[random.choice(n, p, replace=False) if p * 4 < n else random.permutation(n)[:p]] = 1
    if kind == "equal":
        scores[:] = 0.25
    elif kind == "sorted":
        scores.sort(axis=1)
    elif kind == "reverse":
        scores = -np.sort(-scores, axis=1)
    elif kind == "two":
        scores = np.where(scores < 0.5, np.float32(0.25), np.float32(0.75))
    elif kind == "outlier":
        scores[:, 0], targets[:, 0] = 1e30, 1
    elif kind == "ulps":
        scores = (np.float32(0.5) + (scores * 8).astype(np.int32).astype(np.float32) * np.float32(2**-24)).astype(np.float32)
    return scores, targets


def ranks(x):
    """1 = best, as the paper's code: the argsort of an argsort."""
    return torch.argsort(torch.argsort(x, dim=1, descending=True), dim=1).float() + 1


class Ranker(torch.autograd.Function):
    """Blackbox differentiation of the ranking (Rolinek et al., CVPR 2020, algorithm 1), ranks
    normalized."""

    @staticmethod
    def forward(ctx, scores, step):
        rank = ranks(scores)
        ctx.step = step
        ctx.save_for_backward(scores, rank)
        return rank / scores.shape[1]

    @staticmethod
    def backward(ctx, upstream):
        scores, rank = ctx.saved_tensors
        after = ranks(scores + ctx.step * upstream)
        return -(rank - after) / (ctx.step * scores.shape[1]), None


def torch_ap(scores, targets):
    """1 - AP of each row, averaged; the ranks among the relevant items by a separate sort."""
    x = scores.clone().requires_grad_()
    n = x.shape[1]
    rank = Ranker.apply(x, LAMBDA * x.shape[0]) * n
    with torch.no_grad():
        own = ranks(torch.where(targets > 0, x, torch.full_like(x, -1e30)))
    loss = (1 - ((own / rank) * (targets > 0)).sum(1) / (targets > 0).sum(1)).mean()
    loss.backward()
    return loss.item()


def torch_vjp(scores, upstream):
    before = ranks(scores)
    after = ranks(scores + LAMBDA * upstream)
    return (-(before - after) / (LAMBDA * scores.shape[1])).sum().item()


def torch_compare(scores, targets):
    """The same differences without a sort of the list: every relevant item compared with all
    scores, twice."""
    total = 0.0
    for s, t in zip(scores, targets):
        n, place = len(s), torch.nonzero(t > 0)[:, 0]
        own = s[place]
        order = torch.argsort(own, descending=True)
        own, delta = own[order], torch.zeros_like(s)
        irrelevant = t <= 0
        rp = torch.arange(1, len(own) + 1, dtype=torch.float64)
        irrelevant_above = torch.stack([((s >= y) & irrelevant).sum() for y in own]).double()
        rank = rp + irrelevant_above
        total += (irrelevant_above / rank).mean().item()
        moved = (own.double() + LAMBDA * n * rp / (len(own) * rank * rank)).float()
        for y, z in zip(own, moved):
            delta += (y > s).float() - (z > s).float()
        delta[place] = 0
        (-delta / (LAMBDA * n)).sum()
    return total / len(scores)


def median_ms(run, runs):
    times = []
    for _ in range(runs):
        start = time.perf_counter()
        run()
        times.append((time.perf_counter() - start) * 1e3)
    return statistics.median(times)


def compare_ms(scores, targets, p, limit):
    """The time of as many lists and relevant items as are fast enough, scaled up; None if that
    would be meaningless."""
    q, n = scores.shape
    lists = max(1, min(q, limit // max(1, n * p)))
    some = min(p, max(8, limit // n))
    s, t = scores[:lists], targets[:lists].clone()
    for row in t:
        row[torch.nonzero(row > 0)[some:, 0]] = 0
    return median_ms(lambda: torch_compare(s, t), 3) * (q / lists) * (p / some), some < p or lists < q


def run_case(case, program, folder, runs, limit, peers=True):
    name, q, n, p, dtype, threads, kind, goal, floor_goal = case
    vjp = p == 0
    scores, targets = draw(q, n, p, kind)
    if vjp:
        targets = np.random.default_rng(2).standard_normal((q, n), dtype=np.float32)
    narrow = scores.astype(np.float16) if dtype == "FP16" else scores
    narrow.tofile(folder / "scores")
    targets.tofile(folder / "second")
    count = 101 if q * n < 2_000_000 else 11 if q * n < 20_000_000 else 5

    def run(threads):
        done = subprocess.run([program, "rank_vjp" if vjp else "ap", dtype, str(q), str(n), str(threads), str(count),
                               str(folder / "scores"), str(folder / "second")], check=True, capture_output=True, text=True)
        return json.loads(done.stdout)

    seen = run(threads)
    mine, floor = statistics.median(seen["ms"]), statistics.median(seen["floor_ms"])
    row = {"name": name, "q": q, "n": n, "p": p, "dtype": dtype, "threads": threads, "scores": kind,
           "rankd_ms": mine, "rankd_best_ms": min(seen["ms"]), "rankd_ns_item": mine * 1e6 / (q * n),
           "floor_ms": floor, "floor_ratio": statistics.median(a / b for a, b in zip(seen["ms"], seen["floor_ms"])),
           "floor_goal": floor_goal, "goal": goal, "runs": count, "cpu": seen["cpu"],
           "scratch_bytes_item": seen["scratch"] / (q * n), "reference_ms": None, "ratio": None}
    if peers and goal is not None:
        row["two_threads_ms"] = statistics.median(run(2)["ms"])
        row["two_threads_ratio"] = mine / row["two_threads_ms"]
    if peers and threads == 1 and dtype == "FP32" and kind == "uniform":
        s, t = torch.from_numpy(scores), torch.from_numpy(targets)
        peer = (lambda: torch_vjp(s, t)) if vjp else (lambda: torch_ap(s, t))
        row["reference_runs"] = runs if q * n < 50_000_000 else 1
        if q * n >= 5_000_000 and q > 1:  # lists are independent: some of them, scaled up
            some = max(1, 2_000_000 // n)
            s, t = s[:some], t[:some]
            row["reference_lists"] = some
        row["reference_ms"] = median_ms(peer, row["reference_runs"]) * q / len(s)
        row["ratio"] = row["reference_ms"] / mine
        if not vjp:
            row["compare_ms"], row["compare_scaled"] = compare_ms(torch.from_numpy(scores), torch.from_numpy(targets), p, limit)
            row["compare_ratio"] = row["compare_ms"] / mine
    return row


def run_graded(case, program, folder):
    """ndcg (grades 1 to 4 where ap has 1) and mrr beside ap, by turns: the least time of each turn,
    and the ratio of the medians. At an equal lambda ndcg moves more items than ap, which costs time
    too: both numbers are shown."""
    name, q, shortest, longest, p, turns, count = case
    random = np.random.default_rng(1)
    lengths = random.integers(shortest, longest + 1, q)
    offsets = np.concatenate([[0], np.cumsum(lengths)])
    scores, targets, grades = random.random(offsets[-1], np.float32), np.zeros(offsets[-1], np.int8), np.zeros(offsets[-1],
        np.int8)
    for start, length in zip(offsets, lengths):
        places = start + random.choice(length, min(p, length), replace=False)
        targets[places], grades[places] = 1, random.integers(1, 5, len(places))
    for file, values in (("scores", scores), ("second", targets), ("grades", grades), ("offsets", offsets.astype(np.int64))):
        values.tofile(folder / file)
    ragged = ["-", str(folder / "offsets")] if shortest != longest else []
    row = {"name": name, "goal": GRADED_GOAL, "ms": {}, "moved": {}}
    times = {"ap": [], "ndcg": [], "mrr": []}
    for turn in range(turns):
        for model in list(times)[::1 if turn % 2 else -1]:
            done = subprocess.run([program, model, "FP32", str(q), str(offsets[-1] if ragged else longest), "1", str(count),
                                   str(folder / "scores"), str(folder / ("grades" if model == "ndcg" else "second")), *ragged],
                                  check=True, capture_output=True, text=True)
            seen = json.loads(done.stdout)
            times[model].append(min(seen["ms"]))
            row["moved"][model] = seen["nonzero"]
    row["ms"] = {model: statistics.median(values) for model, values in times.items()}
    row["ratio"] = {model: row["ms"][model] / row["ms"]["ap"] for model in ("ndcg", "mrr")}
    return row


def show_graded(row):
    each = ", ".join(f"{model} {row['ms'][model]:.3f} ms ({row['moved'][model]:,} items moved)" for model in row["ms"])
    print(f"{row['name']:32} {each} | ndcg {row['ratio']['ndcg']:.2f} x (goal {row['goal']}), mrr {row['ratio']['mrr']:.2f} x of "
          "ap",
          flush=True)


def show(row):
    def cell(value, form="%.1f"):
        return "-" if value is None else form % value

    goal = "" if row["goal"] is None else f" (goal {row['goal']})"
    floor_goal = "" if row["floor_goal"] is None else f" (goal {row['floor_goal']})"
    print(f"{row['name']:32} {row['rankd_ms']:10.3f} ms {row['rankd_ns_item']:8.2f} ns/item | PyTorch "
          f"{cell(row['ratio'])} x{goal} | compare-and-count {cell(row.get('compare_ratio'))} x | reads and writes "
          f"{cell(row['floor_ratio'])} x{floor_goal} | two threads {cell(row.get('two_threads_ratio'), '%.2f')} x | "
          f"scratch {row['scratch_bytes_item']:.2f} B/item", flush=True)


def plot(program, folder, path):
    """Nanoseconds per item over n, P = 1 % and P = 8."""
    import matplotlib
    matplotlib.use("Agg")
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(figsize=(7, 4.2))
    for label, relevant in (("P = 8", lambda n: 8), ("P = 1 %", lambda n: max(1, n // 100)), ("P = 10 %", lambda n: n // 10)):
        points = []
        for n in (1000, 4000, 16_000, 64_000, 250_000, 1_000_000, 4_000_000):
            case = (label, max(1, 64_000 // n), n, relevant(n), "FP32", 1, "uniform", None, None)
            points.append((n, run_case(case, program, folder, 1, 0, peers=False)))
        axes.plot([n for n, _ in points], [r["rankd_ns_item"] for _, r in points], marker="o", label=label)
        if label == "P = 8":
            axes.plot([n for n, _ in points], [r["floor_ms"] * 1e6 / (r["q"] * n) for n, r in points], "k--",
                      label="bare reads and writes")
    axes.set(xscale="log", yscale="log", xlabel="items in a list", ylabel="ns an item, forward + backward",
             title="rankd, one thread")
    axes.grid(alpha=0.3)
    axes.legend()
    figure.tight_layout()
    figure.savefig(path, dpi=110)


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--program", required=True)
    parser.add_argument("--out", required=True, type=Path)
    parser.add_argument("--runs", type=int, default=5, help="of PyTorch")
    parser.add_argument("--longest", action="store_true", help="also 100M items, which takes minutes and 10 GB")
    parser.add_argument("--only", default="", help="cases whose name has this in it")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    arguments.out.mkdir(parents=True, exist_ok=True)
    rows, graded = [], []
    with tempfile.TemporaryDirectory(dir="/dev/shm" if Path("/dev/shm").is_dir() else None) as folder:
        for case in CASES + ([LONGEST] if arguments.longest else []):
            if arguments.only not in case[0]:
                continue
            row = run_case(case, arguments.program, Path(folder), arguments.runs, 20_000_000)
            rows.append(row)
            show(row)
            (arguments.out / "engine.json").write_text(json.dumps({"cases": rows, "graded": graded}, indent=1) + "\n")
        for case in GRADED:
            if arguments.only in "graded " + case[0]:
                graded.append(run_graded(case, arguments.program, Path(folder)))
                show_graded(graded[-1])
        (arguments.out / "engine.json").write_text(json.dumps({"cases": rows, "graded": graded}, indent=1) + "\n")
        if not arguments.only:
            plot(arguments.program, Path(folder), arguments.out / "engine.png")
    print(f"{arguments.out}/engine.json" + ("" if arguments.only else f" and {arguments.out}/engine.png"))


if __name__ == "__main__":
    main()
