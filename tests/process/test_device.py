# SPDX-License-Identifier: Apache-2.0
"""The daemon with a device, the real plugin on an emulated one (tests/gpu/emulator): which requests
go there, those that fail there, and memory of the device that clients register."""
import base64
import json
import os
import re
import subprocess
import uuid
from pathlib import Path

import numpy as np
import pytest
import tritonclient.http as triton
from conftest import BUILD, Daemon, assert_ended_well
from ring_support import Raw, eventually
from support_http import ask, at_once

PLUGIN = BUILD / "emulated-device.so"
ALICE, BOB = "the-token-of-alice-0001", "the-token-of-bob-000001"
REGION = "/v2/cudasharedmemory/region/{}/{}"


def flags(device="cuda:0"):
    return ("--device", device, "--device-plugin", PLUGIN)


def problem(lists=5, items=40):
    random = np.random.default_rng(lists * items)
    scores = random.random((lists, items), dtype=np.float32)
    targets = (random.random((lists, items)) < 0.2).astype(np.int8)
    targets[:, 0] = 1
    return scores, targets


def compute(daemon, scores, targets, headers=(), model="ap", **parameters):
    inputs = [{"name": n, "shape": list(a.shape), "datatype": t, "data": [None if np.isnan(x) else float(x) for x in a.ravel()]
               if t == "FP32" else a.ravel().tolist()} for n, a, t in (("scores", scores, "FP32"), ("targets", targets, "INT8"))]
    return ask(daemon, "POST", f"/v2/models/{model}/infer", {"parameters": parameters, "inputs": inputs}, headers)


def result(answer):
    assert answer.status == 200, answer.body
    outputs = {o["name"]: np.array(o["data"], np.float32) for o in json.loads(answer.body)["outputs"]}
    return outputs["loss"], outputs["gradient"]


def metric(daemon, name, headers=()):
    text = ask(daemon, "GET", "/metrics", headers=headers).body.decode()
    found = re.search(rf"^{re.escape(name)} (\S+)$", text, re.M)
    return float(found[1]) if found else None


def engines(daemon):
    return tuple(metric(daemon, f'rankd_engine_requests_total{{model="ap",engine="{e}"}}') for e in ("cpu", "device"))


def state(daemon):
    return json.loads(ask(daemon, "GET", "/v2").body).get("device", {}).get("state")


def test_the_device_computes_what_it_knows_and_the_cpu_the_same(make_daemon):
    cpu, device = make_daemon("--device", "cpu"), make_daemon(*flags())
    here, there = (result(compute(d, *problem())) for d in (cpu, device))
    assert np.array_equal(here[1], there[1]) and np.allclose(here[0], there[0], rtol=1e-6)
    assert engines(cpu) == (1, 0) and engines(device) == (0, 1)
    assert state(cpu) is None and state(device) == "ready"
    assert metric(device, 'rankd_device_info{name="an emulated device"}') == 1 and metric(device, "rankd_device_up") == 1
    device.wait_for_log(r"component=request.* engine=device")
    cpu.wait_for_log(r"component=request.* engine=cpu")


@pytest.mark.parametrize("version, vocabulary, good", [("RK_PLUGIN_VERSION", "RK_PLUGIN_VOCABULARY", True),
                                                        ("RK_PLUGIN_VERSION - 1", "RK_PLUGIN_VOCABULARY", False),
                                                        ("RK_PLUGIN_VERSION", "RK_PLUGIN_VOCABULARY + 0x100", False)])
def test_a_plugin_that_counts_losses_or_parameters_otherwise_is_refused(make_daemon, tmp_path, version, vocabulary, good):
    root = Path(__file__).parents[2]
    (tmp_path / "plugin.c").write_text(f"""
#include <stdio.h>
#include "device/device_plugin.h"
static struct rk_plugin_device *open_none(int ordinal, size_t limit, char *name, char *why)
{{
    (void)ordinal, (void)limit, (void)name;
    (void)snprintf(why, RK_DEVICE_WHY, "it was asked");
    return NULL;
}}
static const struct rk_device_plugin table = {{.version = {version}, .vocabulary = {vocabulary}, .open = open_none}};
const struct rk_device_plugin *rk_plugin(void);
const struct rk_device_plugin *rk_plugin(void) {{ return &table; }}
""")
    subprocess.run(["gcc", "-shared", "-fPIC", f"-I{root}/lib", f"-I{root}/proto", tmp_path / "plugin.c", "-o",
                    tmp_path / "plugin.so"], check=True)
    with pytest.raises(RuntimeError, match="it was asked" if good else "plugin.so is not a plugin of this version of rankd"):
        make_daemon("--device", "cuda:0", "--device-plugin", tmp_path / "plugin.so")


