# SPDX-License-Identifier: Apache-2.0
"""ap, ndcg and mrr with a cut-off, by their definition: whole lists are sorted, in Python's own
numbers.

Ranks, average precision and reciprocal rank are exact fractions; NDCG, which has logarithms, is
FP64. Shares nothing with the engine, which sorts no list.
"""
import math
from fractions import Fraction

import numpy as np


def ranks(y, gain):
    """1 = best: higher score, then lower gain (0 is irrelevant), then lower index."""
    out = [0] * len(y)
    for place, item in enumerate(sorted(range(len(y)), key=lambda i: (-y[i], gain[i], i))):
        out[item] = place + 1
    return out


def gain_of(model, target, gain):
    grade = float(target)
    if model != "ndcg" or grade == 0:
        return grade
    return 2.0 ** grade - 1 if gain == "exp2" else grade


def discounted(gains_by_rank):
    """Σ G/log2(1 + rank) over pairs of rank and gain."""
    return math.fsum(g / math.log2(1 + rank) for rank, g in gains_by_rank)


def list_loss(model, rk, gain, k):
    """The loss of a list, exact except for NDCG."""
    relevant = sorted(rank for rank, g in zip(rk, gain) if g > 0)
    P, k = len(relevant), k or len(rk)
    if model == "mrr":
        return Fraction(1) if relevant[0] > k else 1 - Fraction(1, relevant[0])
    if model == "ap":
        hits = [rank for rank in relevant if rank <= k]
        m = min(P, k)
        return (sum((Fraction(rank - rp, rank) for rp, rank in enumerate(hits, 1)), Fraction(0)) + m - len(hits)) / m
    best = enumerate(sorted((g for g in gain if g > 0), reverse=True), 1)
    mine = sorted((rank, g) for rank, g in zip(rk, gain) if g > 0)
    return 1 - discounted(x for x in mine if x[0] <= k) / discounted(x for x in best if x[0] <= k)


def slopes(model, rk, gain):
    """d loss / d rank of each item, without a cut-off: FP64, in the order in which the definition
    has it."""
    relevant = sorted(rank for rank, g in zip(rk, gain) if g > 0)
    ideal = discounted(enumerate(sorted((g for g in gain if g > 0), reverse=True), 1))
    out = []
    for rank, g in zip(rk, gain):
        slope = 0.0
        if g > 0 and model == "ap":
            slope = (relevant.index(rank) + 1) / ((len(relevant) * float(rank)) * rank)
        elif g > 0 and model == "mrr":
            slope = 1 / (float(rank) * rank) if rank == relevant[0] else 0.0
        elif g > 0:
            ln = math.log(1 + rank)
            slope = ((g / ideal) * math.log(2)) / ((1 + rank) * (ln * ln))
        out.append(slope)
    return out


def request(model, scores, targets, *, gain="exp2", top_k=0, lam=1.0, margin=0.0, average="macro", units="normalized",
            scope="list", scale="lambda", weights=None):
    """Loss, gradient [Q, N] in float32, list losses (NaN: skipped) of rows."""
    scores, targets = np.asarray(scores, np.float32), np.asarray(targets, np.float64)
    weights = [1.0] * len(scores) if weights is None else [float(w) for w in weights]
    relevant = [int((t > 0).sum()) if w > 0 else 0 for t, w in zip(targets, weights)]
    share = {"macro": [w * (p > 0) for w, p in zip(weights, relevant)],
             "micro": [w * p for w, p in zip(weights, relevant)], "sum": weights}[average]
    total = 1.0 if average == "sum" else sum(share)
    gradient, losses, loss = np.zeros(scores.shape, np.float32), [], 0.0
    for q, (row, target) in enumerate(zip(scores, targets)):
        if relevant[q] == 0:
            losses.append(math.nan)
            continue
        w, keep = share[q] / total, [i for i, t in enumerate(target) if t != -1]
        worth = [gain_of(model, target[i], gain) for i in keep]
        y = [float(np.float32(float(row[i]) + (margin / 2 if g == 0 else -margin / 2))) for i, g in zip(keep, worth)]
        before = ranks(y, worth)
        losses.append(float(list_loss(model, before, worth, top_k)))
        loss += w * losses[-1]
        strength = (lam * len(keep) if units == "normalized" else lam) * (w if scope == "batch" else 1)
        with np.errstate(over="ignore"):
            moved = [float(np.float32(v + strength * g)) if u > 0 else v
                     for v, g, u in zip(y, slopes(model, before, worth), worth)]
        delta = [a - b for a, b in zip(before, ranks(moved, worth))]
        divisor = float(sum(map(abs, delta))) if scale == "unit" else strength
        for i, d in zip(keep, delta):
            gradient[q, i] = np.float32((-w * d) / divisor) if d else 0
    return loss, gradient, np.array(losses)
