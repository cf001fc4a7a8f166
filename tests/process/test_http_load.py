# SPDX-License-Identifier: Apache-2.0
"""Load, deadlines, draining: no client keeps others from being served, and nothing grows without
bound."""
import json
import os
import signal
import socket
import subprocess
import threading
import time
from pathlib import Path

import pytest

from conftest import BUILD
from support_http import GOOD, INFER, Answer, ask, at_once, connect, infer, metric, read, request, slow

SLOW = json.dumps(slow()).encode()


def test_200_idle_connections_do_not_keep_the_next_from_being_served(daemon):
    idle = [connect(daemon) for _ in range(200)]
    try:
        assert infer(daemon).status == 200
        assert metric(daemon, "rankd_connections") >= 200
        for s in idle[::40]:
            s.sendall(request("POST", INFER, GOOD))
            assert read(s).status == 200
    finally:
        for s in idle:
            s.close()


def test_an_idle_connection_keeps_little_of_the_memory_for_its_requests(make_daemon):
    daemon = make_daemon()
    assert infer(daemon).status == 200
    before, idle = daemon.rss_kib(), [connect(daemon) for _ in range(200)]
    try:
        for s in idle:
            s.sendall(request("POST", INFER, GOOD))
            assert read(s).status == 200
        assert daemon.rss_kib() - before < 200 * 64  # libmicrohttpd alone would touch 128 KiB of each
    finally:
        for s in idle:
            s.close()


@pytest.mark.parametrize("threads", [1, 3])
def test_each_connection_gets_its_own_answers_from_one_thread_and_from_several(make_daemon, threads):
    daemon = make_daemon("--http-threads", threads, "--workers", 2)
    def body(i):  # the only relevant item is at rank i + 1 of 16, so the loss is 1 - 1 / (i + 1)
        return {"inputs": [{"name": "scores", "shape": [1, 16], "datatype": "FP32", "data": [16 - c for c in range(16)]},
                           {"name": "targets", "shape": [1, 16], "datatype": "INT8", "data": [int(c == i) for c in range(16)]}],
                "outputs": [{"name": "loss"}]}

    def ask_often(i):
        with connect(daemon) as s:
            losses = []
            for turn in range(40):
                s.sendall(request("POST", INFER, body((i + turn) % 16)))
                losses.append(read(s).json()["outputs"][0]["data"][0])
            return losses == [pytest.approx(1 - 1 / ((i + turn) % 16 + 1)) for turn in range(40)]

    def serving():  # a thread takes its name after it has begun
        return sum(comm.read_text().startswith("MHD-") for comm in Path(f"/proc/{daemon.pid}/task").glob("*/comm"))

    assert all(at_once(24, ask_often))
    until = time.monotonic() + 20
    while serving() < threads and time.monotonic() < until:
        time.sleep(0.02)
    assert serving() == threads


def test_a_small_request_in_json_waits_for_no_worker(make_daemon):
    daemon = make_daemon("--workers", 1)
    running = [in_background(lambda: infer(daemon, SLOW)) for _ in range(6)]

    def unfinished():
        return metric(daemon, "rankd_workers_busy") + metric(daemon, "rankd_queue_waiting")

    while unfinished() < 6 and all(not box for _, box in running):
        time.sleep(0.002)
    passed = False  # set if the small one overtook, and no large one ended meanwhile
    while not passed and not all(box for _, box in running):
        before = unfinished()
        assert infer(daemon).status == 200
        passed = before > 1 and unfinished() == before
    assert passed
    for thread, box in running:
        thread.join()
        assert box[0].status == 200


def test_200_connections_in_the_middle_of_a_body_do_not_either(daemon):
    stuck = [connect(daemon) for _ in range(200)]
    try:
        for s in stuck:
            s.sendall(request("POST", INFER, b"{", length=1 << 20))
        assert infer(daemon).status == 200
    finally:
        for s in stuck:
            s.close()


def test_more_than_the_queue_holds_is_503_with_retry_after_and_health_still_answers(make_daemon):
    daemon = make_daemon("--workers", 1, "--queue-requests", 2)
    during = []

    def call(i):
        if i == 0:
            time.sleep(0.1)
            during.extend(ask(daemon, "GET", p).status for p in ("/v2/health/live", "/v2/health/ready", "/metrics"))
            return Answer(0, {}, b"")
        return infer(daemon, SLOW)

    answers = at_once(13, call)[1:]
    statuses = sorted(a.status for a in answers)
    assert set(statuses) == {200, 503} and statuses.count(200) >= 3, statuses
    refused = [a for a in answers if a.status == 503]
    assert all(int(a.headers["retry-after"]) >= 1 and "workers are busy" in a.error for a in refused)
    assert during == [200, 200, 200]
    assert metric(daemon, "rankd_rejected_total", reason="queue_full") == len(refused)
    assert infer(daemon).status == 200


