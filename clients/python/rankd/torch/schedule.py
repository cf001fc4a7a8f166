"""What a loss module remembers from step to step: margin warm-up, stalled steps, and which calls were recomputations."""
from __future__ import annotations

import hashlib
import warnings
from collections import OrderedDict
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from ..client import new_batch_id
from ..results import LossInfo
from ..tensors import BF16

STALLED_STEPS = 20  # in a row, before a warning
_STALLED_SHARE = 0.95  # of the valid lists; near 0 on a healthy run
_REMEMBERED_CALLS = 16


@dataclass
class Step:
    """A training step's own settings. A recomputation of it under activation checkpointing gets the same ones."""

    margin: float
    batch_id: str
    again: bool = False


class Schedule:
    """State of one loss module. Only training steps (grad enabled, input requires grad) count."""

    def __init__(self, margin: float, warmup: int) -> None:
        if not margin >= 0 or margin == float("inf"):
            raise ValueError(f"margin is {margin}; it must be 0 or more, in units of the scores")
        if not (isinstance(warmup, int) and warmup >= 0):
            raise ValueError(f"margin_warmup is {warmup!r}; it must be a number of steps, 0 or more")
        self.margin, self.warmup = float(margin), warmup
        self.steps = 0
        self.stalled = 0
        self._calls: OrderedDict[bytes, Step] = OrderedDict()

    def current_margin(self) -> float:
        """Grows from 0 to the margin over the warm-up: a margin wider than the scores' spread would rank every relevant
        item below every irrelevant one, and nothing would ever move."""
        if self.steps >= self.warmup:
            return self.margin
        return self.margin * (self.steps / self.warmup)

    def begin(self, content: list[Any], remember: bool) -> Step:
        """The settings for a training step over `content`. With `remember`, a call with the very same content that
        follows closely and from within a backward pass is taken for its recomputation."""
        key = _fingerprint(content) if remember or self.steps < self.warmup else None
        known = self._calls.get(key) if key is not None else None
        if known is not None and _in_backward():
            return Step(known.margin, known.batch_id, again=True)
        step = Step(self.current_margin(), new_batch_id())
        if key is not None:
            self._calls[key] = step
            while len(self._calls) > _REMEMBERED_CALLS:
                self._calls.popitem(last=False)
        return step

    def end(self, step: Step, info: LossInfo) -> None:
        """Counts a step that the daemon answered."""
        if step.again:
            return
        self.steps += 1
        if info.lists_stalled is None or info.lists_valid == 0:
            return
        self.stalled = self.stalled + 1 if info.lists_stalled >= _STALLED_SHARE * info.lists_valid else 0
        if self.stalled == STALLED_STEPS:
            warnings.warn(
                f"rankd: in the last {STALLED_STEPS} steps nearly every list had a loss but no irrelevant item that moved, so "
                f"nothing is learnt. The scores lie closer together than the margin ({step.margin:g}): use a smaller margin, a "
                "longer margin_warmup, or a larger lambda_val", RuntimeWarning, stacklevel=4)

    def state(self) -> dict[str, int]:
        """For state_dict."""
        return {"steps": self.steps, "stalled": self.stalled}

    def load(self, state: dict[str, Any]) -> None:
        """From state_dict."""
        self.steps, self.stalled = int(state["steps"]), int(state["stalled"])
        self._calls.clear()


def _fingerprint(content: list[Any]) -> bytes:
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


def _in_backward() -> bool:
    """Whether this thread is inside a backward pass, where activation checkpointing recomputes. Without this, a batch
    that comes a second time, bit for bit (a full batch that gets no gradient yet), would pass for a recomputation."""
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
