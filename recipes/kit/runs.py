# SPDX-License-Identifier: Apache-2.0
"""Runs of a recipe: the list of them, which are done, and progress.

A run is one training: a row of a table (a loss with its settings) and a seed. Its result is one
JSON file, written when the run is through, so that an interrupted `make recipes` goes on where it
was. What is in the project's results.json is not trained again either.
"""
from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

Result = dict[str, Any]
Trained = tuple[Result, torch.nn.Module | None]


@dataclass(frozen=True)
class Table:
    """A table of a recipe's page: its rows by name with the settings of each, and what all of them
    have in common."""

    name: str
    rows: Mapping[str, Mapping[str, Any]]
    common: Mapping[str, Any]
    seeds: int

    def runs(self, seeds: int | None) -> list[Run]:
        """One run per row and seed; first all rows of the first seed, so that the results of an
        interrupted call can be compared too."""
        return [Run(self.name, row, {**self.common, "loss": dict(settings)}, seed)
                for seed in range(min(seeds or self.seeds, self.seeds)) for row, settings in self.rows.items()]


@dataclass(frozen=True)
class Run:
    """One training."""

    table: str
    row: str
    settings: Mapping[str, Any]
    seed: int

    def path(self, folder: Path) -> Path:
        return folder / _plain(self.table) / f"{_plain(self.row)}-{self.seed}.json"

    def model(self, folder: Path) -> Path:
        """The path for the weights of the first seed, which the pictures use."""
        return self.path(folder).with_suffix(".pt")


def _plain(name: str) -> str:
    return "".join(c if c.isalnum() or c in ".+" else "_" for c in name)


class Results:
    """Results of runs: those in `folder`, a file each, and those of `earlier`, a list in one file
    (results.json of the page)."""

    def __init__(self, folder: Path, earlier: Path | None = None) -> None:
        self.folder = folder
        listed = json.loads(earlier.read_text()) if earlier is not None and earlier.exists() else []
        self._earlier = {(result["table"], result["row"], result["seed"]): result for result in listed}

    def of(self, run: Run) -> Result | None:
        """The result of a run; None if it is not done, or was done with other settings."""
        wanted = json.loads(json.dumps(dict(run.settings)))
        for result in (_read(run.path(self.folder)), self._earlier.get((run.table, run.row, run.seed))):
            if result is not None and result["settings"] == wanted:
                return result
        return None


def _read(path: Path) -> Result | None:
    try:
        result: Result = json.loads(path.read_text())
    except (FileNotFoundError, json.JSONDecodeError):
        return None
    return result


def complete(results: Results, runs: Sequence[Run], train: Callable[[Run], Trained],
             until: float) -> Iterator[tuple[Run, Result]]:
    """Trains what is not done yet, in order; no run is begun after `until` (time.monotonic). Yields
    the runs that are done, with their results. Several processes may share the work: a run that
    another one is at is left to it."""
    begun = time.monotonic()
    for number, run in enumerate(runs):
        result, path = results.of(run), run.path(results.folder)
        if result is None:
            if time.monotonic() > until or not _claimed(path):
                continue
            _progress(number, len(runs), run, time.monotonic() - begun)
            took = time.process_time()
            figures, model = train(run)
            result = {"table": run.table, "row": run.row, "seed": run.seed, "settings": dict(run.settings), **figures,
                      "cpu_seconds": round(time.process_time() - took, 1)}
            if model is not None and run.seed == 0:
                torch.save(model.state_dict(), run.model(results.folder))
            _write(path, result)
            _lock(path).unlink(missing_ok=True)
        yield run, result


def _lock(path: Path) -> Path:
    return path.with_suffix(".lock")


def _claimed(path: Path) -> bool:
    """Takes the run for this process. False if another running process has it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    try:
        with _lock(path).open("x") as file:
            file.write(str(os.getpid()))
        return True
    except FileExistsError:
        pass
    try:
        os.kill(int(_lock(path).read_text() or 0) or os.getpid(), 0)
        return False
    except (ProcessLookupError, FileNotFoundError):
        _lock(path).unlink(missing_ok=True)  # that process ended in the middle of the run
        return _claimed(path)


def _write(path: Path, result: Result) -> None:
    part = path.with_suffix(f".{os.getpid()}.part")
    part.write_text(json.dumps(result))
    part.replace(path)


def _progress(number: int, total: int, run: Run, seconds: float) -> None:
    filled = 30 * number // max(total, 1)
    print(f"[{'#' * filled}{'.' * (30 - filled)}] {number}/{total}  {seconds:5.0f} s  {run.table}: {run.row}, seed {run.seed}",
          file=sys.stderr, flush=True)
