# SPDX-License-Identifier: Apache-2.0
"""rankd.integrations.sentence_transformers, with test doubles of the library's models: a dict goes
in and comes out with "sentence_embedding"; pairs of texts go through a tokenizer and come out as
logits."""
import numpy as np
import pytest
import torch
from torch import nn

import rankd.torch
from rankd.integrations.sentence_transformers import BiEncoderLoss, RerankerLoss


class Encoder(nn.Module):
    """Test double of a SentenceTransformer: mean of token embeddings. It adds to the dict that it
    gets, as the library does."""

    def __init__(self, dropout=0.0):
        super().__init__()
        self.tokens, self.drop, self.largest = nn.Embedding(50, 16), nn.Dropout(dropout), 0

    def forward(self, features):
        mask = features["attention_mask"].unsqueeze(2).float()
        self.largest = max(self.largest, len(mask))
        features["sentence_embedding"] = (self.drop(self.tokens(features["input_ids"])) * mask).sum(1) / mask.sum(1)
        return features


def tokens(*texts, width=0):
    """Texts are lists of numbers."""
    width = max(width, *map(len, texts))
    return {"input_ids": torch.tensor([[*t, *[0] * (width - len(t))] for t in texts]),
            "attention_mask": torch.tensor([[*[1] * len(t), *[0] * (width - len(t))] for t in texts])}


def texts(seed, count=6, length=4):
    rng = np.random.default_rng(seed)
    return [list(map(int, rng.integers(1, 50, rng.integers(2, length)))) for _ in range(count)]


@pytest.fixture
def make(client):
    def one(*args, **settings):
        torch.manual_seed(0)
        dropout = settings.pop("dropout", 0.0)
        return BiEncoderLoss(Encoder(dropout), *args, client=client,
                             **{"margin": 0.0, "margin_warmup": 0, "bank_start": 0, **settings})
    return one


def expected(model, anchors, documents, relevant):
    """Mean of 1 - AP by a plain sort of cosines."""
    with torch.no_grad():
        a, d = (model(dict(x))["sentence_embedding"].double() for x in (anchors, documents))
    cosine = nn.functional.normalize(a) @ nn.functional.normalize(d).T
    values = []
    for row, hits in zip(cosine.tolist(), relevant):
        order = sorted(range(len(row)), key=lambda i: (-row[i], hits[i]))
        there = np.array([hits[i] for i in order])
        values.append(1 - np.mean((np.cumsum(there) / np.arange(1, len(row) + 1))[there]))
    return np.mean(values)


def test_each_anchor_ranks_all_positives_and_negatives(make):
    a, p, n = (tokens(*texts(seed)) for seed in range(3))
    loss = make()
    value = loss(iter([a, p, n]), None)
    both = tokens(*texts(1), *texts(2))
    relevant = [[i == q for i in range(12)] for q in range(6)]
    assert value.item() == pytest.approx(expected(loss.model, a, both, relevant), abs=1e-6)
    assert "sentence_embedding" not in a
    value.backward()
    assert loss.model.tokens.weight.grad.abs().sum() > 0
    assert loss([a, p], torch.zeros(6)).item() >= 0  # what examples without a label bring


def test_a_document_that_comes_twice_is_relevant_twice_whatever_its_padding(make):
    twice = texts(1, 3)
    a, p = tokens(*texts(0, 4)), tokens(*twice, twice[0])
    loss = make()
    relevant = [[True, False, False, True], [False, True, False, False], [False, False, True, False], [True, False, False, True]]
    assert loss([a, p]).item() == pytest.approx(expected(loss.model, a, p, relevant), abs=1e-6)
    assert loss([a, tokens(*twice, twice[0], width=9)]).item() == pytest.approx(loss([a, p]).item(), abs=1e-6)


def test_labels_are_what_anchors_find_if_it_is_said(make):
    a, p, n = (tokens(*texts(seed, 4)) for seed in range(3))
    labels = torch.tensor([5, 5, 7, 8])
    loss = make(labelled=True)
    relevant = [[bool(labels[q] == label) for label in [5, 5, 7, 8]] + [False] * 4 for q in range(4)]
    assert loss([a, p, n], labels).item() == pytest.approx(
        expected(loss.model, a, tokens(*texts(1, 4), *texts(2, 4)), relevant), abs=1e-6)


def test_a_bank_holds_the_documents_of_earlier_batches(make, client, bank):
    loss = make(bank=bank)
    loss([tokens(*texts(0)), tokens(*texts(1))])
    value = loss([tokens(*texts(2)), tokens(*texts(3))])
    assert loss.info.bank_items == 6 and client.banks.get(bank).items == 12
    relevant = [[i == q for i in range(12)] for q in range(6)]
    assert value.item() == pytest.approx(
        expected(loss.model, tokens(*texts(2)), tokens(*texts(3), *texts(1)), relevant), abs=1e-5)
    again = loss([tokens(*texts(4)), tokens(*texts(1))])  # documents that the bank holds are found there as well
    everything = tokens(*texts(1), *texts(3), *texts(1))
    relevant = [[i % 12 == q for i in range(18)] for q in range(6)]
    assert again.item() == pytest.approx(expected(loss.model, tokens(*texts(4)), everything, relevant), abs=1e-5)


