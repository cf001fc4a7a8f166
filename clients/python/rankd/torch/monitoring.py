# SPDX-License-Identifier: Apache-2.0
"""Reports the state of a loss every few steps: as a line, to TensorBoard or to W&B."""
from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import nn

from .losses import RankLoss

FIELDS = ("loss", "stalled", "skipped", "zero_gradient", "pairs_jumped", "bank_items", "bank_age")


def losses_in(module: nn.Module) -> dict[str, RankLoss]:
    """The losses of rankd in a module, by their path in it: "" for the module itself."""
    return {name: part for name, part in module.named_modules() if isinstance(part, RankLoss)}


def the_loss(module: nn.Module) -> RankLoss:
    """The one loss of rankd that a module is, or contains, such as a loss of rankd.integrations."""
    if not isinstance(module, nn.Module):
        raise TypeError(f"crit is a {type(module).__name__}; it must be a loss of rankd.torch, or a module with one in it")
    found = losses_in(module)
    if len(found) != 1:
        raise ValueError(f"crit contains {len(found)} losses of rankd{': ' if found else ''}{', '.join(found)}; it must be one")
    return next(iter(found.values()))


class Monitor:
    """Observes each training step of a loss. See monitor()."""

    def __init__(self, crit: nn.Module, every: int, to: Any, line: Callable[[str], object] | None, name: str) -> None:
        if not isinstance(every, int) or isinstance(every, bool) or every < 1:
            raise ValueError(f"every is {every!r}; it must be a number of training steps, 1 or more")
        if line is not None and not callable(line):
            raise TypeError(f"line is {line!r}; it must be a function that takes a text, such as print, or None")
        self.loss, self.every, self.line, self.name = the_loss(crit), every, line, name
        self.writers = [_writer(one) for one in (to if isinstance(to, (list, tuple)) else [] if to is None else [to])]
        self.latest: dict[str, float] = {}
        self._seen, self._values = self.loss.schedule.steps, []  # type: int, list[torch.Tensor]
        self._sums: dict[str, list[float]] = {}
        self._handle = self.loss.register_forward_hook(_Hook(self))

    def __repr__(self) -> str:
        return f"Monitor({self.loss!r}, every={self.every}, latest={self.latest})"

    def __enter__(self) -> Monitor:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Stops observing."""
        self._handle.remove()

    def after(self, inputs: tuple[Any, ...], value: torch.Tensor) -> None:
        """Called after each forward pass of the loss."""
        steps = self.loss.schedule.steps
        if steps <= self._seen:  # evaluation, a recomputation, or a loaded state
            self._seen = min(self._seen, steps)
            return
        self._seen = steps
        self._values.append(value.detach().float().mean())  # not read yet: on a device, reading would wait
        for field, number in self._numbers(inputs).items():
            self._sums.setdefault(field, []).append(number)
        if steps % self.every == 0:
            self._tell(steps)

    def _numbers(self, inputs: tuple[Any, ...]) -> dict[str, float]:
        """The available fields of the latest step."""
        info = self.loss.info
        if info is None:
            return {}
        size = _elements(inputs[0]) if inputs else 0
        found = {
            "stalled": None if info.lists_stalled is None else info.lists_stalled / max(info.lists_valid, 1),
            "skipped": info.lists_skipped / max(info.lists, 1),
            "zero_gradient": None if info.gradient_nonzero is None or not size else 1 - info.gradient_nonzero / size,
            "pairs_jumped": info.pairs_jumped, "bank_items": info.bank_items, "bank_age": self._age(inputs)}
        return {field: float(number) for field, number in found.items() if number is not None}

    def _age(self, inputs: tuple[Any, ...]) -> float | None:
        """Batches of this one's size that the bank holds."""
        info = self.loss.info
        if info is None or info.bank_items is None or info.bank_version is None:
            return None
        at = 2 if self.loss.gallery == "references" else 0  # what is appended
        rows = len(inputs[at]) if len(inputs) > at and inputs[at] is not None else 0
        return min(info.bank_items / rows, info.bank_version) if rows else None

    def _tell(self, steps: int) -> None:
        self.latest = {"loss": float(torch.stack([v.to("cpu") for v in self._values]).mean())}
        self.latest.update({field: sum(numbers) / len(numbers) for field, numbers in self._sums.items() if field in FIELDS})
        self._values, self._sums = [], {}
        if self.line is not None:
            said = ", ".join(_text(field, self.latest[field]) for field in FIELDS if field in self.latest)
            self.line(f"{self.name} step {steps}: {said}")
        for write in self.writers:
            write(self.name, self.latest, steps)


class _Hook:
    """A reference from a loss to its monitor. Copies of the loss (an average of the model, a
    pickle) have none."""

    def __init__(self, monitor: Monitor | None) -> None:
        self.monitor = monitor

    def __call__(self, module: nn.Module, inputs: tuple[Any, ...], value: torch.Tensor) -> None:
        if self.monitor is not None:
            self.monitor.after(inputs, value)

    def __reduce__(self) -> tuple[type[_Hook], tuple[None]]:
        return _Hook, (None,)


def monitor(crit: nn.Module, every: int = 50, *, to: Any = None, line: Callable[[str], object] | None = print,
            name: str = "rankd") -> Monitor:
    """Reports on a loss every `every` training steps from now on, as means over these steps.

    crit   a loss of rankd.torch, or a module with one in it
    to     a TensorBoard SummaryWriter (add_scalar), a W&B run (log), or a list of such
    line   gets one line of text; None: no line
    name   in front of the line and of the fields: "rankd/loss"

    loss           as the loss returned it; with reduction="none" the mean over lists
    stalled        share of the lists with something to find in which no irrelevant item moved; near
                   0 is healthy
    skipped        share of the lists that had nothing to find
    zero_gradient  share of the elements of the input that got no gradient (without it, and
                   bank_age, where inputs are given by name)
    pairs_jumped   pairs of a relevant and an irrelevant item that changed places, for each relevant
                   item; near 0 nothing is learnt
    bank_items     items of the bank that were ranked with
    bank_age       batches since the oldest of them was appended, if all batches were of this one's
                   size

    W&B gets log(…, commit=False), so that its step counter is left to the script. The result has
    `latest` (a dict) and close(); in a `with` block it closes itself.
    """
    return Monitor(crit, every, to, line, name)


def _elements(value: Any) -> int:
    if isinstance(value, torch.Tensor):
        return value.numel()
    return sum(part.numel() for part in value if isinstance(part, torch.Tensor)) if isinstance(value, Sequence) else 0


def _text(field: str, number: float) -> str:
    name = field.replace("_", " ")
    if field in ("stalled", "skipped", "zero_gradient"):
        return f"{name} {100 * number:.0f} %"
    return f"{name} {number:.0f}" if field.startswith("bank") else f"{name} {number:.4g}"


def _writer(target: Any) -> Callable[[str, dict[str, float], int], None]:
    """The function that takes the name, the fields and the step."""
    def scalars(name: str, fields: dict[str, float], steps: int) -> None:
        for field, number in fields.items():
            target.add_scalar(f"{name}/{field}", number, steps)

    def row(name: str, fields: dict[str, float], steps: int) -> None:
        target.log({**{f"{name}/{field}": number for field, number in fields.items()}, f"{name}/step": steps}, commit=False)

    if hasattr(target, "add_scalar"):
        return scalars
    if hasattr(target, "log"):
        return row
    raise TypeError(f"to is a {type(target).__name__}; it must be a SummaryWriter (add_scalar), a W&B run (log), or a list of "
                    "them")
