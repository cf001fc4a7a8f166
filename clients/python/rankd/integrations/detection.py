# SPDX-License-Identifier: Apache-2.0
"""rankd as the classification loss of a detection head: mmdetection's criterion, and targets for
torchvision's heads.

    from mmdet.registry import MODELS
    import rankd.integrations.detection as rank
    rank.register(MODELS)                     # in a file that custom_imports names
    loss_cls = dict(type="RankDetectionLoss", classes=80, points=2 * 13343, use_sigmoid=True)
"""
from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import nn

from ..parameters import expect_arguments, number, whole
from ..results import LossInfo
from ..torch import DetectionAPLoss
from ..torch.convert import expect_tensor
from ..torch.wording import in_words_of


class RankDetectionLoss(nn.Module):
    """1 - Average Precision as a criterion of mmdetection: `pred` [anchors, classes], `target`,
    `weight`, `avg_factor`, `reduction_override`. Each class is a list of all anchors of the call.

    The loss is a sum over positives, as that of other criteria is: a class with P of them counts P
    times. "mean" divides it by the number of positives of the call, or by `avg_factor`; "sum" by
    nothing.

    classes         number of classes, without a background
    points          anchors of a batch: the unit of the bank's size
    use_sigmoid     True: a logit for each class and none for the background. Heads with a softmax
                    are refused
    reduction       "mean" or "sum"
    loss_weight     factor on the loss
    parameters      further arguments of rankd.torch.DetectionAPLoss: margin, batches (0: no bank),
                    bank, interclass, …

    If a head calls its criterion for each level of the pyramid, only anchors of the same level
    compete with each other, and a bank would mix the scores of all levels: give batches=0 with such
    a head. `rank` is the loss module of rankd.torch.
    """

    def __init__(self, classes: int, points: int, use_sigmoid: bool = True, reduction: str = "mean", loss_weight: float = 1.0,
                 **parameters: Any) -> None:
        super().__init__()
        if use_sigmoid is not True:
            raise ValueError(f"use_sigmoid is {use_sigmoid!r}; it must be True: each class is ranked by a logit of its own")
        if reduction not in ("mean", "sum"):
            raise ValueError(f"reduction is {reduction!r}; it may be 'mean' or 'sum': a ranking has no loss for a single anchor")
        if "average" in parameters:
            raise TypeError("average is given; here a class counts as often as it has positives, and reduction says the rest")
        expect_arguments(parameters, type(self), DetectionAPLoss)
        self.rank = DetectionAPLoss(classes=classes, points=points, loss_weight=loss_weight, **parameters)
        self.classes, self.use_sigmoid, self.reduction, self.loss_weight = classes, True, reduction, loss_weight

    @property
    def info(self) -> LossInfo | None:
        """Describes the latest call."""
        return self.rank.info

    def forward(self, pred: torch.Tensor, target: torch.Tensor, weight: torch.Tensor | None = None,
                avg_factor: float | torch.Tensor | None = None, reduction_override: str | None = None) -> torch.Tensor:
        """The loss, a scalar.

        pred                [N, classes] logits
        target              [N] integers: the class, `classes` for the background, -1 for an ignored
                            anchor; or [N, classes] of 1, 0 and -1
        weight              [N] or [N, classes] of 1 and 0; 0: ignored. Other weights are refused: a
                            place in a ranking can't be taken in part
        avg_factor          what "mean" divides the sum by: the number of positives, over all
                            trainers and divided by their number where DDP averages gradients
        reduction_override  "mean" or "sum" in place of `reduction`
        """
        if reduction_override not in (None, "mean", "sum"):
            raise ValueError(f"reduction_override is {reduction_override!r}; it may be 'mean' or 'sum': a ranking has no loss "
                             "for a single anchor")
        reduction = reduction_override or self.reduction
        if reduction == "sum" and avg_factor is not None:
            raise ValueError("avg_factor is given and the reduction is 'sum', which divides by nothing: leave one of the two out")
        wanted = targets_from_labels(target, self.classes, weight)
        if expect_tensor("pred", pred).shape != wanted.shape:
            raise ValueError(f"pred is {list(pred.shape)} and target {list(target.shape)}; pred must be [N, {self.classes}], and "
                             f"target [N] or [N, {self.classes}]")
        positives = (wanted == 1).sum(0)
        if avg_factor is None:
            avg_factor = max(int(positives.sum()), 1) if reduction == "mean" else 1
        elif number("avg_factor", avg_factor) < 0:
            raise ValueError(f"avg_factor is {avg_factor}; it must be the number of positives, 0 or more")
        with in_words_of({"logits": "pred"}):
            value: torch.Tensor = self.rank(pred, wanted, avg_factor, list_weight=positives.float())
        return value


def register(registry: Any) -> None:
    """Registers the criterion under its name in a registry of mmdetection (mmdet.registry.MODELS).
    May be called again."""
    if registry.get(RankDetectionLoss.__name__) is None:
        registry.register_module(module=RankDetectionLoss)


