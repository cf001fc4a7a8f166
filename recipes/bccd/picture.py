# SPDX-License-Identifier: Apache-2.0
"""The pictures of the page."""
from __future__ import annotations

import statistics
from collections.abc import Sequence
from pathlib import Path

import torch

from kit.report import rows_of
from kit.runs import Result, Run, Table

from .data import CLASSES, load
from .detector import Detector
from .evaluate import detect

_SHOWN = {"BCE": "BCE", "rankd ap, β 0.1 + bank": "rankd ap, β 0.1 + bank"}
_COLOURS = ("tab:red", "tab:blue", "tab:orange")


def curves(path: Path, results: Sequence[Result], table: Table) -> None:
    """The AP50 of the classes, one bar per class with the range over seeds, which shows classes
    that were not learnt."""
    plt = _plot()
    rows = rows_of(results, table)
    picture, panel = plt.subplots(figsize=(8, 3.4), layout="constrained")
    for number, name in enumerate(CLASSES):
        values = [[r[f"AP50 {name}"] for r in of_row] for of_row in rows.values()]
        means = [statistics.fmean(v) for v in values]
        error = [[m - min(v) for m, v in zip(means, values)], [max(v) - m for m, v in zip(means, values)]]
        panel.bar([i + 0.27 * (number - 1) for i in range(len(rows))], means, 0.25, yerr=error, label=name,
                  color=_COLOURS[number])
    panel.set_xticks(range(len(rows)), [row.replace(", ", ",\n") for row in rows], fontsize=6)
    panel.set(ylabel="AP50", ylim=(0, 100))
    panel.legend(fontsize=7, loc="lower left")
    picture.savefig(path, dpi=80)
    plt.close(picture)


def detections(path: Path, kept: Path) -> None:
    """Boxes in two test images by the models of the first seed: as many of each class as there are
    objects. Without these models the picture is not changed."""
    files = {title: Run("test", row, {}, 0).model(kept) for row, title in _SHOWN.items()}
    if not all(file.exists() for file in files.values()):
        return
    plt, data, images = _plot(), load("test"), (3, 11)
    picture, panels = plt.subplots(len(images), 1 + len(files), figsize=(9, 2.4 * len(images)), layout="constrained")
    for line, image in enumerate(images):
        shown = {"labelled": [data.boxes[image][data.classes[image] == kind] for kind in range(len(CLASSES))]}
        for title, file in files.items():
            model = Detector()
            model.load_state_dict(torch.load(file))
            found = detect(model, data.pixels[image:image + 1])[0]
            shown[title] = [boxes[:int((data.classes[image] == kind).sum())] for kind, (boxes, _) in enumerate(found)]
        for panel, (title, boxes) in zip(panels[line], shown.items()):
            panel.imshow((data.pixels[image].permute(1, 2, 0) + 1) / 2)
            for kind, of_kind in enumerate(boxes):
                for left, top, right, bottom in of_kind.tolist():
                    panel.add_patch(plt.Rectangle((left, top), right - left, bottom - top, fill=False, color=_COLOURS[kind],
                                                  lw=1))
            panel.set_title(title, fontsize=8)
            panel.axis("off")
    picture.savefig(path, dpi=80)
    plt.close(picture)


def _plot():  # type: ignore[no-untyped-def]
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    return plt
