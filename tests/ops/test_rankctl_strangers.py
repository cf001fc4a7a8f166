# SPDX-License-Identifier: Apache-2.0
"""rankctl with a server that is not rankd: one sentence, exit status 1, and an end within
--timeout."""
import json
import os
import socket
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

ROOT = Path(__file__).resolve().parents[2]
BUILD = Path(os.environ.get("RANKD_BUILD", ROOT / "build")).resolve()
sys.path.append(str(ROOT / "tests/python"))

from support import Breaking, answering, http, read_request  # noqa: E402


def rankctl(*arguments):
    env = {k: v for k, v in os.environ.items() if not k.startswith("RANKD_")}
    return subprocess.run([BUILD / "rankctl", *map(str, arguments)], env=env, capture_output=True, text=True, timeout=60)


@pytest.fixture
def files(tmp_path):
    np.save(tmp_path / "scores.npy", np.array([[0.9, 0.8, 0.7, 0.6]], np.float32))
    np.save(tmp_path / "targets.npy", np.array([[0, 1, 0, 1]], np.int8))
    return [tmp_path / "scores.npy", tmp_path / "targets.npy"]


def slowly(server, connection):
    """Sends single bytes for longer than any of these tests waits."""
    server.patient = False
    read_request(server, connection)
    connection.sendall(b"HTTP/1.1 200 OK\r\nX: ")
    for _ in range(1000):
        connection.sendall(b"x")
        time.sleep(0.02)
    server.patient = True


@pytest.mark.parametrize("command", [["loss"], ["bench", "--items", 10, "--relevant", 1, "--duration", 30], ["banks"],
                                     ["checkpoint", "list", "b"],
                                     ["status", "--once"]], ids=lambda c: c[0])
def test_a_server_that_never_ends_is_left_in_time(files, command):
    with Breaking(slowly) as server:
        done = rankctl(*command, *(files if command == ["loss"] else []), "--timeout", 0.4, "--url", server.url)
        assert done.returncode == 1 and len(done.stderr.splitlines()) == 1 and done.stderr.startswith("rankctl: "), done.stderr
        assert not server.patient
        assert command[0] not in ("banks", "checkpoint") or ("timed out after" in done.stderr
                                                             and "--timeout" in done.stderr), done.stderr


@pytest.mark.parametrize(("answer", "told"), [
    (b"SSH-2.0-OpenSSH_9\r\n", "really a rankd"), (b"HTTP/9.9 200 OK\r\n\r\n", "really a rankd"),
    (b"HTTP/1.1 200 OK\r\nContent-Length: abc\r\n\r\n", "Content-Length"),
    (b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n[]", "remaining")])
def test_what_is_wrong_with_an_answer_is_told(answer, told):
    def send(server, connection):
        read_request(server, connection)
        connection.sendall(answer)

    with Breaking(send) as server:
        done = rankctl("banks", "--url", server.url)
    assert done.returncode == 1 and len(done.stderr.splitlines()) == 1 and told in done.stderr, done.stderr


def test_doctor_leaves_it_too_and_a_socket_that_takes_nobody(tmp_path):
    with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as listener, Breaking(slowly) as server:
        listener.bind(str(tmp_path / "full"))
        listener.listen(0)
        waiting = [socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) for _ in range(3)]
        for one in waiting:
            one.setblocking(False)
            one.connect_ex(str(tmp_path / "full"))
        done = rankctl("doctor", "--timeout", 0.4, "--url", server.url, "--socket", tmp_path / "full")
        [one.close() for one in waiting]
    assert done.returncode == 1 and "another program answers" in done.stdout and "no program takes the connection" in done.stdout, done.stdout


@pytest.mark.parametrize("seconds", ["0", "-1", "nan", "inf", "x", "1e9"])
def test_a_limit_that_is_none_is_refused(seconds):
    done = rankctl("banks", "--timeout", seconds)
    assert done.returncode == 2 and f"--timeout is '{seconds}'" in done.stderr


@pytest.mark.parametrize("body", [b"{}", b"3", b"[1]", b'["a"]', b"[" * 100_000, b"\xff", b"[]\0", b"nothing", b'[{"name":'])
@pytest.mark.parametrize("command", [["banks"], ["checkpoint", "list", "b"]], ids=lambda c: c[0])
def test_a_list_that_is_none_is_one_sentence(command, body):
    with Breaking(answering(http(200, body))) as server:
        done = rankctl(*command, "--url", server.url)
    assert done.returncode == 1 and len(done.stderr.splitlines()) == 1 and done.stdout == "", done


def test_entries_of_other_types_are_shown_as_unknown():
    with Breaking(answering(http(200, b'[{"name":3,"kind":[],"items":"x"},{}]'))) as server:
        done = rankctl("banks", "--url", server.url)
    assert done.returncode == 0 and done.stdout.splitlines()[1].split()[0] == "?"


METRICS = [b"", b"rankd_requests_total", b'rankd_requests_total{model="a', b"# only\n",
           b'rankd_requests_total{model="ap",transport="x"} nan\n' * 3, b'rankd_request_seconds_bucket{model="ap",le="nan"} '
                                                                        b'1e999\nrankd_requests_total{model="ap"} 5\n', b"{} 1\n",
                                                                        b"x" * 1_000_000, b'a{b=c\\'] + [
    b"".join(b'rankd_requests_total{model="%d",transport="d%d"} 1\nrankd_request_seconds_bucket{model="0",le="%d"} 1\n' % (i, i,
        i) for i in range(300))]


@pytest.mark.parametrize("page", METRICS, ids=range(len(METRICS)))
def test_metrics_of_a_stranger_are_shown_or_refused(page):
    with Breaking(answering(*[http(200, page)] * 2, http(200, b'[{"name":{}}]'))) as server:
        done = rankctl("status", "--once", "--interval", 0.1, "--url", server.url)
    assert done.returncode in (0, 1) and "Sanitizer" not in done.stderr, done.stderr


@pytest.mark.parametrize("shape", [[4], [4, 1], [2, 4], [1, 5]])
def test_a_gradient_of_another_shape_is_not_written(files, tmp_path, shape):
    size = 4 * int(np.prod(shape))
    outputs = [("loss", [1], 4), ("list_loss", [1], 4), ("gradient", shape, size)]
    head = json.dumps({"outputs": [{"name": name, "shape": of, "datatype": "FP32", "parameters": {"binary_data_size": n}}
                                   for name, of, n in outputs]}).encode()
    with Breaking(answering(http(200, head + bytes(8 + size), Inference_Header_Content_Length=len(head)))) as server:
        done = rankctl("loss", *files, "--gradient", tmp_path / "g.npy", "--url", server.url)
    assert done.returncode == 1 and "gradient has not the shape" in done.stderr and not (tmp_path / "g.npy").exists(), done.stderr
