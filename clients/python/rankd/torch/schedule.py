# SPDX-License-Identifier: Apache-2.0
"""State of a loss module from step to step: margin warm-up, and recognition of recomputations."""
from __future__ import annotations

import hashlib
from collections import OrderedDict
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch

from ..client import new_batch_id
from ..parameters import whole
from ..tensors import BF16

_REMEMBERED_CALLS = 16


@dataclass
class Step:
    """The settings of one call. A recomputation under activation checkpointing gets the same
    ones."""

    margin: float
    batch_id: str
    counts: bool  # a training step: the warm-up advances, and the batch is appended to the bank, if any
    bank_read: bool = True  # whether the bank is ranked, where there is one
    again: bool = False


class Schedule:
    """State of one loss module. Only training steps count: calls in training mode with a gradient,
    outside of not_remembering()."""

    def __init__(self, margin: float, warmup: int, bank_start: int = 0) -> None:
        if isinstance(margin, (bool, str)):
            raise TypeError(f"margin is {margin!r}; it must be a number, in units of the scores")
        if not margin >= 0 or margin == float("inf"):
            raise ValueError(f"margin is {margin}; it must be 0 or more, in units of the scores")
        self.margin = float(margin)
        self.warmup = whole("margin_warmup", warmup, 0, "a number of steps")
        self.bank_start = whole("bank_start", bank_start, 0, "a number of steps")
        self.steps = 0
        self._calls: OrderedDict[bytes, Step] = OrderedDict()

    def current_margin(self) -> float:
        """Grows from 0 to the margin over the warm-up: a margin wider than the scores' spread would
        rank every relevant item below every irrelevant one, and no item would ever change its
        rank."""
        if self.steps >= self.warmup:
            return self.margin
        return self.margin * (self.steps / self.warmup)

    @property
    def bank_read(self) -> bool:
        """Whether the bank is ranked yet. Items of an untrained network would be most of the ranked
        items, and dominate those of the batch."""
        return self.steps >= self.bank_start

    @property
    def warming_up(self) -> bool:
        """Whether the margin still grows."""
        return self.steps < self.warmup

    def begin(self, content: list[Any], *, counts: bool, known: bool, batch_id: str | None = None,
              recomputing: bool | None = None) -> Step:
        """The settings for a call over `content`. With `known`, and during the warm-up, a later
        call with the same content from within a backward pass counts as a recomputation of this
        call. The first call decides whether the recomputation counts as a training step, because
        the mode may have changed by the time of the backward pass.

        The ranks of a joint step agree on the id of a new batch and on whether this is a backward
        pass, and give them.
        """
        key = fingerprint(content) if known or self.warming_up else None
        first = self._calls.get(key) if key is not None else None
        if first is not None and (in_backward() if recomputing is None else recomputing):
            return replace(first, again=True)
        step = Step(self.current_margin(), batch_id or new_batch_id(), counts, self.bank_read)
        if key is not None:
            self._calls[key] = step
            while len(self._calls) > _REMEMBERED_CALLS:
                self._calls.popitem(last=False)
        return step

    def plain(self, content: list[Any]) -> Step:
        """The settings for a call without a gradient. It may be the first pass of a checkpointed
        step, so an earlier decision about counting the same content is void."""
        if any(not step.counts for step in self._calls.values()):
            self._calls.pop(fingerprint(content), None)
        return Step(self.current_margin(), "", False, self.bank_read)

    def end(self, step: Step) -> bool:
        """Counts a call that the daemon answered. Returns whether it was a training step that had
        not been counted yet."""
        new = step.counts and not step.again
        self.steps += new
        return new

    def load(self, steps: int) -> None:
        """Restores the number of training steps from a state."""
        self.steps = steps
        self._calls.clear()


def fingerprint(content: list[Any]) -> bytes:
    """16 bytes that differ where the content does: arrays by type, shape and bits, other values by
    their text."""
    digest = hashlib.blake2b(digest_size=16)
    for value in content:
        if isinstance(value, BF16):
            value = value.bits
        if isinstance(value, np.ndarray):
            digest.update(f"{value.dtype}{value.shape}".encode())
            digest.update(np.ascontiguousarray(value).reshape(-1).view(np.uint8).data)
        else:
            digest.update(repr(value).encode())
    return digest.digest()


def in_backward() -> bool:
    """Whether this thread is inside a backward pass, where activation checkpointing recomputes.
    Without this check, an identical batch in a later step (a full batch that gets no gradient yet)
    would count as a recomputation."""
    task = getattr(torch._C, "_current_graph_task_id", None)
    if task is not None:
        return bool(task() != -1)
    probe = getattr(torch._C, "_will_engine_execute_node", None)  # before torch 2; raises outside of a backward pass
    if probe is None:
        return False
    with torch.enable_grad():
        node = torch.empty(0, requires_grad=True).view(0).grad_fn
    try:
        probe(node)
    except RuntimeError:
        return False
    return True
