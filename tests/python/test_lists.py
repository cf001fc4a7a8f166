# SPDX-License-Identifier: Apache-2.0
"""Lists of different lengths (offsets) and weights of lists (list_weight), over both transports,
against the definition."""
import os
import re

import lists_oracle
import numpy as np
import oracle
import pytest
from support import library

import rankd

os.environ.setdefault("RANKD_LIBRARY", str(library()))
ROUNDS = int(os.environ.get("RANKD_LISTS_ROUNDS", 60))  # `make soak-lists` takes more
LAMBDAS, MARGINS = (0.1, 1.0, 10.0), (0.0, 0.5)


@pytest.fixture(params=["http", "ring"])
def client(make_daemon, tmp_path, request):
    daemon = make_daemon("--socket", tmp_path / "ring")
    url = daemon.url if request.param == "http" else f"unix:{tmp_path}/ring"
    with rankd.connect(url, timeout=30, retry_for=0) as one:
        yield one


def draw_options(rng, names=("ap", "recall")):
    return str(rng.choice(names)), str(rng.choice(["macro", "micro",
                                                   "sum"])), float(rng.choice(LAMBDAS)), float(rng.choice(MARGINS))


def same(result, expected, shape, where):
    loss, gradient, each, valid, stalled = expected
    assert result.loss == pytest.approx(loss, rel=1e-6, abs=1e-7), where
    assert result.gradient.shape == shape and result.gradient.dtype == np.float32, where
    np.testing.assert_allclose(result.gradient, gradient, rtol=1e-6, err_msg=str(where))
    np.testing.assert_allclose(result.list_loss, each, rtol=1e-6, err_msg=str(where))
    assert (result.info.lists, result.info.lists_valid, result.info.lists_stalled) == (len(each), valid, stalled), where
    assert result.info.gradient_nonzero == np.count_nonzero(result.gradient), where


def test_lists_of_any_length_lose_what_the_oracle_says(client):
    for seed in range(ROUNDS):
        rng = np.random.default_rng(seed)
        scores, targets, offsets, weight = lists_oracle.draw(rng)
        model, average, lam, margin = draw_options(rng)
        weight = weight if seed % 3 else None
        options = {"offsets": offsets, "list_weight": weight, "average": average, "lambda_val": lam, "margin": margin}
        sent = targets.astype(rng.choice([np.int8, np.int32, np.float32]))
        loss, pieces, *rest = lists_oracle.batch(model, lists_oracle.cut(offsets, scores, targets), weight, average, lam=lam,
                                                 margin=margin)
        gradient = np.concatenate([*pieces, np.zeros(0)])
        dense = client.loss(model, scores, sent, list_loss=True, **options)
        same(dense, (loss, gradient, *rest), scores.shape, (seed, model, average))
        sparse = client.loss(model, scores, sent, gradient="sparse", **options)
        assert sparse.gradient_indices.tolist() == np.flatnonzero(dense.gradient).tolist(), seed
        assert sparse.gradient_values.tolist() == dense.gradient[sparse.gradient_indices].tolist(), seed


