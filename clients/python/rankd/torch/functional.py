# SPDX-License-Identifier: Apache-2.0
"""The losses and the ranking under the transforms of torch.func, which wrap tensors in their own.

grad, grad_and_value, vjp and jacrev go through them once, as backward() does; vmap asks the daemon
once for each element. There is no forward-mode derivative (jvp, jacfwd) and no second derivative
(hessian): a ranking has none.
"""
from __future__ import annotations

import sys
from collections.abc import Sequence
from types import ModuleType
from typing import Any

import torch
from torch.autograd import Function

from . import operators
from .host_ranks import divided, rank_vjp, whole_ranks
from .operators import NOT_TWICE, arguments, find


def way(*tensors: Any) -> ModuleType | None:
    """The module, operators or this one, whose evaluate, rank or ranks a call over the tensors must
    use; None: neither."""
    if operators.tracing():
        return operators
    return sys.modules[__name__] if any(isinstance(one, torch.Tensor) and _wrapped(one) for one in tensors) else None


_wrapped: Any = getattr(getattr(torch._C, "_functorch", None), "is_functorch_wrapped_tensor", lambda _: False)  # since torch 2.0


def evaluate(loss: Any, differentiable: dict[str, Any], rest: dict[str, Any], avg_factor: Any) -> torch.Tensor:
    """RankLoss._evaluate over such tensors."""
    if loss.by_query:
        raise ValueError("reduction is 'none', whose backward pass asks the daemon again, and the loss is called within a "
                         "transform of torch.func: leave one of the two out")
    names, tensors, wants = arguments(differentiable, rest, avg_factor)
    value: torch.Tensor = _Loss.apply(loss.operator_name, names, wants, *tensors)[0]
    return value


def rank(scores: torch.Tensor, offsets: torch.Tensor | None, lambda_val: float, client: Any) -> torch.Tensor:
    """blackbox_rank over such tensors."""
    ranked: torch.Tensor = _Rank.apply(operators.client_of(operators.url_of(client)), lambda_val, offsets, scores)
    return ranked


def ranks(scores: torch.Tensor, offsets: torch.Tensor | None, client: Any) -> torch.Tensor:
    """ranks over such tensors."""
    ranked: torch.Tensor = _Ranks.apply(operators.client_of(operators.url_of(client)), offsets, scores.detach())
    return ranked


def _one_by_one(apply: Any, size: int, dims: Sequence[int | None], head: tuple[Any, ...], tensors: Sequence[Any]) -> list[Any]:
    return [apply(*head, *(one if dim is None else one.select(dim, at) for one, dim in zip(tensors, dims))) for at in range(size)]


class _Loss(Function):
    @staticmethod
    def forward(name: str, names: str, wants: list[bool], *tensors: torch.Tensor) -> Any:
        return operators.answer(name, names, tensors, wants)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: Any) -> None:
        name, names, wants, *tensors = inputs
        operators.keep(ctx, (name, names, tensors, wants), output)

    @staticmethod
    def backward(ctx: Any, *above: Any) -> tuple[Any, ...]:
        return None, None, None, *operators.backward(ctx, *above)[2]

    @staticmethod
    def vmap(info: Any, in_dims: tuple[Any, ...], name: str, names: str, wants: list[bool], *tensors: torch.Tensor) -> Any:
        bank = find(name).bank
        if bank is not None:
            raise ValueError(f"bank is {bank!r}, and the loss is called within torch.func.vmap, which has no order in which "
                             "batches could be appended: leave vmap or the bank out")
        answers = _one_by_one(_Loss.apply, info.batch_size, in_dims[3:], (name, names, wants), tensors)
        return tuple(torch.stack(column) for column in zip(*answers)), (0, 0, 0)

    @staticmethod
    def jvp(ctx: Any, *_: Any) -> Any:
        raise RuntimeError(_NOT_FORWARDS)


class _Rank(Function):
    @staticmethod
    def forward(client: Any, lambda_val: float, offsets: Any, scores: torch.Tensor) -> torch.Tensor:
        return divided(whole_ranks(client, scores, offsets), scores, offsets)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: Any) -> None:
        ctx.client, ctx.lambda_val, offsets, scores = inputs
        ctx.save_for_backward(scores, *([] if offsets is None else [offsets]))

    @staticmethod
    def backward(ctx: Any, above: torch.Tensor) -> tuple[Any, ...]:
        scores, *offsets = ctx.saved_tensors
        return None, None, None, _RankGradient.apply(ctx.client, ctx.lambda_val, offsets[0] if offsets else None, scores, above)

    @staticmethod
    def vmap(info: Any, in_dims: tuple[Any, ...], client: Any, lambda_val: float, offsets: Any, scores: torch.Tensor) -> Any:
        return torch.stack(_one_by_one(_Rank.apply, info.batch_size, in_dims[2:], (client, lambda_val), (offsets, scores))), 0

    @staticmethod
    def jvp(ctx: Any, *_: Any) -> Any:
        raise RuntimeError(_NOT_FORWARDS)


class _RankGradient(Function):
    @staticmethod
    def forward(client: Any, lambda_val: float, offsets: Any, scores: torch.Tensor, above: torch.Tensor) -> torch.Tensor:
        return rank_vjp(client, scores, above.float(), lambda_val, offsets).to(scores.dtype)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: Any) -> None:
        pass

    @staticmethod
    def backward(ctx: Any, above: torch.Tensor) -> Any:
        raise RuntimeError(NOT_TWICE)

    @staticmethod
    def vmap(info: Any, in_dims: tuple[Any, ...], client: Any, lambda_val: float, *tensors: Any) -> Any:
        return torch.stack(_one_by_one(_RankGradient.apply, info.batch_size, in_dims[2:], (client, lambda_val), tensors)), 0


class _Ranks(Function):
    @staticmethod
    def forward(client: Any, offsets: Any, scores: torch.Tensor) -> torch.Tensor:
        return whole_ranks(client, scores, offsets)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: Any) -> None:
        ctx.mark_non_differentiable(output)

    @staticmethod
    def backward(ctx: Any, above: torch.Tensor) -> tuple[Any, ...]:
        return None, None, None

    @staticmethod
    def vmap(info: Any, in_dims: tuple[Any, ...], client: Any, *tensors: Any) -> Any:
        return torch.stack(_one_by_one(_Ranks.apply, info.batch_size, in_dims[1:], (client,), tensors)), 0


_NOT_FORWARDS = ("rankd's gradient is taken backwards: torch.func.jvp and jacfwd are not possible through it. Use "
                 "torch.func.grad, vjp or jacrev")
