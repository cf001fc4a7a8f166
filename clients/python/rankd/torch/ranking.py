"""The ranking itself as a differentiable operation, to build a loss of one's own on."""
from __future__ import annotations

from typing import Any

import torch
from torch.autograd import Function
from torch.autograd.function import once_differentiable

from ..client import Client, connect
from .convert import from_wire, loss_type, to_wire


def blackbox_rank(scores: torch.Tensor, *, lambda_val: float = 1.0, client: Client | str | None = None) -> torch.Tensor:
    """Ranks of each row of `scores` [Q, N] divided by N, in (0, 1], 1/N = best; backward is blackbox differentiation.

    Here the perturbation is lambda_val times whatever arrives from above, so a loss scale (AMP) or a loss weight acts
    like a larger lambda_val. The loss modules do not have that property; prefer them where they fit.
    """
    held = client if isinstance(client, Client) else connect(client)
    return _Rank.apply(scores, held, lambda_val)


class _Rank(Function):
    @staticmethod
    def forward(ctx: Any, scores: torch.Tensor, client: Client, lambda_val: float) -> torch.Tensor:
        ctx.client, ctx.lambda_val = client, lambda_val
        ctx.save_for_backward(scores)
        ranks = from_wire(client.rank(to_wire("scores", scores)), scores)
        return ranks.to(loss_type(scores)) / scores.shape[1]

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, upstream: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
        (scores,) = ctx.saved_tensors
        gradient = ctx.client.rank_vjp(to_wire("scores", scores), to_wire("upstream", upstream.float()),
                                       lambda_val=ctx.lambda_val)
        return from_wire(gradient, scores).to(scores.dtype), None, None
