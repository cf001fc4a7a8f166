#!/usr/bin/env python3
"""The engine on a card beside its peers, forward and backward, data on the card, in one run.

Peers: a device-to-device copy of the same bytes; PyTorch on the same card as the paper's code does it (engine.py); for
retrieval the bare cuBLAS product of the same shape. Calls the plugin's table by ctypes, so it wants nothing of the
daemon; times are wall times of a call that waits for its result.
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

FP32, FP16, INT8 = 7, 5, 2
DONE = 0


class Scores(c.Structure):
    _fields_ = [("scores", c.c_void_p), ("targets", c.c_void_p), ("scores_on_card", c.c_bool), ("targets_on_card", c.c_bool),
                ("score_dtype", c.c_int), ("target_dtype", c.c_int), ("rows", c.c_size_t), ("columns", c.c_size_t),
                ("by_column", c.c_bool), ("recall", c.c_bool), ("weight", c.c_int), ("average", c.c_int),
                ("margin", c.c_double), ("lambda", c.c_double), ("normalized", c.c_bool), ("batch", c.c_bool),
                ("wants_gradient", c.c_bool), ("wants_sparse", c.c_bool), ("gradient", c.c_void_p),
                ("gradient_on_card", c.c_bool), ("list_loss", c.c_void_p), ("sparse_room", c.c_void_p),
                ("sparse_arg", c.c_void_p), ("loss", c.c_double), ("lists", c.c_size_t), ("skipped", c.c_size_t),
                ("stalled", c.c_size_t), ("nonzero", c.c_size_t)]


class Run(c.Structure):
    _fields_ = [("rows", c.c_void_p), ("dtype", c.c_int), ("items", c.c_size_t), ("identity", c.c_uint64),
                ("first", c.c_size_t)]


class Query(c.Structure):
    _fields_ = [("relevant", c.c_void_p), ("ignored", c.c_void_p), ("relevants", c.c_uint32), ("ignoreds", c.c_uint32),
                ("w", c.c_double), ("loss", c.c_double), ("done", c.c_bool), ("stalled", c.c_bool)]


class Retrieval(c.Structure):
    _fields_ = [("own", c.c_void_p), ("batch", c.c_size_t), ("own_items", c.c_size_t), ("total", c.c_size_t),
                ("dim", c.c_size_t), ("run", c.c_void_p), ("runs", c.c_size_t), ("query", c.c_void_p), ("row", c.c_void_p),
                ("queries", c.c_size_t), ("recall", c.c_bool), ("normalized", c.c_bool), ("batch_scope", c.c_bool),
                ("check_nan", c.c_bool), ("gradient", c.c_bool), ("weight", c.c_int), ("margin", c.c_double),
                ("lambda", c.c_double), ("sum", c.c_void_p)]


class Plugin(c.Structure):
    CALL = c.CFUNCTYPE(c.c_int, c.c_void_p, c.c_void_p, c.c_char_p)
    _fields_ = [("version", c.c_uint32), ("open", c.CFUNCTYPE(c.c_void_p, c.c_int, c.c_size_t, c.c_char_p, c.c_char_p)),
                ("close", c.CFUNCTYPE(None, c.c_void_p)), ("scores", CALL), ("retrieval", CALL)]


class Card:
    def __init__(self, path):
        library = c.CDLL(path)
        library.rk_plugin.restype = c.POINTER(Plugin)
        self.plugin = library.rk_plugin().contents
        name, self.why = c.create_string_buffer(128), c.create_string_buffer(256)
        self.card = self.plugin.open(0, 60 << 30, name, self.why)
        if not self.card:
            sys.exit(f"no card: {self.why.value.decode()}")
        self.name = name.value.decode()

    def call(self, what, job):
        if getattr(self.plugin, what)(self.card, c.addressof(job), self.why) != DONE:
            sys.exit(f"{what}: {self.why.value.decode() or 'passed'}")


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


def scores_case(card, name, q, n, p, kind, peer):
    scores, targets = draw(q, n, p, kind)
    gradient = torch.empty_like(scores)
    host_scores, host_targets, host_gradient = (t.cpu().numpy() for t in (scores, targets, gradient))
    job = Scores(scores=scores.data_ptr(), targets=targets.data_ptr(), scores_on_card=True, targets_on_card=True,
                 score_dtype=FP32, target_dtype=INT8, rows=q, columns=n, normalized=True, wants_gradient=True,
                 gradient=gradient.data_ptr(), gradient_on_card=True)
    setattr(job, "lambda", 1.0)
    ours = median(lambda: card.call("scores", job), 50)
    forward = Scores.from_buffer_copy(job)
    forward.wants_gradient = False
    loss = median(lambda: card.call("scores", forward), 50)
    host = Scores.from_buffer_copy(job)
    host.scores, host.targets, host.gradient = (a.ctypes.data for a in (host_scores, host_targets, host_gradient))
    host.scores_on_card = host.targets_on_card = host.gradient_on_card = False
    from_host = median(lambda: card.call("scores", host), 20, 1.0)
    # Enough copies in a row that launching them does not count.
    copies = max(1, int(2e8 / scores.nbytes))

    def copy():
        for _ in range(copies):
            gradient.copy_(scores)

    copied = median(copy, 30) / copies
    row = {"case": name, "us": ours * 1e6, "forward_us": loss * 1e6, "host_us": from_host * 1e6, "copy_us": copied * 1e6,
           "of_copy": ours / copied, "nonzero": job.nonzero}
    if peer:
        try:
            plain = median(lambda: engine.torch_ap(scores, targets), 5)
            row.update(torch_us=plain * 1e6, of_torch=plain / ours)
        except torch.OutOfMemoryError:
            torch.cuda.empty_cache()
    return row


def retrieval_case(card, name, batch, dim, items, relevant, gradient=True):
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
    job = Retrieval(own=own.ctypes.data, batch=batch, own_items=batch, total=batch + items, dim=dim,
                    run=c.addressof(runs), runs=1, query=c.addressof(queries), row=selves.ctypes.data, queries=batch,
                    normalized=True, gradient=gradient, margin=0.1, sum=total.ctypes.data)
    setattr(job, "lambda", 1.0)
    ours = median(lambda: card.call("retrieval", job), 20)
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
    card, rows = Card(args.plugin), []
    print(f"{card.name}; PyTorch {torch.__version__}; times in us, medians", flush=True)
    for case in [("128 x 128, P = 4", 128, 128, 4, "uniform"), ("256 x 4,096, P = 8", 256, 4096, 8, "uniform"),
                 ("256 x 65,536, P = 8", 256, 65536, 8, "uniform"), ("256 x 65,536, P = 100", 256, 65536, 100, "uniform"),
                 ("256 x 65,536, P = 3,000", 256, 65536, 3000, "uniform"),
                 ("1 x 1M, P = 1 %", 1, 1_000_000, 10_000, "uniform"), ("1 x 10M, P = 100", 1, 10_000_000, 100, "uniform"),
                 ("1 x 10M, P = 1 %", 1, 10_000_000, 100_000, "uniform"),
                 ("1 x 100M, P = 1 %", 1, 100_000_000, 1_000_000, "uniform"),
                 ("1 x 100M, P = 1 %, trained", 1, 100_000_000, 1_000_000, "good"),
                 ("1 x 100M, P = 50 %", 1, 100_000_000, 50_000_000, "uniform"),
                 ("1 x 10M, P = 1 %, all equal", 1, 10_000_000, 100_000, "equal")]:
        rows.append(scores_case(card, *case, peer=not args.no_peer))
        print("  ".join(f"{k} {v:,.1f}" if isinstance(v, float) else f"{k} {v}" for k, v in rows[-1].items()), flush=True)
        torch.cuda.empty_cache()
    for case in [("1024 x 128 of 1M, 8 relevant", 1024, 128, 1_000_000, 8), ("256 x 128 of 1M, 8 relevant", 256, 128, 1_000_000, 8),
                 ("1024 x 128 of 1M, 1000 relevant", 1024, 128, 1_000_000, 1000),
                 ("256 x 128 of 65,536, 8 relevant", 256, 128, 65536, 8)]:
        rows.append(retrieval_case(card, *case))
        print("  ".join(f"{k} {v:,.1f}" if isinstance(v, float) else f"{k} {v}" for k, v in rows[-1].items()), flush=True)
    if args.json:
        Path(args.json).write_text(json.dumps({"card": card.name, "rows": rows}, indent=1))


if __name__ == "__main__":
    main()
