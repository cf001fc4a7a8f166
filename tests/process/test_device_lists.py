# SPDX-License-Identifier: Apache-2.0
"""The device takes neither offsets nor list_weight: such requests are computed by the CPU engine,
whatever the device knows."""
import json

import pytest
from support_http import ask
from test_device import engines, flags, problem

SCORES, TARGETS = problem(4, 30)


def tensor(name, datatype, values, shape=None):
    return {"name": name, "datatype": datatype, "shape": shape or [len(values)], "data": values}


FLAT = [tensor("scores", "FP32", SCORES.ravel().tolist()), tensor("targets", "INT8", TARGETS.ravel().tolist())]
DENSE = [tensor("scores", "FP32", SCORES.ravel().tolist(), [4, 30]), tensor("targets", "INT8", TARGETS.ravel().tolist(), [4, 30])]
EMBEDDINGS = [tensor("embeddings", "FP32", SCORES.ravel().tolist(), [12, 10]), tensor("labels", "INT64", [1, 2, 3] * 4)]
OFFSETS, WEIGHT = tensor("offsets", "INT64", [0, 50, 50, 120]), tensor("list_weight", "FP32", [1, 0, 2, 0.5])


@pytest.mark.parametrize("inputs, on_device", [
    (DENSE, 1), ([*FLAT, OFFSETS], 0), ([*DENSE, WEIGHT], 0), (EMBEDDINGS, 1),
    ([*EMBEDDINGS, tensor("list_weight", "FP32", [1, 2, 0] * 4)], 0)],
    ids=["dense", "offsets", "weight", "embeddings", "weight of queries"])
def test_offsets_and_weights_keep_a_request_on_the_cpu(make_daemon, inputs, on_device):
    cpu, device = make_daemon("--device", "cpu"), make_daemon(*flags())
    here, there = (ask(d, "POST", "/v2/models/ap/infer", {"inputs": inputs}) for d in (cpu, device))
    assert here.status == there.status == 200, there.body
    assert engines(device) == (1 - on_device, on_device)
    if not on_device:
        assert json.loads(here.body) == json.loads(there.body)


@pytest.mark.parametrize("model, beside", [("rank", []), ("rank_vjp", [tensor("upstream", "FP32", [0.5, -1.0] * 60)])])
def test_ranks_of_lists_are_the_cpus(make_daemon, model, beside):
    cpu, device = make_daemon("--device", "cpu"), make_daemon(*flags())
    inputs = [FLAT[0], *beside, OFFSETS]
    here, there = (ask(d, "POST", f"/v2/models/{model}/infer", {"inputs": inputs}) for d in (cpu, device))
    assert here.status == 200 and json.loads(here.body) == json.loads(there.body), here.body
