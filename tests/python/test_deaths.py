# SPDX-License-Identifier: Apache-2.0
"""A daemon that dies under a request: the first death counts as a restart, after the second one the
request is not sent again. After a mere loss of the connection the client retries until its
limit."""
import os
import pickle
import signal
import socket

import numpy as np
import pytest
from support import Breaking, library, read_request

import rankd
from rankd.retry import with_retries

os.environ.setdefault("RANKD_LIBRARY", str(library()))

GOOD = ([[0.3, 0.2, 0.1]], [[0, 1, 0]])
THIS = r"ap \(scores FP64 \[1, 3\], targets INT64 \[1, 3\]\)"


def relay(daemon, request):
    """The daemon's whole answer to a request."""
    with socket.create_connection((daemon.host, daemon.port), timeout=20) as upstream:
        upstream.sendall(request)
        data = b""
        while b"\r\n\r\n" not in data:
            data += upstream.recv(65536)
        head, _, body = data.partition(b"\r\n\r\n")
        length = next(int(line.split(b":")[1]) for line in head.split(b"\r\n") if line.lower().startswith(b"content-length:"))
        while len(body) < length:
            body += upstream.recv(65536)
        return head + b"\r\n\r\n" + body


class Proxy(Breaking):
    """Passes requests on to the daemon; before the answer of the first `count` inferences, does
    `harm` and hangs up."""

    def __init__(self, daemon, harm, count):
        self.daemon, self.harm, self.count = daemon, harm, count
        super().__init__(Proxy.serve)

    def serve(self, connection):
        while read_request(self, connection):
            if self.requests[-1].startswith(b"POST") and self.inferences() <= self.count:
                self.harm()
                return
            connection.sendall(relay(self.daemon, self.requests[-1]))

    def inferences(self):
        return sum(request.startswith(b"POST") for request in self.requests)


@pytest.fixture
def reborn(mortal):
    """Kills the daemon and starts it again."""

    def die():
        mortal.kill()
        mortal.start()

    return die


@pytest.mark.parametrize("known", [False, True])
def test_a_request_that_ends_the_daemon_is_sent_twice_and_no_more(mortal, reborn, known):
    with Proxy(mortal, reborn, 1000) as proxy, rankd.connect(proxy.url, timeout=20, retry_for=60) as client:
        if known:
            client.metadata()
        with pytest.raises(rankd.DaemonDied, match=f"{proxy.url} died 2 times while it had the request {THIS}") as caught:
            client.loss("ap", *GOOD)
        assert proxy.inferences() == 2
        with rankd.connect(mortal.url, retry_for=0) as other:  # other clients are not affected
            assert other.loss("ap", *GOOD).info.lists == 1
    assert isinstance(caught.value, rankd.ConnectionLost) and "report it" in str(caught.value)
    assert str(pickle.loads(pickle.dumps(caught.value))) == str(caught.value)


def test_a_batch_that_ends_the_daemon_is_sent_twice_under_its_id(mortal, reborn):
    with rankd.connect(mortal.url) as client:
        client.banks.create("b", dim=4, capacity=10)
    with Proxy(mortal, reborn, 1000) as proxy, rankd.connect(proxy.url, timeout=20, retry_for=60) as client:
        with pytest.raises(rankd.DaemonDied, match=r"embeddings FP32 \[4, 4\]"):
            client.loss("ap", embeddings=np.eye(4, dtype=np.float32), labels=[0, 0, 1, 1], bank="b")
        assert proxy.inferences() == 2 and client.banks.get("b").version == 0


def test_a_restart_that_a_request_meets_is_waited_out(mortal, reborn):
    with Proxy(mortal, reborn, 1) as proxy, rankd.connect(proxy.url, timeout=20, retry_for=60) as client:
        assert client.loss("ap", *GOOD).info.lists == 1
        assert proxy.inferences() == 2


def test_a_network_that_drops_connections_is_no_death(mortal):
    with Proxy(mortal, lambda: None, 5) as proxy, rankd.connect(proxy.url, timeout=20, retry_for=60) as client:
        assert client.loss("ap", *GOOD).info.lists == 1
        assert proxy.inferences() == 6


def test_the_age_of_a_daemon_is_told_over_both_doors(make_daemon, tmp_path):
    daemon = make_daemon("--socket", tmp_path / "ring")
    ages = []
    for url in (daemon.url, f"unix:{tmp_path}/ring", daemon.url):
        with rankd.connect(url) as client:
            ages.append(client.metadata()["uptime_ms"])
    assert 0 <= ages[0] <= ages[1] <= ages[2] < 60_000
    daemon.restart()
    with rankd.connect(daemon.url) as client:
        assert client.metadata()["uptime_ms"] < 60_000


