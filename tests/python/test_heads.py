# SPDX-License-Identifier: Apache-2.0
"""rankd.integrations.detection: mmdetection's interface of criteria, by a test double of its
registry and of the way its dense heads call a criterion (its compiled part does not build here),
and targets for torchvision's heads."""
import numpy as np
import pytest
import torch
from oracle import batch
from torch import nn

import rankd.torch
from rankd.integrations import detection
from rankd.integrations.detection import RankDetectionLoss

PLAIN = {"margin": 0.0, "margin_warmup": 0, "batches": 0, "interclass": 0.0, "points": 100}


class Registry:
    """Test double of mmengine's Registry: modules by name, built from dicts with a `type`."""

    def __init__(self):
        self.modules = {}

    def get(self, name):
        return self.modules.get(name)

    def register_module(self, name=None, force=False, module=None):
        name = name or module.__name__
        assert force or name not in self.modules, f"{name} is already registered"
        self.modules[name] = module

    def build(self, config):
        arguments = dict(config)
        return self.modules[arguments.pop("type")](**arguments)


class DenseHead(nn.Module):
    """Test double of an anchor head of mmdetection 3: it builds its criterion from a config and
    calls it for each level with labels, label weights and avg_factor; the class after the last is
    the background."""

    def __init__(self, models, classes, loss_cls):
        super().__init__()
        self.use_sigmoid_cls = loss_cls.get("use_sigmoid", False)
        assert self.use_sigmoid_cls
        self.classes, self.conv, self.loss_cls = classes, nn.Conv2d(4, classes, 1), models.build(loss_cls)

    def losses(self, features, labels, label_weights, avg_factor):
        scores = [self.conv(f).permute(0, 2, 3, 1).reshape(-1, self.classes) for f in features]
        return [self.loss_cls(s, l.reshape(-1), w.reshape(-1), avg_factor=avg_factor)
                for s, l, w in zip(scores, labels, label_weights)]


@pytest.fixture
def make(client):
    return lambda classes=3, **settings: RankDetectionLoss(classes, client=client, **{**PLAIN, **settings})


def anchors(size=60, classes=3, seed=0):
    """Logits, labels (most of them background) and weights of 0 and 1."""
    torch.manual_seed(seed)
    labels = torch.where(torch.rand(size) < 0.3, torch.randint(0, classes, (size,)), torch.full((size,), classes))
    return torch.randn(size, classes, requires_grad=True), labels, (torch.rand(size) < 0.8).float()


def by_positives(logits, labels, weights, classes=3, scale="unit"):
    """Sum over classes of P times the loss of the class, its gradient, and the number of
    positives."""
    targets = (labels[:, None] == torch.arange(classes)).long()
    targets[weights == 0] = -1
    total, gradient = 0.0, np.zeros(targets.shape)
    for c in range(classes):
        loss, part, *_ = batch("ap", logits.detach().numpy()[:, c][None], targets.numpy()[:, c][None], average="sum", scale=scale)
        positives = int((targets[:, c] == 1).sum())
        total, gradient[:, c] = total + positives * loss, positives * part[0]
    return total, gradient, int((targets == 1).sum())


def test_mean_divides_by_the_positives_and_ignored_anchors_are_not_there(make):
    logits, labels, weights = anchors()
    total, gradient, positives = by_positives(logits, labels, weights)
    value = make(loss_weight=2.0)(logits, labels, weights)
    value.backward()
    assert value.item() == pytest.approx(2 * total / positives, rel=1e-5)
    np.testing.assert_allclose(logits.grad.numpy(), 2 * gradient / positives, atol=1e-6)


def test_avg_factor_and_reduction_override(make):
    logits, labels, weights = anchors()
    total, gradient, _ = by_positives(logits, labels, weights)
    assert make()(logits, labels, weights, avg_factor=torch.tensor(7.0)).item() == pytest.approx(total / 7, rel=1e-5)
    value = make()(logits, labels, weights, reduction_override="sum")
    value.backward()
    assert value.item() == pytest.approx(total, rel=1e-5)
    np.testing.assert_allclose(logits.grad.numpy(), gradient, atol=1e-5)
    assert make(reduction="sum")(logits, labels, weights, reduction_override="mean").item() < total


