# SPDX-License-Identifier: Apache-2.0
"""Batches without an item on the wire: JSON, binary, shared-memory regions, the ring's own bytes;
and their traces in a bank on disk."""
import itertools
import os

import numpy as np
import pytest
import tritonclient.http as triton
from ring_support import Daemon as RingDaemon
from ring_support import Raw
from support_bank import BankDaemon, Refused, fingerprint, tensor
from support_http import ask, infer

MODELS = {"ap": "targets", "recall": "targets", "rank_vjp": "upstream", "rank": None}
OUTPUTS = {"loss": ("FP32", 4), "gradient": ("FP32", 4), "list_loss": ("FP32", 4), "ranks": ("INT64", 8),
           "gradient_indices": ("INT64", 8), "gradient_values": ("FP32", 4)}
HAS = {"ap": ("loss", "gradient", "list_loss", "gradient_indices", "gradient_values"),
       "rank": ("ranks",), "rank_vjp": ("gradient", "ranks", "gradient_indices", "gradient_values")}
SHAPES = ([0, 4], [4, 0], [0, 0])


def inputs(model, shape, **how):
    beside = MODELS[model]
    types = {"scores": "FP32", "targets": "INT8", "upstream": "FP32"}
    return [{"name": name, "shape": shape, "datatype": types[name], **how} for name in ("scores", beside) if name]


def shape_of(output, shape):
    return {"loss": [1], "list_loss": [shape[0]], "gradient": shape, "ranks": shape}.get(output, [0])


@pytest.mark.parametrize("model", ["ap", "rank", "rank_vjp"])
@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("data", [[], [[]], [[], [], [], []]])
def test_json_carries_the_shape_of_nothing(daemon, model, shape, data):
    if data and data != [[]] * shape[0]:
        return  # nested as another shape
    wanted = [{"name": name} for name in HAS[model]]
    answer = infer(daemon, {"inputs": inputs(model, shape, data=data), "outputs": wanted},
                   path=f"/v2/models/{model}/infer").json()
    for output in answer["outputs"]:
        assert output["shape"] == shape_of(output["name"], shape) and output["datatype"] == OUTPUTS[output["name"]][0]
        assert output["data"] == {"loss": [0], "list_loss": [None] * shape[0]}.get(output["name"], [])
    assert [o["name"] for o in answer["outputs"]] == list(HAS[model])
    assert answer["parameters"]["lists"] == shape[0]
    assert answer["parameters"]["lists_skipped"] == (shape[0] if model == "ap" else 0)


@pytest.mark.parametrize("model", ["ap", "rank", "rank_vjp"])
@pytest.mark.parametrize("shape", SHAPES)
def test_an_unmodified_triton_client_gets_the_shape_of_nothing(daemon, model, shape):
    given = []
    for described in inputs(model, shape):
        given.append(triton.InferInput(described["name"], shape, described["datatype"]))
        given[-1].set_data_from_numpy(np.zeros(shape, np.int8 if described["datatype"] == "INT8" else np.float32))
    with triton.InferenceServerClient(daemon.url.removeprefix("http://")) as client:
        reply = client.infer(model, given, outputs=[triton.InferRequestedOutput(name) for name in HAS[model]])
    for name in HAS[model]:
        assert reply.get_output(name)["shape"] == shape_of(name, shape)
        assert reply.get_output(name)["parameters"]["binary_data_size"] == np.prod(shape_of(name, shape)) * OUTPUTS[name][1]


def test_the_batch_that_ended_the_daemon(daemon):
    for count in (0, 1):
        document = {"inputs": [tensor("embeddings", "FP32", [0, 16], []), tensor("labels", "INT64", [0], []),
                               tensor("ref_embeddings", "FP32", [count, 16], [1.0] * 16 * count),
                               tensor("ref_labels", "INT64", [count], [3] * count)],
                    "outputs": [{"name": name} for name in ("loss", "gradient", "ref_gradient", "list_loss")]}
        loss, gradient, ref_gradient, list_loss = infer(daemon, document).json()["outputs"]
        assert loss["data"] == [0] and (gradient["shape"], gradient["data"]) == ([0, 16], [])
        assert (ref_gradient["shape"], ref_gradient["data"]) == ([count, 16], [0] * 16 * count) and list_loss["shape"] == [0]


