# SPDX-License-Identifier: Apache-2.0
"""Conversions between torch tensors and arrays of the client."""
from __future__ import annotations

from typing import Any

import torch
from numpy.typing import NDArray

from ..tensors import BF16

_SENT = (torch.float64, torch.float32, torch.float16, torch.bool, torch.uint8, torch.int8, torch.int16, torch.int32, torch.int64)


def expect_tensor(name: str, value: Any) -> torch.Tensor:
    """The value, if it is a tensor."""
    if not isinstance(value, torch.Tensor):
        raise TypeError(f"{name} is a {type(value).__name__}; it must be a torch.Tensor")
    return value


def to_wire(name: str, value: Any) -> Any:
    """A tensor on any device as numpy (bfloat16 as its bits), without a copy if it is in host
    memory already."""
    if value is None:
        return None
    host = expect_tensor(name, value).detach().to("cpu").contiguous()
    if host.dtype == torch.bfloat16:
        return BF16(host.view(torch.int16).numpy())
    if host.dtype not in _SENT:
        raise TypeError(f"{name} is of type {value.dtype}; rankd takes {', '.join(str(t) for t in _SENT)} and torch.bfloat16")
    return host.numpy()


def exact_targets(targets: torch.Tensor) -> torch.Tensor | None:
    """Targets in a type that the daemon takes: floats of other widths as float32. None where that
    would change a value."""
    if not targets.is_floating_point() or targets.dtype == torch.float32:
        return targets
    narrow = targets.float()
    return narrow if targets.dtype != torch.float64 or torch.equal(narrow.double(), targets) else None


def from_wire(array: NDArray[Any], like: torch.Tensor) -> torch.Tensor:
    """The daemon's array on the device of `like`, in the array's own type."""
    tensor: torch.Tensor = torch.from_numpy(array)
    return tensor.to(like.device)


def loss_type(like: torch.Tensor) -> torch.dtype:
    """Of a loss over `like`: never narrower than float32, as torch's own losses have it under
    autocast."""
    return torch.float64 if like.dtype == torch.float64 else torch.float32
