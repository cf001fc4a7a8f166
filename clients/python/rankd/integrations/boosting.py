# SPDX-License-Identifier: Apache-2.0
"""Rank losses as the objective of boosted trees (LightGBM, XGBoost), or of anything that takes a
gradient in numpy.

    objective = RankObjective("ndcg")
    lightgbm.train({"objective": objective}, lightgbm.Dataset(X, grades, group=sizes))    # preds, data
    xgboost.train({}, dmatrix, obj=objective)
    lightgbm.LGBMRanker(objective=objective.of_labels).fit(X, grades, group=sizes)         # y_true, y_pred, weight, group
    gradient, curvature = objective.at(scores, grades, sizes)

Boosted trees need a second derivative, which a ranking does not have: it is piecewise constant, and
so is its blackbox gradient. The objective gives them the curvature of a parabola whose minimum is
about `step` away, in the direction of the gradient:

    curvature = (|gradient| + floor · mean |gradient|) / step

The value of a leaf, -sum(gradient) / sum(curvature), then lies between -step and +step, however
large the gradients are: near the ends where all items of the leaf should move the same way, near 0
where they disagree. `floor` gives a curvature to items without a gradient, so that they resist
being moved with the others; without it the value of a leaf of such items would be 0 / 0.

The scores of trees begin at 0, and their range is not bounded. So scores are divided by their
spread (the root of the mean squared distance from the mean of their query) before they are ranked:
margin and lambda are in units of that spread, and with equal scores, in the first round, there is
no margin.
"""
from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from .._names import LOSSES
from ..client import Client, client_of
from ..parameters import check, expect_parameters, known_model, number
from ..results import LossInfo

_NOT_HERE = ("average", "axis", "interclass", "enqueue", "batch_id")
_Pair = tuple[NDArray[np.float64], NDArray[np.float64]]


class RankObjective:
    """Gradient and curvature of a rank loss over queries with any number of documents each.

    model           "ndcg" (grades), "ap", "mrr", "recall" or another of rankd.LOSSES
    step            the farthest that a leaf moves a score, before the learning rate
    floor           see above
    margin, lambda_val: in units of the spread of the scores
    gradient_scale  "unit" by default: each query has the same share, however badly it is ranked
    client          a rankd.Client or a URL; None: RANKD_URL, or the daemon on this machine
    parameters      further arguments of rankd.Client.loss: gain, top_k, weight, …

    `loss` and `info` describe the latest round. The object may be copied and pickled.
    """

    def __init__(self, model: str = "ndcg", *, step: float = 1.0, floor: float = 0.01, margin: float = 1.0,
                 lambda_val: float = 10.0, gradient_scale: str = "unit", client: Client | str | None = None,
                 **parameters: Any) -> None:
        for name, value, least in (("step", step, "above 0"), ("floor", floor, "above 0"), ("margin", margin, "0 or more")):
            if not (number(name, value) > 0 or (value == 0 and name == "margin")):
                raise ValueError(f"{name} is {value}; it must be {least}")
        self.model, self.step, self.floor = known_model("model", model, LOSSES), float(step), float(floor)
        self.client = client_of(client)
        for name in parameters:
            if name in _NOT_HERE or name.startswith("bank"):
                raise TypeError(f"{name} is given; an objective ranks the documents of each query, as group says, and nothing "
                                "else")
        expect_parameters(parameters, type(self))
        self.parameters = check(model, {**parameters, "margin": margin, "lambda_val": lambda_val,
                                        "gradient_scale": gradient_scale},
                                "scores")
        self.loss: float | None = None
        self.info: LossInfo | None = None

    def __repr__(self) -> str:
        return f"RankObjective({self.model!r}, step={self.step:g}, floor={self.floor:g}, loss={self.loss})"

    def __call__(self, preds: ArrayLike, data: Any) -> _Pair:
        """For lightgbm.train and xgboost.train: as at(), with `data` a Dataset or a DMatrix that
        has a group. ValueError if it has none."""
        weight = data.get_weight()
        if hasattr(data, "get_uint_info"):  # XGBoost
            ends = np.asarray(data.get_uint_info("group_ptr"), np.int64)
            sizes = np.diff(ends) if len(ends) else None
        else:
            sizes = data.get_group()
        if sizes is None or not len(sizes):
            raise ValueError("data has no group; a rank loss needs the number of documents of each query: set_group(sizes)")
        return self.at(preds, data.get_label(), sizes, weight if weight is not None and len(weight) else None)

    def of_labels(self, y_true: ArrayLike, y_pred: ArrayLike, weight: ArrayLike | None, group: ArrayLike | None) -> _Pair:
        """For LGBMRanker(objective=…): as at(), with the arguments of LightGBM's scikit-learn
        interface."""
        if group is None:
            raise ValueError("group is None; a rank loss needs the number of documents of each query: fit(X, y, group=sizes)")
        return self.at(y_pred, y_true, group, weight)

    def at(self, scores: ArrayLike, targets: ArrayLike, group: ArrayLike, weight: ArrayLike | None = None) -> _Pair:
        """Gradient and curvature, float64 [N], at `scores` [N] with `targets` [N]; `group`
        [queries] are the numbers of documents, one query after the other. `weight` is one number
        per query, [queries], or one per document, [N], equal within a query. Sets `loss` (the mean
        per valid query) and `info`. TypeError or ValueError for arguments of a wrong type, shape or
        sum; RankdError from the daemon."""
        values, wanted = np.asarray(scores, np.float64), np.asarray(targets)
        sizes = np.asarray(group)
        if values.ndim != 1 or wanted.shape != values.shape:
            raise ValueError(f"scores are {list(values.shape)} and targets {list(wanted.shape)}; both must be [N]: one output a "
                             "document")
        if sizes.dtype.kind not in "iuf":
            given = f"of type {sizes.dtype}" if sizes.ndim else repr(group)
            raise TypeError(f"group is {given}; it must be the number of documents of each query")
        odd = sizes[~((sizes >= 0) & (sizes == np.floor(sizes)))]
        if sizes.ndim != 1 or len(odd):
            raise ValueError(f"group {f'holds {odd[0]}' if len(odd) else f'is {list(sizes.shape)}'}; it must be [queries], the "
                             "number of documents of each")
        if sizes.sum() != len(values):
            raise ValueError(f"group sums to {sizes.sum()}; it must sum to the number of documents, {len(values)}")
        offsets = np.concatenate([[0], np.cumsum(sizes)]).astype(np.int64)
        standard, spread = _standard(values, offsets)
        parameters = self.parameters if spread > 0 else {**self.parameters, "margin": 0.0}
        result = self.client.loss(self.model, standard, _exact(wanted), offsets=offsets, list_weight=_of_queries(weight, offsets),
                                  average="sum", **parameters)
        self.loss = result.loss / max(result.info.lists_valid, 1)
        self.info = result.info
        gradient = np.asarray(result.gradient, np.float64)
        size = np.abs(gradient)
        mean = size.mean() if size.any() else 1.0  # nothing to move: any curvature is right, except 0
        return gradient, (size + self.floor * mean) / self.step


