# SPDX-License-Identifier: Apache-2.0
"""Registered shared memory: an unmodified Triton client works, and neither another user nor an
owner that truncates its memory can make the daemon do harm."""
import base64
import itertools
import json
import os
import signal
import threading
import time

import numpy as np
import pytest
import tritonclient.http as triton
import tritonclient.utils.shared_memory as shared
from conftest import BUILD, Daemon, assert_ended_well
from ring_support import Raw
from support_http import ask, infer

ALICE, BOB, METRICS = "the-token-of-alice-0001", "the-token-of-bob-000001", "the-token-of-metrics-01"
REGION = "/v2/systemsharedmemory/region/{}/{}"
numbers = itertools.count()


def bearer(token):
    return [f"Authorization: Bearer {token}"]


def registered(daemon, token, name, key, size, offset=0):
    return ask(daemon, "POST", REGION.format(name, "register"), {"key": key, "offset": offset, "byte_size": size}, bearer(token))


def status(daemon, token, name=None):
    return ask(daemon, "GET", REGION.format(name, "status") if name else "/v2/systemsharedmemory/status", headers=bearer(token))


@pytest.fixture(scope="module")
def daemon(tmp_path_factory):
    folder = tmp_path_factory.mktemp("regions")
    tokens = folder / "tokens"
    tokens.write_text(f"alice infer {ALICE}\nbob infer {BOB}\nwatcher metrics {METRICS}\n")
    tokens.chmod(0o600)
    daemon = Daemon(folder, "--tokens", tokens, "--allow-shm-regions", "--shm-key-prefix", "rankd_test_", "--shm-token-regions",
                    8)
    yield daemon
    assert_ended_well(daemon)


@pytest.fixture
def memory(daemon):
    """memory(bytes) makes a shared memory object and gives its key; gone after the test, like all
    regions."""
    keys = []

    def make(content):
        keys.append(f"rankd_test_{os.getpid()}_{next(numbers)}")
        with open(f"/dev/shm/{keys[-1]}", "wb") as file:
            file.write(content)
        return keys[-1]

    yield make
    for token in (ALICE, BOB):
        assert ask(daemon, "POST", "/v2/systemsharedmemory/unregister", headers=bearer(token)).status == 200
    for key in keys:
        if os.path.exists(f"/dev/shm/{key}"):
            os.unlink(f"/dev/shm/{key}")


def in_region(name, size, offset=0):
    return {"shared_memory_region": name, "shared_memory_byte_size": size, "shared_memory_offset": offset}


SCORES, TARGETS = np.float32([[0.9, 0.8, 0.7, 0.6]]), np.int8([[0, 1, 0, 1]])
CONTENT = SCORES.tobytes() + TARGETS.tobytes() + bytes(44)


def body(region, outputs=("loss", "gradient"), **places):
    """A request with its tensors in the region: scores at 0, targets at 16, gradient to 32."""
    places = {"scores": (16, 0), "targets": (4, 16), "gradient": (16, 32), **places}
    described = []
    for name in outputs:
        described.append({"name": name} | ({"parameters": in_region(region, *places[name])} if name in places else {}))
    return {"inputs": [{"name": "scores", "shape": [1, 4], "datatype": "FP32",
                        "parameters": in_region(region, *places["scores"])},
                       {"name": "targets", "shape": [1, 4], "datatype": "INT8",
                        "parameters": in_region(region, *places["targets"])}],
            "outputs": described}


