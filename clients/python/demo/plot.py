# SPDX-License-Identifier: Apache-2.0
"""The demo's plot: loss and held-out mAP over steps, mean over seeds."""
from __future__ import annotations

from pathlib import Path

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt  # noqa: E402

from plan import LARGE_BATCH, LARGE_ROWS, SMALL_BATCH, SMALL_ROWS, Run  # noqa: E402


def plot(history: list[dict[str, float]], runs: list[Run], path: Path) -> Path:
    """Draws a row of two panels per batch size into a PNG. Returns its path."""
    groups = [list(LARGE_ROWS), list(SMALL_ROWS)] if any(run.bank for run in runs) else [list(LARGE_ROWS)]
    picture, panels = plt.subplots(len(groups), 2, figsize=(10, 3.6 * len(groups)), squeeze=False, layout="constrained")
    titles = ("retrieval among digits never seen", "retrieval among held-out images")
    for names, batch, title, (left, right) in zip(groups, (LARGE_BATCH, SMALL_BATCH), titles, panels):
        for name in names:
            steps = sorted({entry["step"] for entry in history if entry["row"] == name})
            for panel, key in ((left, "loss"), (right, "mAP")):
                values = [[entry[key] for entry in history if entry["row"] == name and entry["step"] == step] for step in steps]
                line, = panel.plot(steps, [sum(v) / len(v) for v in values], label=name)
                panel.fill_between(steps, [min(v) for v in values], [max(v) for v in values], alpha=0.15, color=line.get_color())
        left.set(xlabel="step", ylabel="loss", ylim=(0, None), title=f"{batch} images a step over both trainers")
        right.set(xlabel="step", ylabel="held-out mAP", title=title)
        right.legend(loc="lower right")
        for panel in (left, right):
            panel.grid(alpha=0.3)
    path.parent.mkdir(parents=True, exist_ok=True)
    picture.savefig(path, dpi=120)
    return path.resolve()
