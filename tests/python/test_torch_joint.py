# SPDX-License-Identifier: Apache-2.0
"""Jobs of several ranks that torchrun starts, with distributed=True: the joint result of all ranks
is compared with that of one process over the whole batch."""
import time

import numpy as np
import pytest
import torch
from crew import Crew
from joint_tasks import answer, batch, network, points

import rankd
from rankd.torch import APLoss, RecallLoss, RetrievalLoss

WORLD = 4
UNEVEN = [7, 0, 12, 5]  # rows of each rank


@pytest.fixture(scope="module")
def crew(tmp_path_factory):
    with Crew(WORLD, tmp_path_factory.mktemp("crew")) as one:
        yield one


@pytest.fixture
def banks(client, request):
    """Two equal empty banks."""
    names = [f"{what}-{abs(hash(request.node.name))}" for what in ("joint", "alone")]
    for name in names:
        client.banks.create(name, dim=16, capacity=64, durability="none")
    yield names
    for name in names:
        client.banks.delete(name)


def pick(whole, *names):
    return {name: whole[name] for name in names}


def same_bits(a, b):
    return a.dtype == b.dtype and torch.equal(a, b)


def assert_shards_are(found, alone, sizes, ref_sizes):
    """Each rank's loss is that of the whole, and its gradient has the bits of its rows of the
    whole's."""
    for rank, steps in enumerate(found):
        assert len(steps) == len(alone)
        for mine, whole in zip(steps, alone):
            assert mine["loss"] == whole["loss"] and mine["info"] == whole["info"]
            for name, rows in (("embeddings", sizes), ("ref_emb", ref_sizes)):
                if name in whole:
                    start = sum(rows[:rank])
                    assert same_bits(mine[name], whole[name][start:start + rows[rank]]), (rank, name)


@pytest.mark.parametrize("model, dtype, names", [
    ("ap", torch.float32, ["ids", "list_weight"]), ("recall", torch.bfloat16, ["ids"]),
    ("ap", torch.float64, ["ref_emb", "ref_labels", "ref_ids"]), ("recall", torch.float16, [])])
def test_ranks_with_uneven_shards_give_the_bits_of_one_process_with_the_whole_batch(client, daemon, crew, model, dtype, names):
    refs = [3, 4, 0, 5]
    wholes = [pick(batch(seed, sum(UNEVEN), dtype=dtype), "embeddings", "labels", *names) for seed in range(3)]
    options = {"model": model, "margin": 0.2, "margin_warmup": 2, "average": "micro"}
    crit = RetrievalLoss(client=client, **options)
    alone = [answer(crit, whole, WORLD) for whole in wholes]
    assert_shards_are(crew.run("joint_tasks.steps", daemon.url, wholes, UNEVEN, refs, options), alone, UNEVEN, refs)
    assert any(whole["embeddings"].abs().sum() > 0 for whole in alone)


def assert_shards_are_near(found, alone, sizes, ref_sizes):
    """As assert_shards_are, up to rounding."""
    for rank, steps in enumerate(found):
        for mine, whole in zip(steps, alone):
            assert mine["loss"] == pytest.approx(whole["loss"], rel=1e-5)
            numbers = ("lists", "lists_skipped", "lists_stalled", "bank_items", "bank_version", "bank_version_appended")
            assert [mine["info"][name] for name in numbers] == [whole["info"][name] for name in numbers]
            for name, rows in (("embeddings", sizes), ("ref_emb", ref_sizes)):
                if name in whole:
                    start = sum(rows[:rank])
                    torch.testing.assert_close(mine[name], whole[name][start:start + rows[rank]], rtol=1e-3, atol=1e-6)


@pytest.mark.parametrize("names, options", [
    (["ids"], {"margin_warmup": 2}), ([], {"model": "recall", "average": "sum"}),
    (["ref_emb", "ref_labels", "ids"], {"loss_weight": 3.0}),
    (["ids", "ref_emb", "ref_labels", "ref_ids"], {"gallery": "references"}), (["list_weight"], {"average": "sum"})])
