# SPDX-License-Identifier: Apache-2.0
"""The PyTorch modules with lists of different lengths, weights of lists, and a loss for each
list."""
import re

import lists_oracle
import numpy as np
import oracle
import pytest
import torch

import rankd.torch
from rankd.torch import APLoss, RecallLoss, RetrievalLoss, blackbox_rank, ranks

PLAIN = {"margin": 0.0, "margin_warmup": 0}


def draw(seed):
    """Tensors of random lists: flat scores that want a gradient, targets, offsets, weights."""
    rng = np.random.default_rng(seed)
    scores, targets, offsets, weight = lists_oracle.draw(rng)
    scores = np.nan_to_num(scores, nan=0.5, posinf=np.inf, neginf=-np.inf)
    return (torch.tensor(scores, requires_grad=True), torch.tensor(targets), torch.tensor(offsets), torch.tensor(weight))


def expected(scores, targets, offsets, weight=None, average="macro", model="ap"):
    lists = lists_oracle.cut(offsets.numpy(), scores.detach().numpy(), targets.numpy())
    return lists_oracle.batch(model, lists, None if weight is None else weight.numpy(), average)


def flat(pieces):
    return np.concatenate([*pieces, np.zeros(0)]).astype(np.float32)


def test_a_weight_that_requires_a_gradient_is_refused(client):
    weight, refused = torch.ones(3, requires_grad=True), pytest.raises(ValueError, match="weight requires a gradient")
    scores, targets = torch.randn(3, 5, requires_grad=True), torch.rand(3, 5) < 0.5
    crit, rank = APLoss(**PLAIN, client=client), RetrievalLoss("ap", client=client)
    with refused:
        crit(scores, targets, weight=weight)
    with refused:
        rank(scores, torch.arange(3) % 2, list_weight=weight)
    crit(scores, targets, weight=weight.detach()).backward()
    with torch.no_grad():
        crit(scores, targets, weight=weight)


@pytest.mark.parametrize("average", ["macro", "micro", "sum"])
def test_flat_lists_with_offsets_and_weights(client, average):
    for seed in range(12):
        scores, targets, offsets, weight = draw(seed)
        loss, pieces, *_ = expected(scores, targets, offsets, weight, average)
        got = APLoss(**PLAIN, average=average, client=client)(scores, targets, offsets=offsets, weight=weight)
        got.backward()
        assert got.shape == () and got.item() == pytest.approx(loss, rel=1e-6, abs=1e-7)
        np.testing.assert_allclose(scores.grad.numpy(), flat(pieces), rtol=1e-6)


def test_a_sequence_of_tensors_is_the_flat_one_with_offsets(client):
    scores, targets, offsets, _ = draw(3)
    crit = RecallLoss(**PLAIN, client=client)
    crit(scores, targets, offsets=offsets.tolist()).backward()
    pieces = [s.detach().clone().requires_grad_() for s in scores.tensor_split(offsets[1:-1])]
    crit(pieces, list(targets.tensor_split(offsets[1:-1]))).backward()
    assert torch.equal(torch.cat([p.grad if p.grad is not None else p.new_zeros(0) for p in pieces]), scores.grad)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.float16, torch.bfloat16])
def test_a_loss_for_each_list_takes_any_upstream(client, dtype):
    for seed in range(8):
        scores, targets, offsets, weight = draw(seed)
        scores = scores.detach().to(dtype).requires_grad_()
        plain = scores.detach().float()
        _, pieces, each, valid, _ = expected(plain, targets, offsets, weight, "sum")
        crit = APLoss(**PLAIN, reduction="none", loss_weight=2.0, client=client)
        losses = crit(scores, targets, offsets=offsets, list_weight=weight)
        upstream = torch.tensor(np.random.default_rng(seed).standard_normal(len(each)), dtype=losses.dtype)
        losses.backward(upstream)
        assert losses.dtype == (torch.float64 if dtype == torch.float64 else torch.float32)
        assert crit.valid.tolist() == (~np.isnan(each)).tolist() and crit.info.lists_valid == valid
        np.testing.assert_allclose(losses.detach().numpy(), 2 * np.nan_to_num(each) * weight.numpy(), rtol=1e-5)
        want = flat([2 * u * g for u, g in zip(upstream.numpy(), pieces)])
        np.testing.assert_allclose(scores.grad.float().numpy(), want,
                                   rtol={torch.float16: 1e-3, torch.bfloat16: 1e-2}.get(dtype, 1e-5), atol=1e-6)


