# SPDX-License-Identifier: Apache-2.0
"""The ring, by a client written from its protocol: requests, waiting, control, rights, deaths."""
import contextlib
import errno
import json
import os
import signal
import struct
import subprocess
import sys
import time

import numpy as np
import pytest

from ring_support import BUILD, NOP, OUTPUTS, Daemon, Lost, Raw, Refused, eventually, refuse_io_uring

SCORES = np.array([[0.9, 0.8, 0.7, 0.6]], np.float32)
TARGETS = np.array([[0, 1, 0, 1]], np.int8)
EXACT = {"lambda": 1.0, "margin": 0.0}


@pytest.fixture(scope="module", params=["uring", "epoll"])
def daemon(request):
    with Daemon(f"--io={request.param}") as running:
        yield running


@pytest.fixture(params=["uring", "epoll"])
def io(request):
    """For tests that start daemons of their own: on both loops as well."""
    return f"--io={request.param}"


def worked_example(raw, **more):
    entry, at = raw.infer_entry("ap", {"scores": SCORES, "targets": TARGETS}, [("loss", 4), ("gradient", 16)], EXACT, **more)
    assert raw.wait(raw.submit(entry)) == 0
    return (struct.unpack_from("<f", raw.map, at["loss"])[0], list(struct.unpack_from("<4f", raw.map, at["gradient"])))


def large(raw, rows=256, columns=2048, **more):
    """A request of some milliseconds, which goes to a worker."""
    scores = np.random.default_rng(1).standard_normal((rows, columns)).astype(np.float32)
    targets = (np.arange(rows * columns) % 50 == 0).astype(np.int8).reshape(rows, columns)
    return raw.infer_entry("ap", {"scores": scores, "targets": targets}, [("gradient", scores.nbytes)], **more)[0]


def test_the_worked_example_comes_back_exactly(daemon):
    with Raw(daemon.path) as raw:
        assert worked_example(raw) == (0.5, [0.25, -0.25, 0.25, -0.25])
        status, outputs, loss, lists, sentence = raw.reply()
        assert (status, outputs, loss, lists, sentence) == (0, 1 << OUTPUTS["loss"] | 1 << OUTPUTS["gradient"], 0.5, 1, "")
        assert raw.result("gradient") == (7, 2, (1, 4), 16)


def test_the_log_says_which_loop_it_is(daemon):
    assert ("by epoll" in daemon.log()) == ("--io=epoll" in daemon.arguments)


def test_rings_wrap_around_many_times(daemon):
    with Raw(daemon.path, entries=2) as raw:
        for _ in range(50):
            assert worked_example(raw)[0] == 0.5


def test_many_requests_are_in_flight_and_each_is_completed_once(daemon):
    with Raw(daemon.path, entries=16, arena=16 << 20) as raw:
        space = 1 << 20
        tags = [raw.submit(large(raw, 32, 1024, slot=i, space=space), ring=i == 15) for i in range(16)]
        assert [raw.wait(tag) for tag in tags] == [0] * 16
        assert raw.done == {}
        assert {raw.reply(i, space)[2] for i in range(16)} == {raw.reply(0, space)[2]}


def test_a_small_request_overtakes_a_large_one(daemon):
    with Raw(daemon.path, arena=64 << 20) as raw:
        space = 32 << 20
        slow = raw.submit(large(raw, 256, 16384, slot=0, space=space), ring=False)
        quick = raw.submit(raw.entry(NOP))
        assert raw.wait(quick) == 0
        assert slow not in raw.done
        assert raw.wait(slow) == 0


def test_a_cancelled_request_that_waited_completes_as_cancelled(daemon):
    with Raw(daemon.path, entries=16, arena=128 << 20) as raw:
        space = 12 << 20
        tags = [raw.submit(large(raw, 128, 8192, slot=i, space=space), ring=False) for i in range(10)]
        raw.submit(raw.entry(3, cancel=tags[-1]))
        results = [raw.wait(tag) for tag in tags]
        assert results == [0] * 9 + [499]
        assert "taken back" in raw.reply(9, space)[4]


def test_a_deadline_that_passed_is_an_error_of_its_own(daemon):
    with Raw(daemon.path, arena=64 << 20) as raw:
        assert raw.wait(raw.submit(large(raw, 256, 16384, timeout_ns=1000))) == 504


