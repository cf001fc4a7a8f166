# SPDX-License-Identifier: Apache-2.0
"""NDCGLoss, MRRLoss, APLoss(top_k), ScoresLoss and RetrievalLoss of those losses: the client's
results, times the upstream."""
import numpy as np
import pytest
import torch

import rankd
import rankd.torch as rt
from rankd._names import LOSSES

SCORES = torch.tensor([[0.9, 0.8, 0.7, 0.6], [0.1, 0.4, 0.3, 0.2]])
GRADES = torch.tensor([[0, 1, 0, 3], [2, 0, -1, 2]])
BINARY = torch.tensor([[0, 1, 0, 1], [1, 0, -1, 1]])
CASES = [
    (lambda c: rt.NDCGLoss(margin=0, client=c), "ndcg", GRADES, {}),
    (lambda c: rt.NDCGLoss(gain="linear", top_k=2, margin=0, lambda_val=8, client=c), "ndcg",
     torch.where(GRADES > 0, GRADES / 4, GRADES),
     {"gain": "linear", "top_k": 2, "lambda_val": 8.0}),
    (lambda c: rt.MRRLoss(margin=0, client=c), "mrr", BINARY, {}),
    (lambda c: rt.MRRLoss(top_k=1, margin=0, axis=0, lambda_val=4, client=c), "mrr", BINARY,
     {"top_k": 1, "axis": 0, "lambda_val": 4.0}),
    (lambda c: rt.APLoss(top_k=1, margin=0, average="sum", client=c), "ap", BINARY, {"top_k": 1, "average": "sum"}),
    (lambda c: rt.ScoresLoss("recall", weight="log", margin=0, client=c), "recall", BINARY, {"weight": "log"}),
    (lambda c: rt.ScoresLoss("ndcg", top_k=3, margin=0, client=c), "ndcg", GRADES, {"top_k": 3}),
]



def test_a_metric_is_a_loss_without_gradient_and_without_lambda(client):
    make = lambda **more: rt.ScoresLoss("hits", margin=0, top_k=1, client=client, **more)
    expected = client.loss("hits", SCORES.numpy(), BINARY.numpy(), margin=0, top_k=1, gradient=False)
    assert float(make()(SCORES, BINARY)) == pytest.approx(expected.loss, rel=1e-6)
    with pytest.raises(rankd.InvalidRequest, match="output gradient is not one of model hits"):
        make()(SCORES.clone().requires_grad_(), BINARY)
    with pytest.raises(ValueError, match="lambda_val is given to 'hits'"):
        make(lambda_val=2.0)


@pytest.mark.parametrize(("make", "model", "targets", "options"), CASES, ids=range(len(CASES)))
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16])
def test_a_module_gives_what_the_client_answers(client, make, model, targets, options, dtype):
    scores = SCORES.to(dtype, copy=True).requires_grad_()
    crit = make(client)
    loss = crit(scores, targets)
    expected = client.loss(model, scores.detach().float().numpy(), targets.numpy(), **options)
    assert float(loss) == pytest.approx(expected.loss, rel=1e-6)
    (loss * 3).backward()
    np.testing.assert_array_equal(scores.grad.float().numpy(),
                                  torch.from_numpy(expected.gradient * np.float32(3)).to(dtype).float().numpy())
    assert scores.grad.dtype == dtype and np.count_nonzero(expected.gradient) > 0
    assert crit.info.lists_valid == (2 if options.get("axis") != 0 else 3)


@pytest.mark.parametrize("dtype", [torch.int64, torch.float16, torch.float32, torch.float64, torch.bfloat16])
def test_grades_of_any_type_mean_the_same(client, dtype):
    crit = rt.NDCGLoss(margin=0, client=client)
    assert float(crit(SCORES, GRADES.to(dtype))) == float(crit(SCORES, GRADES)) > 0


def test_linear_gains_of_float64_are_rounded_and_whole_grades_stay_whole(client):
    fractions = torch.tensor([[0.0, 0.1, 0.3, 0.7]], dtype=torch.float64)
    linear = rt.NDCGLoss(gain="linear", margin=0, client=client)
    assert float(linear(SCORES[:1], fractions)) == float(linear(SCORES[:1], fractions.float())) > 0
    with pytest.raises(rankd.InvalidRequest, match="it may be a whole grade from 0"):
        rt.NDCGLoss(margin=0, client=client)(SCORES[:1], fractions.float())


