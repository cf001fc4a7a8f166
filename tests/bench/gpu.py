#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""The engine on a device beside its peers, forward and backward, data on the device, in one run.

Peers: a device-to-device copy of the same bytes; PyTorch on the same device as the paper's code
does it (engine.py); for retrieval the bare cuBLAS product of the same shape. Calls the plugin's
table by ctypes, so it does not need the daemon; times are wall times of a call that waits for its
result.
"""
import argparse
import ctypes as c
import json
import statistics
import sys
import time
from pathlib import Path

import numpy as np
import torch

sys.path.insert(0, str(Path(__file__).parent))
import engine  # noqa: E402
from device_plugin import FP32, INT8, Device, Gradient, Query, Rank, Retrieval, Run, Scores, ap  # noqa: E402

def median(call, runs, seconds=3.0):
    call()
    times, begun = [], time.perf_counter()
    while len(times) < runs and (len(times) < 3 or time.perf_counter() - begun < seconds):
        torch.cuda.synchronize()
        start = time.perf_counter()
        call()
        torch.cuda.synchronize()
        times.append(time.perf_counter() - start)
    return statistics.median(times)


def draw(q, n, p, kind="uniform"):
    generator = torch.Generator("cuda").manual_seed(1)
    scores = torch.rand(q, n, device="cuda", generator=generator)
    targets = torch.zeros(q, n, dtype=torch.int8, device="cuda")
    for row in targets:
        row[torch.randint(0, n, (p,), device="cuda", generator=generator)] = 1
    if kind == "good":  # most relevant items in front, as in a trained model
        scores += 0.9 * targets
    elif kind == "equal":
        scores[:] = 0.25
    return scores, targets


def scores_case(device, name, q, n, p, kind, peer, interclass=0.0):
    scores, targets = draw(q, n, p, kind)
    gradient = torch.empty_like(scores)
    host_scores, host_targets, host_gradient = (t.cpu().numpy() for t in (scores, targets, gradient))
    job = Scores(scores=scores.data_ptr(), targets=targets.data_ptr(), scores_on_device=True, targets_on_device=True,
                 score_dtype=FP32, target_dtype=INT8, rows=q, columns=n, box=ap(strength=1.0, interclass=interclass),
                 gradient=Gradient(dense=True, data=gradient.data_ptr(), on_device=True))
    ours = median(lambda: device.call("scores", job), 50)
    forward = Scores.from_buffer_copy(job)
    forward.gradient.dense = False
    loss = median(lambda: device.call("scores", forward), 50)
    host = Scores.from_buffer_copy(job)
    host.scores, host.targets, host.gradient.data = (a.ctypes.data for a in (host_scores, host_targets, host_gradient))
    host.scores_on_device = host.targets_on_device = host.gradient.on_device = False
    from_host = median(lambda: device.call("scores", host), 20, 1.0)
    for array in (host_scores, host_targets, host_gradient):
        device.pin(array)
    from_pinned = median(lambda: device.call("scores", host), 20, 1.0)
    for array in (host_scores, host_targets, host_gradient):
        device.unpin(array)
    # Enough copies in a row that the time of their launches is negligible.
    copies = max(1, int(2e8 / scores.nbytes))

    def copy():
        for _ in range(copies):
            gradient.copy_(scores)

    copied = median(copy, 30) / copies
    row = {"case": name, "us": ours * 1e6, "forward_us": loss * 1e6, "host_us": from_host * 1e6, "pinned_us": from_pinned * 1e6,
           "copy_us": copied * 1e6, "of_copy": ours / copied, "nonzero": job.gradient.nonzero}
    if peer and not interclass:
        try:
            plain = median(lambda: engine.torch_ap(scores, targets), 5)
            row.update(torch_us=plain * 1e6, of_torch=plain / ours)
        except torch.OutOfMemoryError:
            torch.cuda.empty_cache()
    return row


def torch_ranks(scores):
    return torch.argsort(torch.argsort(scores, dim=1, descending=True), dim=1)


def rank_case(device, name, q, n):
    """rank_vjp beside two rankings by argsort of argsort."""
    scores, _ = draw(q, n, 1)
    upstream = 1e-3 * torch.randn_like(scores)
    gradient = torch.empty_like(scores)
    job = Rank(scores=scores.data_ptr(), scores_on_device=True, score_dtype=FP32, rows=q, columns=n, upstream=upstream.data_ptr(),
               upstream_on_device=True, scale=n, gradient=Gradient(dense=True, data=gradient.data_ptr(), on_device=True))
    setattr(job, "lambda", 1.0)
    ours = median(lambda: device.call("rank", job), 20)
    plain = median(lambda: torch_ranks(scores + upstream) - torch_ranks(scores), 10)
    return {"case": name, "us": ours * 1e6, "torch_us": plain * 1e6, "of_torch": plain / ours}


def show(row):
    print("  ".join(f"{k} {v:,.1f}" if isinstance(v, float) else f"{k} {v}" for k, v in row.items()), flush=True)
    torch.cuda.empty_cache()


def retrieval_case(device, name, batch, dim, items, relevant, gradient=True):
    random = np.random.default_rng(2)
    own = random.standard_normal((batch, dim), dtype=np.float32)
    bank = random.standard_normal((items, dim), dtype=np.float32)
    own /= np.linalg.norm(own, axis=1, keepdims=True)
    bank /= np.linalg.norm(bank, axis=1, keepdims=True)
    positions = np.sort(batch + random.integers(0, items, (batch, relevant)).astype(np.uint32), axis=1)
    selves = np.arange(batch, dtype=np.uint32)
    runs = (Run * 1)(Run(bank.ctypes.data, FP32, items, 12345 + batch, 0))
    queries = (Query * batch)(*[Query(positions[i].ctypes.data, selves[i:].ctypes.data, relevant, 1, 1 / batch)
                                for i in range(batch)])
    total = np.zeros((batch, dim))
    job = Retrieval(own=own.ctypes.data, n_queries=batch, own_items=batch, total=batch + items, dim=dim,
                    row_block=c.addressof(runs), row_blocks=1, query=c.addressof(queries), row=selves.ctypes.data, queries=batch,
                    box=ap(margin=0.1, strength=1.0), gradient=gradient, sum=total.ctypes.data)
    ours = median(lambda: device.call("retrieval", job), 20)
    done = sum(q.done for q in queries)
    a, b = torch.from_numpy(own).cuda(), torch.from_numpy(bank).cuda()
    out = torch.empty(batch, items, device="cuda")
    torch.backends.cuda.matmul.allow_tf32 = False
    bare = median(lambda: torch.mm(a, b.T, out=out), 20)
    return {"case": name, "us": ours * 1e6, "product_us": bare * 1e6, "of_product": ours / bare, "done": done}


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("plugin")
    parser.add_argument("--json")
    parser.add_argument("--no-peer", action="store_true")
    args = parser.parse_args()
    device, rows = Device(args.plugin), []
    print(f"{device.name}; PyTorch {torch.__version__}; times in us, medians", flush=True)
    for case in [("128 x 128, P = 4", 128, 128, 4, "uniform"), ("256 x 4,096, P = 8", 256, 4096, 8, "uniform"),
                 ("256 x 65,536, P = 8", 256, 65536, 8, "uniform"), ("256 x 65,536, P = 100", 256, 65536, 100, "uniform"),
                 ("256 x 65,536, P = 3,000", 256, 65536, 3000, "uniform"),
                 ("256 x 65,536, P = 6,000", 256, 65536, 6000, "uniform"), ("16 x 1M, P = 100", 16, 1_000_000, 100, "uniform"),
                 ("16 x 1M, P = 1 %", 16, 1_000_000, 10_000, "uniform"),
                 ("1 x 1M, P = 1 %", 1, 1_000_000, 10_000, "uniform"), ("1 x 10M, P = 100", 1, 10_000_000, 100, "uniform"),
                 ("1 x 10M, P = 1 %", 1, 10_000_000, 100_000, "uniform"),
                 ("1 x 100M, P = 1 %", 1, 100_000_000, 1_000_000, "uniform"),
                 ("1 x 100M, P = 1 %, trained", 1, 100_000_000, 1_000_000, "good"),
                 ("1 x 100M, P = 50 %", 1, 100_000_000, 50_000_000, "uniform"),
                 ("1 x 10M, P = 1 %, all equal", 1, 10_000_000, 100_000, "equal")]:
        rows.append(scores_case(device, *case, peer=not args.no_peer))
        show(rows[-1])
    rows.append(scores_case(device, "20 x 12,000, P = 40, interclass", 20, 12000, 40, "uniform", False, interclass=0.5))
    show(rows[-1])
    for case in [("rank_vjp 256 x 4,096", 256, 4096), ("rank_vjp 1 x 10M", 1, 10_000_000), ("rank_vjp 1 x 100M", 1, 100_000_000)]:
        rows.append(rank_case(device, *case))
        show(rows[-1])
    for case in [("1024 x 128 of 1M, 8 relevant", 1024, 128, 1_000_000, 8),
                 ("256 x 128 of 1M, 8 relevant", 256, 128, 1_000_000, 8),
                 ("1024 x 128 of 1M, 1000 relevant", 1024, 128, 1_000_000, 1000),
                 ("256 x 128 of 1M, 10,000 relevant", 256, 128, 1_000_000, 10_000),
                 ("256 x 128 of 65,536, 8 relevant", 256, 128, 65536, 8)]:
        rows.append(retrieval_case(device, *case))
        show(rows[-1])
    if args.json:
        Path(args.json).write_text(json.dumps({"device": device.name, "rows": rows}, indent=1))


if __name__ == "__main__":
    main()
