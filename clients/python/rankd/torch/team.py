# SPDX-License-Identifier: Apache-2.0
"""The ranks of a job that compute one loss together, and the few collectives that they use.

Each joint step begins with a record of a fixed size from every rank. An exception that one rank
raises before its record is sent, or that it hands to share(), is raised on every rank: no rank
waits for one that has given up.
"""
from __future__ import annotations

import functools
import os
import pickle
from collections.abc import Callable, Sequence
from typing import Any, TypeVar

import numpy as np
import torch
import torch.distributed as dist
from numpy.typing import NDArray

from ..errors import RankdError

RECORD = 512  # bytes of a rank's record; the first is 1, or 0 if the rank failed
T = TypeVar("T")


class Team:
    """The ranks of a process group. Copies share the group, which has no copies."""

    def __init__(self, group: Any) -> None:
        self._group = group  # None: the default group, which may be created later
        self.met = False  # whether the records of the running call have been exchanged

    def __deepcopy__(self, memo: Any) -> Team:
        return type(self)(self._group)

    @property
    def size(self) -> int:
        """1 without a process group, as when a script runs alone."""
        if dist.is_available() and dist.is_initialized():
            return int(dist.get_world_size(self._group))
        if int(os.environ.get("WORLD_SIZE", "1")) > 1:
            raise RuntimeError(f"distributed is set and WORLD_SIZE is {os.environ['WORLD_SIZE']}, but there is no process group: "
                               "call torch.distributed.init_process_group before the first step")
        return 1

    @property
    def rank(self) -> int:
        """Within the group."""
        return int(dist.get_rank(self._group))

    def meet(self, record: NDArray[Any]) -> NDArray[Any]:
        """The records of all ranks, by rank: `record` is an array of shape (1,) whose type has `ok`
        as its first byte. Raises on every rank what any of them has raised instead of sending
        one."""
        mine = np.zeros(RECORD, np.uint8)
        mine[:record.dtype.itemsize] = record.view(np.uint8)
        found = self._meet(mine)
        if not found[:, 0].all():
            self.share(None)
        return np.ascontiguousarray(found[:, :record.dtype.itemsize]).view(record.dtype)[:, 0]

    def fail(self, error: Exception) -> None:
        """Called in place of meet(): raises `error` on every rank, or the error of a lower
        rank."""
        self._meet(np.zeros(RECORD, np.uint8))
        self.share(error)

    def _meet(self, mine: NDArray[np.uint8]) -> NDArray[np.uint8]:
        self.met = True
        there = torch.empty((self.size, RECORD), dtype=torch.uint8, device=self._device())
        dist.all_gather(list(there.unbind(0)), torch.from_numpy(mine).to(there.device), group=self._group)
        return there.cpu().numpy()

    def share(self, error: Exception | None) -> None:
        """Called by all ranks if one or more of them have failed: raises on each the exception of
        the lowest rank that gives one, with the number of that rank in front of its sentence."""
        given: list[Any] = [None] * self.size
        dist.all_gather_object(given, error and _packed(error, self.rank), group=self._group)
        told = pickle.loads(next((one for one in given if one is not None), _packed(RuntimeError("failed"), 0)))
        raise told from error

    def exchange(self, parts: Sequence[NDArray[np.uint8] | None], sizes: list[int]) -> list[NDArray[np.uint8]]:
        """Sends parts[r] to rank r, and returns those of all ranks, by rank; sizes[r] is the length
        of that of rank r. A part that is None has no bytes."""
        given = [len(part) if part is not None else 0 for part in parts]
        sent = np.concatenate([part for part in parts if part is not None] or [np.empty(0, np.uint8)])
        there = torch.empty(sum(sizes), dtype=torch.uint8, device=self._device())
        dist.all_to_all_single(there, torch.from_numpy(sent).to(there.device), sizes, given, group=self._group)
        return np.split(there.cpu().numpy(), np.cumsum(sizes)[:-1])

    def objects(self, value: Any) -> list[Any]:
        """Any value of each rank, by rank: for error sentences."""
        found: list[Any] = [None] * self.size
        dist.all_gather_object(found, value, group=self._group)
        return found

    def _device(self) -> torch.device:
        """The device for tensors of collectives: NCCL takes none in host memory."""
        if dist.get_backend(self._group) == "nccl":
            return torch.device("cuda", torch.cuda.current_device())
        return torch.device("cpu")


def team_of(distributed: Any) -> tuple[Team | None, bool]:
    """The team of the argument `distributed` of a loss, None if each process computes for itself;
    and whether its ranks share the work equally ("balanced")."""
    if distributed is None or distributed is False:
        return None, False
    if not dist.is_available():
        raise RuntimeError("distributed is set, but this torch was built without torch.distributed")
    if distributed is True or (isinstance(distributed, str) and distributed == "balanced"):
        return Team(None), distributed == "balanced"
    if not isinstance(distributed, dist.ProcessGroup):
        raise ValueError(f"distributed is {distributed!r}; it may be True, 'balanced' or a torch.distributed.ProcessGroup")
    return Team(distributed), False


def together(forward: Callable[..., T]) -> Callable[..., T]:
    """A forward whose exceptions are raised on every rank of the loss's team."""

    @functools.wraps(forward)
    def run(self: Any, *arguments: Any, **named: Any) -> T:
        team: Team | None = self.team
        if team is None or team.size == 1:
            return forward(self, *arguments, **named)
        team.met = False
        try:
            return forward(self, *arguments, **named)
        except Exception as error:
            if team.met:
                raise
            team.fail(error)
            raise  # not reached: fail() raises

    return run


def _packed(error: Exception, rank: int) -> bytes:
    """The exception with its rank in front, as bytes; a RuntimeError with its text where it has no
    such form. `rank` raised it, but may have found what another one gave (origin.py)."""
    rank = getattr(error, "of_rank", rank)
    try:
        if isinstance(error, RankdError):
            told: Exception = type(error)(f"rank {rank}: {error.sentence}", code=error.code, retry_after=error.retry_after)
        else:
            told = type(error)(f"rank {rank}: {error}")
        packed = pickle.dumps(told)
        pickle.loads(packed)
        return packed
    except Exception:
        return pickle.dumps(RuntimeError(f"rank {rank}: {type(error).__name__}: {error}"))
