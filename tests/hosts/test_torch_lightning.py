# SPDX-License-Identifier: Apache-2.0
"""Losses inside the real Lightning: checkpoints with a bank, EMA, SWA, the LR finder, bf16-true,
accumulation."""
import lightning
import pytest
import torch
from lightning.pytorch.callbacks import ModelCheckpoint, StochasticWeightAveraging, WeightAveraging
from torch.optim.swa_utils import get_ema_avg_fn
from torch.utils.data import DataLoader, TensorDataset

from rankd.integrations.checkpoints import BankCallback
from rankd.torch import RetrievalLoss

pytestmark = pytest.mark.filterwarnings("ignore::UserWarning", "ignore::FutureWarning", "ignore::DeprecationWarning")


class Module(lightning.LightningModule):
    def __init__(self, crit):
        super().__init__()
        torch.manual_seed(0)
        self.net, self.crit, self.lr, self.told = torch.nn.Linear(4, 16), crit, 0.02, []

    def training_step(self, batch, _):
        x, labels = batch
        loss = self.crit(self.net(x), labels)
        self.told.append(loss.item())
        return loss

    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), lr=self.lr)


def batches(steps=8):
    rng = torch.Generator().manual_seed(5)
    return DataLoader(TensorDataset(torch.randn(12 * steps, 4, generator=rng), torch.arange(12 * steps) % 3), batch_size=12)


def trainer(folder, *callbacks, **settings):
    return lightning.Trainer(default_root_dir=folder, accelerator="cpu", devices=1, logger=False, enable_progress_bar=False,
                             enable_model_summary=False, callbacks=list(callbacks),
                             **{"max_steps": 8, "enable_checkpointing": False, **settings})


@pytest.fixture
def make(keeper):
    """A module whose loss has a bank."""
    keeper.banks.create("run", dim=16, capacity=500)
    return lambda **settings: Module(RetrievalLoss("ap", **{"bank": "run", "bank_start": 0, "margin_warmup": 0, "client": keeper,
                                                            **settings}))


def test_the_callback_is_a_lightning_callback():
    assert issubclass(BankCallback, lightning.Callback)


def test_a_run_with_a_bank_resumes_as_if_it_had_never_stopped(make, keeper, tmp_path):
    whole, two_epochs = make(), {"max_steps": -1, "max_epochs": 2, "enable_checkpointing": True}
    keep = ModelCheckpoint(dirpath=tmp_path, filename="{step}", save_top_k=-1)
    trainer(tmp_path, BankCallback(), keep, **two_epochs).fit(whole, batches(4))
    assert keeper.banks.get("run").version == 8
    resumed = make(fresh=False)
    trainer(tmp_path, BankCallback(), **two_epochs).fit(resumed, batches(4), ckpt_path=tmp_path / "step=4.ckpt")
    assert resumed.told == whole.told[4:] and len(resumed.told) == 4
    assert keeper.banks.get("run").version == 8 and resumed.crit.schedule.steps == 8
    for one, other in zip(whole.net.parameters(), resumed.net.parameters()):
        assert torch.equal(one, other)


def test_weights_load_without_lightning(make, tmp_path):
    host, module = trainer(tmp_path, BankCallback()), make()
    host.fit(module, batches())
    host.save_checkpoint(tmp_path / "end.ckpt")
    state = torch.load(tmp_path / "end.ckpt", weights_only=True)["state_dict"]
    assert all(isinstance(one, torch.Tensor) for one in state.values())
    other = make()
    other.load_state_dict(state)
    assert other.crit.schedule.steps == 8


def test_gradient_accumulation_appends_each_batch(make, keeper, tmp_path):
    module = make()
    trainer(tmp_path, accumulate_grad_batches=2, max_steps=4).fit(module, batches())
    assert keeper.banks.get("run").items == 96 and module.crit.schedule.steps == 8


def test_bf16_true(make, keeper, tmp_path):
    module = make(margin=0.05)
    trainer(tmp_path, precision="bf16-true").fit(module, batches())
    assert module.net.weight.dtype == torch.bfloat16 and keeper.banks.get("run").items == 96
    assert all(0 < value < 1 for value in module.told) and module.crit.schedule.steps == 8


def test_mixed_precision(make, tmp_path):
    module = make()
    trainer(tmp_path, precision="bf16-mixed").fit(module, batches())
    assert module.crit.schedule.steps == 8


def test_averages_of_weights_leave_schedule_and_bank_alone(make, keeper, tmp_path):
    for callback in (WeightAveraging(avg_fn=get_ema_avg_fn(0.9)), StochasticWeightAveraging(swa_lrs=0.01, swa_epoch_start=1)):
        keeper.banks.clear("run")
        module = make(fresh=True)
        trainer(tmp_path, callback, max_steps=-1, max_epochs=3).fit(module, batches())
        assert module.crit.schedule.steps == 24 and keeper.banks.get("run").items == 288, type(callback)


def test_the_lr_finder_leaves_no_trace_within_not_remembering(make, keeper, tmp_path):
    from lightning.pytorch.tuner import Tuner

    module = make(fresh=False)
    with module.crit.not_remembering():
        found = Tuner(trainer(tmp_path, enable_checkpointing=True)).lr_find(module, batches(), num_training=5, update_attr=False)
    assert found is not None and len(module.told) >= 5
    assert keeper.banks.get("run").items == 0 and module.crit.schedule.steps == 0


def test_a_checkpoint_of_another_module_is_refused(make, keeper, tmp_path):
    host, module = trainer(tmp_path, BankCallback(), max_steps=1), make()
    host.fit(module, batches())
    host.save_checkpoint(tmp_path / "one.ckpt")
    other = Module(torch.nn.Identity())
    other.strict_loading = False  # or torch itself refuses the state of a loss that is not there
    with pytest.raises(ValueError, match="the checkpoint has a bank of the loss 'crit', and the module has no such loss but none"):
        trainer(tmp_path, BankCallback()).fit(other, batches(), ckpt_path=tmp_path / "one.ckpt")
