# SPDX-License-Identifier: Apache-2.0
"""The shards of a batch: the form of a shard, which each rank sends to the others, its packed
bytes, and how shards become one batch.

The items of the whole batch are in rank order. A shard may have any number of rows, and none.
"""
from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from .. import _names
from ..client import Client
from ..tensors import BF16, Tensor, dtype_of, tensor
from .convert import to_wire

NAMES = ("embeddings", "labels", "ids", "enqueue_mask", "ref_embeddings", "ref_labels", "ref_ids", "list_weight")
MATRICES = ("embeddings", "ref_embeddings")  # those that receive a gradient
_TYPES = ("FP64", "FP32", "FP16", "BF16", "INT64", "BOOL")
_BESIDE = {"labels": "embeddings", "ids": "embeddings", "enqueue_mask": "embeddings", "ref_labels": "ref_embeddings",
           "ref_ids": "ref_embeddings", "list_weight": "embeddings"}  # one element for each row of that matrix
_FILL = {"ids": -1, "ref_ids": -1, "enqueue_mask": True, "list_weight": 1.0}  # the daemon's defaults

# In a rank's record. An absent tensor has type -1 and no rows.
FORM = np.dtype([("type", "i1", len(NAMES)), ("rows", "i8", len(NAMES)), ("width", "i8", len(NAMES))])


def _beside(name: str, gallery: str) -> str:
    """The matrix that a vector has one element per row of. With the gallery "references" the
    references are appended to a bank, so `enqueue_mask` belongs to them."""
    return "ref_embeddings" if name == "enqueue_mask" and gallery == "references" else _BESIDE.get(name, name)


def shard_of(tensors: Mapping[str, torch.Tensor], gallery: str) -> dict[str, Tensor]:
    """This rank's tensors in host memory, checked against each other. Integers are int64: the types
    of two ranks may differ."""
    shard = {}
    for name, value in tensors.items():
        if name not in NAMES:
            raise ValueError(f"{name} is given; with distributed the ranks can only join {', '.join(NAMES)}")
        part = tensor(name, to_wire(name, value), _names.INPUTS[name])
        if not isinstance(part, Tensor):
            raise TypeError(f"{name} lies on the device; with distributed it must be a tensor of torch")
        shard[name] = Tensor(name, "INT64", part.data.astype(np.int64)) if part.datatype == "INT32" else part
    for name, part in shard.items():
        _check(name, part, shard, _beside(name, gallery))
    return shard


def _check(name: str, part: Tensor, shard: Mapping[str, Tensor], matrix: str) -> None:
    shape = list(part.shape)
    if len(shape) != (2 if name in MATRICES else 1):
        raise ValueError(f"{name} has shape {shape}; it must be {_names.SHAPES[name]}")
    if matrix not in shard:
        raise ValueError(f"{name} goes with {matrix}, which were not given")
    if shape[0] != shard[matrix].shape[0]:
        raise ValueError(f"{name} has shape {shape}; it must be [{shard[matrix].shape[0]}], one for each of {matrix}")


def form_of(shard: Mapping[str, Tensor]) -> NDArray[Any]:
    """The description of a rank's shard: FORM of shape ()."""
    form = np.zeros((), FORM)
    form["type"] = -1
    for i, name in enumerate(NAMES):
        if name in shard:
            part = shard[name]
            form["type"][i], form["rows"][i] = _TYPES.index(part.datatype), part.shape[0]
            form["width"][i] = part.shape[1] if name in MATRICES else 1
    return form


def pack(shard: Mapping[str, Tensor]) -> NDArray[np.uint8]:
    """The bytes of a shard, in the order of NAMES."""
    return np.concatenate([np.frombuffer(shard[name].buffer, np.uint8) for name in NAMES if name in shard])


class Forms:
    """The forms of all ranks: FORM of shape [world]. Raises ValueError, the same on all ranks, if
    the shards can't be joined."""

    def __init__(self, forms: NDArray[Any], gallery: str) -> None:
        self.gallery = gallery
        self.type, self.rows, self.width = forms["type"], forms["rows"], forms["width"]
        for name in MATRICES:
            self._check_alike(name)

    def _check_alike(self, name: str) -> None:
        at = NAMES.index(name)
        given = np.flatnonzero(self.rows[:, at] > 0)
        for rank in given[1:]:
            first = given[0]
            if self.width[rank, at] != self.width[first, at]:
                raise ValueError(f"{name} have {self.width[first, at]} dimensions on rank {first} and {self.width[rank, at]} on "
                                 f"rank {rank}; the shards of one batch must have the same")
            if self.type[rank, at] != self.type[first, at]:
                raise ValueError(f"{name} are {_TYPES[self.type[first, at]]} on rank {first} and {_TYPES[self.type[rank, at]]} "
                                 f"on rank {rank}; the shards of one batch must have the same type")

    def bytes(self, rank: int) -> int:
        """The length of the packed shard of a rank."""
        return sum(self._size(rank, at) for at in range(len(NAMES)))

    def _size(self, rank: int, at: int) -> int:
        if self.type[rank, at] < 0:
            return 0
        return int(self.rows[rank, at] * self.width[rank, at]) * _kind(self.type[rank, at]).itemsize

    def start(self, name: str, rank: int) -> int:
        """The place of a rank's first row in the whole batch."""
        return int(self.rows[:rank, NAMES.index(name)].sum())

    def shape(self, name: str, rank: int) -> tuple[int, int]:
        at = NAMES.index(name)
        return int(self.rows[rank, at]), int(self.width[rank, at])

    def whole(self, parts: list[NDArray[np.uint8]], client: Client) -> dict[str, Any]:
        """The whole batch, from the packed shards of all ranks: the client's arguments by name.
        Matrices are in the client's memory for inputs."""
        starts = [0] * len(parts)
        batch: dict[str, Any] = {}
        for at, name in enumerate(NAMES):
            given = [rank for rank in range(len(parts)) if self.type[rank, at] >= 0]
            if not given:
                continue
            model = next((rank for rank in given if self.rows[rank, at] > 0), given[0])
            kind = _kind(self.type[model, at])
            beside = NAMES.index(_beside(name, self.gallery))
            total, width = int(self.rows[:, beside].sum()), int(self.width[model, at])
            shape = (total, width) if name in MATRICES else (total,)
            joined = client.empty(shape, kind) if name in MATRICES else np.empty(shape, kind)
            flat, row = joined.reshape(-1), 0
            for rank, part in enumerate(parts):
                count, size = int(self.rows[rank, beside]) * width, self._size(rank, at)
                if self.type[rank, at] >= 0:
                    flat[row:row + count] = part[starts[rank]:starts[rank] + size].view(kind)
                elif count:
                    flat[row:row + count] = _FILL[name]
                row, starts[rank] = row + count, starts[rank] + size
            batch[name] = BF16(joined) if _TYPES[self.type[model, at]] == "BF16" else joined
        return batch


def _kind(code: int) -> np.dtype[Any]:
    """The numpy type; for BF16 that of its bits."""
    name = _TYPES[code]
    return np.dtype(np.uint16) if name == "BF16" else dtype_of(name)
