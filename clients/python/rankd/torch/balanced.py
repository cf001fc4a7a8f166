# SPDX-License-Identifier: Apache-2.0
"""The joint step with the work shared: each rank has its own queries ranked against the whole
batch.

1. Each rank sends a record to all, and its shard to all.
2. Each rank's daemon ranks that rank's queries; the items of the whole batch are references.
   Nothing is appended yet, so that all ranks read a bank without this batch.
3. Each rank sends loss and numbers to all. Only then the first rank of each daemon appends the
   batch, by a request without a query. The reply to that request has the bank's drift, as it has
   for a batch that is ranked and appended in one.
4. Each rank sends the rows of its reference gradient to the ranks whose items they are, where they
   are summed in rank order.

A query must not find itself among the references. Items without an id get one for this step, which
is not stored.
"""
from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from ..results import LossInfo, LossResult
from ..tensors import BF16
from .convert import loss_type
from .gradient import PrecomputedLoss
from .joint import JointLoss, agree, check_banks, forget_daemon, leaders_of, meet, version_to_read
from .learning import reason_for
from .origin import of_its_rank
from .schedule import Step
from .shards import MATRICES, Forms, pack, shard_of
from .team import Team

_SUMMED = ("lists", "lists_skipped", "lists_stalled", "gradient_nonzero")
_ANSWER = np.dtype([("ok", "u1"), ("pairs", "u1"), ("loss", "f8"), ("version", "i8"), ("items", "i8"),
                    ("summed", "i8", len(_SUMMED))])
_BATCH = (("embeddings", "ref_embeddings"), ("labels", "ref_labels"), ("ids", "ref_ids"))
_FAILED = -1  # in place of the version of an appended batch
# The result of an append. version: 0 if nothing was appended; drift: NaN for None; drift_items: -1
# without a drift.
_APPENDED = np.dtype([("version", "i8"), ("drift", "f8", 4), ("drift_items", "i8")])


def check(loss: JointLoss) -> None:
    """Refuses settings whose result is not a sum over the ranks."""
    if loss.average == "micro":
        raise ValueError("average is 'micro' and distributed is 'balanced': the weights need the number of relevant items of all "
                         "queries, which no answer tells; give distributed=True")
    if loss.options["lambda_scope"] == "batch":
        raise ValueError("lambda_scope is 'batch' and distributed is 'balanced': in that scope the perturbation depends on the "
                         "number of valid lists of all ranks, which is not known before they are ranked; give distributed=True")


def evaluate(loss: JointLoss, team: Team, tensors: dict[str, torch.Tensor], inputs: list[torch.Tensor]) -> torch.Tensor:
    """As joint.evaluate; the gradient is equal up to rounding."""
    if "list_weight" in tensors and loss.average != "sum":
        raise ValueError("list_weight is given and distributed is 'balanced': the sum of the weights of valid lists of all ranks "
                         "is not known; give distributed=True, or average='sum'")
    shard = shard_of(tensors, loss.gallery)
    packed = pack(shard)
    wanted_here = torch.is_grad_enabled() and any(x.requires_grad for x in inputs)
    if loss.bank is not None and wanted_here and loss.training and not loss.memory.held_back:
        loss.memory.meet(loss.client, len(shard["embeddings"].data) * team.size, True)  # before any rank reads the bank
    records, forms, wanted = meet(loss, team, tensors, inputs, shard)
    value = torch.full((), float("nan"), dtype=loss_type(inputs[0]), device=inputs[0].device)
    if records["no_ranking"].any():
        gradients: list[Any] = [torch.full(x.shape, float("nan"), device=x.device) for x in inputs]
    else:
        total, own = _step(loss, team, records, forms, packed, wanted)
        value.fill_(total)
        gradients = [torch.from_numpy(g.reshape(x.shape)).to(x.device) if wanted and x.requires_grad else None
                     for g, x in zip(own, inputs)]
    return (PrecomputedLoss.apply(value, tuple(gradients), None, *inputs) if wanted_here else value) * loss.loss_weight


