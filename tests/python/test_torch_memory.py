# SPDX-License-Identifier: Apache-2.0
"""When a loss appends to its bank and when not, and its warnings if the bank does not match its
state."""
import warnings

import pytest
import torch
from torch import nn
from torch.utils.checkpoint import checkpoint

import rankd
import rankd.torch.memory
from rankd.torch import APLoss, RecallLoss, RetrievalLoss, restore_bank, save_bank


def batch(seed=1, B=12):
    make = torch.Generator().manual_seed(seed)
    return torch.randn(B, 16, generator=make).requires_grad_(), torch.randint(0, 4, (B,), generator=make)


@pytest.fixture
def crit(client, bank):
    return RetrievalLoss("ap", bank_start=0, bank=bank, client=client)


def version(crit):
    return crit.client.banks.get(crit.bank).version


@pytest.fixture(params=["ap", "recall", "retrieval ap", "retrieval recall"])
def any_loss(client, bank, request):
    """(loss, a batch for it) of each kind that has a bank."""
    if request.param.startswith("retrieval"):
        yield RetrievalLoss(request.param.split()[1], bank_start=0, bank=bank, client=client), batch()
        return
    client.banks.create("held-scores", kind="scores", lists=3, capacity=64)
    kind = APLoss if request.param == "ap" else RecallLoss
    yield kind(margin=0.1, bank="held-scores", client=client), (torch.randn(3, 16, requires_grad=True),
                                                                torch.arange(48).view(3, 16) % 2)
    client.banks.delete("held-scores")


def test_within_the_block_nothing_is_remembered(any_loss):
    crit, (inputs, targets) = any_loss
    crit(inputs, targets).backward()
    inputs.grad = None
    with crit.not_remembering():
        crit(inputs, targets).backward()
        assert crit.info.bank_items > 0 and crit.info.bank_version_appended is None and inputs.grad.abs().sum() > 0
        with crit.not_remembering():
            crit(inputs, targets)
        crit(inputs, targets)
    assert version(crit) == 1 and crit.schedule.steps == 1
    with pytest.raises(ZeroDivisionError):
        with crit.not_remembering():
            1 / 0
    crit(inputs, targets)
    assert version(crit) == 2 and crit.schedule.steps == 2


@pytest.mark.parametrize("reentrant", [True, False])
def test_a_recomputation_after_the_block_remembers_nothing_either(crit, reentrant):
    embeddings, labels = batch()
    with crit.not_remembering():
        loss = checkpoint(crit, embeddings, labels, use_reentrant=reentrant)
    loss.backward()
    assert embeddings.grad is not None and version(crit) == 0 and crit.schedule.steps == 0
    checkpoint(crit, embeddings, labels, use_reentrant=reentrant).backward()
    assert version(crit) == 1 and crit.schedule.steps == 1


def test_a_recomputation_within_a_block_of_what_was_remembered_before_it_is_one_batch(crit):
    embeddings, labels = batch()
    loss = checkpoint(crit, embeddings, labels, use_reentrant=False)
    with crit.not_remembering():
        loss.backward()
    assert version(crit) == 1 and crit.schedule.steps == 1


def test_sharpness_aware_minimization_remembers_each_batch_once(crit):
    net = nn.Linear(8, 16)
    optimizer = torch.optim.SGD(net.parameters(), lr=0.1)
    for step in range(3):
        points, labels = torch.randn(12, 8), torch.arange(12) % 4
        crit(net(points), labels).backward()
        with torch.no_grad():
            moves = [0.05 * p.grad / (p.grad.norm() + 1e-12) for p in net.parameters()]
            [p.add_(m) for p, m in zip(net.parameters(), moves)]
        optimizer.zero_grad()
        with crit.not_remembering():
            crit(net(points), labels).backward()
        with torch.no_grad():
            [p.sub_(m) for p, m in zip(net.parameters(), moves)]
        optimizer.step()
        assert version(crit) == step + 1 == crit.schedule.steps


def test_lbfgs_remembers_each_batch_once(crit):
    net, evaluations = nn.Linear(8, 16), 0
    optimizer = torch.optim.LBFGS(net.parameters(), lr=0.1, max_iter=5)
    points, labels = torch.randn(12, 8), torch.arange(12) % 4

    def closure():
        nonlocal evaluations
        evaluations += 1
        optimizer.zero_grad()
        loss = crit(net(points), labels)
        loss.backward()
        return loss

    for step in range(2):
        with crit.not_remembering():
            optimizer.step(closure)
        crit(net(points), labels)
        assert version(crit) == step + 1
    assert evaluations > 2