def test_balanced_ranks_give_what_one_process_gives_up_to_rounding(client, daemon, crew, names, options):
    refs, wholes = [3, 4, 0, 5], [pick(batch(seed, sum(UNEVEN)), "embeddings", "labels", *names) for seed in range(3)]
    for whole in wholes:  # ties: the item that is first in the batch is first in the list
        whole["embeddings"][8:16] = whole["embeddings"][16:24]
    crit = RetrievalLoss(client=client, **options)
    alone = [answer(crit, whole, WORLD) for whole in wholes]
    assert_shards_are_near(crew.run("joint_tasks.steps", daemon.url, wholes, UNEVEN, refs, options, None, "balanced"), alone,
                           UNEVEN, refs)


@pytest.mark.parametrize("mode", [True, "balanced"])
def test_queries_and_documents_of_all_ranks_with_a_bank_of_documents(client, daemon, crew, banks, mode):
    refs, options = [3, 4, 0, 5], {"gallery": "references", "bank_start": 0}
    wholes = [pick(batch(seed, sum(UNEVEN)), "embeddings", "labels", "ref_emb", "ref_labels", "ref_ids") for seed in range(3)]
    for whole in wholes:
        whole["enqueue_mask"] = torch.arange(12) % 3 > 0
    crit = RetrievalLoss(client=client, bank=banks[1], **options)
    alone = [answer(crit, whole, WORLD) for whole in wholes]
    found = crew.run("joint_tasks.documents", daemon.url, wholes, UNEVEN, refs, {**options, "bank": banks[0]}, mode)
    assert_shards_are_near(found, alone, UNEVEN, refs)
    assert [client.banks.get(name).items for name in banks] == [24, 24]


@pytest.mark.parametrize("mode", [True, "balanced"])
def test_the_drift_of_the_bank_is_that_of_one_process(client, daemon, crew, banks, mode):
    wholes = [pick(batch(seed, sum(UNEVEN)), "embeddings", "labels", "ids") for seed in range(4)]
    crit = RetrievalLoss(client=client, bank_start=0, bank=banks[1])
    alone = [answer(crit, whole, WORLD) for whole in wholes]
    found = crew.run("joint_tasks.steps", daemon.url, wholes, UNEVEN, UNEVEN, {"bank": banks[0], "bank_start": 0}, None, mode)
    drift = [[(step["info"]["bank_drift"], step["info"]["bank_drift_items"]) for step in steps] for steps in [alone, *found]]
    assert all(one == drift[0] for one in drift) and drift[0][-1][1] > 0 and any(drift[0][-1][0])


def test_balanced_with_a_bank_that_is_read_before_the_batch_is_in_it(client, daemon, make_daemon, crew, banks):
    """Over two daemons, each with a bank. Items without an id leave none in the bank."""
    joint, one = banks
    other = make_daemon()
    with rankd.connect(other.url) as second:
        second.banks.create(joint, dim=16, capacity=64, durability="none")
        wholes = [pick(batch(seed, sum(UNEVEN)), "embeddings", "labels", "enqueue_mask") for seed in range(5)]
        crit = RetrievalLoss(client=client, bank_start=0, bank=one)
        alone = [answer(crit, whole, WORLD) for whole in wholes]
        urls = [daemon.url, other.url, other.url, daemon.url]
        found = crew.run("joint_tasks.steps", urls, wholes, UNEVEN, UNEVEN, {"bank": joint, "bank_start": 0}, None, "balanced")
        assert_shards_are_near(found, alone, UNEVEN, UNEVEN)
        assert client.banks.get(joint).items == client.banks.get(one).items == second.banks.get(joint).items
    with torch.no_grad():
        whole = pick(batch(9, sum(UNEVEN)), "embeddings", "labels", "ids")
        after = [RetrievalLoss(client=client, bank_start=0, bank=name).eval()(**whole).item() for name in banks]
    assert after[0] == after[1]
    loss, appended = zip(*crew.run("joint_tasks.evaluated", daemon.url, UNEVEN, joint, "balanced"))
    assert len(set(loss)) == 1 and set(appended) == {None} and client.banks.get(joint).version == 5


@pytest.mark.parametrize("mode", [True, "balanced"])
def test_a_fresh_bank_is_cleared_before_any_rank_reads_it(client, daemon, crew, bank, mode):
    RetrievalLoss(client=client, bank=bank, bank_start=0)(torch.randn(4, 16, requires_grad=True), torch.arange(4))
    assert crew.run("joint_tasks.fresh", daemon.url, UNEVEN, bank, mode) == [0] * WORLD
    assert client.banks.get(bank).items == sum(UNEVEN)


