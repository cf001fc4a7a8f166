# SPDX-License-Identifier: Apache-2.0
"""rankd.metrics against sorting, against scikit-learn, and against itself with the lists divided in
other ways."""
import os
import warnings

import numpy as np
import pytest
import torch
from sklearn.metrics import average_precision_score, ndcg_score
from support import library

import rankd
from rankd import evaluation, metrics

os.environ.setdefault("RANKD_LIBRARY", str(library()))

NAMES = ["ap", "ap@1", "ap@5", "ndcg", "ndcg@5", "mrr", "mrr@3", "r_precision", "recall@1", "recall@5", "precision@5",
         "precision@30", "hit_rate@1", "hit_rate@5"]


@pytest.fixture
def client(either):
    return either


def by_sorting(name, scores, targets, gain="exp2"):
    """A metric of one list by its textbook definition, on the list in its order: irrelevant before
    relevant at equal scores, lower grades before higher ones."""
    scores, targets = np.asarray(scores, np.float64), np.asarray(targets, np.float64)
    scores, targets = scores[targets != -1], targets[targets != -1]
    ranked = targets[np.lexsort((targets, -scores))]
    relevant, found = ranked > 0, int((targets > 0).sum())
    metric, _, cut = name.partition("@")
    k = int(cut) if cut else len(ranked)
    if found == 0:
        return np.nan
    if metric == "ap":
        places = np.flatnonzero(relevant[:k]) + 1
        return sum((i + 1) / place for i, place in enumerate(places)) / min(found, k)
    if metric == "ndcg":
        worth = (lambda t: 2.0 ** t - 1) if gain == "exp2" else (lambda t: t)
        dcg = lambda order: sum(worth(t) / np.log2(i + 2) for i, t in enumerate(order[:k]))
        return dcg(ranked) / dcg(np.sort(targets)[::-1])
    if metric == "mrr":
        first = np.flatnonzero(relevant)[0] + 1
        return 1 / first if first <= k else 0
    return {"r_precision": relevant[:found].mean(), "recall": relevant[:k].sum() / found, "precision": relevant[:k].sum() / k,
            "hit_rate": float(relevant[:k].any())}[metric]


def expected(names, scores, targets, gain="exp2"):
    return {name: np.array([by_sorting(name, s, t, gain) for s, t in zip(scores, targets)]) for name in names}


def agree(found, wanted):
    assert list(found) == list(wanted)
    for name, each in found.items():
        assert each.dtype == np.float64
        np.testing.assert_allclose(each, wanted[name], rtol=0, atol=2e-7, err_msg=name)


def problem(rng, lists=9, items=31, grades=1, ties=False):
    scores = rng.integers(0, 6, (lists, items)).astype(np.float32) if ties else rng.standard_normal((lists,
        items)).astype(np.float32)
    targets = rng.integers(0, grades + 1, (lists, items)) * (rng.random((lists, items)) < 0.3)
    targets[rng.random((lists, items)) < 0.1] = -1
    targets[0] = 0
    return scores, targets


@pytest.mark.parametrize("ties", [False, True])
def test_every_metric_of_scores_is_the_one_of_the_textbook(client, ties):
    rng = np.random.default_rng(ties)
    for round in range(8):
        scores, targets = problem(rng, grades=int(rng.integers(1, 5)), ties=ties)
        wanted = expected(NAMES, scores, targets)
        agree(metrics.per_list(client, NAMES, scores, targets), wanted)
        agree(metrics.per_list(client, NAMES, scores.T, targets.T, axis=0), wanted)
        means = metrics.evaluate(client, NAMES, scores, targets)
        for name, each in wanted.items():
            assert means[name] == pytest.approx(np.nanmean(each), abs=2e-7)
    halves = np.where(targets > 0, targets / 2, targets)
    agree(metrics.per_list(client, NAMES, scores, halves, gain="linear"), expected(NAMES, scores, halves, "linear"))


def test_metrics_of_one_count_share_a_pass(client, monkeypatch):
    scores, targets = problem(np.random.default_rng(9))
    asked, loss = [], client.loss
    monkeypatch.setattr(client, "loss", lambda model, **given: asked.append(model) or loss(model, **given))
    names = ["precision@5", "hit_rate@5", "ap", "ap"]
    agree(metrics.per_list(client, names, scores, targets), expected(["precision@5", "hit_rate@5", "ap"], scores, targets))
    assert asked == ["hits", "ap"]


