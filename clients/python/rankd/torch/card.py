"""CUDA tensors by way of memory that this process and the daemon share on the card (the protocol's CUDA shared memory
extension): they do not visit the host.

Taken where everything allows it: HTTP to this machine, a daemon that uses a card and has shared-memory regions switched
on (--allow-shm-regions, with tokens), tensors of that card. Otherwise the tensors are copied to the host and sent, as they
always were.
"""
from __future__ import annotations

import atexit
import base64
import ctypes
import json
import os
import threading
import uuid
from typing import Any

import torch

from ..client import Client
from ..errors import RankdError
from ..tensors import OnCard

_TYPES = {torch.float64: "FP64", torch.float32: "FP32", torch.float16: "FP16", torch.bfloat16: "BF16", torch.bool: "BOOL",
          torch.uint8: "UINT8", torch.int8: "INT8", torch.int32: "INT32", torch.int64: "INT64"}
_ALIGN = 256
_PATIENCE_S = 30.0


class _Runtime:
    """The CUDA runtime that torch has loaded, for the few calls that torch has no name for."""

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

    def allocate(self, size: int) -> int:
        pointer = ctypes.c_void_p()
        self.call("cudaMalloc", ctypes.byref(pointer), ctypes.c_size_t(size))
        return int(pointer.value or 0)

    def free(self, pointer: int) -> None:
        self.library.cudaFree(ctypes.c_void_p(pointer))

    def handle(self, pointer: int) -> bytes:
        handle = (ctypes.c_char * 64)()
        self.call("cudaIpcGetMemHandle", handle, ctypes.c_void_p(pointer))
        return bytes(handle)


class _Memory:
    """Raw memory of the card, in the form that torch takes views of."""

    def __init__(self, pointer: int, size: int) -> None:
        self.__cuda_array_interface__ = {"shape": (size,), "typestr": "|u1", "data": (pointer, False), "version": 3}


class _Region:
    """Memory of the card that the daemon knows by a name."""

    def __init__(self, transport: Any, runtime: _Runtime, device: torch.device, size: int) -> None:
        self.transport, self.runtime, self.size, self.owner = transport, runtime, size, os.getpid()
        self.name = f"torch-{os.getpid()}-{uuid.uuid4().hex[:12]}"
        with torch.cuda.device(device):
            self.pointer = runtime.allocate(size)
            self.bytes = torch.as_tensor(_Memory(self.pointer, size), device=device)
            try:
                document = {"raw_handle": {"b64": base64.b64encode(runtime.handle(self.pointer)).decode()},
                            "device_id": device.index, "byte_size": size}
                self._call("register", json.dumps(document).encode())
            except BaseException:
                runtime.free(self.pointer)
                raise
        atexit.register(self.close)

    def _call(self, what: str, body: bytes) -> None:
        self.transport.call("POST", f"/v2/cudasharedmemory/region/{self.name}/{what}", body, _PATIENCE_S)

    def close(self) -> None:
        """The daemon lets go first: memory that another process has open must not be freed under it."""
        atexit.unregister(self.close)
        if self.owner != os.getpid():
            return
        try:
            self._call("unregister", b"")
        except RankdError:
            pass  # it is gone, and its mappings with it
        self.runtime.free(self.pointer)


class CardPath:
    """The shared memory of one transport and card, for as long as the process lives. May be used by threads: one call at a
    time, others wait."""

    def __init__(self, transport: Any, device: torch.device) -> None:
        self.transport, self.device, self.runtime = transport, device, _Runtime()
        self.lock = threading.Lock()
        self.region: _Region | None = None

    def reserve(self, size: int) -> _Region:
        if self.region is not None and self.region.size >= size:
            return self.region
        if self.region is not None:
            self.region.close()
            self.region = None
        self.region = _Region(self.transport, self.runtime, self.device, max(size * 5 // 4, 1 << 21))
        return self.region

    def forget(self) -> None:
        """After a daemon was started anew, or lost its card: nothing that was registered holds any more."""
        if self.region is not None:
            self.region.close()
            self.region = None

    def place(self, tensors: dict[str, torch.Tensor], gradient: torch.Tensor | None) -> tuple[dict[str, OnCard], torch.Tensor | None]:
        """Copies of the tensors in the shared memory, and room for a gradient (float32) of the shape of `gradient`. To be
        called with the lock held, which is kept until the gradient has been taken out."""
        sizes = [t.numel() * t.element_size() for t in tensors.values()]
        sizes.append(gradient.numel() * 4 if gradient is not None else 0)
        starts = [0]
        for size in sizes:
            starts.append(starts[-1] + (size + _ALIGN - 1) // _ALIGN * _ALIGN)
        region, placed = self.reserve(starts[-1]), {}
        for (name, value), start, size in zip(tensors.items(), starts, sizes):
            region.bytes[start:start + size].view(value.dtype).view(value.shape).copy_(value.detach())
            placed[name] = OnCard(_TYPES[value.dtype], tuple(value.shape), region.name, start, size)
        out = None
        if gradient is not None:
            start, size = starts[len(sizes) - 1], sizes[-1]
            out = region.bytes[start:start + size].view(torch.float32).view(gradient.shape)
            placed["gradient"] = OnCard("FP32", tuple(gradient.shape), region.name, start, size)
        torch.cuda.current_stream(self.device).synchronize()
        return placed, out


def fits(tensors: dict[str, torch.Tensor]) -> bool:
    """Whether all lie on one card and are of types that the daemon takes as they are."""
    devices = {t.device for t in tensors.values()}
    return len(devices) == 1 and next(iter(devices)).type == "cuda" and all(t.dtype in _TYPES for t in tensors.values())


_paths_lock = threading.Lock()


def card_path(client: Client, device: torch.device) -> CardPath | None:
    """The way for tensors of that card; None where there is none. Asked for once a transport, card and process."""
    transport = client.transport
    if not getattr(transport, "regions", False):
        return None
    with _paths_lock:
        known: dict[Any, CardPath | None] = transport.__dict__.setdefault("card_paths", {})
        key = (device, os.getpid())
        if key not in known:
            known[key] = _open(client, device)
        return known[key]


def _open(client: Client, device: torch.device) -> CardPath | None:
    try:
        if "cuda_shared_memory" not in client.metadata().get("extensions", ()):
            return None
        path = CardPath(client.transport, device)
        with path.lock:
            path.reserve(1)
        return path
    except (RankdError, OSError):
        return None  # another machine, another card, no right to register: the host is always a way