def test_an_unmodified_triton_client_works(daemon):
    scores = np.random.default_rng(1).random((64, 512), dtype=np.float32)
    targets = (np.random.default_rng(2).random((64, 512)) < 0.05).astype(np.int8)
    headers = {"Authorization": f"Bearer {ALICE}"}
    sizes = [scores.nbytes, targets.nbytes, scores.nbytes]
    handles = [shared.create_shared_memory_region(f"part{i}", f"/rankd_test_triton_{os.getpid()}_{i}", size)
               for i, size in enumerate(sizes)]
    try:
        shared.set_shared_memory_region(handles[0], [scores])
        shared.set_shared_memory_region(handles[1], [targets])
        with triton.InferenceServerClient(daemon.url.removeprefix("http://")) as client:
            assert "system_shared_memory" in client.get_server_metadata(headers=headers)["extensions"]
            for i, size in enumerate(sizes):
                client.register_system_shared_memory(f"part{i}", f"/rankd_test_triton_{os.getpid()}_{i}", size, headers=headers)
            assert [r["name"] for r in client.get_system_shared_memory_status(headers=headers)] == ["part0", "part1", "part2"]
            inputs = [triton.InferInput("scores", scores.shape, "FP32"), triton.InferInput("targets", targets.shape, "INT8")]
            inputs[0].set_data_from_numpy(scores)
            inputs[1].set_data_from_numpy(targets)
            plain = client.infer("ap", inputs, outputs=[triton.InferRequestedOutput(n) for n in ("loss", "gradient")],
                                 headers=dict(headers))  # the client changes its argument
            inputs[0].set_shared_memory("part0", sizes[0])
            inputs[1].set_shared_memory("part1", sizes[1])
            outputs = [triton.InferRequestedOutput("loss"), triton.InferRequestedOutput("gradient")]
            outputs[1].set_shared_memory("part2", sizes[2])
            reply = client.infer("ap", inputs, outputs=outputs, headers=dict(headers))
            assert reply.get_output("gradient")["parameters"]["shared_memory_byte_size"] == sizes[2]
            got = shared.get_contents_as_numpy(handles[2], np.float32, scores.shape)
            np.testing.assert_array_equal(got, plain.as_numpy("gradient"))
            assert np.count_nonzero(got) > 0
            assert reply.as_numpy("loss") == plain.as_numpy("loss")
            client.unregister_system_shared_memory("part0", headers=headers)
            assert len(client.get_system_shared_memory_status(headers=headers)) == 2
            client.unregister_system_shared_memory(headers=headers)
            assert client.get_system_shared_memory_status(headers=headers) == []
    finally:
        for handle in handles:
            shared.destroy_shared_memory_region(handle)


def test_offsets_count_from_the_region_and_the_region_from_the_object(daemon, memory):
    key = memory(bytes(100) + CONTENT)
    assert registered(daemon, ALICE, "r", key, len(CONTENT), offset=100).status == 200
    assert status(daemon, ALICE, "r").json() == [{"name": "r", "key": key, "offset": 100, "byte_size": len(CONTENT)}]
    answer = infer(daemon, body("r"), bearer(ALICE))
    assert answer.status == 200 and answer.json()["outputs"][0]["data"] == [0.5]
    with open(f"/dev/shm/{key}", "rb") as file:
        whole = file.read()
    assert whole[:132] == bytes(100) + CONTENT[:32] and len(whole) == 100 + len(CONTENT) and whole[148:] == bytes(16)
    gradient = infer(daemon, headers=bearer(ALICE), body=(
        {"inputs": [{"name": "scores", "shape": [1, 4], "datatype": "FP32", "data": SCORES.tolist()},
                    {"name": "targets", "shape": [1, 4], "datatype": "INT8", "data": TARGETS.tolist()}],
         "outputs": [{"name": "gradient"}]})).json()["outputs"][0]["data"]
    assert np.frombuffer(whole[132:148], np.float32).tolist() == gradient


def test_regions_are_the_tokens_own(daemon, memory):
    key = memory(CONTENT)
    assert registered(daemon, ALICE, "secret-name", key, 64).status == 200
    assert status(daemon, BOB).json() == []
    missing, foreign = status(daemon, BOB, "other-name1"), status(daemon, BOB, "secret-name")
    assert missing.status == foreign.status == 404
    assert foreign.error == missing.error.replace("other-name1", "secret-name")
    answer = infer(daemon, body("secret-name"), bearer(BOB))
    assert answer.status == 400 and "not registered" in answer.error and key not in answer.error
    assert ask(daemon, "POST", REGION.format("secret-name", "unregister"), headers=bearer(BOB)).status == 200
    assert ask(daemon, "POST", "/v2/systemsharedmemory/unregister", headers=bearer(BOB)).status == 200
    assert len(status(daemon, ALICE).json()) == 1
    assert registered(daemon, BOB, "secret-name", memory(CONTENT), 64).status == 200, "a name is a token's own too"
    assert status(daemon, ALICE).json() != status(daemon, BOB).json()


