# SPDX-License-Identifier: Apache-2.0
"""Fashion-MNIST: pictures of clothes of ten kinds (Zalando, MIT licence; Debian's package
dataset-fashion-mnist)."""
from __future__ import annotations

import gzip
from functools import cache
from pathlib import Path

import numpy as np
import torch

from kit.data import find
from kit.embed import Images

_DEBIAN = Path("/usr/share/datasets/fashion-mnist")
_PLACE = "https://raw.githubusercontent.com/zalandoresearch/fashion-mnist/master/data/fashion/"
_SUMS = {
    "t10k-images-idx3-ubyte.gz": "cc1d090a38ace84dfa1aa66e3ada7c336ef481a96936906477e6dd344da56eaa",
    "t10k-labels-idx1-ubyte.gz": "8d3605d196f4be44669e46906da9733c8131fef761fdbfec72c424d5222f1a05",
    "train-images-idx3-ubyte.gz": "b0564c3eedabfbf835052cff8503ea422014ce006caf5b757f851416ee8300c7",
    "train-labels-idx1-ubyte.gz": "0ae29f65d86684f32d1b9c85147786c547b9c6aebcaf235f0400a0cce308b056",
}
_UNSEEN = (0, 2, 5, 6, 8)  # T-shirt, pullover, sandal, shirt, bag


@cache
def _numbers(name: str) -> np.ndarray:
    path = _DEBIAN / name
    if not path.exists():
        path = find(f"fashion-mnist/{name}", _PLACE + name, _SUMS[name])
    raw = gzip.decompress(path.read_bytes())
    axes = raw[3]
    shape = [int.from_bytes(raw[4 + 4 * i:8 + 4 * i], "big") for i in range(axes)]
    return np.frombuffer(raw, np.uint8, offset=4 + 4 * axes).reshape(shape)


def _images(part: str, kinds: tuple[int, ...], each: int) -> Images:
    """The first `each` images of these kinds; "train" or "t10k"."""
    labels, pixels = _numbers(f"{part}-labels-idx1-ubyte.gz"), _numbers(f"{part}-images-idx3-ubyte.gz")
    rows = np.concatenate([np.flatnonzero(labels == kind)[:each] for kind in kinds])
    return Images(torch.from_numpy(pixels[rows].copy()).float()[:, None] / 255, torch.from_numpy(labels[rows].astype(np.int64)))


def known_kinds() -> tuple[Images, Images]:
    """All ten kinds, 500 images of each to train on; 100 others of each held out."""
    return _images("train", tuple(range(10)), 500), _images("t10k", tuple(range(10)), 100)


def unseen_kinds() -> tuple[Images, Images]:
    """Five kinds to train on, and 200 images of each of the five others."""
    seen = tuple(kind for kind in range(10) if kind not in _UNSEEN)
    return _images("train", seen, 500), _images("t10k", _UNSEEN, 200)
