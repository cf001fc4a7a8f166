# SPDX-License-Identifier: Apache-2.0
"""torch.compile over modules with a loss of rankd in them: one graph, the values of the plain
module, no recompilation."""
import copy

import pytest
import torch
from torch import nn
from torch._dynamo.utils import counters
from torch.utils.checkpoint import checkpoint

import rankd
from rankd.torch import APLoss, DetectionAPLoss, NDCGLoss, RecallLoss, RetrievalLoss, blackbox_rank, ranks

STEPS = 4


class Model(nn.Module):
    def __init__(self, crit, width=40):
        super().__init__()
        torch.manual_seed(0)
        self.layer, self.crit = nn.Linear(8, width), crit

    def forward(self, x, *wanted, **more):
        return self.crit(self.layer(x), *wanted, **more)


def batch(*wanted, **more):
    """Of 6 lists of 40 items."""
    return torch.randn(6, 8), wanted or ((torch.rand(6, 40) < 0.2).int(),), more


def grades():
    return batch(torch.randint(0, 4, (6, 40)))


def places():
    wanted = (torch.rand(6, 40) < 0.4).int()
    wanted[torch.rand(6) < 0.3] = -1
    return batch(wanted)


def items(**more):
    return torch.randn(12, 8), (torch.arange(12) % 3,), more


def references():
    return items(ref_emb=torch.randn(5, 40, requires_grad=True), ref_labels=torch.arange(5) % 3)


CASES = {
    "ap": (lambda c: APLoss(margin=0.1, client=c), batch),
    "a margin that grows": (lambda c: APLoss(margin=0.1, margin_warmup=STEPS, client=c), batch),
    "each list": (lambda c: APLoss(margin=0.1, reduction="none", client=c), batch),
    "each column, weighted": (lambda c: APLoss(margin=0.1, axis=0, reduction="none", client=c),
                              lambda: batch(weight=torch.rand(40))),
    "a factor": (lambda c: APLoss(margin=0.1, client=c), lambda: batch(avg_factor=2.5)),
    "a factor of a tensor": (lambda c: APLoss(margin=0.1, client=c), lambda: batch(avg_factor=torch.rand(1) + 1)),
    "recall": (lambda c: RecallLoss(margin=0.1, average="micro", client=c), batch),
    "ndcg": (lambda c: NDCGLoss(margin=0.1, top_k=5, client=c), grades),
    "detection": (lambda c: DetectionAPLoss(classes=40, points=6, bank_start=2, client=c), places),
    "detection with a factor": (lambda c: DetectionAPLoss(classes=40, points=6, bank_start=2, client=c),
                                lambda: (*places()[:2], {"avg_factor": 3.0})),
    "embeddings": (lambda c: RetrievalLoss("ap", client=c), items),
    "references": (lambda c: RetrievalLoss("ap", gallery="references", client=c), references),
}


@pytest.fixture(autouse=True)
def nothing_compiled():
    torch._dynamo.reset()
    counters.clear()


def same_steps(plain, compiled, model, make):
    for _ in range(STEPS):
        x, wanted, more = make()
        there = {name: one.detach().clone().requires_grad_(one.requires_grad) if isinstance(one, torch.Tensor) else one
                 for name, one in more.items()}
        expected, value = plain(x, *wanted, **more), compiled(x, *wanted, **there)
        torch.testing.assert_close(value, expected)
        above = torch.rand_like(expected)
        expected.backward(above)
        value.backward(above)
        for name, one in more.items():
            if isinstance(one, torch.Tensor) and one.requires_grad:
                assert one.grad.any()
                torch.testing.assert_close(there[name].grad, one.grad)
    for one, other in zip(plain.parameters(), model.parameters()):
        assert one.grad.any()
        torch.testing.assert_close(other.grad, one.grad)


@pytest.mark.parametrize("backend", ["eager", "aot_eager"])
@pytest.mark.parametrize("case", CASES)
def test_a_loss_is_part_of_one_graph(client, case, backend):
    make_loss, make = CASES[case]
    torch.manual_seed(1)
    plain = Model(make_loss(client))
    model = copy.deepcopy(plain)
    same_steps(plain, torch.compile(model, fullgraph=True, backend=backend), model, make)
    assert counters["stats"]["unique_graphs"] == 1 and not counters["graph_break"]
    assert model.crit.schedule.steps == plain.crit.schedule.steps == STEPS
    assert model.crit.info.lists == plain.crit.info.lists


def test_the_compiler_of_torch_makes_code_of_it(client):
    """Inductor, which needs a C++ compiler."""
    plain = Model(APLoss(margin=0.1, client=client))
    model = copy.deepcopy(plain)
    same_steps(plain, torch.compile(model, fullgraph=True), model, batch)


def test_a_factor_that_changes_is_compiled_twice_at_most(client):
    model = torch.compile(Model(APLoss(margin=0.1, client=client)), fullgraph=True, backend="aot_eager")
    for step in range(8):
        x, wanted, _ = batch()
        model(x, *wanted, avg_factor=1.5 + step).backward()
    assert counters["stats"]["unique_graphs"] <= 2


def test_lists_of_different_lengths(client):
    crit = APLoss(margin=0.1, reduction="none", client=client)
    compiled = torch.compile(crit, fullgraph=True, backend="aot_eager")
    offsets = torch.tensor([0, 4, 4, 10])
    torch.manual_seed(0)
    flat, targets = torch.randn(10, requires_grad=True), (torch.rand(10) < 0.5).int()
    above = torch.tensor([1.0, 2.0, 3.0])
    expected, = torch.autograd.grad(crit(flat, targets, offsets=offsets), flat, above)
    found, = torch.autograd.grad(compiled(flat, targets, offsets=offsets), flat, above)
    torch.testing.assert_close(found, expected)
    pieces = [flat[:4].detach().requires_grad_(), flat[4:].detach().requires_grad_()]
    compiled(pieces, [targets[:4], targets[4:]]).backward(torch.tensor([1.0, 3.0]))
    torch.testing.assert_close(torch.cat([one.grad for one in pieces]), expected)


