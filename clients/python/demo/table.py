# SPDX-License-Identifier: Apache-2.0
"""The demo's table: mean and range over seeds."""
from __future__ import annotations

from dataclasses import dataclass

from data import Split, quality
from plan import LARGE_BATCH, LARGE_ROWS, SMALL_BATCH, SMALL_ROWS, UNSEEN, Run

RAW_UNSEEN, RAW_KNOWN = "raw pixels", "raw pixels, ten digits"


@dataclass(frozen=True)
class Figure:
    mean: float
    low: float
    high: float

    def __str__(self) -> str:
        return f"{self.mean:.3f} ({self.low:.3f} – {self.high:.3f})"


@dataclass(frozen=True)
class Row:
    recall: Figure
    precision: Figure


def figure(values: list[float]) -> Figure:
    return Figure(sum(values) / len(values), min(values), max(values))


def summary(history: list[dict[str, float]], runs: list[Run]) -> dict[str, Row]:
    """One row per kind of training, from its last reports, and one for the raw pixels of each kind
    of split."""
    final = {(entry["row"], entry["seed"]): entry for entry in history}
    seeds = sorted({run.seed for run in runs})
    rows = {}
    for name, unseen in ((RAW_UNSEEN, UNSEEN), (RAW_KNOWN, 0)):
        raw = [quality(split.held_out, split.held_out_labels) for split in (Split(seed, unseen) for seed in seeds)]
        rows[name] = Row(figure([r for r, _ in raw]), figure([p for _, p in raw]))
    for row in dict.fromkeys(run.row for run in runs):
        ends = [final[row, seed] for seed in seeds]
        rows[row] = Row(figure([e["recall@1"] for e in ends]), figure([e["mAP"] for e in ends]))
    return rows


def show(rows: dict[str, Row], seeds: int) -> None:
    """Both tables, and below each the loss with the best mean mAP."""
    tables = ((f"{UNSEEN} digits that no training saw, {LARGE_BATCH} images a step", RAW_UNSEEN, LARGE_ROWS),
              (f"other images of all ten digits, {SMALL_BATCH} images a step", RAW_KNOWN, SMALL_ROWS))
    for title, raw, names in tables:
        there = [name for name in names if name in rows]
        if not there:
            continue
        print(f"\nretrieval among {title}; mean (range) over {seeds} seed{'s' if seeds != 1 else ''}\n")
        print(f"{'':26}{'recall@1':24}mAP")
        for name in (raw, *there):
            print(f"{name:26}{str(rows[name].recall):24}{rows[name].precision}")
        best = max(there, key=lambda name: rows[name].precision.mean)
        above = rows[raw].precision.mean > rows[best].precision.mean
        print(f"best: {best}, mAP {rows[best].precision.mean:.3f}" + ("; no training at all is better still" if above else ""))
    print()