def test_ndcg_gives_a_loss_for_each_list(client):
    scores = SCORES.clone().requires_grad_()
    crit = rt.NDCGLoss(margin=0, reduction="none", client=client)
    each = crit(scores, GRADES)
    assert each.shape == (2,) and each.tolist() == pytest.approx(client.loss("ndcg", SCORES, GRADES,
                                                                             list_loss=True).list_loss.tolist())
    (each * torch.tensor([1.0, 0.0])).sum().backward()
    np.testing.assert_array_equal(scores.grad.numpy()[0], client.loss("ndcg", SCORES[:1].numpy(), GRADES[:1].numpy()).gradient[0])
    assert not scores.grad[1].any()


@pytest.mark.parametrize(("model", "options"), [("ndcg", {"top_k": 3}), ("mrr", {})])
def test_retrieval_has_the_losses_too(client, model, options):
    torch.manual_seed(1)
    embeddings, labels = torch.randn(12, 8, requires_grad=True), torch.arange(12) % 4
    loss = rt.RetrievalLoss(model, margin_warmup=0, client=client, **options)(embeddings, labels)
    loss.backward()
    expected = client.loss(model, embeddings=embeddings.detach().numpy(), labels=labels.numpy(), margin=0.1, **options)
    assert float(loss) == pytest.approx(expected.loss, rel=1e-6)
    np.testing.assert_array_equal(embeddings.grad.numpy(), expected.gradient)
    assert np.count_nonzero(expected.gradient) > 0


def test_graded_relevance_of_queries_and_documents(client):
    torch.manual_seed(2)
    queries, documents = torch.randn(3, 8, requires_grad=True), torch.randn(6, 8, requires_grad=True)
    relevance = torch.tensor([[3, 0, 1, 0, 0, 2], [0, 1, 0, 0, -1, 0], [0, 0, 0, 1, 3, 0]])
    crit = rt.RetrievalLoss("ndcg", gallery="references", margin_warmup=0, client=client)
    crit(queries, ref_emb=documents, relevance=relevance).backward()
    expected = client.loss("ndcg", embeddings=queries.detach().numpy(), ref_embeddings=documents.detach().numpy(), margin=0.1,
                           relevance=relevance.numpy(), gallery="references")
    np.testing.assert_array_equal(documents.grad.numpy(), expected.ref_gradient)
    assert queries.grad.abs().sum() > 0


def test_what_a_module_cannot_do_is_said_before_a_request(client):
    with pytest.raises(ValueError, match="gain is 'exp'; it may be 'exp2' or 'linear'"):
        rt.NDCGLoss(gain="exp", margin=0, client=client)
    with pytest.raises(ValueError, match="bank is 'b'; NDCGLoss takes none"):
        rt.NDCGLoss(margin=0, bank="b", client=client)
    with pytest.raises(TypeError, match="margin must be given"):
        rt.MRRLoss(client=client)
    with pytest.raises(ValueError, match=", ".join(map(repr, LOSSES))):
        rt.RetrievalLoss("ncdg", client=client)


def test_a_loss_that_there_is_none_of(client):
    with pytest.raises(ValueError, match="model is 'ndgc'; it may be 'ap'"):
        rt.ScoresLoss("ndgc", margin=0, client=client)
    with pytest.raises(TypeError, match="unexpected keyword argument 'depth'"):
        rt.ScoresLoss("ndcg", margin=0, depth=3, client=client)


def test_a_parameter_that_is_none_is_refused_at_once_with_the_nearest(client):
    for make, name, near in ((rt.NDCGLoss, "topk", "top_k"), (rt.NDCGLoss, "gains", "gain"),
                             (rt.MRRLoss, "lambda_value", "lambda_val"),
                             (rt.RetrievalLoss, "normalise", "normalize")):
        with pytest.raises(TypeError, match=rf"^{make.__name__}\(\) got an unexpected keyword argument '{name}'; did you mean "
                                            rf"'{near}'\?$"):
            make(margin=0, client=client, **{name: 1})
    with pytest.raises(TypeError, match=r"^loss\(\) got an unexpected keyword argument 'offset'; did you mean 'offsets'\?$"):
        client.loss("ap", [1.0], [1], offset=[0, 1])


def test_a_ranker_learns_from_grades(client):
    """A linear scorer finds the direction along which the grades rise."""
    torch.manual_seed(3)
    features = torch.randn(30, 20, 5)
    grades = (features[..., 0] * 2 + 2).round().clamp(0, 4)
    weight = torch.zeros(5, requires_grad=True)
    crit, step = rt.NDCGLoss(margin=0.1, margin_warmup=0, client=client), torch.optim.Adam([weight], lr=0.05)
    for _ in range(60):
        step.zero_grad()
        loss = crit(features @ weight, grades)
        loss.backward()
        step.step()
    assert float(rt.NDCGLoss(margin=0, client=client)(features @ weight, grades)) < 0.05
    assert weight.detach().abs().argmax() == 0 and weight[0] > 0
