# SPDX-License-Identifier: Apache-2.0
"""Banks that fill before they are ranked, that leave old items out, and that report how stale they
are."""
import os

import numpy as np
import pytest
from support import library

import oracle
import rankd
from rankd.errors import InvalidRequest

os.environ.setdefault("RANKD_LIBRARY", str(library()))


def batch(rng, B=10, dim=16, ids=None):
    return {"embeddings": rng.standard_normal((B, dim)).astype(np.float32), "labels": rng.integers(0, 4, B),
            **({} if ids is None else {"ids": np.asarray(ids)})}


@pytest.fixture
def either(either):
    """With an empty bank."""
    either.banks.create("own", dim=16, capacity=64, durability="none")
    return either


def same(one, other):
    assert one.loss == other.loss
    np.testing.assert_array_equal(one.gradient, other.gradient)


def test_a_bank_that_is_not_read_fills_and_changes_nothing(either):
    rng = np.random.default_rng(1)
    for step in range(4):
        request = batch(rng)
        result = either.loss("ap", **request, bank="own", bank_read=False)
        same(result, either.loss("ap", **request))
        assert (result.info.bank_items, result.info.bank_version, result.info.bank_version_appended) == (0, step, step + 1)
    read = either.loss("ap", **batch(rng), bank="own")
    assert read.info.bank_items == 40 and either.banks.get("own").items == 50


def test_items_of_older_versions_are_left_out(either):
    rng, sent = np.random.default_rng(2), []
    for step, B in enumerate([10, 3, 14, 1, 8, 20, 5]):  # 61 of 64
        sent.append(batch(rng, B))
        either.loss("ap", **sent[-1], bank="own", bank_max_age=step)
    query = batch(rng)
    for age, items in ((1, 5), (2, 25), (3, 33), (7, 61), (8, 61), (32768, 61), (0, 61)):
        result = either.loss("ap", **query, bank="own", enqueue=False, bank_max_age=age)
        kept = sent[-age:] if age else sent
        memory = np.concatenate([oracle.unit(b["embeddings"]) for b in kept])
        loss, gradient, *_ = oracle.embeddings_batch("ap", query["embeddings"], query["labels"], memory=memory,
                                                     memory_labels=np.concatenate([b["labels"] for b in kept]))
        assert (result.info.bank_items, result.info.bank_version) == (items, 7)
        assert result.loss == pytest.approx(loss, rel=1e-5)
        np.testing.assert_allclose(result.gradient, gradient, rtol=1e-4, atol=1e-6)


def test_a_score_bank_leaves_out_old_items_and_waits_too(client):
    rng = np.random.default_rng(3)
    client.banks.create("aged-scores", kind="scores", lists=3, capacity=100, durability="none")
    try:
        sent = [(rng.standard_normal((3, n)).astype(np.float32), (rng.random((3, n)) < 0.3).astype(np.int8)) for n in (9, 4, 7)]
        for scores, targets in sent:
            result = client.loss("ap", scores, targets, bank="aged-scores", bank_read=False, margin=0.1)
            same(result, client.loss("ap", scores, targets, margin=0.1))
        result = client.loss("ap", *sent[0], bank="aged-scores", bank_max_age=2, enqueue=False, margin=0.1)
        whole = [np.hstack([sent[0][i], sent[1][i], sent[2][i]]) for i in (0, 1)]
        loss, gradient, *_ = oracle.batch("ap", *whole, margin=0.1)
        assert result.info.bank_items == 11 and result.loss == pytest.approx(loss, rel=1e-6)
        np.testing.assert_array_equal(result.gradient, gradient[:, :9].astype(np.float32))
    finally:
        client.banks.delete("aged-scores")


