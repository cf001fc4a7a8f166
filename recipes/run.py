#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Trains the recipes' runs that are not done yet, then writes the tables and pictures of their
pages. `make recipes` runs it.

    recipes/run.py omniglot fashion --seeds 1 --seconds 600
"""
from __future__ import annotations

import argparse
import importlib
import json
import signal
import sys
import time
from pathlib import Path

import torch

HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(HERE)]

from kit import ROOT  # noqa: E402
from kit.data import MissingData  # noqa: E402
from kit.runs import Results, complete  # noqa: E402

NAMES = ("omniglot", "fashion", "bccd", "ltr")


def main() -> int:
    options = arguments()
    torch.set_num_threads(1)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # so that the recipe's daemon ends too
    until, missing = time.monotonic() + options.seconds, []
    for name in options.recipes:
        recipe = importlib.import_module(f"{name}.recipe").RECIPE
        results = Results(options.out / name, None if options.afresh else recipe.folder / "results.json")
        runs = [run for table in recipe.tables for run in table.runs(options.seeds)
                if options.only in (None, run.row) and options.table in (None, table.name)]
        print(f"{name}: {len(runs)} runs, {sum(results.of(run) is not None for run in runs)} of them done", flush=True)
        try:
            with recipe.session() as train:
                for _ in complete(results, runs, train, until):
                    pass
        except MissingData as error:
            print(f"{name}: {error}", file=sys.stderr)
            missing.append(name)
            continue
        if options.report:
            report(recipe, results)
    return 1 if missing else 0


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("recipes", nargs="*", default=NAMES, metavar="RECIPE", help=f"of {', '.join(NAMES)}")
    parser.add_argument("--seeds", type=int, help="the most seeds of each row")
    parser.add_argument("--seconds", type=float, default=float("inf"), help="no run is begun later than that")
    parser.add_argument("--table", help="this table only")
    parser.add_argument("--only", metavar="ROW", help="this row only")
    parser.add_argument("--report", action="store_true", help="write tables and pictures into the pages of this checkout")
    parser.add_argument("--afresh", action="store_true", help="train what is in the page's results.json, too")
    parser.add_argument("--out", type=Path, default=ROOT / "build" / "recipes", help="where results are kept")
    return parser.parse_args()


def report(recipe, kept: Results) -> None:  # type: ignore[no-untyped-def]
    """All results that are there, from earlier calls too, go into the page."""
    runs = [run for table in recipe.tables for run in table.runs(None)]
    results = [result for result in map(kept.of, runs) if result is not None]
    lines = ",\n".join(json.dumps(result) for result in results)
    (recipe.folder / "results.json").write_text(f"[\n{lines}\n]\n")
    recipe.report(results, kept.folder)
    print(f"{recipe.name}: tables and pictures in {recipe.folder}")


if __name__ == "__main__":
    sys.exit(main())
