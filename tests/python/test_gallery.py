# SPDX-License-Identifier: Apache-2.0
"""Queries that rank references and a bank of references, and pairs in place of labels; over both
transports."""
import os

import numpy as np
import oracle
import pytest
import torch
from support import library

import rankd
from rankd.torch import RetrievalLoss

os.environ.setdefault("RANKD_LIBRARY", str(library()))

QUERIES, DOCUMENTS = np.float32([[1, 0], [.999, .045]]), np.float32([[.9, -.43], [.9, .43]])


@pytest.fixture
def client(either):
    return either


def exact(rng, *shape):
    """Vectors whose inner products are exact in float32, in whatever order they are summed."""
    return rng.integers(-4, 5, shape).astype(np.float32) / 4


def same(result, expected, refs):
    loss, gradient, to_refs, valid = expected
    assert result.loss == pytest.approx(loss, rel=1e-6, abs=1e-9)
    assert result.info.lists_valid == valid
    np.testing.assert_allclose(result.gradient, gradient, rtol=1e-5, atol=1e-7)
    if refs is not None:
        np.testing.assert_allclose(result.ref_gradient, to_refs, rtol=1e-5, atol=1e-7)


def test_the_example_of_two_towers(client):
    options = {"embeddings": QUERIES, "labels": [0, 1], "ref_embeddings": DOCUMENTS, "ref_labels": [0, 1], "margin": 0.0}
    assert client.loss("ap", **options).loss == pytest.approx(0.58333, abs=1e-4)
    assert client.loss("ap", **options, gallery="all").loss == pytest.approx(0.58333, abs=1e-4)
    result = client.loss("ap", **options, gallery="references", list_loss=True)
    assert result.loss == 0.25 and result.list_loss.tolist() == [0.5, 0.0]
    assert result.gradient.shape == result.ref_gradient.shape == (2, 2)


@pytest.mark.parametrize("seed", range(2))
def test_any_gallery_and_relevance_is_what_the_definition_says(client, seed):
    rng = np.random.default_rng(seed)
    for _ in range(60):
        batch, count = int(rng.integers(0, 9)), int(rng.integers(0, 12))
        gallery, model = rng.choice(["all", "references"]), rng.choice(["ap", "recall"])
        embeddings, refs = exact(rng, batch, 8), exact(rng, count, 8)
        names = {}
        if rng.random() < 0.5:
            names = {"ids": rng.integers(-1, 6, batch), "ref_ids": rng.integers(-1, 6, count)}
        common = {"normalize": False, "margin": float(rng.choice([0, 0.5])), "gallery": gallery}
        if rng.random() < 0.5:
            columns = count + (batch if gallery == "all" else 0)
            relevance = rng.choice([-1, 0, 0, 1],
                                   (batch, columns)).astype(rng.choice([np.int8, np.int32, np.float32, np.float64]))
            given, known = {"relevance": relevance}, {"labels": None, "ref_labels": None, "relevance": relevance}
        else:
            known = given = {"labels": rng.integers(-1, 4, batch), "ref_labels": rng.integers(-1, 4, count)}
        result = client.loss(model, embeddings=embeddings, ref_embeddings=refs, **given, **names, **common)
        if batch == 0:
            assert result.loss == 0 and result.gradient.shape == (0, 8) and not result.ref_gradient.any()
            continue
        own = names.get("ids", np.full(batch, -1))
        same(result, oracle.embeddings_batch(str(model), embeddings, refs=refs, **known, ids=own, ref_ids=names.get("ref_ids"),
                                             **common), refs)


