# SPDX-License-Identifier: Apache-2.0
"""Average Precision for the classification head of a detector."""
from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import torch

from ..client import Client
from ..parameters import number, whole
from ..results import LossResult
from ..tensors import BF16
from . import functional, operators
from .convert import expect_tensor
from .learning import Learning
from .binary import APLoss
from .own_bank import create_bank
from .schedule import Step
from .tracing import traceable
from .wording import Place, in_words_of


class DetectionAPLoss(APLoss):
    """1 - Average Precision of each class over all places of a batch, and over those of the last
    batches.

    A place is an anchor, a location or a proposal; it has a logit and a target for each of
    `classes` classes. Each class is a list. Places that are ignored for every class are left out
    before anything is ranked or remembered.

    points            places of a batch, all images together; the unit of the bank's size
    batches           size of the score bank in batches of `points` rows; 0: no bank. Without a name
                      in `bank` the bank is this loss's own: it is made at the first training step,
                      begins empty and is deleted with the loss. It is no part of a checkpoint. Of a
                      batch that has more rows than the bank, the last ones are remembered
    bank              the name of a bank that trainers share, or that checkpoints keep: made where
                      it does not exist
    bank_start training steps before the bank is used: scores of an untrained head make a poor
    memory
    fresh             with a named bank: True clears it at the first training step with it, False
                      takes it over as it is, None warns if it holds something
    margin in units of logits; it matters (recipes/bccd): 0.5 is a good start
    interclass        beta, in 0…1: share of the loss over all places and classes as one list, which
                      makes scores of different classes comparable. `avg_factor` divides the lists
                      of the classes only, never this part
    interclass_start  training steps before it is added
    gradient_scale    "unit" by default: each class has the same share of the gradient, however
                      badly it is ranked. With "lambda", the paper's, the gradient of a rare class
                      can be so small that it never begins to learn

    The other arguments are APLoss's. `info.list_loss` has the loss of each class, NaN where it has
    no relevant place. The scores are not probabilities: rankd.torch.Calibration turns them into
    some.
    """

    def __init__(self, *, classes: int, points: int, margin: float = 0.5, batches: int = 4, bank: str | None = None,
                 bank_start: int = 100, interclass: float = 0.1, interclass_start: int = 0, gradient_scale: str | None = "unit",
                 lambda_val: float = 1.0, margin_warmup: int = 100, average: str = "macro", loss_weight: float = 1.0,
                 on_nan: str = "raise", lambda_scope: str | None = None, lambda_units: str | None = None,
                 persistent_state: bool = True, fresh: bool | None = None, client: Client | str | None = None) -> None:
        classes, points, batches = whole("classes", classes, 1), whole("points", points, 1), whole("batches", batches, 0)
        bank_start, interclass_start = whole("bank_start", bank_start, 0), whole("interclass_start", interclass_start, 0)
        if not 0 <= number("interclass", interclass) <= 1:
            raise ValueError(f"interclass is {interclass}; it must be between 0 and 1")
        if bank is not None and batches == 0:
            raise ValueError(f"bank is {bank!r} and batches is 0; a bank has at least one batch")
        super().__init__(margin=margin, lambda_val=lambda_val, margin_warmup=margin_warmup, average=average, axis=0,
                         interclass=interclass, loss_weight=loss_weight, on_nan=on_nan, lambda_scope=lambda_scope,
                         lambda_units=lambda_units, gradient_scale=gradient_scale, persistent_state=persistent_state,
                         fresh=fresh, client=client)
        self.learning = Learning.of_classes()
        self.classes, self.capacity, self.bank_start = classes, batches * points, bank_start
        self.interclass, self.interclass_start = float(interclass), interclass_start
        self.options["list_loss"] = True
        self._named, self._made = bank, False

    def extra_repr(self) -> str:
        bank = f"bank of {self.capacity} from step {self.bank_start}" if self.capacity else "no bank"
        return (f"{super().extra_repr()}, classes={self.classes}, {bank}, "
                f"interclass={self.interclass:g} from step {self.interclass_start}")

    def _shown_options(self) -> dict[str, Any]:
        return {name: value for name, value in super()._shown_options().items() if name != "interclass"}

    @traceable(operators.READY, operators.has_one_gradient)
    def forward(self, logits: torch.Tensor, targets: torch.Tensor, avg_factor: float | torch.Tensor | None = None, *,
                weight: torch.Tensor | None = None, list_weight: torch.Tensor | None = None) -> torch.Tensor:
        """The loss, a scalar tensor on the logits' device.

        logits      [..., classes], any float type, e.g. [B, N, classes]; not the outputs of a
                    sigmoid
        targets     of the same shape, bool, integer or float: 1 the place finds an object of that
                    class, 0 it does not,
                    -1 it is ignored
        avg_factor  the number of classes with a relevant place, over all trainers and divided by
                    their number where DDP averages gradients; see APLoss. Not the number of
                    positives
        weight      [classes], 0 or more: multiplies the weight of each class; 0 skips it. Also by
                    the daemon's name for it, `list_weight`
        """
        if weight is not None and list_weight is not None:
            raise TypeError("weight and list_weight are the same; give one of them")
        way = functional.way(logits)
        if way is not None:
            rest = {"targets": targets, "list_weight": weight if list_weight is None else list_weight}
            return way.evaluate(self, {"logits": logits}, rest, avg_factor)  # type: ignore[no-any-return]
        scores, rows, there = self._flat(expect_tensor("logits", logits), expect_tensor("targets", targets))
        divisor, scale = self._prepare(avg_factor)
        with in_words_of({"scores": "logits", "targets": "targets"}, lambda at: _place(at, logits.shape, there)):
            value = super().forward(scores, rows, divisor, weight=weight, list_weight=list_weight)
        return value * scale if avg_factor is not None else value

    def _prepare(self, avg_factor: float | torch.Tensor | None) -> tuple[Any, float]:
        """Sets beta and the bank for a call. Returns `avg_factor` for the sum over classes, and the
        factor on the loss."""
        self._open_bank()
        self.options["interclass"] = share = self.interclass if self.schedule.steps >= self.interclass_start else 0.0
        if avg_factor is None:
            return None, 1.0
        _, inverse = self._average(avg_factor)  # loss_weight / avg_factor
        scale = (1 - share) * inverse + share * self.loss_weight
        self.options["interclass"] = share * self.loss_weight / scale if scale > 0 else 0.0
        return self.loss_weight, scale  # a sum over classes, with the two parts weighed against each other above

    def _without_graph(self, tensors: dict[str, torch.Tensor], wants: list[bool],
                       avg_factor: float | torch.Tensor | None) -> tuple[torch.Tensor, list[Any]]:
        logits = tensors["logits"]
        scores, rows, there = self._flat(logits, tensors["targets"])
        divisor, scale = self._prepare(avg_factor)
        given = {"scores": scores, "targets": rows, **{name: tensors[name] for name in ("list_weight",) if name in tensors}}
        value, (gradient,) = super()._without_graph(given, wants, divisor)
        if gradient is not None and there is not None:
            whole = gradient.new_zeros(logits.numel() // self.classes, self.classes)
            whole[there] = gradient
            gradient = whole
        return value * scale, [None if gradient is None else gradient.reshape(logits.shape) * scale]

    def _flat(self, logits: torch.Tensor, targets: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor | None]:
        """Logits and int8 targets as [rows, classes], without the rows that are ignored for every
        class; and which are left, bool, None for all."""
        if logits.shape != targets.shape or logits.dim() < 2 or logits.shape[-1] != self.classes:
            raise ValueError(f"logits are {list(logits.shape)} and targets {list(targets.shape)}; both must be "
                             f"[..., {self.classes}], of one shape: the last axis is the classes")
        flat, wanted = logits.flatten(0, -2), targets.flatten(0, -2)
        if wanted.is_floating_point() or wanted.dtype not in (torch.bool, torch.int8):
            whole = wanted.to(torch.int8)
            if bool((whole.to(wanted.dtype) != wanted).any()):
                raise ValueError("targets hold other values than 1, 0 and -1: 1 for an object of that class, 0 for none, -1 "
                                 "for a place that is ignored")
            wanted = whole
        there = (wanted != -1).any(1).to(flat.device)
        return (flat, wanted, None) if bool(there.all()) else (flat[there], wanted[there.to(wanted.device)], there)

    def _open_bank(self) -> None:
        """Creates the bank at its first step. The loss's own bank is new, so it holds nothing of
        another run."""
        if self._made or self.capacity == 0 or self.schedule.steps < self.bank_start or not self.training:
            return
        self.bank = create_bank(self, self.client, self._named, "detection", kind="scores", capacity=self.capacity,
                                lists=self.classes, durability="none")
        self._made, self.memory.own = True, self._named is None

    def _ask(self, arguments: dict[str, Any], step: Step, average: str, wanted: bool) -> LossResult:
        """As for any loss, but if a batch is larger than the bank its last rows are appended, by a
        separate request."""
        if self.bank is None or len(targets := arguments["targets"]) <= self.capacity:
            return super()._ask(arguments, step, average, wanted)
        if wanted and step.counts:
            self.memory.meet(self.client, self._row_count(arguments), self._alone())
        result = super()._ask(arguments, replace(step, counts=False), average, wanted)
        if wanted and step.counts:
            scores, last = arguments["scores"], slice(-self.capacity, None)
            newest = BF16(scores.bits[last]) if isinstance(scores, BF16) else scores[last]
            self.client.loss(self.model, newest, targets[last], axis=0, bank=self.bank, batch_id=step.batch_id, gradient=False)
        return result

    def _note(self, result: LossResult, step: Step, average: str, factor: float, tensors: dict[str, torch.Tensor]) -> None:
        super()._note(result, step, average, factor, tensors)
        self.info = replace(result.info, list_loss=result.list_loss)


def _place(at: Place, shape: torch.Size, there: torch.Tensor | None) -> Place:
    """Of a row and a class among those that were sent: the position in the tensors that were
    given."""
    row = at[0] if there is None else int(there.nonzero()[at[0]])
    return (*map(int, np.unravel_index(row, tuple(shape[:-1]))), *at[1:])
