# SPDX-License-Identifier: Apache-2.0
"""KServe's own REST client, as it comes from PyPI, works against the daemon."""
import asyncio

import numpy as np
import pytest
from kserve import InferenceRESTClient, InferInput, InferRequest
from kserve.inference_client import RESTConfig


def request(binary, model="ap", **parameters):
    scores, targets = InferInput("scores", [1, 4], "FP32"), InferInput("targets", [1, 4], "INT8")
    scores.set_data_from_numpy(np.array([[.9, .8, .7, .6]], dtype=np.float32), binary_data=binary)
    targets.set_data_from_numpy(np.array([[0, 1, 0, 1]], dtype=np.int8), binary_data=binary)
    return InferRequest(model_name=model, infer_inputs=[scores, targets], parameters=parameters)


def call(daemon, method, *arguments, **named):
    async def run():
        client = InferenceRESTClient(RESTConfig(protocol="v2"))
        return await getattr(client, method)(daemon.url, *arguments, **named)

    return asyncio.run(run())


@pytest.mark.parametrize("binary", [False, True])
def test_the_worked_example_comes_back_exactly(daemon, binary):
    reply = call(daemon, "infer", request(binary, **{"lambda": 1.0, "margin": 0.0}), model_name="ap")
    got = {o.name: o.as_numpy().ravel().tolist() for o in reply.outputs}
    assert got == {"loss": [0.5], "gradient": [0.25, -0.25, 0.25, -0.25]}


def test_health_is_understood(daemon):
    assert call(daemon, "is_server_live") is True
    assert call(daemon, "is_server_ready") is True
    assert call(daemon, "is_model_ready", "ap") is True


def test_errors_bear_the_daemons_sentence(daemon):
    with pytest.raises(Exception, match="lamda.*lambda"):
        call(daemon, "infer", request(False, lamda=1.0), model_name="ap")