@pytest.mark.parametrize("change, part", [
    ({"model": "app"}, 'there is no model "app"; did you mean "ap"'),
    ({"parameters": {"lamda": 1.0}}, "lamda"),
    ({"parameters": {"lambda": -1.0}}, "lambda"),
    ({"inputs": {"scores": SCORES}}, "targets"),
    ({"inputs": {"scores": SCORES, "targets": np.array([[0, 1, 0, 7]], np.int8)}}, "targets"),
    ({"outputs": [("gradient", 8)]}, "gradient"),
    ({"outputs": [("ranks", 32)]}, "ranks"),
])
def test_what_is_wrong_is_named_in_a_sentence(daemon, change, part):
    request = {"model": "ap", "inputs": {"scores": SCORES, "targets": TARGETS}, "outputs": [("loss", 4)], **change}
    with Raw(daemon.path) as raw:
        entry, _ = raw.infer_entry(**request)
        status = raw.wait(raw.submit(entry))
        assert status in (400, 404) and part in raw.reply()[4], raw.reply()
        assert raw.reply()[0] == status


def test_a_too_small_room_tells_how_much_is_needed(daemon):
    with Raw(daemon.path) as raw:
        entry, _ = raw.infer_entry("ap", {"scores": SCORES, "targets": TARGETS}, [("gradient", 8)], EXACT)
        assert raw.wait(raw.submit(entry)) == 400
        assert raw.result("gradient")[3] == 16


def copied(daemon):
    return daemon.metric("rankd_ring_copied_bytes_total")


@pytest.mark.parametrize("model", ["ap", "recall"])
@pytest.mark.parametrize("outputs", [[("loss", 4), ("gradient", 4 << 20)],
                                     [("gradient_indices", 8 << 20), ("gradient_values", 4 << 20)]],
                         ids=["dense", "sparse"])
def test_not_a_byte_of_a_tensor_is_copied(daemon, model, outputs):
    scores = np.random.default_rng(2).standard_normal((256, 4096), dtype=np.float32)
    targets = (np.arange(scores.size) % 97 == 0).astype(np.int8).reshape(scores.shape)
    with Raw(daemon.path, arena=32 << 20) as raw:
        before = copied(daemon)
        entry, at = raw.infer_entry(model, {"scores": scores, "targets": targets}, outputs)
        assert raw.wait(raw.submit(entry)) == 0, raw.reply()
        name = outputs[1][0]
        assert any(raw.map[at[name]:at[name] + raw.result(name)[3]])  # there is a result
        assert copied(daemon) == before


@pytest.mark.parametrize("dtype, targets_dtype, parameters, size", [
    (np.float64, np.int8, {}, 8),                             # scores rounded to FP32
    (np.float32, np.int64, {}, 8),                            # targets narrowed to a byte
    (np.float32, np.int8, {"axis": 0}, 4 + 1 + 4),            # all three turned
    (np.float64, np.int32, {"axis": 0}, 8 + 4 + 4),
    (np.float32, np.int8, {"interclass": 0.5}, 4),            # the gradient of two parts, from sums in FP64
])
def test_what_is_copied_is_counted_to_the_byte(daemon, dtype, targets_dtype, parameters, size):
    scores = np.random.default_rng(3).standard_normal((40, 1000)).astype(dtype)
    targets = (np.arange(scores.size) % 31 == 0).astype(targets_dtype).reshape(scores.shape)
    with Raw(daemon.path, arena=4 << 20) as raw:
        before = copied(daemon)
        entry, _ = raw.infer_entry("ap", {"scores": scores, "targets": targets}, [("gradient", 4 * scores.size)], parameters)
        assert raw.wait(raw.submit(entry)) == 0, raw.reply()
        assert copied(daemon) - before == size * scores.size


