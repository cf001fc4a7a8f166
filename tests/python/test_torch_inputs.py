# SPDX-License-Identifier: Apache-2.0
"""Valid inputs of the loss modules, in each type and shape that trainers use, and the sentences for
invalid ones."""
import numpy as np
import pytest
import torch

import oracle
import rankd
import rankd.torch
from rankd.torch import APLoss, RetrievalLoss, blackbox_rank, ranks

WHOLE = [torch.bool, torch.uint8, torch.int8, torch.int16, torch.int32, torch.int64, torch.float16, torch.bfloat16, torch.float32,
         torch.float64]


@pytest.fixture
def ap(client):
    return APLoss(margin=0.1, margin_warmup=0, client=client)


def problem(Q=4, N=30, seed=1):
    make = torch.Generator().manual_seed(seed)
    return torch.randn(Q, N, generator=make).requires_grad_(), (torch.rand(Q, N, generator=make) < 0.2).long()


@pytest.mark.parametrize("weight", [float("nan"), float("inf")])
@pytest.mark.parametrize("make", [lambda **k: APLoss(margin=0.0, **k), lambda **k: RetrievalLoss("ap", **k)],
                         ids=["scores", "embeddings"])
def test_a_weight_of_the_loss_is_finite(client, make, weight):
    with pytest.raises(ValueError, match=f"loss_weight is {weight}; it must be a finite number"):
        make(client=client, loss_weight=weight)


@pytest.mark.parametrize("dtype", WHOLE, ids=str)
def test_whole_targets_of_every_type_are_taken(ap, dtype):
    scores, targets = problem()
    want = ap(scores, targets)
    want.backward()
    gradient, scores.grad = scores.grad, None
    got = ap(scores, targets.to(dtype))
    got.backward()
    assert got.item() == want.item() and torch.equal(scores.grad, gradient)


@pytest.mark.parametrize("dtype", WHOLE, ids=str)
def test_whole_targets_of_every_type_are_taken_by_the_client(client, dtype):
    scores, targets = problem()
    given = targets.to(dtype)
    array = rankd.BF16(given.view(torch.int16).numpy()) if dtype == torch.bfloat16 else given.numpy()
    want = client.loss("ap", scores.detach().numpy(), targets.numpy(), margin=0.1)
    got = client.loss("ap", scores.detach().numpy(), array, margin=0.1)
    assert got.loss == want.loss
    np.testing.assert_array_equal(got.gradient, want.gradient)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64], ids=str)
@pytest.mark.parametrize("value", [0.5, 0.1, 1.0000000001])
def test_a_fraction_among_the_targets_is_refused_by_value_and_position(ap, dtype, value):
    scores, targets = problem()
    targets = targets.to(dtype)
    targets[2, 3] = value
    if targets[2, 3] == 1:  # too narrow a type to tell
        assert ap(scores, targets).isfinite()
        return
    shown = str(np.float32(value)) if dtype is torch.float32 else repr(targets[2, 3].item())
    with pytest.raises(ValueError, match=rf"targets\[2, 3\] is {shown}"[:24]):
        ap(scores, targets)


@pytest.mark.parametrize("targets", [[[0, 1]], np.array([[0, 1]]), ((0, 1),), "01", None], ids=lambda v: type(v).__name__)
@pytest.mark.parametrize("on_nan", ["raise", "propagate"])
def test_what_is_no_tensor_is_refused_by_name(client, targets, on_nan):
    crit = APLoss(margin=0.1, client=client, on_nan=on_nan)
    with pytest.raises(TypeError, match=f"targets is a {type(targets).__name__}; it must be a torch.Tensor"):
        crit(torch.rand(1, 2), targets)
    with pytest.raises(TypeError, match=f"scores is a {type(targets).__name__}; it must be a torch.Tensor"):
        crit(targets, torch.ones(1, 2))
    pair = RetrievalLoss("ap", client=client, on_nan=on_nan)
    with pytest.raises(TypeError, match=f"labels is a {type(targets).__name__}"):
        pair(torch.rand(2, 4), targets)
    with pytest.raises(TypeError, match=f"embeddings is a {type(targets).__name__}"):
        pair(targets, torch.ones(2).long())
    if targets is not None:
        for name in ("ids", "ref_labels", "ref_ids"):
            given = {"ref_emb": torch.rand(2, 4), "ref_labels": torch.ones(2).long(), name: targets}
            with pytest.raises(TypeError, match=f"{name} is a {type(targets).__name__}"):
                pair(torch.rand(2, 4), torch.ones(2).long(), **given)
        with pytest.raises(TypeError, match=f"scores is a {type(targets).__name__}"):
            ranks(targets, client=client)


@pytest.mark.parametrize("shape", [(3,), (2, 3, 4), (1, 2, 3, 4)], ids=str)
def test_scores_of_another_shape_are_told_what_the_call_takes(client, ap, shape):
    for call in (lambda: ap(torch.rand(shape), torch.ones(shape)), lambda: ranks(torch.rand(shape), client=client),
                 lambda: blackbox_rank(torch.rand(shape), client=client)):
        with pytest.raises(rankd.InvalidRequest, match=r"scores has \d dimensions?; its shape must be \[Q, N\]"):
            call()
    with pytest.raises(rankd.InvalidRequest, match=r"embeddings has \d dimensions?; its shape must be \[B, d(im)?\]"):
        RetrievalLoss("ap", client=client)(torch.rand(shape), torch.ones(shape[0]).long())


