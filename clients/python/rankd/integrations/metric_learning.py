# SPDX-License-Identifier: Apache-2.0
"""rankd as a loss of pytorch-metric-learning.

    from rankd.integrations.metric_learning import RankingLoss

    loss_func = RankingLoss("ap")
    loss_func(embeddings, labels).backward()
    loss_func = RankingLoss("ap", embedding_size=128, memory_size=8192)   # in place of CrossBatchMemory
"""
from __future__ import annotations

from typing import Any

import torch
from pytorch_metric_learning.distances import CosineSimilarity, DotProductSimilarity
from pytorch_metric_learning.losses import BaseMetricLossFunction
from pytorch_metric_learning.reducers import MeanReducer, SumReducer

from .. import torch as losses
from .._names import LOSSES
from ..parameters import expect_arguments, known_model
from ..results import LossInfo
from ..torch.convert import expect_tensor
from ..torch.learning import Learning
from ..torch.own_bank import create_bank
from ..torch.wording import in_words_of

_AVERAGES = {MeanReducer: "macro", SumReducer: "sum"}  # the daemon's `average` for each reducer


class RankingLoss(BaseMetricLossFunction):  # type: ignore[misc]
    """A rank loss with the interface of pytorch-metric-learning's losses: each embedding is a query
    that ranks all others; those of its label should come first.

    model           "ap", "recall" or another of rankd.LOSSES
    margin          in units of the similarity; 0.1 with cosines, to be given with other distances
    reducer         any reducer; it gets the loss of each query that has something to find. With a
                    bank, or with distributed=True, MeanReducer (the default) or SumReducer
    distance        CosineSimilarity (the default) or any other. With a bank, or with
                    distributed=True, CosineSimilarity or DotProductSimilarity
    embedding_regularizer, embedding_reg_weight: as in the library
    bank            name of an embedding bank that each batch ranks as well, and to which it is
                    appended
    embedding_size, memory_size: make that bank, with room for `memory_size` embeddings:
    CrossBatchMemory's arguments.
                    Without a name in `bank` it is this loss's own, and is deleted with it
    distributed     True in place of DistributedLossWrapper(efficient=True)
    parameters      further arguments of rankd.torch.RetrievalLoss: lambda_val, margin_warmup,
                    gradient_scale, …

    `rank` is the loss module of rankd.torch that computes it: for rankd.torch.save_bank and for
    `not_remembering()`. `info` describes the latest call.
    """

    def __init__(self, model: str = "ap", *, margin: float | None = None, reducer: Any = None, distance: Any = None,
                 embedding_regularizer: Any = None, embedding_reg_weight: float = 1, bank: str | None = None,
                 embedding_size: int | None = None, memory_size: int | None = None, distributed: Any = False,
                 **parameters: Any) -> None:
        super().__init__(reducer=reducer, distance=distance, embedding_regularizer=embedding_regularizer,
                         embedding_reg_weight=embedding_reg_weight)
        known_model("model", model, LOSSES)
        expect_arguments(parameters, type(self), losses.RetrievalLoss)
        for name in ("reduction", "average", "normalize", "gallery", "axis", "interclass"):
            if name in parameters:
                raise TypeError(f"{name} is given; here reducer says how queries are averaged, distance what is compared, and "
                                "each embedding is a query")
        _check_memory(embedding_size=embedding_size, memory_size=memory_size)
        cosines = _is(self.distance, normalized=True)
        if margin is None and not cosines:
            raise TypeError(f"margin must be given with distance={type(self.distance).__name__}: its unit is the distance's")
        self._ids: torch.Tensor | None = None
        self._margin = 0.1 if margin is None else margin
        self.in_daemon = bank is not None or memory_size is not None or bool(distributed)
        if self.in_daemon:
            average = self._check_daemon(reducer, "distributed is set" if distributed else "there is a bank")
            self.rank: losses.RetrievalLoss | losses.ScoresLoss = losses.RetrievalLoss(
                model, margin=self._margin, average=average, normalize=cosines, bank=bank, distributed=distributed, **parameters)
            if memory_size is not None:
                self.rank.bank = create_bank(self, self.rank.client, bank, "metric-learning", dim=embedding_size,
                                             capacity=memory_size, normalize=cosines, durability="none")
                self.rank.memory.own = bank is None
        else:
            self.rank = losses.ScoresLoss(model, margin=self._margin, reduction="none", **parameters)
            self.rank.learning = Learning.of_embeddings()  # whose warnings speak of labels, and not of targets

    @property
    def info(self) -> LossInfo | None:
        """Describes the latest call."""
        return self.rank.info

    def get_default_distance(self) -> Any:
        return CosineSimilarity()

    def _check_daemon(self, reducer: Any, why: str) -> str:
        """The daemon's `average` that equals the reducer."""
        if not (_is(self.distance, normalized=True) or _is(self.distance, normalized=False)):
            raise ValueError(f"distance is {type(self.distance).__name__} and {why}; the daemon computes the similarities then: "
                             "CosineSimilarity() or DotProductSimilarity(), with power=1")
        average = "macro" if reducer is None else _AVERAGES.get(type(reducer))
        if average is None:
            raise ValueError(f"reducer is {type(reducer).__name__} and {why}; the daemon reduces the loss then: MeanReducer() or "
                             "SumReducer()")
        return average

    def forward(self, embeddings: torch.Tensor, labels: torch.Tensor | None = None, indices_tuple: Any = None,
                ref_emb: torch.Tensor | None = None, ref_labels: torch.Tensor | None = None, *,
                ids: torch.Tensor | None = None) -> torch.Tensor:
        """The reduced loss.

        embeddings, labels: [B, dim] and [B]; the label -1 is relevant to nothing
        indices_tuple      None: a rank loss can't honour the tuples of a miner, and refuses them
        ref_emb, ref_labels: [R, dim] and [R]: the queries rank these instead of each other. Not
        with a bank or distributed=True
        ids                [B] int64, with a bank or distributed=True: a query ignores items with
                           its own id
        """
        self._check_call(embeddings, labels, indices_tuple, ref_emb, ref_labels, ids)
        self._ids = ids
        try:
            value: torch.Tensor = super().forward(embeddings, labels, None, ref_emb, ref_labels)
        finally:
            self._ids = None
        return value

    def _check_call(self, embeddings: Any, labels: Any, indices_tuple: Any, ref_emb: Any, ref_labels: Any, ids: Any) -> None:
        if labels is None:
            raise TypeError("labels is None; they must be given: equal labels are what a query should find")
        for name, value in (("embeddings", embeddings), ("labels", labels), ("ref_emb", ref_emb), ("ref_labels", ref_labels)):
            if value is not None:
                expect_tensor(name, value)
        if indices_tuple is not None:
            raise ValueError("indices_tuple is given; a rank loss needs whole lists, and pairs or triplets that a miner picked "
                             "are none: leave the miner out. (DistributedLossWrapper(efficient=True) makes a tuple too: use "
                             "distributed=True instead)")
        if (ref_emb is None) != (ref_labels is None):
            raise TypeError("ref_emb and ref_labels must be given together")
        if ref_emb is not None and self.in_daemon:
            raise ValueError("ref_emb is given to a loss with a bank or distributed=True, whose queries rank the batch: for "
                             "queries and documents use rankd.torch.RetrievalLoss(gallery='references')")
        if ids is not None and not self.in_daemon:
            raise ValueError("ids are given to a loss without a bank, which ranks each item of the batch once: leave them out")

    def compute_loss(self, embeddings: torch.Tensor, labels: torch.Tensor, indices_tuple: Any, ref_emb: torch.Tensor,
                     ref_labels: torch.Tensor) -> dict[str, Any]:
        """The library's dict of losses. Called by forward."""
        if self.in_daemon:
            return {"loss": {"losses": self.rank(embeddings, labels, ids=self._ids), "indices": None,
                             "reduction_type": "already_reduced"}}
        similarity = self.distance(embeddings, ref_emb)
        targets = ((labels[:, None] == ref_labels[None, :]) & (ref_labels != -1)).to(torch.int8)
        if ref_emb is embeddings:
            targets.fill_diagonal_(-1)
        with in_words_of({"scores": "distance(embeddings, ref_emb)"}):
            each = self.rank(similarity if self.distance.is_inverted else -similarity, targets)
        valid = each.new_ones(len(each), dtype=torch.bool) if bool(each.isnan().any()) else self.rank.valid  # on_nan="propagate"
        if valid is None or not bool(valid.any()):
            return self.zero_losses()  # type: ignore[no-any-return]
        where = valid.to(each.device).nonzero().squeeze(1)
        return {"loss": {"losses": each[where], "indices": where, "reduction_type": "element"}}


def _check_memory(**sizes: Any) -> None:
    """The sizes must be given together, as whole numbers."""
    if None in sizes.values():
        if any(value is not None for value in sizes.values()):
            raise TypeError(f"{' and '.join(sizes)} must be given together: they make a bank")
        return
    for name, value in sizes.items():
        if not isinstance(value, int) or isinstance(value, bool) or value < 1:
            raise ValueError(f"{name} is {value!r}; it must be a whole number, 1 or more")


def _is(distance: Any, *, normalized: bool) -> bool:
    """Whether it is the plain cosine (normalized), or the plain inner product."""
    return (type(distance) in (CosineSimilarity, DotProductSimilarity) and distance.power == 1
            and bool(distance.normalize_embeddings) == normalized)
