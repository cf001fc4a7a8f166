# SPDX-License-Identifier: Apache-2.0
"""A recipe that trains embeddings, the common part of Omniglot and Fashion-MNIST."""
from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path

import torch

from .criteria import criterion
from .daemon import daemon
from .embed import Images, embed, network, train
from .report import curves, insert, markdown
from .runs import Result, Run, Table, Trained

COLUMNS = {"mAP": "mAP", "recall@1": "recall@1"}
_NEIGHBOURS = 8


@dataclass(frozen=True)
class Recipe:
    """`splits` name pairs of images to train on and held out; a run's setting "split" chooses.
    `drawn` are the rows with a curve, `pictured` the table and rows whose neighbours are shown."""

    name: str
    folder: Path
    tables: Sequence[Table]
    splits: Mapping[str, Callable[[], tuple[Images, Images]]]
    drawn: Sequence[str]
    pictured: tuple[str, Sequence[str]]
    columns: Mapping[str, str] = field(default_factory=lambda: COLUMNS)

    @contextmanager
    def session(self) -> Iterator[Callable[[Run], Trained]]:
        """A context that gives the function which trains a run."""
        split = cache(lambda name: self.splits[name]())
        with daemon() as client:

            def one(run: Run) -> Trained:
                given = run.settings
                data, held_out = split(given["split"])
                with criterion(given["loss"], client) as loss:
                    result = train(loss, data, held_out, batch=given["batch"], steps=given["steps"], seed=run.seed,
                                   each=given.get("each", 4), evaluations=given.get("evaluations", 4))
                return result, result.pop("model")

            yield one

    def report(self, results: Sequence[Result], kept: Path) -> None:
        """Writes tables, curves and the picture of the page."""
        page = self.folder / "README.md"
        for table in self.tables:
            insert(page, table.name, markdown(results, table, self.columns, "nt-xent" if "nt-xent" in table.rows else None))
        curves(self.folder / "curves.png", results, [t for t in self.tables if t.common["split"] != "tuning"], self.drawn, "mAP")
        self._neighbours(kept)

    def _neighbours(self, kept: Path) -> None:
        """Draws queries with their nearest neighbours, by the models of the first seed. Without
        these models the picture is not changed."""
        name, rows = self.pictured
        table = next(t for t in self.tables if t.name == name)
        files = {row: Run(name, row, {}, 0).model(kept) for row in rows}
        if not all(path.exists() for path in files.values()):
            return
        _, held_out = self.splits[table.common["split"]]()
        queries = torch.randperm(len(held_out.labels), generator=torch.Generator().manual_seed(5))[:6]
        panels = []
        for path in files.values():
            model = network()
            model.load_state_dict(torch.load(path))
            unit = embed(model, held_out.pixels)
            similarity = (unit[queries] @ unit.T).scatter(1, queries[:, None], -2.0)
            panels.append(similarity.topk(_NEIGHBOURS, dim=1).indices)
        _draw(self.folder / "neighbours.png", held_out, queries, dict(zip(files, panels)))


def _draw(path: Path, data: Images, queries: torch.Tensor, found: Mapping[str, torch.Tensor]) -> None:
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    wide = 1 + _NEIGHBOURS
    picture, axes = plt.subplots(len(queries), wide * len(found), figsize=(0.42 * wide * len(found), 0.46 * len(queries) + 0.3))
    for number, (row, neighbours) in enumerate(found.items()):
        for line, query in enumerate(queries.tolist()):
            for place, item in enumerate([query, *neighbours[line].tolist()]):
                panel = axes[line][number * wide + place]
                panel.imshow(1 - data.pixels[item, 0], cmap="gray")
                panel.set(xticks=[], yticks=[])
                colour = "black" if place == 0 else "tab:green" if data.labels[item] == data.labels[query] else "tab:red"
                for spine in panel.spines.values():
                    spine.set(color=colour, linewidth=2)
        axes[0][number * wide].set_title(row, loc="left", fontsize=8)
    picture.subplots_adjust(left=0.01, right=0.99, bottom=0.01, top=0.9, wspace=0.12, hspace=0.12)
    picture.savefig(path, dpi=80)
    plt.close(picture)
