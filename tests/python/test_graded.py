# SPDX-License-Identifier: Apache-2.0
"""Graded relevance, first hit and cut-offs over the client: random requests against the definition
(graded_oracle.py), embeddings, and what is refused. RK_SOAK=N asks for N times the random
requests."""
import os

import graded_oracle
import numpy as np
import oracle
import pytest

import rankd

TIMES = int(os.environ.get("RK_SOAK", 1))
TYPES = [np.int8, np.uint8, np.int16, np.int32, np.int64, np.float16, np.float32, np.float64, "bfloat16"]


def draw_scores(draw, shape):
    kind = draw.integers(6)
    if kind == 0:
        return draw.integers(0, 4, shape).astype(np.float32) / 4
    scores = draw.standard_normal(shape).astype(np.float32)
    if kind == 1:
        scores[:] = 0.25
    if kind == 2:
        scores[draw.random(shape) < 0.3] = np.inf
        scores[draw.random(shape) < 0.3] = -np.inf
    if kind == 3:
        scores = np.round(scores, 1)
    return scores


def draw_grades(draw, model, gain, shape, dtype):
    """Grades that the type holds, 0 where irrelevant: few different ones, all equal, one relevant
    item, none, huge, fractions."""
    share, kind = draw.choice([0, 0.05, 0.3, 0.9, 1]), draw.integers(5)
    real = dtype == "bfloat16" or np.dtype(dtype).kind == "f"
    if model != "ndcg":
        grades = np.ones(shape)
    elif kind == 0:
        grades = np.full(shape, 3.0)
    elif gain == "exp2":
        grades = draw.integers(1, 32 if kind == 1 else 4, shape).astype(np.float64)
    elif real and kind == 1:
        grades = draw.choice([2.0 ** -20, 1.0, 2.0 ** 14, 65280.0], shape)
    elif real:
        grades = draw.integers(1, 40, shape) / 8
    else:
        grades = draw.integers(1, 127 if kind == 1 else 5, shape).astype(np.float64)
    targets = np.where(draw.random(shape) < share, grades, 0.0)
    if kind == 2:
        targets[:] = 0
        targets[:, draw.integers(shape[1])] = grades[:, 0]
    if dtype != np.uint8 and draw.integers(2):
        targets[draw.random(shape) < 0.2] = -1
    return targets


def as_sent(targets, dtype):
    if dtype == "bfloat16":
        return rankd.BF16((targets.astype(np.float32).view(np.uint32) >> 16).astype(np.uint16))
    return targets.astype(dtype)


def draw_request(draw):
    shape = (int(draw.integers(1, 5)), int(draw.integers(1, 30)))
    model, gain, dtype = draw.choice(["ndcg", "ndcg", "mrr", "ap"]), draw.choice(["exp2",
        "linear"]), TYPES[draw.integers(len(TYPES))]
    asked = {"lam": float(draw.choice([1e-3, 0.3, 1, 4, 1e6])), "margin": float(draw.choice([0, 0.1, 2])), "gain": str(gain),
             "top_k": int(draw.choice([0, 1, 2, 3, 10, 1000])), "average": str(draw.choice(["macro", "micro", "sum"])),
             "units": str(draw.choice(["normalized", "rank"])), "scope": str(draw.choice(["list", "batch"])),
             "scale": str(draw.choice(["lambda", "unit"]))}
    weights = draw.choice([0, 0.5, 1, 3], shape[0]) if draw.integers(3) == 0 else None
    return str(model), draw_scores(draw, shape), draw_grades(draw, model, gain, shape, dtype), dtype, asked, weights


def ask(client, model, scores, targets, asked, weights, **more):
    return client.loss(model, scores, targets, lambda_val=asked["lam"], margin=asked["margin"], top_k=asked["top_k"],
                       average=asked["average"], lambda_units=asked["units"], lambda_scope=asked["scope"],
                       gradient_scale=asked["scale"], gain=asked["gain"] if model == "ndcg" else None, list_weight=weights,
                       list_loss=True, **more)


