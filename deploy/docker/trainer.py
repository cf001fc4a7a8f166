# SPDX-License-Identifier: Apache-2.0
"""A small trainer, without a framework: a linear embedding that learns to retrieve, with the loss
and gradient from rankd.

Shows what a trainer in a container of its own needs: the socket's volume, and nothing else. Prints
the loss as it falls, and ends with an error if it did not.
"""
import os
import sys

import numpy as np

import rankd

STEPS, BATCH, CLASSES = 200, 64, 10


def main():
    client = rankd.connect(os.environ.get("RANKD_URL", "unix:/run/rankd/rankd.sock"))
    random = np.random.default_rng(0)
    centres = random.normal(size=(CLASSES, 32))
    weights = random.normal(size=(32, 8)) * 0.2
    losses = []
    for step in range(STEPS):
        labels = random.integers(0, CLASSES, BATCH)
        points = centres[labels] + 1.5 * random.normal(size=(BATCH, 32))
        result = client.loss("ap", embeddings=(points @ weights).astype(np.float32), labels=labels, margin=0.05)
        weights -= 2.0 * points.T @ result.gradient
        losses.append(result.loss)
        if step % 50 == 0 or step == STEPS - 1:
            print(f"step {step:3d}  loss {np.mean(losses[-20:]):.4f}", flush=True)
    first, last = np.mean(losses[:20]), np.mean(losses[-20:])
    if not last < 0.9 * first:
        sys.exit(f"the loss did not fall: {first:.4f} at first, {last:.4f} at last")


if __name__ == "__main__":
    main()
