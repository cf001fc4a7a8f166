# SPDX-License-Identifier: Apache-2.0
"""Any bad input gets a 4xx with one sentence that names the field, its value and the allowed
values, and the daemon keeps serving."""
import copy
import gzip
import json
import socket
import struct
import time

import pytest

GOOD = {
    "parameters": {"lambda": 1, "margin": 0},
    "inputs": [
        {"name": "scores", "shape": [1, 4], "datatype": "FP32", "data": [0.9, 0.8, 0.7, 0.6]},
        {"name": "targets", "shape": [1, 4], "datatype": "INT8", "data": [0, 1, 0, 1]},
    ],
}
BINARY = {
    "inputs": [
        {"name": "scores", "shape": [1, 4], "datatype": "FP32", "parameters": {"binary_data_size": 16}},
        {"name": "targets", "shape": [1, 4], "datatype": "INT8", "parameters": {"binary_data_size": 4}},
    ],
}
PAYLOAD = struct.pack("<4f4b", 0.9, 0.8, 0.7, 0.6, 0, 1, 0, 1)


def changed(document=GOOD, **where):
    """A copy of the document with `a__0__b=value` set at ["a"][0]["b"]; a value of ... deletes."""
    document = copy.deepcopy(document)
    for path, value in where.items():
        at = document
        *parents, last = [int(p) if p.isdigit() else p.replace("lambda_", "lambda") for p in path.split("__")]
        for p in parents:
            at = at[p]
        if value is ...:
            del at[last]
        else:
            at[last] = value
    return document


def exchange(daemon, raw, timeout=20.0):
    """Sends bytes as they are; returns (status, headers, body) of the first answer, or None if the
    peer just closed the connection."""
    with socket.create_connection((daemon.host, daemon.port), timeout=timeout) as s:
        try:
            s.sendall(raw)
        except (BrokenPipeError, ConnectionResetError):
            pass
        return read_answer(s)


def read_answer(s):
    data = b""
    try:
        while b"\r\n\r\n" not in data:
            more = s.recv(65536)
            if not more:
                return None
            data += more
        head, body = data.split(b"\r\n\r\n", 1)
        lines = head.decode().split("\r\n")
        headers = {k.lower(): v.strip() for k, v in (line.split(":", 1) for line in lines[1:])}
        length = int(headers.get("content-length", 0))
        while len(body) < length:
            more = s.recv(65536)
            if not more:
                break
            body += more
        return int(lines[0].split()[1]), headers, body
    except ConnectionResetError:
        return None


def request(body, headers="", path="/v2/models/ap/infer", verb="POST", length=None):
    length = len(body) if length is None else length
    return f"{verb} {path} HTTP/1.1\r\nHost: localhost\r\n{headers}Content-Length: {length}\r\n\r\n".encode() + body


def post(daemon, body, **kw):
    body = body if isinstance(body, bytes) else json.dumps(body).encode()
    return exchange(daemon, request(body, **kw))


def binary(daemon, header, payload, header_length=None):
    text = json.dumps(header).encode()
    size = len(text) if header_length is None else header_length
    return exchange(daemon, request(text + payload, headers=f"Inference-Header-Content-Length: {size}\r\n"))


def assert_refused(answer, status, *words):
    assert answer is not None, "closed without an answer"
    got, _, body = answer
    sentence = json.loads(body)["error"]
    assert got == status, (got, sentence)
    for word in words:
        assert word in sentence, f"{word!r} is not in {sentence!r}"
    assert "\n" not in sentence and len(sentence) < 600


@pytest.fixture(autouse=True)
def goes_on_serving(daemon):
    yield
    assert post(daemon, GOOD)[0] == 200


def test_good_requests_are_good(daemon):
    status, _, body = post(daemon, GOOD)
    assert status == 200
    outputs = {o["name"]: o["data"] for o in json.loads(body)["outputs"]}
    assert outputs == {"loss": [0.5], "gradient": [0.25, -0.25, 0.25, -0.25]}
    assert binary(daemon, BINARY, PAYLOAD)[0] == 200


def test_a_whole_number_beyond_64_bits_is_a_number(daemon):
    whole, real = (json.loads(post(daemon, changed(parameters__margin=margin))[2]) for margin in (10**20, 1e20))
    assert whole["outputs"] == real["outputs"]


