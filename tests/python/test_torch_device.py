# SPDX-License-Identifier: Apache-2.0
"""Memory that rankd.torch shares on the device, without a device: the daemon has an emulated one
(tests/gpu/emulator), and files in /dev/shm, with CPU tensors as views, replace CUDA's runtime.
Everything else is as with a device: the places of tensors, growing regions, another daemon.
tests/gpu/test_cuda_tensors.py is the same with CUDA tensors."""
import itertools
import os
import re
import urllib.request

import numpy as np
import pytest
import torch
from support import BUILD, free_port

import rankd
import rankd.torch.device_memory as device_module
from rankd.torch import APLoss, RecallLoss, blackbox_rank, ranks

TOKEN = "the-token-of-the-trainer"


class Runtime:
    """_Runtime over /dev/shm: a pointer is a number, a handle the file's name."""

    kind = "cpu"
    numbers = itertools.count(1)
    live: dict = {}

    def allocate(self, size, device):
        number = next(self.numbers)
        path = f"/dev/shm/rankd_torch_{os.getpid()}_{number}"
        with open(path, "wb") as file:
            file.truncate(size)
        self.live[number] = (path, torch.from_numpy(np.memmap(path, np.uint8, "r+")))
        return number

    def free(self, number):
        if number in self.live:  # of this test
            os.unlink(self.live.pop(number)[0])

    def handle(self, number):
        return self.live[number][0].removeprefix("/dev/shm").encode().ljust(64, b"\0")

    def view(self, number, size, device):
        return self.live[number][1]

    def wait(self, device):
        pass


@pytest.fixture
def with_device(make_daemon, tmp_path, monkeypatch):
    """with_device(*flags) is (client, daemon), the daemon with a device."""
    monkeypatch.setattr(device_module, "_Runtime", Runtime)
    monkeypatch.setattr(Runtime, "live", {})
    tokens = tmp_path / "tokens"
    tokens.write_text(f"trainer infer,banks,metrics {TOKEN}\n")
    tokens.chmod(0o600)

    def make(*flags, **options):
        daemon = make_daemon("--device", "cuda:0", "--device-plugin", BUILD / "emulated-device.so", "--allow-shm-regions",
                             "--tokens", tokens, *flags, **options)
        return rankd.connect(daemon.url, TOKEN, retry_for=20), daemon

    yield make
    for path, _ in Runtime.live.values():
        os.unlink(path)


@pytest.fixture
def plain(daemon):
    """A client without shared device memory."""
    with rankd.connect(daemon.url) as client:
        yield client


def metric(client, name):
    request = urllib.request.Request(client.transport.url + "/metrics", headers={"Authorization": f"Bearer {TOKEN}"})
    with urllib.request.urlopen(request, timeout=30) as answer:
        found = re.findall(rf"^{re.escape(name)} (\S+)$", answer.read().decode(), re.M)
    return float(found[0]) if found else 0.0


def on_device(client, model="ap"):
    return metric(client, f'rankd_engine_requests_total{{model="{model}",engine="device"}}')


def problem(dtype=torch.float32, lists=8, items=600):
    generator = torch.Generator().manual_seed(7)
    scores = torch.rand(lists, items, generator=generator).to(dtype)
    return scores, (torch.rand(lists, items, generator=generator) < 0.02).to(torch.int8)


def step(crit, scores, targets):
    x = scores.clone().requires_grad_()
    loss = crit(x, targets)
    loss.backward()
    return loss.detach(), x.grad


@pytest.mark.parametrize("kind, options", [(APLoss, {}), (RecallLoss, {}), (APLoss, {"interclass": 0.3}), (APLoss, {"axis": 0})])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16, torch.float64])
def test_tensors_are_shared_and_not_sent(with_device, plain, kind, options, dtype):
    client, _ = with_device()
    scores, targets = problem(dtype)
    crit = kind(margin=0.05, margin_warmup=0, client=client, **options)
    step(crit, scores, targets)  # registers
    received = metric(client, "rankd_received_bytes_total")
    got = step(crit, scores, targets)
    sent = metric(client, "rankd_received_bytes_total") - received
    monkey = pytest.MonkeyPatch()
    with monkey.context() as patch:
        patch.setattr(device_module._Runtime, "kind", "none")
        want = step(kind(margin=0.05, margin_warmup=0, client=plain, **options), scores, targets)
    assert torch.equal(got[1], want[1]) and torch.allclose(got[0].double(), want[0].double(), rtol=1e-6)
    assert sent < 4096 and on_device(client, "ap" if kind is APLoss else "recall") == 2


