# SPDX-License-Identifier: Apache-2.0
"""Losses of graded relevance and of the first hit, and any loss of the daemon by its name."""
from __future__ import annotations

from typing import Any

from ..client import Client
from ..parameters import expect_parameters
from .losses import _ScoresLoss


class ScoresLoss(_ScoresLoss):
    """Any loss of the daemon over scores and targets, by the name of its model: for losses that
    have no class here.

    `parameters` are parameters of the daemon by their names (rankd._names.PARAMETERS), sent with
    every request; a model that there is none of, and what the loss does not take, are refused at
    once. The other arguments are APLoss's; `margin` must be given.
    """

    def __init__(self, model: str, *, margin: float | None = None, lambda_val: float = 1.0, margin_warmup: int = 100,
                 average: str = "macro", axis: int = 1, interclass: float = 0.0, loss_weight: float = 1.0,
                 reduction: str | None = None, bank: str | None = None, on_nan: str = "raise", lambda_scope: str | None = None,
                 lambda_units: str | None = None, gradient_scale: str | None = None, persistent_state: bool = True,
                 distributed: Any = False, bank_start: int = 0, bank_max_age: int | None = None, fresh: bool | None = None,
                 client: Client | str | None = None, **parameters: Any) -> None:
        expect_parameters(parameters, type(self), ScoresLoss)
        super().__init__(model, client, margin=margin, lambda_val=lambda_val, margin_warmup=margin_warmup, average=average,
                         axis=axis, interclass=interclass, loss_weight=loss_weight, reduction=reduction, bank=bank, on_nan=on_nan,
                         lambda_scope=lambda_scope, lambda_units=lambda_units, gradient_scale=gradient_scale,
                         persistent_state=persistent_state, distributed=distributed, bank_start=bank_start,
                         bank_max_age=bank_max_age, fresh=fresh)
        self._set(**parameters)


class NDCGLoss(ScoresLoss):
    """1 - NDCG over scores and graded targets: 0 is irrelevant, more is more relevant, -1 ignored.

    gain   "exp2": a grade is worth 2^grade - 1; grades are whole and at most 31
           "linear": a grade is worth itself; it may be any finite number, float64 is rounded to
           float32
    top_k  the loss counts ranks up to this one only; None: all of them. Gradients are those of the
           loss without the cut, so that relevant items beyond it move up too

    `margin` must be given. There is no bank: banks hold no grades. The other arguments are
    APLoss's.
    """

    def __init__(self, *, gain: str = "exp2", top_k: int | None = None, margin: float | None = None, **common: Any) -> None:
        if common.get("bank") is not None:
            raise ValueError(f"bank is {common['bank']!r}; NDCGLoss takes none, because a bank holds no grades")
        super().__init__("ndcg", margin=margin, gain=gain, top_k=top_k, **common)


class MRRLoss(ScoresLoss):
    """1 - reciprocal rank of the best ranked relevant item, over scores and targets of 1, 0 and -1.

    With `top_k` a first hit beyond that rank costs 1. `margin` must be given. The other arguments
    are APLoss's.
    """

    def __init__(self, *, top_k: int | None = None, margin: float | None = None, **common: Any) -> None:
        super().__init__("mrr", margin=margin, top_k=top_k, **common)