def test_what_goes_to_the_device_and_back_is_counted_as_copied(make_daemon, tmp_path):
    daemon = make_daemon(*flags(), "--socket", tmp_path / "ring")
    scores, targets = problem()
    with Raw(str(tmp_path / "ring")) as raw:
        entry, _ = raw.infer_entry("ap", {"scores": scores, "targets": targets}, [("gradient", scores.nbytes)])
        assert raw.wait(raw.submit(entry)) == 0, raw.reply()
    assert metric(daemon, "rankd_ring_copied_bytes_total") == 2 * scores.nbytes + targets.nbytes
    assert eventually(lambda: engines(daemon) == (0, 1))  # counted after the client has its answer


def by_ring(raw, scores, targets):
    """One request; its gradient in the shared memory."""
    entry, places = raw.infer_entry("ap", {"scores": scores, "targets": targets}, [("gradient", scores.nbytes)])
    assert raw.wait(raw.submit(entry)) == 0, raw.reply()
    at = places["gradient"]
    return np.frombuffer(bytes(raw.map[at:at + scores.nbytes]), np.float32)


def pinned(daemon):
    return metric(daemon, "rankd_device_pinned_bytes")


def test_a_clients_memory_is_pinned_once_as_much_went_through_it(make_daemon, tmp_path):
    """Not before that, because pinning takes as long as copying; from then on the device accesses
    it directly."""
    cpu, daemon = make_daemon("--device", "cpu"), make_daemon(*flags(), "--socket", tmp_path / "ring")
    scores, targets = problem(20, 2000)
    want, each = result(compute(cpu, scores, targets))[1], 2 * scores.nbytes + targets.nbytes
    with Raw(str(tmp_path / "ring")) as raw, Raw(str(tmp_path / "ring")) as other:
        for done in range(5):
            assert pinned(daemon) == (raw.size if (done - 1) * each >= raw.size else 0), done
            assert np.array_equal(by_ring(raw, scores, targets), want)
        assert pinned(daemon) == raw.size and metric(daemon, "rankd_ring_copied_bytes_total") == 5 * each
        assert np.array_equal(by_ring(other, scores, targets), want)
        assert pinned(daemon) == raw.size
    assert eventually(lambda: pinned(daemon) == 0)


def test_small_requests_pin_nothing(make_daemon, tmp_path):
    """They are computed by the ring's own thread, which has others to serve."""
    daemon = make_daemon(*flags(), "--socket", tmp_path / "ring")
    scores, targets = problem(20, 1000)
    with Raw(str(tmp_path / "ring"), arena=1 << 18) as raw:
        for _ in range(4):
            by_ring(raw, scores, targets)
        assert pinned(daemon) == 0 and metric(daemon, "rankd_ring_copied_bytes_total") > 2 * raw.size


def test_memory_that_can_not_be_pinned_is_copied(make_daemon, tmp_path):
    cpu = make_daemon("--device", "cpu")
    daemon = make_daemon(*flags(), "--socket", tmp_path / "ring", env={"EMULATED_DEVICE": "register:1+"})
    scores, targets = problem(20, 2000)
    want = result(compute(cpu, scores, targets))[1]
    with Raw(str(tmp_path / "ring")) as raw:
        for _ in range(5):
            assert np.array_equal(by_ring(raw, scores, targets), want)
    assert pinned(daemon) == 0 and state(daemon) == "ready" and metric(daemon, "rankd_device_failures_total") == 0
    assert eventually(lambda: engines(daemon) == (0, 5))


