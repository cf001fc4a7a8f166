"""The loss modules."""
from __future__ import annotations

from typing import Any

import torch
from torch import nn

from ..client import Client, connect
from ..results import LossInfo, LossResult
from .card import card_path, fits
from .convert import expect_tensor, from_wire, loss_type, to_wire
from .gradient import PrecomputedLoss
from .schedule import Schedule, Step


class RankLoss(nn.Module):
    """What the losses have in common.

    client           a rankd.Client or a URL; None: RANKD_URL, or the daemon on this machine
    lambda_val       strength of the perturbation (the paper's lambda), in units of the scores
    margin           in units of the scores; grows from 0 over the first `margin_warmup` training steps
    average          "macro": mean over lists; "micro": weighted by their relevant items; "sum"
    loss_weight      factor on the loss
    on_nan           what a NaN among the scores does: "raise", or "propagate": loss and gradient are NaN and nothing is
                     sent, which is what torch's GradScaler looks for to skip the step
    lambda_scope, lambda_units: see the daemon's reference of parameters

    `info` (a rankd.LossInfo) tells about the latest call.
    """

    info: LossInfo | None = None

    def __init__(self, model: str, client: Client | str | None, *, lambda_val: float, margin: float, margin_warmup: int,
                 average: str, loss_weight: float, on_nan: str, lambda_scope: str | None, lambda_units: str | None) -> None:
        super().__init__()
        if on_nan not in ("raise", "propagate"):
            raise ValueError(f"on_nan is {on_nan!r}; it may be 'raise' or 'propagate'")
        if average not in ("macro", "micro", "sum"):
            raise ValueError(f"average is {average!r}; it may be 'macro', 'micro' or 'sum'")
        self.model = model
        self.client = client if isinstance(client, Client) else connect(client)
        self.average, self.loss_weight, self.on_nan = average, float(loss_weight), on_nan
        self.schedule = Schedule(margin, margin_warmup)
        self.options: dict[str, Any] = {"lambda_val": float(lambda_val), "lambda_scope": lambda_scope,
                                        "lambda_units": lambda_units}

    def extra_repr(self) -> str:
        return (f"{self.model!r}, lambda_val={self.options['lambda_val']:g}, margin={self.schedule.margin:g}, "
                f"margin_warmup={self.schedule.warmup}, average={self.average!r}")

    def get_extra_state(self) -> dict[str, Any]:
        return self.schedule.state()

    def set_extra_state(self, state: dict[str, Any]) -> None:
        self.schedule.load(state)

    def _evaluate(self, differentiable: dict[str, torch.Tensor], rest: dict[str, torch.Tensor | None],
                  ignored: torch.Tensor | None, avg_factor: float | torch.Tensor | None, bank: str | None) -> torch.Tensor:
        """One call: `differentiable` and `rest` are the client's arguments by name, the first of them the one whose
        device and type the loss takes."""
        inputs = [expect_tensor(name, value) for name, value in differentiable.items()]
        average, factor = self._average(avg_factor)
        training = torch.is_grad_enabled() and any(x.requires_grad for x in inputs)
        if self.on_nan == "propagate" and _has_nan(inputs, ignored, finite="embeddings" in differentiable):
            value = torch.full((), float("nan"), dtype=loss_type(inputs[0]), device=inputs[0].device)
            gradients = tuple(torch.full(x.shape, float("nan"), device=x.device) for x in inputs)
            return PrecomputedLoss.apply(value, gradients if training else (None,) * len(inputs), *inputs)
        shared = self._on_card(differentiable, rest, average, bank, training)
        if shared is not None:
            return shared * factor
        arguments = {name: to_wire(name, value) for name, value in {**differentiable, **rest}.items() if value is not None}
        enqueue = bank is not None and training and self.training
        step = self.schedule.begin([*arguments.values(), average, bank], enqueue) if training else \
            Step(self.schedule.current_margin(), "")
        result = self.client.loss(
            self.model, **arguments, **self.options, margin=step.margin, average=average, bank=bank,
            enqueue=enqueue if bank is not None else None, batch_id=step.batch_id if enqueue else None,
            gradient="dense" if training else False)
        self.info = result.info
        if training:
            self.schedule.end(step, result.info)
        return self._graph(result, inputs, training) * factor

    def _on_card(self, differentiable: dict[str, torch.Tensor], rest: dict[str, torch.Tensor | None], average: str,
                 bank: str | None, training: bool) -> torch.Tensor | None:
        """The loss by way of memory shared on the card; None where that is no way."""
        tensors = {**differentiable, **{name: value for name, value in rest.items() if value is not None}}
        if set(tensors) != {"scores", "targets"} or bank is not None or not fits(tensors):
            return None
        scores = tensors["scores"]
        path = card_path(self.client, scores.device)
        if path is None:
            return None
        step = self.schedule.begin([tuple(scores.shape), average], False) if training else \
            Step(self.schedule.current_margin(), "")
        done = path.run(tensors, {"gradient": (scores.shape, torch.float32)} if training else {}, lambda at: self.client.loss(
            self.model, at["scores"], at["targets"], **self.options, margin=step.margin, average=average,
            gradient=at["gradient"] if training else False))
        if done is None:
            return None
        result, there = done
        self.info = result.info
        value = torch.full((), result.loss, dtype=loss_type(scores), device=scores.device)
        if not training:
            return value
        self.schedule.end(step, result.info)
        return PrecomputedLoss.apply(value, (there["gradient"] if scores.requires_grad else None,), scores)

    def _graph(self, result: LossResult, inputs: list[torch.Tensor], training: bool) -> torch.Tensor:
        value = torch.full((), result.loss, dtype=loss_type(inputs[0]), device=inputs[0].device)
        if not training:
            return value
        arrays = (result.gradient, result.ref_gradient)
        gradients = tuple(from_wire(a, x) if a is not None and x.requires_grad else None for a, x in zip(arrays, inputs))
        return PrecomputedLoss.apply(value, gradients, *inputs)

    def _average(self, avg_factor: float | torch.Tensor | None) -> tuple[str, float | torch.Tensor]:
        if avg_factor is None:
            return self.average, self.loss_weight
        if self.average == "micro":
            raise ValueError("avg_factor divides a sum over lists; it can't be had together with average='micro'")
        if isinstance(avg_factor, torch.Tensor):
            avg_factor = avg_factor.item()
        if not avg_factor > 0:
            raise ValueError(f"avg_factor is {avg_factor}; it must be above 0 (the number of valid lists of all trainers, "
                             "at least 1)")
        return "sum", self.loss_weight / avg_factor