HUGE = 2**62


@pytest.mark.parametrize("shape, status", [([2**40, 0], 413), ([0, 2**40], 413), ([HUGE, 0], 413), ([0, HUGE], 413),
                                           ([HUGE, HUGE], 400), ([2**63, 0], 400), ([0, -1], 400), ([0, 0, 0], 400), ([], 400)])
def test_a_huge_product_with_a_zero_is_answered(daemon, shape, status):
    for model in MODELS:
        assert infer(daemon, {"inputs": inputs(model, shape, data=[])}, path=f"/v2/models/{model}/infer").status == status
    rows = infer(daemon, {"inputs": [tensor("embeddings", "FP32", shape, []), tensor("labels", "INT64", [0], [])]})
    assert rows.status in (400, 413)
    before = infer(daemon, {"inputs": inputs("ap", [1, 0], data=[])})
    assert before.status == 200


def test_the_losses_of_more_empty_lists_than_there_is_memory_for_are_refused(daemon):
    most = 2**31 - 1
    document = {"inputs": inputs("ap", [most, 0], data=[])}
    assert infer(daemon, document).json()["parameters"]["lists_skipped"] == most
    answer = infer(daemon, document | {"outputs": [{"name": "list_loss"}]})
    assert answer.status == 413 and "--budget-bytes" in answer.error


def test_regions_of_no_bytes(make_daemon, tmp_path):
    tokens = tmp_path / "tokens"
    tokens.write_text("alice infer the-token-of-alice-0001\n")
    tokens.chmod(0o600)
    daemon = make_daemon("--tokens", tokens, "--allow-shm-regions", "--shm-key-prefix", "rankd_test_")
    bearer = ["Authorization: Bearer the-token-of-alice-0001"]
    key = f"rankd_test_{daemon.pid}_empty"
    with open(f"/dev/shm/{key}", "wb") as file:
        file.write(bytes(64))
    try:
        made = ask(daemon, "POST", "/v2/systemsharedmemory/region/r/register", {"key": key, "offset": 0, "byte_size": 64}, bearer)
        assert made.status == 200
        for offset in (0, 64):  # at and behind the end
            place = {"shared_memory_region": "r", "shared_memory_byte_size": 0, "shared_memory_offset": offset}
            document = {"inputs": inputs("ap", [0, 4], parameters=place),
                        "outputs": [{"name": "gradient", "parameters": place}, {"name": "loss"}]}
            gradient, loss = ask(daemon, "POST", "/v2/models/ap/infer", document, bearer).json()["outputs"]
            assert gradient["shape"] == [0, 4] and gradient["parameters"] == {"shared_memory_byte_size": 0} and loss["data"] == [0]
    finally:
        os.unlink(f"/dev/shm/{key}")


@pytest.mark.parametrize("io", ["uring", "epoll"])
def test_the_ring_carries_the_shape_of_nothing(io):
    with RingDaemon("--io", io) as daemon, Raw(daemon.path) as raw:
        for model, shape in itertools.product(HAS, SHAPES):
            arrays = {name: np.zeros(shape, np.int8 if name == "targets" else np.float32)
                      for name in ("scores", MODELS[model]) if name}
            entry, _ = raw.infer_entry(model, arrays, [(name, 64) for name in HAS[model]])
            assert raw.wait(raw.submit(entry)) == 0
            status, outputs, loss, lists, _ = raw.reply()
            assert status == 0 and loss == 0 and lists == shape[0] and outputs.bit_count() == len(HAS[model])
            for name in HAS[model]:
                dtype, rank, found, size = raw.result(name)
                assert list(found) == shape_of(name, shape) and rank == len(found)
                assert size == np.prod(found) * OUTPUTS[name][1]


# ---- banks on disk ----

FULL = [[1.0, 0.0], [0.0, 1.0], [1.0, 1.0]], [1, 2, 1]


def nothing(banks, bank="e", **parameters):
    return banks.infer([tensor("embeddings", "FP32", [0, 2], []), tensor("labels", "INT64", [0], [])], bank=bank, **parameters)


