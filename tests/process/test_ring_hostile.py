# SPDX-License-Identifier: Apache-2.0
"""Clients that send false data, overwrite the segment and leave. The daemon keeps running, within
bounds and without growth; others get their results.

Short and seeded here; RING_SOAK=1 (make soak-ring) makes scribbling long: ten minutes.
"""
import mmap
import multiprocessing
import os
import random
import resource
import socket
import struct
import threading
import time

import numpy as np
import pytest

from ring_support import (CANCEL, COMPLETE_HEAD, INFER, SUBMIT_TAIL, Daemon, Lost, Raw, Refused, eventually)
from test_ring import EXACT, SCORES, TARGETS, large, worked_example

SOAK = os.environ.get("RING_SOAK") == "1"
SECONDS = 300 if SOAK else 15  # with each of the two loops
CONNECTS = 10_000


@pytest.fixture(params=["uring", "epoll"])
def daemon(request):
    with Daemon(f"--io={request.param}", "--log-level=warn") as running:
        yield running


class Bystander(threading.Thread):
    """A correct client, whose results must not change."""

    def __init__(self, path):
        super().__init__()
        self.path, self.over, self.served, self.wrong = path, threading.Event(), 0, []

    def run(self):
        with Raw(self.path) as raw:
            while not self.over.is_set():
                result = worked_example(raw)
                self.served += 1
                if result != (0.5, [0.25, -0.25, 0.25, -0.25]):
                    self.wrong.append(result)

    def __enter__(self):
        self.start()
        return self

    def __exit__(self, *_):
        self.over.set()
        self.join(60)
        assert not self.is_alive() and self.served > 0 and not self.wrong


def scribble(fd, size, start, seed, over):
    """Writes random bytes all over the segment from a process of its own, until told to stop."""
    chance = random.Random(seed)
    view = mmap.mmap(fd, size)
    while not over.is_set():
        kind = chance.randrange(5)
        if kind == 0:    # anywhere, rings and header included
            at, count = chance.randrange(size - 64), chance.randrange(1, 64)
        elif kind == 1:  # descriptors
            at, count = start + chance.randrange(4096), chance.randrange(1, 16)
        else:            # tensors
            at, count = start + 8192 + chance.randrange(size - start - 8192 - 4096), chance.randrange(1, 4096)
        view[at:at + count] = chance.randbytes(count)
    view.close()


def random_request(raw, chance):
    rows, columns = chance.randrange(1, 40), chance.randrange(1, 400)
    scores = np.frombuffer(chance.randbytes(4 * rows * columns), np.float32).reshape(rows, columns)
    targets = np.array([[chance.random() < 0.1 for _ in range(columns)]] * rows, np.int8)
    outputs = [("loss", 4), ("gradient", scores.nbytes)] if chance.random() < 0.5 else [
        ("gradient_indices", 8 * scores.size), ("gradient_values", 4 * scores.size), ("list_loss", 4 * max(rows, columns))]
    parameters = {"axis": chance.randrange(2), "interclass": chance.choice([0.0, 0.3]), "lambda": 10 ** chance.uniform(-3, 3)}
    return raw.infer_entry(chance.choice(["ap", "recall"]), {"scores": scores, "targets": targets}, outputs, parameters,
                           timeout_ns=2_000_000_000)[0]


def test_random_bytes_all_over_the_segment_while_requests_run(daemon):
    chance = random.Random(20)
    context = multiprocessing.get_context("fork")
    until = time.monotonic() + SECONDS
    rounds = answered = 0
    with Bystander(daemon.path):
        while time.monotonic() < until:
            rounds += 1
            with Raw(daemon.path, entries=8, arena=1 << 20) as raw:
                over = context.Event()
                other = context.Process(target=scribble, args=(raw.fd, raw.size, raw.arena, chance.random(), over))
                other.start()
                try:
                    for _ in range(60):
                        raw.submit(random_request(raw, chance))
                        time.sleep(chance.choice([0, 0.001, 0.005]))
                        answered += raw.take()
                except (Lost, OSError):
                    pass  # an impossible index: the daemon may hang up
                finally:
                    over.set()
                    other.join(30)
            assert daemon.process.poll() is None
    print(f"{rounds} segments, {answered} completions")
    assert eventually(lambda: daemon.metric("rankd_ring_segments") == 1)