class _ScoresLoss(RankLoss):
    """On scores and targets."""

    def __init__(self, model: str, client: Client | str | None, *, margin: float | None, axis: int, interclass: float,
                 bank: str | None, **common: Any) -> None:
        if margin is None:
            raise TypeError("margin must be given: its unit is the scores'. Starting points: 0.02 to 0.1 for cosines, 1 for "
                            "logits (rank the logits, not sigmoid outputs), 0 for none")
        super().__init__(model, client, margin=margin, **common)
        self.bank = bank
        self.options.update(axis=axis, interclass=interclass)

    def forward(self, scores: torch.Tensor, targets: torch.Tensor,
                avg_factor: float | torch.Tensor | None = None) -> torch.Tensor:
        """The loss, a scalar tensor on the scores' device, float32 (float64 for float64 scores).

        scores      [Q, N], any float type; each row is a ranking problem (axis=1; with axis=0 each column)
        targets     [Q, N]: 1 relevant, 0 irrelevant, -1 not there
        avg_factor  as in mmdetection: the sum over lists is divided by it instead of by the number of lists here. The
                    number of valid lists over all trainers, divided by the number of trainers where DDP averages gradients
        """
        ignored = torch.eq(targets, -1) if self.on_nan == "propagate" else None
        return self._evaluate({"scores": scores}, {"targets": targets}, ignored, avg_factor, self.bank)


class APLoss(_ScoresLoss):
    """1 - Average Precision over scores and targets. `axis`, `interclass` and `bank` (a score bank) are for detection;
    `margin` must be given. The other arguments are RankLoss's."""

    def __init__(self, *, margin: float | None = None, lambda_val: float = 1.0, margin_warmup: int = 100,
                 average: str = "macro", axis: int = 1, interclass: float = 0.0, loss_weight: float = 1.0,
                 bank: str | None = None, on_nan: str = "raise", lambda_scope: str | None = None,
                 lambda_units: str | None = None, client: Client | str | None = None) -> None:
        super().__init__("ap", client, margin=margin, lambda_val=lambda_val, margin_warmup=margin_warmup, average=average,
                         axis=axis, interclass=interclass, loss_weight=loss_weight, bank=bank, on_nan=on_nan,
                         lambda_scope=lambda_scope, lambda_units=lambda_units)


