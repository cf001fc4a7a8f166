# SPDX-License-Identifier: Apache-2.0
"""Banks over HTTP: configuration, versions, retries, checkpoints, many trainers."""
import random
import shutil
import threading
from pathlib import Path

import pytest
from support_bank import BankDaemon, Batches, Refused, fingerprint

SCORES = {"kind": "scores", "lists": 1}


@pytest.fixture()
def banks(tmp_path):
    with BankDaemon(tmp_path) as daemon:
        yield daemon


def refused(status, call, *arguments, **parameters):
    with pytest.raises(Refused) as caught:
        call(*arguments, **parameters)
    assert caught.value.status == status, caught.value
    return caught.value.sentence


def test_putting_a_bank_again_is_fine_and_another_configuration_a_conflict(banks):
    first = banks.bank("b", **SCORES, capacity=100)
    assert banks.bank("b", **SCORES, capacity=100) == first
    refused(409, banks.bank, "b", **SCORES, capacity=101)
    assert "capacity of" in refused(400, banks.bank, "c", **SCORES, capacity=10**20)  # beyond 64 bits
    refused(409, banks.bank, "b", kind="embeddings", dim=4, capacity=100)


@pytest.mark.parametrize("name", [".", "..", "a%2Fb", "a" * 65, "a%20b", "%C3%A9", "~x"])
def test_names_that_might_leave_the_folder_are_refused(banks, name):
    with pytest.raises(Refused) as caught:
        banks.bank(name, **SCORES, capacity=10)
    assert caught.value.status in (400, 404)


@pytest.mark.parametrize("name", [".hidden", "...", "a.b-c_D9", "a" * 64, "-"])
def test_names_that_the_contract_allows_are_taken_and_come_back(banks, name):
    banks.bank(name, **SCORES, capacity=10)
    banks.call("PUT", f"/v2/banks/{name}/checkpoints/{name}")
    assert [c["tag"] for c in banks.call("GET", f"/v2/banks/{name}/checkpoints")] == [name]
    banks.kill()
    banks.start()
    assert banks.bank(name)["name"] == name
    banks.call("POST", f"/v2/banks/{name}/checkpoints/{name}/restore")


def test_the_window_holds_the_newest_items_alone(banks):
    """A bank that got 20 batches equals one of the same capacity that got only the last ones."""
    batches = Batches(1)
    banks.bank("long", **SCORES, capacity=10)
    banks.bank("short", **SCORES, capacity=10)
    for n in range(20):
        batches.send(banks, "long", n)
    for n in range(17, 20):
        batches.send(banks, "short", n)
    long, short = fingerprint(banks, "long"), fingerprint(banks, "short")
    assert long[0] == 10 and long[1] == 20 and short[1] == 3
    assert (long[0], *long[2:]) == (short[0], *short[2:])


def test_a_batch_larger_than_the_capacity_is_an_error(banks):
    banks.bank("b", **SCORES, capacity=3)
    sentence = refused(400, banks.scores, "b", [[1, 2, 3, 4]], [[1, 0, 0, 1]])
    assert "3" in sentence and "4" in sentence
    assert banks.bank("b")["version"] == 0


def test_a_retry_gets_the_same_answer_and_appends_nothing(banks):
    batches = Batches(2)
    banks.bank("b", **SCORES, capacity=20)
    first = [batches.send(banks, "b", n) for n in range(10)]
    for n in (9, 8, 7):
        again = batches.send(banks, "b", n)
        assert [again[k] for k in ("loss", "gradient", "bank_version")] == \
            [first[n][k] for k in ("loss", "gradient", "bank_version")]
    assert banks.bank("b")["version"] == 10
    refused(409, banks.scores, "b", *batches[3], batch_id="2-9")  # other content


def test_a_retry_whose_memory_has_left_conflicts(banks):
    batches = Batches(3, items=5)
    banks.bank("b", **SCORES, capacity=5)
    for n in range(400):
        batches.send(banks, "b", n)
    sentence = refused(409, batches.send, banks, "b", 2)
    assert "3-2" in sentence
    assert batches.send(banks, "b", 399)["bank_version_appended"] == 400
    assert banks.bank("b")["version"] == 400