def test_interclass_is_not_divided(make):
    logits, labels, weights = anchors()
    total, _, _ = by_positives(logits, labels, weights)
    targets = detection.targets_from_labels(labels, 3, weights)
    there = (targets != -1).any(1)
    flat, *_ = batch("ap", logits.detach().numpy()[there.numpy()].reshape(1, -1), targets[there].numpy().reshape(1, -1))
    value = make(interclass=0.25)(logits, labels, weights, avg_factor=10)
    assert value.item() == pytest.approx(0.75 * total / 10 + 0.25 * flat, rel=1e-5)


def test_a_batch_without_an_object_is_a_loss_of_zero(make):
    logits, labels, weights = anchors()
    value = make()(logits, torch.full_like(labels, 3), weights)
    value.backward()
    assert value.item() == 0 and not logits.grad.any()
    assert make()(torch.zeros(0, 3, requires_grad=True), torch.zeros(0, dtype=torch.int64)).item() == 0


def test_a_head_trains_with_it_by_its_config_and_keeps_a_bank(client, monkeypatch):
    monkeypatch.setenv("RANKD_URL", client.transport.url)
    models = Registry()
    detection.register(models)
    detection.register(models)  # a config that is read twice
    torch.manual_seed(0)
    head = DenseHead(models, 3, {"type": "RankDetectionLoss", "classes": 3, "points": 128, "use_sigmoid": True,
                                 "margin_warmup": 0, "bank_start": 0, "margin": 0.1, "loss_weight": 1.0})
    labels = torch.where(torch.rand(2, 8, 8) < 0.2, torch.randint(0, 3, (2, 8, 8)), torch.full((2, 8, 8), 3))
    feature = 0.7 * torch.randn(2, 4, 8, 8) + 3 * nn.functional.one_hot(labels, 4).permute(0, 3, 1, 2)
    optimizer, values = torch.optim.Adam(head.parameters(), lr=0.1), []
    for _ in range(15):
        loss = sum(head.losses([feature], [labels], [torch.ones_like(labels)], avg_factor=float((labels < 3).sum())))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        values.append(loss.item())
    assert values[-1] < 0.7 * values[0]
    assert head.loss_cls.info.bank_items > 0 and "loss_cls.rank._extra_state" in head.state_dict()


def test_targets_of_torchvisions_retinanet():
    images = [{"labels": torch.tensor([2, 0])}, {"labels": torch.zeros(0, dtype=torch.int64)}]
    found = detection.targets_from_matches(images, [torch.tensor([0, 1, -1, -2]), torch.tensor([-1, -2, -1, -1])], 3)
    assert found.tolist() == [[[0, 0, 1], [1, 0, 0], [0, 0, 0], [-1, -1, -1]], [[0, 0, 0], [-1, -1, -1], [0, 0, 0], [0, 0, 0]]]
    with pytest.raises(ValueError, match="^matched_idxs holds 2; the image has 2 objects"):
        detection.targets_from_matches(images[:1], [torch.tensor([2])], 3)
    with pytest.raises(ValueError, match="^targets are 2 images and matched_idxs 1"):
        detection.targets_from_matches(images, [torch.tensor([0])], 3)