def test_the_byte_budget_is_kept_and_given_back(make_daemon):
    daemon = make_daemon("--budget-bytes", "96M", "--workers", 2)  # enough for one of these
    answers = at_once(6, lambda i: infer(daemon, SLOW))
    assert {a.status for a in answers} <= {200, 503} and all("memory" in a.error for a in answers if a.status == 503)
    assert infer(daemon, SLOW).status == 200
    assert infer(daemon).status == 200
    assert metric(daemon, "rankd_budget_used_bytes") == 0


def test_a_deadline_that_passes_in_the_queue_is_504(make_daemon):
    daemon = make_daemon("--workers", 1, "--request-timeout", "5ms")
    answers = at_once(5, lambda i: infer(daemon, SLOW))
    assert {a.status for a in answers} == {504} and all("deadline" in a.error for a in answers)
    assert infer(daemon).status == 200


def test_a_request_may_ask_for_a_shorter_deadline(daemon):
    document = slow(512) | {"parameters": {"timeout": 1}}
    answer = infer(daemon, document)
    assert answer.status == 504 and "deadline" in answer.error
    assert infer(daemon, GOOD | {"parameters": {"timeout": 30_000_000}}).status == 200
    assert "timeout" in infer(daemon, GOOD | {"parameters": {"timeout": -1}}).error


def test_a_slow_reader_is_hung_up_on(make_daemon):
    daemon = make_daemon("--body-timeout", "500ms")
    n = 2_000_000
    scores = b"\x00" * (4 * n)
    header = json.dumps({"parameters": {"binary_data_output": True}, "inputs": [
        {"name": "scores", "shape": [1, n], "datatype": "FP32", "parameters": {"binary_data_size": 4 * n}}]}).encode()
    s = socket.socket()
    s.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    s.settimeout(30)
    s.connect((daemon.host, daemon.port))
    with s:
        s.sendall(request("POST", "/v2/models/rank/infer", header + scores, [f"Inference-Header-Content-Length: {len(header)}"]))
        assert s.recv(10)
        daemon_lets_go = threading.Event()

        def watch():
            while metric(daemon, "rankd_requests_in_flight") > 0:
                time.sleep(0.05)
            daemon_lets_go.set()

        threading.Thread(target=watch, daemon=True).start()
        assert daemon_lets_go.wait(20)


def in_background(call):
    box = []
    thread = threading.Thread(target=lambda: box.append(call()))
    thread.start()
    return thread, box


def test_sigterm_drains_what_runs_and_refuses_what_is_new(make_daemon):
    daemon = make_daemon("--workers", 1)
    with connect(daemon) as kept:
        kept.sendall(request("GET", "/v2/health/ready"))
        assert read(kept).status == 200
        running = [in_background(lambda: infer(daemon, SLOW)) for _ in range(3)]
        while metric(daemon, "rankd_workers_busy") + metric(daemon, "rankd_queue_waiting") < 3:  # all were received completely
            time.sleep(0.002)
        daemon.signal(signal.SIGTERM)
        daemon.wait_for_log("draining")
        kept.sendall(request("POST", INFER, GOOD))
        late = read(kept)
        assert late is None or (late.status == 503 and "shutting down" in late.error and late.headers["retry-after"])
    for thread, box in running:
        thread.join()
        assert box[0].status == 200
    assert daemon.wait() == 0
    with pytest.raises(OSError):
        connect(daemon)


def test_a_second_sigterm_does_not_wait(make_daemon):
    daemon = make_daemon("--workers", 1)
    running = [in_background(lambda: infer(daemon, SLOW)) for _ in range(12)]
    while metric(daemon, "rankd_requests_in_flight") < 12:
        time.sleep(0.002)
    daemon.signal(signal.SIGTERM)
    daemon.wait_for_log("draining")
    daemon.signal(signal.SIGTERM)
    assert daemon.wait() in (0, 1)
    for thread, box in running:
        thread.join()
    statuses = [box[0].status if box and box[0] else None for _, box in running]
    assert statuses.count(200) < 12, "it waited for all of them"


