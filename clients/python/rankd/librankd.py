# SPDX-License-Identifier: Apache-2.0
"""ctypes declarations of librankd, the C client: structs and functions of rankd.h."""
from __future__ import annotations

import ctypes as c
import ctypes.util
import os
from collections.abc import Iterator
from typing import Any

from . import _names
from ._version import VERSION
from .programs import places

_SONAME = "librankd.so.0"

DTYPES = ("BOOL", "UINT8", "INT8", "INT32", "INT64", "FP16", "BF16", "FP32", "FP64")
INPUTS = tuple(_names.INPUTS)
OUTPUTS = _names.OUTPUTS

OK, PENDING, TIMEOUT, UNREACHABLE, LOST, FORKED, MISUSE, NO_MEMORY, PROTOCOL = range(9)
NUMBER, FLAG, TEXT = 1, 2, 3
FOR_EVER = 2**64 - 1


class Error(c.Structure):
    _fields_ = [("status", c.c_int), ("text", c.c_char * 512)]


class Options(c.Structure):
    _fields_ = [("arena_bytes", c.c_uint64), ("entries", c.c_uint32), ("spin_us", c.c_uint32),
                ("connect_timeout_ns", c.c_uint64), ("token", c.c_char_p)]


class Tensor(c.Structure):
    _fields_ = [("port", c.c_int), ("dtype", c.c_int), ("rank", c.c_int), ("shape", c.c_uint64 * 2),
                ("data", c.c_void_p), ("bytes", c.c_uint64)]


class Parameter(c.Structure):
    _fields_ = [("name", c.c_char_p), ("type", c.c_int), ("number", c.c_double), ("text", c.c_char_p)]


class Request(c.Structure):
    _fields_ = [("model", c.c_char_p), ("id", c.c_char_p), ("inputs", c.POINTER(Tensor)), ("input_count", c.c_size_t),
                ("outputs", c.POINTER(Tensor)), ("output_count", c.c_size_t), ("parameters", c.POINTER(Parameter)),
                ("parameter_count", c.c_size_t), ("timeout_ns", c.c_uint64)]


class Reply(c.Structure):
    _fields_ = [("status", c.c_int), ("error", c.c_char * 512), ("loss", c.c_double), ("lists", c.c_uint64),
                ("lists_skipped", c.c_uint64), ("has_gradient", c.c_int), ("lists_stalled", c.c_uint64),
                ("gradient_nonzero", c.c_uint64), ("has_bank", c.c_int), ("bank_items", c.c_uint64),
                ("bank_version", c.c_uint64), ("bank_version_appended", c.c_uint64), ("bank_generation", c.c_uint64),
                ("gradient_dropped", c.c_double), ("queue_ns", c.c_uint64), ("compute_ns", c.c_uint64),
                ("outputs", Tensor * len(OUTPUTS)), ("owned", c.c_uint)]


def _places() -> Iterator[str]:
    """Where the library may be: in RANKD_LIBRARY, in a build or beside this package, on the
    system."""
    if path := os.environ.get("RANKD_LIBRARY"):
        yield path
        return
    yield from map(str, places(_SONAME))
    yield _SONAME
    if found := ctypes.util.find_library("rankd"):
        yield found


def _load() -> c.CDLL:
    reasons = []
    for path in _places():
        try:
            return c.CDLL(path, use_errno=False)
        except OSError as error:
            reasons.append(str(error))
    raise ImportError("librankd was not found: install it, or name it in RANKD_LIBRARY (" + "; ".join(reasons) + ")")


class _Place(c.Structure):
    _fields_ = [("file", c.c_char_p), ("base", c.c_void_p), ("symbol", c.c_char_p), ("address", c.c_void_p)]  # Dl_info


def _path(library: c.CDLL) -> str:
    """The path of the loaded file, also if it was found by its bare name."""
    place, process = _Place(), c.CDLL(None)
    found = process.dladdr(c.cast(library.rankd_version, c.c_void_p), c.byref(place))
    return os.fsdecode(place.file) if found and place.file else library._name


def _function(library: c.CDLL, name: str) -> object:
    try:
        return getattr(library, name)
    except AttributeError:
        pass
    try:
        library.rankd_version.restype, library.rankd_version.argtypes = c.c_char_p, []
    except AttributeError:
        raise ImportError(f"{library._name} is not librankd: it has no function rankd_version; this package needs librankd "
                          f"{VERSION} or later (RANKD_LIBRARY names another file)") from None
    raise ImportError(f"librankd at {_path(library)} is version {library.rankd_version().decode()}, without {name}(); this "
                      f"package needs {VERSION} or later: update the library, or name another one in RANKD_LIBRARY")


def _declare(library: c.CDLL) -> c.CDLL:
    handle, error = c.c_void_p, c.POINTER(Error)
    signatures: dict[str, tuple[object, list[object]]] = {
        "rankd_open": (c.c_int, [c.c_char_p, c.POINTER(Options), c.POINTER(handle), error]),
        "rankd_close": (None, [handle]),
        "rankd_alloc": (c.c_void_p, [handle, c.c_uint64]),
        "rankd_free": (None, [handle, c.c_void_p]),
        "rankd_arena": (None, [handle, c.POINTER(c.c_uint64), c.POINTER(c.c_uint64)]),
        "rankd_submit": (c.c_int, [handle, c.POINTER(Request), c.POINTER(c.c_uint64), error]),
        "rankd_wait": (c.c_int, [handle, c.c_uint64, c.c_uint64, c.POINTER(Reply)]),
        "rankd_forget": (None, [handle, c.c_uint64]),
        "rankd_reply_clear": (None, [handle, c.POINTER(Reply)]),
        "rankd_reply_chain": (c.c_int, [c.POINTER(Reply), c.c_char_p]),
        "rankd_reply_number": (c.c_int, [c.POINTER(Reply), c.c_char_p, c.POINTER(c.c_double)]),
        "rankd_call": (c.c_int, [handle, c.c_char_p, c.c_char_p, c.c_char_p, c.c_size_t, c.c_uint64,
                                 c.POINTER(c.c_void_p), c.POINTER(c.c_size_t), error]),
        "rankd_daemon_id": (c.c_uint64, [handle]),
        "rankd_version": (c.c_char_p, []),
    }
    for name, (result, arguments) in signatures.items():
        function: Any = _function(library, name)
        function.restype, function.argtypes = result, arguments
    return library


lib = _declare(_load())
libc = c.CDLL(None)
libc.free.argtypes, libc.free.restype = [c.c_void_p], None
