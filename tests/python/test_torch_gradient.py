# SPDX-License-Identifier: Apache-2.0
"""The loss modules under autograd: scaling, accumulation, types, and refusals."""
import numpy as np
import pytest
import torch
from torch.utils.checkpoint import checkpoint

import oracle
import rankd
import rankd.torch
from rankd.torch import APLoss, RecallLoss, RetrievalLoss


@pytest.fixture
def ap(client):
    return APLoss(margin=0.1, margin_warmup=0, client=client)


def problem(seed=1, Q=5, N=40, dtype=torch.float32):
    make = torch.Generator().manual_seed(seed)
    scores = torch.randn(Q, N, generator=make).to(dtype).requires_grad_()
    return scores, (torch.rand(Q, N, generator=make) < 0.2).to(torch.int8)


def expected(scores, targets, model="ap", **options):
    loss, gradient, *_ = oracle.batch(model, scores.detach().float().numpy(), targets.numpy(), **{"margin": 0.1, **options})
    return loss, torch.from_numpy(gradient.astype(np.float32))


def test_backward_gives_the_gradient_of_the_definition(ap):
    scores, targets = problem()
    loss = ap(scores, targets)
    loss.backward()
    value, gradient = expected(scores, targets)
    assert loss.shape == () and loss.dtype == torch.float32 and loss.item() == pytest.approx(value, rel=1e-6)
    assert torch.equal(scores.grad, gradient)
    assert ap.info.lists == 5


def test_the_recall_loss_takes_its_weight(client):
    scores, targets = problem(2)
    RecallLoss(margin=0.1, margin_warmup=0, weight="log", client=client)(scores, targets).backward()
    assert torch.equal(scores.grad, expected(scores, targets, "recall", weight="log")[1])


def test_the_gradient_is_linear_in_what_comes_from_above(ap):
    scores, targets = problem(3)
    for factor in (0.0, -2.0, 0.125, 65536.0, 1e-30, 3.7):
        scores.grad = None
        (factor * ap(scores, targets)).backward()
        assert torch.equal(scores.grad, expected(scores, targets)[1] * torch.tensor(factor))


def test_it_chains_into_a_network_like_any_loss(ap):
    torch.manual_seed(4)
    inputs, layer = torch.randn(6, 30, 8), torch.nn.Linear(8, 1)
    targets = (torch.rand(6, 30) < 0.2).long()
    scores = layer(inputs).squeeze(-1)
    ap(scores, targets).backward()
    direct = torch.einsum("qn,qnk->k", expected(scores, targets)[1], inputs)
    torch.testing.assert_close(layer.weight.grad[0], direct)


def test_a_loss_scale_lifts_what_float16_alone_would_flush_to_zero(client):
    make = torch.Generator().manual_seed(5)
    scores = torch.randn(64, 400, generator=make).half().requires_grad_()
    targets = (torch.rand(64, 400, generator=make) < 0.05).to(torch.int8)
    crit = APLoss(margin=0.0, margin_warmup=0, lambda_val=1e5, client=client)
    unit = expected(scores, targets, margin=0.0, lam=1e5)[1]
    scale = 65536.0
    (crit(scores, targets) * scale).backward()
    assert scores.grad.dtype == torch.float16
    assert torch.equal(scores.grad, (unit * scale).half())
    lost = (unit != 0) & (unit.half() == 0)
    assert lost.any() and (scores.grad[lost] != 0).all()


@pytest.mark.parametrize("dtype, loss_type", [(torch.float16, torch.float32), (torch.bfloat16, torch.float32),
                                              (torch.float32, torch.float32), (torch.float64, torch.float64)])
def test_scores_of_every_type_get_a_gradient_of_that_type(ap, dtype, loss_type):
    scores, targets = problem(6, dtype=dtype)
    loss = ap(scores, targets)
    loss.backward()
    assert loss.dtype == loss_type and scores.grad.dtype == dtype
    assert torch.equal(scores.grad, expected(scores, targets)[1].to(dtype))


def test_accumulated_micro_batches_equal_the_whole_batch(client):
    crit = APLoss(margin=0.1, margin_warmup=0, client=client)
    scores, targets = problem(7, Q=12)
    targets[:, 0] = 1  # every list is valid, so equal parts weigh the same
    crit(scores, targets).backward()
    whole, scores.grad = scores.grad.clone(), None
    for part in range(3):
        rows = slice(4 * part, 4 * part + 4)
        (crit(scores[rows], targets[rows]) / 3).backward()
    torch.testing.assert_close(scores.grad, whole, rtol=1e-6, atol=1e-9)


