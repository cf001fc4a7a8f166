# SPDX-License-Identifier: Apache-2.0
"""Malformed answers, from another program on the port: one error sentence, in time, and no memory
for announced sizes."""
import json
import os
import random
import threading
import time
import tracemalloc

import numpy as np
import pytest

import rankd
from support import Breaking, answering, http, read_request

GOOD = ([[0.3, 0.2, 0.1]], [[0, 1, 0]])
BINARY = np.float32([0.5, 1, 2, 3]).tobytes()
LOSS = {"name": "loss", "shape": [1], "datatype": "FP32", "parameters": {"binary_data_size": 4}}
GRADIENT = {"name": "gradient", "shape": [1, 3], "datatype": "FP32", "parameters": {"binary_data_size": 12}}
HUGE = 10**15


def reply(*outputs, binary=BINARY, length=None, **members):
    head = json.dumps({"model_name": "ap", "outputs": outputs, **members}).encode()
    return http(200, head + binary, Inference_Header_Content_Length=len(head) if length is None else length)


def gradient(**changed):
    return reply(LOSS, {**GRADIENT, **changed})


def sized(size):
    return gradient(parameters={"binary_data_size": size})


def text(document):
    return http(200, document)


def head(*lines, body=b"{}"):
    return "\r\n".join(("HTTP/1.1 200 OK", *lines)).encode("latin-1") + b"\r\n\r\n" + body


def chunked(*parts):
    return head("Transfer-Encoding: chunked", body=b"".join(parts))


WELL = reply(LOSS, GRADIENT, parameters={"lists": 1, "lists_skipped": 0})

REPLIES = {
    **{f"length {value!r}": reply(LOSS, GRADIENT, length=value)
       for value in ("abc", "-5", "+5", "", " ", "1_0", "0x10", "1.0", "9" * 30, HUGE, 10, 5000)},
    "length of no ASCII": reply(LOSS, GRADIENT, length="5").replace(b"Length: 5", b"Length: \xc2\xb2"),
    "two lengths": head("Inference-Header-Content-Length: 2", "Inference-Header-Content-Length: 2", "Content-Length: 2"),
    **{f"document {document[:20]!r}": text(document) for document in (
        b"", b"<html>hello</html>", b"null", b"[]", b"3", b'"outputs"', b"{}", b'{"outputs":{}}', b'{"outputs":null}',
        b'{"outputs":["a"]}', b'{"outputs":[[]]}', b'{"outputs":[null]}', b'{"outputs":[]}', b'{"outputs":[',
        b'{"outputs":[{"name":"loss"}]}', b'{"a":"\xff"}', b'{"a":NaN,"outputs":[]}', b"[" * 100_000,
        b'{"outputs":' + b"[" * 5000 + b"]" * 5000 + b"}", b"\xff\xfe[\x00]\x00", b"9" * 5000)},
    **{f"no parameters {value!r}": reply(LOSS, GRADIENT, parameters=value) for value in ([1], [], "", 0, False)},
    **{f"one number {data!r}": reply({"name": "loss", "shape": [1], "datatype": "FP32", "data": data}, GRADIENT,
                                     binary=BINARY[4:])
       for data in (None, 0.5, "Infinity")},
    "data in two places": reply({**LOSS, "data": [0.5]}, GRADIENT),
    "data in two places, of JSON alone": text(json.dumps({"outputs": [
        {**LOSS, "data": [0.5]}, {"name": "gradient", "shape": [1, 3], "datatype": "FP32", "data": [1, 2, 3]}]}).encode()),
    **{f"{name} {value!r}": reply(LOSS, GRADIENT, parameters={"lists": 1, "lists_skipped": 0, name: value}) for name, value in (
        ("lists", "1"), ("lists", -1), ("lists", 1.5), ("lists", True), ("lists", [1]), ("lists", 10**400),
        ("gradient_nonzero", {}),
        ("bank_version", "x"), ("gradient_dropped", "much"))},
    **{f"{name} {value!r}"[:40]: gradient(**{name: value}) for name, value in (
        ("name", None), ("name", 3), ("name", ["gradient"]), ("name", "loss"), ("name", "gradients"), ("datatype", None),
        ("datatype", "FP33"),
        ("datatype", "FP64"), ("datatype", []), ("shape", None), ("shape", 3), ("shape", "13"), ("shape", []), ("shape", [3]),
        ("shape", [3, 1]),
        ("shape", [1, 1, 3]), ("shape", [1, -3]), ("shape", [1, 3.0]), ("shape", ["1", "3"]), ("shape", [True, 3]),
        ("shape", [1, None]),
        ("shape", [1, {}]), ("shape", [HUGE, HUGE]), ("shape", [1, 10**400]), ("shape", [1, float("nan")]),
        ("shape", [float("inf"), 3]),
        ("parameters", None), ("parameters", []), ("parameters", {}), ("parameters", "binary_data_size"))},
    **{f"size {value!r}"[:40]: sized(value) for value in ("12", -12, 12.0, True, None, 8, 16, HUGE, 10**400, [12])},
    **{f"data {data!r}"[:40]: reply(LOSS, {"name": "gradient", "shape": [1, 3], "datatype": "FP32", "data": data},
                                    binary=BINARY[:4])
       for data in (None, 3, "123", [], [1, 2], [1, 2, 3, 4], [[1, 2], [3]], [[1], [2], [3]], ["1", "2", "3"], [1, 2, {}],
                    [1, 2, True],
                    [1, 2, [3]], [[[1, 2, 3]]], [1, 2, float("nan")])},
    "lost": reply(LOSS, binary=BINARY[:4]),
    "twice": reply(LOSS, GRADIENT, GRADIENT, binary=BINARY + BINARY[4:]),
    "loss of two": reply({**LOSS, "shape": [2], "parameters": {"binary_data_size": 8}}, GRADIENT, binary=BINARY + b"1234"),
    "loss of none": reply({**LOSS, "shape": [0], "parameters": {"binary_data_size": 0}}, GRADIENT, binary=BINARY[4:]),
    "somewhere else": gradient(parameters={"shared_memory_region": "r", "shared_memory_byte_size": 12}),
    "too few bytes": reply(LOSS, GRADIENT, binary=BINARY[:-1]),
    "too many bytes": reply(LOSS, GRADIENT, binary=BINARY + b"x"),
}