@pytest.mark.parametrize("durability", ["always", "none"])
def test_a_retry_of_a_batch_that_was_cleared_away_conflicts_and_appends_nothing(banks, durability):
    """The ids are remembered across a clear: a batch that its sender believes lost must not be
    appended twice."""
    batches = Batches(9)
    banks.bank("b", **SCORES, capacity=20, durability=durability)
    for n in range(3):
        batches.send(banks, "b", n)
    # No item of this batch is in the bank, so it ends where the cleared bank begins.
    banks.bank("e", kind="embeddings", dim=2, capacity=20, durability=durability)
    rows, labels = [[1, 0], [0, 1], [1, 1]], [1, 2, 1]
    banks.embeddings("e", rows, labels)
    banks.embeddings("e", rows, labels, batch_id="last", mask=[0, 0, 0])
    for bank in "b", "e":
        banks.call("POST", f"/v2/banks/{bank}/clear")
    for restarted in False, True:
        if restarted:
            banks.kill()
            banks.start()
        assert "cleared" in refused(409, batches.send, banks, "b", 2)
        assert "cleared" in refused(409, batches.send, banks, "b", 0)
        refused(409, banks.embeddings, "e", rows, labels, batch_id="last", mask=[0, 0, 0])
        state = banks.bank("b")
        assert (state["items"], state["version"], state["generation"]) == (restarted, 3 + restarted, 2)
        if not restarted:  # a new batch, and its retry: as ever
            first, again = (banks.scores("b", [[0.5]], [[1]], batch_id="new") for _ in range(2))
            assert again == first and first["bank_version_appended"] == 4 and first["bank_items"] == 0


def test_a_checkpoint_from_before_a_clear_brings_its_batches_back_with_their_ids(banks):
    batches = Batches(10)
    banks.bank("b", **SCORES, capacity=20)
    first = batches.send(banks, "b", 0)
    banks.call("PUT", "/v2/banks/b/checkpoints/t")
    banks.call("POST", "/v2/banks/b/clear")
    refused(409, batches.send, banks, "b", 0)
    banks.call("POST", "/v2/banks/b/checkpoints/t/restore")
    assert batches.send(banks, "b", 0)["loss"] == first["loss"] and banks.bank("b")["version"] == 1


def test_a_retry_after_a_restart_gets_the_same_answer_or_a_conflict_never_a_shorter_memory(banks):
    """Segments that left the window are deleted by a restart: versions whose window began in them
    are no longer available."""
    batches, first = Batches(8, items=2000), {}
    banks.bank("b", **SCORES, capacity=30000)
    for n in range(250):
        first[n] = batches.send(banks, "b", n)
    banks.kill()
    banks.start()
    same = gone = 0
    for n in range(249, 0, -4):
        try:
            again = batches.send(banks, "b", n)
        except Refused as refusal:
            assert refusal.status == 409
            gone += 1
            continue
        assert [again[k] for k in ("loss", "bank_items", "bank_version")] == \
            [first[n][k] for k in ("loss", "bank_items", "bank_version")], n
        same += 1
    assert same and gone


