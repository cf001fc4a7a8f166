# SPDX-License-Identifier: Apache-2.0
"""rankd.torch.RetrievalLoss as a criterion of open-metric-learning: its sampler, its extractors'
interface, its metrics."""
import pytest
import torch
from oml.interfaces.models import IExtractor
from oml.losses.triplet import TripletLossWithMiner
from oml.miners.inbatch_all_tri import AllTripletsMiner
from oml.samplers.balance import BalanceSampler
from torch.utils.data import DataLoader, TensorDataset

from bad_uses import refused
from rankd.torch import RetrievalLoss


class Extractor(IExtractor):
    def __init__(self):
        super().__init__()
        self.layer = torch.nn.Linear(16, 8)

    def forward(self, x):
        return self.layer(x)

    @property
    def feat_dim(self):
        return 8


def data():
    """Eight labels, which the first four dimensions separate; the others are noise."""
    rng = torch.Generator().manual_seed(0)
    labels = torch.arange(8).repeat_interleave(10)
    centres = torch.randn(8, 4, generator=rng)
    x = torch.randn(80, 16, generator=rng)
    x[:, :4] = centres[labels] + 0.3 * x[:, :4]
    return x, labels


def train(criterion, steps=60):
    torch.manual_seed(0)
    x, labels = data()
    extractor, told = Extractor(), []
    sampler = BalanceSampler(labels=labels.numpy(), n_labels=4, n_instances=4)
    optimizer = torch.optim.Adam(extractor.parameters(), lr=0.02)
    while len(told) < steps:
        for features, wanted in DataLoader(TensorDataset(x, labels), batch_sampler=sampler):
            optimizer.zero_grad()
            loss = criterion(extractor(features), wanted)
            loss.backward()
            optimizer.step()
            told.append(loss.item())
    return extractor, told


def test_it_trains_in_the_place_of_their_criterion(client):
    criterion = RetrievalLoss("ap", margin=0.05, margin_warmup=0, gradient_scale="unit", client=client)
    extractor, told = train(criterion)
    assert sum(told[-5:]) < 0.5 * sum(told[:5]), (told[:5], told[-5:])
    assert criterion.info.lists == 16
    assert train(TripletLossWithMiner(margin=0.1, miner=AllTripletsMiner()))[1]  # the loss that it replaces


def test_a_bank_stands_for_their_miner_with_a_memory(client):
    client.banks.create("oml", dim=8, capacity=64, durability="none")
    criterion = RetrievalLoss("ap", bank="oml", bank_start=0, client=client)
    train(criterion, steps=5)
    assert client.banks.get("oml").items == 64 and criterion.info.bank_items == 64
    client.banks.delete("oml")


def test_their_metric_agrees_with_ours(client):
    from oml.functional.metrics import calc_map
    rng = torch.Generator().manual_seed(3)
    scores, hits = torch.randn(6, 12, generator=rng), torch.rand(6, 12, generator=rng) < 0.4
    hits[:, 0] = True
    order = scores.argsort(dim=1, descending=True)
    theirs = calc_map([row for row in hits.gather(1, order)], n_gts=hits.sum(1).tolist(), top_k=(12,))[0]
    ours = client.loss("ap", scores.numpy(), hits.numpy(), margin=0.0)
    assert ours.loss == pytest.approx(1 - float(torch.as_tensor(theirs).mean()), abs=1e-5)


def test_wrong_uses_are_named(client):
    criterion = RetrievalLoss("ap", client=client)
    features, labels = torch.randn(8, 8, requires_grad=True), torch.arange(8) % 2
    cases = [
        (lambda: criterion(features), "labels is a NoneType"),
        (lambda: criterion(features, labels[:4]), r"labels has shape \[4\]"),
        (lambda: criterion(features, [0, 1] * 4), "labels is a list; it must be a torch.Tensor"),
        (lambda: criterion(features, labels.float() + 0.5), "labels"),
        (lambda: criterion(features * 0, labels), "embeddings|zero"),
        (lambda: criterion(features[0], labels), "embeddings"),
        (lambda: criterion(features * float("nan"), labels), "NaN"),
        (lambda: criterion(features, labels, features), "ref_emb and ref_labels must be given together"),
        (lambda: RetrievalLoss("triplet", client=client), "model is 'triplet'; it may be"),
        (lambda: RetrievalLoss("ap", miner=AllTripletsMiner(), client=client), "miner"),
        (lambda: RetrievalLoss("ap", need_logs=True, client=client), "need_logs"),
    ]
    refused(cases)
