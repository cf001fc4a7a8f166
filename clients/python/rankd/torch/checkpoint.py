# SPDX-License-Identifier: Apache-2.0
"""Save and restore a bank together with its model.

    tag = rankd.torch.save_bank(crit)                       # one trainer, while the others wait at a barrier
    torch.save({"model": model.state_dict(), "crit": crit.state_dict(), …}, path)

    state = torch.load(path)
    model.load_state_dict(state["model"]); crit.load_state_dict(state["crit"])   # every trainer
    rankd.torch.restore_bank(crit)                          # one trainer, then a barrier

A run with one trainer, or with a fixed order of requests, continues bit for bit as if it had never
stopped.
"""
from __future__ import annotations

import uuid

from ..banks import BankState
from .losses import RankLoss


def save_bank(crit: RankLoss, tag: str | None = None) -> str:
    """Takes a checkpoint of the bank of the loss and puts its tag into the state_dict of the loss.
    Returns the tag.

    Without `tag` a new one is generated. An existing tag is an error: a checkpoint is never
    overwritten.
    """
    bank = _bank(crit)
    tag = tag or f"{bank[:40]}-step{crit.schedule.steps}-{uuid.uuid4().hex[:8]}"
    taken = crit.client.banks.checkpoint(bank, tag)
    crit.memory.tag = tag
    crit.memory.now_at(taken["version"], taken["generation"])
    return tag


def restore_bank(crit: RankLoss) -> BankState:
    """Restores the bank of the loss to the checkpoint whose tag came with load_state_dict."""
    bank, memory = _bank(crit), crit.memory
    if memory.tag is None:
        raise ValueError("this loss's state knows no checkpoint of the bank: call save_bank(crit) before crit.state_dict()")
    state = crit.client.banks.restore(bank, memory.tag)
    memory.now_at(state.version, state.generation)
    return state


def _bank(crit: RankLoss) -> str:
    if not isinstance(crit, RankLoss):
        raise TypeError(f"crit is a {type(crit).__name__}; it must be a loss of rankd.torch (that of an adapter is its `rank`)")
    if crit.bank is None:
        raise ValueError("this loss has no bank: give it one with bank=NAME")
    return crit.bank