def _step(loss: JointLoss, team: Team, records: NDArray[Any], forms: Forms, packed: NDArray[np.uint8],
          wanted: bool) -> tuple[float, list[NDArray[np.float32]]]:
    """The job's loss, and this rank's gradients, one for each of MATRICES."""
    step = agree(loss, records, wanted)
    if step.again and loss.bank is not None:
        return _recall(loss, step)
    ranks = range(team.size)
    parts = team.exchange([packed] * team.size, [forms.bytes(r) for r in ranks])
    team.met = False  # an error of this rank's daemon is sent with the next record
    batch = forms.whole(parts, loss.client)
    asked = _ranked(batch, forms, team.rank, bytes(records["batch"][0]), loss.gallery)
    try:
        result = loss._ask(asked, dataclasses.replace(step, counts=False), "sum", wanted, gallery="references",
                           **version_to_read(loss, records))
    except Exception as error:
        raise of_its_rank(error, forms, shares=loss.gallery == "all") from error
    answers = team.meet(_answer(loss, result, batch))
    leaders = leaders_of(records["daemon"])
    check_banks(loss.bank, {r: (int(answers["version"][r]), int(answers["items"][r])) for r in ranks if leaders[r] == r})
    appended, failure = _appended(), None
    if loss.bank is not None and wanted and step.counts and leaders[team.rank] == team.rank:
        appended, failure = _append(loss, batch, step)
    rows = _exchange_rows(loss, team, forms, result, wanted, appended, failure)
    valid = answers["summed"][:, 0].sum() - answers["summed"][:, 1].sum()
    share = 1.0 if loss.average == "sum" else 1.0 / valid if valid else 0.0
    total, own = float(answers["loss"].sum()) * share, [g * np.float32(share * team.size) for g in rows.gradients]
    info = _job_info(result.info, answers["summed"], rows.appended)
    mean = total / max(info.lists_valid, 1) if loss.average == "sum" else total
    loss._keep(info, step, lambda: reason_for(info, total, lambda: bool(answers["pairs"].any())), mean)
    if loss.bank is not None:
        loss._answered = (step.batch_id, total, own, info)
    return total, own


def _recall(loss: JointLoss, step: Step) -> tuple[float, list[NDArray[np.float32]]]:
    """The answer of a step that is computed again, when the bank already holds its batch."""
    known = loss._answered
    if known is None or known[0] != step.batch_id:
        raise ValueError("a step with distributed='balanced' and a bank can be computed again only as long as it is the latest; "
                         "call backward before the next forward, or give distributed=True")
    loss._keep(known[3], step, lambda: None)
    return known[1], known[2]


def _ranked(batch: dict[str, Any], forms: Forms, rank: int, draw: bytes, gallery: str) -> dict[str, Any]:
    """The request of a rank: its queries, and as references all items that a query of the whole
    batch ranks."""
    start, (rows, _) = forms.start("embeddings", rank), forms.shape("embeddings", rank)
    mine = slice(start, start + rows)
    asked: dict[str, Any] = {name: batch[name] for name in ("ref_embeddings", "ref_labels", "ref_ids") if name in batch}
    asked.update({name: _cut(batch[name], mine) for name in ("embeddings", "labels", "ids", "list_weight") if name in batch})
    if gallery == "all":
        count = len(batch["labels"])
        ids = _ids(batch.get("ids", np.full(count, -1, np.int64)), batch.get("ref_ids"), draw)
        known = {"embeddings": batch["embeddings"], "labels": batch["labels"], "ids": ids}
        if "ref_embeddings" in batch:
            asked.setdefault("ref_ids", np.full(len(batch["ref_labels"]), -1, np.int64))
        asked.update({there: _joined(known[here], asked.get(there)) for here, there in _BATCH}, ids=ids[mine])
    return asked


def _appended(version: int = 0, info: LossInfo | None = None) -> NDArray[Any]:
    record = np.zeros(1, _APPENDED)
    record["version"], record["drift"], record["drift_items"] = version, np.nan, -1
    if info is not None and info.bank_drift is not None:
        record["drift"] = [np.nan if value is None else value for value in info.bank_drift]
        record["drift_items"] = info.bank_drift_items
    return record


def _append(loss: JointLoss, batch: dict[str, Any], step: Step) -> tuple[NDArray[Any], Exception | None]:
    """Appends the whole batch, by a request without a query. Returns the result, an element of
    _APPENDED, and the error, if any."""
    taken = _BATCH if loss.gallery == "all" else tuple((there, there) for _, there in _BATCH)
    items = {there: batch[here] for here, there in taken if here in batch}
    if "enqueue_mask" in batch:
        items["enqueue_mask"] = batch["enqueue_mask"]
    none = {"embeddings": _cut(batch["embeddings"], slice(0, 0)), "labels": np.empty(0, np.int64)}
    try:
        loss.memory.meet(loss.client, len(batch["labels"]), alone=True)
        done = loss.client.loss(loss.model, **items, **none, **{**loss.options, "gallery": "references"}, margin=step.margin,
                                bank=loss.bank, enqueue=True, batch_id=step.batch_id, gradient=False)
        return _appended(done.info.bank_version_appended or 0, done.info), None
    except Exception as error:
        return _appended(_FAILED), error