def test_what_is_copied_for_embeddings_and_banks_is_counted_too(daemon):
    embeddings = np.random.default_rng(4).standard_normal((50, 8), dtype=np.float32)
    labels = np.arange(50, dtype=np.int64) % 5
    with Raw(daemon.path) as raw:
        assert raw.call("PUT", "/v2/banks/copies", b'{"kind":"embeddings","dim":8,"capacity":64,"durability":"none"}')[0] == 200
        before = copied(daemon)
        for parameters in ({}, {"bank": "copies"}):
            entry, _ = raw.infer_entry("ap", {"embeddings": embeddings, "labels": labels}, [("gradient", embeddings.nbytes)],
                                       parameters)
            assert raw.wait(raw.submit(entry)) == 0, raw.reply()
        assert raw.call("DELETE", "/v2/banks/copies")[0] == 200
        once = embeddings.nbytes + labels.nbytes
        assert copied(daemon) - before == 2 * (once + embeddings.nbytes) + once  # read, written back; and enqueued


def test_a_sleeping_client_is_rung_and_a_client_that_is_awake_is_not(daemon):
    with Raw(daemon.path) as raw:
        raw.set_word(512, 0)
        tag = raw.submit(raw.entry(NOP))
        assert eventually(lambda: raw.take() or tag in raw.done)
        raw.socket.setblocking(False)
        with pytest.raises(BlockingIOError):
            raw.socket.recv(1)  # nothing was sent
        raw.set_word(512, 1)
        raw.submit(raw.entry(NOP))
        raw.socket.settimeout(30)
        assert len(raw.socket.recv(16)) == 1


def test_the_control_channel_is_the_http_api(daemon):
    with Raw(daemon.path) as raw:
        status, text = raw.call("GET", "/v2")
        assert status == 200 and b'"rankd"' in text
        status, text = raw.call("GET", "/v2/models/nothing")
        assert status == 404 and b'"error"' in text
        assert raw.call("DELETE", "/v2")[0] == 405
        status, text = raw.call("GET", "/metrics")
        assert status == 200 and b"rankd_ring_segments" in text


def test_calls_follow_each_other_at_once(daemon):
    with Raw(daemon.path) as raw:
        for _ in range(300):
            assert raw.call("GET", "/v2/models/ap")[0] == 200


def test_a_call_while_one_is_under_way_is_the_end(daemon):
    with Raw(daemon.path, arena=64 << 20) as busy, Raw(daemon.path) as raw:
        scores = np.random.default_rng(6).standard_normal((1, 2_000_000), dtype=np.float32)
        for slot in range(4):  # the two workers have something to do
            busy.submit(busy.infer_entry("rank", {"scores": scores}, slot=slot, space=15 << 20)[0])
        assert eventually(lambda: busy.word(256) == busy.word(128))
        packet = struct.pack("<4I2Q", 0x4C4C4143, 1, 0, 0, 0, 0) + b"GET /v2/banks\0"
        for _ in range(2):
            raw.socket.send(packet)
        assert raw.is_hung_up()
        assert busy.take() < 4, "the workers were free again: longer requests are wanted"


def test_versions_are_negotiated(daemon):
    with Raw(daemon.path, versions=(1, 9)) as raw:
        assert raw.version == 1
    for versions in ((2, 9), (0, 0)):
        with pytest.raises(Refused) as refused:
            Raw(daemon.path, versions=versions)
        assert refused.value.status == 501 and "layout" in refused.value.text


def test_segments_are_sealed_and_wholly_there(daemon):
    import fcntl
    with Raw(daemon.path, arena=4 << 20) as raw:
        seals = fcntl.fcntl(raw.fd, 1034)  # F_GET_SEALS
        assert seals & 7 == 7  # seal, shrink, grow
        with pytest.raises(OSError):
            os.ftruncate(raw.fd, 4096)
        assert os.fstat(raw.fd).st_blocks * 512 >= raw.size


def test_entries_and_bytes_stay_within_the_bounds(io):
    with Daemon(io, "--ring-entries=16", "--ring-uid-segments=4", "--ring-uid-bytes=8M", "--ring-bytes=16M") as daemon:
        with Raw(daemon.path, entries=4000) as raw:
            assert raw.entries == 16
            with pytest.raises(Refused, match="ring-uid-bytes"):
                Raw(daemon.path, arena=8 << 20)
            with pytest.raises(Refused, match="ring-bytes"):
                Raw(daemon.path, arena=2**61)
            with pytest.raises(Refused, match="out of all proportion"):
                Raw(daemon.path, arena=2**64 - 1)
            with Raw(daemon.path), Raw(daemon.path), Raw(daemon.path):
                with pytest.raises(Refused, match="ring-uid-segments"):
                    Raw(daemon.path)
        assert eventually(lambda: connects(daemon.path, arena=6 << 20))


