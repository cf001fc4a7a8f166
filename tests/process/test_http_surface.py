# SPDX-License-Identifier: Apache-2.0
"""The HTTP surface, route by route, against openapi.yaml."""
import gzip
import json
import re
import struct
import zlib
from pathlib import Path

import pytest
import yaml

from support_http import GOOD, INFER, ask, connect, infer, metric, read, request, routes

ROOT = Path(__file__).parents[2]
OPENAPI = yaml.safe_load((ROOT / "proto/openapi.yaml").read_text())
VERBS = {"get", "put", "post", "delete"}
NAMES = {"model": "ap", "bank": "nothere", "tag": "nothere", "region": "nothere"}


def documented():
    return {(path, frozenset(v.upper() for v in item if v in VERBS)) for path, item in OPENAPI["paths"].items()}


def in_table():
    rows = routes()
    assert len(rows) > 15
    return {(path, frozenset(v for v, p in rows if p == path)) for _, path in rows}


def test_the_route_table_and_openapi_agree():
    assert in_table() == documented()


@pytest.mark.parametrize("path, verbs", sorted((p, tuple(sorted(v))) for p, v in documented()))
def test_every_documented_route_answers_to_its_verbs_and_to_no_other(daemon, path, verbs):
    url = re.sub(r"\{(\w+)\}", lambda m: NAMES[m[1]], path)
    for verb in ("GET", "PUT", "POST", "DELETE", "PATCH"):
        answer = ask(daemon, verb, url)
        if verb in verbs:
            assert answer.status != 405 and "there is nothing at" not in answer.body.decode(), answer.body
        else:
            assert answer.status == 405 and verb in answer.error
            assert set(answer.headers["allow"].split(", ")) == set(verbs)
        if answer.status >= 400:
            assert set(answer.json()) == {"error"} and answer.headers["content-type"] == "application/json"


def test_openapi_refers_to_nothing_that_is_not_there():
    def walk(node):
        if isinstance(node, dict):
            if "$ref" in node:
                at = OPENAPI
                for part in node["$ref"].removeprefix("#/").split("/"):
                    at = at[part]
            for value in node.values():
                walk(value)
        elif isinstance(node, list):
            for value in node:
                walk(value)

    walk(OPENAPI)
    assert OPENAPI["openapi"].startswith("3.")


def test_the_version_in_a_path_is_1_or_not_found(daemon):
    for tail in ("", "/ready", "/config", "/stats"):
        plain, versioned = (ask(daemon, "GET", f"/v2/models/ap{v}{tail}") for v in ("", "/versions/1"))
        assert plain.status == versioned.status == 200
        assert plain.body == versioned.body or tail == "/stats"
        assert ask(daemon, "GET", f"/v2/models/ap/versions/01{tail}").status == 404
    assert infer(daemon, path="/v2/models/ap/versions/1/infer").status == 200


def test_health_says_true_and_head_is_get_without_a_body(daemon):
    for path, body in (("/v2/health/live", {"live": True}), ("/v2/health/ready", {"ready": True}),
                       ("/v2/models/ap/ready", {"name": "ap", "ready": True}),
                       ("/v2/models/ap/versions/1/ready", {"name": "ap", "ready": True})):
        answer = ask(daemon, "GET", path)
        assert (answer.status, answer.json()) == (200, body)
    with connect(daemon) as s:
        s.sendall(request("HEAD", "/v2"))
        head = s.recv(4096)
    assert head.startswith(b"HTTP/1.1 200") and head.endswith(b"\r\n\r\n")


def test_metadata_has_the_parameters_with_their_bounds(daemon):
    model = ask(daemon, "GET", "/v2/models/recall").json()
    assert model["parameters"]["lambda"]["minimum"] == 1e-12 and model["parameters"]["weight"]["default"] == "loglog"
    assert "weight" not in ask(daemon, "GET", "/v2/models/ap").json()["parameters"]
    assert "data_type" in ask(daemon, "GET", "/v2/models/rank/config").json()["input"][0]


def test_several_requests_on_one_connection_and_pipelined(daemon):
    with connect(daemon) as s:
        for _ in range(20):
            s.sendall(request("POST", INFER, GOOD))
            assert read(s).status == 200
        s.sendall(request("GET", "/v2/health/live") * 5)
        got = b""
        while got.count(b"HTTP/1.1 200") < 5:
            more = s.recv(65536)
            assert more
            got += more


def header_of(document):
    text = json.dumps(document).encode()
    return text, [f"Inference-Header-Content-Length: {len(text)}"]


BINARY = {"inputs": [
    {"name": "scores", "shape": [1, 4], "datatype": "FP32", "parameters": {"binary_data_size": 16}},
    {"name": "targets", "shape": [1, 4], "datatype": "INT8", "parameters": {"binary_data_size": 4}}]}
PAYLOAD = struct.pack("<4f4b", 0.9, 0.8, 0.7, 0.6, 0, 1, 0, 1)


@pytest.mark.parametrize("encoding", ["identity", "gzip", "deflate"])
def test_binary_in_and_out_under_each_encoding(daemon, encoding):
    pack = {"identity": bytes, "gzip": gzip.compress, "deflate": zlib.compress}[encoding]
    text, headers = header_of(BINARY | {"parameters": {"binary_data_output": True}, "id": "äöü"})
    answer = infer(daemon, pack(text + PAYLOAD), [*headers, f"Content-Encoding: {encoding}", f"Accept-Encoding: {encoding}"])
    assert answer.status == 200
    body = answer.body
    if encoding != "identity":
        assert answer.headers["content-encoding"] == encoding
        body = zlib.decompress(body, 31 if encoding == "gzip" else 15)
    split = int(answer.headers["inference-header-content-length"])
    header = json.loads(body[:split])
    assert header["id"] == "äöü"
    assert [o["parameters"]["binary_data_size"] for o in header["outputs"]] == [4, 16]
    assert struct.unpack("<5f", body[split:]) == (0.5, 0.25, -0.25, 0.25, -0.25)