def flip(fd, size, start, seed, over):
    """Swaps scores and targets between values that are all allowed, so that requests go through to
    the end."""
    chance = np.random.default_rng(seed)
    view = mmap.mmap(fd, size)
    scores = np.frombuffer(view, np.float32, 256 * 512, start + 8192)
    targets = np.frombuffer(view, np.int8, 256 * 512, start + 8192 + 256 * 512 * 4)
    while not over.is_set():
        at = chance.integers(0, 256 * 512, 4096)
        scores[at] = chance.standard_normal(4096)
        targets[at] = chance.integers(-1, 2, 4096)
    del scores, targets
    view.close()


def test_scores_and_targets_that_change_during_a_request(daemon):
    """The losses are meaningless then, but each request ends, with a number or a sentence."""
    context = multiprocessing.get_context("fork")
    until = time.monotonic() + SECONDS
    statuses = set()
    outputs = ([("gradient", 256 * 512 * 4)], [("gradient_indices", 256 * 512 * 8), ("gradient_values", 256 * 512 * 4)],
               [("list_loss", 2048), ("gradient", 256 * 512 * 4)])
    with Bystander(daemon.path), Raw(daemon.path, arena=8 << 20) as raw:
        inputs = {"scores": np.zeros((256, 512), np.float32), "targets": np.zeros((256, 512), np.int8)}
        over = context.Event()
        other = context.Process(target=flip, args=(raw.fd, raw.size, raw.arena, 3, over))
        other.start()
        try:
            turn = 0
            while time.monotonic() < until:
                turn += 1
                entry, _ = raw.infer_entry("ap" if turn % 3 else "recall", inputs, outputs[turn % 3],
                                           {"axis": turn % 2, "interclass": 0.5 * (turn % 5 == 0)})
                statuses.add(raw.wait(raw.submit(entry)))
        finally:
            over.set()
            other.join(30)
    assert 0 in statuses and statuses <= {0, 400}, statuses


def bad_entries(raw):
    """(what, entry): each must be answered with 400 or 404 and do no harm."""
    good, _ = raw.infer_entry("ap", {"scores": SCORES, "targets": TARGETS}, [("gradient", 16)], EXACT)
    descriptor = raw.map[raw.arena:raw.arena + 4096]
    place, size = struct.unpack_from("<Q", good, 24)[0], struct.unpack_from("<I", good, 4)[0]
    reply = raw.arena + 4096

    def with_descriptor(at, text, slot=[0]):
        slot[0] = slot[0] % 3 + 1
        copy = bytearray(descriptor)
        copy[at:at + len(text)] = text
        where = raw.arena + 16384 * slot[0]
        raw.put(where, bytes(copy))
        return raw.entry(INFER, (where, size), reply)

    u64 = lambda value: struct.pack("<Q", value)  # noqa: E731
    u32 = lambda value: struct.pack("<I", value)  # noqa: E731
    for at in (0, 64, raw.arena - 64, raw.size, raw.size - 64, 2**32, 2**63, 2**64 - 64, place + 1):
        yield f"descriptor at {at}", raw.entry(INFER, (at, size), reply)
        yield f"reply at {at}", raw.entry(INFER, (place, size), at if at != raw.size - 64 else raw.size - 960)
    for bytes_ in (0, 1, 127, 128, size - 1, size + 8, 4097, 2**32 - 1):
        yield f"descriptor of {bytes_} bytes", raw.entry(INFER, (place, bytes_), reply)
    for operation in (0, 4, 99, 2**32 - 1):
        yield f"operation {operation}", raw.entry(operation)
    for field, values in ((0, (0, 2, 2**32 - 1)), (4, (0, 1, 3, 11, 2**32 - 1)), (8, (2, 8, 2**32 - 1)),
                          (12, (0, 1, 13, 2**32 - 1))):
        for value in values:
            if (field, value) != (12, 0):
                yield f"head field {field} = {value}", with_descriptor(field, u32(value))
    yield "a model without end", with_descriptor(16, b"a" * 32)
    for tensor in (128, 192):
        for field, values in ((0, (9, 10, 2**32 - 1)), (4, (9, 2**32 - 1)), (8, (0, 3, 2**32 - 1))):
            for value in values:
                yield f"tensor field {field} = {value}", with_descriptor(tensor + field, u32(value))
        for field, values in ((16, (0, 2, 2**32, 2**63, 2**64 - 1)), (24, (0, 5, 2**62, 2**64 - 1)),
                              (32, (0, 4096, raw.size - 1, raw.size, 2**64 - 1, 2**64 - 16)), (40, (0, 1, 15, 2**64 - 1))):
            for value in values:
                yield f"tensor field {field} = {value}", with_descriptor(tensor + field, u64(value))
    # A shape whose product wraps to the right number of bytes.
    yield "a shape that overflows", with_descriptor(128 + 16, u64(2**62) + u64(2**2))
    yield "a shape that overflows to 16", with_descriptor(128 + 16, u64(2**61 + 1) + u64(4))
    for value in (0, 8, raw.arena + 1, raw.arena + 4, raw.size, 2**64 - 8):
        yield f"output at {value}", with_descriptor(256 + 32, u64(value))
    for value in (0, 15, 2**64 - 1):
        yield f"output of {value} bytes", with_descriptor(256 + 40, u64(value))
    for value in (7, 2**32 - 1):
        yield f"output port {value}", with_descriptor(256, u32(value))
    yield "a parameter without end", with_descriptor(320, b"x" * 32)
    for value in (0, 4, 2**32 - 1):
        yield f"parameter type {value}", with_descriptor(320 + 32, u32(value))
    for value in (9, 4096, 2**32 - 1, 2**32 - 7):
        yield f"a text of {value} bytes", with_descriptor(320 + 36, u32(value))
    for value in (float("nan"), float("inf"), -1.0):
        yield f"lambda {value}", with_descriptor(320 + 40, struct.pack("<d", value))


