# SPDX-License-Identifier: Apache-2.0
"""The joint step of a retrieval loss: all ranks together compute the loss that one process would
compute over the whole batch.

1. Each rank sends a record to all: the form of its shard, the state of its loss, the identity of
its daemon. 2. The first rank of each daemon is its leader. Each rank sends its shard to the
leaders. 3. Each leader sends the whole batch to its daemon, under the batch id that rank 0 drew. 4.
Each leader answers all ranks with loss and numbers, or that it failed, and those of its own daemon
with their rows of the
   gradient.

Backward multiplies these rows by the size of the team, because DistributedDataParallel divides by
it, and communicates nothing.
"""
from __future__ import annotations

import dataclasses
import hashlib
import json
import os
import secrets
from collections.abc import Callable
from typing import Any, Protocol

import numpy as np
import torch
from numpy.typing import NDArray

from ..client import Client
from ..errors import Conflict
from ..results import LossInfo, LossResult
from .convert import loss_type
from .gradient import PrecomputedLoss
from .learning import reason_for
from .memory import Memory
from .origin import of_its_rank
from .schedule import Schedule, Step, fingerprint, in_backward
from .shards import FORM, MATRICES, Forms, form_of, pack, shard_of
from .team import Team

_RECORD = np.dtype([("ok", "u1"), ("training", "u1"), ("wanted", "u1"), ("recomputing", "u1"), ("no_ranking", "u1"),
                    ("in_store", "u1"), ("version", "i8"), ("steps", "i8"), ("options", "u1", 16), ("content", "u1", 16),
                    ("batch", "u1", 16), ("daemon", "u1", 16),
                    ("shard", FORM)])
_ANSWER = 2048  # bytes of a leader's answer without gradients: 1 or 0, and JSON


class JointLoss(Protocol):
    """The members of losses.RankLoss that the joint steps use."""

    model: str
    client: Client
    info: LossInfo | None
    average: str
    loss_weight: float
    on_nan: str
    training: bool
    balanced: bool
    gallery: str
    _answered: Any
    _in_store: tuple[str | None, bool] | None
    options: dict[str, Any]
    schedule: Schedule
    memory: Memory

    @property
    def bank(self) -> str | None: ...
    def _begin(self, content: list[Any], wanted: bool, **agreed: Any) -> Step: ...
    def _ask(self, arguments: dict[str, Any], step: Step, average: str, wanted: bool, **more: Any) -> LossResult: ...
    def _by_host(self, tensors: dict[str, torch.Tensor], wants: list[bool], average: str) -> Any: ...
    def _on_device(self, tensors: dict[str, torch.Tensor], average: str, wanted: bool) -> Any: ...
    def _keep(self, info: LossInfo, step: Step, reason: Callable[[], str | None], mean: float | None = None) -> None: ...
    def _has_pairs(self, tensors: dict[str, torch.Tensor]) -> bool: ...
    def _without_ranking(self, tensors: dict[str, torch.Tensor]) -> bool: ...


def settings(loss: JointLoss) -> dict[str, Any]:
    """What must be equal on all ranks."""
    return {**loss.options, "model": loss.model, "average": loss.average, "loss_weight": loss.loss_weight, "on_nan": loss.on_nan,
            "bank": loss.bank, "distributed": "balanced" if loss.balanced else True,
            "margin": loss.schedule.margin, "margin_warmup": loss.schedule.warmup,
            "bank_start": loss.schedule.bank_start, "bank_max_age": loss.memory.max_age, "fresh": loss.memory.fresh}


def digest(value: Any) -> NDArray[np.uint8]:
    return np.frombuffer(hashlib.blake2b(repr(value).encode(), digest_size=16).digest(), np.uint8)


