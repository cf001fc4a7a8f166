# SPDX-License-Identifier: Apache-2.0
"""LightGBM's example for lambdarank (Microsoft, MIT licence): queries with documents, 300 features
and a grade 0…4 each."""
from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import torch

from kit.data import find

FEATURES = 300
_PLACE = "https://raw.githubusercontent.com/microsoft/LightGBM/v4.5.0/examples/lambdarank/"
_SUMS = {
    "rank.train": "a0c7201c89120879c14a5059e091f441cbf2a29b8aaef363885ccb1a530448df",
    "rank.train.query": "40cb5fef637229311cd30fab13cb7fb633b023e86a87ff04ec55db420143d6af",
    "rank.test": "3b1219ce117a0a36d2f76c02de7e7831c1d79af0d40f5195c03178bbe26c824b",
    "rank.test.query": "36dca82ba3bf99201bac3987b00a8fbf6fe5f563e9fa6d0da90e783710a32df4",
}
FOLDS = 5  # of the training queries, when settings are chosen


@dataclass(frozen=True)
class Queries:
    """`features` [Q, N, FEATURES] and `grades` [Q, N], padded; a grade of -1 is padding."""

    features: torch.Tensor
    grades: torch.Tensor

    def part(self, which: torch.Tensor) -> Queries:
        return Queries(self.features[which], self.grades[which])


def load(split: str) -> Queries:
    """"train" or "test"."""
    sizes = [int(line) for line in _file(f"rank.{split}.query").read_text().split()]
    lines = _file(f"rank.{split}").read_text().splitlines()
    features, grades = torch.zeros(len(sizes), max(sizes), FEATURES), torch.full((len(sizes), max(sizes)), -1.0)
    rows = iter(lines)
    for query, size in enumerate(sizes):
        for document in range(size):
            grade, *values = next(rows).split()
            grades[query, document] = float(grade)
            for number, _, value in (entry.partition(":") for entry in values):
                features[query, document, int(number) - 1] = float(value)
    return Queries(features, grades)


def _file(name: str) -> Path:
    return find(f"lambdarank/{name}", _PLACE + name, _SUMS[name])


def for_tuning(fold: int) -> tuple[Queries, Queries]:
    """The training queries without every fifth, beginning at number `fold`, and these."""
    data = load("train")
    held = torch.arange(len(data.grades)) % FOLDS == fold % FOLDS
    return data.part(~held), data.part(held)


def for_test() -> tuple[Queries, Queries]:
    """All training queries, and the test queries."""
    return load("train"), load("test")


def ndcg(scores: torch.Tensor, grades: torch.Tensor, top: int) -> float:
    """Mean NDCG of the first `top`, gain 2^grade - 1, in percent, over queries [Q, N] that have a
    document worth finding."""
    gain = torch.where(grades > 0, 2 ** grades - 1, torch.zeros(()))
    order = scores.masked_fill(grades < 0, -torch.inf).argsort(dim=1, descending=True, stable=True)
    discount = 1 / torch.log2(torch.arange(2, top + 2).double())
    found = (gain.gather(1, order)[:, :top] * discount).sum(1)
    best = (gain.sort(dim=1, descending=True).values[:, :top] * discount).sum(1)
    return 100 * float((found / best)[best > 0].mean())
