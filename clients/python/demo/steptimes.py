# SPDX-License-Identifier: Apache-2.0
"""The time of the loss of one step over each transport, as a trainer sees it."""
from __future__ import annotations

import statistics
import time

import numpy as np

import rankd

IMAGES, RELEVANT, STEPS = 100, 10, 300  # a batch of the demo: every image a query


def compared(urls: dict[str, str]) -> str:
    """One line: the median time of `ap` with its gradient on the scores of one batch, over each of
    the URLs."""
    scores = np.random.default_rng(1).random((IMAGES, IMAGES), dtype=np.float32)
    targets = np.zeros((IMAGES, IMAGES), np.int8)
    targets[:, :: IMAGES // RELEVANT] = 1
    took: dict[str, list[float]] = {name: [] for name in urls}
    clients = {name: rankd.connect(url) for name, url in urls.items()}
    for _ in range(STEPS):  # in turns, so that other work of the machine disturbs all of them alike
        for name, client in clients.items():
            begun = time.perf_counter()
            client.loss("ap", scores, targets)
            took[name].append(time.perf_counter() - begun)
    for client in clients.values():
        client.close()
    each = ", ".join(f"{name} {1e3 * statistics.median(seconds):.2f} ms" for name, seconds in took.items())
    return f"step time of the loss ({IMAGES} x {IMAGES} scores, forward and backward, median of {STEPS}): {each}"
