# SPDX-License-Identifier: Apache-2.0
"""The bank of a loss in the checkpoints of Lightning and Accelerate.

    trainer = lightning.Trainer(callbacks=[BankCallback()])       # the losses with a bank in the LightningModule
    accelerator.register_for_checkpointing(BankState(crit))       # save_state and load_state

When the host saves, the daemon takes a checkpoint of the bank, and its tag goes into the host's
file. When the host loads, the bank goes back to that checkpoint. Checkpoints take room in the
daemon, and deleting the host's file does not delete them: use rankctl checkpoint list and rankctl
checkpoint delete.
"""
from __future__ import annotations

import sys
from typing import Any

import torch
from torch import nn

from ..torch import restore_bank, save_bank
from ..torch.monitoring import losses_in, the_loss

_KEY = "rankd"


def _callback_base() -> type:
    """The Callback class of the imported Lightning; `object` if none is imported."""
    for name in ("lightning.pytorch", "pytorch_lightning"):
        if name in sys.modules:
            base: type = sys.modules[name].Callback
            return base
    return object


class BankState:
    """For accelerator.register_for_checkpointing: an object with state_dict and load_state_dict,
    which all processes call. Process 0 takes and restores the checkpoint of the bank, while the
    others wait.

    crit   a loss of rankd.torch with a bank, or a module with one in it
    """

    def __init__(self, crit: nn.Module) -> None:
        self.loss = the_loss(crit)
        if self.loss.bank is None:
            raise ValueError("crit has no bank: give it one with bank=NAME, or leave BankState out")

    def state_dict(self) -> dict[str, torch.Tensor]:
        """The state of the loss, which names the checkpoint just taken."""
        _wait()
        if _first():
            save_bank(self.loss)
        _wait()
        return {"state": self.loss.get_extra_state()}

    def load_state_dict(self, state: dict[str, torch.Tensor]) -> None:
        """Restores the state of the loss, and its bank. RankdError if the daemon does not have the
        checkpoint."""
        self.loss.set_extra_state(state["state"])
        if _first():
            restore_bank(self.loss)
        _wait()


class BankCallback(_callback_base()):  # type: ignore[misc]
    """A callback for Lightning's Trainer. Import lightning (or pytorch_lightning) before this
    module: only then is the class derived from its Callback. Rank 0 takes and restores the
    checkpoints, while the others wait.

    A loss with a bank of its own (without a name) is left alone: such a bank ends with the process.
    """

    def on_save_checkpoint(self, trainer: Any, pl_module: nn.Module, checkpoint: dict[str, Any]) -> None:
        """Takes checkpoints of the banks, and puts their tags into the file."""
        _wait()
        states = checkpoint.setdefault(_KEY, {})
        for name, loss in losses_in(pl_module).items():
            if loss.bank is None or loss.memory.own:
                continue
            if _first():
                save_bank(loss)
            states[name] = loss.get_extra_state()
            key = f"{name}._extra_state" if name else "_extra_state"
            if key in checkpoint.get("state_dict", {}):  # collected before this hook, without the tag
                checkpoint["state_dict"][key] = states[name]
        _wait()

    def on_load_checkpoint(self, trainer: Any, pl_module: nn.Module, checkpoint: dict[str, Any]) -> None:
        """Restores the losses and banks that the file names. ValueError if the module has no such
        loss."""
        there = losses_in(pl_module)
        for name, state in checkpoint.get(_KEY, {}).items():
            if name not in there:
                raise ValueError(f"the checkpoint has a bank of the loss {name!r}, and the module has no such loss but "
                                 f"{', '.join(map(repr, there)) or 'none'}")
            there[name].set_extra_state(state)
            if _first():
                restore_bank(there[name])
        _wait()


def _distributed() -> bool:
    return torch.distributed.is_available() and torch.distributed.is_initialized()


def _first() -> bool:
    return not _distributed() or torch.distributed.get_rank() == 0


def _wait() -> None:
    if _distributed():
        torch.distributed.barrier()