def check_settings(team: Team, digests: NDArray[np.uint8], mine: dict[str, Any]) -> None:
    """Raises ValueError on every rank if the losses of the ranks are not configured alike."""
    if (digests == digests[0]).all():
        return
    told = team.objects(mine)
    for rank, other in enumerate(told):
        for name in sorted({*told[0], *other}, key=str):
            if repr(told[0].get(name)) != repr(other.get(name)):
                raise ValueError(f"the losses of the ranks differ: {name} is {told[0].get(name)!r} on rank 0 and "
                                 f"{other.get(name)!r} on rank {rank}")


def meet(loss: JointLoss, team: Team, tensors: dict[str, torch.Tensor], inputs: list[torch.Tensor],
         shard: Any) -> tuple[NDArray[Any], Forms, bool]:
    """The records of all ranks, the forms of their shards, and whether a rank wants gradients.
    Ranks with other settings are refused."""
    records = team.meet(told_of(loss, team, tensors, inputs, shard))
    check_settings(team, records["options"], settings(loss))
    return records, Forms(records["shard"], loss.gallery), bool(records["wanted"].any())


def evaluate(loss: JointLoss, team: Team, tensors: dict[str, torch.Tensor], inputs: list[torch.Tensor]) -> torch.Tensor:
    """The loss of the whole batch, of which this rank gives the shard `tensors`; `inputs` are those
    that receive a gradient."""
    shard = shard_of(tensors, loss.gallery)
    packed = pack(shard)
    records, forms, wanted = meet(loss, team, tensors, inputs, shard)
    value = torch.full((), float("nan"), dtype=loss_type(inputs[0]), device=inputs[0].device)
    if records["no_ranking"].any():
        gradients: list[Any] = [torch.full(x.shape, float("nan"), device=x.device) for x in inputs]
    else:
        step = agree(loss, records, wanted)
        answer, rows = _ask(loss, team, records, forms, packed, step, wanted)
        value.fill_(answer["loss"])
        info = _info(answer["info"])
        mean = answer["loss"] / max(info.lists_valid, 1) if loss.average == "sum" else answer["loss"]
        loss._keep(info, step, lambda: answer["reason"], mean)
        gradients = [_gradient(rows, at, x, team.size) if wanted and x.requires_grad else None for at, x in enumerate(inputs)]
    mine = torch.is_grad_enabled() and any(x.requires_grad for x in inputs)
    return (PrecomputedLoss.apply(value, tuple(gradients), None, *inputs) if mine else value) * loss.loss_weight


def told_of(loss: JointLoss, team: Team, tensors: dict[str, torch.Tensor], inputs: list[torch.Tensor],
            shard: Any) -> NDArray[Any]:
    """What a rank tells the others before a step: _RECORD of shape (1,)."""
    record = np.zeros(1, _RECORD)
    record["ok"] = 1
    if loss.bank is not None and team.rank == 0:
        record["in_store"], record["version"] = _bank_of(loss)
    record["training"] = loss.training and not loss.memory.held_back
    record["wanted"] = torch.is_grad_enabled() and any(x.requires_grad for x in inputs)
    record["recomputing"] = in_backward()
    record["no_ranking"] = loss.on_nan == "propagate" and loss._without_ranking(tensors)
    record["steps"] = loss.schedule.steps
    record["options"] = digest(sorted(settings(loss).items()))
    if loss.bank is not None or loss.schedule.warming_up:
        record["content"] = np.frombuffer(fingerprint([part.data for part in shard.values()]), np.uint8)
    record["batch"] = np.frombuffer(secrets.token_bytes(16), np.uint8)
    record["daemon"] = _daemon(loss.client)
    record["shard"] = form_of(shard)
    return record


def _bank_of(loss: JointLoss) -> tuple[bool, int]:
    """Whether the bank is in a store that several daemons share, and if it matters, its version:
    the ranks name it in their requests, so that all read the same version, whatever others append
    meanwhile."""
    if loss._in_store == (loss.bank, False) and not loss.balanced:
        return False, 0
    state = loss.client.banks.get(str(loss.bank))
    loss._in_store = (loss.bank, "store_state" in state.raw)
    return loss._in_store[1], state.version


