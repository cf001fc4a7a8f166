# SPDX-License-Identifier: Apache-2.0
"""The interface of a transport. HTTP and the shared-memory ring implement it; the client uses only
this interface.

A transport makes one attempt. Retries are decided in one place for all transports (retry.py), by
the class of the exception: ConnectionFailed (nothing was sent), ConnectionLost (the request may
have been executed), any other RankdError (an answer).
"""
from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

from numpy.typing import NDArray

from .tensors import OnDevice, Tensor


@dataclass(frozen=True)
class InferRequest:
    """One inference: `model` is one of _names.MODELS. `outputs`: the names of the requested
    outputs, in order."""

    model: str
    inputs: Sequence[Tensor | OnDevice]
    outputs: Sequence[str]
    parameters: Mapping[str, Any] = field(default_factory=dict)
    places: Mapping[str, OnDevice] = field(default_factory=dict)  # outputs that are to be written there

    def __str__(self) -> str:
        """For messages: the model, and the shapes and types of its inputs, without their
        values."""
        inputs = ", ".join(f"{t.name} {t.datatype} {list(t.shape)}" for t in self.inputs)
        return f"{self.model} ({inputs})"


@dataclass(frozen=True)
class InferReply:
    """Outputs by name: arrays that the caller owns (writable, no views of a reused buffer). Outputs
    with a place in the request are written there and are not here."""

    outputs: Mapping[str, NDArray[Any]]
    parameters: Mapping[str, Any]


class Transport(Protocol):
    """Safe for many threads at once and after a fork. `timeout` is the longest time of an attempt
    in seconds: connecting, sending and receiving together."""

    @property
    def url(self) -> str:
        """The address of the daemon, for messages."""

    def infer(self, request: InferRequest, timeout: float) -> InferReply:
        """One attempt at one inference. Raises RankdError."""

    def call(self, method: str, path: str, body: bytes, timeout: float) -> bytes:
        """One attempt at a control request, bodies as in the HTTP API. Returns the body of a 200;
        raises RankdError."""

    def close(self) -> None:
        """Drops the connections of all threads. The transport may be used again and then connects
        again."""