def test_the_functions_are_the_metrics_of_their_names(client):
    scores, targets = problem(np.random.default_rng(5), grades=3)
    for function, name, options in ((metrics.average_precision, "ap", {}), (metrics.average_precision, "ap@5", {"k": 5}),
                                    (metrics.ndcg, "ndcg@5", {"k": 5}), (metrics.reciprocal_rank, "mrr", {}),
                                    (metrics.r_precision, "r_precision", {}), (metrics.recall, "recall@5", {"k": 5}),
                                    (metrics.precision, "precision@30", {"k": 30}), (metrics.hit_rate, "hit_rate@1", {"k": 1})):
        agree({name: function(client, scores, targets, **options)}, expected([name], scores, targets))


def test_scikit_learn_has_the_same_average_precision_and_ndcg_where_nothing_ties(client):
    rng = np.random.default_rng(2)
    scores = rng.standard_normal((40, 60))
    grades = rng.integers(0, 4, (40, 60))
    assert all(len(np.unique(row.astype(np.float32))) == 60 for row in scores)
    ap = metrics.average_precision(client, scores, grades > 1)
    np.testing.assert_allclose(ap, [average_precision_score(t > 1, s) for s, t in zip(scores, grades)], atol=1e-7)
    for k in (None, 10):
        mine = metrics.evaluate(client, ["ndcg" if k is None else f"ndcg@{k}"], scores, grades, gain="linear")
        assert next(iter(mine.values())) == pytest.approx(ndcg_score(grades, scores, k=k), abs=1e-7)


def without_ties(seed, grades):
    rng = np.random.default_rng(seed)
    scores = rng.permuted(np.tile(np.linspace(-2, 2, 50, dtype=np.float32), (30, 1)), axis=1)
    targets = rng.integers(0, grades + 1, (30, 50)) * (rng.random((30, 50)) < 0.3)
    targets[:, 0] = 1
    return scores, targets


def test_torchmetrics_has_the_same_metrics_where_nothing_ties(client):
    from torchmetrics.functional import retrieval as peer

    scores, targets = without_ties(4, 1)
    pairs = {"ap": (peer.retrieval_average_precision, {}), "ndcg@10": (peer.retrieval_normalized_dcg, {"top_k": 10}),
             "mrr": (peer.retrieval_reciprocal_rank, {}), "mrr@3": (peer.retrieval_reciprocal_rank, {"top_k": 3}),
             "r_precision": (peer.retrieval_r_precision, {}), "recall@5": (peer.retrieval_recall, {"top_k": 5}),
             "precision@5": (peer.retrieval_precision, {"top_k": 5}), "hit_rate@2": (peer.retrieval_hit_rate, {"top_k": 2})}
    found = metrics.per_list(client, list(pairs), scores, targets)
    for name, (function, options) in pairs.items():
        theirs = [function(torch.from_numpy(s), torch.from_numpy(t).bool(), **options).item() for s, t in zip(scores, targets)]
        np.testing.assert_allclose(found[name], theirs, atol=2e-6, err_msg=name)  # theirs are of float32
    # AP@k differs: theirs is divided by the relevant items among the first k, ours by min(P, k).
    cut = metrics.average_precision(client, scores, targets, k=5)
    hits, most = (metrics.precision(client, scores, targets, k=5) * 5).round(), np.minimum(targets.sum(1), 5)
    theirs = [peer.retrieval_average_precision(torch.from_numpy(s), torch.from_numpy(t).bool(), top_k=5).item()
              for s, t in zip(scores, targets)]
    np.testing.assert_allclose(cut * most, theirs * hits, atol=1e-5)
    assert not np.allclose(cut, theirs)


