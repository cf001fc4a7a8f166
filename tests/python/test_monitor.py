# SPDX-License-Identifier: Apache-2.0
"""rankd.torch.monitor, with test doubles of TensorBoard's SummaryWriter and of a W&B run; and the
repr of objects."""
import copy
import io

import pytest
import torch

import rankd.torch
from rankd.torch import APLoss, RetrievalLoss, monitor


class Writer:
    """Test double of a SummaryWriter."""

    def __init__(self):
        self.scalars = []

    def add_scalar(self, tag, value, step):
        self.scalars.append((tag, value, step))


class Run:
    """Test double of a W&B run."""

    def __init__(self):
        self.rows = []

    def log(self, data, step=None, commit=None):
        self.rows.append((data, step, commit))


def scores(seed=0):
    torch.manual_seed(seed)
    targets = (torch.rand(8, 20) < 0.2).long()
    targets[:2] = 0
    targets[2:, 0] = 1
    return torch.randn(8, 20, requires_grad=True), targets


def test_a_line_and_both_writers_every_some_training_steps(client):
    crit, lines, writer, run, values, shares, jumped = APLoss(margin=0.0, client=client), [], Writer(), Run(), [], [], []
    watch = monitor(crit, 2, to=[writer, run], line=lines.append, name="head")
    for step in range(4):
        x, targets = scores(step)
        value = crit(x, targets)
        value.backward()
        with torch.no_grad():
            crit(x, targets)  # no training step
        values.append(value.item())
        shares.append((x.grad == 0).float().mean().item())
    for step in range(4):
        jumped.append(client.loss("ap", *[t.detach().numpy() for t in scores(step)], margin=0.0).info.pairs_jumped)
    tags = dict((tag, (value, step)) for tag, value, step in writer.scalars[-len(writer.scalars) // 2:])
    assert tags["head/loss"] == (pytest.approx(sum(values[2:]) / 2), 4)
    assert tags["head/zero_gradient"][0] == pytest.approx(sum(shares[2:]) / 2, abs=1e-6)
    assert tags["head/skipped"][0] == 0.25 and tags["head/pairs_jumped"][0] == pytest.approx(sum(jumped[2:]) / 2)
    assert [row[0]["head/step"] for row in run.rows] == [2, 4] and all(row[1:] == (None, False) for row in run.rows)
    assert run.rows[1][0]["head/loss"] == tags["head/loss"][0] == watch.latest["loss"]
    assert len(lines) == 2 and lines[1].startswith("head step 4: loss 0.") and "skipped 25 %" in lines[1] and "bank" not in lines[1]
    watch.close()
    crit(*scores())
    crit(*scores())
    assert len(lines) == 2


def test_the_bank_and_a_loss_inside_of_a_module(client, bank, capsys):
    inner = RetrievalLoss("ap", bank=bank, bank_start=0, client=client)
    model = torch.nn.ModuleDict({"net": torch.nn.Linear(4, 16), "crit": inner})
    with monitor(model, 3) as watch:
        for step in range(6):
            inner(model["net"](torch.randn(16, 4)), torch.arange(16) % 4)
    assert watch.latest["bank_items"] == pytest.approx((48 + 64 + 64) / 3) and watch.latest["bank_age"] == pytest.approx(11 / 3)
    assert "bank age 4" in capsys.readouterr().out


def test_copies_of_a_watched_loss_are_not_watched(client):
    crit, lines = APLoss(margin=0.0, client=client), []
    monitor(crit, 1, to=Run(), line=lines.append)
    saved = io.BytesIO()
    torch.save(crit, saved)
    saved.seek(0)
    for copied in (copy.deepcopy(crit), torch.load(saved, weights_only=False)):
        copied(*scores())
    assert lines == []
    crit(*scores())
    assert len(lines) == 1


def test_only_one_loss_and_a_writer_that_writes(client):
    two = torch.nn.ModuleDict({"a": APLoss(margin=0.0, client=client), "b": APLoss(margin=0.0, client=client)})
    with pytest.raises(ValueError, match="^crit contains 2 losses of rankd: a, b; it must be one"):
        monitor(two)
    with pytest.raises(ValueError, match="^crit contains 0 losses"):
        monitor(torch.nn.Linear(1, 1))
    with pytest.raises(TypeError, match="^crit is a int"):
        monitor(3)
    with pytest.raises(ValueError, match="^every is 0"):
        monitor(two["a"], 0)
    with pytest.raises(TypeError, match="^to is a str"):
        monitor(two["a"], to="runs/1")


def test_objects_say_what_they_are(client, bank):
    crit = RetrievalLoss("recall", weight="log", bank=bank, bank_start=0, gallery="references", client=client)
    assert repr(crit) == (f"RetrievalLoss('recall', lambda_val=1, margin=0.1, margin_warmup=100, average='macro', bank='{bank}', "
                          "gallery='references', normalize=True, weight='log', bank_start=0)")
    result = client.loss("ap", [[0.9, 0.8, 0.7, 0.6]], [[0, 1, 0, 1]], margin=0.0)
    assert repr(result).startswith("LossResult(loss=0.5, info=LossInfo(lists=1, lists_skipped=0, lists_stalled=0, "
                                   "gradient_nonzero=4")
    assert "gradient=float32[1, 4]" in repr(result) and "None" not in repr(result)
    state = client.banks.get(bank)
    assert repr(state).startswith(f"BankState(name='{bank}', kind='embeddings', dim=16, normalize=True, capacity=64,") and "raw" not in repr(state)
    assert "list()" in repr(client.banks) and repr(client) in repr(client.banks)
    assert rankd.torch.Monitor.__name__ in repr(monitor(crit, line=None))
