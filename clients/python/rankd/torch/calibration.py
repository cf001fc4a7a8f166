# SPDX-License-Identifier: Apache-2.0
"""Probabilities from scores that were trained to be ranked."""
from __future__ import annotations

import torch
from torch import nn

from ..parameters import whole
from .convert import expect_tensor

_ROUNDS = 50
_ENOUGH = 1e-10  # change of the loss per row at which a fit ends
_LEAST_SCALE = 1e-6  # an order is never reversed


class Calibration(nn.Module):
    """A scale above 0 and a shift for each class, so that the sigmoid of the result estimates the
    probability that a place with such a score is relevant. The order within a class stays, and so
    does its Average Precision.

        calibration = rankd.torch.Calibration(classes=80)
        calibration.fit(logits, targets)                   # of images that the detector was not trained on
        probability = calibration(logits).sigmoid()

    A loss of ranks says which place comes first and nothing about how probable it is; so a
    threshold on a ranked detector's sigmoid means nothing, and scores of different classes are
    comparable only to the degree that `interclass` made them so.
    """

    scale: torch.Tensor
    shift: torch.Tensor

    def __init__(self, classes: int) -> None:
        super().__init__()
        classes = whole("classes", classes, 1)
        self.register_buffer("scale", torch.ones(classes))
        self.register_buffer("shift", torch.zeros(classes))

    def extra_repr(self) -> str:
        return f"classes={len(self.scale)}"

    def forward(self, logits: torch.Tensor) -> torch.Tensor:
        """Calibrated logits, of the same shape [..., classes]."""
        if expect_tensor("logits", logits).dim() < 1 or logits.shape[-1] != len(self.scale):
            raise ValueError(f"logits are {list(logits.shape)}; they must be [..., {len(self.scale)}]: the last axis is the "
                             "classes")
        return logits * self.scale.to(logits) + self.shift.to(logits)

    @torch.no_grad()
    def fit(self, logits: torch.Tensor, targets: torch.Tensor) -> Calibration:
        """Fits scale and shift of each class by logistic regression (Platt 1999, with his targets,
        which keep a perfectly separated class finite). `logits` and `targets` [..., classes]: 1
        relevant, 0 irrelevant, -1 ignored. A class without relevant or without irrelevant places
        keeps its values. Returns itself."""
        logits, targets = expect_tensor("logits", logits), expect_tensor("targets", targets)
        classes = len(self.scale)
        if logits.shape != targets.shape or logits.dim() < 1 or logits.shape[-1] != classes:
            raise ValueError(f"logits are {list(logits.shape)} and targets {list(targets.shape)}; both must be [..., {classes}]")
        scores, wanted = logits.reshape(-1, classes).double().cpu(), targets.reshape(-1, classes).cpu()
        for number in range(classes):
            there = (wanted[:, number] != -1) & ~scores[:, number].isnan()
            relevant = wanted[there, number] > 0
            if bool(relevant.any()) and not bool(relevant.all()):
                scale, shift = _platt(scores[there, number], relevant)
                self.scale[number], self.shift[number] = scale, shift
        return self


def _platt(scores: torch.Tensor, relevant: torch.Tensor) -> tuple[float, float]:
    """Newton's method with halved steps for scale and shift; scores are standardised first."""
    high, low = int(relevant.sum()), int((~relevant).sum())
    wanted = torch.where(relevant, (high + 1) / (high + 2), 1 / (low + 2)).double()
    middle, spread = scores.mean(), scores.std().clamp(min=1e-12)
    x = (scores - middle) / spread
    weights = torch.tensor([1.0, torch.logit(wanted.mean()).item()], dtype=torch.float64)
    design = torch.stack([x, torch.ones_like(x)], 1)
    loss = _cross_entropy(design @ weights, wanted)
    for _ in range(_ROUNDS):
        probability = (design @ weights).sigmoid()
        curvature = design.T @ (design * (probability * (1 - probability))[:, None]) / len(x)
        step = torch.linalg.solve(curvature + 1e-9 * torch.eye(2, dtype=torch.float64),
                                  design.T @ (probability - wanted) / len(x))
        share = 1.0
        while share > 1e-6 and _cross_entropy(design @ (weights - share * step), wanted) > loss:
            share /= 2
        before, weights = loss, weights - share * step
        loss = _cross_entropy(design @ weights, wanted)
        if abs(before - loss) < _ENOUGH:
            break
    scale = max(weights[0].item() / spread.item(), _LEAST_SCALE)
    return scale, weights[1].item() - scale * middle.item() if scale > _LEAST_SCALE else torch.logit(wanted.mean()).item()


def _cross_entropy(logits: torch.Tensor, wanted: torch.Tensor) -> float:
    return float(nn.functional.binary_cross_entropy_with_logits(logits, wanted))
