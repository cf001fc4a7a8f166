# SPDX-License-Identifier: Apache-2.0
"""A small detector like FCOS: for each location of three maps it gives the class of the object
there, and the distances to its edges."""
from __future__ import annotations

import torch
from torch import nn
from torch.nn import functional as F

from .data import CLASSES, HEIGHT, WIDTH

STRIDES = (4, 8, 16)
_REACH = (0.0, 10.0, 24.0, float("inf"))  # the longest distance to an edge, in pixels, by which a box belongs to a map
_RADIUS = 1.5  # in strides: locations within this distance of a box's middle belong to it
_WIDTH = 32
_PRIOR = 0.01  # probability of each class at a location, before training


def _block(inputs: int, outputs: int, stride: int = 1) -> nn.Module:
    return nn.Sequential(nn.Conv2d(inputs, outputs, 3, stride, 1, bias=False), nn.BatchNorm2d(outputs), nn.ReLU(inplace=True))


class Detector(nn.Module):
    """`forward` gives logits [B, N, classes] and distances [B, N, 4] to left, top, right and
    bottom, in pixels."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Sequential(_block(3, 16, 2), _block(16, _WIDTH, 2), _block(_WIDTH, _WIDTH))
        self.down = nn.ModuleList([nn.Sequential(_block(_WIDTH, _WIDTH, 2), _block(_WIDTH, _WIDTH)) for _ in STRIDES[1:]])
        # The maps share these. Statistics over a batch would be another map's when the detector is
        # used; so groups are normed.
        self.tower = nn.ModuleList([nn.Sequential(nn.Conv2d(_WIDTH, _WIDTH, 3, padding=1), nn.GroupNorm(4, _WIDTH),
                                                  nn.ReLU(inplace=True))
                                    for _ in range(2)])
        self.kinds, self.edges = nn.Conv2d(_WIDTH, len(CLASSES), 3, padding=1), nn.Conv2d(_WIDTH, 4, 3, padding=1)
        nn.init.normal_(self.kinds.weight, std=0.01)
        nn.init.constant_(self.kinds.bias, -torch.log(torch.tensor((1 - _PRIOR) / _PRIOR)).item())
        self.scale = nn.Parameter(torch.ones(len(STRIDES)))

    def forward(self, pixels: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        maps = [self.stem(pixels)]
        for stage in self.down:
            maps.append(stage(maps[-1]))
        for fine, coarse in ((1, 2), (0, 1)):
            maps[fine] = maps[fine] + F.interpolate(maps[coarse], size=maps[fine].shape[-2:], mode="nearest")
        logits, distances = [], []
        for one, stride, scale in zip(maps, STRIDES, self.scale):
            logits.append(self.kinds(self.tower[0](one)).flatten(2))
            distances.append((self.edges(self.tower[1](one)) * scale).clamp(max=4).exp().flatten(2) * stride)
        return torch.cat(logits, 2).transpose(1, 2), torch.cat(distances, 2).transpose(1, 2)


def _locations() -> tuple[torch.Tensor, torch.Tensor]:
    """Centres [N, 2] of all locations, and the number of their map [N]."""
    places, maps = [], []
    for number, stride in enumerate(STRIDES):
        rows, columns = -(-HEIGHT // stride), -(-WIDTH // stride)
        y, x = torch.meshgrid(torch.arange(rows), torch.arange(columns), indexing="ij")
        places.append((torch.stack([x, y], -1).reshape(-1, 2) + 0.5) * stride)
        maps.append(torch.full((rows * columns,), number))
    return torch.cat(places), torch.cat(maps)


PLACES, MAPS = _locations()
_STRIDE = torch.tensor(STRIDES)[MAPS]


def assign(boxes: torch.Tensor, classes: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """For each location the class [N] that it should find (-1: none), and the distances [N, 4] to
    the edges of its box: the smallest box whose middle is near and whose size suits the map."""
    if len(boxes) == 0:
        return torch.full((len(PLACES),), -1), torch.zeros(len(PLACES), 4)
    distances = torch.cat([PLACES[:, None] - boxes[None, :, :2], boxes[None, :, 2:] - PLACES[:, None]], -1)
    middle = (boxes[:, :2] + boxes[:, 2:]) / 2
    near = ((PLACES[:, None] - middle[None]).abs().amax(-1) < _RADIUS * _STRIDE[:, None]) & (distances.amin(-1) > 0)
    longest, reach = distances.amax(-1), torch.tensor(_REACH)
    fits = near & (longest >= reach[MAPS][:, None]) & (longest < reach[MAPS + 1][:, None])
    area = ((boxes[:, 2:] - boxes[:, :2]).prod(1))[None].expand(len(PLACES), -1).masked_fill(~fits, float("inf"))
    smallest, which = area.min(1)
    found = smallest.isfinite()
    return torch.where(found, classes[which], torch.tensor(-1)), distances[torch.arange(len(PLACES)), which]


def overlap(distances: torch.Tensor, wanted: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """IoU and GIoU [M] of boxes around the same places, from their distances [M, 4]."""
    inner, outer = torch.minimum(distances, wanted), torch.maximum(distances, wanted)
    area = [(d[:, 0] + d[:, 2]) * (d[:, 1] + d[:, 3]) for d in (distances, wanted, inner, outer)]
    union = area[0] + area[1] - area[2]
    iou = area[2] / union
    return iou, iou - (area[3] - union) / area[3]


def suppressed(boxes: torch.Tensor, most_overlap: float = 0.6) -> torch.Tensor:
    """Non-maximum suppression: of boxes [M, 4], best first, the mask [M] of those that are kept."""
    iou = pairwise(boxes, boxes)
    keep = torch.ones(len(boxes), dtype=torch.bool)
    for i in range(len(boxes)):
        if keep[i]:
            keep[i + 1:] &= iou[i, i + 1:] <= most_overlap
    return keep


def pairwise(a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
    """IoU [A, B] of boxes."""
    low, high = torch.maximum(a[:, None, :2], b[None, :, :2]), torch.minimum(a[:, None, 2:], b[None, :, 2:])
    inner = (high - low).clamp(min=0).prod(-1)
    areas = [(x[:, 2:] - x[:, :2]).prod(-1) for x in (a, b)]
    return inner / (areas[0][:, None] + areas[1][None] - inner)