@pytest.mark.parametrize("key, words", [
    ("passwd", "rankd_test_"), ("/passwd", "rankd_test_"), ("rankd_test_/../passwd", "slash"), ("../rankd_test_a", "slash"),
    ("//rankd_test_a", "slash"), ("", "rankd_test_"), ("rankd_test_" + "x" * 300, "key"),
    ("rankd_test_nobody_has", "no shared memory")])
def test_a_key_that_is_not_allowed(daemon, key, words):
    answer = registered(daemon, ALICE, "r", key, 4)
    assert answer.status == 400 and words in answer.error, answer.error


@pytest.mark.parametrize("offset, size", [(0, 0), (0, 65), (65, 1), (60, 5), (2**63 - 1, 2**63 - 1), (2**63 - 1, 1),
                                          (0, 2**63 - 1),
                                          (-1, 4), (0, -4), (2**64 - 4, 8), (0, 2**64 + 4), (0.5, 4), ("0", 4), (0, None)])
def test_a_range_beyond_the_object(daemon, memory, offset, size):
    answer = registered(daemon, ALICE, "r", memory(CONTENT), size, offset)
    assert answer.status == 400 and len(answer.error) > 10, answer.error
    assert status(daemon, ALICE).json() == []


def test_what_is_no_memory_of_the_daemons_user(daemon, memory):
    """Objects of other users, links, pipes and folders get the same sentence, because the kind
    would reveal what others have."""
    sentences, path = set(), f"/dev/shm/rankd_test_{os.getpid()}_odd"

    def refused():
        answer = registered(daemon, ALICE, "r", path.removeprefix("/dev/shm/"), 4)
        assert answer.status == 400
        sentences.add(answer.error)

    refused()
    for make, remove in ((os.mkfifo, os.unlink), (os.mkdir, os.rmdir),
                         (lambda p: os.symlink(f"/dev/shm/{memory(CONTENT)}", p), os.unlink)):
        make(path)
        try:
            refused()
        finally:
            remove(path)
    if os.geteuid() == 0:
        with open(path, "wb") as file:
            file.write(CONTENT)
        os.chown(path, 12345, 12345)
        try:
            refused()
        finally:
            os.unlink(path)
    assert len(sentences) == 1


@pytest.mark.parametrize("change, words", [
    ({"scores": (16, 49)}, "64 bytes"), ({"scores": (16, 2**63 - 1)}, "64 bytes"), ({"targets": (4, 61)}, "64 bytes"),
    ({"scores": (12, 0)}, "take 16"), ({"scores": (2**62, 0)}, "64 bytes"), ({"scores": (16, -1)}, "shared_memory_offset"),
    ({"scores": (-16, 0)}, "shared_memory_byte_size"), ({"gradient": (16, 49)}, "64 bytes"),
    ({"gradient": (12, 32)}, "gradient")])
def test_a_place_outside_the_region(daemon, memory, change, words):
    assert registered(daemon, ALICE, "r", memory(CONTENT), 64).status == 200
    answer = infer(daemon, body("r", **change), bearer(ALICE))
    assert answer.status == 400 and words in answer.error, answer.error


def test_a_name_twice_and_too_many_of_them(daemon, memory):
    key = memory(CONTENT)
    fds = daemon.fds()
    assert registered(daemon, ALICE, "r", key, 64).status == 200
    again = registered(daemon, ALICE, "r", key, 32)
    assert again.status == 409 and "unregister" in again.error
    for i in range(7):
        assert registered(daemon, ALICE, f"r{i}", key, 64).status == 200
    many = registered(daemon, ALICE, "one-more", key, 64)
    assert many.status == 503 and "shm-token-regions" in many.error
    assert registered(daemon, BOB, "r", key, 64).status == 200, "one token's limit is not another's"
    assert ask(daemon, "POST", "/v2/systemsharedmemory/unregister", headers=bearer(ALICE)).status == 200
    assert ask(daemon, "POST", REGION.format("r", "unregister"), headers=bearer(BOB)).status == 200
    assert daemon.fds() <= fds + 1


