# SPDX-License-Identifier: Apache-2.0
"""rankd.integrations.metric_learning inside the real pytorch-metric-learning: results, reducers,
its memory, its trainer."""
import numpy as np
import pytest
import torch
from pytorch_metric_learning import distances, losses, miners, reducers, regularizers
from torch import nn

import rankd.torch
from rankd.errors import NotFound
from rankd.integrations.metric_learning import RankingLoss


def batch(size=24, dim=16, labels=5, seed=0):
    torch.manual_seed(seed)
    return torch.randn(size, dim, requires_grad=True), torch.randint(0, labels, (size,))


def average_precisions(embeddings, labels, ref=None, ref_labels=None):
    """1 - AP of each query with something to find, by a plain sort of cosines."""
    unit = lambda x: x / np.linalg.norm(x, axis=1, keepdims=True)  # noqa: E731
    x = unit(embeddings.detach().double().numpy())
    y = x if ref is None else unit(ref.detach().double().numpy())
    found = labels if ref is None else ref_labels
    values = []
    for q in range(len(x)):
        others = [i for i in range(len(y)) if ref is not None or i != q]
        order = sorted(others, key=lambda i: (-(x[q] @ y[i]), bool(found[i] == labels[q])))
        hits = np.array([bool(found[i] == labels[q]) for i in order])
        if hits.any():
            values.append(1 - np.mean((np.cumsum(hits) / np.arange(1, len(hits) + 1))[hits]))
    return np.array(values)


@pytest.fixture
def make(client):
    return lambda *args, **settings: RankingLoss(*args, client=client,
                                                 **{"margin_warmup": 0, "margin": 0.0, "bank_start": 0, **settings})


def test_the_loss_is_the_mean_over_queries_and_the_gradient_that_of_embeddings(make, client):
    embeddings, labels = batch()
    value = make()(embeddings, labels)
    assert value.item() == pytest.approx(average_precisions(embeddings, labels).mean(), abs=1e-6)
    value.backward()
    again = embeddings.detach().clone().requires_grad_()
    rankd.torch.RetrievalLoss("ap", margin=0.0, margin_warmup=0, client=client)(again, labels).backward()
    assert again.grad.abs().sum() > 0
    torch.testing.assert_close(embeddings.grad, again.grad, atol=1e-6, rtol=1e-4)


@pytest.mark.parametrize("settings", [{}, {"embedding_size": 16, "memory_size": 64}], ids=["alone", "with a bank"])
def test_the_label_minus_one_is_relevant_to_nothing(make, client, settings):
    """With a bank or without one, and in rankd.torch."""
    embeddings, labels = batch()
    labels[::3] = -1
    value = make(**settings)(embeddings, labels)
    plain = rankd.torch.RetrievalLoss("ap", margin=0.0, client=client)
    torch.testing.assert_close(value, plain(embeddings, labels))
    assert plain.info.lists_skipped >= int((labels == -1).sum())


def test_references_are_ranked_instead_of_the_batch(make):
    embeddings, labels = batch()
    ref, ref_labels = batch(40, seed=1)
    value = make()(embeddings, labels, None, ref, ref_labels)
    assert value.item() == pytest.approx(average_precisions(embeddings, labels, ref, ref_labels).mean(), abs=1e-6)
    value.backward()
    assert ref.grad.abs().sum() > 0


@pytest.mark.parametrize("reducer, reduce", [
    (reducers.MeanReducer(), np.mean), (reducers.SumReducer(), np.sum),
    (reducers.ThresholdReducer(low=0.4), lambda x: x[x > 0.4].mean()),
    (reducers.AvgNonZeroReducer(), lambda x: x[x > 0].mean())], ids=lambda r: type(r).__name__)
def test_reducers_get_the_loss_of_each_query(make, reducer, reduce):
    embeddings, labels = batch()
    labels[:1] = 77  # a query without anything to find is no loss of 0
    value = make(reducer=reducer)(embeddings, labels)
    assert value.item() == pytest.approx(reduce(average_precisions(embeddings, labels)), abs=1e-5)
    value.backward()
    assert embeddings.grad.abs().sum() > 0


def test_a_class_weighted_reducer_gets_the_labels_of_the_queries(make):
    embeddings, labels = batch(12, labels=2)
    weights = torch.tensor([1.0, 3.0])
    value = make(reducer=reducers.ClassWeightedReducer(weights))(embeddings, labels)
    each = average_precisions(embeddings, labels)
    assert value.item() == pytest.approx((each * weights[labels].numpy()).mean(), abs=1e-5)


