# SPDX-License-Identifier: Apache-2.0
"""The shared-memory transport: the daemon reads inputs and writes outputs in place.

    client = rankd.connect("unix:/run/rankd/ring")
    scores = client.empty((256, 65536), "float32")      # in memory shared with the daemon
    np.matmul(queries, items.T, out=scores)             # or torch.mm(q, i.t(), out=torch.from_numpy(scores))
    client.loss("ap", scores, targets)                  # nothing is copied

Other arrays work as well and are copied once. Options follow the path:
unix:/run/rankd/ring?arena=512M&spin_us=50&entries=64.
"""
from __future__ import annotations

import ctypes as c
import math
import os
import threading
import weakref
from typing import Any
from urllib.parse import parse_qsl

import numpy as np

from . import _names
from . import librankd as lk
from .errors import (
    ConnectionFailed,
    ConnectionLost,
    InvalidRequest,
    Overloaded,
    ProtocolError,
    RankdError,
    RequestTimeout,
    from_status,
)
from .tensors import Tensor, dtype_of
from .transport import InferReply, InferRequest
from .wire import Deadline

_DEFAULT_ARENA = 64 << 20
# Below, an output is copied out of the arena: an array of its own costs less than the bookkeeping.
_KEEP_BYTES = 64 * 1024
# A wait is cut into slices, so that Python sees a KeyboardInterrupt.
_SLICE_NS = 200_000_000
_SUFFIXES = {"K": 1 << 10, "M": 1 << 20, "G": 1 << 30}
_OUTPUT_TYPES = {"gradient_indices": 8, "ranks": 8}


class RingTransport:
    """See transport.Transport. Also hands out arrays in shared memory: empty()."""

    def __init__(self, url: str, token: str | None = None) -> None:
        path, _, query = url.removeprefix("unix:").removeprefix("//").partition("?")
        if not path:
            raise ValueError(f"url is '{url}'; it must be unix:PATH")
        self._url, self._token, self._path = url, token, path
        self._arena, self._entries, self._spin_us = _options(url, query)
        self._lock = threading.Lock()
        self._held: _Handle | None = None

    def __reduce__(self) -> tuple[object, ...]:
        return (RingTransport, (self._url, self._token))

    @property
    def url(self) -> str:
        return self._url

    def empty(self, shape: Any, dtype: Any = np.float32) -> np.ndarray:
        """An uninitialised array in shared memory. It lives as long as it is referenced, even if
        the daemon dies.

        Do not access it in a forked child: there it is not mapped."""
        kind = np.dtype(dtype)
        count = int(np.prod(shape, dtype=np.int64))
        return self._handle(count * kind.itemsize + 4096).empty(tuple(np.atleast_1d(shape)), kind)

    def infer(self, request: InferRequest, timeout: float) -> InferReply:
        deadline = Deadline(timeout)
        handle = self._handle(_room(request), request, timeout)
        try:
            return handle.infer(request, deadline)
        except ConnectionLost:
            self._drop(handle)
            raise

    def call(self, method: str, path: str, body: bytes, timeout: float) -> bytes:
        deadline = Deadline(timeout)
        handle = self._handle(0, timeout=timeout)
        try:
            return handle.call(method, path, body, deadline)
        except ConnectionLost:
            self._drop(handle)
            raise

    def close(self) -> None:
        with self._lock:
            self._held = None

    def _drop(self, handle: _Handle) -> None:
        with self._lock:
            if self._held is handle:
                self._held = None

    def _handle(self, need: int, request: InferRequest | None = None, timeout: float = 10.0) -> _Handle:
        """The connection; a new one with a larger arena if `need` bytes do not fit beside what is
        in use.

        The old one is closed when the last array in its arena and the last request on it are
        gone."""
        with self._lock:
            held = self._held
            if held is not None and held.owner != os.getpid():
                held.abandon()
                held = None
            if held is not None and request is not None:
                need -= sum(t.data.nbytes for t in request.inputs if held.has(t.data))
            if held is None or need > held.largest_free():
                arena = self._arena
                while arena < 2 * need:
                    arena *= 2
                held = self._open(max(arena, held.arena if held is not None else 0), timeout)
                self._held = held
            return held

    def _open(self, arena: int, timeout: float) -> _Handle:
        return _Handle(self._path, lk.Options(arena, self._entries, self._spin_us, int(min(timeout, 1e9) * 1e9), None))


