# SPDX-License-Identifier: Apache-2.0
"""The demo's table: mean and range over seeds."""
from __future__ import annotations

from dataclasses import dataclass

from data import Split, quality
from plan import LARGE_BATCH, LARGE_ROWS, SMALL_BATCH, SMALL_ROWS, Run


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
    """One row per kind of training, from its last reports, and one for the raw pixels."""
    final = {(entry["row"], entry["seed"]): entry for entry in history}
    seeds = sorted({run.seed for run in runs})
    raw = [quality(split.held_out, split.held_out_labels) for split in map(Split, seeds)]
    rows = {"raw pixels": Row(figure([r for r, _ in raw]), figure([p for _, p in raw]))}
    for row in dict.fromkeys(run.row for run in runs):
        ends = [final[row, seed] for seed in seeds]
        rows[row] = Row(figure([e["recall@1"] for e in ends]), figure([e["mAP"] for e in ends]))
    return rows


def show(rows: dict[str, Row], seeds: int) -> None:
    heads = (("raw pixels", "no training"), *((name, f"{LARGE_BATCH} images a step") for name in LARGE_ROWS),
             *((name, f"{SMALL_BATCH} images a step") for name in SMALL_ROWS))
    print(f"\nretrieval among held-out digits, mean (range) over {seeds} seed{'s' if seeds != 1 else ''}\n")
    print(f"{'':26}{'':20}{'recall@1':24}mAP")
    for name, note in heads:
        if name in rows:
            print(f"{name:26}{note:20}{str(rows[name].recall):24}{rows[name].precision}")
    print()
