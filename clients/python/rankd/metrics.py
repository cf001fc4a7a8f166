# SPDX-License-Identifier: Apache-2.0
"""Metrics of rankings, by the definitions of the losses and computed by the daemon: so an
evaluation reports the number that the training optimises.

    from rankd import metrics
    metrics.evaluate(client, ["ap", "ndcg@10", "mrr"], scores, targets)          # means over the lists
    metrics.average_precision(client, scores, targets)                           # of each list
    metrics.evaluate(client, ["ap", "recall@1"], embeddings=queries, labels=labels, gallery="references",
                     ref_embeddings=documents, ref_labels=document_labels)

Lists are given as to Client.loss: `scores` and `targets` [Q, N] (axis=0: columns are lists;
`offsets`: lists of any length, flat), or `embeddings` with `labels` or `relevance`, and with
references, a bank or both. All may be numpy arrays or torch tensors. There may be any number of
queries and references: they are sent in parts, and references of more than 32 MiB go into a
temporary bank, so the client needs the right to create one. A named bank is read and not changed.

Results are exact for any number of items: nothing is sampled. At equal scores irrelevant items come
first. Values are accurate to 1e-7. The metric of a list without a relevant item is NaN, and means
leave that list out. An item is relevant if its target is above 0; only ndcg looks at grades.
Definitions: docs/metrics.md.
"""
from __future__ import annotations

import inspect
from collections.abc import Iterable
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .client import Client
from .evaluation import EmbeddingLists, Lists, ScoreLists
from .parameters import whole

Array = NDArray[Any]

# For each metric: the loss, which is 1 - metric, its parameters, and whether a cut-off may, must or
# must not be given.
_MAY, _MUST, _NOT = "may", "must", "must not"
_METRICS: dict[str, tuple[str, dict[str, Any], str]] = {
    "ap": ("ap", {}, _MAY),
    "ndcg": ("ndcg", {}, _MAY),
    "mrr": ("mrr", {}, _MAY),
    "r_precision": ("hits", {}, _NOT),
    "recall": ("hits", {"share_of": "relevant"}, _MUST),
    "precision": ("hits", {"share_of": "top_k"}, _MUST),
    "hit_rate": ("hits", {"share_of": "top_k"}, _MUST),
}


def evaluate(client: Client, metrics: Iterable[str], scores: Any = None, targets: Any = None, *, gain: str | None = None,
             **lists: Any) -> dict[str, float]:
    """Means over the lists that have a relevant item, by the names asked for; NaN if there is no
    such list.

    `metrics`: names, with a cut where there is one: "ap", "ap@10", "ndcg", "ndcg@10", "mrr",
    "mrr@10", "r_precision", "recall@10", "precision@10", "hit_rate@10". Each name costs one pass of
    the daemon over the data; precision and hit rate at the same cut share a pass. `gain` ("exp2",
    the default, or "linear") belongs to ndcg.
    """
    found = per_list(client, metrics, scores, targets, gain=gain, **lists)
    return {name: float(np.nanmean(each)) if np.isfinite(each).any() else float("nan") for name, each in found.items()}


def per_list(client: Client, metrics: Iterable[str], scores: Any = None, targets: Any = None, *, gain: str | None = None,
             **lists: Any) -> dict[str, Array]:
    """As evaluate, but each metric of each list: float64 [lists], NaN where nothing is relevant."""
    if not isinstance(client, Client):
        raise TypeError(f"client is a {type(client).__name__}; it must be a rankd.Client, as rankd.connect() gives, before the "
                        "rest")
    asked = [metrics] if isinstance(metrics, str) else list(metrics)
    parsed = {name: _parse(name, gain) for name in asked}
    source, keep = _lists(client, scores, targets, lists)
    losses: dict[str, Array] = {}  # losses that several metrics share
    with keep:
        for metric, parameters in parsed.values():
            key = _key(metric, parameters)
            if key not in losses:
                losses[key] = source.losses(client, _METRICS[metric][0], metric == "ndcg", parameters)
    return {name: _value(metric, losses[_key(metric, parameters)]) for name, (metric, parameters) in parsed.items()}


def average_precision(client: Client, scores: Any = None, targets: Any = None, *, k: int | None = None, **lists: Any) -> Array:
    """AP of each list: the mean over its relevant items of rp/rk. With `k`: the sum over those
    among the first k, divided by min(P, k)."""
    return _one(client, "ap", k, scores, targets, lists)


