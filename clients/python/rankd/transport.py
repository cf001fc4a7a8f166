"""What a way to the daemon must be able to do. HTTP and the shared-memory ring are two; the client knows only this.

A transport makes one attempt. Whether a failed one is repeated is decided in one place for all of them (retry.py), by
the class of the exception: ConnectionFailed (nothing was sent), ConnectionLost (something may have been done), any other
RankdError (an answer).
"""
from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

from numpy.typing import NDArray

from .tensors import OnDevice, Tensor


@dataclass(frozen=True)
class InferRequest:
    """One inference: `model` is one of _names.MODELS. `outputs` are asked for by name, in this order."""

    model: str
    inputs: Sequence[Tensor | OnDevice]
    outputs: Sequence[str]
    parameters: Mapping[str, Any] = field(default_factory=dict)
    places: Mapping[str, OnDevice] = field(default_factory=dict)  # outputs that are to be written there

    def __str__(self) -> str:
        """For messages: the model, and what its inputs are, without what is in them."""
        inputs = ", ".join(f"{t.name} {t.datatype} {list(t.shape)}" for t in self.inputs)
        return f"{self.model} ({inputs})"


@dataclass(frozen=True)
class InferReply:
    """Outputs by name: arrays of the caller's own (writable, not views of a buffer that is used again). Those that were
    given a place in the request are there and not here."""

    outputs: Mapping[str, NDArray[Any]]
    parameters: Mapping[str, Any]


class Transport(Protocol):
    """Safe to use from many threads at once and after a fork. `timeout` is the longest that
    an attempt may take, in seconds: to connect, to send and to receive, together."""

    @property
    def url(self) -> str:
        """Where it leads, for messages."""

    def infer(self, request: InferRequest, timeout: float) -> InferReply:
        """One attempt at one inference. Raises RankdError."""

    def call(self, method: str, path: str, body: bytes, timeout: float) -> bytes:
        """One attempt at a control request, bodies as in the HTTP API. Returns the body of a 200; raises RankdError."""

    def close(self) -> None:
        """Drops the connections of all threads. The transport may be used again and then connects anew."""
