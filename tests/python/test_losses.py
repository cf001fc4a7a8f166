# SPDX-License-Identifier: Apache-2.0
"""The client's results against the definition (oracle.py), against scikit-learn, and against the
published example."""
import numpy as np
import pytest
from sklearn.metrics import average_precision_score

import oracle
import rankd


def problem(seed, Q=6, N=50, share=0.2, ties=False):
    rng = np.random.default_rng(seed)
    scores = rng.integers(0, 9, (Q, N)).astype(np.float32) / 4 if ties else rng.standard_normal((Q, N)).astype(np.float32)
    targets = (rng.random((Q, N)) < share).astype(np.int8)
    targets[rng.random((Q, N)) < 0.1] = -1
    targets[0] = 0
    return scores, targets


def same(result, expected):
    loss, gradient, each, valid, stalled = expected
    assert result.loss == pytest.approx(loss, rel=1e-6, abs=1e-7)
    np.testing.assert_array_equal(result.gradient, gradient.astype(np.float32))
    assert result.info.lists_valid == valid
    assert result.info.lists_stalled == stalled
    assert result.info.gradient_nonzero == np.count_nonzero(gradient)
    if result.list_loss is not None:
        np.testing.assert_allclose(result.list_loss, each, rtol=1e-6)


def test_the_worked_example_comes_out_as_published(client):
    result = client.loss("ap", [[0.9, 0.8, 0.7, 0.6]], [[0, 1, 0, 1]], margin=0.0, lambda_val=1.0)
    assert result.loss == 0.5
    np.testing.assert_array_equal(result.gradient, np.float32([[0.25, -0.25, 0.25, -0.25]]))
    assert (result.info.lists, result.info.lists_skipped, result.info.gradient_nonzero) == (1, 0, 4)


@pytest.mark.parametrize("model", ["ap", "recall"])
@pytest.mark.parametrize("options", [
    {}, {"margin": 0.3}, {"lambda_val": 0.05}, {"lambda_val": 4.0, "average": "micro"}, {"average": "sum"},
    {"lambda_units": "rank", "lambda_val": 2.0}, {"axis": 0, "margin": 0.1},
    {"gradient_scale": "unit", "margin": 0.3}, {"gradient_scale": "unit", "axis": 0, "average": "micro", "lambda_val": 0.1}],
    ids=str)
@pytest.mark.parametrize("ties", [False, True], ids=["distinct", "ties"])
def test_losses_and_gradients_are_those_of_the_definition(client, model, options, ties):
    scores, targets = problem(7, ties=ties)
    mine = {{"lambda_val": "lam", "lambda_units": "units", "gradient_scale": "scale"}.get(k, k): v for k, v in options.items()}
    same(client.loss(model, scores, targets, list_loss=True, **options), oracle.batch(model, scores, targets, **mine))


@pytest.mark.parametrize("weight", ["log", "loglog", "identity"])
def test_each_weight_of_the_recall_loss_is_the_definitions(client, weight):
    scores, targets = problem(11)
    same(client.loss("recall", scores, targets, weight=weight), oracle.batch("recall", scores, targets, weight=weight))


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
def test_scores_of_every_float_type_are_ranked_as_sent(client, dtype):
    scores, targets = problem(13)
    scores = scores.astype(dtype)
    same(client.loss("ap", scores, targets), oracle.batch("ap", scores, targets))


def test_bfloat16_scores_travel_as_their_bits(client):
    scores, targets = problem(17)
    bits = (scores.view(np.uint32) >> 16).astype(np.uint16)
    rounded = (bits.astype(np.uint32) << 16).view(np.float32)
    same(client.loss("ap", rankd.BF16(bits), targets), oracle.batch("ap", rounded, targets))


@pytest.mark.parametrize("dtype", [bool, np.uint8, np.int8, np.int16, np.int32, np.uint32, np.int64, np.float16, np.float32,
                                   np.float64])
def test_targets_of_every_type_mean_the_same(client, dtype):
    scores, targets = problem(19)
    targets[targets < 0] = 0
    same(client.loss("ap", scores, targets.astype(dtype)), oracle.batch("ap", scores, targets))


def test_arrays_that_are_not_contiguous_or_not_little_endian_are_sent_right(client):
    scores, targets = problem(23, Q=8, N=40)
    same(client.loss("ap", scores[::2, ::-1], targets[::2, ::-1]), oracle.batch("ap", scores[::2, ::-1], targets[::2, ::-1]))
    same(client.loss("ap", scores.astype(">f4"), targets.astype(">i4")), oracle.batch("ap", scores, targets))
    same(client.loss("ap", np.asfortranarray(scores), targets), oracle.batch("ap", scores, targets))


