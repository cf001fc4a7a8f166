# SPDX-License-Identifier: Apache-2.0
"""The joint step of a job: ranks with a shard each, Gloo, one daemon, the ring. Forward and
backward, by turns in one run:

gather + one       the shards gathered by all_gather, and rank 0 alone computes the loss of the whole batch: the bound
distributed=True   the joint step
"balanced"         the joint step in which each rank has its own queries ranked
by hand            differentiable all_gather, the other shards as references, avg_factor
peer               DistributedLossWrapper of pytorch-metric-learning around FastAPLoss

    joint.py --build build [ranks [rows [dim]]]
"""
import argparse
import statistics
import subprocess
import sys
import tempfile
import time
import warnings
from pathlib import Path

import torch
import torch.distributed as dist
import torch.distributed.nn.functional as dist_nn
import torch.multiprocessing as mp

STEPS, ROUNDS, CAPACITY = 10, 9, 16384


def gathered(tensor):
    shards = [torch.empty_like(tensor) for _ in range(dist.get_world_size())]
    dist.all_gather(shards, tensor)
    return torch.cat(shards)


def gather_and_one(crit, embeddings, labels):
    whole, everybody = gathered(embeddings.detach()).requires_grad_(), gathered(labels)
    if dist.get_rank() == 0:
        crit(whole, everybody).backward()


def joint(crit, embeddings, labels):
    crit(embeddings, labels).backward()


def by_hand(crit, embeddings, labels):
    rank, shards, label_shards = dist.get_rank(), dist_nn.all_gather(embeddings), gathered(labels).split(len(labels))
    everybody = torch.cat(label_shards)
    valid = ((everybody[:, None] == everybody[None, :]).sum(1) > 1).sum()
    crit(embeddings, labels, ref_emb=torch.cat([s for r, s in enumerate(shards) if r != rank]),
         ref_labels=torch.cat([s for r, s in enumerate(label_shards) if r != rank]),
         avg_factor=valid / dist.get_world_size()).backward()


def ways(url, bank):
    from rankd.torch import RetrievalLoss

    found = {"gather + one": (gather_and_one, RetrievalLoss(client=url, bank_start=0, bank=bank)),
             "distributed=True": (joint, RetrievalLoss(client=url, bank_start=0, bank=bank, distributed=True)),
             '"balanced"': (joint, RetrievalLoss(client=url, bank_start=0, bank=bank, distributed="balanced"))}
    if bank is None:
        from pytorch_metric_learning.losses import FastAPLoss
        from pytorch_metric_learning.utils.distributed import DistributedLossWrapper

        found["by hand"] = (by_hand, RetrievalLoss(client=url))
        found["peer"] = (joint, DistributedLossWrapper(FastAPLoss()))
    return found


def trainer(rank, rendezvous, url, ranks, rows, dim, results):
    warnings.simplefilter("ignore")
    torch.set_num_threads(1)
    dist.init_process_group("gloo", init_method=f"file://{rendezvous}", rank=rank, world_size=ranks)
    make = torch.Generator().manual_seed(rank)
    embeddings = torch.randn(rows, dim, generator=make, requires_grad=True)
    labels = torch.randint(0, ranks * rows // 8, (rows,), generator=make)
    for bank in (None, "joint"):
        found = ways(url, bank)
        times = {name: [] for name in found}
        for turn in range(ROUNDS + 1):
            for name, (step, crit) in found.items():
                if name == "peer" and turn > 2:
                    continue
                dist.barrier()
                begun = time.perf_counter()
                steps = 1 if name == "peer" else STEPS  # that takes seconds
                for _ in range(steps):
                    step(crit, embeddings, labels)
                dist.barrier()
                times[name] += [(time.perf_counter() - begun) / steps * 1e3] if turn else []
        if rank == 0:
            results.put(times)
    dist.barrier()
    dist.destroy_process_group()


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--build", default="build")
    parser.add_argument("shape", type=int, nargs="*", default=[])
    given = parser.parse_args()
    ranks, rows, dim = (given.shape + [4, 256, 128][len(given.shape):])
    import rankd

    with tempfile.TemporaryDirectory() as folder:
        url = f"unix:{folder}/ring"
        daemon = subprocess.Popen([Path(given.build) / "rankd", "--http", "127.0.0.1:0", "--socket", f"{folder}/ring",
                                   "--log-level", "warn"],
                                  stdout=subprocess.PIPE)
        daemon.stdout.readline()
        rankd.connect(url).banks.create("joint", dim=dim, capacity=CAPACITY, durability="none")
        context = mp.get_context("spawn")
        results = context.Queue()
        processes = [context.Process(target=trainer, args=(r, f"{folder}/rendezvous", url, ranks, rows, dim, results))
                     for r in range(ranks)]
        [p.start() for p in processes]
        for what in ("without a bank", f"with a bank of {CAPACITY} items"):
            times = results.get(timeout=900)
            print(f"{ranks} ranks x {rows} x {dim}, {what}: median ms of a step, and its ratio to the first (median of {ROUNDS} "
                  "turns)")
            for name, values in times.items():
                ratio = statistics.median(v / b for v, b in zip(values, times["gather + one"]))
                print(f"  {name:18} {statistics.median(values):8.2f}   {ratio:5.2f}")
            sys.stdout.flush()
        [p.join() for p in processes]
        daemon.terminate()
        daemon.wait()


if __name__ == "__main__":
    main()
