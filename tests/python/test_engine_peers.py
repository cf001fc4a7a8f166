# SPDX-License-Identifier: Apache-2.0
"""The losses against other implementations: scikit-learn's average precision, and the method in
PyTorch as its paper describes it, with the slope of the loss by autograd."""
import numpy as np
import pytest
import torch
from sklearn.metrics import average_precision_score


def lists_without_ties(seed, q, n, p):
    """Scores [q, n] float32, all different within a list, and targets [q, n] with at least one
    relevant item each."""
    rng = np.random.default_rng(seed)
    scores = rng.permuted(np.tile(np.linspace(-0.05, 0.05, n, dtype=np.float32), (q, 1)), axis=1)
    targets = (rng.random((q, n)) < p).astype(np.int8)
    targets[np.arange(q), rng.integers(0, n, q)] = 1
    return scores, targets


@pytest.mark.parametrize("seed,q,n,p", [(1, 20, 10, 0.3), (2, 8, 500, 0.02), (3, 4, 3000, 0.5), (4, 30, 64, 0.9)])
def test_ap_is_one_minus_average_precision_of_scikit_learn(client, seed, q, n, p):
    scores, targets = lists_without_ties(seed, q, n, p)
    result = client.loss("ap", scores, targets, margin=0.0, list_loss=True, gradient=False)
    peer = [1 - average_precision_score(t, s) for s, t in zip(scores, targets)]
    np.testing.assert_allclose(result.list_loss, peer, rtol=1e-6, atol=1e-7)
    assert result.loss == pytest.approx(np.mean(peer), rel=1e-6, abs=1e-7)


class Ranking(torch.autograd.Function):
    """Normalised ranks (1/n is the best), and for them the gradient of the paper's algorithm 1."""

    @staticmethod
    def forward(ctx, scores, lambda_val):
        ctx.lambda_val = lambda_val
        ctx.save_for_backward(scores)
        return Ranking.ranks(scores)

    @staticmethod
    def ranks(scores):
        best_first = torch.argsort(scores, dim=1, descending=True)
        return (torch.argsort(best_first, dim=1) + 1).to(scores.dtype) / scores.shape[1]

    @staticmethod
    def backward(ctx, upstream):
        scores, = ctx.saved_tensors
        moved = scores + ctx.lambda_val * upstream
        return -(Ranking.ranks(scores) - Ranking.ranks(moved)) / ctx.lambda_val, None


def paper_loss(model, scores, targets, lambda_val):
    """The mean over lists; ranks among the relevant items are taken as constants, as in the
    paper."""
    ranks = Ranking.apply(scores, lambda_val) * scores.shape[1]
    losses = []
    for y, rk, relevant in zip(scores, ranks, targets):
        mine = relevant == 1
        among = (torch.argsort(torch.argsort(y[mine].detach(), descending=True)) + 1).to(y.dtype)
        if model == "ap":
            losses.append(1 - torch.mean(among / rk[mine]))
        else:
            losses.append(torch.mean(torch.log1p(torch.log1p(rk[mine] - among))))
    return torch.stack(losses).mean()


@pytest.mark.parametrize("model", ["ap", "recall"])
@pytest.mark.parametrize("lambda_val", [4.0, 100.0])
@pytest.mark.parametrize("seed,q,n,p", [(5, 12, 40, 0.2), (6, 5, 400, 0.03), (7, 100, 12, 0.5)])
def test_batch_scope_is_the_paper_in_pytorch(client, model, lambda_val, seed, q, n, p):
    scores, targets = lists_without_ties(seed, q, n, p)
    leaf = torch.tensor(scores, dtype=torch.float64, requires_grad=True)
    loss = paper_loss(model, leaf, torch.tensor(targets), lambda_val)
    loss.backward()
    ours = client.loss(model, scores, targets, margin=0.0, lambda_val=lambda_val, lambda_scope="batch")
    assert ours.loss == pytest.approx(loss.item(), rel=1e-6, abs=1e-7)
    # As rank differences, which are whole numbers: nothing is left to rounding.
    unit = lambda_val * n
    np.testing.assert_array_equal(np.rint(ours.gradient * unit), np.rint(leaf.grad.numpy() * unit))
    np.testing.assert_allclose(ours.gradient, leaf.grad.numpy(), rtol=1e-6)
    assert np.count_nonzero(ours.gradient) > 0


@pytest.mark.parametrize("lambda_val", [0.5, 20.0])
def test_list_scope_is_the_paper_on_each_list_alone(client, lambda_val):
    scores, targets = lists_without_ties(8, 9, 50, 0.2)
    ours = client.loss("ap", scores, targets, margin=0.0, lambda_val=lambda_val, average="sum")
    for s, t, gradient in zip(scores, targets, ours.gradient):
        leaf = torch.tensor(s[None], dtype=torch.float64, requires_grad=True)
        paper_loss("ap", leaf, torch.tensor(t[None]), lambda_val).backward()
        np.testing.assert_allclose(gradient, leaf.grad.numpy()[0], rtol=1e-6)