def test_trec_eval_has_the_same_metrics_where_nothing_ties(client):
    import pytrec_eval

    scores, targets = without_ties(6, 4)
    names = {"ap": "map", "ndcg": "ndcg", "ndcg@10": "ndcg_cut_10", "mrr": "recip_rank", "r_precision": "Rprec",
             "recall@10": "recall_10", "precision@5": "P_5", "hit_rate@5": "success_5"}
    judge = pytrec_eval.RelevanceEvaluator({str(q): {str(i): int(t) for i, t in enumerate(row)} for q, row in enumerate(targets)},
                                           {"map", "map_cut", "ndcg", "ndcg_cut", "recip_rank", "Rprec", "recall", "P",
                                            "success"})
    theirs = judge.evaluate({str(q): {str(i): float(s) for i, s in enumerate(row)} for q, row in enumerate(scores)})
    found = metrics.per_list(client, list(names), scores, targets, gain="linear")
    for name, other in names.items():
        np.testing.assert_allclose(found[name], [theirs[str(q)][other] for q in range(30)], atol=2e-7, err_msg=name)
    # AP@k differs: theirs is divided by P, ours by min(P, k).
    relevant = (targets > 0).sum(1)
    np.testing.assert_allclose(metrics.average_precision(client, scores, targets, k=5) * np.minimum(relevant, 5),
                               [theirs[str(q)]["map_cut_5"] * relevant[q] for q in range(30)], atol=1e-6)


def test_lists_that_are_sent_in_parts_have_the_same_metrics(client, monkeypatch):
    rng = np.random.default_rng(3)
    scores, targets = problem(rng, lists=23)
    whole = {axis: metrics.per_list(client, NAMES, scores if axis else scores.T, targets if axis else targets.T, axis=axis)
             for axis in (0, 1)}
    monkeypatch.setattr(evaluation, "TILE_BYTES", 3 * 31 * 4)
    for axis in (0, 1):
        agree(metrics.per_list(client, NAMES, scores if axis else scores.T, targets if axis else targets.T, axis=axis),
              whole[axis])


@pytest.mark.parametrize("tiles", [False, True], ids=["whole", "parts"])
def test_lists_of_any_length_have_the_metrics_of_each(client, monkeypatch, tiles):
    rng = np.random.default_rng(11)
    lengths = rng.integers(0, 40, 25)
    lengths[[3, 24]] = 0
    offsets = np.concatenate([[0], np.cumsum(lengths)])
    scores, targets = rng.standard_normal(offsets[-1]).astype(np.float32), rng.integers(0, 4, offsets[-1])
    if tiles:
        monkeypatch.setattr(evaluation, "TILE_BYTES", 4 * 60)
    lists = [slice(a, b) for a, b in zip(offsets, offsets[1:])]
    agree(metrics.per_list(client, NAMES, scores, targets, offsets=offsets),
          expected(NAMES, [scores[one] for one in lists], [targets[one] for one in lists]))
    with pytest.raises(rankd.InvalidRequest, match="offsets"):
        metrics.evaluate(client, ["ap"], scores, targets, offsets=offsets + 1)


def cosines(queries, items):
    unit = lambda x: x / np.linalg.norm(x.astype(np.float64), axis=1, keepdims=True)
    return (unit(queries) @ unit(items).T).astype(np.float32)


@pytest.mark.parametrize("tiles", [False, True], ids=["whole", "parts"])
@pytest.mark.parametrize("with_ids", [False, True], ids=["no ids", "ids"])
@pytest.mark.parametrize("with_references", [False, True], ids=["no references", "references"])
def test_embeddings_rank_the_others_and_the_references(client, monkeypatch, tiles, with_ids, with_references):
    rng = np.random.default_rng(tiles + 2 * with_ids)
    rows, labels = rng.standard_normal((50, 12)).astype(np.float32), rng.integers(-1, 6, 50)
    refs, ref_labels = rng.standard_normal((70, 12)).astype(np.float32), rng.integers(-1, 6, 70)
    ids, ref_ids = rng.integers(-1, 30, 50), rng.integers(-1, 30, 70)
    ids[0] = np.iinfo(np.int64).min + 3  # as far out as generated ids
    given = {"embeddings": rows, "labels": labels, **({"ids": ids} if with_ids else {})}
    items, item_labels, item_ids = rows, labels, ids if with_ids else np.full(50, -1)
    if with_references:
        given.update(ref_embeddings=refs, ref_labels=ref_labels, **({"ref_ids": ref_ids} if with_ids else {}))
        items, item_labels = np.concatenate([rows, refs]), np.concatenate([labels, ref_labels])
        item_ids = np.concatenate([item_ids, ref_ids if with_ids else np.full(70, -1)])
    targets = ((labels[:, None] == item_labels) & (labels[:, None] != -1)).astype(int)
    if with_ids:
        targets[(ids[:, None] == item_ids) & (ids[:, None] != -1)] = -1
    targets[np.arange(50), np.arange(50)] = -1
    if tiles:
        monkeypatch.setattr(evaluation.EmbeddingLists, "_most_queries", lambda self, client: 7)
        monkeypatch.setattr(evaluation, "TILE_BYTES", 12 * 4 * 20)  # references go through a bank
    agree(metrics.per_list(client, NAMES, **given), expected(NAMES, cosines(rows, items), targets))
    assert client.banks.list() == []


