# SPDX-License-Identifier: Apache-2.0
"""The peers: losses of a detector's classification head without rankd. All take logits [M, C], the
class [M] that each location should find (-1: none) and the IoU [M] of its box, and return the loss
of the batch."""
from __future__ import annotations

import torch
from torch.nn import functional as F


def _binary(logits: torch.Tensor, classes: torch.Tensor) -> torch.Tensor:
    """1 where the location should find that class, else 0; of the logits' shape."""
    return F.one_hot(classes + 1, logits.shape[1] + 1)[:, 1:].to(logits)


def focal(logits: torch.Tensor, classes: torch.Tensor, iou: torch.Tensor, *, alpha: float = 0.25,
          gamma: float = 2.0) -> torch.Tensor:
    """Lin et al., "Focal Loss for Dense Object Detection", ICCV 2017; divided by the number of
    positives."""
    wanted = _binary(logits, classes)
    probability = logits.sigmoid()
    wrong = probability + wanted - 2 * probability * wanted
    weight = (alpha * wanted + (1 - alpha) * (1 - wanted)) * wrong ** gamma
    return (weight * F.binary_cross_entropy_with_logits(logits, wanted, reduction="none")).sum() / wanted.sum().clamp(min=1)


def bce(logits: torch.Tensor, classes: torch.Tensor, iou: torch.Tensor, *, positive: float = 1.0) -> torch.Tensor:
    """Binary cross entropy, positives weighted by `positive`; divided by their number."""
    wanted = _binary(logits, classes)
    weight = torch.full((logits.shape[1],), positive)
    return F.binary_cross_entropy_with_logits(logits, wanted, pos_weight=weight, reduction="sum") / wanted.sum().clamp(min=1)


def qfl(logits: torch.Tensor, classes: torch.Tensor, iou: torch.Tensor, *, beta: float = 2.0) -> torch.Tensor:
    """Quality focal loss: Li et al., "Generalized Focal Loss", NeurIPS 2020. The target of a
    positive is the IoU of its box."""
    wanted = _binary(logits, classes)
    quality = wanted * iou[:, None]
    weight = (quality - logits.sigmoid()).abs() ** beta
    return (weight * F.binary_cross_entropy_with_logits(logits, quality, reduction="none")).sum() / wanted.sum().clamp(min=1)


class _ErrorDriven(torch.autograd.Function):
    """A value with a gradient that was computed separately."""

    @staticmethod
    def forward(ctx, logits, value, gradient):  # type: ignore[no-untyped-def]
        ctx.save_for_backward(gradient)
        return value

    @staticmethod
    def backward(ctx, upstream):  # type: ignore[no-untyped-def]
        return ctx.saved_tensors[0] * upstream, None, None


def ap_error_driven(logits: torch.Tensor, classes: torch.Tensor, iou: torch.Tensor, *, delta: float = 1.0) -> torch.Tensor:
    """Chen et al., "Towards Accurate One-Stage Object Detection with AP-Loss", CVPR 2019: all
    classes are one list; the update of a pair is the share that it has in the positive's precision
    error, with a step of width 2 delta. The sums over pairs are computed by running sums over
    sorted scores, because the step is linear between its ends."""
    flat, wanted = logits.detach().reshape(-1).double(), _binary(logits, classes).reshape(-1) > 0
    positive, negative = flat[wanted], flat[~wanted]
    gradient = torch.zeros_like(flat)
    if len(positive) == 0:
        return _ErrorDriven.apply(logits, logits.sum() * 0, gradient.to(logits).view_as(logits))
    above = _steps(positive, negative, torch.ones_like(negative), delta)
    rank = 0.5 + above + _steps(positive, positive, torch.ones_like(positive), delta)  # itself counts 1, not half
    gradient[wanted] = -above / rank / len(positive)
    gradient[~wanted] = _steps(-negative, -positive, 1 / rank, delta) / len(positive)
    return _ErrorDriven.apply(logits, (above / rank).mean().to(logits), gradient.to(logits).view_as(logits))


def _steps(points: torch.Tensor, others: torch.Tensor, weights: torch.Tensor, delta: float) -> torch.Tensor:
    """For each of `points` the sum over `others` of their weight times a step from 0 to 1 as they
    go from delta below it to delta above. All are [.] float64."""
    ordered, order = others.sort()
    none = torch.zeros(1).double()
    weight, moment = (torch.cat([none, x.cumsum(0)]) for x in (weights[order], weights[order] * ordered))
    low, high = (torch.searchsorted(ordered, points + d) for d in (-delta, delta))
    within = (moment[high] - moment[low] - points * (weight[high] - weight[low])) / (2 * delta)
    return weight[-1] - weight[high] + within + (weight[high] - weight[low]) / 2


def ap_bucketed(logits: torch.Tensor, classes: torch.Tensor, iou: torch.Tensor) -> torch.Tensor:
    """Yavuz et al., "Bucketed Ranking-based Losses for Efficient Training of Object Detectors",
    ECCV 2024: negatives between two neighbouring positives are a bucket, and positives are compared
    with buckets instead of negatives. The errors are those above with a step of width 0, in the
    time of a sort."""
    flat, wanted = logits.detach().reshape(-1), _binary(logits, classes).reshape(-1) > 0
    positive, negative = flat[wanted], flat[~wanted]
    gradient = torch.zeros_like(flat)
    if len(positive) == 0:
        return _ErrorDriven.apply(logits, logits.sum() * 0, gradient.view_as(logits))
    order = positive.argsort(descending=True)
    bucket = torch.searchsorted(-positive[order], -negative)  # of each negative: the number of positives above it
    size = torch.bincount(bucket, minlength=len(positive) + 1).double()
    above = size[:-1].cumsum(0)  # negatives above each positive
    rank = above + torch.arange(1, len(positive) + 1)
    share = (1 / rank).flip(0).cumsum(0).flip(0)  # of a negative in bucket b: from all positives b and below
    share = torch.cat([share, torch.zeros(1).double()])
    ranked = torch.empty_like(flat[wanted])
    ranked[order] = (-(above / rank) / len(positive)).to(flat)
    gradient[wanted], gradient[~wanted] = ranked, (share[bucket] / len(positive)).to(flat)
    return _ErrorDriven.apply(logits, (above / rank).mean().to(flat), gradient.view_as(logits))


PEERS = {"focal": focal, "bce": bce, "qfl": qfl, "ap-loss": ap_error_driven, "bucketed": ap_bucketed}
