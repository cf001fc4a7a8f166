# SPDX-License-Identifier: Apache-2.0
"""rankd.connect("unix:…"): the same object as over HTTP, with the same answers, on arrays that the
daemon shares."""
import os
import pickle

import numpy as np
import pytest
import torch
from support import library

import rankd
import rankd.torch

os.environ.setdefault("RANKD_LIBRARY", str(library()))


@pytest.fixture
def both(make_daemon, tmp_path):
    """A daemon on both transports, and its URLs."""
    return make_daemon("--socket", tmp_path / "ring", "--data", tmp_path / "data").url, f"unix:{tmp_path}/ring"


@pytest.fixture
def ring(both):
    with rankd.connect(both[1], timeout=30, retry_for=0) as client:
        yield client


@pytest.fixture
def http(both):
    with rankd.connect(both[0], timeout=30, retry_for=0) as client:
        yield client


def batch(seed, lists=7, items=300):
    random = np.random.default_rng(seed)
    return random.random((lists, items), dtype=np.float32), (random.random((lists, items)) < 0.1).astype(np.int8)


@pytest.mark.parametrize("model", ["ap", "recall"])
@pytest.mark.parametrize("dtype", [np.float32, np.float64, np.float16])
@pytest.mark.parametrize("options", [{}, {"margin": 0.1, "lambda_val": 2.0}, {"axis": 0, "interclass": 0.5}])
def test_both_transports_give_the_same_bits(ring, http, model, dtype, options):
    scores, targets = batch(1)
    ours, theirs = (client.loss(model, scores.astype(dtype), targets, **options) for client in (ring, http))
    assert ours.loss == theirs.loss
    np.testing.assert_array_equal(ours.gradient, theirs.gradient)
    assert np.count_nonzero(ours.gradient) > 0


def test_ranks_too(ring, http):
    scores, _ = batch(2)
    np.testing.assert_array_equal(ring.rank(scores), http.rank(scores))


def test_scores_computed_into_shared_memory(ring, http):
    random = np.random.default_rng(3)
    queries, items = random.random((64, 32), dtype=np.float32), random.random((1000, 32), dtype=np.float32)
    targets = (random.random((64, 1000)) < 0.02).astype(np.int8)
    scores = ring.transport.empty((64, 1000), np.float32)
    torch.mm(torch.from_numpy(queries), torch.from_numpy(items).t(), out=torch.from_numpy(scores))
    ours, theirs = ring.loss("ap", scores, targets), http.loss("ap", np.array(scores), targets)
    assert ours.loss == theirs.loss
    np.testing.assert_array_equal(ours.gradient, theirs.gradient)
    before = scores.copy()
    ring.close()
    np.testing.assert_array_equal(scores, before)  # an array outlives its connection


def test_a_loss_of_torch_goes_backward_over_it(ring, http):
    scores, targets = batch(4)
    gradients = []
    for client in (ring, http):
        leaf = torch.tensor(scores, requires_grad=True)
        rankd.torch.APLoss(margin=0.05, margin_warmup=0, client=client)(leaf, torch.tensor(targets)).backward()
        gradients.append(leaf.grad)
    assert torch.equal(*gradients) and gradients[0].abs().sum() > 0


def test_banks_are_the_same_over_both_transports(ring, http):
    ring.banks.create("shared", dim=8, capacity=32, durability="none")
    crit = rankd.torch.RetrievalLoss("ap", bank_start=0, bank="shared", client=ring)
    random = torch.Generator().manual_seed(5)
    for _ in range(3):
        embeddings = torch.randn(10, 8, generator=random, requires_grad=True)
        crit(embeddings, torch.arange(10) % 3).backward()
    assert http.banks.get("shared").items == 30
    assert ring.banks.get("shared").version == http.banks.get("shared").version == 3
    http.banks.delete("shared")
    with pytest.raises(rankd.NotFound):
        ring.banks.get("shared")


@pytest.mark.parametrize("wrong", [lambda s, t: (s, t * 2), lambda s, t: (s[:, :-1], t), lambda s, t: (s * np.nan, t),
                                   lambda s, t: (s[None], t[None]), lambda s, t: (s[0], t[0]), lambda s, t: (s, t[None])])
def test_the_sentence_is_the_same_too(ring, http, wrong):
    scores, targets = wrong(*batch(6))
    said = []
    for client in (ring, http):
        with pytest.raises(rankd.RankdError) as caught:
            client.loss("ap", scores, targets)
        said.append((type(caught.value), caught.value.sentence))
    assert said[0] == said[1]


def test_it_is_pickled_and_used_after_a_fork(ring):
    scores, targets = batch(7)
    loss = ring.loss("ap", scores, targets).loss
    with pickle.loads(pickle.dumps(ring)) as copy:
        assert copy.loss("ap", scores, targets).loss == loss
    child = os.fork()
    if child == 0:
        try:
            os._exit(0 if ring.loss("ap", scores, targets).loss == loss else 1)
        finally:
            os._exit(2)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    assert ring.loss("ap", scores, targets).loss == loss


def test_a_daemon_that_dies_is_an_error_and_one_that_is_back_is_found(make_daemon, tmp_path):
    path = tmp_path / "ring"
    daemon = make_daemon("--socket", path)
    scores, targets = batch(8)
    with rankd.connect(f"unix:{path}", timeout=30, retry_for=0) as client:
        loss = client.loss("ap", scores, targets).loss
        daemon.kill()
        with pytest.raises((rankd.ConnectionLost, rankd.ConnectionFailed)):  # and not that it waited in vain
            client.loss("ap", scores, targets)
        again = make_daemon("--socket", path)
        assert again.pid != daemon.pid
        assert client.loss("ap", scores, targets).loss == loss


@pytest.mark.parametrize("url", ["unix:", "unix:/x?arena=much", "unix:/x?no=1"])
def test_a_url_that_is_none(url):
    with pytest.raises((ValueError, rankd.RankdError)) as caught:
        rankd.connect(url)
    assert "unix" in str(caught.value) or "arena" in str(caught.value) or "no" in str(caught.value)
