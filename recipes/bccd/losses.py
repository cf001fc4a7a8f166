# SPDX-License-Identifier: Apache-2.0
"""Losses of a detector's classification head that need no rankd: the peers. All take logits [M, C], the class [M] that each
location has to find (-1: none) and the IoU [M] that its box reached, and give the loss of the batch."""
from __future__ import annotations

import torch
from torch.nn import functional as F


def _binary(logits: torch.Tensor, classes: torch.Tensor) -> torch.Tensor:
    """1 where the location has to find that class, else 0; of the logits' shape."""
    return F.one_hot(classes + 1, logits.shape[1] + 1)[:, 1:].to(logits)


def focal(logits: torch.Tensor, classes: torch.Tensor, iou: torch.Tensor, *, alpha: float = 0.25, gamma: float = 2.0) -> torch.Tensor:
    """Lin et al., "Focal Loss for Dense Object Detection", ICCV 2017; divided by the number of positives."""
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
    """Quality focal loss: Li et al., "Generalized Focal Loss", NeurIPS 2020. A positive has to say the IoU of its box."""
    wanted = _binary(logits, classes)
    quality = wanted * iou[:, None]
    weight = (quality - logits.sigmoid()).abs() ** beta
    return (weight * F.binary_cross_entropy_with_logits(logits, quality, reduction="none")).sum() / wanted.sum().clamp(min=1)


class _ErrorDriven(torch.autograd.Function):
    """A value with a gradient that was found by other means."""

    @staticmethod
    def forward(ctx, logits, value, gradient):  # type: ignore[no-untyped-def]
        ctx.save_for_backward(gradient)
        return value

    @staticmethod
    def backward(ctx, upstream):  # type: ignore[no-untyped-def]
        return ctx.saved_tensors[0] * upstream, None, None


def ap_error_driven(logits: torch.Tensor, classes: torch.Tensor, iou: torch.Tensor, *, delta: float = 1.0) -> torch.Tensor:
    """Chen et al., "Towards Accurate One-Stage Object Detection with AP-Loss", CVPR 2019: all classes are one list; the update
    of a pair is the share that it has in the positive's precision error, with a step of width 2 delta."""
    flat, wanted = logits.detach().reshape(-1), _binary(logits, classes).reshape(-1) > 0
    positive = torch.nonzero(wanted).squeeze(1)
    gradient = torch.zeros_like(flat)
    if len(positive) == 0:
        return _ErrorDriven.apply(logits, logits.sum() * 0, gradient.view_as(logits))
    negative = torch.nonzero(~wanted & (flat > flat[positive].min() - delta)).squeeze(1)  # the others are no error of anyone
    step = lambda x: (x / (2 * delta) + 0.5).clamp(0, 1)  # noqa: E731
    above = step(flat[negative][None] - flat[positive][:, None])
    among = step(flat[positive][None] - flat[positive][:, None]).fill_diagonal_(0)
    error = above / (1 + above.sum(1) + among.sum(1))[:, None]
    gradient[positive], gradient[negative] = -error.sum(1) / len(positive), error.sum(0) / len(positive)
    return _ErrorDriven.apply(logits, error.sum() / len(positive), gradient.view_as(logits))


def ap_bucketed(logits: torch.Tensor, classes: torch.Tensor, iou: torch.Tensor) -> torch.Tensor:
    """Yavuz et al., "Bucketed Ranking-based Losses for Efficient Training of Object Detectors", ECCV 2024: negatives between
    two neighbouring positives are a bucket, and positives meet buckets instead of negatives. The same errors as above with a
    step of width 0, in the time of a sort."""
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
