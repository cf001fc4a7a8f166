# SPDX-License-Identifier: Apache-2.0
"""RetrievalLoss with a memory bank: which items are ranked, when batches are appended, and resuming
after a stop."""
import numpy as np
import pytest
import torch
from torch import nn
from torch.utils.checkpoint import checkpoint

import oracle
import rankd
from rankd.torch import APLoss, RetrievalLoss, restore_bank, save_bank


def batches(count, B=12, dim=16, seed=1):
    make = torch.Generator().manual_seed(seed)
    return [(torch.randn(B, dim, generator=make).requires_grad_(), torch.randint(0, 4, (B,), generator=make))
            for _ in range(count)]


@pytest.fixture
def crit(client, bank):
    return RetrievalLoss("ap", bank_start=0, bank=bank, margin_warmup=0, client=client)


def test_batches_are_ranked_against_the_memory_of_the_latest(client, crit, bank):
    memory, labels = np.zeros((0, 16), np.float32), np.zeros(0, np.int64)
    for step, (embeddings, own) in enumerate(batches(8)):
        loss = crit(embeddings, own)
        loss.backward()
        expected, gradient, *_ = oracle.embeddings_batch("ap", embeddings.detach().numpy(), own.numpy(), memory=memory,
                                                         memory_labels=labels)
        assert loss.item() == pytest.approx(expected, rel=1e-5)
        np.testing.assert_allclose(embeddings.grad.numpy(), gradient, rtol=1e-4, atol=1e-6)
        assert (crit.info.bank_items, crit.info.bank_version) == (len(memory), step)
        assert crit.info.bank_version_appended == step + 1
        memory = np.concatenate([memory, oracle.unit(embeddings.detach().numpy())])[-64:]
        labels = np.concatenate([labels, own.numpy()])[-64:]
    assert client.banks.get(bank).items == 64


def test_only_training_with_grad_enabled_appends(client, crit, bank):
    (embeddings, labels), = batches(1)
    with torch.no_grad():
        crit(embeddings, labels)
    crit.eval()
    crit(embeddings, labels)
    crit.train()
    crit(embeddings.detach(), labels)
    assert client.banks.get(bank).items == 0
    crit(embeddings, labels)
    assert client.banks.get(bank).items == 12


@pytest.mark.parametrize("reentrant", [True, False])
def test_a_recomputation_under_activation_checkpointing_appends_nothing_more(client, crit, bank, reentrant):
    for step, (embeddings, labels) in enumerate(batches(3)):
        checkpoint(crit, embeddings, labels, use_reentrant=reentrant).backward()
        assert client.banks.get(bank).version == step + 1
        assert embeddings.grad is not None
    assert client.banks.get(bank).items == 36


def test_a_recomputed_gradient_is_that_of_the_first_pass(client, crit, bank):
    (first, labels), (second, more) = batches(2)
    crit(first, labels)
    seen = client.loss("ap", embeddings=second.detach().numpy(), labels=more.numpy(), margin=0.1, bank=bank, enqueue=False)
    checkpoint(crit, second, more, use_reentrant=False).backward()
    np.testing.assert_array_equal(second.grad.numpy(), seen.gradient)


def test_the_same_batch_twice_is_two_batches(client, crit, bank):
    (embeddings, labels), = batches(1)
    crit(embeddings, labels)
    crit(embeddings, labels)
    assert client.banks.get(bank).version == 2


def test_an_enqueue_mask_says_which_items_are_kept(client, crit, bank):
    (embeddings, labels), = batches(1)
    crit(embeddings, labels, enqueue_mask=torch.arange(12) < 5)
    assert client.banks.get(bank).items == 5


def test_ids_hide_an_items_older_self(client, crit, bank):
    embeddings, labels, ids = torch.randn(6, 16, requires_grad=True), torch.arange(6), torch.arange(100, 106)
    crit(embeddings, labels, ids=ids)
    crit(embeddings, labels, ids=ids)
    assert crit.info.lists_skipped == 6  # its only match was itself
    crit(embeddings, labels)
    assert crit.info.lists_skipped == 0


