# SPDX-License-Identifier: Apache-2.0
"""One run: a small network for every loss, or LightGBM's trees."""
from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import nn

from .data import FEATURES, Queries, ndcg

BATCH = 32  # queries
_LEARNING_RATE = 1e-3
_TOPS = (1, 3, 5, 10)

Loss = Callable[[torch.Tensor, torch.Tensor], torch.Tensor]  # scores [Q, N], grades [Q, N]


def network(hidden: bool) -> nn.Module:
    """One hidden layer with dropout, or a linear function of the features."""
    if not hidden:
        return nn.Linear(FEATURES, 1)
    return nn.Sequential(nn.Linear(FEATURES, 64), nn.ReLU(), nn.Dropout(0.3), nn.Linear(64, 1))


def train(loss: Loss, data: Queries, held_out: Queries, *, steps: int, seed: int,
          hidden: bool = True) -> tuple[dict[str, Any], nn.Module]:
    """Adam with weight decay, the same batches for every loss. Returns the figures with the curve
    (steps, NDCG@10)."""
    torch.manual_seed(seed)
    model, draw = network(hidden), torch.Generator().manual_seed(seed)
    optimizer = torch.optim.AdamW(model.parameters(), lr=_LEARNING_RATE, weight_decay=0.01)
    curve, took = [], []
    for step in range(1, steps + 1):
        which = torch.randperm(len(data.grades), generator=draw)[:BATCH]
        scores = model(data.features[which]).squeeze(2)
        ends = scores.detach().requires_grad_()
        begun = time.perf_counter()
        loss(ends, data.grades[which]).backward()
        took.append(time.perf_counter() - begun)
        optimizer.zero_grad(set_to_none=True)
        scores.backward(ends.grad)
        optimizer.step()
        if step * 5 % steps < 5:
            curve.append([step, round(ndcg(_scores(model, held_out), held_out.grades, 10), 2)])
    took.sort()
    return {**_figures(_scores(model, held_out), held_out), "curve": curve,
            "loss_ms": round(1e3 * took[len(took) // 2], 3)}, model


@torch.no_grad()
def _scores(model: nn.Module, data: Queries) -> torch.Tensor:
    model.eval()
    scores: torch.Tensor = model(data.features).squeeze(2)
    model.train()
    return scores


def _figures(scores: torch.Tensor, data: Queries) -> dict[str, float]:
    return {f"NDCG@{top}": round(ndcg(scores, data.grades, top), 2) for top in _TOPS}


def trees(data: Queries, held_out: Queries, settings: Mapping[str, Any], seed: int) -> dict[str, Any]:
    """LightGBM's own lambdarank, one thread."""
    import lightgbm

    there = data.grades >= 0
    model = lightgbm.LGBMRanker(objective="lambdarank", n_jobs=1, verbose=-1, random_state=seed, subsample=0.8, subsample_freq=1,
                                colsample_bytree=0.8, **settings)
    model.fit(data.features[there].numpy(), data.grades[there].numpy(), group=there.sum(1).numpy())
    scores = torch.from_numpy(model.predict(held_out.features.reshape(-1, FEATURES).numpy())).view_as(held_out.grades)
    return _figures(scores.float(), held_out)