def test_an_avg_factor_of_0_is_a_loss_of_0_with_a_graph(client, ap):
    scores, targets = problem()
    for factor in (0, 0.0, torch.tensor(0), torch.tensor(0.0)):
        scores.grad = None
        loss = ap(scores, torch.zeros_like(targets), avg_factor=factor)
        loss.backward()
        assert loss.item() == 0 and torch.equal(scores.grad, torch.zeros_like(scores))
        scores.grad = None
        ap(scores, targets, avg_factor=factor).backward()  # matches of others, that nobody counted
        assert torch.equal(scores.grad, torch.zeros_like(scores))
    embeddings = torch.randn(4, 8, requires_grad=True)
    loss = RetrievalLoss("ap", client=client)(embeddings, torch.arange(4), avg_factor=0)
    loss.backward()
    assert loss.item() == 0 and torch.equal(embeddings.grad, torch.zeros_like(embeddings))


@pytest.mark.parametrize("where", ["embeddings", "ref_emb"])
@pytest.mark.parametrize("value", [0.0, float("nan"), float("inf"), -float("inf"), 1e-60, 1e300], ids=str)
def test_a_vector_without_a_direction_propagates(client, where, value):
    given = {"embeddings": torch.randn(4, 8, dtype=torch.float64), "ref_emb": torch.randn(3, 8, dtype=torch.float64)}
    given[where][2] = value
    tensors = {name: x.requires_grad_() for name, x in given.items()}
    labels = {"labels": torch.zeros(4).long(), "ref_labels": torch.zeros(3).long()}
    with pytest.raises(rankd.InvalidRequest):
        RetrievalLoss("ap", client=client)(**tensors, **labels)
    loss = RetrievalLoss("ap", client=client, on_nan="propagate")(**tensors, **labels)
    loss.backward()
    assert loss.isnan() and all(x.grad.isnan().all() for x in tensors.values())


def test_a_zero_vector_is_ordinary_where_nothing_is_normalized(client):
    embeddings = torch.zeros(4, 8, requires_grad=True)
    crit = RetrievalLoss("ap", margin=0.1, normalize=False, on_nan="propagate", client=client)
    assert crit(embeddings, torch.arange(4) % 2).isfinite()


def test_plain_ranks_are_whole_and_exact(client):
    scores = torch.rand(3, 3000, generator=torch.Generator().manual_seed(3), requires_grad=True)
    got = ranks(scores, client=client)
    assert got.dtype == torch.int64 and not got.requires_grad
    np.testing.assert_array_equal(got.numpy(), [oracle.ranks(row) for row in scores.detach().numpy()])
    # truncation gives wrong ranks, so there is ranks()
    assert not torch.equal((blackbox_rank(scores, client=client) * 3000).int(), got)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64], ids=str)
def test_plain_ranks_take_every_float(client, dtype):
    scores = torch.tensor([[0.5, 2.0, -1.0, 2.0]], dtype=dtype)
    assert ranks(scores, client=client).tolist() == [[3, 1, 4, 2]]


def test_only_a_training_step_moves_the_warm_up(client, ap):
    crit = APLoss(margin=0.8, margin_warmup=4, client=client)
    scores, targets = torch.tensor([[0.5, 0.0]], requires_grad=True), torch.tensor([[1, 0]])
    crit.eval()
    for _ in range(3):
        crit(scores, targets).backward()  # a gradient, as for a saliency map
    assert crit.schedule.steps == 0 and scores.grad is not None
    crit.train()
    crit(scores, targets)
    assert crit.schedule.steps == 1


def test_the_compiler_is_kept_out(client, monkeypatch):
    from rankd.torch import tracing

    class Compiler:
        disable = staticmethod(lambda function: ("disabled", function))

    monkeypatch.setattr(torch, "compile", lambda model: model, raising=False)
    monkeypatch.setattr(torch, "compiler", Compiler, raising=False)
    assert tracing.untraced(len) == ("disabled", len)
    monkeypatch.delattr(torch, "compile")
    assert tracing.untraced(len) is len


def compiled_models_do_not_compile_the_loss_anew(client):
    from torch._dynamo.utils import counters

    layer, crit, pair = torch.nn.Linear(8, 16), APLoss(margin=0.1, client=client), RetrievalLoss("ap", client=client)

    def step(x, targets, labels):
        y = layer(x)
        return crit(y, targets) + pair(y, labels) + blackbox_rank(y, client=client).mean()

    compiled = torch.compile(step, backend="eager")
    counters.clear()
    for _ in range(12):
        compiled(torch.randn(12, 8), torch.arange(192).view(12, 16) % 2, torch.arange(12) % 3).backward()
    assert counters["frames"]["ok"] <= 5 and crit.schedule.steps == 12


if hasattr(torch, "compile"):  # torch 1.13 has no compiler, and a test that can't run counts as failed
    test_compiled_models_do_not_compile_the_loss_anew = compiled_models_do_not_compile_the_loss_anew
