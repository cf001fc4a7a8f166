# SPDX-License-Identifier: Apache-2.0
"""The ranking as a differentiable operation, for losses of the user."""
from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch.autograd import Function
from torch.autograd.function import once_differentiable

from ..client import Client, connect
from ..tensors import OnDevice
from .device_memory import device_path, fits
from .convert import expect_tensor, from_wire, loss_type, to_wire
from .lists import flatten
from .tracing import untraced


@untraced
def blackbox_rank(scores: torch.Tensor | Sequence[torch.Tensor], *, lambda_val: float = 1.0,
                  offsets: torch.Tensor | Sequence[int] | None = None, client: Client | str | None = None) -> torch.Tensor:
    """Ranks of each row of `scores` [Q, N] divided by N, in (0, 1], 1/N = best; backward is blackbox differentiation.
    Lists of different lengths come flat, [N] with `offsets` [Q + 1], or as a sequence of tensors [n]; the result is flat,
    and each rank divided by the length n of its list.

    The perturbation is lambda_val times the upstream gradient, so a loss scale (AMP) or a loss
    weight acts like a larger lambda_val. The loss modules do not have that property; prefer them if
    they fit. For ranks as whole numbers use ranks(): N times these is not always whole.
    """
    held = client if isinstance(client, Client) else connect(client)
    ends, (flat,) = flatten(offsets, scores=scores)
    return _Rank.apply(flat, held, lambda_val, ends)


@untraced
def ranks(scores: torch.Tensor | Sequence[torch.Tensor], *, offsets: torch.Tensor | Sequence[int] | None = None,
          client: Client | str | None = None) -> torch.Tensor:
    """Ranks of each row of `scores` [Q, N], 1 = best, as int64 [Q, N] on the scores' device: by score, at equal scores by
    index. Exact at any N, and without a gradient. Lists of different lengths come as for blackbox_rank, and their ranks
    are flat, [N]."""
    ends, (flat,) = flatten(offsets, scores=scores)
    return _ranks(client if isinstance(client, Client) else connect(client), expect_tensor("scores", flat).detach(), ends)


def _ranks(client: Client, scores: torch.Tensor, offsets: torch.Tensor | None) -> torch.Tensor:
    there = None if offsets is not None else _on_device(
        client, {"scores": scores}, "ranks", torch.int64, lambda at: client.rank(at["scores"], ranks=at["ranks"]))
    return there if there is not None else from_wire(
        client.rank(to_wire("scores", scores), offsets=to_wire("offsets", offsets)), scores)


def _vjp(client: Client, scores: torch.Tensor, upstream: torch.Tensor, lambda_val: float,
         offsets: torch.Tensor | None) -> torch.Tensor:
    there = None if offsets is not None else _on_device(client, {"scores": scores, "upstream": upstream}, "gradient", torch.float32,
                     lambda at: client.rank_vjp(at["scores"], at["upstream"], lambda_val=lambda_val, gradient=at["gradient"]))
    if there is not None:
        return there
    return from_wire(client.rank_vjp(to_wire("scores", scores), to_wire("upstream", upstream), lambda_val=lambda_val,
                                     offsets=to_wire("offsets", offsets)), scores)


def _on_device(client: Client, tensors: dict[str, torch.Tensor], name: str, dtype: torch.dtype,
             call: Callable[[dict[str, OnDevice]], object]) -> torch.Tensor | None:
    """The result `name`, of the shape of the scores, through memory shared on the device; None if
    that is not possible."""
    scores = tensors["scores"]
    path = device_path(client, scores.device) if fits(tensors) else None
    if path is None:
        return None
    done = path.run(tensors, {name: (scores.shape, dtype)}, call)
    return done[1][name] if done else None


class _Rank(Function):
    @staticmethod
    def forward(ctx: Any, scores: torch.Tensor, client: Client, lambda_val: float,
                offsets: torch.Tensor | None) -> torch.Tensor:
        ctx.client, ctx.lambda_val, ctx.offsets = client, lambda_val, offsets
        ctx.save_for_backward(scores)
        ranked = _ranks(client, scores, offsets).to(loss_type(scores))
        if offsets is None:
            return ranked / scores.shape[1]
        sizes = offsets.diff().to(scores.device)
        return ranked / sizes.repeat_interleave(sizes)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, upstream: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
        (scores,) = ctx.saved_tensors
        return _vjp(ctx.client, scores, upstream.float(), ctx.lambda_val, ctx.offsets).to(scores.dtype), None, None, None