# Field by field: a change to a good request, and the words that the sentence must have.
CASES = {
    "unknown parameter": (changed(parameters__lamda=1), 400, ["lamda", "lambda"]),
    "parameter of another model": (changed(parameters__weight="log"), 400, ["weight"]),
    "lambda 0": (changed(parameters__lambda_=0), 400, ["lambda", "0"]),
    "lambda negative": (changed(parameters__lambda_=-3.5), 400, ["lambda", "-3.5"]),
    "lambda too large": (changed(parameters__lambda_=1e13), 400, ["lambda", "1e+12"]),
    "lambda text": (changed(parameters__lambda_="big"), 400, ["lambda", "big"]),
    "lambda null": (changed(parameters__lambda_=None), 400, ["lambda", "null"]),
    "margin negative": (changed(parameters__margin=-0.1), 400, ["margin", "-0.1"]),
    "margin beyond 64 bits": (changed(parameters__margin=10**31),
        400, ["margin was 1" + 31 * "0" + "; it must be a number from 0"]),
    "margin below 64 bits": (changed(parameters__margin=-10**20),
        400, ["margin was -1" + 20 * "0" + "; it must be a number from 0"]),
    "timeout beyond 64 bits": (changed(parameters__timeout=2**64), 400, ["timeout is 18446744073709551616; it must be a whole"]),
    "shape beyond 64 bits": (changed(inputs__0__shape=[1, 2**63]),
        400, ["shape of input scores has 9223372036854775808 as dimension 1"]),
    "beyond 64 bits, and not JSON": (json.dumps({"timeout": 2**70}).encode()[:-1] + b",\n!",
        400, ["not JSON", "line 2, column 1"]),
    "beyond 64 bits, and data that are not JSON": (
        b'{"parameters": {"timeout": 99999999999999999999},\n'
        b'"inputs": [{"name": "scores", "shape": [1], "datatype": "FP32", "data": [1x]}]}',
        400, ["not JSON", "line 2, column 75", "near 'x'"]),
    "average unknown": (changed(parameters__average="mean"), 400, ["average", "mean", "macro"]),
    "axis 2": (changed(parameters__axis=2), 400, ["axis", "2"]),
    "interclass over 1": (changed(parameters__interclass=1.5), 400, ["interclass", "1.5"]),
    "parameters not an object": (changed(parameters=[1]), 400, ["parameters"]),
    "no inputs": (changed(inputs=...), 400, ["inputs"]),
    "inputs empty": (changed(inputs=[]), 400, ["scores"]),
    "inputs not a list": (changed(inputs={}), 400, ["inputs"]),
    "input missing": (changed(inputs=GOOD["inputs"][:1]), 400, ["targets"]),
    "input unknown": (changed(inputs__1__name="target"), 400, ["target", "targets"]),
    "input twice": (changed(inputs=GOOD["inputs"] + GOOD["inputs"][:1]), 400, ["scores"]),
    "input without name": (changed(inputs__0__name=...), 400, ["name"]),
    "name not text": (changed(inputs__0__name=5), 400, ["name"]),
    "datatype unknown": (changed(inputs__0__datatype="FP8"), 400, ["FP8", "FP32"]),
    "datatype not for this input": (changed(inputs__0__datatype="INT64"), 400, ["scores", "INT64", "FP32"]),
    "shape missing": (changed(inputs__0__shape=...), 400, ["shape"]),
    "shape negative": (changed(inputs__0__shape=[1, -4]), 400, ["shape", "-4"]),
    "shape zero": (changed(inputs__0__shape=[0, 4], inputs__0__data=[]), 400, ["shape", "0"]),
    "shape overflows": (changed(inputs__0__shape=[2**40, 2**40]), 400, ["shape"]),
    "shape a number": (changed(inputs__0__shape=4), 400, ["shape"]),
    "shape of three": (changed(inputs__0__shape=[1, 2, 2]), 400, ["input scores has 3 dimensions; its shape must be [Q, N]"]),
    "shape with a fraction": (changed(inputs__0__shape=[1, 4.5]), 400, ["shape"]),
    "shapes differ": (changed(inputs__1__shape=[4, 1]), 400, ["targets", "[4, 1]", "[1, 4]"]),
    "too few numbers": (changed(inputs__0__data=[1, 2, 3]), 400, ["scores", "3", "4"]),
    "too many numbers": (changed(inputs__0__data=[1, 2, 3, 4, 5]), 400, ["scores", "5", "4"]),
    "a number is text": (changed(inputs__0__data=[1, "a", 3, 4]), 400, ["scores", "a"]),
    "targets 2": (changed(inputs__1__data=[0, 1, 2, 1]), 400, ["targets", "2"]),
    "targets 40, as a float": (changed(inputs__1__datatype="FP32", inputs__1__data=[0, 1, 40, 1]), 400,
                               ["targets[0, 2] is 40; it may be 1"]),
    "datatype of an input of one type": (changed(inputs=[*GOOD["inputs"],
                                                         {"name": "list_weight", "shape": [1], "datatype": "INT64",
                                                          "data": [1]}]),
                                         400, ['datatype of input list_weight is "INT64"; it must be FP32']),
    "targets out of type": (changed(inputs__1__data=[0, 1, 300, 1]), 400, ["targets", "300"]),
    "null is NaN in scores": (changed(inputs__0__data=[0.9, None, 0.7, 0.6]), 400, ["scores"]),
    "no data": (changed(inputs__0__data=...), 400, ["scores", "data"]),
    "both data and binary": (changed(inputs__0__parameters={"binary_data_size": 16}), 400,
                             ["scores", "data", "binary_data_size"]),
    "unknown output": (changed(outputs=[{"name": "gradiant"}]), 400, ["gradiant", "gradient"]),
    "output of another model": (changed(outputs=[{"name": "ranks"}]), 400, ["ranks"]),
    "outputs not a list": (changed(outputs="loss"), 400, ["outputs"]),
    "id not text": (changed(id=7), 400, ["id"]),
    "region where none are": (changed(inputs__0__data=...,
                                      inputs__0__parameters={"shared_memory_region": "r", "shared_memory_byte_size": 16}), 501,
                                      ["shared"]),
}


