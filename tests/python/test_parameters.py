# SPDX-License-Identifier: Apache-2.0
"""Arguments that a loss can't have are refused when it is made: nothing is asked of a daemon, and
no training begins with one."""
import numpy as np
import pytest
import torch

import rankd
import rankd.torch as rt
from rankd._names import LOSSES, METRICS, TAKEN_BY
from rankd.integrations.boosting import RankObjective
from rankd.integrations.detection import RankDetectionLoss
from rankd.integrations.sentence_transformers import BiEncoderLoss, RerankerLoss

NOBODY = rankd.connect("http://127.0.0.1:1", retry_for=0)


def ap(**more):
    return rt.APLoss(**{"margin": 0, "client": NOBODY, **more})


def scores(model="ap", **more):
    return rt.ScoresLoss(model, **{"margin": 0, "client": NOBODY, **more})


def retrieval(model="ap", **more):
    return rt.RetrievalLoss(model, client=NOBODY, **more)


def detection(**more):
    return rt.DetectionAPLoss(**{"classes": 3, "points": 10, "client": NOBODY, **more})


def objective(model="ndcg", **more):
    return RankObjective(model, client=NOBODY, **more)


@pytest.mark.parametrize(("make", "arguments", "error", "sentence"), [
    (scores, {"model": "map"}, ValueError, "model is 'map'; it may be 'ap', 'recall', 'ndcg', 'mrr', 'hits'"),
    (scores, {"model": "rank"}, ValueError, "model is 'rank'; it may be"),
    (scores, {"model": None}, ValueError, "model is None; it may be"),
    (objective, {"model": "map"}, ValueError, "model is 'map'; it may be 'ap', 'recall', 'ndcg', 'mrr'"),
    (objective, {"model": "hits"}, ValueError, "model is 'hits'; it may be"),
    (ap, {"lambda_val": 0}, ValueError, "lambda_val is 0; it must be a number from 1e-12 to 1e+12"),
    (ap, {"lambda_val": float("nan")}, ValueError, "lambda_val is nan; it must be a finite number"),
    (ap, {"lambda_val": "big"}, TypeError, "lambda_val is 'big'; it must be a number"),
    (retrieval, {"lambda_val": -1}, ValueError, "lambda_val is -1; it must be a number from 1e-12 to 1e+12"),
    (ap, {"margin": "1"}, TypeError, "margin is '1'; it must be a number, in units of the scores"),
    (ap, {"margin": True}, TypeError, "margin is True; it must be a number"),
    (ap, {"loss_weight": float("inf")}, ValueError, "loss_weight is inf; it must be a finite number"),
    (retrieval, {"loss_weight": -1}, ValueError, "loss_weight is -1; it must be 0 or more"),
    (detection, {"loss_weight": float("nan")}, ValueError, "loss_weight is nan; it must be a finite number"),
    (ap, {"axis": 2}, ValueError, "axis is 2; it may be 0 or 1"),
    (ap, {"axis": "0"}, ValueError, "axis is '0'; it may be 0 or 1"),
    (ap, {"axis": True}, ValueError, "axis is True; it may be 0 or 1"),
    (ap, {"interclass": 2}, ValueError, "interclass is 2; it must be a number from 0 to 1"),
    (detection, {"interclass": "x"}, TypeError, "interclass is 'x'; it must be a number"),
    (ap, {"top_k": -1}, ValueError, "top_k is -1; it must be a whole number from 0 to 2147483647"),
    (ap, {"top_k": 1.5}, ValueError, "top_k is 1.5; it must be a whole number from 0 to 2147483647"),
    (ap, {"lambda_scope": "all"}, ValueError, "lambda_scope is 'all'; it may be 'list' or 'batch'"),
    (retrieval, {"lambda_units": "x"}, ValueError, "lambda_units is 'x'; it may be 'normalized' or 'rank'"),
    (detection, {"gradient_scale": "x"}, ValueError, "gradient_scale is 'x'; it may be 'lambda' or 'unit'"),
    (retrieval, {"model": "recall", "weight": "sqrt"}, ValueError, "weight is 'sqrt'; it may be 'log', 'loglog' or 'identity'"),
    (retrieval, {"normalize": "no"}, TypeError, "normalize is 'no'; it must be True or False"),
    (retrieval, {"gain": "exp2"}, ValueError, "gain is given to 'ap'; it goes with 'ndcg'"),
    (retrieval, {"model": "recall", "top_k": 3}, ValueError, "top_k is given to 'recall'; it goes with 'ap', 'ndcg', 'mrr' or "
                                                             "'hits'"),
    (retrieval, {"axis": 0}, ValueError, "axis is given to a loss of embeddings; it goes with scores"),
    (scores, {"normalize": True}, ValueError, "normalize is given to a loss of scores; it goes with embeddings"),
    (scores, {"model": "hits", "lambda_val": 2.0}, ValueError, "lambda_val is given to 'hits'; it goes with 'ap', 'recall', "
                                                               "'ndcg' or 'mrr'"),
    (scores, {"enqueue": False}, TypeError, "enqueue is given to ScoresLoss, which itself says in each step what it is"),
    (scores, {"batch_id": "x"}, TypeError, "batch_id is given to ScoresLoss"),
    (scores, {"lambda": 3}, TypeError, "unexpected keyword argument 'lambda'; did you mean 'lambda_val'?"),
    (retrieval, {"model": "ndcg", "bank": "b"}, ValueError, "bank is 'b'; 'ndcg' takes none, because a bank holds no grades"),
    (ap, {"bank": 3}, TypeError, "bank is 3; it must be the name of a bank"),
    (ap, {"bank": ""}, TypeError, "bank is ''; it must be the name of a bank"),
    (ap, {"margin_warmup": 1.5}, ValueError, "margin_warmup is 1.5; it must be a number of steps, 0 or more"),
    (ap, {"bank_start": -1}, ValueError, "bank_start is -1; it must be a number of steps, 0 or more"),
    (ap, {"client": 3}, TypeError, "client is a int; it must be a rankd.Client, a URL or None"),
    (objective, {"topk": 3}, TypeError, "RankObjective() got an unexpected keyword argument 'topk'; did you mean 'top_k'?"),
    (objective, {"lambda_val": 0}, ValueError, "lambda_val is 0; it must be a number from 1e-12 to 1e+12"),
    (objective, {"bank": "b"}, TypeError, "bank is given; an objective ranks the documents of each query"),
    (objective, {"average": "macro"}, TypeError, "average is given; an objective ranks the documents of each query"),
    (objective, {"step": True}, TypeError, "step is True; it must be a number"),
])
def test_it_is_refused_at_once(make, arguments, error, sentence):
    with pytest.raises(error) as refused:
        make(**arguments)
    assert sentence in str(refused.value)


