# SPDX-License-Identifier: Apache-2.0
"""Ranking of documents by their features: the runs. The page is README.md."""
from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import cache, partial
from pathlib import Path
from typing import Any

import torch

import rankd
import rankd.torch
from kit.daemon import daemon
from kit.report import curves, insert, markdown
from kit.runs import Result, Run, Table, Trained

from .data import Queries, for_test, for_tuning
from .losses import PEERS
from .training import Loss, train, trees

_UNIT = {"gradient_scale": "unit"}
_COPIES = 4

# Each loss was given four settings, tried on the same five folds of the training queries.
# "relevant": the least grade that `ap` and `mrr` take for relevant. "noise": see `noisy`.
GRID: dict[str, list[dict[str, Any]]] = {
    "listnet": [{"temperature": t} for t in (0.3, 0.5, 1.0, 2.0)],
    "approxndcg": [{"temperature": t} for t in (0.1, 0.3, 1.0, 2.0)],
    "lambdaloss": [{"mu": m, "sigma": s} for m, s in ((0.0, 1.0), (0.0, 2.0), (5.0, 1.0), (10.0, 1.0))],
    "ndcg": [{**_UNIT, "margin": m, "lambda_val": 1.0} for m in (0.3, 1.0)] + [
        {**_UNIT, "margin": 0.0, "lambda_val": 1.0, "noise": 0.3}, {"margin": 0.0, "lambda_val": 10.0, "noise": 1.0}],
    "ap": [{**_UNIT, "margin": m, "relevant": r} for m in (0.3, 1.0) for r in (1, 2)],
    "mrr": [{**_UNIT, "margin": m, "relevant": r} for m in (0.3, 1.0) for r in (2, 3)],
    "trees": [{"n_estimators": n, "num_leaves": l, "learning_rate": r} for n, l, r in
              ((100, 7, 0.05), (100, 31, 0.1), (200, 7, 0.05), (200, 15, 0.03))],
}
# The best of each by NDCG@10 over the folds, by its place in the grid.
_BEST = {"listnet": 1, "approxndcg": 3, "lambdaloss": 1, "ndcg": 2, "ap": 1, "mrr": 2, "trees": 2}
CHOSEN: dict[str, dict[str, Any]] = {name: {"loss": name, **GRID[name][best]} for name, best in _BEST.items()}
_NAMES = {"trees": "LightGBM lambdarank", **{name: f"rankd {name}" for name in ("ndcg", "ap", "mrr")}}


def _named(settings: dict[str, Any]) -> str:
    return ", ".join(f"{key} {value}" for key, value in settings.items() if key != "gradient_scale")


# Beside these: what the noise brings, and the setting of ApproxNDCG that lies a tenth behind on the
# folds.
_HIDDEN = {_NAMES.get(name, name): settings for name, settings in CHOSEN.items()}
_HIDDEN["rankd ndcg, without noise"] = {"loss": "ndcg", **GRID["ndcg"][0]}
_HIDDEN["approxndcg, temperature 0.1"] = {"loss": "approxndcg", **GRID["approxndcg"][0]}
_LINEAR = {row: settings for row, settings in _HIDDEN.items() if settings["loss"] != "trees"}

TUNING = Table("tuning", {f"{name}: {_named(one)}": {"loss": name, **one} for name, grid in GRID.items() for one in grid},
               {"split": "tuning", "steps": 300}, seeds=5)
TEST = Table("test", _HIDDEN, {"split": "test", "steps": 300}, seeds=5)
LINEAR = Table("linear", _LINEAR, {"split": "test", "steps": 300, "hidden": False}, seeds=5)


def noisy(loss: Loss, noise: float) -> Loss:
    """The mean loss of _COPIES of each list, with normal noise added to their scores: what a small
    change of the scores would do to the order counts as well."""
    def call(scores: torch.Tensor, grades: torch.Tensor) -> torch.Tensor:
        copies = scores.repeat(_COPIES, 1)
        return loss(copies + noise * torch.randn_like(copies), grades.repeat(_COPIES, 1))

    return call


def ranking(client: rankd.Client, name: str, arguments: Mapping[str, Any]) -> Loss:
    """rankd's loss "ndcg", "ap" or "mrr"."""
    settings = dict(arguments)
    least, noise = settings.pop("relevant", 1), settings.pop("noise", 0.0)
    loss = {"ndcg": rankd.torch.NDCGLoss, "ap": rankd.torch.APLoss, "mrr": rankd.torch.MRRLoss}[name](client=client, **settings)
    if name == "ndcg":
        return noisy(loss, noise) if noise else lambda scores, grades: loss(scores, grades)
    return lambda scores, grades: loss(scores, torch.where(grades < 0, grades, (grades >= least).float()))


@cache
def _split(name: str, fold: int) -> tuple[Queries, Queries]:
    return for_tuning(fold) if name == "tuning" else for_test()


class _Recipe:
    name = "ltr"
    folder = Path(__file__).parent
    tables = (TUNING, TEST, LINEAR)

    @contextmanager
    def session(self) -> Iterator[Callable[[Run], Trained]]:
        """A context that gives the function which trains a run."""
        with daemon() as client:

            def one(run: Run) -> Trained:
                data, held_out = _split(run.settings["split"], run.seed)
                arguments = dict(run.settings["loss"])
                name = arguments.pop("loss")
                if name == "trees":
                    return trees(data, held_out, arguments, run.seed), None
                loss = partial(PEERS[name], **arguments) if name in PEERS else ranking(client, name, arguments)
                return train(loss, data, held_out, steps=run.settings["steps"], seed=run.seed,
                             hidden=run.settings.get("hidden", True))

            yield one

    def report(self, results: Sequence[Result], kept: Path) -> None:
        """Writes tables and curves of the page."""
        columns = {f"NDCG@{top}": f"NDCG@{top}" for top in (10, 5, 3, 1)}
        for table in self.tables:
            insert(self.folder / "README.md", table.name, markdown(results, table, columns))
        curves(self.folder / "curves.png", [r for r in results if "curve" in r], [TEST, LINEAR], tuple(TEST.rows), "NDCG@10")


RECIPE = _Recipe()