# ---- a bank that is newer than the loss's state ----


class Run:
    """A loss over a bank of a daemon that keeps data."""

    def __init__(self, client, **options):
        self.client = client
        client.banks.create("run", dim=16, capacity=512)
        self.crit = RetrievalLoss("ap", bank_start=0, bank="run", client=client, **options)

    def steps(self, count):
        for seed in range(count):
            embeddings, labels = batch(seed)
            self.crit(embeddings, labels).backward()
        return self


@pytest.fixture
def keeping(mortal):
    with rankd.connect(mortal.url) as client:
        yield client


def said(run, steps=1):
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        run.steps(steps)
    return [str(w.message) for w in caught if "memory is newer" in str(w.message)]


def test_resuming_an_older_state_over_a_newer_memory_is_said_once(keeping):
    run = Run(keeping).steps(3)
    state = run.crit.state_dict()
    run.steps(5)
    again = Run(keeping)
    again.crit.load_state_dict(state)
    sentence, = said(again, 3)
    assert "version 8 (generation" in sentence and "saved at version 3" in sentence and "save_bank" in sentence
    assert "client.banks.clear('run')" in sentence


def test_it_is_said_too_where_the_bank_is_only_ranked_with(keeping):
    run = Run(keeping).steps(3)
    state = run.crit.state_dict()
    run.steps(1)
    again = Run(keeping)
    again.crit.load_state_dict(state)
    again.crit.eval()
    assert len(said(again)) == 1


def test_a_checkpoint_of_the_bank_that_was_not_gone_back_to_is_named(keeping):
    run = Run(keeping).steps(3)
    save_bank(run.crit, "after-three")
    state = run.crit.state_dict()
    run.steps(2)
    again = Run(keeping)
    again.crit.load_state_dict(state)
    sentence, = said(again)
    assert "'after-three'" in sentence and "restore_bank(crit)" in sentence


@pytest.mark.parametrize("way", ["restored here", "restored elsewhere", "cleared", "went on", "another bank", "an older format",
                                 "a fresh loss", "kept out"])
def test_a_memory_that_belongs_to_the_state_is_not_warned_of(keeping, way):
    run = Run(keeping).steps(3)
    save_bank(run.crit, "after-three")
    state = run.crit.state_dict()
    if way != "went on":
        run.steps(2)
    again = Run(keeping, persistent_state=way != "kept out")
    if way == "another bank":
        keeping.banks.create("other", dim=16, capacity=512)
        again.crit.bank = "other"
        again.steps(9)
    if way == "an older format":
        state = {"_extra_state": {"steps": 3, "stalled": 0, "bank_tag": "after-three"}}
    if way != "a fresh loss":
        again.crit.load_state_dict(state)
    if way == "restored here":
        restore_bank(again.crit)
    if way == "restored elsewhere":
        keeping.banks.restore("run", "after-three")
    if way == "cleared":
        keeping.banks.clear("run")
    assert said(again, 2) == []


def test_a_bank_that_was_restored_to_another_state_is_said(keeping):
    run = Run(keeping).steps(3)
    early = run.crit.state_dict()
    run.steps(3)
    save_bank(run.crit, "late")
    run.steps(1)
    restore_bank(run.crit)
    again = Run(keeping)
    again.crit.load_state_dict(early)
    sentence, = said(again)
    assert "version 6 (generation" in sentence and "saved at version 3" in sentence


def test_batches_that_other_trainers_of_the_job_append_meanwhile_are_no_newer_memory(keeping, monkeypatch):
    run = Run(keeping).steps(3)
    state = run.crit.state_dict()
    run.steps(4)  # as other trainers' batches, of the step of the state and of the first one after
    again = Run(keeping)
    again.crit.load_state_dict(state)
    monkeypatch.setattr(rankd.torch.memory, "trainers", lambda: 2)
    assert said(again) == []
    run.steps(1)
    again.crit.load_state_dict(state)
    assert len(said(again)) == 1


def test_what_a_state_knows_of_the_bank_is_of_the_latest_call(keeping):
    run = Run(keeping).steps(2)
    known = run.crit.memory.state()
    assert (known["bank"], known["bank_version"]) == ("run", 2)
    save_bank(run.crit, "two")
    other = Run(keeping)
    other.steps(1)
    save_bank(run.crit, "three")  # which another trainer had appended to
    assert run.crit.memory.state()["bank_version"] == 3
    restored = restore_bank(run.crit)
    assert run.crit.memory.state()["bank_generation"] == restored.generation
