# SPDX-License-Identifier: Apache-2.0
"""The peers: losses of ranked lists without rankd. All take scores [Q, N] and grades [Q, N] (-1:
padding), and return the mean over the queries that have something to find."""
from __future__ import annotations

import torch
from torch.nn import functional as F


def _gains(grades: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Gains 2^grade - 1 [Q, N], and the best DCG of each query [Q]."""
    gain = torch.where(grades > 0, 2 ** grades - 1, torch.zeros(()))
    discount = 1 / torch.log2(torch.arange(2, grades.shape[1] + 2).float())
    return gain, (gain.sort(dim=1, descending=True).values * discount).sum(1)


def listnet(scores: torch.Tensor, grades: torch.Tensor, *, temperature: float = 1.0) -> torch.Tensor:
    """Cao et al., "Learning to Rank: From Pairwise Approach to Listwise Approach", ICML 2007 (top
    one)."""
    padding = grades < 0
    wanted = (grades / temperature).masked_fill(padding, -torch.inf).softmax(1)
    said = scores.masked_fill(padding, -1e9).log_softmax(1)
    return -(wanted * said).sum(1)[(grades > 0).any(1)].mean()


def approx_ndcg(scores: torch.Tensor, grades: torch.Tensor, *, temperature: float = 1.0) -> torch.Tensor:
    """Qin et al., "A General Approximation Framework for Direct Optimization of Information
    Retrieval Measures", 2010."""
    gain, best = _gains(grades)
    ahead = torch.sigmoid((scores[:, None, :] - scores[:, :, None]) / temperature)
    ahead = ahead * (grades >= 0)[:, None, :] * (1 - torch.eye(scores.shape[1]))
    found = (gain / torch.log2(2 + ahead.sum(2))).sum(1)
    valid = best > 0
    return (1 - found[valid] / best[valid]).mean()


def lambda_loss(scores: torch.Tensor, grades: torch.Tensor, *, mu: float = 0.0, sigma: float = 1.0) -> torch.Tensor:
    """Wang et al., "The LambdaLoss Framework for Ranking Metric Optimization", CIKM 2018. With `mu`
    0 a pair is weighted as in LambdaRank; a larger `mu` adds their NDCG-Loss2."""
    gain, best = _gains(grades)
    valid = best > 0
    scores, grades, gain = scores[valid], grades[valid], gain[valid] / best[valid][:, None]
    order = scores.detach().masked_fill(grades < 0, -torch.inf).argsort(dim=1, descending=True)
    rank = torch.empty_like(order).scatter_(1, order, torch.arange(1, order.shape[1] + 1).expand_as(order))
    share = 1 / torch.log2(1 + rank.float())
    weight = (share[:, :, None] - share[:, None, :]).abs()
    if mu > 0:
        apart = (rank[:, :, None] - rank[:, None, :]).abs().clamp(min=1).float()
        weight = weight + mu * (1 / torch.log2(1 + apart) - 1 / torch.log2(2 + apart))
    pairs = (grades[:, :, None] > grades[:, None, :]) & (grades >= 0)[:, None, :]
    weight = weight * (gain[:, :, None] - gain[:, None, :]).abs() * pairs
    return (weight * F.softplus(-sigma * (scores[:, :, None] - scores[:, None, :]))).sum((1, 2)).mean()


PEERS = {"listnet": listnet, "approxndcg": approx_ndcg, "lambdaloss": lambda_loss}