def test_memory_that_can_not_be_pinned_costs_banks_nothing(make_daemon, tmp_path):
    """Banks on the device are dropped if the device is short of memory, and only then."""
    daemon = make_daemon(*flags(), "--socket", tmp_path / "ring", env={"EMULATED_DEVICE": "register:1+"})
    assert ask(daemon, "PUT", "/v2/banks/seen",
               {"kind": "embeddings", "dim": 8, "capacity": 100, "durability": "none"}).status == 200
    rows = np.random.default_rng(1).random((20, 8), dtype=np.float32)
    inputs = [{"name": "embeddings", "shape": [20, 8], "datatype": "FP32", "data": rows.ravel().tolist()},
              {"name": "labels", "shape": [20], "datatype": "INT64", "data": [i % 3 for i in range(20)]}]
    scores, targets = problem(20, 2000)
    result(compute(daemon, scores, targets))
    before = metric(daemon, "rankd_device_memory_used_bytes")
    for _ in range(2):
        assert ask(daemon, "POST", "/v2/models/ap/infer", {"parameters": {"bank": "seen"}, "inputs": inputs}).status == 200
    kept = metric(daemon, "rankd_device_memory_used_bytes")
    assert kept >= before + (1 << 20)
    with Raw(str(tmp_path / "ring")) as raw:
        for _ in range(4):
            by_ring(raw, scores, targets)
    assert metric(daemon, "rankd_device_memory_used_bytes") == kept and pinned(daemon) == 0


def test_clients_that_vanish_leave_nothing_pinned(make_daemon, tmp_path):
    """Also with requests in flight: the client is gone, and the device may still write to its
    memory."""
    daemon = make_daemon(*flags(), "--socket", tmp_path / "ring", "--workers", 2)
    scores, targets = problem(20, 2000)
    for _ in range(4):
        raw = Raw(str(tmp_path / "ring"))
        for _ in range(4):
            by_ring(raw, scores, targets)
        assert pinned(daemon) >= raw.size
        entry, _ = raw.infer_entry("ap", {"scores": scores, "targets": targets}, [("gradient", scores.nbytes)])
        raw.submit(entry)
        raw.submit(entry)
        raw.close()
    assert eventually(lambda: pinned(daemon) == 0)
    with Raw(str(tmp_path / "ring")) as raw:
        assert np.isfinite(by_ring(raw, scores, targets)).all()


def test_what_the_device_does_not_take_is_computed_on_the_cpu(make_daemon):
    cpu, device = make_daemon("--device", "cpu"), make_daemon(*flags())
    for daemon in (cpu, device):
        assert ask(daemon, "PUT", "/v2/banks/seen", {"kind": "scores", "lists": 5, "capacity": 1000}).status == 200
    for _ in range(2):
        here, there = (result(compute(d, *problem(), bank="seen")) for d in (cpu, device))
        assert np.array_equal(here[1], there[1]) and np.array_equal(here[0], there[0])
    here, there = (result(compute(d, *problem(), gradient_scale="unit")) for d in (cpu, device))
    assert np.array_equal(here[1], there[1]) and here[1].any()
    assert engines(device) == (3, 0) and metric(device, "rankd_device_failures_total") == 0
    result(compute(device, *problem(), gradient_scale="lambda"))
    assert engines(device) == (3, 1)


def test_requests_at_once_share_the_device(make_daemon):
    """Two lanes: while one request computes, another one's tensors travel; the others wait their
    turn."""
    cpu, device = make_daemon("--device", "cpu"), make_daemon(*flags(), "--workers", 4)
    want = [result(compute(cpu, *problem(1 + i, 30 + 50 * i), interclass=0.1 * (i % 3))) for i in range(12)]
    for _ in range(3):
        got = at_once(12, lambda i: result(compute(device, *problem(1 + i, 30 + 50 * i), interclass=0.1 * (i % 3))))
        assert all(np.array_equal(a[1], b[1]) and np.allclose(a[0], b[0], rtol=1e-6) for a, b in zip(got, want, strict=True))
    assert engines(device) == (0, 36)


def test_bad_input_gets_the_sentence_of_the_cpu(make_daemon):
    cpu, device = make_daemon("--device", "cpu"), make_daemon(*flags())
    scores, targets = problem()
    targets[3, 7] = 2
    here, there = (compute(d, scores, targets) for d in (cpu, device))
    assert there.status == 400 and there.body == here.body and b"targets[3, 7] is 2" in there.body
    assert state(device) == "ready"


