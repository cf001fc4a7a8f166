# SPDX-License-Identifier: Apache-2.0
"""Health and metrics are answered with any number of connections, and a stop waits only for
complete requests."""
import json
import signal
import socket
import subprocess
import threading
import time

import pytest

from conftest import BUILD
from support_http import GOOD, INFER, ask, connect, infer, metric, read, request, slow

PATHS = ("/v2/health/live", "/v2/health/ready", "/metrics")


def half(daemon):
    """A connection on which the beginning of a request was sent."""
    s = connect(daemon)
    s.sendall(request("POST", INFER, GOOD)[:-5])
    return s


def is_closed(s, timeout=10):
    """Whether the peer closes, after data that it sent before."""
    s.settimeout(timeout)
    try:
        while s.recv(4096):
            continue
        return True
    except ConnectionResetError:
        return True


def wait_for(condition, seconds=20):
    until = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < until
        time.sleep(0.02)


def assert_watched(daemon):
    """Health and metrics answer, each within a second or so."""
    for path in PATHS:
        with connect(daemon, timeout=10) as s:
            s.sendall(request("GET", path))
            answer = read(s)
            assert answer is not None and answer.status == 200, path


def close_all(clients):
    for s in clients:
        s.close()


def test_the_longest_idle_connection_makes_room(make_daemon):
    daemon = make_daemon("--connections", 8)
    idle = [connect(daemon) for _ in range(8)]
    idle[0].sendall(request("GET", "/v2"))  # so that it became idle last
    assert read(idle[0]).status == 200
    with connect(daemon) as ninth:
        ninth.sendall(request("POST", INFER, GOOD))
        assert read(ninth).status == 200
        assert is_closed(idle[1])
        for s in (idle[0], *idle[2:]):
            s.sendall(request("POST", INFER, GOOD))
            assert read(s).status == 200
    close_all(idle)


def test_where_nobody_is_idle_only_health_and_metrics_get_through(make_daemon):
    daemon = make_daemon("--connections", 8)
    busy = [half(daemon) for _ in range(8)]
    wait_for(lambda: metric(daemon, "rankd_requests_in_flight") == 8)
    assert_watched(daemon)
    with connect(daemon) as s:
        s.sendall(request("POST", INFER, GOOD))
        answer = read(s)
        assert answer.status == 503 and "--connections" in answer.error and int(answer.headers["retry-after"]) >= 1
        assert answer.headers["connection"] == "close" and is_closed(s)
    for s in busy:  # none of them was disturbed
        s.sendall(request("POST", INFER, GOOD)[-5:])
        assert read(s).status == 200
    assert infer(daemon).status == 200
    close_all(busy)


@pytest.mark.parametrize("sent", [b"", b"GET / HT", request("POST", INFER, GOOD)[:-5]], ids=["nothing", "a header", "a body"])
def test_a_crowd_does_not_keep_health_from_being_answered(make_daemon, sent):
    daemon = make_daemon("--connections", 8)
    crowd = [half(daemon) for _ in range(8)]
    for round_ in range(3):
        for _ in range(60):
            crowd.append(connect(daemon))
            crowd[-1].sendall(sent)
        assert_watched(daemon)
    close_all(crowd)
    wait_for(lambda: infer(daemon).status == 200)


def test_few_descriptors_are_told_of_and_do_not_keep_health_from_being_answered(make_daemon):
    daemon = make_daemon(wrapper=["prlimit", "--nofile=64:64"])
    found = daemon.wait_for_log(r"connections is 1024, but the process may have 64 descriptors \(ulimit -n\): (\d+) connections")
    assert 10 < int(found[1]) < 64
    crowd = [connect(daemon) for _ in range(200)]
    assert_watched(daemon)
    assert infer(daemon).status == 200
    close_all(crowd)