def test_small_parts_give_the_same_gradient_and_the_same_dropout(make):
    columns = [tokens(*texts(seed)) for seed in range(3)]
    grads = []
    for size in (None, 2):
        loss = make(mini_batch_size=size, margin=0.1)
        loss(columns).backward()
        grads.append(loss.model.tokens.weight.grad)
        assert loss.model.largest == (size or 6)
        assert loss.rank.schedule.steps == 1
    torch.testing.assert_close(*grads)
    dropped = make(mini_batch_size=2, dropout=0.5)
    torch.manual_seed(3)
    value = dropped(columns)
    value.backward()
    assert dropped.model.tokens.weight.grad.isfinite().all()


def test_it_trains(make):
    loss = make(margin=0.05, gradient_scale="unit")
    optimizer = torch.optim.Adam(loss.parameters(), lr=0.05)
    values = []
    for _ in range(15):
        optimizer.zero_grad()
        value = loss([tokens(*texts(0, 12)), tokens(*texts(1, 12))])
        value.backward()
        optimizer.step()
        values.append(value.item())
    assert values[-1] < 0.5 * values[0]
    assert loss.get_config_dict()["loss"] == "ap"


def test_what_a_bi_encoder_cannot_honour_is_refused(make):
    a, p = tokens(*texts(0)), tokens(*texts(1))
    with pytest.raises(ValueError, match="^sentence_features has 1 column"):
        make()([a])
    with pytest.raises(ValueError, match="^labels holds 3; pairs need none"):
        make()([a, p], torch.full((6,), 3))
    with pytest.raises(TypeError, match="^labels is None; with labelled=True"):
        make(labelled=True)([a, p])
    with pytest.raises(ValueError, match=r"^sentence_features has columns of \[6, 3\] texts"):
        make()([a, tokens(*texts(1, 3))])
    with pytest.raises(ValueError, match=r"^sentence_features have no 'input_ids' but \['pixels'\]"):
        make(bank="x")([{"pixels": torch.zeros(2)}, {"pixels": torch.zeros(2)}])
    with pytest.raises(TypeError, match="^gallery is given"):
        make(gallery="all")
    with pytest.raises(ValueError, match="^mini_batch_size is 0"):
        make(mini_batch_size=0)


class CrossEncoder(nn.Module):
    """Test double of a CrossEncoder with one label: its tokenizer counts letters of a pair, and its
    output is a tuple."""

    def __init__(self, num_labels=1):
        super().__init__()
        self.num_labels, self.linear, self.sizes = num_labels, nn.Linear(26, 1), []

    @staticmethod
    def tokenizer(pairs, padding, truncation, return_tensors):
        assert padding and truncation and return_tensors == "pt"
        rows = [[float((query + text).count(chr(97 + i))) for i in range(26)] for query, text in pairs]
        return {"input_ids": torch.tensor(rows)}

    def forward(self, input_ids):
        self.sizes.append(len(input_ids))
        return (self.linear(input_ids),)


def test_a_reranker_ranks_lists_of_different_lengths_by_grades(client):
    torch.manual_seed(0)
    model = CrossEncoder()
    queries, documents = ["fox", "bee", "ant"], [["a red fox", "a bird", "foxes"], ["bees"], ["no", "yes", "antler", "ants"]]
    grades = [torch.tensor([2, 0, 1]), torch.tensor([1]), torch.tensor([0, 0, 0, 0])]
    loss = RerankerLoss(model, client=client, margin=0.0, margin_warmup=0)
    value = loss([queries, documents], grades)
    scores = [model(**model.tokenizer([(q, d) for d in texts], True, True, "pt"))[0].reshape(-1)
              for q, texts in zip(queries, documents)]
    gains = lambda order: sum((2 ** float(g) - 1) / np.log2(2 + i) for i, g in enumerate(order))  # noqa: E731
    ndcg = [gains(g[s.argsort(descending=True)]) / gains(g.sort(descending=True).values) for s, g in zip(scores[:2], grades[:2])]
    assert value.item() == pytest.approx(1 - np.mean(ndcg), abs=1e-6)
    assert loss.info.lists == 3 and loss.info.lists_skipped == 1
    value.backward()
    assert model.linear.weight.grad.isfinite().all()
    model.sizes.clear()
    small = RerankerLoss(model, client=client, margin=0.0, margin_warmup=0, mini_batch_size=3)
    assert small([queries, documents], grades).item() == pytest.approx(value.item(), abs=1e-6)
    assert model.sizes == [3, 3, 2]


def test_a_reranker_of_no_document_is_a_loss_of_zero(client):
    loss = RerankerLoss(CrossEncoder(), client=client)
    value = loss([["fox"], [[]]], [torch.zeros(0)])
    value.backward()
    assert value.item() == 0


def test_what_a_reranker_cannot_honour_is_refused(client):
    with pytest.raises(ValueError, match="^model has num_labels=3; it must be 1"):
        RerankerLoss(CrossEncoder(3), client=client)
    loss = RerankerLoss(CrossEncoder(), client=client)
    with pytest.raises(ValueError, match="^inputs has 2 columns and labels is a Tensor"):
        loss([["fox"], ["a fox"]], torch.tensor([1]))
    with pytest.raises(ValueError, match=r"^inputs has 1 queries with \[2\] documents, and labels has \[1\] grades"):
        loss([["fox"], [["a", "b"]]], [torch.tensor([1])])
    with pytest.raises(ValueError, match="^prompt is given"):
        loss([["fox"], [["a"]]], [torch.tensor([1])], prompt="find")
    assert isinstance(loss.rank, rankd.torch.ScoresLoss)