def test_a_device_out_of_memory_costs_a_request_nothing_and_is_told(make_daemon):
    cpu, device = make_daemon("--device", "cpu"), make_daemon(*flags(), env={"EMULATED_DEVICE": "malloc:1"})
    want = result(compute(cpu, *problem()))
    for cpus, devices, degraded in ((1, 0, 1), (1, 1, 0), (1, 2, 0)):
        got = result(compute(device, *problem()))
        assert np.array_equal(got[1], want[1])
        assert engines(device) == (cpus, devices)
        assert metric(device, "rankd_device_degraded") == degraded and state(device) == ("degraded" if degraded else "ready")
    assert metric(device, "rankd_device_failures_total") == 1
    assert ask(device, "GET", "/v2/health/ready").status == 200


def test_a_lost_device_is_left_alone(make_daemon):
    # of the second request
    cpu, device = make_daemon("--device", "cpu"), make_daemon(*flags(), env={"EMULATED_DEVICE": "kernel:5"})
    want = result(compute(cpu, *problem()))
    for _ in range(4):
        assert np.array_equal(result(compute(device, *problem()))[1], want[1])
    assert engines(device) == (3, 1)
    assert metric(device, "rankd_device_failures_total") == 1, "it was asked once more after it was lost"
    assert state(device) == "lost" and metric(device, "rankd_device_up") == 0 and metric(device, "rankd_device_degraded") == 1
    assert ask(device, "GET", "/v2/health/ready").status == 200


def run(*arguments, **env):
    return subprocess.run([BUILD / "rankd", "--http", "127.0.0.1:0", *arguments], capture_output=True, text=True, timeout=30,
                          env=os.environ | env)


def test_a_device_that_is_asked_for_by_number_must_be_there():
    ended = run(*flags("cuda:1"))
    assert ended.returncode != 0 and "device is 'cuda:1': device 1 can't be used: there is no device 1" in ended.stderr
    ended = run("--device", "cuda:0", "--device-plugin", "/nowhere/plugin.so")
    assert ended.returncode != 0 and "no device can be used without its plugin" in ended.stderr
    ended = run("--device", "cuda:0", "--device-plugin", "/lib/x86_64-linux-gnu/libz.so.1")
    assert ended.returncode != 0 and "is not a plugin of this version of rankd" in ended.stderr
    ended = run("--device", "gpu")
    assert ended.returncode != 0 and "device is 'gpu'; it must be auto, cpu, cuda or cuda:N" in ended.stderr


def test_auto_is_content_without_one(make_daemon):
    daemon = make_daemon("--device", "auto", "--device-plugin", "/nowhere/plugin.so")
    assert result(compute(daemon, *problem()))[0] > 0
    assert metric(daemon, "rankd_device_up") is None


# ---- memory of the device ----

def bearer(token):
    return [f"Authorization: Bearer {token}"]


@pytest.fixture(scope="module")
def shared(tmp_path_factory):
    folder = tmp_path_factory.mktemp("device")
    tokens = folder / "tokens"
    tokens.write_text(f"alice infer,banks,metrics {ALICE}\nbob infer {BOB}\n")
    tokens.chmod(0o600)
    daemon = Daemon(folder, *flags(), "--tokens", tokens, "--allow-shm-regions", "--shm-token-regions", 4)
    yield daemon
    assert_ended_well(daemon)


@pytest.fixture
def memory(shared):
    """memory(content) is "memory of the device": its handle, and an array of what it holds."""
    keys = []

    def make(content):
        keys.append(f"/rankd_device_{uuid.uuid4().hex}")
        with open("/dev/shm" + keys[-1], "wb") as file:
            file.write(content)
        return keys[-1].encode().ljust(64, b"\0"), np.memmap("/dev/shm" + keys[-1], np.uint8, "r+")

    yield make
    for token in (ALICE, BOB):
        assert ask(shared, "POST", "/v2/cudasharedmemory/unregister", headers=bearer(token)).status == 200
    for key in keys:
        os.unlink("/dev/shm" + key)