def test_a_bank_receives_each_batch_once_also_where_nobody_looks_at_the_value(client):
    client.banks.create("compiled", dim=40, capacity=500, durability="none")
    model = Model(RetrievalLoss("ap", bank="compiled", bank_start=1, client=client))

    def step(x, labels):
        embeddings = model.layer(x)
        model.crit(embeddings, labels)
        return embeddings.sum()

    try:
        for made, function in enumerate((torch.compile(model, fullgraph=True, backend="aot_eager"),
                                         torch.compile(step, fullgraph=True, backend="aot_eager"))):
            for _ in range(3):
                x, wanted, _ = items()
                function(x, *wanted).backward()
            assert client.banks.get("compiled").items == 36 * (made + 1)
        assert model.crit.schedule.steps == 6 and model.crit.info.bank_items == 60
        model.eval()
        torch.compile(model, fullgraph=True, backend="aot_eager")(items()[0], items()[1][0])
        assert client.banks.get("compiled").items == 72
    finally:
        client.banks.delete("compiled")


def test_a_step_that_is_computed_again_counts_once(client):
    """Activation checkpointing, compiled."""
    model = Model(APLoss(margin=0.1, margin_warmup=10, client=client))

    def step(x, targets):
        return checkpoint(model, x, targets, use_reentrant=False)

    x, wanted, _ = batch()
    torch.compile(step, backend="aot_eager", fullgraph=True)(x, *wanted).backward()
    assert model.crit.schedule.steps == 1 and model.layer.weight.grad.any()


def test_a_mean_over_autocast_and_half_precision(client):
    model = Model(APLoss(margin=0.1, client=client))
    compiled = torch.compile(model, fullgraph=True, backend="aot_eager")
    x, wanted, _ = batch()
    with torch.autocast("cpu", torch.bfloat16):
        value = compiled(x, *wanted)
    value.backward()
    assert value.dtype == torch.float32 and model.layer.weight.grad.any()


def test_ranks_are_part_of_a_graph_where_the_daemon_is_named_by_its_url(client, daemon):
    def step(scores):
        return blackbox_rank(scores, lambda_val=5.0, client=daemon.url).square().sum() + ranks(scores, client=daemon.url).sum()

    torch.manual_seed(0)
    scores = torch.randn(3, 9, requires_grad=True)
    expected, = torch.autograd.grad(step(scores), scores)
    value = torch.compile(step, fullgraph=True, backend="aot_eager")(scores)
    found, = torch.autograd.grad(value, scores)
    torch.testing.assert_close(value, step(scores))
    torch.testing.assert_close(found, expected)
    assert expected.any()
    with_an_object = torch.compile(lambda s: blackbox_rank(s, client=client).sum(), backend="aot_eager")  # a graph break
    torch.testing.assert_close(with_an_object(scores), blackbox_rank(scores, client=client).sum())


def test_an_error_of_compiled_code_is_the_sentence_of_the_plain_one(client):
    compiled = torch.compile(APLoss(margin=0.1, client=client), fullgraph=True, backend="aot_eager")
    scores = torch.randn(3, 9, requires_grad=True)
    with pytest.raises(rankd.InvalidRequest, match=r"input targets has shape \[2, 9\]; it must be that of scores, \[3, 9\]"):
        compiled(scores, torch.zeros(2, 9, dtype=torch.int32))
    with pytest.raises(rankd.InvalidRequest, match=r"targets\[0, 0\] is 7"):
        compiled(scores, torch.full((3, 9), 7))
    with pytest.raises(rankd.InvalidRequest, match=r"scores\[0, 0\] is NaN"):
        compiled(scores * float("nan"), torch.ones(3, 9))


def test_values_without_a_ranking_propagate(client):
    compiled = torch.compile(APLoss(margin=0.1, on_nan="propagate", client=client), fullgraph=True, backend="aot_eager")
    scores = torch.full((2, 5), float("nan"), requires_grad=True)
    compiled(scores, torch.ones(2, 5)).backward()
    assert scores.grad.isnan().all()


def test_a_copy_has_a_schedule_of_its_own(client):
    """Code that was compiled with a module calls that module, and no copy of it."""
    plain = Model(APLoss(margin=0.1, client=client))
    other = copy.deepcopy(plain)
    x, wanted, _ = batch()
    for model in (plain, other, other):
        torch.compile(model, fullgraph=True, backend="aot_eager")(x, *wanted).backward()
    assert (plain.crit.schedule.steps, other.crit.schedule.steps) == (1, 2)


def test_what_the_operators_say_of_themselves_is_right(client):
    """torch's own check of schemas and shapes. (Its test_aot_dispatch differentiates the gradients
    too, which the operator refuses.)"""
    crit = APLoss(margin=0.0, client=client)
    scores, targets = torch.randn(3, 9, requires_grad=True), (torch.rand(3, 9) < 0.4).int()
    tests = ("test_schema", "test_autograd_registration", "test_faketensor")
    torch.library.opcheck(torch.ops.rankd.loss.default, (crit.operator_name, "scores,targets", [scores, targets], [True]),
                          test_utils=tests)
    torch.library.opcheck(torch.ops.rankd.rank.default, (scores, None, 1.0, client.transport.url), test_utils=tests)
