# SPDX-License-Identifier: Apache-2.0
"""Plain PyTorch for a batch of embeddings against a large bank, timed beside rankd's engine.

    retrieval_peers.py [queries [items [dim [relevant]]]]

One thread. `argsort` is the paper's code: a similarity matrix, ranks by argsort of argsort, before
and after the perturbation, and a backward through the matrix. `CrossBatchMemory` is
pytorch-metric-learning's memory with SupConLoss, the loss nearest to a ranking among those it takes
(it refuses FastAPLoss). Fewer queries than in bench-retrieval by default: a matrix of 256 x
1,000,000 and its argsort take 3 GB and minutes; time grows in proportion to the queries.
"""
import resource
import sys
import time

import torch

torch.set_num_threads(1)
QUERIES, ITEMS, DIM, RELEVANT = [int(a) for a in sys.argv[1:]] + [32, 1_000_000, 128, 8][len(sys.argv) - 1:]
MARGIN, LAMBDA = 0.1, 1.0


def ranks(scores):
    return scores.argsort(dim=1, descending=True).argsort(dim=1).to(scores.dtype) + 1


class BlackboxRank(torch.autograd.Function):
    @staticmethod
    def forward(ctx, scores):
        rk = ranks(scores)
        ctx.save_for_backward(scores, rk)
        return rk

    @staticmethod
    def backward(ctx, upstream):
        scores, rk = ctx.saved_tensors
        scale = LAMBDA * scores.shape[1]
        return -(rk - ranks(scores + scale * upstream)) / scale


def argsort_loss(embeddings, labels, memory, memory_labels):
    scores = embeddings @ memory.T
    relevant = (labels[:, None] == memory_labels[None]).float()
    rk = BlackboxRank.apply(scores - MARGIN * (relevant - 0.5))
    with torch.no_grad():
        rp = ranks(scores - 1e6 * (1 - relevant))
    precision = (rp / rk * relevant).sum(1) / relevant.sum(1)
    return 1 - precision.mean()


def timed(run, repeats=3):
    times = []
    for _ in range(repeats):
        start = time.perf_counter()
        run()
        times.append(time.perf_counter() - start)
    return sorted(times)[repeats // 2]


def peak_gib():
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20


def main():
    torch.manual_seed(0)
    unit = torch.nn.functional.normalize
    memory = unit(torch.randn(ITEMS, DIM), dim=1)
    memory_labels = torch.arange(ITEMS) % (ITEMS // RELEVANT)
    raw = torch.randn(QUERIES, DIM)
    labels = torch.arange(QUERIES)
    base = peak_gib()

    def argsort():
        x = raw.clone().requires_grad_()
        argsort_loss(unit(x, dim=1), labels, memory, memory_labels).backward()

    product = timed(lambda: raw @ memory.T)
    print(f"{QUERIES} x {ITEMS} x {DIM}, {RELEVANT} relevant: product in torch {product:.3f} s")
    seconds = timed(argsort, 1)
    print(f"torch, argsort: {seconds:.3f} s, +{peak_gib() - base:.2f} GiB")

    from pytorch_metric_learning.losses import CrossBatchMemory, SupConLoss
    bank = CrossBatchMemory(SupConLoss(), DIM, memory_size=ITEMS)
    bank.embedding_memory[:] = memory
    bank.label_memory[:] = memory_labels
    bank.has_been_filled = True

    def cross_batch():
        x = raw.clone().requires_grad_()
        bank(unit(x, dim=1), labels).backward()

    seconds = timed(cross_batch, 1)
    print(f"pytorch-metric-learning, CrossBatchMemory(SupConLoss): {seconds:.3f} s, peak +{peak_gib() - base:.2f} GiB")


main()
