# SPDX-License-Identifier: Apache-2.0
"""MLServer's codecs, and the client of the protocol's own OpenAPI description, as they come from
PyPI."""
import json
import urllib.request

import numpy as np
import open_inference.openapi as openapi
import pytest
from mlserver.codecs import NumpyCodec
from mlserver.types import InferenceRequest, InferenceResponse, Parameters, RequestOutput
from open_inference.openapi.client import OpenInferenceClient

SCORES = np.array([[.9, .8, .7, .6]], dtype=np.float32)
TARGETS = np.array([[0, 1, 0, 1]], dtype=np.int8)
WANTED = {"loss": [0.5], "gradient": [0.25, -0.25, 0.25, -0.25]}


def post(daemon, text):
    made = urllib.request.Request(f"{daemon.url}/v2/models/ap/infer", text.encode(), {"Content-Type": "application/json"})
    with urllib.request.urlopen(made, timeout=30) as reply:
        return reply.read()


def dumps(request):
    """The request as httpx and requests send it: with null for unset members, and without them."""
    plain = request.model_dump()
    return [request.model_dump_json(), json.dumps({"id": None, "outputs": None} | plain)]


@pytest.mark.parametrize("outputs", [None, [RequestOutput(name="loss"), RequestOutput(name="gradient")]])
def test_what_the_codecs_of_mlserver_write_is_computed_and_what_comes_back_is_read(daemon, outputs):
    inputs = [NumpyCodec.encode_input("scores", SCORES), NumpyCodec.encode_input("targets", TARGETS)]
    request = InferenceRequest(inputs=inputs, parameters=Parameters(content_type="np", **{"lambda": 1.0}), outputs=outputs)
    for text in dumps(request):
        reply = InferenceResponse.model_validate_json(post(daemon, text))
        assert {o.name: NumpyCodec.decode_output(o).ravel().tolist() for o in reply.outputs} == WANTED


def test_the_client_of_the_openapi_description_is_served(daemon):
    client = OpenInferenceClient(base_url=daemon.url)
    client.check_server_liveness()
    client.check_server_readiness()
    client.check_model_readiness("ap")
    assert client.read_server_metadata().name == "rankd"
    assert client.read_model_metadata("ap").name == "ap"
    tensors = [openapi.RequestInput(name="scores", shape=[1, 4], datatype="FP32", data=SCORES.ravel().tolist()),
               openapi.RequestInput(name="targets", shape=[1, 4], datatype="INT8", data=[0.0, 1.0, 0.0, 1.0])]
    reply = client.model_infer("ap", request=openapi.InferenceRequest(inputs=tensors))
    assert [o.name for o in reply.outputs] == ["loss", "gradient"]
