# SPDX-License-Identifier: Apache-2.0
"""Detections and their Average Precision, as COCO counts it (101 recalls, IoU 0.5 to 0.95)."""
from __future__ import annotations

import torch
from torch import nn

from .data import CLASSES, Smears
from .detector import PLACES, pairwise, suppressed

_CANDIDATES = 150  # of a class in an image, before suppression
_LEVELS = torch.arange(0.5, 0.96, 0.05)
Detections = list[list[tuple[torch.Tensor, torch.Tensor]]]  # [image][class]: boxes [M, 4] and scores [M], best first


@torch.no_grad()
def detect(model: nn.Module, pixels: torch.Tensor) -> Detections:
    """The detections in each image. Scores are logits: only their order counts."""
    model.eval()
    found: Detections = []
    for part in pixels.split(24):
        for logits, distances in zip(*model(part)):
            corners = torch.cat([PLACES - distances[:, :2], PLACES + distances[:, 2:]], 1)
            classes = []
            for kind in range(len(CLASSES)):
                scores, which = logits[:, kind].topk(_CANDIDATES)
                keep = suppressed(corners[which])
                classes.append((corners[which][keep], scores[keep]))
            found.append(classes)
    model.train()
    return found


def average_precision(found: Detections, truth: Smears) -> dict[str, float]:
    """AP50 and AP (mean over IoU levels and classes), and AP50 of each class, in percent."""
    table = torch.stack([_of_class(found, truth, kind) for kind in range(len(CLASSES))])  # [classes, levels]
    result = {"AP50": table[:, 0].mean().item(), "AP": table.mean().item()}
    result.update({f"AP50 {name}": table[kind, 0].item() for kind, name in enumerate(CLASSES)})
    return {name: round(100 * value, 2) for name, value in result.items()}


def _of_class(found: Detections, truth: Smears, kind: int) -> torch.Tensor:
    scores, hits, objects = [], [], 0
    for image, classes in enumerate(found):
        boxes = truth.boxes[image][truth.classes[image] == kind]
        objects += len(boxes)
        scores.append(classes[kind][1])
        hits.append(_matched(pairwise(classes[kind][0], boxes)))
    order = torch.cat(scores).argsort(descending=True)
    right = torch.cat(hits)[order].double().cumsum(0)  # [detections, levels]
    precision = right / torch.arange(1, len(order) + 1)[:, None]
    precision = precision.flip(0).cummax(0).values.flip(0)
    recall = (right / max(objects, 1)).T.contiguous()
    at = torch.searchsorted(recall, torch.linspace(0, 1, 101).double().expand(len(_LEVELS), -1).contiguous())
    padded = torch.cat([precision, torch.zeros(1, len(_LEVELS))]).T
    return padded.gather(1, at).mean(1)


def _matched(iou: torch.Tensor) -> torch.Tensor:
    """For detections, best first, whether each finds a box that none before it has found: [M,
    levels]."""
    hits = torch.zeros(len(iou), len(_LEVELS), dtype=torch.bool)
    if iou.shape[1] == 0:
        return hits
    free = torch.ones(iou.shape[1], len(_LEVELS), dtype=torch.bool)
    for number in torch.nonzero(iou.amax(1) >= _LEVELS[0]).squeeze(1).tolist():
        overlaps = iou[number][:, None].expand(-1, len(_LEVELS)).masked_fill(~free, -1)
        best, which = overlaps.max(0)
        hits[number] = best >= _LEVELS
        free[which[hits[number]], torch.nonzero(hits[number]).squeeze(1)] = False
    return hits