def register(daemon, token, name, handle, size, device=0):
    return ask(daemon, "POST", REGION.format(name, "register"),
               {"raw_handle": {"b64": base64.b64encode(handle).decode()}, "device_id": device, "byte_size": size}, bearer(token))


def in_region(name, shape, datatype, region, offset, size):
    return {"name": name, "shape": shape, "datatype": datatype,
            "parameters": {"shared_memory_region": region, "shared_memory_offset": offset, "shared_memory_byte_size": size}}


def request(scores, region, gradient=True, **parameters):
    n = scores.size
    document = {"parameters": parameters,
                "inputs": [in_region("scores", list(scores.shape), "FP32", region, 0, 4 * n),
                           in_region("targets", list(scores.shape), "INT8", region, 4 * n, n)],
                "outputs": [{"name": "loss"}]}
    if gradient:
        document["outputs"].append({"name": "gradient", "parameters": {
            "shared_memory_region": region, "shared_memory_offset": 8 * n, "shared_memory_byte_size": 4 * n}})
    return document


def laid_out(scores, targets):
    n = scores.size
    return scores.tobytes() + targets.tobytes() + bytes(3 * n) + bytes(4 * n)


def test_tensors_on_the_device_are_used_where_they_lie(shared, memory):
    scores, targets = problem()
    handle, content = memory(laid_out(scores, targets))
    assert register(shared, ALICE, "trainer", handle, content.size).status == 200
    answer = ask(shared, "POST", "/v2/models/ap/infer", request(scores, "trainer"), bearer(ALICE))
    assert answer.status == 200, answer.body
    want = result(compute(shared, scores, targets, bearer(ALICE)))
    gradient = content[8 * scores.size:].view(np.float32)
    assert np.array_equal(gradient, want[1])
    assert json.loads(answer.body)["outputs"][0]["data"][0] == pytest.approx(float(want[0][0]), rel=1e-6)


@pytest.mark.parametrize("parameters", [{"margin": 0.1}, {"interclass": 0.5}, {"interclass": 1.0, "axis": 0},
                                        {"average": "micro"}])
def test_gradients_are_written_there_for_all_parameters(shared, memory, parameters):
    scores, targets = problem()
    handle, content = memory(laid_out(scores, targets))
    assert register(shared, ALICE, "trainer", handle, content.size).status == 200
    devices = metric(shared, 'rankd_engine_requests_total{model="ap",engine="device"}', bearer(ALICE)) or 0
    answer = ask(shared, "POST", "/v2/models/ap/infer", request(scores, "trainer", **parameters), bearer(ALICE))
    assert answer.status == 200, answer.body
    want = result(compute(shared, scores, targets, bearer(ALICE), **parameters))
    assert np.array_equal(content[8 * scores.size:].view(np.float32), want[1])
    assert metric(shared, 'rankd_engine_requests_total{model="ap",engine="device"}', bearer(ALICE)) == devices + 2


def test_ranks_and_their_gradient_stay_there(shared, memory):
    """Scores, upstream; then ranks (8 bytes) and the gradient."""
    scores, _ = problem()
    n = scores.size
    upstream = np.random.default_rng(7).standard_normal(scores.shape).astype(np.float32)
    handle, content = memory(scores.tobytes() + upstream.tobytes() + bytes(12 * n))
    assert register(shared, ALICE, "trainer", handle, content.size).status == 200
    shape = list(scores.shape)
    document = {"inputs": [in_region("scores", shape, "FP32", "trainer", 0, 4 * n),
                           in_region("upstream", shape, "FP32", "trainer", 4 * n, 4 * n)],
                "outputs": [{"name": "ranks", "parameters": {"shared_memory_region": "trainer", "shared_memory_offset": 8 * n,
                                                             "shared_memory_byte_size": 8 * n}},
                            {"name": "gradient", "parameters": {"shared_memory_region": "trainer", "shared_memory_offset": 16 * n,
                                                                "shared_memory_byte_size": 4 * n}}]}
    answer = ask(shared, "POST", "/v2/models/rank_vjp/infer", document, bearer(ALICE))
    assert answer.status == 200, answer.body
    ranks, gradient = content[8 * n:16 * n].view(np.int64).reshape(shape), content[16 * n:].view(np.float32).reshape(shape)

    def ranked(y):  # 1 is the best; equal scores by index
        order = np.argsort(-y, axis=1, kind="stable")
        place = np.empty_like(order)
        np.put_along_axis(place, order, np.arange(1, y.shape[1] + 1)[None].repeat(y.shape[0], 0), axis=1)
        return place

    assert np.array_equal(ranks, ranked(scores))
    moved = (scores.astype(np.float64) + upstream.astype(np.float64)).astype(np.float32)
    assert np.array_equal(gradient, (-(ranked(scores) - ranked(moved)) / scores.shape[1]).astype(np.float32) + 0.0)
    assert metric(shared, 'rankd_engine_requests_total{model="rank_vjp",engine="device"}', bearer(ALICE)) >= 1


