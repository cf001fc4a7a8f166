#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Draws docs/images/info.svg: four lists, and the numbers of `crit.info` for each. They come from
the daemon: run it with rankd on PYTHONPATH and a reachable daemon."""
from pathlib import Path

import rankd

SCORES = [[0.9, 0.8, 0.7, 0.6], [0.9, 0.8, 0.7, 0.6], [0.9, 0.8, 0.7, 0.6], [9.0, 8.0, 7.0, 0.0]]
TARGETS = [[0, 1, 0, 1], [1, 1, 0, 0], [0, 0, 0, 0], [0, 0, 0, 1]]
VERDICTS = ["learns", "perfect: nothing left to learn", "skipped: nothing to find", "stalled: the perturbation passes nothing"]


def row(at, scores, targets, result):
    """One list, best item first."""
    y = 70 + 52 * at
    yield f'<text x="20" y="{y + 5}" fill="#222">list {at}</text>'
    for i, (score, target) in enumerate(zip(scores, targets)):
        colour = "#1565c0" if target else "#b23b00"
        yield f'<circle cx="{100 + 60 * i}" cy="{y - 6}" r="8" fill="{colour}"/>'
        yield f'<text x="{100 + 60 * i}" y="{y + 19}" text-anchor="middle" fill="#222">{score:g}</text>'
    loss = "–" if result.info.lists_skipped else f"{result.loss:.3f}"
    told = result.info.gradient_nonzero, result.info.pairs_jumped
    for x, text in ((380, loss), (480, str(told[0])), (590, f"{told[1]:.2g}")):
        yield f'<text x="{x}" y="{y + 5}" text-anchor="middle" fill="#222">{text}</text>'
    yield f'<text x="650" y="{y + 5}" fill="#222">{VERDICTS[at]}</text>'


def main():
    client = rankd.connect()
    out = ['<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 960 290" font-family="sans-serif" font-size="14">',
           '<rect width="960" height="290" fill="#ffffff"/>']
    for x, title in ((190, "items, best score first"), (380, "loss"), (480, "gradient_nonzero"), (590, "pairs_jumped")):
        out.append(f'<text x="{x}" y="30" text-anchor="middle" font-weight="bold" fill="#222">{title}</text>')
    for at, (scores, targets) in enumerate(zip(SCORES, TARGETS)):
        out += row(at, scores, targets, client.loss("ap", [scores], [targets], margin=0.0))
    out.append('<text x="100" y="276" text-anchor="middle" fill="#1565c0">● relevant</text>')
    out.append('<text x="220" y="276" text-anchor="middle" fill="#b23b00">● irrelevant</text></svg>')
    Path(__file__).with_name("info.svg").write_text("\n".join(out) + "\n")


if __name__ == "__main__":
    main()
