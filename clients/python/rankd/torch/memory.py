# SPDX-License-Identifier: Apache-2.0
"""The bank of a loss: its name, when batches are appended, and whether its content matches the
state of the loss."""
from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch

from ..client import Client
from ..errors import RankdError
from ..results import LossInfo
from .distributed import trainers
from .schedule import Step
from .warn import warn

_AHEAD = 2  # batches that each of several trainers may append between a state and the first reply about the bank


class Memory:
    """`bank` is the name of the bank, None without one; `tag` that of the checkpoint of the
    state."""

    def __init__(self, bank: str | None, max_age: int | None = None, fresh: bool | None = None) -> None:
        if max_age is not None and not (isinstance(max_age, int) and 0 <= max_age <= 32768):
            raise ValueError(f"bank_max_age is {max_age!r}; it must be a number of versions, at most 32768; 0: no limit")
        if fresh not in (None, True, False):
            raise ValueError(f"fresh is {fresh!r}; it may be True, False or None")
        if bank is not None and (not isinstance(bank, str) or not bank):
            raise TypeError(f"bank is {bank!r}; it must be the name of a bank")
        self.bank, self.max_age, self.fresh = bank, max_age, fresh
        self._met = False  # whether the bank's content is known to belong to this run
        self.own = False  # whether the loss made the bank for itself, to be deleted with it
        self.tag: str | None = None
        self.version: int | None = None  # of the bank, as last seen
        self.generation: int | None = None
        self._held_back = 0
        self._loaded: tuple[Any, Any] | None = None  # version and generation of a state, until the bank is seen

    @property
    def held_back(self) -> bool:
        """Whether a context of held() is active."""
        return self._held_back > 0

    @contextmanager
    def held(self) -> Iterator[None]:
        """A context in which nothing is appended. May be nested."""
        self._held_back += 1
        try:
            yield
        finally:
            self._held_back -= 1

    def state(self) -> dict[str, Any]:
        """For state_dict."""
        return {"bank_tag": self.tag, "bank": self.bank if self.version is not None else None, "bank_version": self.version,
                "bank_generation": self.generation}

    def arguments(self, step: Step, enqueue: bool) -> dict[str, Any]:
        """The client's arguments for a call."""
        if self.bank is None:
            return {"bank": None, "bank_max_age": self.max_age}  # which the daemon refuses, if it is a limit
        return {"bank": self.bank, "bank_read": None if step.bank_read else False, "bank_max_age": self.max_age,
                "enqueue": enqueue, "batch_id": step.batch_id if enqueue else None}

    def meet(self, client: Client, rows: int, alone: bool) -> None:
        """Called before a training step. At the first step of a run the items of the bank come from
        other weights: they are cleared, kept, or reported by a warning (`fresh`). `rows`: rows of a
        batch. `alone`: no other process of the job appends to the bank; otherwise some of its items
        may be the others'."""
        if self._met or self.own or self.bank is None or self.fresh is False:
            return
        self._met = True
        try:
            items = client.banks.get(self.bank).items
        except RankdError:
            if self.fresh:
                raise
            return  # the request itself will report the error; or the token is for requests only
        if items <= (0 if alone else _AHEAD * trainers() * rows):
            return
        if self.fresh and alone:
            client.banks.clear(self.bank)
        elif self.fresh:
            raise ValueError(f"fresh is True, and bank {self.bank!r} holds {items} items at the first step of a job of "
                             f"{trainers()} trainers, which can't each clear it: call client.banks.clear({self.bank!r}) in one "
                             "of them before the first step, and let the others wait at a barrier")
        else:
            warn(f"bank {self.bank!r} holds {items} items at the first training step: they were made by other weights, such as "
                 "those of a former run. To begin with an empty bank, give fresh=True or call "
                 f"client.banks.clear({self.bank!r}); fresh=False says that they are wanted")

    def load(self, state: dict[str, Any]) -> None:
        """Loads from a state_dict. Its version is compared with the bank at the next reply, because
        the bank may be restored after the load, in another process."""
        self.tag = state.get("bank_tag")
        self.version, self.generation = state.get("bank_version"), state.get("bank_generation")
        known = self.version is not None and state.get("bank") == self.bank
        self._loaded = (self.version, self.generation) if known else None
        self._met = known

    def now_at(self, version: int, generation: int) -> None:
        """After this trainer took a checkpoint, or went back to one."""
        self.version, self.generation, self._loaded = version, generation, None
        self._met = True

    def seen(self, info: LossInfo, read: bool = True) -> None:
        """Takes the version of the bank from a reply. `read`: it was ranked, so that the number of
        its items is known."""
        if self.bank is None or info.bank_version is None:
            return
        loaded, self._loaded = self._loaded, None
        if loaded is not None:
            # A newer bank without items is harmless: it was cleared. If the bank was not ranked,
            # its generation tells.
            self._compare(loaded, info, bool(info.bank_items) if read else info.bank_generation == loaded[1])
        self.version = max(info.bank_version, info.bank_version_appended or 0)
        self.generation = info.bank_generation

    def _compare(self, loaded: tuple[Any, Any], info: LossInfo, matters: bool) -> None:
        version, generation = loaded
        others = trainers()
        newest = version + (_AHEAD * others if others > 1 else 0)
        if info.bank_version is None or info.bank_version <= newest or not matters:
            return
        back = (f"Go back to its checkpoint {self.tag!r} with rankd.torch.restore_bank(crit), in one trainer" if self.tag else
                "No checkpoint of the bank was taken for this state (rankd.torch.save_bank(crit))")
        warn(
            f"the memory is newer than the loaded state: bank {self.bank!r} is at version {info.bank_version} (generation "
            f"{info.bank_generation}), the state was saved at version {version} (generation {generation}). Its items were made "
            f"by weights that this run does not have. {back}, or start over with client.banks.clear({self.bank!r})")


def refuse_double(memory: Memory, references: torch.Tensor | None) -> None:
    """Raises if gathered shards and a bank would show a trainer the same items twice."""
    if memory.bank is not None and references is not None and trainers() > 1:
        raise ValueError(
            f"ref_emb is given, and bank is {memory.bank!r}, in a job of {trainers()} trainers: late ones would rank the "
            "others' items twice, as references and as items that the others had appended by then, and loss and gradient would "
            "depend on the order of arrival. Leave ref_emb out and give the loss distributed=True: then it gathers the shards "
            "itself, and the bank receives them once")
