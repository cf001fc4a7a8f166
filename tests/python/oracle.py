# SPDX-License-Identifier: Apache-2.0
"""The losses by their definition: rank by sorting, perturb, rank again. Shares nothing with the
engine but the paper.

Slow and plain on purpose. Scores arrive as anything that rounds to float32; losses and gradients
leave as float64.
"""
import numpy as np

LOSSES = {
    "log": (lambda x: np.log1p(x), lambda x: 1 / (1 + x)),
    "loglog": (lambda x: np.log1p(np.log1p(x)), lambda x: 1 / ((1 + x) * (1 + np.log1p(x)))),
    "identity": (lambda x: x, lambda x: np.ones_like(x)),
}


def ranks(scores, relevant=None):
    """1 = best: higher score, then irrelevant before relevant, then lower index."""
    n = len(scores)
    second = np.zeros(n) if relevant is None else relevant
    order = np.lexsort((np.arange(n), second, -np.asarray(scores, np.float64)))
    out = np.empty(n, np.int64)
    out[order] = np.arange(1, n + 1)
    return out


def one_list(model, scores, targets, lam=1.0, margin=0.0, units="normalized", weight="loglog", scale="lambda"):
    """Loss of a list, its gradient at w = 1, whether it is valid, whether it is stalled, P, and
    pairs that changed places."""
    keep = np.flatnonzero(np.asarray(targets) != -1)
    relevant = np.asarray(targets)[keep] == 1
    gradient = np.zeros(len(targets))
    P, n = int(relevant.sum()), len(keep)
    if P == 0:
        return 0.0, gradient, False, False, 0, 0
    s = np.asarray(scores, np.float32)[keep].astype(np.float64)
    y = np.where(relevant, s - margin / 2, s + margin / 2).astype(np.float32)
    rk = ranks(y, relevant)
    mine = np.flatnonzero(relevant)
    rp = ranks(y[mine], np.ones(P))
    ahead = (rk[mine] - rp).astype(np.float64)
    if model == "ap":
        loss = np.sum(ahead / rk[mine]) / P
        g = rp / (P * rk[mine].astype(np.float64) * rk[mine])
    else:
        value, slope = LOSSES[weight]
        loss, g = np.sum(value(ahead)) / P, slope(ahead) / P
    strength = lam * n if units == "normalized" else lam
    moved = y.copy()
    moved[mine] = (y[mine].astype(np.float64) + strength * g).astype(np.float32)
    difference = rk - ranks(moved, relevant)
    total = np.abs(difference).sum()
    gradient[keep] = -difference / (max(total, 1) if scale == "unit" else strength)
    stalled = bool(loss > 0) and not np.any(difference[~relevant])
    return float(loss), gradient, True, stalled, P, int(np.abs(difference[~relevant]).sum())


def batch(model, scores, targets, average="macro", axis=1, **options):
    """Loss, gradient of the scores' shape, list losses (NaN where skipped), number of valid and of
    stalled lists."""
    scores, targets = np.asarray(scores), np.asarray(targets)
    if axis == 0:
        loss, gradient, *rest = batch(model, scores.T, targets.T, average, **options)
        return loss, gradient.T, *rest
    results = [one_list(model, s, t, **options) for s, t in zip(scores, targets)]
    valid = [r[2] for r in results]
    V, total = sum(valid), sum(r[4] for r in results)
    w = [{"macro": 1 / max(V, 1), "sum": 1.0, "micro": r[4] / max(total, 1)}[average] if r[2] else 0.0 for r in results]
    loss = sum(a * r[0] for a, r in zip(w, results))
    gradient = np.array([a * r[1] for a, r in zip(w, results)]).reshape(scores.shape)
    each = np.array([r[0] if r[2] else np.nan for r in results], np.float64)
    return loss, gradient, each, V, sum(r[3] for r in results)


def pairs_jumped(model, scores, targets, axis=1, **options):
    """Pairs that changed places, per relevant item."""
    scores, targets = (np.asarray(x) if axis else np.asarray(x).T for x in (scores, targets))
    results = [one_list(model, s, t, **options) for s, t in zip(scores, targets)]
    return sum(r[5] for r in results) / max(sum(r[4] for r in results), 1)


def unit(vectors):
    """Rows divided by their L2 norm, as float32."""
    v = np.asarray(vectors, np.float64)
    return (v / np.linalg.norm(v, axis=1, keepdims=True)).astype(np.float32)


def embeddings_batch(model, embeddings, labels, ids=None, refs=None, ref_labels=None, ref_ids=None, memory=None,
                     memory_labels=None, memory_ids=None, normalize=True, margin=0.1, similarity=None, gallery="all",
                     relevance=None, **options):
    """Embeddings ranked against batch (unless gallery is "references"), references and memory
    (already as stored). Returns loss, gradient [B, dim], gradient of the references [R, dim],
    number of valid lists. The matrix of similarities may be given."""
    B, dim = np.shape(embeddings)
    none = np.zeros((0, dim), np.float32)
    refs, memory = none if refs is None else np.asarray(refs), none if memory is None else np.asarray(memory)
    R, M = len(refs), len(memory)
    prepare = unit if normalize else (lambda v: np.asarray(v, np.float32))
    own, other = prepare(embeddings), prepare(refs) if R else none
    items = np.concatenate([own, other, memory]).astype(np.float32)
    labels = np.full(B, -1) if relevance is not None else labels
    ref_labels = np.full(R, -1) if relevance is not None else ref_labels
    item_labels = np.concatenate([labels, ref_labels if R else [], memory_labels if M else []]).astype(np.int64)
    names = [np.full(k, -1) if x is None else np.asarray(x) for x, k in ((ids, B), (ref_ids, R), (memory_ids, M))]
    item_ids = np.concatenate(names)
    S = own @ items.T if similarity is None else similarity
    T = ((item_labels[None] == np.asarray(labels)[:, None]) & (np.asarray(labels)[:, None] != -1)).astype(np.int64)
    if relevance is not None:
        T = np.asarray(relevance).astype(np.int64)
        T = np.hstack([np.full((B, B), -1), T]) if gallery == "references" else T.copy()
    if gallery == "references":
        T[:, :B] = -1
    T[np.arange(B), np.arange(B)] = -1
    T[(item_ids[None] == names[0][:, None]) & (names[0][:, None] != -1)] = -1
    loss, G, _, V, _ = batch(model, S, T, margin=margin, **options)
    to_own = G @ items.astype(np.float64)
    to_own += G[:, :B].T @ own.astype(np.float64)
    to_refs = G[:, B:B + R].T @ own.astype(np.float64)
    if normalize:
        to_own = through_norm(embeddings, to_own)
        to_refs = through_norm(refs, to_refs) if R else to_refs
    return loss, to_own, to_refs, V


def through_norm(vectors, gradient):
    """The chain rule through v / |v|."""
    v = np.asarray(vectors, np.float64)
    length = np.linalg.norm(v, axis=1, keepdims=True)
    u = v / length
    return (gradient - u * np.sum(u * gradient, axis=1, keepdims=True)) / length