def test_random_requests_are_answered_by_the_definition(client):
    seen = set()
    for seed in range(400 * TIMES):
        draw = np.random.default_rng(seed)
        model, scores, targets, dtype, asked, weights = draw_request(draw)
        axis = int(draw.integers(2))
        turned = (lambda x: x.T) if axis == 0 else (lambda x: x)
        result = ask(client, model, turned(scores), as_sent(turned(targets), dtype), asked, weights, axis=axis)
        loss, gradient, each = graded_oracle.request(model, scores, targets, weights=weights, **asked)
        assert result.loss == pytest.approx(loss, rel=1e-6, abs=1e-7), seed
        np.testing.assert_array_equal(turned(result.gradient), gradient, err_msg=str(seed))
        np.testing.assert_allclose(result.list_loss, each, rtol=1e-6, atol=1e-7, err_msg=str(seed))
        assert result.info.lists_valid == np.count_nonzero(~np.isnan(each))
        seen.add((model, result.info.gradient_nonzero > 0, bool(np.isnan(each).any())))
    assert len(seen) == 12  # each loss with and without a gradient, with and without a list that is skipped


def test_lists_of_different_lengths_have_grades_too(client):
    for seed in range(20 * TIMES):
        draw = np.random.default_rng(10_000_000 + seed)
        model, scores, targets, dtype, asked, weights = draw_request(draw)
        lengths = draw.integers(0, scores.shape[1] + 1, len(scores))
        offsets = np.concatenate([[0], np.cumsum(lengths)])
        flat = np.concatenate([row[:n] for row, n in zip(scores, lengths)]), np.concatenate([row[:n]
            for row, n in zip(targets, lengths)])
        for row, n in zip(targets, lengths):
            row[n:] = -1  # for the definition: padded
        result = ask(client, model, flat[0], as_sent(flat[1], dtype), asked, weights, offsets=offsets)
        loss, gradient, each = graded_oracle.request(model, scores, targets, weights=weights, **asked)
        assert result.loss == pytest.approx(loss, rel=1e-6, abs=1e-7), seed
        np.testing.assert_array_equal(result.gradient, np.concatenate([row[:n] for row, n in zip(gradient, lengths)]),
                                      err_msg=str(seed))
        np.testing.assert_allclose(result.list_loss, each, rtol=1e-6, atol=1e-7, err_msg=str(seed))


@pytest.mark.parametrize("model", ["ndcg", "mrr"])
@pytest.mark.parametrize("top_k", [None, 3])
def test_embeddings_of_equal_labels_have_a_grade_of_one(client, model, top_k):
    rng = np.random.default_rng(3)
    embeddings, labels = rng.standard_normal((24, 16)).astype(np.float32), rng.integers(0, 5, 24)
    similarity = (lambda u: u @ u.T)(oracle.unit(embeddings))
    targets = (labels[:, None] == labels[None]).astype(np.int64)
    np.fill_diagonal(targets, -1)
    result = client.loss(model, embeddings=embeddings, labels=labels, margin=0.1, top_k=top_k, list_loss=True)
    loss, gradient, each = graded_oracle.request(model, similarity, targets, margin=0.1, top_k=top_k or 0)
    assert result.loss == pytest.approx(loss, rel=1e-5)
    np.testing.assert_allclose(result.list_loss, each, rtol=1e-5, atol=1e-6)
    own = oracle.unit(embeddings).astype(np.float64)
    expected = oracle.through_norm(embeddings, gradient.astype(np.float64) @ own + gradient.T.astype(np.float64) @ own)
    np.testing.assert_allclose(result.gradient, expected, rtol=1e-4, atol=1e-6)


def test_streamed_retrieval_agrees_with_rows(client):
    """70,000 references are streamed in tiles for a batch of 160; eight queries at a time are
    computed from rows."""
    rng = np.random.default_rng(5)
    embeddings, labels = rng.standard_normal((160, 4)).astype(np.float32), rng.integers(0, 3000, 160)
    refs, ref_labels = rng.standard_normal((70_000, 4)).astype(np.float32), rng.integers(0, 3000, 70_000)
    for model, top_k in (("ndcg", 10), ("mrr", None)):
        whole = client.loss(model, embeddings=embeddings, labels=labels, ref_embeddings=refs, ref_labels=ref_labels, top_k=top_k,
                            gallery="references", list_loss=True, average="sum")
        parts = [client.loss(model, embeddings=embeddings[i:i + 8], labels=labels[i:i + 8], ref_embeddings=refs,
                             ref_labels=ref_labels, top_k=top_k, gallery="references", list_loss=True, average="sum")
                 for i in range(0, 32, 8)]
        np.testing.assert_array_equal(whole.list_loss[:32], np.concatenate([part.list_loss for part in parts]))
        np.testing.assert_allclose(whole.gradient[:32], np.concatenate([part.gradient for part in parts]), rtol=1e-5, atol=1e-9)
        assert np.count_nonzero(whole.gradient) > 0


