# SPDX-License-Identifier: Apache-2.0
"""Memory and faults of the device, from a trainer's side: the real plugin on an emulated device
(tests/gpu/emulator)."""
import re
import urllib.request

import numpy as np
import pytest
from support import BUILD

import rankd

DIM = 16


@pytest.fixture
def with_device(make_daemon):
    """with_device(*flags, plan="") is a client of a daemon with a device, on which what `plan` says
    fails."""
    opened = []

    def make(*flags, plan=""):
        daemon = make_daemon("--device", "cuda:0", "--device-plugin", BUILD / "emulated-device.so", *flags,
                             env={"EMULATED_DEVICE": plan})
        opened.append(rankd.connect(daemon.url, timeout=60, retry_for=0))
        return opened[-1]

    yield make
    for one in opened:
        one.close()


def measure(client, name):
    with urllib.request.urlopen(client.transport.url + "/metrics", timeout=30) as answer:
        found = re.search(rf"^{re.escape(name)} (\S+)$", answer.read().decode(), re.M)
    return float(found[1]) if found else None


def engines(client):
    return tuple(measure(client, f'rankd_engine_requests_total{{model="ap",engine="{e}"}}') or 0 for e in ("cpu", "device"))


def state(client):
    return client.metadata()["device"]["state"]


def batch(step, size=48):
    """Embeddings whose inner products are exact in FP32 in any order, so that every BLAS gives the
    same."""
    random = np.random.default_rng(step)
    return random.integers(-4, 5, (size, DIM)).astype(np.float32) / 4, random.integers(0, 6, size)


def train(client, steps=range(6)):
    client.banks.create("seen", dim=DIM, capacity=200, normalize=False, durability="none")
    results = []
    for step in steps:
        embeddings, labels = batch(step)
        results.append(client.loss("ap", embeddings=embeddings, labels=labels, bank="seen"))
    return results


def assert_same(here, there):
    for a, b in zip(here, there, strict=True):
        assert a.loss == pytest.approx(b.loss, rel=1e-6) and a.info.bank_items == b.info.bank_items
        assert np.allclose(a.gradient, b.gradient, rtol=1e-5, atol=1e-9)


@pytest.fixture(scope="module")
def by_cpu(daemon):
    with rankd.connect(daemon.url) as client:
        return train(client)


def test_a_bank_is_kept_on_the_device_while_it_turns_over(with_device, by_cpu):
    """Items leave at the front and enter at the end: rows that are on the device already stay
    correct."""
    client = with_device()
    assert_same(train(client), by_cpu)
    assert engines(client) == (0, 6)
    used = measure(client, "rankd_device_memory_used_bytes")
    assert used >= 4 << 20  # what a bank's memory gets there at least
    embeddings, labels = batch(99)
    for _ in range(3):
        client.loss("ap", embeddings=embeddings, labels=labels, bank="seen", enqueue=False)
    assert measure(client, "rankd_device_memory_used_bytes") == used


def test_banks_make_way_for_a_request_that_found_no_room(with_device, by_cpu):
    client = with_device("--device-bytes", "12M")
    assert_same(train(client), by_cpu)
    banks = measure(client, "rankd_device_memory_used_bytes")
    scores = np.random.default_rng(1).random((1, 1_000_000), dtype=np.float32)  # 9 bytes an item there
    targets = np.zeros(scores.shape, np.int8)
    targets[0, ::1000] = 1
    first = client.loss("ap", scores, targets)
    assert engines(client) == (1, 6) and state(client) == "ready"  # no fault of the device's
    assert measure(client, "rankd_device_memory_used_bytes") < banks
    second = client.loss("ap", scores, targets)
    assert engines(client) == (1, 7)
    assert np.array_equal(first.gradient, second.gradient) and first.loss == second.loss
    embeddings, labels = batch(6)
    assert client.loss("ap", embeddings=embeddings, labels=labels, bank="seen").info.bank_items == 200  # and comes back
    assert measure(client, "rankd_device_memory_used_bytes") <= measure(client, "rankd_device_memory_limit_bytes") == 12 << 20


def test_a_request_that_never_fits_is_the_cpus(with_device):
    client = with_device("--device-bytes", "3M")
    scores, targets = np.random.default_rng(1).random((2, 300_000), dtype=np.float32), np.zeros((2, 300_000), np.int8)
    targets[:, ::700] = 1
    losses = {client.loss("ap", scores, targets).loss for _ in range(3)}
    assert len(losses) == 1 and engines(client) == (3, 0) and state(client) == "ready"


# The fault, the computations by (cpu, device) then, and the reported state of the device. (A lane's
# first buffers are pinned; cuBLAS may be short of memory when it starts, or fail in a product,
# after which the device can't be trusted.)
@pytest.mark.parametrize("plan, shares, after", [
    ("pinned:1", (1, 5), "ready"),
    ("pinned:3", (1, 5), "ready"),
    ("cublasCreate:1", (1, 5), "ready"),
    ("malloc:1", (1, 5), "ready"),
    ("malloc:1+", (6, 0), "degraded"),
    ("sgemm:4", (4, 2), "lost"),
    ("kernel:9", (5, 1), "lost"),
])
def test_a_fault_costs_no_step_of_training(with_device, by_cpu, plan, shares, after):
    client = with_device(plan=plan)
    assert_same(train(client), by_cpu)
    assert engines(client) == shares and state(client) == after
    assert measure(client, "rankd_device_failures_total") == (6 if plan == "malloc:1+" else 1)
    assert client.ready()
