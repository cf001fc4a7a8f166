# SPDX-License-Identifier: Apache-2.0
"""Losses on scores whose lists are split over the ranks of a job.

Each rank's daemon ranks the lists of that rank; only numbers are gathered. A loss divides its sum
over lists by a number: that of valid lists (macro), that of their relevant items (micro), or none
(sum). Each rank's loss and gradient are divided by its own number, so that its share of the job's
loss is that number over the sum of all ranks'.
"""
from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from ..results import LossInfo, LossResult
from .convert import loss_type
from .gradient import PrecomputedLoss
from .joint import JointLoss, check_settings, digest, settings
from .learning import reason_for
from .lists import relevant_in_lists
from .schedule import Step
from .team import Team

_SUMMED = ("lists", "lists_skipped", "lists_stalled", "gradient_nonzero")
_RECORD = np.dtype([("ok", "u1"), ("no_ranking", "u1"), ("pairs", "u1"), ("options", "u1", 16), ("margin", "f8"), ("loss", "f8"),
                    ("number", "f8"), ("jumped", "f8"), ("relevant", "f8"), ("summed", "i8", len(_SUMMED))])


def check(loss: JointLoss) -> None:
    """Refuses settings with which the result of a list depends on lists of other ranks by more than
    a divisor."""
    if loss.balanced:
        raise ValueError("distributed is 'balanced', which is for embeddings: lists of scores are split over the ranks as they "
                         "are; give distributed=True")
    if loss.options["interclass"]:
        raise ValueError(f"interclass is {loss.options['interclass']:g} and distributed is set: interclass ranks the scores of "
                         "all lists as one list, and the scores of other ranks are not gathered; leave one of the two out")
    if loss.options["lambda_scope"] == "batch":
        raise ValueError("lambda_scope is 'batch' and distributed is set: in that scope the perturbation depends on the number "
                         "of valid lists of all ranks, which is not known before they are ranked; use lambda_scope='list' with "
                         "lambda_val divided by that number")
    if loss.options.get("list_loss"):
        raise ValueError("reduction is 'none' and distributed is set: the loss of each list does not depend on other ranks; "
                         "leave distributed out")
    if loss.average == "micro" and loss.bank is not None:
        raise ValueError("average is 'micro', distributed is set, and there is a bank: the weights need the number of relevant "
                         "items in the bank, which no answer tells; use 'macro' or 'sum'")


def evaluate(loss: JointLoss, team: Team, tensors: dict[str, torch.Tensor], inputs: list[torch.Tensor]) -> torch.Tensor:
    """The loss over the lists of all ranks, of which this rank gives `tensors`."""
    if "list_weight" in tensors and loss.bank is not None:
        raise ValueError("weight is given, distributed is set, and there is a bank: the weights of the lists that have something "
                         "to find in the bank are not known here; leave one of the three out")
    wants = [torch.is_grad_enabled() and x.requires_grad for x in inputs]
    wanted = any(wants)
    value = torch.full((), float("nan"), dtype=loss_type(inputs[0]), device=inputs[0].device)
    if loss.on_nan == "propagate" and _any_without_ranking(loss, team, tensors):
        gradients: tuple[Any, ...] = tuple(torch.full(x.shape, float("nan"), device=x.device) for x in inputs)
    else:
        result, given, step = (loss._on_device(tensors, loss.average, wanted)
                               or loss._by_host(tensors, wants, loss.average))
        records = team.meet(_record(loss, tensors, result, step))
        check_settings(team, records["options"], settings(loss))
        _check_margins(records["margin"])
        number = 1.0 if loss.average == "sum" else float(records["number"].sum())
        shares = records["number"] / number if number > 0 else np.zeros(team.size)
        total = float((records["loss"] * shares).sum())
        value.fill_(total)
        gradients = tuple(g if g is None else g * (float(shares[team.rank]) * team.size) for g in given)
        info = _job_info(result.info, records)
        mean = total / max(info.lists_valid, 1) if loss.average == "sum" else total
        loss._keep(info, step, lambda: reason_for(info, total, lambda: bool(records["pairs"].any())), mean)
    return (PrecomputedLoss.apply(value, gradients, None, *inputs) if wanted else value) * loss.loss_weight


def _any_without_ranking(loss: JointLoss, team: Team, tensors: dict[str, torch.Tensor]) -> bool:
    record = np.zeros(1, _RECORD)
    record["ok"], record["no_ranking"] = 1, loss._without_ranking(tensors)
    found = bool(team.meet(record)["no_ranking"].any())
    team.met = False  # the other ranks wait for the record of the answer now
    return found


def _record(loss: JointLoss, tensors: dict[str, torch.Tensor], result: LossResult, step: Step) -> NDArray[Any]:
    """The part of this rank's answer that the other ranks need."""
    record = np.zeros(1, _RECORD)
    record["ok"], record["options"], record["margin"] = 1, digest(sorted(settings(loss).items())), step.margin
    record["loss"], record["number"] = result.loss, _number(loss, tensors, result.info)
    if loss.bank is None:
        record["jumped"], record["relevant"] = result.info.pairs_jumped or 0.0, float(_relevant(loss, tensors).sum())
    record["summed"] = [getattr(result.info, name) or 0 for name in _SUMMED]
    record["pairs"] = bool(result.loss) or bool(result.info.gradient_nonzero) or loss._has_pairs(tensors)
    return record


def _number(loss: JointLoss, tensors: dict[str, torch.Tensor], info: LossInfo) -> float:
    """The number that the daemon divided the sum over this rank's lists by."""
    if loss.average == "sum":
        return 1.0
    if "list_weight" in tensors:
        relevant = _relevant(loss, tensors)
        return float((_weight(tensors) * (relevant if loss.average == "micro" else relevant > 0)).sum())
    if loss.average == "micro":
        return float(_relevant(loss, tensors).sum())
    return float(info.lists_valid)


def _weight(tensors: dict[str, torch.Tensor]) -> torch.Tensor:
    """The weights of the lists as the daemon has them, [lists], float64 in host memory."""
    return tensors["list_weight"].detach().to("cpu", torch.float32).double()


def _relevant(loss: JointLoss, tensors: dict[str, torch.Tensor]) -> torch.Tensor:
    """The number of relevant items of each list, [lists], float64 in host memory; 0 for lists that
    their weight skips."""
    relevant = relevant_in_lists(tensors["targets"], loss.options["axis"], tensors.get("offsets")).to("cpu", torch.float64)
    return relevant * (_weight(tensors) > 0) if "list_weight" in tensors else relevant


def _check_margins(margins: NDArray[Any]) -> None:
    if (margins != margins[0]).any():
        rank = int(np.flatnonzero(margins != margins[0])[0])
        raise ValueError(f"the margin is {margins[0]:g} on rank 0 and {margins[rank]:g} on rank {rank}, because their warm-ups "
                         "are not at the same step; load the state of the loss on every rank")


def _job_info(info: LossInfo, records: NDArray[Any]) -> LossInfo:
    """The numbers of the whole job; those of the bank are this rank's. With a bank it is not known
    how many items are relevant, and so not how many of them were jumped."""
    sums = dict(zip(_SUMMED, records["summed"].sum(0).tolist()))
    relevant = float(records["relevant"].sum())
    jumped = None if info.bank_items is not None else 0.0
    if relevant:
        jumped = float((records["jumped"] * records["relevant"]).sum() / relevant)
    return dataclasses.replace(info, pairs_jumped=None if info.pairs_jumped is None else jumped,
                               **{name: total for name, total in sums.items() if getattr(info, name) is not None})