HEADS = {
    "nothing like it": b"SSH-2.0-OpenSSH_9.2\r\n", "a later one": b"HTTP/2 200 OK\r\n\r\n", "no status": b"HTTP/1.1 abc\r\n\r\n",
    "status of two": b"HTTP/1.1 20 OK\r\n\r\n", "status 002": b"HTTP/1.1 002 OK\r\n\r\n",
    "superscript": "HTTP/1.1 20² OK\r\n\r\n".encode(), "status 999": b"HTTP/1.1 999 x\r\nContent-Length: 0\r\n\r\n",
    "status 204": b"HTTP/1.1 204 x\r\n\r\n", "status 302": http(302, b"moved"), "folded": head("X: a", " b", "Content-Length: 2"),
    "blank before the colon": head("Content-Length : 2"), "no colon": head("Content-Length"),
    "NUL": head("X: a\0b", "Content-Length: 2"), "bare LF": b"HTTP/1.1 200 OK\nContent-Length: 2\n\n{}" + b" " * 10_000,
    "lone CR": head("X: a\rb", "Content-Length: 2"),
    **{f"Content-Length {value!r}": head(f"Content-Length: {value}")
       for value in ("abc", "-2", "+2", "2, 2", "1e3", "\xb2", "", "9" * 40)},
       "two lengths": head("Content-Length: 2", "Content-Length: 2"),
       "length and chunks": head("Content-Length: 2", "Transfer-Encoding: chunked"),
       "gzip": head("Transfer-Encoding: gzip, chunked"),
       "two codings": head("Transfer-Encoding: chunked", "Transfer-Encoding: chunked"),
    **{f"chunk of {size!r}": chunked(size + b"\r\n{}\r\n0\r\n\r\n")
       for size in (b"zz", b"-2", b"+2", b"0x2", b"2_0", b"", b" 2", b"f" * 40, b"\xb2")},
    "chunk longer than it says": chunked(b"1\r\n{}\r\n0\r\n\r\n"), "chunk lines": chunked(b"2\n{}\n0\n\n" + b" " * 20_000),
    "long line": head("X: " + "a" * 100_000), "many headers": head(*("X: aaaaaaaaaaaaaaaaaaaaaaaaaaaaa" for _ in range(5000))),
    "provisional ones without end": b"HTTP/1.1 100 Continue\r\n\r\n" * 10_000,
}