def _standard(scores: NDArray[np.float64], offsets: NDArray[np.int64]) -> tuple[NDArray[np.float64], float]:
    """The scores divided by their spread within queries, and the spread; if that is 0, the scores
    unchanged."""
    sizes = np.diff(offsets)
    which = np.repeat(np.arange(len(sizes)), sizes)
    centre = np.bincount(which, scores, len(sizes)) / np.maximum(sizes, 1)
    with np.errstate(invalid="ignore", over="ignore"):  # infinite scores have no spread
        apart = scores - centre[which]
        spread = float(np.sqrt(np.mean(apart * apart))) if len(scores) else 0.0
    return (apart / spread, spread) if 0 < spread < np.inf else (scores, 0.0)


def _exact(targets: NDArray[Any]) -> NDArray[Any]:
    """Labels of a Dataset are floats: they become int8 if all are whole and fit."""
    if targets.dtype.kind == "f" and np.all(targets == np.floor(targets)) and np.all(np.abs(targets) <= 127):
        return targets.astype(np.int8)
    return targets


def _of_queries(weight: ArrayLike | None, offsets: NDArray[np.int64]) -> NDArray[np.float64] | None:
    """One weight per query, [queries], from weights per query or per document."""
    if weight is None:
        return None
    given, queries = np.asarray(weight, np.float64), len(offsets) - 1
    if given.shape == (queries,):
        return given
    if given.shape != (int(offsets[-1]),):
        raise ValueError(f"weight is {list(given.shape)}; it must be [{queries}], one per query, or [{int(offsets[-1])}], one "
                         "per document")
    first = given[np.minimum(offsets[:-1], len(given) - 1)]
    odd = np.flatnonzero(given != np.repeat(first, np.diff(offsets)))
    if len(odd):
        query = int(np.searchsorted(offsets, odd[0], "right")) - 1
        raise ValueError(f"weight differs within query {query}; documents are ranked together, so all of a query have one weight")
    return first