def test_requests_with_the_same_json_have_each_their_own_tensors(daemon):
    text, headers = header_of(BINARY | {"parameters": {"binary_data_output": True}})
    other, _ = header_of(BINARY | {"parameters": {"binary_data_output": True, "margin": 1.0}})
    better = struct.pack("<4f4b", 0.6, 0.8, 0.7, 0.9, 0, 1, 0, 1)
    first, second = (0.5, 0.25, -0.25, 0.25, -0.25), (0.0, 0.0, 0.0, 0.0, 0.0)
    with connect(daemon) as s:
        for json_part, tensors, want in ((text, PAYLOAD, first), (text, better, second), (text, PAYLOAD, first),
                                         (other, better, None), (text, better, second)):
            s.sendall(request("POST", INFER, json_part + tensors, [f"Inference-Header-Content-Length: {len(json_part)}"]))
            answer = read(s)
            values = struct.unpack("<5f", answer.body[int(answer.headers["inference-header-content-length"]):])
            assert values == want if want else values[0] > 0
        s.sendall(request("POST", INFER, text + PAYLOAD[:-1], headers))
        assert read(s).error == "the binary inputs take 20 bytes; 19 bytes followed the JSON"


def test_json_floats_read_back_to_the_same_bits(daemon):
    scores = [1.0, 1.0000001, 0.1, 3.4028234663852886e38, 1e-45, -0.0, 16777217.0, 1.1754943508222875e-38]
    document = {"parameters": {"lambda": 0.37, "lambda_units": "rank"},
                "outputs": [{"name": "gradient"}, {"name": "gradient_values"}],
                "inputs": [{"name": "scores", "shape": [1, 8], "datatype": "FP32", "data": scores},
                           {"name": "targets", "shape": [1, 8], "datatype": "INT32", "data": [0, 1, 1, 0, 1, 0, 0, 0]}]}
    as_json = infer(daemon, document).json()["outputs"][0]["data"]
    document["outputs"][0]["parameters"] = {"binary_data": True}
    answer = infer(daemon, document)
    split = int(answer.headers["inference-header-content-length"])
    assert struct.pack("<8f", *as_json) == answer.body[split:split + 32]
    assert any(as_json)


def test_a_skipped_list_is_null_in_json(daemon):
    document = {"outputs": [{"name": "list_loss"}], "inputs": [
        {"name": "scores", "shape": [2, 2], "datatype": "FP32", "data": [[1, 2], [3, 4]]},
        {"name": "targets", "shape": [2, 2], "datatype": "BOOL", "data": [[True, False], [False, False]]}]}
    answer = infer(daemon, document).json()
    assert answer["outputs"][0]["data"] == [0.5, None]
    assert answer["parameters"]["lists_skipped"] == 1


def test_metrics_are_prometheus_text_and_count(daemon):
    before = metric(daemon, "rankd_requests_succeeded_total", model="rank")
    document = {"inputs": [GOOD["inputs"][0]]}
    assert infer(daemon, document, path="/v2/models/rank/infer").json()["outputs"][0]["data"] == [1, 2, 3, 4]
    assert metric(daemon, "rankd_requests_succeeded_total", model="rank") == before + 1
    answer = ask(daemon, "GET", "/metrics")
    assert answer.headers["content-type"].startswith("text/plain; version=0.0.4")
    types = {}
    for line in answer.body.decode().splitlines():
        if line.startswith("# TYPE"):
            types[line.split()[2]] = line.split()[3]
        elif not line.startswith("#"):
            assert re.fullmatch(r'[a-z_]+(\{([a-z]+="[^"]*",?)+\})? [-0-9.e+]+', line), line
            family = re.match(r"[a-z_]+", line)[0]
            assert family in types or re.sub(r"_(bucket|sum|count)$", "", family) in types, line
    assert all(name.endswith("_total") == (kind == "counter") for name, kind in types.items()), types


def test_the_status_page_is_html_that_loads_nothing_from_elsewhere(daemon):
    answer = ask(daemon, "GET", "/")
    page = answer.body.decode()
    assert answer.headers["content-type"].startswith("text/html") and "rankd" in page
    assert not re.search(r"(src|href)=['\"]?(https?:)?//", page)
    assert not re.search(r"""(src|href|action)=['"]?/|(get|fetch)\(["'`]/""", page), "a path that a prefix of a proxy breaks"
    assert "default-src 'none'" in answer.headers["content-security-policy"]


def test_a_request_is_one_line_of_the_log(make_daemon):
    daemon = make_daemon("--log-format", "json")
    assert infer(daemon, GOOD | {"id": 'a "quoted"\nid'}).status == 200
    assert infer(daemon, GOOD | {"parameters": {"lamda": 1}}).status == 400
    daemon.wait_for_log("lamda")
    good, bad = [line for line in map(json.loads, daemon.log_text().splitlines()) if line["component"] == "request"]
    assert good["id"] == 'a "quoted"\nid' and good["model"] == "ap" and good["status"] == 200
    assert good["shapes"] == "scores FP32 [1, 4], targets INT8 [1, 4]" and good["transport"] == "http_json"
    assert all(good[f"{stage}_us"] >= 0 for stage in ("queue", "parse", "compute", "write"))
    assert bad["status"] == 400 and "lamda" in bad["error"]