def refused(bytes_, ask):
    with Breaking(answering(bytes_)) as server:
        with pytest.raises(rankd.ProtocolError) as caught:
            ask(rankd.connect(server.url, timeout=20, retry_for=0))
    assert 10 < len(caught.value.sentence) < 400 and "\n" not in str(caught.value), caught.value


@pytest.mark.parametrize("name", REPLIES)
def test_a_reply_that_is_none_is_a_protocol_error(name):
    refused(REPLIES[name], lambda client: client.loss("ap", *GOOD))


@pytest.mark.parametrize("name", HEADS)
def test_framing_that_can_be_read_in_two_ways_is_a_protocol_error(name):
    refused(HEADS[name], lambda client: client.metadata())


def test_a_well_formed_reply_is_taken_in_every_form():
    data = [{"name": "loss", "shape": [1], "datatype": "FP32", "data": [0.5]},
            {"name": "gradient", "shape": [1, 3], "datatype": "FP32", "parameters": {}, "data": [[1, 2, None]]}]
    pieces = [WELL.partition(b"\r\n\r\n")[2][i:i + 7] for i in range(0, len(WELL), 7)]
    length = json.dumps({"model_name": "ap", "outputs": [LOSS, GRADIENT], "parameters": {"lists": 1, "lists_skipped": 0}})
    chunks = b"".join(b"%x;a=b\r\n%s\r\n" % (len(p), p) for p in pieces if p) + b"0\r\nTrailer: x\r\n\r\n"
    forms = [WELL, reply(*data, binary=b"", length=None), b"HTTP/1.1 100 Continue\r\n\r\n" + WELL,
             head(f"Inference-Header-Content-Length: {len(length)}", "Transfer-Encoding: chunked", body=chunks),
             WELL.replace(b"HTTP/1.1 200 x", b"HTTP/1.0 200"), WELL.replace(b"Content-Length: ", b"X-Length: ", 1)]
    for form in forms:
        with Breaking(answering(form)) as server:
            result = rankd.connect(server.url, timeout=20, retry_for=0).loss("ap", *GOOD)
            assert result.loss == 0.5 and result.gradient[0, :2].tolist() == [1, 2]


def test_a_chunked_answer_leaves_its_connection_for_the_next():
    with Breaking(answering(*[chunked(b"f\r\n", b'{"name":"rankd"', b"\r\n1\r\n}\r\n0\r\n\r\n")] * 3)) as server:
        client = rankd.connect(server.url, timeout=20, retry_for=0)
        assert [client.metadata()["name"] for _ in range(3)] == ["rankd"] * 3 and server.connections == 1


@pytest.mark.parametrize("ask, answers", [
    (lambda c: c.banks.list(), ["3", "{}", "[1]", '["a"]', "[{}]", '[{"kind":1,"capacity":2}]', '[{"kind":"scores"}]',
                                '[{"kind":"scores","capacity":"2"}]', '[{"kind":"scores","capacity":2,"items":-1}]',
                                "[" * 100_000]),
    (lambda c: c.banks.get("b"), ["[]", "null", '"b"', "{}", '{"kind":"scores","capacity":2,"read_only":"no"}', ""]),
    (lambda c: c.banks.clear("b"), ["[]", '{"kind":{},"capacity":2}']),
    (lambda c: c.banks.checkpoint("b", "t"), ["[1]", '"t"', "3"]),
    (lambda c: c.banks.checkpoints("b"), ["{}", "[[]]", "null"]),
    (lambda c: c.models(), ["{}", "[{}]", '[{"name":3}]', "null", '["ap"]']),
    (lambda c: c.metadata(), ["[]", "3", "null", ""]),
    (lambda c: c.config("ap"), ["[]"]),
    (lambda c: c.stats(), ["{}", "[]", '{"model_stats":{}}', '{"model_stats":[1]}'])])
def test_a_control_answer_that_is_none_is_a_protocol_error(ask, answers):
    for answer in answers:
        refused(http(200, answer.encode()) * 2, ask)