@pytest.mark.parametrize("mode", [True, "balanced"])
def test_an_append_that_fails_is_told_to_all(client, daemon, crew, mode):
    client.banks.create("small", dim=16, capacity=8, durability="none")
    wholes = [pick(batch(0, sum(UNEVEN)), "embeddings", "labels")]
    found = crew.refused("joint_tasks.steps", daemon.url, wholes, UNEVEN, UNEVEN, {"bank": "small"}, None, mode)
    assert {(one.kind, one.text) for one in found} == {("InvalidRequest", found[0].text)} and found[0].text.startswith("rank 0: ")
    client.banks.delete("small")


@pytest.mark.parametrize("options, words", [({"average": "micro"}, "average is 'micro'"),
                                            ({"lambda_scope": "batch"}, "lambda_scope")])
def test_what_balanced_ranks_do_not_know_is_refused(client, options, words):
    with pytest.raises(ValueError, match="give distributed=True") as told:
        RetrievalLoss(client=client, distributed="balanced", **options)
    assert words in str(told.value)


@pytest.mark.parametrize("size", [2, 3])
def test_a_process_group_of_some_ranks(client, daemon, crew, size):
    sizes = [9, 4, 6][:size]
    whole = pick(batch(4, sum(sizes)), "embeddings", "labels")
    alone = [answer(RetrievalLoss(client=client), whole, size)]
    found = crew.run("joint_tasks.steps", daemon.url, [whole], sizes, sizes, {}, size)
    assert_shards_are(found[:size], alone, sizes, sizes)


def test_with_a_bank_each_batch_is_appended_once_and_as_one(client, daemon, crew, banks):
    joint, one = banks
    wholes = [pick(batch(seed, sum(UNEVEN)), "embeddings", "labels", "ids", "enqueue_mask") for seed in range(5)]
    crit = RetrievalLoss(client=client, bank_start=0, bank=one)
    alone = [answer(crit, whole, WORLD) for whole in wholes]
    found = crew.run("joint_tasks.steps", daemon.url, wholes, UNEVEN, UNEVEN, {"bank": joint, "bank_start": 0})
    assert_shards_are(found, alone, UNEVEN, UNEVEN)
    assert client.banks.get(joint).version == client.banks.get(one).version == 5
    assert client.banks.get(joint).items == client.banks.get(one).items
    loss, appended = zip(*crew.run("joint_tasks.evaluated", daemon.url, UNEVEN, joint, True))
    with torch.no_grad():
        whole = batch(9, sum(UNEVEN))
        expected = RetrievalLoss(client=client, bank_start=0, bank=one).eval()(whole["embeddings"], whole["labels"]).item()
    assert set(loss) == {expected} and set(appended) == {None}


def test_no_rank_has_an_item(client, daemon, crew, banks):
    whole = pick(batch(0, 0), "embeddings", "labels")
    alone = [answer(RetrievalLoss(client=client, bank_start=0, bank=banks[1]), whole)]
    assert_shards_are(crew.run("joint_tasks.steps", daemon.url, [whole], [0] * 4, [0] * 4, {"bank": banks[0], "bank_start": 0}),
                      alone, [0] * 4, [0] * 4)


def served(client):
    """Requests that the daemon has answered."""
    return sum(int(model["inference_count"]) for model in client.stats())


def test_ranks_over_two_daemons_send_one_request_to_each_and_their_banks_stay_equal(client, make_daemon, crew, tmp_path):
    """Two ranks reach one daemon by different addresses."""
    ring = tmp_path / "ring"
    first, second = make_daemon("--socket", ring), make_daemon()
    urls = [f"unix:{ring}", first.url, second.url, second.url]
    with rankd.connect(first.url) as a, rankd.connect(second.url) as b:
        for each in (a, b, client):
            each.banks.create("shared", dim=16, capacity=64, durability="none")
        wholes = [pick(batch(seed, sum(UNEVEN)), "embeddings", "labels") for seed in range(4)]
        crit = RetrievalLoss(client=client, bank_start=0, bank="shared")
        alone = [answer(crit, whole, WORLD) for whole in wholes]
        assert_shards_are(crew.run("joint_tasks.steps", urls, wholes, UNEVEN, UNEVEN, {"bank": "shared", "bank_start": 0}), alone,
                          UNEVEN, UNEVEN)
        assert served(a) == served(b) == 4
        assert a.banks.get("shared").version == b.banks.get("shared").version == 4
        # another client
        RetrievalLoss(client=b, bank_start=0, bank="shared")(torch.randn(4, 16, requires_grad=True), torch.arange(4))
        for told in crew.refused("joint_tasks.steps", urls, wholes[:1], UNEVEN, UNEVEN, {"bank": "shared", "bank_start": 0}):
            assert told.kind == "Conflict" and "at version 4 in the daemon of rank 0" in told.text and "that of rank 2" in told.text
    client.banks.delete("shared")


