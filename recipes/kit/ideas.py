# SPDX-License-Identifier: Apache-2.0
"""Attempts to improve the `recall` loss of retrieval: variants on the matrix of cosines of a
batch."""
from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import torch

import rankd
import rankd.torch

from .embed import Criterion

_COPIES = 4
_Hook = Callable[[torch.Tensor, torch.Tensor, torch.Tensor, int], torch.Tensor]  # gradient, cosines, targets [B, B], step


def pairs(embeddings: torch.Tensor, labels: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Cosines and targets [B, B]: each item ranks all others, as RetrievalLoss does."""
    unit = torch.nn.functional.normalize(embeddings, dim=1)
    return unit @ unit.T, (labels[:, None] == labels[None]).to(torch.int8).fill_diagonal_(-1)


def _recall(client: rankd.Client, **settings: Any) -> rankd.torch.RecallLoss:
    return rankd.torch.RecallLoss(client=client, **{"weight": "log", "margin": 0.2, "gradient_scale": "unit", **settings})


def plain(client: rankd.Client, **settings: Any) -> Criterion:
    """RecallLoss with other settings, such as a margin that grows during the whole training."""
    loss = _recall(client, **settings)
    return lambda embeddings, labels, ids: loss(*pairs(embeddings, labels))


def flat(client: rankd.Client, share: float, lambda_flat: float) -> Criterion:
    """A share of the loss over all pairs of the batch as one list: one threshold for all queries,
    as contrastive loss has."""
    lists, one = _recall(client), _recall(client, lambda_val=lambda_flat)

    def call(embeddings: torch.Tensor, labels: torch.Tensor, ids: torch.Tensor) -> torch.Tensor:
        cosines, targets = pairs(embeddings, labels)
        upper = torch.ones_like(targets, dtype=torch.bool).triu(1)
        value = share * one(cosines[upper][None], targets[upper][None])
        return value if share == 1 else value + (1 - share) * lists(cosines, targets)

    return call


def both(client: rankd.Client) -> Criterion:
    """The mean of recall and ap."""
    recall, ap = _recall(client), rankd.torch.APLoss(client=client, margin=0.2, gradient_scale="unit")

    def call(embeddings: torch.Tensor, labels: torch.Tensor, ids: torch.Tensor) -> torch.Tensor:
        given = pairs(embeddings, labels)
        return 0.5 * recall(*given) + 0.5 * ap(*given)

    return call


def adaptive(client: rankd.Client, target: float) -> Criterion:
    """lambda_val grows by 5 % after a step with fewer pairs jumped per relevant item than `target`,
    else it falls by 5 %."""
    loss = _recall(client)

    def call(embeddings: torch.Tensor, labels: torch.Tensor, ids: torch.Tensor) -> torch.Tensor:
        value = loss(*pairs(embeddings, labels))
        assert loss.info is not None and loss.info.pairs_jumped is not None
        moved = loss.options["lambda_val"] * (1.05 if loss.info.pairs_jumped < target else 0.95)
        loss.options["lambda_val"] = min(max(moved, 1e-3), 1e3)
        return value

    return call


def _hooked(loss: rankd.torch.RecallLoss, hook: _Hook) -> Criterion:
    """The loss, with the gradient of the cosines changed by `hook`."""
    steps = 0

    def call(embeddings: torch.Tensor, labels: torch.Tensor, ids: torch.Tensor) -> torch.Tensor:
        nonlocal steps
        cosines, targets = pairs(embeddings, labels)
        known, now = cosines.detach(), steps
        steps += 1
        if cosines.requires_grad:
            cosines.register_hook(lambda gradient: hook(gradient, known, targets, now))
        return loss(cosines, targets)

    return call


def decay(client: rankd.Client, steps: int) -> Criterion:
    """From the unit scale at the beginning to the paper's gradient at the end: the gradient of each
    list is divided by its sum of absolute values to a power that falls from 1 to 0. The sum over
    all lists stays 1, because Adam's averages remember larger gradients for long."""
    def hook(gradient: torch.Tensor, cosines: torch.Tensor, targets: torch.Tensor, now: int) -> torch.Tensor:
        total = gradient.abs().sum(1, keepdim=True)
        scaled = gradient / total.clamp(min=1e-12) ** (1 - now / steps)
        return scaled / scaled.abs().sum().clamp(min=1e-12)

    return _hooked(_recall(client, gradient_scale="lambda"), hook)


def soft(client: rankd.Client, temperature: float, **settings: Any) -> Criterion:
    """Among the jumped items, near irrelevant ones and far relevant ones weigh more, by exp(cosine
    / temperature), as in NT-Xent. The sums over relevant and over irrelevant items stay."""
    def hook(gradient: torch.Tensor, cosines: torch.Tensor, targets: torch.Tensor, now: int) -> torch.Tensor:
        weighed = gradient * torch.exp(torch.where(targets == 1, -cosines, cosines) / temperature)
        for part in (targets == 1, targets == 0):
            before, after = ((g * part).abs().sum(1, keepdim=True) for g in (gradient, weighed))
            weighed = torch.where(part & (after > 0), weighed * before / after.clamp(min=1e-12), weighed)
        return weighed

    return _hooked(_recall(client, **settings), hook)


def alike(client: rankd.Client, **settings: Any) -> Criterion:
    """The relevant items of a list that moved get equal gradients, however far down they are."""
    def hook(gradient: torch.Tensor, cosines: torch.Tensor, targets: torch.Tensor, now: int) -> torch.Tensor:
        pulled = ((targets == 1) & (gradient < 0)).to(gradient)
        pull = (gradient * (targets == 1)).abs().sum(1, keepdim=True)
        push = (gradient * (targets == 0)).clamp(min=0)
        pushed = push.sum(1, keepdim=True).clamp(min=1e-12)
        return push * pull / pushed - pulled * pull / pulled.sum(1, keepdim=True).clamp(min=1)

    return _hooked(_recall(client, **settings), hook)


def noisy(client: rankd.Client, model: str, noise: float, **settings: Any) -> Criterion:
    """The mean loss `model` of _COPIES of each list, with normal noise added to their cosines: what
    a small change of the cosines would do to the order counts as well. In place of a margin."""
    given = {"margin": 0.0, "gradient_scale": "unit", **settings}
    loss = rankd.torch.APLoss(client=client, **given) if model == "ap" else _recall(client, **given)

    def call(embeddings: torch.Tensor, labels: torch.Tensor, ids: torch.Tensor) -> torch.Tensor:
        cosines, targets = (one.repeat(_COPIES, 1) for one in pairs(embeddings, labels))
        return loss(cosines + noise * torch.randn_like(cosines), targets)

    return call


_IDEAS: Mapping[str, Callable[..., Criterion]] = {
    "plain": plain, "flat": flat, "both": both, "adaptive": adaptive, "decay": decay, "soft": soft, "alike": alike,
    "noisy": noisy}


def build(client: rankd.Client, idea: str, **settings: Any) -> Criterion:
    """The idea of that name."""
    return _IDEAS[idea](client, **settings)
