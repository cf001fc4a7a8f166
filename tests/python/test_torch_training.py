# SPDX-License-Identifier: Apache-2.0
"""Trainings: the behaviour of a loss module from step to step."""
import threading
import warnings

import numpy as np
import pytest
import torch
from torch import nn

import rankd
from rankd.torch import APLoss, RetrievalLoss


def digits(count=400):
    from sklearn.datasets import load_digits

    pixels, labels = load_digits(return_X_y=True)
    return torch.tensor(pixels[:count] / 16, dtype=torch.float32), torch.tensor(labels[:count])


def collapsed_network():
    """Seven hidden ReLU layers without normalisation: all embeddings start out almost equal."""
    torch.manual_seed(0)
    widths = [64] + [64] * 7
    layers = [m for a, b in zip(widths, widths[1:]) for m in (nn.Linear(a, b), nn.ReLU())]
    return nn.Sequential(*layers, nn.Linear(64, 32))


def train(model, crit, steps, batch=100):
    images, labels = digits()
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-3)
    draw = torch.Generator().manual_seed(1)
    for _ in range(steps):
        rows = torch.randperm(len(images), generator=draw)[:batch]
        optimizer.zero_grad()
        loss = crit(model(images[rows]), labels[rows])
        loss.backward()
        optimizer.step()
    return loss.item()


def spread(model):
    with torch.no_grad():
        unit = nn.functional.normalize(model(digits()[0]), dim=1)
        return (unit @ unit.T).std().item()


def test_a_collapsed_network_trains_with_the_warm_up_and_never_starts_without(client):
    assert spread(collapsed_network()) < 1e-3
    stuck = RetrievalLoss("ap", margin=0.1, margin_warmup=0, client=client)
    with pytest.warns(RuntimeWarning, match="nothing is learnt.*margin_warmup") as warned:
        first = train(collapsed_network(), stuck, 25)
    assert len([w for w in warned if "rankd" in str(w.message)]) == 1
    assert stuck.info.lists_stalled == stuck.info.lists_valid and first > 0.5
    with warnings.catch_warnings():
        warnings.simplefilter("error", RuntimeWarning)
        crit = RetrievalLoss("ap", margin=0.1, client=client)
        assert train(collapsed_network(), crit, 300) < first / 2
    assert crit.info.lists_stalled < 0.5 * crit.info.lists_valid


def test_the_margin_grows_over_the_training_steps_alone(client):
    crit = APLoss(margin=0.8, margin_warmup=4, client=client)
    scores, targets = torch.tensor([[0.5, 0.0]], requires_grad=True), torch.tensor([[1, 0]])
    seen = []
    for _ in range(6):
        with torch.no_grad():
            crit(scores, targets), crit(scores, targets)
        seen.append(crit.schedule.current_margin())
        crit(scores, targets).backward()
    assert seen == pytest.approx([0, 0.2, 0.4, 0.6, 0.8, 0.8])
    # the wide margin swaps the pair, the narrow one does not
    assert crit(scores, targets).item() == 0.5
    assert APLoss(margin=0.8, margin_warmup=4, client=client)(scores, targets).item() == 0


def test_the_warm_up_goes_on_where_a_checkpoint_left_it(client):
    crit = APLoss(margin=0.8, margin_warmup=4, client=client)
    scores, targets = torch.tensor([[0.5, 0.0]], requires_grad=True), torch.tensor([[1, 0]])
    for _ in range(3):
        crit(scores, targets)
    other = APLoss(margin=0.8, margin_warmup=4, client=client)
    other.load_state_dict(crit.state_dict())
    assert other.schedule.current_margin() == pytest.approx(0.6)
    outer = nn.ModuleDict({"crit": crit})
    assert any("crit" in key for key in outer.state_dict())


class Scaler:
    """Like torch.cuda.amp.GradScaler, without CUDA: scales, and skips steps with a gradient that is
    not finite."""

    def __init__(self, scale):
        self.scale, self.skipped = scale, 0

    def step(self, loss, model, optimizer):
        optimizer.zero_grad()
        (loss * self.scale).backward()
        if any(not p.grad.isfinite().all() for p in model.parameters()):
            self.skipped += 1
            self.scale /= 2
            return
        for p in model.parameters():
            p.grad /= self.scale
        optimizer.step()


def test_a_nan_batch_is_skipped_by_the_loss_scaler_and_training_goes_on(client):
    torch.manual_seed(2)
    images, labels = digits(100)
    model = nn.Linear(64, 16)
    crit = RetrievalLoss("ap", on_nan="propagate", client=client)
    optimizer, scaler = torch.optim.Adam(model.parameters(), lr=1e-2), Scaler(65536.0)
    for step in range(12):
        batch = images.clone()
        if step == 5:
            batch[3, 3] = float("nan")
        scaler.step(crit(model(batch), labels), model, optimizer)
    assert scaler.skipped == 1 and crit.schedule.steps == 11
    assert all(p.isfinite().all() for p in model.parameters())


def test_bfloat16_autocast_trains(client):
    torch.manual_seed(3)
    images, labels = digits(200)
    model = nn.Sequential(nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, 16))
    crit, optimizer = RetrievalLoss("ap", client=client), torch.optim.Adam(model.parameters(), lr=1e-3)
    losses = []
    for _ in range(60):
        optimizer.zero_grad()
        with torch.autocast("cpu", torch.bfloat16):
            embeddings = model(images)
            loss = crit(embeddings, labels)
        assert embeddings.dtype == torch.bfloat16 and loss.dtype == torch.float32
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < losses[0] / 2


class Curve(threading.Thread):
    """A training in its own thread, so that the test can kill the daemon meanwhile."""

    def __init__(self, client, steps):
        super().__init__()
        self.client, self.steps, self.losses, self.error = client, steps, [], None
        self.underway = threading.Event()

    def run(self):
        try:
            torch.manual_seed(4)
            images, labels = digits(100)
            model = nn.Linear(64, 16)
            crit, optimizer = RetrievalLoss("ap", client=self.client), torch.optim.SGD(model.parameters(), lr=1.0)
            for step in range(self.steps):
                optimizer.zero_grad()
                loss = crit(model(images), labels)
                loss.backward()
                optimizer.step()
                self.losses.append(loss.item())
                if step == 10:
                    self.underway.set()
        except Exception as error:
            self.error = error
            self.underway.set()


def test_a_training_over_a_daemon_that_is_killed_equals_one_that_was_left_alone(mortal):
    with rankd.connect(mortal.url, timeout=20, retry_for=30) as client:
        calm = Curve(client, 150)
        calm.run()
        shaken = Curve(client, 150)
        shaken.start()
        assert shaken.underway.wait(30)
        mortal.kill()
        mortal.start()
        shaken.join(60)
    assert calm.error is None and shaken.error is None
    assert shaken.losses == calm.losses


class Ranked(torch.utils.data.Dataset):
    """Asks the daemon from within a DataLoader's worker process."""

    def __init__(self, client):
        self.client = client

    def __len__(self):
        return 24

    def __getitem__(self, index):
        scores = np.random.default_rng(index).permutation(20).astype(np.float32)[None]
        return torch.from_numpy(self.client.rank(scores)[0] + scores[0].astype(np.int64))


def test_dataloader_workers_may_use_the_client_of_their_parent(client):
    client.metadata()
    for batch in torch.utils.data.DataLoader(Ranked(client), batch_size=4, num_workers=2):
        assert (batch == 20).all()
    assert client.ready()