@pytest.mark.parametrize("where, what, kind, words", [
    (2, "labels", "TypeError", "rank 2: labels is of type float32"),
    (1, "too few labels", "ValueError", "rank 1: labels has shape [5]; it must be [6], one for each of embeddings"),
    (3, "NaN", "InvalidRequest", "rank 3: embeddings[2, 3] is NaN"),
    (2, "zero vector", "InvalidRequest", "rank 2: embeddings[4] is the zero vector"),
    (1, "NaN among references", "InvalidRequest", "rank 1: ref_emb[1, 2] is NaN"),
    (1, "dimensions", "ValueError", "16 dimensions on rank 0 and 15 on rank 1"),
    (3, "type", "ValueError", "FP32 on rank 0 and FP16 on rank 3"),
    (0, "missing argument", "TypeError", "rank 0: "),
    (2, "lone references", "TypeError", "rank 2: ref_emb and ref_labels"),
    (0, "avg_factor", "ValueError", "rank 0: avg_factor"),
    (3, "settings", "ValueError", "lambda_val is 1.0 on rank 0 and 3.0 on rank 3"),
    (2, "eval", "ValueError", "in training mode on rank 0 and in eval mode"),
    (1, "own exception", "RuntimeError", "rank 1: Strange: strange 7")])
def test_what_one_rank_does_wrong_is_raised_on_all_and_the_next_step_works(daemon, crew, where, what, kind, words):
    found = crew.refused("joint_tasks.bad_step", daemon.url, where, what)
    assert {(one.kind, one.text) for one in found} == {(kind, found[0].text)} and words in found[0].text


@pytest.mark.parametrize("what, words", [("NaN", "embeddings[2, 3] is NaN"), ("zero vector", "embeddings[4] is the zero vector"),
                                         ("NaN among references", "ref_emb[1, 2] is NaN")])
@pytest.mark.parametrize("where", [0, 2])
def test_a_shared_step_names_the_rank_that_gave_it(daemon, crew, where, what, words):
    found = crew.refused("joint_tasks.bad_step", daemon.url, where, what, None, "balanced")
    assert all(one.kind == "InvalidRequest" and one.text.startswith(f"rank {where}: {words}") for one in found), found


def test_a_rank_with_a_nan_makes_the_step_nan_and_sends_nothing(client, daemon, crew, banks):
    for found in crew.run("joint_tasks.without_ranking", daemon.url, banks[0]):
        assert np.isnan(found["loss"]) and found["embeddings"].isnan().all() and found["info"] is None
    assert client.banks.get(banks[0]).version == 0
    for first, second in crew.run("joint_tasks.without_ranking_scores", daemon.url):
        assert np.isnan(first[0]) and first[1].isnan().all()
        assert np.isfinite(second[0]) and second[1].isfinite().all()


def test_a_daemon_that_dies_under_its_leader_is_told_to_every_rank(make_daemon, crew):
    daemon = make_daemon()
    crew.start("joint_tasks.under_a_dying_daemon", daemon.url, [256] * 4)
    with rankd.connect(daemon.url) as client:
        until = time.monotonic() + 60
        while served(client) < 2 and time.monotonic() < until:
            time.sleep(0.01)
    daemon.kill()
    found = crew.results()
    assert len({(one.kind, one.text) for one in found}) == 1, found
    assert found[0].kind in ("ConnectionLost", "ConnectionFailed") and found[0].text.startswith("rank 0: ")


def weights(client, bank, micro_batches, rows):
    net, crit, losses = network(), RetrievalLoss(client=client, bank_start=0, bank=bank, margin_warmup=0), []
    for number in range(micro_batches):
        values, labels = points(number, rows)
        loss = crit(net(values), labels)
        loss.backward()
        losses.append(loss.item())
    return losses, [p.grad for p in net.parameters()]


