# SPDX-License-Identifier: Apache-2.0
"""Losses for JAX that the rankd daemon computes, under jit, grad and vmap.

    crit = rankd.jax.ScoresLoss("ap", margin=0.05)
    loss, gradient = jax.value_and_grad(crit)(scores, targets)

    crit = rankd.jax.RetrievalLoss("recall", margin=0.05)
    loss, gradient = jax.jit(jax.value_and_grad(crit))(embeddings, labels)

Compiled code reaches the daemon by jax.pure_callback. The compiler may drop such a call or make it
twice, so banks, which change with each call, are refused. Under vmap the lists of each element are
a request of their own; it is faster to give all lists to one call, [Q, N].

Outside of jit, where the values are known, an error is a RankdError in Python. In compiled code,
NaN among the scores gives NaN as loss and gradient, and any other error is that of XLA, with
rankd's sentence in it.
"""
from __future__ import annotations

import inspect
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from ._names import LOSSES
from .client import Client, client_of
from .parameters import check, expect_parameters, known_model

_WITHOUT_BANKS = ("bank", "bank_read", "bank_max_age", "bank_version", "enqueue", "batch_id")
_MAPPED = ({"vmap_method": "sequential"} if "vmap_method" in inspect.signature(jax.pure_callback).parameters
           else {"vectorized": False})


class ScoresLoss:
    """Any loss of the daemon over scores and targets, by the name of its model. A function that may
    be differentiated once.

    model       "ap", "recall", "ndcg", "mrr" or another of rankd.LOSSES
    margin      in units of the scores; constant: warm it up by making a new loss after some steps
    client      a rankd.Client or a URL; None: RANKD_URL, or the daemon on this machine
    parameters  further arguments of rankd.Client.loss: lambda_val, gradient_scale, axis, gain,
                top_k, average, …
    """

    def __init__(self, model: str, *, margin: float, client: Client | str | None = None, **parameters: Any) -> None:
        for name in _WITHOUT_BANKS:
            if parameters.get(name) is not None:
                raise ValueError(f"{name} is {parameters[name]!r}; the losses for JAX take no bank: compiled code may call the "
                                 "daemon twice, or not at all")
        expect_parameters(parameters, type(self), ScoresLoss)
        self.model = known_model("model", model, LOSSES)
        self.parameters = check(model, {**parameters, "margin": margin}, "scores")
        self.client = client_of(client)
        self._loss = jax.custom_vjp(lambda scores, targets, offsets: self._evaluate(scores, targets, offsets)[0])
        self._loss.defvjp(self._forward, _backward)

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.model!r}, {', '.join(f'{key}={value!r}' for key, value in self.parameters.items())})"

    def __call__(self, scores: Any, targets: Any, offsets: Any = None) -> Any:
        """The loss, a float32 scalar.

        scores   [Q, N], float16, bfloat16 or float32; or [N] with `offsets`
        targets  likewise, integers or floats: 1 relevant, 0 irrelevant, -1 ignored; grades for
                 "ndcg"
        offsets  [Q + 1] integers: list q is items offsets[q] to offsets[q + 1] - 1
        """
        scores, targets = jnp.asarray(scores), jnp.asarray(targets)
        if scores.shape != targets.shape:
            raise ValueError(f"scores are {list(scores.shape)} and targets {list(targets.shape)}; both must be of one shape")
        return self._loss(scores, targets, None if offsets is None else jnp.asarray(offsets))

    def _forward(self, scores: Any, targets: Any, offsets: Any) -> tuple[Any, Any]:
        value, gradient = self._evaluate(scores, targets, offsets)
        return value, (gradient, jnp.zeros((0,), scores.dtype))

    def _evaluate(self, scores: Any, targets: Any, offsets: Any) -> tuple[Any, Any]:
        given = (scores.astype(jnp.float32), targets, offsets)
        if not any(isinstance(one, jax.core.Tracer) for one in given):
            return tuple(map(jnp.asarray, self._ask(*given)))  # type: ignore[return-value]
        shapes = jax.ShapeDtypeStruct((), np.float32), jax.ShapeDtypeStruct(scores.shape, np.float32)
        return jax.pure_callback(self._ask_or_nan, shapes, *given, **_MAPPED)  # type: ignore[no-any-return]

    def _ask(self, scores: Any, targets: Any, offsets: Any) -> tuple[np.ndarray, np.ndarray]:
        wanted = np.asarray(targets)
        result = self.client.loss(self.model, np.asarray(scores),
                                  wanted.astype(np.float32) if wanted.dtype.kind == "V" else wanted,
                                  offsets=None if offsets is None else np.asarray(offsets, np.int64), **self.parameters)
        return np.asarray(result.loss, np.float32), np.asarray(result.gradient, np.float32)

    def _ask_or_nan(self, scores: Any, targets: Any, offsets: Any) -> tuple[np.ndarray, np.ndarray]:
        if np.isnan(scores).any():
            return np.asarray(np.nan, np.float32), np.full(np.shape(scores), np.nan, np.float32)
        return self._ask(scores, targets, offsets)


class RetrievalLoss(ScoresLoss):
    """A loss of embeddings [B, dim] and labels [B]: each item ranks all others by cosine; those of
    its label should come first. The label -1 is relevant to nothing. The arguments are those of
    ScoresLoss."""

    def __call__(self, embeddings: Any, labels: Any, offsets: Any = None) -> Any:
        """The loss, a float32 scalar."""
        if offsets is not None:
            raise ValueError("offsets are given to a loss of embeddings, whose lists are the batch: leave them out")
        vectors, names = jnp.asarray(embeddings), jnp.asarray(labels)
        if vectors.ndim != 2 or names.shape != vectors.shape[:1]:
            raise ValueError(f"embeddings are {list(vectors.shape)} and labels {list(names.shape)}; they must be "
                             "[B, dim] and [B]")
        unit = vectors / jnp.linalg.norm(vectors, axis=1, keepdims=True)
        same = (names[:, None] == names[None, :]) & (names != -1)
        targets = jnp.where(jnp.eye(len(names), dtype=bool), -1, same.astype(jnp.int8))
        return super().__call__(unit @ unit.T, targets.astype(jnp.int8))


def _backward(kept: tuple[Any, Any], above: Any) -> tuple[Any, None, None]:
    gradient, like = kept
    return (gradient * above).astype(like.dtype), None, None
