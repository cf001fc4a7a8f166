# SPDX-License-Identifier: Apache-2.0
"""DetectionAPLoss against APLoss over hand-made rows, and Calibration against the distribution of
its data."""
import gc

import numpy as np
import pytest
import torch

import rankd
import rankd.torch

CLASSES = 3


def batch(seed, images=4, places=10, ignored=0):
    draw = torch.Generator().manual_seed(seed)
    logits = torch.randn(images, places, CLASSES, generator=draw).requires_grad_()
    targets = (torch.rand(images, places, CLASSES, generator=draw) < 0.2).long()
    targets[0, :ignored] = -1
    return logits, targets


def detection(client, **options):
    return rankd.torch.DetectionAPLoss(client=client, **{"classes": CLASSES, "points": 40, "batches": 0, "margin": 0.0,
                                                             "margin_warmup": 0, **options})


def plain(client, **options):
    return rankd.torch.APLoss(client=client, axis=0, margin=0.0, **{"gradient_scale": "unit", **options})


@pytest.mark.parametrize("interclass", [0.0, 0.3])
def test_is_ap_over_the_rows_that_are_there(client, interclass):
    logits, targets = batch(1, ignored=7)
    value = detection(client, interclass=interclass)(logits, targets)
    value.backward()
    rows = logits.detach().flatten(0, 1)[7:].requires_grad_()
    wanted = plain(client, interclass=interclass)(rows, targets.flatten(0, 1)[7:])
    wanted.backward()
    assert value.item() == wanted.item()
    assert torch.equal(logits.grad.flatten(0, 1)[7:], rows.grad)
    assert not logits.grad.flatten(0, 1)[:7].any()


@pytest.mark.parametrize("dtype", [torch.bool, torch.int8, torch.int64, torch.float16, torch.float64])
def test_targets_of_any_type(client, dtype):
    logits, targets = batch(2)
    crit = detection(client)
    assert crit(logits, targets.to(dtype)).item() == crit(logits, targets).item()


def test_every_place_ignored_is_a_loss_of_0(client):
    logits, _ = batch(3)
    value = detection(client)(logits, torch.full(logits.shape, -1))
    value.backward()
    assert value.item() == 0 and not logits.grad.any()


def test_avg_factor_divides_the_classes_and_not_the_flat_part(client):
    """Against the two parts, each asked for by itself."""
    logits, targets = batch(4)
    share, divisor, weight = 0.3, 5.0, 2.0
    value = detection(client, interclass=share, loss_weight=weight)(logits, targets, avg_factor=divisor)
    value.backward()
    one, other = (logits.detach().clone().requires_grad_() for _ in range(2))
    lists = plain(client, average="sum")(one.flatten(0, 1), targets.flatten(0, 1))
    flat = rankd.torch.APLoss(client=client, margin=0.0, gradient_scale="unit")(other.reshape(1, -1), targets.reshape(1, -1))
    wanted = weight * ((1 - share) * lists / divisor + share * flat)
    wanted.backward()
    assert value.item() == pytest.approx(wanted.item(), rel=1e-6)
    assert torch.allclose(logits.grad, one.grad + other.grad, atol=1e-7)


def test_interclass_begins_when_it_is_told_to(client):
    logits, targets = batch(5)
    crit, without = detection(client, interclass=0.5, interclass_start=2), detection(client, interclass=0.0).eval()
    at_once = detection(client, interclass=0.5).eval()
    values = [crit(logits, targets).item() for _ in range(4)]
    assert values[:2] == [without(logits, targets).item()] * 2
    assert values[2:] == [at_once(logits, targets).item()] * 2


def test_loss_of_each_class(client):
    logits, targets = batch(6)
    targets[..., 1] = 0
    crit = detection(client, interclass=0.0)
    value = crit(logits, targets).item()
    each = crit.info.list_loss
    assert each.shape == (CLASSES,) and np.isnan(each[1]) and not np.isnan(each[[0, 2]]).any()
    assert value == pytest.approx(each[[0, 2]].mean(), rel=1e-6)


def test_own_bank_begins_empty_counts_batches_and_goes_with_the_loss(client):
    crit = detection(client, batches=2, bank_start=2)
    before = {bank.name for bank in client.banks.list()}
    seen = []
    for step in range(6):
        logits, targets = batch(10 + step, ignored=5)
        crit(logits, targets).backward()
        seen.append(crit.info.bank_items)
    assert seen == [None, None, 0, 35, 70, 80]
    crit.eval()
    crit(logits, targets)
    assert crit.info.bank_items == 80 and client.banks.get(crit.bank).items == 80
    assert {bank.name for bank in client.banks.list()} - before == {crit.bank}
    del crit
    gc.collect()
    assert {bank.name for bank in client.banks.list()} == before


