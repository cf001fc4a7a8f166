# SPDX-License-Identifier: Apache-2.0
"""The ranking as a differentiable operation, for losses of the user."""
from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch.autograd import Function
from torch.autograd.function import once_differentiable

from ..client import Client, client_of
from . import functional, operators
from .convert import expect_tensor
from .host_ranks import divided, rank_vjp, whole_ranks
from .lists import flatten
from .tracing import traceable


@traceable(operators.READY, lambda *_, client=None, **__: not isinstance(client, Client))
def blackbox_rank(scores: torch.Tensor | Sequence[torch.Tensor], *, lambda_val: float = 1.0,
                  offsets: torch.Tensor | Sequence[int] | None = None, client: Client | str | None = None) -> torch.Tensor:
    """Ranks of each row of `scores` [Q, N] divided by N, in (0, 1], 1/N = best; backward is
    blackbox differentiation. Lists of different lengths come flat, [N] with `offsets` [Q + 1], or
    as a sequence of tensors [n]; the result is flat, and each rank divided by the length n of its
    list.

    The perturbation is lambda_val times the upstream gradient, so a loss scale (AMP) or a loss
    weight acts like a larger lambda_val. The loss modules do not have that property; prefer them if
    they fit. For ranks as whole numbers use ranks(): N times these is not always whole.
    """
    ends, (flat,) = flatten(offsets, scores=scores)
    expect_tensor("scores", flat)
    way = functional.way(flat)
    if way is not None:
        return way.rank(flat, ends, lambda_val, client)  # type: ignore[no-any-return]
    held = client_of(client)
    return _Rank.apply(flat, held, lambda_val, ends)


@traceable(operators.READY, lambda *_, client=None, **__: not isinstance(client, Client))
def ranks(scores: torch.Tensor | Sequence[torch.Tensor], *, offsets: torch.Tensor | Sequence[int] | None = None,
          client: Client | str | None = None) -> torch.Tensor:
    """Ranks of each row of `scores` [Q, N], 1 = best, as int64 [Q, N] on the scores' device: by
    score, at equal scores by index. Exact at any N, and without a gradient. Lists of different
    lengths come as for blackbox_rank, and their ranks are flat, [N]."""
    ends, (flat,) = flatten(offsets, scores=scores)
    way = functional.way(flat)
    if way is not None:
        return way.ranks(flat, ends, client)  # type: ignore[no-any-return]
    return whole_ranks(client_of(client), expect_tensor("scores", flat).detach(), ends)


class _Rank(Function):
    @staticmethod
    def forward(ctx: Any, scores: torch.Tensor, client: Client, lambda_val: float,
                offsets: torch.Tensor | None) -> torch.Tensor:
        ctx.client, ctx.lambda_val, ctx.offsets = client, lambda_val, offsets
        ctx.save_for_backward(scores)
        return divided(whole_ranks(client, scores, offsets), scores, offsets)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, upstream: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
        (scores,) = ctx.saved_tensors
        return rank_vjp(ctx.client, scores, upstream.float(), ctx.lambda_val, ctx.offsets).to(scores.dtype), None, None, None