@pytest.mark.parametrize("case", CASES)
def test_refused_with_a_sentence(daemon, case):
    body, status, words = CASES[case]
    assert_refused(post(daemon, body), status, *words)


def test_nan_in_binary_scores_is_named_by_position(daemon):
    payload = struct.pack("<4f4b", 0.9, 0.8, float("nan"), 0.6, 0, 1, 0, 1)
    assert_refused(binary(daemon, BINARY, payload), 400, "scores", "NaN", "2")


def test_nan_of_an_ignored_item_is_fine(daemon):
    payload = struct.pack("<4f4b", 0.9, 0.8, float("nan"), 0.6, 0, 1, -1, 1)
    assert binary(daemon, BINARY, payload)[0] == 200


@pytest.mark.parametrize("text, words", [
    (b"", ["JSON"]), (b"{", ["JSON"]), (b"not json", ["JSON"]), (b"[1, 2]", ["object"]), (b'{"a": 1e400}', ["JSON"]),
    (b"\xff\xfe", ["JSON"]), (b'{"inputs": [], "inputs": []}', ["inputs"]), (b'{"id": "\\u0000"}', []),
    (b"[" * 100_000, ["JSON"]), (b'{"inputs":' + b"[" * 40 + b"]" * 40 + b"}", ["deep"]),
    (b'{"parameters": {"lambda": NaN}}', ["JSON"]),
])
def test_what_is_not_json_is_refused(daemon, text, words):
    assert_refused(post(daemon, text), 400, *words)


@pytest.mark.parametrize("payload, size, words", [
    (PAYLOAD[:-1], None, ["20", "19"]), (PAYLOAD + b"x", None, ["20", "21"]), (b"", None, ["20", "0"]),
    (PAYLOAD, 100_000, ["Inference-Header-Content-Length", "100000"]), (PAYLOAD, -1, ["Inference-Header-Content-Length", "-1"]),
    (PAYLOAD, "12x", ["Inference-Header-Content-Length", "12x"]), (PAYLOAD, 2**64, ["Inference-Header-Content-Length"]),
])
def test_binary_lengths_must_fit(daemon, payload, size, words):
    assert_refused(binary(daemon, BINARY, payload, size), 400, *words)


def test_binary_size_must_fit_the_shape(daemon):
    wrong = changed(BINARY, inputs__0__parameters={"binary_data_size": 12})
    assert_refused(binary(daemon, wrong, PAYLOAD[4:]), 400, "scores", "12", "16")


