# SPDX-License-Identifier: Apache-2.0
"""One run of the detector: the same network, images, flips and steps for every loss."""
from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import torch

from .data import WIDTH, HEIGHT, Smears
from .detector import Detector, assign, overlap
from .evaluate import average_precision, detect

BATCH = 8
_LEARNING_RATE = 2e-3
_WARM_UP = 30  # steps

Classify = Callable[[torch.Tensor, torch.Tensor, torch.Tensor], torch.Tensor]  # logits [B, N, C], classes [B, N], IoU [B, N]


class Flips:
    """The images in all four reflections, with the targets of their locations; computed once,
    because they are the same for every run."""

    def __init__(self, data: Smears) -> None:
        self.pixels = data.pixels
        self.targets = [[assign(_flipped(boxes, across, down), kinds) for across, down in _REFLECTIONS]
                        for boxes, kinds in zip(data.boxes, data.classes)]

    def batch(self, draw: torch.Generator) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """Images [B, 3, HEIGHT, WIDTH] with the classes [B, N] and distances [B, N, 4] of their
        locations."""
        which = torch.randperm(len(self.pixels), generator=draw)[:BATCH].tolist()
        how = torch.randint(0, len(_REFLECTIONS), (BATCH,), generator=draw).tolist()
        axes = [[axis for axis, flip in zip((2, 1), _REFLECTIONS[h]) if flip] for h in how]
        found = [self.targets[image][h] for image, h in zip(which, how)]
        return (torch.stack([self.pixels[image].flip(a) for image, a in zip(which, axes)]),
                torch.stack([classes for classes, _ in found]), torch.stack([distances for _, distances in found]))


_REFLECTIONS = ((False, False), (True, False), (False, True), (True, True))  # across, down


def _flipped(boxes: torch.Tensor, across: bool, down: bool) -> torch.Tensor:
    left, top, right, bottom = boxes.unbind(1)
    if across:
        left, right = WIDTH - right, WIDTH - left
    if down:
        top, bottom = HEIGHT - bottom, HEIGHT - top
    return torch.stack([left, top, right, bottom], 1)


def train(classify: Classify, data: Flips, held_out: Smears, *, steps: int, seed: int) -> dict[str, Any]:
    """Adam with a warm-up and a cosine schedule. Returns the figures on `held_out`, the curve of
    the losses and the model."""
    torch.manual_seed(seed)
    model = Detector().to(memory_format=torch.channels_last)
    optimizer = torch.optim.Adam(model.parameters(), lr=_LEARNING_RATE)
    schedule = torch.optim.lr_scheduler.LambdaLR(
        optimizer, lambda t: min(1, (t + 1) / _WARM_UP) * (0.5 + 0.5 * math.cos(math.pi * t / steps)))
    draw, curve = torch.Generator().manual_seed(seed), []
    for step in range(1, steps + 1):
        pixels, classes, wanted = data.batch(draw)
        logits, distances = model(pixels.contiguous(memory_format=torch.channels_last))
        found = classes >= 0
        iou, generous = overlap(distances[found], wanted[found])
        reached = torch.zeros(classes.shape)
        reached[found] = iou.detach()
        classification = classify(logits, classes, reached)
        loss = classification + (1 - generous).mean()
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 10.0)
        optimizer.step()
        schedule.step()
        if step % 25 == 0:
            curve.append([step, round(classification.item(), 4), round((1 - generous).mean().item(), 4)])
    return {**average_precision(detect(model, held_out.pixels), held_out), "curve": curve, "model": model}
