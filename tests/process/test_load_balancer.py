# SPDX-License-Identifier: Apache-2.0
"""A stop that load balancers notice first, and HAProxy in front of three daemons, two of which
end."""
import os
import signal
import socket
import subprocess
import threading
import time
from pathlib import Path

import numpy as np
import pytest
from support_http import ask

import rankd
from ring_support import Raw

ROOT = Path(__file__).resolve().parents[2]
SCORES = np.array([[0.9, 0.8, 0.7, 0.6]], np.float32)
TARGETS = np.array([[0, 1, 0, 1]], np.int8)
GRADIENT = [[0.25, -0.25, 0.25, -0.25]]


def infer(client):
    return client.loss("ap", SCORES, TARGETS, margin=0.0, lambda_val=1.0).gradient.tolist()


def test_during_the_shutdown_delay_requests_are_taken_and_readiness_says_no(make_daemon, tmp_path):
    ring = tmp_path / "ring"
    daemon = make_daemon("--shutdown-delay", "10min", "--socket", ring)
    with rankd.connect(daemon.url, retry_for=0) as before:
        assert infer(before) == GRADIENT and before.ready()
        daemon.signal(signal.SIGTERM)
        daemon.wait_for_log("requests are taken for 600.0 s, or until a second signal")
        answer = ask(daemon, "GET", "/v2/health/ready")
        assert answer.status == 400 and "about to shut down" in answer.error
        assert ask(daemon, "GET", "/v2/health/live").status == 200
        assert ask(daemon, "GET", "/v2").headers["connection"] == "close"  # so that the next request goes elsewhere
        daemon.signal(signal.SIGHUP)
        daemon.wait_for_log("tokens were read again")
        with rankd.connect(daemon.url, retry_for=0) as after, Raw(str(ring)) as raw:
            assert infer(before) == infer(after) == GRADIENT
            assert raw.call("GET", "/v2/health/ready")[0] == 400 and raw.call("GET", "/v2")[0] == 200
        assert "draining" not in daemon.log_text()
    daemon.signal(signal.SIGTERM)
    assert daemon.wait(60) == 0
    assert "draining" in daemon.log_text()


def test_the_shutdown_delay_ends_by_itself(make_daemon):
    daemon = make_daemon("--shutdown-delay", "500ms")
    begun = time.monotonic()
    assert daemon.stop() == 0 and time.monotonic() - begun >= 0.5
    assert daemon.log_text().index("requests are taken for 0.5 s") < daemon.log_text().index("draining")


def test_the_service_manager_waits_for_the_delay(make_daemon, tmp_path):
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        manager.bind(str(tmp_path / "notify"))
        manager.settimeout(20)
        daemon = make_daemon("--shutdown-delay", "100ms", "--drain-timeout", "2s",
                             env={"NOTIFY_SOCKET": str(tmp_path / "notify")})
        assert manager.recv(100) == b"READY=1"
        assert daemon.stop() == 0
        assert manager.recv(100) == b"STOPPING=1\nEXTEND_TIMEOUT_USEC=7100000"


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


@pytest.fixture
def balanced(make_daemon, tmp_path):
    """HAProxy with the published configuration in front of three daemons: its URL and the
    daemons."""
    daemons = [make_daemon("--shutdown-delay", "2s") for _ in range(3)]
    port = free_port()
    environment = dict(os.environ, RANKD_BIND=f"127.0.0.1:{port}",
                       **{f"RANKD_{name}": f"127.0.0.1:{daemon.port}" for name, daemon in zip("ABC", daemons)})
    with open(tmp_path / "haproxy.log", "wb") as log:
        proxy = subprocess.Popen(["/usr/sbin/haproxy", "-db", "-f", ROOT / "deploy/haproxy/rankd.cfg"], env=environment,
                                 stdout=log, stderr=subprocess.STDOUT)
    until = time.monotonic() + 30
    with rankd.connect(f"http://127.0.0.1:{port}") as client:
        while not client.ready():
            assert time.monotonic() < until and proxy.poll() is None, (tmp_path / "haproxy.log").read_text()
            time.sleep(0.02)
    yield f"http://127.0.0.1:{port}", daemons
    proxy.terminate()
    proxy.wait(30)
    for daemon in daemons:
        if daemon.process.returncode is None:
            daemon.signal(signal.SIGTERM)  # and a second one when the test ends, which ends the delay
            daemon.wait_for_log("requests are taken")


class Load(threading.Thread):
    """Requests one after another; small ones, and ones that are too large for the proxy to keep and
    send again."""

    def __init__(self, url, retry_for, large):
        super().__init__()
        self.client, self.ending, self.answers, self.error = rankd.connect(url, retry_for=retry_for), threading.Event(), 0, None
        make = np.random.default_rng(1)
        self.scores = make.random((64, 256), np.float32) if large else SCORES
        self.targets = (make.random((64, 256)) < 0.05).astype(np.int8) if large else TARGETS
        self.expected = None

    def run(self):
        try:
            while not self.ending.is_set():
                found = self.client.loss("ap", self.scores, self.targets, margin=0.0, lambda_val=1.0).gradient
                self.expected = found if self.expected is None else self.expected
                assert np.array_equal(found, self.expected)
                self.answers += 1
        except Exception as error:
            self.error = error

    def until(self, answers):
        end = time.monotonic() + 60
        while self.answers < answers and self.error is None:
            assert time.monotonic() < end, self.answers
            time.sleep(0.005)


def served(daemon):
    with rankd.connect(daemon.url) as client:
        return sum(int(model["inference_count"]) for model in client.stats())


def under_load(url, retry_for, act):
    """Runs `act` while others send requests; all of them have had answers before it and have
    answers after it."""
    loads = [Load(url, retry_for, large) for large in (False, True, False, True)]
    for load in loads:
        load.start()
    try:
        for load in loads:
            load.until(20)
        act()
        for load in loads:
            load.until(load.answers + 20)
    finally:
        for load in loads:
            load.ending.set()
        for load in loads:
            load.join(90)
    assert [load.error for load in loads] == [None] * 4


def test_no_request_is_lost_when_a_daemon_behind_a_load_balancer_is_killed_or_stopped(balanced):
    url, (killed, stopped, stays) = balanced
    under_load(url, 30, lambda: (served(killed) and killed.kill()))
    assert killed.process.returncode == -signal.SIGKILL

    def stop():
        assert served(stopped) > 0
        stopped.signal(signal.SIGTERM)
        assert stopped.wait() == 0

    under_load(url, 0, stop)  # without a retry of the client's
    assert served(stays) > 0