def test_the_references_are_appended_and_the_batch_is_not(client):
    rng = np.random.default_rng(3)
    client.banks.create("documents", dim=8, capacity=100, normalize=False, durability="none")
    stored, labels, ids = np.zeros((0, 8), np.float32), np.zeros(0, np.int64), np.zeros(0, np.int64)
    for step in range(6):
        queries, documents = exact(rng, 5, 8), exact(rng, 7, 8)
        names, marks, keep = rng.integers(0, 4, 7), rng.integers(0, 9, 7), rng.random(7) < 0.7
        asked = {"labels": rng.integers(0, 4, 5), "ids": rng.integers(-1, 9, 5), "ref_labels": names, "ref_ids": marks}
        result = client.loss("ap", embeddings=queries, ref_embeddings=documents, **asked, bank="documents", gallery="references",
                             enqueue_mask=keep, margin=0.0, batch_id=f"step {step}")
        assert (result.info.bank_items, result.info.bank_version) == (len(labels), step)
        same(result, oracle.embeddings_batch("ap", queries, refs=documents, **asked, memory=stored, memory_labels=labels,
                                             memory_ids=ids, normalize=False, margin=0.0, gallery="references"), documents)
        again = client.loss("ap", embeddings=queries, ref_embeddings=documents, **asked, bank="documents", gallery="references",
                            enqueue_mask=keep, margin=0.0, batch_id=f"step {step}")
        assert again.loss == result.loss and again.info.bank_version_appended == step + 1
        stored = np.concatenate([stored, documents[keep]])
        labels, ids = np.concatenate([labels, names[keep]]), np.concatenate([ids, marks[keep]])
        assert client.banks.get("documents").items == len(labels)
    # Against the bank alone: there is nothing to append.
    queries, asked = exact(rng, 5, 8), {"labels": rng.integers(0, 4, 5)}
    result = client.loss("recall", embeddings=queries, **asked, bank="documents", gallery="references", margin=0.0)
    same(result, oracle.embeddings_batch("recall", queries, **asked, memory=stored, memory_labels=labels, normalize=False,
                                         margin=0.0, gallery="references"), None)
    assert result.info.bank_version_appended is None
    # Documents alone: they are appended.
    none = np.zeros((0, 8), np.float32)
    client.loss("ap", embeddings=none, labels=[], ref_embeddings=exact(rng, 3, 8), ref_labels=[1, 2, 3], bank="documents",
                gallery="references")
    assert client.banks.get("documents").items == len(labels) + 3 and client.banks.get("documents").version == 7


@pytest.mark.parametrize("options, sentence", [
    ({"gallery": "references", "labels": [0, 1]}, "nothing to rank; send ref_embeddings or name a bank"),
    ({"gallery": "batch", "labels": [0, 1]}, "gallery"),
    ({"relevance": [[0, 1], [1, 0]], "labels": [0, 1]}, "input labels cannot be sent with relevance"),
    ({"relevance": [[0, 1], [1, 0]], "bank": "some"}, "bank cannot be sent with relevance"),
    ({"relevance": [[0, 1]]}, r"\[1, 2\]; it must be \[2, 2\]"),
    ({"relevance": [[0, 1], [5, 0]]}, r"relevance\[1, 0\] is 5"),
    ({}, r"input labels is missing; .* \(or relevance\)"),
], ids=str)
def test_what_cannot_be_meant_is_refused_with_its_reason(client, options, sentence):
    if "bank" in options:
        client.banks.create("some", dim=2, capacity=9)
    with pytest.raises(rankd.InvalidRequest, match=sentence):
        client.loss("ap", embeddings=QUERIES, **options)


def test_a_score_has_no_gallery(client):
    with pytest.raises(rankd.InvalidRequest, match="gallery does not belong to model ap with scores"):
        client.loss("ap", [[1.0, 2.0]], [[0, 1]], gallery="references")


def test_the_torch_loss_ranks_documents(client):
    queries, documents = torch.from_numpy(QUERIES).requires_grad_(), torch.from_numpy(DOCUMENTS).requires_grad_()
    labels = torch.tensor([0, 1])
    crit = RetrievalLoss("ap", margin=0.0, gallery="references", client=client)
    loss = crit(queries, labels, documents, labels)
    loss.backward()
    assert loss.item() == 0.25 and queries.grad.any() and documents.grad.any()
    expected = client.loss("ap", embeddings=QUERIES, labels=[0, 1], ref_embeddings=DOCUMENTS, ref_labels=[0, 1], margin=0.0,
                           gallery="references")
    np.testing.assert_array_equal(queries.grad.numpy(), expected.gradient)
    np.testing.assert_array_equal(documents.grad.numpy(), expected.ref_gradient)
    assert crit(queries, labels, ref_emb=documents, ref_labels=labels).item() == 0.25
    assert RetrievalLoss("ap", margin=0.0, client=client)(queries, labels, documents, labels).item() > 0.58
    with pytest.raises(ValueError, match="gallery is 'refs'"):
        RetrievalLoss(gallery="refs", client=client)
    with pytest.raises(rankd.InvalidRequest, match="nothing to rank"):
        crit(queries, labels)


