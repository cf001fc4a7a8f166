# SPDX-License-Identifier: Apache-2.0
"""CUDA tensors through memory that this process and the daemon share on the device (the
protocol's CUDA shared memory extension), without a copy on the host.

Used if all of this holds: HTTP to this machine, a daemon that uses a device and has
shared-memory regions switched on (--allow-shm-regions, with tokens), tensors of that device.
Otherwise the tensors are copied to the host and sent.
"""
from __future__ import annotations

import atexit
import base64
import ctypes
import json
import os
import threading
import time
import uuid
from collections.abc import Callable
from typing import Any, TypeVar

import torch

from ..client import Client
from ..errors import InternalError, InvalidRequest, RankdError
from ..tensors import OnDevice

_TYPES = {torch.float64: "FP64", torch.float32: "FP32", torch.float16: "FP16", torch.bfloat16: "BF16", torch.bool: "BOOL",
          torch.uint8: "UINT8", torch.int8: "INT8", torch.int32: "INT32", torch.int64: "INT64"}
_ALIGN = 256
_PATIENCE_S = 30.0
_CLOSED_S = 60.0  # delay until the next try after memory could not be shared
T = TypeVar("T")


class _Runtime:
    """All calls of CUDA: those of the runtime that torch has loaded and does not expose, and
    torch's own."""

    kind = "cuda"  # of the devices whose tensors it can share

    def __init__(self) -> None:
        with open("/proc/self/maps", encoding="ascii", errors="replace") as maps:
            paths = {line.split()[-1] for line in maps if "libcudart" in line}
        if not paths:
            raise OSError("torch has not loaded a CUDA runtime")
        self.library = ctypes.CDLL(min(paths))

    def call(self, name: str, *arguments: Any) -> None:
        status = getattr(self.library, name)(*arguments)
        if status != 0:
            raise OSError(f"{name} failed with error {status}")

    def allocate(self, size: int, device: torch.device) -> int:
        pointer = ctypes.c_void_p()
        with torch.cuda.device(device):
            self.call("cudaMalloc", ctypes.byref(pointer), ctypes.c_size_t(size))
        return int(pointer.value or 0)

    def free(self, pointer: int) -> None:
        self.library.cudaFree(ctypes.c_void_p(pointer))

    def handle(self, pointer: int) -> bytes:
        handle = (ctypes.c_char * 64)()
        self.call("cudaIpcGetMemHandle", handle, ctypes.c_void_p(pointer))
        return bytes(handle)

    def view(self, pointer: int, size: int, device: torch.device) -> torch.Tensor:
        """That memory as a tensor of bytes."""
        with torch.cuda.device(device):
            return torch.as_tensor(_Memory(pointer, size), device=device)

    def wait(self, device: torch.device) -> None:
        """Waits until torch's stream has done its work, so that others can read the result."""
        torch.cuda.current_stream(device).synchronize()


class _Memory:
    """Raw memory of the device, in a form of which torch takes views."""

    def __init__(self, pointer: int, size: int) -> None:
        self.__cuda_array_interface__ = {"shape": (size,), "typestr": "|u1", "data": (pointer, False), "version": 3}


class _Region:
    """Memory of the device that the daemon knows by a name."""

    def __init__(self, transport: Any, runtime: _Runtime, device: torch.device, size: int) -> None:
        self.transport, self.runtime, self.size, self.owner = transport, runtime, size, os.getpid()
        self.name = f"torch-{os.getpid()}-{uuid.uuid4().hex[:12]}"
        self.pointer = runtime.allocate(size, device)
        try:
            self.bytes = runtime.view(self.pointer, size, device)
            document = {"raw_handle": {"b64": base64.b64encode(runtime.handle(self.pointer)).decode()},
                        "device_id": device.index or 0, "byte_size": size}
            self._call("register", json.dumps(document).encode())
        except BaseException:
            runtime.free(self.pointer)
            raise
        atexit.register(self.close)

    def _call(self, what: str, body: bytes) -> None:
        self.transport.call("POST", f"/v2/cudasharedmemory/region/{self.name}/{what}", body, _PATIENCE_S)

    def close(self) -> None:
        """The daemon unregisters it first: memory that another process has open must not be
        freed."""
        atexit.unregister(self.close)
        if self.owner != os.getpid():
            return
        try:
            self._call("unregister", b"")
        except RankdError:
            pass  # the daemon is gone, and its mappings too
        self.runtime.free(self.pointer)


