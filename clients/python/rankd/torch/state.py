# SPDX-License-Identifier: Apache-2.0
"""A loss's state as one tensor of bytes, because some code that handles a state_dict knows tensors
only.

Bytes, because a cast of a state_dict to float16 or bfloat16 rounds large numbers, but no byte. A
fixed size, because averages of models copy one module's state onto another's. A checksum, because
such averages may mix two states, and a mixture of two tags names no checkpoint.
"""
from __future__ import annotations

import json
import zlib
from typing import Any

import torch

SIZE = 512
_SUM = 4  # bytes of the checksum, in front


def pack(state: dict[str, Any]) -> torch.Tensor:
    """The state (numbers and short strings by name; None is left out) as uint8 [512] of its own
    memory."""
    text = json.dumps({key: value for key, value in state.items() if value is not None}, separators=(",", ":")).encode()
    if len(text) > SIZE - _SUM:
        raise ValueError(f"the state of a loss takes {len(text)} bytes; it may take {SIZE - _SUM}")
    body = text.ljust(SIZE - _SUM, b"\0")
    return torch.tensor(list(zlib.crc32(body).to_bytes(_SUM, "little") + body), dtype=torch.uint8)


def unpack(value: Any) -> dict[str, Any] | None:
    """The state from the tensor of pack(), on any device and cast to any type that holds a byte.
    None where the tensor is no state (any more): averaged with another, or of the meta device. A
    dict is the form of older versions, and is returned unchanged.
    """
    if isinstance(value, dict):
        return value
    if not isinstance(value, torch.Tensor):
        raise TypeError(f"the state of a loss is a {type(value).__name__}; it must be a tensor, or a dict of an older version")
    if value.is_meta:
        return None
    numbers = value.detach().to("cpu", torch.float64).reshape(-1).tolist()
    if len(numbers) <= _SUM or any(not (0 <= x <= 255 and x == int(x)) for x in numbers):
        return None
    raw = bytes(int(x) for x in numbers)
    if zlib.crc32(raw[_SUM:]).to_bytes(_SUM, "little") != raw[:_SUM]:
        return None
    state: dict[str, Any] = json.loads(raw[_SUM:].rstrip(b"\0"))
    return state