@pytest.mark.parametrize("axis", [0, 1])
def test_a_loss_for_each_row_or_column(client, axis):
    rng = np.random.default_rng(axis)
    scores = torch.tensor(rng.standard_normal((6, 9)), dtype=torch.float32, requires_grad=True)
    targets = torch.tensor(rng.choice([-1, 0, 1], (6, 9)))
    crit = APLoss(**PLAIN, axis=axis, reduction="none", client=client)
    losses = crit(scores, targets)
    upstream = torch.tensor(rng.standard_normal(len(losses)), dtype=torch.float32)
    (losses * upstream).sum().backward()
    rows, labels = (scores, targets) if axis else (scores.T, targets.T)
    _, pieces, each, *_ = lists_oracle.batch("ap", list(zip(rows.detach().numpy(), labels.numpy())), None, "sum")
    np.testing.assert_allclose(losses.detach().numpy(), np.nan_to_num(each), rtol=1e-6)
    want = np.stack([u * g for u, g in zip(upstream.numpy(), pieces)])
    np.testing.assert_allclose(scores.grad.numpy(), want if axis else want.T, rtol=1e-5, atol=1e-7)
    with torch.no_grad():
        assert torch.equal(crit(scores, targets), losses)


def test_the_mean_of_the_valid_lists_losses_is_the_macro_loss(client):
    each, macro = APLoss(**PLAIN, reduction="none", client=client), APLoss(**PLAIN, client=client)
    mixed = 0
    for seed in range(10):
        scores, targets, offsets, _ = draw(seed)
        losses = each(scores, targets, offsets=offsets)
        if not each.valid.any():
            continue
        mixed += not each.valid.all()
        mean = losses[each.valid].mean()
        mean.backward()
        first, scores.grad = scores.grad, None
        loss = macro(scores, targets, offsets=offsets)
        loss.backward()
        assert mean.item() == pytest.approx(loss.item(), rel=1e-6)
        assert torch.allclose(first, scores.grad)
    assert mixed


def test_weights_of_queries(client):
    rng = np.random.default_rng(8)
    embeddings = torch.tensor(rng.standard_normal((12, 6)), dtype=torch.float32, requires_grad=True)
    labels, weight = torch.arange(12) % 3, torch.tensor(rng.random(12), dtype=torch.float32)
    crit = RetrievalLoss("ap", margin=0.1, margin_warmup=0, client=client)
    got = crit(embeddings, labels, list_weight=weight)
    got.backward()
    wire = client.loss("ap", embeddings=embeddings.detach().numpy(), labels=labels.numpy(), list_weight=weight.numpy(),
                       margin=0.1)
    assert got.item() == wire.loss
    assert np.array_equal(embeddings.grad.numpy(), wire.gradient)


def test_ranks_of_lists_and_their_gradient(client):
    scores, _, offsets, _ = draw(9)
    want = [r for s, in lists_oracle.cut(offsets.numpy(), scores.detach().numpy()) for r in oracle.ranks(s)]
    assert ranks(scores, offsets=offsets, client=client).tolist() == want
    assert ranks(list(scores.tensor_split(offsets[1:-1])), client=client).tolist() == want
    upstream = torch.tensor(np.random.default_rng(1).standard_normal(len(scores)), dtype=torch.float32)
    share = blackbox_rank(scores, offsets=offsets, lambda_val=0.5, client=client)
    share.backward(upstream)
    sizes = offsets.diff().repeat_interleave(offsets.diff())
    np.testing.assert_allclose(share.detach().numpy(), np.float32(want) / sizes.numpy(), rtol=1e-6)
    wire = client.rank_vjp(scores.detach().numpy(), upstream.numpy(), lambda_val=0.5, offsets=offsets.numpy())
    assert np.array_equal(scores.grad.numpy(), wire)


