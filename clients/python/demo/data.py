# SPDX-License-Identifier: Apache-2.0
"""The 8×8 handwritten digits that scikit-learn ships: 1,797 real scans, 64 grey values each, ten
classes."""
from __future__ import annotations

import torch
from sklearn.datasets import load_digits


class Split:
    """Training and held-out images; the division depends on the seed. Half of the images each; with
    `unseen`, all images of that many digits are held out, and the network never sees one of
    them."""

    def __init__(self, seed: int, unseen: int = 0) -> None:
        pixels, digits = load_digits(return_X_y=True)
        draw = torch.Generator().manual_seed(1000 + seed)
        order = torch.randperm(len(pixels), generator=draw)
        images = torch.tensor(pixels / 16.0, dtype=torch.float32)[order]
        labels = torch.tensor(digits, dtype=torch.int64)[order]
        trained = torch.arange(len(images)) < len(images) // 2
        if unseen:
            trained = (labels[:, None] != torch.randperm(10, generator=draw)[:unseen]).all(1)
        self.train, self.train_labels = images[trained], labels[trained]
        self.held_out, self.held_out_labels = images[~trained], labels[~trained]


def quality(embeddings: torch.Tensor, labels: torch.Tensor) -> tuple[float, float]:
    """Recall@1 and mean Average Precision when each item ranks all the others by cosine."""
    unit = torch.nn.functional.normalize(embeddings, dim=1)
    similarity = (unit @ unit.T).fill_diagonal_(-2.0)
    order = similarity.argsort(dim=1, descending=True)[:, :-1]  # the item itself comes last and is left out
    relevant = (labels[order] == labels[:, None]).double()
    position = torch.arange(1, relevant.shape[1] + 1)
    precision = relevant.cumsum(1) / position
    average_precision = (precision * relevant).sum(1) / relevant.sum(1)
    return relevant[:, 0].mean().item(), average_precision.mean().item()
