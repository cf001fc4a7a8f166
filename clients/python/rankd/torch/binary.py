# SPDX-License-Identifier: Apache-2.0
"""Losses of binary relevance: Average Precision and recall."""
from __future__ import annotations

from typing import Any

from ..client import Client
from .losses import _ScoresLoss


class APLoss(_ScoresLoss):
    """1 - Average Precision over scores and targets. `axis`, `interclass` and `bank` (a score bank)
    are for detection; `margin` must be given. With reduction="none" a call gives the loss of each
    list, not their average. With `top_k` the loss counts ranks up to this one only; gradients are
    those of the loss without the cut, so that relevant items beyond it move up too. The other
    arguments are RankLoss's."""

    def __init__(self, *, margin: float | None = None, top_k: int | None = None, lambda_val: float = 1.0,
                 margin_warmup: int = 100, average: str = "macro", axis: int = 1, interclass: float = 0.0,
                 loss_weight: float = 1.0, reduction: str | None = None, bank: str | None = None, on_nan: str = "raise",
                 lambda_scope: str | None = None, lambda_units: str | None = None, gradient_scale: str | None = None,
                 persistent_state: bool = True, distributed: Any = False, bank_start: int = 0, bank_max_age: int | None = None,
                 fresh: bool | None = None, client: Client | str | None = None) -> None:
        super().__init__("ap", client, margin=margin, lambda_val=lambda_val, margin_warmup=margin_warmup, average=average,
                         axis=axis, interclass=interclass, loss_weight=loss_weight, reduction=reduction, bank=bank, on_nan=on_nan,
                         lambda_scope=lambda_scope, lambda_units=lambda_units, gradient_scale=gradient_scale,
                         persistent_state=persistent_state, distributed=distributed, bank_start=bank_start,
                         bank_max_age=bank_max_age, fresh=fresh)
        self._set(top_k=top_k)


class RecallLoss(_ScoresLoss):
    """The recall loss over scores and targets. It grows with the number x of irrelevant items above
    a relevant one: `weight` "log": ln(1+x), "loglog": ln(1+ln(1+x)), "identity": x. The other
    arguments are APLoss's."""

    def __init__(self, *, margin: float | None = None, weight: str = "loglog", lambda_val: float = 1.0,
                 margin_warmup: int = 100, average: str = "macro", axis: int = 1, interclass: float = 0.0,
                 loss_weight: float = 1.0, reduction: str | None = None, bank: str | None = None, on_nan: str = "raise",
                 lambda_scope: str | None = None, lambda_units: str | None = None, gradient_scale: str | None = None,
                 persistent_state: bool = True, distributed: Any = False, bank_start: int = 0, bank_max_age: int | None = None,
                 fresh: bool | None = None, client: Client | str | None = None) -> None:
        super().__init__("recall", client, margin=margin, lambda_val=lambda_val, margin_warmup=margin_warmup, average=average,
                         axis=axis, interclass=interclass, loss_weight=loss_weight, reduction=reduction, bank=bank, on_nan=on_nan,
                         lambda_scope=lambda_scope, lambda_units=lambda_units, gradient_scale=gradient_scale,
                         persistent_state=persistent_state, distributed=distributed, bank_start=bank_start,
                         bank_max_age=bank_max_age, fresh=fresh)
        self._set(weight=weight)