def test_weights_learn_as_in_one_process_with_ddp_accumulation_and_a_loss_scale(client, daemon, crew, banks):
    joint, one = banks
    losses, gradients = weights(client, one, 3, sum(UNEVEN))
    for said, found in crew.run("joint_tasks.trained", daemon.url, UNEVEN, joint, 3, 1024.0, True):
        np.testing.assert_allclose(said, losses, rtol=1e-5)
        for mine, whole in zip(found, gradients):
            torch.testing.assert_close(mine, whole, rtol=1e-3, atol=1e-6)


def test_shards_gathered_by_hand_equal_one_process(client, daemon, crew):
    losses, gradients = weights(client, None, 1, sum(UNEVEN))
    for said, found in crew.run("joint_tasks.by_hand", daemon.url, UNEVEN):
        np.testing.assert_allclose(said, losses, rtol=1e-5)
        for mine, whole in zip(found, gradients):
            torch.testing.assert_close(mine, whole, rtol=1e-3, atol=1e-6)


@pytest.mark.parametrize("mode", [True, "balanced"])
@pytest.mark.parametrize("reentrant", [True, False])
def test_a_recomputed_step_is_appended_once(client, daemon, crew, banks, reentrant, mode):
    joint, one = banks
    net, crit = network(), RetrievalLoss(client=client, bank_start=0, bank=one, margin_warmup=0)
    for number in range(3):
        net.zero_grad()
        values, labels = points(number, sum(UNEVEN))
        crit(net(values), labels).backward()
    for versions, found in crew.run("joint_tasks.recomputed", daemon.url, UNEVEN, joint, reentrant, mode):
        assert versions[-1] == 3
        for mine, whole in zip(found, (p.grad for p in net.parameters())):
            torch.testing.assert_close(mine, whole, rtol=1e-3, atol=1e-6)
    assert client.banks.get(joint).version == 3


def test_the_state_of_rank_0_is_that_of_all(client, daemon, crew):
    crit = RetrievalLoss(client=client, margin=0.2, margin_warmup=100)
    crit.schedule.load(50)
    values, labels = points(1, sum(UNEVEN))
    embeddings = torch.nn.functional.pad(values, (0, 8)).requires_grad_()
    expected = [crit(embeddings, labels).item() for _ in range(2)]
    assert expected[0] != expected[1]
    for losses, steps in crew.run("joint_tasks.warmed_up", daemon.url, UNEVEN):
        assert losses == expected and steps == 52


def test_copies_of_a_loss_share_its_group(client, daemon, crew):
    whole = batch(5, sum(UNEVEN))
    expected = RetrievalLoss(client=client)(whole["embeddings"], whole["labels"]).item()
    assert set(crew.run("joint_tasks.copied", daemon.url, UNEVEN)) == {expected}


def score_batch():
    make = torch.Generator().manual_seed(0)
    return torch.randn(11, 13, generator=make), (torch.rand(11, 13, generator=make) < 0.15).to(torch.int8)


@pytest.mark.parametrize("average", ["macro", "micro", "sum"])
@pytest.mark.parametrize("model, kind", [("ap", APLoss), ("recall", RecallLoss)])
def test_lists_of_scores_split_over_ranks(client, daemon, crew, average, model, kind):
    (scores, targets), rows = score_batch(), [4, 0, 2, 5]
    options = {"margin": 0.3, "margin_warmup": 0, "average": average, "loss_weight": 2.0}
    crit, whole = kind(client=client, **options), scores.clone().requires_grad_()
    loss = crit(whole, targets)
    loss.backward()
    for rank, found in enumerate(crew.run("joint_tasks.score_steps", daemon.url, scores, targets, rows, model, options)):
        start = sum(rows[:rank])
        assert found["loss"] == pytest.approx(loss.item(), rel=1e-6)
        assert found["info"] == {**vars(crit.info), "pairs_jumped": pytest.approx(crit.info.pairs_jumped)}
        torch.testing.assert_close(found["scores"] / WORLD, whole.grad[start:start + rows[rank]], rtol=1e-5, atol=1e-9)