def targets_from_labels(target: torch.Tensor, classes: int, weight: torch.Tensor | None = None) -> torch.Tensor:
    """Targets of 1, 0 and -1, int8 [N, classes], from assigned labels: see
    RankDetectionLoss.forward for `target` and `weight`."""
    if isinstance(target, (tuple, list)):
        raise TypeError(f"target is a {type(target).__name__}, as for a quality focal loss; it must be one tensor of labels: a "
                        "ranking has no use for the quality of a box")
    labels, classes = expect_tensor("target", target), whole("classes", classes, 1)
    if labels.dim() == 2 and labels.shape[1] == classes:
        wanted = _exact(labels)
    elif labels.dim() == 1 and not labels.is_floating_point():
        if len(labels) and not (-1 <= int(labels.min()) and int(labels.max()) <= classes):
            raise ValueError(f"target holds {int(labels.min())} to {int(labels.max())}; labels are 0 to {classes - 1}, {classes} "
                             "for the background, -1 for an ignored anchor")
        wanted = (labels[:, None] == torch.arange(classes, device=labels.device)).to(torch.int8)
        wanted[labels == -1] = -1
    else:
        raise ValueError(f"target is {list(labels.shape)} of {labels.dtype}; it must be [N] of integers or [N, {classes}]")
    return wanted if weight is None else wanted.masked_fill(_ignored(weight, wanted), -1)


def _exact(targets: torch.Tensor) -> torch.Tensor:
    exact = targets.to(torch.int8)
    if bool((exact.to(targets.dtype) != targets).any()) or bool((exact.abs() > 1).any()):
        raise ValueError("target holds other values than 1, 0 and -1: 1 for an object of that class, 0 for none, -1 for an "
                         "ignored anchor")
    return exact


def _ignored(weight: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
    """Bool, of the targets' shape or [N, 1]."""
    given = expect_tensor("weight", weight).to(targets.device)
    if given.shape == targets.shape[:1]:
        given = given[:, None]
    elif given.shape != targets.shape:
        raise ValueError(f"weight is {list(weight.shape)}; it must be [{len(targets)}] or {list(targets.shape)}")
    odd = (given != 0) & (given != 1)
    if bool(odd.any()):
        raise ValueError(f"weight holds {float(given[odd][0]):g}; it may be 1, or 0 for an ignored anchor: a place in a ranking "
                         "can't be taken in part")
    return given == 0


def targets_from_matches(targets: Sequence[dict[str, torch.Tensor]], matched_idxs: Sequence[torch.Tensor],
                         classes: int) -> torch.Tensor:
    """Targets of 1, 0 and -1, int8 [images, anchors, classes], for torchvision's RetinaNet and FCOS
    heads: `targets` of the images ("labels" [objects], from 0) and `matched_idxs`, the object of
    each anchor [anchors]: below 0 for none, -2 for an ignored anchor (between the thresholds)."""
    if len(targets) != len(matched_idxs):
        raise ValueError(f"targets are {len(targets)} images and matched_idxs {len(matched_idxs)}; there must be one for each "
                         "image")
    rows = []
    for at, (image, matched) in enumerate(zip(targets, matched_idxs)):
        if "labels" not in image:
            raise ValueError(f"targets[{at}] has no 'labels' but {', '.join(map(repr, image)) or 'nothing'}")
        if bool((matched >= len(image["labels"])).any()):
            raise ValueError(f"matched_idxs holds {int(matched.max())}; the image has {len(image['labels'])} objects")
        labels = torch.full_like(matched, classes)
        labels[matched >= 0] = image["labels"].to(matched)[matched[matched >= 0]]
        labels[matched == -2] = -1
        rows.append(targets_from_labels(labels, classes))
    return torch.stack(rows)


def roi_scores(class_logits: torch.Tensor, labels: Sequence[torch.Tensor]) -> tuple[torch.Tensor, torch.Tensor]:
    """Scores [proposals, classes] and targets for torchvision's RoI heads (Faster R-CNN), whose
    `class_logits` [proposals, 1 + classes] go through a softmax with the background first; `labels`
    has one tensor per image, 0 for the background, -1 for an ignored proposal. The scores are the
    logarithms of the probabilities of the classes, so that the ranking is the order at
    inference."""
    if isinstance(labels, torch.Tensor):
        raise TypeError("labels is a Tensor; it must be a sequence of tensors, one for each image")
    expect_tensor("class_logits", class_logits)
    flat = torch.cat(list(labels))
    if class_logits.dim() != 2 or len(class_logits) != len(flat):
        raise ValueError(f"class_logits are {list(class_logits.shape)} and labels {len(flat)} proposals; class_logits must be "
                         "[proposals, 1 + classes]")
    classes = class_logits.shape[1] - 1
    own = torch.where(flat > 0, flat - 1, torch.where(flat == 0, torch.full_like(flat, classes), flat))
    return class_logits.log_softmax(1)[:, 1:], targets_from_labels(own, classes)
