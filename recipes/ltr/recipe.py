# SPDX-License-Identifier: Apache-2.0
"""Ranking of documents by their features: which runs there are. The page is README.md."""
from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import Any

import torch

import rankd
import rankd.torch
from kit.daemon import daemon
from kit.report import curves, insert, markdown
from kit.runs import Result, Run, Table, Trained

from .data import for_test, for_tuning
from .losses import PEERS
from .training import Loss, train, trees

GRID: dict[str, list[dict[str, Any]]] = {
    "listnet": [{"temperature": t} for t in (0.3, 0.5, 1.0, 2.0)],
    "approxndcg": [{"temperature": t} for t in (0.1, 0.3, 1.0, 2.0)],
    "lambdaloss": [{"mu": m, "sigma": s} for m, s in ((0.0, 1.0), (0.0, 2.0), (5.0, 1.0), (10.0, 1.0))],
    "ndcg": [{"gradient_scale": g, "margin": m} for g in ("lambda", "unit") for m in (0.3, 1.0)],
    "trees": [{"n_estimators": n, "num_leaves": l, "learning_rate": r} for n, l, r in
              ((100, 7, 0.05), (100, 31, 0.1), (200, 7, 0.05), (200, 15, 0.03))],
}
# The best of each, by its place in the grid.
_BEST = {"listnet": 0, "approxndcg": 0, "lambdaloss": 1, "ndcg": 2, "trees": 1}
CHOSEN: dict[str, dict[str, Any]] = {name: {"loss": name, **GRID[name][best]} for name, best in _BEST.items()}
_NAMES = {"trees": "LightGBM lambdarank", "ndcg": "rankd ndcg"}


def _named(settings: dict[str, Any]) -> str:
    return ", ".join(f"{key} {value}" for key, value in settings.items())


TUNING = Table("tuning", {f"{name}: {_named(one)}": {"loss": name, **one} for name, grid in GRID.items() for one in grid},
               {"split": "tuning", "steps": 300}, seeds=1)
TEST = Table("test", {_NAMES.get(name, name): settings for name, settings in CHOSEN.items()}, {"split": "test", "steps": 300}, seeds=5)


def ranking(client: rankd.Client, arguments: Mapping[str, Any]) -> Loss:
    """rankd's loss."""
    loss = rankd.torch.NDCGLoss(client=client, **arguments)
    return lambda scores, grades: loss(scores, grades)


class _Recipe:
    name = "ltr"
    folder = Path(__file__).parent
    tables = (TUNING, TEST)

    @contextmanager
    def session(self) -> Iterator[Callable[[Run], Trained]]:
        """Trains runs while the block lasts."""
        splits = {"tuning": cache(for_tuning), "test": cache(for_test)}
        with daemon() as client:

            def one(run: Run) -> Trained:
                data, held_out = splits[run.settings["split"]]()
                arguments = dict(run.settings["loss"])
                name = arguments.pop("loss")
                if name == "trees":
                    return trees(data, held_out, arguments, run.seed), None
                if name in PEERS:
                    return train(lambda s, g: PEERS[name](s, g, **arguments), data, held_out, steps=run.settings["steps"], seed=run.seed)
                return train(ranking(client, arguments), data, held_out, steps=run.settings["steps"], seed=run.seed)

            yield one

    def report(self, results: Sequence[Result], kept: Path) -> None:
        """Writes tables and curves of the page."""
        columns = {"NDCG@10": "NDCG@10", "NDCG@5": "NDCG@5", "NDCG@1": "NDCG@1"}
        for table in self.tables:
            insert(self.folder / "README.md", table.name, markdown(results, table, columns))
        curves(self.folder / "curves.png", [r for r in results if "curve" in r], [TEST], tuple(TEST.rows), "NDCG@10")


RECIPE = _Recipe()
