# SPDX-License-Identifier: Apache-2.0
"""rankd.torch with CUDA tensors against a daemon on the same device. Needs torch with a device, and
build/rankd-cuda.so; skipped elsewhere."""
import json
import os
import re
import subprocess
import threading
import urllib.request
from pathlib import Path

import pytest

torch = pytest.importorskip("torch")
if not torch.cuda.is_available():
    pytest.skip("there is no device here", allow_module_level=True)

import rankd  # noqa: E402
from rankd.torch import APLoss, RecallLoss, RetrievalLoss, blackbox_rank  # noqa: E402
from rankd.torch.device_memory import device_path  # noqa: E402

BUILD = Path(os.environ.get("RANKD_BUILD", Path(__file__).parents[2] / "build")).resolve()
TOKEN = "the-token-of-the-trainer"
CUDA = torch.device("cuda", 0)


class Daemon:
    def __init__(self, folder, *flags, http="127.0.0.1:0"):
        tokens = folder / "tokens"
        tokens.write_text(f"trainer infer,banks,metrics {TOKEN}\n")
        tokens.chmod(0o600)
        self.folder, self.flags = folder, flags
        self.start(http)

    def start(self, http):
        env = os.environ | {"LD_LIBRARY_PATH": os.environ.get("RANKD_LIBRARIES", os.environ.get("LD_LIBRARY_PATH", ""))}
        self.process = subprocess.Popen(
            [BUILD / "rankd", "--http", http, "--tokens", self.folder / "tokens", *map(str, self.flags)],
            stdout=subprocess.PIPE, stderr=open(self.folder / "log", "ab"), env=env)
        killer = threading.Timer(60, self.process.kill)
        killer.start()
        line = self.process.stdout.readline().decode()
        killer.cancel()
        found = re.match(r"listening on (http://\S+)", line)
        assert found, (self.folder / "log").read_text()
        self.url = found[1]

    def stop(self):
        self.process.terminate()
        self.process.wait(60)

    def client(self):
        return rankd.connect(self.url, TOKEN, retry_for=20)

    def metric(self, name):
        request = urllib.request.Request(self.url + "/metrics", headers={"Authorization": f"Bearer {TOKEN}"})
        text = urllib.request.urlopen(request, timeout=10).read().decode()
        return sum(float(v) for v in re.findall(rf"^{re.escape(name)}(?:{{[^}}]*}})? (\S+)$", text, re.M))

    def on_device(self):
        return self.metric('rankd_engine_requests_total{model="ap",engine="device"}')


@pytest.fixture(scope="module")
def device(tmp_path_factory):
    daemon = Daemon(tmp_path_factory.mktemp("device"), "--device", "cuda:0", "--allow-shm-regions")
    yield daemon
    daemon.stop()


@pytest.fixture(scope="module")
def cpu(tmp_path_factory):
    daemon = Daemon(tmp_path_factory.mktemp("cpu"), "--device", "cpu")
    yield daemon
    daemon.stop()


def problem(dtype=torch.float32, lists=30, items=3000):
    generator = torch.Generator().manual_seed(7)
    scores = torch.rand(lists, items, generator=generator).to(dtype)
    targets = (torch.rand(lists, items, generator=generator) < 0.01).to(torch.int8)
    return scores, targets


def step(crit, scores, targets, scale=1.0):
    x = scores.clone().requires_grad_()
    loss = crit(x, targets)
    (loss * scale).backward()
    return loss.detach().cpu(), x.grad.cpu()


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16, torch.float64])
@pytest.mark.parametrize("kind", [APLoss, RecallLoss])
def test_cuda_tensors_give_what_cpu_tensors_give_and_do_not_visit_the_host(device, cpu, dtype, kind):
    scores, targets = problem(dtype)
    want = step(kind(margin=0.05, margin_warmup=0, client=cpu.client()), scores, targets)
    crit = kind(margin=0.05, margin_warmup=0, client=device.client())
    assert device_path(crit.client, CUDA) is not None
    received = device.metric("rankd_received_bytes_total")
    got = step(crit, scores.to(CUDA), targets.to(CUDA))
    assert torch.equal(got[1], want[1]) and torch.allclose(got[0].double(), want[0].double(), rtol=1e-6)
    assert device.metric("rankd_received_bytes_total") - received < 4096, "the tensors were sent"


def test_the_device_computed_them(device):
    before = device.on_device()
    scores, targets = problem()
    step(APLoss(margin=0, client=device.client()), scores.to(CUDA), targets.to(CUDA))
    assert device.on_device() == before + 1