def test_an_object_that_is_cut_short_after_it_was_registered(daemon, memory):
    key = memory(CONTENT)
    assert registered(daemon, ALICE, "r", key, 64).status == 200
    os.truncate(f"/dev/shm/{key}", 40)  # inputs are still there, the place of the gradient is not
    answer = infer(daemon, body("r"), bearer(ALICE))
    assert answer.status == 400 and "output gradient" in answer.error and "shorter" in answer.error
    assert os.path.getsize(f"/dev/shm/{key}") == 40
    os.truncate(f"/dev/shm/{key}", 10)
    answer = infer(daemon, body("r", outputs=["loss"]), bearer(ALICE))
    assert answer.status == 400 and "input scores" in answer.error and "shorter" in answer.error
    assert infer(daemon, headers=bearer(ALICE)).status == 200


def test_an_output_without_its_place_appends_nothing_to_a_bank(make_daemon, memory, tmp_path):
    tokens, key = tmp_path / "tokens", memory(CONTENT)
    tokens.write_text(f"alice all {ALICE}\n")
    tokens.chmod(0o600)
    daemon = make_daemon("--tokens", tokens, "--allow-shm-regions", "--shm-key-prefix", "rankd_test_")
    config = {"kind": "scores", "lists": 1, "capacity": 100, "durability": "none"}
    assert ask(daemon, "PUT", "/v2/banks/b", config, bearer(ALICE)).status == 200
    assert registered(daemon, ALICE, "r", key, 64).status == 200
    os.truncate(f"/dev/shm/{key}", 40)
    answer = infer(daemon, body("r") | {"parameters": {"bank": "b"}}, bearer(ALICE))
    assert answer.status == 400 and "output gradient" in answer.error
    assert ask(daemon, "GET", "/v2/banks/b", headers=bearer(ALICE)).json()["items"] == 0
    os.truncate(f"/dev/shm/{key}", 64)
    assert infer(daemon, body("r") | {"parameters": {"bank": "b"}}, bearer(ALICE)).status == 200
    assert ask(daemon, "GET", "/v2/banks/b", headers=bearer(ALICE)).json()["items"] == 4


def test_memory_that_shrinks_grows_and_is_unregistered_while_requests_run(daemon, memory):
    key = memory(CONTENT)
    fds, stop = daemon.fds(), threading.Event()

    def meddle():
        while not stop.is_set():
            os.truncate(f"/dev/shm/{key}", 0)
            with open(f"/dev/shm/{key}", "r+b") as file:
                file.write(CONTENT)
            ask(daemon, "POST", REGION.format("r", "unregister"), headers=bearer(ALICE))
            registered(daemon, ALICE, "r", key, 64)

    meddler = threading.Thread(target=meddle)
    meddler.start()
    try:
        for _ in range(400):
            answer = infer(daemon, body("r"), bearer(ALICE))
            assert answer.status == 200 or (answer.status == 400 and len(answer.error) > 10), answer.error
    finally:
        stop.set()
        meddler.join()
    assert ask(daemon, "POST", "/v2/systemsharedmemory/unregister", headers=bearer(ALICE)).status == 200
    assert daemon.fds() <= fds + 3  # connections that are being closed
    assert infer(daemon, headers=bearer(ALICE)).status == 200


def test_two_sources_of_data_and_bodies_that_are_no_region(daemon, memory):
    key = memory(CONTENT)
    assert registered(daemon, ALICE, "r", key, 64).status == 200
    both = body("r")
    both["inputs"][0]["data"] = SCORES.tolist()
    assert "exactly one" in infer(daemon, both, bearer(ALICE)).error
    for wrong in (b"", b"[]", b"{", {"key": key}, {"byte_size": 4}, {"key": 7, "byte_size": 4},
                  {"key": key, "byte_size": 4, "x": 1}):
        answer = ask(daemon, "POST", REGION.format("s", "register"), wrong, bearer(ALICE))
        assert answer.status == 400 and len(answer.error) > 10, wrong