def version_to_read(loss: JointLoss, records: NDArray[Any]) -> dict[str, int]:
    """The version that all requests of a step read, as an argument of the client. Separate banks of
    several daemons have no common version to wait for: they are compared afterwards."""
    daemons = len(set(leaders_of(records["daemon"])))
    in_store = bool(records["in_store"][0])
    if loss.bank is None or (daemons > 1 and not in_store) or (daemons == 1 and not loss.balanced):
        return {}
    return {"bank_version": int(records["version"][0])}


def agree(loss: JointLoss, records: NDArray[Any], wanted: bool) -> Step:
    """The settings of the step. The state of rank 0 is that of all: a script may have loaded it
    there only."""
    for name, this, other in (("training", "in training mode", "in eval mode or within not_remembering()"),
                              ("recomputing", "within a backward pass (activation checkpointing)", "outside of one")):
        if (records[name] != records[name][0]).any():
            rank = int(np.flatnonzero(records[name] != records[name][0])[0])
            first, second = (this, other) if records[name][0] else (other, this)
            raise ValueError(f"the loss is called {first} on rank 0 and {second} on rank {rank}; the ranks of a joint step must "
                             "do the same")
    loss.schedule.steps = int(records["steps"][0])
    content = [bytes(one) for one in records["content"]]
    return loss._begin(content, wanted, batch_id=bytes(records["batch"][0]).hex(), recomputing=bool(records["recomputing"][0]))


def _daemon(client: Client) -> NDArray[np.uint8]:
    """The identity of the daemon, requested once per process. A daemon without an identity counts
    as this rank's alone: then this rank sends the whole batch itself, which costs time and does not
    change the result."""
    known: dict[str, Any] = client.transport.__dict__
    if known.get("daemon_of_rank", (None,))[0] != os.getpid():
        told = client.metadata().get("instance")
        text = told if isinstance(told, str) else secrets.token_hex()
        known["daemon_of_rank"] = (os.getpid(), np.frombuffer(hashlib.blake2b(text.encode(), digest_size=16).digest(), np.uint8))
    found: NDArray[np.uint8] = known["daemon_of_rank"][1]
    return found


def forget_daemon(client: Client) -> None:
    """After a failure: another daemon may answer next time."""
    client.transport.__dict__.pop("daemon_of_rank", None)


def leaders_of(daemons: NDArray[np.uint8]) -> list[int]:
    """For each rank, the first rank with the same daemon."""
    first: dict[bytes, int] = {}
    return [first.setdefault(bytes(daemon), rank) for rank, daemon in enumerate(daemons)]


def _ask(loss: JointLoss, team: Team, records: NDArray[Any], forms: Forms, packed: NDArray[np.uint8], step: Step,
         wanted: bool) -> tuple[dict[str, Any], list[NDArray[np.uint8]]]:
    """The answer of rank 0's daemon, and this rank's rows of the gradients, a piece for each of
    MATRICES."""
    leaders, rank, ranks = leaders_of(records["daemon"]), team.rank, range(team.size)
    leading = leaders[rank] == rank
    parts = team.exchange([packed if leaders[r] == r else None for r in ranks], [forms.bytes(r) if leading else 0 for r in ranks])
    follows = [wanted and leaders[r] == rank for r in ranks]  # the ranks to which this one sends rows
    replies: list[NDArray[np.uint8] | None] = [None] * team.size
    failure: Exception | None = None
    if leading:
        replies, failure = _replies(loss, forms, parts, step, wanted, follows, version_to_read(loss, records))
    rows = _row_bytes(forms, rank) if wanted else []
    sizes = [(_ANSWER if leaders[r] == r else 0) + (sum(rows) if r == leaders[rank] else 0) for r in ranks]
    answers = team.exchange(replies, sizes)
    heads = {r: answers[r][:_ANSWER] for r in ranks if leaders[r] == r}
    if not all(head[0] for head in heads.values()):
        forget_daemon(loss.client)
        team.share(failure)
    told = {r: json.loads(head[1:].tobytes()) for r, head in heads.items()}
    check_banks(loss.bank, {r: (one["info"]["bank_version"], one["info"]["bank_items"]) for r, one in told.items()})
    return told[0], np.split(answers[leaders[rank]][_ANSWER:], np.cumsum(rows)[:-1]) if wanted else []