class RecallLoss(_ScoresLoss):
    """The recall loss over scores and targets: it grows with the number x of irrelevant items ahead of a relevant one,
    `weight` "log": ln(1+x), "loglog": ln(1+ln(1+x)), "identity": x. The other arguments are APLoss's."""

    def __init__(self, *, margin: float | None = None, weight: str = "loglog", lambda_val: float = 1.0,
                 margin_warmup: int = 100, average: str = "macro", axis: int = 1, interclass: float = 0.0,
                 loss_weight: float = 1.0, bank: str | None = None, on_nan: str = "raise",
                 lambda_scope: str | None = None, lambda_units: str | None = None,
                 client: Client | str | None = None) -> None:
        super().__init__("recall", client, margin=margin, lambda_val=lambda_val, margin_warmup=margin_warmup, average=average,
                         axis=axis, interclass=interclass, loss_weight=loss_weight, bank=bank, on_nan=on_nan,
                         lambda_scope=lambda_scope, lambda_units=lambda_units)
        self.options["weight"] = weight


class RetrievalLoss(RankLoss):
    """AP or recall loss of embeddings and labels: each one ranks all the others of the batch, the references and the
    bank by cosine (inner product with normalize=False), and those of its own label should come first.

    `bank` names an embedding bank that exists already (client.banks.create). In training mode with grad enabled each
    batch is appended to it after it was ranked; in eval mode or under no_grad it is only ranked with.
    `margin` is 0.1 by default; without normalize it must be given. The other arguments are RankLoss's.
    """

    def __init__(self, model: str = "ap", *, bank: str | None = None, margin: float | None = None, lambda_val: float = 1.0,
                 margin_warmup: int = 100, average: str = "macro", normalize: bool = True, weight: str | None = None,
                 loss_weight: float = 1.0, on_nan: str = "raise", lambda_scope: str | None = None,
                 lambda_units: str | None = None, client: Client | str | None = None) -> None:
        if model not in ("ap", "recall"):
            raise ValueError(f"model is {model!r}; it may be 'ap' or 'recall'")
        if weight is not None and model != "recall":
            raise ValueError("weight belongs to the recall loss: RetrievalLoss('recall', weight=…)")
        if margin is None:
            if not normalize:
                raise TypeError("margin must be given with normalize=False: its unit is the inner products'")
            margin = 0.1
        super().__init__(model, client, margin=margin, lambda_val=lambda_val, margin_warmup=margin_warmup, average=average,
                         loss_weight=loss_weight, on_nan=on_nan, lambda_scope=lambda_scope, lambda_units=lambda_units)
        self.bank = bank
        self.bank_tag: str | None = None  # of the checkpoint that belongs to this state; see checkpoint.py
        self.options.update(normalize=normalize, weight=weight)

    def forward(self, embeddings: torch.Tensor, labels: torch.Tensor, *, ids: torch.Tensor | None = None,
                enqueue_mask: torch.Tensor | None = None, ref_emb: torch.Tensor | None = None,
                ref_labels: torch.Tensor | None = None, ref_ids: torch.Tensor | None = None,
                avg_factor: float | torch.Tensor | None = None) -> torch.Tensor:
        """The loss, a scalar tensor on the embeddings' device.

        embeddings    [B, dim], any float type, not normalized
        labels        [B] integer; equal = relevant, -1 = relevant to nothing
        ids           [B] int64 names of the items: a query ignores items that bear its own; -1 = none
        enqueue_mask  [B] bool: which of them the bank shall keep
        ref_emb, ref_labels, ref_ids: [R, dim], [R], [R]: more items to rank, not queries (other trainers' shards, gathered;
                      the other modality). They receive a gradient too, if they want one, and are not appended
        avg_factor    see APLoss
        """
        if (ref_emb is None) != (ref_labels is None):
            raise TypeError("ref_emb and ref_labels must be given together")
        differentiable = {"embeddings": embeddings}
        if ref_emb is not None:
            differentiable["ref_embeddings"] = ref_emb
        rest = {"labels": labels, "ids": ids, "ref_labels": ref_labels, "ref_ids": ref_ids,
                "enqueue_mask": enqueue_mask if self.bank is not None else None}
        return self._evaluate(differentiable, rest, None, avg_factor, self.bank)

    def get_extra_state(self) -> dict[str, Any]:
        return {**super().get_extra_state(), "bank_tag": self.bank_tag}

    def set_extra_state(self, state: dict[str, Any]) -> None:
        super().set_extra_state(state)
        self.bank_tag = state.get("bank_tag")


def _has_nan(inputs: list[torch.Tensor], ignored: torch.Tensor | None, finite: bool) -> bool:
    """Whether the daemon would refuse the numbers: NaN among scores that count; NaN or infinity in an embedding."""
    for x in inputs:
        bad = ~torch.isfinite(x) if finite else torch.isnan(x)
        if ignored is not None:
            bad = bad & ~ignored.to(x.device)
        if bool(bad.any()):
            return True
    return False