def test_unknown_urls_and_verbs(daemon):
    assert_refused(post(daemon, GOOD, path="/v2/models/app/infer"), 404, "app", "ap")
    assert_refused(post(daemon, GOOD, path="/v2/models/ap/versions/2/infer"), 404, "2")
    assert_refused(exchange(daemon, b"GET /nothere HTTP/1.1\r\nHost: localhost\r\n\r\n"), 404, "/nothere")
    for verb in ("DELETE", "BREW"):
        answer = exchange(daemon, request(b"", path="/v2/models/ap/infer", verb=verb))
        assert_refused(answer, 405, verb)
        assert "POST" in answer[1]["allow"]


def test_contradicting_framing_is_refused(daemon):
    body = json.dumps(GOOD).encode()
    for head in (f"Content-Length: {len(body)}\r\nContent-Length: {len(body) + 1}\r\n",
                 f"Content-Length: {len(body)}\r\nTransfer-Encoding: chunked\r\n",
                 "Content-Length: -5\r\n", "Content-Length: 99999999999999999999999\r\n"):
        raw = f"POST /v2/models/ap/infer HTTP/1.1\r\nHost: localhost\r\n{head}\r\n".encode() + body
        answer = exchange(daemon, raw)
        assert answer is None or answer[0] in (400, 413), head


def test_one_byte_chunks_are_put_together(daemon):
    body = json.dumps(GOOD).encode()
    chunks = b"".join(b"1\r\n%c\r\n" % b for b in body) + b"0\r\n\r\n"
    raw = b"POST /v2/models/ap/infer HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n" + chunks
    assert exchange(daemon, raw)[0] == 200


def test_form_content_type_is_no_matter(daemon):
    assert post(daemon, GOOD, headers="Content-Type: application/x-www-form-urlencoded\r\n")[0] == 200


def test_expect_continue_is_answered(daemon):
    body = json.dumps(GOOD).encode()
    with socket.create_connection((daemon.host, daemon.port), timeout=20) as s:
        s.sendall(request(b"", headers="Expect: 100-continue\r\n", length=len(body)))
        assert s.recv(100).startswith(b"HTTP/1.1 100")
        s.sendall(body)
        assert read_answer(s)[0] == 200


def test_foreign_origin_and_unknown_host_are_refused(daemon):
    body = json.dumps(GOOD).encode()
    assert_refused(exchange(daemon, request(body, headers="Origin: http://evil.example\r\n")), 403, "Origin")
    raw = request(body).replace(b"Host: localhost", b"Host: evil.example")
    assert_refused(exchange(daemon, raw), 403, "Host")


def test_a_gzip_bomb_is_refused_by_its_inflated_size(make_daemon):
    small = make_daemon("--json-bytes", "1M", "--body-bytes", "4M")
    bomb = gzip.compress(b" " * (64 << 20))
    answer = exchange(small, request(bomb, headers="Content-Encoding: gzip\r\n"))
    assert_refused(answer, 413)


def test_broken_compression_is_refused(daemon):
    assert_refused(exchange(daemon, request(b"not gzip at all", headers="Content-Encoding: gzip\r\n")), 400, "gzip")
    cut = gzip.compress(json.dumps(GOOD).encode())[:-9]
    assert_refused(exchange(daemon, request(cut, headers="Content-Encoding: gzip\r\n")), 400, "gzip")
    assert_refused(exchange(daemon, request(b"x", headers="Content-Encoding: br\r\n")), 415, "br", "gzip")


def test_a_body_over_the_limit_is_refused(make_daemon):
    small = make_daemon("--body-bytes", "65536")
    answer = exchange(small, request(b"{" * 100, length=70_000))
    assert_refused(answer, 413, "65536")


def test_a_dripping_body_and_a_dripping_header_meet_their_deadlines(make_daemon):
    slow = make_daemon("--body-timeout", "1s", "--header-timeout", "1s")
    for start in (request(b"", length=1000), b"POST /v2/models/ap/infer HTTP/1.1\r\nHost: localhost\r\nX-Long: "):
        with socket.create_connection((slow.host, slow.port), timeout=20) as s:
            s.sendall(start)
            closed = False
            began = time.monotonic()
            while not closed and time.monotonic() - began < 15:
                try:
                    s.sendall(b"x")
                    s.settimeout(0.2)
                    closed = s.recv(4096) is not None
                except TimeoutError:
                    continue
                except (BrokenPipeError, ConnectionResetError):
                    closed = True
            assert closed, "the peer drips on for ever"