def test_regions_are_not_for_clients_of_the_ring(make_daemon, memory, tmp_path):
    """Regions belong to tokens. Nothing is registered, and regions of others are neither shown nor
    unregistered."""
    tokens, path, key = tmp_path / "tokens", tmp_path / "ring", memory(CONTENT)
    tokens.write_text(f"alice all {ALICE}\n")
    tokens.chmod(0o600)
    daemon = make_daemon("--tokens", tokens, "--allow-shm-regions", "--shm-key-prefix", "rankd_test_", "--socket", path)
    assert registered(daemon, ALICE, "r", key, 64).status == 200
    body = json.dumps({"key": key, "offset": 0, "byte_size": 64}).encode()
    with Raw(str(path)) as raw:
        for kind in ("systemsharedmemory", "cudasharedmemory"):
            for method, route in (("GET", "status"), ("GET", "region/r/status"), ("POST", "region/s/register"),
                                  ("POST", "region/r/unregister"), ("POST", "unregister")):
                code, text = raw.call(method, f"/v2/{kind}/{route}", body if "/register" in route else b"")
                assert code == 501 and "tokens" in json.loads(text)["error"] and "arena" in json.loads(text)["error"], (route,
                    text)
        assert raw.call("PUT", "/v2/systemsharedmemory/status")[0] == 405
        entry, _ = raw.infer_entry("ap", {"scores": SCORES, "targets": TARGETS}, [("gradient", 16)])
        assert raw.wait(raw.submit(entry)) == 0
    assert [r["name"] for r in status(daemon, ALICE).json()] == ["r"]
    with Raw(make_daemon("--socket", tmp_path / "other").flags[1]) as raw:  # nor where they are switched off
        assert raw.call("GET", "/v2/systemsharedmemory/status")[0] == 501


def test_regions_are_off_unless_asked_for_and_want_tokens(make_daemon):
    off = make_daemon()
    for answer in (ask(off, "GET", "/v2/systemsharedmemory/status"), infer(off, body("r"))):
        assert answer.status == 501 and "--allow-shm-regions" in answer.error
    assert "system_shared_memory" not in ask(off, "GET", "/v2").json()["extensions"]
    with pytest.raises(RuntimeError, match="tokens"):
        make_daemon("--allow-shm-regions")


# ---- a token that was removed ----

def holds(daemon, key):
    """Whether the daemon has the object open."""
    for fd in os.listdir(f"/proc/{daemon.pid}/fd"):
        try:
            if os.readlink(f"/proc/{daemon.pid}/fd/{fd}") == f"/dev/shm/{key}":
                return True
        except FileNotFoundError:
            pass
    return False


def maps(daemon, key):
    with open(f"/proc/{daemon.pid}/maps") as file:
        return f"/dev/shm/{key}" in file.read()


def goes(condition):
    """Whether the condition becomes false within the time."""
    until = time.monotonic() + 60
    while condition() and time.monotonic() < until:
        time.sleep(0.01)
    return not condition()


@pytest.fixture
def guarded(make_daemon, tmp_path):
    """A daemon with an emulated device, and reload(lines): what is in the file of tokens from then
    on."""
    file = tmp_path / "tokens"
    reloads = itertools.count(1)

    def write(lines):
        file.write_text(lines)
        file.chmod(0o600)

    def reload(lines):
        write(lines)
        daemon.signal(signal.SIGHUP)
        daemon.wait_for_log(r"(?s)" + r"SIGHUP: (?:the )?tokens.*" * next(reloads))

    write(BOTH)
    daemon = make_daemon("--device", "cuda:0", "--device-plugin", BUILD / "emulated-device.so", "--tokens", file, "--workers", 2,
                         "--allow-shm-regions", "--shm-key-prefix", "rankd_test_", "--shm-token-regions", 2, "--shm-regions", 4)
    daemon.reload = reload
    return daemon


BOTH = f"alice infer {ALICE}\nbob infer {BOB}\n"
DEVICE = "/v2/cudasharedmemory/region/{}/{}"