def test_an_error_is_one_sentence_whatever_its_body_is():
    deep = b'{"error":' + b"[" * 50_000
    for body in (b"", b"\xff\xfe\0", b'{"error":3}', b'{"error":""}', b'{"error":"a\\nb\\u0007c\\ud800"}', b"[]", deep,
                 b"x" * 1_000_000):
        with Breaking(answering(http(400, body))) as server:
            with pytest.raises(rankd.InvalidRequest) as caught:
                rankd.connect(server.url, timeout=20, retry_for=0).loss("ap", *GOOD)
        str(caught.value).encode()
        assert caught.value.sentence and caught.value.sentence.isprintable()


@pytest.mark.parametrize("after", ["nan", "-1", "inf", "1e400", "soon", "²", "Mon, 01 Jan 2035 00:00:00 GMT"])
def test_a_pause_that_is_none_is_not_taken(after):
    busy = http(503, b'{"error":"queue full"}', Retry_After=after)
    with Breaking(answering(busy, WELL)) as server:
        assert rankd.connect(server.url, timeout=20, retry_for=10).loss("ap", *GOOD).loss == 0.5


@pytest.mark.parametrize("bytes_", [
    head(f"Content-Length: {HUGE}"), chunked(b"%x\r\n{" % HUGE),
    head(f"Content-Length: {HUGE}", f"Inference-Header-Content-Length: {HUGE}"),
    reply(LOSS, {**GRADIENT, "shape": [1, HUGE], "parameters": {"binary_data_size": 4 * HUGE}})],
    ids=["length", "chunk", "JSON", "shape"])
def test_no_memory_is_taken_for_what_is_only_announced(bytes_):
    for ask in (lambda c: c.loss("ap", *GOOD), lambda c: c.banks.list()):
        with Breaking(answering(bytes_)) as server:
            client = rankd.connect(server.url, timeout=20, retry_for=0)
            tracemalloc.start()
            with pytest.raises((rankd.ProtocolError, rankd.ConnectionLost)):
                ask(client)
            most = tracemalloc.get_traced_memory()[1]
            tracemalloc.stop()
        assert most < 4 << 20


def test_no_more_is_taken_than_what_was_asked_for_may_need():
    def endless(server, connection):
        read_request(server, connection)
        connection.sendall(head(f"Content-Length: {HUGE}", body=b""))
        while True:
            connection.sendall(b" " * 65536)

    with Breaking(endless) as server:
        with pytest.raises(rankd.ProtocolError, match="more than the"):
            rankd.connect(server.url, timeout=60, retry_for=0).loss("ap", *GOOD)


# ---- Any bytes in any order ----

PIECES = [b"", b"0", b"-1", b"\r\n", b"\n", b"\0", b'"', b"[", b"]", b"{", b"}", b",", b":", b"null", b"NaN", b"1e999", b"9" * 20,
          b"\xc2\xb2", b"\xff", b"true", b"[[[[", b"Content-Length: 3\r\n", b"Transfer-Encoding: chunked\r\n",
          b"Connection: close\r\n", b"100"]


def mutated(rng, data):
    """Some bytes cut, doubled, replaced, put in; half of the time where JSON and numbers are."""
    for _ in range(rng.randint(1, 4)):
        at = rng.randrange(len(data) + 1)
        end = min(len(data), at + rng.choice([0, 1, 1, 2, 5, 40]))
        piece = rng.choice([rng.choice(PIECES), data[at:end] * 2, bytes([rng.randrange(256)])])
        data = data[:at] + piece + data[end:]
        if rng.random() < 0.1:
            data = data[:rng.randrange(len(data) + 1)]
    return data


def with_lengths(data):
    """The changed body with headers for its length, so that mutations of the JSON are reached."""
    start, _, body = data.partition(b"\r\n\r\n")
    end = body.find(b"}]}") + 3
    return http(200, body, Inference_Header_Content_Length=max(end, 0)) if start else data


SEEDS = [(WELL, lambda c: c.loss("ap", *GOOD)),
         (reply({**LOSS, "data": [0.5]}, {**GRADIENT, "data": [1, 2, 3]}, binary=b""), lambda c: c.loss("ap", *GOOD)),
         (chunked(b"10\r\n", b'{"name":"rankd"}', b"\r\n0\r\n\r\n"), lambda c: c.metadata()),
         (http(200, b'[{"name":"b","kind":"scores","capacity":3,"items":1,"read_only":false,"reason":""}]'),
          lambda c: c.banks.list()),
         (http(503, b'{"error":"queue full"}', Retry_After="0"), lambda c: c.models())]