def connects(path, **options):
    try:
        Raw(path, **options).close()
        return True
    except (Refused, Lost):
        return False


CONNECT_AS = """
import os, sys
sys.path.insert(0, sys.argv[1])
from ring_support import Raw, Refused
os.setgid(65534)
os.setuid(65534)
try:
    Raw(sys.argv[2]).close()
    print("in")
except Refused as error:
    print(error)
except PermissionError:
    print("no permission")
"""


@pytest.mark.parametrize("allowed, outcome", [("", "no permission"), ("1", "403"), ("1,65534", "in")])
def test_only_uids_that_were_allowed_may_connect(io, allowed, outcome):
    with Daemon(io, f"--ring-allow-uid={allowed}") as daemon:
        os.chmod(daemon.folder.name, 0o755)
        here = os.path.dirname(__file__)
        done = subprocess.run([sys.executable, "-c", CONNECT_AS, here, daemon.path], capture_output=True, text=True, timeout=60)
        assert done.stdout.startswith(outcome), done


@pytest.mark.parametrize("number", [errno.EPERM, errno.ENOSYS, errno.ENOMEM])
def test_epoll_takes_over_where_io_uring_is_refused_and_says_so_once(number):
    with Daemon(before=refuse_io_uring(number)) as daemon:
        with Raw(daemon.path) as raw:
            assert worked_example(raw)[0] == 0.5
        assert daemon.log().count("io_uring is refused here") == 1 and "by epoll" in daemon.log()


def test_io_uring_by_order_fails_where_it_is_refused():
    with pytest.raises(RuntimeError, match="io_uring"):
        Daemon("--io=uring", before=refuse_io_uring(errno.EPERM))


def test_a_socket_left_by_a_killed_daemon_is_taken_over_and_one_in_use_is_not(daemon):
    other = Daemon(f"--io={'uring' if '--io=uring' in daemon.arguments else 'epoll'}")
    other.kill()
    other.start()
    with Raw(other.path) as raw:
        assert worked_example(raw)[0] == 0.5
    other.stop()
    done = subprocess.run([BUILD / "rankd", "--http=off", f"--socket={daemon.path}"], capture_output=True, text=True, timeout=60)
    assert done.returncode != 0 and daemon.path in done.stderr
    with Raw(daemon.path) as raw:
        assert worked_example(raw)[0] == 0.5


def test_something_that_is_no_socket_is_left_alone(io, tmp_path):
    path = tmp_path / "precious"
    path.write_text("data")
    done = subprocess.run([BUILD / "rankd", "--http=off", io, f"--socket={path}"], capture_output=True, text=True, timeout=60)
    assert done.returncode != 0 and path.read_text() == "data"


# ---- Deaths ----

HOLD = """
import os, sys, time
sys.path.insert(0, sys.argv[1])
import numpy as np
from ring_support import Raw
from test_ring import large
raw = Raw(sys.argv[2], arena=64 << 20)
if sys.argv[3] == "busy":
    for i in range(4):
        raw.submit(large(raw, 128, 8192, slot=i, space=15 << 20))
if sys.argv[3] == "forked" and os.fork() == 0:
    raw.words.release()
    raw.map.close()
    os.close(raw.fd)
    os.write(1, b"%d\\n" % os.getpid())  # at once: a print in two parts mixes with the other one's
    time.sleep(600)
os.write(1, b"held\\n")
time.sleep(600)
"""


def hold(daemon, how):
    process = subprocess.Popen([sys.executable, "-c", HOLD, os.path.dirname(__file__), daemon.path, how],
                               stdout=subprocess.PIPE, text=True)
    lines = [process.stdout.readline() for _ in range(2 if how == "forked" else 1)]
    return process, [line.strip() for line in lines]


