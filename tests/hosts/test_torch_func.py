# SPDX-License-Identifier: Apache-2.0
"""The losses under torch.func."""
import pytest
import torch
from torch import nn
from torch.func import functional_call, grad, grad_and_value, hessian, jacfwd, jacrev, jvp, vjp, vmap

import rankd
from rankd.torch import APLoss, DetectionAPLoss, RetrievalLoss, blackbox_rank, ranks


def lists(*shape, seed=0):
    torch.manual_seed(seed)
    return torch.randn(*shape), (torch.rand(*shape) < 0.3).int()


@pytest.fixture
def crit(client):
    return APLoss(margin=0.1, margin_warmup=0, client=client)


def by_backward(crit, scores, *rest):
    leaf = scores.clone().requires_grad_()
    value = crit(leaf, *rest)
    value.sum().backward()
    return leaf.grad, value.detach()


def test_grad_is_that_of_backward(crit):
    scores, targets = lists(4, 20)
    expected, loss = by_backward(crit, scores, targets)
    gradient, value = grad_and_value(crit)(scores, targets)
    assert expected.any()
    torch.testing.assert_close(gradient, expected)
    torch.testing.assert_close(value, loss)
    value, back = vjp(lambda s: crit(s, targets), scores)
    torch.testing.assert_close(back(torch.tensor(2.0))[0], 2 * expected)


def test_a_functional_model(crit):
    layer, (x, _), (_, targets) = nn.Linear(5, 20), lists(4, 5), lists(4, 20)
    gradients = grad(lambda p: crit(functional_call(layer, p, x), targets))(dict(layer.named_parameters()))
    crit(layer(x), targets).backward()
    for name, parameter in layer.named_parameters():
        torch.testing.assert_close(gradients[name], parameter.grad)


def test_embeddings_and_references(client):
    crit = RetrievalLoss("ap", margin=0.0, client=client)
    x, refs, labels = torch.randn(8, 16), torch.randn(4, 16), torch.arange(8) % 3
    left, right = grad(lambda a, b: crit(a, labels, b, labels[:4]), argnums=(0, 1))(x, refs)
    a, b = x.clone().requires_grad_(), refs.clone().requires_grad_()
    crit(a, labels, b, labels[:4]).backward()
    torch.testing.assert_close(left, a.grad)
    torch.testing.assert_close(right, b.grad)


def test_a_detection_loss(client):
    crit = DetectionAPLoss(classes=5, points=12, batches=0, margin_warmup=0, client=client)
    logits, targets = lists(12, 5)
    targets[:3] = -1
    expected, _ = by_backward(crit, logits, targets)
    torch.testing.assert_close(grad(crit)(logits, targets), expected)
    assert expected[3:].any() and not expected[:3].any()


def test_vmap_asks_for_each_element(crit):
    scores, targets = lists(3, 4, 20)
    torch.testing.assert_close(vmap(crit)(scores, targets), torch.stack([crit(s, t) for s, t in zip(scores, targets)]))
    gradients = vmap(grad(crit))(scores, targets)
    torch.testing.assert_close(gradients, torch.stack([by_backward(crit, s, t)[0] for s, t in zip(scores, targets)]))
    shared = vmap(grad(crit), in_dims=(0, None))(scores, targets[0])
    torch.testing.assert_close(shared[2], by_backward(crit, scores[2], targets[0])[0])


def test_the_jacobian_of_each_list(client):
    crit = APLoss(margin=0.1, margin_warmup=0, reduction="none", client=client)
    scores, targets = lists(3, 12)
    jacobian = jacrev(crit)(scores, targets)
    expected, _ = by_backward(crit, scores, targets)
    assert jacobian.shape == (3, 3, 12)
    torch.testing.assert_close(jacobian.diagonal(dim1=0, dim2=1).T, expected)
    assert not jacobian[0, 1].any()


def test_ranks(client):
    scores, _ = lists(2, 3, 9)
    torch.testing.assert_close(vmap(lambda s: ranks(s, client=client))(scores),
                               torch.stack([ranks(s, client=client) for s in scores]))
    weight = torch.rand(3, 9)
    loss = lambda s: (blackbox_rank(s, lambda_val=20.0, client=client) * weight).sum()  # noqa: E731
    expected = torch.stack([by_backward(loss, s)[0] for s in scores])
    assert expected.any()
    torch.testing.assert_close(vmap(grad(loss))(scores), expected)


def test_what_a_ranking_has_not_is_refused_with_its_reason(crit):
    scores, targets = lists(3, 8)
    for function in (lambda: jvp(lambda s: crit(s, targets), (scores,), (scores,)), lambda: jacfwd(crit)(scores, targets),
                     lambda: hessian(crit)(scores, targets)):
        with pytest.raises(RuntimeError, match="taken backwards: torch.func.jvp and jacfwd are not possible"):
            function()
    with pytest.raises(RuntimeError, match="rankd's gradient has no derivative"):
        grad(lambda s: grad(crit)(s, targets).square().sum())(scores)
    with pytest.raises(rankd.InvalidRequest, match=r"scores\[0, 0\] is NaN"):
        grad(crit)(scores * float("nan"), targets)
    with pytest.raises(TypeError, match="^targets is a list"):
        grad(crit)(scores, [[0] * 8] * 3)


def test_a_bank_and_vmap_are_refused(client):
    client.banks.create("mapped", dim=16, capacity=50, durability="none")
    crit = RetrievalLoss("ap", bank="mapped", bank_start=0, client=client)
    with pytest.raises(ValueError, match="bank is 'mapped', and the loss is called within torch.func.vmap.*leave vmap or the "
                                         "bank out"):
        vmap(crit, in_dims=(0, None))(torch.randn(2, 6, 16), torch.arange(6) % 2)
    client.banks.delete("mapped")