def test_every_malformed_entry_is_an_error_of_its_own(daemon):
    with Raw(daemon.path) as raw, Bystander(daemon.path):
        for what, entry in bad_entries(raw):
            status = raw.wait(raw.submit(entry))
            assert status in (400, 404), (what, status)
        assert worked_example(raw)[0] == 0.5


@pytest.mark.parametrize("what", ["tail far ahead", "tail rewound", "head rewound", "head ahead", "too many"])
def test_impossible_indices_end_the_connection(daemon, what):
    with Raw(daemon.path) as raw:
        assert worked_example(raw)[0] == 0.5
        if what == "tail far ahead":
            raw.set_word(SUBMIT_TAIL, raw.word(SUBMIT_TAIL) + 9)
        elif what == "tail rewound":
            raw.set_word(SUBMIT_TAIL, raw.word(SUBMIT_TAIL) - 1)
        else:
            entry = raw.entry(1)
            if what == "head rewound":
                raw.set_word(COMPLETE_HEAD, raw.word(COMPLETE_HEAD) - 9)
            elif what == "head ahead":
                raw.set_word(COMPLETE_HEAD, raw.word(COMPLETE_HEAD) + 1)
            for _ in range(1 if what != "too many" else 20):
                try:
                    raw.submit(entry)
                    time.sleep(0.001)
                except Lost:
                    break
        try:
            raw.doorbell()
        except Lost:
            pass
        assert raw.is_hung_up()
    with Raw(daemon.path) as raw:
        assert worked_example(raw)[0] == 0.5
    daemon.await_log("was hung up on")


def test_cancels_of_everything_and_nothing_do_no_harm(daemon):
    chance = random.Random(4)
    with Raw(daemon.path, entries=64, arena=16 << 20) as raw:
        waiting = []
        for turn in range(200):
            waiting.append(raw.submit(large(raw, 16, 1024, slot=turn % 8, space=1 << 20), ring=False))
            raw.submit(raw.entry(CANCEL, cancel=chance.choice([*waiting, 0, 2**64 - 1])))
            if len(waiting) > 4:
                assert raw.wait(waiting.pop(0)) in (0, 400, 499)  # 400: a neighbour in the slot wrote the descriptor anew
        for tag in waiting:
            assert raw.wait(tag) in (0, 400, 499)


def test_a_flood_of_doorbells_costs_others_nothing(daemon):
    with Bystander(daemon.path) as other, Raw(daemon.path) as flooding:
        until = time.monotonic() + SECONDS / 3
        rung = 0
        while time.monotonic() < until:
            flooding.doorbell()
            rung += 1
        assert worked_example(flooding)[0] == 0.5
    print(f"{rung} doorbells, {other.served} requests beside")
    assert other.served > 100  # some thousand on a fast machine


@pytest.mark.parametrize("packet", [b"", b"x", b"xy", b"\0" * 63, b"\0" * 64, b"\0" * 65, b"\xff" * 64, b"\0" * 65536,
                                    b"a" * 65537], ids=range(9))
