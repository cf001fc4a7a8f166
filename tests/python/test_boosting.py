# SPDX-License-Identifier: Apache-2.0
"""rankd.integrations.boosting: its numbers, the real LightGBM through both of its interfaces, and a
test double of XGBoost's DMatrix (its wheel is too large for a test)."""
import copy
import pickle

import numpy as np
import pytest

from rankd.integrations.boosting import RankObjective


def queries(count=30, seed=0, features=4):
    """Features, grades 0 to 3 that follow the first two of them, and numbers of documents."""
    rng = np.random.default_rng(seed)
    sizes = rng.integers(5, 15, count)
    X = rng.normal(size=(sizes.sum(), features))
    grades = np.digitize(X[:, 0] - X[:, 1] + 0.3 * rng.normal(size=len(X)), [0.8, 1.8, 2.6])
    return X, grades, sizes


def ndcg(scores, grades, sizes):
    """Mean over queries with something to find, by a plain sort; at equal scores the worst
    order."""
    values = []
    for s, g in zip(np.split(scores, np.cumsum(sizes)[:-1]), np.split(grades, np.cumsum(sizes)[:-1])):
        gains = lambda order: np.sum((2.0 ** order - 1) / np.log2(np.arange(2, len(order) + 2)))  # noqa: E731
        if g.any():
            values.append(gains(g[np.lexsort((g, -s))]) / gains(np.sort(g)[::-1]))
    return np.mean(values)


@pytest.fixture
def make(client):
    return lambda *args, **settings: RankObjective(*args, client=client, **settings)


def test_the_loss_is_that_of_the_ranking_and_the_gradient_that_of_the_client(make, client):
    X, grades, sizes = queries()
    scores = X[:, 0] * 5
    objective = make(margin=0.0)
    gradient, curvature = objective.at(scores, grades, sizes)
    assert objective.loss == pytest.approx(1 - ndcg(scores, grades, sizes), abs=1e-6)
    shares = [np.abs(part).sum() for part in np.split(gradient, np.cumsum(sizes)[:-1])]
    assert all(share == pytest.approx(1, abs=1e-5) or share == 0 for share in shares) and max(shares) > 0
    np.testing.assert_allclose(curvature, np.abs(gradient) + 0.01 * np.abs(gradient).mean())
    again, _ = objective.at(scores * 100 + 7, grades, sizes)  # the spread is the unit
    np.testing.assert_allclose(again, gradient, atol=1e-6)


def test_a_leaf_moves_by_no_more_than_a_step(make):
    X, grades, sizes = queries()
    gradient, curvature = make(step=0.5).at(X[:, 2], grades, sizes)
    assert np.all(curvature > 0)
    rng = np.random.default_rng(1)
    for _ in range(50):
        leaf = rng.random(len(X)) < rng.random()
        assert abs(gradient[leaf].sum()) <= 0.5 * curvature[leaf].sum()


def test_equal_scores_have_a_gradient_and_nothing_to_find_has_none_but_a_curvature(make):
    _, grades, sizes = queries()
    gradient, _ = make().at(np.zeros(len(grades)), grades, sizes)
    assert gradient[grades == 3].mean() < 0 < gradient[grades == 0].mean()
    gradient, curvature = make().at(np.zeros(4), np.zeros(4), [4])
    assert not gradient.any() and np.all(curvature > 0)


def test_weights_of_queries_however_they_are_given(make):
    X, grades, sizes = queries()
    weight = np.arange(len(sizes)) % 3
    by_query, _ = make().at(X[:, 2], grades, sizes, weight)
    by_document, _ = make().at(X[:, 2], grades, sizes, np.repeat(weight, sizes))
    np.testing.assert_array_equal(by_query, by_document)
    assert not by_query[np.repeat(weight, sizes) == 0].any() and by_query.any()


