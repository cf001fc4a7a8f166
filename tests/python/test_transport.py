# SPDX-License-Identifier: Apache-2.0
"""Broken connections, restarts and overload: which requests are repeated, for how long, and which
must not be."""
import json
import os
import socket
import subprocess
import sys
import threading
import time

import numpy as np
import pytest

import rankd
from support import Breaking, answering, http, read_request, resetting

GOOD = ([[0.3, 0.2, 0.1]], [[0, 1, 0]])
EMBEDDINGS = {"embeddings": np.eye(4, dtype=np.float32), "labels": [0, 0, 1, 1]}
METADATA = http(200, b'{"name":"rankd"}')


def infer_reply(shape=(1, 3)):
    gradient = np.arange(1, np.prod(shape) + 1, dtype=np.float32)
    head = json.dumps({"model_name": "ap", "model_version": "1", "parameters": {"lists": 1}, "outputs": [
        {"name": "loss", "shape": [1], "datatype": "FP32", "parameters": {"binary_data_size": 4}},
        {"name": "gradient", "shape": shape, "datatype": "FP32", "parameters": {"binary_data_size": gradient.nbytes}}]}).encode()
    return http(200, head + np.float32([0.5]).tobytes() + gradient.tobytes(), Inference_Header_Content_Length=len(head))


def cut(reply, at):
    """Sends the first bytes of a reply and hangs up."""

    def step(server, connection):
        read_request(server, connection)
        connection.sendall(reply[:at])

    return step


def body_of(request):
    head, _, body = request.partition(b"\r\n\r\n")
    length = next(int(line.split(b":")[1]) for line in head.split(b"\r\n") if line.startswith(b"Inference-Header"))
    return json.loads(body[:length])


def inferences(server):
    return [request for request in server.requests if request.startswith(b"POST")]


@pytest.mark.parametrize("at", [0, 10, 60, -17, -12, -1])
def test_a_reply_that_breaks_off_anywhere_is_asked_for_again(at):
    with Breaking(cut(infer_reply(), at), answering(infer_reply())) as server:
        result = rankd.connect(server.url, retry_for=5).loss("ap", *GOOD)
        assert result.loss == 0.5 and result.gradient.tolist() == [[1, 2, 3]] and len(inferences(server)) == 2


def test_a_reset_is_asked_again_and_without_patience_raised():
    with Breaking(resetting, answering(infer_reply())) as server:
        assert rankd.connect(server.url, retry_for=5).loss("ap", *GOOD).loss == 0.5
    with Breaking(resetting) as server:
        with pytest.raises(rankd.ConnectionLost, match="/v2/models/ap/infer"):
            rankd.connect(server.url, retry_for=0).loss("ap", *GOOD)
        assert server.connections == 1


def test_a_repeated_enqueue_bears_the_same_batch_id():
    def losing_two(server, connection):
        # Between two attempts the client asks for the uptime of the daemon.
        while read_request(server, connection):
            if server.requests[-1].startswith(b"GET"):
                connection.sendall(METADATA)
            elif len(inferences(server)) < 3:
                connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
                return
            else:
                connection.sendall(infer_reply((4, 4)))

    with Breaking(*[losing_two] * 10) as server:
        result = rankd.connect(server.url, retry_for=5).loss("ap", **EMBEDDINGS, bank="b")
        ids = [body_of(request)["parameters"]["batch_id"] for request in inferences(server)]
    assert len(ids) == 3 and set(ids) == {result.batch_id} and len(result.batch_id) >= 16


def test_two_enqueues_never_share_a_batch_id():
    with Breaking(answering(*[infer_reply((4, 4))] * 50)) as server:
        client = rankd.connect(server.url)
        assert len({client.loss("ap", **EMBEDDINGS, bank="b").batch_id for _ in range(50)}) == 50


def test_what_changes_a_bank_is_not_repeated_once_it_was_sent():
    for change in (lambda c: c.banks.clear("b"), lambda c: c.banks.delete("b"), lambda c: c.banks.checkpoint("b", "t"),
                   lambda c: c.banks.restore("b", "t")):
        with Breaking(resetting) as server:
            with pytest.raises(rankd.ConnectionLost):
                change(rankd.connect(server.url, retry_for=5))
            assert server.connections == 1


def test_a_proxy_that_lost_its_daemon_is_asked_again_unless_that_would_change_a_bank_twice():
    lost = http(502, b"<html><body><h1>502 Bad Gateway</h1></body></html>", Connection="close")
    with Breaking(answering(lost), answering(METADATA, infer_reply())) as server:
        assert rankd.connect(server.url, retry_for=5).loss("ap", *GOOD).loss == 0.5 and len(inferences(server)) == 2
    with Breaking(answering(lost), answering(http(200))) as server:
        with pytest.raises(rankd.ConnectionLost, match="a proxy lost the daemon.*Bad Gateway"):
            rankd.connect(server.url, retry_for=5).banks.clear("b")
        assert len(server.requests) == 1


def test_503_is_waited_out_as_the_daemon_proposes():
    busy = http(503, b'{"error":"queue full"}', Retry_After="1")
    with Breaking(answering(busy, infer_reply())) as server:
        begun = time.monotonic()
        assert rankd.connect(server.url, retry_for=10).loss("ap", *GOOD).loss == 0.5
        assert time.monotonic() - begun >= 1


def test_503_that_asks_for_more_than_retry_for_is_raised_at_once():
    with Breaking(answering(http(503, b'{"error":"queue full"}', Retry_After="30"))) as server:
        with pytest.raises(rankd.Overloaded, match="queue full") as caught:
            rankd.connect(server.url, retry_for=2).loss("ap", *GOOD)
        assert caught.value.retry_after == 30 and server.connections == 1