class DevicePath:
    """The shared memory of one transport and device, for as long as the process lives. May be used
    by threads: one call at a time, others wait."""

    def __init__(self, transport: Any, device: torch.device) -> None:
        self.transport, self.device, self.runtime = transport, device, _Runtime()
        self.lock = threading.Lock()
        self.region: _Region | None = None
        self.closed_until = 0.0  # time.monotonic(): not to be tried before

    def reserve(self, size: int) -> _Region:
        if self.region is not None and self.region.size >= size:
            return self.region
        if self.region is not None:
            self.region.close()
            self.region = None
        self.region = _Region(self.transport, self.runtime, self.device, max(size * 5 // 4, 1 << 21))
        return self.region

    def run(self, tensors: dict[str, torch.Tensor], rooms: dict[str, tuple[torch.Size, torch.dtype]],
            call: Callable[[dict[str, OnDevice]], T]) -> tuple[T, dict[str, torch.Tensor]] | None:
        """The result of `call`, which gets places of the tensors and of the results in the shared
        memory; and the results. None if that is not possible (any more): the tensors must be sent
        then."""
        with self.lock:
            if time.monotonic() < self.closed_until:
                return None
            try:
                placed, views = self._place(tensors, rooms)
            except (RankdError, OSError):  # no memory on the device, or no device any more
                self.closed_until = time.monotonic() + _CLOSED_S
                self._forget()
                return None
            try:
                result = call(placed)
            except (InvalidRequest, InternalError) as error:
                if "not registered" not in error.sentence and "device" not in error.sentence:
                    raise
                self._forget()
                return None
            return result, {name: view.clone() for name, view in views.items()}

    def _forget(self) -> None:
        """After a restart of the daemon, or the loss of its device: no registration is valid any
        more."""
        if self.region is not None:
            self.region.close()
            self.region = None

    def _place(self, tensors: dict[str, torch.Tensor], rooms: dict[str, tuple[torch.Size, torch.dtype]]) -> \
            tuple[dict[str, OnDevice], dict[str, torch.Tensor]]:
        """Copies of the tensors in the shared memory, and room for results: where all of them lie,
        and views of the rooms. With the lock held, which is kept until the results have been taken
        out."""
        wanted = {name: (value.shape, value.dtype) for name, value in tensors.items()} | rooms
        starts, end = {}, 0
        for name, (shape, dtype) in wanted.items():
            starts[name] = end
            end += (_bytes(shape, dtype) + _ALIGN - 1) // _ALIGN * _ALIGN
        region, placed, views = self.reserve(end), {}, {}
        for name, (shape, dtype) in wanted.items():
            start, size = starts[name], _bytes(shape, dtype)
            placed[name] = OnDevice(_TYPES[dtype], tuple(shape), region.name, start, size)
            views[name] = region.bytes[start:start + size].view(dtype).view(shape)
        for name, value in tensors.items():
            views[name].copy_(value.detach())
        self.runtime.wait(self.device)
        return placed, {name: views[name] for name in rooms}


def _bytes(shape: torch.Size, dtype: torch.dtype) -> int:
    return shape.numel() * torch.empty((), dtype=dtype).element_size()


def fits(tensors: dict[str, torch.Tensor]) -> bool:
    """Whether all are on one device, of types that the daemon takes unchanged, and not empty."""
    devices = {t.device for t in tensors.values()}
    return (len(devices) == 1 and next(iter(devices)).type == _Runtime.kind
            and all(t.dtype in _TYPES and t.numel() > 0 for t in tensors.values()))


_paths_lock = threading.Lock()


def device_path(client: Client, device: torch.device) -> DevicePath | None:
    """The shared memory for tensors of that device; None if it is not possible. Determined once for
    each transport, device and process."""
    transport = client.transport
    if not getattr(transport, "regions", False):
        return None
    with _paths_lock:
        known: dict[Any, DevicePath | None] = transport.__dict__.setdefault("device_paths", {})
        key = (device, os.getpid())
        if key not in known:
            known[key] = _open(client, device)
        return known[key]


def _open(client: Client, device: torch.device) -> DevicePath | None:
    try:
        if "cuda_shared_memory" not in client.metadata().get("extensions", ()):
            return None
        path = DevicePath(client.transport, device)
        with path.lock:
            path.reserve(1)
        return path
    except (RankdError, OSError):
        return None  # another machine, another device, no right to register: through the host