def test_a_bank_keeps_a_batch_that_lay_on_the_device(shared, memory):
    scores, targets = problem(5, 40)
    handle, content = memory(laid_out(scores, targets))
    assert register(shared, ALICE, "trainer", handle, content.size).status == 200
    bank = {"kind": "scores", "lists": 5, "capacity": 1000}
    assert ask(shared, "PUT", "/v2/banks/kept", bank, bearer(ALICE)).status == 200
    for items in (0, 40):
        answer = ask(shared, "POST", "/v2/models/ap/infer", request(scores, "trainer", bank="kept"), bearer(ALICE))
        assert answer.status == 200 and json.loads(answer.body)["parameters"]["bank_items"] == items
    assert ask(shared, "DELETE", "/v2/banks/kept", headers=bearer(ALICE)).status == 200


def test_a_region_belongs_to_its_token(shared, memory):
    scores, targets = problem()
    handle, content = memory(laid_out(scores, targets))
    assert register(shared, ALICE, "trainer", handle, content.size).status == 200
    mine = ask(shared, "GET", "/v2/cudasharedmemory/status", headers=bearer(ALICE))
    assert json.loads(mine.body) == [{"name": "trainer", "device_id": 0, "byte_size": content.size}]
    assert json.loads(ask(shared, "GET", "/v2/cudasharedmemory/status", headers=bearer(BOB)).body) == []
    assert json.loads(ask(shared, "GET", "/v2/systemsharedmemory/status", headers=bearer(ALICE)).body) == []
    assert ask(shared, "GET", REGION.format("trainer", "status"), headers=bearer(BOB)).status == 404
    answer = ask(shared, "POST", "/v2/models/ap/infer", request(scores, "trainer"), bearer(BOB))
    assert answer.status == 400 and b"not registered" in answer.body
    # The other kind's unregister leaves it alone, a second register of the name is refused.
    assert ask(shared, "POST", "/v2/systemsharedmemory/unregister", headers=bearer(ALICE)).status == 200
    assert ask(shared, "GET", REGION.format("trainer", "status"), headers=bearer(ALICE)).status == 200
    assert b"registered already" in register(shared, ALICE, "trainer", handle, content.size).body
    assert ask(shared, "POST", REGION.format("trainer", "unregister"), headers=bearer(ALICE)).status == 200
    assert ask(shared, "GET", REGION.format("trainer", "status"), headers=bearer(ALICE)).status == 404


def test_what_can_not_be_registered_is_told_why(shared, memory):
    handle, content = memory(bytes(4096))
    for body, sentence in (
            ({"raw_handle": {"b64": "AAAA"}, "byte_size": 4}, "64 bytes of a cudaIpcMemHandle_t in base64"),
            ({"raw_handle": "AAAA", "byte_size": 4}, "raw_handle"),
            ({"raw_handle": {"b64": "?"}, "byte_size": 4}, "raw_handle"),
            ({"byte_size": 4}, "raw_handle"),
            ({"raw_handle": {"b64": base64.b64encode(handle).decode()}}, "byte_size of a region is missing"),
            ({"raw_handle": {"b64": base64.b64encode(handle).decode()}, "byte_size": 4097}, "byte_size is 4097; there are 4096"),
            ({"raw_handle": {"b64": base64.b64encode(handle).decode()}, "byte_size": 4, "device_id": 3},
             "device_id is 3; this daemon uses device 0"),
            ({"raw_handle": {"b64": base64.b64encode(b"/nobody".ljust(64, b"x")).decode()}, "byte_size": 4},
             "raw_handle can't be opened")):
        answer = ask(shared, "POST", REGION.format("odd", "register"), body, bearer(ALICE))
        assert answer.status == 400 and sentence in answer.body.decode(), (body, answer.body)
    assert register(shared, ALICE, "x" * 128, handle, 4).status == 400
    for i in range(4):
        assert register(shared, ALICE, f"r{i}", handle, 4096).status == 200
    assert b"a token may have 4" in register(shared, ALICE, "r4", handle, 4096).body


