# SPDX-License-Identifier: Apache-2.0
"""rankd.jax under jit, grad and vmap, in a venv of its own (make check-hosts)."""
import re
import textwrap
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import rankd
import rankd.jax


@pytest.fixture
def client(daemon):
    with rankd.connect(daemon.url, timeout=30, retry_for=0) as one:
        yield one


def lists(seed=0, shape=(6, 20)):
    rng = np.random.default_rng(seed)
    return rng.normal(size=shape).astype(np.float32), (rng.random(shape) < 0.2).astype(np.int8)


@pytest.mark.parametrize("compiled", [False, True])
def test_loss_and_gradient_are_the_daemons(client, compiled):
    scores, targets = lists()
    crit = rankd.jax.ScoresLoss("ap", margin=0.1, client=client)
    function = jax.value_and_grad(lambda s: 3 * crit(s, targets))
    value, gradient = (jax.jit(function) if compiled else function)(scores)
    expected = client.loss("ap", scores, targets, margin=0.1)
    assert float(value) == pytest.approx(3 * expected.loss, rel=1e-6) and np.abs(expected.gradient).sum() > 0
    np.testing.assert_allclose(gradient, 3 * expected.gradient, rtol=1e-6)


def test_vmap_is_a_request_for_each_element(client):
    scores, targets = lists(shape=(3, 4, 15))
    crit = rankd.jax.ScoresLoss("recall", margin=0.0, client=client)
    values, gradients = jax.vmap(jax.value_and_grad(crit))(scores, targets)
    for i in range(3):
        expected = client.loss("recall", scores[i], targets[i], margin=0.0)
        assert float(values[i]) == pytest.approx(expected.loss, rel=1e-6)
        np.testing.assert_allclose(gradients[i], expected.gradient, rtol=1e-6)


def test_half_precision_grades_and_lists_of_different_lengths(client):
    scores, _ = lists(shape=(20,))
    grades, offsets = np.arange(20) % 4, np.array([0, 7, 7, 20])
    crit = rankd.jax.ScoresLoss("ndcg", margin=0.0, client=client)
    half = jnp.asarray(scores, jnp.bfloat16)
    value, gradient = jax.jit(jax.value_and_grad(crit))(half, grades, offsets)
    expected = client.loss("ndcg", np.asarray(half, np.float32), grades, offsets=offsets, margin=0.0)
    assert float(value) == pytest.approx(expected.loss, rel=1e-6) and gradient.dtype == jnp.bfloat16
    np.testing.assert_allclose(np.asarray(gradient, np.float32), expected.gradient, rtol=1e-2, atol=1e-6)


def test_embeddings(client):
    rng = np.random.default_rng(0)
    embeddings, labels = rng.normal(size=(16, 8)).astype(np.float32), np.arange(16) % 4
    value, gradient = jax.jit(jax.value_and_grad(rankd.jax.RetrievalLoss("ap", margin=0.1, client=client)))(embeddings, labels)
    expected = client.loss("ap", embeddings=embeddings, labels=labels, margin=0.1)
    assert float(value) == pytest.approx(expected.loss, rel=1e-5)
    np.testing.assert_allclose(gradient, expected.gradient, atol=1e-5)


def test_the_label_minus_one_is_relevant_to_nothing(client):
    rng = np.random.default_rng(0)
    embeddings, labels = rng.normal(size=(16, 8)).astype(np.float32), np.arange(16) % 4 - 1
    value, gradient = jax.value_and_grad(rankd.jax.RetrievalLoss("ap", margin=0.1, client=client))(embeddings, labels)
    expected = client.loss("ap", embeddings=embeddings, labels=labels, margin=0.1)
    assert float(value) == pytest.approx(expected.loss, rel=1e-5) and expected.info.lists_skipped == 4
    np.testing.assert_allclose(gradient, expected.gradient, atol=1e-5)


def test_nan_raises_in_python_and_is_nan_in_compiled_code(client):
    scores, targets = lists()
    scores[1, 1] = np.nan
    crit = rankd.jax.ScoresLoss("ap", margin=0.0, client=client)
    with pytest.raises(rankd.InvalidRequest, match="NaN"):
        jax.grad(crit)(scores, targets)
    value, gradient = jax.jit(jax.value_and_grad(crit))(scores, targets)
    assert np.isnan(value) and np.isnan(gradient).all()


def test_banks_and_other_shapes_are_refused(client):
    with pytest.raises(ValueError, match="^bank is 'x'; the losses for JAX take no bank"):
        rankd.jax.ScoresLoss("ap", margin=0.0, client=client, bank="x")
    with pytest.raises(ValueError, match="^model is 'map'; it may be 'ap'"):
        rankd.jax.ScoresLoss("map", margin=0.0, client=client)
    with pytest.raises(TypeError, match="unexpected keyword argument 'topk'; did you mean 'top_k'"):
        rankd.jax.ScoresLoss("ap", margin=0.0, topk=3, client=client)
    with pytest.raises(ValueError, match="^lambda_val is 0; it must be a number from 1e-12"):
        rankd.jax.RetrievalLoss("ap", margin=0.0, lambda_val=0, client=client)
    with pytest.raises(ValueError, match=r"^scores are \[2, 3\] and targets \[2\]"):
        rankd.jax.ScoresLoss("ap", margin=0.0, client=client)(jnp.zeros((2, 3)), jnp.zeros(2))
    with pytest.raises(ValueError, match=r"^embeddings are \[3\] and labels \[3\]"):
        rankd.jax.RetrievalLoss("ap", margin=0.0, client=client)(jnp.zeros(3), jnp.zeros(3))


def test_the_example_of_the_documentation(client, monkeypatch):
    monkeypatch.setenv("RANKD_URL", client.transport.url)
    page = (Path(__file__).resolve().parents[2] / "docs/howto/stack.md").read_text()
    section = re.search(r"^## JAX\n(.*?)^## ", page, re.M | re.S)[1]
    names = {}
    exec(textwrap.dedent("".join(re.findall(r"^(?:    .*)?\n", section, re.M))), names)
    assert names["gradient"].shape == (8, 100) and np.abs(names["gradient"]).sum() > 0