def ndcg(client: Client, scores: Any = None, targets: Any = None, *, k: int | None = None, gain: str | None = None,
         **lists: Any) -> Array:
    """NDCG of each list, of the first `k`. `gain` "exp2" (default): 2^grade - 1; "linear": the
    grade."""
    return _one(client, "ndcg", k, scores, targets, lists, gain)


def reciprocal_rank(client: Client, scores: Any = None, targets: Any = None, *, k: int | None = None, **lists: Any) -> Array:
    """1 / rank of the first relevant item of each list; 0 if that is beyond `k`."""
    return _one(client, "mrr", k, scores, targets, lists)


def r_precision(client: Client, scores: Any = None, targets: Any = None, **lists: Any) -> Array:
    """The share of relevant items among the first P of each list, P being the number of its
    relevant items."""
    return _one(client, "r_precision", None, scores, targets, lists)


def recall(client: Client, scores: Any = None, targets: Any = None, *, k: int, **lists: Any) -> Array:
    """The share of its relevant items that each list has among the first `k`."""
    return _one(client, "recall", k, scores, targets, lists)


def precision(client: Client, scores: Any = None, targets: Any = None, *, k: int, **lists: Any) -> Array:
    """The number of relevant items among the first `k` of each list, divided by k."""
    return _one(client, "precision", k, scores, targets, lists)


def hit_rate(client: Client, scores: Any = None, targets: Any = None, *, k: int, **lists: Any) -> Array:
    """1 if there is a relevant item among the first `k` of a list, else 0. Papers on metric
    learning call it recall@k."""
    return _one(client, "hit_rate", k, scores, targets, lists)


def _one(client: Client, metric: str, k: int | None, scores: Any, targets: Any, lists: dict[str, Any],
         gain: str | None = None) -> Array:
    name = metric if k is None and _METRICS[metric][2] != _MUST else f"{metric}@{whole('k', k, 1)}"
    return per_list(client, [name], scores, targets, gain=gain, **lists)[name]


def _parse(name: str, gain: str | None) -> tuple[str, dict[str, Any]]:
    """The metric of a name, and the parameters of its loss."""
    metric, at, cut = name.partition("@") if isinstance(name, str) else ("", "", "")
    if metric not in _METRICS:
        raise ValueError(f"metric is {name!r}; it may be {', '.join(_METRICS)}, with a cut as in ndcg@10")
    _, parameters, how = _METRICS[metric]
    if (how == _MUST and not at) or (how == _NOT and at):
        raise ValueError(f"metric is {name!r}; {metric} {how} have a cut{f', as {metric}@10 has' if how == _MUST else ''}")
    if at and not (cut.isascii() and cut.isdigit() and int(cut) > 0):
        raise ValueError(f"metric is {name!r}; the part after @ must be a whole number, 1 or more")
    given = {"top_k": int(cut)} if at else {}
    if metric == "ndcg" and gain is not None:
        given["gain"] = gain
    return metric, {**parameters, **given}


def _lists(client: Client, scores: Any, targets: Any, lists: dict[str, Any]) -> tuple[Lists, AbstractContextManager[None]]:
    if scores is not None or targets is not None:
        _expect(lists, ScoreLists, "scores and targets")
        return ScoreLists(scores, targets, **lists), nullcontext()
    if lists.get("embeddings") is None:
        raise TypeError("a metric needs scores and targets, or embeddings= and labels= (or relevance=)")
    _expect(lists, EmbeddingLists, "embeddings")
    source = EmbeddingLists(client, **lists)
    return source, source.keep


def _expect(given: dict[str, Any], kind: type, beside: str) -> None:
    """TypeError for an argument that `kind` does not take; the arguments before `given` are not
    checked."""
    known = [name for name in inspect.signature(kind).parameters if name not in ("client", "scores", "targets")]
    for name in given:
        if name not in known:
            raise TypeError(f"{name} is not an argument of a metric of {beside}; those are {', '.join(known)}")


def _key(metric: str, parameters: dict[str, Any]) -> str:
    return f"{_METRICS[metric][0]} {sorted(parameters.items())}"


def _value(metric: str, loss: Array) -> Array:
    if metric == "hit_rate":
        return np.where(np.isnan(loss), np.nan, (loss < 1).astype(np.float64))
    return 1 - loss