@pytest.mark.parametrize("durability", ["always", "interval", "none"])
@pytest.mark.parametrize("end", ["kill", "stop"])
def test_a_bank_keeps_the_id_of_an_empty_batch_and_nothing_else(tmp_path, durability, end):
    with BankDaemon(tmp_path) as banks:
        banks.bank("e", kind="embeddings", dim=2, capacity=20, durability=durability)
        banks.embeddings("e", *FULL, batch_id="before")
        first = nothing(banks, batch_id="empty")
        assert (first["bank_version"], first["bank_items"], first["lists"]) == (1, 3, 0)
        assert "bank_version_appended" not in first and first["loss"] == [0] and first["gradient"] == []
        assert nothing(banks) == first  # without an id nothing is kept
        banks.embeddings("e", *FULL, batch_id="after")
        nothing(banks, batch_id="empty too")
        state = banks.bank("e")
        assert (state["items"], state["version"]) == (6, 2)
        assert banks.metric("rankd_bank_appended_batches_total", "e") == 2
        getattr(banks, end)()
        banks.start()
        again = nothing(banks, batch_id="empty")
        assert again == first
        assert {k: v for k, v in banks.bank("e").items() if k != "disk_bytes"} == \
            {k: v for k, v in state.items() if k != "disk_bytes"}
        with pytest.raises(Refused) as caught:
            banks.embeddings("e", *FULL, batch_id="empty too")
        assert caught.value.status == 409 and "another batch" in caught.value.sentence
        assert banks.embeddings("e", *FULL, batch_id="next")["bank_version_appended"] == 3


def test_the_id_of_an_empty_batch_is_on_disk_when_it_is_answered(tmp_path):
    """If the bank's durability requires that: nothing else in an empty batch would cause a
    sync."""
    with BankDaemon(tmp_path) as banks:
        banks.bank("e", kind="embeddings", dim=2, capacity=20, durability="always")
        for n in range(3):
            before = banks.metric("rankd_bank_sync_seconds_count", "e")
            nothing(banks, batch_id=f"empty{n}")
            assert banks.metric("rankd_bank_sync_seconds_count", "e") == before + 1
        nothing(banks)
        assert banks.metric("rankd_bank_sync_seconds_count", "e") == before + 1


def test_empty_batches_between_others_are_read_back_after_every_kill(tmp_path):
    with BankDaemon(tmp_path) as banks:
        banks.bank("s", kind="scores", lists=1, capacity=9, durability="always")
        for n in range(6):
            for _ in range(n % 3):
                banks.infer([tensor("scores", "FP32", [1, 0], []), tensor("targets", "INT8", [1, 0], [])], bank="s",
                            batch_id=f"e{n}")
            banks.scores("s", [[0.1 * n, 0.5]], [[1, 0]], batch_id=f"b{n}")
            if n == 3:
                banks.call("PUT", "/v2/banks/s/checkpoints/t")
            before = fingerprint(banks, "s")
            assert before[1] == n + 1
            banks.kill()
            banks.start()
            assert fingerprint(banks, "s") == before
        banks.call("POST", "/v2/banks/s/checkpoints/t/restore")
        assert fingerprint(banks, "s")[1] == 4


def test_an_empty_batch_that_was_cleared_away_conflicts(tmp_path):
    with BankDaemon(tmp_path) as banks:
        banks.bank("e", kind="embeddings", dim=2, capacity=20)
        nothing(banks, batch_id="empty")
        banks.call("POST", "/v2/banks/e/clear")
        with pytest.raises(Refused) as caught:
            nothing(banks, batch_id="empty")
        assert caught.value.status == 409 and "was an empty batch for" in caught.value.sentence


def test_a_bank_of_another_shape_is_still_refused(tmp_path):
    with BankDaemon(tmp_path) as banks:
        banks.bank("e", kind="embeddings", dim=3, capacity=20)
        banks.bank("s", kind="scores", lists=4, capacity=20)
        for bank, shape, axis in (("s", [0, 4], 1), ("s", [4, 0], 0), ("s", [0, 0], 1), ("e", [0, 4], 1)):
            with pytest.raises(Refused) as caught:
                banks.infer([tensor("scores", "FP32", shape, []), tensor("targets", "INT8", shape, [])], bank=bank, axis=axis)
            assert caught.value.status == 400
        with pytest.raises(Refused) as caught:
            nothing(banks)
        assert caught.value.status == 400 and "2 dimensions" in caught.value.sentence
