# SPDX-License-Identifier: Apache-2.0
"""Cross-batch memory banks: creation, state, checkpoints. client.loss(…, bank=name) ranks with a
bank."""
from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Protocol

from .answers import document, documents, member
from .names import segment


class Control(Protocol):
    """The part of a client that the banks need: its control requests."""

    def control(self, method: str, path: str, document: Mapping[str, Any] | None = None, *,
                repeatable: bool | None = None) -> Any:
        """The answer's JSON, None if it is empty. Raises RankdError."""


@dataclass(frozen=True, repr=False)
class BankState:
    """Configuration and state of a bank at the time of the answer. `raw` is the whole JSON
    object."""

    name: str
    kind: str
    capacity: int
    items: int
    version: int
    generation: int
    bytes: int
    read_only: bool
    reason: str
    store_state: str | None
    """Of a bank in a store, what the daemon's copy is like: "current", "behind", "stale", "joining", "refusing", "forked"
    or "gone". None: the bank is the daemon's own."""
    raw: dict[str, Any]

    def __repr__(self) -> str:
        """With the configuration, and without what does not apply."""
        said = {name: value for name, value in self.raw.items() if isinstance(value, (str, int, float)) and value != ""}
        return f"BankState({', '.join(f'{name}={value!r}' for name, value in said.items())})"


_States = list[BankState]  # inside the class, `list` is its method
_Documents = list[dict[str, Any]]


class Banks:
    """The banks of a daemon: client.banks."""

    def __init__(self, client: Control) -> None:
        self._client = client

    def __repr__(self) -> str:
        return f"Banks of {self._client!r}: list(), get(name), create(name, …)"

    def list(self) -> _States:
        """All banks."""
        return [_state(entry) for entry in documents(self._client.control("GET", "/v2/banks"), "the list of banks")]

    def get(self, name: str) -> BankState:
        """One bank. NotFound if there is no bank with this name."""
        return _state(document(self._client.control("GET", _path(name)), f"the bank {name}"))

    def create(self, name: str, *, kind: str = "embeddings", capacity: int, dim: int | None = None,
               lists: int | None = None, normalize: bool | None = None, datatype: str | None = None,
               durability: str | None = None, on_full: str | None = None) -> BankState:
        """Creates a bank of `capacity` items. If it exists with the same configuration, the call
        succeeds, so every trainer of a job may call it. Conflict if it exists with another
        configuration.

        `kind` "embeddings" requires `dim` (and accepts `normalize`, `datatype` FP32, FP16 or BF16);
        "scores" requires `lists`. `durability`: "always" (an append is acknowledged once it is on
        disk), "interval", "none". `on_full`: behaviour of an append on a full disk, "refuse" or
        "memory". None means the default of the daemon.
        """
        wanted = {"kind": kind, "capacity": capacity, "dim": dim, "lists": lists, "normalize": normalize,
                  "datatype": datatype, "durability": durability, "on_full": on_full}
        config = {key: value for key, value in wanted.items() if value is not None}
        return self._changed(name, "PUT", f"/v2/banks/{segment('bank', name, made=True)}", config, repeatable=True)

    def delete(self, name: str) -> None:
        """Deletes a bank and its checkpoints."""
        self._client.control("DELETE", _path(name))

    def clear(self, name: str) -> BankState:
        """Drops all items and raises the generation: a request that read an older one appends
        nothing and gets a Conflict, and so does a retry of an earlier batch."""
        return self._changed(name, "POST", _path(name) + "/clear")

    def checkpoint(self, name: str, tag: str) -> dict[str, Any]:
        """Takes an atomic snapshot of items, order and version under a new `tag`, without blocking
        requests."""
        segment("checkpoint", tag, made=True)
        return document(self._client.control("PUT", _path(name, tag)) or {}, f"the checkpoint {tag}")

    def checkpoints(self, name: str) -> _Documents:
        """The checkpoints of a bank."""
        return documents(self._client.control("GET", _path(name) + "/checkpoints"), "the list of checkpoints")

    def restore(self, name: str, tag: str) -> BankState:
        """Goes back to a checkpoint and raises the generation. For one trainer of a job, while the
        others wait."""
        return self._changed(name, "POST", _path(name, tag) + "/restore")

    def delete_checkpoint(self, name: str, tag: str) -> None:
        """Deletes a checkpoint and the files that only it uses."""
        self._client.control("DELETE", _path(name, tag))

    def _changed(self, name: str, method: str, path: str, config: dict[str, Any] | None = None,
                 repeatable: bool = False) -> BankState:
        answer = self._client.control(method, path, config, repeatable=repeatable)
        return _state(answer) if isinstance(answer, dict) and "kind" in answer else self.get(name)


def _state(raw: dict[str, Any]) -> BankState:
    name = member(raw, "name", str, "a bank", "")
    what = f"the bank {name}"
    return BankState(name=name, kind=member(raw, "kind", str, what), capacity=member(raw, "capacity", int, what),
                     items=member(raw, "items", int, what, 0), version=member(raw, "version", int, what, 0),
                     generation=member(raw, "generation", int, what, 0), bytes=member(raw, "bytes", int, what, 0),
                     read_only=member(raw, "read_only", bool, what, False), reason=member(raw, "reason", str, what, ""),
                     store_state=member(raw, "store_state", str, what, None),
                     raw=dict(raw))


def _path(bank: str, tag: str | None = None) -> str:
    path = f"/v2/banks/{segment('bank', bank)}"
    return path if tag is None else f"{path}/checkpoints/{segment('checkpoint', tag)}"