@pytest.mark.parametrize("average", ["macro", "micro", "sum"])
@pytest.mark.parametrize("flat", [False, True])
def test_weights_and_lengths_of_lists_that_are_split_over_ranks(client, daemon, crew, average, flat):
    (scores, targets), rows = score_batch(), [4, 0, 2, 5]
    weight = torch.arange(11) % 4 / 2  # of the ranks, one has other weights than another; some are 0
    options = {"margin": 0.3, "margin_warmup": 0, "average": average}
    crit, whole = APLoss(client=client, **options), scores.clone().requires_grad_()
    lists = [[row[:max(0, 13 - i)] for i, row in enumerate(rows_of)] for rows_of in (whole, targets)]
    loss = crit(*(lists if flat else (whole, targets)), weight=weight)
    loss.backward()
    for rank, found in enumerate(crew.run("joint_tasks.score_steps", daemon.url, scores, targets, rows, "ap", options, weight,
                                          flat)):
        start = sum(rows[:rank])
        assert found["loss"] == pytest.approx(loss.item(), rel=1e-6) and found["info"] == {
            **vars(crit.info), "pairs_jumped": pytest.approx(crit.info.pairs_jumped)}
        if rows[rank]:
            torch.testing.assert_close(found["scores"] / WORLD, whole.grad[start:start + rows[rank]], rtol=1e-5, atol=1e-9)


def test_a_list_that_one_rank_may_not_send_is_told_to_all(daemon, crew):
    found = crew.refused("joint_tasks.bad_scores", daemon.url, 2)
    assert {one.text for one in found} == {found[0].text} and found[0].text.startswith("rank 2: ") and "5" in found[0].text


@pytest.mark.parametrize("options, words", [
    ({"interclass": 0.5}, "interclass is 0.5"), ({"lambda_scope": "batch"}, "lambda_scope is 'batch'"),
    ({"average": "micro", "bank": "x"}, "average is 'micro'"),
    ({"distributed": "balanced"}, "'balanced', which is for embeddings"),
    ({"reduction": "none"}, "reduction is 'none' and distributed is set")])
def test_what_needs_the_scores_of_other_ranks_is_refused(client, options, words):
    with pytest.raises(ValueError, match="distributed is") as told:
        APLoss(client=client, margin=0.1, **{"distributed": True, **options})
    assert words in str(told.value)


@pytest.mark.parametrize("given", ["yes", 1, 0.5, object()])
def test_distributed_may_be_few_things(client, given):
    with pytest.raises(ValueError, match="True, 'balanced' or a torch.distributed.ProcessGroup"):
        RetrievalLoss(client=client, distributed=given)


def test_one_process_by_itself_is_a_job_of_one(client, monkeypatch):
    whole = pick(batch(1, 12), "embeddings", "labels")
    joint, alone = (answer(RetrievalLoss(client=client, distributed=d), whole) for d in (True, False))
    assert joint["loss"] == alone["loss"] and same_bits(joint["embeddings"], alone["embeddings"])
    monkeypatch.setenv("WORLD_SIZE", "2")
    with pytest.raises(RuntimeError, match="init_process_group"):
        RetrievalLoss(client=client, distributed=True)(**whole)


@pytest.mark.parametrize("with_itself", [False, True])
def test_shards_gathered_by_hand_and_a_bank_are_refused_with_what_to_do(client, daemon, crew, bank, with_itself):
    for said in crew.run("joint_tasks.refused_by_hand", daemon.url, bank, with_itself):
        assert len(said) == 2
        assert all("4 trainers" in s and "twice" in s and repr(bank) in s and "distributed=True" in s for s in said)
    assert client.banks.get(bank).items == 32


def test_one_trainer_may_have_references_and_a_bank(client, bank):
    crit = RetrievalLoss("ap", bank_start=0, bank=bank, client=client)
    refs = {"ref_emb": torch.randn(4, 16), "ref_labels": torch.arange(4)}
    assert crit(torch.randn(8, 16, requires_grad=True), torch.arange(8) % 3, **refs).isfinite()


if hasattr(torch, "compile"):  # torch 2 (`make check-torch2`): Debian's 1.13 can't import its FSDP under Python 3.11

    def test_an_encoder_that_fsdp_shards_learns_as_in_one_process(client, daemon, crew):
        losses, gradients = weights(client, None, 1, sum(UNEVEN))
        for loss, taken in crew.run("joint_tasks.sharded", daemon.url, UNEVEN):
            assert loss == pytest.approx(losses[0], rel=1e-5)
            torch.testing.assert_close(taken, torch.cat([g.flatten() for g in gradients]), rtol=1e-3, atol=1e-6)