# ---- over shared memory ----

@pytest.mark.parametrize("deaths", [1, 2])
def test_a_hang_up_of_the_ring_is_a_death_where_another_daemon_follows(make_daemon, tmp_path, monkeypatch, deaths):
    from rankd import librankd as lk

    daemon = make_daemon("--socket", tmp_path / "ring")
    submit, sent = lk.lib.rankd_submit, []

    def deadly(*arguments):
        if len(sent) >= deaths:
            sent.append(submit(*arguments))
            return sent[-1]
        daemon.signal(signal.SIGSTOP)  # it gets the request, and never answers it
        os.waitid(os.P_PID, daemon.pid, os.WSTOPPED)
        sent.append(submit(*arguments))
        daemon.kill()
        daemon.start()
        return sent[-1]

    with rankd.connect(f"unix:{tmp_path}/ring", timeout=20, retry_for=60) as client:
        client.metadata()
        monkeypatch.setattr(lk.lib, "rankd_submit", deadly)
        if deaths == 1:
            assert client.loss("ap", *GOOD).info.lists == 1
        else:
            with pytest.raises(rankd.DaemonDied, match=f"died 2 times while it had the request {THIS}"):
                client.loss("ap", *GOOD)
        assert sent == [0, 0]


# ---- counting deaths ----

class Fake:
    """A transport that returns the given uptimes in turn, each one twice, or raises; the last one
    is repeated."""

    url = "http://fake"

    def __init__(self, *told):
        self.told, self.asked = [said for said in told for _ in range(1 if isinstance(said, Exception) else 2)], 0

    def call(self, method, path, body, timeout):
        assert (method, path) == ("GET", "/v2")
        said = self.told[min(self.asked, len(self.told) - 1)]
        self.asked += 1
        if isinstance(said, Exception):
            raise said
        return said


YOUNG, OLD = b'{"uptime_ms": -60000}', b'{"uptime_ms": 3600000}'  # started after all that this test does, and before


def lost(whole=True):
    error = rankd.ConnectionLost("it broke")
    error.whole = whole
    return error


def attempts(fake, *outcomes, **options):
    """The number of attempts, and the outcome."""
    made = []

    def attempt():
        made.append(outcomes[min(len(made), len(outcomes) - 1)])
        if isinstance(made[-1], Exception):
            raise made[-1]
        return made[-1]

    try:
        result = with_retries(attempt, **{"transport": fake, "what": "it", "retry_for": 20, "repeatable": True, **options})
    except rankd.RankdError as error:
        result = type(error)
    return len(made), result


@pytest.mark.parametrize("told, outcomes, expected", [
    ([YOUNG], [lost()], (2, rankd.DaemonDied)),
    ([YOUNG, OLD, YOUNG], [lost()], (3, rankd.DaemonDied)),
    ([OLD], [lost()] * 4 + ["good"], (5, "good")),
    ([YOUNG], [lost(whole=False)] * 3 + ["good"], (4, "good")),
    ([YOUNG], [lost(), rankd.Overloaded("full"), "good"], (3, "good")),
    ([YOUNG], [lost(), rankd.Overloaded("full"), lost()], (3, rankd.DaemonDied)),
    ([rankd.ConnectionFailed("gone"), rankd.Overloaded("starting"), YOUNG], [lost()], (2, rankd.DaemonDied)),
    ([rankd.ConnectionFailed("gone"), OLD], [lost(), lost(), "good"], (3, "good")),
    ([b"<html>"], [lost()] * 3 + ["good"], (4, "good")),
    ([b"[]"], [lost()] * 3 + ["good"], (4, "good")),
    ([b'{"uptime_ms": null}'], [lost()] * 3 + ["good"], (4, "good")),
    ([rankd.RequestTimeout("slow")], [lost()] * 3 + ["good"], (4, "good")),
    ([lost()], [lost()] * 3 + ["good"], (4, "good")),
], ids=str)
def test_only_a_daemon_that_came_after_the_request_is_a_death(told, outcomes, expected):
    assert attempts(Fake(*told), *outcomes) == expected


def test_what_may_not_be_repeated_is_not_even_asked_about():
    fake = Fake(YOUNG)
    assert attempts(fake, lost(), repeatable=False) == (1, rankd.ConnectionLost) and fake.asked == 0
    assert attempts(fake, lost(), retry_for=0) == (1, rankd.ConnectionLost) and fake.asked == 0
    gone = Fake(rankd.ConnectionFailed("gone"))
    assert attempts(gone, lost(), retry_for=0.3) == (1, rankd.ConnectionFailed) and gone.asked > 0