def test_a_first_packet_that_is_no_hello_ends_the_connection(daemon, packet):
    with Raw(daemon.path, greet=False) as raw:
        raw.socket.send(packet)
        assert raw.is_hung_up()


HELLO = struct.pack("<4IQ2I32x", 0x4F4C4548, 1, 1, 8, 1 << 20, 0, 0)


@pytest.mark.parametrize("packet", [b"", HELLO, b"xy", b"\0" * 31, b"\0" * 32, struct.pack("<4I2Q", 0x45474150, 1, 0, 0, 0, 0),
                                    struct.pack("<4I2Q", 0x4C4C4143, 1, 0, 0, 0, 0),
                                    struct.pack("<4I2Q", 0x4C4C4143, 1, 0, 0, 0, 0) + b"GET /",
                                    struct.pack("<4I2Q", 0x4C4C4143, 1, 0, 0, 0, 0) + b"GET\0",
                                    struct.pack("<4I2Q", 0x4C4C4143, 1, 0, 0, 0, 0) + b" /v2\0", b"a" * 65537], ids=range(11))
def test_a_malformed_packet_ends_the_connection(daemon, packet):
    with Raw(daemon.path) as raw:
        raw.socket.send(packet)
        assert raw.is_hung_up()


def test_a_page_beyond_the_answer_ends_the_connection(daemon):
    for offset in (2**63, 2**64 - 1, 10**6):
        with Raw(daemon.path) as raw:
            assert raw.call("GET", "/v2")[0] == 200
            raw.socket.send(struct.pack("<4I2Q", 0x45474150, raw.call_tag, 0, 0, 0, offset))
            assert raw.is_hung_up()


def all_kinds(raw):
    """Descriptors of every kind that could harm a process that reads, maps or keeps them."""
    ends = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    return [*os.pipe(), os.open("/", os.O_RDONLY), os.open("/dev/zero", os.O_RDWR), os.open("/dev/null", os.O_WRONLY),
            os.eventfd(0), os.memfd_create("short"), os.dup(raw.socket.fileno()), os.dup(raw.fd), ends[0].detach(),
            ends[1].detach()]


@pytest.mark.parametrize("packet", ["doorbell", "call", "hello", "nonsense"])
def test_descriptors_that_are_passed_along_are_not_taken(daemon, packet):
    """Of any kind and number, with any packet; the connection's own socket and segment among
    them."""
    with Raw(daemon.path) as raw, Bystander(daemon.path) as other:
        assert eventually(lambda: other.served > 0)
        kinds = all_kinds(raw)
        call = struct.pack("<4I2Q", 0x4C4C4143, 1, 0, 0, 0, 0) + b"GET /v2\0"
        before = daemon.descriptors()
        if packet == "doorbell":
            for i in range(100):
                raw.send_fds(b"!", (kinds * 22)[:1 + i * 2])  # 253 is the most that a packet carries
        elif packet == "call":
            for _ in range(20):
                raw.send_fds(call, kinds)
                assert len(raw.socket.recv(65536)) > 32
        else:
            for _ in range(20):
                with Raw(daemon.path, greet=False) as stranger:
                    stranger.send_fds(HELLO if packet == "hello" else b"\0" * 64, kinds)
                    if packet == "nonsense":
                        assert stranger.is_hung_up()
        assert worked_example(raw)[0] == 0.5
        assert eventually(lambda: daemon.descriptors() <= before)
        for fd in kinds:
            os.close(fd)


@pytest.mark.parametrize("hello, status", [
    ((0, 0, 0), 0), ((2**32 - 1, 1 << 20, 2**32 - 1), 0), ((1, 1, 0), 0), ((3, 4096, 1), 0),
    ((8, 2**64 - 1, 0), 503), ((8, 2**63, 0), 503), ((8, 2**40, 0), 503)])
def test_a_hello_that_asks_for_anything_gets_what_is_within_the_bounds(daemon, hello, status):
    entries, arena, spin = hello
    for reserved in (0, 255):  # which the daemon ignores
        packet = struct.pack("<4IQ2I", 0x4F4C4548, 0, 2**32 - 1, entries, arena, spin, reserved) + bytes([reserved]) * 32
        if status:
            with pytest.raises(Refused) as refused:
                Raw(daemon.path, hello=packet)
            assert refused.value.status == status
            continue
        with Raw(daemon.path, hello=packet) as raw:
            assert 2 <= raw.entries <= 256 and raw.entries & (raw.entries - 1) == 0
            assert raw.wait(raw.submit(raw.entry(1))) == 0