def _replies(loss: JointLoss, forms: Forms, parts: list[NDArray[np.uint8]], step: Step, wanted: bool,
             follows: list[bool], version: dict[str, int]) -> tuple[list[NDArray[np.uint8] | None], Exception | None]:
    """A leader's part for each rank: its answer, with the rows of the gradient for the ranks that
    follow it. Also the error, if the request failed."""
    try:
        result, reason = _lead(loss, forms.whole(parts, loss.client), step, wanted, version)
        head = _head({"loss": result.loss, "info": dataclasses.asdict(result.info), "reason": reason})
        return [np.concatenate([head, *_slices(forms, r, result)]) if own else head for r, own in enumerate(follows)], None
    except Exception as error:
        empty = [np.zeros(_ANSWER + (sum(_row_bytes(forms, r)) if own else 0), np.uint8) for r, own in enumerate(follows)]
        return list(empty), of_its_rank(error, forms)


def _lead(loss: JointLoss, batch: dict[str, Any], step: Step, wanted: bool,
          version: dict[str, int]) -> tuple[LossResult, str | None]:
    """The daemon's answer for the whole batch, and the reason if nothing can be learnt from it."""
    result = loss._ask(batch, step, loss.average, wanted, **version)
    loss.info = result.info
    labels: dict[str, torch.Tensor] = {name: torch.from_numpy(batch[name]) for name in ("labels", "ref_labels") if name in batch}
    reason = reason_for(result.info, result.loss, lambda: loss._has_pairs(labels)) if step.counts else None
    return result, reason


def _info(told: dict[str, Any]) -> LossInfo:
    """The numbers of an answer from its JSON, which has lists in place of tuples."""
    return LossInfo(**{name: tuple(value) if isinstance(value, list) else value for name, value in told.items()})


def _head(answer: dict[str, Any]) -> NDArray[np.uint8]:
    text = b"\1" + json.dumps(answer).encode()
    if len(text) > _ANSWER:
        raise RuntimeError(f"the answer for the ranks takes {len(text)} bytes; it may take {_ANSWER}")
    return np.frombuffer(text.ljust(_ANSWER), np.uint8)


def _row_bytes(forms: Forms, rank: int) -> list[int]:
    """The bytes of a rank's rows of each gradient, float32."""
    return [4 * int(np.prod(forms.shape(name, rank))) for name in MATRICES]


def _slices(forms: Forms, rank: int, result: LossResult) -> list[NDArray[np.uint8]]:
    slices = []
    for name, gradient in zip(MATRICES, (result.gradient, result.ref_gradient)):
        if gradient is not None:
            start, (rows, _) = forms.start(name, rank), forms.shape(name, rank)
            slices.append(np.ascontiguousarray(gradient[start:start + rows]).reshape(-1).view(np.uint8))
    return slices


def _gradient(rows: list[NDArray[np.uint8]], at: int, like: torch.Tensor, size: int) -> torch.Tensor:
    mine = torch.from_numpy(rows[at].view(np.float32).reshape(like.shape) * np.float32(size))
    return mine.to(like.device)


def check_banks(bank: str | None, seen: dict[int, tuple[Any, Any]]) -> None:
    """Banks of several daemons must be equal: each has the same batches, in the same order. `seen`:
    version and items that the leader of each daemon has read, the same on all ranks."""
    for rank, (version, items) in seen.items():
        if (version, items) != seen[0]:
            raise Conflict(f"bank {bank!r} has {seen[0][1]} items at version {seen[0][0]} in the daemon of rank 0, and {items} "
                           f"at version {version} in that of rank {rank}: the ranks would learn from different memories. Restore "
                           "one checkpoint, or delete the bank and create it anew, in every daemon")