def test_the_soft_limit_of_descriptors_is_raised(make_daemon):
    daemon = make_daemon(wrapper=["prlimit", "--nofile=64:4096"])
    assert metric(daemon, "process_max_fds") == 4096
    assert "ulimit" not in daemon.log_text()


def test_descriptors_that_others_took_come_back_from_idle_connections(make_daemon, tmp_path):
    """The ring's clients and the banks share them: libmicrohttpd then stops accepting until a
    connection ends."""
    daemon = make_daemon("--data", tmp_path / "data", "--header-timeout", "200ms", wrapper=["prlimit", "--nofile=96:96"])
    for i in range(30):  # some descriptors each
        assert ask(daemon, "PUT", f"/v2/banks/b{i}", {"kind": "scores", "lists": 1, "capacity": 10}).status in (200, 500)
    crowd = [connect(daemon) for _ in range(100)]
    assert_watched(daemon)
    close_all(crowd)


def test_a_stop_does_not_wait_for_a_request_that_was_sent_in_part(make_daemon):
    daemon = make_daemon()  # whose --drain-timeout is 30 s
    parts = {"header": b"POST /v2/models", "body": request("POST", INFER, GOOD)[:-5]}
    clients = {name: connect(daemon) for name in parts}
    for name, s in clients.items():
        s.sendall(parts[name])
    wait_for(lambda: metric(daemon, "rankd_requests_in_flight") == 1)
    begun = time.monotonic()
    daemon.signal(signal.SIGTERM)
    answer = read(clients["body"])
    assert answer.status == 503 and "shutting down" in answer.error and answer.headers["connection"] == "close"
    assert daemon.wait(20) == 0
    assert time.monotonic() - begun < 15
    assert all(is_closed(s) for s in clients.values())
    close_all(clients.values())


def test_a_stop_waits_for_what_was_received_whole_though_others_come_in_parts(make_daemon):
    daemon = make_daemon("--workers", 1)
    box, stuck = [], half(daemon)
    body = json.dumps(slow()).encode()
    threads = [threading.Thread(target=lambda: box.append(infer(daemon, body))) for _ in range(2)]
    for t in threads:
        t.start()
    wait_for(lambda: metric(daemon, "rankd_workers_busy") + metric(daemon, "rankd_queue_waiting") == 2)
    daemon.signal(signal.SIGTERM)
    daemon.wait_for_log("draining")
    assert daemon.wait() == 0
    for t in threads:
        t.join()
    assert [a.status for a in box] == [200, 200]
    stuck.close()


def test_a_daemon_that_nobody_could_reach_is_refused():
    for flags in ([], ["--check-config"]):
        done = subprocess.run([BUILD / "rankd", "--http", "off", "--socket", "off", *flags], capture_output=True, text=True,
                              timeout=20)
        assert done.returncode == 2 and "http and socket are both off" in done.stderr


def test_while_it_starts_it_says_so(tmp_path):
    """The ring starts last, and waits up to a second for a socket that another daemon still
    has."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as other, socket.socket() as probe:
        other.bind(str(tmp_path / "ring"))
        other.listen(1)
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
        probe.close()
        process = subprocess.Popen([BUILD / "rankd", "--http", f"127.0.0.1:{port}", "--socket", tmp_path / "ring"],
                                   stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        process.host, process.port = "127.0.0.1", port
        answers = {}
        while len(answers) < 3 and process.poll() is None:
            try:
                for name, call in {"ready": lambda: ask(process, "GET", "/v2/health/ready"),
                                   "live": lambda: ask(process, "GET", "/v2/health/live"),
                                   "infer": lambda: infer(process)}.items():
                    answers.setdefault(name, call())
            except OSError:
                time.sleep(0.005)
        process.communicate(timeout=20)
    assert answers["live"].status == 200
    assert answers["ready"].status == 400 and "is starting" in answers["ready"].error
    assert answers["infer"].status == 503 and "is starting" in answers["infer"].error
    assert int(answers["infer"].headers["retry-after"]) >= 1
