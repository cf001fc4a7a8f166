# SPDX-License-Identifier: Apache-2.0
"""rankd.integrations.checkpoints: the real Accelerate, and a test double of the two hooks of
Lightning's checkpoints."""
import sys
import types

import pytest
import torch
from torch import nn

import rankd
import rankd.torch
from rankd.integrations.checkpoints import BankCallback, BankState
from rankd.torch import DetectionAPLoss, RetrievalLoss


class Module(nn.Module):
    """Stands for a LightningModule with a loss in it."""

    def __init__(self, crit):
        super().__init__()
        torch.manual_seed(0)
        self.net, self.crit = nn.Linear(4, 16), crit

    def step(self, seed):
        generator = torch.Generator().manual_seed(seed)
        return self.crit(self.net(torch.randn(12, 4, generator=generator)), torch.arange(12) % 3).item()


@pytest.fixture
def client(make_daemon, tmp_path):
    """Of a daemon that keeps checkpoints."""
    with rankd.connect(make_daemon("--data", tmp_path / "data").url, timeout=30, retry_for=0) as one:
        yield one


@pytest.fixture
def make(client, bank):
    return lambda: Module(RetrievalLoss("ap", bank=bank, bank_start=0, margin_warmup=0, client=client))


def dump(module, callback):
    """Does the same as Lightning's Trainer: collects the state_dict, then calls the hook."""
    checkpoint = {"state_dict": module.state_dict()}
    callback.on_save_checkpoint(None, module, checkpoint)
    return checkpoint


@pytest.mark.parametrize("model_first", [True, False])
def test_a_run_continues_as_if_it_had_never_stopped(make, client, bank, model_first):
    module, callback = make(), BankCallback()
    for seed in range(3):
        module.step(seed)
    checkpoint = dump(module, callback)
    then = [module.step(seed) for seed in range(3, 6)]
    resumed = make()
    if model_first:  # the order differs between versions of Lightning
        resumed.load_state_dict(checkpoint["state_dict"])
    callback.on_load_checkpoint(None, resumed, checkpoint)
    if not model_first:
        resumed.load_state_dict(checkpoint["state_dict"])
    assert client.banks.get(bank).version == 3 and resumed.crit.schedule.steps == 3
    assert [resumed.step(seed) for seed in range(3, 6)] == then


def test_a_loss_with_a_bank_of_its_own_or_none_is_left_alone(client):
    own = DetectionAPLoss(classes=2, points=10, bank_start=0, margin=0.0, client=client)
    own(torch.randn(10, 2, requires_grad=True), (torch.rand(10, 2) < 0.5).int())
    assert own.bank is not None
    module = nn.ModuleDict({"own": own, "none": rankd.torch.APLoss(margin=0.0, client=client)})
    assert dump(module, BankCallback())["rankd"] == {}


def test_a_checkpoint_of_another_module_is_refused(make, client, bank):
    checkpoint = dump(make(), BankCallback())
    with pytest.raises(ValueError, match="^the checkpoint has a bank of the loss 'crit', and the module has no such loss but none"):
        BankCallback().on_load_checkpoint(None, nn.Linear(1, 1), checkpoint)


def test_the_callback_derives_from_the_lightning_that_is_imported(monkeypatch):
    import importlib

    from rankd.integrations import checkpoints
    host = types.ModuleType("lightning.pytorch")
    host.Callback = type("Callback", (), {"setup": lambda self, trainer, pl_module, stage: None})
    monkeypatch.setitem(sys.modules, "lightning.pytorch", host)
    try:
        assert issubclass(importlib.reload(checkpoints).BankCallback, host.Callback)
    finally:
        monkeypatch.undo()
        importlib.reload(checkpoints)


def test_accelerate_saves_and_loads_the_bank(make, client, bank, tmp_path):
    accelerate = pytest.importorskip("accelerate")
    accelerator = accelerate.Accelerator(cpu=True)
    module = make()
    net = accelerator.prepare(module.net)
    module.net = net
    accelerator.register_for_checkpointing(BankState(module.crit))
    for seed in range(3):
        module.step(seed)
    accelerator.save_state(tmp_path / "at3")
    then = [module.step(seed) for seed in range(3, 6)]
    accelerator.load_state(tmp_path / "at3")
    assert client.banks.get(bank).version == 3
    assert [module.step(seed) for seed in range(3, 6)] == then


def test_a_state_needs_a_bank(client):
    with pytest.raises(ValueError, match="^crit has no bank"):
        BankState(rankd.torch.APLoss(margin=0.0, client=client))
