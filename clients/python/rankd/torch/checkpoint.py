"""Saving a bank together with the model that was trained with it, and going back to both.

    tag = rankd.torch.save_bank(crit)                       # one trainer, while the others wait at a barrier
    torch.save({"model": model.state_dict(), "crit": crit.state_dict(), …}, path)

    state = torch.load(path)
    model.load_state_dict(state["model"]); crit.load_state_dict(state["crit"])   # every trainer
    rankd.torch.restore_bank(crit)                          # one trainer, then a barrier

A run with one trainer, or with a fixed order of requests, continues bit for bit as if it had never stopped.
"""
from __future__ import annotations

import uuid

from ..banks import BankState
from .losses import RetrievalLoss


def save_bank(crit: RetrievalLoss, tag: str | None = None) -> str:
    """Takes a checkpoint of the loss's bank and puts its tag into the loss's state_dict. Returns the tag.

    Without `tag` a new one is made up. An existing tag is an error: a checkpoint is never overwritten.
    """
    bank = _bank(crit)
    tag = tag or f"{bank[:40]}-step{crit.schedule.steps}-{uuid.uuid4().hex[:8]}"
    crit.client.banks.checkpoint(bank, tag)
    crit.bank_tag = tag
    return tag


def restore_bank(crit: RetrievalLoss) -> BankState:
    """Takes the loss's bank back to the checkpoint whose tag came with load_state_dict."""
    if crit.bank_tag is None:
        raise ValueError("this loss's state knows no checkpoint of the bank: call save_bank(crit) before crit.state_dict()")
    return crit.client.banks.restore(_bank(crit), crit.bank_tag)


def _bank(crit: RetrievalLoss) -> str:
    if crit.bank is None:
        raise ValueError("this loss has no bank: RetrievalLoss('ap', bank=NAME)")
    return crit.bank
