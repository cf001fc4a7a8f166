# SPDX-License-Identifier: Apache-2.0
"""One of the trainer processes: plain PyTorch, DistributedDataParallel over gloo on loopback, a
loss from rankd.

Started by demo.py with RANK, WORLD_SIZE, MASTER_ADDR and MASTER_PORT in its environment, as
torchrun would. Reads the plan as JSON from its arguments; rank 0 reports its progress, one JSON
object per line.
"""
from __future__ import annotations

import datetime
import json
import sys

import torch
import torch.distributed as dist
import torch.distributed.nn.functional as dist_nn
from torch import nn
from torch.nn.parallel import DistributedDataParallel

import rankd
import rankd.torch
from data import Split, quality
from plan import Run

LEARNING_RATE = 1e-3
MARGIN = 0.1
REPORT_EVERY = 20


def network() -> nn.Module:
    return nn.Sequential(nn.Linear(64, 128), nn.ReLU(), nn.Linear(128, 128), nn.ReLU(), nn.Linear(128, 32))


class Contrastive(nn.Module):
    """The baseline: brings pairs of one label together, and moves others to at least distance 1 on
    the unit sphere."""

    def forward(self, embeddings: torch.Tensor, labels: torch.Tensor, others: torch.Tensor,
                other_labels: torch.Tensor) -> torch.Tensor:
        unit = nn.functional.normalize(embeddings, dim=1)
        items = torch.cat([unit, nn.functional.normalize(others, dim=1)])
        distance = (2 - 2 * unit @ items.T).clamp(min=1e-12).sqrt()
        same = labels[:, None] == torch.cat([labels, other_labels])[None, :]
        itself = torch.eye(len(unit), len(items), dtype=torch.bool)
        near = distance[same & ~itself].square().sum() / (same & ~itself).sum().clamp(min=1)
        pushed = (1 - distance).relu().square()[~same]
        return near + pushed.sum() / (pushed > 0).sum().clamp(min=1)


class Criterion:
    """The loss of one run, with what the trainers exchange for it."""

    def __init__(self, run: Run, client: rankd.Client) -> None:
        self.run = run
        if run.loss == "contrastive":
            self.contrastive = Contrastive()
            return
        bank = None
        if run.bank:
            bank = f"demo-{run.seed}"
            client.banks.create(bank, dim=32, capacity=run.bank)  # both trainers call it; the second call succeeds too
        self.ranking = rankd.torch.RetrievalLoss(run.loss, weight="log" if run.loss == "recall" else None, bank=bank,
                                                  bank_start=0, margin=MARGIN, client=client)

    def __call__(self, embeddings: torch.Tensor, labels: torch.Tensor, ids: torch.Tensor) -> torch.Tensor:
        others, other_labels = embeddings[:0], labels[:0]
        if self.run.gather:
            others, other_labels = self._others(embeddings, labels)
        if self.run.loss == "contrastive":
            return self.contrastive(embeddings, labels, others, other_labels)
        if not self.run.gather:
            return self.ranking(embeddings, labels, ids=ids)
        # Each trainer ranks its own queries over everybody's items. DDP averages gradients over
        # trainers, so the sum over all lists is divided by their number per trainer.
        everybody = torch.cat([labels, other_labels])
        has_match = (labels[:, None] == everybody[None, :]).sum(1) > 1
        valid = has_match.sum()
        dist.all_reduce(valid)
        return self.ranking(embeddings, labels, ref_emb=others, ref_labels=other_labels,
                            avg_factor=max(valid.item(), 1) / dist.get_world_size())

    @staticmethod
    def _others(embeddings: torch.Tensor, labels: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """The other trainers' embeddings and labels. This all_gather is differentiable: their
        queries give our items a gradient."""
        rank = dist.get_rank()
        gathered = dist_nn.all_gather(embeddings)
        all_labels = [torch.empty_like(labels) for _ in gathered]
        dist.all_gather(all_labels, labels)
        return (torch.cat([e for i, e in enumerate(gathered) if i != rank]),
                torch.cat([e for i, e in enumerate(all_labels) if i != rank]))


def train(run: Run, client: rankd.Client) -> None:
    rank, trainers = dist.get_rank(), dist.get_world_size()
    split = Split(run.seed, run.unseen)
    torch.manual_seed(run.seed)
    model = DistributedDataParallel(network())
    criterion = Criterion(run, client)
    optimizer = torch.optim.Adam(model.parameters(), lr=LEARNING_RATE)
    draw = torch.Generator().manual_seed(run.seed)  # the same in every trainer; each takes its part of the batch
    seen = torch.zeros(2)  # sum of the losses since the latest report, and their number
    for step in range(1, run.steps + 1):
        batch = torch.randperm(len(split.train), generator=draw)[:run.batch]
        mine = batch[rank::trainers]
        optimizer.zero_grad()
        loss = criterion(model(split.train[mine]), split.train_labels[mine], mine)
        loss.backward()
        optimizer.step()
        seen += torch.tensor([loss.item(), 1.0])
        if step % REPORT_EVERY == 0 or step == run.steps:
            dist.all_reduce(seen)
            if rank == 0:
                report(run, step, (seen[0] / seen[1]).item(), model.module, split)
            seen.zero_()
    dist.barrier()
    if rank == 0 and run.bank:
        client.banks.delete(f"demo-{run.seed}")


def report(run: Run, step: int, loss: float, model: nn.Module, split: Split) -> None:
    with torch.no_grad():
        recall, precision = quality(model(split.held_out), split.held_out_labels)
    print(json.dumps({"row": run.row, "seed": run.seed, "step": step, "loss": loss, "recall@1": recall, "mAP": precision}),
          flush=True)


def main() -> None:
    torch.set_num_threads(1)
    dist.init_process_group("gloo", timeout=datetime.timedelta(seconds=180))
    client = rankd.connect(timeout=60, retry_for=60)  # RANKD_URL
    for entry in json.loads(sys.argv[1]):
        train(Run(**entry), client)
    dist.destroy_process_group()


if __name__ == "__main__":
    main()