def test_requests_of_one_id_at_one_time_append_once(banks):
    """A client that gives up waiting and sends again while the first attempt still runs."""
    draw = random.Random(4)
    rows = [[draw.gauss(0, 1) for _ in range(32)] for _ in range(300)]
    labels = [i % 30 for i in range(300)]
    banks.bank("b", kind="embeddings", dim=32, capacity=1000)
    replies = []
    threads = [threading.Thread(target=lambda: replies.append(banks.embeddings("b", rows, labels, batch_id="x")))
               for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(replies) == 6 and banks.bank("b")["version"] == 1 and banks.bank("b")["items"] == 300
    assert all(reply["loss"] == replies[0]["loss"] and reply["bank_version"] == 0 for reply in replies)


@pytest.mark.parametrize("durability", ["always", "interval", "none"])
def test_many_trainers_see_one_order(banks, durability):
    """Each version is given once, and the bank equals the batches in that order."""
    batches, order, lock = Batches(5), {}, threading.Lock()
    banks.bank("b", **SCORES, capacity=50, durability=durability)
    banks.bank("twin", **SCORES, capacity=50)

    def trainer(which):
        connection = banks.connect()
        for n in range(which * 25, which * 25 + 25):
            reply = batches.send(banks, "b", n, connection)
            assert reply["bank_version"] < reply["bank_version_appended"]
            with lock:
                order[reply["bank_version_appended"]] = n

    threads = [threading.Thread(target=trainer, args=(i,)) for i in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(order) == list(range(1, 201))
    for version in sorted(order):
        banks.scores("twin", *batches[order[version]])
    assert fingerprint(banks, "b") == fingerprint(banks, "twin")


@pytest.mark.parametrize("datatype", ["FP32", "FP16", "BF16"])
def test_a_run_that_is_killed_and_resumed_gives_the_same_losses_bit_for_bit(banks, datatype):
    draw = random.Random(6)
    steps = [([[draw.gauss(0, 1) for _ in range(33)] for _ in range(40)], [draw.randrange(8) for _ in range(40)])
             for _ in range(30)]
    config = {"kind": "embeddings", "dim": 33, "capacity": 300, "datatype": datatype}

    def run(bank, some):
        return [(r["loss"], r["gradient"]) for r in (banks.embeddings(bank, *steps[i]) for i in some)]

    banks.bank("whole", **config)
    banks.bank("killed", **config)
    want = run("whole", range(30))
    got = run("killed", range(17))
    banks.call("PUT", "/v2/banks/killed/checkpoints/step-17")
    run("killed", range(17, 25))  # lost with the trainer
    banks.kill()
    banks.start()
    run("killed", range(25, 28))
    banks.call("POST", "/v2/banks/killed/checkpoints/step-17/restore")
    got += run("killed", range(17, 30))
    assert got == want


def test_checkpoints_outlive_eviction_deletion_of_others_and_restarts(banks):
    batches = Batches(7)
    banks.bank("b", **SCORES, capacity=8)
    prints = {}
    for n in range(60):
        batches.send(banks, "b", n)
        if n % 20 == 5:
            banks.call("PUT", f"/v2/banks/b/checkpoints/at-{n}")
            prints[n] = fingerprint(banks, "b")
    refused(409, banks.call, "PUT", "/v2/banks/b/checkpoints/at-5")
    banks.call("DELETE", "/v2/banks/b/checkpoints/at-25")
    refused(404, banks.call, "POST", "/v2/banks/b/checkpoints/at-25/restore")
    banks.kill()
    banks.start()
    for n in (45, 5):
        banks.call("POST", f"/v2/banks/b/checkpoints/at-{n}/restore")
        assert fingerprint(banks, "b") == prints[n]
        again = batches.send(banks, "b", n)  # known to the checkpoint
        assert again["bank_version"] == n and banks.bank("b")["version"] == n + 1
    batches.send(banks, "b", 6)
    banks.kill()
    banks.start()
    assert banks.bank("b")["version"] == 7


def test_a_checkpoint_of_another_configuration_is_refused(banks):
    for name, capacity in (("a", 10), ("b", 20)):
        banks.bank(name, **SCORES, capacity=capacity)
        banks.scores(name, [[1, 2]], [[1, 0]])
        banks.call("PUT", f"/v2/banks/{name}/checkpoints/t")
    folder = Path(banks.data) / "banks"
    shutil.rmtree(folder / "b/checkpoints/t")
    shutil.copytree(folder / "a/checkpoints/t", folder / "b/checkpoints/t")
    before = fingerprint(banks, "b")
    refused(409, banks.call, "POST", "/v2/banks/b/checkpoints/t/restore")
    assert fingerprint(banks, "b") == before
    banks.scores("b", [[1, 2]], [[1, 0]])


def test_deleting_a_bank_takes_its_checkpoints_and_its_name_is_free_again(banks):
    banks.bank("b", **SCORES, capacity=10)
    banks.scores("b", [[1, 2]], [[1, 0]])
    banks.call("PUT", "/v2/banks/b/checkpoints/t")
    banks.call("DELETE", "/v2/banks/b")
    refused(404, banks.bank, "b")
    refused(404, banks.scores, "b", [[1, 2]], [[1, 0]])
    assert banks.bank("b", **SCORES, capacity=11)["items"] == 0
    assert banks.call("GET", "/v2/banks/b/checkpoints") == []


def test_a_second_daemon_on_the_same_data_is_refused(banks, tmp_path):
    other = tmp_path / "other"
    other.mkdir()
    with pytest.raises(Exception):
        BankDaemon(other, data=banks.data)
