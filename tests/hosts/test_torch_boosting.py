# SPDX-License-Identifier: Apache-2.0
"""rankd.integrations.boosting inside the real XGBoost, and a numpy model without any library."""
import numpy as np
import xgboost

from bad_uses import refused
from rankd.integrations.boosting import RankObjective


def queries(number, seed=0):
    rng = np.random.default_rng(seed)
    sizes = rng.integers(5, 15, number)
    X = rng.normal(size=(sizes.sum(), 4))
    return X, np.digitize(X[:, 0] - X[:, 1] + 0.3 * rng.normal(size=len(X)), [1.0, 2.0]), sizes


def ndcg(client, scores, grades, sizes):
    offsets = np.concatenate([[0], np.cumsum(sizes)])
    return 1 - client.loss("ndcg", np.asarray(scores, np.float32), grades.astype(np.int8), offsets=offsets, margin=0.0,
                           gradient=False).loss


def matrix(number, seed=0, **more):
    X, grades, sizes = queries(number, seed)
    made = xgboost.DMatrix(X, label=grades, **more)
    made.set_group(sizes)
    return made, grades, sizes


def test_xgboost_trains_with_it(client):
    train, *_ = matrix(80)
    other, grades, sizes = matrix(80, seed=1)
    settings = {"eta": 0.1, "max_depth": 4, "nthread": 1, "base_score": 0.0, "min_child_weight": 0}
    objective = RankObjective("ndcg", client=client)
    booster = xgboost.train(settings, train, num_boost_round=40, obj=objective)
    theirs = xgboost.train({**settings, "objective": "rank:ndcg", "min_child_weight": 1}, train, num_boost_round=40)
    found, own = (ndcg(client, one.predict(other, output_margin=True), grades, sizes) for one in (booster, theirs))
    nothing = ndcg(client, np.zeros(len(grades)), grades, sizes)
    print(f"NDCG {found:.3f}, XGBoost's rank:ndcg {own:.3f}, constant {nothing:.3f}")
    assert found > own - 0.04 and found > nothing + 0.2
    assert objective.info.lists == 80 and objective.loss < 0.1


def test_xgboosts_weights_are_those_of_queries(client):
    X, grades, sizes = queries(20)
    train, *_ = matrix(20)
    train.set_weight(np.zeros(20))
    booster = xgboost.train({"nthread": 1, "base_score": 0.0}, train, num_boost_round=2, obj=RankObjective("ndcg", client=client))
    assert not booster.predict(train, output_margin=True).any()


def test_a_linear_model_of_numpy_alone(client):
    X, grades, sizes = queries(60)
    objective, weights, told = RankObjective("ndcg", client=client), np.zeros(4), []
    for _ in range(100):
        gradient, _ = objective.at(X @ weights, grades, sizes)
        weights -= 0.1 * X.T @ gradient / len(sizes)
        told.append(objective.loss)
    assert told[-1] < 0.5 * told[0] and weights[0] > 0 > weights[1]


def test_wrong_uses_are_named(client):
    train, grades, sizes = matrix(10)
    none = xgboost.DMatrix(queries(10)[0], label=grades)
    make = lambda *args, **settings: RankObjective(*args, client=client, **settings)  # noqa: E731
    fit = lambda objective, data=train: xgboost.train({"nthread": 1}, data, num_boost_round=1, obj=objective)  # noqa: E731
    cases = [
        (lambda: fit(make(), none), "data has no group"),
        (lambda: fit(make("lambdarank")), "lambdarank"),
        (lambda: make(step=0), "step is 0; it must be above 0"),
        (lambda: make(floor=-1), "floor is -1; it must be above 0"),
        (lambda: make(step="fast"), "step is 'fast'; it must be a number"),
        (lambda: fit(make(margin=-1.0)), "margin"),
        (lambda: fit(make(top_k=-1)), "top_k"),
        (lambda: fit(make(gain="cubic")), "gain"),
        (lambda: fit(make(eta=0.1)), "eta"),
        (lambda: make().at(np.zeros((4, 2)), np.zeros(4), [4]), r"scores are \[4, 2\] and targets \[4\]; both must be \[N\]"),
        (lambda: make().at(np.full(4, np.nan), np.zeros(4), [4]), "NaN"),
        (lambda: make().at(np.zeros(4), np.array([0.5, 1, 0, 0]), [4]), "0.5"),
        (lambda: make().at(np.zeros(4), np.zeros(4), [[4]]), "group"),
        (lambda: make().at(np.zeros(4), np.zeros(4), ["four"]), "group"),
        (lambda: make().of_labels(np.zeros(4), np.zeros(4), None, None), "group is None"),
        (lambda: make().at(np.zeros(4), np.zeros(4), [4], [-1.0]), "weight"),
    ]
    refused(cases)
