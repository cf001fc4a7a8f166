# SPDX-License-Identifier: Apache-2.0
"""Detection of blood cells: the runs. The page is README.md."""
from __future__ import annotations

import textwrap
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import Any

import torch

import rankd
import rankd.torch
from kit.daemon import daemon
from kit.report import insert, markdown
from kit.runs import Result, Run, Table, Trained

from .data import CLASSES, load
from .detector import PLACES
from .losses import PEERS
from .training import BATCH, Classify, Flips, train

_DEAD = 5.0  # AP50 of a class below which it was not learnt
_POINTS = BATCH * len(PLACES)

_BANK = {"batches": 4, "bank_start": 60}
# Each loss was given three settings, tried with the same seed on `val`.
GRID: dict[str, list[dict[str, Any]]] = {
    "focal": [{}, {"alpha": 0.5}, {"loss_weight": 3.0}],
    "bce": [{"positive": p} for p in (1.0, 3.0, 10.0)],
    "qfl": [{}, {"beta": 1.0}, {"loss_weight": 3.0}],
    "ap-loss": [{"delta": 1.0}, {"delta": 0.5}, {"loss_weight": 3.0}],
    "bucketed": [{"loss_weight": w} for w in (0.3, 1.0, 3.0)],
    "ap": [{"margin": 0.5, **_BANK}, {"margin": 1.0, **_BANK}, {"margin": 0.5, "loss_weight": 0.5, **_BANK}],
}
# The best of each by AP, by its place in the grid.
_BEST = {"focal": 1, "bce": 2, "qfl": 1, "ap-loss": 1, "bucketed": 1, "ap": 0}
CHOSEN: dict[str, dict[str, Any]] = {name: {"loss": name, **GRID[name][best]} for name, best in _BEST.items()}


def _named(settings: dict[str, Any]) -> str:
    return ", ".join(f"{key} {value}" for key, value in settings.items()) or "defaults"


TUNING = Table("tuning", {f"{name}: {_named(one)}": {"loss": name, **one} for name, grid in GRID.items() for one in grid},
               {"split": "tuning", "steps": 250}, seeds=1)
# Rows "tuned" have the setting that was best on `val`, the others the first one of the grid.
TEST = Table("test", {
    "rankd ap, β 0.1 + bank": CHOSEN["ap"], "BCE, tuned": CHOSEN["bce"], "focal, tuned": CHOSEN["focal"],
    "rankd ap, β 0.1": {"loss": "ap", "batches": 0}, "QFL, tuned": CHOSEN["qfl"],
    "AP-loss, error-driven, tuned": CHOSEN["ap-loss"], "AP-loss, bucketed, tuned": CHOSEN["bucketed"],
    "rankd ap": {"loss": "ap", "interclass": 0.0, "batches": 0}, "focal": {"loss": "focal"},
    "BCE": {"loss": "bce", "positive": 1.0}, "QFL": {"loss": "qfl"},
    "AP-loss, bucketed": {"loss": "bucketed", "loss_weight": 0.3},
    "rankd ap, β 0.1, gradient as in the paper": {"loss": "ap", "batches": 0, "gradient_scale": "lambda"},
}, {"split": "test", "steps": 250}, seeds=8)


@contextmanager
def classifier(settings: Mapping[str, Any], client: rankd.Client) -> Iterator[Classify]:
    """The loss of the classification head, times "loss_weight" if that is given."""
    arguments = dict(settings)
    name = arguments.pop("loss")
    if name in PEERS:
        weight = arguments.pop("loss_weight", 1.0)
        yield lambda logits, classes, iou: weight * PEERS[name](logits.flatten(0, 1), classes.flatten(), iou.flatten(),
                                                                **arguments)
        return
    loss = rankd.torch.DetectionAPLoss(classes=len(CLASSES), points=_POINTS, client=client, **arguments)
    yield lambda logits, classes, iou: loss(logits, torch.nn.functional.one_hot(classes + 1, len(CLASSES) + 1)[..., 1:])


class _Recipe:
    name = "bccd"
    folder = Path(__file__).parent
    tables = (TUNING, TEST)

    @contextmanager
    def session(self) -> Iterator[Callable[[Run], Trained]]:
        """A context that gives the function which trains a run."""
        splits = {"tuning": cache(lambda: (Flips(load("train")), load("val"))),
                  "test": cache(lambda: (Flips(load("trainval")), load("test")))}
        with daemon() as client:

            def one(run: Run) -> Trained:
                data, held_out = splits[run.settings["split"]]()
                with classifier(run.settings["loss"], client) as classify:
                    result = train(classify, data, held_out, steps=run.settings["steps"], seed=run.seed)
                return result, result.pop("model")

            yield one

    def report(self, results: Sequence[Result], kept: Path) -> None:
        """Writes tables, the curve and the picture of the page."""
        from .picture import curves, detections

        for result in results:
            result["dead"] = sum(result[f"AP50 {name}"] < _DEAD for name in CLASSES)
        columns = {"AP": "AP", "AP50": "AP50", **{f"AP50 {name}": f"AP50 {name}" for name in CLASSES}}
        insert(self.folder / "README.md", "tuning", markdown(results, TUNING, columns))
        lines = markdown(results, TEST, columns, "focal, tuned")
        dead = {row: sum(r["dead"] for r in results if r["table"] == "test" and r["row"] == row) for row in TEST.rows}
        said = ("Classes that were not learnt (AP50 below 5), over all seeds: "
                + ", ".join(f"{row} {count}" for row, count in dead.items()) + ".")
        insert(self.folder / "README.md", "test", [*lines, "", *textwrap.wrap(said, 98)])
        curves(self.folder / "curves.png", results, TEST)
        detections(self.folder / "detections.png", kept)


RECIPE = _Recipe()