def test_the_loss_is_one_minus_sklearns_average_precision_where_nothing_ties(client):
    rng = np.random.default_rng(29)
    scores = rng.permuted(np.linspace(-1, 1, 300, dtype=np.float32)[None].repeat(5, 0), axis=1)
    targets = (rng.random((5, 300)) < 0.1).astype(int)
    result = client.loss("ap", scores, targets, margin=0.0, list_loss=True, gradient=False)
    expected = [1 - average_precision_score(t, s) for s, t in zip(scores, targets)]
    np.testing.assert_allclose(result.list_loss, expected, rtol=1e-5)


def test_a_loss_without_gradient_brings_none(client):
    result = client.loss("ap", *problem(31), gradient=False)
    assert result.gradient is None and result.info.gradient_nonzero is None and result.info.lists_stalled is None


@pytest.mark.parametrize("options", [{}, {"margin": 0.3, "lambda_val": 4.0}, {"axis": 0, "gradient_scale": "unit"}], ids=str)
def test_pairs_jumped_are_counted_per_relevant_item(client, options):
    scores, targets = problem(33, Q=9, N=120, ties=True)
    mine = {{"lambda_val": "lam", "gradient_scale": "scale"}.get(k, k): v for k, v in options.items()}
    want = oracle.pairs_jumped("ap", scores, targets, **mine)
    assert want > 0 and client.loss("ap", scores, targets, **options).info.pairs_jumped == pytest.approx(want, rel=1e-12)
    assert client.loss("ap", scores, targets, gradient="sparse", **options).info.pairs_jumped == pytest.approx(want, rel=1e-12)
    assert client.loss("ap", scores, targets, gradient=False).info.pairs_jumped is None
    assert client.loss("ap", scores, np.zeros_like(targets)).info.pairs_jumped == 0


@pytest.mark.parametrize("axis", [0, 1])
def test_stalled_lists_are_named(client, axis):
    scores, targets = problem(35, Q=40, N=12, share=0.3)
    if axis == 0:
        scores, targets = scores.T.copy(), targets.T.copy()
    result = client.loss("ap", scores, targets, axis=axis, margin=2.0, lambda_val=0.3, list_stalled=True)
    lists = zip(scores, targets) if axis else zip(scores.T, targets.T)
    want = [oracle.one_list("ap", s, t, lam=0.3, margin=2.0) for s, t in lists]
    assert result.list_stalled.tolist() == [r[3] for r in want] and 0 < result.list_stalled.sum() < 37
    np.testing.assert_allclose(result.list_loss, [r[0] if r[2] else np.nan for r in want], rtol=1e-6)
    plain = client.loss("ap", scores, targets, axis=axis, margin=2.0, lambda_val=0.3, list_loss=True)
    assert plain.list_stalled is None
    np.testing.assert_array_equal(plain.list_loss, result.list_loss)
    assert not client.loss("ap", scores, targets, axis=axis, gradient=False, list_stalled=True).list_stalled.any()


def test_the_sparse_gradient_is_the_dense_one(client):
    scores, targets = problem(37, Q=20, N=200, share=0.02)
    dense = client.loss("ap", scores, targets).gradient
    sparse = client.loss("ap", scores, targets, gradient="sparse")
    assert sparse.gradient is None
    rebuilt = np.zeros(dense.size, np.float32)
    rebuilt[sparse.gradient_indices] = sparse.gradient_values
    np.testing.assert_array_equal(rebuilt.reshape(dense.shape), dense)
    assert np.all(np.diff(sparse.gradient_indices) > 0) and np.all(sparse.gradient_values != 0)


def test_a_sparse_gradient_of_nothing_is_empty(client):
    result = client.loss("ap", [[3.0, 2.0, 1.0]], [[0, 0, 0]], gradient="sparse")
    assert result.loss == 0 and result.gradient_indices.shape == (0,) and result.info.lists_skipped == 1


def test_a_gradient_is_the_callers_own_to_write_to(client):
    first = client.loss("ap", *problem(41))
    kept = first.gradient.copy()
    first.gradient[:] = 7
    np.testing.assert_array_equal(client.loss("ap", *problem(41)).gradient, kept)


def test_lists_split_over_two_trainers_sum_to_the_whole(client, daemon):
    scores, targets = problem(43, Q=12)
    whole = client.loss("ap", scores, targets, margin=0.1)
    other = rankd.connect(daemon.url)
    halves = [one.loss("ap", s, t, margin=0.1, average="sum")
              for one, s, t in ((client, scores[:5], targets[:5]), (other, scores[5:], targets[5:]))]
    valid = sum(h.info.lists_valid for h in halves)
    assert valid == whole.info.lists_valid
    assert sum(h.loss for h in halves) / valid == pytest.approx(whole.loss, rel=1e-6)
    np.testing.assert_allclose(np.concatenate([h.gradient for h in halves]) / valid, whole.gradient, rtol=1e-6)


