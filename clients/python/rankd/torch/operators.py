# SPDX-License-Identifier: Apache-2.0
"""The losses and the ranking as operators of torch (torch.library.custom_op), for torch.compile.

A compiler sees one call with the shapes of its results, and nothing of the daemon: no graph break,
and no recompilation when a margin grows. An operator's arguments are tensors, numbers and strings,
so a loss is passed by name, and looked up when the operator runs. Needs torch 2.4; before, `READY`
is False and the losses exclude themselves (see tracing.py).
"""
from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import Any
from weakref import WeakValueDictionary

import torch

from ..client import Client, connect
from .convert import expect_tensor, loss_type
from .gradient import NOT_TWICE
from .host_ranks import divided, rank_vjp, whole_ranks

READY = hasattr(getattr(torch, "library", None), "custom_op")
_FACTOR = "avg_factor"
_losses: WeakValueDictionary[str, Any] = WeakValueDictionary()
_clients: WeakValueDictionary[str, Client] = WeakValueDictionary()
_numbers = itertools.count()


def name_of(loss: Any) -> str:
    """A new name, by which the operators find the loss in this process. Small numbers in the order
    of construction, so that a compiler's cache on disk serves the next run of a script."""
    name = f"loss{next(_numbers)}"
    _losses[name] = loss
    return name


def tracing() -> bool:
    """Whether a compiler traces this call."""
    return READY and bool(torch.compiler.is_compiling())


def has_one_gradient(loss: Any, *_: Any, **__: Any) -> bool:
    """Whether the operator can compute a loss: the ranks of a job exchange more than tensors, and a
    loss of each query asks again in backward()."""
    return loss.team is None and not loss.by_query


def rank(scores: torch.Tensor, offsets: torch.Tensor | None, lambda_val: float, client: Any) -> torch.Tensor:
    """blackbox_rank through the operator."""
    ranked: torch.Tensor = torch.ops.rankd.rank(scores, offsets, lambda_val, url_of(client))
    return ranked


def ranks(scores: torch.Tensor, offsets: torch.Tensor | None, client: Any) -> torch.Tensor:
    """ranks through the operator."""
    ranked: torch.Tensor = torch.ops.rankd.ranks(scores, offsets, url_of(client))
    return ranked


def url_of(client: Any) -> str | None:
    """A string for an operator that identifies the client: its URL, None for the default, or a name
    if the client is an object."""
    if client is None or isinstance(client, str):
        return client
    name = f"client {id(client)}"
    _clients[name] = client
    return name


def client_of(url: str | None) -> Client:
    """The client that url_of() identified."""
    return _clients[url] if url in _clients else connect(url)


def evaluate(loss: Any, differentiable: dict[str, Any], rest: dict[str, Any], avg_factor: Any) -> torch.Tensor:
    """RankLoss._evaluate through the operator."""
    names, tensors, wants = arguments(differentiable, rest, avg_factor)
    value: torch.Tensor = torch.ops.rankd.loss(loss.operator_name, names, tensors, wants)[0]
    return value


def arguments(differentiable: dict[str, Any], rest: dict[str, Any], avg_factor: Any) -> tuple[str, list[torch.Tensor],
    list[bool]]:
    """The operator's: names of the tensors, the tensors, and which of the first ones want a
    gradient. A number among the arguments, which may be another in each step, is a tensor here: as
    a number it would be compiled in."""
    given = {**differentiable, **rest}
    if avg_factor is not None:
        given[_FACTOR] = avg_factor if isinstance(avg_factor, torch.Tensor) else torch.zeros((), dtype=torch.float64) + avg_factor
    names = [name for name, value in given.items() if value is not None]
    tensors = [expect_tensor(name, given[name]) for name in names]
    return ",".join(names), tensors, [torch.is_grad_enabled() and value.requires_grad for value in differentiable.values()]


def find(name: str) -> Any:
    """The loss of that name."""
    loss = _losses.get(name)
    if loss is None:
        raise RuntimeError("compiled code calls a loss of rankd that is gone: keep the module as long as what was compiled with "
                           "it")
    return loss


def answer(name: str, names: str, tensors: Sequence[torch.Tensor], wants: Sequence[bool]) -> tuple[torch.Tensor, ...]:
    """The loss `name` at the tensors, whose `names` are joined by commas, and the gradients at
    upstream 1 with respect to the first ones: float32, of their shapes; empty where `wants` has no
    True. Always two, of which the second may stand for nothing."""
    given = dict(zip(names.split(","), tensors))
    factor = given.pop(_FACTOR, None)
    value, found = find(name)._without_graph(given, list(wants), factor)
    wanted = [gradient if want else None for gradient, want in zip(found, wants)] + [None] * (2 - len(wants))
    none = tensors[0].new_empty
    return value, *(none(0, dtype=torch.float32) if gradient is None else gradient.contiguous() for gradient in wanted)