def registered_device(daemon, token, name, key, size):
    handle = base64.b64encode(f"/{key}".encode().ljust(64, b"\0")).decode()
    return ask(daemon, "POST", DEVICE.format(name, "register"),
               {"raw_handle": {"b64": handle}, "device_id": 0, "byte_size": size}, bearer(token))


@pytest.mark.parametrize("left", [f"bob infer {BOB}\n", f"alice metrics {ALICE}\nbob infer {BOB}\n"],
                         ids=["gone", "may not infer"])
def test_regions_of_a_removed_token_go_with_it(guarded, memory, left):
    keys = [memory(CONTENT) for _ in range(4)]
    for token, system, device in ((ALICE, keys[0], keys[1]), (BOB, keys[2], keys[3])):
        assert registered(guarded, token, "r", system, 64).status == 200
        assert registered_device(guarded, token, "c", device, 64).status == 200
    assert holds(guarded, keys[0]) and maps(guarded, keys[1])
    guarded.reload(left)
    assert not holds(guarded, keys[0]) and not maps(guarded, keys[1])
    assert holds(guarded, keys[2]) and maps(guarded, keys[3]), "another token's regions stay"
    assert infer(guarded, body("r"), bearer(BOB)).status == 200
    assert registered(guarded, ALICE, "r", keys[0], 64).status in (401, 403)
    guarded.reload(f"alice infer another-token-of-alice-1\nbob infer {BOB}\n")
    alice = "another-token-of-alice-1"
    assert status(guarded, alice).json() == [], "who gets the name later does not get the regions"
    assert registered(guarded, alice, "r", keys[0], 64).status == 200, "and what they took of the limits is free again"
    assert registered_device(guarded, alice, "c", keys[1], 64).status == 200


def test_regions_stay_with_a_token_that_is_renewed_and_when_the_file_is_damaged(guarded, memory):
    assert registered(guarded, ALICE, "r", memory(CONTENT), 64).status == 200
    guarded.reload("nonsense\n")
    assert len(status(guarded, ALICE).json()) == 1
    guarded.reload(f"alice infer renewed-token-of-alice\nbob infer {BOB}\n")
    assert len(status(guarded, "renewed-token-of-alice").json()) == 1


@pytest.mark.parametrize("on_device", [False, True], ids=["system", "cuda"])
def test_a_region_in_use_goes_when_its_last_use_ends(guarded, memory, on_device):
    """Requests that began before their token was removed end normally; then the memory is
    released."""
    rows, columns = 64, 16384
    n = rows * columns
    scores = np.random.default_rng(5).random((rows, columns), dtype=np.float32)
    targets = (np.arange(n) % 40 == 0).astype(np.int8)
    key = memory(scores.tobytes() + targets.tobytes() + bytes(4 * n))
    make = registered_device if on_device else registered
    request = {"parameters": {"margin": 0.1}, "inputs": [
        {"name": "scores", "shape": [rows, columns], "datatype": "FP32", "parameters": in_region("r", 4 * n)},
        {"name": "targets", "shape": [rows, columns], "datatype": "INT8", "parameters": in_region("r", n, 4 * n)}],
        "outputs": [{"name": "gradient", "parameters": in_region("r", 4 * n, 5 * n)}]}
    assert make(guarded, ALICE, "r", key, 9 * n).status == 200
    answers, begun = [], threading.Event()

    def work():
        while True:
            answers.append(infer(guarded, request, bearer(ALICE)))
            begun.set()
            if answers[-1].status != 200:
                return

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    assert begun.wait(60) and answers[0].status == 200, answers
    guarded.reload(f"bob infer {BOB}\n")
    for thread in threads:
        thread.join()
    # 400: its token was valid when it arrived, but the region was gone when it was looked up
    assert {a.status for a in answers} <= {200, 400, 401}, [a.body for a in answers if a.status not in (200, 400, 401)]
    assert all("not registered" in a.error for a in answers if a.status == 400)
    assert goes(lambda: holds(guarded, key) or maps(guarded, key))
    assert infer(guarded, headers=bearer(BOB)).status == 200