def test_an_answer_that_says_no_is_not_asked_for_twice():
    for status in (400, 404, 409, 413, 500, 504, 507):
        with Breaking(answering(*[http(status, b'{"error":"no"}')] * 5)) as server:
            with pytest.raises(rankd.RankdError):
                rankd.connect(server.url, retry_for=5).loss("ap", *GOOD)
            assert len(server.requests) == 1


def test_a_connection_is_kept_and_a_dead_one_replaced_without_an_error():
    with Breaking(answering(METADATA, METADATA), answering(METADATA)) as server:
        client = rankd.connect(server.url, retry_for=0)
        client.metadata(), client.metadata()
        assert server.connections == 1
        time.sleep(0.1)  # the hang-up arrives
        client.metadata()
        assert server.connections == 2


def test_after_an_interrupted_reply_the_next_request_gets_its_own_answer(monkeypatch):
    with Breaking(answering(infer_reply(), infer_reply())) as server:
        client = rankd.connect(server.url, retry_for=0)
        import rankd.reply as way

        with monkeypatch.context() as patch:
            def interrupted(*_):
                raise KeyboardInterrupt

            patch.setattr(way, "_fill", interrupted)
            with pytest.raises(KeyboardInterrupt):
                client.loss("ap", *GOOD)
        assert client.loss("ap", *GOOD).gradient.tolist() == [[1, 2, 3]]
        assert server.connections == 2


def test_threads_have_connections_of_their_own(client):
    wrong = []

    def work(seed):
        rng = np.random.default_rng(seed)
        for _ in range(30):
            scores = rng.permutation(64).astype(np.float32)[None]
            if not np.array_equal(client.rank(scores)[0], 64 - scores[0].astype(int)):
                wrong.append(seed)

    threads = [threading.Thread(target=work, args=(seed,)) for seed in range(8)]
    [t.start() for t in threads], [t.join() for t in threads]
    assert not wrong


def test_a_forked_child_opens_its_own_connection_and_leaves_the_parents_alone(client):
    client.metadata()
    children = []
    for seed in range(4):
        pid = os.fork()
        if pid == 0:
            code = 1
            try:
                rng = np.random.default_rng(seed)
                scores = [rng.permutation(50).astype(np.float32)[None] for _ in range(20)]
                code = 0 if all(np.array_equal(client.rank(s)[0], 50 - s[0].astype(int)) for s in scores) else 2
            finally:
                os._exit(code)
        children.append(pid)
    for _ in range(20):
        scores = np.random.default_rng(9).permutation(70).astype(np.float32)[None]
        np.testing.assert_array_equal(client.rank(scores)[0], 70 - scores[0].astype(int))
    assert [os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) for pid in children] == [0] * 4


def test_a_daemon_killed_and_restarted_is_waited_for(mortal):
    with rankd.connect(mortal.url, timeout=20, retry_for=30) as client:
        expected = client.loss("ap", *GOOD).gradient
        mortal.kill()
        back = threading.Timer(0.7, mortal.start)
        back.start()
        np.testing.assert_array_equal(client.loss("ap", *GOOD).gradient, expected)
        back.join()


def test_a_daemon_that_stays_away_is_given_up_after_retry_for(mortal):
    with rankd.connect(mortal.url, retry_for=0.5) as client:
        client.loss("ap", *GOOD)
        mortal.kill()
        begun = time.monotonic()
        with pytest.raises(rankd.ConnectionFailed):
            client.loss("ap", *GOOD)
        assert time.monotonic() - begun < 20  # it does end


def test_requests_under_way_while_the_daemon_is_killed_over_and_over_all_come_back(mortal):
    scores = np.random.default_rng(3).standard_normal((64, 2000)).astype(np.float32)
    targets = (np.random.default_rng(4).random(scores.shape) < 0.01).astype(np.int8)
    with rankd.connect(mortal.url, timeout=20, retry_for=30) as client:
        expected = client.loss("ap", scores, targets).gradient
        stop, answers, errors = threading.Event(), [], []

        def train():
            try:
                while not stop.is_set():
                    answers.append(np.array_equal(client.loss("ap", scores, targets).gradient, expected))
            except Exception as error:
                errors.append(error)

        threads = [threading.Thread(target=train) for _ in range(2)]
        [t.start() for t in threads]
        for _ in range(5):
            time.sleep(0.2)
            mortal.kill()
            mortal.start()
        stop.set()
        [t.join() for t in threads]
        assert not errors and answers and all(answers)


DROPPED = """
import gc, multiprocessing, os, sys, threading
import rankd

def asked(url):
    client = rankd.connect(url)
    assert client.ready()
    return client

url = sys.argv[1]
asked(url)                                              # dropped at once
ring = [asked(url)]
ring.append(ring)                                       # as part of a cycle
del ring
gc.collect()
kept = asked(url)
thread = threading.Thread(target=lambda: kept.metadata())
thread.start(); thread.join()                           # with its thread
child = multiprocessing.get_context("fork").Process(target=lambda: kept.metadata())
child.start(); child.join()                             # in a child, that opened its own and inherited one
assert child.exitcode == 0 and kept.ready()
assert len([fd for fd in os.listdir("/proc/self/fd") if os.path.exists(f"/proc/self/fd/{fd}") and
            os.readlink(f"/proc/self/fd/{fd}").startswith("socket:")]) == 1, "sockets are left open"
"""


def test_connections_of_what_is_dropped_are_closed_without_a_warning(daemon):
    done = subprocess.run([sys.executable, "-X", "dev", "-W", "always::ResourceWarning", "-c", DROPPED, daemon.url],
                          capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    assert "ResourceWarning" not in done.stderr, done.stderr
