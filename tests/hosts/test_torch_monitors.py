# SPDX-License-Identifier: Apache-2.0
"""rankd.torch.monitor with the real TensorBoard and with W&B in offline mode."""
import os

os.environ.update(WANDB_MODE="offline", WANDB_SILENT="true")

import torch

from rankd.torch import APLoss, monitor

FIELDS = {"loss", "stalled", "skipped", "zero_gradient", "pairs_jumped"}


def steps(crit, number=4):
    torch.manual_seed(0)
    for _ in range(number):
        crit(torch.randn(8, 50, requires_grad=True), torch.rand(8, 50) < 0.2).backward()


def test_tensorboard_has_a_curve_of_each_field(client, tmp_path):
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
    from torch.utils.tensorboard import SummaryWriter

    crit = APLoss(margin=0.1, client=client)
    with SummaryWriter(tmp_path) as writer:
        watch = monitor(crit, every=2, to=writer)
        steps(crit)
    events = EventAccumulator(str(tmp_path)).Reload()
    assert {tag.split("/")[-1] for tag in events.Tags()["scalars"]} == FIELDS
    curve = events.Scalars("rankd/loss")
    assert [point.step for point in curve] == [2, 4] and abs(curve[-1].value - watch.latest["loss"]) < 1e-6


def test_wandb_offline_has_a_curve_of_each_field(client, tmp_path, monkeypatch):
    import wandb

    monkeypatch.chdir(tmp_path)
    crit = APLoss(margin=0.1, client=client)
    run = wandb.init(project="rankd", dir=str(tmp_path), mode="offline", settings=wandb.Settings(init_timeout=180))
    try:
        watch = monitor(crit, every=2, to=run)
        steps(crit)
        run.log({"epoch": 1})
        told = dict(run.summary)
    finally:
        run.finish()
    assert {name.split("/")[-1] for name in told if name.startswith("rankd")} == FIELDS | {"step"}
    assert abs(told["rankd/loss"] - watch.latest["loss"]) < 1e-6 and told["epoch"] == 1
    assert list((tmp_path / "wandb").glob("offline-run-*/*.wandb"))