@pytest.mark.parametrize("tiles", [False, True], ids=["whole", "parts"])
def test_queries_rank_references_or_a_bank_of_them(client, monkeypatch, tiles):
    rng = np.random.default_rng(7)
    queries, documents = rng.standard_normal((40, 16)).astype(np.float32), rng.standard_normal((90, 16)).astype(np.float32)
    labels, names = rng.integers(0, 9, 40), rng.integers(0, 9, 90)
    wanted = expected(NAMES, cosines(queries, documents), (labels[:, None] == names).astype(int))
    client.banks.create("documents", dim=16, capacity=90, durability="none")
    client.loss("ap", embeddings=queries[:0], labels=labels[:0], ref_embeddings=documents, ref_labels=names, bank="documents",
                gallery="references")
    if tiles:
        monkeypatch.setattr(evaluation, "TILE_WORK", 33 * 90 * 16)
        monkeypatch.setattr(evaluation, "TILE_BYTES", 1000)
    agree(metrics.per_list(client, NAMES, embeddings=queries, labels=labels, gallery="references", ref_embeddings=documents,
                           ref_labels=names), wanted)
    binary = [name for name in NAMES if not name.startswith("ndcg")]
    before = client.banks.get("documents").version
    agree(metrics.per_list(client, binary, embeddings=queries, labels=labels, gallery="references", bank="documents"),
          {name: wanted[name] for name in binary})
    assert client.banks.get("documents").version == before and len(client.banks.list()) == 1


@pytest.mark.parametrize("tiles", [False, True], ids=["whole", "parts"])
def test_pairs_in_place_of_labels_may_be_grades(client, monkeypatch, tiles):
    rng = np.random.default_rng(8)
    rows, refs = rng.standard_normal((30, 8)).astype(np.float32), rng.standard_normal((20, 8)).astype(np.float32)
    grades = rng.integers(0, 5, (30, 50)) * (rng.random((30, 50)) < 0.4)
    wanted = grades.copy()
    wanted[np.arange(30), np.arange(30)] = -1
    if tiles:
        monkeypatch.setattr(evaluation.EmbeddingLists, "_most_queries", lambda self, client: 4)
    agree(metrics.per_list(client, NAMES, embeddings=rows, ref_embeddings=refs, relevance=grades),
          expected(NAMES, cosines(rows, np.concatenate([rows, refs])), wanted))
    agree(metrics.per_list(client, NAMES, embeddings=rows, ref_embeddings=refs, relevance=grades[:, 30:], gallery="references"),
          expected(NAMES, cosines(rows, refs), grades[:, 30:]))


def test_tensors_of_torch_are_taken(client):
    torch.manual_seed(0)
    scores, targets = torch.randn(5, 20, requires_grad=True), torch.rand(5, 20) < 0.3
    agree(metrics.per_list(client, NAMES, scores, targets), expected(NAMES, scores.detach().numpy(), targets.numpy()))
    half = torch.randn(5, 20).bfloat16()
    agree(metrics.per_list(client, ["ap"], half, targets), expected(["ap"], half.float().numpy(), targets.numpy()))


