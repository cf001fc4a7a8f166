# SPDX-License-Identifier: Apache-2.0
"""Tensors on their way to the daemon: numpy arrays with the datatype names of the Open Inference
Protocol."""
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
    """bfloat16 values as the upper 16 bits of float32, because numpy has no such type. `bits` is
    uint16 or int16, any shape."""

    bits: NDArray[Any]


@dataclass(frozen=True)
class OnDevice:
    """A tensor in a registered region of device memory: `size` bytes at `offset`."""

    datatype: str
    shape: tuple[int, ...]
    region: str
    offset: int
    size: int
    name: str = ""


@dataclass(frozen=True)
class Tensor:
    """One input, ready for the wire: `data` is C-contiguous and little-endian, `shape` and
    `datatype` describe it."""

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
    """The numpy type of a wire datatype. KeyError if there is none."""
    return _DTYPES[datatype]


def tensor(name: str, value: Any, allowed: tuple[str, ...]) -> Tensor | OnDevice:
    """Makes an input of any value that numpy converts to an array; without a copy if it has the
    right form already.

    A type that is not in `allowed` is converted to one that represents the values exactly. If there
    is none: TypeError with the input and the allowed types, or ValueError with the first value.
    Nothing is rounded here. An empty array gets the first allowed type, because numpy makes an
    empty list float64.
    """
    if isinstance(value, OnDevice):
        if value.datatype not in allowed:
            raise TypeError(f"{name} is of type {value.datatype}; it may be {', '.join(allowed)}")
        return replace(value, name=name)
    if isinstance(value, BF16):
        if value.bits.dtype not in (np.uint16, np.int16):
            raise TypeError(f"{name}: BF16 bits are uint16, not {value.bits.dtype}")
        return _bfloat16(name, value.bits.view(np.uint16), allowed)
    array = as_array(name, value)
    if array.dtype.name == "bfloat16":  # the type that ml_dtypes adds to numpy
        return _bfloat16(name, array.view(np.uint16), allowed)
    datatype = _NAMES.get(array.dtype.name)
    if datatype not in allowed:
        array, datatype = _widen(name, array, allowed)
    if array.ndim == 0:
        raise TypeError(f"{name} is a single number; it must be an array")
    little = array.dtype.newbyteorder("<")
    return Tensor(name, datatype, np.ascontiguousarray(array, dtype=little))


def as_array(name: str, value: Any) -> NDArray[Any]:
    """`value` as numpy has it. ValueError with the input's name where its rows differ in length."""
    try:
        return np.asarray(value)
    except ValueError as error:
        raise ValueError(f"{name} can't be made an array: {str(error).rstrip('.')}. Lists of different lengths come flat, with "
                         "offsets") from error


def _bfloat16(name: str, bits: NDArray[Any], allowed: tuple[str, ...]) -> Tensor:
    if "BF16" in allowed:
        return Tensor(name, "BF16", np.ascontiguousarray(bits))
    if "FP32" in allowed:  # which has the same exponents
        return Tensor(name, "FP32", np.ascontiguousarray(bits.astype(np.uint32) << 16).view(np.float32))
    raise TypeError(f"{name} is bfloat16; it may be {', '.join(allowed)}")


def _widen(name: str, array: NDArray[Any], allowed: tuple[str, ...]) -> tuple[NDArray[Any], str]:
    if array.size == 0 and array.dtype.kind in "biuf":
        return array.astype(_DTYPES[allowed[0]]), allowed[0]
    for datatype in ("FP32", "FP64") if array.dtype.kind == "f" else ("INT32", "INT64", "FP32", "FP64"):
        if datatype in allowed and array.dtype.kind in "biuf":
            changed = _as(array, datatype)
            if _is_same(changed, array):
                return changed, datatype
    if array.dtype.kind == "f" and "FP32" in allowed:
        return _fractions(name, array, allowed)
    if array.dtype.kind == "u" and "INT64" in allowed:
        most = np.iinfo(np.int64).max
        where = np.argwhere(array > most)[0].tolist()
        raise ValueError(f"{name}{where} is {array[tuple(where)]}; it may be at most {most}")
    raise TypeError(f"{name} is of type {array.dtype}; it may be {', '.join(allowed)}")


def _as(array: NDArray[Any], datatype: str) -> NDArray[Any]:
    with np.errstate(over="ignore"):  # an overflow is one more value that did not survive
        return array.astype(_DTYPES[datatype])


def _is_same(changed: NDArray[Any], array: NDArray[Any]) -> bool:
    """Whether integers or floats of no matter what width survived the way there and back. An
    unsigned one that became negative comes back too, and is another one all the same."""
    if array.dtype.kind == "u" and changed.dtype.kind == "i" and bool((changed < 0).any()):
        return False
    with np.errstate(invalid="ignore"):  # a float beyond the type on its way back
        return bool(np.array_equal(changed.astype(array.dtype), array, equal_nan=array.dtype.kind == "f"))


def _fractions(name: str, array: NDArray[Any], allowed: tuple[str, ...]) -> tuple[NDArray[Any], str]:
    """Floats some of which no allowed type holds exactly. Among targets (which may be BOOL), a
    fraction that stays one is sent all the same: the daemon refuses it, and knows what the targets
    of this loss may be."""
    datatype = "FP64" if "FP64" in allowed else "FP32"
    changed = _as(array, datatype)
    wrong = (changed.astype(array.dtype) != array) & ~np.isnan(array)
    if "BOOL" in allowed:
        wrong &= (changed == np.floor(changed)) | np.isinf(changed)
    if not wrong.any():
        return changed, datatype
    where = np.argwhere(wrong)[0]
    raise ValueError(f"{name}{where.tolist()} is {array[tuple(where)].item()!r}; {datatype}, in which it would be sent, does not "
                     "hold that exactly")