def test_two_losses_do_not_share_a_bank(client):
    one, other = (detection(client, batches=2, bank_start=0) for _ in range(2))
    logits, targets = batch(20)
    one(logits, targets).backward()
    other(logits, targets).backward()
    assert other.info.bank_items == 0 and one.bank != other.bank


def test_a_batch_larger_than_the_bank_leaves_its_last_rows(client):
    crit = detection(client, points=8, batches=2, bank_start=0, interclass=0.0)
    logits, targets = batch(30)
    crit(logits, targets).backward()
    assert crit.info.bank_items == 0 and client.banks.get(crit.bank).items == 16
    logits2, targets2 = batch(31, images=1, places=6)
    value = crit(logits2, targets2).item()
    rows, wanted = (torch.cat([new.detach().flatten(0, 1), old.detach().flatten(0, 1)[-16:]])
                    for new, old in ((logits2, logits), (targets2, targets)))
    assert value == pytest.approx(plain(client)(rows, wanted).item(), rel=1e-6)


def test_named_bank_is_shared(client):
    one, other = (detection(client, batches=2, bank_start=0, bank="detection-shared", fresh=False) for _ in range(2))
    logits, targets = batch(40)
    one(logits, targets).backward()
    other(logits, targets).backward()
    assert other.info.bank_items == 40
    client.banks.delete("detection-shared")


@pytest.mark.parametrize("images", [2, 20])  # of ten rows: fewer and more than the bank has room for
def test_a_fresh_loss_clears_a_named_bank(client, images):
    old = detection(client, batches=2, bank_start=0, bank="detection-fresh", fresh=False)
    old(*batch(40)).backward()
    new = detection(client, batches=2, bank_start=0, bank="detection-fresh", fresh=True)
    new(*batch(1, images)).backward()
    assert new.info.bank_items == 0 and client.banks.get("detection-fresh").items == min(10 * images, new.capacity)
    client.banks.delete("detection-fresh")


@pytest.mark.parametrize("change, words", [
    ({"classes": 0}, "classes is 0"), ({"points": 2.5}, "points is 2.5"), ({"batches": -1}, "batches is -1"),
    ({"bank_start": True}, "bank_start is True"), ({"interclass": 1.5}, "interclass is 1.5"),
    ({"bank": "x", "batches": 0}, "batches is 0")])
def test_bad_settings_are_named(client, change, words):
    with pytest.raises(ValueError, match=words):
        detection(client, **change)


@pytest.mark.parametrize("logits, targets, words", [
    (torch.zeros(4, 2), torch.zeros(4, 2), "last axis is the classes"), (torch.zeros(4, 3), torch.zeros(5, 3), "of one shape"),
    (torch.zeros(4, 3), torch.full((4, 3), 2), "is 2; it may be 1"),
    (torch.zeros(4, 3), torch.full((4, 3), 0.5), "other values"), (torch.zeros(4, 3), torch.full((4, 3), 257), "other values")])
def test_bad_input_is_named(client, logits, targets, words):
    with pytest.raises((ValueError, rankd.InvalidRequest), match=words):
        detection(client)(logits, targets)


def test_calibration_finds_the_law_and_keeps_the_order():
    draw = torch.Generator().manual_seed(1)
    spread = torch.tensor([0.01, 1.0, 30.0])
    logits = torch.randn(20_000, 3, generator=draw) * spread
    targets = (torch.rand(20_000, 3, generator=draw) < (2 * logits / spread - 3).sigmoid()).int()
    calibration = rankd.torch.Calibration(3).fit(logits, targets)
    assert torch.allclose(calibration.scale * spread, torch.full((3,), 2.0), rtol=0.1)
    assert torch.allclose(calibration.shift, torch.full((3,), -3.0), rtol=0.1)
    assert bool((calibration(logits.sort(dim=0).values).diff(dim=0) >= 0).all())
    assert torch.allclose(calibration(logits).sigmoid().mean(0), targets.float().mean(0), atol=1e-3)


def test_calibration_of_classes_that_say_little():
    apart = torch.tensor([[-1.0], [-2.0], [3.0], [4.0]])
    relevant = torch.tensor([[0], [0], [1], [1]])
    assert rankd.torch.Calibration(1).fit(apart, relevant)(apart).isfinite().all()
    assert 0 < rankd.torch.Calibration(1).fit(-apart, relevant).scale.item() < 1e-3  # an order is never reversed
    kept = rankd.torch.Calibration(1).fit(apart, torch.zeros(4, 1))
    assert kept.scale.item() == 1 and kept.shift.item() == 0
    ignored = torch.cat([relevant, torch.tensor([[-1]])])
    wide = torch.cat([apart, torch.tensor([[-100.0]])])
    assert torch.equal(rankd.torch.Calibration(1).fit(wide, ignored)(apart),
                       rankd.torch.Calibration(1).fit(apart, relevant)(apart))
