# SPDX-License-Identifier: Apache-2.0
"""Lists of different lengths, as tensors: flat with offsets, or one tensor per list."""
from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch

from .convert import expect_tensor


def flatten(offsets: Any, **values: Any) -> tuple[torch.Tensor | None, tuple[Any, ...]]:
    """The offsets [Q + 1], int64, and the values [N]; None for the offsets if the values have
    neither offsets nor pieces: they are unchanged then.

    Each value is a tensor [N] with `offsets`, or a sequence of Q tensors [n] without. The pieces
    get their gradients through torch.cat. The first value requires a gradient even if there is no
    piece, so that a trainer without a list can call backward() like the others.
    """
    pieces = {name: value for name, value in values.items() if _is_pieces(value)}
    if not pieces:
        return None if offsets is None else _whole(offsets), tuple(values.values())
    if offsets is not None:
        raise TypeError(f"{next(iter(pieces))} is a sequence of tensors, which has the lengths; offsets go with flat tensors")
    for name, value in values.items():
        if name not in pieces and isinstance(value, Sequence) and any(isinstance(piece, torch.Tensor) for piece in value):
            at = next(i for i, piece in enumerate(value) if not isinstance(piece, torch.Tensor))
            expect_tensor(f"{name}[{at}]", value[at])
        if name not in pieces:
            raise TypeError(f"{name} is a {type(value).__name__}; it must be a sequence of tensors, like {next(iter(pieces))}")
    lengths = {name: [_length(f"{name}[{i}]", piece) for i, piece in enumerate(value)] for name, value in pieces.items()}
    first, sizes = next(iter(lengths.items()))
    for name, other in lengths.items():
        if other != sizes:
            raise ValueError(f"{name} has {_difference(other, sizes)} {first}")
    ends = torch.tensor([0, *sizes], dtype=torch.int64).cumsum(0)
    if not sizes:
        return ends, tuple(torch.zeros(0, requires_grad=name == first and torch.is_grad_enabled()) for name in pieces)
    return ends, tuple(torch.cat(list(value)) for value in pieces.values())


def _whole(offsets: Any) -> torch.Tensor:
    """As int64; nothing is rounded."""
    try:
        ends = torch.as_tensor(offsets)
    except (TypeError, ValueError, RuntimeError):
        raise TypeError(f"offsets is {str(offsets)[:60]!r}; it must be [Q + 1] whole numbers") from None
    if ends.numel() and (ends.is_floating_point() or ends.is_complex() or ends.dtype == torch.bool):
        raise TypeError(f"offsets is of type {ends.dtype}; it must be of an integer type, such as torch.int64")
    return ends.to(torch.int64)


def _is_pieces(value: Any) -> bool:
    """Whether the value is a sequence of tensors. A list of numbers is not: it is refused later,
    because it is not a tensor."""
    return isinstance(value, Sequence) and all(isinstance(piece, torch.Tensor) for piece in value)


def _length(name: str, piece: torch.Tensor) -> int:
    if piece.dim() != 1:
        raise ValueError(f"{name} has {_count(piece.dim(), 'dimension')}; a list has one")
    return len(piece)


def _difference(a: list[int], b: list[int]) -> str:
    if len(a) != len(b):
        return f"{_count(len(a), 'list')}, and not {len(b)} like"
    at = next(i for i, (x, y) in enumerate(zip(a, b)) if x != y)
    return f"{_count(a[at], 'item')} in list {at}, and not {b[at]} like"


def _count(number: int, what: str) -> str:
    return f"{number} {what}{'' if number == 1 else 's'}"


def pairs_in_lists(targets: torch.Tensor, offsets: torch.Tensor) -> bool:
    """True if a list has a relevant and an irrelevant item."""
    return bool(((_counts(targets > 0, offsets) > 0) & (_counts(targets == 0, offsets) > 0)).any())


def relevant_in_lists(targets: torch.Tensor, axis: int, offsets: torch.Tensor | None) -> torch.Tensor:
    """The number of relevant items of each list, [lists]: rows, columns with axis=0, or those of
    offsets."""
    return (targets > 0).sum(axis) if offsets is None else _counts(targets > 0, offsets)


def _counts(items: torch.Tensor, offsets: torch.Tensor) -> torch.Tensor:
    """How many of the items, bool [N], are true in each list."""
    ends = offsets.to(items.device)
    before = torch.cat([items.new_zeros(1, dtype=torch.int64), items.cumsum(0)])
    return before[ends[1:]] - before[ends[:-1]]