def shared_memory(daemon):
    """Bytes of segments that the daemon has mapped, though others may have mapped them too."""
    total, size = 0, 0
    with open(f"/proc/{daemon.pid}/smaps") as file:
        for line in file:
            if "-" in line.split(" ")[0]:
                size = sum((-1) ** i * int(end, 16) for i, end in enumerate(line.split(" ")[0].split("-")[::-1]))
                total += size if "memfd:rankd-ring" in line else 0
    return total


@pytest.mark.parametrize("how", ["idle", "busy", "forked"])
def test_the_segment_of_a_killed_client_is_freed(daemon, how):
    """Also while its requests run, and also if a child of the client still holds the socket. Within
    a second it no longer counts, and its pages are free."""
    before = daemon.metric("rankd_ring_segments")
    process, lines = hold(daemon, how)
    assert daemon.metric("rankd_ring_segments") == before + 1
    assert shared_memory(daemon) >= 64 << 20
    process.kill()
    process.wait()
    started = time.monotonic()
    assert eventually(lambda: daemon.metric("rankd_ring_segments") == before, seconds=1)
    assert eventually(lambda: shared_memory(daemon) < 16 << 20, seconds=1)
    print(f"freed after {time.monotonic() - started:.3f} s")
    for line in lines:
        if line.isdigit():
            os.kill(int(line), signal.SIGKILL)
    with Raw(daemon.path) as raw:
        assert worked_example(raw)[0] == 0.5


def test_a_stopped_client_delays_nobody(daemon):
    process, _ = hold(daemon, "busy")
    process.send_signal(signal.SIGSTOP)
    try:
        with Raw(daemon.path) as raw:
            for _ in range(20):
                assert worked_example(raw)[0] == 0.5
            assert raw.call("GET", "/v2")[0] == 200
    finally:
        process.kill()
        process.wait()


def test_clients_of_a_killed_daemon_are_told_within_a_second_and_find_its_successor(io):
    daemon = Daemon(io)
    with contextlib.ExitStack() as stack:
        clients = [stack.enter_context(Raw(daemon.path, arena=8 << 20)) for _ in range(8)]
        daemon.hold()  # all of them wait
        tags = [raw.submit(large(raw, 64, 4096)) for raw in clients]
        started = time.monotonic()
        daemon.kill()
        for raw, tag in zip(clients, tags):
            with pytest.raises(Lost):
                raw.wait(tag)
        told = time.monotonic() - started
        assert told < 1, told
        first = clients[0].daemon_id
    daemon.start()
    with Raw(daemon.path) as raw:
        assert worked_example(raw)[0] == 0.5 and raw.daemon_id != first
        status, text = raw.call("GET", "/v2")
        assert status == 200 and int(json.loads(text)["instance"], 16) == raw.daemon_id
    daemon.stop()


def test_an_orderly_stop_completes_what_was_taken(io):
    daemon = Daemon(io)
    with Raw(daemon.path, entries=16, arena=128 << 20) as raw:
        tags = [raw.submit(large(raw, 128, 8192, slot=i, space=12 << 20)) for i in range(6)]
        assert eventually(lambda: raw.word(256) == raw.word(128))  # all were taken
        daemon.process.terminate()
        assert [raw.wait(tag) for tag in tags] == [0] * 6
        assert raw.is_hung_up()
    daemon.process.wait(60)
    daemon.stop()


def test_an_idle_daemon_with_clients_uses_no_cpu(daemon):
    clients = [Raw(daemon.path, spin_us=100) for _ in range(8)]
    for raw in clients:
        assert worked_example(raw)[0] == 0.5
    time.sleep(0.5)
    before = daemon.cpu_seconds()
    time.sleep(2)
    assert daemon.cpu_seconds() - before <= 0.02  # at most the clock's resolution, twice
    for raw in clients:
        raw.close()


def test_spinning_is_granted_to_fewer_clients_than_there_are_cpus(daemon):
    clients = [Raw(daemon.path, spin_us=50) for _ in range(6)]
    granted = [raw for raw in clients if raw.word(264)]
    assert len(granted) == min(6, len(os.sched_getaffinity(0)) - 1)
    if granted:
        granted[0].close()
        others = [raw for raw in clients if raw.map is not None]
        assert eventually(lambda: sum(raw.word(264) != 0 for raw in others) == len(granted))
    for raw in clients:
        raw.close()
