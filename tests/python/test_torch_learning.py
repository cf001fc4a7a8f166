# SPDX-License-Identifier: Apache-2.0
"""A training in which nothing can be learnt leads to a warning: once, with the reason and a
remedy."""
import warnings

import pytest
import torch

from rankd.integrations.metric_learning import RankingLoss
from rankd.torch import APLoss, DetectionAPLoss, RecallLoss, RetrievalLoss
from rankd.torch.learning import STEPS


def said(run, steps=STEPS):
    """rankd's warnings during `steps` calls."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        for step in range(steps):
            run(step)
    ours = [w for w in caught if "rankd" in str(w.message)]
    assert all(w.category is RuntimeWarning and w.filename == __file__ for w in ours)  # the script's line, not one of torch's
    return [str(w.message) for w in ours]


def scores(seed=0, Q=4, N=12):
    return torch.randn(Q, N, generator=torch.Generator().manual_seed(seed)).requires_grad_()


def signs(seed=0, Q=4, N=12):
    return torch.randint(0, 2, (Q, N), generator=torch.Generator().manual_seed(seed)) * 2 - 1


@pytest.mark.parametrize("kind", [APLoss, RecallLoss])
@pytest.mark.parametrize("axis", [0, 1])
def test_labels_of_minus_and_plus_one_are_told(client, kind, axis):
    crit = kind(margin=0.1, axis=axis, client=client)
    sentence, = said(lambda step: crit(scores(step), signs(step)).backward(), 3 * STEPS)
    assert f"for {STEPS} training steps" in sentence and "labels of -1 and +1 must become 0 and 1" in sentence
    assert crit(scores(1), signs(1)).item() == 0  # so the training seems perfect
    again = kind(margin=0.1, axis=axis, client=client)
    assert said(lambda step: again(scores(step), (signs(step) > 0).long()).backward()) == []


def test_targets_without_a_relevant_item_are_told(client):
    crit = APLoss(margin=0.1, client=client)
    sentence, = said(lambda step: crit(scores(step), torch.zeros(4, 12)).backward(), 3 * STEPS)
    assert "no list had a relevant item" in sentence and "axis=1" in sentence


def test_lists_that_are_all_relevant_or_have_no_relevant_item_are_told(client):
    """No list has items of both kinds, although the batch has: rows that should be columns."""
    targets = torch.zeros(4, 12)
    targets[1:3] = 1
    crit = APLoss(margin=0.1, client=client)
    sentence, = said(lambda step: crit(scores(step), targets).backward())
    assert "no list that had a relevant item had an irrelevant one too" in sentence
    # With interclass all of them are one list too, which may be learnt, and be perfect.
    flat = APLoss(margin=0.0, interclass=0.5, client=client)
    perfect = (targets * 10 + scores().detach()).requires_grad_()
    assert said(lambda step: flat(scores(step) if step < STEPS // 2 else perfect, targets).backward(), 3 * STEPS) == []
    assert flat(perfect, targets).item() == 0


def test_labels_that_never_occur_twice_are_told(client):
    crit = RetrievalLoss("ap", client=client)
    sentence, = said(lambda step: crit(scores(step), torch.arange(4) + 4 * step).backward(), 2 * STEPS)
    assert "no query had an item of its own label" in sentence and "several items of each label" in sentence


def test_labels_that_are_all_the_same_are_told(client, bank):
    crit = RetrievalLoss("ap", client=client)
    sentence, = said(lambda step: crit(scores(step), torch.zeros(4).long()).backward(), 2 * STEPS)
    assert "all items had one label" in sentence
    shards = RetrievalLoss("ap", client=client)
    refs = {"ref_emb": torch.randn(3, 12), "ref_labels": torch.zeros(3).long()}
    assert len(said(lambda step: shards(scores(step), torch.zeros(4).long(), **refs).backward())) == 1
    kept = RetrievalLoss("ap", bank_start=0, bank=bank, client=client)
    assert len(said(lambda step: kept(scores(step, N=16), torch.zeros(4).long()).backward(), STEPS + 1)) == 1


def test_batches_of_one_label_against_a_bank_of_others_are_healthy(client, bank):
    crit = RetrievalLoss("ap", bank_start=0, bank=bank, margin=0.0, client=client)
    corners = torch.eye(16)

    def step(number):
        label = number % 8
        crit(corners[label].repeat(4, 1).requires_grad_(), torch.full((4,), label)).backward()

    assert said(step, 3 * STEPS) == [] and crit.info.bank_items == 64  # perfect: not the same as nothing to learn


def test_an_avg_factor_of_0_where_there_are_lists_is_told(client):
    crit = APLoss(margin=0.1, margin_warmup=0, client=client)
    sentence, = said(lambda step: crit(scores(step), (signs(step) > 0).long(), avg_factor=0).backward(), 2 * STEPS)
    assert "avg_factor was 0" in sentence


def test_a_mixture_of_reasons_is_told_with_the_share_of_each(client):
    crit = APLoss(margin=0.1, client=client)
    sentence, = said(lambda step: crit(scores(step), torch.zeros(4, 12) if step % 4 else torch.ones(4, 12)).backward(), 2 * STEPS)
    assert f"in {STEPS * 3 // 4} steps no list had a relevant item" in sentence
    assert f"in {STEPS // 4} steps no list that had a relevant item had an irrelevant one" in sentence


@pytest.mark.parametrize("kind", ["perfect", "now and then", "evaluated", "no gradient", "not remembering"])
def test_what_is_healthy_is_not_warned_of(client, kind):
    crit = APLoss(margin=0.0, client=client)
    targets = torch.zeros(1, 4, dtype=torch.long)
    best = torch.tensor([[4.0, 3.0, 2.0, 1.0]], requires_grad=True)
    targets[0, 0] = 1
    if kind == "evaluated":
        crit.eval()

    def step(number):
        if kind == "perfect":
            assert crit(best, targets).item() == 0
        elif kind == "now and then":
            crit(best, targets if number % STEPS == STEPS - 1 else torch.zeros_like(targets))
        elif kind == "no gradient":
            crit(best.detach(), torch.zeros_like(targets))
        elif kind == "not remembering":
            with crit.not_remembering():
                crit(best, torch.zeros_like(targets))
        else:
            crit(best, torch.zeros_like(targets))

    assert said(step, 4 * STEPS) == []


def test_each_loss_warns_for_itself_and_the_count_goes_on_from_a_state(client):
    crit = APLoss(margin=0.1, client=client)
    assert said(lambda step: crit(scores(step), signs(step)), STEPS - 5) == []
    other = APLoss(margin=0.1, client=client)
    other.load_state_dict(crit.state_dict())
    assert said(lambda step: other(scores(step), signs(step)), 4) == []
    assert len(said(lambda step: other(scores(step), signs(step)), 1)) == 1
    assert len(said(lambda step: crit(scores(step), signs(step)), 5)) == 1


def test_a_stalled_training_is_told_once_and_by_its_cause(client):
    """Not by the reach of the perturbation too, whose remedy helps nothing where the margin is too
    wide."""
    for settings, cause, other in (({"margin": 100.0}, "closer together than the margin (100)", "no margin"),
                                   ({"margin": 0.0, "lambda_val": 1e-9}, "no margin that could be too wide: use a larger "
                                                                         "lambda_val",
                                    "closer together")):
        crit = APLoss(**settings, margin_warmup=0, client=client)
        sentence, = said(lambda step: crit(scores(step), (signs(step) > 0).long()).backward(), 60)
        assert cause in sentence and other not in sentence


def test_a_detector_and_an_adapter_are_told_in_their_own_words(client):
    head = DetectionAPLoss(classes=3, points=4, batches=0, client=client)
    sentence, = said(lambda step: head(scores(step, 4, 3), torch.zeros(4, 3)).backward())
    assert "no class had an object" in sentence and "axis=1" not in sentence
    head = DetectionAPLoss(classes=3, points=4, batches=0, interclass=0, client=client)
    sentence, = said(lambda step: head(scores(step, 4, 3), torch.ones(4, 3)).backward())
    assert "no class that had an object had a place without one" in sentence
    crit = RankingLoss("ap", client=client)
    sentence, = said(lambda step: crit(scores(step, 4, 3), torch.arange(4)).backward())
    assert "no query had an item of its own label to find" in sentence and "targets" not in sentence.lower()


def test_a_loss_that_is_switched_off_by_its_weight_is_not_told(client):
    crit = APLoss(margin=0.0, loss_weight=0, client=client)
    assert said(lambda step: crit(scores(step), (signs(step) > 0).long()).backward()) == []
    head = DetectionAPLoss(classes=3, points=4, batches=0, loss_weight=0, client=client)
    assert said(lambda step: head(scores(step, 4, 3), (signs(step, 4, 3) > 0).long(), 1.0).backward()) == []
