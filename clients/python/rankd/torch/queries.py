# SPDX-License-Identifier: Apache-2.0
"""The loss of each query (reduction="none"), with a backward for any upstream. An embedding has the
sum of the gradients of all queries, which can't be multiplied by one query's upstream afterwards.
So backward sends the request again, with the upstream as weights."""
from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch.autograd import Function

from .gradient import _NoFurther

Gradients = tuple[Any, ...]


def check(reduction: str | None, *, average: str, lambda_scope: str | None, bank: str | None, distributed: bool) -> None:
    """Whether a RetrievalLoss with these arguments gives a loss for each query. ValueError if they
    can't be combined."""
    if reduction not in (None, "none"):
        raise ValueError(f"reduction is {reduction!r}; it may be 'none', or left out: average says how queries are averaged")
    if reduction is None:
        return
    if average == "micro":
        raise ValueError("reduction='none' gives a loss for each query; average='micro' does not go with it")
    if lambda_scope == "batch":
        raise ValueError("reduction='none' weighs queries only in backward, and lambda_scope='batch' makes lambda depend on "
                         "their weights; leave one of the two out")
    if bank is not None:
        raise ValueError(f"reduction is 'none' and bank is {bank!r}: backward ranks the batch again, and the bank may have "
                         "changed until then; leave one of the two out")
    if distributed:
        raise ValueError("reduction is 'none' and distributed is set: the ranks share one loss, and each query has its own; "
                         "leave one of the two out")


class QueryLosses(Function):
    """Gives back `value` [B]. `gradients` are those of the inputs with every query's upstream 1;
    `again(weight)` computes them with weights >= 0, float32 [B]."""

    @staticmethod
    def forward(ctx: Any, value: torch.Tensor, valid: torch.Tensor, gradients: Gradients,
                again: Callable[[torch.Tensor], Gradients], *inputs: torch.Tensor) -> torch.Tensor:
        ctx.again, ctx.types = again, [x.dtype for x in inputs]
        ctx.present = [g is not None for g in gradients]
        ctx.save_for_backward(valid, *[g for g in gradients if g is not None])
        return value

    @staticmethod
    def backward(ctx: Any, upstream: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
        valid, *saved = ctx.saved_tensors
        above = torch.where(valid, upstream.detach(), upstream.detach().new_zeros(())).float()
        scaled = [None if g is None else g.to(dtype) for g, dtype in zip(_weighted(ctx, above, above[valid], saved), ctx.types)]
        if torch.is_grad_enabled():  # create_graph=True: this gradient may be differentiated
            scaled = [None if s is None else _NoFurther.apply(s.requires_grad_()) for s in scaled]
        return None, None, None, None, *scaled


def _weighted(ctx: Any, above: torch.Tensor, counted: torch.Tensor, saved: list[torch.Tensor]) -> Gradients:
    """The gradients with that upstream. An upstream that is the same for all queries, such as that
    of a mean, is only a factor. Otherwise there is one request for the queries with a positive
    upstream and one for those with a negative upstream, because weights have no sign."""
    ones = iter(saved)
    plain = tuple(next(ones) if here else None for here in ctx.present)
    if len(counted) == 0 or bool((counted == counted[0]).all()) or not bool(counted.isfinite().all()):
        factor = counted.sum() / max(len(counted), 1)  # NaN if one of them is NaN
        return tuple(None if g is None else g * factor.to(g) for g in plain)
    total: list[Any] = [None] * len(plain)
    for sign in (1.0, -1.0):
        weight = (above * sign).clamp(min=0)
        if bool((weight > 0).any()):
            parts = ctx.again(weight)
            total = [p if t is None or p is None else t + p
                     for t, p in zip(total, (None if p is None else p * sign for p in parts))]
    return tuple(total)