def test_gains_of_any_float_are_taken_as_float32(client):
    scores, gains = [[3.0, 2.0, 1.0]], [[0.0, 0.1, 0.7]]  # no float32 is 0.1
    result = client.loss("ndcg", scores, gains, gain="linear")
    loss, gradient, _ = graded_oracle.request("ndcg", scores, np.float32(gains), gain="linear")
    assert result.loss == pytest.approx(loss, rel=1e-6)
    np.testing.assert_array_equal(result.gradient, gradient)
    with pytest.raises(ValueError, match=r"targets\[0, 2\] is 1e\+300; it may be a grade from 0 to 3\.402823e\+38"):
        client.loss("ndcg", scores, [[0.0, 1.0, 1e300]], gain="linear")
    with pytest.raises(rankd.InvalidRequest, match=r"targets\[0, 2\] is Infinity"):
        client.loss("ndcg", scores, [[0.0, 1.0, float("inf")]], gain="linear")


@pytest.mark.parametrize(("model", "targets", "options", "sentence"), [
    ("ap", [[0, 2]], {}, r"targets\[0, 1\] is 2; it may be 1 \(relevant\), 0 \(irrelevant\) or -1 \(ignored\)"),
    ("mrr", [[0, 2]], {}, r"targets\[0, 1\] is 2; it may be 1"),
    ("recall", [[0, 2]], {}, r"targets\[0, 1\] is 2; it may be 1"),
    ("ndcg", [[0, 32]], {}, r"targets\[0, 1\] is 32; it may be a whole grade from 0 \(irrelevant\) to 31, or -1 \(ignored\)"),
    ("ndcg", np.float32([[0, 0.5]]), {}, r"targets\[0, 1\] is 0.5; it may be a whole grade"),
    ("ndcg", [[0.0, -0.5]], {"gain": "linear"}, r"targets\[0, 1\] is -0.5; it may be a finite grade of 0 \(irrelevant\) or more"),
    ("ndcg", [[-2, 1]], {"gain": "linear"}, r"targets\[0, 0\] is -2; it may be a finite grade"),
    ("ndcg", [[0, 1]], {"gain": "exp"}, 'parameter gain was "exp"; it must be exp2 or linear'),
    ("ndcg", [[0, 1]], {"top_k": 1.5}, "parameter top_k was 1.5; it must be a whole number from 0 to 2147483647"),
    ("ndcg", [[0, 1]], {"top_k": -1}, "parameter top_k was -1; it must be a whole number"),
    ("recall", [[0, 1]], {"top_k": 3}, "parameter top_k does not belong to model recall with scores; it goes with ap, ndcg, mrr"),
    ("mrr", [[0, 1]], {"gain": "linear"}, "parameter gain does not belong to model mrr with scores; it goes with ndcg"),
], ids=str)
def test_what_does_not_fit_the_loss_is_refused(client, model, targets, options, sentence):
    with pytest.raises(rankd.InvalidRequest, match=sentence):
        client.loss(model, [[0.5, 0.25]], targets, **options)


def test_ndcg_takes_no_bank_and_appends_nothing(client, bank):
    with pytest.raises(rankd.InvalidRequest, match="model ndcg is of graded relevance, and a bank holds no grades: it goes with "
                                                   "ap, recall, mrr"):
        client.loss("ndcg", embeddings=np.eye(2, 16), labels=[1, 1], bank=bank)
    assert client.loss("mrr", embeddings=np.eye(2, 16), labels=[1, 1], bank=bank).info.bank_items == 0
    assert client.loss("mrr", embeddings=np.eye(2, 16), labels=[1, 1], bank=bank).info.bank_items == 2


def test_score_banks_remember_the_targets_of_mrr(client):
    client.banks.create("graded-scores", kind="scores", lists=2, capacity=8, durability="none")
    scores, targets = np.float32([[0.3, 0.1], [0.2, 0.4]]), [[1, 0], [0, 1]]
    try:
        client.loss("mrr", scores, targets, bank="graded-scores")
        result = client.loss("mrr", -scores, targets, bank="graded-scores", list_loss=True)
        np.testing.assert_allclose(result.list_loss, [0, 0])  # the hit of the first batch still stands first
        with pytest.raises(rankd.InvalidRequest, match="a bank holds no grades"):
            client.loss("ndcg", scores, targets, bank="graded-scores")
    finally:
        client.banks.delete("graded-scores")
