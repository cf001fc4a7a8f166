# SPDX-License-Identifier: Apache-2.0
"""Input that libmicrohttpd accepts is refused, and many bad requests leave memory and descriptors
unchanged."""
import json
import os
import random

import pytest

from support_http import GOOD, INFER, connect, infer, read, request

BODY = json.dumps(GOOD).encode()


def raw(*lines, end=b"\r\n"):
    return end.join([*lines, b"", b""])


LINE = f"POST {INFER} HTTP/1.1".encode()
HOST, LENGTH = b"Host: localhost", b"Content-Length: %d" % len(BODY)
SMUGGLED = {
    "two lengths that differ": (raw(LINE, HOST, LENGTH, b"Content-Length: 1"), ["Content-Length"]),
    "two lengths that agree": (raw(LINE, HOST, LENGTH, LENGTH), ["Content-Length"]),
    "length and chunks": (raw(LINE, HOST, LENGTH, b"Transfer-Encoding: chunked"), ["Transfer-Encoding"]),
    "NUL in a value": (raw(LINE, HOST, b"X-A: b\0c", LENGTH), ["NUL"]),
    "NUL in the last value": (raw(LINE, HOST, LENGTH, b"X-A: b\0c"), ["NUL"]),
    "line feeds alone": (raw(LINE, HOST, LENGTH, end=b"\n"), ["CR LF"]),
    "one line feed alone": (LINE + b"\r\n" + HOST + b"\n" + LENGTH + b"\r\n\r\n", ["CR LF"]),
    "a bare line feed after the request line": (LINE + b"\n" + HOST + b"\r\n" + LENGTH + b"\r\n\r\n", ["CR LF"]),
    "a bare line feed at the end": (LINE + b"\r\n" + HOST + b"\r\n" + LENGTH + b"\r\n\n", ["CR LF"]),
}


@pytest.mark.parametrize("case", SMUGGLED)
def test_a_header_that_two_readers_would_read_differently_is_refused_and_closed(daemon, case):
    head, words = SMUGGLED[case]
    with connect(daemon) as s:
        s.sendall(head + BODY)
        answer = read(s)
        assert answer is not None and answer.status == 400, case
        assert all(word in answer.error for word in words), answer.error
        assert answer.headers["connection"] == "close"
        assert read(s) is None


@pytest.mark.parametrize("head", [
    raw(LINE, HOST, LENGTH), raw(LINE, b"Host:localhost", b"content-length:%d" % len(BODY)),
    raw(LINE, b"Host:   localhost", b"X-Empty:", b"X-Tab:\tx", LENGTH), raw(LINE, b"Cookie: a=b; c=d", HOST, LENGTH),
    raw(LINE, HOST, *(b"X-%d: %s" % (i, b"y" * i) for i in range(60)), LENGTH), raw(LINE, HOST, LENGTH, b"X-Last: a b  c"),
])
def test_headers_that_are_fine_pass(daemon, head):
    with connect(daemon) as s:
        for _ in range(2):
            s.sendall(head + BODY)
            assert read(s).status == 200


def bad(random_):
    """One bad request as bytes: a good one with a part cut, doubled, flipped or replaced."""
    kind = random_.randrange(5)
    if kind == 0:
        body = bytearray(BODY)
        for _ in range(random_.randrange(1, 8)):
            body[random_.randrange(len(body))] = random_.randrange(256)
        return request("POST", INFER, bytes(body))
    if kind == 1:
        return request("POST", INFER, BODY[: random_.randrange(len(BODY))])
    if kind == 2:
        document = json.loads(BODY)
        value = random_.choice([None, -1, 2**63, 1e308, "", "x" * 1000, [], {}, [[[]]], True])
        document["inputs"][random_.randrange(2)][random_.choice(["name", "shape", "datatype", "data", "parameters"])] = value
        return request("POST", INFER, document)
    if kind == 3:
        size = random_.randrange(-3, 200)
        return request("POST", INFER, BODY + os.urandom(3), [f"Inference-Header-Content-Length: {size}"])
    return request("POST", INFER, random_.randbytes(random_.randrange(200)),
                   [f"Content-Encoding: {random_.choice(['gzip', 'deflate', 'br'])}"])


def storm(daemon, count, seed):
    random_ = random.Random(seed)
    s = connect(daemon)
    for _ in range(count):
        message = bad(random_)
        s.sendall(message)
        answer = read(s)
        assert answer is not None and answer.status in (200, 400, 413, 415, 501), message
        if answer.status != 200:
            assert len(answer.error) > 10
        if answer.headers.get("connection") == "close":
            s.close()
            s = connect(daemon)
    s.close()


def test_a_storm_of_bad_input_leaves_memory_and_descriptors_as_they_were(daemon):
    count = int(os.environ.get("RANKD_STORM", "3000"))
    storm(daemon, 2000, seed=1)
    fds, rss = daemon.fds(), daemon.rss_kib()
    storm(daemon, count, seed=2)
    assert daemon.fds() <= fds + 1
    assert daemon.rss_kib() < rss * 1.1 + 4096
    assert infer(daemon).status == 200