class _Handle:
    """One connection and its segment. Closed when nothing refers to it: neither a request nor an
    array in its arena."""

    def __init__(self, path: str, options: lk.Options) -> None:
        self.owner = os.getpid()
        self._client = c.c_void_p()
        error = lk.Error()
        status = lk.lib.rankd_open(b"unix:" + os.fsencode(path), options, self._client, error)
        _raise_for(status, error.text)
        self.arena, free = self._arena()
        first = lk.lib.rankd_alloc(self._client, 1) or 0  # the beginning of the arena, because nothing is allocated yet
        lk.lib.rankd_free(self._client, first)
        self._span = (first, first + free)
        self._close = weakref.finalize(self, _close, self._client.value, self.owner)

    def abandon(self) -> None:
        """In a forked child: the library has released everything already."""
        self._close.detach()

    def _arena(self) -> tuple[int, int]:
        total, largest = c.c_uint64(), c.c_uint64()
        lk.lib.rankd_arena(self._client, total, largest)
        return total.value, largest.value

    def largest_free(self) -> int:
        return self._arena()[1]

    def has(self, array: np.ndarray) -> bool:
        """True if the array is in this arena: then the daemon reads it in place."""
        at = array.ctypes.data
        return self._span[0] <= at and at + array.nbytes <= self._span[1]

    def empty(self, shape: tuple[int, ...], kind: np.dtype[Any]) -> np.ndarray:
        count = int(np.prod(shape, dtype=np.int64))
        address = lk.lib.rankd_alloc(self._client, count * kind.itemsize)
        if not address:
            raise Overloaded(f"the arena of {self.arena} bytes has no room for {count * kind.itemsize} more")
        return self._adopt(address, count * kind.itemsize, kind, shape)

    def _adopt(self, address: int, size: int, kind: np.dtype[Any], shape: tuple[int, ...]) -> np.ndarray:
        """An array over a piece of the arena, which is freed with the last view of it."""
        memory = (c.c_char * max(size, 1)).from_address(address)
        weakref.finalize(memory, _free, self, address)
        return np.frombuffer(memory, kind, size // kind.itemsize).reshape(shape)

    def infer(self, request: InferRequest, deadline: Deadline) -> InferReply:
        wire, keep = _encode(request, _left(deadline))
        tag, error, reply = c.c_uint64(), lk.Error(), lk.Reply()
        try:
            _raise_for(lk.lib.rankd_submit(self._client, wire, tag, error), error.text)
        except ConnectionLost as broke:
            broke.whole = False  # it was lost before
            raise
        try:
            status = lk.TIMEOUT
            while status == lk.TIMEOUT:
                status = lk.lib.rankd_wait(self._client, tag, min(int(_left(deadline) * 1e9), _SLICE_NS), reply)
        except BaseException:
            # The daemon may still read the inputs: they stay until the connection goes.
            lk.lib.rankd_forget(self._client, tag)
            self.__dict__.setdefault("_forgotten", []).append(keep)
            raise
        _raise_for(status, reply.error)
        return InferReply({name: self._output(reply, name) for name in request.outputs}, _parameters(reply))

    def _output(self, reply: lk.Reply, name: str) -> np.ndarray:
        port = lk.OUTPUTS.index(name)
        tensor = reply.outputs[port]
        kind = dtype_of(lk.DTYPES[tensor.dtype])
        shape = tuple(tensor.shape[: tensor.rank])
        if tensor.bytes >= _KEEP_BYTES:
            return self._adopt(tensor.data, tensor.bytes, kind, shape)
        array = np.empty(shape, kind)
        if tensor.bytes:
            c.memmove(array.ctypes.data, tensor.data, tensor.bytes)
        lk.lib.rankd_free(self._client, tensor.data)
        return array

    def call(self, method: str, path: str, body: bytes, deadline: Deadline) -> bytes:
        answer, size, error = c.c_void_p(), c.c_size_t(), lk.Error()
        status = lk.lib.rankd_call(self._client, method.encode(), path.encode(), body or None, len(body),
                                   int(_left(deadline) * 1e9), answer, size, error)
        _raise_for(status, error.text)
        try:
            return c.string_at(answer.value, size.value)
        finally:
            lk.libc.free(answer)


def _left(deadline: Deadline) -> float:
    try:
        return deadline.left()
    except TimeoutError as error:
        raise RequestTimeout(f"no answer over the ring within {deadline.seconds:g} s") from error


def _close(client: int, owner: int) -> None:
    if os.getpid() == owner:
        lk.lib.rankd_close(client)


def _free(handle: _Handle, address: int) -> None:
    if os.getpid() == handle.owner:
        lk.lib.rankd_free(handle._client, address)


def _options(url: str, query: str) -> tuple[int, int, int]:
    values = {"arena": _DEFAULT_ARENA, "entries": 0, "spin_us": 50}
    for name, text in parse_qsl(query, keep_blank_values=True):
        if name not in values:
            raise ValueError(f"url is '{url}'; behind '?' may stand arena, entries and spin_us, not '{name}'")
        digits, factor = (text[:-1], _SUFFIXES[text[-1:]]) if text[-1:] in _SUFFIXES else (text, 1)
        if not digits.isdecimal():
            raise ValueError(f"url is '{url}': {name} is '{text}'; it must be a whole number (suffixes K, M, G)")
        values[name] = int(digits) * factor
    return values["arena"], values["entries"], values["spin_us"]


def _room(request: InferRequest) -> int:
    """The most bytes of the arena that the request may take: its inputs and its largest possible
    outputs."""
    # A list without items has a loss too, so that what is empty may be long.
    items = max((max(t.data.size, *t.shape) for t in request.inputs if t.name in ("scores", "embeddings", "offsets")), default=0)
    references = sum(t.data.size for t in request.inputs if t.name == "ref_embeddings")
    outputs = sum(_OUTPUT_TYPES.get(name, 4) * (references if name == "ref_gradient" else items) + 4096
                  for name in request.outputs)
    return sum(t.data.nbytes + 64 for t in request.inputs) + outputs


def _input(tensor: Tensor) -> lk.Tensor:
    shape = tensor.shape
    if not 1 <= len(shape) <= 2:
        raise InvalidRequest(f"input {tensor.name} has {len(shape)} dimensions; its shape must be {_names.SHAPES[tensor.name]}")
    return lk.Tensor(lk.INPUTS.index(tensor.name), lk.DTYPES.index(tensor.datatype), len(shape),
                     (c.c_uint64 * 2)(*shape), tensor.data.ctypes.data, tensor.data.nbytes)


def _parameter(name: str, value: Any) -> lk.Parameter:
    if isinstance(value, bool):
        return lk.Parameter(name.encode(), lk.FLAG, float(value), None)
    if isinstance(value, str):
        return lk.Parameter(name.encode(), lk.TEXT, 0.0, value.encode())
    return lk.Parameter(name.encode(), lk.NUMBER, float(value), None)


def _encode(request: InferRequest, timeout: float) -> tuple[lk.Request, tuple[Any, ...]]:
    """The request as C struct, and the objects that must live as long as it."""
    inputs = (lk.Tensor * len(request.inputs))(*map(_input, request.inputs))
    outputs = (lk.Tensor * len(request.outputs))(*(lk.Tensor(port=lk.OUTPUTS.index(name)) for name in request.outputs))
    parameters = (lk.Parameter * len(request.parameters))(*(_parameter(*item) for item in request.parameters.items()))
    wire = lk.Request(request.model.encode(), None, inputs, len(inputs), outputs, len(outputs), parameters, len(parameters),
                      int(timeout * 1e9))
    return wire, (inputs, outputs, parameters, request)


def _parameters(reply: lk.Reply) -> dict[str, Any]:
    values: dict[str, Any] = {"lists": reply.lists, "lists_skipped": reply.lists_skipped}
    if reply.has_gradient:
        values.update(lists_stalled=reply.lists_stalled, gradient_nonzero=reply.gradient_nonzero)
    if reply.has_bank:
        values.update(bank_items=reply.bank_items, bank_version=reply.bank_version,
                      bank_version_appended=reply.bank_version_appended, bank_generation=reply.bank_generation,
                      gradient_dropped=reply.gradient_dropped)
    number = c.c_double()
    for name, kind in _names.REPLY_NUMBERS.items():
        if lk.lib.rankd_reply_number(reply, name.encode(), number) == lk.OK:
            values[name] = None if math.isnan(number.value) else kind(number.value)
    chain = c.create_string_buffer(33)
    if lk.lib.rankd_reply_chain(reply, chain) == lk.OK:
        values["bank_chain"] = chain.value.decode()
    return values


def _raise_for(status: int, text: bytes) -> None:
    if status == lk.OK:
        return
    sentence = text.decode(errors="replace")
    kinds: dict[int, type[RankdError]] = {
        lk.UNREACHABLE: ConnectionFailed, lk.LOST: ConnectionLost, lk.TIMEOUT: RequestTimeout, lk.FORKED: ConnectionLost,
        lk.MISUSE: InvalidRequest, lk.NO_MEMORY: Overloaded, lk.PROTOCOL: ProtocolError}
    raise kinds[status](sentence) if status in kinds else from_status(status, sentence)