def test_the_torch_loss_fills_a_bank_of_documents(client):
    client.banks.create("documents", dim=2, capacity=9, durability="none")
    crit = RetrievalLoss("ap", margin=0.0, gallery="references", bank_start=0, bank="documents", client=client)
    queries, documents, labels = torch.from_numpy(QUERIES).requires_grad_(), torch.from_numpy(DOCUMENTS), torch.tensor([0, 1])
    crit(queries, labels, documents, labels, enqueue_mask=torch.tensor([True, False])).backward()
    assert client.banks.get("documents").items == 1
    crit.eval()
    assert crit(queries, labels).item() == 0 and crit.info.lists_skipped == 1  # the document of label 0 alone
    assert client.banks.get("documents").items == 1


@pytest.mark.parametrize("kind", [torch.bool, torch.int64, torch.float32, torch.bfloat16])
def test_the_torch_loss_takes_a_relevance_of_any_type(client, kind):
    torch.manual_seed(0)
    embeddings = torch.randn(6, 8, requires_grad=True)
    relevance = torch.rand(6, 6) < 0.4
    crit = RetrievalLoss("ap", margin=0.0, client=client)
    loss = crit(embeddings, relevance=relevance.to(kind))
    loss.backward()
    expected = client.loss("ap", embeddings=embeddings.detach().numpy(), relevance=relevance.numpy(), margin=0.0)
    assert loss.item() == expected.loss
    np.testing.assert_array_equal(embeddings.grad.numpy(), expected.gradient)
    for labels, pairs, sentence in ((None, None, "labels is a NoneType; .* unless relevance"),
                                    (torch.arange(6), relevance, "labels and relevance are given")):
        with pytest.raises(TypeError, match=sentence):
            crit(embeddings, labels, relevance=pairs)


@pytest.mark.parametrize("gallery", ["all", "references"])
def test_the_torch_loss_of_ndcg_takes_grades(client, gallery):
    torch.manual_seed(1)
    embeddings, documents = torch.randn(6, 8, requires_grad=True), torch.randn(9, 8, requires_grad=True)
    grades = torch.randint(0, 5, (6, 15 if gallery == "all" else 9))
    crit = RetrievalLoss("ndcg", margin=0.0, gallery=gallery, client=client)
    loss = crit(embeddings, None, documents, relevance=grades)
    loss.backward()
    expected = client.loss("ndcg", embeddings=embeddings.detach().numpy(), ref_embeddings=documents.detach().numpy(),
                           relevance=grades.numpy(), gallery=gallery, margin=0.0)
    assert loss.item() == expected.loss > 0
    np.testing.assert_array_equal(embeddings.grad.numpy(), expected.gradient)
    np.testing.assert_array_equal(documents.grad.numpy(), expected.ref_gradient)


def test_nothing_to_learn_is_seen_in_a_gallery_of_references_and_in_a_relevance(client):
    embeddings = torch.randn(4, 8, requires_grad=True)
    crit = RetrievalLoss("ap", margin=0.0, gallery="references", client=client)
    with pytest.warns(RuntimeWarning, match="all items had one label"):
        for _ in range(21):
            crit(embeddings, torch.tensor([1, 2, 3, 4]), torch.randn(3, 8), torch.tensor([1, 1, 1]))
    crit = RetrievalLoss("ap", margin=0.0, client=client)
    with pytest.warns(RuntimeWarning, match="all items had one label"):
        for _ in range(21):
            crit(embeddings, relevance=torch.ones(4, 4))
