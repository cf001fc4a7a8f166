# SPDX-License-Identifier: Apache-2.0
"""An unmodified Triton client, as it comes from PyPI, works against the daemon."""
import numpy as np
import pytest
import tritonclient.http as triton
from tritonclient.utils import InferenceServerException

SCORES = np.array([[0.9, 0.8, 0.7, 0.6]], dtype=np.float32)
TARGETS = np.array([[0, 1, 0, 1]], dtype=np.int8)
MODELS = {"ap", "recall", "ndcg", "mrr", "hits", "rank", "rank_vjp"}


@pytest.fixture
def client(daemon):
    with triton.InferenceServerClient(daemon.url.removeprefix("http://")) as c:
        yield c


def tensors(scores=SCORES, targets=TARGETS, binary=True):
    s = triton.InferInput("scores", scores.shape, "FP32")
    s.set_data_from_numpy(scores, binary_data=binary)
    t = triton.InferInput("targets", targets.shape, "INT8")
    t.set_data_from_numpy(targets, binary_data=binary)
    return [s, t]


def test_health_and_metadata_are_understood(client):
    assert client.is_server_live() and client.is_server_ready()
    assert client.is_model_ready("ap") and client.is_model_ready("ap", "1")
    server = client.get_server_metadata()
    assert server["name"] == "rankd" and "binary_tensor_data" in server["extensions"]
    model = client.get_model_metadata("ap")
    assert {i["name"] for i in model["inputs"]} >= {"scores", "targets"}
    assert {o["name"] for o in model["outputs"]} >= {"loss", "gradient"}
    assert client.get_model_config("recall")["name"] == "recall"
    assert {m["name"] for m in client.get_model_repository_index()} == MODELS


@pytest.mark.parametrize("binary_in", [False, True])
@pytest.mark.parametrize("binary_out", [False, True])
def test_the_worked_example_comes_back_exactly(client, binary_in, binary_out):
    outputs = [triton.InferRequestedOutput(n, binary_data=binary_out) for n in ("loss", "gradient", "list_loss")]
    reply = client.infer("ap", tensors(binary=binary_in), outputs=outputs, request_id="seven",
                         parameters={"lambda": 1.0, "margin": 0.0})
    assert reply.as_numpy("loss")[0] == 0.5
    assert reply.as_numpy("gradient").tolist() == [[0.25, -0.25, 0.25, -0.25]]
    assert reply.as_numpy("list_loss").tolist() == [0.5]
    answer = reply.get_response()
    assert answer["id"] == "seven" and answer["model_name"] == "ap" and answer["parameters"]["lists"] == 1


def test_only_the_requested_outputs_come_back(client):
    reply = client.infer("ap", tensors(), outputs=[triton.InferRequestedOutput("loss")])
    assert [o["name"] for o in reply.get_response()["outputs"]] == ["loss"]


def test_the_sparse_pair_is_the_dense_gradient(client):
    generator = np.random.default_rng(3)
    scores = generator.standard_normal((6, 50)).astype(np.float32)
    targets = (generator.random((6, 50)) < 0.1).astype(np.int8)
    names = ("gradient", "gradient_indices", "gradient_values")
    reply = client.infer("recall", tensors(scores, targets), outputs=[triton.InferRequestedOutput(n) for n in names])
    dense = reply.as_numpy("gradient").ravel()
    where = reply.as_numpy("gradient_indices")
    assert where.size > 0
    assert where.tolist() == np.flatnonzero(dense).tolist()
    assert reply.as_numpy("gradient_values").tolist() == dense[where].tolist()
    assert reply.get_response()["parameters"]["gradient_nonzero"] == where.size


@pytest.mark.parametrize("algorithm", ["gzip", "deflate"])
def test_compressed_both_ways(client, algorithm):
    reply = client.infer("ap", tensors(binary=True), request_compression_algorithm=algorithm,
                         response_compression_algorithm=algorithm)
    assert reply.as_numpy("loss")[0] == 0.5


def test_asynchronous_requests(client):
    pending = [client.async_infer("ap", tensors()) for _ in range(8)]
    assert [p.get_result().as_numpy("loss")[0] for p in pending] == [0.5] * 8


def test_statistics_count_the_requests(client):
    before = client.get_inference_statistics("ap")["model_stats"][0]
    for _ in range(3):
        client.infer("ap", tensors())
    with pytest.raises(InferenceServerException):
        client.infer("ap", tensors(), parameters={"lambda": -1.0})
    after = client.get_inference_statistics("ap")["model_stats"][0]
    assert after["name"] == "ap"
    for kind, more in (("success", 3), ("fail", 1)):
        assert int(after["inference_stats"][kind]["count"]) - int(before["inference_stats"][kind]["count"]) == more
    assert {s["name"] for s in client.get_inference_statistics()["model_stats"]} == MODELS


def test_errors_are_exceptions_with_the_daemons_sentence(client):
    with pytest.raises(InferenceServerException, match="lamda.*lambda"):
        client.infer("ap", tensors(), parameters={"lamda": 1.0})
    with pytest.raises(InferenceServerException, match="nothere"):
        client.get_model_metadata("nothere")
    wrong = TARGETS.copy()
    wrong[0, 2] = 2
    with pytest.raises(InferenceServerException, match=r"targets.*2"):
        client.infer("ap", tensors(targets=wrong))