def test_no_list_and_lists_of_nothing_cost_nothing(client):
    crit = APLoss(**PLAIN, client=client)
    nothing = crit([], [])
    nothing.backward()
    assert nothing.item() == 0 and crit.info.lists == 0
    empty = torch.zeros(0, requires_grad=True)
    loss = crit(empty, torch.zeros(0, dtype=torch.int8), offsets=[0, 0, 0])
    loss.backward()
    assert loss.item() == 0 and crit.info.lists_skipped == 2 and empty.grad.shape == (0,)
    each = APLoss(**PLAIN, reduction="none", client=client)
    assert each(empty, torch.zeros(0, dtype=torch.int8), offsets=[0, 0, 0]).tolist() == [0, 0]


def test_a_nan_passes_where_it_may(client):
    crit = APLoss(**PLAIN, on_nan="propagate", reduction="none", client=client)
    scores = torch.tensor([1.0, float("nan"), 2.0], requires_grad=True)
    losses = crit(scores, torch.tensor([1, 0, 1]), offsets=[0, 2, 2, 3])
    losses.sum().backward()
    assert losses.shape == (3,) and losses.isnan().all() and scores.grad.isnan().all()


@pytest.mark.parametrize("arguments, error, sentence", [
    (dict(scores=[torch.zeros(2)], targets=torch.zeros(2)), TypeError, "targets is a Tensor; it must be a sequence of tensors, "
                                                                       "like scores"),
    (dict(scores=[torch.zeros(2)], targets=[torch.zeros(3)]), ValueError, "targets has 3 items in list 0, and not 2 like scores"),
    (dict(scores=[torch.zeros(2)], targets=[]), ValueError, "targets has 0 lists, and not 1 like scores"),
    (dict(scores=[torch.zeros(2, 2)], targets=[torch.zeros(2, 2)]), ValueError, "scores[0] has 2 dimensions; a list has one"),
    (dict(scores=[torch.zeros(2)], targets=[torch.zeros(2)], offsets=[0, 2]), TypeError, "offsets go with flat tensors"),
    (dict(scores=torch.zeros(2), targets=torch.zeros(2), offsets=[0, 1.5, 2]), TypeError, "offsets is of type torch.float32; it "
                                                                                          "must be"),
    (dict(scores=torch.zeros(2), targets=torch.zeros(2), offsets=torch.tensor([0.0, 2])), TypeError,
     "offsets is of type torch.float32"),
    (dict(scores=torch.zeros(2), targets=torch.zeros(2), offsets=[0, 3]), rankd.InvalidRequest,
     "it must be the number of scores, 2"),
    (dict(scores=torch.zeros(1, 2), targets=torch.zeros(1, 2), weight=torch.tensor([-1.0])), rankd.InvalidRequest,
     "weight[0] is -1"),
    (dict(scores=torch.zeros(1, 2), targets=torch.zeros(1, 2), weight=torch.ones(1), list_weight=torch.ones(1)), TypeError,
     "the same"),
], ids=str)
def test_what_is_wrong_is_named(client, arguments, error, sentence):
    with pytest.raises(error, match=re.escape(sentence)):
        APLoss(**PLAIN, client=client)(**arguments)


def test_settings_that_do_not_go_together_are_refused(client):
    for settings in ({"axis": 0}, {"interclass": 0.5}, {"bank": "x"}):
        with pytest.raises(ValueError, match="lists of different lengths"):
            APLoss(**PLAIN, client=client, **settings)(torch.zeros(2), torch.zeros(2), offsets=[0, 2])
    for settings in ({"average": "micro"}, {"interclass": 0.5}):
        with pytest.raises(ValueError, match="reduction='none' gives a loss for each list"):
            APLoss(**PLAIN, client=client, reduction="none", **settings)
    with pytest.raises(ValueError, match="reduction is 'mean'"):
        APLoss(**PLAIN, client=client, reduction="mean")
    with pytest.raises(TypeError, match="sums nothing"):
        APLoss(**PLAIN, client=client, reduction="none")(torch.zeros(1, 2), torch.zeros(1, 2), 4)