def test_whatever_is_answered_only_rankds_errors_come_out():
    rng = random.Random(int(os.environ.get("RANKD_SEED", "25")))
    answers, outcomes = [], set()

    def step(server, connection):
        read_request(server, connection)
        connection.sendall(answers[-1])

    with Breaking(step) as server:
        for i in range(int(os.environ.get("RANKD_MUTATIONS", "1500"))):
            data, ask = SEEDS[i % len(SEEDS)]
            data = mutated(rng, data)
            answers.append(with_lengths(data) if rng.random() < 0.5 and i % len(SEEDS) < 2 else data)
            client = rankd.connect(server.url, timeout=30, retry_for=0)
            try:
                ask(client)
                outcomes.add("taken")
            except rankd.RankdError as error:
                assert not isinstance(error, (rankd.RequestTimeout, rankd.ConnectionFailed)), answers[-1]
                outcomes.add(type(error).__name__)
            except Exception as error:
                pytest.fail(f"{answers[-1]!r} led to {error!r}")
            client.close()
    assert {"taken", "ProtocolError", "ConnectionLost"} <= outcomes


# ---- A limit holds for the whole attempt ----

def slowly(*before, of=b"x"):
    """Sends `before`, then single bytes for longer than any test waits, then the rest of a good
    answer."""

    def step(server, connection):
        read_request(server, connection)
        connection.sendall(b"".join(before))
        for _ in range(1500):
            connection.sendall(of)
            time.sleep(0.02)
        server.patient = True

    return step


@pytest.mark.parametrize("step", [
    slowly(b"HTTP/1.1 200 O"), slowly(b"HTTP/1.1 200 OK\r\nX: "), slowly(b"", of=b"HTTP/1.1 100 Continue\r\n\r\n"),
    slowly(head("Content-Length: 100000", body=b"")),
    slowly(head("Inference-Header-Content-Length: 9000", "Content-Length: 100000", body=b"")), slowly(WELL[:-1], of=b""),
    slowly(head("Transfer-Encoding: chunked", body=b""), of=b"1\r\n \r\n"), slowly(head(body=b""), of=b" "),
    slowly(b"HTTP/1.1 503 x\r\nContent-Length: 100000\r\n\r\n")],
    ids=["status line", "header", "provisional", "body", "JSON", "tensor", "chunks", "to the end", "error"])
def test_a_byte_every_now_and_then_does_not_put_the_limit_off(step):
    with Breaking(step) as server:
        server.patient = False
        with pytest.raises(rankd.RequestTimeout, match="0.3 s"):
            rankd.connect(server.url, timeout=0.3, retry_for=5).loss("ap", *GOOD)
        assert not server.patient and server.connections == 1


def test_a_daemon_that_does_not_read_is_a_timeout_too():
    release = threading.Event()

    def step(server, connection):
        while not release.is_set() and connection.recv(1000):  # slower than the request is long
            time.sleep(0.02)

    try:
        with Breaking(step) as server:
            with pytest.raises(rankd.RequestTimeout, match="0.5 s"):
                rankd.connect(server.url, timeout=0.5, retry_for=5).loss("ap", np.zeros((64, 1 << 18), np.float32),
                                                                         np.zeros((64, 1 << 18), np.int8))
    finally:
        release.set()


@pytest.mark.parametrize("token", ["a\r\nX: b", "ä", "\0"])
def test_a_token_that_would_end_its_line_is_refused(token):
    with pytest.raises(ValueError, match="token has characters"):
        rankd.connect("http://localhost", token)


@pytest.mark.parametrize("method, path", [("GET", "/v2 HTTP/1.1\r\nX: y"), ("GET", "v2"), ("GE T", "/v2"), ("GET", "/ä"),
                                          ("", "/v2"), ("GET", "/v2\n")])
def test_a_path_that_would_be_another_request_never_leaves_the_client(method, path):
    with Breaking(answering(WELL)) as server:
        with pytest.raises(rankd.InvalidRequest, match="is not a method and a path"):
            rankd.connect(server.url, retry_for=0).control(method, path)
        assert server.connections == 0