def test_lightgbm_trains_with_it(make):
    lightgbm = pytest.importorskip("lightgbm")
    X, grades, sizes = queries(60)
    other, other_grades, other_sizes = queries(60, seed=1)
    settings = {"learning_rate": 0.1, "num_leaves": 15, "min_data_in_leaf": 5, "num_threads": 1, "verbose": -1, "seed": 0}
    objective = make()
    booster = lightgbm.train({**settings, "objective": objective}, lightgbm.Dataset(X, grades, group=sizes), num_boost_round=40)
    found = ndcg(booster.predict(other), other_grades, other_sizes)
    own = lightgbm.train({**settings, "objective": "lambdarank"}, lightgbm.Dataset(X, grades, group=sizes), num_boost_round=40)
    theirs = ndcg(own.predict(other), other_grades, other_sizes)
    print(f"NDCG {found:.3f}, LightGBM's lambdarank {theirs:.3f}")
    assert found > theirs - 0.04 and found > ndcg(np.zeros(len(other)), other_grades, other_sizes) + 0.2
    ranker = lightgbm.LGBMRanker(objective=make().of_labels, n_estimators=40, learning_rate=0.1, num_leaves=15,
                                 min_child_samples=5, n_jobs=1, verbose=-1, random_state=0)
    ranker.fit(X, grades, group=sizes)
    np.testing.assert_allclose(ranker.predict(other), booster.predict(other), atol=1e-6)


class DMatrix:
    """Test double of xgboost.DMatrix: the methods that an objective uses."""

    def __init__(self, labels, sizes, weight=()):
        self.labels, self.sizes, self.weight = np.asarray(labels, np.float32), sizes, np.asarray(weight, np.float32)

    def get_label(self):
        return self.labels

    def get_weight(self):
        return self.weight

    def get_uint_info(self, field):
        assert field == "group_ptr"
        return np.concatenate([[0], np.cumsum(self.sizes)]).astype(np.uint32) if self.sizes is not None else np.zeros(0,
            np.uint32)


def test_xgboosts_interface(make):
    X, grades, sizes = queries()
    gradient, curvature = make()(X[:, 2].astype(np.float32), DMatrix(grades, sizes))
    expected, _ = make().at(X[:, 2], grades, sizes)
    np.testing.assert_allclose(gradient, expected, atol=1e-6)
    assert gradient.shape == curvature.shape == (len(X),)
    weighted, _ = make()(X[:, 2], DMatrix(grades, sizes, np.zeros(len(sizes))))
    assert not weighted.any()
    with pytest.raises(ValueError, match="^data has no group"):
        make()(X[:, 2], DMatrix(grades, None))


def test_copies_and_other_losses(make):
    X, grades, sizes = queries()
    objective = make("ap")
    for one in (copy.deepcopy(objective), pickle.loads(pickle.dumps(objective))):
        np.testing.assert_array_equal(one.at(X[:, 0], grades > 0, sizes)[0], objective.at(X[:, 0], grades > 0, sizes)[0])
    assert "'ap'" in repr(objective) and "loss=0." in repr(objective)


@pytest.mark.parametrize("change, sentence", [
    ({"group": [3, 3]}, "^group sums to 6; it must sum to the number of documents, 5"),
    ({"group": [2.5, 2.5]}, "^group holds 2.5; it must be"),
    ({"targets": [0, 1]}, r"^scores are \[5\] and targets \[2\]; both must be"),
    ({"weight": [1, 2, 1, 1, 1]}, "^weight differs within query 0"),
    ({"weight": [1, 2, 3]}, r"^weight is \[3\]; it must be \[2\], one per query, or \[5\]")])
def test_bad_input_is_named(make, change, sentence):
    with pytest.raises(ValueError, match=sentence):
        make().at(**{"scores": np.zeros(5), "targets": np.array([0, 1, 0, 1, 0]), "group": [2, 3], **change})


def test_bad_settings_are_named(make):
    with pytest.raises(ValueError, match="^step is 0; it must be above 0"):
        make(step=0)
    with pytest.raises(ValueError, match="^group is None"):
        make().of_labels(np.zeros(2), np.zeros(2), None, None)