def test_a_client_that_goes_away_in_the_middle_costs_nothing(daemon):
    for cut in (10, 60, 200, 300):
        for _ in range(10):
            with connect(daemon) as s:
                s.sendall(request("POST", INFER, GOOD)[:cut])
    for _ in range(10):
        with connect(daemon) as s:
            s.sendall(request("POST", INFER, GOOD))  # gone before the answer
    until = time.monotonic() + 20
    while metric(daemon, "rankd_requests_in_flight") > 0 and time.monotonic() < until:
        time.sleep(0.02)
    assert metric(daemon, "rankd_requests_in_flight") == 0
    assert metric(daemon, "rankd_budget_used_bytes") == 0 and metric(daemon, "rankd_connections") <= 1
    assert infer(daemon).status == 200


def rankd(*flags, **env):
    return subprocess.run([BUILD / "rankd", *flags], capture_output=True, text=True, timeout=30, env=env)


def test_options_come_from_the_line_the_environment_and_a_file_in_that_order(tmp_path):
    file = tmp_path / "rankd.conf"
    file.write_text("# a comment\nworkers = 3\nqueue-requests = 33\nbody-bytes = 3M\n")
    shown = rankd("--config", str(file), "--workers=5", "--print-config", RANKD_WORKERS="4", RANKD_QUEUE_REQUESTS="44")
    assert shown.returncode == 0
    for line in ("workers = 5", "queue-requests = 44", "body-bytes = 3M", "json-bytes = 64M"):
        assert f"\n{line}\n" in shown.stdout
    again = tmp_path / "again.conf"
    again.write_text(shown.stdout)
    assert rankd("--config", str(again), "--print-config").stdout == shown.stdout


def test_lines_of_a_file_of_options_are_taken_whole(tmp_path):
    file = tmp_path / "rankd.conf"
    folder = "/" + "d" * 240
    file.write_text(f"# {'long ' * 60}; workers = 9\ndata = {folder}\nworkers = 3\n")
    shown = rankd("--config", str(file), "--print-config")
    assert shown.returncode == 0, shown.stderr
    assert f"\ndata = {folder}\n" in shown.stdout and "\nworkers = 3\n" in shown.stdout


def test_a_file_of_options_that_cannot_be_read_to_its_end_is_refused(tmp_path):
    os.mkfifo(tmp_path / "fifo")
    (tmp_path / "long").write_text("# a comment\n" * 100000)
    (tmp_path / "nul").write_bytes(b"workers = 3\n\0workers = 4\n")
    (tmp_path / "twice").write_text("workers = 3\nbanks = 2\nworkers = 3\n")
    (tmp_path / "broken").write_text("data = /one\n    /two\n")  # the reader takes an indented line for the value's next
    for name, words in (("fifo", "it must be a regular file"), (".", "it must be a regular file"), ("nul", "has a NUL byte"),
                        ("long", "which has more than 1048576 bytes"), ("twice", "twice: workers is set a second time"),
                        ("broken", "broken: data is set a second time")):
        done = rankd("--config", str(tmp_path / name), "--print-config")
        assert done.returncode == 2 and words in done.stderr and done.stderr.count("\n") == 1


@pytest.mark.parametrize("flags, words", [
    (["--workers", "many"], ["--workers", "many", "0 to 1024"]), (["--worker", "2"], ["worker", "workers"]),
    (["--body-bytes", "1T"], ["body-bytes", "1T"]), (["--log-level", "loud"], ["loud", "debug"]),
    (["--workers"], ["--workers"]), (["workers=2"], ["workers=2"]), (["--config", "/nothere"], ["/nothere"]),
    (["--http", "nothere"], ["http", "nothere", "127.0.0.1:8080"]), (["--http", "127.0.0.1:99999"], ["99999"]),
    (["--http", "0.0.0.0:0"], ["0.0.0.0", "insecure"]),
])
def test_a_wrong_option_is_a_sentence_and_exit_status_2(flags, words):
    done = rankd(*flags, "--check-config")
    assert done.returncode == 2 and done.stderr.count("\n") == 1
    assert all(word in done.stderr for word in words), done.stderr


def test_a_port_in_use_is_said(daemon):
    done = rankd("--http", f"{daemon.host}:{daemon.port}")
    assert done.returncode == 1 and str(daemon.port) in done.stderr and "in use" in done.stderr