def test_avg_factor_makes_uneven_parts_equal_the_whole_batch(client):
    crit = APLoss(margin=0.1, margin_warmup=0, loss_weight=2.0, client=client)
    scores, targets = problem(8, Q=11)
    targets[2] = 0
    total = crit(scores, targets)
    total.backward()
    whole, scores.grad = scores.grad.clone(), None
    valid = crit.info.lists_valid
    parts = [crit(scores[rows], targets[rows], avg_factor=torch.tensor(float(valid))) for rows in (slice(0, 3), slice(3, 11))]
    sum(parts).backward()
    assert sum(parts).item() == pytest.approx(total.item(), rel=1e-6)
    torch.testing.assert_close(scores.grad, whole, rtol=1e-6, atol=1e-9)
    for wrong in (-1.0, float("nan"), float("inf"), torch.tensor(float("inf"))):
        with pytest.raises(ValueError, match="avg_factor"):
            crit(scores, targets, avg_factor=wrong)
    for wrong in ("x", [1], torch.tensor([1.0, 2.0]), {}):
        with pytest.raises(TypeError, match="avg_factor is .*one number"):
            crit(scores, targets, avg_factor=wrong)
    with pytest.raises(ValueError, match="micro"):
        APLoss(margin=0.1, average="micro", client=client)(scores, targets, avg_factor=3)


def test_under_no_grad_only_the_loss_is_computed(ap):
    scores, targets = problem(9)
    with torch.no_grad():
        loss = ap(scores, targets)
    assert not loss.requires_grad and loss.item() == pytest.approx(expected(scores, targets)[0], rel=1e-6)
    assert ap.info.gradient_nonzero is None
    assert not ap(scores.detach(), targets).requires_grad and ap.info.gradient_nonzero is None


def test_the_graph_may_be_walked_twice_if_it_is_kept(ap):
    scores, targets = problem(10)
    loss = ap(scores, targets)
    loss.backward(retain_graph=True)
    loss.backward()
    assert torch.equal(scores.grad, 2 * expected(scores, targets)[1])


def test_a_second_derivative_is_refused_with_a_sentence(ap):
    scores, targets = problem(11)
    (gradient,) = torch.autograd.grad(ap(scores, targets), scores, create_graph=True)
    with pytest.raises(RuntimeError, match="no derivative"):
        gradient.square().sum().backward()


def test_create_graph_for_the_sake_of_other_terms_works(ap):
    scores, targets = problem(12)
    (ap(scores, targets) + scores.square().sum()).backward(create_graph=True)
    torch.testing.assert_close(scores.grad.detach(), expected(scores, targets)[1] + 2 * scores.detach())


def test_nan_raises_or_propagates_as_asked(client):
    scores, targets = problem(13)
    with torch.no_grad():
        scores[1, 2], targets[1, 2] = float("nan"), 0
    with pytest.raises(rankd.InvalidRequest, match="scores"):
        APLoss(margin=0.1, client=client)(scores, targets)
    crit = APLoss(margin=0.1, client=client, on_nan="propagate")
    loss = crit(scores, targets)
    loss.backward()
    assert loss.isnan() and scores.grad.isnan().all() and crit.schedule.steps == 0
    with pytest.raises(ValueError, match="on_nan"):
        APLoss(margin=0.1, client=client, on_nan="ignore")


def test_nan_of_an_item_that_is_not_there_harms_nobody(client):
    for on_nan in ("raise", "propagate"):
        scores, targets = problem(14)
        with torch.no_grad():
            scores[1, 2], targets[1, 2] = float("nan"), -1
        APLoss(margin=0.1, client=client, on_nan=on_nan)(scores, targets).backward()
        assert scores.grad.isfinite().all() and scores.grad[1, 2] == 0


def test_infinite_scores_are_ordinary_and_infinite_embeddings_propagate_as_nan(client):
    scores, targets = problem(15)
    with torch.no_grad():
        scores[0, 0], scores[0, 1] = float("inf"), float("-inf")
    loss = APLoss(margin=0.1, margin_warmup=0, client=client, on_nan="propagate")(scores, targets)
    assert loss.item() == pytest.approx(expected(scores, targets)[0], rel=1e-6)
    embeddings = torch.ones(4, 3).requires_grad_()
    with torch.no_grad():
        embeddings[2, 1] = float("inf")
    crit = RetrievalLoss("ap", client=client, on_nan="propagate")
    crit(embeddings, torch.zeros(4, dtype=torch.long)).backward()
    assert embeddings.grad.isnan().all()


def test_margin_must_be_given_where_its_unit_is_the_callers(client):
    for make in (lambda: APLoss(client=client), lambda: RecallLoss(client=client),
                 lambda: RetrievalLoss("ap", normalize=False, client=client)):
        with pytest.raises(TypeError, match="margin must be given"):
            make()
    for wrong in (-0.1, float("nan"), float("inf")):
        with pytest.raises(ValueError, match="margin is"):
            APLoss(margin=wrong, client=client)


def test_wrong_arguments_are_refused_with_a_sentence(client, ap):
    with pytest.raises(TypeError, match="scores is a list"):
        ap([[0.5, 0.1]], torch.tensor([[0, 1]]))
    with pytest.raises(ValueError, match="model is 'map'"):
        RetrievalLoss("map", client=client)
    with pytest.raises(ValueError, match="weight belongs"):
        RetrievalLoss("ap", weight="log", client=client)
    with pytest.raises(TypeError, match="ref_emb and ref_labels"):
        RetrievalLoss("ap", client=client)(torch.ones(2, 2), torch.zeros(2).long(), ref_emb=torch.ones(2, 2))
    with pytest.raises(TypeError, match="complex64"):
        ap(torch.ones(1, 2, dtype=torch.complex64), torch.zeros(1, 2))