@pytest.mark.parametrize("make", [
    lambda **more: BiEncoderLoss(torch.nn.Identity(), client=NOBODY, **more),
    lambda **more: RerankerLoss(torch.nn.Identity(), client=NOBODY, **more),
    lambda **more: RankDetectionLoss(classes=3, points=10, client=NOBODY, **more),
], ids=["BiEncoderLoss", "RerankerLoss", "RankDetectionLoss"])
def test_an_adapter_names_itself_and_not_what_it_is_made_of(request, make):
    name = request.node.callspec.id
    with pytest.raises(TypeError, match=rf"^{name}\(\) got an unexpected keyword argument 'lamda_val'; did you mean "
                                        r"'lambda_val'\?$"):
        make(lamda_val=3)
    assert make(lambda_val=3).rank.options["lambda_val"] == 3
    if name != "RankDetectionLoss":
        with pytest.raises(ValueError, match=r"^loss is 'map'; it may be 'ap', 'recall', 'ndcg', 'mrr'$"):
            make(loss="map")


def test_numbers_of_numpy_and_torch_are_numbers():
    crit = detection(classes=np.int64(3), points=np.int32(10), margin=np.float32(0.5), interclass=torch.tensor(0.25))
    assert (crit.classes, crit.capacity, crit.interclass) == (3, 40, 0.25)
    assert ap(lambda_val=np.float64(2), top_k=np.int64(3), margin_warmup=np.int64(7)).options["top_k"] == 3


@pytest.mark.parametrize("model", LOSSES + METRICS)
def test_a_loss_takes_what_the_table_says(client, model):
    """The package's table and the daemon agree on which loss takes which parameter."""
    values = {"weight": "log", "gain": "linear", "top_k": 2, "share_of": "top_k"}
    for name, value in values.items():
        ask = lambda: client.loss(model, [[1.0, 2.0]], [[0, 1]], margin=0.0, gradient=False, **{name: value})
        if model in TAKEN_BY[name]:
            assert ask().info.lists == 1
        else:
            with pytest.raises(rankd.InvalidRequest, match=f"parameter {name} does not belong to model {model}"):
                ask()


def test_the_client_has_one_name_for_lambda(client):
    with pytest.raises(TypeError, match="unexpected keyword argument 'lamda'; did you mean 'lambda_val'"):
        client.loss("ap", [[1.0]], [[1]], lamda=3)
    with pytest.raises(TypeError, match="unexpected keyword argument 'lambda'; did you mean 'lambda_val'"):
        client.loss("ap", [[1.0]], [[1]], lambda_val=2, **{"lambda": 3})
    with pytest.raises(TypeError, match=r"margin is \[1\]; it must be one number"):
        client.loss("ap", [[1.0]], [[1]], margin=[1])
    with pytest.raises(ValueError, match="gradient is array.*; it may be 'dense', 'sparse' or False"):
        client.loss("ap", [[1.0]], [[1]], gradient=np.zeros(2))


def test_an_address_that_is_no_text_is_refused():
    with pytest.raises(TypeError, match="url is 3; it must be a text"):
        rankd.connect(3)


def test_a_loss_shows_what_it_was_given():
    shown = repr(ap(interclass=0.2, loss_weight=2, lambda_scope="batch", average="sum"))
    assert all(f"{name}={value}" in shown for name, value in (("interclass", 0.2), ("loss_weight", 2.0),
                                                              ("lambda_scope", "'batch'")))
    assert "reduction='none'" in repr(ap(reduction="none")) and "no bank" in repr(detection(batches=0))
    assert repr(ap()) == "APLoss('ap', lambda_val=1, margin=0, margin_warmup=100, average='macro', axis=1)"


@pytest.mark.parametrize(("group", "error", "sentence"), [
    ([-1, 5], ValueError, "group holds -1; it must be [queries], the number of documents of each"),
    ([1.5, 2.5], ValueError, "group holds 1.5; it must be [queries]"),
    ([3, 2], ValueError, "group sums to 5; it must sum to the number of documents, 4"),
    ([[2, 2]], ValueError, "group is [1, 2]; it must be [queries]"),
    (None, TypeError, "group is None; it must be the number of documents of each query"),
])
def test_a_group_that_is_none(group, error, sentence):
    with pytest.raises(error) as refused:
        objective().at([1, 2, 3, 4], [0, 1, 0, 1], group)
    assert sentence in str(refused.value)
