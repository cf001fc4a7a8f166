# SPDX-License-Identifier: Apache-2.0
"""The order of requests: a client with many requests in flight does not delay one with few.

The daemon logs each request when it is completed, under the name that its client gave it, so the
order can be read there.
"""
import re
import threading

import numpy as np
import pytest

from ring_support import Daemon, Raw, eventually
from test_ring import EXACT, SCORES, TARGETS, large

DEEP = 16
SPACE = 1 << 20


@pytest.fixture(params=["uring", "epoll"])
def daemon(request):
    """One worker, so that there is one order."""
    with Daemon(f"--io={request.param}", "--workers=1") as running:
        yield running


def order(daemon, count):
    """Names of the requests in the order of their completion, as soon as there are that many."""
    def names():
        return re.findall(r" id=(\w+) ", daemon.log())

    assert eventually(lambda: len(names()) >= count, seconds=60), names()
    return names()


def small(raw, name, slot=0):
    """A request that the loop computes itself."""
    return raw.infer_entry("ap", {"scores": SCORES, "targets": TARGETS}, [("gradient", 16)], EXACT, slot=slot, space=SPACE,
                           request_id=name)[0]


def medium(raw, name, slot=0):
    """A request that goes to a worker."""
    return large(raw, 48, 1024, slot=slot, space=SPACE, request_id=name)


def holds_the_worker(path):
    """A client whose request keeps the one worker busy for as long as it takes to queue some
    others."""
    raw = Raw(path, arena=64 << 20)
    scores = np.random.default_rng(5).standard_normal((1, 4_000_000), dtype=np.float32)
    raw.submit(raw.infer_entry("rank", {"scores": scores}, request_id="held")[0])
    assert eventually(lambda: raw.word(256) == raw.word(128))
    return raw


def taken(raw):
    return eventually(lambda: raw.word(256) == raw.word(128))


def test_on_the_loop_each_client_gets_at_most_four_at_a_turn(daemon):
    # A round begins with the client that came last.
    with Raw(daemon.path) as shallow, Raw(daemon.path, entries=DEEP, arena=32 << 20) as deep:
        daemon.hold()  # both submit before the daemon reads
        tags = [deep.submit(small(deep, f"deep{i}", slot=i)) for i in range(DEEP)]
        tag = shallow.submit(small(shallow, "shallow"))
        daemon.go()
        assert shallow.wait(tag) == 0 and [deep.wait(t) for t in tags] == [0] * DEEP
    names = order(daemon, DEEP + 1)
    assert [n for n in names if n != "shallow"] == [f"deep{i}" for i in range(DEEP)]  # a client's own stay in order
    assert names.index("shallow") <= 4, names  # less if it was stopped in the middle of a round


def test_in_the_queue_clients_take_turns_one_by_one(daemon):
    """The deep client's are all in the queue before the shallow one comes."""
    with Raw(daemon.path, entries=DEEP, arena=32 << 20) as deep, Raw(daemon.path) as shallow, holds_the_worker(daemon.path):
        tags = [deep.submit(medium(deep, f"deep{i}", slot=i)) for i in range(DEEP)]
        assert taken(deep)
        tag = shallow.submit(medium(shallow, "shallow"))
        assert taken(shallow)
        assert shallow.wait(tag) == 0 and [deep.wait(t) for t in tags] == [0] * DEEP
    names = order(daemon, DEEP + 2)
    assert names[0] == "held", "the worker was free before all were queued: a longer request is wanted"
    assert [n for n in names[1:] if n != "shallow"] == [f"deep{i}" for i in range(DEEP)]
    assert names.index("shallow") <= 2, names


def test_three_clients_in_the_queue_alternate(daemon):
    with Raw(daemon.path, arena=32 << 20) as a, Raw(daemon.path, arena=32 << 20) as b, Raw(daemon.path, arena=32 << 20) as c:
        with holds_the_worker(daemon.path):
            for name, raw, count in (("a", a, 6), ("b", b, 3), ("c", c, 1)):
                for i in range(count):
                    raw.submit(medium(raw, f"{name}{i}", slot=i))
                assert taken(raw)
            names = order(daemon, 11)
    assert names == ["held", "a0", "b0", "c0", "a1", "b1", "a2", "b2", "a3", "a4", "a5"]


def test_a_deep_client_does_not_fill_the_queue_for_others():
    with Daemon("--workers=1", "--queue-requests=16") as daemon:
        with Raw(daemon.path, entries=64, arena=64 << 20) as deep, Raw(daemon.path) as shallow, holds_the_worker(daemon.path):
            tags = [deep.submit(medium(deep, f"deep{i}", slot=i)) for i in range(40)]
            assert taken(deep)
            tag = shallow.submit(medium(shallow, "shallow"))
            assert shallow.wait(tag) == 0, shallow.reply()
            statuses = [deep.wait(t) for t in tags]
            assert statuses == [0] * 14 + [503] * 26  # the last two of 16 places are for clients that have none


def test_what_is_light_is_answered_while_every_worker_is_held(daemon):
    """As over HTTP: health and metrics are needed most when nothing else gets through."""
    with holds_the_worker(daemon.path) as holder, Raw(daemon.path) as raw:
        for path in ("/v2/health/live", "/v2/health/ready", "/metrics", "/v2", "/v2/models/ap"):
            assert raw.call("GET", path)[0] == 200
        assert holder.take() == 0, "the worker was free again: a longer request is wanted"
        assert raw.call("GET", "/v2/banks")[0] == 200  # this call waits for the worker
        assert holder.take() == 1


def test_a_shallow_client_gets_its_share_beside_a_deep_one(daemon):
    """Both go on without a pause: of the deep one's completions, the shallow one has at least a
    share of one in 32."""
    many, over, served = 640, threading.Event(), 0

    def be_deep():
        with Raw(daemon.path, entries=DEEP, arena=32 << 20) as deep:
            entries = [medium(deep, f"deep{i}", slot=i) for i in range(DEEP)]
            tags = [deep.submit(entry) for entry in entries]
            for i in range(many):
                deep.wait(tags[i % DEEP])
                tags[i % DEEP] = deep.submit(entries[i % DEEP])
        over.set()

    thread = threading.Thread(target=be_deep)
    thread.start()
    with Raw(daemon.path) as shallow:
        entry = medium(shallow, "shallow")
        while not over.is_set():
            assert shallow.wait(shallow.submit(entry)) == 0
            served += 1
    thread.join()
    print(f"{many} of the deep client's, {served} of the shallow one's")
    assert served >= many // (2 * DEEP)