def _answer_shapes(name: str, names: str, tensors: Sequence[torch.Tensor], wants: Sequence[bool]) -> tuple[torch.Tensor, ...]:
    first, given = tensors[0], dict(zip(names.split(","), tensors))
    shapes = [tensors[at].shape if at < len(wants) and wants[at] else (0,) for at in range(2)]
    gradients = [(tensors[at] if at < len(wants) else first).new_empty(shape, dtype=torch.float32)
                 for at, shape in enumerate(shapes)]
    return first.new_empty(find(name)._lists(given), dtype=loss_type(first)), *gradients


def keep(ctx: Any, inputs: tuple[Any, ...], output: tuple[torch.Tensor, ...]) -> None:
    """Saves the tensors that backward() needs."""
    name, names, tensors, wants = inputs
    ctx.name, ctx.wants, ctx.types = name, list(wants), [one.dtype for one in tensors]
    given = dict(zip(names.split(","), tensors))
    ctx.by_list = output[0].dim() > 0
    ctx.has_offsets = "offsets" in given
    ctx.save_for_backward(output[1], output[2], *([given["offsets"]] if ctx.has_offsets else []))
    ctx.set_materialize_grads(False)


def backward(ctx: Any, above: torch.Tensor | None, *more: torch.Tensor | None) -> tuple[Any, ...]:
    """Gradients for the arguments of answer(); those of the tensors as a list. `above` is a scalar,
    or has one element per list."""
    if any(one is not None for one in more):
        raise RuntimeError(NOT_TWICE)
    first, second, *offsets = ctx.saved_tensors
    found: list[torch.Tensor | None] = [None] * len(ctx.types)
    if above is not None:
        spread = above
        if ctx.by_list and offsets:
            spread = above.repeat_interleave(offsets[0].diff().to(above.device), output_size=first.shape[0])
        elif ctx.by_list:
            spread = above.unsqueeze(find(ctx.name).options["axis"])
        for at, want in enumerate(ctx.wants):
            gradient = (first, second)[at]
            found[at] = (gradient * spread.to(gradient)).to(ctx.types[at]) if want else None
    return None, None, found, None


def _rank(scores: torch.Tensor, offsets: torch.Tensor | None, lambda_val: float, url: str | None) -> torch.Tensor:
    return divided(whole_ranks(client_of(url), scores, offsets), scores, offsets)


def _rank_vjp(scores: torch.Tensor, upstream: torch.Tensor, offsets: torch.Tensor | None, lambda_val: float,
              url: str | None) -> torch.Tensor:
    return rank_vjp(client_of(url), scores, upstream, lambda_val, offsets).to(scores.dtype).contiguous()


def _keep_rank(ctx: Any, inputs: tuple[Any, ...], output: torch.Tensor) -> None:
    scores, offsets, ctx.lambda_val, ctx.url = inputs
    ctx.save_for_backward(scores, *([] if offsets is None else [offsets]))


def _rank_backward(ctx: Any, upstream: torch.Tensor) -> tuple[Any, ...]:
    scores, *offsets = ctx.saved_tensors
    return torch.ops.rankd.rank_vjp(scores, upstream.float(), offsets[0] if offsets else None, ctx.lambda_val,
                                    ctx.url), None, None, None


def _define() -> None:
    """Registers the operators, once per process."""
    operator = torch.library.custom_op
    loss = operator("rankd::loss", answer, mutates_args=(),
                    schema="(str loss, str names, Tensor[] tensors, bool[] wants) -> (Tensor, Tensor, Tensor)")
    loss.register_fake(_answer_shapes)
    loss.register_autograd(backward, setup_context=keep)
    ranks = operator("rankd::ranks", lambda scores, offsets, url: whole_ranks(client_of(url), scores, offsets), mutates_args=(),
                     schema="(Tensor scores, Tensor? offsets, str? url) -> Tensor")
    ranks.register_fake(lambda scores, offsets,
                        url: torch.empty_like(scores, dtype=torch.int64, memory_format=torch.contiguous_format))
    rank = operator("rankd::rank", _rank, mutates_args=(),
                    schema="(Tensor scores, Tensor? offsets, float lambda_val, str? url) -> Tensor")
    rank.register_fake(lambda scores, offsets, lambda_val, url: scores.new_empty(scores.shape, dtype=loss_type(scores)))
    vjp = operator("rankd::rank_vjp", _rank_vjp, mutates_args=(),
                   schema="(Tensor scores, Tensor upstream, Tensor? offsets, float lambda_val, str? url) -> Tensor")
    vjp.register_fake(lambda scores, upstream, offsets, lambda_val, url: scores.new_empty(scores.shape))
    rank.register_autograd(_rank_backward, setup_context=_keep_rank)
    torch.fx.node.has_side_effect(torch.ops.rankd.loss.default)  # a call appends to a bank, even if its value is unused


if READY:
    _define()
