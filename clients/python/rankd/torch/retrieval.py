# SPDX-License-Identifier: Apache-2.0
"""The loss module over embeddings."""
from __future__ import annotations

from typing import Any

import torch

from .._names import LOSSES, TAKEN_BY
from ..client import Client
from ..parameters import expect_parameters, known_model
from ..results import LossResult
from . import balanced, joint, operators, queries
from .convert import from_wire, to_wire
from .distributed import trainers
from .learning import Learning, only_label, pairs_in_scores
from .losses import RankLoss
from .memory import refuse_double
from .team import Team, together
from .tracing import traceable


class RetrievalLoss(RankLoss):
    """The loss `model` (rankd.LOSSES) of embeddings and labels: each item ranks all others of the
    batch, the references and the bank by cosine (inner product with normalize=False); items with
    its label should come first. An equal label is a grade of 1 to "ndcg", which takes no bank.

    `gallery` "references": each query ranks the references (documents) and the bank, not the other
    queries, and it is the references that are appended to the bank.
    `bank` names an embedding bank that exists already (client.banks.create). In training mode with
    grad enabled each batch is appended to it after the ranking; in eval mode or under no_grad the
    batch is only ranked against it.
    `margin` is 0.1 by default; without normalize it must be given. `gain` and `top_k`: see
    NDCGLoss; `parameters`: see ScoresLoss. The other arguments are RankLoss's.
    With reduction="none" a call gives the loss of each query, not their average; without a bank.
    """

    over = "embeddings"

    def __init__(self, model: str = "ap", *, bank: str | None = None, margin: float | None = None, lambda_val: float = 1.0,
                 margin_warmup: int = 100, average: str = "macro", normalize: bool = True, weight: str | None = None,
                 loss_weight: float = 1.0, on_nan: str = "raise", lambda_scope: str | None = None,
                 lambda_units: str | None = None, gradient_scale: str | None = None, persistent_state: bool = True,
                 distributed: Any = False, bank_start: int = 500, bank_max_age: int | None = None, fresh: bool | None = None,
                 client: Client | str | None = None, gallery: str = "all", gain: str | None = None,
                 top_k: int | None = None, reduction: str | None = None, **parameters: Any) -> None:
        expect_parameters(parameters, type(self), RetrievalLoss)
        known_model("model", model, LOSSES)
        if gallery not in ("all", "references"):
            raise ValueError(f"gallery is {gallery!r}; it may be 'all' or 'references'")
        if weight is not None and model != "recall":
            raise ValueError("weight belongs to the recall loss: RetrievalLoss('recall', weight=…)")
        if bank is not None and model in TAKEN_BY["gain"]:
            raise ValueError(f"bank is {bank!r}; {model!r} takes none, because a bank holds no grades")
        if margin is None:
            if not normalize:
                raise TypeError("margin must be given with normalize=False: its unit is the inner products'")
            margin = 0.1
        super().__init__(model, client, margin=margin, lambda_val=lambda_val, margin_warmup=margin_warmup, average=average,
                         loss_weight=loss_weight, bank=bank, on_nan=on_nan, lambda_scope=lambda_scope,
                         lambda_units=lambda_units, gradient_scale=gradient_scale, persistent_state=persistent_state,
                         distributed=distributed, bank_start=bank_start, bank_max_age=bank_max_age, fresh=fresh,
                         learning=Learning.of_embeddings())
        queries.check(reduction, average=average, lambda_scope=lambda_scope, bank=bank, distributed=self.team is not None)
        self.reduction, self.valid, self.by_query = reduction, None, reduction is not None
        self._label: int | None = None  # the only label of the latest step with a loss of 0
        self.gallery = gallery
        self._set(normalize=normalize, weight=weight, gallery=None if gallery == "all" else gallery, gain=gain,
                            top_k=top_k, list_loss=True if reduction == "none" else None, **parameters)
        if self.balanced:
            balanced.check(self)

    @traceable(operators.READY, operators.has_one_gradient)
    @together
    def forward(self, embeddings: torch.Tensor, labels: torch.Tensor | None = None, ref_emb: torch.Tensor | None = None,
                ref_labels: torch.Tensor | None = None, *, ids: torch.Tensor | None = None,
                enqueue_mask: torch.Tensor | None = None, ref_ids: torch.Tensor | None = None,
                relevance: torch.Tensor | None = None, weight: torch.Tensor | None = None,
                list_weight: torch.Tensor | None = None, avg_factor: float | torch.Tensor | None = None) -> torch.Tensor:
        """The loss, a scalar tensor on the embeddings' device. With reduction="none" the loss of
        each query instead, [B]: 0 where a query is skipped (`valid`, bool [B], tells), multiplied
        by its weight. Its backward takes any upstream; unless that is the same for all queries, it
        ranks the batch once more (twice, where it has both signs).

        embeddings    [B, dim], any float type, not normalized
        labels        [B] integer; equal = relevant, -1 = relevant to nothing
        ref_emb, ref_labels, ref_ids: [R, dim], [R], [R]: more items for the batch to rank, not
        queries (documents; other
                      trainers' shards, gathered). They receive a gradient too, if they require one.
                      Unless the gallery is "references" they are not appended, and not possible
                      together with a bank in a job of several trainers, which would rank items twice
        ids           [B] int64 names of the items: a query ignores items with its own id,
                      references and the bank's too; -1 = none
        enqueue_mask  [B] bool ([R] if the gallery is "references"): the items to append to the bank
        relevance     [B, B + R] ([B, R] if the gallery is "references"), in place of labels and
                      ref_labels and without a bank: 1 relevant ("ndcg": a grade above 0), 0
                      irrelevant, -1 ignored; the batch, then the references. The own column is
                      ignored
        weight        [B], 0 or more: multiplies the weight of each query in the loss; 0 skips it,
                      and it is ranked by the others all the same. Also by the daemon's name for it,
                      `list_weight`. There is no gradient for it: one that requires a gradient is
                      refused
        avg_factor    see APLoss
        """
        if weight is not None and list_weight is not None:
            raise TypeError("weight and list_weight are the same; give one of them")
        if labels is None and relevance is None:
            raise TypeError("labels is a NoneType; it must be a torch.Tensor, unless relevance is given")
        if labels is not None and relevance is not None:
            raise TypeError("labels and relevance are given; relevance replaces labels")
        if relevance is not None and self.team is not None:
            raise TypeError("relevance is given to a loss with distributed=True; a rank does not know its columns for the "
                            "items of the others: give labels")
        if relevance is None and (ref_emb is None) != (ref_labels is None):
            raise TypeError("ref_emb and ref_labels must be given together")
        if self.gallery == "all" and (self.team is None or self.team.size == 1):  # a group of one rank gathers nothing
            refuse_double(self.memory, ref_emb)
        differentiable = {"embeddings": embeddings}
        if ref_emb is not None:
            differentiable["ref_embeddings"] = ref_emb
        rest = {"labels": labels, "ids": ids, "ref_labels": ref_labels, "ref_ids": ref_ids, "relevance": relevance,
                "list_weight": weight if list_weight is None else list_weight,
                "enqueue_mask": enqueue_mask if self.bank is not None else None}
        if self.reduction == "none" and avg_factor is not None:
            raise TypeError("avg_factor divides a sum over queries; reduction='none' sums nothing")
        if self.reduction == "none" and self.bank is not None:
            queries.check("none", average=self.average, lambda_scope=None, bank=self.bank, distributed=False)
        called = {"ref_embeddings": "ref_emb", **({} if weight is None else {"list_weight": "weight"})}
        return self._evaluate(differentiable, rest, avg_factor, called)

    def _average(self, avg_factor: float | torch.Tensor | None) -> tuple[str, float]:
        return ("sum", self.loss_weight) if self.reduction == "none" else super()._average(avg_factor)

    def _lists(self, tensors: dict[str, torch.Tensor]) -> tuple[int, ...]:
        return () if self.reduction is None else (len(tensors["embeddings"]),)

    def _value(self, value: torch.Tensor, result: LossResult, tensors: dict[str, torch.Tensor]) -> torch.Tensor:
        if result.list_loss is None or self.reduction is None:
            return super()._value(value, result, tensors)
        each = from_wire(result.list_loss, value).to(value.dtype)
        self.valid, weight = ~each.isnan(), tensors.get("list_weight")
        each = each.nan_to_num(0.0)
        return each if weight is None else each * weight.detach().to(each)

    def _attach(self, value: torch.Tensor, gradients: tuple[Any, ...], tensors: dict[str, torch.Tensor],
                inputs: list[torch.Tensor], margin: float) -> torch.Tensor:
        if self.reduction is None:
            return super()._attach(value, gradients, tensors, inputs, margin)
        arguments = {name: to_wire(name, x.detach().clone()) for name, x in tensors.items()}  # as they are now
        own = tensors.get("list_weight")

        def again(weight: torch.Tensor) -> tuple[Any, ...]:
            both = weight if own is None else weight * own.detach().to(weight)
            done = self.client.loss(self.model, **{**arguments, "list_weight": to_wire("list_weight", both)},
                                    **{**self.options, "list_loss": False}, margin=margin, average="sum")
            arrays = (done.gradient, done.ref_gradient)
            return tuple(from_wire(a, x) if a is not None and x.requires_grad else None for a, x in zip(arrays, inputs))

        valid = self.valid if self.valid is not None else torch.ones_like(value, dtype=torch.bool)
        return queries.QueryLosses.apply(value, valid, gradients, again, *inputs)

    def _together(self, team: Team, tensors: dict[str, torch.Tensor], inputs: list[torch.Tensor]) -> torch.Tensor:
        return (balanced if self.balanced else joint).evaluate(self, team, tensors, inputs)

    def _alone(self) -> bool:
        return trainers() == 1 or (self.team is not None and self.team.size > 1)  # a team appends once

    def _has_pairs(self, tensors: dict[str, torch.Tensor]) -> bool:
        if "relevance" in tensors:
            return pairs_in_scores(tensors["relevance"], 1, 0.0)
        ranked = [tensors.get("ref_labels")] if self.gallery == "references" else [tensors["labels"], tensors.get("ref_labels")]
        before, self._label = self._label, only_label(*ranked)
        if self._label is None:
            return True
        return bool(self.info is not None and self.info.bank_items) and self._label != before  # the bank has others

    def _without_ranking(self, tensors: dict[str, torch.Tensor]) -> bool:
        given = [tensors[name].detach().float() for name in ("embeddings", "ref_embeddings") if name in tensors]
        return any(not bool(x.isfinite().all()) or (self.options["normalize"] and bool((x == 0).all(-1).any())) for x in given)