def test_nothing_to_find_is_nan_and_nothing_at_all_is_empty(client):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert np.isnan(metrics.evaluate(client, ["ap"], [[1.0, 2.0]], [[0, 0]])["ap"])
        assert metrics.average_precision(client, np.zeros((0, 4)), np.zeros((0, 4))).shape == (0,)
        none = np.zeros((0, 3), np.float32)
        assert metrics.recall(client, k=3, embeddings=none, labels=[]).shape == (0,)
        assert np.isnan(metrics.evaluate(client, ["ap"], embeddings=np.eye(2), labels=[1, 2])["ap"])


@pytest.mark.parametrize("name, sentence", [
    ("map", "metric is 'map'; it may be ap, ndcg"), ("recall", "recall must have a cut, as recall@10 has"),
    ("r_precision@3", "r_precision must not have a cut$"), ("ap@0", "whole number, 1 or more"),
    ("ap@x", "whole number, 1 or more")])
def test_a_name_that_is_none_is_refused(client, name, sentence):
    with pytest.raises(ValueError, match=sentence):
        metrics.evaluate(client, [name], [[1.0]], [[1]])


def test_a_call_without_a_client_or_a_cut_says_so(client):
    for ask in (lambda: metrics.evaluate(["ap"], [[1.0]], [[1]]), lambda: metrics.average_precision([[1.0]], [[1]])):
        with pytest.raises(TypeError, match=r"^client is a list; it must be a rankd.Client, as rankd.connect\(\) gives"):
            ask()
    for k in (0, 2.0, None):
        with pytest.raises(ValueError, match=f"^k is {k}; it must be a whole number, 1 or more"):
            metrics.recall(client, [[1.0]], [[1]], k=k)
    with pytest.raises(ValueError, match="^metric is 3; it may be ap"):
        metrics.evaluate(client, [3], [[1.0]], [[1]])


def test_lists_that_are_none_are_refused(client):
    for given, error, sentence in (({}, TypeError, "scores and targets, or embeddings"),
                                   ({"scores": [[1.0]]}, TypeError, "together"),
                                   ({"scores": [1.0], "targets": [1]}, ValueError, r"scores has shape \[1\]"),
                                   ({"scores": [[1.0]], "targets": [[1, 0]]}, ValueError, r"targets has shape \[1, 2\]"),
                                   ({"scores": [[1.0]], "targets": [[1]], "axis": 2}, ValueError, "axis is 2"),
                                   ({"scores": [1.0], "targets": [1], "offsets": [0, 1], "axis": 0}, ValueError,
                                    "axis is 0, beside offsets"),
                                   ({"scores": [1.0], "targets": [1], "offsets": [0, 1], "axis": 1}, ValueError,
                                    "axis is 1, beside offsets"),
                                   ({"scores": [[1.0]], "targets": [[1]], "list_weight": [1]}, TypeError,
                                    "list_weight is not an argument of a metric of scores and targets; those are axis, offsets"),
                                   ({"scores": [[1.0]], "targets": [[1]], "embeddings": [[1.0]]}, TypeError,
                                    "embeddings is not an argument"),
                                   ({"embeddings": [[1.0]], "labels": [1], "axis": 0}, TypeError,
                                    "axis is not an argument of a metric of embeddings; those are embeddings, labels, ids"),
                                   ({"scores": [[1.0], [1.0, 2.0]], "targets": [[1], [0, 1]]}, ValueError,
                                    "scores can't be made an array: .* come flat, with offsets"),
                                   ({"embeddings": [1.0], "labels": [1]}, ValueError, "matrix"),
                                   ({"embeddings": [[1.0]], "labels": [1], "gallery": "bank"}, ValueError, "gallery is 'bank'"),
                                   ({"embeddings": [[1.0]]}, rankd.InvalidRequest, "labels")):
        with pytest.raises(error, match=sentence):
            metrics.evaluate(client, ["ap"], **given)


def test_a_metric_of_the_daemon_has_no_gradient(client):
    with pytest.raises(rankd.InvalidRequest, match="output gradient is not one of model hits; it has loss and list_loss"):
        client.loss("hits", [[1.0, 2.0]], [[0, 1]])
    with pytest.raises(rankd.InvalidRequest, match="lambda does not belong to model hits"):
        client.loss("hits", [[1.0, 2.0]], [[0, 1]], lambda_val=2.0, gradient=False)
    assert "hits" not in rankd.LOSSES and "hits" in client.models()
