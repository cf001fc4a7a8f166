# SPDX-License-Identifier: Apache-2.0
"""Requests with features that the plugin does not know are computed on the CPU, with the same
results."""
import numpy as np
from test_device import compute, flags, metric, problem, result


def test_graded_relevance_first_hit_and_cut_off_are_not_for_the_device(make_daemon):
    cpu, device = make_daemon("--device", "cpu"), make_daemon(*flags())
    scores, targets = problem()
    grades = targets * (1 + np.arange(targets.size, dtype=np.int8).reshape(targets.shape) % 4)
    for model, relevant, parameters in (("ndcg", grades, {}), ("ndcg", grades, {"gain": "linear", "top_k": 3}),
                                        ("mrr", targets, {}),
                                        ("ap", targets, {"top_k": 2})):
        here, there = (result(compute(d, scores, relevant, model=model, **parameters)) for d in (cpu, device))
        assert np.array_equal(here[1], there[1]) and np.array_equal(here[0], there[0]) and here[1].any()
    for model, requests in (("ndcg", 2), ("mrr", 1), ("ap", 1)):
        assert metric(device, f'rankd_engine_requests_total{{model="{model}",engine="cpu"}}') == requests
        assert not metric(device, f'rankd_engine_requests_total{{model="{model}",engine="device"}}')
    assert metric(device, "rankd_device_failures_total") == 0
