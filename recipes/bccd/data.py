# SPDX-License-Identifier: Apache-2.0
"""BCCD: 364 blood smears with a box for each cell (MIT licence), at a quarter of their size."""
from __future__ import annotations

import xml.etree.ElementTree as ET
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from kit.data import find

CLASSES = ("RBC", "WBC", "Platelets")
WIDTH, HEIGHT = 160, 120


@dataclass(frozen=True)
class Smears:
    """`pixels` [N, 3, HEIGHT, WIDTH] float32 in -1…1; for each image its boxes [G, 4] (left, top,
    right, bottom, in pixels) and classes [G] int64."""

    pixels: torch.Tensor
    boxes: list[torch.Tensor]
    classes: list[torch.Tensor]


def load(split: str) -> Smears:
    """"train", "val", "trainval" or "test", as the data set divides its images."""
    folder = find("bccd/BCCD")
    names = (folder / "ImageSets/Main" / f"{split}.txt").read_text().split()
    pixels, boxes, classes = [], [], []
    for name in names:
        image = Image.open(folder / "JPEGImages" / f"{name}.jpg").convert("RGB").resize((WIDTH, HEIGHT), Image.BOX)
        pixels.append(torch.from_numpy(np.asarray(image).copy()).permute(2, 0, 1))
        found = _objects(folder / "Annotations" / f"{name}.xml")
        boxes.append(torch.tensor([box for _, box in found], dtype=torch.float32).reshape(-1, 4))
        classes.append(torch.tensor([kind for kind, _ in found], dtype=torch.int64))
    return Smears(torch.stack(pixels).float() / 127.5 - 1, boxes, classes)


def _objects(path: Path) -> list[tuple[int, list[float]]]:
    root = ET.parse(path).getroot()
    size = [float(root.findtext(f"size/{side}", "0")) for side in ("width", "height")]
    scale = [WIDTH / size[0], HEIGHT / size[1]] * 2
    found = []
    for item in root.iter("object"):
        corners = [float(item.findtext(f"bndbox/{edge}", "0")) * s for edge, s in zip(("xmin", "ymin", "xmax", "ymax"), scale)]
        if corners[2] > corners[0] and corners[3] > corners[1]:
            found.append((CLASSES.index(item.findtext("name", "")), corners))
    return found