def test_any_distance_and_a_regularizer(make):
    embeddings, labels = batch()
    cosine = make()(embeddings, labels)
    euclidean = make(distance=distances.LpDistance(), margin=0.0)(embeddings, labels)  # of unit vectors: the same order
    assert euclidean.item() == pytest.approx(cosine.item(), abs=1e-6)
    regularized = make(embedding_regularizer=regularizers.LpRegularizer(), embedding_reg_weight=2.0)(embeddings, labels)
    assert regularized.item() == pytest.approx(cosine.item() + 2 * embeddings.norm(dim=1).mean().item(), rel=1e-5)


def test_nothing_to_find_is_a_loss_of_zero_with_a_gradient_of_zero(make):
    embeddings, _ = batch()
    value = make()(embeddings, torch.arange(len(embeddings)))
    value.backward()
    assert value.item() == 0 and not embeddings.grad.any()


def test_a_nan_propagates_if_it_may(make):
    embeddings, labels = batch()
    loss = make(on_nan="propagate")
    loss(embeddings, labels)
    bad = embeddings.detach()[:10].clone()
    bad[3, 3] = float("nan")
    assert loss(bad, labels[:10]).isnan()


def test_the_bank_takes_the_place_of_cross_batch_memory(make, client):
    loss = make(embedding_size=16, memory_size=30)
    name = loss.rank.bank
    first, second = batch(), batch(seed=1)
    loss(*first)
    assert loss.info.bank_items == 0 and client.banks.get(name).items == 24
    value = loss(*second, ids=torch.arange(24) + 24)
    gallery = torch.cat([second[0], first[0]]), torch.cat([second[1], first[1]])
    expected = []
    for q in range(24):  # each query ranks the others of its batch and the bank
        kept = [i for i in range(48) if i != q]
        expected.append(average_precisions(second[0][q:q + 1], second[1][q:q + 1], gallery[0][kept], gallery[1][kept]))
    assert value.item() == pytest.approx(np.concatenate(expected).mean(), abs=1e-5)
    assert client.banks.get(name).items == 30
    loss.eval()
    loss(*batch(seed=2))
    assert client.banks.get(name).version == 2
    del loss
    with pytest.raises(NotFound):
        client.banks.get(name)


def test_a_named_bank_is_shared_and_stays(make, client, bank):
    one, two = make(bank=bank, fresh=False), make(bank=bank, fresh=False, reducer=reducers.SumReducer())
    one(*batch())
    two(*batch())
    assert two.info.bank_items == 24
    assert "rank._extra_state" in one.state_dict()


def test_the_librarys_trainer_trains_with_it(make):
    from pytorch_metric_learning import trainers

    torch.manual_seed(0)
    centres = torch.randn(4, 8)
    labels = torch.arange(64) % 4
    points = centres[labels] + 0.6 * torch.randn(64, 8)
    trunk = nn.Linear(8, 16)
    loss = make(margin=0.1)
    before = average_precisions(trunk(points), labels).mean()
    trainer = trainers.MetricLossOnly(
        models={"trunk": trunk}, optimizers={"trunk_optimizer": torch.optim.Adam(trunk.parameters(), lr=0.02)}, batch_size=32,
        loss_funcs={"metric_loss": loss}, dataset=torch.utils.data.TensorDataset(points, labels), dataloader_num_workers=0)
    trainer.train(num_epochs=5)
    assert average_precisions(trunk(points), labels).mean() < before - 0.05
    assert loss.rank.schedule.steps == 10


def test_what_cannot_be_honoured_is_refused_by_name(make):
    embeddings, labels = batch()
    mined = miners.MultiSimilarityMiner()(embeddings, labels)
    with pytest.raises(ValueError, match="^indices_tuple is given.*leave the miner out"):
        make()(embeddings, labels, mined)
    with pytest.raises(TypeError, match="^labels is None"):
        make()(embeddings)
    with pytest.raises(TypeError, match="^ref_emb and ref_labels must be given together"):
        make()(embeddings, labels, None, embeddings)
    with pytest.raises(ValueError, match="^ids are given to a loss without a bank"):
        make()(embeddings, labels, ids=labels)
    with pytest.raises(ValueError, match="^reducer is ThresholdReducer and there is a bank"):
        make(reducer=reducers.ThresholdReducer(low=0), bank="x")
    with pytest.raises(ValueError, match="^distance is LpDistance and there is a bank"):
        make(distance=distances.LpDistance(), bank="x")
    with pytest.raises(ValueError, match="^ref_emb is given to a loss with a bank"):
        make(bank="x")(embeddings, labels, None, embeddings, labels)
    with pytest.raises(TypeError, match="^embedding_size and memory_size must be given together"):
        make(memory_size=5)
    with pytest.raises(TypeError, match="^margin must be given with distance=LpDistance"):
        RankingLoss(distance=distances.LpDistance())
    with pytest.raises(Exception, match="not supported for RankingLoss"):  # the library's own word
        losses.CrossBatchMemory(make(), 16)
