# SPDX-License-Identifier: Apache-2.0
"""Training of an embedding for retrieval: the same network, batches and steps for every loss."""
from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

DIM = 64
_LEARNING_RATE = 1e-3

Criterion = Callable[[torch.Tensor, torch.Tensor, torch.Tensor], torch.Tensor]  # embeddings, labels, ids -> loss


@dataclass(frozen=True)
class Images:
    """`pixels` [N, 1, 28, 28] float32 in 0…1, `labels` [N] int64."""

    pixels: torch.Tensor
    labels: torch.Tensor


def network() -> nn.Module:
    """Three convolutions with stride 2, 28 × 28 grey values to DIM numbers."""
    layers: list[nn.Module] = []
    channels = 1
    for width, kernel in ((24, 5), (48, 3), (48, 3)):
        layers += [nn.Conv2d(channels, width, kernel, stride=2, padding=kernel // 2), nn.BatchNorm2d(width),
                   nn.ReLU(inplace=True)]
        channels = width
    return nn.Sequential(*layers, nn.Flatten(), nn.Linear(16 * channels, DIM)).to(memory_format=torch.channels_last)


def batches(labels: torch.Tensor, size: int, each: int, seed: int) -> Callable[[], torch.Tensor]:
    """Draws batches: `size / each` classes with `each` images of every one. The same order for
    every loss."""
    draw = torch.Generator().manual_seed(seed)
    members = [torch.nonzero(labels == label).squeeze(1) for label in labels.unique()]

    def batch() -> torch.Tensor:
        classes = torch.randperm(len(members), generator=draw)[:size // each].tolist()
        return torch.cat([members[c][torch.randperm(len(members[c]), generator=draw)[:each]] for c in classes])

    return batch


@torch.no_grad()
def embed(model: nn.Module, pixels: torch.Tensor) -> torch.Tensor:
    """Unit vectors [N, DIM]."""
    model.eval()
    parts = [model(part) for part in pixels.split(512)]
    model.train()
    return nn.functional.normalize(torch.cat(parts), dim=1)


def quality(unit: torch.Tensor, labels: torch.Tensor) -> tuple[float, float]:
    """mean Average Precision and recall@1 in percent, when every item ranks all others by
    cosine."""
    similarity = (unit @ unit.T).fill_diagonal_(-2.0)
    precisions, first = [], []
    for part, own in zip(similarity.split(512), labels.split(512)):
        order = part.argsort(dim=1, descending=True)[:, :-1]  # the item itself comes last and is left out
        relevant = (labels[order] == own[:, None]).float()
        precision = relevant.cumsum(1) / torch.arange(1, relevant.shape[1] + 1)
        precisions.append((precision * relevant).sum(1) / relevant.sum(1))
        first.append(relevant[:, 0])
    return 100 * torch.cat(precisions).mean().item(), 100 * torch.cat(first).mean().item()


def train(criterion: Criterion, data: Images, held_out: Images, *, batch: int, steps: int, seed: int,
          each: int = 4, evaluations: int = 4) -> dict[str, Any]:
    """One run: Adam with a cosine schedule, batches with `each` images of a class. Returns the
    figures at the end, the curve (steps, mAP; as many `evaluations`, equally spaced), the median
    time of the loss forward and backward, and the model."""
    torch.manual_seed(seed)
    model = network()
    optimizer = torch.optim.Adam(model.parameters(), lr=_LEARNING_RATE)
    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda t: 0.5 + 0.5 * math.cos(math.pi * t / steps))
    draw, curve, took = batches(data.labels, batch, each, seed), [], []
    for step in range(1, steps + 1):
        ids = draw()
        out = model(data.pixels[ids].contiguous(memory_format=torch.channels_last))
        embeddings = out.detach().requires_grad_()
        begun = time.perf_counter()
        loss = criterion(embeddings, data.labels[ids], ids)
        loss.backward()
        took.append(time.perf_counter() - begun)
        optimizer.zero_grad(set_to_none=True)
        if embeddings.grad is not None:
            out.backward(embeddings.grad)
            optimizer.step()
        schedule.step()
        if step * evaluations % steps < evaluations:
            precision, recall = quality(embed(model, held_out.pixels), held_out.labels)
            curve.append([step, round(precision, 2)])
    took.sort()
    return {"mAP": round(precision, 2), "recall@1": round(recall, 2), "curve": curve,
            "loss_ms": round(1e3 * took[len(took) // 2], 3), "model": model}