def test_a_score_bank_extends_lists_and_drops_their_gradient(client):
    client.banks.create("scores-test", kind="scores", lists=3, capacity=40)
    try:
        crit = APLoss(margin=0.1, margin_warmup=0, bank="scores-test", client=client)
        rng = np.random.default_rng(5)
        kept_s, kept_t = np.zeros((3, 0), np.float32), np.zeros((3, 0), np.int64)
        for _ in range(3):
            scores = torch.tensor(rng.standard_normal((3, 20)), dtype=torch.float32, requires_grad=True)
            targets = torch.tensor(rng.random((3, 20)) < 0.3).long()
            loss = crit(scores, targets)
            loss.backward()
            whole_s, whole_t = np.hstack([scores.detach().numpy(), kept_s]), np.hstack([targets.numpy(), kept_t])
            value, gradient, *_ = oracle.batch("ap", whole_s, whole_t, margin=0.1)
            assert loss.item() == pytest.approx(value, rel=1e-6)
            np.testing.assert_array_equal(scores.grad.numpy(), gradient[:, :20].astype(np.float32))
            dropped = np.abs(gradient[:, 20:]).sum() / max(np.abs(gradient).sum(), 1e-30)
            assert crit.info.gradient_dropped == pytest.approx(dropped, rel=1e-6, abs=1e-12)
            order = [np.hstack([old, new])[:, -40:]
                     for old, new in ((kept_s, scores.detach().numpy()), (kept_t, targets.numpy()))]
            kept_s, kept_t = order
    finally:
        client.banks.delete("scores-test")


def test_checkpoints_are_listed_restored_and_deleted(mortal):
    client, bank = rankd.connect(mortal.url), "kept"
    client.banks.create(bank, dim=16, capacity=64)
    crit = RetrievalLoss("ap", bank_start=0, bank=bank, margin_warmup=0, client=client)
    for embeddings, labels in batches(2):
        crit(embeddings, labels)
    tag = save_bank(crit, "after-two")
    assert tag == "after-two"
    with pytest.raises(rankd.RankdError) as caught:
        save_bank(crit, "after-two")
    assert caught.value.code == 409
    for embeddings, labels in batches(3, seed=2):
        crit(embeddings, labels)
    before = client.banks.get(bank)
    state = restore_bank(crit)
    assert (state.items, state.version) == (24, 2) and state.generation > before.generation
    assert any("after-two" in str(entry) for entry in client.banks.checkpoints(bank))
    client.banks.delete_checkpoint(bank, "after-two")
    assert not any("after-two" in str(entry) for entry in client.banks.checkpoints(bank))
    with pytest.raises(ValueError, match="save_bank"):
        restore_bank(RetrievalLoss("ap", bank_start=0, bank=bank, client=client))
    with pytest.raises(ValueError, match="has no bank"):
        save_bank(RetrievalLoss("ap", client=client))


class Training:
    """A small training with a bank, all of whose state goes through state_dicts."""

    def __init__(self, client, bank):
        torch.manual_seed(7)
        self.model = nn.Sequential(nn.Linear(8, 32), nn.ReLU(), nn.Linear(32, 16))
        self.crit = RetrievalLoss("ap", bank_start=0, bank=bank, margin_warmup=15, client=client)
        self.optimizer = torch.optim.Adam(self.model.parameters(), lr=1e-2)

    def steps(self, first, last):
        losses = []
        for step in range(first, last):
            make = torch.Generator().manual_seed(step)
            labels = torch.randint(0, 4, (12,), generator=make)
            inputs = torch.randn(12, 8, generator=make) + torch.eye(8)[labels] * 2
            self.optimizer.zero_grad()
            loss = self.crit(self.model(inputs), labels)
            loss.backward()
            self.optimizer.step()
            losses.append(loss.item())
        return losses

    def state(self):
        return {"model": self.model.state_dict(), "crit": self.crit.state_dict(), "optimizer": self.optimizer.state_dict()}

    def load(self, state):
        self.model.load_state_dict(state["model"])
        self.crit.load_state_dict(state["crit"])
        self.optimizer.load_state_dict(state["optimizer"])


def test_a_run_killed_and_resumed_gives_the_same_losses_bit_for_bit(mortal, tmp_path):
    with rankd.connect(mortal.url, retry_for=30) as client:
        client.banks.create("calm", dim=16, capacity=50)
        calm = Training(client, "calm").steps(0, 30)
        client.banks.create("run", dim=16, capacity=50)
        first = Training(client, "run")
        before = first.steps(0, 10)
        save_bank(first.crit)
        torch.save(first.state(), tmp_path / "checkpoint.pt")
        lost = first.steps(10, 17)  # continues, then everything dies
        mortal.kill()
        mortal.start()
        second = Training(client, "run")
        second.load(torch.load(tmp_path / "checkpoint.pt"))
        restore_bank(second.crit)
        after = second.steps(10, 30)
    assert before + after == calm and lost == calm[10:17]
