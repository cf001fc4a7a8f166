# SPDX-License-Identifier: Apache-2.0
"""Detectors of the real torchvision whose classification is ranked: RetinaNet, FCOS, and the RoI
heads of Faster R-CNN."""
import torch
from torchvision.models.detection import FCOS, FasterRCNN, RetinaNet, roi_heads
from torchvision.models.detection.anchor_utils import AnchorGenerator

from bad_uses import refused
from rankd.integrations.detection import RankDetectionLoss, roi_scores, targets_from_matches
from rankd.torch import DetectionAPLoss

SIZE = {"min_size": 64, "max_size": 64}


def backbone():
    torch.manual_seed(0)
    made = torch.nn.Sequential(torch.nn.Conv2d(3, 32, 7, stride=8, padding=3), torch.nn.ReLU(),
                               torch.nn.Conv2d(32, 32, 3, padding=1), torch.nn.ReLU())
    made.out_channels = 32
    return made


def lively(head):
    """Larger weights: with torchvision's small ones a head of so few channels has almost constant
    outputs."""
    for part in head.modules():
        if isinstance(part, torch.nn.Conv2d):
            torch.nn.init.kaiming_normal_(part.weight)


def scenes():
    """Bright squares: red ones are class 1, blue ones class 2."""
    images, targets = [], []
    for at, (label, x, y) in enumerate([(1, 8, 8), (2, 32, 24), (1, 30, 6), (2, 8, 30)]):
        image = torch.zeros(3, 64, 64)
        image[0 if label == 1 else 2, y:y + 24, x:x + 24] = 1.0
        images.append(image)
        targets.append({"boxes": torch.tensor([[x, y, x + 24.0, y + 24.0]]), "labels": torch.tensor([label])})
    return images, targets


def train(model, steps, part):
    images, targets = scenes()
    optimizer, told = torch.optim.Adam(model.parameters(), lr=2e-3), []
    model.train()
    for _ in range(steps):
        losses = model(images, targets)
        optimizer.zero_grad()
        sum(losses.values()).backward()
        optimizer.step()
        told.append(float(losses[part]))
    return told


def ranking(client, classes, **settings):
    return DetectionAPLoss(classes=classes, points=4 * 64, margin=0.2, margin_warmup=0, batches=0, client=client, **settings)


def test_retinanet(client):
    model = RetinaNet(backbone(), num_classes=3, anchor_generator=AnchorGenerator(((24,),), ((1.0,),)), **SIZE)
    lively(model.head.classification_head)
    crit = ranking(client, 3)
    model.head.classification_head.compute_loss = lambda targets, outputs, matched: crit(
        outputs["cls_logits"], targets_from_matches(targets, matched, 3))
    told = train(model, 40, "classification")
    assert min(told[-5:]) < 0.5 * told[0], told
    assert crit.info.lists == 3 and crit.info.list_loss[1] < 0.5


def test_fcos(client):
    """Its head has one compute_loss for all losses: the classification loss in its result is
    replaced."""
    model = FCOS(backbone(), num_classes=3, anchor_generator=AnchorGenerator(((8,),), ((1.0,),)), center_sampling_radius=1.5,
                 **SIZE)
    lively(model.head.classification_head)
    crit, head = ranking(client, 3), model.head
    plain = head.compute_loss

    def compute_loss(targets, outputs, anchors, matched):
        losses = plain(targets, outputs, anchors, matched)
        losses["classification"] = crit(outputs["cls_logits"], targets_from_matches(targets, matched, 3))
        return losses

    head.compute_loss = compute_loss
    told = train(model, 40, "classification")
    assert min(told[-5:]) < 0.5 * told[0], told


def test_roi_heads(client, monkeypatch):
    model = FasterRCNN(backbone(), num_classes=3, rpn_anchor_generator=AnchorGenerator(((24,),), ((1.0,),)),
                       box_batch_size_per_image=64, **SIZE)
    crit, plain, seen = ranking(client, 2, loss_weight=0.5), roi_heads.fastrcnn_loss, []

    def with_ranking(class_logits, box_regression, labels, regression_targets):
        classification, boxes = plain(class_logits, box_regression, labels, regression_targets)
        seen.append(float(ranked := crit(*roi_scores(class_logits, labels))))
        return classification + ranked, boxes

    monkeypatch.setattr(roi_heads, "fastrcnn_loss", with_ranking)
    train(model, 40, "loss_classifier")
    assert min(seen[-5:]) < 0.5 * max(seen[:5]), seen
    model.eval()
    with torch.no_grad():
        assert len(model(scenes()[0])) == 4


def test_wrong_uses_are_named(client):
    crit = RankDetectionLoss(classes=3, points=10, batches=0, client=client)
    logits, labels = torch.randn(6, 3), torch.tensor([0, 1, 2, 3, 3, -1])
    assert crit(logits, labels).item() >= 0
    # noqa: E731
    make = lambda **settings: RankDetectionLoss(**{"classes": 3, "points": 10, "batches": 0, "client": client, **settings})
    matches = [torch.tensor([0, -1, -2])]
    cases = [
        (lambda: make(use_sigmoid=False), "use_sigmoid is False"),
        (lambda: make(reduction="none"), "reduction is 'none'"),
        (lambda: make(average="micro"), "average is given"),
        (lambda: make(classes=0), "classes is 0"),
        (lambda: make(points=2.5), "points is 2.5"),
        (lambda: make(gamma=2.0), "gamma"),
        (lambda: crit(logits, labels, reduction_override="none"), "reduction_override is 'none'"),
        (lambda: crit(logits, labels, reduction_override="sum", avg_factor=3), "avg_factor is given and the reduction is 'sum'"),
        (lambda: crit(logits, labels + 1), r"target holds 0 to 4"),
        (lambda: crit(logits, (labels, logits[:, 0])), "target is a tuple"),
        (lambda: crit(logits[:, :2], labels), r"pred is \[6, 2\]"),
        (lambda: crit(logits, labels, weight=torch.full((6,), 0.5)), "weight holds 0.5"),
        (lambda: crit(logits, labels, weight=torch.ones(5)), r"weight is \[5\]"),
        (lambda: crit(logits, labels, avg_factor=-1), "avg_factor is -1"),
        (lambda: crit(logits, labels, avg_factor="many"), "avg_factor is 'many'"),
        (lambda: crit(logits.numpy(), labels), "pred is a ndarray"),
        (lambda: crit(logits, labels.float()), r"target is \[6\] of torch.float32"),
        (lambda: targets_from_matches([{"labels": torch.tensor([0])}], matches * 2, 3),
         "targets are 1 images and matched_idxs 2"),
        (lambda: targets_from_matches([{"labels": torch.tensor([5])}], matches, 3), r"labels?.* 5|holds"),
        (lambda: targets_from_matches([{"labels": torch.tensor([0])}], [torch.tensor([4])], 3), "matched_idxs holds 4"),
        (lambda: targets_from_matches([{"boxes": torch.zeros(1, 4)}], matches, 3), "targets.* 'labels'"),
        (lambda: roi_scores(torch.randn(4, 3), [torch.tensor([0, 1, 2])]), "class_logits are"),
        (lambda: roi_scores(torch.randn(3, 3), [torch.tensor([0, 1, 7])]), "labels"),
        (lambda: roi_scores(torch.randn(3, 3), torch.tensor([0, 1, 2])), "labels is a Tensor"),
    ]
    refused(cases)
