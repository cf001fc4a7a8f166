# SPDX-License-Identifier: Apache-2.0
"""Autograd functions for a loss whose gradient is already computed, at upstream 1."""
from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch.autograd import Function
from torch.autograd.function import once_differentiable

NOT_TWICE = ("rankd's gradient has no derivative: a ranking is piecewise constant, and the blackbox gradient stands in for "
             "it once. Take gradient penalties and Hessians of the other terms only")


class PrecomputedLoss(Function):
    """Gives back `value`; in backward each input receives its precomputed gradient times the
    upstream. `value` is a scalar, or has one element per list: then `spread` gives each item of the
    first input the upstream of its list.

    The gradients are float32, unscaled: they are multiplied in float32 by the upstream gradient
    (AMP loss scale, loss weight, accumulation), and cast to the input's type last, so that a loss
    scale can keep small values that float16 would otherwise flush to zero.
    """

    @staticmethod
    def forward(ctx: Any, value: torch.Tensor, gradients: tuple[torch.Tensor | None, ...],
                spread: Callable[[torch.Tensor], torch.Tensor] | None, *inputs: torch.Tensor) -> torch.Tensor:
        ctx.spread = spread
        ctx.types = [x.dtype for x in inputs]
        ctx.present = [g is not None for g in gradients]
        ctx.save_for_backward(*[g for g in gradients if g is not None])
        return value

    @staticmethod
    def backward(ctx: Any, upstream: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
        saved = iter(ctx.saved_tensors)
        gradients = [next(saved) if here else None for here in ctx.present]
        above = upstream.detach() if ctx.spread is None else ctx.spread(upstream.detach())
        scaled = [None if g is None else (g * above.to(g)).to(dtype)
                  for g, dtype in zip(gradients, ctx.types)]
        if torch.is_grad_enabled():  # create_graph=True: this gradient may be differentiated
            scaled = [None if s is None else _NoFurther.apply(s.requires_grad_()) for s in scaled]
        return None, None, None, *scaled


class _NoFurther(Function):
    """Passes a gradient through. Differentiating it is an error, because it would silently be a
    constant."""

    @staticmethod
    def forward(ctx: Any, gradient: torch.Tensor) -> torch.Tensor:
        return gradient.view_as(gradient)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *_: torch.Tensor) -> torch.Tensor:
        raise RuntimeError(NOT_TWICE)