@pytest.mark.parametrize("shape", [(0, 40), (5, 0)])
def test_nothing_on_the_device_is_not_read_there(shared, memory, shape):
    """An empty list has a loss too, which is written to the device if it is requested there."""
    handle, content = memory(np.zeros(4096, np.uint8))
    assert register(shared, ALICE, "trainer", handle, content.size).status == 200
    document = request(np.zeros(shape, np.float32), "trainer")
    document["outputs"].append({"name": "list_loss", "parameters": {
        "shared_memory_region": "trainer", "shared_memory_offset": 256, "shared_memory_byte_size": 4 * shape[0]}})
    before = content.copy()
    answer = ask(shared, "POST", "/v2/models/ap/infer", document, bearer(ALICE))
    assert answer.status == 200, answer.body
    loss, gradient, _ = json.loads(answer.body)["outputs"]
    assert loss["data"] == [0] and gradient["shape"] == list(shape)
    assert np.isnan(content[256:256 + 4 * shape[0]].view(np.float32)).all()
    assert np.array_equal(content[:256], before[:256])


def test_places_beyond_a_region_are_refused(shared, memory):
    scores, targets = problem()
    handle, content = memory(laid_out(scores, targets))
    assert register(shared, ALICE, "trainer", handle, 4 * scores.size).status == 200
    answer = ask(shared, "POST", "/v2/models/ap/infer", request(scores, "trainer"), bearer(ALICE))
    assert answer.status == 400 and b"input targets takes 200 bytes at offset 800; its shared memory region has 800" in answer.body


def test_an_unmodified_triton_client_registers_and_computes(shared, memory):
    scores, targets = problem()
    n = scores.size
    handle, content = memory(laid_out(scores, targets))
    client = triton.InferenceServerClient(f"{shared.host}:{shared.port}")
    headers = {"Authorization": f"Bearer {ALICE}"}
    client.register_cuda_shared_memory("triton", base64.b64encode(handle), 0, content.size, headers=headers)
    assert client.get_cuda_shared_memory_status(headers=headers)[0]["name"] == "triton"
    inputs = [triton.InferInput("scores", list(scores.shape), "FP32"), triton.InferInput("targets", list(targets.shape), "INT8")]
    inputs[0].set_shared_memory("triton", 4 * n, 0)
    inputs[1].set_shared_memory("triton", n, 4 * n)
    outputs = [triton.InferRequestedOutput("loss"), triton.InferRequestedOutput("gradient")]
    outputs[1].set_shared_memory("triton", 4 * n, 8 * n)
    answer = client.infer("ap", inputs, outputs=outputs, headers=headers)
    want = result(compute(shared, scores, targets, bearer(ALICE)))
    assert answer.as_numpy("loss")[0] == pytest.approx(float(want[0][0]), rel=1e-6)
    assert np.array_equal(content[8 * n:].view(np.float32), want[1])
    client.unregister_cuda_shared_memory(headers=headers)
    assert client.get_cuda_shared_memory_status(headers=headers) == []


def test_without_a_device_regions_of_one_are_unsupported(make_daemon, tmp_path):
    tokens = tmp_path / "tokens"
    tokens.write_text(f"alice infer {ALICE}\n")
    tokens.chmod(0o600)
    daemon = make_daemon("--device", "cpu", "--tokens", tokens, "--allow-shm-regions")
    answer = register(daemon, ALICE, "trainer", bytes(64), 4096)
    assert answer.status == 501 and b"this daemon uses no device" in answer.body
    assert "cuda_shared_memory" not in json.loads(ask(daemon, "GET", "/v2").body)["extensions"]
