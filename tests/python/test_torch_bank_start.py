# SPDX-License-Identifier: Apache-2.0
"""Banks do no silent harm: they begin late, begin empty, and lists that learn nothing are
named."""
import warnings

import pytest
import torch
from torch.utils.checkpoint import checkpoint

import rankd
from rankd.torch import APLoss, RecallLoss, RetrievalLoss, restore_bank, save_bank
from rankd.torch.reach import LIST_STEPS, REACH_STEPS


def batch(seed=0, B=8, dim=16):
    make = torch.Generator().manual_seed(seed)
    return torch.randn(B, dim, generator=make).requires_grad_(), torch.randint(0, 3, (B,), generator=make)


def said(run, steps):
    """rankd's warnings during `steps` calls."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        for step in range(steps):
            run(step)
    return [str(w.message) for w in caught if "rankd: " in str(w.message)]


def test_the_bank_is_ranked_from_bank_start_on(client, bank):
    crit = RetrievalLoss("ap", bank=bank, bank_start=3, client=client)
    alone = RetrievalLoss("ap", client=client)
    for step in range(3):
        crit.eval()
        crit(*batch(9))
        assert crit.info.bank_items == 0  # evaluation ranks the same items as training
        crit.train()
        assert crit(*batch(step)).item() == alone(*batch(step)).item()
        assert (crit.info.bank_items, crit.info.bank_version_appended) == (0, step + 1)
    crit(*batch(3))
    assert crit.info.bank_items == 24 and client.banks.get(bank).items == 32


def test_its_count_of_steps_comes_with_the_state(client, bank):
    crit = RetrievalLoss("ap", bank=bank, bank_start=3, client=client)
    for step in range(2):
        crit(*batch(step))
    again = RetrievalLoss("ap", bank=bank, bank_start=3, client=client)
    again.load_state_dict(crit.state_dict())
    items = []
    for step in range(2, 5):
        again(*batch(step))
        items.append(again.info.bank_items)
    assert items == [0, 24, 32]


@pytest.mark.parametrize("reentrant", [True, False])
def test_a_recomputed_step_ranks_what_its_first_pass_ranked(client, bank, reentrant):
    crit, whole = RetrievalLoss("ap", bank=bank, bank_start=1, client=client), RetrievalLoss("ap", client=client)
    embeddings, labels = batch()
    checkpoint(crit, embeddings, labels, use_reentrant=reentrant).backward()  # recomputed when one step is behind it
    gradient, embeddings.grad = embeddings.grad, None
    whole(embeddings, labels).backward()
    assert torch.equal(gradient, embeddings.grad) and client.banks.get(bank).version == 1


def test_old_versions_are_left_out(client, bank):
    crit = RetrievalLoss("ap", bank=bank, bank_start=0, bank_max_age=2, client=client)
    items = []
    for step in range(5):
        crit(*batch(step))
        items.append(crit.info.bank_items)
    assert items == [0, 8, 16, 16, 16]


@pytest.mark.parametrize("options, sentence", [({"bank_start": -1}, "bank_start is -1"),
                                               ({"bank_start": 0.5}, "bank_start is 0.5"),
                                               ({"bank_max_age": -1}, "bank_max_age is -1"),
                                               ({"fresh": "yes"}, "fresh is 'yes'")])
def test_what_can_not_be_is_refused(client, options, sentence):
    with pytest.raises(ValueError, match=sentence):
        RetrievalLoss("ap", bank="any", client=client, **options)


def test_an_age_without_a_bank_is_refused_at_the_first_call(client):
    with pytest.raises(rankd.InvalidRequest, match="bank_max_age was 2, but parameter bank was not sent"):
        RetrievalLoss("ap", client=client, bank_max_age=2)(*batch())
    RetrievalLoss("ap", client=client, bank_max_age=0)(*batch())


def test_a_bank_of_a_former_run_is_told_once(client, bank):
    RetrievalLoss("ap", bank=bank, client=client)(*batch())
    crit = RetrievalLoss("ap", bank=bank, client=client)
    crit.eval()(*batch(1))
    crit.train()
    sentence, = said(lambda step: crit(*batch(step)), 3)
    assert f"bank '{bank}' holds 8 items at the first training step" in sentence and "fresh=True" in sentence
    assert client.banks.get(bank).items == 32
    taken = RetrievalLoss("ap", bank=bank, fresh=False, client=client)
    assert said(lambda step: taken(*batch(step)), 2) == []


def test_a_bank_that_is_not_empty_takes_a_batch_of_bfloat16(client, bank):
    """The first step asks how many rows a batch has."""
    for items in (8, 16):
        embeddings, labels = batch()
        RetrievalLoss("ap", bank=bank, fresh=False if items == 16 else None, client=client)(embeddings.to(torch.bfloat16),
            labels).backward()
        assert client.banks.get(bank).items == items


def test_with_fresh_a_run_begins_with_an_empty_bank(client, bank):
    RetrievalLoss("ap", bank=bank, client=client)(*batch())
    crit = RetrievalLoss("ap", bank=bank, bank_start=0, fresh=True, client=client)
    items = []

    def step(number):
        crit(*batch(number))
        items.append(crit.info.bank_items)

    assert said(step, 3) == [] and items == [0, 8, 16]


def test_a_run_that_goes_on_clears_nothing(mortal):
    import rankd

    with rankd.connect(mortal.url, retry_for=30) as client:
        client.banks.create("kept", dim=16, capacity=64)
        crit = RetrievalLoss("ap", bank="kept", fresh=True, bank_start=0, client=client)
        for step in range(2):
            crit(*batch(step))
        save_bank(crit)
        again = RetrievalLoss("ap", bank="kept", fresh=True, bank_start=0, client=client)
        again.load_state_dict(crit.state_dict())
        restore_bank(again)
        again(*batch(2))
        assert again.info.bank_items == 16


def test_an_empty_bank_is_not_spoken_of(client, bank):
    crit = RetrievalLoss("ap", bank=bank, client=client)
    assert said(lambda step: crit(*batch(step)), 3) == []


def classes(step, rare_every=2):
    """Scores [40, 3] of which the last class's only relevant item lies far below the others, and
    learns nothing."""
    make = torch.Generator().manual_seed(step)
    scores, targets = torch.randn(40, 3, generator=make), (torch.rand(40, 3, generator=make) < 0.3).long()
    targets[0, :2], targets[:, 2] = 1, 0
    scores[:, 2] += 50
    if step % rare_every == 0:
        targets[5, 2], scores[5, 2] = 1, -50
    return scores.requires_grad_(), targets


@pytest.mark.parametrize("options", [{}, {"interclass": 0.1}], ids=str)
def test_a_class_that_learns_nothing_is_named(client, options):
    crit = APLoss(margin=0.0, axis=0, client=client, **options)
    sentences = said(lambda step: crit(*classes(step)).backward(), 2 * LIST_STEPS - 2)
    assert sentences == []  # one valid step is missing
    sentence, = said(lambda step: crit(*classes(step)).backward(), 2 * LIST_STEPS)
    assert "list 2 (from 0; classes" in sentence and f"in {LIST_STEPS} training steps" in sentence
    assert said(lambda step: crit(*classes(step)).backward(), 2 * LIST_STEPS) == []
    assert torch.isfinite(crit(*classes(0)))


def test_a_class_that_learns_now_and_then_is_not_named(client):
    crit = RecallLoss(margin=0.0, axis=0, client=client)

    def step(number):
        scores, targets = classes(number, 1)
        if number % (LIST_STEPS - 1) == 7:
            scores = scores.detach()
            scores[5, 2] = scores[:, 2].max() - 1e-3  # within reach
            scores.requires_grad_()
        crit(scores, targets).backward()

    assert said(step, 3 * LIST_STEPS) == []


def test_rows_of_queries_have_no_names(client):
    crit = APLoss(margin=0.0, client=client)
    assert said(lambda step: crit(*(x.T if x.dtype == torch.long else x.T.detach().requires_grad_()
                                    for x in classes(step, 1))).backward(), LIST_STEPS + 5) == []


def far_apart():
    """Lists in which one irrelevant item can be passed, and a thousand others not."""
    scores = torch.cat([torch.full((4, 1000), 9.0), torch.full((4, 1), 0.001), torch.zeros(4, 300)], 1)
    targets = torch.cat([torch.zeros(4, 1001), torch.ones(4, 300)], 1)
    return scores.requires_grad_(), targets


def test_a_perturbation_that_reaches_nothing_is_told_once(client):
    crit = RecallLoss(margin=0.0, weight="identity", lambda_val=2e-3, lambda_units="rank", client=client)
    scores, targets = far_apart()
    scores.data[:, 1001] = 0.0009999  # one relevant item comes over the irrelevant one beside it
    assert said(lambda step: crit(scores, targets).backward(), REACH_STEPS - 1) == []
    assert 0 < crit.info.pairs_jumped < 0.01 and crit.info.lists_stalled == 0
    kept = RecallLoss(margin=0.0, weight="identity", lambda_val=2e-3, lambda_units="rank", client=client)
    kept.load_state_dict(crit.state_dict())
    for one in (crit, kept):
        sentence, = said(lambda step: one(scores, targets).backward(), REACH_STEPS)
        assert f"reaches next to nothing, for {REACH_STEPS} training steps" in sentence and "than 0.002" in sentence


def test_a_ranking_that_is_learnt_is_not_taken_for_one_out_of_reach(client):
    crit = APLoss(margin=0.0, client=client)
    scores, targets = far_apart()
    perfect = (targets * 20 - 10).requires_grad_()
    assert said(lambda step: crit(perfect, targets).backward(), REACH_STEPS + 5) == []
    assert crit.info.pairs_jumped == 0