def test_a_large_request_and_its_gradient_travel_whole(client):
    rng = np.random.default_rng(47)
    scores = rng.standard_normal((4, 200_000)).astype(np.float32)
    targets = (rng.random(scores.shape) < 1e-4).astype(np.int8)
    same(client.loss("ap", scores, targets, lambda_val=0.5), oracle.batch("ap", scores, targets, lam=0.5))


def test_ranks_are_by_score_then_index(client):
    scores = np.random.default_rng(53).integers(0, 5, (4, 30)).astype(np.float32)
    got = client.rank(scores)
    assert got.dtype == np.int64
    np.testing.assert_array_equal(got, [oracle.ranks(row) for row in scores])


@pytest.mark.parametrize("units", ["normalized", "rank"])
def test_rank_vjp_perturbs_by_the_upstream_gradient(client, units):
    rng = np.random.default_rng(59)
    scores, upstream = rng.standard_normal((2, 3, 40)).astype(np.float32)
    lam = 0.7
    got = client.rank_vjp(scores, upstream, lambda_val=lam, lambda_units=units)
    n = scores.shape[1] if units == "normalized" else 1
    for row, up, gradient in zip(scores, upstream, got):
        moved = (row.astype(np.float64) + lam * up.astype(np.float64)).astype(np.float32)
        expected = -(oracle.ranks(row) - oracle.ranks(moved)) / (n * lam)
        np.testing.assert_allclose(gradient, expected.astype(np.float32), rtol=1e-6)


def vectors(seed, B=24, R=0, dim=16, classes=5):
    rng = np.random.default_rng(seed)
    return (rng.standard_normal((B, dim)).astype(np.float32) * 3, rng.integers(0, classes, B),
            rng.standard_normal((R, dim)).astype(np.float32), rng.integers(0, classes, R))


@pytest.mark.parametrize("model", ["ap", "recall"])
@pytest.mark.parametrize("normalize", [True, False])
def test_embeddings_give_the_gradient_of_the_definition(client, model, normalize):
    embeddings, labels, *_ = vectors(61)
    labels[3] = -1
    result = client.loss(model, embeddings=embeddings, labels=labels, margin=0.2, normalize=normalize)
    loss, gradient, _, valid = oracle.embeddings_batch(model, embeddings, labels, margin=0.2, normalize=normalize)
    assert result.loss == pytest.approx(loss, rel=1e-5)
    np.testing.assert_allclose(result.gradient, gradient, rtol=1e-4, atol=1e-6)
    assert result.info.lists_valid == valid


def test_references_are_ranked_and_receive_a_gradient(client):
    embeddings, labels, refs, ref_labels = vectors(67, R=17)
    result = client.loss("ap", embeddings=embeddings, labels=labels, ref_embeddings=refs, ref_labels=ref_labels, margin=0.1)
    loss, gradient, ref_gradient, _ = oracle.embeddings_batch("ap", embeddings, labels, refs=refs, ref_labels=ref_labels)
    assert result.loss == pytest.approx(loss, rel=1e-5)
    np.testing.assert_allclose(result.gradient, gradient, rtol=1e-4, atol=1e-6)
    np.testing.assert_allclose(result.ref_gradient, ref_gradient, rtol=1e-4, atol=1e-6)


def test_a_query_ignores_items_that_bear_its_own_id(client):
    embeddings, labels, refs, ref_labels = vectors(71, R=10)
    ids, ref_ids = np.arange(len(labels)), np.arange(5, 15)
    ids[0] = -1
    result = client.loss("ap", embeddings=embeddings, labels=labels, ids=ids, ref_embeddings=refs, ref_labels=ref_labels,
                         ref_ids=ref_ids)
    loss, gradient, *_ = oracle.embeddings_batch("ap", embeddings, labels, ids, refs, ref_labels, ref_ids)
    assert result.loss == pytest.approx(loss, rel=1e-5)
    np.testing.assert_allclose(result.gradient, gradient, rtol=1e-4, atol=1e-6)


def test_the_daemon_tells_about_itself(client):
    assert client.ready()
    assert client.metadata()["name"] == "rankd" and "binary_tensor_data" in client.metadata()["extensions"]
    assert sorted(client.models()) == ["ap", "hits", "mrr", "ndcg", "rank", "rank_vjp", "recall"]
    assert {entry["name"] for entry in client.metadata("ap")["inputs"]} >= {"scores", "targets"}
    before = client.stats("rank")[0]["inference_count"]
    client.rank([[1.0, 2.0]])
    assert client.stats("rank")[0]["inference_count"] == before + 1
    assert {entry["name"] for entry in client.stats()} >= {"ap", "recall"}
    assert client.config("ap")["name"] == "ap"
