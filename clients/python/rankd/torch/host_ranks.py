# SPDX-License-Identifier: Apache-2.0
"""Ranks of tensors and the blackbox gradient through them, as values: through shared device memory
where possible, else through the host."""
from __future__ import annotations

from collections.abc import Callable

import torch

from ..client import Client
from ..tensors import OnDevice
from .convert import from_wire, loss_type, to_wire
from .device_memory import device_path, fits


def whole_ranks(client: Client, scores: torch.Tensor, offsets: torch.Tensor | None) -> torch.Tensor:
    """1 = best, int64, of the shape of `scores`: [Q, N], or [N] with `offsets`."""
    there = None if offsets is not None else _on_device(
        client, {"scores": scores}, "ranks", torch.int64, lambda at: client.rank(at["scores"], ranks=at["ranks"]))
    return there if there is not None else from_wire(
        client.rank(to_wire("scores", scores), offsets=to_wire("offsets", offsets)), scores)


def divided(ranks: torch.Tensor, scores: torch.Tensor, offsets: torch.Tensor | None) -> torch.Tensor:
    """Each rank divided by the length of its list, in the type of a loss over `scores`."""
    if offsets is None:
        return ranks.to(loss_type(scores)) / scores.shape[1]
    sizes = offsets.diff().to(scores.device)
    return ranks.to(loss_type(scores)) / sizes.repeat_interleave(sizes)


def rank_vjp(client: Client, scores: torch.Tensor, upstream: torch.Tensor, lambda_val: float,
             offsets: torch.Tensor | None) -> torch.Tensor:
    """The blackbox gradient with respect to the scores, float32; `upstream` is that of the divided
    ranks, float32."""
    there = None if offsets is not None else _on_device(client, {"scores": scores, "upstream": upstream}, "gradient",
                                                        torch.float32,
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