def drift_of(ids, current, memory, memory_ids, keep):
    """Means by quarter, and how many."""
    found = [[] for _ in range(4)]
    for i, own, wanted in zip(ids, current, keep):
        places = [p for p, other in enumerate(memory_ids) if other == i]
        if i == -1 or not wanted or not places:
            continue
        a, b = own.astype(np.float64), memory[places[-1]].astype(np.float64)
        found[4 * places[-1] // len(memory)].append(1 - a @ b / np.linalg.norm(a) / np.linalg.norm(b))
    return tuple(np.mean(f) if f else None for f in found), sum(map(len, found))


@pytest.mark.parametrize("normalize, dtype", [(True, "FP32"), (False, "FP32"), (True, "BF16")])
def test_drift_is_by_quarters_of_the_bank_the_newest_of_each_id(client, normalize, dtype):
    rng = np.random.default_rng(4)
    client.banks.create("turning", dim=300, capacity=50, normalize=normalize, datatype=dtype, durability="none")
    memory, memory_ids, seen = np.zeros((0, 300), np.float32), [], []
    try:
        for step in range(12):
            ids = rng.choice(40, 9, replace=False) - 1
            request, keep = batch(rng, 9, 300, ids), rng.random(9) < 0.8
            request["embeddings"] += ids[:, None] * (1 + step) / 20
            result = client.loss("ap", **request, bank="turning", enqueue_mask=keep, margin=0.1, bank_read=step % 2 > 0,
                                 bank_max_age=step % 3)
            current = oracle.unit(request["embeddings"]) if normalize else request["embeddings"]
            want, items = drift_of(ids, current, memory, memory_ids, keep)
            assert result.info.bank_drift_items == items
            for got, expected in zip(result.info.bank_drift, want):
                assert got == (None if expected is None else pytest.approx(expected, rel=1e-9, abs=1e-12))
            seen += [quarter for quarter, value in enumerate(want) if value is not None]
            stored = current[keep]
            if dtype == "BF16":
                bits = stored.view(np.uint32)
                stored = ((bits + 0x7fff + (bits >> 16 & 1)) & 0xffff0000).view(np.float32)
            memory, memory_ids = np.concatenate([memory, stored])[-50:], [*memory_ids, *ids[keep]][-50:]
        assert set(seen) == {0, 1, 2, 3}
        silent = client.loss("ap", **request, bank="turning", enqueue=False, margin=0.1)
        assert silent.info.bank_drift is None and silent.info.bank_drift_items is None
        del request["ids"]
        assert client.loss("ap", **request, bank="turning", margin=0.1).info.bank_drift is None
    finally:
        client.banks.delete("turning")


def test_drift_is_the_same_over_every_transport(either):
    rng = np.random.default_rng(5)
    first, second = (batch(rng, ids=np.arange(10)) for _ in range(2))
    assert either.loss("ap", **first, bank="own").info.bank_drift == (None,) * 4
    info = either.loss("ap", **second, bank="own").info
    want, items = drift_of(np.arange(10), oracle.unit(second["embeddings"]), oracle.unit(first["embeddings"]), list(range(10)),
                           [True] * 10)
    assert (info.bank_drift_items, items) == (10, 10) and info.bank_drift == pytest.approx(want, rel=1e-9)


def test_the_references_of_two_towers_drift(client, bank):
    rng = np.random.default_rng(6)
    queries = batch(rng, 3)
    old, new = (rng.standard_normal((5, 16)).astype(np.float32) for _ in range(2))
    for refs in (old, new):
        info = client.loss("ap", **queries, ref_embeddings=refs, ref_labels=np.arange(5), ref_ids=np.arange(5), bank=bank,
                           gallery="references").info
    want, items = drift_of(range(5), oracle.unit(new), oracle.unit(old), list(range(5)), [True] * 5)
    assert info.bank_drift_items == items == 5 and info.bank_drift == pytest.approx(want, rel=1e-9)


def test_versions_are_known_after_a_restart_and_a_restore(mortal):
    rng = np.random.default_rng(7)
    with rankd.connect(mortal.url, retry_for=30) as client:
        client.banks.create("lasting", dim=16, capacity=64)
        for step, B in enumerate([4, 5, 6]):
            client.loss("ap", **batch(rng, B), bank="lasting")
        client.banks.checkpoint("lasting", "three")
        client.loss("ap", **batch(rng, 7), bank="lasting")

        def items(age):
            return client.loss("ap", **batch(rng), bank="lasting", enqueue=False, bank_max_age=age).info.bank_items

        before = [items(age) for age in (1, 2, 3, 4, 5)]
        assert before == [7, 13, 18, 22, 22]
        mortal.kill()
        mortal.start()
        assert [items(age) for age in (1, 2, 3, 4, 5)] == before
        client.banks.restore("lasting", "three")
        assert [items(age) for age in (1, 2, 3, 4)] == [6, 11, 15, 15]


def test_a_retry_ranks_what_the_original_ranked(client, bank):
    rng = np.random.default_rng(8)
    for _ in range(3):
        client.loss("ap", **batch(rng), bank=bank)
    request = batch(rng)
    first = client.loss("ap", **request, bank=bank, bank_max_age=2, batch_id="once")
    client.loss("ap", **batch(rng), bank=bank)
    second = client.loss("ap", **request, bank=bank, bank_max_age=2, batch_id="once")
    same(first, second)
    assert (second.info.bank_items, second.info.bank_version_appended) == (20, first.info.bank_version_appended)


@pytest.mark.parametrize("name, value, shown", [("bank_max_age", 2, "2"), ("bank_read", False, "false"),
                                                ("bank_version", 3, "3")])
def test_a_parameter_about_a_bank_is_refused_where_no_bank_is_named(either, name, value, shown):
    request = batch(np.random.default_rng(9))
    with pytest.raises(InvalidRequest, match=f"parameter {name} was {shown}, but parameter bank was not sent"):
        either.loss("ap", **request, **{name: value})


@pytest.mark.parametrize("value, sentence", [(1.5, "bank_max_age"), (-1, "bank_max_age"),
                                             (32769, "bank_max_age"), ("old", "bank_max_age")])
def test_an_age_that_is_none_is_refused(client, bank, value, sentence):
    with pytest.raises(InvalidRequest, match=sentence):
        client.loss("ap", **batch(np.random.default_rng(9)), bank=bank, bank_max_age=value)