@dataclasses.dataclass
class _Rows:
    appended: Any  # rank 0's, an element of _APPENDED
    gradients: list[NDArray[np.float32]]


def _exchange_rows(loss: JointLoss, team: Team, forms: Forms, result: LossResult, wanted: bool,
                   appended: NDArray[Any], failure: Exception | None) -> _Rows:
    """This rank's gradients, summed over the ranks, and what rank 0 appended. Raises the error of a
    failed append on all ranks."""
    head, ranks = appended.view(np.uint8), range(team.size)
    sent = [np.concatenate([head, *_rows_of(forms, r, result, loss.gallery)]) if wanted else head for r in ranks]
    shapes = [forms.shape(name, team.rank) for name in MATRICES]
    size = 4 * sum(rows * width for rows, width in shapes) if wanted else 0
    found = team.exchange(sent, [len(head) + size] * team.size)
    told = [one[:len(head)].view(_APPENDED)[0] for one in found]
    if any(one["version"] == _FAILED for one in told):
        forget_daemon(loss.client)
        team.share(failure)
    if not wanted:
        return _Rows(told[0], [])
    summed = np.zeros(size // 4, np.float32)
    for one in found:
        summed += one[len(head):].view(np.float32)
    gradients = np.split(summed, np.cumsum([rows * width for rows, width in shapes])[:-1])
    if result.gradient is not None:
        gradients[0] = gradients[0] + result.gradient.reshape(-1)
    return _Rows(told[0], gradients)


def _rows_of(forms: Forms, rank: int, result: LossResult, gallery: str) -> list[NDArray[np.uint8]]:
    """Rows of the reference gradient that belong to a rank: of its items, and of its references."""
    gradient = result.ref_gradient
    assert gradient is not None
    batch = forms.start("embeddings", len(forms.rows)) if gallery == "all" else 0
    pieces = []
    for name in MATRICES:
        rows, width = forms.shape(name, rank)
        if name == "embeddings" and gallery != "all":
            pieces.append(np.zeros(4 * rows * width, np.uint8))  # queries only
        elif rows:
            start = forms.start(name, rank) + (batch if name != "embeddings" else 0)
            pieces.append(np.ascontiguousarray(gradient[start:start + rows]).reshape(-1).view(np.uint8))
    return pieces


def _answer(loss: JointLoss, result: LossResult, batch: dict[str, Any]) -> NDArray[Any]:
    record, info = np.zeros(1, _ANSWER), result.info
    record["ok"], record["loss"] = 1, result.loss
    record["version"], record["items"] = info.bank_version or 0, info.bank_items or 0
    record["summed"] = [getattr(info, name) or 0 for name in _SUMMED]
    loss.info = info
    labels: dict[str, torch.Tensor] = {name: torch.from_numpy(batch[name]) for name in ("labels", "ref_labels") if name in batch}
    record["pairs"] = bool(result.loss) or bool(info.gradient_nonzero) or loss._has_pairs(labels)
    return record


def _job_info(info: LossInfo, summed: NDArray[Any], appended: Any) -> LossInfo:
    """The numbers of the whole job. gradient_nonzero counts the entries of each rank's part.
    pairs_jumped is not known."""
    sums = dict(zip(_SUMMED, summed.sum(0).tolist()))
    drift, items = tuple(None if np.isnan(value) else float(value) for value in appended["drift"]), int(appended["drift_items"])
    known = {name: total for name, total in sums.items() if getattr(info, name) is not None}
    return dataclasses.replace(info, bank_version_appended=int(appended["version"]) or None, pairs_jumped=None,
                               bank_drift=None if items < 0 else drift, bank_drift_items=None if items < 0 else items, **known)


def _ids(ids: NDArray[np.int64], others: NDArray[np.int64] | None, draw: bytes) -> NDArray[np.int64]:
    """The ids, with a new one for each item without an id: counted from a random number, so that no
    item of a bank has it, and not among those of this batch."""
    taken = ids if others is None else np.concatenate([ids, others])
    start = int.from_bytes(draw[:8], "little") >> 2
    while ((taken >= start) & (taken < start + len(ids))).any():
        start = (start + len(ids)) % (1 << 62)
    return np.where(ids == -1, start + np.arange(len(ids), dtype=np.int64), ids)


def _cut(rows: Any, part: slice) -> Any:
    return BF16(rows.bits[part]) if isinstance(rows, BF16) else rows[part]


def _joined(rows: Any, more: Any) -> Any:
    if more is None:
        return rows
    if isinstance(rows, BF16):
        return BF16(np.concatenate([rows.bits, more.bits]))
    return np.concatenate([rows, more])
