# SPDX-License-Identifier: Apache-2.0
"""Lists of different lengths and weights of lists by their definition, list by list with
oracle.one_list, and random ones."""
import numpy as np
import oracle


def batch(model, lists, weight=None, average="macro", **options):
    """Of `lists`, pairs of scores and targets: loss, the gradient of each list, list losses (NaN
    where skipped), number of valid and of stalled lists. `weight` [lists] or None."""
    weight = np.ones(len(lists)) if weight is None else np.asarray(weight, np.float32).astype(np.float64)
    results = [oracle.one_list(model, s, t, **options) for s, t in lists]
    valid = np.array([r[2] for r in results], bool) & (weight > 0)
    share = valid * weight * (np.array([r[4] for r in results], np.float64) if average == "micro" else 1)
    w = share if average == "sum" else share / (share.sum() or 1)
    loss = float(sum(a * r[0] for a, r in zip(w, results)))
    each = np.array([r[0] if ok else np.nan for r, ok in zip(results, valid)], np.float64)
    return loss, [a * r[1] for a, r in zip(w, results)], each, int(valid.sum()), sum(r[3] for r, ok in zip(results, valid) if ok)


def draw(rng, lists=12, longest=30):
    """Random lists: empty ones, ties, infinities, ignored items, none relevant, one item; and
    weights, some of them 0."""
    sizes = rng.integers(0, longest, rng.integers(0, lists)) if rng.random() < .9 else np.zeros(rng.integers(0, 4), int)
    sizes = sizes * (rng.random(len(sizes)) < .8)
    offsets = np.concatenate([[0], np.cumsum(sizes)]).astype(np.int64)
    items = int(offsets[-1])
    scores = (rng.integers(-3, 3, items) if rng.random() < .5 else rng.standard_normal(items)).astype(np.float32)
    for value in (np.inf, -np.inf):
        scores[rng.random(items) < .05] = value
    targets = rng.choice([-1, 0, 1], items, p=[.1, .6, .3])
    scores[(targets == -1) & (rng.random(items) < .3)] = np.nan
    weight = (rng.random(len(sizes)) * 3 * (rng.random(len(sizes)) < .8)).astype(np.float32)
    return scores, targets, offsets, weight


def cut(offsets, *arrays):
    """The pieces of flat arrays, list by list."""
    return list(zip(*(np.split(a, offsets[1:-1]) for a in arrays))) if len(offsets) > 1 else []
