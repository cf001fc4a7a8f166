# SPDX-License-Identifier: Apache-2.0
"""Batches without an item, over both transports: an answer of their shape and a loss of 0, as the
oracle has it."""
import itertools
import os
import random

import numpy as np
import oracle
import pytest
import torch
from support import library

import rankd
from rankd.torch import APLoss, RecallLoss, RetrievalLoss, blackbox_rank

os.environ.setdefault("RANKD_LIBRARY", str(library()))


@pytest.fixture
def client(either):
    return either


def size(draw):
    return draw.choice([0, 0, 0, 1, 2, 3, 17, 300])


def shape(draw):
    """With a zero somewhere, mostly."""
    rows, columns = size(draw), size(draw)
    return (rows, columns) if rows * columns < 400 else (0, columns)


@pytest.mark.parametrize("seed", range(3))
def test_scores_of_any_shape_lose_what_the_oracle_says(client, seed):
    draw, rng = random.Random(seed), np.random.default_rng(seed)
    for _ in range(120):
        rows, columns = shape(draw)
        model, average, axis = draw.choice(["ap", "recall"]), draw.choice(["macro", "micro", "sum"]), draw.randrange(2)
        scores = rng.standard_normal((rows, columns)).astype(draw.choice([np.float32, np.float64, np.float16]))
        targets = rng.choice([-1, 0, 0, 1], (rows, columns)).astype(draw.choice([np.int8, np.int32, np.int64, np.float32]))
        loss, gradient, each, valid, stalled = oracle.batch(model, scores, targets, average, axis, margin=0.1)
        dense = client.loss(model, scores, targets, average=average, axis=axis, margin=0.1, list_loss=True)
        sparse = client.loss(model, scores, targets, average=average, axis=axis, margin=0.1, gradient="sparse")
        only = client.loss(model, scores, targets, average=average, axis=axis, margin=0.1, gradient=False)
        where = (model, average, axis, scores.shape, scores.dtype)
        assert dense.loss == pytest.approx(loss, rel=1e-6) and dense.loss == sparse.loss == only.loss, where
        assert dense.gradient.shape == scores.shape and dense.gradient.dtype == np.float32, where
        np.testing.assert_allclose(dense.gradient, gradient, rtol=1e-6, err_msg=str(where))
        lists = columns if axis == 0 else rows
        assert (dense.info.lists, dense.info.lists_valid, dense.info.lists_stalled) == (lists, valid, stalled), where
        np.testing.assert_allclose(dense.list_loss, each, rtol=1e-6, err_msg=str(where))
        assert sparse.gradient_indices.tolist() == np.flatnonzero(dense.gradient).tolist(), where
        assert sparse.gradient_values.tolist() == dense.gradient.ravel()[sparse.gradient_indices].tolist(), where


def test_interclass_of_nothing_is_nothing(client):
    for model, (rows, columns), axis, beta in itertools.product(["ap", "recall"], [(0, 4), (4, 0), (0, 0)], [0, 1], [0.5, 1.0]):
        empty = np.zeros((rows, columns), np.float32)
        result = client.loss(model, empty, empty, axis=axis, interclass=beta, list_loss=True)
        lists = columns if axis == 0 else rows
        assert result.loss == 0 and result.gradient.shape == (rows, columns) and result.info.lists_skipped == lists
        assert np.isnan(result.list_loss).all() and result.list_loss.shape == (lists,)


@pytest.mark.parametrize("seed", range(2))
def test_embeddings_and_references_of_any_number_are_ranked_as_the_oracle_has_it(client, seed):
    draw, rng = random.Random(seed), np.random.default_rng(seed)
    for _ in range(60):
        B, R, dim = draw.choice([0, 0, 1, 2, 9]), draw.choice([0, 0, 1, 7]), draw.choice([1, 3, 16])
        embeddings, refs = rng.standard_normal((B, dim)).astype(np.float32), rng.standard_normal((R, dim)).astype(np.float32)
        labels, ref_labels = rng.integers(-1, 3, B), rng.integers(-1, 3, R)
        ids = rng.integers(-1, 4, B) if draw.randrange(2) else None
        ref_ids = rng.integers(-1, 4, R) if draw.randrange(2) else None
        model, average = draw.choice(["ap", "recall"]), draw.choice(["macro", "micro", "sum"])
        loss, gradient, ref_gradient, valid = oracle.embeddings_batch(
            model, embeddings, labels, ids, refs, ref_labels, ref_ids, average=average)
        result = client.loss(model, embeddings=embeddings, labels=labels, ids=ids, ref_embeddings=refs, ref_labels=ref_labels,
                             ref_ids=ref_ids, average=average, list_loss=True)
        where = (model, average, B, R, dim)
        assert result.loss == pytest.approx(loss, rel=1e-5, abs=1e-7), where
        assert (result.info.lists, result.info.lists_valid) == (B, valid) and result.list_loss.shape == (B,), where
        assert result.gradient.shape == (B, dim) and result.ref_gradient.shape == (R, dim), where
        np.testing.assert_allclose(result.gradient, gradient, rtol=1e-4, atol=1e-6, err_msg=str(where))
        np.testing.assert_allclose(result.ref_gradient, ref_gradient, rtol=1e-4, atol=1e-6, err_msg=str(where))


def test_ranks_and_their_derivative_keep_the_shape(client):
    for empty in (np.zeros((0, 5), np.float32), np.zeros((5, 0), np.float16), np.zeros((0, 0))):
        ranks, gradient = client.rank(empty), client.rank_vjp(empty, empty)
        assert ranks.shape == empty.shape and ranks.dtype == np.int64
        assert gradient.shape == empty.shape and gradient.dtype == np.float32


