# SPDX-License-Identifier: Apache-2.0
"""Tests beyond tests/python/test_metric_learning.py: every reducer, two trainers, and wrong uses,
in the real library."""
import pytest
import torch
from pytorch_metric_learning import distances, losses, miners, reducers, trainers
from torch import nn

from bad_uses import refused
from rankd.integrations.metric_learning import RankingLoss

REDUCERS = [reducers.MeanReducer(), reducers.SumReducer(), reducers.DoNothingReducer(), reducers.AvgNonZeroReducer(),
            reducers.ThresholdReducer(low=0.1), reducers.PerAnchorReducer(), reducers.ClassWeightedReducer(torch.rand(5) + 0.1),
            reducers.MultipleReducers({"loss": reducers.MeanReducer()})]


def batch(size=24):
    torch.manual_seed(0)
    return torch.randn(size, 16, requires_grad=True), torch.randint(0, 5, (size,))


@pytest.mark.parametrize("reducer", REDUCERS, ids=lambda one: type(one).__name__)
def test_every_reducer(client, reducer):
    embeddings, labels = batch()
    loss = RankingLoss("ap", reducer=reducer, margin=0.0, client=client)
    value = loss(embeddings, labels)
    if isinstance(value, dict):  # DoNothingReducer
        value = value["loss"]["losses"].mean()
    value.backward()
    assert value.item() > 0 and embeddings.grad.any()


def points(number=64):
    torch.manual_seed(0)
    labels = torch.arange(number) % 4
    return torch.utils.data.TensorDataset(torch.randn(4, 8)[labels] + 0.6 * torch.randn(number, 8), labels)


@pytest.mark.parametrize("trainer", ["MetricLossOnly", "TrainWithClassifier"])
def test_the_librarys_trainers(client, trainer):
    trunk, classifier, data = nn.Linear(8, 16), nn.Linear(16, 4), points()
    loss = RankingLoss("ap", margin=0.05, margin_warmup=0, gradient_scale="unit", client=client)
    models, losses_of = {"trunk": trunk}, {"metric_loss": loss}
    if trainer == "TrainWithClassifier":
        models["classifier"], losses_of["classifier_loss"] = classifier, nn.CrossEntropyLoss()
    optimizers = {f"{name}_optimizer": torch.optim.Adam(one.parameters(), lr=0.02) for name, one in models.items()}
    before = loss(trunk(data.tensors[0]), data.tensors[1]).item()
    getattr(trainers, trainer)(models=models, optimizers=optimizers, batch_size=32, loss_funcs=losses_of, dataset=data,
                               dataloader_num_workers=0).train(num_epochs=6)
    assert loss(trunk(data.tensors[0]), data.tensors[1]).item() < 0.8 * before


def test_a_miner_of_a_trainer_is_refused(client):
    trunk = nn.Linear(8, 16)
    host = trainers.MetricLossOnly(models={"trunk": trunk}, optimizers={}, batch_size=32,
                                   loss_funcs={"metric_loss": RankingLoss(client=client)},
                                   mining_funcs={"tuple_miner": miners.MultiSimilarityMiner()}, dataset=points(),
                                   dataloader_num_workers=0)
    with pytest.raises(ValueError, match="^indices_tuple is given; a rank loss needs whole lists"):
        host.train(num_epochs=1)


def test_wrong_uses_are_named(client):
    embeddings, labels = batch()
    loss = RankingLoss(client=client)
    make = lambda *args, **settings: RankingLoss(*args, client=client, **settings)  # noqa: E731
    cases = [
        (lambda: losses.CrossBatchMemory(loss, 16, 64), "not supported for RankingLoss"),  # the library's own word
        (lambda: loss(embeddings, labels, miners.BatchHardMiner()(embeddings, labels)), "indices_tuple is given"),
        (lambda: loss(embeddings, labels[:5]), "labels"),
        (lambda: loss(embeddings[0], labels), "embeddings"),
        (lambda: loss(embeddings, labels, None, embeddings), "ref_emb and ref_labels must be given together"),
        (lambda: loss(embeddings, labels, ids=labels), "ids are given to a loss without a bank"),
        (lambda: make("map"), "model is 'map'; it may be"),
        (lambda: make(temperature=0.1), "temperature"),
        (lambda: make(distance=distances.LpDistance()), "margin must be given with distance=LpDistance"),
        (lambda: make(reducer=reducers.ThresholdReducer(low=0), embedding_size=16, memory_size=64), "reducer is ThresholdReducer "
                                                                                                    "and there is a bank"),
        (lambda: make(distance=distances.LpDistance(), margin=0.1, embedding_size=16, memory_size=64),
         "distance is LpDistance and there is a bank"),
        (lambda: make(embedding_size=16), "embedding_size and memory_size must be given together"),
        (lambda: make(embedding_size=16, memory_size=0), "memory_size is 0"),
        (lambda: make(embedding_size=16.5, memory_size=64), "embedding_size is 16.5"),
        (lambda: make(embedding_size=8, memory_size=64, bank_start=0)(embeddings, labels), "16"),
        (lambda: make(bank="missing", bank_start=0)(embeddings, labels), "missing"),
        (lambda: make(reduction="mean"), "reduction is given"),
    ]
    refused(cases)