@pytest.mark.parametrize("axis", [0, 1])
def test_weights_of_rows_and_columns_are_the_definitions(client, axis):
    for seed in range(ROUNDS // 3):
        rng = np.random.default_rng(seed)
        model, average, lam, margin = draw_options(rng)
        scores = rng.standard_normal((rng.integers(1, 9), rng.integers(1, 9))).astype(np.float32)
        targets = rng.choice([-1, 0, 1], scores.shape)
        rows, labels = (scores, targets) if axis else (scores.T, targets.T)
        weight = (rng.random(len(rows)) * (rng.random(len(rows)) < .8)).astype(np.float32)
        loss, pieces, *rest = lists_oracle.batch(model, list(zip(rows, labels)), weight, average, lam=lam, margin=margin)
        gradient = np.stack(pieces) if axis else np.stack(pieces).T
        got = client.loss(model, scores, targets, axis=axis, list_weight=weight, average=average, lambda_val=lam, margin=margin,
                          list_loss=True)
        same(got, (loss, gradient, *rest), scores.shape, (seed, model, average))


@pytest.mark.parametrize("average", ["macro", "micro", "sum"])
def test_queries_of_a_retrieval_request_have_weights(client, average):
    rng = np.random.default_rng(5)
    embeddings, labels = rng.standard_normal((20, 8)).astype(np.float32), rng.integers(0, 4, 20)
    weight = (rng.random(20) * 2 * (rng.random(20) < .7)).astype(np.float32)
    got = client.loss("ap", embeddings=embeddings, labels=labels, list_weight=weight, average=average, margin=0.1, list_loss=True)
    items = oracle.unit(embeddings)
    similarities, targets = items @ items.T, (labels[None] == labels[:, None]).astype(int)
    np.fill_diagonal(targets, -1)
    loss, pieces, each, valid, _ = lists_oracle.batch("ap", list(zip(similarities, targets)), weight, average, margin=0.1)
    G = np.stack(pieces)
    expected = oracle.through_norm(embeddings, (G + G.T) @ items.astype(np.float64))
    assert got.loss == pytest.approx(loss, rel=1e-5) and got.info.lists_valid == valid
    np.testing.assert_allclose(got.gradient, expected, rtol=1e-4, atol=1e-6)
    np.testing.assert_allclose(got.list_loss, each, rtol=1e-4)


def test_ranks_and_their_gradient_come_list_by_list(client):
    for seed in range(ROUNDS // 3):
        rng = np.random.default_rng(seed)
        scores, _, offsets, _ = lists_oracle.draw(rng)
        scores = np.nan_to_num(scores, nan=1.0, posinf=np.inf, neginf=-np.inf)
        upstream = rng.standard_normal(len(scores)).astype(np.float32)
        lists = lists_oracle.cut(offsets, scores, upstream)
        assert client.rank(scores, offsets=offsets).tolist() == [r for s, _ in lists for r in oracle.ranks(s)]
        for units in ("normalized", "rank"):
            expected = []
            for s, up in lists:
                moved = (s.astype(np.float64) + 0.5 * up.astype(np.float64)).astype(np.float32)
                expected += list(-(oracle.ranks(s) - oracle.ranks(moved)) / (0.5 * (len(s) if units == "normalized" else 1)))
            got = client.rank_vjp(scores, upstream, lambda_val=0.5, lambda_units=units, offsets=offsets)
            assert got.shape == scores.shape
            np.testing.assert_allclose(got, np.float32(expected), rtol=1e-6)


def test_equal_lengths_are_the_matrix_to_the_bit(client):
    rng = np.random.default_rng(1)
    scores, targets = rng.standard_normal((40, 25)).astype(np.float32), (rng.random((40, 25)) < .2).astype(np.int8)
    for model in rankd.LOSSES:
        matrix = client.loss(model, scores, targets, list_loss=True)
        flat = client.loss(model, scores.ravel(), targets.ravel(), offsets=np.arange(41) * 25, list_loss=True)
        assert matrix.loss == flat.loss and matrix.info == flat.info
        assert np.array_equal(matrix.gradient.ravel(), flat.gradient) and np.array_equal(matrix.list_loss, flat.list_loss)


def test_more_lists_than_scores_are_answered(client):
    """The reply is longer than the scores are."""
    offsets = np.zeros(5001, np.int64)
    offsets[-1] = 3
    got = client.loss("ap", np.float32([3, 2, 1]), [0, 1, 0], offsets=offsets, list_loss=True)
    assert (got.loss, got.info.lists, got.info.lists_skipped) == (0.5, 5000, 4999)
    assert np.isnan(got.list_loss[:-1]).all() and got.list_loss[-1] == 0.5
    nothing = client.loss("ap", np.zeros(0, np.float32), np.zeros(0, np.int8), offsets=np.zeros(5001, np.int64), list_loss=True)
    assert nothing.loss == 0 and nothing.info.lists_skipped == 5000 and nothing.list_loss.shape == (5000,)


@pytest.mark.parametrize("options, sentence", [
    ({"offsets": [1, 3]}, "offsets[0] is 1; the first list must begin at 0"),
    ({"offsets": [0, 2, 1, 3]}, "offsets[2] is 1, below offsets[1], 2; offsets must not descend"),
    ({"offsets": [0, 2]}, "offsets[1], the last, is 2; it must be the number of scores, 3"),
    ({"offsets": np.zeros(0, np.int64)}, "input offsets has shape [0]; it must have one element more than there are lists"),
    ({"offsets": [0, 3], "axis": 1}, "parameter axis was sent with offsets"),
    ({"offsets": [0, 3], "interclass": 0.5}, "parameter interclass was sent with offsets"),
    ({"offsets": [0, 1, 3], "list_weight": [1.0]}, "input list_weight has shape [1]; it must be [2], one for each list"),
    ({"offsets": [0, 1, 3], "list_weight": [1.0, np.nan]}, "list_weight[1] is NaN; it must be finite and 0 or more"),
    ({"offsets": [0, 1, 3], "list_weight": [-1.0, 2.0]}, "list_weight[0] is -1; it must be finite and 0 or more"),
    ({}, "input scores has 1 dimension; its shape must be [Q, N]"),
], ids=str)
def test_what_is_wrong_is_named(client, options, sentence):
    with pytest.raises(rankd.InvalidRequest, match=re.escape(sentence)):
        client.loss("ap", np.zeros(3, np.float32), [0, 1, 0], **options)


def test_a_bank_does_not_go_with_offsets(client):
    client.banks.create("ragged", kind="scores", lists=1, capacity=10, durability="none")
    with pytest.raises(rankd.InvalidRequest, match='parameter bank was "ragged", with offsets; a bank extends'):
        client.loss("ap", np.zeros(3, np.float32), [0, 1, 0], offsets=[0, 3], bank="ragged")
    assert client.banks.get("ragged").version == 0


def test_offsets_do_not_go_with_embeddings(client):
    with pytest.raises(rankd.InvalidRequest, match="input offsets cannot be sent with embeddings"):
        client.loss("ap", embeddings=np.ones((2, 2), np.float32), labels=[1, 1], offsets=[0, 2])