def test_a_batch_without_items_is_sent_and_nothing_is_shared(with_device):
    client, _ = with_device()
    for shape in ((0, 5), (5, 0)):
        loss, gradient = step(APLoss(margin=0.05, client=client), torch.zeros(shape), torch.zeros(shape, dtype=torch.int8))
        assert loss == 0 and gradient.shape == shape
        assert blackbox_rank(torch.zeros(shape), client=client).shape == shape
    assert not Runtime.live and on_device(client) == 0


def test_ranks_and_their_gradient_are_shared_too(with_device):
    client, _ = with_device()
    scores = torch.rand(5, 300, generator=torch.Generator().manual_seed(1)).requires_grad_()
    target = torch.rand(5, 300, generator=torch.Generator().manual_seed(2))
    ranks = blackbox_rank(scores, lambda_val=10.0, client=client)
    order = scores.detach().argsort(dim=1, descending=True, stable=True)
    want = torch.empty_like(scores).scatter_(1, order, torch.arange(1, 301.0).expand(5, -1)) / 300
    assert torch.equal(ranks, want)
    ((ranks - target) ** 2).sum().backward()
    upstream = 2 * (ranks.detach() - target)
    direct = client.rank_vjp(scores.detach().numpy(), upstream.numpy(), lambda_val=10.0)
    assert torch.equal(scores.grad, torch.from_numpy(direct)) and scores.grad.abs().sum() > 0
    assert on_device(client, "rank") == 1 and on_device(client, "rank_vjp") == 2


def test_a_larger_batch_gets_a_larger_region_and_the_old_one_goes(with_device):
    client, _ = with_device()
    crit = APLoss(margin=0, client=client)
    for lists in (2, 3000, 3):
        scores, targets = problem(lists=lists)
        step(crit, scores, targets)
        assert len(client.control("GET", "/v2/cudasharedmemory/status")) == 1 == len(Runtime.live)
    assert on_device(client) == 3


def test_a_nan_is_refused_by_name_and_costs_nothing_else(with_device):
    client, _ = with_device()
    scores, targets = problem()
    crit = APLoss(margin=0, client=client)
    bad = scores.clone()
    bad[3, 5], targets[3, 5] = float("nan"), 0
    with pytest.raises(rankd.RankdError, match=r"scores\[3, 5\] is NaN"):
        crit(bad, targets)
    step(crit, scores, targets)
    assert on_device(client) == 1


def test_a_daemon_that_was_started_anew_is_met_without_an_error(with_device):
    client, daemon = with_device(http=f"127.0.0.1:{free_port()}")
    scores, targets = problem()
    crit = APLoss(margin=0, client=client)
    want = step(crit, scores, targets)[1]
    daemon.stop()
    daemon.restart()
    assert torch.equal(step(crit, scores, targets)[1], want)  # through the host: the region belonged to the other daemon
    assert torch.equal(step(crit, scores, targets)[1], want) and on_device(client) == 2
    assert torch.equal(blackbox_rank(scores, client=client), blackbox_rank(scores, client=client))


def test_a_device_that_is_lost_while_training_costs_no_step(with_device):
    client, _ = with_device(env={"EMULATED_DEVICE": "kernel:20"})
    scores, targets = problem()
    crit = APLoss(margin=0, client=client)
    gradients = [step(crit, scores, targets)[1] for _ in range(8)]
    assert all(torch.equal(g, gradients[0]) for g in gradients)
    assert client.metadata()["device"]["state"] == "lost"


@pytest.mark.parametrize("dtype", [torch.bool, torch.uint8, torch.int16, torch.int64, torch.float16, torch.bfloat16,
                                   torch.float32, torch.float64])
def test_whole_targets_of_every_type_are_taken_there_too(with_device, dtype):
    client, _ = with_device()
    scores, targets = problem()
    crit = APLoss(margin=0.05, margin_warmup=0, client=client)
    want = step(crit, scores, targets)
    assert torch.equal(step(crit, scores, targets.to(dtype))[1], want[1])
    assert on_device(client) == 2


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_fractions_are_refused_there_by_value_and_position_too(with_device, dtype):
    client, _ = with_device()
    scores, targets = problem()
    targets = targets.to(dtype)
    targets[3, 5] = 0.1
    with pytest.raises(ValueError, match=r"targets\[3, 5\] is 0\.(1|09)"):
        APLoss(margin=0, client=client)(scores, targets)


def test_eval_mode_and_plain_ranks_go_there_and_move_no_schedule(with_device):
    client, _ = with_device()
    scores, targets = problem()
    crit = APLoss(margin=0.05, client=client).eval()
    step(crit, scores, targets)
    assert crit.schedule.steps == 0 and on_device(client) == 1
    order = scores.argsort(dim=1, descending=True, stable=True)
    assert torch.equal(ranks(scores, client=client).gather(1, order), torch.arange(1, 601).expand(8, -1))
    assert on_device(client, "rank") == 1