def test_lists_that_are_empty_and_very_many_have_their_losses(client):
    result = client.loss("ap", np.zeros((100_000, 0), np.float32), np.zeros((100_000, 0), np.int8), list_loss=True)
    assert result.info.lists_skipped == 100_000 and np.isnan(result.list_loss).sum() == 100_000


def test_a_plain_empty_list_will_do_for_labels(client):
    result = client.loss("ap", embeddings=np.zeros((0, 4), np.float32), labels=[], ids=[], enqueue_mask=[])
    assert result.loss == 0 and result.gradient.shape == (0, 4)


def test_what_is_wrong_with_an_empty_batch_is_said(client):
    with pytest.raises(rankd.InvalidRequest, match=r"targets has shape \[0, 5\]; it must be that of scores, \[0, 4\]"):
        client.loss("ap", np.zeros((0, 4), np.float32), np.zeros((0, 5), np.int8))
    with pytest.raises(rankd.InvalidRequest, match="at least 1 dimension"):
        client.loss("ap", embeddings=np.zeros((3, 0), np.float32), labels=[1, 1, 2])
    with pytest.raises(rankd.InvalidRequest, match="input scores has 1 dimension"):
        client.loss("ap", np.zeros(0, np.float32), np.zeros(0, np.int8))


def bank_of(client, name, **config):
    client.banks.create(name, capacity=50, **config)
    return lambda: (lambda state: (state.items, state.version))(client.banks.get(name))


@pytest.mark.parametrize("durability", ["none", "interval", "always"])
def test_an_empty_batch_leaves_a_bank_as_it_is(client, durability):
    state = bank_of(client, "b", dim=3, durability=durability)
    client.loss("ap", embeddings=np.eye(3, dtype=np.float32), labels=[1, 1, 2], bank="b")
    first = client.loss("ap", embeddings=np.zeros((0, 3), np.float32), labels=[], bank="b")
    assert (first.loss, first.gradient.shape) == (0, (0, 3)) and state() == (3, 1)
    assert (first.info.bank_items, first.info.bank_version, first.info.bank_version_appended) == (3, 1, None)
    client.loss("ap", embeddings=np.eye(3, dtype=np.float32), labels=[1, 1, 2], bank="b")
    again = client.loss("ap", embeddings=np.zeros((0, 3), np.float32), labels=[], bank="b",
                        batch_id=first.batch_id)
    assert again.info == first.info and state() == (6, 2)  # as of the version that the first one read
    with pytest.raises(rankd.Conflict, match="used for another batch"):
        client.loss("ap", embeddings=np.eye(3, dtype=np.float32), labels=[1, 1, 2], bank="b",
                    batch_id=first.batch_id)
    assert state() == (6, 2)


@pytest.mark.parametrize("axis", [0, 1])
def test_an_empty_batch_leaves_a_bank_of_scores_as_it_is(client, axis):
    state = bank_of(client, "b", kind="scores", lists=4)
    full = np.random.default_rng(0).standard_normal((4, 6) if axis else (6, 4)).astype(np.float32)
    empty = np.zeros((4, 0) if axis else (0, 4), np.float32)
    client.loss("ap", full, full > 0, axis=axis, bank="b")
    result = client.loss("ap", empty, empty, axis=axis, bank="b", list_loss=True)
    assert result.loss == 0 and result.gradient.shape == empty.shape and state() == (6, 1)
    assert (result.info.lists, result.info.lists_skipped, result.info.bank_items, result.info.bank_version) == (4, 4, 6, 1)
    assert result.info.bank_version_appended is None and result.info.gradient_dropped == 0
    assert np.isnan(result.list_loss).all()


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16])
def test_a_rank_without_proposals_goes_on(client, dtype):
    """Its loss is 0 and part of the graph, so that backward() works and all-reduce has all of its
    ranks."""
    weights = torch.ones(5, 4, dtype=dtype, requires_grad=True)
    for crit in (APLoss(margin=0.1, client=client), RecallLoss(margin=0.1, axis=0, on_nan="propagate", client=client)):
        for avg_factor in (None, 7.0):
            scores = torch.zeros(0, 5, dtype=dtype) @ weights
            loss = crit(scores, torch.zeros(0, 4, dtype=torch.int8), avg_factor=avg_factor)
            loss.backward()
            assert loss.item() == 0 and weights.grad is not None and not weights.grad.any()
    assert crit.info.lists == 4 and crit.schedule.steps == 2


def test_a_rank_without_queries_gives_references_a_gradient_of_zero(client):
    crit = RetrievalLoss("ap", client=client)
    embeddings, refs = torch.zeros(0, 3, requires_grad=True), torch.eye(3, requires_grad=True)
    loss = crit(embeddings, torch.zeros(0, dtype=torch.int64), ref_emb=refs, ref_labels=torch.tensor([1, 1, 2]))
    loss.backward()
    assert loss.item() == 0 and embeddings.grad.shape == (0, 3) and refs.grad.shape == (3, 3) and not refs.grad.any()
    crit.eval()
    with torch.no_grad():
        assert crit(embeddings, torch.zeros(0, dtype=torch.int64)).item() == 0


def test_the_ranking_of_nothing_is_differentiable(client):
    for rows, columns in ((0, 5), (5, 0), (0, 0)):
        scores = torch.zeros(rows, columns, requires_grad=True)
        ranks = blackbox_rank(scores, client=client)
        ranks.sum().backward()
        assert ranks.shape == scores.grad.shape == (rows, columns)