def test_pages_that_nobody_reads_cost_others_nothing(daemon):
    """The daemon holds one page and one answer of such a client, however often it asks."""
    with Raw(daemon.path) as raw, Bystander(daemon.path):
        assert raw.call("GET", "/metrics")[0] == 200
        resident = daemon.status_kb("VmRSS")
        page = struct.pack("<4I2Q", 0x45474150, raw.call_tag, 0, 0, 0, 0)
        asked = 0
        raw.socket.setblocking(False)
        until = time.monotonic() + 2
        while time.monotonic() < until:
            try:
                raw.socket.send(page)
                asked += 1
            except BlockingIOError:
                time.sleep(0.01)
        assert asked > 3 and daemon.status_kb("VmRSS") - resident < 4096
        raw.socket.setblocking(True)
        for _ in range(asked):  # and then each is answered
            assert len(raw.socket.recv(65536)) > 32
        assert worked_example(raw)[0] == 0.5


def test_a_daemon_without_descriptors_refuses_and_recovers(daemon):
    """Meanwhile it does not retry in a busy loop, and connected clients are served."""
    def few():
        resource.setrlimit(resource.RLIMIT_NOFILE, (64, 64))

    with Daemon(daemon.arguments[0], before=few) as poor, Raw(poor.path) as inside:
        waiting = []
        for _ in range(80):
            waiting.append(Raw(poor.path, greet=False))
        time.sleep(0.3)
        before = poor.cpu_seconds()
        for _ in range(10):
            assert worked_example(inside)[0] == 0.5
            time.sleep(0.1)
        assert poor.cpu_seconds() - before < 0.5
        for raw in waiting:
            raw.close()
        assert eventually(lambda: connects(poor))


def leave(path, step, chance):
    """Connects and leaves at one of the steps of the handshake and after."""
    hello = struct.pack("<4IQ2I32x", 0x4F4C4548, 1, 1, 8, 1 << 20, 0, 0)
    with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as raw:
        raw.connect(path)
        if step >= 1:
            raw.send(hello if step != 2 else hello[:chance.randrange(1, 63)])
        if step >= 3:
            _, fds, _, _ = socket.recv_fds(raw, 1024, 4)
            if step >= 4 and fds:
                with mmap.mmap(fds[0], 4096) as view:
                    struct.pack_into("<I", view, SUBMIT_TAIL, step)
                raw.send(b"!")
            if step == 6:
                raw.send(struct.pack("<4I2Q", 0x4C4C4143, 1, 0, 0, 0, 0) + b"GET /metrics\0")
            for fd in fds:
                os.close(fd)


def test_clients_that_leave_at_every_step_leave_nothing_behind(daemon):
    chance = random.Random(8)
    for turn in range(50):
        leave(daemon.path, turn % 7, chance)
    assert eventually(lambda: daemon.metric("rankd_ring_segments") == 1)
    descriptors, resident = daemon.descriptors(), daemon.status_kb("VmRSS")
    with Bystander(daemon.path):
        for turn in range(CONNECTS):
            try:
                leave(daemon.path, turn % 7, chance)
            except (BrokenPipeError, ConnectionResetError):
                pass
    assert eventually(lambda: daemon.metric("rankd_ring_segments") == 1)
    assert eventually(lambda: daemon.descriptors() <= descriptors)
    grown = daemon.status_kb("VmRSS") - resident
    print(f"{CONNECTS} connects: {grown} KiB more resident")
    assert grown < 16384


def test_a_connection_that_says_nothing_is_closed_in_time(daemon):
    with Daemon(daemon.arguments[0], "--ring-hello-timeout=200ms", "--ring-connections=8") as daemon:
        silent = [Raw(daemon.path, greet=False) for _ in range(7)]
        assert all(raw.is_hung_up() for raw in silent)
        for raw in silent:
            raw.close()
        assert eventually(lambda: connects(daemon))


def connects(daemon):
    try:
        Raw(daemon.path).close()
        return True
    except (Refused, Lost):
        return False


def test_a_full_house_refuses_and_goes_on(daemon):
    with Daemon(daemon.arguments[0], "--ring-connections=4") as small:
        inside = [Raw(small.path) for _ in range(4)]
        for _ in range(20):
            with pytest.raises(Refused, match="ring-connections"):
                Raw(small.path)
        assert worked_example(inside[0])[0] == 0.5
        inside.pop().close()
        assert eventually(lambda: connects(small))
        for raw in inside:
            raw.close()