@pytest.mark.parametrize("reentrant", [True, False])
def test_activation_checkpointing_changes_nothing(client, reentrant):
    scores, targets = problem(16)
    crit = APLoss(margin=0.1, client=client)
    crit.schedule.steps = 50
    checkpoint(crit, scores, targets, use_reentrant=reentrant).backward()
    assert torch.equal(scores.grad, expected(scores, targets, margin=0.05)[1])
    assert crit.schedule.steps == 51


def test_the_blackbox_rank_lets_one_build_a_loss_of_ones_own(client):
    scores, _ = problem(17)
    ranks = rankd.torch.blackbox_rank(scores, lambda_val=2.0, client=client)
    np.testing.assert_allclose(ranks.detach().numpy() * 40, [oracle.ranks(row) for row in scores.detach().numpy()], rtol=1e-6)
    up = torch.randn(scores.shape, generator=torch.Generator().manual_seed(18))
    ranks.backward(up)
    moved = (scores.detach().double() + 2.0 * up.double()).float().numpy()
    difference = [oracle.ranks(a) - oracle.ranks(b) for a, b in zip(scores.detach().numpy(), moved)]
    np.testing.assert_allclose(scores.grad.numpy(), -np.array(difference) / (40 * 2.0), rtol=1e-6)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16])
def test_retrieval_gives_embeddings_and_references_their_gradient(client, dtype):
    make = torch.Generator().manual_seed(19)
    embeddings, refs = (torch.randn(k, 16, generator=make).to(dtype).requires_grad_() for k in (20, 12))
    labels, ref_labels = (torch.randint(0, 4, (k,), generator=make) for k in (20, 12))
    crit = RetrievalLoss("ap", margin_warmup=0, client=client)
    loss = crit(embeddings, labels, ref_emb=refs, ref_labels=ref_labels)
    (loss * 1024).backward()
    value, own, other, _ = oracle.embeddings_batch("ap", embeddings.detach().float().numpy(), labels.numpy(),
                                                   refs=refs.detach().float().numpy(), ref_labels=ref_labels.numpy())
    assert loss.item() == pytest.approx(value, rel=1e-5)
    rough = {torch.float32: 1e-4, torch.float16: 1e-3, torch.bfloat16: 1e-2}[dtype]
    for got, unit in ((embeddings.grad, own), (refs.grad, other)):
        assert got.dtype == dtype
        np.testing.assert_allclose(got.float().numpy() / 1024, unit, rtol=rough, atol=1e-5)


def test_references_that_want_no_gradient_get_none(client):
    embeddings, labels = torch.eye(4).repeat(2, 1).requires_grad_(), torch.arange(4).repeat(2)
    refs = torch.eye(4)
    crit = RetrievalLoss("ap", margin_warmup=0, client=client)
    crit(embeddings, labels, ref_emb=refs, ref_labels=torch.arange(4)).backward()
    assert embeddings.grad is not None and refs.grad is None
    towards = torch.eye(4).requires_grad_()
    crit(embeddings.detach(), labels, ref_emb=towards, ref_labels=torch.arange(4)).backward()
    assert towards.grad is not None


def test_two_trainers_that_show_each_other_their_items_equal_one_trainer(client):
    make = torch.Generator().manual_seed(20)
    embeddings = torch.randn(30, 16, generator=make).requires_grad_()
    labels = torch.randint(0, 5, (30,), generator=make)
    crit = RetrievalLoss("ap", margin_warmup=0, client=client)
    loss = crit(embeddings, labels)
    loss.backward()
    whole, embeddings.grad = embeddings.grad.clone(), None
    valid = crit.info.lists_valid
    halves = ((slice(0, 13), slice(13, 30)), (slice(13, 30), slice(0, 13)))
    total = sum(crit(embeddings[a], labels[a], ref_emb=embeddings[b], ref_labels=labels[b], avg_factor=valid) for a, b in halves)
    total.backward()
    assert total.item() == pytest.approx(loss.item(), rel=1e-6)
    torch.testing.assert_close(embeddings.grad, whole, rtol=1e-4, atol=1e-7)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU")
def test_cuda_tensors_are_moved_and_moved_back(ap):
    scores, targets = problem(21)
    on_gpu = scores.detach().cuda().requires_grad_()
    loss = ap(on_gpu, targets.cuda())
    loss.backward()
    assert loss.device == on_gpu.device and torch.equal(on_gpu.grad.cpu(), expected(scores, targets)[1])


def test_a_module_can_be_copied_and_pickled(client, ap):
    import copy
    import pickle

    scores, targets = problem(22)
    for other in (copy.deepcopy(ap), pickle.loads(pickle.dumps(ap))):
        assert other(scores, targets).item() == ap(scores, targets).item()