def test_a_retinanet_of_torchvision_trains_with_it(client):
    from torchvision.models.detection.anchor_utils import AnchorGenerator
    from torchvision.models.detection.retinanet import RetinaNet

    torch.manual_seed(0)
    backbone = nn.Sequential(nn.Conv2d(3, 8, 3, stride=16), nn.ReLU())
    backbone.out_channels = 8
    model = RetinaNet(backbone, num_classes=2, anchor_generator=AnchorGenerator(((16, 32),), ((1.0,),)), min_size=64, max_size=64)
    ranking, asked = rankd.torch.DetectionAPLoss(classes=2, points=64, batches=0, margin=0.0, margin_warmup=0, client=client), []

    def compute_loss(targets, head_outputs, matched_idxs):
        asked.append((head_outputs["cls_logits"].detach(), detection.targets_from_matches(targets, matched_idxs, 2)))
        return ranking(head_outputs["cls_logits"], asked[-1][1])

    model.head.classification_head.compute_loss = compute_loss
    objects = [{"boxes": torch.tensor([[8.0, 8.0, 30.0, 30.0]]), "labels": torch.tensor([label])} for label in (0, 1)]
    value = model([torch.rand(3, 64, 64) for _ in range(2)], objects)["classification"]
    value.backward()
    logits, targets = (x.flatten(0, 1).numpy() for x in asked[0])
    assert (targets == 1).any(0).all() and (targets == -1).any()
    classes, _, each, *_ = batch("ap", logits, targets, axis=0)
    flat, *_ = batch("ap", logits.reshape(1, -1), targets.reshape(1, -1))
    assert value.item() == pytest.approx(0.9 * classes + 0.1 * flat, rel=1e-5)
    assert model.head.classification_head.cls_logits.weight.grad.abs().sum() > 0


def test_scores_of_torchvisions_roi_heads_are_the_order_at_inference():
    logits = torch.randn(5, 4, requires_grad=True)
    scores, targets = detection.roi_scores(logits, [torch.tensor([0, 3]), torch.tensor([1, -1, 2])])
    assert targets.tolist() == [[0, 0, 0], [0, 0, 1], [1, 0, 0], [-1, -1, -1], [0, 1, 0]]
    assert torch.equal(scores.argsort(0), logits.softmax(1)[:, 1:].argsort(0)) and scores.requires_grad
    with pytest.raises(ValueError, match=r"^class_logits are \[5, 4\] and labels 2"):
        detection.roi_scores(logits, [torch.tensor([0, 3])])


@pytest.mark.parametrize("settings, sentence", [
    ({"use_sigmoid": False}, "^use_sigmoid is False; it must be True"),
    ({"reduction": "none"}, "^reduction is 'none'; it may be 'mean' or 'sum'"),
    ({"average": "micro"}, "^average is given")])
def test_settings_that_cannot_be_honoured_are_refused(make, settings, sentence):
    with pytest.raises((ValueError, TypeError), match=sentence):
        make(**settings)


@pytest.mark.parametrize("change, sentence", [
    ({"reduction_override": "none"}, "^reduction_override is 'none'"),
    ({"reduction_override": "sum", "avg_factor": 3}, "^avg_factor is given and the reduction is 'sum'"),
    ({"weight": torch.full((60,), 0.5)}, "^weight holds 0.5; it may be 1, or 0"),
    ({"weight": torch.ones(7)}, r"^weight is \[7\]; it must be \[60\] or \[60, 3\]"),
    ({"target": (torch.zeros(60), torch.zeros(60))}, "^target is a tuple, as for a quality focal loss"),
    ({"target": torch.full((60,), 4)}, "^target holds 4 to 4; labels are 0 to 2, 3 for the background"),
    ({"target": torch.full((60, 3), 0.5)}, "^target holds other values than 1, 0 and -1"),
    ({"target": torch.zeros(60)}, r"^target is \[60\] of torch.float32"),
    ({"pred": torch.zeros(60, 4)}, r"^pred is \[60, 4\] and target \[60\]; pred must be \[N, 3\]")])
def test_calls_that_cannot_be_honoured_are_refused(make, change, sentence):
    logits, labels, weights = anchors()
    with pytest.raises((ValueError, TypeError), match=sentence):
        make()(**{"pred": logits, "target": labels, "weight": weights, **change})


def test_the_loss_of_the_package_takes_a_weight_for_each_class(client):
    logits, labels, _ = anchors()
    targets = detection.targets_from_labels(labels, 3)
    settings = {"classes": 3, "points": 100, "margin": 0.0, "margin_warmup": 0, "batches": 0, "interclass": 0.0, "client": client}
    one = rankd.torch.DetectionAPLoss(**settings)(logits, targets, list_weight=torch.tensor([0.0, 1.0, 0.0]))
    alone, *_ = batch("ap", logits.detach().numpy()[:, 1][None], targets.numpy()[:, 1][None])
    assert one.item() == pytest.approx(alone, rel=1e-5)