def test_a_loss_scale_multiplies_the_gradient_and_nothing_else(device):
    scores, targets = (t.to(CUDA) for t in problem())
    crit = APLoss(margin=0, client=device.client())
    plain, scaled = step(crit, scores, targets)[1], step(crit, scores, targets, 1024.0)[1]
    assert torch.equal(scaled, plain * 1024)


def test_a_larger_batch_finds_larger_shared_memory(device, cpu):
    crit, other = (APLoss(margin=0, client=d.client()) for d in (device, cpu))
    for lists in (2, 400, 3):
        scores, targets = problem(lists=lists)
        assert torch.equal(step(crit, scores.to(CUDA), targets.to(CUDA))[1], step(other, scores, targets)[1])


def test_evaluation_computes_no_gradient(device):
    scores, targets = (t.to(CUDA) for t in problem())
    with torch.no_grad():
        loss = APLoss(margin=0, client=device.client())(scores, targets)
    assert loss.device == CUDA and not loss.requires_grad and 0 < loss.item() < 1


def test_a_nan_is_refused_by_name(device):
    scores, targets = (t.to(CUDA) for t in problem())
    scores[3, 5], targets[3, 5] = float("nan"), 0
    with pytest.raises(rankd.RankdError, match=r"scores\[3, 5\] is NaN"):
        APLoss(margin=0, client=device.client())(scores, targets)


def test_ranks_and_their_gradient_stay_on_the_device(device, cpu):
    results = []
    for client, where in ((cpu.client(), torch.device("cpu")), (device.client(), CUDA)):
        scores = problem()[0].to(where).requires_grad_()
        ranks = blackbox_rank(scores, lambda_val=10.0, client=client)
        ((ranks - 0.5) ** 2).sum().backward()
        results.append((ranks.detach().cpu(), scores.grad.cpu()))
    assert torch.equal(results[0][0], results[1][0]) and torch.equal(results[0][1], results[1][1])
    assert device.metric('rankd_engine_requests_total{model="rank_vjp",engine="device"}') >= 1


def test_embeddings_on_the_device_are_ranked_too(device, cpu):
    generator = torch.Generator().manual_seed(3)
    x, labels = torch.randn(300, 64, generator=generator), torch.randint(0, 30, (300,), generator=generator)
    want = step(RetrievalLoss(margin_warmup=0, client=cpu.client()), x, labels)
    got = step(RetrievalLoss(margin_warmup=0, client=device.client()), x.to(CUDA), labels.to(CUDA))
    # Two BLAS: similarities differ in their last bits, and a rank may depend on one.
    assert torch.allclose(got[0], want[0], rtol=1e-4)
    assert (got[1] - want[1]).norm() < 0.1 * want[1].norm()


def test_a_daemon_that_was_started_anew_is_met_without_an_error(tmp_path, cpu):
    daemon = Daemon(tmp_path, "--device", "cuda:0", "--allow-shm-regions")
    try:
        scores, targets = problem()
        want = step(APLoss(margin=0, client=cpu.client()), scores, targets)[1]
        crit = APLoss(margin=0, client=daemon.client())
        assert torch.equal(step(crit, scores.to(CUDA), targets.to(CUDA))[1], want)
        daemon.stop()
        daemon.start(daemon.url.removeprefix("http://"))
        for _ in range(2):
            assert torch.equal(step(crit, scores.to(CUDA), targets.to(CUDA))[1], want)
    finally:
        daemon.stop()


def test_regions_are_gone_when_the_trainer_ends(device):
    program = ("import torch, rankd, sys; from rankd.torch import APLoss\n"
               "x = torch.rand(5, 100, device='cuda', requires_grad=True); t = (x > 0.9).to(torch.int8)\n"
               f"APLoss(margin=0, client=rankd.connect('{device.url}', '{TOKEN}'))(x, t).backward(); "
               "print(x.grad.abs().sum().item())")
    before = len(regions(device))
    done = subprocess.run(["python3", "-c", program], capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    assert len(regions(device)) == before


def regions(daemon):
    request = urllib.request.Request(daemon.url + "/v2/cudasharedmemory/status", headers={"Authorization": f"Bearer {TOKEN}"})
    return json.loads(urllib.request.urlopen(request, timeout=10).read())


def test_a_model_trains_on_the_device(device):
    torch.manual_seed(0)
    net = torch.nn.Linear(16, 1).to(CUDA)
    crit = APLoss(margin=0.02, client=device.client())
    optimizer = torch.optim.Adam(net.parameters(), 0.05)
    x = torch.randn(40, 200, 16, device=CUDA)
    targets = (x[..., 0] + 0.3 * torch.randn(40, 200, device=CUDA) > 1.5).to(torch.int8)
    losses = []
    for _ in range(60):
        optimizer.zero_grad()
        loss = crit(net(x)[..., 0], targets)
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < 0.5 * losses[0], losses
