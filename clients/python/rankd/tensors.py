"""Tensors on their way to the daemon: numpy arrays with the datatype names of the Open Inference Protocol."""
from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

_NAMES: dict[str, str] = {
    "bool": "BOOL", "uint8": "UINT8", "int8": "INT8", "int32": "INT32", "int64": "INT64",
    "float16": "FP16", "float32": "FP32", "float64": "FP64",
}
_DTYPES: dict[str, np.dtype[Any]] = {name: np.dtype(dtype).newbyteorder("<") for dtype, name in _NAMES.items()}

FLOATS = ("FP64", "FP32", "FP16", "BF16")
TARGETS = ("BOOL", "UINT8", "INT8", "INT32", "INT64", "FP32")
LABELS = ("INT64", "INT32")


@dataclass(frozen=True)
class BF16:
    """bfloat16 values as their upper 16 bits, for numpy has no such type. `bits` is uint16 or int16, any shape."""

    bits: NDArray[Any]


@dataclass(frozen=True)
class OnCard:
    """A tensor in a region of the accelerator's memory that was registered with the daemon: `size` bytes at `offset`."""

    datatype: str
    shape: tuple[int, ...]
    region: str
    offset: int
    size: int
    name: str = ""


@dataclass(frozen=True)
class Tensor:
    """One input, ready for the wire: `data` is C-contiguous and little-endian, `shape` and `datatype` describe it."""

    name: str
    datatype: str
    data: NDArray[Any]

    @property
    def shape(self) -> tuple[int, ...]:
        return self.data.shape

    @property
    def buffer(self) -> memoryview:
        """The bytes, without a copy."""
        return self.data.reshape(-1).view(np.uint8).data


def dtype_of(datatype: str) -> np.dtype[Any]:
    """numpy's type for a datatype of the wire. KeyError if there is none."""
    return _DTYPES[datatype]


def tensor(name: str, value: Any, allowed: tuple[str, ...]) -> Tensor | OnCard:
    """Makes an input of whatever numpy can turn into an array, without a copy where it is already in the right form.

    A type that is not in `allowed` is widened to one that holds every value of it exactly; where there is none, this
    is a TypeError that names the input and what it may be. Nothing is ever rounded here. What is empty has no value to lose,
    and passes as the first type that is allowed: an empty list is float64 to numpy.
    """
    if isinstance(value, OnCard):
        if value.datatype not in allowed:
            raise TypeError(f"{name} is of type {value.datatype}; it may be {', '.join(allowed)}")
        return replace(value, name=name)
    if isinstance(value, BF16):
        if value.bits.dtype not in (np.uint16, np.int16):
            raise TypeError(f"{name}: BF16 bits are uint16, not {value.bits.dtype}")
        if "BF16" not in allowed:
            raise TypeError(f"{name} is bfloat16; it may be {', '.join(allowed)}")
        return Tensor(name, "BF16", np.ascontiguousarray(value.bits))
    array = np.asarray(value)
    if array.dtype.name == "bfloat16" and "BF16" in allowed:  # the type that ml_dtypes adds to numpy
        return Tensor(name, "BF16", np.ascontiguousarray(array).view(np.uint16))
    datatype = _NAMES.get(array.dtype.name)
    if datatype not in allowed:
        array, datatype = _widen(name, array, allowed)
    if array.ndim == 0:
        raise TypeError(f"{name} is a single number; it must be an array")
    little = array.dtype.newbyteorder("<")
    return Tensor(name, datatype, np.ascontiguousarray(array, dtype=little))


def _widen(name: str, array: NDArray[Any], allowed: tuple[str, ...]) -> tuple[NDArray[Any], str]:
    if array.size == 0 and array.dtype.kind in "biuf":
        return array.astype(_DTYPES[allowed[0]]), allowed[0]
    for datatype in ("FP32", "FP64") if array.dtype.kind == "f" else ("INT32", "INT64", "FP32", "FP64"):
        if datatype not in allowed:
            continue
        target = _DTYPES[datatype]
        # Integers and floats of no matter what width pass if this very array survives the way there and back.
        if array.dtype.kind in "biuf":
            changed = array.astype(target)
            if np.array_equal(changed.astype(array.dtype), array, equal_nan=array.dtype.kind == "f"):
                return changed, datatype
    raise TypeError(f"{name} is of type {array.dtype}; it may be {', '.join(allowed)}")
