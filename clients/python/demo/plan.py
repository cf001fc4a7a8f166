# SPDX-License-Identifier: Apache-2.0
"""What the demo trains: one Run per row and seed."""
from __future__ import annotations

from dataclasses import dataclass

LARGE_BATCH, SMALL_BATCH = 100, 20  # images per step, over both trainers
BANK_ITEMS = 880  # nearly the whole training half
UNSEEN = 3  # digits of the large batches' runs that are held out altogether


@dataclass(frozen=True)
class Run:
    """One training. `gather`: the trainers show each other their embeddings; `bank`: they share a
    memory of that many items."""

    row: str
    loss: str  # "contrastive", "ap", "recall"
    batch: int
    gather: bool
    bank: int
    seed: int
    steps: int
    unseen: int = 0  # digits that are never trained on

    @property
    def name(self) -> str:
        return f"{self.row}, seed {self.seed}"


LARGE_ROWS = {"contrastive": ("contrastive", True, 0), "ap": ("ap", True, 0), "recall": ("recall", True, 0)}
SMALL_ROWS = {
    "contrastive, small batch": ("contrastive", False, 0),
    "ap, small batch": ("ap", False, 0),
    "ap, small batch + bank": ("ap", False, BANK_ITEMS),
}


def plan(seeds: int, steps: int, banks: bool) -> list[Run]:
    """All runs, in the order of the tables."""
    rows = [(row, LARGE_BATCH, *what, UNSEEN) for row, what in LARGE_ROWS.items()]
    if banks:
        rows += [(row, SMALL_BATCH, *what, 0) for row, what in SMALL_ROWS.items()]
    return [Run(row, loss, batch, gather, bank, seed, steps, unseen)
            for row, batch, loss, gather, bank, unseen in rows for seed in range(seeds)]
