# SPDX-License-Identifier: Apache-2.0
"""Memory: --budget-bytes bounds the real memory of the process, freed memory goes back to the
system, and a request that can never fit gets an error."""
import gzip
import json
import re
import time
from pathlib import Path

import pytest

from conftest import BUILD
from support_http import INFER, at_once, connect, infer, metric, read, request

MIB = 1 << 20
SANITIZED = b"__asan_init" in (BUILD / "rankd").read_bytes() or b"__tsan_init" in (BUILD / "rankd").read_bytes()


def bomb(objects):
    """JSON of which every 3 bytes take over 200 of heap."""
    return b'{"inputs":[' + b"{}," * objects + b"0]}"


def binary(model, count, *, reply_in_binary, sent=None):
    """A request with that many FP32 scores behind its JSON: (body, headers)."""
    head = json.dumps({"parameters": {"binary_data_output": reply_in_binary}, "inputs": [
        {"name": "scores", "shape": [1, count], "datatype": "FP32", "parameters": {"binary_data_size": 4 * count}}]}).encode()
    return head + bytes(4 * count if sent is None else sent), [f"Inference-Header-Content-Length: {len(head)}"]


def peak_kib(daemon):
    return int(re.search(r"VmHWM:\s+(\d+)", Path(f"/proc/{daemon.pid}/status").read_text())[1])


def eventually(condition, seconds=20):
    until = time.monotonic() + seconds
    while not condition() and time.monotonic() < until:
        time.sleep(0.05)
    assert condition()


@pytest.mark.parametrize("packed", [False, True], ids=["plain", "gzip"])
def test_resident_memory_stays_within_the_budget_and_comes_back(make_daemon, packed):
    budget = 256 * MIB
    daemon = make_daemon("--workers", 6, "--budget-bytes", budget)
    body = bomb(700_000)
    headers = ["Content-Encoding: gzip"] if packed else []
    body = gzip.compress(body, 1) if packed else body
    before = daemon.rss_kib()
    for _ in range(4):
        answers = at_once(12, lambda i: infer(daemon, body, headers))
        assert {a.status for a in answers} <= {400, 503}
    assert infer(daemon, body, headers).error == "input 0 has no name"
    assert metric(daemon, "rankd_budget_used_bytes") == 0
    if not SANITIZED:  # sanitizers keep freed memory
        assert peak_kib(daemon) < before + (budget + 48 * MIB) / 1024
        eventually(lambda: daemon.rss_kib() < before + 64 * MIB / 1024)
        assert metric(daemon, "rankd_heap_held_bytes") < 64 * MIB


def test_many_bodies_that_came_together_leave_nothing_behind(make_daemon):
    """Bodies of a size that the allocator keeps, held at the same time and freed in another
    order."""
    daemon = make_daemon("--budget-bytes", "512M")
    before = daemon.rss_kib()
    body, headers = binary("ap", 250_000, reply_in_binary=True, sent=900_000)  # nearly all of 1 MB
    clients = [connect(daemon) for _ in range(240)]
    for s in clients:
        s.sendall(request("POST", INFER, body, headers, length=len(body) + 100_000))
    eventually(lambda: metric(daemon, "rankd_budget_used_bytes") >= 240 * 900_000)
    for s in clients[::2] + clients[1::2]:
        s.close()
    eventually(lambda: metric(daemon, "rankd_budget_used_bytes") == 0)
    if not SANITIZED:
        eventually(lambda: daemon.rss_kib() < before + 64 * MIB / 1024)


def test_what_can_never_fit_is_413_with_a_sentence(make_daemon):
    daemon = make_daemon("--budget-bytes", "48M")
    too_large = {
        "JSON whose heap is too large": (bomb(500_000), []),
        "JSON that is packed": (gzip.compress(bomb(500_000), 1), ["Content-Encoding: gzip"]),
        "a reply whose text is too large": binary("rank", 900_000, reply_in_binary=False),
        "a body": (bytes(50 * MIB), ["Inference-Header-Content-Length: 2"]),
    }
    for case, (body, headers) in too_large.items():
        for _ in range(2):
            answer = infer(daemon, body, headers, path="/v2/models/rank/infer")
            assert answer.status == 413 and "--budget-bytes" in answer.error, (case, answer.error)
    answer = infer(daemon, gzip.compress(bytes(50 * MIB), 1), ["Content-Encoding: gzip", "Inference-Header-Content-Length: 2"])
    assert answer.status == 413 and "inflates to more than" in answer.error
    body, headers = binary("rank", 500_000, reply_in_binary=True)
    assert infer(daemon, body, headers, path="/v2/models/rank/infer").status == 200
    assert metric(daemon, "rankd_budget_used_bytes") == 0


def test_what_is_announced_reserves_nothing_before_it_comes(make_daemon):
    daemon = make_daemon("--budget-bytes", "64M")
    clients = [connect(daemon) for _ in range(520)]
    try:
        for s in clients:
            s.sendall(request("POST", INFER, b"{", length=2_000_000))
        eventually(lambda: metric(daemon, "rankd_requests_in_flight") == 520)
        assert 0 < metric(daemon, "rankd_budget_used_bytes") <= 520 * 65536
        assert infer(daemon).status == 200
    finally:
        for s in clients:
            s.close()


def test_of_two_that_grow_the_one_that_finds_no_room_makes_room_for_the_other(make_daemon):
    daemon = make_daemon("--budget-bytes", "64M")
    count = 10_000_000  # 40 MB
    body, headers = binary("ap", count, reply_in_binary=True)
    half = len(body) // 2 + 10 * MIB
    with connect(daemon) as first, connect(daemon) as second:
        first.sendall(request("POST", INFER, body[:half], headers, length=len(body)))
        eventually(lambda: metric(daemon, "rankd_budget_used_bytes") >= half)
        second.sendall(request("POST", INFER, body, headers))
        answer = read(second)
        assert answer.status == 503 and "not free now" in answer.error and int(answer.headers["retry-after"]) >= 1
        assert metric(daemon, "rankd_rejected_total", reason="budget") == 1
        assert metric(daemon, "rankd_budget_used_bytes") < half + MIB
        first.sendall(body[half:])
        assert read(first).status in (400, 413)  # it was read completely, and is wrong for another reason
    assert metric(daemon, "rankd_budget_used_bytes") == 0


def test_numbers_in_json_take_their_text_and_their_tensor(make_daemon):
    """Beside 10 MB of text 2 MB of scores: a value of Jansson's for each would take 40 MB more."""
    daemon = make_daemon("--budget-bytes", "64M")
    count = 500_000
    scores = b"[" + b",".join([b"0.51182161762768"] * count) + b"]"
    body = (b'{"inputs":[{"name":"scores","datatype":"FP32","shape":[1,%d],"data":%s},{"name":"targets","datatype":"INT8",'
            b'"shape":[1,%d],"data":[1%s]}],"outputs":[{"name":"loss"}]}' % (count, scores, count, b",0" * (count - 1)))
    for _ in range(3):
        answer = infer(daemon, body)
        assert answer.status == 200, answer.error
        assert infer(daemon, body.replace(b"[1,0,0", b"[2,0,x")).status == 400
    assert metric(daemon, "rankd_budget_used_bytes") == 0
