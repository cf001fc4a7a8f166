# SPDX-License-Identifier: Apache-2.0
"""RetrievalLoss with reduction="none": the loss of each query, with a backward for any upstream.
The oracle is the loss of scores over the matrix of cosines, through which torch's autograd finds
the gradient of the embeddings."""
import pytest
import torch

from rankd.torch import APLoss, NDCGLoss, RetrievalLoss, queries

PLAIN = {"margin": 0.0, "margin_warmup": 0}


def draw(seed, dim=6):
    random = torch.Generator().manual_seed(seed)
    batch, more = 5 + seed, 4
    embeddings = torch.randn(batch, dim, generator=random).requires_grad_()
    references = torch.randn(more, dim, generator=random).requires_grad_()
    labels, ref_labels = torch.randint(-1, 3, (batch,), generator=random), torch.randint(0, 3, (more,), generator=random)
    upstream = torch.randn(batch, generator=random)
    return embeddings, labels, references, ref_labels, upstream


def by_scores(crit, embeddings, labels, references, ref_labels):
    """The loss of each query over cosines."""
    unit = torch.nn.functional.normalize
    items = torch.cat([embeddings, references])
    names = torch.cat([labels, ref_labels])
    targets = ((labels[:, None] == names[None]) & (labels[:, None] >= 0)).to(torch.int8)
    targets[torch.arange(len(labels)), torch.arange(len(labels))] = -1
    return crit(unit(embeddings) @ unit(items).T, targets)


@pytest.mark.parametrize("form", ["mixed signs", "positive", "negative", "one query", "equal", "zero"])
def test_any_upstream_gives_the_gradient_of_the_loss_over_cosines(client, form):
    for seed in range(6):
        embeddings, labels, references, ref_labels, upstream = draw(seed)
        above = {"mixed signs": upstream, "positive": upstream.abs(), "negative": -upstream.abs(), "zero": upstream * 0,
                 "equal": torch.full_like(upstream, -0.5), "one query": torch.eye(len(upstream))[1] * 3}[form]
        crit = RetrievalLoss("ap", reduction="none", client=client, **PLAIN)
        each = crit(embeddings, labels, references, ref_labels)
        each.backward(above)
        other = [x.detach().clone().requires_grad_() for x in (embeddings, references)]
        wanted = by_scores(APLoss(reduction="none", client=client, **PLAIN), other[0], labels, other[1], ref_labels)
        wanted.backward(above)
        assert torch.allclose(each, wanted, atol=1e-6)
        assert torch.equal(crit.valid, (each > 0) | crit.valid) and not bool(each[~crit.valid].any())
        assert torch.allclose(embeddings.grad, other[0].grad, atol=1e-5)
        assert torch.allclose(references.grad, other[1].grad, atol=1e-5)


def test_the_mean_of_valid_queries_is_the_loss_without_reduction(client):
    embeddings, labels, references, ref_labels, _ = draw(3)
    one = RetrievalLoss("ap", client=client, **PLAIN)(embeddings, labels, references, ref_labels)
    one.backward()
    gradient, embeddings.grad = embeddings.grad, None
    crit = RetrievalLoss("ap", reduction="none", client=client, **PLAIN)
    each = crit(embeddings, labels, references, ref_labels)
    each[crit.valid].mean().backward()
    assert each[crit.valid].mean().item() == pytest.approx(one.item(), rel=1e-6)
    assert torch.allclose(embeddings.grad, gradient, atol=1e-6)


def test_weights_multiply_each_loss_and_its_gradient(client):
    embeddings, labels, references, ref_labels, upstream = draw(4)
    weight = torch.tensor([0.0, 2.0, 0.5, 1.0, 3.0, 1.0, 1.0, 0.25, 4.0])
    results = []
    for given, above in ((weight, upstream), (None, upstream * weight)):
        embeddings.grad = None
        crit = RetrievalLoss("ap", reduction="none", client=client, **PLAIN)
        each = crit(embeddings, labels, references, ref_labels, list_weight=given)
        each.backward(above)
        results.append((each.detach() * (1 if given is not None else weight), embeddings.grad))
    assert torch.allclose(results[0][0], results[1][0], atol=1e-6)
    assert torch.allclose(results[0][1], results[1][1], atol=1e-5)


def test_a_batch_that_is_overwritten_before_backward_changes_nothing(client):
    embeddings, labels, references, ref_labels, upstream = draw(2)
    gradients = []
    for overwrite in (False, True):
        rows = embeddings.detach().clone()
        leaf = torch.zeros_like(rows, requires_grad=True)
        buffer = rows + leaf
        each = RetrievalLoss("ap", reduction="none", client=client, **PLAIN)(buffer, labels, references.detach(), ref_labels)
        if overwrite:
            with torch.no_grad():
                buffer.detach().zero_()
        each.backward(upstream)
        gradients.append(leaf.grad)
    assert torch.equal(*gradients)


def test_relevance_with_grades_gives_a_loss_for_each_query(client):
    embeddings, *_, upstream = draw(1)
    grades = torch.randint(0, 4, (len(embeddings), len(embeddings)), generator=torch.Generator().manual_seed(1))
    each = RetrievalLoss("ndcg", reduction="none", client=client, **PLAIN)(embeddings, relevance=grades)
    each.backward(upstream)
    other = embeddings.detach().clone().requires_grad_()
    unit = torch.nn.functional.normalize(other)
    own = grades.clone().fill_diagonal_(-1)
    wanted = NDCGLoss(reduction="none", client=client, **PLAIN)(unit @ unit.T, own)
    wanted.backward(upstream)
    assert torch.allclose(each, wanted, atol=1e-6)
    assert torch.allclose(embeddings.grad, other.grad, atol=1e-5)


@pytest.mark.parametrize("arguments, sentence", [
    ({"reduction": "mean"}, "reduction is 'mean'; it may be 'none', or left out: average says how queries are averaged"),
    ({"reduction": "none", "average": "micro"}, "average='micro' does not go with it"),
    ({"reduction": "none", "lambda_scope": "batch"}, "lambda_scope='batch' makes lambda depend on their weights"),
    ({"reduction": "none", "bank": "b"}, "reduction is 'none' and bank is 'b': backward ranks the batch again"),
])
def test_what_has_no_loss_for_each_query_is_refused(client, arguments, sentence):
    with pytest.raises(ValueError) as refused:
        RetrievalLoss("ap", client=client, **arguments)
    assert sentence in str(refused.value)


def test_a_job_of_several_ranks_is_refused():
    with pytest.raises(ValueError, match="reduction is 'none' and distributed is set: the ranks share one loss"):
        queries.check("none", average="macro", lambda_scope=None, bank=None, distributed=True)


def test_a_bank_that_is_named_later_and_avg_factor_are_refused(client):
    embeddings, labels, *_ = draw(1)
    crit = RetrievalLoss("ap", reduction="none", client=client, **PLAIN)
    with pytest.raises(TypeError, match="avg_factor divides a sum over queries; reduction='none' sums nothing"):
        crit(embeddings, labels, avg_factor=3)
    crit.bank = "b"
    with pytest.raises(ValueError, match="reduction is 'none' and bank is 'b'"):
        crit(embeddings, labels)


def test_a_gradient_penalty_is_refused(client):
    embeddings, labels, *_, upstream = draw(1)
    each = RetrievalLoss("ap", reduction="none", client=client, **PLAIN)(embeddings, labels)
    (gradient,) = torch.autograd.grad(each, embeddings, upstream, create_graph=True)
    with pytest.raises(RuntimeError, match="has no derivative"):
        gradient.sum().backward()
